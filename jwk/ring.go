package jwk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/published"
	"github.com/jwtauth-go/jwtauth/internal/recent"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// Ring signs with one key and accepts several, so that a key can be replaced while
// tokens that the old key signed are alive. It serves its public keys as a JWK Set.
// All methods are safe for concurrent use. The zero value signs and accepts nothing.
//
// A ring that [NewRing] made holds the keys that it was given, until the next
// Replace. A ring that [OpenRing] made keeps its keys in a [Source], rotates them,
// and knows when each step is safe.
type Ring struct {
	state  atomic.Pointer[ringState]
	keeper *keeper // nil for a ring of NewRing
}

// ringState is what a ring holds for a while. It is immutable.
type ringState struct {
	signer  *keyset.Signer // nil if no key signs
	access  *keyset.Table  // the keys of access tokens, which are published
	refresh *keyset.Table  // the keys of refresh tokens
	jwks    *published.Document
	since   int64  // in Unix nanoseconds; only of a ring with a Source
	span    uint64 // for how long the state is good
}

func (s *ringState) signingID() string {
	if s.signer == nil {
		return ""
	}
	return s.signer.Key().ID
}

// covers reports whether the state is good at that time. It is one comparison, which
// also fails if the clock was set back.
func (s *ringState) covers(now time.Time) bool { return uint64(now.UnixNano()-s.since) < s.span }

// NewRing makes a ring of fixed keys, which signs with the first key and accepts it
// and all the others. Two keys with one kid are an error.
func NewRing(signing *SigningKey, accepted ...*VerificationKey) (*Ring, error) {
	r := &Ring{}
	if err := r.Replace(signing, accepted...); err != nil {
		return nil, err
	}
	return r, nil
}

