package jwk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// addKey makes a new key with the given dates and appends it to keys. If it returns an
// error, it returns keys unchanged.
func (k *keeper) addKey(ctx context.Context, keys ringKeys, published, signsFrom time.Time) (ringKeys, error) {
	if len(keys) >= maxRingKeys {
		return keys, fmt.Errorf("there are %d keys already, which is the limit; Rotate removes those that have ended", len(keys))
	}
	key, err := k.o.NewKey(ctx)
	if err == nil {
		err = key.Verification().check()
	}
	if err == nil && keys.indexOf(key.ID()) >= 0 {
		err = fmt.Errorf("the new key has the kid %s, which another key has already", errtext.Quote(key.ID()))
	}
	if err != nil {
		return keys, fmt.Errorf("making a key: %w", err)
	}
	return append(keys, StoredKey{Key: key, Life: Life{ID: key.ID(), Algorithm: key.Algorithm(), Published: published, SignsFrom: signsFrom}}), nil
}

// changeKeys returns changed keys of the source. longest are the durations that the source
// will have.
type changeKeys func(keys ringKeys, longest Durations, now time.Time) (ringKeys, error)

// updateSource calls change with the keys of the source, and stores the result.
func (k *keeper) updateSource(ctx context.Context, change changeKeys) error {
	return k.source.Update(ctx, func(stored Stored) (Stored, error) {
		k.mu.Lock()
		k.markRevoked(stored.Keys)
		own := k.announcer.own
		k.mu.Unlock()
		keys, now := ringKeys(stored.Keys), k.now()
		stored.Longest = stored.Longest.raise(own, keys.waiting(now) != nil)
		err := stored.Longest.check()
		if err == nil {
			err = keys.deriveDates(stored.Longest)
		}
		if err == nil {
			keys, err = change(keys, stored.Longest, now)
		}
		if err == nil {
			err = keys.deriveDates(stored.Longest)
		}
		stored.Keys = keys
		return stored, err
	})
}

