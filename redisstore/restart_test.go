package redisstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// countingLog counts the entries that a store lists.
type countingLog struct {
	replica.Log
	listed *atomic.Int64
}

func (l countingLog) Since(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
	return l.Log.Since(ctx, cursor, func(id string, until time.Time) {
		l.listed.Add(1)
		entry(id, until)
	})
}

func TestARestartWithoutALossCostsNoFullReading(t *testing.T) {
	const replicas, entries = 120, 500
	server := engines.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	store := newStore(t, clientOf(t, server))
	for i := range entries {
		revoke(t, store, fmt.Sprint(i))
	}
	var listed, resets atomic.Int64
	var all []*replica.Replica
	for range replicas {
		r, err := replica.New(countingLog{store, &listed}, replica.Options{OnEvent: func(_ context.Context, e event.Event) {
			if e.Kind == event.RevocationsReset {
				resets.Add(1)
			}
		}})
		require.NoError(t, err)
		t.Cleanup(func() { r.Close() })
		all = append(all, r)
	}
	for _, r := range all {
		require.NoError(t, r.Ready(t.Context()))
	}
	require.GreaterOrEqual(t, listed.Swap(0), int64(replicas*entries))

	server.Kill()
	require.NoError(t, server.Start())
	require.Eventually(t, func() bool { return resets.Load() == replicas }, time.Minute, 10*time.Millisecond, "each Replica must send its own revocations again")
	require.Zero(t, listed.Load())
	revoke(t, store, "after")
	for _, r := range all {
		require.Eventually(t, func() bool {
			isRevoked, err := r.IsRevoked(t.Context(), "after")
			return err == nil && isRevoked
		}, time.Minute, 10*time.Millisecond)
		requireRevoked(t, r, true, "0")
		requireRevoked(t, r, true, fmt.Sprint(entries-1))
	}
	require.EqualValues(t, replicas, listed.Load())
}

// Whatever an engine has lost, the copy of a reader must have every entry of the engine
// afterwards, and the reader must learn of the loss.
func TestAReaderThatContinuesAfterARestartOverlooksNothing(t *testing.T) {
	for lost := range 4 {
		for more := range 5 {
			t.Run(fmt.Sprintf("%d entries are lost, %d are new", lost, more), func(t *testing.T) {
				server := engines.Redis(t)
				client := clientOf(t, server)
				store := newStore(t, client)
				revoke(t, store, "a", "b")
				want := map[string]bool{"a": true, "b": true}
				cursors := []string{cursorOf(t, store)}
				copies := []map[string]bool{{"a": true, "b": true}}
				require.NoError(t, client.Save(t.Context()).Err())
				for i := range lost {
					id := fmt.Sprint("lost ", i)
					revoke(t, store, id)
					seen := map[string]bool{id: true}
					for known := range copies[i] {
						seen[known] = true
					}
					cursors, copies = append(cursors, cursorOf(t, store)), append(copies, seen)
				}
				server.Kill()
				require.NoError(t, server.Start())
				for i := range more {
					id := fmt.Sprint("new ", i)
					revoke(t, store, id)
					want[id] = true
				}
				for i, cursor := range cursors {
					ids, next, reset := told(t, store, cursor)
					require.True(t, reset)
					require.LessOrEqual(t, len(ids), len(want))
					if i == 0 {
						require.Len(t, ids, more, "everything that the reader knows is still there")
					} else {
						require.Len(t, ids, len(want))
					}
					for id := range ids {
						copies[i][id] = true
					}
					for id := range want {
						require.True(t, copies[i][id], "cursor %d misses %s", i, id)
					}
					ids, _, reset = told(t, store, next)
					require.False(t, reset)
					require.Empty(t, ids)
				}
			})
		}
	}
}

func cursorOf(t *testing.T, store replica.Log) string {
	t.Helper()
	_, cursor, _ := told(t, store, "")
	return cursor
}

func TestAnEntryOfAnOlderVersionHasNoNonceAndIsReadAgainAfterARestart(t *testing.T) {
	server := engines.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	client := clientOf(t, server)
	store := newStore(t, client)
	revoke(t, store, "a")
	var last redis.XMessage
	for key := range keysOf(t, client, "test") {
		if client.Type(t.Context(), key).Val() == "stream" {
			entries, err := client.XRevRange(t.Context(), key, "+", "-").Result()
			require.NoError(t, err)
			last = entries[0]
			require.Len(t, last.Values["n"], 16)
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: "0-3", Values: []any{"i", "b", "u", last.Values["u"]}}).Err())
		}
	}
	require.Equal(t, "0-2", last.ID)
	ids, cursor, _ := told(t, store, cursorOf(t, store))
	require.Empty(t, ids)
	server.Kill()
	require.NoError(t, server.Start())
	ids, _, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Contains(t, ids, "a")
}

// revocationCalls keeps the commands that store an id.
type revocationCalls struct {
	redis.Hook
	id   string
	args []any
}

func (c *revocationCalls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *revocationCalls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *revocationCalls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "evalsha" && slices.Contains(args, any(c.id)) {
			c.args = args
		}
		return next(ctx, cmd)
	}
}

func TestACallThatIsSentAgainAfterALossDoesNotPretendToBeTheLostOne(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	revoke(t, store, "a")
	require.NoError(t, client.Save(t.Context()).Err())
	sent := &revocationCalls{id: "x"}
	client.AddHook(sent)
	revoke(t, store, "y", "x")
	require.NotEmpty(t, sent.args)
	cursor := cursorOf(t, store)
	server.Kill()
	require.NoError(t, server.Start())
	revoke(t, store, "z") // in the place of y
	require.NoError(t, client.Do(t.Context(), sent.args...).Err())
	ids, _, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Contains(t, ids, "z")
	require.Contains(t, ids, "x")
}

func TestALogThatWasReplacedInARunningServerIsReadAgain(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	revoke(t, store, "a")
	saved := map[string]string{}
	for key := range keysOf(t, client, prefix) {
		saved[key] = client.Dump(t.Context(), key).Val()
	}
	require.Len(t, saved, 3)
	revoke(t, store, "b")
	cursor := cursorOf(t, store)
	for key, text := range saved {
		require.NoError(t, client.RestoreReplace(t.Context(), key, time.Hour, text).Err())
	}
	revoke(t, store, "c") // in the place of b
	ids, next, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Contains(t, ids, "a")
	require.Contains(t, ids, "c")
	ids, _, reset = told(t, store, next)
	require.False(t, reset)
	require.Empty(t, ids)
}

func TestALogWhoseLastEntryWasDeletedBeginsAnew(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	revoke(t, store, "a", "b")
	cursor := cursorOf(t, store)
	for key := range keysOf(t, client, prefix) {
		if client.Type(t.Context(), key).Val() == "stream" {
			require.EqualValues(t, 1, client.XDel(t.Context(), key, "0-3").Val())
		}
	}
	revoke(t, store, "c")
	ids, _, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Len(t, ids, 3)
	requireRevoked(t, store, true, "c")
	for key := range keysOf(t, client, prefix) {
		require.Positive(t, client.PTTL(t.Context(), key).Val(), "%s must expire", key)
	}
}