// OpenRing makes a ring whose keys lie in a Source. It signs with the key whose time
// it is and accepts those whose tokens can still be alive. If the Source is empty,
// OpenRing makes the first key, which signs at once. [Ring.Rotate] replaces the key as
// soon as that is safe, and [Ring.RevokeKey] at once. Errors of the Source are
// returned.
//
// The keys of the ring follow from the time of each call, and never step back when the
// clock does. Once in ReloadEvery, one call waits while the Source is read, for at most
// 5 seconds, and the others go on; after idle time all wait. The reading runs in a
// goroutine, which ends with it. If the Source cannot be read or its content is not
// safe, the ring goes on with its keys, sends KeysUnavailable, and returns the error in
// Status; only keys that are revoked in the Source are dropped all the same. A process
// that cannot read its Source for longer than a rotation takes signs tokens that others
// may refuse.
//
// Each key has two ends. It is published, and accepted for access tokens, until the
// last access token that it signed is dead. From then until the last refresh token is
// dead, it is accepted for refresh tokens and no longer published.
func OpenRing(ctx context.Context, source Source, o RingOptions) (*Ring, error) {
	if source == nil {
		return nil, errors.New("jwk: no Source: OpenRing needs one, e.g. keydir.New(path) or NewMemorySource()")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	r := &Ring{}
	r.keeper = &keeper{
		state: &r.state, source: source, o: o, own: o.durations(), changes: make(chan struct{}, 1),
		revoked: map[string]time.Time{}, asked: recent.New(askAgainAfter, 1),
	}
	stored, err := source.Load(ctx)
	if err == nil && len(stored.Keys) == 0 {
		err = r.keeper.update(ctx, func(keys lives, now time.Time) (lives, error) {
			if len(keys) > 0 {
				return keys, nil // another process was quicker
			}
			return r.keeper.addKey(ctx, keys, now, now)
		})
		if err == nil {
			stored, err = source.Load(ctx)
		}
	}
	if err == nil {
		stored = r.keeper.store(ctx, stored)
	}
	r.keeper.events.Init(o.OnEvent)
	events := r.keeper.adopt(stored, err)
	if err := r.keeper.failure; err != nil {
		return nil, fmt.Errorf("jwk: opening a Ring: %w", err)
	}
	r.keeper.events.Send(events...)
	return r, nil
}

// Replace replaces all keys of a ring that [NewRing] made, at once, while the ring is
// in use. After an error, the ring is as it was. A ring that [OpenRing] made rotates
// its keys by itself, and Replace is an error.
//
// To replace a signing key without refusing a token, call Replace twice. First with
// the old key as signing and the new key as accepted: wait for as long as verifiers
// may keep the JWK Set (its max-age). Then with the new key as signing and the old key
// as accepted, until the last token of the old key has expired. Refresh tokens count,
// unless they have a ring of their own. Tokens that were verified before stay good as
// long as their key is accepted.
func (r *Ring) Replace(signing *SigningKey, accepted ...*VerificationKey) error {
	if r == nil {
		return errNoRing
	}
	if r.keeper != nil {
		return errors.New("jwk: this Ring was opened from a Source, which holds its keys: Replace is for rings of NewRing")
	}
	for {
		keys := append([]*VerificationKey{signing.Verification()}, accepted...)
		var known *keyset.Table
		old := r.state.Load()
		if old != nil {
			known = old.access
		}
		table, err := newTable(keys, known)
		if err != nil {
			return fmt.Errorf("jwk: %w", err)
		}
		state := &ringState{signer: signing.signer, access: table, refresh: table}
		if state.jwks, err = newDocument(table, bound.KeySetAge); err != nil {
			return err
		}
		if r.state.CompareAndSwap(old, state) { // otherwise another Replace came first
			return nil
		}
	}
}

var (
	errNoRing       = errors.New("jwk: this Ring was not made by NewRing or OpenRing")
	errNoSource     = errors.New("jwk: this Ring has no Source: OpenRing makes one that has")
	errNoSigningKey = errors.New("jwk: the ring has no key to sign with: the active key was revoked, and no other could be made")
)

// stateAt returns what the ring holds at that time. ctx bounds the reading of the
// Source, if one is due.
func (r *Ring) stateAt(ctx context.Context, now time.Time) (*ringState, error) {
	if r == nil {
		return nil, errNoRing
	}
	state := r.state.Load()
	switch {
	case state == nil:
		return nil, errNoRing
	case r.keeper != nil && !state.covers(now):
		return r.keeper.advance(ctx, now)
	}
	return state, nil
}

// now reads the clock of the ring. A ring of NewRing has none.
func (r *Ring) now() time.Time {
	if r == nil || r.keeper == nil {
		return time.Time{}
	}
	return r.keeper.o.Now()
}

// ServeHTTP answers GET and HEAD with the JWK Set of the ring (RFC 7517, section 5),
// which holds only public keys. Verifiers may keep it for RingOptions.MaxAge (5
// minutes for a ring of NewRing) and ask again with If-None-Match. Scripts of other
// origins may read it. Range is ignored.
func (r *Ring) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	state, err := r.stateAt(req.Context(), r.now())
	if err != nil {
		wire.WriteUnavailable(w, req)
		return
	}
	state.jwks.ServeHTTP(w, req)
}

// Plan returns the keys of the ring with their dates, in the order in which they
// sign. The keys of a ring that [NewRing] made have no dates.
func (r *Ring) Plan() []Planned {
	state, err := r.stateAt(context.Background(), r.now())
	if err != nil {
		return nil
	}
	if r.keeper != nil {
		return r.keeper.plan()
	}
	var plan []Planned
	for _, k := range state.access.All() {
		p := Planned{Life{ID: k.ID, Algorithm: Algorithm(k.Alg.Name)}, Retiring}
		if k.ID == state.signingID() {
			p.State = Active
		}
		plan = append(plan, p)
	}
	return plan
}

// RingStatus is how a [Ring] is doing.
type RingStatus struct {
	SigningKey string    // the kid of the active key; "" if there is none
	LoadedAt   time.Time // when the Source was last read well; zero for a ring of NewRing
	LastError  error     // of the last reading, or about its content; nil if it was good
	EventsLost int       // how many events OnEvent did not get, or panicked about

	// Longest are the durations by which keys are rotated: the longest of those that the
	// Source keeps and of this process.
	Longest Durations
	// NotAnnounced is why the durations of this process are not in the Source, such as a
	// directory that cannot be written; nil if they are. A process that rotates does not
	// know of them then.
	NotAnnounced error
}

