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
	announcer       announcer
	longest         Durations // the longer values of this process and of the source
	keys            ringKeys
	revoked         map[string]time.Time // all revocations that this process has seen, by kid
	clock           steady.Clock         // detects a clock that is ahead for a moment only
	floor           steady.Floor
	certainTime     time.Time            // the result of floor; stateTime is never before it
	stateTime       time.Time            // the time for which the state was computed
	nextReading     time.Time            // when the next reading of the source is due
	reading         *flight.Call[Stored] // the present reading of the source, or nil
	recentForKid    *recent.Set          // has an element if an unknown kid has caused a reading recently
	loadedAt        time.Time            // when the source was last read successfully
	failure         error                // the error of the last reading, or nil
	warning         error                // an error if verifiers may not know a signing key; returned until warnUntil
	warnUntil       time.Time
	reportedMissing string // the missing keys for which KeySkipped was last sent
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
	if !overdue {
		if due {
			k.nextReading = now.Add(k.o.ReloadEvery)
		}
		_ = k.installKeys(k.keys, now) // no error, since these keys are installed already
	}
	k.mu.Unlock()
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
		_ = k.installKeys(k.keys, now)
	}
	k.mu.Unlock()
	return k.state.Load(), nil
}

// setTime sets stateTime to now, but not to a time before certainTime. If the clock is set
// back, stateTime follows at once only if the clock was ahead for less than 10 minutes.
// Otherwise it follows after 10 minutes. The caller holds the lock.
func (k *keeper) setTime(now time.Time) {
	k.certainTime = k.floor.Advance(k.clock.Confirm(now))
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
	wasStored := k.announcer.isStored
	k.reading = flight.Start(context.WithoutCancel(ctx), readTimeout, k.source.Load, func(stored Stored, err error) {
		k.finishReading(stored, err, wasStored)
	})
	return k.reading
}

// announce adds d to the durations of this process, and writes them into the source unless
// the source has them already. It waits for at most announceTimeout. If writing fails, for
// example because a directory cannot be written, only this process applies its durations.
func (k *keeper) announce(ctx context.Context, d Durations) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	a := &k.announcer
	if own := a.own.maxEach(d); own != a.own {
		a.own, a.isStored, k.longest = own, false, k.longest.maxEach(own)
		keys := slices.Clone(k.keys)
		if keys.deriveDates(k.longest) == nil {
			_ = k.installKeys(keys, k.o.Now())
		}
	}
	a.writeAndWait(ctx, k.keys.waiting(k.stateTime))
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
	s.LoadedAt, s.LastError, s.Longest, s.NotAnnounced = k.loadedAt, k.failure, k.longest, k.announcer.err
	if s.LastError == nil && k.stateTime.Before(k.warnUntil) {
		s.LastError = k.warning
	}
}

// finishReading installs the keys that were read from the source, if they are safe.
// Otherwise the ring keeps its keys. Revoked keys are dropped in any case. wasStored means
// that the durations of this process were in the source before the reading began.
func (k *keeper) finishReading(stored Stored, err error, wasStored bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading = nil
	now := k.o.Now()
	k.nextReading = now.Add(k.o.ReloadEvery)
	k.setTime(now)
	k.dropRevoked(stored.Keys, now)
	var merged ringKeys
	if err == nil {
		err = stored.Longest.check()
	}
	if err == nil {
		merged, err = k.mergeStored(stored)
	}
	if err == nil {
		err = k.installKeys(merged, now)
	}
	if k.failure = err; err != nil {
		k.sendUnavailable(err)
		return
	}
	k.loadedAt = now
	k.announcer.afterReading(stored.Longest, wasStored, k.keys.waiting(k.stateTime))
}

// sendUnavailable sends KeysUnavailable. The caller holds the lock.
func (k *keeper) sendUnavailable(err error) {
	k.events.Send(event.Event{Kind: event.KeysUnavailable, Err: fmt.Errorf("jwk: reading the keys of a ring: %w", err)})
}

// dropRevoked drops the keys that are revoked in the source. The caller holds the lock.
func (k *keeper) dropRevoked(stored []StoredKey, now time.Time) {
	keys, changed := slices.Clone(k.keys), false
	for _, s := range stored {
		if s.Revoked.IsZero() {
			continue
		}
		if i := keys.indexOf(s.ID); i >= 0 && keys[i].Revoked.IsZero() {
			k.revoked[s.ID], keys[i].Revoked, keys[i].Key, changed = s.Revoked, s.Revoked, nil, true
		}
	}
	if changed {
		_ = keys.deriveDates(k.longest)
		_ = k.installKeys(keys, now)
	}
}

