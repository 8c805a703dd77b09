package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// withOptions is a fixture.Change of the options of the verifier.
func withOptions(change func(o *jwtauth.VerifierOptions)) fixture.Change {
	return func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { change(o) }
}

// flaw is one fault of a token or of its request, and the name of the check that must find
// it.
type flaw struct {
	check          string
	header, claims map[string]any
	spoil          func(token string) string
	options        func(o *jwtauth.VerifierOptions)
	rules          []claimrule.Rule
	cancelled      bool
}

// structural has the checks on which the others depend. Without one of them, no token is
// accepted.
var structural = map[string]string{
	"form":   "its segments are what all others read",
	"header": "it finds alg, typ and kid",
	"key":    "it finds the key, without which no signature holds",
	"claims": "it reads what the checks after it compare",
}

func flaws(w *fixture.World) []flaw {
	now := w.Clock.Now().Unix()
	revoked := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: w.Clock.Now})
	require.NoError(w.T, revoked.Revoke(w.T.Context(), jwtauth.TokenID(fixture.Issuer, "token-1"), w.Clock.Now().Add(time.Hour)))
	signature := func(token string) string { return token[strings.LastIndexByte(token, '.'):] }
	return []flaw{
		{check: "context", cancelled: true, options: func(o *jwtauth.VerifierOptions) { o.Revocations = nil }},
		{check: "size", options: func(o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 100 }},
		{check: "crit", header: map[string]any{"crit": []string{"exp"}}},
		{check: "typ", header: map[string]any{"typ": "JWT"}},
		{check: "signature", spoil: func(token string) string {
			return strings.TrimSuffix(token, signature(token)) + signature(w.Sign(w.Claims(map[string]any{"sub": "mallory"})))
		}},
		{check: "iss", claims: map[string]any{"iss": "https://other.test"}},
		{check: "aud", claims: map[string]any{"aud": "https://other.test"}},
		{check: "sub", claims: map[string]any{"sub": nil}},
		{check: "jti", claims: map[string]any{"jti": nil}},
		{check: "required", options: func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"role"} }},
		{check: "cnf", claims: map[string]any{"cnf": map[string]string{"jkt": "x"}}},
		{check: "provider", rules: []claimrule.Rule{{Claims: []string{"token_use"}, Holds: func(values []strictjson.Value) bool { return values[0] == `"access"` }}}},
		{check: "exp", claims: map[string]any{"exp": now - 31}},
		{check: "nbf", claims: map[string]any{"nbf": now + 3600}},
		{check: "iat", claims: map[string]any{"iat": now + 3600}},
		{check: "lifetime", claims: map[string]any{"exp": now + 25*3600}},
		{check: "age", claims: map[string]any{"iat": now - 3600}, options: func(o *jwtauth.VerifierOptions) { o.MaxAge = time.Minute }},
		{check: "check", options: func(o *jwtauth.VerifierOptions) {
			o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(context.Context, jwtauth.Token) (bool, error) { return false, nil })}
		}},
		{check: "revocation", options: func(o *jwtauth.VerifierOptions) {
			if o.Revocations != nil {
				o.Revocations = revoked
			}
		}},
	}
}

// try verifies a token that has these flaws. If without is the name of a check, the verifier
// leaves it out.
func try(t *testing.T, w *fixture.World, without string, flaws ...flaw) error {
	t.Helper()
	h, c := make(map[string]any), make(map[string]any)
	var rules []claimrule.Rule
	o := jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now, Revocations: w.Store}
	for _, f := range flaws {
		maps.Copy(h, f.header)
		maps.Copy(c, f.claims)
		if f.options != nil {
			f.options(&o)
		}
		rules = append(rules, f.rules...)
	}
	made, err := claimrule.NewVerifier(w.Keys, o, rules)
	require.NoError(t, err)
	v := made.(*jwtauth.Verifier)
	token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, h), w.Claims(c))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, f := range flaws {
		if f.spoil != nil {
			token = f.spoil(token)
		}
		if f.cancelled {
			cancel()
		}
	}
	if without != "" {
		v = fixture.Without(v, without)
	}
	got, err := v.Verify(ctx, token)
	if err != nil {
		require.Zero(t, got)
	}
	return err
}

func requireFound(t *testing.T, check string, err error) {
	t.Helper()
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, check, e.Check, "%v", err)
	if check == "context" {
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		return
	}
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	require.Equal(t, "401 invalid_token", fmt.Sprint(e.Status, " ", e.Code))
}

