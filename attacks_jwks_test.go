package jwtauth_test

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
		attackUnusableKeys(t, map[string]map[string]any{"enc": {"use": "enc"}, "another use": {"use": "SIG"}, "no use": {"use": ""}, "a list of uses": {"use": []string{"sig"}}, "enc to verify": {"use": "enc", "key_ops": []string{"verify"}}})
	}},
	{"J15", "key_ops without verify", func(t *testing.T) {
		attackUnusableKeys(t, map[string]map[string]any{
			"encrypt": {"key_ops": []string{"encrypt"}}, "sign": {"key_ops": []string{"sign"}}, "nothing": {"key_ops": []string{}}, "a text": {"key_ops": "verify"},
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
			o := jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: insecure}
			set, err := jwtauth.NewRemoteKeySet(u, o)
			require.Error(t, err, u)
			require.Nil(t, set)
			set, err = jwtauth.DiscoverKeySet(u, o)
			require.Error(t, err, u)
			require.Nil(t, set)
		}
	}
	for _, u := range []string{"http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]/jwks", "http://127.3.2.1/jwks"} {
		_, err := jwtauth.NewRemoteKeySet(u, jwtauth.RemoteKeySetOptions{})
		require.ErrorContains(t, err, "InsecureLoopbackHTTP takes it", u)
		_, err = jwtauth.NewRemoteKeySet(u, jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: true})
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
			o := jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: insecure}
			set, err := jwtauth.NewRemoteKeySet(u, o)
			require.Error(t, err, "%q", u)
			require.Nil(t, set)
			_, err = jwtauth.DiscoverKeySet(u, o)
			require.Error(t, err, "%q", u)
		}
	}
	_, err := jwtauth.NewRemoteKeySet("HTTPS://issuer.test:8443/jwks?tenant=1", jwtauth.RemoteKeySetOptions{})
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
			r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) {
				o.InsecureLoopbackHTTP = true
				o.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
			})
			token := r.token()
			r.requireAccepted(token)
			r.source.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch req.URL.Path {
				case "/jwks":
					http.Redirect(w, req, c.to, code)
				case "/loop":
					http.Redirect(w, req, "/loop", code)
				default:
					r.keys.ServeHTTP(w, req)
				}
			}))
			next := newKey(t, jwtauth.EdDSA, false)
			require.NoError(t, r.keys.Set(r.key, next.VerificationKey()))
			rotated := signWith(t, next, header(next, nil), r.claims(nil))
			if c.follows {
				r.requireAccepted(rotated)
			} else {
				r.requireUnavailable(rotated)
				require.Equal(t, 1, r.set.Status().Keys)
			}
			r.requireAccepted(token) // the old keys are there
			for _, u := range r.source.urls() {
				require.True(t, strings.HasPrefix(u, "https://keys.issuer.test/"), u)
			}
			require.LessOrEqual(t, r.source.asked(), 1+4)
		}
	}
	// There are three in a row at most, and none of the metadata to another origin.
	for hops, ok := range map[int]bool{1: true, 3: true, 4: false} {
		r := newRemote(t)
		r.source.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n := 0
			fmt.Sscan(req.URL.Query().Get("n"), &n)
			if n < hops {
				http.Redirect(w, req, fmt.Sprintf("/jwks?n=%d", n+1), http.StatusFound)
				return
			}
			r.keys.ServeHTTP(w, req)
		}))
		err := r.set.Ready(t.Context())
		require.Equal(t, ok, err == nil, "%d: %v", hops, err)
	}
	const where = testIssuer + "/.well-known/openid-configuration"
	r := discovered(t, testIssuer, directory{where: http.RedirectHandler("https://other.test/metadata", http.StatusFound), "https://other.test/metadata": metadata(testIssuer, jwksURL)})
	require.ErrorIs(t, r.set.Ready(t.Context()), jwtauth.ErrUnavailable)
	require.NotContains(t, r.source.urls(), "https://other.test/metadata")
}

