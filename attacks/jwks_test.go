package attacks_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var jwksAttacks = []attack{
	{"J01", "plain http URL", attackPlainHTTP},
	{"J02", "other schemes", attackOtherSchemes},
	{"J03", "redirect to http", attackRedirects},
	{"J06", "URL built from the token", attackURLsInTokens},
	{"J07", "huge body", attackHugeBody},
	{"J09", "slow body", attackSlowBody},
	{"J10", "slow connect, hung TLS, hung headers", attackHungConnection},
	{"J11", "unknown-kid flood", attackKidFlood},
	{"J13", "cold start stampede", attackStampede},
	{"J14", "key for encryption", func(t *testing.T) {
		attackUnusableKeys(t, map[string]map[string]any{"enc": {"use": "enc"}, "another use": {"use": "SIG"}, "a list of uses": {"use": []string{"sig"}}, "enc to verify": {"use": "enc", "key_ops": []string{"verify"}}})
	}},
	{"J15", "key_ops without verify", func(t *testing.T) {
		attackUnusableKeys(t, map[string]map[string]any{
			"encrypt": {"key_ops": []string{"encrypt"}}, "sign": {"key_ops": []string{"sign"}}, "a text": {"key_ops": "verify"},
			"twice": {"key_ops": []string{"verify", "verify"}}, "mixed": {"key_ops": []any{"verify", 1}}, "an object": {"key_ops": map[string]any{"verify": true}}, "another case": {"key_ops": []string{"Verify"}},
		})
	}},
	{"J16", "oct key in a JWKS", attackSymmetricKey},
	{"J18", "duplicate kid", attackDuplicateKid},
	{"J20", "outage after the first fetch", attackOutage},
	{"J21", "key removed from the set", attackRemovedKey},
	{"J23", "one bad key among good ones", attackBadKeyAmongGood},
	{"J25", "private key in the JWKS", attackPrivateKey},
	{"J27", "bad TLS", attackBadTLS},
}