// updateAndReload changes the keys of the source, and then reads the source into the ring.
func (k *keeper) updateAndReload(ctx context.Context, change changeKeys) error {
	select {
	case k.changeLock <- struct{}{}:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { <-k.changeLock }()
	if err := k.updateSource(ctx, change); err != nil {
		return err
	}
	return k.readAfresh(ctx)
}

// readAfresh waits for a reading of the source that began after the call of readAfresh.
func (k *keeper) readAfresh(ctx context.Context) error {
	for {
		k.mu.Lock()
		before := k.reading
		isOwn := !k.isReading()
		reading := k.startReading(ctx)
		k.mu.Unlock()
		_, err := reading.Wait(ctx)
		switch {
		case ctx.Err() != nil:
			return unavailable(ctx.Err())
		case isOwn && err != nil:
			return err
		case isOwn:
			return k.lastFailure()
		case !before.HasEnded(): // the time-out of the reading has passed and Load still runs, so the source ignores its context
			return unavailable(err)
		}
	}
}

// rotate implements Ring.Rotate.
func (k *keeper) rotate(ctx context.Context) (Life, error) {
	var waiting string
	err := k.updateAndReload(ctx, func(keys ringKeys, longest Durations, now time.Time) (ringKeys, error) {
		if next := keys.waiting(now); next != nil {
			waiting = next.ID
			return keys, nil
		}
		confirmed := k.clock.Confirm(now)
		keys = slices.DeleteFunc(keys, func(key StoredKey) bool { return key.canBeForgotten(longest, confirmed) })
		if !longest.hasTokenLifetimes() {
			return keys, errNoTokenLifetimes
		}
		keys, err := k.addKey(ctx, keys, now, now.Add(longest.safeLead()))
		if err == nil {
			waiting = keys[len(keys)-1].ID
		}
		return keys, err
	})
	if err != nil {
		return Life{}, err
	}
	for _, p := range k.plan() {
		if p.ID == waiting {
			return p.Life, nil
		}
	}
	return Life{}, unavailable(errors.New("the source has lost the new key"))
}

var errNoTokenLifetimes = errors.New("the source does not say how long tokens live, so it is not known when a key can be removed: make an Issuer with the ring first, or write the longest lifetimes into the source")

// plan implements Ring.Plan for a ring with a source.
func (k *keeper) plan() (plan []Planned) {
	k.mu.Lock()
	defer k.mu.Unlock()
	active := k.keys.signerAt(k.stateTime)
	for i, key := range k.keys {
		p := Planned{key.Life, key.stateUnlessActive(k.stateTime)}
		if i == active {
			p.State = Active
		}
		plan = append(plan, p)
	}
	return plan
}

// canBeForgotten reports whether the key can be removed from the source, because all its
// tokens have expired on every clock.
func (l *Life) canBeForgotten(longest Durations, now time.Time) bool {
	if !l.Revoked.IsZero() {
		return now.After(l.Revoked.Add(longest.forgetAfter()))
	}
	return hasPassed(l.RefreshTo, now.Add(-forgetMargin))
}

// revoke implements Ring.RevokeKey. It sends the event KeyRevoked after it has changed the
// source, or has tried to.
func (k *keeper) revoke(ctx context.Context, kid string) error {
	known, dropped := k.dropKey(kid)
	err := k.storeRevocation(ctx, kid)
	if dropped || err == nil && !known {
		k.events.Send(event.Event{Kind: event.KeyRevoked, KeyID: kid})
	}
	if err != nil && known {
		err = unavailable(err)
	}
	return err
}

// storeRevocation revokes a key in the source. If no other key can sign, it makes one.
func (k *keeper) storeRevocation(ctx context.Context, kid string) error {
	var errNoSuccessor error // the revocation is stored also if no other key can be made
	err := k.updateAndReload(ctx, func(keys ringKeys, _ Durations, now time.Time) (ringKeys, error) {
		i := keys.indexOf(kid)
		if i < 0 {
			return nil, fmt.Errorf("jwk: the ring has no key %s", errtext.Quote(kid))
		}
		k.mu.Lock()
		now = k.revocationTime(&keys[i].Life, now)
		k.mu.Unlock()
		if keys[i].Revoked.IsZero() {
			keys[i].Revoked = now
		}
		keys[i].Key = nil
		if next := keys.signerAt(now); next >= 0 {
			if keys[next].SignsFrom.After(now) { // the next key is waiting, and no other key signs now
				keys[next].SignsFrom = now
			}
			return keys, nil
		}
		keys, errNoSuccessor = k.addKey(ctx, keys, now, now)
		return keys, nil
	})
	if err == nil {
		err = errNoSuccessor
	}
	return err
}

// dropKey revokes a key in this process. known means that the ring has the key. dropped
// means that the key was not revoked before.
func (k *keeper) dropKey(kid string) (known, dropped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := k.keys.indexOf(kid)
	if i < 0 || !k.keys[i].Revoked.IsZero() { // revoked here already, though perhaps not in the source
		return i >= 0, false
	}
	now := k.now()
	keys := slices.Clone(k.keys)
	keys[i].Revoked, keys[i].Key = k.revocationTime(&keys[i].Life, now), nil
	k.revoked[kid] = keys[i].Revoked
	_ = keys.deriveDates(k.longest)
	_ = k.installKeys(keys, now)
	return true, true
}

// revocationTime returns the time at which a key is revoked. Normally this is now. If the
// clock was set back and the key has signed already, it is a microsecond after SignsFrom.
// The caller holds the lock.
func (k *keeper) revocationTime(l *Life, now time.Time) time.Time {
	if l.SignsFrom.After(k.certainTime) {
		return now
	}
	return latest(now, l.SignsFrom.Add(time.Microsecond))
}
