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

// The pauses between the fetches of a Remote.
const (
	// anyKidPause is the minimum pause between two fetches that unknown kids have caused.
	// sameKidPause is the minimum pause between two such fetches for the same kid.
	anyKidPause  = 10 * time.Second
	sameKidPause = 30 * time.Second
	// minBackoff and maxBackoff bound the pause after a failed fetch (exponential backoff).
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
	if !now.Before(keys.usableTo) {
		return nil, errNoKeysYet
	}
	return keys.table, nil
}

// isDue reports whether the next planned fetch is due. A fetch is also due if next is too
// far ahead to have been planned. That happens if the clock was set back. Without this
// check, keys that the issuer has removed would be used for too long.
func (k *fetchedKeys) isDue(next int64, now time.Time) bool {
	longest := maxBackoff
	if k != nil {
		longest = max(longest, k.freshTo.Sub(k.fetchStart))
	}
	wait := time.Duration(next - now.UnixNano())
	return wait <= 0 || wait > longest && next != math.MaxInt64
}

func (r *Remote) ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	r.mu.Lock()
	keys := r.keys.Load()
	usable := keys != nil && now.Before(keys.usableTo)
	fetch := r.fetching
	if fetch == nil {
		switch {
		case now.Before(r.nextTry) && r.nextTry.Sub(now) <= maxBackoff: // more than maxBackoff means that the clock was set back
			err := r.failure
			r.mu.Unlock()
			return nil, err
		case usable && (keys.table.HasID(kid) || r.hasFetchedSince(now) || !r.reserveFetch(kid, now)):
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

// hasFetchedSince reports whether a fetch ended after the time now, at which a token came.
// Another fetch for this token would bring nothing new. The caller holds the lock.
func (r *Remote) hasFetchedSince(now time.Time) bool {
	since := r.lastFetchEnd.Sub(now)
	return since > 0 && since < anyKidPause // more than anyKidPause means that the clock was set back
}

// reserveFetch reports whether an unknown kid may cause a fetch now. If so, it records the
// fetch, which the caller must start. The caller holds the lock.
func (r *Remote) reserveFetch(kid string, now time.Time) bool {
	if r.recentForAnyKid.Has("", now) || r.recentForKid.Has(kid, now) {
		return false
	}
	r.recentForAnyKid.Add("", now)
	r.recentForKid.Add(kid, now)
	return true
}

// startFetch joins the present fetch, or starts a new one (singleflight). A fetch runs in a
// goroutine of its own. The caller holds the lock.
func (r *Remote) startFetch() *flight.Call[*fetchedKeys] {
	if r.fetching == nil {
		r.next.Store(math.MaxInt64)
		r.fetching = flight.Start(r.closed, r.o.Timeout, r.fetchKeys, r.finishFetch)
	}
	return r.fetching
}

// fetchKeys fetches and parses the keys. It does not install them and sends no event.
func (r *Remote) fetchKeys(ctx context.Context) (*fetchedKeys, error) {
	at, old := r.o.Now(), r.keys.Load()
	var before fetchAnswer
	var known *keyset.Table
	if old != nil {
		before, known = old.answer, old.table
	}
	answer, err := r.fetcher.fetch(ctx, before)
	if err != nil {
		return nil, err
	}
	keys := &fetchedKeys{table: known, fetchStart: at, answer: answer}
	keys.freshTo = at.Add(min(max(answer.freshFor, r.o.MinAge), r.o.MaxAge))
	keys.usableTo = keys.freshTo.Add(r.o.MaxStale)
	if !answer.unchanged {
		keys.table, keys.skipped, err = parseSet(answer.body, known)
		keys.answer.body = "" // to free its memory
		if err != nil {
			err = fmt.Errorf("jwk: the JWK Set of %q: %w", answer.url, err)
		}
	}
	return keys, err
}

// finishFetch installs the keys of a fetch, and plans the next fetch. Then it sends the
// events. If the fetch has failed, the present keys stay.
func (r *Remote) finishFetch(keys *fetchedKeys, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.report(r.keys.Load(), keys, err)
	r.fetching = nil
	now := r.o.Now()
	if err != nil {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.failure, r.nextTry = err, now.Add(jitter.Of(r.backoff))
		r.next.Store(r.nextTry.UnixNano())
		return
	}
	r.backoff, r.failure, r.nextTry = 0, nil, time.Time{}
	r.keys.Store(keys)
	r.lastFetchEnd = r.o.Now() // set after Store, so a token that comes later uses the new keys
	r.next.Store(keys.fetchStart.Add(jitter.Of(keys.freshTo.Sub(keys.fetchStart) * 8 / 10)).UnixNano())
}

// report sends the events of a fetch. old are the keys before the fetch. KeySkipped is sent
// only if the skipped keys are not the same as those of the last JWK Set. The caller holds the
// lock.
func (r *Remote) report(old, keys *fetchedKeys, err error) {
	var events []event.Event
	if keys != nil && !keys.answer.unchanged {
		if fmt.Sprint(keys.skipped) != fmt.Sprint(r.skipped) {
			for _, e := range keys.skipped {
				e.Kind = event.KeySkipped
				events = append(events, e)
			}
		}
		r.skipped, keys.skipped = keys.skipped, nil
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

// keepFresh fetches the keys whenever a fetch is due, until Close.
func (r *Remote) keepFresh() {
	for {
		r.mu.Lock()
		fetch := r.fetching
		next, now := r.next.Load(), r.o.Now()
		if fetch == nil && r.keys.Load().isDue(next, now) {
			fetch = r.startFetch()
		}
		r.mu.Unlock()
		done, timer := (<-chan struct{})(nil), (<-chan time.Time)(nil)
		if fetch != nil {
			done = fetch.Done()
		} else {
			timer = time.After(min(time.Duration(next-now.UnixNano()), time.Minute)) // at most a minute, since the clock may be set meanwhile
		}
		select {
		case <-done:
		case <-timer:
		case <-r.closed.Done():
			return
		}
	}
}
