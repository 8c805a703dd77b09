package jwtauthtest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

var alice = jwtauth.Grant{
	Subject: "alice", Scopes: []string{"orders:write"}, ClientID: "web",
	Claims: map[string]any{"role": "admin", "account": int64(1<<53 + 1)},
}

// ownVerifier is the verifier of a service that has only the keys and the names
// of an issuer, and reads the real clock.
func ownVerifier(t *testing.T, issuer *jwtauthtest.Issuer) *jwtauth.Verifier {
	t.Helper()
	v, err := jwtauth.NewVerifier(issuer.Keys, jwtauth.VerifierOptions{Issuer: "https://issuer.test", Audiences: []string{"https://api.test"}})
	require.NoError(t, err)
	return v
}

func TestAStraightTokenIsAccepted(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	token := issuer.Token(t, alice)

	ran := false
	answer := do(issuer.Middleware.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		got, ok := jwtauth.FromContext(r.Context())
		require.True(t, ok)
		require.Equal(t, "alice", got.Subject)
		require.Equal(t, "web", got.ClientID)
		require.Equal(t, []string{"orders:write"}, got.Scopes())
		require.True(t, issuer.Clock.Now().Equal(got.IssuedAt))
	})), jwtauthtest.NewRequest("GET", "/", nil, token))
	require.True(t, ran, "the handler did not run: %d", answer.Code)

	_, err := ownVerifier(t, issuer).Verify(t.Context(), token)
	require.NoError(t, err)
}

func TestEachBendIsRefusedForItsOwnReason(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	for _, c := range []struct {
		name   string
		bend   func(*jwtauthtest.Draft)
		check  string
		reason error
	}{
		{"Expired", jwtauthtest.Expired, "exp", jwtauth.ErrTokenExpired},
		{"NotYetValid", jwtauthtest.NotYetValid, "nbf", jwtauth.ErrTokenNotYetValid},
		{"OtherIssuer", jwtauthtest.OtherIssuer, "iss", jwtauth.ErrTokenIssuer},
		{"OtherAudience", jwtauthtest.OtherAudience, "aud", jwtauth.ErrTokenAudience},
		{"OtherType", jwtauthtest.OtherType, "typ", jwtauth.ErrTokenType},
		{"OtherKey", jwtauthtest.OtherKey, "signature", jwtauth.ErrTokenSignature},
		{"Tampered", jwtauthtest.Tampered, "signature", jwtauth.ErrTokenSignature},
		{"no sub", jwtauthtest.Claim("sub", nil), "sub", jwtauth.ErrTokenClaim},
		{"no exp", jwtauthtest.Claim("exp", nil), "exp", jwtauth.ErrTokenClaim},
		{"no jti", jwtauthtest.Claim("jti", nil), "jti", jwtauth.ErrTokenClaim},
		{"cnf", jwtauthtest.Claim("cnf", map[string]string{"jkt": "x"}), "cnf", jwtauth.ErrTokenBound},
		{"a long life", jwtauthtest.Claim("exp", issuer.Clock.Now().AddDate(10, 0, 0)), "lifetime", jwtauth.ErrTokenTooLong},
		{"an unknown kid", func(d *jwtauthtest.Draft) { d.Header["kid"] = "unknown" }, "key", jwtauth.ErrTokenKey},
		{"another alg", func(d *jwtauthtest.Draft) { d.Header["alg"] = "none" }, "key", jwtauth.ErrTokenKey},
		{"crit", func(d *jwtauthtest.Draft) { d.Header["crit"] = []string{"exp"} }, "crit", jwtauth.ErrTokenMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := issuer.Token(t, alice, c.bend)

			answer := do(issuer.Middleware.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the handler ran")
			})), jwtauthtest.NewRequest("GET", "/", nil, token))
			require.Equal(t, http.StatusUnauthorized, answer.Code)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `error="invalid_token"`)

			_, err := issuer.Middleware.Authenticate(jwtauthtest.NewRequest("GET", "/", nil, token))
			requireRefused(t, err, c.check, c.reason)
			if c.check != "jti" { // which only revocations need
				_, err = ownVerifier(t, issuer).Verify(t.Context(), token)
				requireRefused(t, err, c.check, c.reason)
			}
		})
	}
}

