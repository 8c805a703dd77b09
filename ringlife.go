package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ringLife is the part of a ring that knows its keys' lives.
type ringLife struct {
	source  KeySource
	o       KeyRingOptions
	onEvent hook
	reading turn // of those who read the source
	changes turn // of those who change it

	mu       sync.Mutex // guards what follows, and the changes of KeyRing.state
	keys     keyLives
	revoked  map[string]time.Time // those that were ever seen as revoked, also where the source forgets
	phase    time.Time            // the latest time that the ring has seen
	next     time.Time            // when the source is to be read again
	asked    time.Time            // when it was last read because of a kid
	loadedAt time.Time
	failure  error
	missing  string // which keys were said to be missing
}

// askRingAgain is how long a ring does not read its source again because of kids
// that it does not know.
const askRingAgain = time.Second

// now reads the clock, in the precision that sources keep.
func (l *ringLife) now() time.Time { return l.o.Now().UTC().Truncate(time.Microsecond) }

// turn is held by one at a time.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) end() { <-t }

func (l *ringLife) send(ctx context.Context, events []Event) {
	for _, e := range events {
		l.onEvent.send(ctx, e)
	}
}

// pass is how the ring comes from one state to the next: by the time, and by what
// the source holds then. One caller reads the source; the others go on meanwhile.
func (r *KeyRing) pass(now time.Time) *ringState {
	l := r.life
	l.mu.Lock()
	var events []Event
	due, late := false, false
	if !r.state.Load().covers(now) {
		wait := l.next.Sub(now)
		if late = -wait >= l.o.ReloadEvery; late { // nobody goes on with what is that old
			l.mu.Unlock()
			r.catchUp(now)
			l.mu.Lock()
			wait = l.next.Sub(now)
		}
		if due = wait <= 0 || wait > l.o.ReloadEvery; due { // or the clock was set back
			l.next = now.Add(l.o.ReloadEvery)
		}
		events, _ = r.settle(l.keys, now) // which were good before
	}
	l.mu.Unlock()
	ctx := context.Background()
	l.send(ctx, events)
	if due {
		select {
		case l.reading <- struct{}{}:
			defer l.reading.end()
			ctx, cancel := context.WithTimeout(ctx, loadTimeout)
			defer cancel()
			r.reload(ctx)
		default: // somebody reads it already
		}
	}
	return r.state.Load()
}

// catchUp reads the source where nobody did for longer than was promised, or waits
// for the one who does.
func (r *KeyRing) catchUp(now time.Time) {
	l := r.life
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	if l.reading.take(ctx) != nil {
		return
	}
	defer l.reading.end()
	l.mu.Lock()
	late := now.Sub(l.next) >= l.o.ReloadEvery
	l.mu.Unlock()
	if late {
		r.reload(ctx)
	}
}

// reload reads the source. It is the caller's turn.
func (r *KeyRing) reload(ctx context.Context) {
	keys, err := r.life.source.Load(ctx)
	r.life.send(ctx, r.take(keys, err))
}