func attackPlainHTTP(t *testing.T) {
	for _, u := range []string{"http://issuer.test/jwks", "HTTP://issuer.test", "http://10.0.0.1/jwks", "http://127.0.0.1.issuer.test/jwks", "http://localhost.test/jwks", "http://0.0.0.0/jwks", "http://127.0.0.1@issuer.test/jwks", "http://issuer.test/127.0.0.1", "http://[fe80::1]/jwks"} {
		for _, insecure := range []bool{false, true} {
			o := jwk.RemoteOptions{InsecureLoopbackHTTP: insecure}
			set, err := jwk.NewRemote(u, o)
			require.Error(t, err, u)
			require.Nil(t, set)
			set, err = jwk.Discover(u, o)
			require.Error(t, err, u)
			require.Nil(t, set)
		}
	}
	for _, u := range []string{"http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]/jwks", "http://127.3.2.1/jwks"} {
		_, err := jwk.NewRemote(u, jwk.RemoteOptions{})
		require.ErrorContains(t, err, "InsecureLoopbackHTTP allows it", u)
		_, err = jwk.NewRemote(u, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
		require.NoError(t, err, u)
	}
}

func attackOtherSchemes(t *testing.T) {
	for _, u := range []string{
		"", "/", "/jwks", "jwks", "//issuer.test/jwks", "issuer.test/jwks", "issuer.test:443/jwks", "https", "https:", "https://", "https:///jwks", "https:issuer.test/jwks", "https://:443/jwks",
		"file:///etc/passwd", "file://issuer.test/jwks", "file:/etc/passwd", "gopher://issuer.test/jwks", "unix:/run/keys", "unix:///run/keys", "ftp://issuer.test/jwks", "ws://issuer.test/jwks", "wss://issuer.test/jwks",
		"data:application/json,{}", "javascript:1", "httpss://issuer.test/jwks", "https+unix://issuer.test/jwks", " https://issuer.test/jwks", "https://issuer.test/jwks\n", "https://user:word@issuer.test/jwks",
		"https://user@issuer.test/jwks", "https://issuer.test/jwks#key", "https://issuer.test:port/jwks", "https://[::1/jwks", "https://%zz/jwks", "\x00",
	} {
		for _, insecure := range []bool{false, true} {
			o := jwk.RemoteOptions{InsecureLoopbackHTTP: insecure}
			set, err := jwk.NewRemote(u, o)
			require.Error(t, err, "%q", u)
			require.Nil(t, set)
			_, err = jwk.Discover(u, o)
			require.Error(t, err, "%q", u)
		}
	}
	_, err := jwk.NewRemote("HTTPS://issuer.test:8443/jwks?tenant=1", jwk.RemoteOptions{})
	require.NoError(t, err)
}

func attackRedirects(t *testing.T) {
	for _, c := range []struct {
		to      string
		follows bool
	}{
		{"http://keys.issuer.test/jwks", false}, {"http://127.0.0.1/jwks", false}, {"https://other.test/jwks", false}, {"//other.test/jwks", false}, {"https://keys.issuer.test:8443/jwks", false},
		{"https://issuer.test/jwks", false}, {"https://sub.keys.issuer.test/jwks", false}, {"file:///jwks", false}, {"/loop", false}, {"", true}, {"/again", true}, {"again?x=1", true}, {"https://keys.issuer.test/again", true},
	} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) {
				o.InsecureLoopbackHTTP = true
				o.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
			})
			token := r.Token()
			r.RequireAccepted(token)
			r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch req.URL.Path {
				case "/jwks":
					http.Redirect(w, req, c.to, code)
				case "/loop":
					http.Redirect(w, req, "/loop", code)
				default:
					r.Keys.ServeHTTP(w, req)
				}
			}))
			next := fixture.NewKey(t, jwk.EdDSA)
			require.NoError(t, r.Keys.Replace(r.Key, next.Verification()))
			rotated := fixture.SignWith(t, next, fixture.Header(next, nil), r.Claims(nil))
			if c.follows {
				r.RequireAccepted(rotated)
			} else {
				r.RequireUnavailable(rotated)
				require.Equal(t, 1, r.Set.Status().Keys)
			}
			r.RequireAccepted(token) // the old keys are still used
			for _, u := range r.Source.URLs() {
				require.True(t, strings.HasPrefix(u, "https://keys.issuer.test/"), u)
			}
			require.LessOrEqual(t, r.Source.Asked(), 1+4)
		}
	}
	// At most three redirects are followed in a row. The metadata are not redirected to
	// another origin.
	for hops, ok := range map[int]bool{1: true, 3: true, 4: false} {
		r := fixture.NewRemote(t)
		r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n := 0
			fmt.Sscan(req.URL.Query().Get("n"), &n)
			if n < hops {
				http.Redirect(w, req, fmt.Sprintf("/jwks?n=%d", n+1), http.StatusFound)
				return
			}
			r.Keys.ServeHTTP(w, req)
		}))
		err := r.Set.Ready(t.Context())
		require.Equal(t, ok, err == nil, "%d: %v", hops, err)
	}
	const where = fixture.Issuer + "/.well-known/openid-configuration"
	r := fixture.Discovered(t, fixture.Issuer, fixture.Directory{where: http.RedirectHandler("https://other.test/metadata", http.StatusFound), "https://other.test/metadata": fixture.Metadata(fixture.Issuer, fixture.JWKSURL)})
	require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
	require.NotContains(t, r.Source.URLs(), "https://other.test/metadata")
}

