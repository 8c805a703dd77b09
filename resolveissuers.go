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
)

// ResolveOptions configures [ResolveIssuers]. Zero fields mean the defaults.
type ResolveOptions struct {
	// Keep is how long the verifier of an issuer is used before the function is called
	// again. An issuer that is gone is refused after that time at the latest. Default 1m.
	// From 1s to 1h.
	Keep time.Duration
	// Max is how many verifiers are kept. Default 1000. At most 100,000. If there are
	// more issuers, those that were used longest ago leave (LRU).
	Max int
	// Timeout bounds each call of the function, whose context outlives the request.
	// Default 2s. At most 1m.
	Timeout time.Duration
	// MaxTokenBytes is the length of the longest token that is read, whatever its
	// verifier would accept. Default 8192. At most 1 MiB.
	MaxTokenBytes int

	// OnEvent gets refusals of tokens of unknown issuers, and missing answers.
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

// ResolveIssuers makes a verifier of the tokens of issuers that come and go, such as
// tenants. It calls resolve for the verifier of an issuer when a token names the issuer,
// and again after Keep. known is what resolve returned before, nil at first: return it
// again as long as its options still fit, since it has the keys and the cache. A nil
// result, or an error that matches ErrRefused, means that there is no such issuer, and the
// token is refused. Any other error, or no answer within Timeout, means that nobody knows,
// and is ErrUnavailable. A verifier of another issuer is an error.
//
// issuer is the text of a stranger: up to 1024 bytes of UTF-8 without control
// characters. Look it up, quickly, and fetch nothing because of it. One call at a time
// is made for one issuer, at most 100 for issuers that were not known before, and
// usually none for an issuer that was unknown in the last 10 seconds. Each verifier has
// its own cache: if there are many, give them a small CacheSize, and a jwk.Remote
// without Background.
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
	maxResolved  = 100_000 // of ResolveOptions.Max
	maxResolving = 100     // calls at a time for issuers that were not known before
	maxUnknown   = 1 << 10 // unknown issuers that are remembered
	// askUnknownAgainAfter is how long an unknown issuer is not asked for again.
	askUnknownAgainAfter = 10 * time.Second
)

// resolver are the members of ResolveIssuers.
type resolver struct {
	resolve   func(ctx context.Context, issuer string, known *Verifier) (*Verifier, error)
	o         ResolveOptions
	verifiers sync.Map // of issuer to *resolved

	mu        sync.Mutex // guards the following fields, and changes of known
	len       int        // of known
	calls     map[string]*flight.Call[*Verifier]
	resolving int // how many of calls are for an issuer that was not known before
	unknown   *recent.Set
}

// resolved is a verifier that the function has returned.
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

// lookUp returns what is known of an issuer, and whether that is still fresh.
func (r *resolver) lookUp(issuer string, now time.Time) (known *resolved, isFresh bool) {
	found, ok := r.verifiers.Load(issuer)
	if !ok {
		return nil, false
	}
	known = found.(*resolved)
	return known, now.Sub(known.resolvedAt).Abs() < r.o.Keep // otherwise it is old, or the clock was set back
}

func (r *resolver) member(ctx context.Context, issuer string) (*Verifier, error) {
	now := r.o.Now()
	known, isFresh := r.lookUp(issuer, now)
	if isFresh {
		if second := now.Unix(); known.lastUsed.Load() != second { // written once a second, since readers share it
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

// startCall returns the call of the function for an issuer, which it starts unless it is
// under way. If no call is needed, or none may be made, it returns the answer.
func (r *resolver) startCall(ctx context.Context, issuer string, now time.Time) (*flight.Call[*Verifier], *Verifier, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if call := r.calls[issuer]; call != nil {
		return call, nil, nil
	}
	known, isFresh := r.lookUp(issuer, now)
	switch {
	case isFresh: // a call has just ended
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
	startedAt := r.o.Now() // before the call: its answer may be as old
	call := flight.Start(context.WithoutCancel(ctx), r.o.Timeout, func(ctx context.Context) (*Verifier, error) {
		v, err := r.resolve(ctx, issuer, previous)
		if m, _ := classify(err); err != nil && m == classRefused {
			return nil, nil
		}
		if err == nil && v != nil && (v.keys == nil || v.o.Issuer != issuer) {
			return nil, fmt.Errorf("the function of ResolveIssuers returned a Verifier of %s, not of %s", errtext.Quote(v.o.Issuer), errtext.Quote(issuer))
		}
		return v, err
	}, func(v *Verifier, err error) { r.finishCall(issuer, previous, v, err, startedAt) })
	r.calls[issuer] = call
	return call, nil, nil
}

// finishCall stores the result of a call.
func (r *resolver) finishCall(issuer string, previous, v *Verifier, err error, startedAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, issuer)
	if previous == nil {
		r.resolving--
	}
	switch {
	case err != nil: // what is known stays, to be asked for again
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

// evict drops the tenth of the verifiers that were used longest ago. The caller holds
// the lock.
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
