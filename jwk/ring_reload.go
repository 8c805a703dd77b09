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

// keeper manages the keys of a ring that has a Source. It reads and changes the Source, and
// sets the state of the ring.
type keeper struct {
	state      *atomic.Pointer[ringState] // of the ring
	source     Source
	o          RingOptions
	events     hook.Queue
	changeLock chan struct{} // a mutex for changes of the source; holds one element while it is locked

	mu              sync.Mutex // guards the following fields, and changes of state
	ownDurations    Durations  // the durations of this process
	longest         Durations  // the longer values of ownDurations and of the source
	announceErr     error      // the error of writing ownDurations into the source, or nil
	keys            ringKeys
	revoked         map[string]time.Time // all revocations that this process has seen, by kid
	clock           steady.Clock         // detects a clock that is ahead for a moment only
	certainTime     time.Time            // the latest time that has certainly come
	stateTime       time.Time            // the time for which the state was computed
	nextReading     time.Time            // when the next reading of the source is due
	reading         *flight.Call[Stored] // the present reading of the source, or nil
	recentForKid    *recent.Set          // has an element if an unknown kid has caused a reading recently
	loadedAt        time.Time            // when the source was last read successfully
	failure         error                // the error of the last reading, or nil
	reportedMissing string               // the missing keys for which KeySkipped was last sent
}

const (
	// readTimeout bounds one reading of the source.
	readTimeout = 5 * time.Second
	// unknownKidPause is the minimum pause between two readings of the source that unknown
	// kids have caused.
	unknownKidPause = time.Second
	// maxRingKeys is the maximum number of keys in a source, including revoked keys.
	maxRingKeys = 100
)

// now reads the clock and cuts the time to microseconds, the precision of stored dates.
func (k *keeper) now() time.Time { return k.o.Now().UTC().Truncate(time.Microsecond) }

