package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// KeySet is where a Verifier finds keys. It is sealed, so that it can grow:
// [KeyRing], [RemoteKeySet] and what [StaticKeys] returns are all there are.
type KeySet interface {
	// made says whether it was made by a constructor.
	made() error
	// current returns the keys in use at that moment. An error means that they
	// are not known.
	current(now time.Time) (*keyTable, error)
	// grows says whether await may know more than current.
	grows() bool
	// await asks the source of the keys, within bounds, for one with that kid. It
	// returns what is known then, with the key or without. An error means that
	// nobody knows whether there is one.
	await(ctx context.Context, now time.Time, kid string) (*keyTable, error)
}

// keyTable is an immutable set of keys: the snapshot of a KeySet. A refetch or
// rotation makes a new one and takes the key objects that did not change along.
type keyTable struct {
	all  []*VerificationKey
	byID map[keyName]*VerificationKey
}

// keyName is what a header says of its key.
type keyName struct{ alg, kid string }

func (k *VerificationKey) name() keyName { return keyName{k.alg.Name, k.id} }

// newKeyTable makes a table of keys; those that stand in old already, nil for
// none, keep their objects.
func newKeyTable(keys []*VerificationKey, old *keyTable) (*keyTable, error) {
	t := &keyTable{all: keys, byID: make(map[keyName]*VerificationKey, len(keys))}
	for i, k := range keys {
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("jwtauth: %w", err)
		}
		if slices.ContainsFunc(keys[:i], func(other *VerificationKey) bool { return other.id == k.id }) {
			return nil, fmt.Errorf("jwtauth: two keys have the kid %s; give one of them another with WithID", quoted(k.id))
		}
		t.add(i, k, old)
	}
	return t, nil
}

// add puts k in place i, or the key object of an older table that is the same.
func (t *keyTable) add(i int, k *VerificationKey, old *keyTable) {
	if old != nil && k.same(old.byID[k.name()]) {
		k = old.byID[k.name()]
	}
	t.all[i] = k
	t.byID[k.name()] = k
}

