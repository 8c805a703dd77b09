// Package flight runs a function once for many callers that wait for its result
// (singleflight). The owner of a Call decides who joins it and when the next one
// starts.
package flight

import (
	"context"
	"errors"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/fault"
)

// patience is how long callers wait beyond the time-out of a call: a function that
// honors its context returns its own error in this time.
const patience = 100 * time.Millisecond

// Call is one run of a function. It is safe for concurrent use.
type Call[V any] struct {
	done  chan struct{}
	late  <-chan struct{}
	value V
	err   error
}

// Start runs f in a goroutine, with a context that ends after timeout, or with parent:
// that must not be the context of one caller, since several wait. A panic of f becomes
// the error of the call. After f, land gets the result, before any waiter does; a panic
// of land is ignored.
func Start[V any](parent context.Context, timeout time.Duration, f func(ctx context.Context) (V, error), land func(V, error)) *Call[V] {
	bounded, cancel := context.WithTimeout(parent, timeout)
	late, lateCancel := context.WithTimeout(context.WithoutCancel(parent), timeout+patience)
	c := &Call[V]{done: make(chan struct{}), late: late.Done()}
	go func() {
		defer lateCancel()
		defer cancel()
		defer close(c.done)
		defer c.land(land)
		c.err = errNoReturn
		c.value, c.err = f(bounded)
	}()
	return c
}

var errNoReturn = errors.New("the call did not return")

// land ends a call, however its function has ended.
func (c *Call[V]) land(land func(V, error)) {
	if p := recover(); p != nil {
		c.err = fault.Panicked(p)
	}
	defer func() { _ = recover() }()
	land(c.value, c.err)
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

// Wait returns the result of the call. It returns earlier, with the error of a
// context, if ctx ends or the time-out of the call has passed.
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
	case <-c.done: // it cancels late itself
		return c.value, c.err
	default:
		return none, context.DeadlineExceeded
	}
}