func attackURLsInTokens(t *testing.T) {
	r := newRemote(t)
	r.requireAccepted(r.token())
	k := keyFor(t, jwtauth.EdDSA)
	for _, text := range []string{
		"https://attacker.test/jwks", "http://169.254.169.254/latest", "//attacker.test", "../../../jwks", "/../other", "?x=1", "#", "..", "%2e%2e%2f", "keys\r\nHost: attacker.test", "@attacker.test", "file:///etc/passwd", "\u2028", `{"kty":"oct"}`,
	} {
		r.clock.Advance(30 * time.Second)
		named := k.WithID(text)
		h := header(named, map[string]any{"jku": "https://attacker.test/jwks", "x5u": "https://attacker.test/x5c"})
		r.requireUnknown(signWith(t, named, h, r.claims(nil)))
		asked := r.source.asked()
		_, err := r.verifier.Verify(t.Context(), signWith(t, named, h, r.claims(map[string]any{"iss": text})))
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		require.Equal(t, asked, r.source.asked(), "%q as issuer", text)
	}
	require.Greater(t, r.source.asked(), 5)
	for _, u := range r.source.urls() {
		require.Equal(t, jwksURL, u)
	}
	// Nor does a discovered set go where a token says.
	d := discovered(t, testIssuer, directory{testIssuer + "/.well-known/openid-configuration": metadata(testIssuer, jwksURL), jwksURL: r.keys})
	d.verifyWith(d.set, jwtauth.VerifierOptions{})
	_, err := d.verifier.Verify(t.Context(), signWith(t, k, header(k, nil), d.claims(map[string]any{"iss": "https://attacker.test"})))
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	require.Zero(t, d.source.asked())
}

// served makes a verifier whose keys stand at a server on loopback, of which the
// client knows the certificate.
func served(t *testing.T, h http.Handler, change ...func(*jwtauth.RemoteKeySetOptions)) (*world, *jwtauth.RemoteKeySet, *httptest.Server) {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w := newWorld(t)
	o := jwtauth.RemoteKeySetOptions{Client: server.Client(), Now: w.clock.Now, OnEvent: w.record}
	for _, c := range change {
		c(&o)
	}
	set, err := jwtauth.NewRemoteKeySet(server.URL, o)
	require.NoError(t, err)
	w.verifyWith(set, jwtauth.VerifierOptions{})
	return w, set, server
}

func attackHugeBody(t *testing.T) {
	const size, limit = 100 << 20, 8 << 20 // what the sockets hold is in the limit
	good := jwks(t, keyFor(t, jwtauth.ES256))
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
		before := heap()
		w.requireUnavailable(w.sign(w.claims(nil)))
		require.ErrorContains(t, set.Status().LastError, "more than 1048576 bytes", name)
		require.Less(t, heap()-before, int64(limit), name)
		<-gate
		if !squeezed { // of which 100 kB are on their way
			require.Less(t, sent.Load(), int64(size/2), name)
		}
	}
	// Nor are headers read without end, by the client that is there where none is given.
	for size, ok := range map[int]bool{1000: true, 1 << 20: false} {
		server := httptest.NewServer(document(good, "X-Filler", strings.Repeat("x", size)))
		set, err := jwtauth.NewRemoteKeySet(server.URL, jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: true})
		require.NoError(t, err)
		require.Equal(t, ok, set.Ready(t.Context()) == nil, size)
		server.Close()
	}
}

// drip is a body that comes one byte a second.
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
		var r *remote
		r = newRemote(t, func(o *jwtauth.RemoteKeySetOptions) {
			fast := o.Client.Transport
			o.Client.Transport = transport(func(req *http.Request) (*http.Response, error) {
				res, err := fast.RoundTrip(req)
				if slow && err == nil {
					res.Body = &drip{req.Context(), jwks(t, r.key)}
				}
				return res, err
			})
		})
		token := r.token()
		r.requireAccepted(token)
		slow = true
		r.source.serve(document(""))
		requireBounded(t, r, token, 10*time.Second)
	})
}