func attackURLsInTokens(t *testing.T) {
	r := fixture.NewRemote(t)
	r.RequireAccepted(r.Token())
	k := fixture.KeyFor(t, jwk.EdDSA)
	for _, text := range []string{
		"https://attacker.test/jwks", "http://169.254.169.254/latest", "//attacker.test", "../../../jwks", "/../other", "?x=1", "#", "..", "%2e%2e%2f", "keys\r\nHost: attacker.test", "@attacker.test", "file:///etc/passwd", "\u2028", `{"kty":"oct"}`,
	} {
		r.Clock.Advance(30 * time.Second)
		named := k.WithID(text)
		h := fixture.Header(named, map[string]any{"jku": "https://attacker.test/jwks", "x5u": "https://attacker.test/x5c"})
		r.RequireUnknown(fixture.SignWith(t, named, h, r.Claims(nil)))
		asked := r.Source.Asked()
		_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, named, h, r.Claims(map[string]any{"iss": text})))
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		require.Equal(t, asked, r.Source.Asked(), "%q as issuer", text)
	}
	require.Greater(t, r.Source.Asked(), 5)
	for _, u := range r.Source.URLs() {
		require.Equal(t, fixture.JWKSURL, u)
	}
	// A discovered set does not fetch from a URL of a token either.
	d := fixture.Discovered(t, fixture.Issuer, fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": fixture.Metadata(fixture.Issuer, fixture.JWKSURL), fixture.JWKSURL: r.Keys})
	d.VerifyWith(d.Set, jwtauth.VerifierOptions{})
	_, err := d.Verifier.Verify(t.Context(), fixture.SignWith(t, k, fixture.Header(k, nil), d.Claims(map[string]any{"iss": "https://attacker.test"})))
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	require.Zero(t, d.Source.Asked())
}

// served makes a World whose keys are at a server on loopback. The client trusts the
// certificate of the server.
func served(t *testing.T, h http.Handler, change ...func(*jwk.RemoteOptions)) (*fixture.World, *jwk.Remote, *httptest.Server) {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w := fixture.New(t)
	o := jwk.RemoteOptions{Client: server.Client(), Now: w.Clock.Now, OnEvent: w.Record}
	for _, c := range change {
		c(&o)
	}
	set, err := jwk.NewRemote(server.URL, o)
	require.NoError(t, err)
	w.VerifyWith(set, jwtauth.VerifierOptions{})
	return w, set, server
}

func attackHugeBody(t *testing.T) {
	const size, limit = 100 << 20, 8 << 20 // limit includes the buffers of the sockets
	good := fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256))
	chunk := []byte(strings.Repeat(" ", 64<<10))
	for name, squeezed := range map[string]bool{"as it is": false, "squeezed": true} {
		var sent atomic.Int64
		gate := make(chan struct{})
		w, set, _ := served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			defer close(gate)
			rw.Header().Set("Content-Type", "application/json")
			out := io.Writer(rw)
			if squeezed {
				rw.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(rw)
				defer z.Close()
				out = z
			}
			for sent.Load() < size {
				n, err := out.Write(chunk)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
			io.WriteString(out, good)
		}))
		before := fixture.Heap()
		w.RequireUnavailable(w.Sign(w.Claims(nil)))
		require.ErrorContains(t, set.Status().LastError, "more than 1048576 bytes", name)
		require.Less(t, fixture.Heap()-before, int64(limit), name)
		<-gate
		if !squeezed { // squeezed, the body is only 100 kB
			require.Less(t, sent.Load(), int64(size/2), name)
		}
	}
	// The default client bounds the size of headers.
	for size, ok := range map[int]bool{1000: true, 1 << 20: false} {
		server := httptest.NewServer(fixture.Document(good, "X-Filler", strings.Repeat("x", size)))
		set, err := jwk.NewRemote(server.URL, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
		require.NoError(t, err)
		require.Equal(t, ok, set.Ready(t.Context()) == nil, size)
		server.Close()
	}
}

// drip is a body of one byte a second.
type drip struct {
	ctx  context.Context
	text string
}

