package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// engine is a RevocationLog that a test breaks.
type engine struct {
	mu     sync.Mutex
	epoch  int
	log    []entry
	err    error // of every call
	hang   bool  // Since does not end by itself
	slow   time.Duration
	asked  int // calls of IsRevoked
	polled int
	change func(next string, reset bool) (string, bool)
}

type entry struct {
	id    string
	until time.Time
}

func (e *engine) Revoke(ctx context.Context, id string, until time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.log = append(e.log, entry{id, until})
	}
	return errors.Join(e.err, ctx.Err())
}

func (e *engine) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	return e.has(ids...), errors.Join(e.err, ctx.Err())
}

func (e *engine) has(ids ...string) bool {
	for _, one := range e.log {
		for _, id := range ids {
			if one.id == id && time.Now().Before(one.until) {
				return true
			}
		}
	}
	return false
}

func (e *engine) Since(ctx context.Context, cursor string, tell func(string, time.Time)) (string, bool, error) {
	e.mu.Lock()
	hang, slow := e.hang, e.slow
	e.polled++
	e.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	if hang {
		<-ctx.Done()
		return "", false, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return "", false, e.err
	}
	epoch, at, _ := strings.Cut(cursor, ":")
	from, err := strconv.Atoi(at)
	reset := err != nil || epoch != strconv.Itoa(e.epoch) || from > len(e.log)
	if reset {
		from = 0
	}
	for _, one := range e.log[from:] {
		tell(one.id, one.until)
	}
	next := fmt.Sprintf("%d:%d", e.epoch, len(e.log))
	if e.change != nil {
		next, reset = e.change(next, reset)
	}
	return next, reset, nil
}

func (e *engine) set(change func(e *engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// bell is an engine that can push.
type bell struct {
	*engine
	ring  chan struct{}
	fails int
}

func (b *bell) Watch(ctx context.Context, changed func()) error {
	if b.fails--; b.fails >= 0 {
		return errors.New("no line")
	}
	for {
		select {
		case <-b.ring:
			changed()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newReplica(t testing.TB, log jwtauth.RevocationLog, change ...func(*jwtauth.ReplicaOptions)) *jwtauth.Replica {
	t.Helper()
	var o jwtauth.ReplicaOptions
	for _, f := range change {
		f(&o)
	}
	r, err := jwtauth.NewReplica(log, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// requireRevoked and requireGood ask for one id.
func requireRevoked(t *testing.T, r jwtauth.RevocationStore, id string) {
	t.Helper()
	revoked, err := r.IsRevoked(t.Context(), "other", id)
	require.NoError(t, err)
	require.True(t, revoked)
}

func requireGood(t *testing.T, r jwtauth.RevocationStore, id string) {
	t.Helper()
	revoked, err := r.IsRevoked(t.Context(), id)
	require.NoError(t, err)
	require.False(t, revoked)
}

func requireUnknown(t *testing.T, r jwtauth.RevocationStore, id string) error {
	t.Helper()
	_, err := r.IsRevoked(t.Context(), id)
	require.Error(t, err)
	return err
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

func TestAReplicaIsNotReadyBeforeItsFirstCompleteCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{err: errors.New("down")}
		require.NoError(t, (&engine{}).Revoke(t.Context(), "x", in(time.Hour)))
		r := newReplica(t, e)
		synctest.Wait()
		require.ErrorContains(t, requireUnknown(t, r, "a"), "have not been read yet")
		require.Equal(t, time.Duration(-1), r.Status().Lag)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Ready(ctx), jwtauth.ErrUnavailable)
		e.set(func(e *engine) { e.err = nil; e.log = []entry{{"a", in(time.Hour)}} })
		require.NoError(t, r.Ready(t.Context()))
		requireRevoked(t, r, "a")
		requireGood(t, r, "b")
		require.Equal(t, jwtauth.ReplicaStatus{Len: 1}, r.Status())
		require.Zero(t, e.asked, "the engine was asked on the path of a request")
	})
}

func TestARevocationAnywhereIsKnownWithinMaxLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		a, b := newReplica(t, e), newReplica(t, e)
		require.NoError(t, errors.Join(a.Ready(t.Context()), b.Ready(t.Context())))
		for i := range 100 {
			id := fmt.Sprint(i)
			require.NoError(t, a.Revoke(t.Context(), id, in(time.Hour)))
			requireRevoked(t, a, id) // at once
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			requireRevoked(t, b, id)
		}
		time.Sleep(2 * time.Hour)
		requireGood(t, b, "7")
		require.Zero(t, b.Status().Len)
	})
}

func TestAPushMakesItKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &bell{engine: &engine{}, ring: make(chan struct{}), fails: 3}
		r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) { o.MaxLag = time.Minute })
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(5 * time.Second) // until the line is there
		require.NoError(t, e.Revoke(t.Context(), "a", in(time.Hour)))
		requireGood(t, r, "a")
		e.ring <- struct{}{}
		synctest.Wait()
		requireRevoked(t, r, "a")
	})
}

