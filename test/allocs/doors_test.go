//go:build !race

package allocs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// reads says which claims a door reads before it verifies the signature.
type reads int

const (
	readsNothing reads = iota
	readsIssuer        // reads iss, to choose the verifier
	readsDates         // reads iss and the dates, before it asks a key source for a key
)

// door is a function of the library that takes a token from a client that nobody knows yet.
type door struct {
	name  string
	reads reads
	shape shape   // the shape of the tokens for this door
	times int     // how often the door reads a segment at most
	base  float64 // how many bytes the door may allocate for any token
	max   int     // the length of the longest token that the door reads
	// knock returns a function that presents the token at the door and returns the error.
	knock func(token string) (call func() error)
}

// How many bytes a door may allocate for any token. A middleware may allocate more, because it
// also writes a response.
const (
	baseVerify     = 2 << 10
	baseMiddleware = 3 << 10
)

// refusedBy returns the name of the check that refused a token. ok is false if err is not a
// refusal.
func refusedBy(err error) (check string, ok bool) {
	e, ok := err.(*jwtauth.Error)
	if !ok || !errors.Is(e, jwtauth.ErrRefused) || errors.Is(e, jwtauth.ErrUnavailable) || e.Status != 400 && e.Status != 401 {
		return "", false
	}
	return e.Check, true
}

// hall has all doors. All of them call one hook, which may be nil.
type hall struct {
	*fixture.World
	max   int // the MaxTokenBytes of the verifiers
	hook  func(context.Context, event.Event)
	doors []door
}

func newHall(t testing.TB, max int, hook func(context.Context, event.Event)) *hall {
	h := &hall{max: max, hook: hook}
	h.World = fixture.New(t, h.options)
	h.addVerifiers()
	h.addSeveralIssuers()
	h.addRemotes()
	h.addMiddlewares()
	h.addIssuers()
	return h
}

func (h *hall) options(i *jwtauth.IssuerOptions, v *jwtauth.VerifierOptions) {
	i.OnEvent, v.OnEvent, v.MaxTokenBytes = h.hook, h.hook, h.max
}

// verifierOf returns a verifier for the tokens of an issuer.
func (h *hall) verifierOf(issuer string, keys jwk.Set) *jwtauth.Verifier {
	h.T.Helper()
	v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: issuer, Audiences: []string{fixture.Audience}, MaxTokenBytes: h.max, OnEvent: h.hook, Now: h.Clock.Now,
	})
	require.NoError(h.T, err)
	return v
}

// add adds a door that presents tokens to the function ask.
func (h *hall) add(name string, reads reads, s shape, times, max int, ask func(ctx context.Context, token string) error) {
	ctx := h.T.Context()
	h.doors = append(h.doors, door{name, reads, s, times, baseVerify, max, func(token string) func() error {
		return func() error { return ask(ctx, token) }
	}})
}

// addVerifier adds the Verify method of a Verifier as a door.
func (h *hall) addVerifier(name string, reads reads, s shape, times int, v *jwtauth.Verifier) {
	h.add(name, reads, s, times, h.max, func(ctx context.Context, token string) error {
		_, err := v.Verify(ctx, token)
		return err
	})
}

func (h *hall) addVerifiers() {
	h.addVerifier("Verifier, ES256", readsNothing, shapeOf(h.World, "at+jwt"), 1, h.Verifier)
	hmac := fixture.NewWith(h.T, jwk.HS256, h.options)
	h.addVerifier("Verifier, HS256", readsNothing, shapeOf(hmac, "at+jwt"), 1, hmac.Verifier)
	static, err := jwk.Static(h.Key.Verification())
	require.NoError(h.T, err)
	h.addVerifier("Verifier, jwk.Static", readsNothing, shapeOf(h.World, "at+jwt"), 1, h.verifierOf(fixture.Issuer, static))
}

func (h *hall) addSeveralIssuers() {
	known := map[string]*jwtauth.Verifier{fixture.Issuer: h.Verifier}
	members := []*jwtauth.Verifier{h.Verifier}
	for n := range 15 {
		issuer := fmt.Sprintf("%s/%d", fixture.Issuer, n)
		known[issuer] = h.verifierOf(issuer, h.Keys)
		members = append(members, known[issuer])
	}
	for _, n := range []int{2, 16} {
		any, err := jwtauth.AnyOf(members[:n]...)
		require.NoError(h.T, err)
		h.addVerifier(fmt.Sprintf("AnyOf(%d)", n), readsIssuer, shapeOf(h.World, "at+jwt"), 1, any)
	}
	all, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		return known[issuer], nil
	}, jwtauth.ResolveOptions{MaxTokenBytes: h.max, OnEvent: h.hook, Now: h.Clock.Now})
	require.NoError(h.T, err)
	for issuer := range known {
		_, err = all.Verify(h.T.Context(), h.Sign(h.Claims(map[string]any{"iss": issuer})))
		require.NoError(h.T, err)
	}
	h.addVerifier("ResolveIssuers", readsIssuer, shapeOf(h.World, "at+jwt"), 1, all)
}