// advance sets the state of the ring for the time now, and returns the state. If a reading
// of the source is due, one caller waits for the reading, and other callers use the present
// keys. If a reading is overdue by ReloadEvery, because the ring was idle, all callers
// wait. ctx bounds the wait of the caller.
func (k *keeper) advance(ctx context.Context, now time.Time) (*ringState, error) {
	k.mu.Lock()
	if state := k.state.Load(); state.covers(now) { // another caller was quicker
		k.mu.Unlock()
		return state, nil
	}
	wait := k.nextReading.Sub(now)
	overdue := -wait >= k.o.ReloadEvery
	due := wait <= 0 || wait > k.o.ReloadEvery // a longer wait means that the clock was set back
	var reading *flight.Call[Stored]
	if due && (overdue || !k.isReading()) {
		reading = k.startReading(ctx)
	}
	var events []event.Event
	if !overdue {
		if due {
			k.nextReading = now.Add(k.o.ReloadEvery)
		}
		events, _ = k.installKeys(k.keys, now) // no error, since these keys are installed already
	}
	k.mu.Unlock()
	k.events.Send(events...)
	if reading == nil {
		return k.state.Load(), nil
	}
	_, _ = reading.Wait(ctx) // after a failure, the present keys stay in use
	if !overdue {
		return k.state.Load(), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	now = k.o.Now() // the wait took time
	if k.nextReading.Before(now) {
		k.nextReading = now.Add(k.o.ReloadEvery)
	}
	if !k.state.Load().covers(now) {
		events, _ = k.installKeys(k.keys, now)
	}
	k.mu.Unlock()
	k.events.Send(events...)
	return k.state.Load(), nil
}

// setTime sets stateTime to now, but not to a time before certainTime. So stateTime does
// not follow a clock that is set back, unless the clock was ahead for a moment only. The
// caller holds the lock.
func (k *keeper) setTime(now time.Time) {
	k.certainTime = latest(k.certainTime, k.clock.Confirm(now))
	k.stateTime = latest(k.certainTime, now)
}

// isReading reports whether the source is being read. The caller holds the lock.
func (k *keeper) isReading() bool { return k.reading != nil && !k.reading.HasEnded() }

// startReading joins the present reading of the source, or starts a new one (singleflight).
// A reading runs in a goroutine of its own. The caller holds the lock.
func (k *keeper) startReading(ctx context.Context) *flight.Call[Stored] {
	if k.isReading() {
		return k.reading
	}
	ctx = context.WithoutCancel(ctx)
	k.reading = flight.Start(ctx, readTimeout, k.load, func(stored Stored, err error) {
		k.events.Send(k.finishReading(stored, err)...)
	})
	return k.reading
}

// load reads the source, and then writes the durations of this process into it if needed.
func (k *keeper) load(ctx context.Context) (Stored, error) {
	stored, err := k.source.Load(ctx)
	if err == nil {
		stored = k.storeDurations(ctx, stored)
	}
	return stored, err
}

// storeDurations writes the durations of this process into the source, if one of them is
// longer than the stored one. If writing fails, for example because a directory cannot be
// written, only this process applies its durations.
func (k *keeper) storeDurations(ctx context.Context, stored Stored) Stored {
	k.mu.Lock()
	own := k.ownDurations
	k.mu.Unlock()
	longest := stored.Longest.maxEach(own)
	var err error
	if longest != stored.Longest {
		err = k.source.Update(ctx, func(s Stored) (Stored, error) {
			s.Longest = s.Longest.maxEach(own)
			return s, nil
		})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.announceErr = err
	return stored
}

// announce adds d to the durations of this process, and writes them into the source.
func (k *keeper) announce(d Durations) {
	k.mu.Lock()
	k.ownDurations = k.ownDurations.maxEach(d)
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	_ = k.readAfresh(ctx) // after a failure, the next reading writes them
}

// askForKid reads the source because of a kid that the ring does not know. It does not read
// if the kid is revoked, or if the source was read for an unknown kid within
// unknownKidPause. An error means that the source could not be read, so it may have the
// key.
func (k *keeper) askForKid(ctx context.Context, now time.Time, kid string) error {
	k.mu.Lock()
	_, revoked := k.revoked[kid]
	switch {
	case revoked:
		k.mu.Unlock()
		return nil
	case !k.isReading() && k.recentForKid.Has("", now):
		defer k.mu.Unlock()
		return k.failure
	}
	k.recentForKid.Add("", now)
	reading := k.startReading(ctx)
	k.mu.Unlock()
	if _, err := reading.Wait(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

// lastFailure returns the error of the last reading, or nil.
func (k *keeper) lastFailure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

func (k *keeper) fillStatus(s *RingStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.LoadedAt, s.LastError, s.Longest, s.NotAnnounced = k.loadedAt, k.failure, k.longest, k.announceErr
}

// finishReading installs the keys that were read from the source, if they are safe.
// Otherwise the ring keeps its keys. Revoked keys are dropped in any case.
func (k *keeper) finishReading(stored Stored, err error) []event.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading = nil
	keys := stored.Keys
	now := k.o.Now()
	k.nextReading = now.Add(k.o.ReloadEvery)
	k.setTime(now)
	var merged ringKeys
	events := k.dropRevoked(keys, now)
	var skipped, changed []event.Event
	if err == nil {
		err = stored.Longest.check()
	}
	if err == nil {
		merged, skipped, err = k.mergeStored(stored)
	}
	if err == nil {
		changed, err = k.installKeys(merged, now)
	}
	if k.failure = err; err != nil {
		return append(events, event.Event{Kind: event.KeysUnavailable, Err: fmt.Errorf("jwk: reading the keys of a ring: %w", err)})
	}
	k.loadedAt = now
	return slices.Concat(events, skipped, changed)
}

// dropRevoked drops the keys that are revoked in the source. The caller holds the lock.
func (k *keeper) dropRevoked(stored []StoredKey, now time.Time) []event.Event {
	keys, changed := slices.Clone(k.keys), false
	for _, s := range stored {
		if s.Revoked.IsZero() {
			continue
		}
		if i := keys.indexOf(s.ID); i >= 0 && keys[i].Revoked.IsZero() {
			k.revoked[s.ID], keys[i].Revoked, keys[i].Key, changed = s.Revoked, s.Revoked, nil, true
		}
	}
	if !changed {
		return nil
	}
	_ = keys.deriveDates(k.longest)
	events, _ := k.installKeys(keys, now)
	return events
}

// mergeStored checks the content of the source against the present keys, and returns the
// new keys of the ring. The caller holds the lock.
func (k *keeper) mergeStored(stored Stored) (ringKeys, []event.Event, error) {
	loaded := stored.Keys
	k.longest = k.ownDurations.maxEach(stored.Longest)
	if len(loaded) == 0 {
		return nil, nil, errors.New("the source holds no keys")
	}
	if len(loaded) > maxRingKeys {
		return nil, nil, fmt.Errorf("the source holds %d keys, at most %d are expected", len(loaded), maxRingKeys)
	}
	keys := ringKeys(slices.Clone(loaded))
	var missing []string
	for i := range keys {
		isMissing, err := k.completeKey(keys, i)
		if err != nil {
			return nil, nil, err
		}
		if isMissing {
			missing = append(missing, keys[i].ID)
		}
	}
	// A key that is missing in the source stays until its end. The exception is a process
	// that has not read the source for so long that the key may have been revoked and then
	// removed.
	wasIdle := !k.loadedAt.IsZero() && k.stateTime.Sub(k.loadedAt) >= k.forgetAfter()
	for _, known := range k.keys {
		if !wasIdle && known.Revoked.IsZero() && known.Key != nil && keys.indexOf(known.ID) < 0 && !hasPassed(known.RefreshTo, k.stateTime) {
			keys = append(keys, known)
			missing = append(missing, known.ID)
		}
	}
	if err := keys.deriveDates(k.longest); err != nil {
		return nil, nil, err
	}
	lead := stored.Longest.safeLead()
	if stored.Longest == (Durations{}) { // no process had announced a duration when the dates were set
		lead = k.ownDurations.safeLead()
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

// completeKey checks the key at index i of the source. It fills in ID, Algorithm and the
// revocation of the key from the present keys of the ring. isMissing means that the source
// no longer has the key itself, and that completeKey has put the present key in its place.
func (k *keeper) completeKey(keys ringKeys, i int) (isMissing bool, err error) {
	key := &keys[i]
	if key.ID == "" {
		key.ID = key.Key.ID()
	}
	if keys[:i].indexOf(key.ID) >= 0 {
		return false, fmt.Errorf("the key %s stands there twice", errtext.Quote(key.ID))
	}
	k.markRevoked(keys[i : i+1])
	if !key.Revoked.IsZero() {
		return false, nil
	}
	var before *SigningKey
	if known := k.keys.indexOf(key.ID); known >= 0 {
		before = k.keys[known].Key
	}
	if key.Key == nil && !hasPassed(key.RefreshTo, k.stateTime) {
		if before == nil {
			return false, fmt.Errorf("the key %s is missing", errtext.Quote(key.ID))
		}
		key.Key, isMissing = before, true
	}
	if key.Key == nil {
		return false, nil
	}
	verification := key.Key.Verification()
	if err := verification.check(); err != nil {
		return false, err
	}
	if key.Algorithm == "" {
		key.Algorithm = verification.Algorithm()
	}
	if key.ID != verification.ID() || key.Algorithm != verification.Algorithm() {
		return false, fmt.Errorf("the key %s (%s) is stored as %s (%s)", errtext.Quote(verification.ID()), verification.Algorithm(), errtext.Quote(key.ID), key.Algorithm)
	}
	if before != nil && !verification.key.Same(before.verification.key) {
		return false, fmt.Errorf("the key %s is another one than before: one kid names one key for ever", errtext.Quote(key.ID))
	}
	return isMissing, nil
}

// checkSteps returns an error if with these dates verifiers would refuse valid tokens. It
// does not check the lead of a key that already signs in another process: without the key,
// this ring would refuse the tokens of that process. The caller holds the lock.
func (k *keeper) checkSteps(keys ringKeys, lead time.Duration) error {
	for i := range keys {
		known := k.keys.indexOf(keys[i].ID)
		if known >= 0 && !k.keys[known].SignsFrom.After(k.stateTime) && keys[i].SignsFrom.After(k.keys[known].SignsFrom) {
			return fmt.Errorf("the key %s signs since %s, and cannot begin again: verifiers may have dropped it", errtext.Quote(keys[i].ID), errtext.Time(k.keys[known].SignsFrom))
		}
		isNewStep := known < 0 || !k.keys[known].SignsFrom.Equal(keys[i].SignsFrom)
		if isNewStep && keys[i].SignsFrom.After(k.stateTime) {
			if err := keys.checkLead(i, lead); err != nil {
				return err
			}
		}
	}
	return nil
}

// missingEvents returns an event for each missing key, unless the same keys were missing
// at the last reading. The caller holds the lock.
func (k *keeper) missingEvents(ids []string) (events []event.Event) {
	text := fmt.Sprint(ids)
	if text == k.reportedMissing {
		return nil
	}
	k.reportedMissing = text
	for _, id := range ids {
		events = append(events, event.Event{Kind: event.KeySkipped, Reason: "missing", KeyID: id, Err: fmt.Errorf("jwk: the key %s has vanished from its source; it is used until its end", errtext.Quote(id))})
	}
	return events
}

// installKeys sets the keys of the ring, and the state of the ring for the time now. It
// returns the event that the keys have changed, if they have. The caller holds the lock.
func (k *keeper) installKeys(keys ringKeys, now time.Time) ([]event.Event, error) {
	k.setTime(now)
	old := k.state.Load()
	before := old
	if before == nil {
		before = new(ringState)
	}
	state := &ringState{}
	var access, refresh []*keyset.Key
	for _, key := range keys {
		if key.Key == nil || !key.Revoked.IsZero() || hasPassed(key.RefreshTo, k.stateTime) {
			continue
		}
		refresh = append(refresh, key.Key.verification.key)
		if !hasPassed(key.AccessTo, k.stateTime) {
			access = append(access, key.Key.verification.key)
		}
	}
	if i := keys.signerAt(k.stateTime); i >= 0 && keys[i].Key != nil {
		state.signer = keys[i].Key.signer
	}
	var err error
	if state.refresh, err = keyset.NewTable(refresh, before.refresh); err != nil {
		return nil, err
	}
	for i, key := range access { // use the objects of the other table, so each key has one object
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
	until := k.nextReading
	if step := keys.nextStep(k.stateTime); !step.IsZero() && step.Before(until) {
		until = step
	}
	const slack = time.Second // a call may have read the clock before an earlier call did
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

// markRevoked marks the keys that were revoked in this process, even if the source does not
// say so. This happens if the source could not be changed, or has lost a revocation. The
// caller holds the lock.
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
