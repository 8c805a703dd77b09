package jwtauth

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// KeySource is where a [KeyRing] with a life cycle keeps its keys and their dates.
// Package keydir has one for several processes, [MemoryKeys] for tests and single ones,
// [FixedKeys] for signers that live elsewhere. A source must honour its context and
// be safe for concurrent use.
type KeySource interface {
	// Load returns all keys, in any order; none, where there are none yet. What is
	// half-written, unreadable or contradicts itself is an error; keys beside an error
	// are those which are known to be revoked.
	Load(ctx context.Context) ([]StoredKey, error)
	// Update gives change the keys as Load would return them, and stores what it
	// returns, as one step that no other Update comes between, of this process or
	// another. An error of change comes back, and nothing is stored then.
	Update(ctx context.Context, change func(keys []StoredKey) ([]StoredKey, error)) error
}

// MemoryKeys is a KeySource in memory: a restart begins with a new key.
func MemoryKeys() KeySource { return new(memoryKeys) }

type memoryKeys struct {
	mu   sync.Mutex
	keys []StoredKey
}

func (m *memoryKeys) Load(ctx context.Context) ([]StoredKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), ctx.Err()
}

func (m *memoryKeys) Update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	keys, err := change(slices.Clone(m.keys))
	if err == nil {
		m.keys = slices.Clone(keys)
	}
	return err
}

// FixedKeys is a KeySource of keys with dates that the program knows, as from its
// configuration: for signers that live in a KMS or an HSM (see [NewSigningKey]).
// Published and SignsFrom are needed of each key but the first; the ring derives
// the other dates, and refuses a key that would sign before it was published for
// long enough. Rotating is done where the dates come from: Rotate is an error, and
// RevokeKey drops the key in this process alone and says so.
func FixedKeys(keys ...StoredKey) KeySource { return fixedKeys(slices.Clone(keys)) }

type fixedKeys []StoredKey

func (f fixedKeys) Load(ctx context.Context) ([]StoredKey, error) {
	return slices.Clone(f), ctx.Err()
}

func (f fixedKeys) Update(context.Context, func([]StoredKey) ([]StoredKey, error)) error {
	return errors.New("jwtauth: FixedKeys cannot be changed: their dates stand where the program has them from")
}