// ask has the source read because of a kid that the ring does not know. The error
// is that of the last reading: nobody knows then whether there is such a key.
func (r *KeyRing) ask(ctx context.Context, now time.Time, kid string) error {
	l := r.life
	l.mu.Lock()
	_, revoked := l.revoked[kid]
	l.mu.Unlock()
	if revoked {
		return nil // and is known to be no key
	}
	if err := l.reading.take(ctx); err != nil {
		return err
	}
	defer l.reading.end()
	l.mu.Lock()
	if now.Sub(l.asked).Abs() < askRingAgain {
		defer l.mu.Unlock()
		return l.failure
	}
	l.asked = now
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	r.reload(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// take makes what the source said the keys of the ring, if it is sound and safe;
// otherwise those that are there stay.
func (r *KeyRing) take(keys []StoredKey, err error) []Event {
	l := r.life
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	l.next = now.Add(l.o.ReloadEvery)
	l.phase = latest(l.phase, now)
	var lives keyLives
	events := r.obey(keys, now)
	var news, changes []Event
	if err == nil {
		lives, news, err = l.merge(keys)
	}
	if err == nil {
		changes, err = r.settle(lives, now)
	}
	if l.failure = err; err != nil {
		return append(events, Event{Kind: KeysUnavailable, Err: fmt.Errorf("jwtauth: reading the keys of a ring: %w", err)})
	}
	l.loadedAt = now
	return slices.Concat(events, news, changes)
}

// obey drops the keys that the source says are revoked, also where the rest of it is
// not taken. The caller holds the lock.
func (r *KeyRing) obey(said []StoredKey, now time.Time) []Event {
	l := r.life
	keys, changed := slices.Clone(l.keys), false
	for _, k := range said {
		if k.Revoked.IsZero() {
			continue
		}
		if i := keys.find(k.ID); i >= 0 && keys[i].Revoked.IsZero() {
			l.revoked[k.ID], keys[i].Revoked, keys[i].Key, changed = k.Revoked, k.Revoked, nil, true
		}
	}
	if !changed {
		return nil
	}
	_ = keys.follow(l.o.AccessTTL, l.o.RefreshTTL)
	events, _ := r.settle(keys, now)
	return events
}

// merge checks what the source said against what the ring knows.
func (l *ringLife) merge(loaded []StoredKey) (keyLives, []Event, error) {
	if len(loaded) == 0 {
		return nil, nil, errors.New("the source holds no keys")
	}
	if len(loaded) > maxRingKeys {
		return nil, nil, fmt.Errorf("the source holds %d keys, at most %d are expected", len(loaded), maxRingKeys)
	}
	var missing []string
	keys := keyLives(slices.Clone(loaded))
	for i := range keys {
		k := &keys[i]
		if k.ID == "" {
			k.ID = k.Key.ID()
		}
		if keys[:i].find(k.ID) >= 0 {
			return nil, nil, fmt.Errorf("the key %s stands there twice", quoted(k.ID))
		}
		l.mark(keys[i : i+1])
		if !k.Revoked.IsZero() {
			continue
		}
		known := l.keys.find(k.ID)
		if k.Key == nil && !hasEnded(k.RefreshTo, l.phase) {
			if known < 0 || l.keys[known].Key == nil {
				return nil, nil, fmt.Errorf("the key %s is missing", quoted(k.ID))
			}
			k.Key = l.keys[known].Key
			missing = append(missing, k.ID)
		}
		if k.Key == nil {
			continue
		}
		half := k.Key.VerificationKey()
		if err := half.check(); err != nil {
			return nil, nil, err
		}
		if k.Algorithm == "" {
			k.Algorithm = half.Algorithm()
		}
		if k.ID != half.id || k.Algorithm != half.Algorithm() {
			return nil, nil, fmt.Errorf("the key %s (%s) is stored as %s (%s)", quoted(half.id), half.Algorithm(), quoted(k.ID), k.Algorithm)
		}
		if known >= 0 && l.keys[known].Key != nil && !half.same(l.keys[known].Key.VerificationKey()) {
			return nil, nil, fmt.Errorf("the key %s is another one than before: one kid names one key for ever", quoted(k.ID))
		}
	}
	// What was removed stays to its safe end, unless it was so long ago that the source
	// was read last that the key may have come to its end, or was revoked, since.
	asleep := !l.loadedAt.IsZero() && l.phase.Sub(l.loadedAt) >= l.goneAfter()
	for _, k := range l.keys {
		if !asleep && k.Revoked.IsZero() && k.Key != nil && keys.find(k.ID) < 0 && !hasEnded(k.RefreshTo, l.phase) {
			keys = append(keys, k)
			missing = append(missing, k.ID)
		}
	}
	if err := keys.follow(l.o.AccessTTL, l.o.RefreshTTL); err != nil {
		return nil, nil, err
	}
	for i := range keys {
		known := l.keys.find(keys[i].ID)
		if known >= 0 && !l.keys[known].SignsFrom.After(l.phase) && keys[i].SignsFrom.After(l.keys[known].SignsFrom) {
			return nil, nil, fmt.Errorf("the key %s signs since %s, and cannot begin again: verifiers may have dropped it", quoted(keys[i].ID), when(l.keys[known].SignsFrom))
		}
		isNew := known < 0 || !l.keys[known].SignsFrom.Equal(keys[i].SignsFrom)
		if len(l.keys) == 0 {
			isNew = keys[i].SignsFrom.After(l.phase) // what was done before is done
		}
		if isNew {
			if err := keys.checkLead(i, l.o.lead()); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, k := range keys {
		if !k.Revoked.IsZero() {
			l.revoked[k.ID] = k.Revoked
		}
	}
	said := fmt.Sprint(missing)
	if said == l.missing {
		missing = nil
	}
	l.missing = said
	var events []Event
	for _, id := range missing {
		events = append(events, Event{Kind: KeySkipped, Reason: "missing", KeyID: id, Err: fmt.Errorf("jwtauth: the key %s has vanished from its source; it is used to its end", quoted(id))})
	}
	return keys, events, nil
}

// settle makes keys those of the ring, and their state at that time the ring's. The
// caller holds the lock.
func (r *KeyRing) settle(keys keyLives, now time.Time) ([]Event, error) {
	l := r.life
	l.phase = latest(l.phase, now)
	old := r.state.Load()
	state := &ringState{}
	var access, refresh []*VerificationKey
	for _, k := range keys {
		if k.Key == nil || !k.Revoked.IsZero() || hasEnded(k.RefreshTo, l.phase) {
			continue
		}
		refresh = append(refresh, k.Key.VerificationKey())
		if !hasEnded(k.AccessTo, l.phase) {
			access = append(access, k.Key.VerificationKey())
		}
	}
	if i := keys.signer(l.phase); i >= 0 {
		state.signing = keys[i].Key
	}
	var before ringState
	if old != nil {
		before = *old
	}
	var err error
	if state.refresh, err = newKeyTable(refresh, before.refresh); err == nil {
		state.access, err = newKeyTable(access, state.refresh)
	}
	if err == nil {
		state.refresh, state.access = state.refresh.orOld(before.refresh), state.access.orOld(before.access)
		if state.jwks = before.jwks; state.jwks == nil || state.access != before.access {
			state.jwks, err = state.access.document(l.o.MaxAge)
		}
	}
	if err != nil {
		return nil, err
	}
	l.keys = keys
	until := l.next
	if step := keys.nextStep(l.phase); !step.IsZero() && step.Before(until) {
		until = step
	}
	const slack = time.Second // calls do not come in the order in which they read the clock
	state.since = now.Add(-slack).UnixNano()
	state.span = uint64(max(until.Sub(now)+slack, 0))
	r.state.Store(state)
	switch {
	case old == nil:
		return nil, nil
	case old.signing.ID() != state.signing.ID():
		return []Event{{Kind: KeysChanged, Reason: "signing", KeyID: state.signing.ID()}}, nil
	case old.access != state.access || old.refresh != state.refresh:
		return []Event{{Kind: KeysChanged, Reason: "accepted", KeyID: state.signing.ID()}}, nil
	}
	return nil, nil
}

// mark marks as revoked what this process knows to be, although the source does not
// say so: it could not be told, or has forgotten. The caller holds the lock.
func (l *ringLife) mark(keys []StoredKey) {
	for i := range keys {
		k := &keys[i]
		if at, ok := l.revoked[k.ID]; ok && k.Revoked.IsZero() {
			k.Revoked = at
		}
		if !k.Revoked.IsZero() {
			k.Key = nil
		}
	}
}
