package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/jitter"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// keepReading reads the store until Close.
func (r *Replica) keepReading() {
	cursor := ""
	for {
		timer := time.NewTimer(jitter.Of(r.o.MaxLag / pollsPerLag))
		cursor = r.poll(cursor)
		select {
		case <-r.poke:
		case <-timer.C:
		case <-r.closed.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// poll reads the entries since the cursor, and returns the next cursor: the same one if
// the reading was not complete.
func (r *Replica) poll(cursor string) string {
	ctx, cancel := context.WithCancelCause(r.closed)
	defer cancel(nil)
	watchdog := time.AfterFunc(readingStopped, func() { cancel(errReadingStopped) })
	defer watchdog.Stop()
	started := time.Now()
	began := r.now(started)
	r.ids.Sweep(began)
	r.ids.MakeRoom(began)
	full := false
	n := 0
	next, reset, err := r.store.Since(ctx, cursor, func(id string, until time.Time) {
		if n++; n%1024 == 0 {
			watchdog.Reset(readingStopped)
		}
		key := revoked.Parse(id)
		if began.Before(until) && !r.ids.Add(&key, until, began) {
			full = true
		}
	})
	switch {
	case r.closed.Err() != nil:
		return cursor
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && full:
		err = errReplicaFull
	case err == nil && (next == "" || len(next) > maxCursor):
		err = fmt.Errorf("replica: the store returned a cursor of %d bytes, 1 to %d are expected", len(next), maxCursor)
	}
	r.mu.Lock()
	if err == nil && r.overflowed {
		for key, e := range r.own {
			if began.Before(e.until) && !r.ids.Add(&key, e.until, began) {
				err = errReplicaFull
			}
		}
		r.overflowed = err != nil
	}
	before := r.failure
	r.failure = err
	again := err == nil && reset && cursor != ""
	if again || err == nil && cursor == "" {
		for key := range r.own {
			r.unsent[key] = struct{}{}
		}
	}
	r.mu.Unlock()
	if err != nil {
		if before == nil {
			r.onEvent.Send(r.closed, event.Event{Kind: event.RevocationsUnavailable, Err: err})
		}
		return cursor
	}
	if again {
		r.onEvent.Send(r.closed, event.Event{Kind: event.RevocationsReset})
	}
	r.mu.Lock()
	if !r.overflowed {
		r.fresh.Store(&started)
	}
	r.mu.Unlock()
	select {
	case <-r.first:
	default:
		if lag := r.lag(); lag >= 0 && lag <= r.o.MaxLag {
			close(r.first)
		}
	}
	r.send()
	return next
}

var errReadingStopped = fmt.Errorf("replica: the store sent nothing for %v", readingStopped)

// send begins to send the unsent revocations to the store, unless that is under way.
func (r *Replica) send() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sending || len(r.unsent) == 0 {
		return
	}
	r.sending = true
	r.running.Go(func() {
		for r.sendOne() {
		}
	})
}

// sendOne sends one unsent revocation. It returns false if there is nothing more to do
// now.
func (r *Replica) sendOne() bool {
	r.mu.Lock()
	now := r.now(time.Now())
	var key revoked.ID
	var e ownRevocation
	for key = range r.unsent {
		delete(r.unsent, key)
		if e = r.own[key]; now.Before(e.until) {
			break
		}
		e = ownRevocation{}
	}
	if e.until.IsZero() || r.closed.Err() != nil {
		r.sending = false
		r.mu.Unlock()
		return false
	}
	r.mu.Unlock()
	id := e.text
	if id == "" {
		id = revoked.Encode(key)
	}
	ctx, cancel := context.WithTimeout(r.closed, bound.StoreTimeout)
	defer cancel()
	if err := r.store.Revoke(ctx, id, e.until); err != nil {
		r.mu.Lock()
		r.unsent[key] = struct{}{}
		r.sending = false // until the next good reading
		r.mu.Unlock()
		return false
	}
	return true
}

// watch has the store read whenever it pushes.
func (r *Replica) watch(w Watcher) {
	for r.closed.Err() == nil {
		_ = w.Watch(r.closed, r.changed) // polling finds what is not pushed
		r.changed()
		select {
		case <-time.After(jitter.Of(watchBackoff)):
		case <-r.closed.Done():
		}
	}
}

func (r *Replica) changed() {
	select {
	case r.poke <- struct{}{}:
	default: // it is to be read already
	}
}
