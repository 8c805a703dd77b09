package jwk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/flight"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/recent"
)

// Remote is the JWK Set of another issuer (RFC 7517, section 5). It is fetched over
// https when the first token needs it, and is kept up to date while tokens come. Make one
// Remote at the start of the program, not one for each request. All methods are safe for
// concurrent use. At most one fetch runs at a time (singleflight). It runs in a goroutine
// of its own, which ends within RemoteOptions.Timeout. The zero value has no keys.
//
// A token with an unknown kid causes a fetch, and its request waits for the result. This
// only happens if the issuer, type, algorithm and dates of the token are acceptable.
// Unknown kids cause at most one fetch in 10 seconds, and at most one in 30 seconds for the
// same kid. Planned fetches do not count. A token with a good signature does not wait for a
// fetch if its key was in the set at the last fetch. If the issuer signs with a key before it
// publishes the key, the key is known at most 30 seconds, plus the time of a fetch, after it
// was published.
//
// An issuer may replace a key and keep its kid, or use keys without a kid. A token of the new
// key then has a bad signature under the old one, or another algorithm. It causes a fetch under
// the same conditions, and counts with the unknown kids. If the fetch brings the same key, the
// token is refused, and such tokens for that key cause no fetch before the next planned one. If
// the fetch fails, a token with a bad signature is refused; it is not ErrUnavailable.
//
// If a source answers 429 or 503 with Retry-After (RFC 9110, section 10.2.3), no fetch begins
// before that time. Times of more than 5 minutes are cut to 5 minutes.
//
// Keys that cannot be used are left out and reported to OnEvent: keys that are weak,
// private, symmetric, for encryption or of an unknown type, and different keys that have
// the same kid and algorithm.
type Remote struct {
	fetcher    *fetcher
	o          RemoteOptions
	algorithms []*jwa.Algorithm // see RemoteOptions.Algorithms; empty for the default
	events     hook.Queue
	closed     context.Context // cancelled by Close
	close      context.CancelFunc

	keys atomic.Pointer[fetchedKeys]
	next atomic.Int64 // when the next planned fetch is due, in Unix nanoseconds; MaxInt64 during a fetch

	mu              sync.Mutex                 // guards the following fields
	fetching        *flight.Call[*fetchedKeys] // the present fetch, or nil
	failure         error                      // the error of the last fetch, or nil
	skipped         []event.Event              // about the keys of the last JWK Set that are not used
	nextTry         time.Time                  // after a failure, no fetch begins before this time
	wait            time.Duration              // how long nextTry was ahead when the fetch failed
	sourceSaysWait  bool                       // nextTry comes from the source, so Refetch waits, too
	backoff         time.Duration
	lastFetchEnd    time.Time   // when the last successful fetch ended
	recentForAnyKid *recent.Set // has an element if a token has caused a fetch recently
	recentForKid    *recent.Set // the unknown kids that have caused a fetch recently
	recentRefetch   *recent.Set // has an element if Refetch has caused a fetch recently

	doubted   []*keyset.Key            // the keys that the present fetch may replace, if a token has caused it
	confirmed map[*keyset.Key]struct{} // keys that were doubted, and came back the same since the last planned fetch
}

// fetchedKeys are the keys of one fetch. They are immutable after finishFetch.
type fetchedKeys struct {
	table      *keyset.Table
	fetchStart time.Time
	freshTo    time.Time // when the keys stop being fresh
	usableTo   time.Time // when the keys stop being usable
	answer     fetchAnswer
	implied    map[keyName]struct{} // the keys whose JWK has no alg; see RemoteOptions.Algorithms
	skipped    []event.Event        // about keys that are not used; nil after report
}