func (d *drip) Read(b []byte) (int, error) {
	select {
	case <-time.After(time.Second):
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
	if d.text == "" {
		return 0, io.EOF
	}
	b[0], d.text = d.text[0], d.text[1:]
	return 1, nil
}

func (d *drip) Close() error { return nil }

// transport is a RoundTripper that is a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func attackSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		var r *fixture.Remote
		r = fixture.NewRemote(t, func(o *jwk.RemoteOptions) {
			fast := o.Client.Transport
			o.Client.Transport = transport(func(req *http.Request) (*http.Response, error) {
				res, err := fast.RoundTrip(req)
				if slow && err == nil {
					res.Body = &drip{req.Context(), fixture.JWKS(t, r.Key)}
				}
				return res, err
			})
		})
		token := r.Token()
		r.RequireAccepted(token)
		slow = true
		r.Source.Serve(fixture.Document(""))
		requireBounded(t, r, token, 10*time.Second)
	})
}

// requireBounded fails the test unless a fetch ends within limit, and tokens of a known
// key are accepted at once meanwhile.
func requireBounded(t *testing.T, r *fixture.Remote, token string, limit time.Duration) {
	r.Clock.Advance(5 * time.Minute)
	began := time.Now()
	r.RequireAccepted(token)
	synctest.Wait()
	r.RequireAccepted(token)
	r.RequireAccepted(r.Token())
	require.NoError(t, r.Set.Status().LastError, "the fetch is over")
	require.Zero(t, time.Since(began))
	_, err := r.Verifier.Verify(t.Context(), r.Unknown("unknown")) // waits for the fetch
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.LessOrEqual(t, time.Since(began), limit)
	require.NotZero(t, time.Since(began))
	require.Error(t, r.Set.Status().LastError)
	r.RequireAccepted(token)
	// If no keys may be used any more, a request waits for the fetch, and not longer.
	r.Clock.Advance(2 * time.Hour)
	began = time.Now()
	r.RequireUnavailable(r.Token())
	require.LessOrEqual(t, time.Since(began), 2*limit)
}

func attackHungConnection(t *testing.T) {
	// mute dials a peer that reads everything and answers nothing.
	mute := func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			io.Copy(io.Discard, far)
		}()
		return near, nil
	}
	for name, dead := range map[string]*http.Transport{
		"slow connect": {DialContext: func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(time.Minute) // a transport goes on dialing when the request has ended
			return nil, errors.New("nobody is there")
		}},
		"hung TLS":     {DialContext: mute, TLSHandshakeTimeout: time.Minute},
		"hung headers": {DialTLSContext: mute},
	} {
		synctest.Test(t, func(t *testing.T) {
			down := false
			r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) {
				up := o.Client.Transport
				o.Timeout = 7 * time.Second
				o.Client.Transport = transport(func(req *http.Request) (*http.Response, error) {
					if down {
						return dead.RoundTrip(req)
					}
					return up.RoundTrip(req)
				})
			})
			token := r.Token()
			r.RequireAccepted(token)
			down = true
			requireBounded(t, r, token, 7*time.Second)
			require.ErrorIs(t, r.Set.Status().LastError, context.DeadlineExceeded, name)
			time.Sleep(time.Hour) // until the transport has given up
		})
	}
	// The default client has time-outs of its own.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	set, err := jwk.NewRemote("https://"+listener.Addr().String(), jwk.RemoteOptions{Timeout: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, set.Ready(ctx), jwtauth.ErrUnavailable)
	set.Close()
}

func attackKidFlood(t *testing.T) {
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.OnEvent = nil })
	r.RequireAccepted(r.Token())
	f := fixture.NewForger(t, r.Token())
	flood := func() {
		var all sync.WaitGroup
		tokens := make(chan string)
		for range 100 {
			all.Go(func() {
				for token := range tokens {
					if _, err := r.Verifier.Verify(t.Context(), token); err == nil {
						t.Error("accepted")
					}
				}
			})
		}
		for range 10_000 {
			tokens <- f.Forge()
		}
		close(tokens)
		all.Wait()
	}
	flood()
	require.Equal(t, 2, r.Source.Asked())
	r.Clock.Advance(9 * time.Second)
	flood()
	require.Equal(t, 2, r.Source.Asked())
	for n := range 3 {
		r.Clock.Advance(10 * time.Second)
		flood()
		require.Equal(t, 3+n, r.Source.Asked())
	}
	r.RequireAccepted(r.Token())
}

