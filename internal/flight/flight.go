// Package flight runs a function once for many callers that wait for its result
// (singleflight). The code that starts a Call decides which callers share it, and when to
// start the next one.
package flight

import (
	"context"
	"errors"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/fault"
)

// patience is how long Wait waits after the time-out of a call. Within this time, a function
// that honors its context returns its own error, which says more than a time-out.
const patience = 100 * time.Millisecond

// Call is one run of a function. It is safe for concurrent use.
type Call[V any] struct {
	done  chan struct{}
	late  <-chan struct{}
	value V
	err   error
}

// Start runs f in a goroutine. The context of f is derived from parent and ends after
// timeout. parent must not be the context of a single caller, since a cancelled caller must
// not end the call for the others. A panic of f becomes the error of the call.
//
// After f has returned, Start passes the result to deliver, and only then to the callers
// that wait. A panic of deliver is ignored.
func Start[V any](parent context.Context, timeout time.Duration, f func(ctx context.Context) (V, error), deliver func(V, error)) *Call[V] {
	bounded, cancel := context.WithTimeout(parent, timeout)
	late, lateCancel := context.WithTimeout(context.WithoutCancel(parent), timeout+patience)
	c := &Call[V]{done: make(chan struct{}), late: late.Done()}
	go func() {
		defer lateCancel()
		defer cancel()
		defer close(c.done)
		defer c.finish(deliver)
		c.err = errNoReturn
		c.value, c.err = f(bounded)
	}()
	return c
}

var errNoReturn = errors.New("the call did not return")

// finish recovers a panic of f and passes the result to deliver.
func (c *Call[V]) finish(deliver func(V, error)) {
	if p := recover(); p != nil {
		c.err = fault.Panicked(p)
	}
	defer func() { _ = recover() }()
	deliver(c.value, c.err)
}

// Done is closed when the call has ended.
func (c *Call[V]) Done() <-chan struct{} { return c.done }

// HasEnded reports whether the call has ended.
func (c *Call[V]) HasEnded() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Wait waits for the result of the call and returns it. If ctx ends first, Wait returns
// ctx.Err(). If the time-out of the call plus patience has passed, it returns
// context.DeadlineExceeded.
func (c *Call[V]) Wait(ctx context.Context) (V, error) {
	var none V
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-c.late:
	}
	select {
	case <-c.done: // the call has ended, which also closes late
		return c.value, c.err
	default:
		return none, context.DeadlineExceeded
	}
}
