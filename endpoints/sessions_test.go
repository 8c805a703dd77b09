package endpoints_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// listed is the answer of the route sessions.
type listed struct {
	Sessions []struct {
		ID        string
		Current   bool
		Details   map[string]string
		CreatedAt string `json:"created_at"`
	}
	Next string
}

func (b *browser) sessions(t *testing.T, token, after string) (l listed) {
	t.Helper()
	a := b.do("GET", "/auth/sessions?after="+after, "", "Authorization: Bearer "+token)
	require.Equal(t, 200, a.Code, a.Body)
	require.Equal(t, "no-store", a.Header().Get("Cache-Control"))
	require.NoError(t, json.Unmarshal(a.Body.Bytes(), &l))
	return l
}

func TestAUserSeesAndEndsTheOwnSessions(t *testing.T) {
	s := newSite(t, endpoints.Options{Details: func(r *http.Request) map[string]string { return map[string]string{"agent": r.UserAgent()} }})
	b := s.browser()
	laptop := b.login("alice").member("access_token")
	phone := b.login("alice").member("access_token")
	other := b.login("bob").member("access_token")

	list := b.sessions(t, laptop, "")
	require.Len(t, list.Sessions, 2)
	var current, remote string
	for _, one := range list.Sessions {
		require.NotEmpty(t, one.CreatedAt)
		require.Contains(t, one.Details, "agent")
		if one.Current {
			current = one.ID
		} else {
			remote = one.ID
		}
	}
	require.NotEmpty(t, current)
	require.NotEmpty(t, remote)

	end := func(method, path, token string) int {
		return b.do(method, "/auth/sessions"+path, "", "Authorization: Bearer "+token).Code
	}
	require.Equal(t, 204, end("DELETE", "/"+remote, other), "somebody else's session: nothing happens")
	require.Len(t, b.sessions(t, laptop, "").Sessions, 2)
	require.Equal(t, 204, end("DELETE", "/"+remote, laptop))
	require.Len(t, b.sessions(t, laptop, "").Sessions, 1)
	require.Equal(t, 401, end("GET", "", phone))
	require.Equal(t, 204, end("DELETE", "/"+remote, laptop), "a session that has ended")
	require.Equal(t, 400, end("DELETE", "/nonsense", laptop))

	b.login("alice")
	require.Equal(t, 204, end("POST", "/end-others", laptop))
	require.Len(t, b.sessions(t, laptop, "").Sessions, 1)
	require.Equal(t, 204, end("POST", "/end-all", laptop))
	require.Equal(t, 401, end("GET", "", laptop))
	require.Len(t, b.sessions(t, other, "").Sessions, 1)

	for _, path := range []string{"", "/x", "/end-others", "/end-all"} {
		method := map[string]string{"": "GET", "/x": "DELETE"}[path]
		if method == "" {
			method = "POST"
		}
		require.Equal(t, 401, end(method, path, "x"))
		require.Equal(t, 405, b.do("PUT", "/auth/sessions"+path, "").Code)
	}
}

func TestSessionsComeInPages(t *testing.T) {
	s := newSite(t, endpoints.Options{})
	b := s.browser()
	token := b.login("alice").member("access_token")
	for range 150 {
		s.Login("alice")
	}
	seen := map[string]bool{}
	for list := b.sessions(t, token, ""); ; list = b.sessions(t, token, list.Next) {
		for _, one := range list.Sessions {
			require.False(t, seen[one.ID])
			seen[one.ID] = true
		}
		if list.Next == "" {
			break
		}
	}
	require.Len(t, seen, 151)
	require.Equal(t, 400, b.do("GET", "/auth/sessions?after=x", "", "Authorization: Bearer "+token).Code)
}

