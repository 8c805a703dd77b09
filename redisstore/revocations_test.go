package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// storeAt returns a store whose clock differs from the engine's by off.
func storeAt(t *testing.T, client redis.UniversalClient, prefix string, off time.Duration) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(client, redisstore.Options{Prefix: prefix, Now: func() time.Time { return time.Now().Add(off) }})
	require.NoError(t, err)
	return store
}

// entries returns how many revocations the engine has.
func entries(t *testing.T, client redis.UniversalClient, prefix string) (n int64) {
	t.Helper()
	for key := range keysOf(t, client, prefix) {
		if strings.HasSuffix(key, ":entries") {
			n = client.ZCard(t.Context(), key).Val()
		}
	}
	return n
}

func TestRevocationsEndByTheClockOfTheCaller(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	at := func(off time.Duration) *redisstore.Store { return storeAt(t, client, prefix, off) }
	for _, years := range []int{-30, 0, 30} {
		off := time.Until(time.Now().AddDate(years, 0, 0))
		id := fmt.Sprint(years)
		require.NoError(t, at(off).Revoke(t.Context(), id, time.Now().Add(off+time.Hour)))
		requireRevoked(t, at(off), true, id)
		requireRevoked(t, at(off+59*time.Minute), true, id)
		requireRevoked(t, at(off+61*time.Minute), false, id)
	}
}

func TestRevocationsThatAreOverGoWhenOthersCome(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	past := storeAt(t, client, prefix, -time.Hour)
	for i := range 100 {
		require.NoError(t, past.Revoke(t.Context(), fmt.Sprint("old ", i), time.Now().Add(-30*time.Minute)))
	}
	require.NoError(t, past.Revoke(t.Context(), "still there", inAnHour()))
	require.NoError(t, past.Revoke(t.Context(), "just over", time.Now().Add(-4*time.Minute)))
	require.EqualValues(t, 102, entries(t, client, prefix), "they are not over by the clock of that caller")
	now := storeAt(t, client, prefix, 0)
	for i := range 4 {
		revoke(t, now, fmt.Sprint(i))
	}
	require.EqualValues(t, 2+4, entries(t, client, prefix))
	requireRevoked(t, now, true, "still there")
}

func TestACallerWhoseClockIsWrongDropsNothingThatOthersNeed(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	revoke(t, storeAt(t, client, prefix, 0), "a")
	ahead := storeAt(t, client, prefix, 1000*time.Hour)
	for i := range 3 {
		require.NoError(t, ahead.Revoke(t.Context(), fmt.Sprint(i), time.Now().Add(1001*time.Hour)))
	}
	requireRevoked(t, ahead, false, "a")
	requireRevoked(t, storeAt(t, client, prefix, 0), true, "a")
}

func TestAnEndThatNobodyLivesToSeeIsKept(t *testing.T) {
	store := newStore(t, single(t))
	for i, end := range []time.Time{time.Date(2255, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<62, 0)} {
		require.NoError(t, store.Revoke(t.Context(), fmt.Sprint(i), end))
		requireRevoked(t, store, true, fmt.Sprint(i))
	}
	ids, _, _ := told(t, store, "")
	require.Len(t, ids, 3)
	for _, until := range ids {
		require.GreaterOrEqual(t, until.Year(), 2255)
	}
}

func TestARevocationThatChangesNothingIsNotToldAgain(t *testing.T) {
	store := newStore(t, single(t))
	end := inAnHour()
	require.NoError(t, store.Revoke(t.Context(), "a", end))
	_, cursor, _ := told(t, store, "")
	require.NoError(t, store.Revoke(t.Context(), "a", end))
	require.NoError(t, store.Revoke(t.Context(), "a", end.Add(-time.Minute)))
	ids, next, reset := told(t, store, cursor)
	require.Empty(t, ids)
	require.False(t, reset)
	require.Equal(t, cursor, next, "a hundred nodes may send the same again")
}

func TestSinceGoesOnPageByPage(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		_, empty, _ := told(t, store, "")
		want := map[string]bool{}
		for i := range 3500 {
			revoke(t, store, fmt.Sprint(i))
			want[fmt.Sprint(i)] = true
		}
		var sent counter
		client.AddHook(&sent)
		for _, cursor := range []string{"", empty} {
			sent.n.Store(0)
			ids, next, reset := told(t, store, cursor)
			require.False(t, reset)
			require.Len(t, ids, len(want))
			require.Greater(t, sent.n.Load(), int64(3), "it was not in pages")
			require.Less(t, sent.n.Load(), int64(12))
			ids, _, _ = told(t, store, next)
			require.Empty(t, ids)
		}
	})
}