// requireBounded wants a fetch of keys that are due to end in time, and requests
// with tokens of a known key to wait for nothing meanwhile.
func requireBounded(t *testing.T, r *remote, token string, limit time.Duration) {
	r.clock.Advance(5 * time.Minute)
	began := time.Now()
	r.requireAccepted(token)
	synctest.Wait()
	r.requireAccepted(token)
	r.requireAccepted(r.token())
	require.NoError(t, r.set.Status().LastError, "the fetch is over")
	require.Zero(t, time.Since(began))
	_, err := r.verifier.Verify(t.Context(), r.unknown("unknown")) // waits for the fetch
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.LessOrEqual(t, time.Since(began), limit)
	require.NotZero(t, time.Since(began))
	require.Error(t, r.set.Status().LastError)
	r.requireAccepted(token)
	// Where there are no keys that may be used, requests wait, and no longer.
	r.clock.Advance(2 * time.Hour)
	began = time.Now()
	r.requireUnavailable(r.token())
	require.LessOrEqual(t, time.Since(began), 2*limit)
}

func attackHungConnection(t *testing.T) {
	// A peer that takes what it is sent and says nothing.
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
			time.Sleep(time.Minute) // a transport does not end what it dials with the request
			return nil, errors.New("nobody is there")
		}},
		"hung TLS":     {DialContext: mute, TLSHandshakeTimeout: time.Minute},
		"hung headers": {DialTLSContext: mute},
	} {
		synctest.Test(t, func(t *testing.T) {
			down := false
			r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) {
				up := o.Client.Transport
				o.Timeout = 7 * time.Second
				o.Client.Transport = transport(func(req *http.Request) (*http.Response, error) {
					if down {
						return dead.RoundTrip(req)
					}
					return up.RoundTrip(req)
				})
			})
			token := r.token()
			r.requireAccepted(token)
			down = true
			requireBounded(t, r, token, 7*time.Second)
			require.ErrorIs(t, r.set.Status().LastError, context.DeadlineExceeded, name)
			time.Sleep(time.Hour) // until the transport has given up
		})
	}
	// The client that is there where none is given has bounds of its own.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	set, err := jwtauth.NewRemoteKeySet("https://"+listener.Addr().String(), jwtauth.RemoteKeySetOptions{Timeout: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, set.Ready(ctx), jwtauth.ErrUnavailable)
	set.Close()
}

func attackKidFlood(t *testing.T) {
	r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.OnEvent = nil })
	r.requireAccepted(r.token())
	f := newForger(t, r.token())
	flood := func() {
		var all sync.WaitGroup
		tokens := make(chan string)
		for range 100 {
			all.Go(func() {
				for token := range tokens {
					if _, err := r.verifier.Verify(t.Context(), token); err == nil {
						t.Error("accepted")
					}
				}
			})
		}
		for range 10_000 {
			tokens <- f.forge()
		}
		close(tokens)
		all.Wait()
	}
	flood()
	require.Equal(t, 2, r.source.asked())
	r.clock.Advance(9 * time.Second)
	flood()
	require.Equal(t, 2, r.source.asked())
	for n := range 3 {
		r.clock.Advance(10 * time.Second)
		flood()
		require.Equal(t, 3+n, r.source.asked())
	}
	r.requireAccepted(r.token())
}

func attackStampede(t *testing.T) {
	r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.OnEvent = nil })
	now := time.Now().Unix()
	good := r.claims(map[string]any{"exp": now + 600, "iat": now, "auth_time": now})
	nameless := signWith(t, r.key, header(r.key, map[string]any{"kid": nil}), good)
	for name, token := range map[string]string{"with kid": r.sign(good), "without kid": nameless} {
		for range 20 {
			gate, all := make(chan struct{}), sync.WaitGroup{}
			s := newSource(r.keys)
			set, err := jwtauth.NewRemoteKeySet(jwksURL, jwtauth.RemoteKeySetOptions{Client: s.client()})
			require.NoError(t, err)
			v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
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
			require.Equal(t, 1, s.asked(), name)
		}
	}
}

