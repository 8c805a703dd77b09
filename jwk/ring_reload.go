package jwk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/recent"
	"github.com/jwtauth-go/jwtauth/internal/steady"
)

// keeper keeps the keys of a ring that has a Source: it reads the Source and moves the
// ring from one state to the next.
type keeper struct {
	state   *atomic.Pointer[ringState] // of the ring
	source  Source
	o       RingOptions
	events  hook.Queue
	changes chan struct{} // held by the caller that changes the source

	mu       sync.Mutex // guards the following fields, and changes of state
	own      Durations  // of this process
	longest  Durations  // of this process and of the source
	unstored error      // why own is not in the source
	keys     lives
	revoked  map[string]time.Time // every key that was ever known to be revoked, also if the source forgets it
	clock    steady.Clock
	floor    time.Time            // the latest time that has certainly come: the keys never step back behind it
	at       time.Time            // the time of the state
	next     time.Time            // when the source is to be read again
	reading  *flight.Call[Stored] // the reading of the source that is under way, or nil
	asked    *recent.Set          // that the source was read because of an unknown kid
	loadedAt time.Time
	failure  error  // of the last reading
	missing  string // the keys that the last KeySkipped events were about
}

const (
	// readTimeout bounds one reading of the source.
	readTimeout = 5 * time.Second
	// askAgainAfter is how long a ring does not read its source again because of an
	// unknown kid.
	askAgainAfter = time.Second
	// maxRingKeys is how many keys a source may hold, revoked ones included.
	maxRingKeys = 100
)

// now reads the clock, in the precision that sources keep.
func (k *keeper) now() time.Time { return k.o.Now().UTC().Truncate(time.Microsecond) }