func TestEachCheckKeepsABadTokenOut(t *testing.T) {
	w := fixture.New(t)
	require.NoError(t, try(t, w, ""))
	all := flaws(w)
	for _, name := range jwtauth.Checks() {
		n := slices.IndexFunc(all, func(f flaw) bool { return f.check == name })
		if reason, ok := structural[name]; ok {
			require.NotEmpty(t, reason)
			require.Negative(t, n)
			require.Error(t, try(t, w, name), "%s can be left out after all", name)
			continue
		}
		require.GreaterOrEqual(t, n, 0, "the check %s has no token that it alone refuses", name)
		requireFound(t, name, try(t, w, "", all[n]))
		require.NoError(t, try(t, w, name, all[n]), "without %s", name)
	}
}

func TestTheChecksComeInTheirOrder(t *testing.T) {
	w := fixture.New(t)
	all := flaws(w)
	for n, first := range all {
		for _, second := range all[n+1:] {
			if slices.ContainsFunc(slices.Collect(maps.Keys(first.claims)), func(name string) bool { _, same := second.claims[name]; return same }) {
				continue // one of them would undo the other
			}
			requireFound(t, first.check, try(t, w, "", first, second))
		}
	}
}

func TestNothingIsAskedAboutATokenThatIsRefused(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t, withOptions(func(o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(context.Context, jwtauth.Token) (bool, error) {
			calls = append(calls, "Check")
			return true, nil
		})}
	}))
	store.Before = noted(&calls)
	w.RequireRefused(w.Sign(w.Claims(map[string]any{"cnf": map[string]any{}})))
	w.RequireRefused(w.Sign(w.Claims(map[string]any{"exp": 1})))
	require.Empty(t, calls)
	_, err := w.Verifier.Verify(t.Context(), w.Sign(w.Claims(nil)))
	require.NoError(t, err)
	require.Equal(t, []string{"Check", "IsRevoked"}, calls)
}

