package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"
)

// current implements KeySet. Where the keys are due to be fetched again, it has
// that done, and does not wait for it.
func (r *RemoteKeySet) current(now time.Time) (*keyTable, error) {
	if err := r.made(); err != nil {
		return nil, err
	}
	keys := r.keys.Load()
	if keys == nil {
		return nil, errNoKeysYet
	}
	if next := r.next.Load(); keys.isDue(next, now) && r.next.CompareAndSwap(next, math.MaxInt64) {
		r.mu.Lock()
		r.start()
		r.mu.Unlock()
	}
	if !now.Before(keys.usable) {
		return nil, errNoKeysYet
	}
	return keys.table, nil
}

// isDue says whether it is time for the next planned fetch. It is, too, where that
// lies further ahead than it can have been planned, as when the clock was set back:
// keys that their issuer has removed may not be used for as long as that.
func (k *remoteKeys) isDue(next int64, now time.Time) bool {
	most := maxBackoff
	if k != nil {
		most = max(most, k.fresh.Sub(k.at))
	}
	wait := time.Duration(next - now.UnixNano())
	return wait <= 0 || wait > most && next != math.MaxInt64
}

// grows implements KeySet.
func (r *RemoteKeySet) grows() bool { return true }

// await implements KeySet: it fetches the keys if there are none, and because of a
// kid that is not among them, unless that was done just now. Where the source gave
// no answer, nobody knows whether it has the key.
func (r *RemoteKeySet) await(ctx context.Context, now time.Time, kid string) (*keyTable, error) {
	if err := r.made(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	keys := r.keys.Load()
	usable := keys != nil && now.Before(keys.usable)
	f := r.flight
	if f == nil {
		switch {
		case now.Before(r.nextTry) && r.nextTry.Sub(now) <= maxBackoff: // or the clock was set back
			err := r.failure
			r.mu.Unlock()
			return nil, err
		case usable && (keys.table.knows(kid) || r.landedAfter(now) || !r.mayAsk(kid, now)):
			err := r.failure
			r.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return keys.table, nil
		}
		f = r.start()
	}
	r.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	return r.keys.Load().table, nil
}

// knows says whether a key has that kid, of whatever algorithm.
func (t *keyTable) knows(kid string) bool {
	return slices.ContainsFunc(t.all, func(k *VerificationKey) bool { return k.id == kid })
}

// landedAfter says whether a fetch ended since a token came: had the token been
// quicker, it would have waited for that one. The caller holds the lock.
func (r *RemoteKeySet) landedAfter(now time.Time) bool {
	since := r.landed.Sub(now)
	return since > 0 && since < askAgain // or the clock was set back
}

// mayAsk says whether the source is to be asked for a kid, and notes that it was.
// Tokens that come together may ask in another order than they read the clock in.
// The caller holds the lock.
func (r *RemoteKeySet) mayAsk(kid string, now time.Time) bool {
	hash := maphash.String(r.seed, kid)
	before := &r.askedFor[hash%uint64(len(r.askedFor))]
	if now.Sub(r.asked).Abs() < askAgain || before.hash == hash && now.Sub(before.at).Abs() < forgetKid {
		return false
	}
	r.asked, *before = now, askedKid{hash, now}
	return true
}

// start has the keys fetched, unless that is on its way. The caller holds the
// lock.
func (r *RemoteKeySet) start() *flight {
	if r.flight == nil {
		r.flight = &flight{done: make(chan struct{})}
		r.next.Store(math.MaxInt64)
		go r.run(r.flight)
	}
	return r.flight
}

// run is one fetch.
func (r *RemoteKeySet) run(f *flight) {
	ctx, cancel := context.WithTimeout(r.closed, r.o.Timeout)
	defer cancel()
	old := r.keys.Load()
	keys, skipped, err := r.fetch(ctx, old)
	now := r.o.Now()
	if said := fmt.Sprint(skipped); said == r.skipped {
		skipped = nil // as it was said before
	} else if len(skipped) > 0 {
		r.skipped = said
	}
	for _, e := range skipped {
		e.Kind, e.Issuer = KeySkipped, r.issuer
		r.onEvent.send(ctx, e)
	}
	switch {
	case err != nil:
		r.onEvent.send(ctx, Event{Kind: KeysUnavailable, Issuer: r.issuer, Err: err})
	case old == nil || keys.table != old.table:
		r.onEvent.send(ctx, Event{Kind: KeysChanged, Issuer: r.issuer})
	}
	r.mu.Lock()
	if f.err = err; err != nil {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.failure, r.nextTry = err, now.Add(jittered(r.backoff))
		r.next.Store(r.nextTry.UnixNano())
	} else {
		r.backoff, r.failure, r.nextTry = 0, nil, time.Time{}
		r.keys.Store(keys)
		r.landed = r.o.Now() // not before the keys can be seen
		r.next.Store(keys.at.Add(jittered(keys.fresh.Sub(keys.at) * 8 / 10)).UnixNano())
	}
	r.flight = nil
	close(f.done)
	r.mu.Unlock()
}

// jittered is a duration, or up to a tenth less: so that many processes that were
// started together do not ask together for ever.
func jittered(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:])
	return d - d/10*time.Duration(binary.LittleEndian.Uint16(b[:]))/(1<<16)
}

// keepFresh fetches the keys whenever they are due, until Close.
func (r *RemoteKeySet) keepFresh() {
	for {
		r.mu.Lock()
		f := r.flight
		next, now := r.next.Load(), r.o.Now()
		if f == nil && r.keys.Load().isDue(next, now) {
			f = r.start()
		}
		r.mu.Unlock()
		done, timer := (<-chan struct{})(nil), (<-chan time.Time)(nil)
		if f != nil {
			done = f.done
		} else {
			timer = time.After(min(time.Duration(next-now.UnixNano()), time.Minute)) // the clock may have been set
		}
		select {
		case <-done:
		case <-timer:
		case <-r.closed.Done():
			return
		}
	}
}
