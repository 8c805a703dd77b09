package redisstore_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// pages returns the ids of all pages of alice.
func pages(t testing.TB, store *redisstore.Store, limit int) (ids []string) {
	t.Helper()
	return pagesOf(t, store, "alice", limit)
}

// pagesOf returns the ids of all pages of a subject, and requires that only the last page is
// short.
func pagesOf(t testing.TB, store *redisstore.Store, subject string, limit int) (ids []string) {
	t.Helper()
	for after := ""; ; after = ids[len(ids)-1] {
		rows, err := store.List(t.Context(), testIssuer, subject, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(rows), limit)
		for _, r := range rows {
			require.Equal(t, testIssuer, r.Key.Issuer)
			require.Equal(t, subject, r.Key.Subject)
			ids = append(ids, r.Key.ID)
		}
		if len(rows) < limit {
			require.True(t, slices.IsSorted(ids))
			return ids
		}
	}
}

// idsIn returns the sorted ids of all rows of alice.
func idsIn(t testing.TB, client redis.UniversalClient, prefix string) []string {
	t.Helper()
	ids, err := client.HKeys(t.Context(), ownerKey(prefix, "alice")).Result()
	require.NoError(t, err)
	slices.Sort(ids)
	return ids
}

// indexed returns the members of the index of alice.
func indexed(t testing.TB, client redis.UniversalClient, prefix string) []string {
	t.Helper()
	ids, err := client.ZRange(t.Context(), ownerKey(prefix, "alice")+":i", 0, -1).Result()
	require.NoError(t, err)
	return ids
}

func TestPagesHaveEachSessionOnce(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for _, n := range []int{0, 1, 7, 1000, 1001, 2503} {
			prefix := "test:" + rand.Text()
			store := storeOf(t, client, prefix)
			value := valueOf(t, client, prefix, row("alice", "x", time.Hour))
			fill(t, client, prefix, value, n)
			want := idsIn(t, client, prefix)
			require.Len(t, want, n)
			limits := []int{100, 999, 1000}
			if n < 100 {
				limits = append(limits, 1, 2, 7)
			}
			for _, limit := range limits {
				require.True(t, slices.Equal(want, pages(t, store, limit)), "%d sessions, pages of %d", n, limit)
			}
			require.Equal(t, n > 1000, len(indexed(t, client, prefix)) > 0, "only a subject with more than 1000 sessions has an index")
			for _, after := range []string{"0000003", "0000003x", "~", "\xff"} {
				rows, err := store.List(t.Context(), testIssuer, "alice", after, 2)
				require.NoError(t, err)
				next, isThere := slices.BinarySearch(want, after)
				if isThere {
					next++
				}
				require.Len(t, rows, min(2, n-next))
				for i, r := range rows {
					require.Equal(t, want[next+i], r.Key.ID)
				}
			}
		}
		for _, limit := range []int{-1, 0, 1001} {
			_, err := newStore(t, client).List(t.Context(), testIssuer, "alice", "", limit)
			require.Error(t, err)
		}
	})
}

func TestAPageOfLargeSessionsIsFull(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	large := row("alice", "x", time.Hour)
	large.Data = []byte(strings.Repeat("x", 8<<10))
	fill(t, client, prefix, valueOf(t, client, prefix, large), 1100)
	for _, limit := range []int{100, 1000} {
		require.Equal(t, idsIn(t, client, prefix), pages(t, store, limit))
	}
}

