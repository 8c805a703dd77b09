package jwk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// Set is a set of keys that a verifier accepts: a [Ring], a [Remote] or a
// [StaticSet]. It is sealed; keys of other origins enter through a [Source].
type Set interface {
	// VerifierSeam is for package jwtauth.
	VerifierSeam() (keyset.Set, error)
}

// StaticSet is a fixed set of keys. The zero value accepts nothing.
type StaticSet struct{ table *keyset.Table }

// Static returns a fixed set of keys, for a service that only verifies. It needs at
// least one key, and no two may have the same kid.
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

// newTable makes a table of keys that it checks; see [keyset.NewTable].
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

func (s staticKeys) Ask(context.Context, time.Time, string) (*keyset.Table, error) {
	return s.table, nil
}

func (s staticKeys) Facts() keyset.Facts { return keyset.Facts{} }
