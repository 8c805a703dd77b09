package replica_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/replica"
)

func TestAReplicasHookMayCloseTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *replica.Replica
		var once sync.Once
		closed := make(chan struct{})
		e := &fixture.Engine{}
		r = fixture.NewReplica(t, e, func(o *replica.Options) {
			o.OnEvent = func(context.Context, event.Event) {
				once.Do(func() {
					r.Close()
					close(closed)
				})
			}
		})
		require.NoError(t, r.Ready(t.Context()))
		e.Set(func(e *fixture.Engine) { e.Err = errors.New("down") })
		<-closed
	})
}

func TestAHookThatBreaksStopsNoReplica(t *testing.T) {
	for name, breaks := range map[string]func(release chan struct{}){
		"it panics": func(chan struct{}) { panic("the hook") },
		"it blocks": func(release chan struct{}) { <-release },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				e := &fixture.Engine{}
				r := fixture.NewReplica(t, e, func(o *replica.Options) {
					o.OnEvent = func(context.Context, event.Event) { breaks(release) }
				})
				require.NoError(t, r.Ready(t.Context()))
				e.Set(func(e *fixture.Engine) { e.Err = errors.New("down") })
				time.Sleep(5 * time.Second)
				requireUnknown(t, r, "x")
				e.Set(func(e *fixture.Engine) { e.Err = nil })
				require.NoError(t, e.Revoke(t.Context(), "x", in(time.Hour)))
				time.Sleep(5 * time.Second)
				requireRevoked(t, r, "x")
				close(release)
			})
		})
	}
}

// panickingLog is an engine whose methods panic while broken is set.
type panickingLog struct {
	*fixture.Bell
	broken *atomic.Bool
}

func (p panickingLog) Since(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
	if p.broken.Load() {
		panic("Since")
	}
	return p.Bell.Since(ctx, cursor, entry)
}

func (p panickingLog) Watch(ctx context.Context, changed func()) error {
	if p.broken.Load() {
		panic("Watch")
	}
	return p.Bell.Watch(ctx, changed)
}

func TestAPanicOfTheStoreEndsNoProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		log := panickingLog{&fixture.Bell{Engine: &fixture.Engine{}, Ring: make(chan struct{})}, &broken}
		r := fixture.NewReplica(t, log)
		time.Sleep(3 * time.Second)
		require.ErrorContains(t, requireUnknown(t, r, "x"), "a panic")
		broken.Store(false)
		require.NoError(t, r.Ready(t.Context()))
		requireGood(t, r, "x")
	})
}

func TestAClockThatIsAheadForAMomentSkipsNoEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		e := &fixture.Engine{}
		r := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())).Round(0).UTC() }
		})
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, e.Revoke(t.Context(), "before", in(30*time.Minute)))
		time.Sleep(2 * time.Second)
		for range 3 {
			off.Store(int64(time.Hour))
			require.NoError(t, e.Revoke(t.Context(), "meanwhile", in(30*time.Minute)))
			require.NoError(t, r.Revoke(t.Context(), "here", in(30*time.Minute)))
			time.Sleep(time.Minute)
			off.Store(0)
			time.Sleep(2 * time.Second)
			requireRevoked(t, r, "before")
			requireRevoked(t, r, "meanwhile")
			requireRevoked(t, r, "here")
		}
		require.True(t, e.Has("here"))
		time.Sleep(time.Hour) // and nothing is kept for ever
		require.Zero(t, r.Status().Len)
	})
}

func TestAStoreThatCannotPushIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		bell := &fixture.Bell{Engine: &fixture.Engine{}, Ring: make(chan struct{}), Fails: 5}
		r := fixture.NewReplica(t, bell, func(o *replica.Options) {
			o.OnEvent = func(_ context.Context, e event.Event) { heard = append(heard, string(e.Kind)+": "+e.Err.Error()) }
		})
		require.NoError(t, r.Ready(t.Context()))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"revocations_not_pushed: no line"}, heard)
		require.NoError(t, bell.Revoke(t.Context(), "x", in(time.Hour)))
		time.Sleep(2 * time.Second)
		requireRevoked(t, r, "x")
	})
}

func TestAReplicaThatStartedWithAClockAheadFindsTheEntriesItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		off.Store(int64(time.Hour))
		e := &fixture.Engine{Log: []fixture.Entry{{ID: "a", Until: in(20 * time.Minute)}}}
		r := fixture.NewReplica(t, e, func(o *replica.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		})
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.Revoke(t.Context(), "here", in(20*time.Minute)))
		require.True(t, e.Has("here"), "the store decides whether a revocation has ended")
		off.Store(0)
		time.Sleep(2 * time.Second)
		requireRevoked(t, r, "a")
		requireRevoked(t, r, "here")
	})
}

func TestEntriesThatHaveEndedTakeNoRoomFromNewRevocations(t *testing.T) {
	for _, lag := range []time.Duration{2 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := fixture.NewReplica(t, &fixture.Engine{}, func(o *replica.Options) { o.MaxEntries, o.MaxLag = 10_000, lag })
			require.NoError(t, r.Ready(t.Context()))
			for i := range 9500 {
				require.NoError(t, r.Revoke(t.Context(), fmt.Sprint(i), in(10*time.Minute)))
			}
			require.ErrorContains(t, r.Revoke(t.Context(), "new", in(time.Hour)), "no room")
			require.NoError(t, r.Revoke(t.Context(), "7", in(10*time.Minute)), "it is in the copy already")
			for range 10 {
				time.Sleep(time.Minute)
				requireGood(t, r, "new")
			}
			time.Sleep(2 * time.Second)
			require.NoError(t, r.Revoke(t.Context(), "new", in(time.Hour)))
			time.Sleep(2 * time.Minute)
			require.Equal(t, 1, r.Status().Len)
		})
	}
}
