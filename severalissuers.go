package jwtauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/recent"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// members holds the Verifiers of several issuers.
type members interface {
	// member returns the Verifier of an issuer; nil if there is none. If it cannot find
	// out, it returns an error. It must not keep issuer after it has returned.
	member(ctx context.Context, issuer string) (*Verifier, error)
	all() iter.Seq[*Verifier]
}

// AnyOf makes a Verifier for the tokens of several issuers. The iss claim of a token
// selects one of v, which verifies the token with its own keys and audiences. No issuer
// can therefore sign for another. It is an error if two of v have the same Issuer, or if
// AnyOf or ResolveIssuers made one of v. Events go to the hook of the selected Verifier,
// and those about an unknown issuer to the hook of the first one.
//
// One of v may be of package migrate. It gets the tokens without iss. It may have the Issuer of
// another one of v; then it gets the tokens with typ JWT and those without typ, and the other one
// gets the rest. Logout of the Issuers of v then also takes the tokens of this Verifier, and
// revokes them. An Issuer remembers the 16 newest of these Verifiers.
func AnyOf(v ...*Verifier) (*Verifier, error) {
	if len(v) == 0 {
		return nil, errors.New("jwtauth: AnyOf needs at least one Verifier")
	}
	fixed := &fixedMembers{byIssuer: make(map[string]*Verifier, len(v))}
	combined := &Verifier{members: fixed}
	for _, m := range v {
		switch {
		case !m.isMade():
			return nil, fmt.Errorf("jwtauth: AnyOf: %w", errNoVerifier)
		case m.members != nil:
			return nil, errors.New("jwtauth: AnyOf cannot take a Verifier that AnyOf or ResolveIssuers made")
		case m.old != nil && fixed.old != nil:
			return nil, errors.New("jwtauth: AnyOf: two Verifiers of package migrate, which both take tokens without iss: one is expected")
		case m.old == nil && fixed.byIssuer[m.o.Issuer] != nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: two Verifiers of the issuer %s", errtext.Quote(m.o.Issuer))
		}
		if m.old != nil {
			fixed.old = m
		} else {
			fixed.byIssuer[m.o.Issuer] = m
		}
		combined.o.MaxTokenBytes = max(combined.o.MaxTokenBytes, m.o.MaxTokenBytes)
	}
	combined.onEvent, combined.o.Now = v[0].onEvent, v[0].o.Now
	if fixed.old == nil {
		return combined, nil
	}
	for _, m := range v {
		if m.id.issuer != nil {
			if err := fixed.old.fits(m.id.issuer, m.o.Revocations); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range v {
		if m.id.issuer != nil {
			m.id.issuer.addOld(fixed.old)
		}
	}
	return combined, nil
}

// withIssuer returns a Verifier for the tokens of v and for those of an Issuer. It is v itself if v
// accepts the latter already. v may be nil.
func withIssuer(v *Verifier, i *Issuer) (*Verifier, error) {
	var others []*Verifier
	switch {
	case v == nil:
	case v.members == nil:
		others = []*Verifier{v}
	default:
		if _, ok := v.members.(*resolver); ok {
			return v, nil // the function of the program knows the issuers
		}
		others = slices.Collect(v.members.all())
	}
	if slices.ContainsFunc(others, func(m *Verifier) bool { return m.old == nil && m.o.Issuer == i.o.Issuer }) {
		// The verifier of these tokens may not be one of Issuer.NewVerifier. AnyOf then does not know the Issuer.
		for _, m := range others {
			if m.old != nil {
				if err := m.fits(i.id, i.o.Revocations); err != nil {
					return nil, err
				}
				i.id.addOld(m)
			}
		}
		return v, nil
	}
	own, err := i.NewVerifier(VerifierOptions{})
	if err != nil || v == nil {
		return own, err
	}
	return AnyOf(append([]*Verifier{own}, others...)...)
}

// fixedMembers implements members for AnyOf.
type fixedMembers struct {
	byIssuer map[string]*Verifier
	old      *Verifier // of old tokens; nil if there is none
}

func (m *fixedMembers) member(_ context.Context, issuer string) (*Verifier, error) {
	return m.byIssuer[issuer], nil
}

func (m *fixedMembers) all() iter.Seq[*Verifier] {
	return func(yield func(*Verifier) bool) {
		for _, v := range m.byIssuer {
			if !yield(v) {
				return
			}
		}
		if m.old != nil {
			yield(m.old)
		}
	}
}

// memberFor returns the Verifier for a token: v itself or, if v has members, the one of the
// token's iss. memberFor reads iss before the signature is verified; the member checks iss
// again afterwards. With an error, decider is the Verifier whose hook gets the event.
func memberFor(ctx context.Context, v *Verifier, token string) (decider *Verifier, err error) {
	switch {
	case !v.isMade():
		return v, unavailable("verifier", errNoVerifier)
	case v.members == nil:
		return v, nil
	}
	decider = v
	fixed, _ := v.members.(*fixedMembers)
	err = peekIssuer(ctx, v, token, func(s *verification, issuer string) error {
		if fixed != nil && fixed.old != nil {
			isOld, err := s.peekOld(fixed, issuer)
			if err == nil && isOld {
				decider = fixed.old
			}
			if err != nil || isOld {
				return err
			}
		}
		m, err := v.members.member(ctx, issuer)
		switch {
		case err != nil:
			return err
		case m == nil:
			return refused("iss", ErrTokenIssuer, "an issuer that is known here", errtext.Quote(issuer)+similarIssuer(v, issuer))
		}
		decider = m
		return nil
	})
	return decider, err
}

// similarIssuer returns a text for the log if an unknown issuer looks like a known one. It
// compares iss with at most 16 known issuers, and with none if there is no hook, since an
// attacker can trigger it.
func similarIssuer(v *Verifier, issuer string) string {
	if v.onEvent == nil {
		return ""
	}
	left := 16
	for m := range v.members.all() {
		if text := errtext.IssuerDifference(m.o.Issuer, issuer); text != "" {
			return text + ", from " + errtext.Quote(m.o.Issuer)
		}
		if left--; left == 0 {
			break
		}
	}
	return ""
}

// peekIssuer reads the iss claim of a token whose signature has not been verified, and
// calls use with it. The string is valid until use returns.
func peekIssuer(ctx context.Context, v *Verifier, token string, use func(s *verification, issuer string) error) error {
	s := newVerification(ctx, v, token, time.Time{})
	defer s.release()
	if err := checkSize(s); err != nil {
		return err
	}
	if err := readForm(s); err != nil {
		return err
	}
	fixed, _ := v.members.(*fixedMembers)
	mayBeNull := fixed != nil && fixed.old != nil
	var issuer string
	err := s.payload(func(name string, v strictjson.Value) error {
		if name != "iss" {
			return nil
		}
		var ok bool
		issuer, ok = v.Str()
		return wrongTypeUnless(ok || mayBeNull && v == "null", name)
	})
	if err != nil {
		return malformed("claims", err)
	}
	return use(s, issuer)
}

// ResolveOptions configures [ResolveIssuers]. Zero fields mean the defaults.
type ResolveOptions struct {
	// Keep is how long a Verifier is used before the function is called for its issuer
	// again. After this time at the latest, the tokens of a removed issuer are refused.
	// Default 1m. From 1s to 1h.
	Keep time.Duration
	// Max is how many Verifiers are kept. Default 1000. At most 100,000. If there are
	// more, the least recently used ones are dropped (LRU).
	Max int
	// Timeout bounds each call of the function, whose context outlives the request.
	// Default 2s. At most 1m.
	Timeout time.Duration
	// MaxTokenBytes is the length of the longest token that is accepted. The limit of the
	// Verifier of the issuer applies, too. Default 16384. At most 1 MiB.
	MaxTokenBytes int

	// OnEvent gets TokenRefused for tokens of unknown issuers, and Unavailable if the
	// function fails. The other events go to the hook of the issuer's Verifier.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *ResolveOptions) setDefaults() error {
	o.Keep, o.Timeout = bound.OrDefault(o.Keep, time.Minute), bound.OrDefault(o.Timeout, bound.StoreTimeout)
	if o.Max == 0 {
		o.Max = 1000
	}
	if o.MaxTokenBytes == 0 {
		o.MaxTokenBytes = defaultTokenBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Keep < time.Second || o.Keep > time.Hour:
		return fmt.Errorf("jwtauth: ResolveOptions.Keep is %v, 1s to 1h0m0s is expected", o.Keep)
	case o.Timeout <= 0 || o.Timeout > time.Minute:
		return fmt.Errorf("jwtauth: ResolveOptions.Timeout is %v, up to 1m0s is expected", o.Timeout)
	case o.Max < 1 || o.Max > maxResolved:
		return fmt.Errorf("jwtauth: ResolveOptions.Max is %d, 1 to %d is expected", o.Max, maxResolved)
	case o.MaxTokenBytes < 0 || o.MaxTokenBytes > maxTokenBytes:
		return fmt.Errorf("jwtauth: ResolveOptions.MaxTokenBytes is %d, 1 to %d is expected", o.MaxTokenBytes, maxTokenBytes)
	}
	return nil
}

// ResolveIssuers makes a Verifier for the tokens of issuers that come and go, such as
// tenants. When a token names an issuer, resolve is called for the Verifier of that
// issuer. After Keep, resolve is called again. known is the Verifier that resolve has
// returned before; nil at first. Return known again as long as its options still fit,
// since it has the keys and the cache.
//
// If resolve returns nil, or an error that matches ErrRefused, there is no such issuer, and
// the token is refused. If resolve returns any other error, or does not return within
// Timeout, the error is ErrUnavailable. resolve must not return a Verifier of another issuer,
// nor one whose jwk.Remote has InsecureHTTP, nor one of package migrate: these are ErrUnavailable.
//
// issuer may come from an attacker: it is up to 1024 bytes of UTF-8 without control
// characters. Look it up quickly, and make no network request to it. For one issuer,
// there is one call at a time. For issuers without a Verifier, there are at most 100
// calls at a time. An unknown issuer is usually asked for again only after 10 seconds.
// Each Verifier has its own cache: if there are many, give them a small CacheSize, and a
// jwk.Remote without Background.
func ResolveIssuers(resolve func(ctx context.Context, issuer string, known *Verifier) (*Verifier, error), o ResolveOptions) (*Verifier, error) {
	if resolve == nil {
		return nil, errors.New("jwtauth: ResolveIssuers needs a function")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	r := &resolver{resolve: resolve, o: o, calls: make(map[string]*flight.Call[*Verifier]), unknown: recent.New(askUnknownAgainAfter, maxUnknown)}
	v := &Verifier{members: r, onEvent: o.OnEvent}
	v.o.Now, v.o.MaxTokenBytes = o.Now, o.MaxTokenBytes
	return v, nil
}

// The bounds of a resolver.
const (
	maxResolved  = 100_000 // the largest ResolveOptions.Max
	maxResolving = 100     // calls at a time for issuers without a Verifier
	maxUnknown   = 1 << 10 // the size of resolver.unknown
	// askUnknownAgainAfter is the time after which resolve may be called again for an
	// unknown issuer.
	askUnknownAgainAfter = 10 * time.Second
)

// resolver implements members for ResolveIssuers.
type resolver struct {
	resolve   func(ctx context.Context, issuer string, known *Verifier) (*Verifier, error)
	o         ResolveOptions
	verifiers sync.Map // maps an issuer to a *resolved

	mu        sync.Mutex                         // guards the fields below, and changes of verifiers
	len       int                                // the number of verifiers
	calls     map[string]*flight.Call[*Verifier] // by issuer
	resolving int                                // how many of calls are for an issuer without a Verifier
	unknown   *recent.Set                        // issuers for which resolve returned nil lately
}

// resolved is a Verifier that resolve has returned.
type resolved struct {
	v          *Verifier
	resolvedAt time.Time
	lastUsed   atomic.Int64 // in Unix seconds
}

func (r *resolver) all() iter.Seq[*Verifier] {
	return func(yield func(*Verifier) bool) {
		r.verifiers.Range(func(_, found any) bool { return yield(found.(*resolved).v) })
	}
}

// lookUp returns the Verifier of an issuer that is kept; nil if there is none. isFresh
// reports whether it may be used without a call of resolve.
func (r *resolver) lookUp(issuer string, now time.Time) (known *resolved, isFresh bool) {
	found, ok := r.verifiers.Load(issuer)
	if !ok {
		return nil, false
	}
	known = found.(*resolved)
	return known, now.Sub(known.resolvedAt).Abs() < r.o.Keep // Abs: the clock may have been set back
}

func (r *resolver) member(ctx context.Context, issuer string) (*Verifier, error) {
	now := r.o.Now()
	known, isFresh := r.lookUp(issuer, now)
	if isFresh {
		if second := now.Unix(); known.lastUsed.Load() != second { // at most one write a second, since all CPUs read lastUsed
			known.lastUsed.Store(second)
		}
		return known.v, nil
	}
	if bound.CheckIssuer(issuer) != nil {
		return nil, nil
	}
	call, v, err := r.startCall(ctx, strings.Clone(issuer), now)
	if call == nil {
		return v, err
	}
	if v, err = call.Wait(ctx); err != nil {
		return nil, unavailable("iss", err)
	}
	return v, nil
}

// startCall returns the call of resolve for an issuer. It starts the call unless it is under
// way. If no call is needed or allowed, startCall returns nil and the result of member.
func (r *resolver) startCall(ctx context.Context, issuer string, now time.Time) (*flight.Call[*Verifier], *Verifier, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if call := r.calls[issuer]; call != nil {
		return call, nil, nil
	}
	known, isFresh := r.lookUp(issuer, now)
	switch {
	case isFresh: // another call has just ended
		return nil, known.v, nil
	case known == nil && r.unknown.Has(issuer, now):
		return nil, nil, nil
	case known == nil && r.resolving >= maxResolving:
		return nil, nil, unavailable("iss", errors.New("too many unknown issuers are being resolved"))
	}
	var previous *Verifier
	if known != nil {
		previous = known.v
	} else {
		r.resolving++
	}
	startedAt := r.o.Now() // read before the call, since the result of resolve may be that old
	call := flight.Start(context.WithoutCancel(ctx), r.o.Timeout, func(ctx context.Context) (*Verifier, error) {
		v, err := r.resolve(ctx, issuer, previous)
		if m, _ := classify(err); err != nil && m == classRefused {
			return nil, nil
		}
		if err == nil && v != nil && (v.keys == nil || v.o.Issuer != issuer) {
			return nil, fmt.Errorf("the function of ResolveIssuers returned a Verifier of %s, not of %s", errtext.Quote(v.o.Issuer), errtext.Quote(issuer))
		}
		if err == nil && v != nil && v.old != nil {
			return nil, errors.New("the function of ResolveIssuers returned a Verifier of package migrate, which only AnyOf takes")
		}
		if err == nil && v != nil && v.facts.InsecureHTTP {
			return nil, errors.New("the function of ResolveIssuers returned a Verifier whose jwk.Remote has InsecureHTTP, which is only for a URL that stands in the program")
		}
		return v, err
	}, func(v *Verifier, err error) { r.finishCall(issuer, previous, v, err, startedAt) })
	r.calls[issuer] = call
	return call, nil, nil
}

// finishCall stores the result of a call. previous is the Verifier that resolve got as known.
func (r *resolver) finishCall(issuer string, previous, v *Verifier, err error, startedAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, issuer)
	if previous == nil {
		r.resolving--
	}
	switch {
	case err != nil: // keep the Verifier; the next token makes another call
	case v == nil:
		if _, existed := r.verifiers.LoadAndDelete(issuer); existed {
			r.len--
		}
		r.unknown.Add(issuer, startedAt)
	default:
		if previous == nil && r.len >= r.o.Max {
			r.evict()
		}
		v.id.addResolver(r)
		found := &resolved{v: v, resolvedAt: startedAt}
		found.lastUsed.Store(startedAt.Unix())
		if _, existed := r.verifiers.Swap(issuer, found); !existed {
			r.len++
		}
	}
}

// evict drops a tenth of the Verifiers, the least recently used. The caller holds the lock.
func (r *resolver) evict() {
	type use struct {
		issuer any
		at     int64
	}
	var entries []use
	r.verifiers.Range(func(issuer, found any) bool {
		entries = append(entries, use{issuer, found.(*resolved).lastUsed.Load()})
		return true
	})
	slices.SortFunc(entries, func(a, b use) int { return cmp.Compare(a.at, b.at) })
	for _, u := range entries[:max(len(entries)/10, 1)] {
		r.verifiers.Delete(u.issuer)
		r.len--
	}
}
