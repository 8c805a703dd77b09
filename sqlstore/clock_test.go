package sqlstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
)

func TestAClockThatJumpsAndComesBackLosesNoRevocation(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		e.store(t)
		var offset time.Duration
		s, err := sqlstore.New(e.open(t), sqlstore.Options{Dialect: e.dialect, Now: func() time.Time { return time.Now().Add(offset) }})
		require.NoError(t, err)
		end := now().Add(30 * time.Minute)
		_, empty, _ := since(t, s, "")
		require.NoError(t, s.Revoke(t.Context(), "before", end))

		offset = time.Hour
		require.NoError(t, s.Revoke(t.Context(), "during", end))
		_, err = s.Sweep(t.Context())
		require.NoError(t, err)
		want := heard{"before": end, "during": end}
		all, _, _ := since(t, s, "")
		require.Equal(t, want, all, "a reader that goes on from its cursor never hears of the rest")
		fresh, cursor, reset := since(t, s, empty)
		require.False(t, reset)
		require.Equal(t, want, fresh, "a reader that goes on from its cursor never hears of the rest")

		offset = 0
		for id := range want {
			revoked, err := s.IsRevoked(t.Context(), id)
			require.NoError(t, err)
			require.True(t, revoked, id)
		}
		_, _, reset = since(t, s, cursor)
		require.False(t, reset)
	})
}

// The engine's clock alone does not decide either: a caller whose clock is an hour behind
// the engine's sees an engine whose clock has jumped.
func TestSweepRemovesOnlyWhatHasEndedByBothClocks(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		e.store(t)
		s, err := sqlstore.New(e.open(t), sqlstore.Options{Dialect: e.dialect, Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
		require.NoError(t, err)
		r := record("alice", "one")
		r.ExpiresAt = now().Add(-90 * time.Minute)
		require.NoError(t, s.Create(t.Context(), r, 0))
		require.NoError(t, s.Revoke(t.Context(), "one", r.ExpiresAt))
		n, err := s.Sweep(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = e.store(t).Sweep(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, n)
	})
}