// attackUnusableKeys publishes a key that good tokens are signed with, with changes
// that make it unfit, beside one that is fine.
func attackUnusableKeys(t *testing.T, changes map[string]map[string]any) {
	for name, change := range changes {
		for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.RS256, jwtauth.EdDSA} {
			r := newRemote(t)
			unfit := keyFor(t, alg).WithID("unfit")
			r.source.serve(document(jwks(t, editJWK(t, unfit.VerificationKey(), change), r.key)))
			r.requireUnknown(signWith(t, unfit, header(unfit, nil), r.claims(nil)))
			r.requireAccepted(r.token())
			require.Equal(t, 1, r.set.Status().Keys, name)
			require.Equal(t, jwtauth.KeySkipped, r.keyKinds()[0], name)

			alone := newRemote(t)
			alone.source.serve(document(jwks(t, editJWK(t, unfit.VerificationKey(), change))))
			alone.requireUnavailable(signWith(t, unfit, header(unfit, nil), alone.claims(nil)))

			fit := newRemote(t) // without the change it would be accepted
			fit.source.serve(document(jwks(t, unfit, fit.key)))
			fit.requireAccepted(signWith(t, unfit, header(unfit, nil), fit.claims(nil)))
		}
	}
}

func attackSymmetricKey(t *testing.T) {
	mac := newKey(t, jwtauth.HS256, false).WithID("mac")
	secret, err := mac.PrivateJWK()
	require.NoError(t, err)
	for name, published := range map[string][]byte{
		"as it is": secret, "for signatures": editObject(t, secret, map[string]any{"use": "sig", "key_ops": []string{"verify"}}), "without alg": editObject(t, secret, map[string]any{"alg": nil}),
		"as another type": editObject(t, secret, map[string]any{"kty": "EC"}), "for another alg": editObject(t, secret, map[string]any{"alg": "ES256"}),
	} {
		r := newRemote(t)
		r.source.serve(document(jwks(t, r.key, published)))
		r.requireAccepted(r.token())
		r.clock.Advance(time.Minute)
		for _, kid := range []any{"mac", nil, r.key.ID()} {
			for _, alg := range []string{"HS256", "ES256", "none"} {
				token := signWith(t, mac, header(mac, map[string]any{"kid": kid, "alg": alg}), r.claims(nil))
				_, err := r.verifier.Verify(t.Context(), token)
				require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			}
		}
		require.NotContains(t, string(r.set.Snapshot()), `"k"`)
		require.Equal(t, 1, r.set.Status().Keys)
	}
}

func attackDuplicateKid(t *testing.T) {
	one, two := keyFor(t, jwtauth.ES256).WithID("k"), newKey(t, jwtauth.ES256, false).WithID("k")
	fine := keyFor(t, jwtauth.EdDSA)
	for name, set := range map[string][]any{"one first": {one, two, fine}, "two first": {two, one, fine}, "thrice": {one, fine, two, one}, "one without alg": {editJWK(t, one.VerificationKey(), map[string]any{"alg": nil}), two, fine}} {
		r := newRemote(t)
		r.source.serve(document(jwks(t, set...)))
		r.requireAccepted(signWith(t, fine, header(fine, nil), r.claims(nil)))
		for _, k := range []*jwtauth.SigningKey{one, two} {
			r.requireUnknown(signWith(t, k, header(k, nil), r.claims(nil)))
			r.requireUnknown(signWith(t, k, header(k, map[string]any{"kid": nil}), r.claims(nil)))
		}
		require.Equal(t, 1, r.set.Status().Keys, name)
	}
	// The same key twice is one key.
	r := newRemote(t)
	r.source.serve(document(jwks(t, one, one, one)))
	r.requireAccepted(signWith(t, one, header(one, nil), r.claims(nil)))
	r.requireAccepted(signWith(t, one, header(one, map[string]any{"kid": nil}), r.claims(nil)))
	require.Equal(t, 1, r.set.Status().Keys)
	// That a key was there before does not make it the right one of two.
	r.source.serve(document(jwks(t, one, two, fine)))
	r.clock.Advance(time.Minute)
	r.requireUnknown(r.unknown("unknown"))
	r.requireUnknown(signWith(t, one, header(one, nil), r.claims(nil)))
}