// mergeStored checks the content of the source against the present keys, and returns the
// new keys of the ring. The caller holds the lock.
func (k *keeper) mergeStored(stored Stored) (ringKeys, error) {
	loaded := stored.Keys
	k.longest = k.announcer.own.maxEach(stored.Longest)
	if len(loaded) == 0 {
		return nil, errors.New("the source holds no keys")
	}
	if len(loaded) > maxRingKeys {
		return nil, fmt.Errorf("the source holds %d keys, at most %d are expected", len(loaded), maxRingKeys)
	}
	keys := ringKeys(slices.Clone(loaded))
	var missing []string
	for i := range keys {
		isMissing, err := k.completeKey(keys, i)
		if err != nil {
			return nil, err
		}
		if isMissing {
			missing = append(missing, keys[i].ID)
		}
	}
	// A key that is missing in the source stays until its end. It is dropped only if this
	// process has not read the source for so long that the key may have been revoked and
	// then removed.
	wasIdle := !k.loadedAt.IsZero() && k.stateTime.Sub(k.loadedAt) >= k.longest.forgetAfter()
	for _, known := range k.keys {
		if !wasIdle && known.Revoked.IsZero() && known.Key != nil && keys.indexOf(known.ID) < 0 && !hasPassed(known.RefreshTo, k.stateTime) {
			keys = append(keys, known)
			missing = append(missing, known.ID)
		}
	}
	if err := keys.deriveDates(k.longest); err != nil {
		return nil, err
	}
	lead := stored.Longest.safeLead()
	if l := stored.Longest; l.MaxAge == 0 || l.Lead == 0 || l.ReloadEvery == 0 { // not announced by a Ring
		lead = max(lead, k.announcer.own.safeLead())
	}
	if err := k.checkSteps(keys, lead); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if !key.Revoked.IsZero() {
			k.revoked[key.ID] = key.Revoked
		}
	}
	k.reportMissing(missing)
	return keys, nil
}

// completeKey checks the key at index i of the source. If ID or Algorithm is empty,
// completeKey takes it from the key itself. It marks the key as revoked if this process
// knows of its revocation. isMissing means that the source no longer has the key itself,
// and that completeKey has put the present key in its place.
func (k *keeper) completeKey(keys ringKeys, i int) (isMissing bool, err error) {
	key := &keys[i]
	if key.ID == "" {
		key.ID = key.Key.ID()
	}
	if keys[:i].indexOf(key.ID) >= 0 {
		return false, fmt.Errorf("the source has two keys with the kid %s", errtext.Quote(key.ID))
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
		return false, fmt.Errorf("the key %s has changed: a kid must always name the same key", errtext.Quote(key.ID))
	}
	return isMissing, nil
}

// checkSteps returns an error if with these dates verifiers would refuse valid tokens. In two
// cases it only warns: such a key already signs in another process, or its time is enough for
// all processes but this one. If this ring rejected the key, it would refuse the tokens of the
// other processes. The caller holds the lock.
func (k *keeper) checkSteps(keys ringKeys, lead time.Duration) error {
	for i := range keys {
		known := k.keys.indexOf(keys[i].ID)
		if known >= 0 && !k.keys[known].SignsFrom.After(k.stateTime) && keys[i].SignsFrom.After(k.keys[known].SignsFrom) {
			return fmt.Errorf("the key %s has signed since %s, so its SignsFrom cannot be moved to a later time: verifiers may have dropped it", errtext.Quote(keys[i].ID), errtext.Time(k.keys[known].SignsFrom))
		}
		isNewStep := known < 0 || !k.keys[known].SignsFrom.Equal(keys[i].SignsFrom)
		if !isNewStep {
			continue
		}
		err := keys.checkLead(i, lead)
		if err != nil && keys[i].SignsFrom.After(k.stateTime) {
			return err
		}
		own := k.announcer.own.safeLead()
		if err == nil { // the source may not have the durations of this process
			err = keys.checkLead(i, own)
		}
		if err != nil && !k.loadedAt.IsZero() {
			k.warning, k.warnUntil = err, k.stateTime.Add(max(lead, own))
			k.sendUnavailable(err)
		}
	}
	return nil
}

// reportMissing sends an event for each missing key, unless the same keys were missing at
// the last reading. The caller holds the lock.
func (k *keeper) reportMissing(ids []string) {
	text := fmt.Sprint(ids)
	if text == k.reportedMissing {
		return
	}
	k.reportedMissing = text
	for _, id := range ids {
		k.events.Send(event.Event{Kind: event.KeySkipped, Reason: "missing", KeyID: id, Err: fmt.Errorf("jwk: the key %s has vanished from its source; it is used until its end", errtext.Quote(id))})
	}
}

// installKeys sets the keys of the ring, and the state of the ring for the time now. It sends
// the event that the keys have changed, if they have. The caller holds the lock.
func (k *keeper) installKeys(keys ringKeys, now time.Time) error {
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
		return err
	}
	for i, key := range access { // use the objects of the other table, so each key has one object
		access[i] = state.refresh.Find(key.Alg.Name, key.ID, true)
	}
	if state.access, err = keyset.NewTable(access, before.access); err != nil {
		return err
	}
	if state.jwks = before.jwks; state.jwks == nil || state.access != before.access {
		if state.jwks, err = newDocument(state.access, k.o.MaxAge); err != nil {
			return err
		}
	}
	k.keys = keys
	until := k.nextReading
	if step := keys.nextStep(k.stateTime); !step.IsZero() && step.Before(until) {
		until = step
	}
	const slack = time.Second // calls may arrive in a different order from the one in which they read the clock
	state.since = now.Add(-slack).UnixNano()
	state.span = uint64(max(until.Sub(now)+slack, 0))
	k.state.Store(state)
	changed := event.Event{Kind: event.KeysChanged, KeyID: state.signingID()}
	switch {
	case old == nil:
		return nil
	case old.signingID() != state.signingID():
		changed.Reason = "signing"
	case old.access != state.access || old.refresh != state.refresh:
		changed.Reason = "accepted"
	default:
		return nil
	}
	k.events.Send(changed)
	return nil
}

// markRevoked marks the keys that this process knows to be revoked, even if the source does
// not say so. This happens if the source could not be changed, or has lost a revocation.
// The caller holds the lock.
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