// Status returns how the ring is doing.
func (r *Ring) Status() RingStatus {
	state, err := r.stateAt(context.Background(), r.now())
	if err != nil {
		return RingStatus{LastError: err}
	}
	s := RingStatus{SigningKey: state.signingID()}
	if r.keeper != nil {
		r.keeper.fillStatus(&s)
		s.EventsLost = r.keeper.events.Lost()
	}
	return s
}

// Rotate publishes a new key now. The key begins to sign as soon as every verifier and
// every process that shares the Source can know it: after Lead, with the longest durations
// that the Source keeps. Rotate is an error if no process has announced the lifetimes of
// its tokens: make an Issuer with the ring first, or write them into the Source. Rotate returns the life of that key. If a key waits
// already, Rotate changes nothing and returns the life of that one, so that several
// processes may rotate at once. Keys that ended more than an hour ago leave the Source.
// After an error, nothing has changed, or the Source could not be read afterwards.
func (r *Ring) Rotate(ctx context.Context) (Life, error) {
	if r == nil || r.keeper == nil {
		return Life{}, errNoSource
	}
	return r.keeper.rotate(ctx)
}

// RevokeKey drops a key at once, for everything: every access token and refresh token
// that it signed is refused, so that every session whose refresh token it signed has
// to log in again. The other processes that share the Source drop it when they read the
// Source next (ReloadEvery), and verifiers that keep the JWK Set when they fetch the set
// next (MaxAge). Verifiers made with coreos/go-oidc and hashicorp/cap drop a key only
// when they meet a kid that they do not know.
//
// If the key was the active one, the key that waits to be the next one signs at once,
// or else a new one. An error means that this process has dropped the key, if it knew
// it, and that the Source could not be changed or no other key could be made. In the
// latter case nothing can be signed until one can.
func (r *Ring) RevokeKey(ctx context.Context, kid string) error {
	if r == nil || r.keeper == nil {
		return errNoSource
	}
	return r.keeper.revoke(ctx, kid)
}

// RingOptions configures a [Ring] that [OpenRing] makes. Zero fields mean the
// defaults. The Source keeps the longest durations of all processes that share it, and
// every rotation is safe for them.
type RingOptions struct {
	// MaxAge is how long verifiers may keep the JWK Set (Cache-Control, RFC 9111).
	// Default 5m. From 1s to 24h.
	MaxAge time.Duration
	// Lead is how long a new key is published before it signs. Default and at least
	// MaxAge, two ReloadEvery and a minute for the skew of clocks. At most 7d.
	Lead time.Duration
	// ReloadEvery is how often the Source is read while the ring is in use. Default 1m.
	// From 1s to 1h. In addition, a token with an unknown key causes a reading, at most
	// once a second.
	ReloadEvery time.Duration
	// NewKey makes the first key, and those of Rotate and RevokeKey. Default:
	// Generate(ES256).
	NewKey func(ctx context.Context) (*SigningKey, error)

	// OnEvent gets KeysChanged, KeyRevoked, KeySkipped (a key has vanished from the
	// Source) and KeysUnavailable, after the change. It runs in a goroutine of its own,
	// one event at a time, with a context that does not end, and may call the Ring. Events
	// are lost if 256 wait, or if OnEvent panics.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now. It should be the clock of the Issuer and its
	// verifiers.
	Now func() time.Time
}