func TestNewVerifierRefusesWhatCannotBeRight(t *testing.T) {
	w := fixture.New(t)
	for _, test := range []struct {
		name   string
		change func(o *jwtauth.VerifierOptions)
		why    string // empty: fine
	}{
		{"the least", func(*jwtauth.VerifierOptions) {}, ""},
		{"no issuer", func(o *jwtauth.VerifierOptions) { o.Issuer = "" }, "jwtauth: Issuer is missing; it is the value of the iss claim, e.g. https://api.example.com"},
		{"an issuer with a blank", func(o *jwtauth.VerifierOptions) { o.Issuer = " a" }, `jwtauth: Issuer " a" has a control character, or begins or ends with white space`},
		{"no audiences", func(o *jwtauth.VerifierOptions) { o.Audiences = nil }, "jwtauth: Audiences are missing: the services that the tokens are for, e.g. https://api.example.com"},
		{"an empty audience", func(o *jwtauth.VerifierOptions) { o.Audiences = []string{""} }, `jwtauth: Audiences "": 1 to 1024 bytes of UTF-8 are expected`},
		{"an audience twice", func(o *jwtauth.VerifierOptions) { o.Audiences = []string{"a", "a"} }, `jwtauth: Audiences: one of "a" "a" is there twice`},
		{"the audience of refresh tokens", func(o *jwtauth.VerifierOptions) { o.Audiences = []string{"https://other.test#refresh"} }, `jwtauth: Audiences: "https://other.test#refresh" is the audience of refresh tokens, which are for no API`},
		{"any audience", func(o *jwtauth.VerifierOptions) { o.Audiences, o.InsecureAnyAudience = nil, true }, ""},
		{"any audience and some", func(o *jwtauth.VerifierOptions) { o.InsecureAnyAudience = true }, "jwtauth: VerifierOptions has Audiences and InsecureAnyAudience, which contradict each other"},
		{"another claim for aud", func(o *jwtauth.VerifierOptions) { o.AudienceClaim, o.AudienceClaimValues = "azp", []string{"app"} }, ""},
		{"another claim and no audiences", func(o *jwtauth.VerifierOptions) {
			o.Audiences, o.AudienceClaim, o.AudienceClaimValues = nil, "client_id", []string{"app"}
		}, ""},
		{"another claim without values", func(o *jwtauth.VerifierOptions) { o.AudienceClaim = "azp" }, "jwtauth: VerifierOptions has only one of AudienceClaim and AudienceClaimValues, both are expected"},
		{"values without a claim", func(o *jwtauth.VerifierOptions) { o.AudienceClaimValues = []string{"app"} }, "jwtauth: VerifierOptions has only one of AudienceClaim and AudienceClaimValues, both are expected"},
		{"an empty value", func(o *jwtauth.VerifierOptions) { o.AudienceClaim, o.AudienceClaimValues = "azp", []string{"app", ""} }, `jwtauth: VerifierOptions.AudienceClaim and AudienceClaimValues "": 1 to 1024 bytes of UTF-8 are expected`},
		{"iss for aud", func(o *jwtauth.VerifierOptions) { o.AudienceClaim, o.AudienceClaimValues = "ISS", []string{"app"} }, `jwtauth: VerifierOptions.AudienceClaim is "ISS", which has another meaning`},
		{"the scopes for aud", func(o *jwtauth.VerifierOptions) {
			o.ScopeClaim, o.AudienceClaim, o.AudienceClaimValues = "scp", "scp", []string{"app"}
		}, `jwtauth: VerifierOptions.AudienceClaim is "scp", which has another meaning`},
		{"no audience and any audience", func(o *jwtauth.VerifierOptions) {
			o.Audiences, o.InsecureNoAudience, o.InsecureAnyAudience = nil, true, true
		}, "jwtauth: VerifierOptions has more than one of AudienceClaim, InsecureNoAudience and InsecureAnyAudience, which contradict each other"},
		{"no audience and another claim", func(o *jwtauth.VerifierOptions) {
			o.InsecureNoAudience, o.AudienceClaim, o.AudienceClaimValues = true, "azp", []string{"app"}
		}, "jwtauth: VerifierOptions has more than one of AudienceClaim, InsecureNoAudience and InsecureAnyAudience, which contradict each other"},
		{"no audience", func(o *jwtauth.VerifierOptions) { o.Audiences, o.InsecureNoAudience = nil, true }, ""},
		{"a negative size", func(o *jwtauth.VerifierOptions) { o.MaxTokenBytes = -1 }, "jwtauth: VerifierOptions.MaxTokenBytes is -1, 1 to 1048576 is expected"},
		{"the largest size", func(o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 1 << 20 }, ""},
		{"a larger size", func(o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 1<<20 + 1 }, "jwtauth: VerifierOptions.MaxTokenBytes is 1048577, 1 to 1048576 is expected"},
		{"the largest leeway", func(o *jwtauth.VerifierOptions) { o.Leeway = 5 * time.Minute }, ""},
		{"a larger leeway", func(o *jwtauth.VerifierOptions) { o.Leeway = 5*time.Minute + 1 }, "jwtauth: VerifierOptions.Leeway is 5m0.000000001s, at most 5m0s is expected"},
		{"a negative age", func(o *jwtauth.VerifierOptions) { o.MaxAge = -1 }, "jwtauth: VerifierOptions.MaxAge is -1ns, a positive duration up to 87600h0m0s or none is expected"},
		{"a long lifetime", func(o *jwtauth.VerifierOptions) { o.MaxLifetime = math.MaxInt64 }, "jwtauth: VerifierOptions.MaxLifetime is 2562047h47m16.854775807s, at most 87600h0m0s is expected, or a negative one for no limit"},
		{"a long age", func(o *jwtauth.VerifierOptions) { o.MaxAge = math.MaxInt64 }, "jwtauth: VerifierOptions.MaxAge is 2562047h47m16.854775807s, a positive duration up to 87600h0m0s or none is expected"},
		{"scopes of another claim", func(o *jwtauth.VerifierOptions) { o.ScopeClaim = "Sub" }, `jwtauth: VerifierOptions.ScopeClaim is "Sub", which is another registered claim`},
		{"scopes of scp", func(o *jwtauth.VerifierOptions) { o.ScopeClaim = "scp" }, ""},
		{"a required claim twice", func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"role", "team", "role"} }, "jwtauth: VerifierOptions.RequiredClaims has an empty name, a duplicate name, or more than 64"},
		{"64 required claims", func(o *jwtauth.VerifierOptions) { o.RequiredClaims = numbered(64) }, ""},
		{"65 required claims", func(o *jwtauth.VerifierOptions) { o.RequiredClaims = numbered(65) }, "jwtauth: VerifierOptions.RequiredClaims has an empty name, a duplicate name, or more than 64"},
		{"a required claim without a name", func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"role", ""} }, "jwtauth: VerifierOptions.RequiredClaims has an empty name, a duplicate name, or more than 64"},
		{"unknown revocations, and none to ask", func(o *jwtauth.VerifierOptions) { o.InsecureAcceptUnknownRevocation = true }, "jwtauth: VerifierOptions.InsecureAcceptUnknownRevocation means nothing without Revocations"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}}
			test.change(&o)
			v, err := jwtauth.NewVerifier(w.Keys, o)
			if test.why == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, test.why)
			require.Nil(t, v)
		})
	}
	good := jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}}
	_, err := jwtauth.NewVerifier(nil, good)
	require.EqualError(t, err, "jwtauth: no keys: NewVerifier needs a jwk.Ring, a jwk.Remote or a jwk.StaticSet")
	for _, ring := range []*jwk.Ring{nil, {}} {
		_, err = jwtauth.NewVerifier(ring, good)
		require.EqualError(t, err, "jwk: this Ring was not made by NewRing or OpenRing")
	}
}