func TestOwnRevocationsCountAtOnceAndReachTheStoreLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		r := newReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		e.set(func(e *engine) { e.err = errors.New("down") })
		for _, id := range []string{"a", jwtauth.TokenID("iss", "jti"), "gone"} {
			end := in(time.Hour)
			if id == "gone" {
				end = in(time.Minute)
			}
			require.ErrorContains(t, r.Revoke(t.Context(), id, end), "down")
			requireRevoked(t, r, id)
		}
		time.Sleep(2 * time.Minute)
		requireRevoked(t, r, "a") // also while the copy is stale
		e.set(func(e *engine) { e.err = nil })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.True(t, e.has("a"))
		require.True(t, e.has(jwtauth.TokenID("iss", "jti")))
		require.Len(t, e.log, 2, "what has ended was sent, or something twice")
	})
}

func TestAStaleCopyIsNeverUsedSilently(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*jwtauth.ReplicaOptions)
		check  func(t *testing.T, e *engine, r *jwtauth.Replica)
	}{
		"by default: unavailable": {nil, func(t *testing.T, e *engine, r *jwtauth.Replica) {
			err := requireUnknown(t, r, "b")
			require.ErrorContains(t, err, "old, at most 2s is expected")
			require.ErrorContains(t, err, "no line")
			require.ErrorIs(t, r.Ready(t.Context()), jwtauth.ErrUnavailable)
			require.Zero(t, e.asked)
		}},
		"asking the store": {func(o *jwtauth.ReplicaOptions) { o.AskWhenStale = true }, func(t *testing.T, e *engine, r *jwtauth.Replica) {
			require.ErrorContains(t, requireUnknown(t, r, "b"), "no line")
			e.set(func(e *engine) { e.err, e.hang = nil, true; e.log = append(e.log, entry{"b", in(time.Hour)}) })
			requireRevoked(t, r, "b")
			requireGood(t, r, "c")
			require.Equal(t, 3, e.asked)
		}},
		"for a while": {func(o *jwtauth.ReplicaOptions) { o.InsecureStaleFor = time.Minute }, func(t *testing.T, e *engine, r *jwtauth.Replica) {
			requireGood(t, r, "b")
			time.Sleep(time.Minute)
			requireUnknown(t, r, "b")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &engine{log: []entry{{"a", in(time.Hour)}}}
				var events []jwtauth.EventKind
				r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) {
					o.OnEvent = func(_ context.Context, e jwtauth.Event) { events = append(events, e.Kind) }
					if test.change != nil {
						test.change(o)
					}
				})
				require.NoError(t, r.Ready(t.Context()))
				e.set(func(e *engine) { e.err = errors.New("no line") })
				time.Sleep(2500 * time.Millisecond)
				synctest.Wait()
				requireRevoked(t, r, "a") // which it knows in any case
				test.check(t, e, r)
				requireRevoked(t, r, "a")
				require.Equal(t, []jwtauth.EventKind{jwtauth.RevocationsUnavailable}, events)
				e.set(func(e *engine) { e.err, e.hang = nil, false })
				time.Sleep(15 * time.Second) // a reading that hangs is given up
				synctest.Wait()
				requireGood(t, r, "c")
				require.NoError(t, r.Ready(t.Context()))
			})
		})
	}
}