func attackStampede(t *testing.T) {
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.OnEvent = nil })
	now := time.Now().Unix()
	good := r.Claims(map[string]any{"exp": now + 600, "iat": now, "auth_time": now})
	nameless := fixture.SignWith(t, r.Key, fixture.Header(r.Key, map[string]any{"kid": nil}), good)
	for name, token := range map[string]string{"with kid": r.Sign(good), "without kid": nameless} {
		for range 20 {
			gate, all := make(chan struct{}), sync.WaitGroup{}
			s := fixture.NewSource(r.Keys)
			set, err := jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{Client: s.Client()})
			require.NoError(t, err)
			v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.NoError(t, err)
			for range 1000 {
				all.Go(func() {
					<-gate
					if _, err := v.Verify(t.Context(), token); err != nil {
						t.Error(err)
					}
					if err := set.Ready(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			close(gate)
			all.Wait()
			require.Equal(t, 1, s.Asked(), name)
		}
	}
}

// attackUnusableKeys publishes the key of good tokens with changes that make it unfit, and
// a key that is fit.
func attackUnusableKeys(t *testing.T, changes map[string]map[string]any) {
	for name, change := range changes {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.RS256, jwk.EdDSA} {
			r := fixture.NewRemote(t)
			unfit := fixture.KeyFor(t, alg).WithID("unfit")
			r.Source.Serve(fixture.Document(fixture.JWKS(t, fixture.EditJWK(t, unfit.Verification(), change), r.Key)))
			r.RequireUnknown(fixture.SignWith(t, unfit, fixture.Header(unfit, nil), r.Claims(nil)))
			r.RequireAccepted(r.Token())
			require.Equal(t, 1, r.Set.Status().Keys, name)
			require.Equal(t, event.KeySkipped, r.KeyKinds()[0], name)

			alone := fixture.NewRemote(t)
			alone.Source.Serve(fixture.Document(fixture.JWKS(t, fixture.EditJWK(t, unfit.Verification(), change))))
			alone.RequireUnavailable(fixture.SignWith(t, unfit, fixture.Header(unfit, nil), alone.Claims(nil)))

			fit := fixture.NewRemote(t) // without the change it would be accepted
			fit.Source.Serve(fixture.Document(fixture.JWKS(t, unfit, fit.Key)))
			fit.RequireAccepted(fixture.SignWith(t, unfit, fixture.Header(unfit, nil), fit.Claims(nil)))
		}
	}
}

func attackSymmetricKey(t *testing.T) {
	mac := fixture.NewKey(t, jwk.HS256).WithID("mac")
	secret, err := mac.PrivateJWK()
	require.NoError(t, err)
	for name, published := range map[string][]byte{
		"as it is": secret, "for signatures": fixture.EditObject(t, secret, map[string]any{"use": "sig", "key_ops": []string{"verify"}}), "without alg": fixture.EditObject(t, secret, map[string]any{"alg": nil}),
		"as another type": fixture.EditObject(t, secret, map[string]any{"kty": "EC"}), "for another alg": fixture.EditObject(t, secret, map[string]any{"alg": "ES256"}),
	} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fixture.Document(fixture.JWKS(t, r.Key, published)))
		r.RequireAccepted(r.Token())
		r.Clock.Advance(time.Minute)
		for _, kid := range []any{"mac", nil, r.Key.ID()} {
			for _, alg := range []string{"HS256", "ES256", "none"} {
				token := fixture.SignWith(t, mac, fixture.Header(mac, map[string]any{"kid": kid, "alg": alg}), r.Claims(nil))
				_, err := r.Verifier.Verify(t.Context(), token)
				require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			}
		}
		require.NotContains(t, string(r.Set.Snapshot()), `"k"`)
		require.Equal(t, 1, r.Set.Status().Keys)
	}
}

