package jwtauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ResolveOptions configures [ResolveIssuers]. Zero fields mean the defaults.
type ResolveOptions struct {
	// Keep is for how long the verifier of an issuer is used before it is asked for
	// again, so that an issuer that is gone is refused that much later at the
	// latest: 1 minute, 1 second to 1 hour.
	Keep time.Duration
	// Max is how many verifiers are kept: 1000, at most 100,000. Where there are more
	// issuers, those that were not used for longest are asked for again.
	Max int
	// Timeout bounds each call of the function, on a context that outlives the
	// request: 2 seconds.
	Timeout time.Duration
	// MaxTokenBytes is the length of the longest token that is looked at, whatever
	// its verifier would take: 8192 bytes, at most 1 MiB.
	MaxTokenBytes int

	// OnEvent hears of tokens of unknown issuers, and of those whose issuer could
	// not be asked for.
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock: time.Now.
	Now func() time.Time
}

// ResolveIssuers makes a verifier of the tokens of issuers that come and go, as
// those of tenants: resolve is asked for the verifier of an issuer when a token
// names it, and again after Keep. known is what it returned before, nil at first:
// to return it again keeps the keys and tokens that it remembers. nil means that
// there is no such issuer, and the token is refused; an error, or no answer within
// Timeout, that nobody knows, and the answer is ErrUnavailable.
//
// issuer is what a stranger wrote, up to 1024 bytes of UTF-8 without control
// characters: look it up, quickly, and fetch nothing because of it. One call at a time
// is made for one issuer, at most 100 for issuers that were not known before, and an
// issuer that is unknown is not asked for again within 10 seconds, as far as a bounded
// memory can tell. A verifier of another issuer
// than asked for is an error. Each verifier has a cache of its own: give them a
// small CacheSize where there are many, and a RemoteKeySet no Background.
func ResolveIssuers(resolve func(ctx context.Context, issuer string, known *Verifier) (*Verifier, error), o ResolveOptions) (*Verifier, error) {
	if resolve == nil {
		return nil, errors.New("jwtauth: ResolveIssuers needs a function")
	}
	o.Keep, o.Timeout = orDefault(o.Keep, time.Minute), orDefault(o.Timeout, defaultStoreTimeout)
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
		return nil, fmt.Errorf("jwtauth: ResolveOptions.Keep is %v, 1s to 1h0m0s is expected", o.Keep)
	case o.Timeout <= 0 || o.Timeout > time.Minute:
		return nil, fmt.Errorf("jwtauth: ResolveOptions.Timeout is %v, up to 1m0s is expected", o.Timeout)
	case o.Max < 1 || o.Max > maxResolved:
		return nil, fmt.Errorf("jwtauth: ResolveOptions.Max is %d, 1 to %d is expected", o.Max, maxResolved)
	case o.MaxTokenBytes < 0 || o.MaxTokenBytes > maxTokenBytes:
		return nil, fmt.Errorf("jwtauth: ResolveOptions.MaxTokenBytes is %d, 1 to %d is expected", o.MaxTokenBytes, maxTokenBytes)
	}
	r := &resolver{resolve: resolve, o: o, seed: maphash.MakeSeed(), flights: make(map[string]*resolving)}
	v := &Verifier{members: r, onEvent: o.OnEvent}
	v.o.Now, v.o.MaxTokenBytes = o.Now, o.MaxTokenBytes
	return v, nil
}

// resolver is the members of ResolveIssuers. Readers take no lock: what is known
// stands in maps that are never changed, many small ones, so that one more issuer
// means to copy little.
type resolver struct {
	resolve func(ctx context.Context, issuer string, known *Verifier) (*Verifier, error)
	o       ResolveOptions
	seed    maphash.Seed
	known   [256]atomic.Pointer[map[string]*resolved] // by hash of the issuer

	mu      sync.Mutex // guards what follows, and the changes of known
	len     int        // of known
	flights map[string]*resolving
	asking  int               // of flights, those whose issuer was not known before
	unknown [1 << 10]askedKid // by hash: which, and when
}

// maxResolved bounds ResolveOptions.Max.
const maxResolved = 100_000

// maxResolving is how many calls are made at a time because of issuers that were
// not known before.
const maxResolving = 100

// resolved is a verifier that was found.
type resolved struct {
	v    *Verifier
	at   time.Time
	used atomic.Int64 // in Unix seconds
}

// resolving is a call that is on its way.
type resolving struct {
	done chan struct{}
	late <-chan struct{} // closed when Timeout is over
	v    *Verifier       // once done is closed
	err  error
}

func (r *resolver) all() iter.Seq[*Verifier] {
	return func(yield func(*Verifier) bool) {
		for i := range r.known {
			for _, found := range r.shard(i) {
				if !yield(found.v) {
					return
				}
			}
		}
	}
}

