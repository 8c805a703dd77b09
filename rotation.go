package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// KeyRingOptions configures a [KeyRing] with a life cycle. Zero fields mean the
// defaults. All processes that share a KeySource should have the same.
type KeyRingOptions struct {
	// MaxAge is how long verifiers may keep the JWK Set (Cache-Control, RFC 9111):
	// 5 minutes, 1 second to 24 hours. Where it is lowered, rotate only after the old
	// one is over: verifiers may have kept the set for so long.
	MaxAge time.Duration
	// ReloadEvery is how often the source is read again while the ring is in use:
	// 1 minute, 1 second to 1 hour. A token whose key is not known causes a reading
	// of its own, at most one in a second.
	ReloadEvery time.Duration
	// AccessTTL is how long access tokens live that the ring signs, or has signed, at
	// the longest: 15 minutes; see IssuerOptions.LongestAccessTTL, also where AccessTTL
	// is lowered. RefreshTTL is the same for refresh tokens, the shorter one of IdleTTL
	// and SessionTTL: 7 days, negative: the ring signs none. NewIssuer takes a ring
	// only for tokens that live no longer.
	AccessTTL, RefreshTTL time.Duration
	// NewKey makes the keys of Rotate and RevokeKey, and the first one:
	// GenerateKey(ES256).
	NewKey func(ctx context.Context) (*SigningKey, error)

	// OnEvent hears when keys change (KeysChanged), are revoked (KeyRevoked), are
	// missing (KeySkipped) and cannot be read (KeysUnavailable).
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock: time.Now. It is to be that of the Issuer and its verifiers.
	Now func() time.Time
}