func attackDuplicateKid(t *testing.T) {
	one, two := fixture.KeyFor(t, jwk.ES256).WithID("k"), fixture.NewKey(t, jwk.ES256).WithID("k")
	fine := fixture.KeyFor(t, jwk.EdDSA)
	for name, set := range map[string][]any{"one first": {one, two, fine}, "two first": {two, one, fine}, "thrice": {one, fine, two, one}, "one without alg": {fixture.EditJWK(t, one.Verification(), map[string]any{"alg": nil}), two, fine}} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fixture.Document(fixture.JWKS(t, set...)))
		r.RequireAccepted(fixture.SignWith(t, fine, fixture.Header(fine, nil), r.Claims(nil)))
		for _, k := range []*jwk.SigningKey{one, two} {
			r.RequireUnknown(fixture.SignWith(t, k, fixture.Header(k, nil), r.Claims(nil)))
			r.RequireUnknown(fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), r.Claims(nil)))
		}
		require.Equal(t, 1, r.Set.Status().Keys, name)
	}
	// The same key twice is one key.
	r := fixture.NewRemote(t)
	r.Source.Serve(fixture.Document(fixture.JWKS(t, one, one, one)))
	r.RequireAccepted(fixture.SignWith(t, one, fixture.Header(one, nil), r.Claims(nil)))
	r.RequireAccepted(fixture.SignWith(t, one, fixture.Header(one, map[string]any{"kid": nil}), r.Claims(nil)))
	require.Equal(t, 1, r.Set.Status().Keys)
	// A key that was there before is not preferred to another one with its kid.
	r.Source.Serve(fixture.Document(fixture.JWKS(t, one, two, fine)))
	r.Clock.Advance(time.Minute)
	r.RequireUnknown(r.Unknown("unknown"))
	r.RequireUnknown(fixture.SignWith(t, one, fixture.Header(one, nil), r.Claims(nil)))
}

func attackOutage(t *testing.T) {
	for name, down := range map[string]http.Handler{"500": fixture.Status(500), "404": fixture.Status(404), "empty": fixture.Document(`{"keys":[]}`), "a page": fixture.Document("<html>", "Content-Type", "text/html")} {
		r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.MaxStale = 2 * time.Hour })
		old := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3*3600}))
		verified := r.RequireAccepted(old)
		r.Source.Serve(down)
		usable := r.Set.Status().UsableTo.Sub(r.Clock.Now())
		require.Equal(t, 2*time.Hour+5*time.Minute, usable, name)
		for range 124 {
			r.Clock.Advance(time.Minute)
			r.RequireAccepted(r.Token())
			r.RequireAccepted(old)
		}
		r.Clock.Advance(time.Minute - 1)
		r.RequireAccepted(old)
		r.Clock.Advance(1)
		r.RequireUnavailable(old) // which the cache has
		r.RequireUnavailable(r.Token())
		require.ErrorIs(t, r.Verifier.Recheck(t.Context(), verified), jwtauth.ErrUnavailable)
		require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
		r.Source.Serve(r.Keys)
		r.Clock.Advance(time.Minute)
		r.RequireAccepted(old)
		require.NoError(t, r.Verifier.Recheck(t.Context(), verified))
	}
	// Without MaxStale, keys are used only while they are fresh.
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.MaxStale = -1 })
	r.RequireAccepted(r.Token())
	r.Source.Serve(fixture.Status(500))
	r.Clock.Advance(5*time.Minute - 1)
	r.RequireAccepted(r.Token())
	r.Clock.Advance(1)
	r.RequireUnavailable(r.Token())
}

func attackRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cacheSize := range []int{0, -1} {
			r := fixture.NewRemote(t)
			r.VerifyWith(r.Set, jwtauth.VerifierOptions{CacheSize: cacheSize})
			leaked, next := r.Key, fixture.NewKey(t, jwk.EdDSA)
			require.NoError(t, r.Keys.Replace(leaked, next.Verification()))
			stolen := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3600}))
			r.RequireAccepted(stolen)
			r.Use(next)
			r.Clock.Advance(4 * time.Minute)
			r.RequireAccepted(r.Token()) // this request has the keys fetched, as any other
			synctest.Wait()
			r.RequireUnknown(stolen)
			r.RequireUnknown(fixture.SignWith(t, leaked, fixture.Header(leaked, nil), r.Claims(nil)))
			r.RequireUnknown(fixture.SignWith(t, leaked, fixture.Header(leaked, map[string]any{"kid": nil}), r.Claims(nil)))
			r.RequireAccepted(r.Token())
			// The key does not come back with an outage.
			r.Source.Serve(fixture.Status(500))
			r.Clock.Advance(30 * time.Minute)
			_, err := r.Verifier.Verify(t.Context(), stolen)
			require.Error(t, err)
			r.RequireAccepted(r.Token())
		}
	})
}

func attackBadKeyAmongGood(t *testing.T) {
	ec, rsa, ed := fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.RS256), fixture.KeyFor(t, jwk.EdDSA)
	edit := func(k *jwk.SigningKey, changes map[string]any) []byte {
		changes["kid"] = "bad"
		return fixture.EditJWK(t, k.Verification(), changes)
	}
	var members map[string]string
	b, err := ec.Verification().JWK()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &members))
	for name, bad := range map[string]any{
		"unknown kty": edit(ec, map[string]any{"kty": "AKP"}), "no kty": edit(ec, map[string]any{"kty": nil}), "kty in lower case": edit(ec, map[string]any{"kty": "ec"}), "kty of another": edit(ec, map[string]any{"kty": "RSA"}),
		"unknown crv": edit(ec, map[string]any{"crv": "secp256k1"}), "crv of another": edit(ec, map[string]any{"crv": "P-384"}), "X25519": edit(ed, map[string]any{"crv": "X25519"}), "Ed448": edit(ed, map[string]any{"crv": "Ed448"}),
		"unknown alg": edit(ec, map[string]any{"alg": "ES256K"}), "alg of another": edit(ec, map[string]any{"alg": "RS256"}), "symmetric alg": edit(rsa, map[string]any{"alg": "HS256"}), "none": edit(rsa, map[string]any{"alg": "none"}), "alg for encryption": edit(rsa, map[string]any{"alg": "RSA-OAEP"}),
		"a number as alg": edit(ec, map[string]any{"alg": 7}), "a number as kid": fixture.EditJWK(t, ec.Verification(), map[string]any{"kid": 7}), "a long kid": fixture.EditJWK(t, ec.Verification(), map[string]any{"kid": strings.Repeat("k", 10_000)}),
		"a point off the curve": edit(ec, map[string]any{"x": members["y"], "y": members["x"]}), "no point": edit(ec, map[string]any{"x": nil}), "a short point": edit(ec, map[string]any{"x": "AA"}), "too much padding": edit(ec, map[string]any{"x": members["x"] + "=="}), "a name twice": strings.Replace(string(edit(ec, map[string]any{})), "{", `{"kty":"EC",`, 1),
		"a weak modulus": edit(rsa, map[string]any{"n": strings.Repeat("A", 170) + "Q"}), "an even exponent": edit(rsa, map[string]any{"e": "Ag"}), "exponent one": edit(rsa, map[string]any{"e": "AQ"}), "a huge exponent": edit(rsa, map[string]any{"e": "AQAAAAAB"}), "a huge modulus": edit(rsa, map[string]any{"n": strings.Repeat("_", 20_000)}),
		"a short Ed25519 key": edit(ed, map[string]any{"x": "AA"}), "nothing": map[string]any{}, "null": "null", "a text": `"key"`, "an array": "[]", "a number": "1", "a set": fixture.JWKS(t, ec),
	} {
		for at := range 3 {
			r := fixture.NewRemote(t)
			set := []any{rsa, ed}
			set = append(set[:min(at, 2):min(at, 2)], append([]any{bad}, set[min(at, 2):]...)...)
			r.Source.Serve(fixture.Document(fixture.JWKS(t, append(set, r.Key)...)))
			for _, k := range []*jwk.SigningKey{r.Key, rsa, ed} {
				r.RequireAccepted(fixture.SignWith(t, k, fixture.Header(k, nil), r.Claims(nil)))
			}
			require.Equal(t, 3, r.Set.Status().Keys, name)
			events := r.KeyEvents()
			require.Len(t, events, 2, name)
			require.Equal(t, event.KeySkipped, events[0].Kind)
			require.Equal(t, "unusable", events[0].Reason)
			require.ErrorContains(t, events[0].Err, fmt.Sprintf("key %d of the JWK Set", at+1), name)
		}
	}
}

