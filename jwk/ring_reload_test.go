package jwk_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestManyRequestsReadTheSourceOnce(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	token := w.Login("alice").AccessToken
	before := s.Count()
	w.Clock.Advance(time.Minute)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if _, err := w.Verifier.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, before+1, s.Count())
}

func TestTheSourceIsReadAgainAlsoWhereTheClockWasSetBack(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	token := w.Login("alice").AccessToken
	for _, step := range []time.Duration{time.Minute, -2 * time.Hour, time.Minute, time.Minute} {
		w.Clock.Advance(step)
		before := s.Count()
		_, _ = w.Verifier.Verify(t.Context(), token)
		_, _ = w.Verifier.Verify(t.Context(), token)
		require.Equal(t, before+1, s.Count(), step)
	}
}

func TestForgedKidsReadTheSourceNoMoreThanOnceInASecond(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	forger := fixture.NewKey(t, jwk.ES256)
	before := s.Count()
	for i := range 600 { // a minute
		k := forger.WithID(fmt.Sprint(i))
		w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil)))
		w.Clock.Advance(100 * time.Millisecond)
	}
	require.LessOrEqual(t, s.Count()-before, 62)
}

func TestAHealthySourceIsReadOnceAfterIdleTime(t *testing.T) {
	for _, periods := range []time.Duration{1, 2, 3, 100} {
		s := fixture.NewRingSource()
		w := fixture.NewRingWorld(t, s)
		token := w.SignForTwoHours()
		before := s.Count()
		w.Clock.Advance(periods * time.Minute)
		w.RequireAccepted(token)
		w.RequireAccepted(token)
		require.Equal(t, before+1, s.Count(), "%d periods", periods)
	}
}

// A ring that was idle for much longer than ReloadEvery reads its source before it answers.
func TestAnIdleRingObeysARevocationBeforeItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := jwk.NewMemorySource()
		s := &slowSource{Source: shared}
		c := fixture.NewClock()
		a, b := fixture.JoinRing(t, c, shared), fixture.JoinRing(t, c, s)
		token := a.Login("alice").AccessToken
		require.NoError(t, a.Keys.RevokeKey(t.Context(), a.KeyOf(token)))
		c.Advance(14 * time.Minute) // b is idle
		s.inLoad, s.leave = make(chan struct{}), make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := b.Verifier.Verify(context.Background(), token); errs <- err }()
		}
		synctest.Wait() // one reads
		close(s.leave)
		for range 2 {
			require.ErrorIs(t, <-errs, jwtauth.ErrRefused, "a token of a key that was revoked 14 minutes ago")
		}
	})
}

func TestAnIdleRingDoesNotSignWithAKeyThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := jwk.NewMemorySource()
		s := &slowSource{Source: shared}
		c := fixture.NewClock()
		a, b := fixture.JoinRing(t, c, shared), fixture.JoinRing(t, c, s)
		a.Rotate()
		c.Advance(lead + 22*time.Minute) // b is idle
		s.inLoad, s.leave = make(chan struct{}), make(chan struct{})
		tokens := make(chan string, 2)
		for range 2 {
			go func() {
				r, err := b.Issuer.Issue(context.Background(), jwtauth.Grant{Subject: "bob"})
				if err != nil {
					t.Error(err)
				}
				tokens <- r.AccessToken
			}()
		}
		synctest.Wait() // one reads
		close(s.leave)
		for range 2 {
			a.RequireAccepted(<-tokens)
		}
	})
}

// A forged kid makes the ring read its source, which it does once a second at most.
func TestAForgedKidDelaysARealOneByASecondAtMost(t *testing.T) {
	s := jwk.NewMemorySource()
	c := fixture.NewClock()
	a, b := fixture.JoinRing(t, c, s), fixture.JoinRing(t, c, s)
	kid := a.KeyOf(a.Login("alice").AccessToken)
	forger := fixture.NewKey(t, jwk.ES256)
	b.RequireRefusedBy("key", fixture.SignWith(t, forger, fixture.Header(forger, nil), b.Claims(nil)))
	require.NoError(t, a.Keys.RevokeKey(t.Context(), kid))
	c.Advance(time.Second)
	b.RequireAccepted(a.Login("bob").AccessToken)
}

// hangingSource is a Source whose Load hangs if the test wants it: until its context ends, or
// longer.
type hangingSource struct {
	jwk.Source
	hangs   atomic.Bool
	ignores bool
	loads   atomic.Int64
}

func (s *hangingSource) Load(ctx context.Context) (jwk.Stored, error) {
	s.loads.Add(1)
	if s.hangs.Load() { // until the test ends
		if s.ignores {
			time.Sleep(time.Hour)
		} else {
			<-ctx.Done()
		}
		return jwk.Stored{}, context.Cause(ctx)
	}
	return s.Source.Load(ctx)
}