func (r *resolver) shard(i int) map[string]*resolved {
	if m := r.known[i].Load(); m != nil {
		return *m
	}
	return nil
}

// keep puts what was found in the place of an issuer; nil drops it. The caller holds
// the lock.
func (r *resolver) keep(issuer string, found *resolved) {
	i := int(maphash.String(r.seed, issuer) % uint64(len(r.known)))
	next := maps.Clone(r.shard(i))
	if next == nil {
		next = make(map[string]*resolved)
	}
	r.len -= len(next)
	if found != nil {
		next[issuer] = found
	} else {
		delete(next, issuer)
	}
	r.len += len(next)
	r.known[i].Store(&next)
}

func (r *resolver) member(ctx context.Context, issuer string) (*Verifier, error) {
	now := r.o.Now()
	hash := maphash.String(r.seed, issuer)
	find := func() (known *resolved, fresh bool) {
		known = r.shard(int(hash % uint64(len(r.known))))[issuer]
		return known, known != nil && now.Sub(known.at).Abs() < r.o.Keep // or the clock was set back
	}
	known, fresh := find()
	if fresh {
		if second := now.Unix(); known.used.Load() != second { // so that readers write nothing that they share
			known.used.Store(second)
		}
		return known.v, nil
	}
	if checkIssuer(issuer) != nil {
		return nil, nil
	}
	issuer = strings.Clone(issuer)
	r.mu.Lock()
	f := r.flights[issuer]
	if f == nil {
		if known, fresh = find(); fresh { // a call has just ended
			r.mu.Unlock()
			return known.v, nil
		}
		slot := &r.unknown[hash%uint64(len(r.unknown))]
		switch {
		case known == nil && slot.hash == hash && now.Sub(slot.at).Abs() < askAgain:
			r.mu.Unlock()
			return nil, nil
		case known == nil && r.asking >= maxResolving:
			r.mu.Unlock()
			return nil, noAnswer("iss", errors.New("too many unknown issuers are being resolved"))
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.Timeout)
		f = &resolving{done: make(chan struct{}), late: bounded.Done()}
		r.flights[issuer] = f
		if known == nil {
			r.asking++
		}
		go func() {
			defer cancel()
			r.run(bounded, f, issuer, hash, known)
		}()
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.v, f.err
	case <-f.late:
	case <-ctx.Done():
		return nil, noAnswer("iss", ctx.Err())
	}
	select {
	case <-f.done:
		return f.v, f.err
	default:
		return nil, noAnswer("iss", context.DeadlineExceeded)
	}
}

// run is one call. It ends the waiting however the function ends.
func (r *resolver) run(ctx context.Context, f *resolving, issuer string, hash uint64, known *resolved) {
	now := r.o.Now() // before it is asked: what it says may be as old
	var before *Verifier
	if known != nil {
		before = known.v
	}
	err := errors.New("the function of ResolveIssuers did not return")
	var v *Verifier
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if known == nil {
			r.asking--
		}
		switch {
		case err != nil:
			f.err = noAnswer("iss", err)
		case v == nil:
			r.keep(issuer, nil)
			r.unknown[hash%uint64(len(r.unknown))] = askedKid{hash, now}
		default:
			if known == nil && r.len >= r.o.Max {
				r.makeRoom()
			}
			f.v = v
			found := &resolved{v: v, at: now}
			found.used.Store(now.Unix())
			r.keep(issuer, found)
		}
		delete(r.flights, issuer)
		close(f.done)
	}()
	v, err = r.ask(ctx, issuer, before)
}

// ask calls the function. Where that panics, as a handler may, the program goes on.
func (r *resolver) ask(ctx context.Context, issuer string, known *Verifier) (v *Verifier, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the function of ResolveIssuers panicked: %v", p)
		}
	}()
	v, err = r.resolve(ctx, issuer, known)
	if err == nil && v != nil && (v.keys == nil || v.o.Issuer != issuer) {
		err = fmt.Errorf("the function of ResolveIssuers returned a Verifier of %s, not of %s", quoted(v.o.Issuer), quoted(issuer))
	}
	return v, err
}

// makeRoom drops the tenth of the verifiers that were not used for longest. The
// caller holds the lock.
func (r *resolver) makeRoom() {
	type use struct {
		issuer string
		at     int64
	}
	var uses []use
	for i := range r.known {
		for issuer, found := range r.shard(i) {
			uses = append(uses, use{issuer, found.used.Load()})
		}
	}
	slices.SortFunc(uses, func(a, b use) int { return cmp.Compare(a.at, b.at) })
	for _, u := range uses[:max(len(uses)/10, 1)] {
		r.keep(u.issuer, nil)
	}
}
