package jwk

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Source keeps the keys of a [Ring] and their dates. Package keydir has a Source for
// several processes, [MemorySource] is for tests and single processes, [FixedSource]
// is for signers that live elsewhere. A Source must honor its context and be safe for
// concurrent use.
type Source interface {
	// Load returns all keys, in any order; none if nothing is stored yet. If the
	// content is half-written, unreadable or contradicts itself, Load returns an
	// error. Keys that Load returns together with an error are known to be revoked.
	Load(ctx context.Context) ([]StoredKey, error)
	// Update calls change with the keys that Load would return, and stores the result
	// as one step: no other Update comes between, of this process or another one. If
	// change returns an error, Update stores nothing and returns that error.
	Update(ctx context.Context, change func(keys []StoredKey) ([]StoredKey, error)) error
}

// MemorySource is a [Source] in memory: a restart begins with a new key.
type MemorySource struct {
	mu   sync.Mutex
	keys []StoredKey
}

// NewMemorySource returns an empty source.
func NewMemorySource() *MemorySource { return new(MemorySource) }

var errNilSource = errors.New("jwk: this Source is nil")

// Load implements [Source].
func (m *MemorySource) Load(ctx context.Context) ([]StoredKey, error) {
	if m == nil {
		return nil, errNilSource
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), ctx.Err()
}

// Update implements [Source].
func (m *MemorySource) Update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) error {
	if m == nil {
		return errNilSource
	}
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

// FixedSource is a [Source] of keys whose dates the program knows, such as keys in a
// KMS or an HSM (see [NewSigning]). It cannot be changed: Rotate is an error, and
// RevokeKey drops the key in this process alone and returns an error that says so.
type FixedSource struct{ keys []StoredKey }

// NewFixedSource returns the source of the given keys. Every key except the first
// needs Published and SignsFrom. The ring derives the other dates, and refuses a key
// that would sign before it was published for long enough.
func NewFixedSource(keys ...StoredKey) *FixedSource { return &FixedSource{slices.Clone(keys)} }

// Load implements [Source].
func (f *FixedSource) Load(ctx context.Context) ([]StoredKey, error) {
	if f == nil {
		return nil, errNilSource
	}
	return slices.Clone(f.keys), ctx.Err()
}

// Update implements [Source]. It is always an error.
func (f *FixedSource) Update(context.Context, func([]StoredKey) ([]StoredKey, error)) error {
	return errors.New("jwk: a FixedSource cannot be changed: change the dates where the program has them from")
}
