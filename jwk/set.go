package jwk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// Set is a set of keys that a verifier accepts: a [Ring], a [Remote], a [StaticSet], or a single
// [VerificationKey]. Other packages cannot implement Set. To load keys from elsewhere, implement a
// [Source] and open a Ring.
type Set interface {
	// VerifierSeam is for package jwtauth.
	VerifierSeam() (keyset.Set, error)
}

// VerifierSeam implements [Set]: a key is a set of one key.
func (k *VerificationKey) VerifierSeam() (keyset.Set, error) {
	set, err := Static(k)
	if err != nil {
		return nil, err
	}
	return set.VerifierSeam()
}

// StaticSet is a fixed set of keys. The zero value accepts nothing.
type StaticSet struct{ table *keyset.Table }

// Static returns a fixed set of keys, for a service that only verifies. At least one key
// is required, and two keys with the same kid are an error.
func Static(keys ...*VerificationKey) (*StaticSet, error) {
	if len(keys) == 0 {
		return nil, errors.New("jwk: no keys: Static needs at least one")
	}
	table, err := newTable(keys, nil)
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	return &StaticSet{table}, nil
}

// newTable checks keys and makes a table of them. old is the table that the new table
// replaces, or nil; see [keyset.NewTable].
func newTable(keys []*VerificationKey, old *keyset.Table) (*keyset.Table, error) {
	list := make([]*keyset.Key, len(keys))
	for i, k := range keys {
		if err := k.check(); err != nil {
			return nil, err
		}
		list[i] = k.key
	}
	return keyset.NewTable(list, old)
}

// VerifierSeam implements [Set].
func (s *StaticSet) VerifierSeam() (keyset.Set, error) {
	if s == nil || s.table == nil {
		return nil, errors.New("jwk: this StaticSet was not made by Static")
	}
	return staticKeys{s.table}, nil
}

// staticKeys implements [keyset.Set].
type staticKeys struct{ table *keyset.Table }

func (s staticKeys) Current(context.Context, time.Time) (*keyset.Table, error) { return s.table, nil }

func (s staticKeys) AskForKid(context.Context, time.Time, string) (*keyset.Table, error) {
	return s.table, nil
}

func (s staticKeys) Facts() keyset.Facts { return keyset.Facts{TriesKeys: true} }
