package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/fault"
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
		case <-r.pollNow:
		case <-timer.C:
		case <-r.closed.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// poll reads the entries since cursor into the copy, and returns the next cursor. If the
// reading was not complete, it returns cursor again.
func (r *Replica) poll(cursor string) string {
	started := time.Now()
	began := r.now(started)
	if r.wasSetBack(began) {
		cursor = ""
	}
	next, reset, err := r.readLog(cursor, began)
	if r.closed.Err() != nil {
		return cursor
	}
	wasReset := err == nil && reset && cursor != ""
	events := r.nearlyFullEvents()
	r.mu.Lock()
	before := r.lastError
	r.lastError = err
	if wasReset || err == nil && cursor == "" {
		for key := range r.ownRevocations {
			r.unsent[key] = struct{}{}
		}
	}
	r.mu.Unlock()
	if err != nil {
		if before == nil {
			events = append(events, event.Event{Kind: event.RevocationsUnavailable, Err: err})
		}
		r.events.Send(events...)
		return cursor
	}
	if wasReset {
		events = append(events, event.Event{Kind: event.RevocationsReset})
	}
	r.lastReadStart.Store(&started)
	select {
	case <-r.firstReadDone:
	default:
		if lag := r.lag(); lag >= 0 && lag <= r.o.MaxLag {
			close(r.firstReadDone)
		}
	}
	r.events.Send(events...)
	r.startSending()
	return next
}

// wasSetBack reports whether the clock is more than a minute behind the time of an earlier
// reading. Entries that had ended at the earlier time may be alive, so the whole store must
// be read again.
func (r *Replica) wasSetBack(began time.Time) bool {
	now := r.ids.Confirm(began) // called in each reading, since more than a minute without a call would look like a jump
	isBehind := now.Before(r.latestTime.Add(-bound.Skew))
	if isBehind || now.After(r.latestTime) {
		r.latestTime = now
	}
	return isBehind
}

// readLog calls Since of the store and adds the entries to the copy. began is the time of
// Options.Now at the start of the reading.
func (r *Replica) readLog(cursor string, began time.Time) (next string, reset bool, err error) {
	ctx, cancel := context.WithCancelCause(r.closed)
	defer cancel(nil)
	patience := max(r.o.MaxLag, bound.StoreTimeout)
	watchdog := time.AfterFunc(patience, func() { cancel(errReadingStopped) })
	defer watchdog.Stop()
	for r.ids.Sweep(began) {
	}
	r.ids.MakeRoom(began, 0)
	full, n := false, 0
	err = fault.Recover(func() (err error) {
		next, reset, err = r.store.Since(ctx, cursor, func(id string, until time.Time) {
			if n++; n == 1 || n%1024 == 0 {
				watchdog.Reset(entryTimeout)
			}
			key := revoked.Parse(id)
			full = !r.ids.Add(&key, until, began) || full
		})
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && full:
		err = errors.New("replica: there are more revocations than Options.MaxEntries")
	case err == nil && (next == "" || len(next) > maxCursor):
		err = fmt.Errorf("replica: the store returned a cursor of %d bytes, 1 to %d are expected", len(next), maxCursor)
	}
	return next, reset, err
}

// nearlyFullEvents returns RevocationsNearlyFull if the copy has 80 percent of MaxEntries. After
// that, it returns nothing until the copy has had less than 70 percent.
func (r *Replica) nearlyFullEvents() []event.Event {
	n, limit := int64(r.ids.Len()), int64(r.o.MaxEntries)
	switch {
	case r.isNearlyFull && 10*n < 7*limit:
		r.isNearlyFull = false
	case !r.isNearlyFull && 10*n >= 8*limit:
		r.isNearlyFull = true
		err := fmt.Errorf("replica: %d revocations of at most %d: raise Options.MaxEntries", n, limit)
		return []event.Event{{Kind: event.RevocationsNearlyFull, Err: err}}
	}
	return nil
}

var errReadingStopped = errors.New("replica: the store sent its revocations too slowly, or stopped sending")

// startSending starts a goroutine that sends the unsent revocations to the store, unless
// one is running.
func (r *Replica) startSending() {
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

// sendOne sends one unsent revocation. It returns false if there are no more, if the store
// fails, or after Close.
func (r *Replica) sendOne() bool {
	r.mu.Lock()
	now := r.ids.Confirm(r.now(time.Now()))
	var key revoked.ID
	var e ownRevocation
	for key = range r.unsent {
		delete(r.unsent, key)
		if e = r.ownRevocations[key]; now.Before(e.until) {
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
	if err := fault.Recover(func() error { return r.store.Revoke(ctx, id, e.until) }); err != nil {
		r.mu.Lock()
		r.unsent[key] = struct{}{}
		r.sending = false // the next successful reading starts the sending again
		r.mu.Unlock()
		return false
	}
	return true
}

// watch requests a poll whenever the store pushes. If watching fails, it starts again.
func (r *Replica) watch(w Watcher) {
	reported := false
	for r.closed.Err() == nil {
		began := time.Now()
		err := fault.Recover(func() error { return w.Watch(r.closed, r.requestPoll) })
		r.requestPoll() // polling finds what was not pushed
		if time.Since(began) >= watchIsSteady {
			reported = false
		}
		if err != nil && !reported && r.closed.Err() == nil {
			reported = true
			r.events.Send(event.Event{Kind: event.RevocationsNotPushed, Err: err})
		}
		select {
		case <-time.After(jitter.Of(watchBackoff)):
		case <-r.closed.Done():
		}
	}
}

func (r *Replica) requestPoll() {
	select {
	case r.pollNow <- struct{}{}:
	default: // a poll is requested already
	}
}
