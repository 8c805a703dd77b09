package jwk_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// A fleet tells verifiers to keep the JWK Set for an hour. A job that knows nothing of it
// rotates with the default options.
func TestARotationIsSafeForTheOptionsOfEveryProcess(t *testing.T) {
	source := jwk.NewMemorySource()
	w := fixture.NewRingWorld(t, source, func(o *jwk.RingOptions) { o.MaxAge = time.Hour })
	first := w.KeyOf(w.Login("alice").AccessToken)
	job, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	life, err := job.Rotate(t.Context())
	require.NoError(t, err)
	const lead = time.Hour + 3*time.Minute
	require.Equal(t, lead, life.SignsFrom.Sub(life.Published))
	w.Pass(lead - time.Second)
	require.Equal(t, first, w.KeyOf(w.Login("alice").AccessToken))
	again := fixture.JoinRing(t, w.Clock, source, func(o *jwk.RingOptions) { o.MaxAge = time.Hour })
	require.NoError(t, w.Keys.Status().LastError)
	w.Pass(time.Second)
	token := w.Login("alice").AccessToken
	require.Equal(t, life.ID, w.KeyOf(token))
	again.RequireAccepted(token)
	w.RequireAccepted(again.Login("bob").AccessToken)
	require.Equal(t, jwk.Durations{AccessTTL: 15 * time.Minute, RefreshTTL: 7 * 24 * time.Hour, MaxAge: time.Hour, Lead: lead, ReloadEvery: time.Minute}, job.Status().Longest)
}

func TestNobodyRotatesBeforeTheLifetimesOfTokensAreKnown(t *testing.T) {
	source := jwk.NewMemorySource()
	job, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{})
	require.NoError(t, err)
	_, err = job.Rotate(t.Context())
	require.ErrorContains(t, err, "does not say how long tokens live")
	require.Len(t, job.Plan(), 1)
	require.NoError(t, job.RevokeKey(t.Context(), job.Plan()[0].ID), "a key can be dropped in any case")

	ring, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{})
	require.NoError(t, err)
	_, err = jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, AccessTTL: time.Hour})
	require.NoError(t, err)
	_, err = job.Rotate(t.Context())
	require.NoError(t, err)
	require.Equal(t, time.Hour, job.Status().Longest.AccessTTL)
	require.Zero(t, job.Status().Longest.RefreshTTL, "the issuer has no sessions")
}

func TestAKeyStaysForTheLongestTokensOfAnyIssuer(t *testing.T) {
	source := jwk.NewMemorySource()
	w := fixture.NewRingWorld(t, source)
	ring, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	other, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, AccessTTL: 5 * time.Hour, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	_, err = w.Keys.Rotate(t.Context())
	require.NoError(t, err)
	w.Pass(8*time.Minute - time.Second)
	token, err := other.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	w.Pass(5 * time.Hour)
	w.RequireAccepted(token.AccessToken)
}

// A manifest was edited by hand, and a key signs before everybody can know it.
func TestARingGoesOnWithAKeyThatSignsAlready(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	w.Clock.Advance(time.Minute)
	other, now := fixture.NewKey(t, jwk.ES256), w.Clock.Now()
	s.Set(nil, func(keys []jwk.StoredKey) []jwk.StoredKey {
		return append(keys, jwk.StoredKey{Key: other, Life: jwk.Life{Published: now, SignsFrom: now.Add(3 * time.Minute)}})
	})
	first := w.KeyOf(w.Login("alice").AccessToken)
	require.ErrorContains(t, w.Keys.Status().LastError, "is to sign from")
	w.Pass(4 * time.Minute)
	require.ErrorContains(t, w.Keys.Status().LastError, "is to sign from", "verifiers may not know it yet")
	require.NotEqual(t, first, w.KeyOf(w.Login("alice").AccessToken))
	w.Pass(8 * time.Minute)
	require.NoError(t, w.Keys.Status().LastError)
}