// numbered returns n names of claims.
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("claim-", i))
	}
	return names
}

func TestTheZeroVerifierAcceptsNothing(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").AccessToken
	verified := w.RequireAccepted(token)
	for _, v := range []*jwtauth.Verifier{nil, {}} {
		got, err := v.Verify(t.Context(), token)
		require.Zero(t, got)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorContains(t, err, "not made by NewVerifier")
		require.ErrorIs(t, v.Recheck(t.Context(), verified), jwtauth.ErrUnavailable)
		require.ErrorIs(t, v.Revoke(t.Context(), verified), jwtauth.ErrUnavailable)
	}
}

func TestTimesAreComparedWithALeeway(t *testing.T) {
	for _, leeway := range []struct{ option, effect time.Duration }{
		{0, 30 * time.Second}, {-1, 0}, {-time.Hour, 0}, {time.Second, time.Second}, {5 * time.Minute, 5 * time.Minute},
	} {
		w := fixture.New(t, withOptions(func(o *jwtauth.VerifierOptions) { o.Leeway = leeway.option }))
		now, effect := w.Clock.Now().Unix(), int64(leeway.effect/time.Second)
		for _, test := range []struct {
			check  string // empty: accepted
			claims map[string]any
		}{
			{"", map[string]any{"exp": now - effect + 1}},
			{"exp", map[string]any{"exp": now - effect}},
			{"", map[string]any{"nbf": now + effect}},
			{"nbf", map[string]any{"nbf": now + effect + 1}},
			{"", map[string]any{"iat": now + effect}},
			{"iat", map[string]any{"iat": now + effect + 1}},
			{"nbf", map[string]any{"nbf": float64(now+effect) + 0.5}},
			{"", map[string]any{"exp": float64(now-effect) + 0.5}},
		} {
			token := w.Sign(w.Claims(test.claims))
			if test.check == "" {
				w.RequireAccepted(token)
				continue
			}
			w.RequireRefusedBy(test.check, token)
		}
	}
}

func TestALifetimeHasALimit(t *testing.T) {
	const day, longest = 24 * 3600, 24*3600 + 5*60 + 30 // the default has 5 minutes and the leeway more
	for _, test := range []struct {
		limit    time.Duration
		iat, exp int64 // seconds from now; an iat of 1 stands for none
		good     bool
	}{
		{0, 0, longest, true}, // a managed identity of Entra: 24 h, from 5 minutes back
		{0, 0, longest + 1, false},
		{0, -3600, longest - 3600, true},
		{0, -3600, longest - 3599, false},
		{0, 30, longest + 30, true},
		{0, 1, longest, true},
		{0, 1, longest + 1, false},
		{time.Hour, 0, 3600, true},
		{time.Hour, 0, 3601, false},
		{time.Hour, -100 * day, 60, false},
		{-1, 0, 3650 * day, true},
		{-1, 1, 3650 * day, true},
	} {
		w := fixture.New(t)
		v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.MaxLifetime = test.limit })
		now := w.Clock.Now().Unix()
		claims := map[string]any{"exp": now + test.exp, "iat": now + test.iat}
		if test.iat == 1 {
			claims["iat"] = nil
		}
		_, err := v.Verify(t.Context(), w.Sign(w.Claims(claims)))
		if test.good {
			require.NoError(t, err, "%+v", test)
			continue
		}
		requireFound(t, "lifetime", err)
		require.ErrorIs(t, err, jwtauth.ErrTokenTooLong)
	}
}

func TestATokenMayBeTooOld(t *testing.T) {
	w := fixture.New(t, withOptions(func(o *jwtauth.VerifierOptions) { o.MaxAge = time.Hour }))
	now := w.Clock.Now().Unix()
	w.RequireAccepted(w.Sign(w.Claims(map[string]any{"iat": now - 3630})))
	require.ErrorIs(t, w.RequireRefusedBy("age", w.Sign(w.Claims(map[string]any{"iat": now - 3631}))), jwtauth.ErrTokenTooLong)
	require.ErrorIs(t, w.RequireRefusedBy("age", w.Sign(w.Claims(map[string]any{"iat": nil}))), jwtauth.ErrTokenClaim)
	w.RequireAccepted(w.Sign(w.Claims(map[string]any{"iat": now + 30})))
}

