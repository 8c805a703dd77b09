package jwtauth_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

const billing = "https://billing.test"

// newExchange makes a World whose issuer exchanges tokens for the service billing, and the
// verifier of that service.
func newExchange(t *testing.T) (w *fixture.World, service *jwtauth.Verifier) {
	t.Helper()
	w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.ExchangeAudiences = []string{billing, "https://mail.test"}
	})
	service, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{
		Issuer: fixture.Issuer, Audiences: []string{billing}, Revocations: w.Store, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	return w, service
}

func TestAnExchangedTokenIsShorterAndNarrowerAndNamesItsActor(t *testing.T) {
	w, service := newExchange(t)
	login, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, ClientID: "web", ACR: "2", AMR: []string{"pwd"}, Claims: map[string]any{"role": "admin"},
	})
	require.NoError(t, err)
	parent := w.RequireAccepted(login.AccessToken)
	r, err := w.Issuer.Exchange(t.Context(), parent, jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", Scopes: []string{"read"}})
	require.NoError(t, err)
	require.Equal(t, 60, r.ExpiresIn)
	require.Equal(t, "read", r.Scope)
	require.Empty(t, r.RefreshToken)
	got, err := service.Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice web orders 2", got.Subject+" "+got.ClientID+" "+got.Actor+" "+got.ACR)
	require.Equal(t, []string{billing}, got.Audiences())
	require.Equal(t, []string{"read"}, got.Scopes())
	require.Equal(t, parent.AuthTime, got.AuthTime)
	require.Equal(t, parent.SessionID, got.SessionID)
	require.NotEqual(t, parent.ID, got.ID)
	claims := fixture.Payload[map[string]any](t, r.AccessToken)
	require.Equal(t, map[string]any{"sub": "orders"}, claims["act"])
	require.NotContains(t, claims, "role")

	// The issuer's own services refuse it, and it cannot be exchanged again.
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenAudience)
	_, err = w.Issuer.Exchange(t.Context(), got, jwtauth.ExchangeRequest{Audiences: []string{"https://mail.test"}, Actor: "billing"})
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	// The token of a login is not good at the other service.
	_, err = service.Verify(t.Context(), login.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	// The other service cannot log the user out with it.
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrTokenAudience)
	w.RequireAccepted(login.AccessToken)
}

func TestAnExchangedTokenDoesNotOutliveItsParent(t *testing.T) {
	w, service := newExchange(t)
	login := w.Login("alice")
	parent := w.RequireAccepted(login.AccessToken)
	request := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", TTL: time.Hour}
	r, err := w.Issuer.Exchange(t.Context(), parent, request)
	require.NoError(t, err)
	require.Equal(t, parent.ExpiresAt.UTC(), r.ExpiresAt.UTC())
	w.Clock.Advance(15*time.Minute - 10*time.Second)
	request.TTL = 0
	r, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.NoError(t, err)
	require.Equal(t, 10, r.ExpiresIn)
	w.Clock.Advance(10 * time.Second) // the parent is accepted for the leeway, but gives no token any more
	require.NoError(t, w.Verifier.Recheck(t.Context(), parent))
	_, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	w.Clock.Advance(time.Minute)
	_, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	_, err = service.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestAnExchangedTokenEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(w *fixture.World, r jwtauth.TokenResponse) error{
		"a logout": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.RefreshToken)
		},
		"a forced refresh": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, service := newExchange(t)
			login := w.Login("alice")
			parent := w.RequireAccepted(login.AccessToken)
			request := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders"}
			r, err := w.Issuer.Exchange(t.Context(), parent, request)
			require.NoError(t, err)
			require.NoError(t, end(w, login))
			_, err = service.Verify(t.Context(), r.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			_, err = w.Issuer.Exchange(t.Context(), parent, request)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		})
	}
}

func TestExchangeRefusesWhatItMustNotIssue(t *testing.T) {
	w, _ := newExchange(t)
	parent := w.RequireAccepted(w.Login("alice", "read").AccessToken)
	good := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", Scopes: []string{"read"}}
	for _, test := range []struct {
		name   string
		change func(r *jwtauth.ExchangeRequest)
		why    string
	}{
		{"no audience", func(r *jwtauth.ExchangeRequest) { r.Audiences = nil }, "ExchangeRequest.Audiences is empty or has one twice: some of IssuerOptions.ExchangeAudiences are expected"},
		{"an audience of logins", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{fixture.Audience} }, "is not one of IssuerOptions.ExchangeAudiences"},
		{"an unknown audience", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{billing, "https://x.test"} }, "is not one of IssuerOptions.ExchangeAudiences"},
		{"an audience twice", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{billing, billing} }, "is empty or has one twice"},
		{"no actor", func(r *jwtauth.ExchangeRequest) { r.Actor = "" }, "ExchangeRequest.Actor is \"\": 1 to 1024 bytes of UTF-8 are expected"},
		{"an actor that is not UTF-8", func(r *jwtauth.ExchangeRequest) { r.Actor = "\xff" }, "of UTF-8 are expected"},
		{"a scope twice", func(r *jwtauth.ExchangeRequest) { r.Scopes = []string{"read", "read"} }, "is there twice"},
		{"a lifetime of nothing", func(r *jwtauth.ExchangeRequest) { r.TTL = time.Millisecond }, "ExchangeRequest.TTL is 1ms, at least 1s is expected"},
		{"a negative lifetime", func(r *jwtauth.ExchangeRequest) { r.TTL = -1 }, "at least 1s is expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := good
			test.change(&request)
			r, err := w.Issuer.Exchange(t.Context(), parent, request)
			require.Zero(t, r)
			require.ErrorContains(t, err, test.why)
			require.NotErrorIs(t, err, jwtauth.ErrRefused, "it is a mistake of the program")
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
		})
	}
	request := good
	request.Scopes = []string{"read", "admin"}
	_, err := w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	requireCode(t, err, 400, "invalid_scope")

	// A token of somebody else's verifier, or of nobody's, is not exchanged.
	foreign := fixture.NewWith(t, jwk.HS256)
	for _, token := range []jwtauth.Token{{}, {Issuer: fixture.Issuer, Subject: "alice"}, foreign.RequireAccepted(foreign.Login("alice").AccessToken)} {
		_, err := w.Issuer.Exchange(t.Context(), token, good)
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
	}
	_, err = w.Issuer.Exchange(t.Context(), parent, good)
	require.NoError(t, err)
}

func TestExchangeAudiencesAreNotThoseOfLogins(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	for why, audiences := range map[string][]string{
		"is also one of Audiences":          {billing, fixture.Audience},
		"is there twice":                    {billing, billing},
		"1 to 1024 bytes of UTF-8":          {""},
		"is the audience of refresh tokens": {"https://x.test#refresh"},
	} {
		_, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, ExchangeAudiences: audiences})
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, "ExchangeAudiences")
	}
}