func attackOutage(t *testing.T) {
	for name, down := range map[string]http.Handler{"500": status(500), "404": status(404), "empty": document(`{"keys":[]}`), "a page": document("<html>", "Content-Type", "text/html")} {
		r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.MaxStale = 2 * time.Hour })
		old := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3*3600}))
		verified := r.requireAccepted(old)
		r.source.serve(down)
		usable := r.set.Status().UsableTo.Sub(r.clock.Now())
		require.Equal(t, 2*time.Hour+5*time.Minute, usable, name)
		for range 124 {
			r.clock.Advance(time.Minute)
			r.requireAccepted(r.token())
			r.requireAccepted(old)
		}
		r.clock.Advance(time.Minute - 1)
		r.requireAccepted(old)
		r.clock.Advance(1)
		r.requireUnavailable(old) // also from the cache
		r.requireUnavailable(r.token())
		require.ErrorIs(t, r.verifier.Recheck(t.Context(), verified), jwtauth.ErrUnavailable)
		require.ErrorIs(t, r.set.Ready(t.Context()), jwtauth.ErrUnavailable)
		r.source.serve(r.keys)
		r.clock.Advance(time.Minute)
		r.requireAccepted(old)
		require.NoError(t, r.verifier.Recheck(t.Context(), verified))
	}
	// Without MaxStale, keys are used as long as they are fresh.
	r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.MaxStale = -1 })
	r.requireAccepted(r.token())
	r.source.serve(status(500))
	r.clock.Advance(5*time.Minute - 1)
	r.requireAccepted(r.token())
	r.clock.Advance(1)
	r.requireUnavailable(r.token())
}

func attackRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cacheSize := range []int{0, -1} {
			r := newRemote(t)
			r.verifyWith(r.set, jwtauth.VerifierOptions{CacheSize: cacheSize})
			leaked, next := r.key, newKey(t, jwtauth.EdDSA, false)
			require.NoError(t, r.keys.Set(leaked, next.VerificationKey()))
			stolen := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3600}))
			r.requireAccepted(stolen)
			r.use(next)
			r.clock.Advance(4 * time.Minute)
			r.requireAccepted(r.token()) // has the keys fetched, as any request
			synctest.Wait()
			r.requireUnknown(stolen)
			r.requireUnknown(signWith(t, leaked, header(leaked, nil), r.claims(nil)))
			r.requireUnknown(signWith(t, leaked, header(leaked, map[string]any{"kid": nil}), r.claims(nil)))
			r.requireAccepted(r.token())
			// It does not come back with an outage.
			r.source.serve(status(500))
			r.clock.Advance(30 * time.Minute)
			_, err := r.verifier.Verify(t.Context(), stolen)
			require.Error(t, err)
			r.requireAccepted(r.token())
		}
	})
}

