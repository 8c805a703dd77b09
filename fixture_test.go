package jwtauth_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

const (
	testIssuer   = "https://issuer.test"
	testAudience = "https://api.test"
)

// clock is a clock that tests set. It begins at a whole second.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is one service: an issuer with its keys, stores and clock, the verifier
// and the middleware that belong to it, and all events that were sent.
type world struct {
	t        testing.TB
	clock    *clock
	key      *jwtauth.SigningKey
	keys     *jwtauth.KeyRing
	store    *jwtauth.MemoryStore
	issuer   *jwtauth.Issuer
	verifier *jwtauth.Verifier
	auth     *jwtauth.Middleware

	mu     sync.Mutex
	events []jwtauth.Event
}

// generated holds one key for each algorithm: RSA keys take long to make.
var generated sync.Map

func keyFor(t testing.TB, alg jwtauth.Algorithm) *jwtauth.SigningKey {
	t.Helper()
	if k, ok := generated.Load(alg); ok {
		return k.(*jwtauth.SigningKey)
	}
	return newKey(t, alg, true)
}

// newKey makes another key for an algorithm.
func newKey(t testing.TB, alg jwtauth.Algorithm, keep bool) *jwtauth.SigningKey {
	t.Helper()
	k, err := jwtauth.GenerateKey(alg)
	require.NoError(t, err)
	if keep {
		generated.Store(alg, k)
	}
	return k
}

// newWorld makes a world with an ES256 key; change may edit the options.
func newWorld(t testing.TB, change ...func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions)) *world {
	t.Helper()
	return newWorldWith(t, jwtauth.ES256, change...)
}

func newWorldWith(t testing.TB, alg jwtauth.Algorithm, change ...func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions)) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), key: keyFor(t, alg)}
	var err error
	w.keys, err = jwtauth.NewKeyRing(w.key)
	require.NoError(t, err)
	w.store = jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: w.clock.Now})
	o := jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testAudience},
		Sessions: w.store, Revocations: w.store, Now: w.clock.Now, OnEvent: w.record,
	}
	var vo jwtauth.VerifierOptions
	for _, c := range change {
		c(&o, &vo)
	}
	w.issuer, err = jwtauth.NewIssuer(w.keys, o)
	require.NoError(t, err)
	w.verifier, err = w.issuer.NewVerifier(vo)
	require.NoError(t, err)
	w.auth, err = jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{})
	require.NoError(t, err)
	return w
}

func (w *world) record(_ context.Context, e jwtauth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// kinds are the kinds of the events so far, in order; the events are forgotten.
func (w *world) kinds() (kinds []jwtauth.EventKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	w.events = nil
	return kinds
}

// login opens a session.
func (w *world) login(subject string, scopes ...string) jwtauth.TokenResponse {
	w.t.Helper()
	r, err := w.issuer.Issue(w.t.Context(), jwtauth.Grant{Subject: subject, Scopes: scopes})
	require.NoError(w.t, err)
	return r
}

// claims are the claims of a good access token, with changes; a nil value takes
// a claim away.
func (w *world) claims(changes map[string]any) map[string]any {
	now := w.clock.Now().Unix()
	c := map[string]any{
		"iss": testIssuer, "sub": "alice", "aud": testAudience, "jti": "token-1",
		"exp": now + 600, "iat": now, "auth_time": now,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// header is the header of a good access token of a key, with changes; a nil
// value takes a member away.
func header(k *jwtauth.SigningKey, changes map[string]any) map[string]any {
	h := map[string]any{"alg": string(k.Algorithm()), "typ": "at+jwt", "kid": k.ID()}
	maps.Copy(h, changes)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return h
}

// text is JSON as it is, where it is a string already.
func text(t testing.TB, v any) string {
	t.Helper()
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// signWith signs a header and claims, each a map or JSON as it is, with a key.
func signWith(t testing.TB, k *jwtauth.SigningKey, header, claims any) string {
	t.Helper()
	token, err := jwtauth.SignRaw(k, text(t, header), text(t, claims))
	require.NoError(t, err)
	return token
}

// sign signs claims with the world's key and a good header.
func (w *world) sign(claims any) string {
	w.t.Helper()
	return signWith(w.t, w.key, header(w.key, nil), claims)
}

// get sends a request with a token in the Authorization header through Require;
// ran says whether the handler ran.
func (w *world) get(token string) (answer *httptest.ResponseRecorder, ran bool) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return w.do(r)
}

func (w *world) do(r *http.Request) (answer *httptest.ResponseRecorder, ran bool) {
	answer = httptest.NewRecorder()
	w.auth.Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ran = true
		if _, ok := jwtauth.FromContext(r.Context()); !ok {
			w.t.Error("the handler ran without a token in its context")
		}
	})).ServeHTTP(answer, r)
	return answer, ran
}

// requireRefused: code R of the attack list, by the library and by the
// middleware.
func (w *world) requireRefused(token string) *jwtauth.Error {
	w.t.Helper()
	got, err := w.verifier.Verify(w.t.Context(), token)
	require.ErrorIs(w.t, err, jwtauth.ErrRefused)
	require.Zero(w.t, got)
	answer, ran := w.get(token)
	require.False(w.t, ran, "the handler ran")
	require.Equal(w.t, http.StatusUnauthorized, answer.Code)
	require.Contains(w.t, answer.Header().Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
	require.Equal(w.t, "no-store", answer.Header().Get("Cache-Control"))
	var e *jwtauth.Error
	require.ErrorAs(w.t, err, &e)
	return e
}

// requireAccepted: code A of the attack list.
func (w *world) requireAccepted(token string) jwtauth.Token {
	w.t.Helper()
	got, err := w.verifier.Verify(w.t.Context(), token)
	require.NoError(w.t, err)
	answer, ran := w.get(token)
	require.True(w.t, ran, "the handler did not run: %d", answer.Code)
	return got
}