func TestRequiredClaimsAreThereAndNotNull(t *testing.T) {
	w := fixture.New(t, withOptions(func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"role", "client_id", "jti"} }))
	for _, value := range []any{"", "admin", 0, false, []int{}, map[string]any{}} {
		w.RequireAccepted(w.Sign(w.Claims(map[string]any{"role": value, "client_id": "web"})))
	}
	for name, claims := range map[string]map[string]any{
		"all missing":      {"jti": "x"},
		"one missing":      {"client_id": "web"},
		"the other":        {"role": "admin"},
		"in another case":  {"Role": "admin", "client_id": "web"},
		"further in":       {"x": map[string]any{"role": "admin"}, "client_id": "web"},
		"null":             {"role": nil, "client_id": "web"},
		"one of the usual": {"role": "admin", "client_id": "web", "jti": nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.Claims(claims)
			if name == "null" {
				c["role"] = nil // null on the wire
			}
			v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.RequiredClaims = []string{"role", "client_id", "jti"} })
			_, err := v.Verify(t.Context(), w.Sign(c))
			requireFound(t, "required", err)
			require.ErrorIs(t, err, jwtauth.ErrTokenClaim)
		})
	}
	// All 64 of them are required.
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.RequiredClaims = numbered(64) })
	claims := w.Claims(nil)
	for _, name := range numbered(64) {
		claims[name] = true
	}
	_, err := v.Verify(t.Context(), w.Sign(claims))
	require.NoError(t, err)
	delete(claims, "claim-63")
	_, err = v.Verify(t.Context(), w.Sign(claims))
	requireFound(t, "required", err)
}

func TestScopesAreWordsOrAList(t *testing.T) {
	w := fixture.New(t)
	for _, test := range []struct {
		name   string
		option string
		claims map[string]any
		want   []string
		bad    bool
	}{
		{"words", "", map[string]any{"scope": "read write"}, []string{"read", "write"}, false},
		{"a list", "", map[string]any{"scope": []string{"read", "write"}}, []string{"read", "write"}, false},
		{"scp, words", "scp", map[string]any{"scp": "read write"}, []string{"read", "write"}, false},
		{"scp, a list", "scp", map[string]any{"scp": []string{"read", "write"}}, []string{"read", "write"}, false},
		{"a list whose elements are no words", "scp", map[string]any{"scp": []string{"read write"}}, []string{"read write"}, false},
		{"the other claim does not count", "scp", map[string]any{"scope": "admin"}, nil, false},
		{"nor the other way round", "", map[string]any{"scp": "admin"}, nil, false},
		{"many blanks", "", map[string]any{"scope": "  read   write "}, []string{"read", "write"}, false},
		{"nothing", "", map[string]any{"scope": ""}, nil, false},
		{"an empty list", "", map[string]any{"scope": []string{}}, nil, false},
		{"escaped", "", map[string]any{"scope": "re\"ad"}, []string{`re"ad`}, false},
		{"a number", "", map[string]any{"scope": 7}, nil, true},
		{"a list with a number", "scp", map[string]any{"scp": []any{"read", 7}}, nil, true},
		{"an object", "", map[string]any{"scope": map[string]any{"read": true}}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.ScopeClaim = test.option })
			got, err := v.Verify(t.Context(), w.Sign(w.Claims(test.claims)))
			if test.bad {
				requireFound(t, "claims", err)
				require.ErrorIs(t, err, jwtauth.ErrTokenMalformed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got.Scopes())
			for _, scope := range test.want {
				require.True(t, got.HasScope(scope))
			}
			for _, scope := range []string{"", " ", "admin", "rea", "READ", "read write "} {
				require.False(t, got.HasScope(scope), scope)
			}
		})
	}
}

func TestOneOfTheAudiencesIsEnough(t *testing.T) {
	w := fixture.New(t)
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Audiences = []string{"https://files.test", fixture.Audience} })
	for _, test := range []struct {
		aud  any
		good bool
	}{
		{fixture.Audience, true},
		{"https://files.test", true},
		{[]string{"https://other.test", fixture.Audience}, true},
		{[]string{fixture.Audience}, true},
		{[]string{}, false},
		{[]string{"https://other.test"}, false},
		{fixture.Audience + " https://files.test", false},
		{fixture.Audience + "/", false},
		{strings.ToUpper(fixture.Audience), false},
		{"", false},
		{nil, false},
	} {
		_, err := v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"aud": test.aud})))
		if test.good {
			require.NoError(t, err, "%v", test.aud)
			continue
		}
		requireFound(t, "aud", err)
		require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	}
	anybody := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Audiences, o.InsecureAnyAudience = nil, true })
	for _, aud := range []any{"https://other.test", nil} {
		_, err := anybody.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"aud": aud})))
		require.NoError(t, err)
	}
}

