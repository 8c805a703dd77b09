package jwk_test

import (
	"context"
	"errors"
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

// A deployment raises a duration while a new key waits. The lead of that key was computed
// from the old durations, and no process may fail because of it.
func TestARaisedDurationWaitsUntilTheWaitingKeySigns(t *testing.T) {
	for name, raised := range map[string]jwk.RingOptions{
		"MaxAge":      {MaxAge: time.Hour},
		"Lead":        {Lead: 24 * time.Hour},
		"ReloadEvery": {ReloadEvery: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := jwk.NewMemorySource()
			w := fixture.NewRingWorld(t, s)
			idle := fixture.JoinRing(t, w.Clock, s, func(o *jwk.RingOptions) { o.ReloadEvery = 2 * time.Minute })
			life, err := w.Keys.Rotate(t.Context())
			require.NoError(t, err)
			raised.Now = w.Clock.Now
			for range 3 {
				w.Pass(10 * time.Second)
				ring, err := jwk.OpenRing(t.Context(), s, raised)
				require.NoError(t, err)
				require.ErrorContains(t, ring.Status().NotAnnounced, life.ID)
			}
			raisedRing, err := jwk.OpenRing(t.Context(), s, raised)
			require.NoError(t, err)
			_, err = jwk.OpenRing(t.Context(), s, jwk.RingOptions{Now: w.Clock.Now})
			require.NoError(t, err, "the deployment is rolled back")
			for left := life.SignsFrom.Sub(w.Clock.Now()); left > 0; left -= time.Minute {
				w.Pass(min(left, time.Minute))
				require.NoError(t, w.Keys.Status().LastError)
				require.NoError(t, idle.Keys.Status().LastError)
				require.NoError(t, raisedRing.Status().LastError)
			}
			token := w.Login("alice").AccessToken
			require.Equal(t, life.ID, w.KeyOf(token))
			idle.RequireAccepted(token)
			for range 20 {
				w.Pass(time.Minute)
				raisedRing.Status()
			}
			require.Eventually(t, func() bool { return raisedRing.Status().NotAnnounced == nil }, time.Second, time.Millisecond)
			next, err := w.Keys.Rotate(t.Context())
			require.NoError(t, err)
			require.Greater(t, next.SignsFrom.Sub(next.Published), life.SignsFrom.Sub(life.Published))
		})
	}
}

// troubledSource is a Source that a test can make hang or forget the durations.
type troubledSource struct {
	jwk.Source
	hangs, forgets atomic.Bool
	updates        atomic.Int64
}

func (s *troubledSource) Load(ctx context.Context) (jwk.Stored, error) {
	stored, err := s.Source.Load(ctx)
	if s.forgets.Load() {
		stored.Longest = jwk.Durations{}
	}
	return stored, err
}

func (s *troubledSource) Update(ctx context.Context, change func(jwk.Stored) (jwk.Stored, error)) error {
	s.updates.Add(1)
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Source.Update(ctx, change)
}

func TestASourceWhoseWritesHangDelaysNoReadingAndOnlyBrieflyTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &troubledSource{Source: jwk.NewMemorySource()}
		_, err := jwk.OpenRing(t.Context(), s, jwk.RingOptions{})
		require.NoError(t, err)
		s.hangs.Store(true)
		began := time.Now()
		ring, err := jwk.OpenRing(t.Context(), s, jwk.RingOptions{MaxAge: time.Hour})
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(began))
		began = time.Now()
		_, err = jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, AccessTTL: 5 * time.Hour})
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), time.Second)
		require.Error(t, ring.Status().NotAnnounced)
		require.Equal(t, 5*time.Hour, ring.Status().Longest.AccessTTL, "this process applies it in any case")
		for range 10 {
			time.Sleep(61 * time.Second)
			began = time.Now()
			require.NoError(t, ring.Status().LastError)
			require.Zero(t, time.Since(began))
		}
		s.hangs.Store(false)
		for range 3 {
			time.Sleep(61 * time.Second)
			ring.Status()
			synctest.Wait()
		}
		require.NoError(t, ring.Status().NotAnnounced)
		stored, err := s.Source.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, ring.Status().Longest, stored.Longest)
	})
}

func TestForgedKidsCauseNoWrites(t *testing.T) {
	s := &troubledSource{Source: jwk.NewMemorySource()}
	s.forgets.Store(true)
	w := fixture.JoinRing(t, fixture.NewClock(), s)
	before := s.updates.Load()
	key := fixture.NewKey(t, jwk.ES256)
	for range 60 {
		_, err := w.Verifier.Verify(t.Context(), fixture.SignWith(t, key, fixture.Header(key, nil), w.Claims(nil)))
		require.Error(t, err)
		w.Clock.Advance(time.Second + 1)
	}
	require.LessOrEqual(t, s.updates.Load()-before, int64(2))
	w.Pass(time.Minute)
	require.ErrorContains(t, w.Keys.Status().NotAnnounced, "has lost the durations")
}

func TestAnnouncingIsSafeWhileTheRingRotates(t *testing.T) {
	var fails atomic.Bool
	ring, err := jwk.OpenRing(t.Context(), jwk.NewMemorySource(), jwk.RingOptions{NewKey: func(context.Context) (*jwk.SigningKey, error) {
		if fails.Load() {
			return nil, errors.New("no key")
		}
		return jwk.Generate(jwk.ES256)
	}})
	require.NoError(t, err)
	fixture.Announce(t, ring, time.Minute, time.Hour)
	for range 20 {
		require.NoError(t, ring.RevokeKey(t.Context(), ring.Status().SigningKey))
	}
	fails.Store(true)
	var running sync.WaitGroup
	for i := range 2 {
		running.Go(func() {
			for j := range 200 {
				fixture.Announce(t, ring, time.Minute+time.Duration(200*i+j)*time.Second, time.Hour)
			}
		})
	}
	for range 200 {
		_, err := ring.Rotate(t.Context())
		require.ErrorContains(t, err, "no key")
	}
	running.Wait()
}

func TestPartOfTheDurationsDoesNotLowerTheLead(t *testing.T) {
	now := time.Now()
	keys := []jwk.StoredKey{
		{Key: fixture.NewKey(t, jwk.ES256)},
		{Key: fixture.NewKey(t, jwk.ES256), Life: jwk.Life{Published: now, SignsFrom: now.Add(61 * time.Second)}},
	}
	for _, longest := range []jwk.Durations{{}, {AccessTTL: 15 * time.Minute}, {MaxAge: time.Second}, {MaxAge: time.Second, Lead: time.Minute}} {
		_, err := jwk.OpenRing(t.Context(), jwk.NewFixedSource(jwk.Stored{Longest: longest, Keys: keys}), jwk.RingOptions{})
		require.ErrorContains(t, err, "may not know it for 8m0s", longest)
	}
}
