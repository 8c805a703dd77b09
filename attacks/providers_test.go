package attacks_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/provider"
)

// providerAttacks are about claims that identity providers write in odd ways. A claim that no
// check uses may have any JSON type. For each such tolerance, the test shows the token that must
// still be refused.
var providerAttacks = []attack{
	{"P01", "claims of another type that no check uses", attackUnusedClaims},
	{"P02", "null in place of an optional claim", attackNullClaims},
	{"P03", "cnf null and other values of cnf", attackCnfValues},
	{"P04", "ids that cannot be looked up", attackIDsOfAnotherType},
	{"P05", "another claim in place of aud", attackAudienceClaim},
	{"P06", "no aud where it may be missing", attackNoAudience},
	{"P07", "no sub and an integer as sub", attackOddSubjects},
	{"P08", "no kid and several keys", attackNoKid},
	{"P09", "bad signatures under every published kid", attackSignatureFlood},
	{"P10", "bad signatures while the source is down", attackSignaturesDuringAnOutage},
	{"P11", "a key without alg used with other algorithms", attackImpliedAlgorithms},
	{"P12", "http URLs that others name", attackHTTPByOthers},
	{"P13", "metadata of another issuer at MetadataURL", attackForeignMetadata},
	{"P14", "Retry-After without end", attackRetryAfter},
	{"P15", "an issuer inside of the network", attackInternalIssuers},
	{"P20", "another kind of token of the provider", attackOtherKindOfProvider},
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
	w.RequireOnlyRefusedBy("aud", w.Sign(w.Claims(map[string]any{"aud": null})))
	for _, name := range []string{"iss", "exp"} {
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

// answers verifies tokens with changed claims. The values of accept and refuse are the changes.
func answers(w *fixture.World, v *jwtauth.Verifier, accept, refuse []map[string]any) {
	w.T.Helper()
	for _, c := range accept {
		token := w.Sign(w.Claims(c))
		for range 2 { // the second time, the token may come from the cache
			_, err := v.Verify(w.T.Context(), token)
			require.NoError(w.T, err, "%v", c)
		}
	}
	for _, c := range refuse {
		_, err := v.Verify(w.T.Context(), w.Sign(w.Claims(c)))
		require.Error(w.T, err, "%v", c)
	}
}

func attackAudienceClaim(t *testing.T) {
	w := fixture.New(t)
	type changes = map[string]any
	for _, claim := range []string{"azp", "client_id", "appid"} {
		alone := w.Foreign(func(o *jwtauth.VerifierOptions) {
			o.Audiences, o.AudienceClaim, o.AudienceClaimValues = nil, claim, []string{"app", "job"}
		})
		answers(w, alone, []changes{
			{"aud": nil, claim: "app"}, {"aud": nil, claim: "job"}, {"aud": json.RawMessage("null"), claim: "app"},
			{"aud": "", claim: "app"}, {"aud": []string{}, claim: "app"},
		}, []changes{
			{"aud": nil}, {"aud": nil, claim: "other"}, {"aud": nil, claim: ""}, {"aud": nil, claim: "APP"},
			{"aud": nil, claim: json.RawMessage("null")}, {"aud": nil, claim: []string{"app"}}, {"aud": nil, claim: changes{"app": "app"}},
			{claim: "app"}, {"aud": "app", claim: "app"}, {"aud": []string{""}, claim: "app"}, {"aud": []any{nil}, claim: "app"}, {"aud": 7, claim: "app"},
		})
		both := w.Foreign(func(o *jwtauth.VerifierOptions) { o.AudienceClaim, o.AudienceClaimValues = claim, []string{"app"} })
		answers(w, both, []changes{{claim: "app"}, {"aud": nil, claim: "app"}, {"aud": []string{"x", fixture.Audience}, claim: "app"}},
			[]changes{{}, {claim: "other"}, {"aud": "https://other.test", claim: "app"}, {"aud": []string{"https://other.test"}, claim: "app"}})
	}
	// The claim in another spelling is another claim.
	v := w.Foreign(func(o *jwtauth.VerifierOptions) {
		o.Audiences, o.AudienceClaim, o.AudienceClaimValues = nil, "azp", []string{"app"}
	})
	answers(w, v, nil, []changes{{"aud": nil, "AZP": "app"}, {"aud": nil, "azp": "app", "Azp": "app"}})
	answers(w, w.Verifier, nil, []changes{{"aud": nil, "azp": "app", "client_id": "app"}})
}

func attackNoAudience(t *testing.T) {
	w := fixture.New(t)
	type changes = map[string]any
	missing := []changes{{"aud": nil}, {"aud": json.RawMessage("null")}, {"aud": ""}, {"aud": []string{}}}
	foreign := []changes{{"aud": "https://other.test"}, {"aud": []string{"https://other.test"}}, {"aud": []string{""}}, {"aud": []any{nil}}, {"aud": 7}, {"aud": changes{}}}
	with := w.Foreign(func(o *jwtauth.VerifierOptions) { o.InsecureNoAudience = true })
	answers(w, with, append(missing, changes{}), foreign)
	without := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Audiences, o.InsecureNoAudience = nil, true })
	answers(w, without, missing, append(foreign, changes{}))
	answers(w, w.Foreign(func(*jwtauth.VerifierOptions) {}), []changes{{}}, append(missing, foreign...))
}

