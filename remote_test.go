package jwtauth_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

const jwksURL = "https://keys.issuer.test/jwks"

// source is where the keys of an issuer are fetched, without sockets: a transport
// that has a handler answer, and remembers what was asked.
type source struct {
	mu       sync.Mutex
	handler  http.Handler
	requests []*http.Request
}

func newSource(h http.Handler) *source { return &source{handler: h} }

func (s *source) serve(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// asked is how many requests there were.
func (s *source) asked() int { return len(s.urls()) }

// urls are what was requested, in order.
func (s *source) urls() (urls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		urls = append(urls, r.URL.String())
	}
	return urls
}

// last is the request that came last.
func (s *source) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func (s *source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *source) client() *http.Client { return &http.Client{Transport: s} }

func (s *source) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.requests = append(s.requests, r)
	h := s.handler
	s.mu.Unlock()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := answer.Result()
	res.Request = r
	return res, nil
}

// document answers with a text as JSON, beside header fields in pairs.
func document(text string, fields ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		fmt.Fprint(w, text)
	})
}

// status answers with a status alone.
func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) })
}

// hung never answers.
var hung = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

// after answers when a channel is closed.
func after(gate <-chan struct{}, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// jwks is a JWK Set of keys, each a *SigningKey, of which the public half is
// published, or JSON as it is.
func jwks(t testing.TB, keys ...any) string {
	t.Helper()
	list := []string{}
	for _, k := range keys {
		switch k := k.(type) {
		case *jwtauth.SigningKey:
			b, err := k.VerificationKey().JWK()
			require.NoError(t, err)
			list = append(list, string(b))
		case []byte:
			list = append(list, string(k))
		default:
			list = append(list, text(t, k))
		}
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

// remote is a world whose verifier finds the keys of the issuer at a source.
type remote struct {
	*world
	source *source
	set    *jwtauth.RemoteKeySet
}

// newRemote makes a remote with a source that serves the issuer's ring; change may
// edit the options.
func newRemote(t testing.TB, change ...func(*jwtauth.RemoteKeySetOptions)) *remote {
	t.Helper()
	r := &remote{world: newWorld(t)}
	r.source = newSource(r.keys)
	r.set = r.newSet(change...)
	r.verifyWith(r.set, jwtauth.VerifierOptions{})
	return r
}

func (r *remote) newSet(change ...func(*jwtauth.RemoteKeySetOptions)) *jwtauth.RemoteKeySet {
	r.t.Helper()
	o := jwtauth.RemoteKeySetOptions{Client: r.source.client(), Now: r.clock.Now, OnEvent: r.record}
	for _, c := range change {
		c(&o)
	}
	set, err := jwtauth.NewRemoteKeySet(jwksURL, o)
	require.NoError(r.t, err)
	return set
}

// verifyWith makes the verifier and the middleware of a key set.
func (w *world) verifyWith(keys jwtauth.KeySet, o jwtauth.VerifierOptions) {
	w.t.Helper()
	o.Issuer, o.Audiences, o.OnEvent = testIssuer, []string{testAudience}, w.record
	if o.Now == nil {
		o.Now = w.clock.Now
	}
	var err error
	w.verifier, err = jwtauth.NewVerifier(keys, o)
	require.NoError(w.t, err)
	w.auth, err = jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{})
	require.NoError(w.t, err)
}

// rotate replaces the issuer's key from one moment to the next.
func (r *remote) rotate() {
	r.t.Helper()
	r.use(newKey(r.t, jwtauth.ES256, false))
}

// token is another good token of the key that signs at present.
func (r *remote) token() string {
	r.t.Helper()
	return r.sign(r.claims(map[string]any{"jti": rand.Text()}))
}

// unknown is a token with claims that are good and a kid that is not published,
// signed with a key of that kid.
func (r *remote) unknown(kid string) string {
	r.t.Helper()
	k := keyFor(r.t, jwtauth.EdDSA).WithID(kid)
	return signWith(r.t, k, header(k, nil), r.claims(nil))
}

// keyEvents are the events about keys so far, in order; all are forgotten.
func (w *world) keyEvents() (events []jwtauth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == jwtauth.KeysChanged || e.Kind == jwtauth.KeySkipped || e.Kind == jwtauth.KeysUnavailable {
			events = append(events, e)
		}
	}
	w.events = nil
	return events
}

// keyKinds are their kinds.
func (w *world) keyKinds() (kinds []jwtauth.EventKind) {
	for _, e := range w.keyEvents() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// requireUnknown wants a token refused because of its key.
func (w *world) requireUnknown(token string) {
	w.t.Helper()
	require.ErrorIs(w.t, w.requireRefused(token), jwtauth.ErrTokenKey)
}

func TestRemoteKeySetOptionsOutOfRangeAreErrors(t *testing.T) {
	for want, o := range map[string]jwtauth.RemoteKeySetOptions{
		"Timeout is 1ms, 1s to 1m0s":      {Timeout: time.Millisecond},
		"Timeout is -1s":                  {Timeout: -time.Second},
		"Timeout is 1m1s":                 {Timeout: 61 * time.Second},
		"MinAge is 999ms, 1s to 24h0m0s":  {MinAge: 999 * time.Millisecond},
		"MinAge is 25h0m0s":               {MinAge: 25 * time.Hour},
		"MaxAge is 169h0m0s, 1s to 168h":  {MaxAge: 169 * time.Hour},
		"MaxAge is -1ns":                  {MaxAge: -1},
		"MinAge is 2h0m0s, more than Max": {MinAge: 2 * time.Hour, MaxAge: time.Hour},
		"MaxStale is 169h0m0s, at most":   {MaxStale: 169 * time.Hour},
		"Seed: ":                          {Seed: []byte("{")},
	} {
		_, err := jwtauth.NewRemoteKeySet(jwksURL, o)
		require.ErrorContains(t, err, want)
		_, err = jwtauth.DiscoverKeySet(testIssuer, o)
		require.ErrorContains(t, err, want)
	}
	for _, o := range []jwtauth.RemoteKeySetOptions{{}, {Timeout: time.Second, MinAge: time.Second, MaxAge: time.Second, MaxStale: -1}, {MaxAge: 7 * 24 * time.Hour, MaxStale: 7 * 24 * time.Hour}} {
		_, err := jwtauth.NewRemoteKeySet(jwksURL, o)
		require.NoError(t, err)
	}
}

func TestKeysAreFetchedWhenTheFirstTokenNeedsThem(t *testing.T) {
	r := newRemote(t)
	require.Zero(t, r.set.Status())
	require.Nil(t, r.set.Snapshot())
	require.Zero(t, r.source.asked())
	for range 3 {
		r.requireAccepted(r.token())
	}
	require.Equal(t, []string{jwksURL}, r.source.urls())
	require.Equal(t, []jwtauth.EventKind{jwtauth.KeysChanged}, r.keyKinds())
	s := r.set.Status()
	require.Equal(t, 1, s.Keys)
	require.True(t, s.FetchedAt.Equal(r.clock.Now()))
	require.Equal(t, 5*time.Minute, s.FreshTo.Sub(s.FetchedAt))
	require.Equal(t, time.Hour, s.UsableTo.Sub(s.FreshTo))
	require.NoError(t, s.LastError)
	require.True(t, s.NextTry.IsZero())
}

func TestARequestForKeysTellsNothingOfTheProgram(t *testing.T) {
	r := newRemote(t)
	jar := &cookies{}
	redirects := func(*http.Request, []*http.Request) error { return nil }
	client := &http.Client{Transport: r.source, Jar: jar, CheckRedirect: redirects}
	r.verifyWith(r.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Client = client }), jwtauth.VerifierOptions{})
	r.requireAccepted(r.token())
	asked := r.source.last()
	require.Equal(t, http.MethodGet, asked.Method)
	require.Equal(t, http.Header{"Accept": {"application/jwk-set+json, application/json"}, "User-Agent": {"jwtauth"}}, asked.Header)
	require.Zero(t, jar.calls.Load())
	require.Same(t, jar, client.Jar, "the caller's client is changed")
}

// cookies is a jar that counts who looks into it.
type cookies struct{ calls atomic.Int64 }

func (c *cookies) SetCookies(*url.URL, []*http.Cookie) { c.calls.Add(1) }

func (c *cookies) Cookies(*url.URL) []*http.Cookie {
	c.calls.Add(1)
	return nil
}

func TestRemoteKeysAreSharedByAllRequestsAtOnce(t *testing.T) {
	r := newRemote(t)
	require.NoError(t, r.set.Ready(t.Context()))
	require.NoError(t, r.set.Ready(t.Context()))
	require.Equal(t, 1, r.source.asked())
	r.requireAccepted(r.token())
	require.Equal(t, 1, r.source.asked())
}