func TestAnIndexIsKeptWhileSessionsBeginAndEnd(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		prefix := "test:" + rand.Text()
		store := storeOf(t, client, prefix)
		fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), 1500)
		require.Len(t, pages(t, store, 1000), 1500)
		for i := range 100 {
			r := row("alice", fmt.Sprint("new ", i), 2*time.Hour)
			r.Details = []byte(`{}`)
			require.NoError(t, store.Create(t.Context(), r, 0))
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", fmt.Sprintf("%07d", 3*i))))
		}
		require.Equal(t, idsIn(t, client, prefix), indexed(t, client, prefix))
		require.Greater(t, client.PTTL(t.Context(), ownerKey(prefix, "alice")+":i").Val(), 2*time.Hour)
		rows, err := store.List(t.Context(), testIssuer, "alice", "new 5", 10)
		require.NoError(t, err)
		require.Len(t, rows, 10)
		for _, r := range rows {
			require.Equal(t, `{}`, string(r.Details))
		}
		require.Equal(t, idsIn(t, client, prefix), pages(t, store, 1000))

		// Garbage leaves the index, too.
		value, err := client.HGet(t.Context(), ownerKey(prefix, "alice"), "new 1").Result()
		require.NoError(t, err)
		for _, id := range idsIn(t, client, prefix) {
			if strings.HasPrefix(id, "0") {
				require.NoError(t, client.HSet(t.Context(), ownerKey(prefix, "alice"), id, asGarbage(value)).Err())
			}
		}
		for i := range 100 {
			require.NoError(t, store.Create(t.Context(), row("alice", fmt.Sprint("newer ", i), time.Hour), 0))
		}
		left := indexed(t, client, prefix)
		require.Less(t, len(left), 1200)
		for _, id := range idsIn(t, client, prefix) {
			_, isThere := slices.BinarySearch(left, id)
			require.True(t, isThere, id)
		}
		for _, id := range idsIn(t, client, prefix) {
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", id)))
		}
		require.Empty(t, keysOf(t, client, prefix))
	})
}

// An old process changes no index. It may remove as many rows as it adds.
func TestAnIndexIsRepairedAfterAnOldProcess(t *testing.T) {
	for _, n := range []int{1500, 21_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			client, prefix := single(t), "test:"+rand.Text()
			store, old := storeOf(t, client, prefix), oldStoreOf(t, client, prefix)
			fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), n)
			require.Len(t, pages(t, store, 1000), n)
			same := func() {
				t.Helper()
				require.True(t, slices.Equal(idsIn(t, client, prefix), pages(t, store, 1000)))
				require.True(t, slices.Equal(idsIn(t, client, prefix), indexed(t, client, prefix)))
			}
			for i := range 50 {
				old.Delete(keyOf("alice", fmt.Sprintf("%07d", 7*i)))
			}
			same()
			for i := range 50 {
				old.Create(row("alice", fmt.Sprint("0 old ", i), time.Hour))
			}
			same()
			for i := range 50 { // the size stays
				old.Delete(keyOf("alice", fmt.Sprintf("%07d", 7*i+1)))
				old.Create(row("alice", fmt.Sprint("1 old ", i), time.Hour))
			}
			same() // the first page has removed ids from the index, so its size is wrong
			if n == 1500 {
				for i := range 50 {
					old.Delete(keyOf("alice", fmt.Sprintf("%07d", n-1-i)))
					old.Create(row("alice", fmt.Sprint(" old ", i), time.Hour))
				}
				same()
			}
			for i := range 50 {
				old.Delete(keyOf("alice", fmt.Sprintf("%07d", n-100-i)))
			}
			rows, err := store.List(t.Context(), testIssuer, "alice", "", 1)
			require.NoError(t, err)
			require.Len(t, rows, 1)
			require.True(t, slices.Equal(idsIn(t, client, prefix), indexed(t, client, prefix)), "one call repairs the whole index")
		})
	}
}

func TestAPageIsFullAlthoughOthersEndSessions(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), 5000)
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() {
		old := oldStoreOf(t, client, prefix)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprintf("%07d", 2*(i%1500))
			old.Delete(keyOf("alice", id))
			if i%2 == 0 {
				if err := store.Create(context.Background(), row("alice", fmt.Sprint("more ", i), time.Hour), 0); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 5 {
		seen := map[string]bool{}
		for _, id := range pages(t, store, 100) {
			seen[id] = true
		}
		for i := 1; i < 5000; i += 2 {
			require.True(t, seen[fmt.Sprintf("%07d", i)], "a session that nobody has ended is in no page")
		}
	}
	close(stop)
	all.Wait()
}

// limitedClient ends a context after some calls of a script.
type limitedClient struct {
	counter
	left   int
	cancel func()
}

func (l *limitedClient) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if l.left--; l.left == 0 {
			l.cancel()
		}
		return err
	}
}

