package jwk_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestRemoteOptionsOutOfRangeAreErrors(t *testing.T) {
	for want, o := range map[string]jwk.RemoteOptions{
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
		_, err := jwk.NewRemote(fixture.JWKSURL, o)
		require.ErrorContains(t, err, want)
		_, err = jwk.Discover(fixture.Issuer, o)
		require.ErrorContains(t, err, want)
	}
	for _, o := range []jwk.RemoteOptions{{}, {Timeout: time.Second, MinAge: time.Second, MaxAge: time.Second, MaxStale: -1}, {MaxAge: 7 * 24 * time.Hour, MaxStale: 7 * 24 * time.Hour}} {
		_, err := jwk.NewRemote(fixture.JWKSURL, o)
		require.NoError(t, err)
	}
}

func TestKeysAreFetchedWhenTheFirstTokenNeedsThem(t *testing.T) {
	r := fixture.NewRemote(t)
	require.Zero(t, r.Set.Status())
	require.Nil(t, r.Set.Snapshot())
	require.Zero(t, r.Source.Asked())
	for range 3 {
		r.RequireAccepted(r.Token())
	}
	require.Equal(t, []string{fixture.JWKSURL}, r.Source.URLs())
	require.Equal(t, []event.Kind{event.KeysChanged}, r.KeyKinds())
	s := r.Set.Status()
	require.Equal(t, 1, s.Keys)
	require.True(t, s.FetchedAt.Equal(r.Clock.Now()))
	require.Equal(t, 5*time.Minute, s.FreshTo.Sub(s.FetchedAt))
	require.Equal(t, time.Hour, s.UsableTo.Sub(s.FreshTo))
	require.NoError(t, s.LastError)
	require.True(t, s.NextTry.IsZero())
}

func TestRemoteKeysAreSharedByAllRequestsAtOnce(t *testing.T) {
	r := fixture.NewRemote(t)
	require.NoError(t, r.Set.Ready(t.Context()))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Equal(t, 1, r.Source.Asked())
	r.RequireAccepted(r.Token())
	require.Equal(t, 1, r.Source.Asked())
}

func TestReadyAnswersLikeATokenThatComesMeanwhile(t *testing.T) {
	r := fixture.NewRemote(t)
	r.Source.Serve(fixture.Status(500))
	require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
	s := r.Set.Status()
	require.ErrorContains(t, s.LastError, "the answer is 500")
	require.ErrorContains(t, s.LastError, fixture.JWKSURL)
	wait := s.NextTry.Sub(r.Clock.Now())
	require.LessOrEqual(t, wait, time.Second)
	require.GreaterOrEqual(t, wait, 900*time.Millisecond)
	r.Source.Serve(r.Keys)
	err := r.Set.Ready(t.Context()) // nothing is asked before NextTry
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorContains(t, err, "the answer is 500")
	require.NotErrorIs(t, err, jwtauth.ErrRefused)
	require.Equal(t, 1, r.Source.Asked())
	r.Clock.Advance(time.Second)
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Equal(t, 2, r.Source.Asked())
	s = r.Set.Status()
	require.NoError(t, s.LastError)
	require.True(t, s.NextTry.IsZero())
	require.Equal(t, []event.Kind{event.KeysUnavailable, event.KeysChanged}, r.KeyKinds())
}

func TestACancelledRequestNeitherWaitsNorEndsTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		gate := make(chan struct{})
		r.Source.Serve(fixture.After(gate, r.Keys))
		ctx, cancel := context.WithCancel(t.Context())
		began, errs := time.Now(), make(chan error, 1)
		go func() {
			_, err := r.Verifier.Verify(ctx, r.Token())
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
		r.RequireAccepted(r.Token())
		require.Equal(t, 1, r.Source.Asked())
	})
}

func TestRefreshingAheadOfTheEndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		r.RequireAccepted(r.Token())
		r.Clock.Advance(5*time.Minute*72/100 - time.Second)
		r.RequireAccepted(r.Token())
		synctest.Wait()
		require.Equal(t, 1, r.Source.Asked(), "sooner than 80 % less a tenth")
		r.Source.Serve(fixture.Hung)
		r.Clock.Advance(25 * time.Second)
		began := time.Now()
		for range 50 {
			r.RequireAccepted(r.Token())
			require.NoError(t, r.Set.Ready(t.Context()))
		}
		synctest.Wait()
		require.Equal(t, 2, r.Source.Asked())
		// Nor does it once the keys are stale, nor when the fetch has failed.
		for range 10 {
			r.Clock.Advance(5 * time.Minute)
			r.RequireAccepted(r.Token())
		}
		require.Zero(t, time.Since(began))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, r.Set.Status().LastError, context.DeadlineExceeded)
		r.RequireAccepted(r.Token())
		require.Equal(t, 10*time.Second, time.Since(began))
		r.Source.Serve(r.Keys)
		r.Clock.Advance(2 * time.Second)
		r.RequireAccepted(r.Token())
		synctest.Wait()
		require.NoError(t, r.Set.Status().LastError)
		require.Equal(t, 5*time.Minute, r.Set.Status().FreshTo.Sub(r.Clock.Now()))
	})
}

func TestAfterAnOutageTheKeysComeBackWithinTheBackoff(t *testing.T) {
	for _, fault := range []http.Handler{fixture.Status(500), fixture.Document(`{"keys":[]}`)} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fault)
		waits := []time.Duration{}
		for range 600 {
			before := r.Source.Asked()
			r.RequireUnavailable(r.Token())
			if r.Source.Asked() > before {
				waits = append(waits, r.Set.Status().NextTry.Sub(r.Clock.Now()))
			}
			r.Clock.Advance(time.Second)
		}
		require.Equal(t, r.Source.Asked(), len(waits))
		for i, wait := range waits {
			full := min(time.Second<<i, time.Minute)
			require.LessOrEqual(t, wait, full)
			require.GreaterOrEqual(t, wait, full*9/10)
		}
		require.Less(t, len(waits), 20)
		r.Source.Serve(r.Keys)
		for range 60 {
			r.Clock.Advance(time.Second)
			if _, err := r.Verifier.Verify(t.Context(), r.Token()); err == nil {
				break
			}
		}
		r.RequireAccepted(r.Token())
		// The next outage begins with a short wait again.
		r.Source.Serve(fault)
		r.Clock.Advance(2 * time.Hour)
		r.RequireUnavailable(r.Token())
		require.LessOrEqual(t, r.Set.Status().NextTry.Sub(r.Clock.Now()), time.Second)
	}
}

func TestAClockThatIsSetBackDelaysNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		r.RequireAccepted(r.Token())
		removed := r.Key
		r.Rotate()
		r.Clock.Advance(-24 * time.Hour)
		old := fixture.SignWith(t, removed, fixture.Header(removed, nil), r.Claims(nil))
		_, err := r.Verifier.Verify(t.Context(), old) // and has the keys fetched
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 2, r.Source.Asked())
		r.RequireUnknown(old) // which is asked for
		for range 60 {
			r.Clock.Advance(time.Second)
			r.RequireAccepted(r.Token())
		}
		synctest.Wait()
		require.Equal(t, 3, r.Source.Asked())
		// Nor does it lengthen the wait after a failure, which stays one.
		r.Source.Serve(fixture.Status(500))
		r.Clock.Advance(12 * time.Hour)
		r.RequireUnavailable(r.Token())
		r.Clock.Advance(-3 * time.Hour)
		asked := r.Source.Asked()
		for range 10 {
			r.RequireUnavailable(r.Token())
			synctest.Wait()
		}
		require.Equal(t, asked+1, r.Source.Asked())
		r.Source.Serve(r.Keys)
		r.Clock.Advance(2 * time.Second)
		r.RequireAccepted(r.Token())
	})
}

func TestARemovedKeyIsRefusedOnceThatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		old := r.Token()
		verified := r.RequireAccepted(old)
		next := fixture.NewKey(t, jwk.ES256)
		require.NoError(t, r.Keys.Replace(next))
		require.NotZero(t, r.Verifier.CacheStats().Hits)
		r.Clock.Advance(4 * time.Minute)
		_, err := r.Verifier.Verify(t.Context(), old) // and has the keys fetched
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 2, r.Source.Asked())
		r.RequireUnknown(old)
		require.ErrorIs(t, r.Verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
		require.Equal(t, []event.Kind{event.KeysChanged, event.KeysChanged}, r.KeyKinds())
	})
}

