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

// RemoteOptions configures a [Remote]. Zero fields mean the defaults.
type RemoteOptions struct {
	// Client fetches. Default: a client that takes at most 5 seconds to connect, for
	// TLS and for the header, and keeps no connection. Redirects are followed only
	// within one origin, whatever its CheckRedirect says. A client of your own needs
	// time-outs to connect and for TLS, since net/http does not end those with the
	// request.
	Client *http.Client
	// Timeout bounds a whole fetch. Default 10s. From 1s to 1m.
	Timeout time.Duration
	// MinAge and MaxAge bound how long the keys are fresh: for as long as the
	// Cache-Control of the answer says, or 15 minutes if it says nothing. Default 1m and
	// 24h. From 1s to 24h, and from 1s to 7d. The keys are fetched again when 80 percent
	// of that time are over, while requests go on with those that are there.
	MinAge, MaxAge time.Duration
	// MaxStale is how long keys that are no longer fresh are used: if the source does
	// not answer and, after a time without tokens, until it has answered. Default 1h. At
	// most 7d. Negative means not at all. After that, every token waits for a fetch, and
	// is ErrUnavailable if the fetch fails.
	MaxStale time.Duration
	// Background fetches the keys in time also while no token comes, in a goroutine
	// that Close ends. Without it, nothing runs while no token comes.
	Background bool
	// Seed is the result of Snapshot, of this process or another one: keys to begin
	// with if the source is down, for as long as that process would have used them.
	Seed []byte
	// InsecureLoopbackHTTP allows http for localhost and loopback addresses.
	InsecureLoopbackHTTP bool

	// OnEvent gets KeysChanged, KeySkipped and KeysUnavailable, after the keys are in use.
	// It runs in a goroutine of its own, one event at a time, with a context that does
	// not end, and may call the Remote. Events are lost if 256 wait, or if OnEvent panics.
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
// https when the first token needs it, and kept up to date while tokens come. Make one
// and keep it: it belongs to no request. All methods are safe for concurrent use. At
// most one fetch is under way (singleflight), in a goroutine that ends with it, within
// RemoteOptions.Timeout. The zero value knows no keys.
//
// A token with an unknown kid causes a fetch and is looked up again, within its own
// request, if its issuer, type, algorithm and dates are those of a token that could be
// good. However many such tokens come, forged or not, they cause at most one fetch in
// 10 seconds, and one in 30 seconds for the same kid; planned fetches do not count. So a
// key that its issuer uses before a fetch could bring it is known within 30 seconds and
// the time of a fetch, and a key that was published before is known at once.
//
// Keys that cannot be used (of an unknown type, weak, private, symmetric, for
// encryption) are left out with an event, and so are different keys with one kid and
// one algorithm.
type Remote struct {
	fetcher *fetcher
	o       RemoteOptions
	events  hook.Queue
	closed  context.Context // ends with Close
	close   context.CancelFunc

	keys atomic.Pointer[fetchedKeys]
	next atomic.Int64 // when the next planned fetch is due, in Unix nanoseconds

	mu                  sync.Mutex // guards the following fields
	fetch               *flight.Call[*fetchedKeys]
	failure             error  // of the last fetch
	skipped             string // the keys that the last KeySkipped events were about
	nextTry             time.Time
	backoff             time.Duration
	fetchedAt           time.Time // when the last good fetch ended
	askedAny, askedSame *recent.Set
}

// fetchedKeys are the keys of one fetch. They are immutable after adopt.
type fetchedKeys struct {
	table         *keyset.Table
	at            time.Time
	fresh, usable time.Time // until when
	answer        fetched
	skipped       []event.Event // about keys that cannot be used; nil after they were reported
}

// RemoteStatus is how a [Remote] is doing.
type RemoteStatus struct {
	Keys      int       // how many keys there are
	FetchedAt time.Time // when they were fetched; zero if never
	FreshTo   time.Time // until when they are fresh
	UsableTo  time.Time // until when they are used if no others can be fetched
	LastError error     // of the last fetch; nil if it was good
	NextTry   time.Time // after a failure: nothing is fetched before
	// EventsLost is how many events OnEvent did not get or panicked about.
	EventsLost int
}

// NewRemote makes the key set at an https URL. Nothing is fetched yet.
func NewRemote(jwksURL string, o RemoteOptions) (*Remote, error) {
	return newRemote(jwksURL, "", o)
}

// Discover makes the key set of an issuer that publishes metadata (OpenID Connect
// Discovery 1.0, or else RFC 8414). Each fetch reads jwks_uri from there. The issuer in
// the metadata must be issuerURL to the letter, and NewVerifier refuses the key set for
// any other issuer. Nothing is fetched yet.
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
		askedAny: recent.New(askAnyAgainAfter, 1), askedSame: recent.New(askSameAgainAfter, 1+int(askSameAgainAfter/askAnyAgainAfter)),
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

// Ask fetches the keys if there are none, and if kid is not among them, unless they
// were fetched recently. If the source gives no answer, nobody knows whether it has the
// key, which is an error.
func (r remoteKeys) Ask(ctx context.Context, now time.Time, kid string) (*keyset.Table, error) {
	return r.ask(ctx, now, kid)
}

func (r remoteKeys) Facts() keyset.Facts {
	return keyset.Facts{Issuer: r.fetcher.issuer, Grows: true, Asymmetric: true}
}

// Ready returns nil if the keys are there, and fetches them if they are not. It is for
// readiness probes, and for programs that want to know when they start. Its error
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

// Status returns how the key set is doing.
func (r *Remote) Status() RemoteStatus {
	if err := r.check(); err != nil {
		return RemoteStatus{LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RemoteStatus{LastError: r.failure, NextTry: r.nextTry, EventsLost: r.events.Lost()}
	if keys := r.keys.Load(); keys != nil {
		s.Keys, s.FetchedAt, s.FreshTo, s.UsableTo = len(keys.table.All()), keys.at, keys.fresh, keys.usable
	}
	return s
}

// Close ends the goroutine of Background and the fetch that is under way. The keys that
// are there are used for as long as they may be.
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

// Snapshot returns the keys with their dates, for RemoteOptions.Seed of a later
// process; nil if there are none.
func (r *Remote) Snapshot() []byte {
	if r.check() != nil || r.keys.Load() == nil {
		return nil
	}
	keys := r.keys.Load()
	set, err := encodeSet(keys.table)
	if err != nil { // cannot be: they were decoded
		return nil
	}
	text, err := json.Marshal(snapshot{r.fetcher.source, set, keys.at.Unix(), keys.fresh.Unix()})
	if err != nil {
		return nil
	}
	return text
}

// restore makes the keys of a snapshot those of the set. They are due to be fetched.
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
	if s.At < 0 || s.At > r.o.Now().Add(bound.Skew).Unix() || s.Fresh < s.At || s.Fresh-s.At > int64(r.o.MaxAge/time.Second)+1 { // they are cut to seconds
		return errors.New("its dates lie ahead, or further apart than MaxAge")
	}
	keys := &fetchedKeys{table: table, at: time.Unix(s.At, 0), fresh: time.Unix(s.Fresh, 0)}
	keys.usable = keys.fresh.Add(r.o.MaxStale)
	r.keys.Store(keys)
	return nil
}
