package keyset

import (
	"fmt"
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Table is an immutable set of keys: what a Set holds at one moment. A rotation or a
// fetch makes a new Table, which takes over the Key objects that did not change.
type Table struct {
	all    []*Key
	byName map[keyName]*Key
}

// keyName is the part of a header that names a key.
type keyName struct{ alg, kid string }

// NewTable makes a table. Keys that old, which may be nil, holds too keep their Key
// objects; if it holds exactly the same keys, NewTable returns old itself, so that
// caches which belong to old stay valid. Two keys with one kid are an error.
func NewTable(keys []*Key, old *Table) (*Table, error) {
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(other *Key) bool { return other.ID == k.ID }) {
			return nil, fmt.Errorf("two keys have the kid %s; give one of them another with WithID", errtext.Quote(k.ID))
		}
	}
	return NewForeignTable(keys, old), nil
}

// NewForeignTable is NewTable for keys of somebody else, of which several may have
// one kid. No two may have one kid and one algorithm.
func NewForeignTable(keys []*Key, old *Table) *Table {
	t := &Table{all: make([]*Key, len(keys)), byName: make(map[keyName]*Key, len(keys))}
	for i, k := range keys {
		if old != nil && k.Same(old.byName[k.name()]) {
			k = old.byName[k.name()]
		}
		t.all[i] = k
		t.byName[k.name()] = k
	}
	isNew := func(k *Key) bool { return !slices.Contains(old.all, k) }
	if old != nil && len(t.all) == len(old.all) && !slices.ContainsFunc(t.all, isNew) {
		return old
	}
	return t
}

// All returns the keys. The list must not be changed.
func (t *Table) All() []*Key { return t.all }

// Find returns the key that a header names: the one with its kid, if the algorithm
// of the key is that of the header. Without a kid, it is the only key of that
// algorithm. It returns nil if there is none.
func (t *Table) Find(alg, kid string, hasKid bool) *Key {
	if hasKid {
		return t.byName[keyName{alg, kid}]
	}
	var found *Key
	for _, k := range t.all {
		if k.Alg.Name != alg {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

// Has reports whether the table holds k. For a token without a kid (named is
// false), k must also be the only key of its algorithm.
func (t *Table) Has(k *Key, named bool) bool {
	if k == nil {
		return false
	}
	if !slices.Contains(t.all, k) { // perhaps the same key in another object, of a set that was made anew
		other := t.byName[k.name()]
		if !k.Same(other) {
			return false
		}
		k = other
	}
	return named || t.Find(k.Alg.Name, "", false) == k
}

// HasID reports whether a key has that kid, of any algorithm.
func (t *Table) HasID(kid string) bool {
	return slices.ContainsFunc(t.all, func(k *Key) bool { return k.ID == kid })
}