// Tokens stay in the cache if the source answers 304, and if it sends equal keys again.
func TestEqualKeysAreTheSameKeys(t *testing.T) {
	for _, tags := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := fixture.NewRemote(t)
			r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !tags {
					req.Header.Del("If-None-Match")
				}
				r.Keys.ServeHTTP(w, req)
			}))
			token := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3600}))
			r.RequireAccepted(token)
			misses := r.Verifier.CacheStats().Misses
			for n := range 5 {
				r.Clock.Advance(4 * time.Minute)
				r.RequireAccepted(token)
				synctest.Wait()
				require.Equal(t, n+2, r.Source.Asked())
				require.Equal(t, 5*time.Minute, r.Set.Status().FreshTo.Sub(r.Clock.Now()))
			}
			require.Equal(t, misses, r.Verifier.CacheStats().Misses)
			require.Equal(t, []event.Kind{event.KeysChanged}, r.KeyKinds())
		})
	}
}

func TestKeysInAnotherOrderAreTheSameKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		other := fixture.NewKey(t, jwk.ES256)
		orders := []string{fixture.JWKS(t, r.Key, other), fixture.JWKS(t, other, r.Key)}
		n := 0
		r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n++
			fixture.Document(orders[n%2]).ServeHTTP(w, req)
		}))
		token := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 7200}))
		for range 4 {
			_, err := r.Verifier.Verify(t.Context(), token)
			require.NoError(t, err)
			synctest.Wait()
			r.Clock.Advance(14 * time.Minute)
		}
		require.Equal(t, 4, n)
		require.Equal(t, []event.Kind{event.KeysChanged}, r.KeyKinds())
		require.EqualValues(t, 1, r.Verifier.CacheStats().Misses)
	})
}

func TestBackgroundKeepsTheKeysFreshUntilClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		began := time.Now()
		set := r.NewSet(func(o *jwk.RemoteOptions) { o.Background, o.Now = true, nil })
		synctest.Wait()
		require.Equal(t, 1, r.Source.Asked(), "the first fetch waits for a token")
		for range 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			require.True(t, set.Status().FreshTo.After(time.Now()), "%v", time.Since(began))
		}
		require.GreaterOrEqual(t, r.Source.Asked(), 15) // 60 minutes, 5 × 80 % each
		require.LessOrEqual(t, r.Source.Asked(), 18)
		r.Source.Serve(fixture.Status(500))
		time.Sleep(6 * time.Minute)
		require.Error(t, set.Status().LastError)
		r.Source.Serve(r.Keys)
		time.Sleep(2 * time.Minute)
		require.NoError(t, set.Status().LastError)
		set.Close()
		set.Close()
		asked := r.Source.Asked()
		time.Sleep(30 * time.Minute)
		require.Equal(t, asked, r.Source.Asked())

		// What is there goes on to be used, and nothing more is fetched.
		r.VerifyWith(set, jwtauth.VerifierOptions{Now: time.Now})
		good := func() string {
			now := time.Now().Unix()
			return r.Sign(r.Claims(map[string]any{"jti": rand.Text(), "exp": now + 60, "iat": now, "auth_time": now}))
		}
		r.RequireAccepted(good())
		time.Sleep(time.Hour)
		r.RequireUnavailable(good())
		require.Equal(t, asked, r.Source.Asked())
	})
}

func TestCloseEndsAFetchThatIsOnItsWay(t *testing.T) {
	for _, background := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := fixture.NewRemote(t)
			r.Source.Serve(fixture.Hung)
			set := r.NewSet(func(o *jwk.RemoteOptions) { o.Background, o.Timeout = background, time.Minute })
			began, errs := time.Now(), make(chan error, 1)
			go func() { errs <- set.Ready(context.Background()) }()
			synctest.Wait()
			set.Close()
			require.ErrorIs(t, <-errs, jwtauth.ErrUnavailable)
			require.Zero(t, time.Since(began))
		})
	}
}

func TestClosedRemotesLeaveNoGoroutine(t *testing.T) {
	r := fixture.NewRemote(t)
	before := runtime.NumGoroutine()
	for range 300 {
		set := r.NewSet(func(o *jwk.RemoteOptions) { o.Background = true })
		require.NoError(t, set.Ready(t.Context()))
		set.Close()
		set = r.NewSet()
		require.NoError(t, set.Ready(t.Context())) // there is nothing to close
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 5*time.Second, time.Millisecond) // this function runs in one
}
