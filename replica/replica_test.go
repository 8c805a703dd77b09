package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/replica"
)

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
		e := &fixture.Engine{Err: errors.New("down")}
		require.NoError(t, (&fixture.Engine{}).Revoke(t.Context(), "x", in(time.Hour)))
		r := fixture.NewReplica(t, e)
		synctest.Wait()
		require.ErrorContains(t, requireUnknown(t, r, "a"), "have not been read yet")
		require.Equal(t, time.Duration(-1), r.Status().Lag)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Ready(ctx), jwtauth.ErrUnavailable)
		e.Set(func(e *fixture.Engine) { e.Err = nil; e.Log = []fixture.Entry{{ID: "a", Until: in(time.Hour)}} })
		require.NoError(t, r.Ready(t.Context()))
		requireRevoked(t, r, "a")
		requireGood(t, r, "b")
		require.Equal(t, replica.Status{Len: 1, MaxEntries: 1 << 22}, r.Status())
		require.Zero(t, e.Asked, "the engine was asked on the path of a request")
	})
}

func TestARevocationAnywhereIsKnownWithinMaxLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		a, b := fixture.NewReplica(t, e), fixture.NewReplica(t, e)
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
		e := &fixture.Bell{Engine: &fixture.Engine{}, Ring: make(chan struct{}), Fails: 3}
		r := fixture.NewReplica(t, e, func(o *replica.Options) { o.MaxLag = time.Minute })
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(5 * time.Second) // until the line is there
		require.NoError(t, e.Revoke(t.Context(), "a", in(time.Hour)))
		requireGood(t, r, "a")
		e.Ring <- struct{}{}
		synctest.Wait()
		requireRevoked(t, r, "a")
	})
}

func TestOwnRevocationsCountAtOnceAndReachTheStoreLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		r := fixture.NewReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		e.Set(func(e *fixture.Engine) { e.Err = errors.New("down") })
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
		e.Set(func(e *fixture.Engine) { e.Err = nil })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.True(t, e.Has("a"))
		require.True(t, e.Has(jwtauth.TokenID("iss", "jti")))
		require.Len(t, e.Log, 2, "what has ended was sent, or something twice")
	})
}

func TestAStaleCopyIsNeverUsedSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{Log: []fixture.Entry{{ID: "a", Until: in(time.Hour)}}}
		var events []event.Kind
		r := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.OnEvent = func(_ context.Context, e event.Event) { events = append(events, e.Kind) }
		})
		require.NoError(t, r.Ready(t.Context()))
		e.Set(func(e *fixture.Engine) { e.Err = errors.New("no line") })
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		requireRevoked(t, r, "a") // which it knows in any case
		err := requireUnknown(t, r, "b")
		require.ErrorContains(t, err, "old, at most 2s is expected")
		require.ErrorContains(t, err, "no line")
		require.ErrorIs(t, r.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.Zero(t, e.Asked)
		requireRevoked(t, r, "a")
		require.Equal(t, []event.Kind{event.RevocationsUnavailable}, events)
		e.Set(func(e *fixture.Engine) { e.Err, e.Hang = nil, false })
		time.Sleep(15 * time.Second) // a reading that hangs is given up
		synctest.Wait()
		requireGood(t, r, "c")
		require.NoError(t, r.Ready(t.Context()))
	})
}

func TestAMiddlewareAnswers503WhereTheCopyIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		r := fixture.NewReplica(t, e)
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations, o.Now = r, time.Now })
		require.NoError(t, r.Ready(t.Context()))
		tokens := w.Login("alice")
		w.RequireAccepted(tokens.AccessToken)
		e.Set(func(e *fixture.Engine) { e.Err = errors.New("no line") })
		time.Sleep(3 * time.Second)
		for range 2 {
			answer, ran := w.Get(tokens.AccessToken)
			require.False(t, ran)
			require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		}
		require.ErrorIs(t, w.Issuer.Logout(t.Context(), tokens.AccessToken), jwtauth.ErrUnavailable)
		w.RequireRefusedBy("revocation", tokens.AccessToken) // here it counts
		e.Set(func(e *fixture.Engine) { e.Err = nil })
		time.Sleep(2 * time.Second)
		w.RequireRefusedBy("revocation", tokens.AccessToken)
		w.RequireAccepted(w.Login("bob").AccessToken)
		require.True(t, e.Has(jwtauth.SessionID(fixture.Issuer, tokens.SessionID)), "the store was not told")
	})
}

func TestAnEngineThatLostSomethingIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		var events []event.Kind
		a := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.OnEvent = func(_ context.Context, e event.Event) { events = append(events, e.Kind) }
		})
		b := fixture.NewReplica(t, e)
		require.NoError(t, errors.Join(a.Ready(t.Context()), b.Ready(t.Context())))
		require.NoError(t, a.Revoke(t.Context(), "a", in(time.Hour)))
		require.NoError(t, b.Revoke(t.Context(), "b", in(time.Hour)))
		time.Sleep(time.Second)
		e.Set(func(e *fixture.Engine) { e.Epoch++; e.Log = nil }) // another machine, which knows nothing
		time.Sleep(time.Second)
		synctest.Wait()
		require.True(t, e.Has("a") && e.Has("b"))
		for _, r := range []*replica.Replica{a, b, fixture.NewReplica(t, e)} {
			require.NoError(t, r.Ready(t.Context()))
			requireRevoked(t, r, "a")
			requireRevoked(t, r, "b")
		}
		require.Equal(t, []event.Kind{event.RevocationsReset}, events)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, e.Log, 2, "what was known was sent again")
	})
}

func TestEntriesComeInAnyOrderAndTheLatestEndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{Log: []fixture.Entry{{ID: "a", Until: in(time.Hour)}, {ID: "a", Until: in(time.Minute)}, {ID: "b", Until: in(time.Minute)}, {ID: "b", Until: in(time.Hour)}, {ID: "c", Until: in(-time.Minute)}}}
		r := fixture.NewReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		requireGood(t, r, "c")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		requireRevoked(t, r, "a")
		requireRevoked(t, r, "b")
	})
}

func TestAReadingThatIsNotCompleteDoesNotCount(t *testing.T) {
	for name, change := range map[string]func(e *fixture.Engine){
		"hanging":   func(e *fixture.Engine) { e.Hang = true },
		"no cursor": func(e *fixture.Engine) { e.Change = func(string, bool) (string, bool) { return "", false } },
		"a cursor too long": func(e *fixture.Engine) {
			e.Change = func(string, bool) (string, bool) { return strings.Repeat("x", 257), false }
		},
		"more than it holds": func(e *fixture.Engine) {
			e.Log = []fixture.Entry{{ID: "a", Until: in(time.Hour)}, {ID: "b", Until: in(time.Hour)}, {ID: "c", Until: in(time.Hour)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &fixture.Engine{}
				change(e)
				r := fixture.NewReplica(t, e, func(o *replica.Options) { o.MaxEntries = 2 })
				time.Sleep(30 * time.Second)
				synctest.Wait()
				requireUnknown(t, r, "x")
				require.Error(t, r.Status().LastError)
			})
		})
	}
	t.Run("one that takes longer than MaxLag", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := &fixture.Engine{Slow: 3 * time.Second}
			r := fixture.NewReplica(t, e)
			time.Sleep(4 * time.Second)
			synctest.Wait()
			requireUnknown(t, r, "x") // it is older than it may be
			e.Set(func(e *fixture.Engine) { e.Slow = 0 })
			require.NoError(t, r.Ready(t.Context()))
			requireGood(t, r, "x")
		})
	})
}

func TestCloseEndsAllOfAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a bubble fails if a goroutine is left
		e := &fixture.Bell{Engine: &fixture.Engine{Hang: true}, Ring: make(chan struct{})}
		r, err := replica.New(e, replica.Options{})
		require.NoError(t, err)
		synctest.Wait()
		r.Close()
		r.Close()
		require.ErrorIs(t, r.Ready(t.Context()), jwtauth.ErrUnavailable)
		requireUnknown(t, r, "x")
	})
}

