package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestAKeyOutlivesTheLongestOfItsSessions(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		prefix := "test:" + rand.Text()
		store := storeOf(t, client, prefix)
		lives := func(atLeast time.Duration) {
			t.Helper()
			keys := keysOf(t, client, prefix)
			require.Len(t, keys, 1)
			for key := range keys {
				left, err := client.PTTL(t.Context(), key).Result()
				require.NoError(t, err)
				require.Greater(t, left, atLeast+4*time.Minute+50*time.Second)
				require.LessOrEqual(t, left, atLeast+5*time.Minute)
			}
		}
		require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
		lives(time.Hour)
		require.NoError(t, store.Create(t.Context(), row("alice", "2", 9*time.Hour), 0))
		lives(9 * time.Hour)
		require.NoError(t, store.Create(t.Context(), row("alice", "3", time.Minute), 0))
		lives(9 * time.Hour)
		_, _, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, 2*time.Hour))
		require.NoError(t, err)
		lives(9 * time.Hour)
		_, _, err = store.Advance(t.Context(), keyOf("alice", "1"), rotation(2, 20*time.Hour))
		require.NoError(t, err)
		lives(20 * time.Hour)
		for _, id := range []string{"1", "2", "3"} {
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", id)))
		}
		require.Empty(t, keysOf(t, client, prefix), "a subject without sessions takes no memory")
	})
}

// The caller's clock decides when a row ends. The engine only gets the remaining time.
func TestTheClockOfTheEngineDoesNotMatter(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	for _, years := range []int{-30, 30} {
		r := row("alice", fmt.Sprint(years), time.Hour)
		r.RotatedAt, r.ExpiresAt = r.RotatedAt.AddDate(years, 0, 0), r.ExpiresAt.AddDate(years, 0, 0)
		require.NoError(t, store.Create(t.Context(), r, 0))
		got, advanced, err := store.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: r.ExpiresAt.Add(-time.Microsecond), ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.True(t, advanced)
		require.Equal(t, r.ExpiresAt, got.ExpiresAt)
		for key := range keysOf(t, client, prefix) {
			require.InDelta(t, 65*time.Minute, client.PTTL(t.Context(), key).Val(), float64(time.Minute))
		}
		_, _, err = store.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 2, At: r.ExpiresAt, ExpiresAt: r.ExpiresAt})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
	}
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 2)
}

func TestSessionsThatEndedLongAgoGoWhenOthersBegin(t *testing.T) {
	client := single(t)
	prefix := "test:" + rand.Text()
	store := storeOf(t, client, prefix)
	for i := range 200 {
		require.NoError(t, store.Create(t.Context(), row("alice", fmt.Sprint("old ", i), time.Hour), 0))
	}
	require.NoError(t, store.Create(t.Context(), row("alice", "lasting", time.Hour), 0))
	for key := range keysOf(t, client, prefix) { // make the old ones garbage
		fields, err := client.HGetAll(t.Context(), key).Result()
		require.NoError(t, err)
		for name, value := range fields {
			if strings.HasPrefix(name, "old ") || name == "lasting" {
				require.NoError(t, client.HSet(t.Context(), key, name, value[:40]+strings.Repeat("0", 15)+value[55:]).Err())
			}
		}
	}
	_, advanced, err := store.Advance(t.Context(), keyOf("alice", "lasting"), rotation(1, time.Hour)) // is refreshed in time
	require.NoError(t, err)
	require.True(t, advanced)
	left := func() (n int) {
		rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
		require.NoError(t, err)
		have := map[string]bool{}
		for _, r := range rows {
			have[r.Key.ID] = true
			if strings.HasPrefix(r.Key.ID, "old ") {
				n++
			}
		}
		require.True(t, have["lasting"])
		for i := range len(rows) - n - 1 {
			require.True(t, have[fmt.Sprint("new ", i)])
		}
		return n
	}
	require.Equal(t, 200, left())
	for i := range 200 {
		require.NoError(t, store.Create(t.Context(), row("alice", fmt.Sprint("new ", i), time.Hour), 0))
	}
	require.Less(t, left(), 40)
}

