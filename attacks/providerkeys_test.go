package attacks_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// A stranger sends tokens with all published kids, and with none, and with bad signatures. He
// causes at most one fetch in 10 seconds, and one for each key and planned fetch. No good token
// is refused or waits, and a key that is replaced under its kid is still found.
func attackSignatureFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, seconds = 5, 300
		r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.OnEvent = nil })
		var signing []*jwk.SigningKey
		serve := func() {
			var published []any
			for i, k := range signing {
				published = append(published, k.WithID(fmt.Sprint(i)))
			}
			r.Source.Serve(fixture.Document(fixture.JWKS(t, published...), "Cache-Control", "max-age=3600"))
		}
		for range keys {
			signing = append(signing, fixture.NewKey(t, jwk.ES256))
		}
		serve()
		stranger := fixture.NewKey(t, jwk.ES256)
		sign := func(k *jwk.SigningKey, kid any) string {
			return fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": kid}), r.Claims(map[string]any{"jti": rand.Text()}))
		}
		r.RequireAccepted(sign(signing[0], "0"))
		flood := func() {
			var all sync.WaitGroup
			for i := range keys + 1 {
				all.Go(func() {
					kid := any(fmt.Sprint(i))
					if i == keys {
						kid = nil // five keys are too many to try, so this is an unknown kid
					}
					for range 5 {
						if _, err := r.Verifier.Verify(t.Context(), sign(stranger, kid)); err == nil {
							t.Error("accepted")
						}
					}
				})
			}
			all.Wait()
		}
		for range seconds {
			flood()
			r.RequireAccepted(sign(signing[1], "1"))
			r.Clock.Advance(time.Second)
		}
		asked := r.Source.Asked() - 1
		require.LessOrEqual(t, asked, 1+seconds/10)
		require.GreaterOrEqual(t, asked, keys)
		// Without the unknown kid, nothing is left to ask for.
		r.Clock.Advance(time.Minute)
		for range 100 {
			for i := range keys {
				require.ErrorIs(t, r.RequireRefused(sign(stranger, fmt.Sprint(i))), jwtauth.ErrTokenSignature)
			}
			r.Clock.Advance(time.Second)
		}
		require.Equal(t, asked, r.Source.Asked()-1)
		// After the next planned fetch, a replaced key is found again.
		require.NoError(t, r.Set.Refetch(t.Context()))
		signing[2] = fixture.NewKey(t, jwk.ES256)
		serve()
		r.RequireAccepted(sign(signing[2], "2"))
	})
}

// While the source hangs or fails, a bad signature stays 401: otherwise a stranger could make
// every client of a service try again and again.
func attackSignaturesDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		r.RequireAccepted(r.Token())
		stranger := fixture.NewKey(t, jwk.ES256).WithID(r.Key.ID())
		forge := func() {
			require.ErrorIs(t, r.RequireRefused(fixture.SignWith(t, stranger, fixture.Header(stranger, nil), r.Claims(map[string]any{"jti": rand.Text()}))), jwtauth.ErrTokenSignature)
		}
		for _, fault := range []http.Handler{fixture.Hung, fixture.Status(503), fixture.Document(`{"keys":[]}`)} {
			r.Source.Serve(fault)
			asked := r.Source.Asked()
			for range 60 {
				began := time.Now()
				forge()
				require.LessOrEqual(t, time.Since(began), 10*time.Second)
				r.RequireAccepted(r.Token())
				r.Clock.Advance(time.Second)
			}
			require.LessOrEqual(t, r.Source.Asked()-asked, 7)
			r.Source.Serve(r.Keys)
			r.Clock.Advance(time.Minute)
			require.NoError(t, r.Set.Refetch(t.Context()))
		}
	})
}

// A key without alg is used only with the algorithms of the options, never with one of another
// family, and never as a secret.
func attackImpliedAlgorithms(t *testing.T) {
	w := fixture.New(t)
	key := fixture.KeyFor(t, jwk.RS256)
	text, err := key.PrivatePEM()
	require.NoError(t, err)
	public, err := key.Verification().PEM()
	require.NoError(t, err)
	encoded, err := key.Verification().JWK()
	require.NoError(t, err)
	var members map[string]string
	require.NoError(t, json.Unmarshal(encoded, &members))
	delete(members, "alg")
	source := fixture.NewSource(fixture.Document(fixture.JWKS(t, members)))
	all := []jwk.Algorithm{jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512}
	for _, allowed := range [][]jwk.Algorithm{nil, {jwk.RS256}, {jwk.PS256}, {jwk.RS512, jwk.PS512}, all} {
		set, err := jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{Algorithms: allowed, Client: source.Client(), Now: w.Clock.Now})
		require.NoError(t, err)
		w.VerifyWith(set, jwtauth.VerifierOptions{})
		for _, alg := range all {
			k, err := jwk.ParseSigning(alg, text)
			require.NoError(t, err)
			isAllowed := slices.Contains(allowed, alg) || allowed == nil && alg == jwk.RS256
			for _, kid := range []any{key.ID(), nil} {
				token := fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": kid}), w.Claims(nil))
				if isAllowed {
					w.RequireAccepted(token)
				} else {
					w.RequireRefused(token)
				}
				// The signature of one algorithm is not good under the name of another.
				for _, other := range all {
					if other != alg {
						w.RequireRefused(fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": kid, "alg": other}), w.Claims(nil)))
					}
				}
			}
		}
		for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.HS512} {
			w.RequireRefused(hmacToken(t, alg, public, map[string]any{"alg": alg, "typ": "at+jwt", "kid": key.ID()}, w.Claims(nil)))
		}
	}
}

