package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// programFunctions are the functions that a program gives to the library. Each returns err
// from such a function, and returns the status of the answer.
var programFunctions = []struct {
	name    string
	refusal int // the status of a refusal
	ask     func(t *testing.T, err error) int
}{
	{"a policy of the middleware", 403, func(t *testing.T, err error) int {
		w := fixture.New(t)
		policy := jwtauth.TokenPolicy("p", func(context.Context, jwtauth.Token) (bool, error) { return false, err })
		return serve(w.Auth.With(policy).Require(greet), fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken)).Code
	}},
	{"a policy of the request", 403, func(t *testing.T, err error) int {
		w := fixture.New(t)
		policy := jwtauth.RequestPolicy("p", func(*http.Request, jwtauth.Token) (bool, error) { return true, err })
		return serve(w.Auth.With(policy).Require(greet), fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken)).Code
	}},
	{"a policy of the verifier", 401, func(t *testing.T, err error) int {
		w := fixture.New(t, withOptions(func(o *jwtauth.VerifierOptions) {
			o.Checks = []jwtauth.Policy{jwtauth.ClaimsPolicy("p", func(context.Context, jwtauth.Token, struct{}) (bool, error) { return true, err })}
		}))
		return serve(w.Auth.Require(greet), fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken)).Code
	}},
	{"an extractor", 401, func(t *testing.T, err error) int {
		w := fixture.New(t)
		place := jwtauth.NewExtractor(func(*http.Request) (string, error) { return "x", err })
		return serve(w.Middleware(jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{place}}).Optional(greet), fixture.Request("GET", "/")).Code
	}},
	{"a TokenVerifier", 401, func(t *testing.T, err error) int {
		auth, made := jwtauth.NewMiddleware(verifierFunc(func(context.Context, string) (jwtauth.Token, error) { return jwtauth.Token{}, err }), jwtauth.MiddlewareOptions{})
		require.NoError(t, made)
		return serve(auth.Require(greet), fixture.Request("GET", "/", "Bearer x")).Code
	}},
	{"Reload", 400, func(t *testing.T, err error) int {
		fails := true
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error {
				if fails {
					return err
				}
				return nil
			}
		})
		r := w.Login("alice")
		_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		fails = false
		w.Refresh(r.RefreshToken) // whatever the error was, the session lives on
		return answeredTo(err).status
	}},
	{"the function of ResolveIssuers", 401, func(t *testing.T, err error) int {
		w := fixture.New(t)
		v, made := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return w.Verifier, err }, jwtauth.ResolveOptions{})
		require.NoError(t, made)
		_, err = v.Verify(t.Context(), w.Login("alice").AccessToken)
		return answeredTo(err).status
	}},
}

func TestOneRuleForTheErrorsOfAllFunctionsOfAProgram(t *testing.T) {
	var none *jwtauth.Error
	for _, c := range []struct {
		name string
		err  error
		want int // 0 means that of a refusal
	}{
		{"a refusal", fmt.Errorf("no: %w", jwtauth.ErrRefused), 0},
		{"a reason", fmt.Errorf("no: %w", jwtauth.ErrTokenBound), 0},
		{"an error of another package", errors.New("dial tcp: connection refused"), 503},
		{"unavailable", jwtauth.ErrUnavailable, 503},
		{"both roots", errors.Join(jwtauth.ErrRefused, jwtauth.ErrUnavailable), 503},
		{"a refusal after a deadline", fmt.Errorf("%w: %w", jwtauth.ErrRefused, context.DeadlineExceeded), 503},
		{"a context that was cancelled", context.Canceled, 503},
		{"a nil *Error", none, 503},
		{"an *Error of the server", &jwtauth.Error{Status: 500}, 500},
	} {
		for _, f := range programFunctions {
			t.Run(f.name+", "+c.name, func(t *testing.T) {
				want := c.want
				switch {
				case want == 0:
					want = f.refusal
				case want == 500 && slices.Contains([]string{"Reload", "the function of ResolveIssuers"}, f.name):
					want = 503
				}
				got := f.ask(t, c.err)
				if c.want == 500 {
					require.GreaterOrEqual(t, got, 500)
					return
				}
				require.Equal(t, want, got)
			})
		}
	}
}

// breaking is an OnEvent hook that breaks when it hears of one kind of event.
type breaking struct {
	at    event.Kind
	block chan struct{} // nil: it panics
	heard []event.Kind
}

func (b *breaking) hear(_ context.Context, e event.Event) {
	b.heard = append(b.heard, e.Kind)
	if e.Kind != b.at {
		return
	}
	if b.block == nil {
		panic("the hook of " + string(e.Kind))
	}
	<-b.block
}

// run calls f, which may panic. It returns after f, or when the hook blocks.
func (b *breaking) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		f()
	}()
	if b.block == nil {
		<-done
		return
	}
	select {
	case <-done:
	case <-time.After(50 * time.Millisecond): // f may hang, and nothing is missed if it has ended
	}
}

