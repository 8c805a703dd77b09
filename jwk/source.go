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
	// Longest holds, for each duration, the longest value that a process with this Source
	// has announced. A rotation waits for these durations, so it is safe for all
	// processes. A Ring never makes them shorter.
	Longest Durations
}

func (s Stored) clone() Stored {
	s.Keys = slices.Clone(s.Keys)
	return s
}

// Durations are the durations that the dates of a rotation depend on. A [Ring] announces
// MaxAge, Lead and ReloadEvery when it is opened. An Issuer announces the lifetimes of its
// tokens when it is made. To announce a duration means to write it into the [Source]. Zero
// means that no process has announced a value.
type Durations struct {
	// AccessTTL is LongestAccessTTL of jwtauth.IssuerOptions. RefreshTTL is IdleTTL or
	// SessionTTL of jwtauth.IssuerOptions, whichever is shorter. If AccessTTL and
	// RefreshTTL are both zero, it is not known when a key can be removed, and Rotate
	// returns an error.
	AccessTTL, RefreshTTL time.Duration
	// MaxAge, Lead and ReloadEvery are the fields of RingOptions with these names.
	MaxAge, Lead, ReloadEvery time.Duration
}

// The maximum durations of RingOptions.
const (
	maxKeySetAge   = 24 * time.Hour
	maxReloadEvery = time.Hour
	maxLead        = 7 * 24 * time.Hour
)

// maxEach returns the longer value of each duration.
func (d Durations) maxEach(o Durations) Durations {
	return Durations{
		AccessTTL: max(d.AccessTTL, o.AccessTTL), RefreshTTL: max(d.RefreshTTL, o.RefreshTTL),
		MaxAge: max(d.MaxAge, o.MaxAge), Lead: max(d.Lead, o.Lead), ReloadEvery: max(d.ReloadEvery, o.ReloadEvery),
	}
}

// raise returns the longer value of each duration. If a key of the source is waiting to
// sign, raise leaves MaxAge, Lead and ReloadEvery as they are. The waiting time of that key
// was computed from the old values, so with longer values other processes would refuse the
// key.
func (d Durations) raise(own Durations, hasWaitingKey bool) Durations {
	if hasWaitingKey {
		own = Durations{AccessTTL: own.AccessTTL, RefreshTTL: own.RefreshTTL}
	}
	return d.maxEach(own)
}

// safeLead returns how long a key must be published before it signs. In that time, every
// process reads the Source, even if one reading fails, and then every verifier fetches the
// JWK Set again. One minute is added for the skew of clocks.
func (d Durations) safeLead() time.Duration { return max(d.Lead, d.MaxAge+2*d.ReloadEvery+bound.Skew) }

// forgetMargin is how long a key stays in the source after its RefreshTo.
const forgetMargin = time.Hour

// forgetAfter returns how long a key stays in the source after it was revoked.
func (d Durations) forgetAfter() time.Duration {
	return max(d.AccessTTL, d.RefreshTTL) + bound.EndMargin + forgetMargin
}

// hasTokenLifetimes reports whether an Issuer has announced the lifetimes of its tokens.
func (d Durations) hasTokenLifetimes() bool { return d.AccessTTL > 0 || d.RefreshTTL > 0 }

// check returns an error if a duration is out of the bounds of the options.
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

// Source stores the keys of a [Ring] and their dates. Package keydir has a Source for
// several processes. [MemorySource] is for tests and single processes. [FixedSource] is
// for keys of external signers. A Source must honor its context and be safe for concurrent
// use.
type Source interface {
	// Load returns the whole content. If the content is half-written, unreadable or
	// contradicts itself, Load returns an error. Together with an error, Load may return
	// revoked keys; a Ring drops these keys in spite of the error.
	Load(ctx context.Context) (Stored, error)
	// Update calls change with the current content, and stores the result. The whole Update
	// is atomic: no Update of this process or another process runs at the same time. If
	// change returns an error, Update stores nothing and returns that error.
	Update(ctx context.Context, change func(s Stored) (Stored, error)) error
}

// MemorySource is a [Source] in memory. After a restart of the process, it is empty.
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

// FixedSource is a [Source] whose keys and dates are given by the program, such as keys in
// a KMS or an HSM (see [NewSigning]). It cannot be changed, so Rotate always returns an
// error. RevokeKey drops the key in this process only, and returns the error that a
// FixedSource cannot be changed.
type FixedSource struct{ stored Stored }

// NewFixedSource returns a Source of the given keys. Every key except the first needs
// Published and SignsFrom. The ring computes the other dates. It refuses a key whose
// SignsFrom is too soon after its Published. Longest may be zero, since a ring always
// applies its own durations as well.
func NewFixedSource(s Stored) *FixedSource { return &FixedSource{s.clone()} }

// Load implements [Source].
func (f *FixedSource) Load(ctx context.Context) (Stored, error) {
	if f == nil {
		return Stored{}, errNilSource
	}
	return f.stored.clone(), ctx.Err()
}

// Update implements [Source]. It always returns an error.
func (f *FixedSource) Update(context.Context, func(Stored) (Stored, error)) error {
	return errors.New("jwk: a FixedSource cannot be changed: change the keys and dates that the program gives to NewFixedSource")
}