// find returns the key that a header names: the one with its kid if its
// algorithm is the header's, and without a kid the only one of that algorithm.
func (t *keyTable) find(alg, kid string, hasKid bool) *VerificationKey {
	if hasKid {
		return t.byID[keyName{alg, kid}]
	}
	var found *VerificationKey
	for _, k := range t.all {
		if k.alg.Name != alg {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

// has says whether this key is in the table and, where tokens do not name it, still
// the only one of its algorithm.
func (t *keyTable) has(k *VerificationKey, named bool) bool {
	if k == nil {
		return false
	}
	if !slices.Contains(t.all, k) { // or the same key, of a verifier that was made anew
		other := t.byID[k.name()]
		if !k.same(other) {
			return false
		}
		k = other
	}
	return named || t.find(k.alg.Name, "", false) == k
}

// orOld returns old where it holds the same keys, in whatever order: so that what
// rests on the table, as the known headers do, outlives a reading of the same keys.
func (t *keyTable) orOld(old *keyTable) *keyTable {
	isNew := func(k *VerificationKey) bool { return !slices.Contains(old.all, k) }
	if old != nil && len(t.all) == len(old.all) && !slices.ContainsFunc(t.all, isNew) {
		return old
	}
	return t
}

// document is the JWK Set of the public keys; verifiers may keep it for maxAge.
func (t *keyTable) document(maxAge time.Duration) (*document, error) {
	set, err := encodeKeySet(t.all)
	if err != nil {
		return nil, err
	}
	return newDocument("application/jwk-set+json", maxAge, set), nil
}

func (t *keyTable) made() error                          { return nil }
func (t *keyTable) current(time.Time) (*keyTable, error) { return t, nil }
func (t *keyTable) grows() bool                          { return false }

func (t *keyTable) await(context.Context, time.Time, string) (*keyTable, error) { return t, nil }

// StaticKeys is the fixed set of keys of a service that only verifies. At least
// one is needed, and no two may share a kid.
func StaticKeys(keys ...*VerificationKey) (KeySet, error) {
	if len(keys) == 0 {
		return nil, errors.New("jwtauth: no keys: StaticKeys needs at least one")
	}
	table, err := newKeyTable(slices.Clone(keys), nil)
	if err != nil {
		return nil, err
	}
	return table, nil
}

// KeyRing signs with one key and accepts several, so that a key can be replaced
// while tokens that the old one signed are alive. One that [NewKeyRing] made holds
// what it was given until the next Set; one that [OpenKeyRing] made has a life
// cycle, keeps its keys in a [KeySource] and knows when each step is safe. It
// serves its public keys as a JWK Set. All methods are safe for concurrent use.
// The zero value signs and accepts nothing.
type KeyRing struct {
	state atomic.Pointer[ringState]
	life  *ringLife // nil for a ring without a life cycle
}

// ringState is what a ring holds for a while. It is never changed.
type ringState struct {
	signing *SigningKey // nil where there is none
	access  *keyTable   // of access tokens, and published
	refresh *keyTable   // of refresh tokens
	jwks    *document
	since   int64  // Unix nanoseconds; only of a ring with a life cycle
	span    uint64 // for how long
}

// covers says whether a state is still the one of that time: one comparison, which
// a clock that was set back does not pass either.
func (s *ringState) covers(now time.Time) bool { return uint64(now.UnixNano()-s.since) < s.span }

// NewKeyRing makes a ring without a life cycle, which signs with the first key and
// accepts it and all the others. Two keys with one kid are an error.
func NewKeyRing(signing *SigningKey, accepted ...*VerificationKey) (*KeyRing, error) {
	r := &KeyRing{}
	if err := r.Set(signing, accepted...); err != nil {
		return nil, err
	}
	return r, nil
}

// Set replaces all keys of the ring at once, while it is serving. Where it
// returns an error, the ring stays as it was. To replace a signing key without
// refusing a token: first Set the old one as signing and the new one as
// accepted, for as long as verifiers may keep the JWK Set (its max-age); then
// the new one as signing and the old one as accepted, until the last token of
// the old one has expired. Refresh tokens count, unless they have a ring of
// their own. Tokens that were verified before stay good as far as their key does.
// A ring that [OpenKeyRing] made does all of this by itself, and has no Set.
func (r *KeyRing) Set(signing *SigningKey, accepted ...*VerificationKey) error {
	if r == nil {
		return errNoRing
	}
	if r.life != nil {
		return errors.New("jwtauth: this KeyRing was opened from a KeySource, which holds its keys: Set is for those of NewKeyRing")
	}
	for {
		keys := append([]*VerificationKey{signing.VerificationKey()}, accepted...)
		var known *keyTable
		old := r.state.Load()
		if old != nil {
			known = old.access
		}
		table, err := newKeyTable(keys, known)
		if err != nil {
			return err
		}
		state := &ringState{signing: signing, access: table, refresh: table}
		if state.jwks, err = table.document(defaultKeySetAge); err != nil {
			return err
		}
		if r.state.CompareAndSwap(old, state) { // or another Set came first
			return nil
		}
	}
}

var errNoRing = errors.New("jwtauth: this KeyRing was not made by NewKeyRing or OpenKeyRing")

// at returns what the ring holds at that time.
func (r *KeyRing) at(now time.Time) (*ringState, error) {
	if r == nil {
		return nil, errNoRing
	}
	state := r.state.Load()
	if state == nil {
		return nil, errNoRing
	}
	if r.life != nil && !state.covers(now) {
		state = r.pass(now)
	}
	return state, nil
}

// now is the time of the ring's own clock; without a life cycle it has none.
func (r *KeyRing) now() time.Time {
	if r == nil || r.life == nil {
		return time.Time{}
	}
	return r.life.o.Now()
}

func (r *KeyRing) made() error {
	_, err := r.at(r.now())
	return err
}

func (r *KeyRing) grows() bool { return r != nil && r.life != nil }

func (r *KeyRing) await(ctx context.Context, now time.Time, kid string) (*keyTable, error) {
	if r.grows() {
		if err := r.ask(ctx, now, kid); err != nil {
			return nil, err
		}
	}
	return r.current(now)
}

func (r *KeyRing) current(now time.Time) (*keyTable, error) {
	state, err := r.at(now)
	if err != nil {
		return nil, err
	}
	return state.access, nil
}

// refreshKeys are the keys of a ring for refresh tokens, which outlive the access
// tokens: the KeySet of the issuer's own verifiers.
type refreshKeys struct{ *KeyRing }

func (r refreshKeys) current(now time.Time) (*keyTable, error) {
	state, err := r.at(now)
	if err != nil {
		return nil, err
	}
	return state.refresh, nil
}

func (r refreshKeys) await(ctx context.Context, now time.Time, kid string) (*keyTable, error) {
	if _, err := r.KeyRing.await(ctx, now, kid); err != nil {
		return nil, err
	}
	return r.current(now)
}