func attackOddSubjects(t *testing.T) {
	w := fixture.New(t)
	type changes = map[string]any
	missing := []changes{{"sub": nil}, {"sub": json.RawMessage("null")}, {"sub": ""}}
	number := func(text string) changes { return changes{"sub": json.RawMessage(text)} }
	numbers := []changes{number("0"), number("7"), number("-7"), number("1234567890123456789"), number("9999999999999999999")}
	never := []changes{
		number("-0"), number("7.0"), number("7e0"), number("7E0"), number("12345678901234567890"), number("-12345678901234567890"),
		number("true"), number("[7]"), number(`["alice"]`), number("{}"),
	}
	for _, bits := range []int{0, 1, 2, 3} {
		mayMiss, mayBeInteger := bits&1 != 0, bits&2 != 0
		v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.AllowNoSubject, o.IntegerSubject = mayMiss, mayBeInteger })
		accept, refuse := []changes{{}}, append([]changes{}, never...)
		if mayMiss {
			accept = append(accept, missing...)
		} else {
			refuse = append(refuse, missing...)
		}
		if mayBeInteger {
			accept = append(accept, numbers...)
		} else {
			refuse = append(refuse, numbers...)
		}
		answers(w, v, accept, refuse)
	}
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.AllowNoSubject, o.IntegerSubject = true, true })
	token, err := v.Verify(t.Context(), w.Sign(w.Claims(number("-70"))))
	require.NoError(t, err)
	require.Equal(t, "-70", token.Subject)
	// The subject is never taken from another claim.
	token, err = v.Verify(t.Context(), w.Sign(w.Claims(changes{"sub": nil, "client_id": "app", "uid": "alice"})))
	require.NoError(t, err)
	require.Empty(t, token.Subject)
	require.Equal(t, "app", token.ClientID)
}

func attackNoKid(t *testing.T) {
	w := fixture.New(t)
	keys := []*jwk.SigningKey{w.Key}
	for len(keys) < 6 {
		keys = append(keys, fixture.NewKey(t, jwk.ES256))
	}
	nameless := func(k *jwk.SigningKey) string {
		return fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), w.Claims(nil))
	}
	verifierOf := func(own ...*jwk.SigningKey) *jwtauth.Verifier {
		public := []*jwk.VerificationKey{fixture.KeyFor(t, jwk.EdDSA).Verification()}
		for _, k := range own {
			public = append(public, k.Verification())
		}
		set, err := jwk.Static(public...)
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
		require.NoError(t, err)
		return v
	}
	verify := func(v *jwtauth.Verifier, token string) error {
		_, err := v.Verify(t.Context(), token)
		return err
	}
	for n := 1; n <= 4; n++ {
		v := verifierOf(keys[:n]...)
		for range 2 { // in another order the second time, so that no header was learned for another key
			for _, k := range keys[:n] {
				require.NoError(t, verify(v, nameless(k)))
			}
		}
		require.ErrorIs(t, verify(v, nameless(keys[n])), jwtauth.ErrTokenSignature)
		// A kid that is there decides, even if another key would fit.
		wrong := fixture.SignWith(t, keys[0], fixture.Header(keys[0], map[string]any{"kid": "other"}), w.Claims(nil))
		require.ErrorIs(t, verify(v, wrong), jwtauth.ErrTokenKey)
		// An empty kid is none.
		require.NoError(t, verify(v, fixture.SignWith(t, keys[0], fixture.Header(keys[0], map[string]any{"kid": ""}), w.Claims(nil))))
		// The algorithm of a key counts, not only its type.
		other := fixture.KeyFor(t, jwk.ES384)
		require.ErrorIs(t, verify(v, nameless(other)), jwtauth.ErrTokenKey)
	}
	five := verifierOf(keys[:5]...)
	for _, k := range keys {
		require.ErrorIs(t, verify(five, nameless(k)), jwtauth.ErrTokenKey, "five keys are too many to try")
	}
	// The tokens of an Issuer have a kid, so its verifier tries nothing.
	require.NoError(t, w.Keys.Replace(keys[0], keys[1].Verification()))
	for _, k := range keys[:2] {
		w.RequireRefusedBy("key", nameless(k))
		w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": ""}), w.Claims(nil)))
	}
}