// advance moves the ring to its state at that time and returns it. If a reading of the
// source is due, one caller waits for it while the others go on with the keys that are
// there. If a reading is overdue by ReloadEvery, because the ring was idle, all wait.
// The context of a caller bounds its wait.
func (k *keeper) advance(ctx context.Context, now time.Time) (*ringState, error) {
	k.mu.Lock()
	if state := k.state.Load(); state.covers(now) { // another caller was quicker
		k.mu.Unlock()
		return state, nil
	}
	wait := k.next.Sub(now)
	overdue := -wait >= k.o.ReloadEvery
	due := wait <= 0 || wait > k.o.ReloadEvery // or the clock was set back
	var reading *flight.Call[Stored]
	if due && (overdue || !k.isReading()) {
		reading = k.startReading(ctx)
	}
	var events []event.Event
	if !overdue {
		if due {
			k.next = now.Add(k.o.ReloadEvery)
		}
		events, _ = k.install(k.keys, now) // these keys were good before
	}
	k.mu.Unlock()
	k.events.Send(events...)
	if reading == nil {
		return k.state.Load(), nil
	}
	_, _ = reading.Wait(ctx) // after a failure, the keys that are there stay in use
	if !overdue {
		return k.state.Load(), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	now = k.o.Now() // the wait took time
	if k.next.Before(now) {
		k.next = now.Add(k.o.ReloadEvery)
	}
	if !k.state.Load().covers(now) {
		events, _ = k.install(k.keys, now)
	}
	k.mu.Unlock()
	k.events.Send(events...)
	return k.state.Load(), nil
}

// setTime sets the time of the state. If the clock is set back, the time does not follow it,
// unless the clock was ahead for a moment only. The caller holds the lock.
func (k *keeper) setTime(now time.Time) {
	k.floor = latest(k.floor, k.clock.Believe(now))
	k.at = latest(k.floor, now)
}

// isReading reports whether a reading of the source is under way. The caller holds the
// lock.
func (k *keeper) isReading() bool { return k.reading != nil && !k.reading.HasEnded() }

// startReading returns the reading of the source that is under way, or starts one. It
// runs in a goroutine, which ends with it. The caller holds the lock.
func (k *keeper) startReading(ctx context.Context) *flight.Call[Stored] {
	if k.isReading() {
		return k.reading
	}
	ctx = context.WithoutCancel(ctx)
	k.reading = flight.Start(ctx, readTimeout, k.load, func(stored Stored, err error) {
		k.events.Send(k.adopt(stored, err)...)
	})
	return k.reading
}

// load reads the source, and stores the durations of this process if it lacks them.
func (k *keeper) load(ctx context.Context) (Stored, error) {
	stored, err := k.source.Load(ctx)
	if err == nil {
		stored = k.store(ctx, stored)
	}
	return stored, err
}

// store stores the durations of this process in the source, unless they are there. If that
// fails, as in a directory that cannot be written, this process respects them all the same.
func (k *keeper) store(ctx context.Context, stored Stored) Stored {
	k.mu.Lock()
	own := k.own
	k.mu.Unlock()
	longest := stored.Longest.longest(own)
	var err error
	if longest != stored.Longest {
		err = k.source.Update(ctx, func(s Stored) (Stored, error) {
			s.Longest = s.Longest.longest(own)
			return s, nil
		})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unstored = err
	return stored
}

// announce adds durations to those of this process, and stores them.
func (k *keeper) announce(d Durations) {
	k.mu.Lock()
	k.own = k.own.longest(d)
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	_ = k.readAfresh(ctx) // after a failure, the next reading stores them
}

// askForKid reads the source because of a kid that the ring does not know. An error
// means that nobody knows whether there is such a key.
func (k *keeper) askForKid(ctx context.Context, now time.Time, kid string) error {
	k.mu.Lock()
	_, revoked := k.revoked[kid]
	switch {
	case revoked:
		k.mu.Unlock()
		return nil
	case !k.isReading() && k.asked.Has("", now):
		defer k.mu.Unlock()
		return k.failure
	}
	k.asked.Add("", now)
	reading := k.startReading(ctx)
	k.mu.Unlock()
	if _, err := reading.Wait(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

// lastFailure returns why the last reading failed; nil if it was good.
func (k *keeper) lastFailure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

func (k *keeper) fillStatus(s *RingStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.LoadedAt, s.LastError, s.Longest, s.NotAnnounced = k.loadedAt, k.failure, k.longest, k.unstored
}

// adopt makes the content of the source the keys of the ring, if it is sound and safe.
// Otherwise the ring keeps its keys.
func (k *keeper) adopt(stored Stored, err error) []event.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading = nil
	keys := stored.Keys
	now := k.o.Now()
	k.next = now.Add(k.o.ReloadEvery)
	k.setTime(now)
	var merged lives
	events := k.dropRevoked(keys, now)
	var skipped, changed []event.Event
	if err == nil {
		err = stored.Longest.check()
	}
	if err == nil {
		merged, skipped, err = k.merge(stored)
	}
	if err == nil {
		changed, err = k.install(merged, now)
	}
	if k.failure = err; err != nil {
		return append(events, event.Event{Kind: event.KeysUnavailable, Err: fmt.Errorf("jwk: reading the keys of a ring: %w", err)})
	}
	k.loadedAt = now
	return slices.Concat(events, skipped, changed)
}

// dropRevoked drops the keys that are revoked in the source, also if the rest of its
// content is not adopted. The caller holds the lock.
func (k *keeper) dropRevoked(stored []StoredKey, now time.Time) []event.Event {
	keys, changed := slices.Clone(k.keys), false
	for _, s := range stored {
		if s.Revoked.IsZero() {
			continue
		}
		if i := keys.find(s.ID); i >= 0 && keys[i].Revoked.IsZero() {
			k.revoked[s.ID], keys[i].Revoked, keys[i].Key, changed = s.Revoked, s.Revoked, nil, true
		}
	}
	if !changed {
		return nil
	}
	_ = keys.deriveDates(k.longest)
	events, _ := k.install(keys, now)
	return events
}

// merge checks the content of the source against what the ring knows, and returns the
// keys that the ring should have. The caller holds the lock.
func (k *keeper) merge(stored Stored) (lives, []event.Event, error) {
	loaded := stored.Keys
	k.longest = k.own.longest(stored.Longest)
	if len(loaded) == 0 {
		return nil, nil, errors.New("the source holds no keys")
	}
	if len(loaded) > maxRingKeys {
		return nil, nil, fmt.Errorf("the source holds %d keys, at most %d are expected", len(loaded), maxRingKeys)
	}
	keys := lives(slices.Clone(loaded))
	var missing []string
	for i := range keys {
		isMissing, err := k.complete(keys, i)
		if err != nil {
			return nil, nil, err
		}
		if isMissing {
			missing = append(missing, keys[i].ID)
		}
	}
	// A key that was removed stays until its safe end, unless the source was last read
	// so long ago that the key may have been revoked, or may have ended, in between.
	asleep := !k.loadedAt.IsZero() && k.at.Sub(k.loadedAt) >= k.forgetAfter()
	for _, known := range k.keys {
		if !asleep && known.Revoked.IsZero() && known.Key != nil && keys.find(known.ID) < 0 && !hasPassed(known.RefreshTo, k.at) {
			keys = append(keys, known)
			missing = append(missing, known.ID)
		}
	}
	if err := keys.deriveDates(k.longest); err != nil {
		return nil, nil, err
	}
	lead := stored.Longest.lead()
	if stored.Longest == (Durations{}) { // nobody announced a value when the step was made
		lead = k.own.lead()
	}
	if err := k.checkSteps(keys, lead); err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		if !key.Revoked.IsZero() {
			k.revoked[key.ID] = key.Revoked
		}
	}
	return keys, k.missingEvents(missing), nil
}

// complete checks the key at index i of the content of the source, and fills in what
// the ring knows of it. isMissing means that the source has lost the key itself, and
// that the ring goes on with the one that it has read before.
func (k *keeper) complete(keys lives, i int) (isMissing bool, err error) {
	key := &keys[i]
	if key.ID == "" {
		key.ID = key.Key.ID()
	}
	if keys[:i].find(key.ID) >= 0 {
		return false, fmt.Errorf("the key %s stands there twice", errtext.Quote(key.ID))
	}
	k.markRevoked(keys[i : i+1])
	if !key.Revoked.IsZero() {
		return false, nil
	}
	var before *SigningKey
	if known := k.keys.find(key.ID); known >= 0 {
		before = k.keys[known].Key
	}
	if key.Key == nil && !hasPassed(key.RefreshTo, k.at) {
		if before == nil {
			return false, fmt.Errorf("the key %s is missing", errtext.Quote(key.ID))
		}
		key.Key, isMissing = before, true
	}
	if key.Key == nil {
		return false, nil
	}
	half := key.Key.Verification()
	if err := half.check(); err != nil {
		return false, err
	}
	if key.Algorithm == "" {
		key.Algorithm = half.Algorithm()
	}
	if key.ID != half.ID() || key.Algorithm != half.Algorithm() {
		return false, fmt.Errorf("the key %s (%s) is stored as %s (%s)", errtext.Quote(half.ID()), half.Algorithm(), errtext.Quote(key.ID), key.Algorithm)
	}
	if before != nil && !half.key.Same(before.half.key) {
		return false, fmt.Errorf("the key %s is another one than before: one kid names one key for ever", errtext.Quote(key.ID))
	}
	return isMissing, nil
}

// checkSteps refuses dates that would make verifiers refuse good tokens. A key that signs
// already is taken as it is: to refuse it would only make more tokens be refused. The caller
// holds the lock.
func (k *keeper) checkSteps(keys lives, lead time.Duration) error {
	for i := range keys {
		known := k.keys.find(keys[i].ID)
		if known >= 0 && !k.keys[known].SignsFrom.After(k.at) && keys[i].SignsFrom.After(k.keys[known].SignsFrom) {
			return fmt.Errorf("the key %s signs since %s, and cannot begin again: verifiers may have dropped it", errtext.Quote(keys[i].ID), errtext.Time(k.keys[known].SignsFrom))
		}
		isNew := known < 0 || !k.keys[known].SignsFrom.Equal(keys[i].SignsFrom)
		if isNew && keys[i].SignsFrom.After(k.at) {
			if err := keys.checkLead(i, lead); err != nil {
				return err
			}
		}
	}
	return nil
}

// missingEvents returns the events about keys that are missing, unless the last
// reading found the same ones missing. The caller holds the lock.
func (k *keeper) missingEvents(ids []string) (events []event.Event) {
	text := fmt.Sprint(ids)
	if text == k.missing {
		return nil
	}
	k.missing = text
	for _, id := range ids {
		events = append(events, event.Event{Kind: event.KeySkipped, Reason: "missing", KeyID: id, Err: fmt.Errorf("jwk: the key %s has vanished from its source; it is used until its end", errtext.Quote(id))})
	}
	return events
}

// install makes keys the keys of the ring, and their state at that time the state of
// the ring. The caller holds the lock.
func (k *keeper) install(keys lives, now time.Time) ([]event.Event, error) {
	k.setTime(now)
	old := k.state.Load()
	before := old
	if before == nil {
		before = new(ringState)
	}
	state := &ringState{}
	var access, refresh []*keyset.Key
	for _, key := range keys {
		if key.Key == nil || !key.Revoked.IsZero() || hasPassed(key.RefreshTo, k.at) {
			continue
		}
		refresh = append(refresh, key.Key.half.key)
		if !hasPassed(key.AccessTo, k.at) {
			access = append(access, key.Key.half.key)
		}
	}
	if i := keys.signerAt(k.at); i >= 0 && keys[i].Key != nil {
		state.signer = keys[i].Key.signer
	}
	var err error
	if state.refresh, err = keyset.NewTable(refresh, before.refresh); err != nil {
		return nil, err
	}
	for i, key := range access { // the same objects, so that a key has one in both tables
		access[i] = state.refresh.Find(key.Alg.Name, key.ID, true)
	}
	if state.access, err = keyset.NewTable(access, before.access); err != nil {
		return nil, err
	}
	if state.jwks = before.jwks; state.jwks == nil || state.access != before.access {
		if state.jwks, err = newDocument(state.access, k.o.MaxAge); err != nil {
			return nil, err
		}
	}
	k.keys = keys
	until := k.next
	if step := keys.nextStep(k.at); !step.IsZero() && step.Before(until) {
		until = step
	}
	const slack = time.Second // calls do not come in the order in which they read the clock
	state.since = now.Add(-slack).UnixNano()
	state.span = uint64(max(until.Sub(now)+slack, 0))
	k.state.Store(state)
	changed := event.Event{Kind: event.KeysChanged, KeyID: state.signingID()}
	switch {
	case old == nil:
		return nil, nil
	case old.signingID() != state.signingID():
		changed.Reason = "signing"
	case old.access != state.access || old.refresh != state.refresh:
		changed.Reason = "accepted"
	default:
		return nil, nil
	}
	return []event.Event{changed}, nil
}

// markRevoked marks the keys that this process knows to be revoked although the source
// does not: it could not be changed, or it has forgotten. The caller holds the lock.
func (k *keeper) markRevoked(keys []StoredKey) {
	for i := range keys {
		key := &keys[i]
		if at, ok := k.revoked[key.ID]; ok && key.Revoked.IsZero() {
			key.Revoked = at
		}
		if !key.Revoked.IsZero() {
			key.Key = nil
		}
	}
}
