package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// These types have members in all places where encoding/json looks for them.
type (
	inner struct {
		Tenant string `json:"tenant"`
		Level  int
	}
	Pointed struct {
		Region  string `json:"REGION"`
		Subject string `json:"sub"`
	}
	recursive struct {
		Name string     `json:"name"`
		Next *recursive `json:"next"`
	}
	Hidden  struct{ Role string }
	spread  struct{ inner }
	pointer struct {
		*Pointed
		Hidden `json:"hidden"`
		Skip   string `json:"-"`
		Dash   string `json:"dash"`
	}
	decodesItself struct{ text string }
	embedsOne     struct {
		*textual
		Role string
	}
	textual struct{ text string }
	unknown struct {
		Role  string         `json:"role"`
		Other map[string]any `json:",unknown"`
	}
	optional struct {
		Level  int    `json:",string,omitempty"`
		Tenant string `json:"tenant,omitzero"`
		Kelvin string `json:"kid"`
		Long   string `json:"ſub"`
		Number any    `json:"number"`
	}
)

func (d *decodesItself) UnmarshalJSON(b []byte) error {
	d.text = string(b)
	return nil
}

func (x *textual) UnmarshalText(b []byte) error {
	x.text = string(b)
	return nil
}

// ClaimsAs leaves out the members for which a type has no field, and nothing else.
func TestClaimsAsReadsWhatEncodingJSONReads(t *testing.T) {
	w := fixture.New(t)
	for _, changes := range []map[string]any{
		{},
		{"tenant": "acme", "Level": 3, "role": "admin", "name": "a", "next": map[string]any{"name": "b", "next": nil}, "number": 1.5},
		{"TENANT": "acme", "level": "3", "region": "eu", "ROLE": "admin", "dash": "dash", "Skip": "x", "hidden": map[string]any{"Role": "r", "x": 1}},
		{"tenant": "\u2028 \" \\ \u00e9", "level": "7", "number": json.RawMessage("9007199254740993"), "unknown": map[string]any{"a": []any{1, "x", nil}}},
		{"tenant": 7},
		{"level": map[string]any{}, "next": []int{1}, "hidden": "x"},
		{"\u212aid": "kelvin"},
	} {
		text := fixture.Text(t, w.Claims(changes))
		token := w.RequireAccepted(w.Sign(text))
		t.Run(fmt.Sprint(changes), func(t *testing.T) {
			requireAs[inner](t, token, text)
			requireAs[spread](t, token, text)
			requireAs[pointer](t, token, text)
			requireAs[*pointer](t, token, text)
			requireAs[recursive](t, token, text)
			requireAs[decodesItself](t, token, text)
			requireAs[embedsOne](t, token, text)
			requireAs[unknown](t, token, text)
			requireAs[optional](t, token, text)
			requireAs[struct {
				inner
				Hidden
			}](t, token, text)
			requireAs[struct{}](t, token, text)
			requireAs[map[string]any](t, token, text)
			requireAs[map[string]json.RawMessage](t, token, text)
			requireAs[any](t, token, text)
			requireAs[json.RawMessage](t, token, text)
			requireAs[string](t, token, text)
		})
	}
}

// The members come in any order and spelling, and with a scope claim of any name.
func TestClaimsAsReadsThemWhereverTheyStand(t *testing.T) {
	type scoped struct {
		Scp    string `json:"scp"`
		Tenant string `json:"tenant"`
	}
	for _, scopeClaim := range []string{"scope", "scp", "tenant"} {
		w := fixture.New(t)
		keys, err := jwk.Static(w.Key.Verification())
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, ScopeClaim: scopeClaim, Now: w.Clock.Now})
		require.NoError(t, err)
		members := []string{`"scp":"read"`, `"tenant":"acme"`, `"Level":3`, `"":1`, ` "role" : "admin" `, `"nested":{"tenant":"x"}`, `"\u0072ole2":[]`}
		for name, value := range w.Claims(nil) {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			members = append(members, strconv.Quote(name)+":"+string(encoded))
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			text := "{" + strings.Join(members, ",") + "}"
			token, err := v.Verify(t.Context(), w.Sign(text))
			require.NoError(t, err, text)
			requireAs[scoped](t, token, text)
			requireAs[inner](t, token, text)
			requireAs[Hidden](t, token, text)
			requireAs[Pointed](t, token, text)
			requireAs[struct {
				Empty int
				Role2 []string
			}](t, token, text)
		}
	}
}

