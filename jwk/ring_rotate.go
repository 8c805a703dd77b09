package jwk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// addKey makes one more key with the given dates. After an error, keys are returned as
// they were.
func (k *keeper) addKey(ctx context.Context, keys lives, published, signsFrom time.Time) (lives, error) {
	if len(keys) >= maxRingKeys {
		return keys, fmt.Errorf("there are %d keys already, which is the limit; those that have ended leave with Rotate", len(keys))
	}
	key, err := k.o.NewKey(ctx)
	if err == nil {
		err = key.Verification().check()
	}
	if err == nil && keys.find(key.ID()) >= 0 {
		err = fmt.Errorf("the new one has the kid %s of another", errtext.Quote(key.ID()))
	}
	if err != nil {
		return keys, fmt.Errorf("making a key: %w", err)
	}
	return append(keys, StoredKey{Key: key, Life: Life{ID: key.ID(), Algorithm: key.Algorithm(), Published: published, SignsFrom: signsFrom}}), nil
}

// update changes the content of the source.
func (k *keeper) update(ctx context.Context, change func(keys lives, now time.Time) (lives, error)) error {
	return k.source.Update(ctx, func(stored Stored) (Stored, error) {
		k.mu.Lock()
		k.markRevoked(stored.Keys)
		stored.Longest = stored.Longest.longest(k.own)
		k.longest = stored.Longest
		k.mu.Unlock()
		keys := lives(stored.Keys)
		err := stored.Longest.check()
		if err == nil {
			err = keys.deriveDates(stored.Longest)
		}
		if err == nil {
			keys, err = change(keys, k.now())
		}
		if err == nil {
			err = keys.deriveDates(stored.Longest)
		}
		stored.Keys = keys
		return stored, err
	})
}

// change changes the content of the source and reads it back into the ring.
func (k *keeper) change(ctx context.Context, change func(keys lives, now time.Time) (lives, error)) error {
	select {
	case k.changes <- struct{}{}:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { <-k.changes }()
	if err := k.update(ctx, change); err != nil {
		return err
	}
	return k.readAfresh(ctx)
}

// readAfresh waits for a reading of the source that began after the call.
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
		case !before.HasEnded(): // its source ignores its context
			return unavailable(err)
		}
	}
}

// rotate implements Ring.Rotate.
func (k *keeper) rotate(ctx context.Context) (Life, error) {
	var waiting string
	err := k.change(ctx, func(keys lives, now time.Time) (lives, error) {
		for _, key := range keys {
			if key.stateAt(now) == Next {
				waiting = key.ID
				return keys, nil
			}
		}
		keys = slices.DeleteFunc(keys, func(key StoredKey) bool { return k.canForget(&key, k.clock.Believe(now)) })
		longest := k.longestKnown()
		if !longest.knowsTokens() {
			return keys, errNobodyAnnounced
		}
		keys, err := k.addKey(ctx, keys, now, now.Add(longest.lead()))
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

var errNobodyAnnounced = errors.New("the source does not say how long tokens live, so nobody knows when a key may leave: make an Issuer with the ring first, or write the longest lifetimes into the source")

func (k *keeper) longestKnown() Durations {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.longest
}

// plan returns the keys with their states.
func (k *keeper) plan() (plan []Planned) {
	k.mu.Lock()
	defer k.mu.Unlock()
	active := k.keys.signerAt(k.at)
	for i, key := range k.keys {
		p := Planned{key.Life, key.stateAt(k.at)}
		if i == active {
			p.State = Active
		}
		plan = append(plan, p)
	}
	return plan
}

// forgetMargin is how long a key that has ended stays in the source.
const forgetMargin = time.Hour

// forgetAfter is how long a revoked key stays in the source.
func (k *keeper) forgetAfter() time.Duration {
	return max(k.longest.AccessTTL, k.longest.RefreshTTL) + bound.EndMargin + forgetMargin
}

// canForget reports whether no token of the key can be alive, whatever the clocks.
func (k *keeper) canForget(key *StoredKey, now time.Time) bool {
	if !key.Revoked.IsZero() {
		return now.After(key.Revoked.Add(k.forgetAfter()))
	}
	return hasPassed(key.RefreshTo, now.Add(-forgetMargin))
}

// revoke implements Ring.RevokeKey. The hook hears of it after the source was changed, or
// could not be.
func (k *keeper) revoke(ctx context.Context, kid string) error {
	known, dropped := k.drop(kid)
	err := k.storeRevocation(ctx, kid)
	if dropped || err == nil && !known {
		k.events.Send(event.Event{Kind: event.KeyRevoked, KeyID: kid})
	}
	if err != nil && known {
		err = unavailable(err)
	}
	return err
}

// storeRevocation revokes a key in the source, and makes a key that signs if there is none.
func (k *keeper) storeRevocation(ctx context.Context, kid string) error {
	var errNoSuccessor error // the revocation is stored also if no other key can be made
	err := k.change(ctx, func(keys lives, now time.Time) (lives, error) {
		i := keys.find(kid)
		if i < 0 {
			return nil, fmt.Errorf("jwk: the ring has no key %s", errtext.Quote(kid))
		}
		k.mu.Lock()
		now = latest(now, k.floor.UTC().Truncate(time.Microsecond))
		k.mu.Unlock()
		if keys[i].Revoked.IsZero() {
			keys[i].Revoked = now
		}
		keys[i].Key = nil
		if next := keys.signerAt(now); next >= 0 {
			if keys[next].SignsFrom.After(now) { // it waited, and no other key signs now
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

// drop revokes a key in this process. It reports whether the ring knew the key, and whether
// the key was in use until now.
func (k *keeper) drop(kid string) (known, dropped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := k.keys.find(kid)
	if i < 0 || !k.keys[i].Revoked.IsZero() { // it may have been revoked before, and the source may not know yet
		return i >= 0, false
	}
	now := k.now()
	keys := slices.Clone(k.keys)
	keys[i].Revoked, keys[i].Key = latest(now, k.floor), nil // the key may have signed until then
	k.revoked[kid] = keys[i].Revoked
	_ = keys.deriveDates(k.longest)
	changed, _ := k.install(keys, now)
	k.events.Send(changed...)
	return true, true
}
