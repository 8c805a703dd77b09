package jwtauth

import (
	"context"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// follow reads the store until Close.
func (r *Replica) follow() {
	cursor := ""
	for {
		timer := time.NewTimer(jittered(r.o.MaxLag / pollsPerLag))
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

// poll reads what the store was told since the cursor, and returns the next one: the
// same where the reading was not complete.
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
		key := storedID(id)
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
		err = fmt.Errorf("jwtauth: the store returned a cursor of %d bytes, 1 to %d are expected", len(next), maxCursor)
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
	r.told = r.told && (err != nil || age(started, time.Now()) > r.o.MaxLag)
	again := err == nil && reset && cursor != ""
	if again || err == nil && cursor == "" {
		for key := range r.own {
			r.unsent[key] = struct{}{}
		}
	}
	r.mu.Unlock()
	if err != nil {
		if before == nil {
			r.onEvent.send(r.closed, Event{Kind: RevocationsUnavailable, Err: err})
		}
		return cursor
	}
	if again {
		r.onEvent.send(r.closed, Event{Kind: RevocationsReset})
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

var errReadingStopped = fmt.Errorf("jwtauth: the store told nothing for %v", readingStopped)

// send tells the store what it does not know, unless that is under way.
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

// sendOne sends the first of what is unsent; false where there is no more to do now.
func (r *Replica) sendOne() bool {
	r.mu.Lock()
	now := r.now(time.Now())
	var key expiring.ID
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
		id = encodeID(key)
	}
	ctx, cancel := context.WithTimeout(r.closed, r.o.StoreTimeout)
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

// watch has the store read whenever it says that there is something new.
func (r *Replica) watch(w RevocationWatcher) {
	for r.closed.Err() == nil {
		_ = w.Watch(r.closed, r.changed) // what it cannot push, polling finds
		r.changed()
		select {
		case <-time.After(jittered(watchBackoff)):
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