// A type may have a field for one claim only.
func TestEachRegisteredClaimIsReadWhereverItStands(t *testing.T) {
	w := fixture.New(t)
	now := w.Clock.Now().Unix()
	text := fmt.Sprintf(`{"iss":%q,"sub":"alice","jti":"j","sid":"s","client_id":"c","acr":"a","exp":%d,"nbf":%d,"iat":%d,"auth_time":%d,"aud":%q,"amr":["pwd"],"tenant":"x"}`,
		fixture.Issuer, now+60, now-60, now-60, now-60, fixture.Audience)
	token := w.RequireAccepted(w.Sign(text))
	for _, name := range []string{"iss", "sub", "jti", "sid", "client_id", "acr", "exp", "nbf", "iat", "auth_time", "aud", "amr", "tenant"} {
		of := reflect.StructOf([]reflect.StructField{{Name: "V", Type: reflect.TypeFor[json.RawMessage](), Tag: reflect.StructTag(`json:"` + name + `"`)}})
		want, got := reflect.New(of), reflect.New(of)
		require.NoError(t, json.Unmarshal([]byte(text), want.Interface()))
		require.NoError(t, jwtauth.DecodeClaims(token, got.Interface()))
		require.NotZero(t, want.Elem().Field(0).Len(), name)
		require.Equal(t, want.Interface(), got.Interface(), name)
	}
}

func requireAs[T any](t *testing.T, token jwtauth.Token, text string) {
	t.Helper()
	var want T
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	wantErr := decoder.Decode(&want)
	for range 2 {
		got, err := jwtauth.ClaimsAs[T](token)
		if wantErr != nil {
			require.Error(t, err, "%T", want)
			require.Zero(t, got)
			continue
		}
		require.NoError(t, err, "%T", want)
		require.Equal(t, want, got)
	}
}

func TestAClaimsPolicyRefusesWhatDoesNotFit(t *testing.T) {
	type profile struct {
		Role string `json:"role"`
		Team int    `json:"team"`
	}
	isAdmin := func(_ context.Context, _ jwtauth.Token, p profile) (bool, error) { return p.Role == "admin", nil }
	w := fixture.New(t)
	fits := w.Foreign(func(o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.ClaimsPolicy[profile]("profile", nil)}
	})
	asks := w.Foreign(func(o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.ClaimsPolicy("profile", isAdmin)}
	})
	for _, test := range []struct {
		claims     map[string]any
		fits, asks bool
	}{
		{map[string]any{"role": "admin", "team": 7}, true, true},
		{map[string]any{"role": "user", "team": 7}, true, false},
		{nil, true, false},
		{map[string]any{"role": 7}, false, false},
		{map[string]any{"role": "admin", "team": "7"}, false, false},
		{map[string]any{"role": "admin", "team": 7.5}, false, false},
	} {
		token := w.Sign(w.Claims(test.claims))
		for _, v := range []struct {
			*jwtauth.Verifier
			good bool
		}{{fits, test.fits}, {asks, test.asks}} {
			_, err := v.Verify(t.Context(), token)
			if v.good {
				require.NoError(t, err, "%v", test.claims)
				continue
			}
			requireFound(t, "profile", err)
			require.ErrorIs(t, err, jwtauth.ErrTokenCheck)
		}
	}
}

type contextName string