func TestReadyAnswersLikeATokenThatComesMeanwhile(t *testing.T) {
	r := newRemote(t)
	r.source.serve(status(500))
	require.ErrorIs(t, r.set.Ready(t.Context()), jwtauth.ErrUnavailable)
	s := r.set.Status()
	require.ErrorContains(t, s.LastError, "the answer is 500")
	require.ErrorContains(t, s.LastError, jwksURL)
	wait := s.NextTry.Sub(r.clock.Now())
	require.LessOrEqual(t, wait, time.Second)
	require.GreaterOrEqual(t, wait, 900*time.Millisecond)
	r.source.serve(r.keys)
	err := r.set.Ready(t.Context()) // nothing is asked before NextTry
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorContains(t, err, "the answer is 500")
	require.NotErrorIs(t, err, jwtauth.ErrRefused)
	require.Equal(t, 1, r.source.asked())
	r.clock.Advance(time.Second)
	require.NoError(t, r.set.Ready(t.Context()))
	require.Equal(t, 2, r.source.asked())
	s = r.set.Status()
	require.NoError(t, s.LastError)
	require.True(t, s.NextTry.IsZero())
	require.Equal(t, []jwtauth.EventKind{jwtauth.KeysUnavailable, jwtauth.KeysChanged}, r.keyKinds())
}

func TestACancelledRequestNeitherWaitsNorEndsTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		gate := make(chan struct{})
		r.source.serve(after(gate, r.keys))
		ctx, cancel := context.WithCancel(t.Context())
		began, errs := time.Now(), make(chan error, 1)
		go func() {
			_, err := r.verifier.Verify(ctx, r.token())
			errs <- err
		}()
		synctest.Wait()
		require.Empty(t, errs)
		cancel()
		err := <-errs
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, time.Since(began))
		close(gate)
		synctest.Wait()
		r.requireAccepted(r.token())
		require.Equal(t, 1, r.source.asked())
	})
}

func TestAKeyThatIsUsedAtOnceIsFoundWithinTheRequest(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, 2 * time.Minute} {
		r := newRemote(t)
		old := r.token()
		r.requireAccepted(old)
		r.clock.Advance(age)
		r.rotate()
		r.requireAccepted(r.token())
		require.Equal(t, 2, r.source.asked())
		r.requireUnknown(old)
		require.Equal(t, 2, r.source.asked(), "a token that was verified before causes a fetch")
	}
}

func TestATokenWithoutKidCausesAFetchLikeOneWithAnUnknownOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		nameless := func(k *jwtauth.SigningKey) string {
			return signWith(t, k, header(k, map[string]any{"kid": nil}), r.claims(map[string]any{"jti": rand.Text()}))
		}
		r.requireAccepted(nameless(r.key))
		require.Equal(t, 1, r.source.asked())
		next := keyFor(t, jwtauth.EdDSA)
		require.NoError(t, r.keys.Set(r.key, next.VerificationKey()))
		r.requireAccepted(nameless(next))
		require.Equal(t, 2, r.source.asked())
		another := newKey(t, jwtauth.ES256, false)
		require.NoError(t, r.keys.Set(r.key, another.VerificationKey()))
		r.clock.Advance(5 * time.Minute)
		r.requireAccepted(r.token()) // has the keys fetched
		synctest.Wait()
		require.Equal(t, 3, r.source.asked())
		r.requireUnknown(nameless(r.key)) // there are two of that algorithm now
	})
}

// TestATokenThatCannotBeGoodCausesNoFetch: neither where there are no keys yet, nor
// where its kid is unknown.
func TestATokenThatCannotBeGoodCausesNoFetch(t *testing.T) {
	k := keyFor(t, jwtauth.EdDSA).WithID("unknown")
	mac := newKey(t, jwtauth.HS256, false)
	r := newRemote(t)
	r.verifyWith(r.set, jwtauth.VerifierOptions{MaxLifetime: time.Hour, MaxAge: 30 * time.Minute})
	now := r.clock.Now().Unix()
	claims := func(changes map[string]any) string { return signWith(t, k, header(k, nil), r.claims(changes)) }
	head := func(changes map[string]any) string { return signWith(t, k, header(k, changes), r.claims(nil)) }
	hopeless := map[string]string{
		"another issuer":        claims(map[string]any{"iss": "https://other.test"}),
		"a slash more":          claims(map[string]any{"iss": testIssuer + "/"}),
		"no issuer":             claims(map[string]any{"iss": nil}),
		"two issuers":           claims(map[string]any{"iss": []string{testIssuer}}),
		"expired":               claims(map[string]any{"exp": now - 31}),
		"no exp":                claims(map[string]any{"exp": nil}),
		"exp as text":           claims(map[string]any{"exp": fmt.Sprint(now + 600)}),
		"nbf ahead":             claims(map[string]any{"nbf": now + 31}),
		"iat ahead":             claims(map[string]any{"iat": now + 31}),
		"lives too long":        claims(map[string]any{"exp": now + 3601}),
		"too old":               claims(map[string]any{"iat": now - 1831}),
		"no iat":                claims(map[string]any{"iat": nil}),
		"typ of refresh tokens": head(map[string]any{"typ": "rt+jwt"}),
		"typ JWT":               head(map[string]any{"typ": "JWT"}),
		"no typ":                head(map[string]any{"typ": nil}),
		"crit":                  head(map[string]any{"crit": []string{"x"}}),
		"none":                  head(map[string]any{"alg": "none"}),
		"no alg":                head(map[string]any{"alg": nil}),
		"an alg of nobody":      head(map[string]any{"alg": "ES999"}),
		"a symmetric alg":       head(map[string]any{"alg": "HS256"}),
		"a symmetric key":       signWith(t, mac, header(mac, nil), r.claims(nil)),
		"a kid that is 7":       head(map[string]any{"kid": 7}),
		"exp twice":             signWith(t, k, header(k, nil), strings.Replace(text(t, r.claims(nil)), "{", fmt.Sprintf(`{"exp":%d,`, now+60), 1)),
		"no object":             signWith(t, k, header(k, nil), `[]`),
		"no JSON":               signWith(t, k, header(k, nil), `{`),
		"two segments":          strings.Join(strings.Split(claims(nil), ".")[:2], "."),
		"padding":               strings.Replace(claims(nil), ".", "=.", 1),
	}
	for _, warm := range []int{0, 1} {
		for name, token := range hopeless {
			_, err := r.verifier.Verify(t.Context(), token)
			require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			require.Equal(t, warm, r.source.asked(), name)
		}
		r.requireAccepted(r.token())
	}
	require.Equal(t, 1, r.source.asked())
	r.requireUnknown(claims(nil))
	require.Equal(t, 2, r.source.asked(), "the others would cause no fetch anyway")
}

func TestForgedSignaturesUnderAKnownKidCauseNoFetch(t *testing.T) {
	r := newRemote(t)
	r.requireAccepted(r.token())
	stranger := newKey(t, jwtauth.ES256, false).WithID(r.key.ID())
	for range 10 {
		r.clock.Advance(20 * time.Second)
		require.ErrorIs(t, r.requireRefused(signWith(t, stranger, header(stranger, nil), r.claims(nil))), jwtauth.ErrTokenSignature)
		// Nor does another algorithm: the kid is known.
		k := keyFor(t, jwtauth.EdDSA).WithID(r.key.ID())
		r.requireUnknown(signWith(t, k, header(k, nil), r.claims(nil)))
	}
	require.Equal(t, 1, r.source.asked())
}

func TestRefreshingAheadOfTheEndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		r.requireAccepted(r.token())
		r.clock.Advance(5*time.Minute*72/100 - time.Second)
		r.requireAccepted(r.token())
		synctest.Wait()
		require.Equal(t, 1, r.source.asked(), "sooner than 80 % less a tenth")
		r.source.serve(hung)
		r.clock.Advance(25 * time.Second)
		began := time.Now()
		for range 50 {
			r.requireAccepted(r.token())
			require.NoError(t, r.set.Ready(t.Context()))
		}
		synctest.Wait()
		require.Equal(t, 2, r.source.asked())
		// Nor does it once the keys are stale, nor when the fetch has failed.
		for range 10 {
			r.clock.Advance(5 * time.Minute)
			r.requireAccepted(r.token())
		}
		require.Zero(t, time.Since(began))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, r.set.Status().LastError, context.DeadlineExceeded)
		r.requireAccepted(r.token())
		require.Equal(t, 10*time.Second, time.Since(began))
		r.source.serve(r.keys)
		r.clock.Advance(2 * time.Second)
		r.requireAccepted(r.token())
		synctest.Wait()
		require.NoError(t, r.set.Status().LastError)
		require.Equal(t, 5*time.Minute, r.set.Status().FreshTo.Sub(r.clock.Now()))
	})
}

// TestAnUnknownKidWhileTheSourceIsDownIsNotRefused: nobody knows whether its issuer
// has it.
func TestAnUnknownKidWhileTheSourceIsDownIsNotRefused(t *testing.T) {
	r := newRemote(t)
	old := r.token()
	r.requireAccepted(old)
	r.source.serve(status(502))
	r.key = newKey(t, jwtauth.ES256, false)
	good := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3600}))
	forged := signWith(t, keyFor(t, jwtauth.EdDSA), header(keyFor(t, jwtauth.EdDSA), nil), r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3600}))
	for range 300 {
		r.clock.Advance(time.Second)
		r.requireUnavailable(good)
		r.requireUnavailable(forged)
		r.requireAccepted(old)
	}
	require.NoError(t, r.keys.Set(r.key))
	r.source.serve(r.keys)
	r.clock.Advance(time.Minute)
	r.requireAccepted(good)
	r.requireUnknown(forged)
	r.requireUnknown(old)
}

