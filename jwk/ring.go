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

// Ring signs with one key and accepts several keys, so the signing key can be replaced
// while tokens of the old key are still alive. It serves its public keys as a JWK Set.
// All methods are safe for concurrent use. The zero value signs and accepts nothing.
//
// A ring of [NewRing] has fixed keys, which only [Ring.Replace] changes. A ring of
// [OpenRing] keeps its keys and their dates in a [Source]. Call [Ring.Rotate] to replace
// its signing key, for example once a month. The ring then computes when the new key can
// sign and when the old key can be removed.
type Ring struct {
	state  atomic.Pointer[ringState]
	keeper *keeper // nil for a ring of NewRing
}

// ringState holds the keys that a ring uses during one period. It is immutable.
type ringState struct {
	signer  *keyset.Signer // nil if no key signs
	access  *keyset.Table  // the keys of access tokens, which are published
	refresh *keyset.Table  // the keys of refresh tokens
	jwks    *published.Document
	since   int64  // when the state begins to apply, in Unix nanoseconds; used only for a ring with a Source
	span    uint64 // how long the state applies, in nanoseconds
}

func (s *ringState) signingID() string {
	if s.signer == nil {
		return ""
	}
	return s.signer.Key().ID
}

// covers reports whether the state applies at the time now. If now is before since, the
// difference wraps around to a large number, so one comparison checks both ends.
func (s *ringState) covers(now time.Time) bool { return uint64(now.UnixNano()-s.since) < s.span }

// NewRing makes a ring of fixed keys. The ring signs with signing. It accepts the tokens
// of signing and of all keys in accepted. Two keys with the same kid are an error.
func NewRing(signing *SigningKey, accepted ...*VerificationKey) (*Ring, error) {
	r := &Ring{}
	if err := r.Replace(signing, accepted...); err != nil {
		return nil, err
	}
	return r, nil
}

// OpenRing makes a ring that keeps its keys in a Source. If the Source is empty, OpenRing
// makes the first key, which signs at once. The keys change when the program calls
// [Ring.Rotate], which replaces the signing key as soon as that is safe, or
// [Ring.RevokeKey], which replaces it at once. OpenRing returns the errors of the Source.
//
// The dates of the keys say which key signs, and which keys are accepted, at the time of a
// call. If the clock is set back after it was ahead for less than 10 minutes, the ring
// returns to the earlier keys at once. Otherwise it returns to them when the clock has
// stayed behind for 10 minutes.
//
// OpenRing writes the durations of its options into the Source if the Source has shorter
// ones. It waits at most a second for this write.
//
// The ring reads the Source every ReloadEvery while it is in use. One call waits for the
// reading, for at most 5 seconds, and other calls use the present keys. If the ring was idle for
// twice ReloadEvery, all calls wait. The reading runs in a goroutine of its own. A reading fails
// if the Source cannot be read or its content is not safe, for example if a key would sign
// before verifiers know it. The ring then keeps its keys, sends the event KeysUnavailable, and
// returns the error in Status. Keys that are revoked in the Source are dropped in any case. If a
// process cannot read its Source during a whole rotation, it goes on signing with the old key,
// and other processes may refuse its tokens.
//
// Each key has two ends. Until AccessTo, the key is published and accepted for access
// tokens. At AccessTo, all access tokens that the key signed have expired. After that and
// until RefreshTo, the key is accepted for refresh tokens only, and is not published.
func OpenRing(ctx context.Context, source Source, o RingOptions) (*Ring, error) {
	if source == nil {
		return nil, errors.New("jwk: no Source: OpenRing needs one, e.g. keydir.New(path) or NewMemorySource()")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	r := &Ring{}
	r.keeper = &keeper{
		state: &r.state, source: source, o: o, changeLock: make(chan struct{}, 1),
		revoked: map[string]time.Time{}, recentForKid: recent.New(unknownKidPause, 1),
	}
	r.keeper.announcer = announcer{source: source, now: o.Now, every: o.ReloadEvery, mu: &r.keeper.mu, own: o.durations()}
	stored, err := source.Load(ctx)
	if err == nil && len(stored.Keys) == 0 {
		err = r.keeper.updateSource(ctx, func(keys ringKeys, _ Durations, now time.Time) (ringKeys, error) {
			if len(keys) > 0 {
				return keys, nil // another process was quicker
			}
			return r.keeper.addKey(ctx, keys, now, now)
		})
		if err == nil {
			stored, err = source.Load(ctx)
		}
	}
	r.keeper.finishReading(stored, err, false)
	if err := r.keeper.failure; err != nil {
		return nil, fmt.Errorf("jwk: opening a Ring: %w", err)
	}
	r.keeper.events.Init(o.OnEvent) // the first reading causes no event
	r.keeper.announce(ctx, Durations{})
	return r, nil
}

// Replace replaces all keys of a ring of [NewRing] at once. The ring may be in use. If
// Replace returns an error, the ring has not changed. For a ring of [OpenRing], Replace
// returns an error; use [Ring.Rotate] or [Ring.RevokeKey] instead.
//
// To replace a signing key without refusing a token, call Replace three times. First give
// the old key as signing and the new key as accepted, and wait for as long as verifiers
// may keep the JWK Set (its max-age). Then give the new key as signing and the old key as
// accepted, and wait until the last token of the old key has expired. This includes
// refresh tokens, unless jwtauth.IssuerOptions.RefreshKeys is another ring. Then give the
// new key alone. Cached tokens stay valid while their key is accepted.
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
	errNoSource     = errors.New("jwk: this Ring has no Source: use a Ring of OpenRing")
	errNoSigningKey = errors.New("jwk: the ring has no key to sign with: the active key was revoked, and no other could be made")
)

