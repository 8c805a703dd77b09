package jwk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/jitter"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// The pauses between the fetches of a Remote.
const (
	// anyKidPause is the minimum pause between two fetches that unknown kids or bad
	// signatures have caused. sameKidPause is the minimum pause between two fetches for the
	// same unknown kid.
	anyKidPause  = 10 * time.Second
	sameKidPause = 30 * time.Second
	// refetchPause is the minimum pause between two fetches that Refetch has started.
	refetchPause = 10 * time.Second
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
		r.startPlannedFetch()
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
	longest := max(maxBackoff, maxRetryAfter)
	if k != nil {
		longest = max(longest, k.freshTo.Sub(k.fetchStart))
	}
	wait := time.Duration(next - now.UnixNano())
	return wait <= 0 || wait > longest && next != math.MaxInt64
}

func (r *Remote) ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	r.mu.Lock()
	keys := r.keys.Load()
	fetch := r.fetching
	if fetch == nil {
		switch usable := keys != nil && now.Before(keys.usableTo); {
		case r.mustWait(now):
			err := r.failure
			r.mu.Unlock()
			return nil, err
		case !usable:
			fetch = r.startPlannedFetch()
		case r.hasFetchedSince(now) || !r.reserveFetch(kid, now):
			err := r.failure
			r.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return keys.table, nil
		default:
			fetch = r.startFetch()
		}
	}
	r.mu.Unlock()
	return waitForTable(ctx, fetch)
}

func waitForTable(ctx context.Context, fetch *flight.Call[*fetchedKeys]) (*keyset.Table, error) {
	keys, err := fetch.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return keys.table, nil
}

// askForReplacement fetches the keys because a token has a bad signature under each of the
// doubted keys, unless that brings nothing new. If no fetch is allowed, it returns the present
// keys.
func (r *Remote) askForReplacement(ctx context.Context, now time.Time, doubted []*keyset.Key) (*keyset.Table, error) {
	r.mu.Lock()
	fetch := r.fetching
	if fetch == nil {
		keys := r.keys.Load()
		isReplaced := slices.ContainsFunc(doubted, func(k *keyset.Key) bool { return !keys.table.Has(k, true) })
		if isReplaced || r.mustWait(now) || r.hasFetchedSince(now) || !r.reserveFetchOf(doubted, now) {
			r.mu.Unlock()
			return keys.table, nil
		}
		fetch = r.startFetch()
	}
	r.mu.Unlock()
	return waitForTable(ctx, fetch)
}

// refetch fetches the keys for Refetch.
func (r *Remote) refetch(ctx context.Context) error {
	r.mu.Lock()
	fetch, now := r.fetching, r.o.Now()
	if fetch == nil {
		switch {
		case r.sourceSaysWait && r.mustWait(now):
			err := r.failure
			r.mu.Unlock()
			return err
		case r.recentRefetch.Has("", now):
			r.mu.Unlock()
			return fmt.Errorf("jwk: Refetch has fetched the keys less than %v ago; call it later", refetchPause)
		}
		r.recentRefetch.Add("", now)
		fetch = r.startPlannedFetch()
	}
	r.mu.Unlock()
	_, err := fetch.Wait(ctx)
	return err
}

// mustWait reports whether the last fetch has failed so recently that no fetch may begin. If
// nextTry is much further ahead than it was planned, the clock was set back. A request may have
// read the clock some seconds before the fetch failed. The caller holds the lock.
func (r *Remote) mustWait(now time.Time) bool {
	return now.Before(r.nextTry) && r.nextTry.Sub(now) <= r.wait+maxBackoff
}

// hasFetchedSince reports whether a fetch ended after the time now, at which a token came.
// Another fetch for this token would bring nothing new. The caller holds the lock.
func (r *Remote) hasFetchedSince(now time.Time) bool {
	since := r.lastFetchEnd.Sub(now)
	return since > 0 && since < anyKidPause // more than anyKidPause means that the clock was set back
}

// reserveFetch reports whether a token with a kid may cause a fetch now. The kid is unknown,
// or its keys have another algorithm. If reserveFetch returns true, it has recorded the fetch,
// which the caller must start. The caller holds the lock.
func (r *Remote) reserveFetch(kid string, now time.Time) bool {
	if known := r.keys.Load().table.WithID(kid); len(known) > 0 {
		return r.reserveFetchOf(known, now)
	}
	if r.recentForAnyKid.Has("", now) || r.recentForKid.Has(kid, now) {
		return false
	}
	r.recentForAnyKid.Add("", now)
	r.recentForKid.Add(kid, now)
	return true
}

// reserveFetchOf is reserveFetch for a token that does not fit the doubted keys. No second
// fetch is allowed if one has brought back all of them, until the next planned fetch.
func (r *Remote) reserveFetchOf(doubted []*keyset.Key, now time.Time) bool {
	isConfirmed := func(k *keyset.Key) bool { _, ok := r.confirmed[k]; return ok }
	if r.recentForAnyKid.Has("", now) || !slices.ContainsFunc(doubted, func(k *keyset.Key) bool { return !isConfirmed(k) }) {
		return false
	}
	r.recentForAnyKid.Add("", now)
	r.doubted = doubted
	return true
}

// startPlannedFetch starts a fetch that no kid and no signature has caused. The caller holds
// the lock.
func (r *Remote) startPlannedFetch() *flight.Call[*fetchedKeys] {
	clear(r.confirmed)
	return r.startFetch()
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
	keys.answer.body = "" // to free its memory
	if answer.unchanged {
		keys.implied = old.implied
		return keys, nil
	}
	parsed, err := parseSet(answer.body, known, r.algorithms)
	if err != nil {
		err = fmt.Errorf("jwk: the JWK Set of %s: %w", errtext.URL(answer.url), err)
	}
	keys.table, keys.implied, keys.skipped = parsed.table, parsed.implied, parsed.skipped
	return keys, err
}

// finishFetch installs the keys of a fetch, and plans the next fetch. Then it sends the
// events. If the fetch has failed, the present keys stay.
func (r *Remote) finishFetch(keys *fetchedKeys, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.report(r.keys.Load(), keys, err)
	r.fetching = nil
	doubted := r.doubted
	r.doubted = nil
	if err != nil {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.wait, r.sourceSaysWait = jitter.Of(r.backoff), false
		if status, ok := errors.AsType[*statusError](err); ok && status.retryAfter > 0 {
			r.wait, r.sourceSaysWait = max(r.wait, status.retryAfter), true
		}
		r.failure, r.nextTry = err, r.o.Now().Add(r.wait)
		r.next.Store(r.nextTry.UnixNano())
		return
	}
	r.backoff, r.failure, r.nextTry = 0, nil, time.Time{}
	for _, k := range doubted {
		r.confirmed[k] = struct{}{}
	}
	maps.DeleteFunc(r.confirmed, func(k *keyset.Key, _ struct{}) bool { return !keys.table.Has(k, true) })
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
			fetch = r.startPlannedFetch()
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
