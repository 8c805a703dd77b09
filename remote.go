package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
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

// current implements KeySet. Where the keys are due to be fetched again, it has
// that done, and does not wait for it.
func (r *RemoteKeySet) current(now time.Time) (*keyTable, error) {
	if err := r.made(); err != nil {
		return nil, err
	}
	keys := r.keys.Load()
	if keys == nil {
		return nil, errNoKeysYet
	}
	if next := r.next.Load(); keys.isDue(next, now) && r.next.CompareAndSwap(next, math.MaxInt64) {
		r.mu.Lock()
		r.start()
		r.mu.Unlock()
	}
	if !now.Before(keys.usable) {
		return nil, errNoKeysYet
	}
	return keys.table, nil
}

// isDue says whether it is time for the next planned fetch. It is, too, where that
// lies further ahead than it can have been planned, as when the clock was set back:
// keys that their issuer has removed may not be used for as long as that.
func (k *remoteKeys) isDue(next int64, now time.Time) bool {
	most := maxBackoff
	if k != nil {
		most = max(most, k.fresh.Sub(k.at))
	}
	wait := time.Duration(next - now.UnixNano())
	return wait <= 0 || wait > most && next != math.MaxInt64
}

// grows implements KeySet.
func (r *RemoteKeySet) grows() bool { return true }

// await implements KeySet: it fetches the keys if there are none, and because of a
// kid that is not among them, unless that was done just now. Where the source gave
// no answer, nobody knows whether it has the key.
func (r *RemoteKeySet) await(ctx context.Context, now time.Time, kid string) (*keyTable, error) {
	if err := r.made(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	keys := r.keys.Load()
	usable := keys != nil && now.Before(keys.usable)
	f := r.flight
	if f == nil {
		switch {
		case now.Before(r.nextTry) && r.nextTry.Sub(now) <= maxBackoff: // or the clock was set back
			err := r.failure
			r.mu.Unlock()
			return nil, err
		case usable && (keys.table.knows(kid) || r.landedAfter(now) || !r.mayAsk(kid, now)):
			err := r.failure
			r.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return keys.table, nil
		}
		f = r.start()
	}
	r.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	return r.keys.Load().table, nil
}

// knows says whether a key has that kid, of whatever algorithm.
func (t *keyTable) knows(kid string) bool {
	return slices.ContainsFunc(t.all, func(k *VerificationKey) bool { return k.id == kid })
}

// landedAfter says whether a fetch ended since a token came: had the token been
// quicker, it would have waited for that one. The caller holds the lock.
func (r *RemoteKeySet) landedAfter(now time.Time) bool {
	since := r.landed.Sub(now)
	return since > 0 && since < askAgain // or the clock was set back
}

// mayAsk says whether the source is to be asked for a kid, and notes that it was.
// Tokens that come together may ask in another order than they read the clock in.
// The caller holds the lock.
func (r *RemoteKeySet) mayAsk(kid string, now time.Time) bool {
	hash := maphash.String(r.seed, kid)
	before := &r.askedFor[hash%uint64(len(r.askedFor))]
	if now.Sub(r.asked).Abs() < askAgain || before.hash == hash && now.Sub(before.at).Abs() < forgetKid {
		return false
	}
	r.asked, *before = now, askedKid{hash, now}
	return true
}

// start has the keys fetched, unless that is on its way. The caller holds the
// lock.
func (r *RemoteKeySet) start() *flight {
	if r.flight == nil {
		r.flight = &flight{done: make(chan struct{})}
		r.next.Store(math.MaxInt64)
		go r.run(r.flight)
	}
	return r.flight
}

// run is one fetch.
func (r *RemoteKeySet) run(f *flight) {
	ctx, cancel := context.WithTimeout(r.closed, r.o.Timeout)
	defer cancel()
	old := r.keys.Load()
	keys, skipped, err := r.fetch(ctx, old)
	now := r.o.Now()
	if said := fmt.Sprint(skipped); said == r.skipped {
		skipped = nil // as it was said before
	} else if len(skipped) > 0 {
		r.skipped = said
	}
	for _, e := range skipped {
		e.Kind, e.Issuer = KeySkipped, r.issuer
		r.onEvent.send(ctx, e)
	}
	switch {
	case err != nil:
		r.onEvent.send(ctx, Event{Kind: KeysUnavailable, Issuer: r.issuer, Err: err})
	case old == nil || keys.table != old.table:
		r.onEvent.send(ctx, Event{Kind: KeysChanged, Issuer: r.issuer})
	}
	r.mu.Lock()
	if f.err = err; err != nil {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.failure, r.nextTry = err, now.Add(jittered(r.backoff))
		r.next.Store(r.nextTry.UnixNano())
	} else {
		r.backoff, r.failure, r.nextTry = 0, nil, time.Time{}
		r.keys.Store(keys)
		r.landed = r.o.Now() // not before the keys can be seen
		r.next.Store(keys.at.Add(jittered(keys.fresh.Sub(keys.at) * 8 / 10)).UnixNano())
	}
	r.flight = nil
	close(f.done)
	r.mu.Unlock()
}

// jittered is a duration, or up to a tenth less: so that many processes that were
// started together do not ask together for ever.
func jittered(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:])
	return d - d/10*time.Duration(binary.LittleEndian.Uint16(b[:]))/(1<<16)
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