// stateAt returns the state of the ring at the time now. If a reading of the Source is
// due, stateAt may wait for it. ctx bounds the wait, but not the reading itself.
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

// now reads the clock of the ring. It returns the zero time for a ring of NewRing, which
// has no clock.
func (r *Ring) now() time.Time {
	if r == nil || r.keeper == nil {
		return time.Time{}
	}
	return r.keeper.o.Now()
}

// ServeHTTP answers GET and HEAD with the JWK Set of the ring (RFC 7517, section 5). The
// set holds only public keys. Verifiers may cache it for RingOptions.MaxAge, or for 5
// minutes if the ring is of NewRing. ServeHTTP supports If-None-Match and ignores Range.
// Scripts of other origins may read the set (CORS).
func (r *Ring) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	state, err := r.stateAt(req.Context(), r.now())
	if err != nil {
		wire.WriteUnavailable(w, req)
		return
	}
	state.jwks.ServeHTTP(w, req)
}

// Plan returns the keys of the ring with their states and dates, in the order in which
// they sign. The keys of a ring of [NewRing] have no dates. If the keys are not available,
// Plan returns nil.
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

// RingStatus is the result of [Ring.Status].
type RingStatus struct {
	// SigningKey is the kid of the active key, or "" if there is no active key.
	SigningKey string
	// LoadedAt is the time of the last successful reading of the Source. Zero for a ring of
	// NewRing.
	LoadedAt time.Time
	// LastError is the error of the last reading of the Source, or about its content. It is nil
	// after a successful reading, unless a key that verifiers may not know yet already signs.
	LastError error
	// EventsLost counts the events that were dropped, and the panics of OnEvent.
	EventsLost int

	// Longest are the durations that the ring applies. Each is the longer of the value in
	// the Source and the value of this process.
	Longest Durations
	// NotAnnounced is the error of writing the durations of this process into the Source,
	// for example because a directory cannot be written. It is nil if the Source has the
	// durations. If it is not nil, other processes rotate keys without regard to these
	// durations. While a new key waits to sign, MaxAge, Lead and ReloadEvery are not written,
	// and NotAnnounced says so.
	NotAnnounced error
}

// Status returns the state of the ring for health checks. It may read the Source.
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