// addRemotes adds verifiers that fetch their keys. An unknown kid has just caused a fetch, so
// further unknown kids do not cause one. AnyOf reads the payload once more, to find the issuer.
func (h *hall) addRemotes() {
	source := fixture.NewSource(h.Keys)
	set, err := jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{Client: source.Client(), Now: h.Clock.Now, OnEvent: h.hook})
	require.NoError(h.T, err)
	require.NoError(h.T, set.Ready(h.T.Context()))
	h.Clock.Advance(time.Second)
	remote := h.verifierOf(fixture.Issuer, set)
	unknown := shapeOf(h.World, "at+jwt")
	unknown.kid = "a-kid-that-nobody-has"
	_, err = remote.Verify(h.T.Context(), unknown.token(unknown.header(""), unknown.claims("")))
	require.ErrorIs(h.T, err, jwtauth.ErrTokenKey)
	require.Equal(h.T, 2, source.Asked())
	h.T.Cleanup(func() { require.Equal(h.T, 2, source.Asked(), "a refusal must not fetch the keys") })

	h.addVerifier("jwk.Remote, known kid", readsNothing, shapeOf(h.World, "at+jwt"), 1, remote)
	h.addVerifier("jwk.Remote, unknown kid", readsDates, unknown, 1, remote)
	both, err := jwtauth.AnyOf(remote, h.verifierOf("https://other.test", h.Keys))
	require.NoError(h.T, err)
	h.addVerifier("AnyOf with a jwk.Remote, unknown kid", readsDates, unknown, 2, both)
}

// protocol is the prefix of a WebSocket subprotocol that carries a token.
const protocol = "jwt.bearer."

func (h *hall) addMiddlewares() {
	header, webSocket := jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol(protocol)
	custom := jwtauth.NewExtractor(func(r *http.Request) (string, error) { return r.Header.Get("X-Token"), nil })
	for _, m := range []struct {
		name, header, before string
		extractors           []jwtauth.Extractor
	}{
		{"FromHeader", "Authorization", "Bearer ", []jwtauth.Extractor{header}},
		{"FromWebSocketProtocol", "Sec-Websocket-Protocol", "chat, " + protocol, []jwtauth.Extractor{webSocket}},
		{"NewExtractor", "X-Token", "", []jwtauth.Extractor{custom}},
		{"the first of two extractors", "Authorization", "Bearer ", []jwtauth.Extractor{header, webSocket}},
		{"the second of two extractors", "Sec-Websocket-Protocol", "chat, " + protocol, []jwtauth.Extractor{header, webSocket}},
	} {
		s := newSentry(h.World, m.extractors...)
		for name, handler := range map[string]http.Handler{"Require": s.Require(s), "Optional": s.Optional(s)} {
			h.doors = append(h.doors, door{m.name + ", " + name, readsNothing, shapeOf(h.World, "at+jwt"), 1, baseMiddleware, h.max, func(token string) func() error {
				r := fixture.Request("GET", "/")
				r.Header[m.header] = []string{m.before + token}
				return func() error { return s.send(handler, r) }
			}})
		}
	}
}

// addIssuers adds the methods of an Issuer that get a token. They read tokens of up to 16 KiB
// (Refresh: 64 bytes more), even if MaxTokenBytes of the verifiers is larger. Logout reads
// the header of a refresh token twice.
func (h *hall) addIssuers() {
	const max = 16 << 10
	access, refresh := shapeOf(h.World, "at+jwt"), shapeOf(h.World, "rt+jwt")
	refresh.aud = fixture.Issuer + "#refresh"
	h.add("Refresh", readsNothing, refresh, 1, max+64, func(ctx context.Context, token string) error {
		_, err := h.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: token})
		return err
	})
	h.add("Logout, access token", readsNothing, access, 1, max, h.Issuer.Logout)
	h.add("Logout, refresh token", readsNothing, refresh, 2, max, h.Issuer.Logout)
}

// sentry is a Middleware and the handler behind it. The handler fails the test if it runs.
// sentry is also the ResponseWriter. It stores the headers and the status, and drops the body.
type sentry struct {
	*jwtauth.Middleware
	w      *fixture.World
	header http.Header
	status int
	err    error
}

func newSentry(w *fixture.World, extractors ...jwtauth.Extractor) *sentry {
	s := &sentry{w: w, header: make(http.Header)}
	s.Middleware = w.Middleware(jwtauth.MiddlewareOptions{Extractors: extractors, OnError: func(rw http.ResponseWriter, r *http.Request, err error) {
		s.err = err
		jwtauth.WriteError(rw, r, err)
	}})
	return s
}

// send serves a request with h and returns the error with which the Middleware refused it.
func (s *sentry) send(h http.Handler, r *http.Request) error {
	clear(s.header)
	s.status, s.err = 0, nil
	h.ServeHTTP(s, r)
	if e, ok := s.err.(*jwtauth.Error); ok && e.Status != s.status {
		return fmt.Errorf("the response has the status %d, and the error another one", s.status)
	}
	return s.err
}

func (s *sentry) ServeHTTP(http.ResponseWriter, *http.Request) { s.w.T.Error("the handler ran") }
func (s *sentry) Header() http.Header                          { return s.header }
func (s *sentry) WriteHeader(status int)                       { s.status = status }
func (s *sentry) Write(b []byte) (int, error)                  { return len(b), nil }