func TestAMiddlewareAnswers503WhereTheCopyIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		r := newReplica(t, e)
		w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations, o.Now = r, time.Now })
		require.NoError(t, r.Ready(t.Context()))
		tokens := w.login("alice")
		w.requireAccepted(tokens.AccessToken)
		e.set(func(e *engine) { e.err = errors.New("no line") })
		time.Sleep(3 * time.Second)
		for range 2 {
			answer, ran := w.get(tokens.AccessToken)
			require.False(t, ran)
			require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		}
		require.ErrorIs(t, w.issuer.Logout(t.Context(), tokens.AccessToken), jwtauth.ErrUnavailable)
		w.requireRefusedBy("revocation", tokens.AccessToken) // here it counts
		e.set(func(e *engine) { e.err = nil })
		time.Sleep(2 * time.Second)
		w.requireRefusedBy("revocation", tokens.AccessToken)
		w.requireAccepted(w.login("bob").AccessToken)
		require.True(t, e.has(jwtauth.SessionID(testIssuer, tokens.SessionID)), "the store was not told")
	})
}

func TestAnEngineThatLostSomethingIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		var events []jwtauth.EventKind
		a := newReplica(t, e, func(o *jwtauth.ReplicaOptions) {
			o.OnEvent = func(_ context.Context, e jwtauth.Event) { events = append(events, e.Kind) }
		})
		b := newReplica(t, e)
		require.NoError(t, errors.Join(a.Ready(t.Context()), b.Ready(t.Context())))
		require.NoError(t, a.Revoke(t.Context(), "a", in(time.Hour)))
		require.NoError(t, b.Revoke(t.Context(), "b", in(time.Hour)))
		time.Sleep(time.Second)
		e.set(func(e *engine) { e.epoch++; e.log = nil }) // another machine, which knows nothing
		time.Sleep(time.Second)
		synctest.Wait()
		require.True(t, e.has("a") && e.has("b"))
		for _, r := range []*jwtauth.Replica{a, b, newReplica(t, e)} {
			require.NoError(t, r.Ready(t.Context()))
			requireRevoked(t, r, "a")
			requireRevoked(t, r, "b")
		}
		require.Equal(t, []jwtauth.EventKind{jwtauth.RevocationsReset}, events)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, e.log, 2, "what was known was sent again")
	})
}

func TestEntriesComeInAnyOrderAndTheLatestEndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{log: []entry{{"a", in(time.Hour)}, {"a", in(time.Minute)}, {"b", in(time.Minute)}, {"b", in(time.Hour)}, {"c", in(-time.Minute)}}}
		r := newReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		requireGood(t, r, "c")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		requireRevoked(t, r, "a")
		requireRevoked(t, r, "b")
	})
}

func TestAReadingThatIsNotCompleteDoesNotCount(t *testing.T) {
	for name, change := range map[string]func(e *engine){
		"hanging":   func(e *engine) { e.hang = true },
		"no cursor": func(e *engine) { e.change = func(string, bool) (string, bool) { return "", false } },
		"a cursor too long": func(e *engine) {
			e.change = func(string, bool) (string, bool) { return strings.Repeat("x", 257), false }
		},
		"more than it holds": func(e *engine) { e.log = []entry{{"a", in(time.Hour)}, {"b", in(time.Hour)}, {"c", in(time.Hour)}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &engine{}
				change(e)
				r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) { o.MaxEntries = 2 })
				time.Sleep(30 * time.Second)
				synctest.Wait()
				requireUnknown(t, r, "x")
				require.Error(t, r.Status().LastError)
			})
		})
	}
	t.Run("one that takes longer than MaxLag", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := &engine{slow: 3 * time.Second}
			r := newReplica(t, e)
			time.Sleep(4 * time.Second)
			synctest.Wait()
			requireUnknown(t, r, "x") // it is older than it may be
			e.set(func(e *engine) { e.slow = 0 })
			require.NoError(t, r.Ready(t.Context()))
			requireGood(t, r, "x")
		})
	})
}

func TestCloseEndsAllOfAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails where a goroutine is left
		e := &bell{engine: &engine{hang: true}, ring: make(chan struct{})}
		r, err := jwtauth.NewReplica(e, jwtauth.ReplicaOptions{})
		require.NoError(t, err)
		synctest.Wait()
		r.Close()
		r.Close()
		require.ErrorIs(t, r.Ready(t.Context()), jwtauth.ErrUnavailable)
		requireUnknown(t, r, "x")
	})
}