// RemoteStatus is the result of [Remote.Status].
type RemoteStatus struct {
	Keys       int       // the number of keys; a key with several algorithms counts once
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
	if o.MetadataURL != "" {
		return nil, errors.New("jwk: RemoteOptions.MetadataURL is for Discover; NewRemote has the URL of the keys, and reads no metadata")
	}
	return newRemote(fetcher{source: jwksURL, address: jwksURL}, o)
}

// Discover makes the key set of an issuer that publishes metadata (OpenID Connect
// Discovery 1.0, or else RFC 8414). Each fetch reads the metadata first, to find jwks_uri.
// The issuer in the metadata must be exactly issuerURL. NewVerifier refuses to use the key
// set for another issuer. Discover does not fetch anything yet. If the metadata are not
// below issuerURL, set RemoteOptions.MetadataURL.
func Discover(issuerURL string, o RemoteOptions) (*Remote, error) {
	if err := bound.CheckIssuer(issuerURL); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	if o.MetadataURL != "" {
		return newRemote(fetcher{source: issuerURL, issuer: issuerURL, address: o.MetadataURL, hasMetadataURL: true}, o)
	}
	if err := checkDiscoverable(issuerURL); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	return newRemote(fetcher{source: issuerURL, issuer: issuerURL, address: issuerURL}, o)
}

func newRemote(f fetcher, o RemoteOptions) (*Remote, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if err := f.init(&o); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	algorithms, err := impliedAlgorithms(o.Algorithms)
	if err != nil {
		return nil, err
	}
	r := &Remote{
		fetcher: &f, o: o, algorithms: algorithms, confirmed: make(map[*keyset.Key]struct{}),
		recentForAnyKid: recent.New(anyKidPause, 1), recentForKid: recent.New(sameKidPause, 1+int(sameKidPause/anyKidPause)), recentRefetch: recent.New(refetchPause, 1),
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

// AskForReplacement implements [keyset.Replacing].
func (r remoteKeys) AskForReplacement(ctx context.Context, now time.Time, doubted []*keyset.Key) (*keyset.Table, error) {
	return r.askForReplacement(ctx, now, doubted)
}

func (r remoteKeys) Facts() keyset.Facts {
	return keyset.Facts{Issuer: r.fetcher.issuer, AsksForKid: true, Asymmetric: true, TriesKeys: true, InsecureHTTP: r.o.InsecureHTTP}
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

// Refetch fetches the keys now, for example if the issuer reports a rotation by a webhook, or
// if an operator asks for it. It joins a fetch that is running. It returns nil if the keys
// were fetched. Its error matches ErrUnavailable; the present keys then stay in use. It is an
// error to call Refetch within 10 seconds after a call that has started a fetch, or before the
// time that the source has named in Retry-After. Refetch does not wait for the pause after
// other failures.
func (r *Remote) Refetch(ctx context.Context) error {
	if err := r.check(); err != nil {
		return unavailable(err)
	}
	if err := r.refetch(ctx); err != nil {
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
		s.Keys, s.FetchedAt, s.FreshTo, s.UsableTo = keys.count(), keys.fetchStart, keys.freshTo, keys.usableTo
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
	set, err := keys.encode()
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
		return fmt.Errorf("it is of %s, not of %s", errtext.URL(s.Source), errtext.URL(r.fetcher.source))
	}
	parsed, err := parseSet(string(s.Set), nil, r.algorithms)
	if err != nil {
		return err
	}
	if s.At < 0 || s.At > r.o.Now().Add(bound.Skew).Unix() || s.Fresh < s.At || s.Fresh-s.At > int64(r.o.MaxAge/time.Second)+1 { // one more second, since the dates of a snapshot are cut to seconds
		return errors.New("its dates lie ahead, or further apart than MaxAge")
	}
	keys := &fetchedKeys{table: parsed.table, implied: parsed.implied, fetchStart: time.Unix(s.At, 0), freshTo: time.Unix(s.Fresh, 0)}
	keys.usableTo = keys.freshTo.Add(r.o.MaxStale)
	r.keys.Store(keys)
	return nil
}