func TestTheRoutesOfSessionsAreForTheUsersOfTheIssuer(t *testing.T) {
	world := fixture.New(t)
	key := fixture.NewKey(t, jwk.ES256)
	ring, err := jwk.NewRing(key)
	require.NoError(t, err)
	foreign, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: "https://elsewhere.test", Audiences: []string{fixture.Audience}, Now: world.Clock.Now})
	require.NoError(t, err)
	verifier, err := foreign.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	both, err := jwtauth.AnyOf(world.Verifier, verifier)
	require.NoError(t, err)
	h, err := endpoints.New(world.Issuer, endpoints.Options{Verifier: both})
	require.NoError(t, err)
	require.Same(t, both, h.Verifier())

	own := world.Login("alice")
	tokens, err := foreign.IssueAccess(context.Background(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	s := &site{World: world, h: h, Handler: h}
	b := s.browser()
	_, err = both.Verify(t.Context(), tokens.AccessToken)
	require.NoError(t, err)
	for method, path := range map[string]string{"GET": "", "DELETE": "/" + own.SessionID, "POST": "/end-all"} {
		require.Equal(t, 403, b.do(method, "/auth/sessions"+path, "", "Authorization: Bearer "+tokens.AccessToken).Code)
	}
	require.Len(t, b.sessions(t, own.AccessToken, "").Sessions, 1)
}

func TestTheVerifierOfTheHandlersAlwaysAcceptsTheTokensOfTheIssuer(t *testing.T) {
	world := fixture.New(t)
	ring, err := jwk.NewRing(fixture.NewKey(t, jwk.ES256))
	require.NoError(t, err)
	foreign := func(name string) *jwtauth.Verifier {
		v, err := jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: name, Audiences: []string{fixture.Audience}, Now: world.Clock.Now})
		require.NoError(t, err)
		return v
	}
	elsewhere, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: "https://a.test", Audiences: []string{fixture.Audience}, Now: world.Clock.Now})
	require.NoError(t, err)
	tokens, err := elsewhere.IssueAccess(t.Context(), jwtauth.Grant{Subject: "bob"})
	require.NoError(t, err)
	several, err := jwtauth.AnyOf(foreign("https://a.test"), foreign("https://b.test"))
	require.NoError(t, err)
	for _, v := range []*jwtauth.Verifier{nil, foreign("https://a.test"), several} {
		h, err := endpoints.New(world.Issuer, endpoints.Options{Verifier: v})
		require.NoError(t, err)
		_, err = h.Verifier().Verify(t.Context(), world.Login("alice").AccessToken)
		require.NoError(t, err)
		_, err = h.Verifier().Verify(t.Context(), tokens.AccessToken)
		require.Equal(t, v == nil, errors.Is(err, jwtauth.ErrRefused), "%v", err)
	}
	resolving, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		return world.Verifier, nil
	}, jwtauth.ResolveOptions{})
	require.NoError(t, err)
	for _, v := range []*jwtauth.Verifier{world.Verifier, foreign(fixture.Issuer), resolving} {
		h, err := endpoints.New(world.Issuer, endpoints.Options{Verifier: v})
		require.NoError(t, err)
		require.Same(t, v, h.Verifier())
	}
	_, err = endpoints.New(world.Issuer, endpoints.Options{Verifier: new(jwtauth.Verifier)})
	require.Error(t, err)
}

func TestOnlyTheTokensOfALoginManageSessions(t *testing.T) {
	s := newSite(t, endpoints.Options{ClientID: "web"}, func(o *jwtauth.IssuerOptions) { o.ExchangeAudiences = []string{exchangeAudience} })
	b := s.browser()
	own := b.login("alice").member("access_token")
	token, err := s.Verifier.Verify(t.Context(), own)
	require.NoError(t, err)
	exchanged, err := s.Issuer.Exchange(t.Context(), token, jwtauth.ExchangeRequest{Audiences: []string{exchangeAudience}, Actor: "billing"})
	require.NoError(t, err)
	apiKey, err := s.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", ClientID: "web"})
	require.NoError(t, err)
	lax := s.Foreign(func(o *jwtauth.VerifierOptions) {
		o.Audiences, o.Revocations = []string{fixture.Audience, exchangeAudience}, s.Store
	})
	h, err := endpoints.New(s.Issuer, endpoints.Options{Verifier: lax, ClientID: "web"})
	require.NoError(t, err)
	s.Handler = h
	for name, bad := range map[string]string{
		"of Exchange": exchanged.AccessToken, "without a session": apiKey.AccessToken, "of another client": b.issue(t, "other").AccessToken, "of no client": b.issue(t, "").AccessToken,
	} {
		_, err := lax.Verify(t.Context(), bad)
		require.NoError(t, err, name)
		for path, method := range map[string]string{"": "GET", "/end-all": "POST"} {
			require.Equal(t, 403, b.do(method, "/auth/sessions"+path, "", "Authorization: Bearer "+bad).Code, name)
		}
	}
	require.Equal(t, 200, b.do("GET", "/auth/sessions", "", "Authorization: Bearer "+own).Code)
}

func TestAStoreThatFailsIs503AtEveryRoute(t *testing.T) {
	s := newSite(t, endpoints.Options{})
	b := s.browser()
	token := b.login("alice").member("access_token")
	s.stores.Before = fixture.Failing
	for path, method := range map[string]string{"": "GET", "/x": "DELETE", "/end-others": "POST", "/end-all": "POST"} {
		a := b.do(method, "/auth/sessions"+path, "", "Authorization: Bearer "+token)
		require.Equal(t, 503, a.Code)
		require.NotEmpty(t, a.Header().Get("Retry-After"))
	}
}
