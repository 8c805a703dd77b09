package jwk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
)

// Stored is the content of a [Source]. The zero value means that nothing is stored yet.
type Stored struct {
	// Keys are the keys, in any order.
	Keys []StoredKey
	// Longest are the longest durations that the processes with this Source have
	// announced. Every step of a rotation is safe for all of them. They never shrink by
	// themselves.
	Longest Durations
}

func (s Stored) clone() Stored {
	s.Keys = slices.Clone(s.Keys)
	return s
}

// Durations are what the rotation of keys depends on. A [Ring] announces its MaxAge, Lead
// and ReloadEvery when it is opened, and an Issuer announces the lifetimes of its tokens
// when it is made. Zero means that nobody has announced a value.
type Durations struct {
	// AccessTTL and RefreshTTL are lifetimes of tokens: see LongestAccessTTL and the shorter
	// one of IdleTTL and SessionTTL in jwtauth.IssuerOptions. If both are zero, nobody knows
	// when a key may leave, and Rotate is an error.
	AccessTTL, RefreshTTL time.Duration
	// MaxAge, Lead and ReloadEvery are those of RingOptions.
	MaxAge, Lead, ReloadEvery time.Duration
}

// longest returns the longer one of each duration.
func (d Durations) longest(o Durations) Durations {
	return Durations{
		AccessTTL: max(d.AccessTTL, o.AccessTTL), RefreshTTL: max(d.RefreshTTL, o.RefreshTTL),
		MaxAge: max(d.MaxAge, o.MaxAge), Lead: max(d.Lead, o.Lead), ReloadEvery: max(d.ReloadEvery, o.ReloadEvery),
	}
}

// knowsTokens reports whether a lifetime of tokens is known.
func (d Durations) knowsTokens() bool { return d.AccessTTL > 0 || d.RefreshTTL > 0 }

// check returns an error about a duration that no process can have announced.
func (d Durations) check() error {
	for _, v := range []struct {
		name   string
		value  time.Duration
		atMost time.Duration
	}{
		{"AccessTTL", d.AccessTTL, bound.Duration}, {"RefreshTTL", d.RefreshTTL, bound.Duration},
		{"MaxAge", d.MaxAge, maxKeySetAge}, {"Lead", d.Lead, maxLead}, {"ReloadEvery", d.ReloadEvery, maxReloadEvery},
	} {
		if v.value < 0 || v.value > v.atMost {
			return fmt.Errorf("the source says that the longest %s is %v, at most %v is expected", v.name, v.value, v.atMost)
		}
	}
	return nil
}

// Source keeps the keys of a [Ring] and their dates. Package keydir has a Source for
// several processes, [MemorySource] is for tests and single processes, [FixedSource]
// is for signers that live elsewhere. A Source must honor its context and be safe for
// concurrent use.
type Source interface {
	// Load returns all that is stored. If the content is half-written, unreadable or
	// contradicts itself, Load returns an error. Keys that Load returns together with an
	// error are known to be revoked.
	Load(ctx context.Context) (Stored, error)
	// Update calls change with what Load would return, and stores the result as one step:
	// no other Update comes between, of this process or another one. If change returns an
	// error, Update stores nothing and returns that error.
	Update(ctx context.Context, change func(s Stored) (Stored, error)) error
}

// MemorySource is a [Source] in memory: a restart begins with a new key.
type MemorySource struct {
	mu     sync.Mutex
	stored Stored
}

// NewMemorySource returns an empty source.
func NewMemorySource() *MemorySource { return new(MemorySource) }

var errNilSource = errors.New("jwk: this Source is nil")

// Load implements [Source].
func (m *MemorySource) Load(ctx context.Context) (Stored, error) {
	if m == nil {
		return Stored{}, errNilSource
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stored.clone(), ctx.Err()
}

// Update implements [Source].
func (m *MemorySource) Update(ctx context.Context, change func(Stored) (Stored, error)) error {
	if m == nil {
		return errNilSource
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	stored, err := change(m.stored.clone())
	if err == nil {
		m.stored = stored.clone()
	}
	return err
}

// FixedSource is a [Source] of keys whose dates the program knows, such as keys in a
// KMS or an HSM (see [NewSigning]). It cannot be changed: Rotate is an error, and
// RevokeKey drops the key in this process alone and returns an error that says so.
type FixedSource struct{ stored Stored }

// NewFixedSource returns the source of the given keys. Every key except the first
// needs Published and SignsFrom. The ring derives the other dates, and refuses a key
// that would sign before it was published for long enough. The ring also respects the
// durations of this process, so Longest may be zero.
func NewFixedSource(s Stored) *FixedSource { return &FixedSource{s.clone()} }

// Load implements [Source].
func (f *FixedSource) Load(ctx context.Context) (Stored, error) {
	if f == nil {
		return Stored{}, errNilSource
	}
	return f.stored.clone(), ctx.Err()
}

// Update implements [Source]. It is always an error.
func (f *FixedSource) Update(context.Context, func(Stored) (Stored, error)) error {
	return errors.New("jwk: a FixedSource cannot be changed: change the dates where the program has them from")
}
