package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

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