func (o *RingOptions) setDefaults() error {
	for _, d := range []struct {
		name                     string
		value                    *time.Duration
		byDefault, least, atMost time.Duration
	}{
		{"MaxAge", &o.MaxAge, bound.KeySetAge, time.Second, maxKeySetAge},
		{"ReloadEvery", &o.ReloadEvery, time.Minute, time.Second, maxReloadEvery},
		{"Lead", &o.Lead, 0, 0, maxLead},
	} {
		*d.value = bound.OrDefault(*d.value, d.byDefault)
		if *d.value < d.least || *d.value > d.atMost {
			return fmt.Errorf("jwk: RingOptions.%s is %v, %v to %v is expected", d.name, *d.value, d.least, d.atMost)
		}
	}
	least := o.durations().lead()
	if o.Lead == 0 {
		o.Lead = least
	}
	if o.Lead < least {
		return fmt.Errorf("jwk: RingOptions.Lead is %v, at least %v is expected: MaxAge, two ReloadEvery and a minute", o.Lead, least)
	}
	if o.NewKey == nil {
		o.NewKey = func(context.Context) (*SigningKey, error) { return Generate(ES256) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// The bounds of durations of a Ring.
const (
	maxKeySetAge   = 24 * time.Hour
	maxReloadEvery = time.Hour
	maxLead        = 7 * 24 * time.Hour
)

// durations returns what a ring with these options announces.
func (o *RingOptions) durations() Durations {
	return Durations{MaxAge: o.MaxAge, Lead: o.Lead, ReloadEvery: o.ReloadEvery}
}

// lead is how long a key is published before it signs. After it, the last verifier has
// fetched the JWK Set again, from a process that has read the Source, also if one
// reading failed, whatever the skew of the clocks.
func (d Durations) lead() time.Duration { return max(d.Lead, d.MaxAge+2*d.ReloadEvery+bound.Skew) }

// VerifierSeam implements [Set]: the keys of access tokens.
func (r *Ring) VerifierSeam() (keyset.Set, error) {
	seam, err := r.IssuerSeam()
	if err != nil {
		return nil, err
	}
	return seam.AccessKeys(), nil
}

// IssuerSeam is for package jwtauth.
func (r *Ring) IssuerSeam() (keyset.Ring, error) {
	if r == nil || r.state.Load() == nil {
		return nil, errNoRing
	}
	return ringSeam{r}, nil
}

// ringSeam implements [keyset.Ring].
type ringSeam struct{ ring *Ring }

func (s ringSeam) AccessKeys() keyset.Set  { return ringAccessKeys(s) }
func (s ringSeam) RefreshKeys() keyset.Set { return ringRefreshKeys{ringAccessKeys(s)} }

func (s ringSeam) Signer(ctx context.Context, now time.Time) (*keyset.Signer, error) {
	state, err := s.ring.stateAt(ctx, now)
	switch {
	case err != nil:
		return nil, err
	case state.signer == nil:
		return nil, errNoSigningKey
	}
	return state.signer, nil
}

func (s ringSeam) Announce(access, refresh time.Duration) {
	if s.ring.keeper != nil {
		s.ring.keeper.announce(Durations{AccessTTL: access, RefreshTTL: refresh})
	}
}

// ringAccessKeys implements [keyset.Set] with the keys of access tokens.
type ringAccessKeys struct{ ring *Ring }

func (a ringAccessKeys) Current(ctx context.Context, now time.Time) (*keyset.Table, error) {
	state, err := a.ring.stateAt(ctx, now)
	if err != nil {
		return nil, err
	}
	return state.access, nil
}

func (a ringAccessKeys) Ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	if err := a.ask(ctx, now, kid); err != nil {
		return nil, err
	}
	return a.Current(ctx, now)
}

func (a ringAccessKeys) ask(ctx context.Context, now time.Time, kid string) error {
	if a.ring.keeper == nil {
		return nil
	}
	return a.ring.keeper.askForKid(ctx, now, kid)
}

func (a ringAccessKeys) Facts() keyset.Facts { return keyset.Facts{Grows: a.ring.keeper != nil} }

// ringRefreshKeys implements [keyset.Set] with the keys of refresh tokens, which outlive
// access tokens.
type ringRefreshKeys struct{ ringAccessKeys }

func (r ringRefreshKeys) Current(ctx context.Context, now time.Time) (*keyset.Table, error) {
	state, err := r.ring.stateAt(ctx, now)
	if err != nil {
		return nil, err
	}
	return state.refresh, nil
}

func (r ringRefreshKeys) Ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	if err := r.ask(ctx, now, kid); err != nil {
		return nil, err
	}
	return r.Current(ctx, now)
}

// unavailable is the error of an exported method that got no answer.
func unavailable(err error) error { return fault.NoAnswer("jwk", err) }
