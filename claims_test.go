package jwtauth_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// Types that take their members from all over a struct.
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

// TestClaimsAsReadsWhatEncodingJSONReads: members that a type has no place for are
// left out on the way, and nothing else.
func TestClaimsAsReadsWhatEncodingJSONReads(t *testing.T) {
	w := newWorld(t)
	for _, changes := range []map[string]any{
		{},
		{"tenant": "acme", "Level": 3, "role": "admin", "name": "a", "next": map[string]any{"name": "b", "next": nil}, "number": 1.5},
		{"TENANT": "acme", "level": "3", "region": "eu", "ROLE": "admin", "dash": "dash", "Skip": "x", "hidden": map[string]any{"Role": "r", "x": 1}},
		{"tenant": "\u2028 \" \\ \u00e9", "level": "7", "number": json.RawMessage("9007199254740993"), "unknown": map[string]any{"a": []any{1, "x", nil}}},
		{"tenant": 7},
		{"level": map[string]any{}, "next": []int{1}, "hidden": "x"},
		{"\u212aid": "kelvin"},
	} {
		text := text(t, w.claims(changes))
		token := w.requireAccepted(w.sign(text))
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

// TestClaimsAsReadsThemWhereverTheyStand: in any order and spelling, beside a scope
// claim of any name.
func TestClaimsAsReadsThemWhereverTheyStand(t *testing.T) {
	type scoped struct {
		Scp    string `json:"scp"`
		Tenant string `json:"tenant"`
	}
	for _, scopeClaim := range []string{"scope", "scp", "tenant"} {
		w := newWorld(t)
		keys, err := jwtauth.StaticKeys(w.key.VerificationKey())
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, ScopeClaim: scopeClaim, Now: w.clock.Now})
		require.NoError(t, err)
		members := []string{`"scp":"read"`, `"tenant":"acme"`, `"Level":3`, `"":1`, ` "role" : "admin" `, `"nested":{"tenant":"x"}`, `"\u0072ole2":[]`}
		for name, value := range w.claims(nil) {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			members = append(members, strconv.Quote(name)+":"+string(encoded))
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			text := "{" + strings.Join(members, ",") + "}"
			token, err := v.Verify(t.Context(), w.sign(text))
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

// TestEachRegisteredClaimIsReadWhereverItStands: also by a type that wants it alone.
func TestEachRegisteredClaimIsReadWhereverItStands(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now().Unix()
	text := fmt.Sprintf(`{"iss":%q,"sub":"alice","jti":"j","sid":"s","client_id":"c","acr":"a","exp":%d,"nbf":%d,"iat":%d,"auth_time":%d,"aud":%q,"amr":["pwd"],"tenant":"x"}`,
		testIssuer, now+60, now-60, now-60, now-60, testAudience)
	token := w.requireAccepted(w.sign(text))
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