func (o *KeyRingOptions) setDefaults() error {
	for _, d := range []struct {
		name                   string
		value                  *time.Duration
		fallback, least, limit time.Duration
	}{
		{"MaxAge", &o.MaxAge, defaultKeySetAge, time.Second, 24 * time.Hour},
		{"ReloadEvery", &o.ReloadEvery, time.Minute, time.Second, time.Hour},
		{"AccessTTL", &o.AccessTTL, defaultAccessTTL, time.Second, maxDuration},
		{"RefreshTTL", &o.RefreshTTL, defaultIdleTTL, 0, maxDuration},
	} {
		*d.value = orDefault(*d.value, d.fallback)
		if *d.value < d.least || *d.value > d.limit {
			return fmt.Errorf("jwtauth: KeyRingOptions.%s is %v, %v to %v is expected", d.name, *d.value, d.least, d.limit)
		}
	}
	if o.NewKey == nil {
		o.NewKey = func(context.Context) (*SigningKey, error) { return GenerateKey(ES256) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// lead is for how long a key is published before it signs: until the last verifier
// has fetched the JWK Set again, from a process that has read the source, one
// failed reading included, whatever the skew of the clocks.
func (o *KeyRingOptions) lead() time.Duration { return o.MaxAge + 2*o.ReloadEvery + maxSkew }

// maxRingKeys is how many keys a source may hold, revoked ones included.
const maxRingKeys = 100

// loadTimeout bounds a reading of the source that no caller's context bounds.
const loadTimeout = 5 * time.Second

// KeyRingStatus says how a [KeyRing] with a life cycle is doing.
type KeyRingStatus struct {
	SigningKey string    // the kid of the active key; "" where there is none
	LoadedAt   time.Time // when the source was last read well
	LastError  error     // of the last reading, or of what it said; nil where it was good
}

// OpenKeyRing makes a ring with a life cycle: it signs with the key whose time it
// is and accepts those whose tokens can still be alive. Where the source is empty,
// it makes the first key, which signs at once. [KeyRing.Rotate] replaces the key,
// as soon as that is safe, and [KeyRing.RevokeKey] at once.
//
// The ring has no goroutine: what it holds follows from the time of each call, and
// never steps back when the clock does. Once in ReloadEvery one call reads the source
// itself, within 5 seconds, while the others go on; after idle time, all wait for it.
// Where the source cannot be read, or says what would not be safe, the keys that are
// there go on to be used, an event tells, and Status shows it; only what it says is
// revoked is dropped all the same. A process that cannot read its source for longer
// than a rotation takes signs tokens that others may not take to their end.
//
// Each key has two ends. It is published, and accepted for access tokens, until the
// last of them that it signed is dead; from then until the last refresh token is,
// it is private to refreshing. Errors of the source come back as they are.
func OpenKeyRing(ctx context.Context, source KeySource, o KeyRingOptions) (*KeyRing, error) {
	if source == nil {
		return nil, errors.New("jwtauth: no KeySource: OpenKeyRing needs one, e.g. keydir.New(path) or MemoryKeys()")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	l := &ringLife{source: source, o: o, onEvent: o.OnEvent, reading: make(turn, 1), changes: make(turn, 1), revoked: map[string]time.Time{}}
	r := &KeyRing{life: l}
	keys, err := source.Load(ctx)
	if err == nil && len(keys) == 0 {
		err = l.update(ctx, func(keys keyLives, now time.Time) (keyLives, error) {
			if len(keys) > 0 {
				return keys, nil // another process was quicker
			}
			return l.add(ctx, keys, now, now)
		})
		if err == nil {
			keys, err = source.Load(ctx)
		}
	}
	events := r.take(keys, err)
	if l.failure != nil {
		return nil, fmt.Errorf("jwtauth: opening a KeyRing: %w", l.failure)
	}
	l.send(ctx, events)
	return r, nil
}

// add makes one more key, which is published and signs from those times on. Where it
// cannot, keys come back as they were.
func (l *ringLife) add(ctx context.Context, keys keyLives, published, signsFrom time.Time) (keyLives, error) {
	if len(keys) >= maxRingKeys {
		return keys, fmt.Errorf("there are %d keys already, and no more are taken; those that have come to their end leave with Rotate", len(keys))
	}
	k, err := l.o.NewKey(ctx)
	if err == nil {
		err = k.VerificationKey().check()
	}
	if err == nil && keys.find(k.ID()) >= 0 {
		err = fmt.Errorf("the new one has the kid %s of another", quoted(k.ID()))
	}
	if err != nil {
		return keys, fmt.Errorf("making a key: %w", err)
	}
	return append(keys, StoredKey{Key: k, KeyLife: KeyLife{ID: k.ID(), Algorithm: k.Algorithm(), Published: published, SignsFrom: signsFrom}}), nil
}

// update changes what the source holds.
func (l *ringLife) update(ctx context.Context, change func(keys keyLives, now time.Time) (keyLives, error)) error {
	return l.source.Update(ctx, func(keys []StoredKey) ([]StoredKey, error) {
		l.mu.Lock()
		l.mark(keys)
		l.mu.Unlock()
		lives := keyLives(keys)
		err := lives.follow(l.o.AccessTTL, l.o.RefreshTTL)
		if err == nil {
			lives, err = change(lives, l.now())
		}
		if err == nil {
			err = lives.follow(l.o.AccessTTL, l.o.RefreshTTL)
		}
		return lives, err
	})
}

var (
	errNoLife       = errors.New("jwtauth: this KeyRing has no life cycle: OpenKeyRing makes one that has")
	errNoSigningKey = errors.New("jwtauth: the ring has no key to sign with: the active one was revoked, and no other could be made")
)

// Rotate publishes a new key now, which begins to sign as soon as every verifier
// and every process that shares the source can know it: after MaxAge, two
// ReloadEvery and a minute for the skew of clocks. Where a key waits for that
// already, nothing is done, so that several processes may be told to rotate at
// once. It returns the life of the key that waits. Keys that have come to their
// end more than an hour ago leave the source. An error means that nothing has
// changed, or that the source could not be read afterwards.
func (r *KeyRing) Rotate(ctx context.Context) (KeyLife, error) {
	var waiting string
	err := r.change(ctx, func(keys keyLives, now time.Time) (keyLives, error) {
		l := r.life
		for _, k := range keys {
			if k.state(now) == NextKey {
				waiting = k.ID
				return keys, nil
			}
		}
		keys = slices.DeleteFunc(keys, func(k StoredKey) bool { return l.isLongGone(&k, now) })
		keys, err := l.add(ctx, keys, now, now.Add(l.o.lead()))
		if err == nil {
			waiting = keys[len(keys)-1].ID
		}
		return keys, err
	})
	if err != nil {
		return KeyLife{}, err
	}
	for _, k := range r.Plan() {
		if k.ID == waiting {
			return k.KeyLife, nil
		}
	}
	return KeyLife{}, noAnswer("keys", errors.New("jwtauth: the source has lost the new key"))
}

// isLongGone says whether nobody can ask for a key any more, whatever the clocks.
func (l *ringLife) isLongGone(k *StoredKey, now time.Time) bool {
	if !k.Revoked.IsZero() {
		return now.After(k.Revoked.Add(l.goneAfter()))
	}
	return hasEnded(k.RefreshTo, now.Add(-goneMargin))
}

const goneMargin = time.Hour

// goneAfter is how long a revoked key stays in the source.
func (l *ringLife) goneAfter() time.Duration {
	return max(l.o.AccessTTL, l.o.RefreshTTL) + endMargin + goneMargin
}

// RevokeKey drops a key at once, for everything: no access token and no refresh
// token that it signed is taken any more, so every session whose refresh token it
// signed has to log in again. The other processes that share the source do the same
// when they read it next (ReloadEvery), and verifiers that keep the JWK Set when
// they fetch it next (MaxAge); those of coreos/go-oidc and hashicorp/cap drop a key
// only when they meet one that they do not know.
//
// Where the key was the active one, the key that waits to be the next one signs at
// once, or a new one does. An error means that this process has dropped the key,
// unless it did not know it, and that the source could not be told or no other key
// could be made: issuing is ErrUnavailable then until one can.
func (r *KeyRing) RevokeKey(ctx context.Context, kid string) error {
	if r == nil || r.life == nil {
		return errNoLife
	}
	l := r.life
	known := r.drop(ctx, kid)
	var unmade error // the revocation is stored also where no other key can be made
	err := r.change(ctx, func(keys keyLives, now time.Time) (keyLives, error) {
		i := keys.find(kid)
		if i < 0 {
			return nil, fmt.Errorf("jwtauth: the ring has no key %s", quoted(kid))
		}
		l.mu.Lock()
		now = latest(now, l.phase.UTC().Truncate(time.Microsecond))
		l.mu.Unlock()
		if keys[i].Revoked.IsZero() {
			keys[i].Revoked = now
		}
		keys[i].Key = nil
		if next := keys.signer(now); next >= 0 {
			if keys[next].SignsFrom.After(now) { // it waited, and nobody else signs now
				keys[next].SignsFrom = now
			}
			return keys, nil
		}
		keys, unmade = l.add(ctx, keys, now, now)
		return keys, nil
	})
	if err == nil {
		err = unmade
	}
	if err != nil {
		if known {
			err = noAnswer("keys", err)
		}
		return err
	}
	if !known {
		l.onEvent.send(ctx, Event{Kind: KeyRevoked, KeyID: kid})
	}
	return nil
}

// drop revokes a key in this process; it says whether the ring knew it.
func (r *KeyRing) drop(ctx context.Context, kid string) bool {
	l := r.life
	l.mu.Lock()
	i := l.keys.find(kid)
	if i < 0 {
		l.mu.Unlock()
		return false
	}
	if !l.keys[i].Revoked.IsZero() { // before; only the source may not know it yet
		l.mu.Unlock()
		return true
	}
	now := l.now()
	keys := slices.Clone(l.keys)
	keys[i].Revoked, keys[i].Key = latest(now, l.phase), nil // it may have signed up to then
	l.revoked[kid] = keys[i].Revoked
	_ = keys.follow(l.o.AccessTTL, l.o.RefreshTTL)
	events, _ := r.settle(keys, now) // fewer keys than before
	l.mu.Unlock()
	l.send(ctx, append([]Event{{Kind: KeyRevoked, KeyID: kid}}, events...))
	return true
}

// change updates the source, and takes what it holds then.
func (r *KeyRing) change(ctx context.Context, change func(keys keyLives, now time.Time) (keyLives, error)) error {
	if r == nil || r.life == nil {
		return errNoLife
	}
	l := r.life
	if err := l.changes.take(ctx); err != nil {
		return noAnswer("keys", err)
	}
	defer l.changes.end()
	if err := l.update(ctx, change); err != nil {
		return err
	}
	if err := l.reading.take(ctx); err != nil {
		return noAnswer("keys", err)
	}
	defer l.reading.end()
	keys, err := l.source.Load(ctx)
	if err != nil {
		return err
	}
	l.send(ctx, r.take(keys, nil))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}