// Each of these cases may lose entries that a reader has not seen yet.
func TestSinceResetsWhereTheEngineIsNotWhatItWas(t *testing.T) {
	only := func(t *testing.T, c redis.UniversalClient, prefix, name string) string {
		for key := range keysOf(t, c, prefix) {
			if strings.HasSuffix(key, ":"+name) {
				return key
			}
		}
		t.Fatal("there is no key " + name)
		return ""
	}
	for name, harm := range map[string]func(t *testing.T, c redis.UniversalClient, prefix string){
		"the log is trimmed": func(t *testing.T, c redis.UniversalClient, prefix string) {
			require.NoError(t, c.XTrimMaxLen(t.Context(), only(t, c, prefix, "log"), 1).Err())
		},
		"the log is gone": func(t *testing.T, c redis.UniversalClient, prefix string) {
			require.NoError(t, c.Del(t.Context(), only(t, c, prefix, "log")).Err())
		},
		"the epoch is gone": func(t *testing.T, c redis.UniversalClient, prefix string) {
			require.NoError(t, c.Del(t.Context(), only(t, c, prefix, "epoch")).Err())
		},
		"the entries are gone": func(t *testing.T, c redis.UniversalClient, prefix string) {
			require.NoError(t, c.Del(t.Context(), only(t, c, prefix, "entries")).Err())
		},
		"it was flushed": func(t *testing.T, c redis.UniversalClient, _ string) {
			eachMaster(t, c, func(c *redis.Client) { require.NoError(t, c.FlushAll(t.Context()).Err()) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := clientOf(t, engines.Redis(t))
			for _, more := range []int{0, 1, 2, 3, 4, 10} { // so the log becomes shorter than the cursor, equally long, or longer
				prefix := "test:" + rand.Text()
				store := storeOf(t, client, prefix)
				revoke(t, store, "a")
				_, cursor, _ := told(t, store, "")
				revoke(t, store, "not seen yet", "nor this")
				harm(t, client, prefix)
				want := map[string]bool{}
				if !strings.HasPrefix(name, "it was") && name != "the entries are gone" {
					want["a"], want["not seen yet"], want["nor this"] = true, true, true
				}
				for i := range more {
					revoke(t, store, fmt.Sprint(i))
					want[fmt.Sprint(i)] = true
				}
				ids, next, reset := told(t, store, cursor)
				require.True(t, reset, "after %d more", more)
				require.Len(t, ids, len(want))
				for id := range want {
					require.Contains(t, ids, id)
				}
				revoke(t, store, "after")
				ids, _, reset = told(t, store, next)
				require.False(t, reset)
				require.Len(t, ids, 1)
			}
		})
	}
}

func TestACursorThatIsAheadOrBentIsAReset(t *testing.T) {
	store := newStore(t, single(t))
	revoke(t, store, "a", "b")
	_, cursor, _ := told(t, store, "")
	require.LessOrEqual(t, len(cursor), 256)
	info, err := single(t).InfoMap(t.Context(), "server").Result()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(cursor, info["Server"]["run_id"]+"."), "the cursor does not carry the run of the server")
	engine, found := strings.CutSuffix(cursor, ".3")
	require.True(t, found, "the beginning and two entries")
	_, other, _ := told(t, newStore(t, single(t)), "")
	for _, bent := range []string{engine + ".2", engine + ".4", engine + ".9999999999", engine + ".-1", engine + ".", engine + ".3x", engine + ".1e0", engine, engine + "..3", "x" + cursor, cursor + strings.Repeat(" ", 300), strings.Repeat("x", 1<<20) + ".3", other} {
		ids, next, reset := told(t, store, bent)
		require.True(t, reset, "%.300q", bent)
		require.Len(t, ids, 2)
		require.Equal(t, cursor, next)
	}
	_, _, reset := told(t, store, cursor)
	require.False(t, reset)
}

func TestTheLogIsTrimmed(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	revoke(t, store, "a")
	for key := range keysOf(t, client, prefix) {
		if strings.HasSuffix(key, ":log") { // make it as long as after very many revocations
			filler := redis.NewScript(`for i = 3, 140000 do redis.call('XADD', KEYS[1], '0-' .. i, 'i', 'x', 'u', '1') end return 1`)
			require.NoError(t, filler.Run(t.Context(), client, []string{key}).Err())
			revoke(t, store, "b")
			n, err := client.XLen(t.Context(), key).Result()
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, int64(131_072))
			require.Less(t, n, int64(132_072))
		}
	}
	ids, _, _ := told(t, store, "")
	require.Len(t, ids, 2)
}