// A caller may change what ClaimsAs returns.
func TestClaimsAreRememberedOnlyWhereSharingIsSafe(t *testing.T) {
	w := fixture.New(t)
	verified := w.RequireAccepted(w.Sign(w.Claims(map[string]any{
		"list": []string{"a", "b"}, "map": map[string]any{"n": 1}, "role": "admin", "big": uint64(1<<64 - 1),
		"pair": [2]int{1, 2}, "number": 7,
	})))
	ctx := jwtauth.NewContext(context.WithValue(t.Context(), contextName("name"), "value"), verified)
	require.Equal(t, "value", ctx.Value(contextName("name")), "other values stay visible")
	token, ok := jwtauth.FromContext(ctx)
	require.True(t, ok)

	type lists struct {
		List []string       `json:"list"`
		Map  map[string]any `json:"map"`
		Role *string        `json:"role"`
		Big  any            `json:"big"`
	}
	for range 2 {
		claims, err := jwtauth.ClaimsAs[lists](token)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, claims.List)
		require.Equal(t, json.Number("1"), claims.Map["n"])
		require.Equal(t, "admin", *claims.Role)
		require.Equal(t, json.Number("18446744073709551615"), claims.Big)
		claims.List[0], claims.Map["n"], *claims.Role = "changed", 2, "changed"
	}

	// More types than are remembered, each of them right each time.
	for range 2 {
		requireClaims(t, token, struct{ Role string }{"admin"})
		requireClaims(t, token, struct{ Number int8 }{7})
		requireClaims(t, token, struct{ Number float64 }{7})
		requireClaims(t, token, struct{ Pair [2]int }{[2]int{1, 2}})
		requireClaims(t, token, struct{ Number uint16 }{7})
		requireClaims(t, token, profile{Role: "admin", Number: 7})
	}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = jwtauth.ClaimsAs[struct{ Role string }](token) }), 1.0,
		"what is remembered is not decoded again")

	_, err := jwtauth.ClaimsAs[struct{ Role int }](token)
	require.ErrorContains(t, err, "do not fit")
	_, err = jwtauth.ClaimsAs[profile](jwtauth.Token{})
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
}

func requireClaims[T any](t *testing.T, token jwtauth.Token, want T) {
	t.Helper()
	got, err := jwtauth.ClaimsAs[T](token)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestATokenMadeOutsideHasItsClaims(t *testing.T) {
	type profile struct {
		Role string `json:"role"`
	}
	type claims struct {
		jwt.RegisteredClaims
		Scope string `json:"scope"`
		profile
	}
	exp := time.Unix(1_800_000_000, 0)
	asStruct := claims{jwt.RegisteredClaims{Subject: "alice", Issuer: "old", ExpiresAt: jwt.NewNumericDate(exp), Audience: jwt.ClaimStrings{"a", "b"}}, "read write", profile{"admin"}}
	asMap := map[string]any{"sub": "alice", "iss": "old", "exp": 1.8e9, "aud": []string{"a", "b"}, "scope": []any{"read", "write"}, "role": "admin"}
	text, err := json.Marshal(asStruct)
	require.NoError(t, err)
	for _, c := range []any{asStruct, &asStruct, asMap, jwt.MapClaims(asMap), json.RawMessage(text), json.RawMessage(" " + string(text) + "\n")} {
		token, err := jwtauth.NewToken(c)
		require.NoError(t, err)
		require.Equal(t, []string{"alice", "old"}, []string{token.Subject, token.Issuer})
		require.True(t, token.ExpiresAt.Equal(exp))
		require.Equal(t, []string{"a", "b"}, token.Audiences())
		require.Equal(t, []string{"read", "write"}, token.Scopes())
		require.NoError(t, jwtauth.Scopes("read", "write").Check(t.Context(), token))
		require.ErrorIs(t, jwtauth.Scopes("delete").Check(t.Context(), token), jwtauth.ErrPolicy)
		got, err := jwtauth.ClaimsAs[profile](token)
		require.NoError(t, err)
		require.Equal(t, profile{"admin"}, got)
	}
	all, err := jwtauth.NewToken(map[string]any{
		"iss": "i", "jti": "j", "sid": "s", "client_id": "c", "acr": "1", "amr": []string{"pwd"}, "iat": 1, "nbf": 2.5, "auth_time": 3, "act": map[string]any{"sub": "svc"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"j", "s", "c", "1", "svc"}, []string{all.ID, all.SessionID, all.ClientID, all.ACR, all.Actor})
	require.Equal(t, []string{"pwd"}, all.AMR())
	require.Equal(t, []int64{1000, 2500, 3000}, []int64{all.IssuedAt.UnixMilli(), all.NotBefore.UnixMilli(), all.AuthTime.UnixMilli()})
}

func TestATokenMadeOutsideKeepsItsClaims(t *testing.T) {
	text := json.RawMessage(`{"sub":"alice","role":"user"}`)
	token, err := jwtauth.NewToken(text)
	require.NoError(t, err)
	copy(text, `{"sub":"admin","role":"root"}`)
	got, err := jwtauth.ClaimsAs[map[string]any](token)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"sub": "alice", "role": "user"}, got)
	require.Equal(t, "alice", token.Subject)
}