func TestTypTellsTheKindsApart(t *testing.T) {
	w := fixture.New(t)
	strict := w.Foreign(func(*jwtauth.VerifierOptions) {})
	older := w.Foreign(func(o *jwtauth.VerifierOptions) { o.AcceptTypJWT = true })
	none := w.Foreign(func(o *jwtauth.VerifierOptions) { o.AcceptNoTyp = true })
	for _, test := range []struct {
		typ                 any
		strict, older, none bool
	}{
		{"at+jwt", true, true, true},
		{"AT+JWT", true, true, true},
		{"application/at+jwt", true, true, true},
		{"Application/At+Jwt", true, true, true},
		{"JWT", false, true, false},
		{"jwt", false, true, false},
		{"application/jwt", false, true, false},
		{nil, false, false, true},
		{"", false, false, false},
		{"application/", false, false, false},
		{"application/application/at+jwt", false, false, false},
		{"text/at+jwt", false, false, false},
		{"at+jwt ", false, false, false},
		{"at+jwt; charset=utf-8", false, false, false},
		{"at+jwt+jwt", false, false, false},
		{"at", false, false, false},
		{"rt+jwt", false, false, false},
		{"id+jwt", false, false, false},
		{"logout+jwt", false, false, false},
		{"dpop+jwt", false, false, false},
		{"at+\u212awt", false, false, false},
	} {
		t.Run(fmt.Sprint(test.typ), func(t *testing.T) {
			token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": test.typ}), w.Claims(nil))
			for _, v := range []struct {
				*jwtauth.Verifier
				good bool
			}{{strict, test.strict}, {older, test.older}, {none, test.none}} {
				_, err := v.Verify(t.Context(), token)
				if v.good {
					require.NoError(t, err)
					continue
				}
				requireFound(t, "typ", err)
				require.ErrorIs(t, err, jwtauth.ErrTokenType)
			}
		})
	}
	for _, typ := range []string{`7`, `null`, `["at+jwt"]`, `true`} {
		token := fixture.SignWith(t, w.Key, fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":%s}`, w.Key.ID(), typ), w.Claims(nil))
		_, err := none.Verify(t.Context(), token)
		requireFound(t, "header", err)
	}
}

func TestCheckDecidesLast(t *testing.T) {
	errSunday := fmt.Errorf("not on a Sunday: %w", jwtauth.ErrRefused)
	own := &jwtauth.Error{Status: 403, Code: "insufficient_scope", Check: "mine"}
	var none *jwtauth.Error
	for _, test := range []struct {
		name    string
		answer  error
		status  int
		matches []error
		check   string
	}{
		{"nothing against it", nil, 0, nil, ""},
		{"a refusal", errSunday, 401, []error{jwtauth.ErrRefused, jwtauth.ErrTokenCheck, errSunday}, "check"},
		{"another error", errors.New("no connection"), 503, []error{jwtauth.ErrUnavailable}, "check"},
		{"no answer", fmt.Errorf("asking: %w", jwtauth.ErrUnavailable), 503, []error{jwtauth.ErrUnavailable}, "check"},
		{"a deadline", context.DeadlineExceeded, 503, []error{jwtauth.ErrUnavailable, context.DeadlineExceeded}, "check"},
		{"an *Error", own, 403, []error{jwtauth.ErrRefused}, "mine"},
		{"an *Error, wrapped", fmt.Errorf("asking: %w", own), 403, []error{jwtauth.ErrRefused}, "mine"},
		{"an *Error about the server", &jwtauth.Error{Status: 500}, 500, []error{jwtauth.ErrUnavailable}, "check"},
		{"an *Error that is nil", none, 503, []error{jwtauth.ErrUnavailable}, "check"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked jwtauth.Token
			w := fixture.New(t, withOptions(func(o *jwtauth.VerifierOptions) {
				o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(_ context.Context, t jwtauth.Token) (bool, error) {
					asked = t
					return true, test.answer
				})}
			}))
			got, err := w.Verifier.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"role": "admin"})))
			claims, claimsErr := jwtauth.ClaimsAs[struct{ Role string }](asked)
			require.NoError(t, claimsErr)
			require.Equal(t, "admin", claims.Role)
			require.Equal(t, "alice", asked.Subject)
			if test.answer == nil {
				require.NoError(t, err)
				require.Equal(t, "alice", got.Subject)
				return
			}
			require.Zero(t, got)
			e, ok := errors.AsType[*jwtauth.Error](err)
			require.True(t, ok)
			require.Equal(t, test.status, e.Status)
			require.Equal(t, test.check, e.Check)
			for _, sentinel := range test.matches {
				require.ErrorIs(t, err, sentinel)
			}
		})
	}
}