func requireRefused(t *testing.T, err error, check string, reason error) {
	t.Helper()
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	require.ErrorIs(t, err, reason)
	failure, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	require.Equal(t, check, failure.Check)
}

// What a bend does not touch is what the issuer signs, so that a token is
// refused for the bend and for nothing else.
func TestABendThatChangesNothingLeavesTheTokenGood(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	got := issuer.Verified(t, alice, func(*jwtauthtest.Draft) {})
	require.Equal(t, "web", got.ClientID)
	claims, err := jwtauth.ClaimsAs[struct {
		Role    string
		Account int64
	}](got)
	require.NoError(t, err)
	require.Equal(t, "admin", claims.Role)
	require.EqualValues(t, 1<<53+1, claims.Account)
}

func TestClaimSetsAnyClaim(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	began := issuer.Clock.Now().Add(-time.Hour)
	got := issuer.Verified(t, alice, jwtauthtest.Claim("sid", "7"), jwtauthtest.Claim("auth_time", began), jwtauthtest.Claim("role", nil))
	require.Equal(t, "7", got.SessionID)
	require.True(t, began.Equal(got.AuthTime))
	claims, err := jwtauth.ClaimsAs[map[string]any](got)
	require.NoError(t, err)
	require.NotContains(t, claims, "role")
}

func TestTwoIssuersShareNoKey(t *testing.T) {
	one, two := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{}), jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	require.NotEqual(t, one.Key.ID(), two.Key.ID())
	_, err := two.Verifier.Verify(t.Context(), one.Token(t, alice))
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)
}

func TestTheKeyReachesAServiceAsTextAndAsJWKSet(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	text, err := issuer.Key.Verification().PEM()
	require.NoError(t, err)
	parsed, err := jwk.ParseVerification("", text)
	require.NoError(t, err)
	require.Equal(t, issuer.Key.ID(), parsed.ID())

	answer := do(issuer.Keys, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	require.Contains(t, answer.Body.String(), issuer.Key.ID())
}

func TestLoginsAreRealOnes(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	first, err := issuer.Issue(t.Context(), alice)
	require.NoError(t, err)
	second, err := issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken, ClientID: "web"})
	require.NoError(t, err)
	_, err = issuer.Verifier.Verify(t.Context(), second.AccessToken)
	require.NoError(t, err)

	issuer.Clock.Advance(25 * time.Hour)
	_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken, ClientID: "web"})
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: second.RefreshToken, ClientID: "web"})
	require.ErrorIs(t, err, jwtauth.ErrNoSession)

	require.NoError(t, issuer.Logout(t.Context(), second.AccessToken))
	list, _, err := issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestFailingStoresAreUnavailableUntilTheyAreMended(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	tokens, err := issuer.Issue(t.Context(), alice)
	require.NoError(t, err)
	down := errors.New("the store is down")
	calls := map[string]func() error{
		"Issue": func() error { _, err := issuer.Issue(t.Context(), alice); return err },
		"Refresh": func() error {
			_, err := issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken, ClientID: "web"})
			return err
		},
		"Sessions":   func() error { _, _, err := issuer.Sessions(t.Context(), "alice", ""); return err },
		"Verify":     func() error { _, err := issuer.Verifier.Verify(t.Context(), tokens.AccessToken); return err },
		"Logout":     func() error { return issuer.Logout(t.Context(), tokens.AccessToken) },
		"EndSession": func() error { return issuer.EndSession(t.Context(), "alice", tokens.SessionID) },
	}
	issuer.FailStores(down)
	for name, call := range calls {
		err := call()
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
		require.ErrorIs(t, err, down, name)
	}
	issuer.FailStores(nil)
	for _, name := range []string{"Issue", "Verify", "Refresh", "Sessions", "EndSession", "Logout"} {
		require.NoError(t, calls[name](), name)
	}
}

