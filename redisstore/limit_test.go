package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// fill adds n rows to the hash of alice, all with the value of one row. It adds nothing to an
// index, as an older version of this package.
func fill(t testing.TB, client redis.UniversalClient, prefix, value string, n int) {
	t.Helper()
	for first := 0; first < n; first += 1000 {
		var fields []any
		for i := first; i < min(first+1000, n); i++ {
			fields = append(fields, fmt.Sprintf("%07d", i), value)
		}
		require.NoError(t, client.HSet(t.Context(), ownerKey(prefix, "alice"), fields...).Err())
	}
}

// valueOf creates a row of alice, removes it, and returns its value.
func valueOf(t testing.TB, client redis.UniversalClient, prefix string, r jwtauth.SessionRecord) string {
	t.Helper()
	require.NoError(t, storeOf(t, client, prefix).Create(t.Context(), r, 0))
	value, err := client.HGet(t.Context(), ownerKey(prefix, "alice"), r.Key.ID).Result()
	require.NoError(t, err)
	require.NoError(t, client.HDel(t.Context(), ownerKey(prefix, "alice"), r.Key.ID).Err())
	return value
}

// asGarbage returns the value of a row that ended long ago by the clock of the engine.
func asGarbage(value string) string { return value[:40] + strings.Repeat("0", 15) + value[55:] }

func TestALimitCountsNeitherEndedNorExpiredSessions(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		create := func(id string) error { return store.Create(t.Context(), row("alice", id, time.Hour), 3) }
		expired := row("alice", "expired", time.Hour)
		expired.ExpiresAt = expired.RotatedAt
		require.NoError(t, store.Create(t.Context(), expired, 3))
		require.NoError(t, create("ended"))
		_, _, err := store.Advance(t.Context(), keyOf("alice", "ended"), mark())
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, create(fmt.Sprint(i)))
		}
		require.ErrorIs(t, create("3"), jwtauth.ErrSessionLimit)
		require.ErrorIs(t, create("1"), jwtauth.ErrSessionExists)
		require.ErrorIs(t, create("expired"), jwtauth.ErrSessionExists)
		require.NoError(t, store.Create(t.Context(), row("alice", "no limit", time.Hour), 0))
		require.ErrorIs(t, create("3"), jwtauth.ErrSessionLimit)
		for _, id := range []string{"0", "no limit"} {
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", id)))
		}
		require.NoError(t, create("3"))
		require.Error(t, store.Create(t.Context(), row("alice", "4", time.Hour), -1))
		require.Error(t, store.Create(t.Context(), row("alice", "4", time.Hour), 1001))
	})
}

func TestConcurrentLoginsNeverExceedALimit(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		var all sync.WaitGroup
		var won, refused atomic.Int64
		for i := range 40 {
			all.Go(func() {
				switch err := store.Create(t.Context(), row("alice", fmt.Sprint(i), time.Hour), 7); err {
				case nil:
					won.Add(1)
				case jwtauth.ErrSessionLimit:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 7, won.Load())
		require.EqualValues(t, 33, refused.Load())
	})
}

// An issuer that ends the oldest session would end one for nothing.
func TestAServerThatCannotWriteNeverSaysThatALimitIsReached(t *testing.T) {
	for reason, start := range unwritable {
		t.Run(reason, func(t *testing.T) {
			server, refuse := start(t)
			store := newStore(t, impatient(t, server))
			require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 1))
			refuse()
			err := store.Create(t.Context(), row("alice", "2", time.Hour), 1)
			require.ErrorContains(t, err, reason)
			require.NotErrorIs(t, err, jwtauth.ErrSessionLimit)
		})
	}
}

func TestAFullEngineLetsNobodyInBelowALimit(t *testing.T) {
	client, prefix := clientOf(t, engines.Redis(t)), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	expired := row("alice", "1", time.Hour)
	expired.ExpiresAt = expired.RotatedAt
	fill(t, client, prefix, asGarbage(valueOf(t, client, prefix, expired)), 10)
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.ErrorContains(t, store.Create(t.Context(), row("alice", "2", time.Hour), 5), "OOM")
	require.EqualValues(t, 10, client.HLen(t.Context(), ownerKey(prefix, "alice")).Val(), "half of a call was done")
}

func TestALoginIsRefusedIfTooManyRowsHaveEndedToCountTheOthers(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	create := func() error { return store.Create(t.Context(), row("alice", rand.Text(), time.Hour), 5) }
	expired := row("alice", "1", time.Hour)
	expired.ExpiresAt = expired.RotatedAt
	value := valueOf(t, client, prefix, expired)
	fill(t, client, prefix, value, 4900)
	for range 5 {
		require.NoError(t, create())
	}
	require.ErrorIs(t, create(), jwtauth.ErrSessionLimit, "4,905 rows can be counted")

	fill(t, client, prefix, value, 10_000)
	err := store.Create(t.Context(), row("alice", rand.Text(), time.Hour), 100)
	require.ErrorContains(t, err, "cannot be counted")
	require.NotErrorIs(t, err, jwtauth.ErrSessionLimit)

	// Garbage is removed on the way, so that a later login succeeds.
	require.NoError(t, client.Del(t.Context(), ownerKey(prefix, "alice")).Err())
	fill(t, client, prefix, asGarbage(value), 12_000)
	require.Error(t, create())
	require.Error(t, create())
	require.NoError(t, create())
}

func TestALimitBelowTheNumberOfLiveSessionsIsReachedAtOnce(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "1", time.Hour)), 50_000)
	for _, limit := range []int{1, 20, 1000} {
		require.ErrorIs(t, store.Create(t.Context(), row("alice", rand.Text(), time.Hour), limit), jwtauth.ErrSessionLimit)
	}
}
