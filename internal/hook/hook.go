// Package hook calls the functions that programs set as the option OnEvent.
package hook

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
)

// Hook is the value of an option OnEvent. A nil Hook does nothing.
type Hook func(ctx context.Context, e event.Event)

// Send calls the hook for each event, in order, in the goroutine of the caller. If the
// hook panics, Send still calls it for the other events, and then panics with the first
// value.
func (h Hook) Send(ctx context.Context, events ...event.Event) {
	switch {
	case h == nil:
		return
	case len(events) == 1: // the panic keeps its stack
		h(ctx, events[0])
		return
	}
	var first any
	for _, e := range events {
		if value := h.recovered(ctx, e); first == nil {
			first = value
		}
	}
	if first != nil {
		panic(first)
	}
}

// recovered calls the hook, and returns the value of its panic or nil.
func (h Hook) recovered(ctx context.Context, e event.Event) (value any) {
	defer func() { value = recover() }()
	h(ctx, e)
	return nil
}

// pending is the number of events of all queues that were not handled yet.
var pending atomic.Int64

// WaitIdle waits until the hooks have handled the events of all queues, for at most 10
// seconds. It is for tests.
func WaitIdle() {
	for range 10_000 {
		if pending.Load() == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// maxWaiting is the largest number of events that wait in a Queue.
const maxWaiting = 256

// Queue calls a hook for each event, in order, in a goroutine of its own. A slow hook does
// not delay the caller. If the hook panics or ends its goroutine, the Queue goes on with the
// next event. The goroutine ends when the queue is empty. If 256 events wait, the Queue
// drops new events. The zero value sends nothing. A Queue is safe for concurrent use after
// Init, and must not be copied.
type Queue struct {
	mu      sync.Mutex
	hook    Hook
	waiting []event.Event
	running bool
	lost    int
}

// Init sets the hook. It must be called before the other methods.
func (q *Queue) Init(h Hook) { q.hook = h }

// Send adds events to the queue. It drops events if the queue is full.
func (q *Queue) Send(events ...event.Event) {
	if q.hook == nil || len(events) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(events), maxWaiting-len(q.waiting))
	q.waiting = append(q.waiting, events[:n]...)
	pending.Add(int64(n))
	q.lost += len(events) - n
	if !q.running {
		q.running = true
		go q.run()
	}
}

// Lost returns the number of lost events: those that were dropped, and those for which the
// hook did not return normally.
func (q *Queue) Lost() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

func (q *Queue) run() {
	isEmpty := false
	defer func() {
		if !isEmpty { // the hook has called runtime.Goexit
			go q.run()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.waiting, q.running, isEmpty = nil, false, true
			q.mu.Unlock()
			return
		}
		e := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		q.call(e)
	}
}

// call calls the hook. It passes a context that never ends, since the request that caused the
// event may have ended.
func (q *Queue) call(e event.Event) {
	hasReturned := false
	defer func() {
		_ = recover()
		if !hasReturned {
			q.mu.Lock()
			q.lost++
			q.mu.Unlock()
		}
		pending.Add(-1)
	}()
	q.hook(context.Background(), e)
	hasReturned = true
}