func TestAKeyThatWasAddedWithASigningTimeInThePastIsReported(t *testing.T) {
	source := jwk.NewMemorySource()
	w := fixture.NewRingWorld(t, source)
	w.Pass(time.Hour)
	w.Events() // forget the events so far
	key, now := fixture.NewKey(t, jwk.ES256), w.Clock.Now()
	require.NoError(t, source.Update(t.Context(), func(s jwk.Stored) (jwk.Stored, error) {
		s.Keys = append(s.Keys, jwk.StoredKey{Key: key, Life: jwk.Life{Published: now, SignsFrom: now}})
		return s, nil
	}))
	w.Pass(2 * time.Minute)
	status := w.Keys.Status()
	require.Equal(t, key.ID(), status.SigningKey)
	require.ErrorContains(t, status.LastError, "verifiers and other processes may not know it for 8m0s")
	require.Contains(t, w.Kinds(), event.KeysUnavailable)
	_, err := w.Verifier.Verify(t.Context(), fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(fixture.NewKey(t, jwk.ES256), nil), w.Claims(nil)))
	require.NotErrorIs(t, err, jwtauth.ErrUnavailable, "the source could be read")
	w.Pass(8 * time.Minute)
	require.NoError(t, w.Keys.Status().LastError)
}

// A process starts with a clock that is eight days ahead, and the clock is then corrected.
func TestARingThatStartedWithAClockAheadComesBack(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	var ahead atomic.Int64
	ahead.Store(int64(8 * 24 * time.Hour))
	ring, err := jwk.OpenRing(t.Context(), s, jwk.RingOptions{Now: func() time.Time { return w.Clock.Now().Add(time.Duration(ahead.Load())) }})
	require.NoError(t, err)
	next := w.Rotate()
	ahead.Store(0)
	for range 7 {
		w.Pass(time.Minute)
	}
	require.NoError(t, ring.RevokeKey(t.Context(), next))
	stored, err := s.Load(t.Context())
	require.NoError(t, err)
	for _, key := range stored.Keys {
		require.False(t, key.SignsFrom.After(w.Clock.Now().Add(2*time.Minute)), "no date of the wrong clock is stored")
		require.False(t, key.Revoked.After(w.Clock.Now().Add(2*time.Minute)))
	}
	for range 12 {
		w.Pass(time.Minute)
		ring.Status()
	}
	require.Equal(t, w.Keys.Status().SigningKey, ring.Status().SigningKey)
	require.Len(t, ring.Plan(), len(w.Keys.Plan()))
	require.Equal(t, w.Keys.Plan(), ring.Plan())
}

// readOnly is a Source that cannot be written.
type readOnly struct{ jwk.Source }

func (readOnly) Update(context.Context, func(jwk.Stored) (jwk.Stored, error)) error {
	return errors.New("read-only file system")
}

func TestASourceThatCannotBeWrittenIsUsedAndSaysSo(t *testing.T) {
	source, clock := jwk.NewMemorySource(), fixture.NewClock()
	_, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{Now: clock.Now})
	require.NoError(t, err)
	w := fixture.JoinRing(t, clock, readOnly{source}, func(o *jwk.RingOptions) { o.MaxAge = time.Hour })
	w.RequireAccepted(w.Login("alice").AccessToken)
	status := w.Keys.Status()
	require.NoError(t, status.LastError)
	require.ErrorContains(t, status.NotAnnounced, "read-only file system")
	require.Equal(t, time.Hour, status.Longest.MaxAge)
	require.Equal(t, 15*time.Minute, status.Longest.AccessTTL)
	job, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	_, err = job.Rotate(t.Context())
	require.Error(t, err, "the job cannot know what the others need")

	fixture.Announce(t, job, 15*time.Minute, 7*24*time.Hour)
	life, err := job.Rotate(t.Context())
	require.NoError(t, err)
	w.Pass(2 * time.Minute)
	require.Len(t, w.Keys.Plan(), 2, "the key is used all the same")
	require.ErrorContains(t, w.Keys.Status().LastError, "may not know it for 1h3m0s")
	w.Pass(time.Hour + 4*time.Minute)
	require.NoError(t, w.Keys.Status().LastError)
	require.Equal(t, life.ID, w.Keys.Status().SigningKey)
}
