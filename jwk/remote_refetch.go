package jwk

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/jitter"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// When a Remote fetches.
const (
	// askAnyAgainAfter is how long a Remote does not fetch again because of an unknown
	// kid; askSameAgainAfter is the same for one kid.
	askAnyAgainAfter  = 10 * time.Second
	askSameAgainAfter = 30 * time.Second
	// After a failure it waits (exponential backoff).
	minBackoff, maxBackoff = time.Second, time.Minute
)

func (r *Remote) current(now time.Time) (*keyset.Table, error) {
	keys := r.keys.Load()
	if keys == nil {
		return nil, errNoKeysYet
	}
	if next := r.next.Load(); keys.isDue(next, now) && r.next.CompareAndSwap(next, math.MaxInt64) {
		r.mu.Lock()
		r.startFetch()
		r.mu.Unlock()
	}
	if !now.Before(keys.usable) {
		return nil, errNoKeysYet
	}
	return keys.table, nil
}

// isDue reports whether it is time for the next planned fetch. It also reports true if
// that time is further ahead than it can have been planned, because the clock was set
// back: keys that their issuer has removed must not be used for so long.
func (k *fetchedKeys) isDue(next int64, now time.Time) bool {
	longest := maxBackoff
	if k != nil {
		longest = max(longest, k.fresh.Sub(k.at))
	}
	wait := time.Duration(next - now.UnixNano())
	return wait <= 0 || wait > longest && next != math.MaxInt64
}

func (r *Remote) ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	r.mu.Lock()
	keys := r.keys.Load()
	usable := keys != nil && now.Before(keys.usable)
	fetch := r.fetch
	if fetch == nil {
		switch {
		case now.Before(r.nextTry) && r.nextTry.Sub(now) <= maxBackoff: // otherwise the clock was set back
			err := r.failure
			r.mu.Unlock()
			return nil, err
		case usable && (keys.table.HasID(kid) || r.hasFetchedSince(now) || !r.mayAsk(kid, now)):
			err := r.failure
			r.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return keys.table, nil
		}
		fetch = r.startFetch()
	}
	r.mu.Unlock()
	keys, err := fetch.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return keys.table, nil
}

// hasFetchedSince reports whether a fetch ended since a token came: if the token had
// come earlier, it would have waited for that fetch. The caller holds the lock.
func (r *Remote) hasFetchedSince(now time.Time) bool {
	since := r.fetchedAt.Sub(now)
	return since > 0 && since < askAnyAgainAfter // otherwise the clock was set back
}

// mayAsk reports whether a fetch may be made because of a kid, and notes that it is
// made. The caller holds the lock.
func (r *Remote) mayAsk(kid string, now time.Time) bool {
	if r.askedAny.Has("", now) || r.askedSame.Has(kid, now) {
		return false
	}
	r.askedAny.Add("", now)
	r.askedSame.Add(kid, now)
	return true
}

// startFetch returns the fetch that is under way, or starts one. It runs in a
// goroutine, which ends with it. The caller holds the lock.
func (r *Remote) startFetch() *flight.Call[*fetchedKeys] {
	if r.fetch == nil {
		r.next.Store(math.MaxInt64)
		r.fetch = flight.Start(r.closed, r.o.Timeout, r.fetchKeys, r.adopt)
	}
	return r.fetch
}

// fetchKeys fetches the keys from their source. It sends no event.
func (r *Remote) fetchKeys(ctx context.Context) (*fetchedKeys, error) {
	at, old := r.o.Now(), r.keys.Load()
	var before fetched
	var known *keyset.Table
	if old != nil {
		before, known = old.answer, old.table
	}
	answer, err := r.fetcher.fetch(ctx, before)
	if err != nil {
		return nil, err
	}
	keys := &fetchedKeys{table: known, at: at, answer: answer}
	keys.fresh = at.Add(min(max(answer.fresh, r.o.MinAge), r.o.MaxAge))
	keys.usable = keys.fresh.Add(r.o.MaxStale)
	if !answer.unchanged {
		keys.table, keys.skipped, err = parseSet(answer.body, known)
		keys.answer.body = "" // it is not needed again
		if err != nil {
			err = fmt.Errorf("jwk: the JWK Set of %q: %w", answer.from, err)
		}
	}
	return keys, err
}

// adopt makes the result of a fetch the keys of the set, and plans the next fetch. The hook
// hears of it afterwards.
func (r *Remote) adopt(keys *fetchedKeys, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.report(r.keys.Load(), keys, err)
	now := r.o.Now()
	r.fetch = nil
	if err != nil {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.failure, r.nextTry = err, now.Add(jitter.Of(r.backoff))
		r.next.Store(r.nextTry.UnixNano())
		return
	}
	r.backoff, r.failure, r.nextTry = 0, nil, time.Time{}
	r.keys.Store(keys)
	r.fetchedAt = r.o.Now() // after Store: a token that came later has seen the keys
	r.next.Store(keys.at.Add(jitter.Of(keys.fresh.Sub(keys.at) * 8 / 10)).UnixNano())
}

// report sends the events of a fetch. It does not repeat what it has reported about skipped
// keys. old are the keys of before. The caller holds the lock.
func (r *Remote) report(old, keys *fetchedKeys, err error) {
	var events []event.Event
	if keys != nil {
		text := fmt.Sprint(keys.skipped)
		if text != r.skipped && len(keys.skipped) > 0 {
			r.skipped = text
			for _, e := range keys.skipped {
				e.Kind = event.KeySkipped
				events = append(events, e)
			}
		}
		keys.skipped = nil
	}
	if err != nil {
		events = append(events, event.Event{Kind: event.KeysUnavailable, Err: err})
	} else if old == nil || keys.table != old.table {
		events = append(events, event.Event{Kind: event.KeysChanged})
	}
	for i := range events {
		events[i].Issuer = r.fetcher.issuer
	}
	r.events.Send(events...)
}

// keepFresh fetches the keys whenever they are due, until Close.
func (r *Remote) keepFresh() {
	for {
		r.mu.Lock()
		fetch := r.fetch
		next, now := r.next.Load(), r.o.Now()
		if fetch == nil && r.keys.Load().isDue(next, now) {
			fetch = r.startFetch()
		}
		r.mu.Unlock()
		done, timer := (<-chan struct{})(nil), (<-chan time.Time)(nil)
		if fetch != nil {
			done = fetch.Done()
		} else {
			timer = time.After(min(time.Duration(next-now.UnixNano()), time.Minute)) // the clock may be set meanwhile
		}
		select {
		case <-done:
		case <-timer:
		case <-r.closed.Done():
			return
		}
	}
}
