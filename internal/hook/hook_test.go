package hook_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/hook"
)

func kinds(n int) (events []event.Event) {
	for i := range n {
		events = append(events, event.Event{Kind: event.Kind(rune('a' + i))})
	}
	return events
}

func TestAHookThatPanicsGetsTheEventsThatFollow(t *testing.T) {
	var got []event.Kind
	h := hook.Hook(func(_ context.Context, e event.Event) {
		got = append(got, e.Kind)
		if e.Kind == "b" {
			panic("the hook")
		}
	})
	require.PanicsWithValue(t, "the hook", func() { h.Send(t.Context(), kinds(4)...) })
	require.Equal(t, []event.Kind{"a", "b", "c", "d"}, got)
	hook.Hook(nil).Send(t.Context(), kinds(2)...)
	h.Send(t.Context())
}

func TestAQueueKeepsTheOrderAndSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q hook.Queue
		var mu sync.Mutex
		var got []event.Kind
		q.Init(func(ctx context.Context, e event.Event) {
			require.NoError(t, ctx.Err())
			mu.Lock()
			got = append(got, e.Kind)
			mu.Unlock()
			if e.Kind == "b" {
				panic("the hook")
			}
			if e.Kind == "c" {
				q.Send(event.Event{Kind: "z"}) // a hook may cause events
			}
		})
		q.Send(kinds(4)...)
		synctest.Wait()
		require.Equal(t, []event.Kind{"a", "b", "c", "d", "z"}, got)
		require.Equal(t, 1, q.Lost())
	})
}

func TestManyEventsNeedNoDeepStack(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(1 << 20))
	n := 0
	hook.Hook(func(context.Context, event.Event) { n++ }).Send(t.Context(), make([]event.Event, 1_000_000)...)
	require.Equal(t, 1_000_000, n)
}

func TestAQueueSurvivesAHookThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q hook.Queue
		var n atomic.Int64
		q.Init(func(context.Context, event.Event) {
			n.Add(1)
			runtime.Goexit()
		})
		for range 10 {
			q.Send(kinds(3)...)
			synctest.Wait()
		}
		require.EqualValues(t, 30, n.Load())
		require.Equal(t, 30, q.Lost())
	})
}

func TestAHookThatBlocksHoldsNobodyAndCostsABoundedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q hook.Queue
		n := 0
		q.Init(func(context.Context, event.Event) {
			time.Sleep(time.Second)
			n++
		})
		began := time.Now()
		for range 1000 {
			q.Send(kinds(1)...)
		}
		require.Zero(t, time.Since(began))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 1000, n+q.Lost())
		require.InDelta(t, 256, n, 1)
		q.Send(kinds(1)...) // the goroutine had ended
		time.Sleep(time.Minute)
		synctest.Wait()
		require.InDelta(t, 257, n, 1)
	})
}

func TestAQueueWithoutAHookSendsNothing(t *testing.T) {
	var q hook.Queue
	q.Send(kinds(3)...)
	require.Zero(t, q.Lost())
}