// attackOtherKindOfProvider gives each preset a token of its provider that has the right signature,
// iss, aud and dates, and that is not meant for an API. Further variants are in package provider.
func attackOtherKindOfProvider(t *testing.T) {
	const tenant, api = "11111111-2222-3333-4444-555555555555", "https://api.example.com"
	type changes = map[string]any
	for _, c := range []struct {
		name      string
		p         provider.Provider
		good, bad changes
	}{
		{"ID token of Cognito", provider.Cognito("eu-west-1_x", "app"), changes{"aud": nil, "client_id": "app", "token_use": "access"}, changes{"token_use": "id"}},
		{"ID token of Entra", provider.Entra(tenant, "app"), changes{"aud": "app", "tid": tenant, "scp": "read"}, changes{"scp": nil}},
		{"application of Entra without a role", provider.EntraApp(tenant, "app", "read"), changes{"aud": "app", "tid": tenant, "azp": "job", "roles": []string{"read"}}, changes{"roles": []string{}}},
		{"ID token of Keycloak", provider.Keycloak("https://kc.example.com/realms/r", api), changes{"aud": api, "typ": "Bearer"}, changes{"typ": "ID"}},
		{"ID token of Spring", provider.Spring("https://auth.example.com", "app"), changes{"aud": "app", "scope": []string{"a"}}, changes{"scope": nil}},
		{"ID token of authentik", provider.Authentik("https://host.example.com/application/o/app/", "app"), changes{"aud": "app", "azp": "app", "uid": "u"}, changes{"uid": nil}},
		{"refresh token of Descope", provider.Descope("P2x"), changes{"aud": nil, "drn": "DS"}, changes{"drn": "DSR"}},
		{"no audience, but a foreign one", provider.WorkOS("client_1"), changes{"aud": nil, "sid": "s"}, changes{"aud": api}},
		{"another repository of GitHub", provider.GitHubActions(api, "1"), changes{"aud": api, "repository_id": "1", "ref": "refs/heads/main"}, changes{"repository_id": "2"}},
		{"pull request of GitHub", provider.GitHubActions(api, "1"), changes{"aud": api, "repository_id": "1", "ref": "refs/heads/main"}, changes{"ref": "refs/pull/1/merge"}},
		{"login of GitLab", provider.GitLabCI("https://gitlab.example.com", api, "1"), changes{"aud": api, "project_id": "1", "ref_protected": "true"}, changes{"project_id": nil}},
		{"another service account", provider.Kubernetes("https://k.example.com", api, "shop/web"), changes{"aud": api, "sub": "system:serviceaccount:shop:web"}, changes{"sub": "system:serviceaccount:shop:other"}},
		{"another account of Google", provider.GoogleChat("https://app.example.com"), changes{"aud": "https://app.example.com", "email": "chat@system.gserviceaccount.com", "email_verified": true}, changes{"email": "x@project.iam.gserviceaccount.com"}},
		{"anonymous user of Supabase", provider.Supabase("https://ref.example.com"), changes{"aud": "authenticated", "role": "authenticated"}, changes{"is_anonymous": true}},
	} {
		w := fixture.New(t)
		c.p.KeySet, c.p.Options.Now = w.Keys, w.Clock.Now
		v, err := c.p.NewVerifier()
		require.NoError(t, err, c.name)
		c.good["iss"] = c.p.Issuers[0]
		_, err = v.Verify(t.Context(), w.Sign(w.Claims(c.good)))
		require.NoError(t, err, c.name)
		bad := maps.Clone(c.good)
		maps.Copy(bad, c.bad)
		for range 2 {
			_, err = v.Verify(t.Context(), w.Sign(w.Claims(bad)))
			require.ErrorIs(t, err, jwtauth.ErrRefused, c.name)
		}
	}
}