func TestStoresOfTheTestAreUsed(t *testing.T) {
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Sessions: store, Revocations: store})
	_, err := issuer.Issue(t.Context(), alice)
	require.NoError(t, err)
	rows, err := store.List(t.Context(), "https://issuer.test", "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)

	revocations := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Revocations: store})
	_, err = revocations.Issue(t.Context(), alice)
	require.Error(t, err, "sessions that nobody asked for")
	token := revocations.Token(t, alice)
	require.NoError(t, revocations.Logout(t.Context(), token))
	_, err = revocations.Verifier.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)

	outlives := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{InsecureAccessOutlivesSession: true})
	_, err = outlives.Issue(t.Context(), alice)
	require.NoError(t, err)
}

func TestWithTokenIsForHandlersAndNotForMiddleware(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	token := issuer.Verified(t, alice)
	stub := jwtauthtest.WithToken(token)

	ran := 0
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran++
		got, ok := jwtauth.FromContext(r.Context())
		require.True(t, ok)
		require.Equal(t, token.ID, got.ID)
		require.True(t, got.HasScope("orders:write"))
	})
	do(stub(handler), httptest.NewRequest("GET", "/", nil))
	require.Equal(t, 1, ran)

	answer := do(stub(issuer.Middleware.Require(handler)), httptest.NewRequest("GET", "/", nil))
	require.Equal(t, http.StatusUnauthorized, answer.Code)
	require.Equal(t, 1, ran)
}

func TestNewRequestHasTheTokenOnceOrNot(t *testing.T) {
	require.Equal(t, []string{"Bearer x.y.z"}, jwtauthtest.NewRequest("POST", "/", nil, "x.y.z").Header["Authorization"])
	require.Empty(t, jwtauthtest.NewRequest("GET", "/", nil, "").Header)
}

func TestTheClockIsSafeForConcurrentUse(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	start := issuer.Clock.Now()
	require.LessOrEqual(t, time.Since(start).Abs(), time.Minute, "the clock begins at the real time")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				issuer.Clock.Advance(time.Millisecond)
				issuer.Clock.Now()
			}
		})
	}
	all.Wait()
	require.Equal(t, start.Add(800*time.Millisecond), issuer.Clock.Now())
	issuer.Clock.Set(start)
	require.Equal(t, start, issuer.Clock.Now())
}

func TestMistakesEndTheTest(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	rotated := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	require.NoError(t, rotated.Keys.Replace(issuer.Key))
	for _, c := range []struct {
		want string
		do   func(t testing.TB)
	}{
		{"IssuerOptions.Now is set", func(t testing.TB) { jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Now: time.Now}) }},
		{"has a fragment", func(t testing.TB) { jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Issuer: "https://issuer.test#a"}) }},
		{"Grant.Subject", func(t testing.TB) { issuer.Token(t, jwtauth.Grant{}) }},
		{"is a reserved name", func(t testing.TB) {
			issuer.Token(t, jwtauth.Grant{Subject: "alice", Claims: map[string]int{"EXP": 1}})
		}},
		{"unsupported type", func(t testing.TB) { issuer.Token(t, alice, jwtauthtest.Claim("role", func() {})) }},
		{"unsupported type", func(t testing.TB) {
			issuer.Token(t, alice, func(d *jwtauthtest.Draft) { d.Header["alg"] = func() {} })
		}},
		{"another signing key", func(t testing.TB) { rotated.Token(t, alice, jwtauthtest.Expired) }},
		{"expired", func(t testing.TB) { issuer.Verified(t, alice, jwtauthtest.Expired) }},
	} {
		f := &fake{}
		c.do(f)
		require.Contains(t, f.fatal, "jwtauthtest: ")
		require.Contains(t, f.fatal, c.want)
	}
}

func TestATokenOfClaimsReachesTheHandler(t *testing.T) {
	token := jwtauthtest.NewToken(t, map[string]any{"sub": "alice", "role": "admin"})
	answer := do(jwtauthtest.WithToken(token)(http.HandlerFunc(me)), jwtauthtest.NewRequest("GET", "/me", nil, ""))
	require.Equal(t, "alice is admin", answer.Body.String())
	var bad fake
	jwtauthtest.NewToken(&bad, map[string]any{"role": "admin"})
	require.Contains(t, bad.fatal, "neither iss nor sub")
}