func TestTheContextOfARequestBoundsTheReadingOfASource(t *testing.T) {
	for name, ignores := range map[string]bool{"a source that honors its context": false, "a source that does not": true} {
		for idle, pause := range map[string]time.Duration{"due": time.Minute, "after idle time": time.Hour} {
			t.Run(name+", "+idle, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &hangingSource{Source: jwk.NewMemorySource(), ignores: ignores}
					w := fixture.NewRingWorld(t, s)
					token := w.SignForTwoHours()
					w.Clock.Advance(pause)
					before := s.loads.Load()
					s.hangs.Store(true)
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					began := time.Now()
					_, err := w.Verifier.Verify(ctx, token)
					require.Equal(t, 100*time.Millisecond, time.Since(began))
					if pause == time.Minute {
						require.NoError(t, err, "the keys are good for one more minute")
					} else {
						require.ErrorIs(t, err, jwtauth.ErrUnavailable)
					}

					// Others do not wait for a reading that hangs, and no second one begins.
					began = time.Now()
					w.RequireAccepted(token)
					require.LessOrEqual(t, time.Since(began), 5100*time.Millisecond)
					began = time.Now()
					w.RequireAccepted(token)
					require.Zero(t, time.Since(began))
					require.Equal(t, before+1, s.loads.Load())
					time.Sleep(2 * time.Hour)
				})
			})
		}
	}
}

func TestForgedKidsDoNotQueueForASourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &hangingSource{Source: jwk.NewMemorySource()}
		w := fixture.NewRingWorld(t, s)
		var tokens []string
		for range 16 {
			k := fixture.NewKey(t, jwk.ES256)
			tokens = append(tokens, fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil)))
		}
		w.Clock.Advance(2 * time.Second)
		before := s.loads.Load()
		s.hangs.Store(true)
		began := time.Now()
		var all sync.WaitGroup
		for i, token := range tokens {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 500 * time.Millisecond) // 16 in 8 seconds
				came := time.Now()
				_, err := w.Verifier.Verify(t.Context(), token)
				if took := time.Since(came); took > 5100*time.Millisecond {
					t.Errorf("token %d waited %v", i, took)
				}
				if !errors.Is(err, jwtauth.ErrUnavailable) {
					t.Errorf("token %d: %v", i, err)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, s.loads.Load()-before, int64(3))
		require.LessOrEqual(t, time.Since(began), 13*time.Second)
	})
}

// slowSource is a Source whose Load or Update a test can delay.
type slowSource struct {
	jwk.Source
	mu       sync.Mutex
	inLoad   chan struct{}
	leave    chan struct{}
	inUpdate chan struct{}
}

func (s *slowSource) Load(ctx context.Context) (jwk.Stored, error) {
	s.mu.Lock()
	in, leave := s.inLoad, s.leave
	s.inLoad = nil
	s.mu.Unlock()
	if in != nil {
		close(in)
		select {
		case <-leave:
		case <-ctx.Done():
			return jwk.Stored{}, ctx.Err()
		}
	}
	return s.Source.Load(ctx)
}

func (s *slowSource) Update(ctx context.Context, f func(jwk.Stored) (jwk.Stored, error)) error {
	s.mu.Lock()
	in, leave := s.inUpdate, s.leave
	s.inUpdate = nil
	s.mu.Unlock()
	if in != nil {
		close(in)
		select {
		case <-leave:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Source.Update(ctx, f)
}

func TestAChangeThatHangsDoesNotStopReading(t *testing.T) {
	shared := jwk.NewMemorySource()
	s := &slowSource{Source: shared}
	c := fixture.NewClock()
	a := fixture.JoinRing(t, c, shared)
	b := fixture.JoinRing(t, c, s)
	r := a.Login("alice")
	s.inUpdate, s.leave = make(chan struct{}), make(chan struct{})
	in := s.inUpdate
	var one sync.WaitGroup
	one.Go(func() { _, _ = b.Keys.Rotate(context.Background()) })
	<-in
	require.NoError(t, a.Keys.RevokeKey(t.Context(), a.KeyOf(r.AccessToken)))
	for range 10 {
		c.Advance(time.Minute)
		_, _ = b.Verifier.Verify(t.Context(), r.AccessToken)
	}
	_, err := b.Verifier.Verify(t.Context(), r.AccessToken)
	fresh := a.Login("bob").AccessToken
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, errFresh := b.Verifier.Verify(ctx, fresh)
	cancel()
	require.NoError(t, errFresh)
	close(s.leave)
	one.Wait()
	require.Error(t, err, "a key that was revoked ten minutes ago")
}

// The event of a failed reading is sent while the ring is locked.
func TestAPanickingHookDoesNotLockTheRing(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s, func(o *jwk.RingOptions) {
		o.OnEvent = func(_ context.Context, e event.Event) {
			if e.Kind == event.KeysUnavailable {
				panic("hook")
			}
		}
	})
	token := w.Login("alice").AccessToken
	s.Set(errors.New("down"), nil)
	w.Clock.Advance(time.Minute)
	w.RequireAccepted(token)
	require.ErrorContains(t, w.Keys.Status().LastError, "down")
	hook.WaitIdle()
	require.Equal(t, 1, w.Keys.Status().EventsLost, "the hook must have panicked")
	s.Set(nil, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := w.Keys.Rotate(ctx)
	require.NoError(t, err)
}
