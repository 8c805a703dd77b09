package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// RemoteKeySetOptions configures a [RemoteKeySet]. Zero fields mean the defaults.
type RemoteKeySetOptions struct {
	// Client fetches; nil: one with its own time-outs (5 seconds to connect, for
	// TLS and for the header) that keeps no connection. Redirects are followed
	// only to the same origin, whatever its CheckRedirect says. One of your own needs
	// time-outs to connect and for TLS, since net/http does not end those with the
	// request.
	Client *http.Client
	// Timeout bounds a whole fetch: 10 seconds.
	Timeout time.Duration
	// MinAge and MaxAge bound what the answer's Cache-Control says about how long
	// the keys are fresh: 1 minute and 24 hours; 15 minutes where it says nothing.
	// They are fetched again when 80 of 100 parts of that time are over, while
	// requests go on with those that are there.
	MinAge, MaxAge time.Duration
	// MaxStale is for how long keys that are not fresh any more go on to be used
	// where the source does not answer, and, after a time without tokens, until it
	// has: 1 hour, negative: not at all. After that, every token waits for a fetch,
	// and is ErrUnavailable where that fails.
	MaxStale time.Duration
	// Background fetches the keys ahead of their end even while no token comes, in
	// a goroutine that Close ends. Without it, nothing runs while no token comes.
	Background bool
	// Seed is what Snapshot returned, of this process or another one: keys to begin
	// with while the source is down, for as long as they would have been used there.
	Seed []byte
	// InsecureLoopbackHTTP takes http in place of https, for hosts that are
	// loopback addresses or localhost.
	InsecureLoopbackHTTP bool

	// OnEvent hears when keys change (KeysChanged), are left out (KeySkipped) and
	// cannot be fetched (KeysUnavailable).
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock: time.Now.
	Now func() time.Time
}

// The bounds of a RemoteKeySet.
const (
	maxKeySetBytes = 1 << 20
	maxRemoteKeys  = 100
	maxRedirects   = 3
	maxHeaderBytes = 64 << 10
	maxTagBytes    = 256
	maxErrorBytes  = 512 // what an error repeats of the source's
	defaultKeysAge = 15 * time.Minute
	// askAgain is how long a RemoteKeySet does not ask again because of kids that it
	// does not know, after it has asked; forgetKid is how long it does not ask
	// because of the same one.
	askAgain  = 10 * time.Second
	forgetKid = 30 * time.Second
	// After a failure it waits, twice as long each time.
	minBackoff, maxBackoff = time.Second, time.Minute
)

// RemoteKeySet is the JWK Set of another issuer (RFC 7517, section 5), fetched
// over https when the first token needs it, and kept up to date while tokens come.
// All methods are safe for concurrent use. Make one and keep it: it belongs to no
// request, and at most one fetch is on its way, whoever waits for it. Each fetch
// runs in a goroutine that ends with it, within Timeout.
//
// A token whose kid is not among the keys causes one fetch and is looked up again,
// within its own request, if its issuer, type, algorithm and dates are those of a
// token that could be good. However many such tokens come, with forged kids or
// true ones, there is at most one fetch in 10 seconds because of them, and one in
// 30 seconds because of the same kid; the planned fetches go on beside that. So a
// key that its issuer uses before a fetch could bring it is known within 30
// seconds and the time of a fetch; one that was published before, at once.
//
// Keys that cannot be used (of an unknown type, weak, private, symmetric, for
// encryption) are left out with an event, and so are keys with one kid and one
// algorithm. The zero value knows no keys.
type RemoteKeySet struct {
	source  string // the URL of the JWK Set, or of the issuer
	issuer  string // where it was discovered
	o       RemoteKeySetOptions
	client  *http.Client
	onEvent hook
	seed    maphash.Seed
	closed  context.Context // ends with Close
	close   context.CancelFunc

	keys atomic.Pointer[remoteKeys]
	next atomic.Int64 // when the next planned fetch is due, in Unix nanoseconds

	mu       sync.Mutex
	flight   *flight // the fetch that is on its way, nil for none
	skipped  string  // which keys it has left out; only for that fetch
	failure  error   // of the last fetch
	nextTry  time.Time
	backoff  time.Duration
	landed   time.Time         // when the last good fetch ended
	asked    time.Time         // when a kid was last asked for
	askedFor [1 << 10]askedKid // by hash: which, and when
}

// remoteKeys is what was fetched at one time. It is never changed.
type remoteKeys struct {
	table         *keyTable
	at            time.Time
	fresh, usable time.Time // until when
	etag          string
	from          string // the URL that it is the tag of
}

// flight is a fetch that is on its way.
type flight struct {
	done chan struct{}
	err  error // once done is closed
}

type askedKid struct {
	hash uint64
	at   time.Time
}

// RemoteKeySetStatus says how a [RemoteKeySet] is doing.
type RemoteKeySetStatus struct {
	Keys      int       // how many there are
	FetchedAt time.Time // when they were fetched; zero: never
	FreshTo   time.Time // until when they are fresh
	UsableTo  time.Time // until when they are used if nothing else can be fetched
	LastError error     // of the last fetch; nil where it was good
	NextTry   time.Time // before that, nothing is fetched after a failure
}

