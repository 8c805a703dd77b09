package jwk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/recent"
)

// RemoteOptions configures a [Remote]. A zero field means its default.
type RemoteOptions struct {
	// Client makes the requests. The default client has time-outs of 5 seconds each for
	// connecting, for TLS and for the response header, and closes its connections after
	// each request. A client of your own should have time-outs for connecting and for TLS,
	// since net/http continues both even after the request has ended. CheckRedirect and Jar
	// of the client are not used. Redirects are followed only within one origin.
	Client *http.Client
	// Timeout bounds a whole fetch. Default 10s. From 1s to 1m.
	Timeout time.Duration
	// MinAge and MaxAge bound how long fetched keys are fresh. Within these bounds, the
	// Cache-Control header of the response decides. Without that header, keys are fresh for
	// 15 minutes. MinAge: default 1m, from 1s to 24h. MaxAge: default 24h, from 1s to 7d.
	// The next fetch is due when 80 percent of the time for which the keys are fresh has
	// passed. Requests use the present keys during that fetch.
	MinAge, MaxAge time.Duration
	// MaxStale is how long keys are still used after they are no longer fresh. Such keys
	// are used while fetches fail. They are also used after a time without tokens, until
	// the next fetch has ended. Default 1h. At most 7d. Negative means not at all. After
	// MaxStale, every token waits for a fetch. If the fetch fails, verifying the token
	// returns ErrUnavailable.
	MaxStale time.Duration
	// Background starts a goroutine that fetches the keys in time even if no token comes.
	// Close ends the goroutine. Without Background, only tokens cause fetches.
	Background bool
	// Seed is a result of [Remote.Snapshot], of this process or another one. Its keys are
	// used until the first fetch is successful, so the program can start while the issuer
	// is down. They are used for at most MaxStale after they stop being fresh. The MaxStale
	// of these options counts.
	Seed []byte
	// InsecureLoopbackHTTP allows http for localhost and loopback addresses.
	InsecureLoopbackHTTP bool

	// OnEvent gets KeysChanged, KeySkipped and KeysUnavailable, after the change. It runs
	// in a goroutine of its own, one event at a time, with a context that does not end. It
	// may call the Remote. New events are dropped while 256 events wait. If OnEvent panics,
	// that event counts as lost.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *RemoteOptions) setDefaults() error {
	for _, d := range []struct {
		name              string
		value             *time.Duration
		byDefault, atMost time.Duration
	}{
		{"Timeout", &o.Timeout, 10 * time.Second, time.Minute},
		{"MinAge", &o.MinAge, time.Minute, 24 * time.Hour},
		{"MaxAge", &o.MaxAge, 24 * time.Hour, maxRemoteAge},
	} {
		if *d.value == 0 {
			*d.value = d.byDefault
		}
		if *d.value < time.Second || *d.value > d.atMost {
			return fmt.Errorf("jwk: RemoteOptions.%s is %v, 1s to %v is expected", d.name, *d.value, d.atMost)
		}
	}
	o.MaxStale = bound.OrDefault(o.MaxStale, time.Hour)
	switch {
	case o.MinAge > o.MaxAge:
		return fmt.Errorf("jwk: RemoteOptions.MinAge is %v, more than MaxAge, %v", o.MinAge, o.MaxAge)
	case o.MaxStale > maxRemoteAge:
		return fmt.Errorf("jwk: RemoteOptions.MaxStale is %v, at most %v is expected", o.MaxStale, maxRemoteAge)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// maxRemoteAge bounds RemoteOptions.MaxAge and MaxStale.
const maxRemoteAge = 7 * 24 * time.Hour

// Remote is the JWK Set of another issuer (RFC 7517, section 5). It is fetched over
// https when the first token needs it, and is kept up to date while tokens come. Make one
// Remote at the start of the program, not one for each request. All methods are safe for
// concurrent use. At most one fetch runs at a time (singleflight). It runs in a goroutine
// of its own, which ends within RemoteOptions.Timeout. The zero value has no keys.
//
// A token with an unknown kid causes a fetch, and its request waits for the result. This
// only happens if the issuer, type, algorithm and dates of the token are acceptable.
// Unknown kids cause at most one fetch in 10 seconds, and at most one in 30 seconds for the
// same kid. Planned fetches do not count. A token does not wait for a fetch if its key was
// in the set at the last fetch. If the issuer signs with a key before it publishes the key,
// the key is known at most 30 seconds, plus the time of a fetch, after it was published.
//
// Keys that cannot be used are left out and reported to OnEvent: keys that are weak,
// private, symmetric, for encryption or of an unknown type, and different keys that have
// the same kid and algorithm.
type Remote struct {
	fetcher *fetcher
	o       RemoteOptions
	events  hook.Queue
	closed  context.Context // cancelled by Close
	close   context.CancelFunc

	keys atomic.Pointer[fetchedKeys]
	next atomic.Int64 // when the next planned fetch is due, in Unix nanoseconds; MaxInt64 during a fetch

	mu              sync.Mutex                 // guards the following fields
	fetching        *flight.Call[*fetchedKeys] // the present fetch, or nil
	failure         error                      // the error of the last fetch, or nil
	skipped         []event.Event              // about the keys of the last JWK Set that are not used
	nextTry         time.Time                  // after a failure, no fetch begins before this time
	backoff         time.Duration
	lastFetchEnd    time.Time   // when the last successful fetch ended
	recentForAnyKid *recent.Set // has an element if an unknown kid has caused a fetch recently
	recentForKid    *recent.Set // the unknown kids that have caused a fetch recently
}

// fetchedKeys are the keys of one fetch. They are immutable after finishFetch.
type fetchedKeys struct {
	table      *keyset.Table
	fetchStart time.Time
	freshTo    time.Time // when the keys stop being fresh
	usableTo   time.Time // when the keys stop being usable
	answer     fetchAnswer
	skipped    []event.Event // about keys that are not used; nil after report
}

// RemoteStatus is the result of [Remote.Status].
type RemoteStatus struct {
	Keys       int       // the number of keys
	FetchedAt  time.Time // when the fetch of the keys began; zero if there are no keys
	FreshTo    time.Time // when the keys stop being fresh
	UsableTo   time.Time // when the keys stop being used, if no newer keys can be fetched
	LastError  error     // the error of the last fetch; nil if it was successful
	NextTry    time.Time // after a failure, no fetch begins before this time
	EventsLost int       // counts the events that were dropped, and the panics of OnEvent
	Skipped    []string  // the keys that are not used, and why; at most 101. See KeySkipped in package event
}

// NewRemote makes the key set at an https URL. It does not fetch the set yet.
func NewRemote(jwksURL string, o RemoteOptions) (*Remote, error) {
	return newRemote(jwksURL, "", o)
}

// Discover makes the key set of an issuer that publishes metadata (OpenID Connect
// Discovery 1.0, or else RFC 8414). Each fetch reads the metadata first, to find jwks_uri.
// The issuer in the metadata must be exactly issuerURL. NewVerifier refuses to use the key
// set for another issuer. Discover does not fetch anything yet.
func Discover(issuerURL string, o RemoteOptions) (*Remote, error) {
	if err := bound.CheckIssuer(issuerURL); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	if u, err := url.Parse(issuerURL); err == nil && u.RawQuery != "" {
		return nil, fmt.Errorf("jwk: the issuer %s has a query, so it has no metadata (RFC 8414, section 2)", errtext.Quote(issuerURL))
	}
	return newRemote(issuerURL, issuerURL, o)
}

func newRemote(source, issuer string, o RemoteOptions) (*Remote, error) {
	fetcher, err := newFetcher(source, issuer, o.Client, o.InsecureLoopbackHTTP)
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	r := &Remote{
		fetcher: fetcher, o: o,
		recentForAnyKid: recent.New(anyKidPause, 1), recentForKid: recent.New(sameKidPause, 1+int(sameKidPause/anyKidPause)),
	}
	r.events.Init(o.OnEvent)
	r.closed, r.close = context.WithCancel(context.Background())
	if o.Seed != nil {
		if err := r.restore(o.Seed); err != nil {
			return nil, fmt.Errorf("jwk: RemoteOptions.Seed: %w", err)
		}
	}
	if o.Background {
		go r.keepFresh()
	}
	return r, nil
}

var (
	errNoRemote  = errors.New("jwk: this Remote was not made by NewRemote or Discover")
	errNoKeysYet = errors.New("jwk: the keys of the issuer have not been fetched, or not for too long")
)

func (r *Remote) check() error {
	if r == nil || r.fetcher == nil {
		return errNoRemote
	}
	return nil
}

// VerifierSeam implements [Set].
func (r *Remote) VerifierSeam() (keyset.Set, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return remoteKeys{r}, nil
}

// remoteKeys implements [keyset.Set].
type remoteKeys struct{ *Remote }

// Current returns the keys. If they are due to be fetched, it starts a fetch and does
// not wait for it.
func (r remoteKeys) Current(_ context.Context, now time.Time) (*keyset.Table, error) {
	return r.current(now)
}

// AskForKid fetches the keys if no keys are usable, or if kid is unknown and was not asked
// for recently. If the fetch fails, AskForKid returns an error, since the issuer may have
// the key.
func (r remoteKeys) AskForKid(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	return r.ask(ctx, now, kid)
}

func (r remoteKeys) Facts() keyset.Facts {
	return keyset.Facts{Issuer: r.fetcher.issuer, AsksForKid: true, Asymmetric: true, TriesKeys: true}
}

// Ready returns nil if there are usable keys. Otherwise it fetches the keys and waits. It
// is for readiness probes, and for programs that need the keys at the start. Its error
// matches ErrUnavailable.
func (r *Remote) Ready(ctx context.Context) error {
	if err := r.check(); err != nil {
		return unavailable(err)
	}
	now := r.o.Now()
	if _, err := r.current(now); err == nil {
		return nil
	}
	if _, err := r.ask(ctx, now, ""); err != nil {
		return unavailable(err)
	}
	return nil
}

// Status returns the state of the key set for health checks. It does not fetch.
func (r *Remote) Status() RemoteStatus {
	if err := r.check(); err != nil {
		return RemoteStatus{LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RemoteStatus{LastError: r.failure, NextTry: r.nextTry, EventsLost: r.events.Lost()}
	if keys := r.keys.Load(); keys != nil {
		s.Keys, s.FetchedAt, s.FreshTo, s.UsableTo = len(keys.table.All()), keys.fetchStart, keys.freshTo, keys.usableTo
	}
	for _, e := range r.skipped {
		s.Skipped = append(s.Skipped, e.Err.Error())
	}
	return s
}

// Close ends the goroutine of Background and the present fetch. The present keys are used
// until RemoteStatus.UsableTo.
func (r *Remote) Close() {
	if r.check() == nil {
		r.close()
	}
}

// snapshot is the JSON that Snapshot writes and RemoteOptions.Seed reads.
type snapshot struct {
	Source string          `json:"source"`
	Set    json.RawMessage `json:"jwks"`
	At     int64           `json:"fetched_at"`
	Fresh  int64           `json:"fresh_to"`
}

// Snapshot returns the keys and their dates as JSON, for RemoteOptions.Seed of a later
// process. It returns nil if there are no keys.
func (r *Remote) Snapshot() []byte {
	if r.check() != nil || r.keys.Load() == nil {
		return nil
	}
	keys := r.keys.Load()
	set, err := encodeSet(keys.table)
	if err != nil { // impossible, since the keys were decoded before
		return nil
	}
	text, err := json.Marshal(snapshot{r.fetcher.source, set, keys.fetchStart.Unix(), keys.freshTo.Unix()})
	if err != nil {
		return nil
	}
	return text
}

// restore installs the keys of a snapshot. The next fetch is due at once.
func (r *Remote) restore(seed []byte) error {
	var s snapshot
	if err := json.Unmarshal(seed, &s); err != nil {
		return err
	}
	if s.Source != r.fetcher.source {
		return fmt.Errorf("it is of %s, not of %s", errtext.Quote(s.Source), errtext.Quote(r.fetcher.source))
	}
	table, _, err := parseSet(string(s.Set), nil)
	if err != nil {
		return err
	}
	if s.At < 0 || s.At > r.o.Now().Add(bound.Skew).Unix() || s.Fresh < s.At || s.Fresh-s.At > int64(r.o.MaxAge/time.Second)+1 { // one more second, since the dates of a snapshot are cut to seconds
		return errors.New("its dates lie ahead, or further apart than MaxAge")
	}
	keys := &fetchedKeys{table: table, fetchStart: time.Unix(s.At, 0), freshTo: time.Unix(s.Fresh, 0)}
	keys.usableTo = keys.freshTo.Add(r.o.MaxStale)
	r.keys.Store(keys)
	return nil
}
