package jwtauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

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
				_, _ = ring.Issuer.Sessions(t.Context(), "carol")
				_, _ = ring.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "dave"})
			}
			r.Clock.Advance(-moved + time.Second)
			for i, err := range use() {
				require.NoError(t, err, i)
			}
			ring.Refresh(back.RefreshToken)
			sessions, err := ring.Issuer.Sessions(t.Context(), "carol")
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
		if tokens, err = issuer.Refresh(t.Context(), tokens.RefreshToken); err != nil {
			require.NoError(t, err, n)
		}
		for _, v := range []*jwtauth.Verifier{lateVerifier, earlyVerifier} {
			_, err := v.Verify(t.Context(), tokens.AccessToken)
			require.NoError(t, err, n)
		}
		clock.Advance(20 * time.Minute)
	}
	require.NoError(t, late.Logout(t.Context(), tokens.RefreshToken))
	_, err = early.Refresh(t.Context(), tokens.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrRefused)
}