func TestAHookThatBreaksKeepsNoSessionOpen(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []event.Kind
		end   func(w *fixture.World, first, latest jwtauth.TokenResponse)
	}{
		{"reuse", []event.Kind{event.TokenReused, event.SessionEnded, event.RefreshRefused}, func(w *fixture.World, first, _ jwtauth.TokenResponse) {
			_, _ = w.Issuer.Refresh(w.T.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		}},
		{"logout", []event.Kind{event.SessionEnded}, func(w *fixture.World, _, latest jwtauth.TokenResponse) {
			_ = w.Issuer.Logout(w.T.Context(), latest.AccessToken)
		}},
		{"Reload", []event.Kind{event.SessionEnded, event.RefreshRefused}, func(w *fixture.World, _, latest jwtauth.TokenResponse) {
			_, _ = w.Issuer.Refresh(context.WithValue(w.T.Context(), refuseGrant{}, true), jwtauth.RefreshRequest{Token: latest.RefreshToken})
		}},
		{"EndAllSessions", []event.Kind{event.SessionEnded}, func(w *fixture.World, _, _ jwtauth.TokenResponse) {
			_ = w.Issuer.EndAllSessions(w.T.Context(), "alice")
		}},
	} {
		for _, kind := range c.kinds {
			for _, blocks := range []bool{false, true} {
				t.Run(fmt.Sprint(c.name, " ", kind, " blocks ", blocks), func(t *testing.T) {
					b := &breaking{at: kind}
					if blocks {
						b.block = make(chan struct{})
						defer close(b.block)
					}
					w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
						o.OnEvent = b.hear
						o.Reload = func(ctx context.Context, _ jwtauth.Session, _ *jwtauth.Grant) error {
							if ctx.Value(refuseGrant{}) != nil {
								return jwtauth.ErrGrantRefused
							}
							return nil
						}
					})
					first := w.Login("alice")
					second := w.Refresh(first.RefreshToken)
					latest := w.Refresh(second.RefreshToken)
					others := []jwtauth.TokenResponse{w.Login("alice"), w.Login("alice"), w.Login("alice"), w.Login("alice")}
					b.run(func() { c.end(w, first, latest) })
					over := []jwtauth.TokenResponse{latest}
					if c.name == "EndAllSessions" {
						over = append(over, others...)
					}
					quiet, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store, Revocations: w.Store, Now: w.Clock.Now})
					require.NoError(t, err)
					verifier, err := quiet.NewVerifier(jwtauth.VerifierOptions{})
					require.NoError(t, err)
					for _, r := range over {
						_, err := quiet.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
						require.ErrorIs(t, err, jwtauth.ErrRefused)
						_, err = verifier.Verify(t.Context(), r.AccessToken)
						require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
					}
				})
			}
		}
	}
}

type refuseGrant struct{}

func TestAHookThatPanicsHearsOfAllSessionsThatEnd(t *testing.T) {
	b := &breaking{at: event.SessionEnded}
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = b.hear })
	for range 5 {
		w.Login("alice")
	}
	b.heard = nil
	require.Panics(t, func() { _ = w.Issuer.EndAllSessions(t.Context(), "alice") })
	require.Equal(t, slices.Repeat([]event.Kind{event.SessionEnded}, 5), b.heard)
}

func TestAHookMayCallTheIssuerAndTheVerifier(t *testing.T) {
	var w *fixture.World
	calls := 0
	w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.OnEvent = func(ctx context.Context, e event.Event) {
			if calls++; calls > 3 {
				return
			}
			subject := fmt.Sprint("bob ", calls)
			r, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: subject})
			require.NoError(t, err)
			_, err = w.Verifier.Verify(ctx, r.AccessToken)
			require.NoError(t, err)
			require.NoError(t, w.Issuer.EndAllSessions(ctx, subject))
		}
	})
	w.Login("alice")
	require.Greater(t, calls, 3)
}

func TestAPanicOfAFunctionOfTheProgramChangesNoSession(t *testing.T) {
	panics := true
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error {
			if panics {
				panic("Reload")
			}
			return nil
		}
	})
	r := w.Login("alice")
	require.Panics(t, func() { _, _ = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken}) })
	panics = false
	w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
}