func attackBadKeyAmongGood(t *testing.T) {
	ec, rsa, ed := keyFor(t, jwtauth.ES256), keyFor(t, jwtauth.RS256), keyFor(t, jwtauth.EdDSA)
	edit := func(k *jwtauth.SigningKey, changes map[string]any) []byte {
		changes["kid"] = "bad"
		return editJWK(t, k.VerificationKey(), changes)
	}
	var members map[string]string
	b, err := ec.VerificationKey().JWK()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &members))
	for name, bad := range map[string]any{
		"unknown kty": edit(ec, map[string]any{"kty": "AKP"}), "no kty": edit(ec, map[string]any{"kty": nil}), "kty in lower case": edit(ec, map[string]any{"kty": "ec"}), "kty of another": edit(ec, map[string]any{"kty": "RSA"}),
		"unknown crv": edit(ec, map[string]any{"crv": "secp256k1"}), "crv of another": edit(ec, map[string]any{"crv": "P-384"}), "X25519": edit(ed, map[string]any{"crv": "X25519"}), "Ed448": edit(ed, map[string]any{"crv": "Ed448"}),
		"unknown alg": edit(ec, map[string]any{"alg": "ES256K"}), "alg of another": edit(ec, map[string]any{"alg": "RS256"}), "symmetric alg": edit(rsa, map[string]any{"alg": "HS256"}), "none": edit(rsa, map[string]any{"alg": "none"}), "alg for encryption": edit(rsa, map[string]any{"alg": "RSA-OAEP"}),
		"a number as alg": edit(ec, map[string]any{"alg": 7}), "a number as kid": editJWK(t, ec.VerificationKey(), map[string]any{"kid": 7}), "an empty kid": editJWK(t, ec.VerificationKey(), map[string]any{"kid": ""}), "a long kid": editJWK(t, ec.VerificationKey(), map[string]any{"kid": strings.Repeat("k", 10_000)}),
		"a point off the curve": edit(ec, map[string]any{"x": members["y"], "y": members["x"]}), "no point": edit(ec, map[string]any{"x": nil}), "a short point": edit(ec, map[string]any{"x": "AA"}), "padding": edit(ec, map[string]any{"x": members["x"] + "="}),
		"a weak modulus": edit(rsa, map[string]any{"n": strings.Repeat("A", 170) + "Q"}), "an even exponent": edit(rsa, map[string]any{"e": "Ag"}), "exponent one": edit(rsa, map[string]any{"e": "AQ"}), "a huge exponent": edit(rsa, map[string]any{"e": "AQAAAAAB"}), "a huge modulus": edit(rsa, map[string]any{"n": strings.Repeat("_", 20_000)}),
		"a short Ed25519 key": edit(ed, map[string]any{"x": "AA"}), "nothing": map[string]any{}, "null": "null", "a text": `"key"`, "an array": "[]", "a number": "1", "a set": jwks(t, ec),
	} {
		for at := range 3 {
			r := newRemote(t)
			set := []any{rsa, ed}
			set = append(set[:min(at, 2):min(at, 2)], append([]any{bad}, set[min(at, 2):]...)...)
			r.source.serve(document(jwks(t, append(set, r.key)...)))
			for _, k := range []*jwtauth.SigningKey{r.key, rsa, ed} {
				r.requireAccepted(signWith(t, k, header(k, nil), r.claims(nil)))
			}
			require.Equal(t, 3, r.set.Status().Keys, name)
			events := r.keyEvents()
			require.Len(t, events, 2, name)
			require.Equal(t, jwtauth.KeySkipped, events[0].Kind)
			require.Equal(t, "unusable", events[0].Reason)
			require.ErrorContains(t, events[0].Err, fmt.Sprintf("key %d of the JWK Set", at+1), name)
		}
	}
}

func attackPrivateKey(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.RS256, jwtauth.EdDSA} {
		leaked := newKey(t, alg, false).WithID("leaked")
		private, err := leaked.PrivateJWK()
		require.NoError(t, err)
		for name, published := range map[string][]byte{
			"as it is": private, "to verify": editObject(t, private, map[string]any{"key_ops": []string{"verify"}}), "an empty d": editObject(t, private, map[string]any{"d": ""}),
			"to sign and verify": editObject(t, private, map[string]any{"key_ops": []string{"sign", "verify"}}), "a prime alone": editJWK(t, leaked.VerificationKey(), map[string]any{"p": "AQ"}),
		} {
			r := newRemote(t)
			forbid := newForbidden()
			forbid.key(t, leaked)
			r.source.serve(document(jwks(t, published, r.key)))
			r.requireUnknown(signWith(t, leaked, header(leaked, nil), r.claims(nil)))
			r.requireAccepted(r.token())
			require.Equal(t, 1, r.set.Status().Keys, name)
			events := r.keyEvents()
			require.Equal(t, jwtauth.KeySkipped, events[0].Kind, name)
			require.ErrorContains(t, events[0].Err, "private", name)
			for _, output := range printed(events[0]) {
				forbid.requireAbsent(t, name, output)
			}
			require.NotContains(t, string(r.set.Snapshot()), "leaked")
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
		good := document(jwks(t, keyFor(t, jwtauth.ES256)))
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
		o := jwtauth.RemoteKeySetOptions{Client: server.Client(), Now: w.clock.Now}
		if c.client != nil {
			o.Client = c.client(server.Client())
		}
		set, err = jwtauth.NewRemoteKeySet(u.String(), o)
		require.NoError(t, err)
		w.verifyWith(set, jwtauth.VerifierOptions{})
		w.requireUnavailable(w.sign(w.claims(nil)))
		require.ErrorContains(t, set.Status().LastError, c.want, name)
		require.EqualValues(t, 1, asked.Load(), name)
	}
}