// NewRemoteKeySet makes the key set that stands at an https URL. Nothing is
// fetched yet.
func NewRemoteKeySet(jwksURL string, o RemoteKeySetOptions) (*RemoteKeySet, error) {
	return newRemoteKeySet(jwksURL, "", o)
}

// DiscoverKeySet makes the key set of an issuer that publishes metadata (OpenID
// Connect Discovery 1.0, or RFC 8414 where there is none): its jwks_uri is read
// from there at each fetch. The issuer in the document must be issuerURL to the
// letter, and NewVerifier takes the key set for no other issuer. Nothing is
// fetched yet.
func DiscoverKeySet(issuerURL string, o RemoteKeySetOptions) (*RemoteKeySet, error) {
	if err := checkIssuer(issuerURL); err != nil {
		return nil, err
	}
	if u, err := url.Parse(issuerURL); err == nil && u.RawQuery != "" {
		return nil, fmt.Errorf("jwtauth: the issuer %s has a query, which an issuer that can be discovered has not (RFC 8414, section 2)", quoted(issuerURL))
	}
	return newRemoteKeySet(issuerURL, issuerURL, o)
}

func newRemoteKeySet(source, issuer string, o RemoteKeySetOptions) (*RemoteKeySet, error) {
	r := &RemoteKeySet{source: source, issuer: issuer, o: o, onEvent: o.OnEvent, seed: maphash.MakeSeed()}
	r.closed, r.close = context.WithCancel(context.Background())
	if _, err := r.checkURL(source); err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	for _, d := range []struct {
		name            string
		value           *time.Duration
		fallback, limit time.Duration
	}{
		{"Timeout", &r.o.Timeout, 10 * time.Second, time.Minute},
		{"MinAge", &r.o.MinAge, time.Minute, 24 * time.Hour},
		{"MaxAge", &r.o.MaxAge, 24 * time.Hour, 7 * 24 * time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		if *d.value < time.Second || *d.value > d.limit {
			return nil, fmt.Errorf("jwtauth: RemoteKeySetOptions.%s is %v, 1s to %v is expected", d.name, *d.value, d.limit)
		}
	}
	r.o.MaxStale = orDefault(o.MaxStale, time.Hour)
	switch {
	case r.o.MinAge > r.o.MaxAge:
		return nil, fmt.Errorf("jwtauth: RemoteKeySetOptions.MinAge is %v, more than MaxAge, %v", r.o.MinAge, r.o.MaxAge)
	case r.o.MaxStale > 7*24*time.Hour:
		return nil, fmt.Errorf("jwtauth: RemoteKeySetOptions.MaxStale is %v, at most %v is expected", r.o.MaxStale, 7*24*time.Hour)
	}
	if r.o.Now == nil {
		r.o.Now = time.Now
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true, // a connection that waits has goroutines
		ForceAttemptHTTP2:      true,
	}}
	if o.Client != nil {
		*client = *o.Client
	}
	client.Jar = nil
	client.CheckRedirect = r.checkRedirect
	r.client = client
	if o.Seed != nil {
		if err := r.plant(o.Seed); err != nil {
			return nil, fmt.Errorf("jwtauth: RemoteKeySetOptions.Seed: %w", err)
		}
	}
	if o.Background {
		go r.keepFresh()
	}
	return r, nil
}

var errNoKeys = errors.New("jwtauth: this RemoteKeySet was not made by NewRemoteKeySet or DiscoverKeySet")

// errNoKeysYet is why there is no table; await fetches one.
var errNoKeysYet = errors.New("jwtauth: the keys of the issuer have not been fetched, or not for too long")

// made implements KeySet.
func (r *RemoteKeySet) made() error {
	if r == nil || r.client == nil {
		return errNoKeys
	}
	return nil
}

// Ready returns nil where the keys are there, and fetches them if they are not:
// for probes, and for programs that want to know at their start. Its errors are
// those of a token that comes meanwhile.
func (r *RemoteKeySet) Ready(ctx context.Context) error {
	if err := r.made(); err != nil {
		return noAnswer("key", err)
	}
	now := r.o.Now()
	if _, err := r.current(now); err == nil {
		return nil
	}
	if _, err := r.await(ctx, now, ""); err != nil {
		return noAnswer("key", err)
	}
	return nil
}

// Status says how the key set is doing.
func (r *RemoteKeySet) Status() RemoteKeySetStatus {
	if err := r.made(); err != nil {
		return RemoteKeySetStatus{LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RemoteKeySetStatus{LastError: r.failure, NextTry: r.nextTry}
	if keys := r.keys.Load(); keys != nil {
		s.Keys, s.FetchedAt, s.FreshTo, s.UsableTo = len(keys.table.all), keys.at, keys.fresh, keys.usable
	}
	return s
}

// Close ends the goroutine of Background and the fetch that is on its way. The
// keys that are there go on to be used as long as they may.
func (r *RemoteKeySet) Close() {
	if r.made() == nil {
		r.close()
	}
}