func TestAfterAnOutageTheKeysComeBackWithinTheBackoff(t *testing.T) {
	for _, fault := range []http.Handler{status(500), document(`{"keys":[]}`)} {
		r := newRemote(t)
		r.source.serve(fault)
		waits := []time.Duration{}
		for range 600 {
			before := r.source.asked()
			r.requireUnavailable(r.token())
			if r.source.asked() > before {
				waits = append(waits, r.set.Status().NextTry.Sub(r.clock.Now()))
			}
			r.clock.Advance(time.Second)
		}
		require.Equal(t, r.source.asked(), len(waits))
		for i, wait := range waits {
			full := min(time.Second<<i, time.Minute)
			require.LessOrEqual(t, wait, full)
			require.GreaterOrEqual(t, wait, full*9/10)
		}
		require.Less(t, len(waits), 20)
		r.source.serve(r.keys)
		for range 60 {
			r.clock.Advance(time.Second)
			if _, err := r.verifier.Verify(t.Context(), r.token()); err == nil {
				break
			}
		}
		r.requireAccepted(r.token())
		// The next outage begins with a short wait again.
		r.source.serve(fault)
		r.clock.Advance(2 * time.Hour)
		r.requireUnavailable(r.token())
		require.LessOrEqual(t, r.set.Status().NextTry.Sub(r.clock.Now()), time.Second)
	}
}

func TestAClockThatIsSetBackDelaysNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		r.requireAccepted(r.token())
		removed := r.key
		r.rotate()
		r.clock.Advance(-24 * time.Hour)
		old := signWith(t, removed, header(removed, nil), r.claims(nil))
		_, err := r.verifier.Verify(t.Context(), old) // and has the keys fetched
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 2, r.source.asked())
		r.requireUnknown(old) // which is asked for
		for range 60 {
			r.clock.Advance(time.Second)
			r.requireAccepted(r.token())
		}
		synctest.Wait()
		require.Equal(t, 3, r.source.asked())
		// Nor does it lengthen the wait after a failure, which stays one.
		r.source.serve(status(500))
		r.clock.Advance(12 * time.Hour)
		r.requireUnavailable(r.token())
		r.clock.Advance(-3 * time.Hour)
		asked := r.source.asked()
		for range 10 {
			r.requireUnavailable(r.token())
			synctest.Wait()
		}
		require.Equal(t, asked+1, r.source.asked())
		r.source.serve(r.keys)
		r.clock.Advance(2 * time.Second)
		r.requireAccepted(r.token())
	})
}

func TestAnUnknownKidIsRefusedWhereTheSourceWasJustAsked(t *testing.T) {
	r := newRemote(t)
	r.requireAccepted(r.token())
	for range 10 {
		r.requireUnknown(r.unknown("a"))
		r.requireUnknown(r.unknown("b"))
	}
	require.Equal(t, 2, r.source.asked())
	// The budget is 10 seconds for all of them, 30 for each.
	for _, step := range []struct {
		after time.Duration
		kid   string
		asked int
	}{
		{9 * time.Second, "a", 2}, {0, "b", 2}, {time.Second, "a", 2}, {0, "b", 3}, {9 * time.Second, "c", 3}, {10 * time.Second, "a", 3},
		{time.Second, "a", 4}, {9 * time.Second, "b", 4}, {time.Second, "b", 5}, {0, "a", 5}, {30 * time.Second, "a", 6},
	} {
		r.clock.Advance(step.after)
		r.requireUnknown(r.unknown(step.kid))
		require.Equal(t, step.asked, r.source.asked(), "%v", step)
	}
	require.NoError(t, r.set.Status().LastError)
}

// TestLateRequestsAreOfTheSameBudget: requests read the clock before they ask, and
// may ask in another order.
func TestLateRequestsAreOfTheSameBudget(t *testing.T) {
	r := newRemote(t)
	late := time.Duration(0)
	r.verifyWith(r.set, jwtauth.VerifierOptions{Now: func() time.Time { return r.clock.Now().Add(-late) }})
	r.requireAccepted(r.token())
	r.clock.Advance(time.Minute)
	for i := range 1000 {
		late = time.Duration(i) * time.Millisecond
		r.requireUnknown(r.unknown(fmt.Sprint(i)))
	}
	require.Equal(t, 2, r.source.asked())
}

// TestATokenThatCameBeforeTheKeysDoesNotAskForThemAgain: had it been quicker, it
// would have waited for the same fetch.
func TestATokenThatCameBeforeTheKeysDoesNotAskForThemAgain(t *testing.T) {
	r := newRemote(t)
	late := time.Duration(0)
	r.verifyWith(r.set, jwtauth.VerifierOptions{Now: func() time.Time { return r.clock.Now().Add(-late) }})
	r.requireAccepted(r.token())
	for _, late = range []time.Duration{1, time.Millisecond, 9 * time.Second} {
		r.requireUnknown(r.unknown("a"))
	}
	require.Equal(t, 1, r.source.asked())
	late = 11 * time.Second // so late is a clock that was set back
	r.requireUnknown(r.unknown("a"))
	require.Equal(t, 2, r.source.asked())
}

func TestARemovedKeyIsRefusedOnceThatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		old := r.token()
		verified := r.requireAccepted(old)
		next := newKey(t, jwtauth.ES256, false)
		require.NoError(t, r.keys.Set(next))
		require.NotZero(t, r.verifier.CacheStats().Hits)
		r.clock.Advance(4 * time.Minute)
		_, err := r.verifier.Verify(t.Context(), old) // and has the keys fetched
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 2, r.source.asked())
		r.requireUnknown(old)
		require.ErrorIs(t, r.verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
		require.Equal(t, []jwtauth.EventKind{jwtauth.KeysChanged, jwtauth.KeysChanged}, r.keyKinds())
	})
}

// TestEqualKeysAreTheSameKeys: what was verified with them goes on to count,
// whether the source says that nothing has changed or sends it all again.
func TestEqualKeysAreTheSameKeys(t *testing.T) {
	for _, tags := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t)
			r.source.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !tags {
					req.Header.Del("If-None-Match")
				}
				r.keys.ServeHTTP(w, req)
			}))
			token := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3600}))
			r.requireAccepted(token)
			misses := r.verifier.CacheStats().Misses
			for n := range 5 {
				r.clock.Advance(4 * time.Minute)
				r.requireAccepted(token)
				synctest.Wait()
				require.Equal(t, n+2, r.source.asked())
				require.Equal(t, 5*time.Minute, r.set.Status().FreshTo.Sub(r.clock.Now()))
			}
			require.Equal(t, misses, r.verifier.CacheStats().Misses)
			require.Equal(t, []jwtauth.EventKind{jwtauth.KeysChanged}, r.keyKinds())
		})
	}
}

func TestKeysInAnotherOrderAreTheSameKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		other := newKey(t, jwtauth.ES256, false)
		orders := []string{jwks(t, r.key, other), jwks(t, other, r.key)}
		n := 0
		r.source.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n++
			document(orders[n%2]).ServeHTTP(w, req)
		}))
		token := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 7200}))
		for range 4 {
			_, err := r.verifier.Verify(t.Context(), token)
			require.NoError(t, err)
			synctest.Wait()
			r.clock.Advance(14 * time.Minute)
		}
		require.Equal(t, 4, n)
		require.Equal(t, []jwtauth.EventKind{jwtauth.KeysChanged}, r.keyKinds())
		require.EqualValues(t, 1, r.verifier.CacheStats().Misses)
	})
}

// TestNobodyHearsThatATokenHasExpiredWhoseSignatureWasNotChecked: what is read
// before a key is asked for is not authentic.
func TestNobodyHearsThatATokenHasExpiredWhoseSignatureWasNotChecked(t *testing.T) {
	r := newRemote(t)
	forged := newKey(t, jwtauth.EdDSA, false)
	now := r.clock.Now().Unix()
	for _, changes := range []map[string]any{{"exp": now - 31}, {"nbf": now + 31}, {"iat": now + 31}, {"exp": now + 30*24*3600}} {
		_, err := r.verifier.Verify(t.Context(), signWith(t, forged, header(forged, nil), r.claims(changes)))
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		for _, reason := range []error{jwtauth.ErrTokenExpired, jwtauth.ErrTokenNotYetValid, jwtauth.ErrTokenTooLong} {
			require.NotErrorIs(t, err, reason)
		}
	}
	require.Zero(t, r.source.asked())
	_, err := r.verifier.Verify(t.Context(), r.sign(r.claims(nil)))
	require.NoError(t, err)
	_, err = r.verifier.Verify(t.Context(), r.sign(r.claims(map[string]any{"exp": now - 31})))
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired, "its signature holds")
}

func TestWhatHasNotChangedIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		again := func(h http.Handler) (tag string) {
			r.source.serve(h)
			r.clock.Advance(24 * time.Hour * 80 / 100)
			require.NoError(t, r.set.Ready(t.Context()))
			synctest.Wait()
			return r.source.last().Header.Get("If-None-Match")
		}
		tagged := func(tag string) http.Handler {
			return document(jwks(t, r.key), "ETag", tag, "Cache-Control", "max-age=86400")
		}
		unchanged := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.WriteHeader(http.StatusNotModified)
		})
		require.Empty(t, again(tagged(`"1"`)))
		require.Equal(t, `"1"`, again(tagged(`W/"2"`)))
		require.Equal(t, `W/"2"`, again(unchanged))
		require.NoError(t, r.set.Status().LastError)
		require.Equal(t, time.Minute, r.set.Status().FreshTo.Sub(r.clock.Now()), "the dates are those of the old answer")
		require.Equal(t, `W/"2"`, again(unchanged), "an answer without a tag has the old one")
		// What is no tag is not sent back.
		for _, odd := range []string{"", "\x01", "a\x7f", strings.Repeat("x", 5000), "x"} {
			again(tagged(odd))
			require.Empty(t, again(tagged(`"3"`)), "%q", odd)
			require.NoError(t, r.set.Status().LastError, "%q", odd)
		}
		// Who was not asked whether something has changed cannot say that it has not.
		again(tagged(""))
		require.Empty(t, again(unchanged))
		require.ErrorContains(t, r.set.Status().LastError, "the answer is 304")
	})
}

func TestCacheControlIsTakenWithinBounds(t *testing.T) {
	const day, unsaid, least = 24 * time.Hour, 15 * time.Minute, time.Minute
	type fields []string
	for _, c := range []struct {
		fields fields
		want   time.Duration
	}{
		{nil, unsaid}, {fields{"Cache-Control", ""}, unsaid}, {fields{"Cache-Control", "public"}, unsaid}, {fields{"Expires", "Thu, 01 Dec 1994 16:00:00 GMT"}, unsaid},
		{fields{"Cache-Control", "max-age=600"}, 10 * time.Minute}, {fields{"Cache-Control", "public, MAX-AGE=600, must-revalidate"}, 10 * time.Minute},
		{fields{"Cache-Control", `max-age="600"`}, 10 * time.Minute}, {fields{"Cache-Control", "public,max-age=600"}, 10 * time.Minute},
		{fields{"Cache-Control", "max-age=0"}, least}, {fields{"Cache-Control", "max-age=59"}, least}, {fields{"Cache-Control", "max-age=61"}, 61 * time.Second},
		{fields{"Cache-Control", "max-age=86401"}, day}, {fields{"Cache-Control", "max-age=99999999999"}, day}, {fields{"Cache-Control", "max-age=" + strings.Repeat("9", 50)}, day},
		{fields{"Cache-Control", "max-age=-5"}, least}, {fields{"Cache-Control", "max-age=abc"}, least}, {fields{"Cache-Control", "max-age"}, least}, {fields{"Cache-Control", "max-age=1.5"}, least},
		{fields{"Cache-Control", "no-store"}, least}, {fields{"Cache-Control", "no-cache"}, least}, {fields{"Cache-Control", "No-Store"}, least},
		{fields{"Cache-Control", "no-store, max-age=600"}, least}, {fields{"Cache-Control", "max-age=600, no-store"}, least}, {fields{"Cache-Control", `max-age=600, no-cache="x"`}, least},
		{fields{"Cache-Control", "public", "Cache-Control", "max-age=600"}, 10 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Cache-Control", "no-store"}, least},
		{fields{"Cache-Control", "s-maxage=600"}, unsaid}, {fields{"Cache-Control", "xmax-age=600"}, unsaid}, {fields{"Cache-Control", ",,;=,"}, unsaid},
		{fields{"Cache-Control", "max-age=600", "Age", "300"}, 5 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Age", "601"}, least},
		{fields{"Cache-Control", "max-age=600", "Age", "x"}, 10 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Age", "-300"}, 10 * time.Minute},
		{fields{"Cache-Control", "max-age=600", "Age", strings.Repeat("9", 50)}, least}, {fields{"Age", "60"}, unsaid},
	} {
		r := newRemote(t)
		r.source.serve(document(jwks(t, r.key), c.fields...))
		r.requireAccepted(r.token())
		s := r.set.Status()
		require.Equal(t, c.want, s.FreshTo.Sub(s.FetchedAt), "%q", c.fields)
	}
	r := newRemote(t)
	for said, want := range map[string]time.Duration{"no-store": 2 * time.Second, "max-age=1": 2 * time.Second, "max-age=3": 3 * time.Second, "max-age=600": 4 * time.Second, "": 4 * time.Second} {
		r.source.serve(document(jwks(t, r.key), "Cache-Control", said))
		set := r.newSet(func(o *jwtauth.RemoteKeySetOptions) {
			o.MinAge, o.MaxAge, o.MaxStale = 2*time.Second, 4*time.Second, -1
		})
		require.NoError(t, set.Ready(t.Context()))
		require.Equal(t, want, set.Status().FreshTo.Sub(r.clock.Now()), said)
		require.Equal(t, set.Status().FreshTo, set.Status().UsableTo)
	}
}

func TestASnapshotServesALaterProcessWhileTheSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newRemote(t)
		token := first.sign(first.claims(map[string]any{"exp": first.clock.Now().Unix() + 7200}))
		first.requireAccepted(token)
		seed := first.set.Snapshot()
		require.NotContains(t, string(seed), `"d"`)
		state := first.set.Status()

		r := newRemote(t)
		r.source.serve(hung)
		plant := func(seed []byte) *jwtauth.RemoteKeySet {
			set := r.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Seed = seed })
			r.verifyWith(set, jwtauth.VerifierOptions{})
			return set
		}
		began := time.Now()
		set := plant(seed)
		require.Equal(t, state.UsableTo.Unix(), set.Status().UsableTo.Unix())
		require.Equal(t, state.FetchedAt.Unix(), set.Status().FetchedAt.Unix())
		require.JSONEq(t, string(seed), string(set.Snapshot()))
		r.requireAccepted(token)
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Equal(t, 1, r.source.asked(), "the keys of a seed are due")
		require.Empty(t, r.source.last().Header.Get("If-None-Match"))
		time.Sleep(time.Minute)

		// They are used for as long as they would have been used there.
		r.source.serve(status(500))
		r.clock.Advance(state.UsableTo.Sub(r.clock.Now()) - time.Second)
		r.requireAccepted(token)
		r.clock.Advance(time.Second)
		r.requireUnavailable(token)
		plant(seed)
		r.requireUnavailable(token)

		// Where the source has the same keys, nothing changes.
		r.keyEvents()
		r.source.serve(document(jwks(t, first.key)))
		r.clock.Advance(time.Minute)
		r.requireAccepted(token)
		require.Empty(t, r.keyEvents())
	})
}

func TestASeedThatIsNotOfThisSourceIsAnError(t *testing.T) {
	r := newRemote(t)
	require.NoError(t, r.set.Ready(t.Context()))
	seed := string(r.set.Snapshot())
	now := r.clock.Now().Unix()
	fetched, fresh := fmt.Sprintf(`"fetched_at":%d`, now), fmt.Sprintf(`"fresh_to":%d`, now+300)
	require.Contains(t, seed, fetched)
	require.Contains(t, seed, fresh)
	plant := func(url, seed string, change ...func(*jwtauth.RemoteKeySetOptions)) error {
		o := jwtauth.RemoteKeySetOptions{Seed: []byte(seed), Now: r.clock.Now}
		for _, c := range change {
			c(&o)
		}
		_, err := jwtauth.NewRemoteKeySet(url, o)
		return err
	}
	require.NoError(t, plant(jwksURL, seed))
	require.ErrorContains(t, plant(jwksURL+"?", seed), "it is of ")
	require.ErrorContains(t, plant("https://other.test/jwks", seed), "it is of ")
	_, err := jwtauth.DiscoverKeySet("https://keys.issuer.test", jwtauth.RemoteKeySetOptions{Seed: []byte(seed)})
	require.ErrorContains(t, err, "it is of ")
	ahead := func(at, to int64) string {
		return strings.NewReplacer(fetched, fmt.Sprintf(`"fetched_at":%d`, at), fresh, fmt.Sprintf(`"fresh_to":%d`, to)).Replace(seed)
	}
	const day = 24 * 3600
	require.NoError(t, plant(jwksURL, ahead(now, now+day)))
	require.NoError(t, plant(jwksURL, ahead(now-10*day, now-9*day)))
	for _, dates := range [][2]int64{{now + 61, now + 300}, {now, now - 1}, {now, -1 << 63}, {now, now + day + 2}, {now - 10*day, now + 300}, {0, 1 << 62}, {-1 << 63, 1<<63 - 1}, {1<<63 - 1, 1<<63 - 1}, {now, 1<<63 - 1}} {
		require.ErrorContains(t, plant(jwksURL, ahead(dates[0], dates[1])), "dates", "%d", dates)
	}
	require.ErrorContains(t, plant(jwksURL, seed, func(o *jwtauth.RemoteKeySetOptions) { o.MinAge, o.MaxAge = time.Second, 298*time.Second }), "dates")
	for _, bad := range []string{"", "x", "{}", "[]", seed + "x", strings.Replace(seed, `"keys"`, `"kays"`, 1), strings.Replace(seed, `"EC"`, `"oct"`, 1), strings.Replace(seed, `"x"`, `"d"`, 1)} {
		require.ErrorContains(t, plant(jwksURL, bad), "Seed", bad)
	}
}

