package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestEveryKeyHasAnExpiryWhateverHappens(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		prefix := "test:" + rand.Text()
		store := storeOf(t, client, prefix)
		_, cursor, _ := told(t, store, "")
		begun := keysOf(t, client, prefix)
		require.Len(t, begun, 2, "an empty log and its epoch")
		for key, c := range begun {
			require.Greater(t, c.PTTL(t.Context(), key).Val(), time.Hour, key)
		}
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for n := range 60 {
					subject, id := fmt.Sprint("subject ", n%7), fmt.Sprint(worker, " ", n)
					_ = store.Create(t.Context(), row(subject, id, time.Duration(n)*time.Minute), 0)
					_, _, _ = store.Advance(t.Context(), keyOf(subject, id), rotation(1, time.Duration(n%5)*time.Hour))
					_, _, _ = store.Advance(t.Context(), keyOf(subject, id), rotation(0, time.Hour))
					_ = store.Revoke(t.Context(), fmt.Sprint(n%11), time.Now().Add(time.Duration(worker)*time.Minute))
					if n%3 == 0 {
						_ = store.Delete(t.Context(), keyOf(subject, id))
						_, _, _ = store.Since(t.Context(), cursor, func(string, time.Time) {})
					}
				}
			})
		}
		all.Wait()
		keys := keysOf(t, client, prefix)
		require.Len(t, keys, 7+3)
		for key, c := range keys {
			left, err := c.PTTL(t.Context(), key).Result()
			require.NoError(t, err)
			require.Greater(t, left, 4*time.Minute, key)
			require.Less(t, left, 5*time.Hour, key)
		}
	})
}

func TestWhatBelongsTogetherIsInOneSlotAndNoTextOfOthersIsInAKeyName(t *testing.T) {
	client := cluster(t)
	prefix := "test:" + rand.Text()
	store := storeOf(t, client, prefix)
	subjects := []string{"alice", "{alice}", "}{", "", "a\x00b\r\nSET x y", strings.Repeat("x", 8<<10), "*"}
	for _, subject := range subjects {
		for i := range 10 {
			require.NoError(t, store.Create(t.Context(), row(subject, fmt.Sprint("{", i, "}"), time.Hour), 0))
		}
		require.NoError(t, store.Revoke(t.Context(), subject, inAnHour()))
	}
	slots := map[int64]int{}
	sessions := 0
	good := regexp.MustCompile(`^` + prefix + `:(s\{[A-Za-z0-9_-]{24}\}(:x|:i)?|r\{` + prefix + `\}:(entries|log|epoch))$`)
	for key := range keysOf(t, client, prefix) {
		require.Regexp(t, good, key)
		slot, err := client.ClusterKeySlot(t.Context(), key).Result()
		require.NoError(t, err)
		if strings.HasPrefix(key, prefix+":s") {
			sessions++
		} else {
			slots[slot]++
		}
	}
	require.Equal(t, len(subjects), sessions, "one key for the sessions of each subject")
	require.Len(t, slots, 1, "the revocations are in several slots: %v", slots)
	for _, n := range slots {
		require.Equal(t, 3, n)
	}
}

func TestEachCallIsOneRoundTrip(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		for _, call := range callsOf(store, "warm") { // the server then has the scripts, and the client knows the slots
			require.NoError(t, call.do(t.Context()), call.name)
		}
		for i := range 20 { // so that each server of a cluster gets some
			for _, call := range callsOf(store, fmt.Sprint("warm ", i)) {
				require.NoError(t, call.do(t.Context()), call.name)
			}
		}
		var sent counter
		client.AddHook(&sent)
		for i := range 20 {
			for _, call := range callsOf(store, fmt.Sprint("alice ", i)) {
				sent.n.Store(0)
				require.NoError(t, call.do(t.Context()), call.name)
				require.EqualValues(t, 1, sent.n.Load(), call.name)
			}
		}
	})
}

func TestItWorksAgainAfterTheScriptsWereForgotten(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		for round := range 3 {
			for _, call := range callsOf(store, fmt.Sprint("subject ", round)) {
				eachMaster(t, client, func(c *redis.Client) { require.NoError(t, c.ScriptFlush(t.Context()).Err()) })
				require.NoError(t, call.do(t.Context()), call.name)
			}
		}
	})
}

func TestMemoryForEachSessionAndRevocation(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := storeOf(t, client, "")
	used := func() (n int64) {
		info, err := client.InfoMap(t.Context(), "memory").Result()
		require.NoError(t, err)
		_, err = fmt.Sscan(info["Memory"]["used_memory"], &n)
		require.NoError(t, err)
		return n
	}
	many := func(n int, f func(i int) error) {
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := worker; i < n; i += 16 {
					if err := f(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	const n = 20_000
	many(16, func(i int) error { return store.Create(t.Context(), row(fmt.Sprint("warm ", i), "1", time.Hour), 0) })
	revoke(t, store, "warm")
	before := used()
	many(n, func(i int) error {
		r := row(fmt.Sprint("subject ", i), rand.Text()+"0123456789", time.Hour) // 36 characters, like a sid
		r.Data = []byte(`{"a":"` + strings.Repeat("x", 192) + `"}`)
		return store.Create(t.Context(), r, 0)
	})
	session := float64(used()-before) / n
	before = used()
	many(n, func(i int) error {
		return store.Revoke(t.Context(), jwtauth.TokenID(testIssuer, fmt.Sprint(i)), inAnHour())
	})
	revocation := float64(used()-before) / n
	t.Logf("in the engine: %.0f bytes a session with 200 bytes of data, one for each subject; %.0f bytes a revocation", session, revocation)
	require.Less(t, session, 800.)
	require.Less(t, revocation, 220.)
}
