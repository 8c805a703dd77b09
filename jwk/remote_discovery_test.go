package jwk_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestDiscoveryAsksOpenIDFirst(t *testing.T) {
	const keys = "https://keys.test/jwks"
	set := fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))
	for _, c := range []struct{ issuer, openID, oauth string }{
		{"https://a.test", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"},
		{"https://a.test/", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"},
		{"https://a.test/t/1", "https://a.test/t/1/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server/t/1"},
		{"https://a.test:8443/t/", "https://a.test:8443/t/.well-known/openid-configuration", "https://a.test:8443/.well-known/oauth-authorization-server/t"},
		{"https://a.test/%2Ft", "https://a.test/%2Ft/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server/%2Ft"},
	} {
		r := fixture.Discovered(t, c.issuer, fixture.Directory{c.openID: fixture.Metadata(c.issuer, keys), keys: set})
		require.NoError(t, r.Set.Ready(t.Context()), c.issuer)
		require.Equal(t, []string{c.openID, keys}, r.Source.URLs())
		for name, missing := range map[string]http.Handler{"404": nil, "500": fixture.Status(500), "a page": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!doctype html>") })} {
			r = fixture.Discovered(t, c.issuer, fixture.Directory{c.openID: missing, c.oauth: fixture.Metadata(c.issuer, keys), keys: set})
			require.NoError(t, r.Set.Ready(t.Context()), name)
			require.Equal(t, []string{c.openID, c.oauth, keys}, r.Source.URLs(), name)
		}
		r = fixture.Discovered(t, c.issuer, fixture.Directory{})
		require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.ErrorContains(t, r.Set.Status().LastError, "openid-configuration")
		require.ErrorContains(t, r.Set.Status().LastError, "oauth-authorization-server")
		events := r.KeyEvents()
		require.Len(t, events, 1)
		require.Equal(t, c.issuer, events[0].Issuer)
		require.Equal(t, []string{c.openID, c.oauth}, r.Source.URLs())
	}
}

func TestDiscoveryTakesTheIssuerToTheLetter(t *testing.T) {
	const keys = "https://keys.test/jwks"
	for said, hint := range map[string]string{
		fixture.Issuer + "/": "a slash at its end", "https://ISSUER.test": "the case of letters", "https://issuer.test:443": "its port", "https://other.test": "", "": "", "http://issuer.test": "", fixture.Issuer + "\x00": "",
	} {
		r := fixture.Discovered(t, fixture.Issuer, fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": fixture.Metadata(said, keys), keys: fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))})
		r.VerifyWith(r.Set, jwtauth.VerifierOptions{})
		r.RequireUnavailable(r.Token())
		if said == "" {
			require.ErrorContains(t, r.Set.Status().LastError, "name no issuer")
		} else {
			require.ErrorContains(t, r.Set.Status().LastError, "name the issuer ")
		}
		require.ErrorContains(t, r.Set.Status().LastError, hint)
		require.Equal(t, 1, r.Source.Asked(), "the metadata of somebody else is followed")
	}
	for _, document := range []http.Handler{
		fixture.Document(`{"jwks_uri":"https://keys.test/jwks"}`), fixture.Document(`{"issuer":["https://issuer.test"],"jwks_uri":"https://keys.test/jwks"}`), fixture.Document(`[]`),
		fixture.Document(`{"issuer":"https://issuer.test","issuer":"https://issuer.test","jwks_uri":"https://keys.test/jwks"}`), fixture.Document(`{"Issuer":"https://issuer.test","jwks_uri":"https://keys.test/jwks"}`),
	} {
		r := fixture.Discovered(t, fixture.Issuer, fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": document})
		require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.Equal(t, 1, r.Source.Asked())
	}
}

func TestDiscoveryFetchesKeysOverHTTPSAlone(t *testing.T) {
	for _, keys := range []string{
		"http://issuer.test/jwks", "http://127.0.0.1/jwks", "/jwks", "jwks", "//issuer.test/jwks", "", "file:///etc/passwd", "https:issuer.test", "https://", "https:///jwks", "https://:443/jwks",
		"https://user@issuer.test/jwks", "https://issuer.test/jwks#x", "data:application/json,{}", "https://issuer.test\n/jwks", "https://%zz/jwks",
	} {
		r := fixture.Discovered(t, fixture.Issuer, fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": fixture.Metadata(fixture.Issuer, keys)})
		r.VerifyWith(r.Set, jwtauth.VerifierOptions{})
		r.RequireUnavailable(r.Token())
		require.ErrorContains(t, r.Set.Status().LastError, "metadata", keys)
		require.Equal(t, 1, r.Source.Asked(), keys)
	}
}

func TestDiscoveredKeysAreForTheirIssuerAlone(t *testing.T) {
	r := fixture.Discovered(t, fixture.Issuer, nil)
	for _, issuer := range []string{"https://other.test", fixture.Issuer + "/", "https://ISSUER.test"} {
		_, err := jwtauth.NewVerifier(r.Set, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}})
		require.ErrorContains(t, err, "the keys were discovered for the issuer")
	}
	for _, issuer := range []string{"", "issuer", "http://issuer.test", "https://issuer.test?x=1", "https://issuer.test#x", "https://user:word@issuer.test", "ftp://issuer.test", "https://"} {
		_, err := jwk.Discover(issuer, jwk.RemoteOptions{})
		require.Error(t, err, issuer)
	}
}

func TestDiscoveryFollowsTheKeysToAnotherURL(t *testing.T) {
	const where, here, there = fixture.Issuer + "/.well-known/openid-configuration", "https://a.test/jwks", "https://b.test/jwks"
	d := fixture.Directory{where: fixture.Metadata(fixture.Issuer, here)}
	r := fixture.Discovered(t, fixture.Issuer, d)
	r.VerifyWith(r.Set, jwtauth.VerifierOptions{})
	d[here], d[there] = r.Keys, r.Keys
	r.RequireAccepted(r.Token())
	r.RequireUnknown(r.Unknown("a"))
	require.NotEmpty(t, r.Source.Last().Header.Get("If-None-Match"))
	d[where] = fixture.Metadata(fixture.Issuer, there)
	r.Clock.Advance(10 * time.Second)
	r.RequireUnknown(r.Unknown("b"))
	require.Equal(t, []string{where, here, where, here, where, there}, r.Source.URLs())
	require.Empty(t, r.Source.Last().Header.Get("If-None-Match"), "the tag of another source")
	r.RequireAccepted(r.Token())

	// A snapshot is of the issuer, wherever its keys stand.
	seeded, err := jwk.Discover(fixture.Issuer, jwk.RemoteOptions{Client: fixture.NewSource(fixture.Status(500)).Client(), Now: r.Clock.Now, Seed: r.Set.Snapshot()})
	require.NoError(t, err)
	r.VerifyWith(seeded, jwtauth.VerifierOptions{})
	r.RequireAccepted(r.Token())
}