func TestBackgroundKeepsTheKeysFreshUntilClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t)
		began := time.Now()
		set := r.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Background, o.Now = true, nil })
		synctest.Wait()
		require.Equal(t, 1, r.source.asked(), "the first fetch waits for a token")
		for range 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			require.True(t, set.Status().FreshTo.After(time.Now()), "%v", time.Since(began))
		}
		require.GreaterOrEqual(t, r.source.asked(), 15) // 60 minutes, 5 × 80 % each
		require.LessOrEqual(t, r.source.asked(), 18)
		r.source.serve(status(500))
		time.Sleep(6 * time.Minute)
		require.Error(t, set.Status().LastError)
		r.source.serve(r.keys)
		time.Sleep(2 * time.Minute)
		require.NoError(t, set.Status().LastError)
		set.Close()
		set.Close()
		asked := r.source.asked()
		time.Sleep(30 * time.Minute)
		require.Equal(t, asked, r.source.asked())

		// What is there goes on to be used, and nothing more is fetched.
		r.verifyWith(set, jwtauth.VerifierOptions{Now: time.Now})
		good := func() string {
			now := time.Now().Unix()
			return r.sign(r.claims(map[string]any{"jti": rand.Text(), "exp": now + 60, "iat": now, "auth_time": now}))
		}
		r.requireAccepted(good())
		time.Sleep(time.Hour)
		r.requireUnavailable(good())
		require.Equal(t, asked, r.source.asked())
	})
}

func TestCloseEndsAFetchThatIsOnItsWay(t *testing.T) {
	for _, background := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t)
			r.source.serve(hung)
			set := r.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Background, o.Timeout = background, time.Minute })
			began, errs := time.Now(), make(chan error, 1)
			go func() { errs <- set.Ready(context.Background()) }()
			synctest.Wait()
			set.Close()
			require.ErrorIs(t, <-errs, jwtauth.ErrUnavailable)
			require.Zero(t, time.Since(began))
		})
	}
}

func TestClosedKeySetsLeaveNoGoroutine(t *testing.T) {
	r := newRemote(t)
	before := runtime.NumGoroutine()
	for range 300 {
		set := r.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Background = true })
		require.NoError(t, set.Ready(t.Context()))
		set.Close()
		set = r.newSet()
		require.NoError(t, set.Ready(t.Context())) // there is nothing to close
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 5*time.Second, time.Millisecond) // one asks this
}

// TestAnAnswerThatIsNoKeySetChangesNothing: whatever the source says instead, the
// keys that were there go on to be used, and where there are none, nobody knows.
func TestAnAnswerThatIsNoKeySetChangesNothing(t *testing.T) {
	good := jwks(t, keyFor(t, jwtauth.ES256))
	hundred := func(n int) string {
		keys := make([]any, n)
		for i := range keys {
			keys[i] = keyFor(t, jwtauth.ES256).WithID(fmt.Sprint(i))
		}
		return jwks(t, keys...)
	}
	typed := func(mediaType string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{mediaType}
			fmt.Fprint(w, good)
		})
	}
	for name, fault := range map[string]http.Handler{
		"500": status(500), "404": status(404), "204": status(204), "206": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, good)
		}),
		"a 500 with keys": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, good)
		}),
		"HTML": typed("text/html; charset=utf-8"), "text": typed("text/plain"), "bytes": typed("application/octet-stream"), "no type": typed(""),
		"a type that is none": typed("json"), "image/svg+json": typed("image/svg+json"), "half a type": typed("application/"),
		"nothing": document(""), "null": document("null"), "an array": document("[" + good + "]"), "text in it": document(`"keys"`), "no JSON": document("<html>"),
		"cut": document(good[:len(good)-2]), "more": document(good + good), "an empty set": document(`{"keys":[]}`), "no keys": document(`{}`), "KEYS": document(`{"KEYS":[]}`),
		"keys twice": document(strings.Replace(good, `{"keys"`, `{"keys":[],"keys"`, 1)), "Keys beside keys": document(strings.Replace(good, `{"keys"`, `{"Keys":[],"keys"`, 1)),
		"a name twice in a key": document(strings.Replace(good, `"kty"`, `"x5t":"","x5t":"","kty"`, 1)), "keys that are none": document(`{"keys":{}}`), "a key alone": document(good[len(`{"keys":[`) : len(good)-2]), "keys of nothing": document(`{"keys":[null,1,"x",[],{}]}`),
		"deep": document(`{"keys":[` + strings.Repeat("[", 10000) + `]}`), "invalid UTF-8": document(strings.Replace(good, `"EC"`, "\"\xff\"", 1)),
		"101 keys": document(hundred(101)), "more than a MiB": document(good + strings.Repeat(" ", 1<<20)),
		"only symmetric keys": document(jwks(t, map[string]any{"kty": "oct", "kid": "k", "k": base64.RawURLEncoding.EncodeToString([]byte(rand.Text() + rand.Text()))})),
	} {
		cold := newRemote(t)
		cold.source.serve(fault)
		cold.requireUnavailable(cold.token())
		require.Error(t, cold.set.Status().LastError, name)
		require.Zero(t, cold.set.Status().Keys, name)
		require.Nil(t, cold.set.Snapshot(), name)

		warm := newRemote(t)
		token := warm.token()
		warm.requireAccepted(token)
		fetched := warm.set.Status().FetchedAt
		warm.clock.Advance(time.Minute)
		warm.source.serve(fault)
		warm.requireUnavailable(warm.unknown("x"))
		require.Equal(t, 2, warm.source.asked(), name)
		require.Equal(t, 1, warm.set.Status().Keys, name)
		require.Equal(t, fetched, warm.set.Status().FetchedAt, name)
		require.Contains(t, warm.keyKinds(), jwtauth.KeysUnavailable, name)
		warm.requireAccepted(token)
	}
	for name, fine := range map[string]http.Handler{
		"application/json": typed("application/json"), "jwk-set": typed("application/jwk-set+json"), "a parameter": typed("application/json; charset=utf-8"),
		"a broken parameter": typed("application/json; charset"), "upper case": typed("Application/JSON"), "100 keys": document(hundred(100)[:len(hundred(100))-2] + "]}"),
		"spaces": document(" \n" + good + "\r\n\t"), "a MiB": document(good + strings.Repeat(" ", 1<<20-len(good))), "other members": document(strings.Replace(good, `{"keys"`, `{"x":[{}],"keys"`, 1)),
	} {
		r := newRemote(t)
		r.source.serve(fine)
		require.NoError(t, r.set.Ready(t.Context()), name)
	}
}

func TestTwoKeysOfOneKidAreToldApartByTheirAlgorithm(t *testing.T) {
	r := newRemote(t)
	ec, ed, other := keyFor(t, jwtauth.ES256).WithID("k"), keyFor(t, jwtauth.EdDSA).WithID("k"), newKey(t, jwtauth.ES384, false).WithID("k")
	r.source.serve(document(jwks(t, ec, ed, other)))
	for _, k := range []*jwtauth.SigningKey{ec, ed, other} {
		r.requireAccepted(signWith(t, k, header(k, nil), r.claims(nil)))
		for _, alg := range []string{"ES256", "ES384", "EdDSA"} {
			if alg != string(k.Algorithm()) {
				require.ErrorIs(t, r.requireRefused(signWith(t, k, header(k, map[string]any{"alg": alg}), r.claims(nil))), jwtauth.ErrTokenSignature)
			}
		}
	}
	require.Equal(t, 3, r.set.Status().Keys)
	require.Equal(t, []jwtauth.EventKind{jwtauth.KeysChanged}, r.keyKinds())
}

func TestKeysThatAreLeftOutAreReported(t *testing.T) {
	r := newRemote(t)
	a, b := keyFor(t, jwtauth.EdDSA).WithID("twice"), newKey(t, jwtauth.EdDSA, false).WithID("twice")
	r.source.serve(document(jwks(t, r.key, map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "koblitz"}, a, b, r.key)))
	r.requireAccepted(r.token())
	require.Equal(t, 1, r.set.Status().Keys)
	events := r.keyEvents()
	require.Len(t, events, 4)
	for i, want := range []struct {
		kind               jwtauth.EventKind
		reason, kid, error string
	}{
		{jwtauth.KeySkipped, "unusable", "", `key 2 of the JWK Set: unknown curve "secp256k1"`}, {jwtauth.KeySkipped, "ambiguous", "twice", `"twice"`},
		{jwtauth.KeySkipped, "ambiguous", "twice", "EdDSA"}, {jwtauth.KeysChanged, "", "", ""},
	} {
		e := events[i]
		require.Equal(t, want.kind, e.Kind)
		require.Equal(t, want.reason, e.Reason)
		require.Equal(t, want.kid, e.KeyID)
		if want.error != "" {
			require.ErrorContains(t, e.Err, want.error)
		}
	}
}

// directory serves the metadata of issuers and their keys, by URL.
type directory map[string]http.Handler