// Rotate publishes a new key now, and returns its dates. The key begins to sign when every
// verifier and every process that shares the Source can know it. This takes
// RingOptions.Lead, or longer if the durations of another process need more. If a new key
// is already waiting, Rotate changes nothing and returns the dates of the waiting key, so
// several processes may call Rotate at the same time. Rotate also removes from the Source
// the keys whose tokens all expired more than an hour ago.
//
// Rotate returns an error if no process has announced the lifetimes of its tokens. In that
// case, make an Issuer with the ring first, or write the lifetimes into the Source. An
// error means that nothing has changed, or that the Source was changed and could not be
// read afterwards.
func (r *Ring) Rotate(ctx context.Context) (Life, error) {
	if r == nil || r.keeper == nil {
		return Life{}, errNoSource
	}
	return r.keeper.rotate(ctx)
}

// RevokeKey drops a key at once. All access tokens and refresh tokens that the key signed
// are refused, so users whose refresh token it signed have to log in again. The other
// processes that share the Source drop the key at their next reading (ReloadEvery).
// Verifiers that cache the JWK Set drop the key when they next fetch the set (MaxAge).
// Verifiers made with coreos/go-oidc and hashicorp/cap drop a key only when they get a
// token with an unknown kid.
//
// If the revoked key was the active one, the next key begins to sign at once. If there is
// no next key, RevokeKey makes a new one.
//
// RevokeKey returns an error if neither the ring nor the Source has a key with this kid,
// if the Source cannot be changed, or if no new key can be made. Even then, this process
// no longer accepts the key. If no new key can be made, nothing can be signed until a call
// of Rotate or RevokeKey makes one.
func (r *Ring) RevokeKey(ctx context.Context, kid string) error {
	if r == nil || r.keeper == nil {
		return errNoSource
	}
	return r.keeper.revoke(ctx, kid)
}

// RingOptions configures a [Ring] of [OpenRing]. A zero field means its default. The
// durations of several processes that share a Source may differ. See [Durations].
type RingOptions struct {
	// MaxAge is how long verifiers may cache the JWK Set (Cache-Control, RFC 9111).
	// Default 5m. From 1s to 24h.
	MaxAge time.Duration
	// Lead is how long a new key is published before it signs. The default is the sum of
	// MaxAge, two ReloadEvery, and one minute for the skew of clocks. It is also the
	// minimum. At most 7d.
	Lead time.Duration
	// ReloadEvery is the interval at which the Source is read while the ring is in use.
	// Default 1m. From 1s to 1h. In addition, a token with an unknown kid causes a reading,
	// at most once a second.
	ReloadEvery time.Duration
	// NewKey makes the first key, and the keys of Rotate and RevokeKey. Default:
	// Generate(ES256).
	NewKey func(ctx context.Context) (*SigningKey, error)

	// OnEvent gets KeysChanged, KeyRevoked, KeySkipped (a key has vanished from the Source)
	// and KeysUnavailable, after the change. It runs in a goroutine of its own, one event
	// at a time, with a context that does not end. It may call the Ring. New events are
	// dropped while 256 events wait. If OnEvent panics, that event counts as lost.
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
	least := o.durations().safeLead()
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

// durations returns the durations that a ring with these options announces.
func (o *RingOptions) durations() Durations {
	return Durations{MaxAge: o.MaxAge, Lead: o.Lead, ReloadEvery: o.ReloadEvery}
}

// VerifierSeam implements [Set]. It returns the keys of access tokens.
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
		s.ring.keeper.announce(context.Background(), Durations{AccessTTL: access, RefreshTTL: refresh})
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

func (a ringAccessKeys) AskForKid(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	if err := a.askForKid(ctx, now, kid); err != nil {
		return nil, err
	}
	return a.Current(ctx, now)
}

func (a ringAccessKeys) askForKid(ctx context.Context, now time.Time, kid string) error {
	if a.ring.keeper == nil {
		return nil
	}
	return a.ring.keeper.askForKid(ctx, now, kid)
}

func (a ringAccessKeys) Facts() keyset.Facts { return keyset.Facts{AsksForKid: a.ring.keeper != nil} }

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

func (r ringRefreshKeys) AskForKid(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	if err := r.askForKid(ctx, now, kid); err != nil {
		return nil, err
	}
	return r.Current(ctx, now)
}

// unavailable wraps err so that it matches ErrUnavailable of package jwtauth.
func unavailable(err error) error { return fault.NoAnswer("jwk", err) }
