package jwtauth_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestALoginCanHaveLifetimesOfItsOwn(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.IdleTTL, o.SessionTTL = 24*time.Hour, 7*24*time.Hour
		o.MaxIdleTTL, o.MaxSessionTTL = 30*24*time.Hour, 90*24*time.Hour
	})
	began := w.Clock.Now()
	remember, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", IdleTTL: 30 * 24 * time.Hour, SessionTTL: 90 * 24 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, 30*24*3600, remember.RefreshTimeout)
	require.Equal(t, 90*24*3600, remember.SessionExpiresIn)
	require.Equal(t, began.Add(90*24*time.Hour), remember.EndsAt)
	short, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", IdleTTL: time.Minute, SessionTTL: time.Hour})
	require.NoError(t, err)
	require.Equal(t, began.Add(time.Minute), short.IdleEnd)
	require.Equal(t, 60, short.ExpiresIn, "an access token ends with its session")
	usual := w.Login("alice")

	w.Clock.Advance(time.Minute)
	w.RequireGrantRefused(short.RefreshToken, jwtauth.ErrNoSession)
	w.Clock.Advance(24 * time.Hour)
	w.RequireGrantRefused(usual.RefreshToken)
	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, remember.SessionID, list[0].ID)
	require.Equal(t, began.Add(30*24*time.Hour), list[0].IdleEnd)
	w.Clock.Advance(28 * 24 * time.Hour)
	remember = w.Refresh(remember.RefreshToken)
	require.Equal(t, 30*24*3600, remember.RefreshTimeout, "the lifetime lasts for the whole session")
	require.Equal(t, began.Add(90*24*time.Hour), remember.EndsAt)

	// Lowered bounds apply to sessions that are there.
	lowered := w.Another(func(o *jwtauth.IssuerOptions) {
		o.IdleTTL, o.SessionTTL = 24*time.Hour, 7*24*time.Hour
		o.MaxIdleTTL, o.MaxSessionTTL = 2*24*time.Hour, 40*24*time.Hour
	})
	next, err := lowered.Refresh(t.Context(), jwtauth.RefreshRequest{Token: remember.RefreshToken})
	require.NoError(t, err)
	require.Equal(t, 2*24*3600, next.RefreshTimeout)
	require.Equal(t, began.Add(40*24*time.Hour), next.EndsAt)
}

func TestTheBoundsOfLifetimesAreChecked(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	for why, change := range map[string]func(o *jwtauth.IssuerOptions){
		"MaxIdleTTL is 1h0m0s, 168h0m0s (IdleTTL) to":       func(o *jwtauth.IssuerOptions) { o.MaxIdleTTL = time.Hour },
		"MaxSessionTTL is 1h0m0s, 720h0m0s (SessionTTL) to": func(o *jwtauth.IssuerOptions) { o.MaxSessionTTL = time.Hour },
		"MaxSessionTTL is 96360h0m0s":                       func(o *jwtauth.IssuerOptions) { o.MaxSessionTTL = 11 * 365 * 24 * time.Hour },
		"RecoverLost is 19s: 20s (twice RefreshGrace) to":   func(o *jwtauth.IssuerOptions) { o.RecoverLost = 19 * time.Second },
		"RecoverLost is 169h0m0s":                           func(o *jwtauth.IssuerOptions) { o.RecoverLost = 169 * time.Hour },
		"RecoverLost means nothing without RefreshGrace":    func(o *jwtauth.IssuerOptions) { o.RefreshGrace, o.RecoverLost = -1, time.Hour },
		"SessionLimit is 1001, 1 to 1000 is expected":       func(o *jwtauth.IssuerOptions) { o.SessionLimit = 1001 },
		"SessionLimit is -1":                                func(o *jwtauth.IssuerOptions) { o.SessionLimit = -1 },
		"EndOldest means nothing without SessionLimit":      func(o *jwtauth.IssuerOptions) { o.EndOldest = true },
	} {
		o := jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: store, Revocations: store}
		change(&o)
		_, err := jwtauth.NewIssuer(ring, o)
		require.ErrorContains(t, err, why)
	}
}

func TestALimitOfSessionsRefusesTheLogin(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit = 3 })
	all := []jwtauth.TokenResponse{w.Login("alice"), w.Login("alice"), w.Login("alice")}
	w.Heard()
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.Zero(t, r)
	require.ErrorIs(t, err, jwtauth.ErrSessionLimit)
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
	requireCode(t, err, 403, "access_denied")
	w.Login("bob")
	for n := range all {
		all[n] = w.Refresh(all[n].RefreshToken)
	}
	require.NoError(t, w.Issuer.Logout(t.Context(), all[0].AccessToken))
	w.Login("alice")
	w.Clock.Advance(7 * 24 * time.Hour) // what has expired does not count
	w.Login("alice")
}

func TestALimitOfSessionsCanEndTheOldestOne(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit, o.EndOldest = 3, true })
	var all []jwtauth.TokenResponse
	for range 3 {
		all = append(all, w.Login("alice"))
		w.Clock.Advance(time.Minute)
	}
	all[0] = w.Refresh(all[0].RefreshToken) // now the second one was used longest ago
	w.Clock.Advance(time.Minute)
	w.Heard()
	fourth := w.Login("alice")
	require.Equal(t, []string{"session_ended limit", "token_issued"}, w.Heard())
	w.RequireGrantRefused(all[1].RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.RequireRefused(all[1].AccessToken), jwtauth.ErrTokenRevoked)
	for _, r := range []jwtauth.TokenResponse{all[0], all[2], fourth} {
		w.Refresh(r.RefreshToken)
	}
	// A limit that was lowered ends several sessions at one login.
	lowered := w.Another(func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.EndOldest = 1, true })
	_, err := lowered.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestManyLoginsAtOnceKeepTheLimit(t *testing.T) {
	for _, endOldest := range []bool{false, true} {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit, o.EndOldest = 5, endOldest })
		var all sync.WaitGroup
		var good atomic.Int64
		for range 32 {
			all.Go(func() {
				_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					good.Add(1)
				} else if endOldest && !errors.Is(err, jwtauth.ErrUnavailable) || !endOldest && !errors.Is(err, jwtauth.ErrSessionLimit) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Len(t, rows, 5)
		if !endOldest {
			require.EqualValues(t, 5, good.Load())
		}
	}
}

func TestALoginEndsALimitedNumberOfSessions(t *testing.T) {
	w := fixture.New(t)
	for range 250 {
		w.Login("alice")
		w.Clock.Advance(time.Second)
	}
	limited := w.Another(func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.EndOldest = 2, true })
	_, err := limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 250-3*64)
	_, err = limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err, "the next login does the rest")
}