func TestAPanicOfAResolverIsNoAnswer(t *testing.T) {
	w := fixture.New(t)
	v, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { panic("tenants") }, jwtauth.ResolveOptions{})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), w.Login("alice").AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestANodeWhoseClockIsBehindRefusesNoGoodRefreshToken(t *testing.T) {
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	key := fixture.KeyFor(t, jwk.ES256)
	node := func(off time.Duration) *jwtauth.Issuer {
		ring, err := jwk.NewRing(key)
		require.NoError(t, err)
		issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{
			Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: store, Revocations: store,
			Now: func() time.Time { return time.Now().Add(off) },
		})
		require.NoError(t, err)
		return issuer
	}
	right := node(0)
	for _, off := range []time.Duration{-2 * time.Minute, -time.Hour} {
		r, err := right.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		_, err = node(off).Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, "%v", off)
		_, err = right.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.NoError(t, err)
	}
	r, err := right.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	_, err = node(-time.Minute+5*time.Second).Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken}) // clocks may differ by so much
	require.NoError(t, err)
}

func TestAClockThatIsAheadForAMomentForgetsNoRevocation(t *testing.T) {
	w := fixture.New(t)
	r, other := w.Login("alice"), w.Login("bob")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	verified := w.RequireAccepted(other.AccessToken)
	for range 3 {
		w.Clock.Advance(time.Hour)
		require.NoError(t, w.Verifier.Revoke(t.Context(), verified)) // it seems to have expired
		for range 1 << 14 {                                          // enough for everything to be swept
			_, err := w.Store.IsRevoked(t.Context(), "x")
			require.NoError(t, err)
		}
		w.Clock.Advance(-time.Hour + time.Second)
		w.RequireRefusedBy("revocation", r.AccessToken)
		w.RequireRefusedBy("revocation", other.AccessToken)
	}
}

func TestAClockThatWandersChangesNothingForGood(t *testing.T) {
	for name, excursions := range map[string][]time.Duration{
		"an hour forward": {time.Hour}, "eight days forward": {8 * 24 * time.Hour}, "an hour backward": {-time.Hour},
		"forward and backward": {time.Hour, -2 * time.Hour, 3 * time.Hour}, "two minutes to and fro": {2 * time.Minute, -4 * time.Minute, 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			r := fixture.NewRemote(t)
			foreign := r.Verifier // of the fetched keys
			ring := fixture.JoinRing(t, r.Clock, jwk.NewMemorySource())
			tenants, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
				if issuer == fixture.Issuer {
					return ring.Verifier, nil
				}
				return nil, nil
			}, jwtauth.ResolveOptions{Now: r.Clock.Now})
			require.NoError(t, err)
			live, over, back := ring.Login("alice"), ring.Login("bob"), ring.Login("carol")
			elsewhere := r.Token()
			require.NoError(t, ring.Issuer.Logout(t.Context(), over.AccessToken))
			use := func() (good []error) {
				_, err := ring.Verifier.Verify(t.Context(), live.AccessToken)
				good = append(good, err)
				_, err = tenants.Verify(t.Context(), live.AccessToken)
				good = append(good, err)
				_, err = foreign.Verify(t.Context(), elsewhere)
				good = append(good, err)
				_, err = ring.Verifier.Verify(t.Context(), over.AccessToken)
				require.Error(t, err)
				return good
			}
			for _, err := range use() {
				require.NoError(t, err)
			}
			var moved time.Duration
			for _, d := range excursions {
				r.Clock.Advance(d)
				moved += d
				use()
				_, _, _ = ring.Issuer.Sessions(t.Context(), "carol", "")
				_, _ = ring.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "dave"})
			}
			r.Clock.Advance(-moved + time.Second)
			for i, err := range use() {
				require.NoError(t, err, i)
			}
			ring.Refresh(back.RefreshToken)
			sessions, _, err := ring.Issuer.Sessions(t.Context(), "carol", "")
			require.NoError(t, err)
			require.Len(t, sessions, 1)
		})
	}
}

// Clocks of two nodes may differ by a minute.
func TestTwoNodesWhoseClocksAreAMinuteApartServeOneSession(t *testing.T) {
	clock := fixture.NewClock()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: clock.Now})
	source := jwk.NewMemorySource()
	node := func(off time.Duration) (*jwtauth.Issuer, *jwtauth.Verifier) {
		now := func() time.Time { return clock.Now().Add(off) }
		ring, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{Now: now})
		require.NoError(t, err)
		issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: store, Revocations: store, Now: now})
		require.NoError(t, err)
		verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: time.Minute})
		require.NoError(t, err)
		return issuer, verifier
	}
	early, lateVerifier := node(0)
	late, earlyVerifier := node(time.Minute)
	tokens, err := early.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	for n := range 6 {
		issuer := []*jwtauth.Issuer{early, late}[n%2]
		if tokens, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken}); err != nil {
			require.NoError(t, err, n)
		}
		for _, v := range []*jwtauth.Verifier{lateVerifier, earlyVerifier} {
			_, err := v.Verify(t.Context(), tokens.AccessToken)
			require.NoError(t, err, n)
		}
		clock.Advance(20 * time.Minute)
	}
	require.NoError(t, late.Logout(t.Context(), tokens.RefreshToken))
	_, err = early.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrRefused)
}