func TestRecheckAsksAgainWhatHoldsOnlyForATime(t *testing.T) {
	var refuses, unknown bool
	for _, test := range []struct {
		check  string // empty: still good
		reason error
		change func(t *testing.T, w *fixture.World, token jwtauth.Token)
	}{
		{"", nil, func(*testing.T, *fixture.World, jwtauth.Token) {}},
		{"", nil, func(_ *testing.T, w *fixture.World, _ jwtauth.Token) { w.Clock.Advance(10 * time.Minute) }},
		{"exp", jwtauth.ErrTokenExpired, func(_ *testing.T, w *fixture.World, _ jwtauth.Token) {
			w.Clock.Advance(15*time.Minute + 30*time.Second)
		}},
		{"age", jwtauth.ErrTokenTooLong, func(_ *testing.T, w *fixture.World, _ jwtauth.Token) {
			w.Clock.Advance(12*time.Minute + 31*time.Second)
		}},
		{"nbf", jwtauth.ErrTokenNotYetValid, func(_ *testing.T, w *fixture.World, _ jwtauth.Token) { w.Clock.Advance(-31 * time.Second) }},
		{"key", jwtauth.ErrTokenKey, func(t *testing.T, w *fixture.World, _ jwtauth.Token) {
			require.NoError(t, w.Keys.Replace(fixture.NewKey(t, jwk.ES256)))
		}},
		{"", nil, func(t *testing.T, w *fixture.World, _ jwtauth.Token) {
			require.NoError(t, w.Keys.Replace(fixture.NewKey(t, jwk.ES256), w.Key.Verification()))
		}},
		{"key", jwtauth.ErrTokenKey, func(t *testing.T, w *fixture.World, _ jwtauth.Token) { // the kid alone is not the key
			require.NoError(t, w.Keys.Replace(fixture.NewKey(t, jwk.ES256).WithID(w.Key.ID())))
		}},
		{"check", jwtauth.ErrTokenCheck, func(*testing.T, *fixture.World, jwtauth.Token) { refuses = true }},
		{"revocation", jwtauth.ErrTokenRevoked, func(t *testing.T, w *fixture.World, token jwtauth.Token) {
			require.NoError(t, w.Verifier.Revoke(t.Context(), token))
		}},
		{"revocation", jwtauth.ErrTokenRevoked, func(t *testing.T, w *fixture.World, token jwtauth.Token) {
			require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", token.SessionID))
		}},
		{"revocation", jwtauth.ErrUnavailable, func(*testing.T, *fixture.World, jwtauth.Token) { unknown = true }},
	} {
		refuses, unknown = false, false
		w, store := fixture.NewHooked(t, withOptions(func(o *jwtauth.VerifierOptions) {
			o.MaxAge = 12 * time.Minute
			o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(context.Context, jwtauth.Token) (bool, error) { return !refuses, nil })}
		}))
		store.Before = func(ctx context.Context, method string) error {
			if unknown && method == "IsRevoked" {
				return fixture.ErrStoreDown
			}
			return nil
		}
		now := w.Clock.Now().Unix()
		sid := w.Login("alice").SessionID
		token := w.RequireAccepted(w.Sign(w.Claims(map[string]any{"nbf": now, "exp": now + 900, "sid": sid})))
		test.change(t, w, token)
		w.Heard()
		err := w.Verifier.Recheck(t.Context(), token)
		if test.check == "" {
			require.NoError(t, err)
			require.Empty(t, w.Heard())
			continue
		}
		e, ok := errors.AsType[*jwtauth.Error](err)
		require.True(t, ok)
		require.Equal(t, test.check, e.Check)
		require.ErrorIs(t, err, test.reason)
		require.Len(t, w.Heard(), 1)
	}
}

func TestRecheckMeasuresTheAgeOfTheLoginAnew(t *testing.T) {
	w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.LoginWithin(5 * time.Minute)}
	})
	token := w.RequireAccepted(w.Login("alice").AccessToken)
	require.NoError(t, w.Verifier.Recheck(t.Context(), token))
	w.Clock.Advance(6 * time.Minute)
	require.ErrorIs(t, w.Verifier.Recheck(t.Context(), token), jwtauth.ErrPolicy)
}