func TestAnIndexThatTakesLongerThanOneCallIsContinued(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	const n = 30_000
	fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), n)
	hook := &limitedClient{}
	client.AddHook(hook)
	for calls := 1; ; calls++ {
		require.Less(t, calls, 20)
		ctx, cancel := context.WithCancel(t.Context())
		hook.left, hook.cancel = 10, cancel
		rows, err := store.List(ctx, testIssuer, "alice", "", 1000)
		cancel()
		if err == nil {
			require.Len(t, rows, 1000)
			require.Greater(t, calls, 3)
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		members := indexed(t, client, prefix)
		require.Greater(t, len(members), 3000*calls)
		require.True(t, strings.HasPrefix(members[len(members)-1], "\xff"), "the cursor of the next step")
		// The index is incomplete, and yet it is maintained.
		require.NoError(t, store.Create(t.Context(), row("alice", fmt.Sprint("new ", calls), time.Hour), 0))
		require.NoError(t, store.Delete(t.Context(), keyOf("alice", fmt.Sprintf("%07d", calls))))
	}
	hook.left = -1
	require.True(t, slices.Equal(idsIn(t, client, prefix), pages(t, store, 1000)))
	require.True(t, slices.Equal(idsIn(t, client, prefix), indexed(t, client, prefix)), "no cursor is left")
}

// A cursor of HSCAN means nothing to a server that has restarted.
func TestACursorThatHasBecomeInvalidLosesNoSession(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), 25_000)
	index := ownerKey(prefix, "alice") + ":i"
	require.NoError(t, client.ZAdd(t.Context(), index, redis.Z{Member: "\xffs32767"}, redis.Z{Member: "0000001"}, redis.Z{Member: "not a session"}).Err())
	require.True(t, slices.Equal(idsIn(t, client, prefix), pages(t, store, 1000)))
	require.True(t, slices.Equal(idsIn(t, client, prefix), indexed(t, client, prefix)))
}

func TestAFullEngineListsHugeSubjects(t *testing.T) {
	client, prefix := clientOf(t, engines.Redis(t)), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	fill(t, client, prefix, valueOf(t, client, prefix, row("alice", "x", time.Hour)), 1100)
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.Len(t, pages(t, store, 1000), 1100)
}

// No script may block the engine for long, so each touches few elements.
func TestNoScriptTouchesManyElements(t *testing.T) {
	server := engines.Redis(t)
	client, prefix := clientOf(t, server), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	value := valueOf(t, client, prefix, row("alice", "x", time.Hour))
	fill(t, client, prefix, value, 40_000)

	monitor, err := net.Dial("tcp", server.Addr())
	require.NoError(t, err)
	defer monitor.Close()
	require.NoError(t, monitor.SetDeadline(time.Now().Add(time.Minute)))
	_, err = monitor.Write([]byte("MONITOR\r\n"))
	require.NoError(t, err)
	lines := bufio.NewReader(monitor)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", line)

	require.Len(t, pages(t, store, 1000), 40_000)
	require.ErrorIs(t, store.Create(t.Context(), row("alice", "1", time.Hour), 1000), jwtauth.ErrSessionLimit)
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	_, _, err = store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), keyOf("alice", "1")))
	require.NoError(t, client.Echo(t.Context(), "over").Err())

	scripts, elements, most := 0, 0, 0
	for {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		if strings.Contains(line, `"over"`) {
			break
		}
		_, command, isOfScript := strings.Cut(line, " lua] ")
		if !isOfScript {
			if strings.Contains(strings.ToLower(line), `"eval`) {
				scripts, elements = scripts+1, 0
			}
			continue
		}
		words := strings.Fields(strings.ReplaceAll(command, `"`, ""))
		switch words[0] {
		case "HSCAN":
			n, err := strconv.Atoi(words[len(words)-1])
			require.NoError(t, err)
			elements += n
		case "HMGET", "HDEL", "ZREM":
			elements += len(words) - 2
		case "ZADD":
			elements += (len(words) - 2) / 2
		case "HGETALL", "HKEYS", "HVALS", "ZRANGE", "DEL":
			t.Fatalf("a command that may touch all elements: %s", words[0])
		default:
			elements++
		}
		most = max(most, elements)
	}
	require.Greater(t, scripts, 40_000/500+40)
	t.Logf("%d scripts, at most about %d elements in one", scripts, most)
	require.LessOrEqual(t, most, 3*1000)
}