func TestNewRefusesWhatCannotBeRight(t *testing.T) {
	_, err := replica.New(nil, replica.Options{})
	require.EqualError(t, err, "replica: New needs a store")
	for text, o := range map[string]replica.Options{
		"replica: Options.MaxLag is 1ms, 100ms to 1m0s is expected": {MaxLag: time.Millisecond},
		"replica: Options.MaxLag is 0s":                             {MaxLag: -1},
		"replica: Options.MaxEntries is -1, at least 1 is expected": {MaxEntries: -1},
	} {
		_, err := replica.New(&fixture.Engine{}, o)
		require.ErrorContains(t, err, text)
	}
}

// The engine fails, hangs and loses entries at random. From MaxLag after its revocation was
// confirmed, a token is revoked on every node, or the node does not know.
func TestNoTokenOutlivesItsRevocationByMoreThanMaxLag(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				e := &fixture.Engine{}
				nodes := []*replica.Replica{fixture.NewReplica(t, e), fixture.NewReplica(t, e), fixture.NewReplica(t, e)}
				type revoked struct{ at, until time.Time }
				told := make(map[string]revoked)
				for i := range 2000 {
					time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
					switch random.IntN(12) {
					case 0:
						e.Set(func(e *fixture.Engine) { e.Err = errors.New("down") })
					case 1, 2, 3:
						e.Set(func(e *fixture.Engine) { e.Err, e.Hang, e.Slow = nil, false, 0 })
					case 4:
						e.Set(func(e *fixture.Engine) { e.Hang = random.IntN(4) == 0 })
					case 5:
						e.Set(func(e *fixture.Engine) { e.Slow = time.Duration(random.IntN(3000)) * time.Millisecond })
					case 6:
						if random.IntN(8) == 0 { // a fail-over that lost the last second, until all nodes have seen it
							time.Sleep(2 * time.Second)
							e.Set(func(e *fixture.Engine) {
								e.Epoch++
								e.Log = e.Log[:max(0, len(e.Log)-2)]
								e.Err, e.Hang, e.Slow = nil, false, 0
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

// lateEngine calls after when it has stored an entry and has not yet confirmed it.
type lateEngine struct {
	*fixture.Engine
	after func()
}

func (l *lateEngine) Revoke(ctx context.Context, id string, until time.Time) error {
	err := l.Engine.Revoke(ctx, id, until)
	if f := l.after; f != nil {
		l.after = nil
		f()
	}
	return err
}

func TestARevocationThatIsUnderWayIsSentAgainToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &lateEngine{Engine: &fixture.Engine{}}
		r := fixture.NewReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		e.after = func() { // the engine fails over, and the replica sees it, before the answer has come
			e.Set(func(e *fixture.Engine) { e.Epoch++; e.Log = nil })
			time.Sleep(time.Second)
		}
		require.NoError(t, r.Revoke(t.Context(), "a", in(time.Hour)))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.True(t, e.Has("a"), "nobody else ever hears of it")
	})
}

func TestAnOwnRevocationBeforeTheFirstCopyIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{Hang: true}
		r := fixture.NewReplica(t, e)
		synctest.Wait()
		require.NoError(t, r.Revoke(t.Context(), "a", in(time.Hour)))
		e.Set(func(e *fixture.Engine) { e.Epoch++; e.Log, e.Hang = nil, false })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, r.Ready(t.Context()))
		require.True(t, e.Has("a"), "nobody else ever hears of it")
	})
}

func TestOneIdIsKeptAndSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		r := fixture.NewReplica(t, e)
		require.NoError(t, r.Ready(t.Context()))
		until := in(time.Hour)
		for range 5000 {
			require.NoError(t, r.Revoke(t.Context(), "a", until))
		}
		e.Set(func(e *fixture.Engine) { e.Epoch++; e.Log = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, e.Log, 1)
	})
}