func (d directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := d[r.URL.String()]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

func metadata(issuer, keys string) http.Handler {
	members, _ := json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": keys})
	return document(string(members))
}

// discovered is a remote whose keys are discovered from an issuer.
func discovered(t testing.TB, issuer string, d directory) *remote {
	r := &remote{world: newWorld(t), source: newSource(d)}
	var err error
	r.set, err = jwtauth.DiscoverKeySet(issuer, jwtauth.RemoteKeySetOptions{Client: r.source.client(), Now: r.clock.Now, OnEvent: r.record})
	require.NoError(t, err)
	return r
}

func TestDiscoveryAsksOpenIDFirst(t *testing.T) {
	const keys = "https://keys.test/jwks"
	set := document(jwks(t, keyFor(t, jwtauth.ES256)))
	for _, c := range []struct{ issuer, openID, oauth string }{
		{"https://a.test", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"},
		{"https://a.test/", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"},
		{"https://a.test/t/1", "https://a.test/t/1/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server/t/1"},
		{"https://a.test:8443/t/", "https://a.test:8443/t/.well-known/openid-configuration", "https://a.test:8443/.well-known/oauth-authorization-server/t"},
		{"https://a.test/%2Ft", "https://a.test/%2Ft/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server/%2Ft"},
	} {
		r := discovered(t, c.issuer, directory{c.openID: metadata(c.issuer, keys), keys: set})
		require.NoError(t, r.set.Ready(t.Context()), c.issuer)
		require.Equal(t, []string{c.openID, keys}, r.source.urls())
		for name, missing := range map[string]http.Handler{"404": nil, "500": status(500), "a page": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!doctype html>") })} {
			r = discovered(t, c.issuer, directory{c.openID: missing, c.oauth: metadata(c.issuer, keys), keys: set})
			require.NoError(t, r.set.Ready(t.Context()), name)
			require.Equal(t, []string{c.openID, c.oauth, keys}, r.source.urls(), name)
		}
		r = discovered(t, c.issuer, directory{})
		require.ErrorIs(t, r.set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.ErrorContains(t, r.set.Status().LastError, "openid-configuration")
		require.ErrorContains(t, r.set.Status().LastError, "oauth-authorization-server")
		events := r.keyEvents()
		require.Len(t, events, 1)
		require.Equal(t, c.issuer, events[0].Issuer)
		require.Equal(t, []string{c.openID, c.oauth}, r.source.urls())
	}
}

func TestDiscoveryTakesTheIssuerToTheLetter(t *testing.T) {
	const keys = "https://keys.test/jwks"
	for said, hint := range map[string]string{
		testIssuer + "/": "a slash at its end", "https://ISSUER.test": "the case of letters", "https://issuer.test:443": "its port", "https://other.test": "", "": "", "http://issuer.test": "", testIssuer + "\x00": "",
	} {
		r := discovered(t, testIssuer, directory{testIssuer + "/.well-known/openid-configuration": metadata(said, keys), keys: document(jwks(t, keyFor(t, jwtauth.ES256)))})
		r.verifyWith(r.set, jwtauth.VerifierOptions{})
		r.requireUnavailable(r.token())
		require.ErrorContains(t, r.set.Status().LastError, "issuer is ")
		require.ErrorContains(t, r.set.Status().LastError, hint)
		require.Equal(t, 1, r.source.asked(), "the metadata of somebody else is followed")
	}
	for _, document := range []http.Handler{
		document(`{"jwks_uri":"https://keys.test/jwks"}`), document(`{"issuer":["https://issuer.test"],"jwks_uri":"https://keys.test/jwks"}`), document(`[]`),
		document(`{"issuer":"https://issuer.test","issuer":"https://issuer.test","jwks_uri":"https://keys.test/jwks"}`), document(`{"Issuer":"https://issuer.test","jwks_uri":"https://keys.test/jwks"}`),
	} {
		r := discovered(t, testIssuer, directory{testIssuer + "/.well-known/openid-configuration": document})
		require.ErrorIs(t, r.set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.Equal(t, 1, r.source.asked())
	}
}

func TestDiscoveryFetchesKeysOverHTTPSAlone(t *testing.T) {
	for _, keys := range []string{
		"http://issuer.test/jwks", "http://127.0.0.1/jwks", "/jwks", "jwks", "//issuer.test/jwks", "", "file:///etc/passwd", "https:issuer.test", "https://", "https:///jwks", "https://:443/jwks",
		"https://user@issuer.test/jwks", "https://issuer.test/jwks#x", "data:application/json,{}", "https://issuer.test\n/jwks", "https://%zz/jwks",
	} {
		r := discovered(t, testIssuer, directory{testIssuer + "/.well-known/openid-configuration": metadata(testIssuer, keys)})
		r.verifyWith(r.set, jwtauth.VerifierOptions{})
		r.requireUnavailable(r.token())
		require.ErrorContains(t, r.set.Status().LastError, "metadata", keys)
		require.Equal(t, 1, r.source.asked(), keys)
	}
}

func TestDiscoveredKeysAreForTheirIssuerAlone(t *testing.T) {
	r := discovered(t, testIssuer, nil)
	for _, issuer := range []string{"https://other.test", testIssuer + "/", "https://ISSUER.test"} {
		_, err := jwtauth.NewVerifier(r.set, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{testAudience}})
		require.ErrorContains(t, err, "the keys were discovered for the issuer")
	}
	for _, issuer := range []string{"", "issuer", "http://issuer.test", "https://issuer.test?x=1", "https://issuer.test#x", "https://user:word@issuer.test", "ftp://issuer.test", "https://"} {
		_, err := jwtauth.DiscoverKeySet(issuer, jwtauth.RemoteKeySetOptions{})
		require.Error(t, err, issuer)
	}
}

func TestDiscoveryFollowsTheKeysToAnotherURL(t *testing.T) {
	const where, here, there = testIssuer + "/.well-known/openid-configuration", "https://a.test/jwks", "https://b.test/jwks"
	d := directory{where: metadata(testIssuer, here)}
	r := discovered(t, testIssuer, d)
	r.verifyWith(r.set, jwtauth.VerifierOptions{})
	d[here], d[there] = r.keys, r.keys
	r.requireAccepted(r.token())
	r.requireUnknown(r.unknown("a"))
	require.NotEmpty(t, r.source.last().Header.Get("If-None-Match"))
	d[where] = metadata(testIssuer, there)
	r.clock.Advance(10 * time.Second)
	r.requireUnknown(r.unknown("b"))
	require.Equal(t, []string{where, here, where, here, where, there}, r.source.urls())
	require.Empty(t, r.source.last().Header.Get("If-None-Match"), "the tag of another source")
	r.requireAccepted(r.token())

	// A snapshot is of the issuer, wherever its keys stand.
	seeded, err := jwtauth.DiscoverKeySet(testIssuer, jwtauth.RemoteKeySetOptions{Client: newSource(status(500)).client(), Now: r.clock.Now, Seed: r.set.Snapshot()})
	require.NoError(t, err)
	r.verifyWith(seeded, jwtauth.VerifierOptions{})
	r.requireAccepted(r.token())
}

func TestAnyOfFetchesTheKeysOfTheTokensIssuerAlone(t *testing.T) {
	w := newWorld(t)
	issuers := []string{"https://a.test", "https://b.test", "https://c.test"}
	sources, members := make(map[string]*source), []*jwtauth.Verifier{}
	for _, issuer := range issuers {
		s := newSource(w.keys) // the same key, which may sign for each of them
		sources[issuer] = s
		set, err := jwtauth.NewRemoteKeySet(issuer+"/jwks", jwtauth.RemoteKeySetOptions{Client: s.client(), Now: w.clock.Now})
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{testAudience}, Now: w.clock.Now})
		require.NoError(t, err)
		members = append(members, v)
	}
	either, err := jwtauth.AnyOf(members...)
	require.NoError(t, err)
	asked := func() (counts []int) {
		for _, issuer := range issuers {
			counts = append(counts, sources[issuer].asked())
		}
		return counts
	}
	for _, issuer := range []string{"https://d.test", "https://a.test/", "https://A.test", "https://a.test:443", "http://a.test", "", "https://a.test\x00"} {
		_, err := either.Verify(t.Context(), w.sign(w.claims(map[string]any{"iss": issuer})))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, issuer)
		require.Equal(t, []int{0, 0, 0}, asked(), issuer)
	}
	for i, issuer := range issuers[:2] {
		_, err := either.Verify(t.Context(), w.sign(w.claims(map[string]any{"iss": issuer})))
		require.NoError(t, err)
		require.Equal(t, []int{1, i, 0}, asked())
	}
	sources["https://c.test"].serve(status(500))
	_, err = either.Verify(t.Context(), w.sign(w.claims(map[string]any{"iss": "https://c.test"})))
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	_, err = either.Verify(t.Context(), w.sign(w.claims(map[string]any{"iss": "https://a.test"})))
	require.NoError(t, err, "the outage of another issuer")
	require.Equal(t, []int{1, 1, 1}, asked())
}

func TestALoopbackSourceIsFetchedOverHTTPWhereThatIsAllowed(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.keys)
	defer server.Close()
	_, err := jwtauth.NewRemoteKeySet(server.URL, jwtauth.RemoteKeySetOptions{})
	require.ErrorContains(t, err, "InsecureLoopbackHTTP takes it")
	set, err := jwtauth.NewRemoteKeySet(server.URL, jwtauth.RemoteKeySetOptions{InsecureLoopbackHTTP: true})
	require.NoError(t, err)
	w.verifyWith(set, jwtauth.VerifierOptions{})
	w.requireAccepted(w.sign(w.claims(nil)))
	server.Close()
	w.requireAccepted(w.sign(w.claims(nil)))
}

