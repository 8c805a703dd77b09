package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

const audience = "https://api.test"

// provider is an issuer that publishes its metadata and its keys.
type provider struct {
	*httptest.Server
	ring   *jwk.Ring
	issuer *jwtauth.Issuer
	down   atomic.Bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	key, err := jwk.Generate(jwk.ES256)
	require.NoError(t, err)
	p.ring, err = jwk.NewRing(key)
	require.NoError(t, err)
	p.issuer, err = jwtauth.NewIssuer(p.ring, jwtauth.IssuerOptions{Issuer: p.URL, Audiences: []string{audience}})
	require.NoError(t, err)
	metadata, err := endpoints.NewMetadata(p.issuer, endpoints.MetadataOptions{JWKSURI: p.URL + "/jwks.json"})
	require.NoError(t, err)
	for _, path := range metadata.Paths() {
		mux.Handle("GET "+path, metadata)
	}
	mux.Handle("GET /jwks.json", p.ring)
	return p
}

func (p *provider) token(t *testing.T) string {
	t.Helper()
	r, err := p.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	return r.AccessToken
}

func TestTokensOfTheProviderAreTakenThroughARotationAndAnOutage(t *testing.T) {
	p, stranger := newProvider(t), newProvider(t)
	keys, err := jwk.Discover(p.URL, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
	require.NoError(t, err)
	handler, err := service(keys, p.URL, audience)
	require.NoError(t, err)
	get := func(path, token string) int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, jwtauthtest.NewRequest("GET", path, nil, token))
		return w.Code
	}
	p.down.Store(true)
	require.Equal(t, http.StatusServiceUnavailable, get("/ready", ""))
	p.down.Store(false)

	keys, err = jwk.Discover(p.URL, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
	require.NoError(t, err)
	handler, err = service(keys, p.URL, audience)
	require.NoError(t, err)
	first := p.token(t)
	require.Equal(t, http.StatusOK, get("/me", first))
	require.Equal(t, http.StatusOK, get("/ready", ""))
	require.Equal(t, http.StatusUnauthorized, get("/me", ""))
	require.Equal(t, http.StatusUnauthorized, get("/me", stranger.token(t)))

	next, err := jwk.Generate(jwk.EdDSA)
	require.NoError(t, err)
	require.NoError(t, p.ring.Replace(next))
	require.Equal(t, http.StatusOK, get("/me", p.token(t)), "an unknown key is fetched")
	require.Equal(t, http.StatusUnauthorized, get("/me", first), "the key of the token is gone")

	p.down.Store(true)
	require.Equal(t, http.StatusOK, get("/me", p.token(t)), "the keys are known")
}

func TestItDoesNotStartWithoutAnIssuerAndAnAudience(t *testing.T) {
	_, err := discover("", false)
	require.ErrorContains(t, err, "-issuer is missing")
	_, err = discover("http://127.0.0.1:8080", false)
	require.ErrorContains(t, err, "-insecure-loopback-http")
	keys, err := jwk.Discover("https://login.test", jwk.RemoteOptions{})
	require.NoError(t, err)
	_, err = service(keys, "https://login.test", "")
	require.ErrorContains(t, err, "-audience is missing")
	_, err = service(keys, "https://other.test", audience)
	require.Error(t, err)
}
