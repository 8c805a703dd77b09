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

// has says whether this very key object is in the table and, where tokens do not
// name it, still the only one of its algorithm.
func (t *keyTable) has(k *VerificationKey, named bool) bool {
	return k != nil && slices.Contains(t.all, k) && (named || t.find(k.alg.Name, "", false) == k)
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
// while tokens that the old one signed are alive. It has no life cycle of its
// own: what it holds is in use until the next Set. It serves its public keys as
// a JWK Set. All methods are safe for concurrent use. The zero value signs and
// accepts nothing.
type KeyRing struct{ state atomic.Pointer[ringState] }

type ringState struct {
	signing *SigningKey
	table   *keyTable
	jwks    *document
}

// NewKeyRing makes a ring that signs with the first key and accepts it and all
// the others. Two keys with one kid are an error.
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
func (r *KeyRing) Set(signing *SigningKey, accepted ...*VerificationKey) error {
	if r == nil {
		return errNoRing
	}
	for {
		keys := append([]*VerificationKey{signing.VerificationKey()}, accepted...)
		var known *keyTable
		old := r.state.Load()
		if old != nil {
			known = old.table
		}
		table, err := newKeyTable(keys, known)
		if err != nil {
			return err
		}
		state := &ringState{signing: signing, table: table}
		set, err := encodeKeySet(keys)
		if err != nil {
			return err
		}
		state.jwks = newDocument("application/jwk-set+json", keySetMaxAge, set)
		if r.state.CompareAndSwap(old, state) { // or another Set came first
			return nil
		}
	}
}

var errNoRing = errors.New("jwtauth: this KeyRing was not made by NewKeyRing")

func (r *KeyRing) load() (*ringState, error) {
	if r != nil {
		if state := r.state.Load(); state != nil {
			return state, nil
		}
	}
	return nil, errNoRing
}

func (r *KeyRing) made() error {
	_, err := r.load()
	return err
}

func (r *KeyRing) grows() bool { return false }

func (r *KeyRing) await(_ context.Context, now time.Time, _ string) (*keyTable, error) {
	return r.current(now)
}

func (r *KeyRing) current(time.Time) (*keyTable, error) {
	state, err := r.load()
	if err != nil {
		return nil, err
	}
	return state.table, nil
}