// TestAnErrorOfTheSourceIsShort: it stands in logs, and the source chooses it.
func TestAnErrorOfTheSourceIsShort(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	for name, fault := range map[string]http.Handler{
		"a redirect":   http.RedirectHandler("https://other.test/"+long, http.StatusFound),
		"a media type": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "a/"+long) }),
		"a kid":        document(`{"keys":[{"kty":"` + long + `","kid":"` + long + `"}]}`),
		"a location": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", ":"+long)
			w.WriteHeader(http.StatusFound)
		}),
	} {
		r := newRemote(t)
		r.source.serve(fault)
		require.Error(t, r.set.Ready(t.Context()))
		for _, e := range r.keyEvents() {
			require.Less(t, len(e.Err.Error()), 1000, name)
		}
		require.Less(t, len(r.set.Status().LastError.Error()), 1000, name)
	}
	r := discovered(t, testIssuer, directory{testIssuer + "/.well-known/openid-configuration": metadata(long, long)})
	require.Error(t, r.set.Ready(t.Context()))
	require.Less(t, len(r.set.Status().LastError.Error()), 1000)
}

// forger makes tokens with other kids: the header and the claims of a good token,
// of which it has seen one, and no signature.
type forger struct {
	before, after string // the kid
	n             uint64
}

func newForger(t testing.TB, good string) *forger {
	parts := strings.Split(good, ".")
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	var members map[string]string
	require.NoError(t, json.Unmarshal(head, &members))
	const kid = `","kid":"`
	begin := `{"typ":"at+jwt","alg":"` + members["alg"]
	for (len(begin)+len(kid))%3 != 0 {
		begin = begin[:1] + " " + begin[1:]
	}
	encode := base64.RawURLEncoding.EncodeToString
	return &forger{before: encode([]byte(begin + kid)), after: encode([]byte(`"}`)) + "." + parts[1] + "." + parts[2]}
}

// forge makes a token with a kid of nine characters that no other one has.
func (f *forger) forge() string {
	f.n++
	var kid [12]byte // in base64, "0000" to "9999" each
	n := f.n
	for i := len(kid) - 4; i >= 0; i -= 4 {
		copy(kid[i:], base64.RawURLEncoding.AppendEncode(nil, fmt.Appendf(nil, "%03d", n%1000)))
		n /= 1000
	}
	return f.before + string(kid[:]) + f.after
}

// TestForgedKidsDoNotStarveARotation: 100,000 tokens a minute that have all of a
// good one but its kid and its signature go on while the issuer rotates. The new
// key is in use within 30 seconds and the time of a fetch, no token of the old one
// is refused before, and the source is asked as often as is documented.
func TestForgedKidsDoNotStarveARotation(t *testing.T) {
	for _, rotateAt := range []time.Duration{100 * time.Millisecond, 11 * time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const fetching, minutes, perMinute, maxAge = 2 * time.Second, 1, 100_000, 60 * time.Second
			r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.Now, o.OnEvent = nil, nil })
			r.verifyWith(r.set, jwtauth.VerifierOptions{Now: time.Now, CacheSize: -1})
			r.source.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				time.Sleep(fetching / 2)
				document(jwks(t, r.key), "Cache-Control", "max-age=60").ServeHTTP(w, req)
				time.Sleep(fetching / 2)
			}))
			began := time.Now()
			r.key = keyFor(t, jwtauth.EdDSA)
			sign := func() string {
				return r.sign(r.claims(map[string]any{"exp": began.Unix() + 600, "iat": began.Unix()}))
			}
			old := sign()
			verify := func(token string) error {
				_, err := r.verifier.Verify(t.Context(), token)
				return err
			}
			require.NoError(t, verify(old))
			f, ctx := newForger(t, old), t.Context()
			require.ErrorIs(t, verify(f.forge()), jwtauth.ErrTokenKey)
			fetched := r.source.asked()
			began = time.Now()

			var all sync.WaitGroup
			var accepted, unavailable atomic.Int64
			all.Go(func() {
				for range minutes * perMinute {
					time.Sleep(time.Minute / perMinute)
					token := f.forge()
					all.Go(func() {
						switch _, err := r.verifier.Verify(ctx, token); {
						case err == nil:
							accepted.Add(1)
						case !errors.Is(err, jwtauth.ErrTokenKey):
							unavailable.Add(1)
						}
					})
				}
			})
			for time.Since(began) < rotateAt {
				require.NoError(t, verify(old))
				time.Sleep(100 * time.Millisecond)
			}
			r.key = newKey(t, jwtauth.EdDSA, false)
			rotated, good, tries := time.Now(), sign(), 0
			for verify(good) != nil {
				tries++
				time.Sleep(500 * time.Millisecond)
				require.Less(t, tries, 200)
			}
			took := time.Since(rotated)
			require.LessOrEqual(t, took, 30*time.Second+fetching)
			all.Wait()
			lasted := time.Since(began)
			require.NoError(t, verify(good))
			require.Zero(t, accepted.Load())
			require.Zero(t, unavailable.Load())
			forced, planned := int(lasted/(10*time.Second))+1, int(lasted/(maxAge*72/100))+1
			require.LessOrEqual(t, r.source.asked()-fetched, forced+planned)
			require.Greater(t, r.source.asked()-fetched, 1)
			t.Logf("rotated after %v: the new key is in use after %v; %d fetches in %v", rotateAt, took, r.source.asked()-fetched, lasted)
		})
	}
}

// TestAKidThatWasAskedForBeforeItWasPublishedIsAskedForAgain within 30 seconds.
func TestAKidThatWasAskedForBeforeItWasPublishedIsAskedForAgain(t *testing.T) {
	r := newRemote(t)
	r.requireAccepted(r.token())
	old := r.key
	r.key = newKey(t, jwtauth.ES256, false)
	r.requireUnknown(r.token())
	r.clock.Advance(time.Second)
	require.NoError(t, r.keys.Set(r.key, old.VerificationKey()))
	for range 28 {
		r.clock.Advance(time.Second)
		r.requireUnknown(r.token())
	}
	require.Equal(t, 2, r.source.asked())
	r.clock.Advance(time.Second)
	r.requireAccepted(r.token())
	require.Equal(t, 3, r.source.asked())
}

// rotating is an issuer that replaces its key as it should: it publishes the next
// one, signs with it when nobody can have older keys any more, and retires the old
// one when its last token has expired.
type rotating struct {
	name          string
	ring          *jwtauth.KeyRing
	key, next     *jwtauth.SigningKey
	source        *source
	good, expired []string
	retired       []*jwtauth.SigningKey
}

const (
	rotatingMaxAge = 5 * time.Second
	rotatingLife   = 6 * time.Second
)

func newRotating(t *testing.T, name string) *rotating {
	i := &rotating{name: name, key: newKey(t, jwtauth.ES256, false)}
	var err error
	i.ring, err = jwtauth.NewKeyRing(i.key)
	require.NoError(t, err)
	i.source = newSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		answer := httptest.NewRecorder()
		i.ring.ServeHTTP(answer, r)
		time.Sleep(50 * time.Millisecond)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d", int(rotatingMaxAge.Seconds())))
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}))
	return i
}

// tick is what an issuer does at a second of its minute.
func (i *rotating) tick(t *testing.T, second int) {
	if second%20 > 0 && i.next == nil {
		return
	}
	switch second % 20 {
	case 0: // publish
		i.next = newKey(t, jwtauth.ES256, false)
		require.NoError(t, i.ring.Set(i.key, i.next.VerificationKey()))
	case 6: // sign
		i.key, i.next = i.next, i.key
		require.NoError(t, i.ring.Set(i.key, i.next.VerificationKey()))
	case 13: // retire
		i.retired = append(i.retired, i.next)
		require.NoError(t, i.ring.Set(i.key))
	}
}

func (i *rotating) sign(t *testing.T, k *jwtauth.SigningKey) string {
	now := time.Now()
	return signWith(t, k, header(k, nil), map[string]any{
		"iss": i.name, "aud": testAudience, "sub": "alice", "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(rotatingLife).Unix(),
	})
}

