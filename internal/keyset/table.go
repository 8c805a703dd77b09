package keyset

import (
	"fmt"
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Table is an immutable snapshot of the keys of a Set (copy-on-write). A rotation or a
// fetch makes a new Table, which reuses the Key objects that did not change.
type Table struct {
	all         []*Key
	byName      map[keyName]*Key
	byAlgorithm map[string][]*Key
}

// keyName identifies a key by the alg and kid of a token header.
type keyName struct{ alg, kid string }

// NewTable makes a table. For a key that is also in old, it reuses the Key object of old.
// If the keys are the same as those in old, NewTable returns old itself, so that caches
// that depend on old stay valid. old may be nil. Two keys with the same kid are an error.
func NewTable(keys []*Key, old *Table) (*Table, error) {
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(other *Key) bool { return other.ID == k.ID }) {
			return nil, fmt.Errorf("two keys have the kid %s; give one of them another with WithID", errtext.Quote(k.ID))
		}
	}
	return NewForeignTable(keys, old), nil
}

// NewForeignTable is NewTable for the keys of another issuer, which may use one kid for
// keys of several algorithms. The caller makes sure that no two keys have the same kid and
// the same algorithm.
func NewForeignTable(keys []*Key, old *Table) *Table {
	t := &Table{all: make([]*Key, len(keys)), byName: make(map[keyName]*Key, len(keys)), byAlgorithm: make(map[string][]*Key)}
	for i, k := range keys {
		if old != nil && k.Same(old.byName[k.name()]) {
			k = old.byName[k.name()]
		}
		t.all[i] = k
		t.byName[k.name()] = k
		t.byAlgorithm[k.Alg.Name] = append(t.byAlgorithm[k.Alg.Name], k)
	}
	isNew := func(k *Key) bool { return !slices.Contains(old.all, k) }
	if old != nil && len(t.all) == len(old.all) && !slices.ContainsFunc(t.all, isNew) {
		return old
	}
	return t
}

// All returns the keys. The list must not be changed.
func (t *Table) All() []*Key { return t.all }

// Find returns the key with the alg and kid of a token header. If the header has no kid, it
// returns the only key of that algorithm. It returns nil if no such key exists, or, without
// a kid, if there are several.
func (t *Table) Find(alg, kid string, hasKid bool) *Key {
	if hasKid {
		return t.byName[keyName{alg, kid}]
	}
	if keys := t.byAlgorithm[alg]; len(keys) == 1 {
		return keys[0]
	}
	return nil
}

// maxTried is with how many keys a token without a kid is tried.
const maxTried = 4

// OfAlgorithm returns the keys of an algorithm, with which a token without a kid is tried. It
// returns nil if there are more than maxTried, so that a token costs a bounded number of signature
// checks. The list must not be changed.
func (t *Table) OfAlgorithm(alg string) []*Key {
	if keys := t.byAlgorithm[alg]; len(keys) <= maxTried {
		return keys
	}
	return nil
}

// Has reports whether the table holds k. For a token without a kid, k must also be the only
// key of its algorithm.
func (t *Table) Has(k *Key, hasKid bool) bool {
	if k == nil {
		return false
	}
	if !slices.Contains(t.all, k) { // k may come from another Set, which has its own object for the same key
		other := t.byName[k.name()]
		if !k.Same(other) {
			return false
		}
		k = other
	}
	return hasKid || t.Find(k.Alg.Name, "", false) == k
}

// WithID returns the keys of any algorithm that have the kid.
func (t *Table) WithID(kid string) (keys []*Key) {
	for _, k := range t.all {
		if k.ID == kid {
			keys = append(keys, k)
		}
	}
	return keys
}