func attackPrivateKey(t *testing.T) {
	for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.RS256, jwk.EdDSA} {
		leaked := fixture.NewKey(t, alg).WithID("leaked")
		private, err := leaked.PrivateJWK()
		require.NoError(t, err)
		for name, published := range map[string][]byte{
			"as it is": private, "to verify": fixture.EditObject(t, private, map[string]any{"key_ops": []string{"verify"}}),
			"to sign and verify": fixture.EditObject(t, private, map[string]any{"key_ops": []string{"sign", "verify"}}), "a prime alone": fixture.EditJWK(t, leaked.Verification(), map[string]any{"p": "AQ"}),
		} {
			r := fixture.NewRemote(t)
			forbid := fixture.NewForbidden()
			forbid.Key(t, leaked)
			r.Source.Serve(fixture.Document(fixture.JWKS(t, published, r.Key)))
			r.RequireUnknown(fixture.SignWith(t, leaked, fixture.Header(leaked, nil), r.Claims(nil)))
			r.RequireAccepted(r.Token())
			require.Equal(t, 1, r.Set.Status().Keys, name)
			events := r.KeyEvents()
			require.Equal(t, event.KeySkipped, events[0].Kind, name)
			require.ErrorContains(t, events[0].Err, "private", name)
			for _, output := range fixture.Printed(events[0]) {
				forbid.RequireAbsent(t, name, output)
			}
			require.NotContains(t, string(r.Set.Snapshot()), "leaked")
		}
	}
}

func attackBadTLS(t *testing.T) {
	for name, c := range map[string]struct {
		client func(*http.Client) *http.Client
		host   string
		want   string
	}{
		"self-signed": {client: func(*http.Client) *http.Client { return nil }, want: "certificate"},
		"wrong name":  {host: "localhost", want: "localhost"},
		"expired": {client: func(c *http.Client) *http.Client {
			trusting := c.Transport.(*http.Transport).Clone()
			trusting.TLSClientConfig.Time = func() time.Time { return time.Now().AddDate(100, 0, 0) }
			return &http.Client{Transport: trusting}
		}, want: "expired"},
		"an old version": {client: func(c *http.Client) *http.Client {
			old := c.Transport.(*http.Transport).Clone()
			old.TLSClientConfig.MaxVersion, old.TLSClientConfig.MinVersion = tls.VersionTLS11, tls.VersionTLS10
			return &http.Client{Transport: old}
		}, want: "protocol version"},
	} {
		var asked atomic.Int64
		good := fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))
		w, set, server := served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			good.ServeHTTP(rw, r)
		}))
		require.NoError(t, set.Ready(t.Context())) // with the right client
		require.EqualValues(t, 1, asked.Load())
		u, err := url.Parse(server.URL)
		require.NoError(t, err)
		if c.host != "" {
			u.Host = c.host + ":" + u.Port()
		}
		o := jwk.RemoteOptions{Client: server.Client(), Now: w.Clock.Now}
		if c.client != nil {
			o.Client = c.client(server.Client())
		}
		set, err = jwk.NewRemote(u.String(), o)
		require.NoError(t, err)
		w.VerifyWith(set, jwtauth.VerifierOptions{})
		w.RequireUnavailable(w.Sign(w.Claims(nil)))
		require.ErrorContains(t, set.Status().LastError, c.want, name)
		require.EqualValues(t, 1, asked.Load(), name)
	}
}
