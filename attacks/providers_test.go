package attacks_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// providerAttacks are about claims that identity providers write in odd ways. A claim that no
// check uses may have any JSON type. For each such tolerance, the test shows the token that must
// still be refused.
var providerAttacks = []attack{
	{"P01", "claims of another type that no check uses", attackUnusedClaims},
	{"P02", "null in place of an optional claim", attackNullClaims},
	{"P03", "cnf null and other values of cnf", attackCnfValues},
	{"P04", "ids that cannot be looked up", attackIDsOfAnotherType},
}

func attackUnusedClaims(t *testing.T) {
	w := fixture.New(t)
	odd := []any{7, 1.5, true, map[string]string{"a": "b"}, []any{map[string]string{"method": "password"}}, "2026-11-26T12:00:00Z"}
	for _, value := range odd {
		for _, name := range []string{"amr", "acr", "auth_time", "client_id"} {
			if _, isText := value.(string); isText && name != "auth_time" || value == 7 && name == "auth_time" || value == 1.5 && name == "auth_time" {
				continue
			}
			token := w.RequireAccepted(w.Sign(w.Claims(map[string]any{name: value})))
			switch name {
			case "amr":
				require.Empty(t, token.AMR())
			case "acr":
				require.Empty(t, token.ACR)
			case "client_id":
				require.Empty(t, token.ClientID)
			case "auth_time":
				require.True(t, token.AuthTime.IsZero())
				require.ErrorIs(t, jwtauth.LoginWithin(time.Hour).Check(t.Context(), token), jwtauth.ErrPolicy, "it is not known when the user logged in")
			}
		}
	}
	// A scope decides what a token may do.
	for _, value := range []any{7, true, map[string]string{"a": "b"}, []any{"read", 7}} {
		w.RequireBadClaims(w.Claims(map[string]any{"scope": value}), `"scope" has a value of a wrong JSON type`)
	}
}

func attackNullClaims(t *testing.T) {
	w := fixture.New(t)
	null := json.RawMessage("null")
	for _, name := range []string{"nbf", "iat", "sid", "client_id", "acr", "amr", "auth_time", "scope", "act"} {
		token := w.RequireAccepted(w.Sign(w.Claims(map[string]any{name: null})))
		require.False(t, token.HasScope("read") && name == "scope")
	}
	scopeless := w.RequireAccepted(w.Sign(w.Claims(map[string]any{"scope": null})))
	require.Error(t, jwtauth.Scopes("read").Check(t.Context(), scopeless))
	for _, name := range []string{"iss", "exp", "aud"} {
		w.RequireBadClaims(w.Claims(map[string]any{name: null}), `"`+name+`"`)
	}
	w.RequireRefused(w.Sign(w.Claims(map[string]any{"sub": null})))
	w.RequireOnlyRefusedBy("jti", w.Sign(w.Claims(map[string]any{"jti": null})))
	// null is no value of a claim that is required.
	strict := w.Foreign(func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"nbf"} })
	_, err := strict.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"nbf": null})))
	require.ErrorIs(t, err, jwtauth.ErrTokenClaim)
	// Without iat, the lifetime counts from now, so a token for ten years is still refused.
	w.RequireRefused(w.Sign(w.Claims(map[string]any{"iat": null, "exp": w.Clock.Now().Add(10 * 365 * 24 * time.Hour).Unix()})))
}

func attackCnfValues(t *testing.T) {
	w := fixture.New(t)
	w.RequireAccepted(w.Sign(w.Claims(map[string]any{"cnf": json.RawMessage("null")})))
	for _, value := range []string{`{}`, `{"jkt":"a"}`, `[]`, `""`, `"null"`, `false`, `0`, `[null]`} {
		require.ErrorIs(t, w.RequireRefused(w.Sign(w.Claims(map[string]any{"cnf": json.RawMessage(value)}))), jwtauth.ErrTokenBound, value)
	}
}

// If a session "7" was revoked, a token with the sid 7 must not come back.
func attackIDsOfAnotherType(t *testing.T) {
	w := fixture.New(t)
	lax := w.Foreign(func(*jwtauth.VerifierOptions) {}) // without Revocations, nobody looks the ids up
	for _, name := range []string{"jti", "sid"} {
		for _, value := range []any{7, 1.5, true, []string{"7"}, map[string]string{"a": "7"}} {
			token := w.Sign(w.Claims(map[string]any{name: value}))
			w.RequireBadClaims(w.Claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			got, err := lax.Verify(t.Context(), token)
			require.NoError(t, err)
			require.True(t, name == "jti" && got.ID == "" || name == "sid" && got.SessionID == "")
		}
	}
}