func TestRecheckTakesOwnTokensAlone(t *testing.T) {
	w, other := fixture.New(t), fixture.NewWith(t, jwk.HS256)
	token := w.RequireAccepted(w.Login("alice").AccessToken)
	sibling := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = w.Store })
	again, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.Verifier, elsewhereVerifier(w))
	require.NoError(t, err)
	for name, v := range map[string]*jwtauth.Verifier{
		"of the same name, with other keys": other.Verifier, "of the same name and keys": sibling, "of the same issuer": again,
		"without the check that lets it in": fixture.Without(w.Verifier, "aud"),
	} {
		require.ErrorIs(t, v.Recheck(t.Context(), token), jwtauth.ErrNoToken, name)
		require.ErrorIs(t, v.Revoke(t.Context(), token), jwtauth.ErrNoToken, name)
	}
	require.NoError(t, either.Recheck(t.Context(), token), "its own member has verified it")
	fromEither, err := either.Verify(t.Context(), w.Login("alice").AccessToken)
	require.NoError(t, err)
	require.NoError(t, w.Verifier.Recheck(t.Context(), fromEither))
	elsewhere := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer = "https://other.test" })
	require.ErrorIs(t, elsewhere.Recheck(t.Context(), token), jwtauth.ErrTokenIssuer)
	require.ErrorIs(t, elsewhere.Revoke(t.Context(), token), jwtauth.ErrTokenIssuer)
	for _, made := range []jwtauth.Token{{}, {Issuer: fixture.Issuer, ID: "x", Subject: "alice", ExpiresAt: w.Clock.Now().Add(time.Hour)}} {
		w.Heard()
		require.ErrorIs(t, w.Verifier.Recheck(t.Context(), made), jwtauth.ErrNoToken)
		require.Equal(t, []string{"token_refused token"}, w.Heard())
		require.ErrorIs(t, w.Verifier.Revoke(t.Context(), made), jwtauth.ErrNoToken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Verifier.Recheck(ctx, token), jwtauth.ErrUnavailable)
	plain := w.Foreign(func(*jwtauth.VerifierOptions) {})
	own, err := plain.Verify(t.Context(), w.Login("alice").AccessToken)
	require.NoError(t, err)
	require.ErrorIs(t, plain.Recheck(ctx, own), jwtauth.ErrUnavailable, "without a store, too")
	require.NoError(t, w.Verifier.Recheck(t.Context(), token))
}

// elsewhereVerifier makes a verifier of another issuer.
func elsewhereVerifier(w *fixture.World) *jwtauth.Verifier {
	return w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer = "https://elsewhere.test" })
}

func TestATokenSaysWhatItsIssuerSaid(t *testing.T) {
	w := fixture.New(t)
	now := w.Clock.Now().Unix()
	got := w.RequireAccepted(w.Sign(w.Claims(map[string]any{
		"sid": "s", "client_id": "web", "acr": "2", "amr": []string{"pwd", "otp"}, "aud": []string{"https://other.test", fixture.Audience},
		"scope": "read write", "nbf": now - 1, "exp": float64(now) + 600.25, "auth_time": now - 60,
	})))
	require.Equal(t, "token-1 https://issuer.test alice s web 2", strings.Join([]string{got.ID, got.Issuer, got.Subject, got.SessionID, got.ClientID, got.ACR}, " "))
	at := func(seconds int64) time.Time { return time.Unix(now+seconds, 0) }
	require.True(t, at(0).Equal(got.IssuedAt))
	require.True(t, at(-1).Equal(got.NotBefore))
	require.True(t, at(600).Add(250*time.Millisecond).Equal(got.ExpiresAt))
	require.True(t, at(-60).Equal(got.AuthTime))

	// Its lists are the caller's own.
	for _, list := range []func() []string{got.Scopes, got.AMR, got.Audiences} {
		own := list()
		require.Len(t, own, 2)
		was := slices.Clone(own)
		own[0] = "changed"
		require.Equal(t, was, list())
	}

	bare := w.RequireAccepted(w.Sign(w.Claims(map[string]any{"auth_time": nil, "iat": nil})))
	require.True(t, bare.IssuedAt.IsZero() && bare.NotBefore.IsZero() && bare.AuthTime.IsZero())
	require.Empty(t, bare.SessionID+bare.ClientID+bare.ACR)
	require.Nil(t, bare.Scopes())
	require.Nil(t, bare.AMR())
}
