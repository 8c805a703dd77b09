package jwk_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestTheKeysOfARemoteAreInUseBeforeItsHookHearsOfThem(t *testing.T) {
	var set *jwk.Remote
	var seed []byte
	var kinds []event.Kind
	r := fixture.NewRemote(t)
	set = r.NewSet(func(o *jwk.RemoteOptions) {
		o.OnEvent = func(ctx context.Context, e event.Event) {
			kinds = append(kinds, e.Kind)
			seed = set.Snapshot()
			require.NoError(t, ctx.Err())
			_ = set.Ready(ctx) // it may call the set
		}
	})
	require.NoError(t, set.Ready(t.Context()))
	hook.WaitIdle()
	require.Equal(t, []event.Kind{event.KeysChanged}, kinds)
	require.Contains(t, string(seed), r.Key.ID())

	r.Source.Serve(fixture.Status(500))
	r.Clock.Advance(48 * time.Hour)
	kinds = nil
	require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable)
	hook.WaitIdle()
	require.Equal(t, event.KeysUnavailable, kinds[0])
}

func TestAHookThatBlocksHoldsNobodyWhoWaitsForKeys(t *testing.T) {
	release := make(chan struct{})
	r := fixture.NewRemote(t)
	set := r.NewSet(func(o *jwk.RemoteOptions) {
		o.OnEvent = func(context.Context, event.Event) { <-release }
	})
	require.NoError(t, set.Ready(t.Context()))
	require.NoError(t, set.Ready(t.Context()))
	close(release)
	hook.WaitIdle()
}

func TestAPanicOfAHookOrATransportEndsNoProcess(t *testing.T) {
	r := fixture.NewRemote(t)
	set := r.NewSet(func(o *jwk.RemoteOptions) {
		o.OnEvent = func(context.Context, event.Event) { panic("the hook") }
	})
	require.NoError(t, set.Ready(t.Context()))
	hook.WaitIdle()
	require.Equal(t, 1, set.Status().EventsLost)

	set = r.NewSet(func(o *jwk.RemoteOptions) {
		o.Client = &http.Client{Transport: panicking{}}
	})
	require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable)
	require.ErrorContains(t, set.Status().LastError, "a panic")

	ring, err := jwk.OpenRing(t.Context(), jwk.NewMemorySource(), jwk.RingOptions{OnEvent: func(context.Context, event.Event) { panic("the hook") }})
	require.NoError(t, err)
	fixture.Announce(t, ring, time.Minute, 0)
	_, err = ring.Rotate(t.Context())
	require.NoError(t, err)
	hook.WaitIdle()
	require.Positive(t, ring.Status().EventsLost)
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("the transport") }

func TestARingsHookMayCallTheRing(t *testing.T) {
	var ring *jwk.Ring
	var once sync.Once
	done := make(chan struct{})
	clock := fixture.NewClock()
	source := jwk.NewMemorySource()
	var verifier *jwtauth.Verifier
	o := jwk.RingOptions{Now: clock.Now, OnEvent: func(ctx context.Context, e event.Event) {
		once.Do(func() {
			defer close(done)
			_, err := ring.Rotate(ctx)
			require.NoError(t, err)
			stranger := fixture.NewKey(t, jwk.ES256)
			_, err = verifier.Verify(ctx, fixture.SignWith(t, stranger, fixture.Header(stranger, nil), map[string]any{
				"iss": fixture.Issuer, "aud": fixture.Audience, "sub": "x", "exp": clock.Now().Unix() + 60, "iat": clock.Now().Unix(),
			}))
			require.ErrorIs(t, err, jwtauth.ErrTokenKey)
			require.NoError(t, ring.RevokeKey(ctx, ring.Status().SigningKey))
			ring.Plan()
		})
	}}
	ring, err := jwk.OpenRing(t.Context(), source, o)
	require.NoError(t, err)
	fixture.Announce(t, ring, time.Minute, 0)
	verifier, err = jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: clock.Now})
	require.NoError(t, err)
	_, err = ring.Rotate(t.Context())
	require.NoError(t, err)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the hook hangs in a call of the ring")
	}
}

func TestARevocationIsStoredBeforeTheHookHearsOfIt(t *testing.T) {
	source := jwk.NewMemorySource()
	stored := make(chan bool, 1)
	ring, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{OnEvent: func(ctx context.Context, e event.Event) {
		if e.Kind != event.KeyRevoked {
			return
		}
		keys, err := source.Load(ctx)
		require.NoError(t, err)
		for _, key := range keys.Keys {
			if key.ID == e.KeyID {
				stored <- !key.Revoked.IsZero()
			}
		}
	}})
	require.NoError(t, err)
	require.NoError(t, ring.RevokeKey(t.Context(), ring.Status().SigningKey))
	require.True(t, <-stored)
}

func TestAClockThatIsAheadForAMomentLosesNoKey(t *testing.T) {
	w := fixture.NewRingWorld(t, jwk.NewMemorySource())
	first := w.Login("alice")
	w.Rotate()
	w.Pass(lead + time.Minute)
	second := w.Login("bob")
	require.NotEqual(t, w.KeyOf(first.AccessToken), w.KeyOf(second.AccessToken))
	for _, d := range []time.Duration{time.Hour, 8 * 24 * time.Hour} {
		w.Clock.Advance(d)
		w.Keys.Plan()
		w.Keys.Status()
		_, _ = w.Keys.Rotate(t.Context()) // must not make the source forget a key
		w.Clock.Advance(-d + time.Second)
		w.RequireAccepted(first.AccessToken)
		w.RequireAccepted(second.AccessToken)
		require.Equal(t, w.KeyOf(second.AccessToken), w.KeyOf(w.Login("carol").AccessToken))
	}
	w.Clock.Advance(-time.Hour)
	w.Login("dave")
	w.Clock.Advance(time.Hour)
	w.RequireAccepted(first.AccessToken)
	w.RequireAccepted(second.AccessToken)
}