func TestClaimsThatMakeNoTokenAreErrorsThatTeach(t *testing.T) {
	for want, claims := range map[string][]any{
		"a JSON object with claims is expected": {nil, "alice", []string{"alice"}, jwtauth.Token{Subject: "alice"}, jwtauth.Grant{Subject: "alice"}, json.RawMessage(`{"sub":"a"}{}`), json.RawMessage("")},
		"neither iss nor sub":                   {map[string]any{}, map[string]any{"role": "admin"}, struct{}{}},
		"appears twice":                         {json.RawMessage(`{"sub":"a","sub":"b"}`)},
		`"SUB" is a registered claim`:           {map[string]any{"sub": "a", "SUB": "b"}},
		`"exp" has a value of a wrong JSON`:     {map[string]any{"sub": "a", "exp": time.Now()}, map[string]any{"sub": "a", "exp": "1800000000"}},
		`"sub" has a value of a wrong JSON`:     {map[string]any{"sub": 7}},
		`"scope" has a value of a wrong JSON`:   {map[string]any{"sub": "a", "scope": 7}},
		"encoding the claims":                   {map[string]any{"sub": func() {}}},
		"at most 1048576 are expected":          {map[string]any{"sub": "a", "x": strings.Repeat("x", 1<<20)}},
	} {
		for _, c := range claims {
			token, err := jwtauth.NewToken(c)
			require.ErrorContains(t, err, want, "%.80v", c)
			require.Equal(t, jwtauth.Token{}, token)
			require.NotErrorIs(t, err, jwtauth.ErrRefused, "a mistake in the program")
		}
	}
}

// oldVerifier is a TokenVerifier of a program.
type oldVerifier struct{}

func (oldVerifier) Verify(_ context.Context, token string) (jwtauth.Token, error) {
	if subject, ok := strings.CutPrefix(token, "old-"); ok {
		return jwtauth.NewToken(map[string]any{"sub": subject, "scope": "read"})
	}
	return jwtauth.Token{}, jwtauth.ErrTokenSignature
}

func TestATokenMadeOutsideIsTrustedOnlyByTheMiddlewareWhoseVerifierReturnedIt(t *testing.T) {
	w := fixture.New(t)
	own, err := jwtauth.NewMiddleware(oldVerifier{}, jwtauth.MiddlewareOptions{})
	require.NoError(t, err)
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, token.Subject)
	})
	get := func(h http.Handler, r *http.Request) (int, string) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Code, answer.Body.String()
	}
	status, body := get(own.With(jwtauth.Scopes("read")).Require(show), fixture.Request("GET", "/", "Bearer old-alice"))
	require.Equal(t, 200, status)
	require.Equal(t, "alice", body)
	status, _ = get(own.With(jwtauth.Scopes("write")).Require(show), fixture.Request("GET", "/", "Bearer old-alice"))
	require.Equal(t, 403, status)
	status, _ = get(own.Require(show), fixture.Request("GET", "/", "Bearer x"))
	require.Equal(t, 401, status)
	status, _ = get(own.Require(w.Auth.Require(show)), fixture.Request("GET", "/", "Bearer old-alice"))
	require.Equal(t, 401, status, "another middleware does not trust the token")

	for _, claims := range []map[string]any{w.Claims(nil), {"iss": fixture.Issuer, "sub": "alice"}} {
		token, err := jwtauth.NewToken(claims)
		require.NoError(t, err)
		r := fixture.Request("GET", "/")
		r = r.WithContext(jwtauth.NewContext(r.Context(), token))
		for _, m := range []*jwtauth.Middleware{w.Auth, own} {
			status, _ = get(m.Require(show), r)
			require.Equal(t, 401, status)
		}
		both, err := jwtauth.AnyOf(w.Verifier)
		require.NoError(t, err)
		for _, v := range []*jwtauth.Verifier{w.Verifier, both} {
			require.ErrorIs(t, v.Recheck(t.Context(), token), jwtauth.ErrNoToken)
			require.ErrorIs(t, v.Revoke(t.Context(), token), jwtauth.ErrNoToken)
		}
		_, err = w.Issuer.Exchange(t.Context(), token, jwtauth.ExchangeRequest{Audiences: []string{fixture.Audience}, Actor: "a"})
		e, _ := errors.AsType[*jwtauth.Error](err)
		require.Equal(t, "token", e.Check)
	}
}