func TestNewReplicaRefusesWhatCannotBeRight(t *testing.T) {
	_, err := jwtauth.NewReplica(nil, jwtauth.ReplicaOptions{})
	require.EqualError(t, err, "jwtauth: NewReplica needs a store")
	for text, o := range map[string]jwtauth.ReplicaOptions{
		"ReplicaOptions.MaxLag is 1ms, 100ms to 1m0s is expected":       {MaxLag: time.Millisecond},
		"ReplicaOptions.MaxLag is 0s":                                   {MaxLag: -1},
		"ReplicaOptions.StoreTimeout is 1h0m0s, up to 1m0s is expected": {StoreTimeout: time.Hour},
		"ReplicaOptions.InsecureStaleFor is -1s":                        {InsecureStaleFor: -time.Second},
		"ReplicaOptions.MaxEntries is -1, at least 1 is expected":       {MaxEntries: -1},
	} {
		_, err := jwtauth.NewReplica(&engine{}, o)
		require.ErrorContains(t, err, text)
	}
}

// TestNoTokenOutlivesItsRevocationByMoreThanMaxLag: whatever the engine does, a
// token whose revocation was confirmed is refused, or nobody is told that it is
// good, from MaxLag later to its end.
func TestNoTokenOutlivesItsRevocationByMoreThanMaxLag(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				e := &engine{}
				nodes := []*jwtauth.Replica{newReplica(t, e), newReplica(t, e), newReplica(t, e)}
				type revoked struct{ at, until time.Time }
				told := make(map[string]revoked)
				for i := range 2000 {
					time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
					switch random.IntN(12) {
					case 0:
						e.set(func(e *engine) { e.err = errors.New("down") })
					case 1, 2, 3:
						e.set(func(e *engine) { e.err, e.hang, e.slow = nil, false, 0 })
					case 4:
						e.set(func(e *engine) { e.hang = random.IntN(4) == 0 })
					case 5:
						e.set(func(e *engine) { e.slow = time.Duration(random.IntN(3000)) * time.Millisecond })
					case 6:
						if random.IntN(8) == 0 { // a fail-over that lost the last second, until all nodes have seen it
							time.Sleep(2 * time.Second)
							e.set(func(e *engine) {
								e.epoch++
								e.log = e.log[:max(0, len(e.log)-2)]
								e.err, e.hang, e.slow = nil, false, 0
							})
							time.Sleep(15 * time.Second)
						}
					default:
						id, until := fmt.Sprint(i), in(time.Duration(random.IntN(120))*time.Second)
						if nodes[random.IntN(3)].Revoke(t.Context(), id, until) == nil {
							told[id] = revoked{time.Now(), until}
						}
					}
					synctest.Wait()
					for id, one := range told {
						if !time.Now().Before(one.until) {
							delete(told, id)
							continue
						}
						if time.Since(one.at) <= 2*time.Second {
							continue
						}
						for n, node := range nodes {
							if known, err := node.IsRevoked(t.Context(), id); err == nil && !known {
								t.Fatalf("node %d takes %s, revoked %v ago", n, id, time.Since(one.at))
							}
						}
					}
				}
				require.NotEmpty(t, maps.Collect(maps.All(told)))
			})
		})
	}
}

// lateEngine loses what it was told in the moment in which it confirms it.
type lateEngine struct {
	*engine
	after func()
}

func (l *lateEngine) Revoke(ctx context.Context, id string, until time.Time) error {
	err := l.engine.Revoke(ctx, id, until)
	if f := l.after; f != nil {
		l.after = nil
		f()
	}
	return err
}

func TestARevocationThatIsUnderWayIsSentAgainToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &lateEngine{engine: &engine{}}
		r := newReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		e.after = func() { // the engine fails over, and the replica sees it, before the answer has come
			e.set(func(e *engine) { e.epoch++; e.log = nil })
			time.Sleep(time.Second)
		}
		require.NoError(t, r.Revoke(t.Context(), "a", in(time.Hour)))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.True(t, e.has("a"), "nobody else ever hears of it")
	})
}

func TestAnOwnRevocationBeforeTheFirstCopyIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{hang: true}
		r := newReplica(t, e)
		synctest.Wait()
		require.NoError(t, r.Revoke(t.Context(), "a", in(time.Hour)))
		e.set(func(e *engine) { e.epoch++; e.log, e.hang = nil, false })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, r.Ready(t.Context()))
		require.True(t, e.has("a"), "nobody else ever hears of it")
	})
}

func TestOneIdIsKeptAndSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		r := newReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		until := in(time.Hour)
		for range 5000 {
			require.NoError(t, r.Revoke(t.Context(), "a", until))
		}
		e.set(func(e *engine) { e.epoch++; e.log = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, e.log, 1)
	})
}

// The unsent list while the engine is away.
type deadEngine struct{ jwtauth.RevocationLog }

func (deadEngine) Revoke(context.Context, string, time.Time) error { return errors.New("down") }
func (deadEngine) IsRevoked(context.Context, ...string) (bool, error) {
	return false, errors.New("down")
}
func (deadEngine) Since(context.Context, string, func(string, time.Time)) (string, bool, error) {
	return "", false, errors.New("down")
}

func TestWhatIsUnsentIsBounded(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	r := newReplica(t, deadEngine{}, func(o *jwtauth.ReplicaOptions) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for round := range 100 { // 100 minutes of an outage, entries of one minute
		for i := range 1000 {
			_ = r.Revoke(t.Context(), fmt.Sprint(round, " ", i), now.Add(time.Minute))
		}
		mu.Lock()
		now = now.Add(2 * time.Minute)
		mu.Unlock()
	}
	grown := heap() - before
	require.Less(t, grown, int64(4<<20))
	runtime.KeepAlive(r)
}

func TestAStaleAnswerIsNeverSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		var events []jwtauth.EventKind
		r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) {
			o.InsecureStaleFor = time.Hour
			o.OnEvent = func(_ context.Context, e jwtauth.Event) { events = append(events, e.Kind) }
		})
		require.NoError(t, r.Ready(t.Context()))
		e.set(func(e *engine) { e.slow = 8 * time.Second }) // slow, and no error
		time.Sleep(time.Minute)
		synctest.Wait()
		lag := r.Status().Lag
		_, err := r.IsRevoked(t.Context(), "x")
		if lag > 2*time.Second && err == nil {
			require.NotEmpty(t, events, "a copy %v old was used silently", lag)
		}
	})
}

// A clock without a monotonic reading that is set back.
func TestAClockThatIsSetBackDoesNotMakeAStaleCopyFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		e := &engine{}
		r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())).Round(0).UTC() }
		})
		require.NoError(t, r.Ready(t.Context()))
		e.set(func(e *engine) { e.err = errors.New("down") })
		off.Store(int64(-time.Hour))
		time.Sleep(30 * time.Minute)
		requireUnknown(t, r, "x")
	})
}

// A full replica: own revocation is said to be refused here whatever the store says.
func TestAFullReplicaRefusesWhatItRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		r := newReplica(t, e, func(o *jwtauth.ReplicaOptions) { o.MaxEntries = 2 })
		require.NoError(t, r.Ready(t.Context()))
		for i := range 2 {
			require.NoError(t, r.Revoke(t.Context(), fmt.Sprint(i), in(time.Hour)))
		}
		e.set(func(e *engine) { e.err = errors.New("down") })
		require.Error(t, r.Revoke(t.Context(), "c", in(time.Hour)))
		revoked, err := r.IsRevoked(t.Context(), "c")
		require.True(t, revoked || err != nil, "it is taken, and the copy counts as fresh")
	})
}

// A refresh while the copy is stale.
// a vanished active key: the old process signs with a key that new ones do not have

func TestAHundredNodesJoinAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{log: []entry{{"a", in(time.Hour)}}}
		var nodes []*jwtauth.Replica
		for range 100 {
			nodes = append(nodes, newReplica(t, e))
		}
		for _, r := range nodes {
			require.NoError(t, r.Ready(t.Context()))
			requireRevoked(t, r, "a")
		}
		require.NoError(t, nodes[7].Revoke(t.Context(), "b", in(time.Hour)))
		time.Sleep(time.Second)
		synctest.Wait()
		for _, r := range nodes {
			requireRevoked(t, r, "b")
		}
		polled := func() (n int) {
			e.set(func(e *engine) { n = e.polled })
			return n
		}
		before := polled()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 2000, polled()-before, 250, "four readings in MaxLag for each node")
	})
}