// InsecureHTTP in a program does not let other people name http URLs.
func attackHTTPByOthers(t *testing.T) {
	const secure, plain = "https://idp.test", "http://idp.test"
	keys := fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))
	for name, c := range map[string]struct {
		issuer string
		d      fixture.Directory
	}{
		"https metadata":       {secure, fixture.Directory{secure + "/.well-known/openid-configuration": fixture.Metadata(secure, plain+"/jwks"), plain + "/jwks": keys}},
		"http metadata":        {plain, fixture.Directory{plain + "/.well-known/openid-configuration": fixture.Metadata(plain, "http://keys.test/jwks"), "http://keys.test/jwks": keys}},
		"a redirect from http": {plain, fixture.Directory{plain + "/.well-known/openid-configuration": http.RedirectHandler("/metadata", http.StatusFound), plain + "/metadata": fixture.Metadata(plain, plain+"/jwks"), plain + "/jwks": keys}},
		"a redirect to http":   {secure, fixture.Directory{secure + "/.well-known/openid-configuration": http.RedirectHandler(plain+"/metadata", http.StatusFound), plain + "/metadata": fixture.Metadata(secure, plain+"/jwks"), plain + "/jwks": keys}},
		"another port":         {plain, fixture.Directory{plain + "/.well-known/openid-configuration": fixture.Metadata(plain, plain+":81/jwks"), plain + ":81/jwks": keys}},
	} {
		source := fixture.NewSource(c.d)
		set, err := jwk.Discover(c.issuer, jwk.RemoteOptions{InsecureHTTP: true, Client: source.Client()})
		require.NoError(t, err)
		require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable, name)
		for _, u := range source.URLs() {
			require.Contains(t, []string{c.issuer + "/.well-known/openid-configuration", c.issuer + "/.well-known/oauth-authorization-server"}, u, name)
		}
	}
}

// With MetadataURL, the document decides nothing that the program has not named.
func attackForeignMetadata(t *testing.T) {
	const address = "https://login.test/metadata"
	w := fixture.New(t)
	for _, said := range []string{"", "https://other.test", fixture.Issuer + "/", "HTTPS://issuer.test", "https://issuer.test:443", "https://{tenant}.test", "*", fixture.Issuer + "\x00", "https://issuer.test/.."} {
		source := fixture.NewSource(fixture.Directory{address: fixture.Metadata(said, fixture.JWKSURL), fixture.JWKSURL: w.Keys})
		set, err := jwk.Discover(fixture.Issuer, jwk.RemoteOptions{MetadataURL: address, Client: source.Client(), Now: w.Clock.Now})
		require.NoError(t, err)
		w.VerifyWith(set, jwtauth.VerifierOptions{})
		w.RequireUnavailable(w.Sign(w.Claims(nil)))
		w.RequireRefused(w.Sign(w.Claims(map[string]any{"iss": said})))
		require.Equal(t, []string{address}, source.URLs(), "%q", said)
		_, err = jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: "https://other.test", Audiences: []string{fixture.Audience}})
		require.Error(t, err)
	}
}

// A source cannot keep its keys away for ever by Retry-After.
func attackRetryAfter(t *testing.T) {
	for _, later := range []string{"86400", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		r := fixture.NewRemote(t)
		r.RequireAccepted(r.Token())
		r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", later)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		r.RequireUnavailable(r.Unknown("a"))
		r.RequireAccepted(r.Token())
		r.Rotate()
		r.Source.Serve(r.Keys)
		r.Clock.Advance(5*time.Minute - time.Second)
		r.RequireUnavailable(r.Token())
		require.Equal(t, 2, r.Source.Asked())
		r.Clock.Advance(time.Second)
		r.RequireAccepted(r.Token())
	}
}

// A customer names an issuer inside of the network. PublicOnly refuses it when it connects, and
// ResolveIssuers refuses keys over http.
func attackInternalIssuers(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(net.Conn, http.ConnState) { asked.Add(1) }
	server.StartTLS()
	defer server.Close()
	w := fixture.New(t)
	v, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		if known != nil {
			return known, nil
		}
		keys, err := jwk.Discover(issuer, jwk.RemoteOptions{PublicOnly: true, Now: w.Clock.Now})
		if err != nil {
			return nil, nil // such an issuer cannot be right
		}
		return jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	}, jwtauth.ResolveOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	for _, issuer := range []string{
		server.URL, "https://10.0.0.1", "https://169.254.169.254/latest", "https://[fd00:ec2::254]", "https://[::1]:1", "https://0.0.0.0:1",
	} {
		_, err := v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, issuer)
	}
	for _, issuer := range []string{"http://127.0.0.1", "http://issuer.test", "file:///etc/passwd", "gopher://127.0.0.1"} {
		_, err := v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, issuer)
	}
	require.Zero(t, asked.Load())
}
