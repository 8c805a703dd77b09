package redisstore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
)

func TestAClockThatJumpsAndComesBackLosesNoRevocation(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	var offset time.Duration
	store, err := redisstore.New(client, redisstore.Options{Prefix: prefix, Now: func() time.Time { return time.Now().Add(offset) }})
	require.NoError(t, err)
	end := time.Now().Add(30 * time.Minute)
	require.NoError(t, store.Revoke(t.Context(), "before", end))
	_, cursor, _ := told(t, store, "")

	offset = time.Hour
	require.NoError(t, store.Revoke(t.Context(), "during", end))
	require.NoError(t, store.Revoke(t.Context(), "before", end.Add(time.Minute))) // also removes what has ended
	all, _, _ := told(t, store, "")
	fresh, next, reset := told(t, store, cursor)
	require.False(t, reset)
	for _, ids := range []map[string]time.Time{all, fresh} {
		require.Contains(t, ids, "before", "a reader that goes on from its cursor would never hear of it")
		require.Contains(t, ids, "during", "a reader that goes on from its cursor would never hear of it")
	}

	offset = 0
	requireRevoked(t, store, true, "before")
	requireRevoked(t, store, true, "during")
	_, _, reset = told(t, store, next)
	require.False(t, reset)
	for key := range keysOf(t, client, prefix) {
		ttl, err := client.PTTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.Greater(t, ttl, 30*time.Minute, "%s is gone before its entries have ended", key)
	}
}

func TestARevocationThatHasEndedByBothClocksIsNotStored(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	for _, ended := range []time.Time{time.Now().Add(-time.Hour), time.Unix(0, 0), {}} {
		for _, offset := range []time.Duration{0, time.Hour} {
			require.NoError(t, storeAt(t, client, prefix, offset).Revoke(t.Context(), "ended", ended))
			require.Empty(t, keysOf(t, client, prefix))
		}
	}
	behind := storeAt(t, client, prefix, -2*time.Hour)
	require.NoError(t, behind.Revoke(t.Context(), "not yet", time.Now().Add(-time.Hour)))
	requireRevoked(t, behind, true, "not yet")
}