// deadEngine fails always.
type deadEngine struct{ replica.Log }

func (deadEngine) Revoke(context.Context, string, time.Time) error { return errors.New("down") }
func (deadEngine) IsRevoked(context.Context, ...string) (bool, error) {
	return false, errors.New("down")
}
func (deadEngine) Since(context.Context, string, func(string, time.Time)) (string, bool, error) {
	return "", false, errors.New("down")
}

func TestWhatIsUnsentIsBounded(t *testing.T) {
	clock := fixture.NewClock()
	r := fixture.NewReplica(t, deadEngine{}, func(o *replica.Options) { o.Now = clock.Now })
	before := fixture.Heap()
	for round := range 100 { // 100 minutes of an outage, entries of one minute
		for i := range 1000 {
			_ = r.Revoke(t.Context(), fmt.Sprint(round, " ", i), clock.Now().Add(time.Minute))
		}
		clock.Advance(2 * time.Minute)
	}
	grown := fixture.Heap() - before
	require.Less(t, grown, int64(4<<20))
	runtime.KeepAlive(r)
}

// The clock has no monotonic reading.
func TestAClockThatIsSetBackDoesNotMakeAStaleCopyFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		e := &fixture.Engine{}
		r := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())).Round(0).UTC() }
		})
		require.NoError(t, r.Ready(t.Context()))
		e.Set(func(e *fixture.Engine) { e.Err = errors.New("down") })
		off.Store(int64(-time.Hour))
		time.Sleep(30 * time.Minute)
		requireUnknown(t, r, "x")
	})
}

func TestAReplicaThatIsNearlyFullRefusesNewRevocationsAndAnswersOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{}
		var heard []event.Kind
		r := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.MaxEntries = 100
			o.OnEvent = func(_ context.Context, e event.Event) { heard = append(heard, e.Kind) }
		})
		require.NoError(t, r.Ready(t.Context()))
		for i := range 79 {
			require.NoError(t, r.Revoke(t.Context(), fmt.Sprint(i), in(time.Hour)))
		}
		time.Sleep(2 * time.Second)
		require.Empty(t, heard)
		for i := range 16 {
			require.NoError(t, r.Revoke(t.Context(), fmt.Sprint(79+i), in(time.Hour)))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, []event.Kind{event.RevocationsNearlyFull}, heard, "told once, and long before it is full")
		require.Equal(t, 95, r.Status().Len)
		require.Equal(t, 100, r.Status().MaxEntries)

		require.ErrorContains(t, r.Revoke(t.Context(), "c", in(time.Hour)), "raise Options.MaxEntries")
		require.False(t, e.Has("c"), "the refused revocation is in the store")
		requireGood(t, r, "c")
		requireRevoked(t, r, "7")
		for i := range 5 { // other processes may fill the rest
			require.NoError(t, e.Revoke(t.Context(), fmt.Sprint("other ", i), in(time.Hour)))
		}
		time.Sleep(2 * time.Second)
		requireRevoked(t, r, "other 4")
		requireGood(t, r, "c")

		require.NoError(t, e.Revoke(t.Context(), "one too many", in(2*time.Hour)))
		time.Sleep(5 * time.Second)
		requireUnknown(t, r, "c")
		requireRevoked(t, r, "7") // what is known is never forgotten
		time.Sleep(2 * time.Hour)
		requireGood(t, r, "c")
		require.NoError(t, r.Revoke(t.Context(), "c", in(time.Hour)))
		requireRevoked(t, r, "c")
	})
}

func TestAHundredNodesJoinAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fixture.Engine{Log: []fixture.Entry{{ID: "a", Until: in(time.Hour)}}}
		var nodes []*replica.Replica
		for range 100 {
			nodes = append(nodes, fixture.NewReplica(t, e))
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
			e.Set(func(e *fixture.Engine) { n = e.Polled })
			return n
		}
		before := polled()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 2000, polled()-before, 250, "four readings in MaxLag for each node")
	})
}