// TestRotationUnderLoadRefusesNoGoodToken: two issuers rotate, three times a minute
// each, while four services verify 1,000 tokens a second. What is forged, expired or
// of a retired key is not accepted.
func TestRotationUnderLoadRefusesNoGoodToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 1000
		issuers := []*rotating{newRotating(t, "https://a.test"), newRotating(t, "https://b.test")}
		var services []*jwtauth.Verifier
		for range 4 {
			var members []*jwtauth.Verifier
			for _, i := range issuers {
				set, err := jwtauth.NewRemoteKeySet(i.name+"/jwks", jwtauth.RemoteKeySetOptions{Client: i.source.client(), MinAge: time.Second})
				require.NoError(t, err)
				v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: i.name, Audiences: []string{testAudience}, Leeway: -1})
				require.NoError(t, err)
				members = append(members, v)
			}
			v, err := jwtauth.AnyOf(members...)
			require.NoError(t, err)
			services = append(services, v)
		}
		stranger := newKey(t, jwtauth.ES256, false)
		var all sync.WaitGroup
		var refused, unavailable, accepted, good, bad atomic.Int64
		verify := func(v *jwtauth.Verifier, token string, isGood bool) {
			all.Go(func() {
				_, err := v.Verify(t.Context(), token)
				switch {
				case isGood && err == nil:
					good.Add(1)
				case isGood && errors.Is(err, jwtauth.ErrRefused):
					refused.Add(1)
				case !isGood && err == nil:
					accepted.Add(1)
				case !isGood && errors.Is(err, jwtauth.ErrRefused):
					bad.Add(1)
				default:
					unavailable.Add(1)
				}
			})
		}
		began := time.Now()
		for second := range 60 {
			time.Sleep(time.Until(began.Add(time.Duration(second) * time.Second)))
			for n, i := range issuers {
				i.tick(t, second+9*n)
				for range 4 {
					i.good = append(i.good, i.sign(t, i.key))
				}
				if keep := 4 * int(rotatingLife/time.Second); len(i.good) > keep {
					i.expired, i.good = i.good[:len(i.good)-keep], i.good[len(i.good)-keep:]
				}
			}
			for n := range perSecond {
				v, i, other := services[n%4], issuers[n/4%2], issuers[(n/4+1)%2]
				switch token := i.good[n/8%len(i.good)]; n % 40 {
				case 0: // a key that nobody knows, under a kid that is known and its own
					verify(v, i.sign(t, stranger.WithID(i.key.ID())), false)
				case 9:
					verify(v, i.sign(t, stranger), false)
				case 18: // the other issuer's key
					verify(v, i.sign(t, other.key), false)
				case 27:
					if len(i.expired) > 0 {
						verify(v, i.expired[n%len(i.expired)], false)
					}
				case 36:
					// It may be in use for as long as the keys are fresh.
					if at := (second + 9*(n/4%2)) % 20; len(i.retired) > 0 && (at < 13 || at > 18) {
						verify(v, i.sign(t, i.retired[len(i.retired)-1]), false)
					}
				default:
					verify(v, token, true)
				}
				if n%100 == 99 {
					time.Sleep(90 * time.Millisecond)
				}
			}
		}
		all.Wait()
		t.Logf("%d good tokens accepted, %d bad ones refused, %d and %d fetches", good.Load(), bad.Load(), issuers[0].source.asked(), issuers[1].source.asked())
		require.Zero(t, refused.Load(), "good tokens were refused")
		require.Zero(t, accepted.Load(), "bad tokens were accepted")
		require.Zero(t, unavailable.Load())
		require.Greater(t, good.Load(), int64(50_000))
		require.Greater(t, bad.Load(), int64(4_000))
		for _, i := range issuers {
			require.NotEmpty(t, i.retired)
			require.LessOrEqual(t, i.source.asked(), 4*(60/10+2+60*100/(5*72)))
		}
	})
}

// snapshotKeys are the keys of a snapshot, each of which must be a public one that
// can be used and told apart.
func snapshotKeys(t *testing.T, snapshot []byte) string {
	var s struct {
		Set struct{ Keys []json.RawMessage } `json:"jwks"`
	}
	if err := json.Unmarshal(snapshot, &s); err != nil {
		t.Fatalf("%s: %v", snapshot, err)
	}
	seen := make(map[string]bool)
	for _, text := range s.Set.Keys {
		k, err := jwtauth.ParseVerificationKey("", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		samePublic(t, k)
		if name := string(k.Algorithm()) + " " + k.ID(); seen[name] || strings.HasPrefix(name, "HS") {
			t.Fatalf("%s: twice, or symmetric", text)
		} else {
			seen[name] = true
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if members[private] != nil {
				t.Fatalf("%s: the private member %s", text, private)
			}
		}
	}
	texts, err := json.Marshal(s.Set.Keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(texts)
}

// FuzzKeySet: a text is a JWK Set each time or never; what is taken of it are public
// keys that can be used and told apart; read again, they are the same objects.
func FuzzKeySet(f *testing.F) {
	ec, rsa, ed := keyFor(f, jwtauth.ES256), rfcSigningKey(f, "RFC 7520, 3.4", jwtauth.RS256), rfcSigningKey(f, "RFC 8037, A.1", jwtauth.EdDSA)
	mac, err := keyFor(f, jwtauth.HS256).PrivateJWK()
	require.NoError(f, err)
	private, err := ec.PrivateJWK()
	require.NoError(f, err)
	for _, set := range []string{
		jwks(f, ec, rsa, ed), jwks(f, ec, ec), jwks(f, ec.WithID("k"), rsa.WithID("k"), ed.WithID("k")), jwks(f, ec.WithID("k"), newKey(f, jwtauth.ES256, false).WithID("k"), ed),
		jwks(f, mac), jwks(f, private, ed), jwks(f, mac, private, rsa), jwks(f), `{"keys":[null,1,{}]}`, `{"keys":{}}`, `{"keys":[],"keys":[]}`, `[]`, ``, jwks(f, ed) + "x",
		jwks(f, editJWK(f, rsa.VerificationKey(), map[string]any{"alg": nil, "kid": nil, "use": nil})), jwks(f, editJWK(f, ed.VerificationKey(), map[string]any{"use": "enc"}), ec),
		jwks(f, editJWK(f, ec.VerificationKey(), map[string]any{"alg": "HS256"})), jwks(f, editJWK(f, ec.VerificationKey(), map[string]any{"k": "AAAA"})), strings.Repeat(`{"keys":[`, 40),
	} {
		f.Add(set)
	}
	f.Fuzz(func(t *testing.T, set string) {
		changes := 0
		var w world
		w.clock = newClock()
		o := jwtauth.RemoteKeySetOptions{Client: newSource(document(set)).client(), Now: w.clock.Now, OnEvent: func(_ context.Context, e jwtauth.Event) {
			if e.Kind == jwtauth.KeysChanged {
				changes++
			}
		}}
		first, err := jwtauth.NewRemoteKeySet(jwksURL, o)
		require.NoError(t, err)
		verdict := first.Ready(context.Background())
		if (verdict == nil) != (first.Status().Keys > 0) || verdict != nil && first.Snapshot() != nil {
			t.Fatalf("%q: %d keys, %v", set, first.Status().Keys, verdict)
		}
		w.clock.Advance(48 * time.Hour) // nothing of it can be used any more
		if again := first.Ready(context.Background()); (again == nil) != (verdict == nil) {
			t.Fatalf("%q: first %v, then %v", set, verdict, again)
		}
		if verdict != nil {
			if changes != 0 {
				t.Fatalf("%q: no keys, which have changed", set)
			}
			return
		}
		if changes != 1 {
			t.Fatalf("%q: the same keys are others", set)
		}
		keys := snapshotKeys(t, first.Snapshot())
		o.Seed = first.Snapshot()
		seeded, err := jwtauth.NewRemoteKeySet(jwksURL, o)
		if err != nil {
			t.Fatalf("%s: %v", o.Seed, err)
		}
		if seeded.Status().Keys != first.Status().Keys || snapshotKeys(t, seeded.Snapshot()) != keys {
			t.Fatalf("%s is not read again", o.Seed)
		}
		w.clock.Advance(48 * time.Hour)
		if err := seeded.Ready(context.Background()); err != nil || changes != 1 {
			t.Fatalf("%q: %v, %d changes", set, err, changes)
		}
	})
}

// FuzzMetadata: a document is followed only where it names this issuer, and to an
// https URL.
func FuzzMetadata(f *testing.F) {
	good := `{"issuer":"` + testIssuer + `","jwks_uri":"` + jwksURL + `"}`
	for _, document := range []string{
		good, good + "x", " " + good, good[:len(good)-1], `{}`, `[]`, ``, `null`, strings.Replace(good, "https://keys", "http://keys", 1), strings.Replace(good, "issuer.test\"", "issuer.test/\"", 1),
		strings.Replace(good, "{", `{"issuer":"x",`, 1), strings.Replace(good, "{", `{"Issuer":"x",`, 1), strings.Replace(good, "{", `{"jwks_uri":"http://127.0.0.1",`, 1), strings.Replace(good, "issuer.test", `issuer\u002etest`, 1),
		strings.Replace(good, "https://keys", `https:\/\/user@keys`, 1), strings.Replace(good, jwksURL, "", 1), strings.Replace(good, jwksURL, "/jwks", 1), strings.Replace(good, jwksURL, "https://k.test:/jwks", 1), strings.Replace(good, jwksURL, "https://k.test/a b?c=d#e", 1),
		`{"issuer":"` + testIssuer + `","jwks_uri":["` + jwksURL + `"]}`, `{"issuer":{},"jwks_uri":1}`,
	} {
		f.Add(document)
	}
	set := jwks(f, keyFor(f, jwtauth.ES256))
	f.Fuzz(func(t *testing.T, text string) {
		const where = testIssuer + "/.well-known/openid-configuration"
		s := newSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() == where {
				document(text).ServeHTTP(w, r)
				return
			}
			document(set).ServeHTTP(w, r)
		}))
		keys, err := jwtauth.DiscoverKeySet(testIssuer, jwtauth.RemoteKeySetOptions{Client: s.client()})
		require.NoError(t, err)
		err = keys.Ready(context.Background())
		urls := s.urls()
		if urls[0] != where || len(urls) > 2 || err == nil && len(urls) != 2 {
			t.Fatalf("%q: %q, %v", text, urls, err)
		}
		if len(urls) == 1 {
			return
		}
		var read struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal([]byte(text), &read); err != nil {
			t.Fatalf("followed, and encoding/json refuses it: %q: %v", text, err)
		}
		want, err := url.Parse(read.Keys)
		if err != nil || read.Issuer != testIssuer || want.Scheme != "https" || want.Host == "" || want.String() != urls[1] {
			t.Fatalf("%q: %q was fetched", text, urls[1])
		}
	})
}