// keepFresh fetches the keys whenever they are due, until Close.
func (r *RemoteKeySet) keepFresh() {
	for {
		r.mu.Lock()
		f := r.flight
		next, now := r.next.Load(), r.o.Now()
		if f == nil && r.keys.Load().isDue(next, now) {
			f = r.start()
		}
		r.mu.Unlock()
		done, timer := (<-chan struct{})(nil), (<-chan time.Time)(nil)
		if f != nil {
			done = f.done
		} else {
			timer = time.After(min(time.Duration(next-now.UnixNano()), time.Minute)) // the clock may have been set
		}
		select {
		case <-done:
		case <-timer:
		case <-r.closed.Done():
			return
		}
	}
}

// snapshot is what Snapshot writes and Seed reads.
type snapshot struct {
	Source string          `json:"source"`
	Set    json.RawMessage `json:"jwks"`
	At     int64           `json:"fetched_at"`
	Fresh  int64           `json:"fresh_to"`
}

// Snapshot returns the keys with their dates, for Seed of a later process; nil
// where there are none.
func (r *RemoteKeySet) Snapshot() []byte {
	if r.made() != nil || r.keys.Load() == nil {
		return nil
	}
	keys := r.keys.Load()
	set, err := encodeKeySet(keys.table.all)
	if err != nil { // cannot be: they were decoded
		return nil
	}
	text, err := json.Marshal(snapshot{r.source, set, keys.at.Unix(), keys.fresh.Unix()})
	if err != nil {
		return nil
	}
	return text
}

// plant takes what Snapshot has returned. The keys are due to be fetched.
func (r *RemoteKeySet) plant(seed []byte) error {
	var s snapshot
	if err := json.Unmarshal(seed, &s); err != nil {
		return err
	}
	if s.Source != r.source {
		return fmt.Errorf("it is of %s, not of %s", quoted(s.Source), quoted(r.source))
	}
	table, _, err := parseKeySet(string(s.Set), nil)
	if err != nil {
		return err
	}
	if s.At < 0 || s.At > r.o.Now().Add(maxSkew).Unix() || s.Fresh < s.At || s.Fresh-s.At > int64(r.o.MaxAge/time.Second)+1 { // they are cut to seconds
		return errors.New("its dates lie ahead, or further apart than MaxAge")
	}
	keys := &remoteKeys{table: table, at: time.Unix(s.At, 0), fresh: time.Unix(s.Fresh, 0)}
	keys.usable = keys.fresh.Add(r.o.MaxStale)
	r.keys.Store(keys)
	return nil
}