func TestHoweverOftenASessionIsRefreshedItIsOneRowOfOneSize(t *testing.T) {
	client := single(t)
	prefix := "test:" + rand.Text()
	store := storeOf(t, client, prefix)
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	var size int64
	for from := int64(1); from <= 10_000; from++ {
		_, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(from, time.Hour))
		require.NoError(t, err)
		require.True(t, advanced)
		if from == 1 || from == 10_000 {
			keys := keysOf(t, client, prefix)
			require.Len(t, keys, 1)
			for key := range keys {
				now, err := client.MemoryUsage(t.Context(), key, 0).Result()
				require.NoError(t, err)
				if from == 1 {
					size = now
				}
				require.Equal(t, size, now)
				require.EqualValues(t, 1, client.HLen(t.Context(), key).Val())
			}
		}
	}
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.EqualValues(t, 10_001, rows[0].Generation)
}

func TestThereIsNoGenerationAfterTheLast(t *testing.T) {
	store := newStore(t, single(t))
	r := row("alice", "1", time.Hour)
	require.NoError(t, store.Create(t.Context(), r, 0))
	last, advanced, err := store.Advance(t.Context(), r.Key, rotation(math.MaxInt64-1, time.Hour))
	require.NoError(t, err)
	require.True(t, advanced)
	require.EqualValues(t, math.MaxInt64, last.Generation)
	_, advanced, err = store.Advance(t.Context(), r.Key, rotation(math.MaxInt64, time.Hour))
	require.Error(t, err)
	require.NotErrorIs(t, err, jwtauth.ErrNoSession)
	require.False(t, advanced)
	_, advanced, err = store.Advance(t.Context(), r.Key, rotation(math.MinInt64, time.Hour))
	require.NoError(t, err)
	require.False(t, advanced)
}

func TestTimesThatNobodyMeansAreKeptInOrder(t *testing.T) {
	store := newStore(t, single(t))
	for i, c := range []struct{ rotated, expires time.Time }{
		{time.Time{}, inAnHour()},
		{time.Unix(0, 0), time.Unix(math.MaxInt64, 0)},
		{time.Unix(math.MinInt64, 0), inAnHour()},
		{inAnHour(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		r := row("alice", fmt.Sprint(i), time.Hour)
		r.RotatedAt, r.ExpiresAt = c.rotated, c.expires
		require.NoError(t, store.Create(t.Context(), r, 0))
		_, advanced, err := store.Advance(t.Context(), r.Key, rotation(1, time.Hour))
		require.NoError(t, err)
		require.True(t, advanced)
	}
	ended := row("alice", "ended", time.Hour)
	ended.ExpiresAt = time.Unix(math.MinInt64, 0)
	require.NoError(t, store.Create(t.Context(), ended, 0))
	_, _, err := store.Advance(t.Context(), ended.Key, rotation(1, time.Hour))
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

// Another program, or a dump that was restored in part, may leave such rows.
func TestARowThatIsNotTheStoresOwnIsAnErrorAndNoSession(t *testing.T) {
	client := single(t)
	prefix := "test:" + rand.Text()
	store := storeOf(t, client, prefix)
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	for key := range keysOf(t, client, prefix) {
		whole, err := client.HGet(t.Context(), key, "1").Result()
		require.NoError(t, err)
		for _, bad := range []string{"", "x", whole[:8], whole[:32], whole[:54]} {
			require.NoError(t, client.HSet(t.Context(), key, "1", bad).Err())
			_, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
			require.Error(t, err, "%q", bad)
			require.False(t, advanced)
			_, err = store.List(t.Context(), testIssuer, "alice", "", 1000)
			require.Error(t, err, "%q", bad)
			require.NoError(t, store.Create(t.Context(), row("alice", "2", time.Hour), 0), "another session has to do with it")
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", "2")))
		}
		require.NoError(t, client.Del(t.Context(), key).Err())
		require.NoError(t, client.Set(t.Context(), key, "text", time.Hour).Err())
		for _, call := range callsOf(store, "alice")[:4] {
			require.Error(t, call.do(t.Context()), call.name)
		}
	}
}
