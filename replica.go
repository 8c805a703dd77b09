package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// ReplicaOptions configures a [Replica]. Zero fields mean the defaults.
type ReplicaOptions struct {
	// MaxLag is how old the copy may be: 2 seconds, 100 milliseconds to 1 minute. A
	// revocation anywhere refuses its token here within it; where the engine loses one
	// that it has confirmed, within it from when that was sent again. The store is asked
	// four times as often, and whenever it says that there is something new.
	MaxLag time.Duration
	// AskWhenStale asks the store itself while the copy is older, within
	// StoreTimeout (2 seconds). Otherwise, and where it gives no answer, a check is
	// ErrUnavailable then.
	AskWhenStale bool
	StoreTimeout time.Duration
	// InsecureStaleFor goes on with a copy that is older than MaxLag by so much,
	// where nothing better can be had: tokens that were revoked since are let in.
	InsecureStaleFor time.Duration
	// MaxEntries is how many live revocations are held: 4,194,304. Where there are
	// more, the copy is not complete and becomes stale.
	MaxEntries int

	// OnEvent hears when the store cannot be read (RevocationsUnavailable), and when
	// it is not what it was (RevocationsReset).
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock by which revocations end: time.Now. The age of the copy is
	// measured by time.Now in any case.
	Now func() time.Time
}

// ReplicaStatus says how a [Replica] is doing.
type ReplicaStatus struct {
	Len       int           // how many revocations it holds
	Lag       time.Duration // how old the copy is: since the last complete reading began; negative: there is none yet
	LastError error         // of the last reading; nil where it was good
}

// Replica is a [RevocationStore] that holds an exact copy of the live revocations of
// a shared store and answers from memory, without a lock. Give it to the Issuer and
// to its verifiers alike. Revoke has its effect here before it asks the store, and
// where the store fails, the Replica tells it later.
//
// Until there is a first copy, and whenever it is too old, nobody knows what is revoked:
// verifying and refreshing are ErrUnavailable then. Wait for Ready before listening.
//
// Where the store loses what it was told, as an engine does that fails over to a
// machine that lacks the last second, nothing leaves the copy, and what was revoked
// here is sent again. All methods are safe for concurrent use. Close ends its
// goroutines. The zero value knows nothing and says so.
type Replica struct {
	store   RevocationLog
	o       ReplicaOptions
	onEvent hook
	ids     *expiring.IDs
	fresh   atomic.Pointer[time.Time] // when the last complete reading began
	first   chan struct{}             // closed when there was one that is not stale
	poke    chan struct{}             // has an element where the store is to be read now
	closed  context.Context           // ends with Close
	close   context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	failure error
	own     map[expiring.ID]ownRevocation // what was revoked here and lives
	unsent  map[expiring.ID]struct{}      // of that, what the store does not know
	told    bool                          // that a stale copy is in use

	overflowed bool // some of own had no room in ids
	sending    bool
	pruneAt    int // when own has so many, those that have ended are left out
}

// ownRevocation is one that was revoked here.
type ownRevocation struct {
	text  string // where that is not what id encodes
	until time.Time
}

// The bounds of a Replica.
const (
	pollsPerLag    = 4
	maxCursor      = 256
	minOwn         = 1 << 10
	watchBackoff   = time.Second
	readingStopped = 10 * time.Second // a reading that brings nothing for so long is given up
)

// NewReplica begins to copy the revocations of a store.
func NewReplica(store RevocationLog, o ReplicaOptions) (*Replica, error) {
	if store == nil {
		return nil, errors.New("jwtauth: NewReplica needs a store")
	}
	o.MaxLag, o.StoreTimeout = orDefault(o.MaxLag, 2*time.Second), orDefault(o.StoreTimeout, defaultStoreTimeout)
	if o.MaxEntries == 0 {
		o.MaxEntries = 1 << 22
	}
	switch {
	case o.MaxLag < 100*time.Millisecond || o.MaxLag > time.Minute:
		return nil, fmt.Errorf("jwtauth: ReplicaOptions.MaxLag is %v, 100ms to 1m0s is expected", o.MaxLag)
	case o.StoreTimeout <= 0 || o.StoreTimeout > time.Minute:
		return nil, fmt.Errorf("jwtauth: ReplicaOptions.StoreTimeout is %v, up to 1m0s is expected", o.StoreTimeout)
	case o.InsecureStaleFor < 0 || o.InsecureStaleFor > maxDuration:
		return nil, fmt.Errorf("jwtauth: ReplicaOptions.InsecureStaleFor is %v, up to %v is expected", o.InsecureStaleFor, maxDuration)
	case o.MaxEntries < 1:
		return nil, fmt.Errorf("jwtauth: ReplicaOptions.MaxEntries is %d, at least 1 is expected", o.MaxEntries)
	}
	r := &Replica{
		store: store, o: o, onEvent: o.OnEvent, ids: expiring.NewIDs(o.MaxEntries),
		first: make(chan struct{}), poke: make(chan struct{}, 1), pruneAt: minOwn,
		own: make(map[expiring.ID]ownRevocation), unsent: make(map[expiring.ID]struct{}),
	}
	r.closed, r.close = context.WithCancel(context.Background())
	r.running.Go(r.follow)
	if watcher, ok := store.(RevocationWatcher); ok {
		r.running.Go(func() { r.watch(watcher) })
	}
	return r, nil
}

// Format prints how many entries there are, whatever the verb.
func (r *Replica) Format(f fmt.State, _ rune) {
	if r.made() != nil {
		io.WriteString(f, "Replica()")
		return
	}
	fmt.Fprintf(f, "Replica(%d revocations)", r.ids.Len())
}

var errNoReplica = errors.New("jwtauth: this Replica was not made by NewReplica")

func (r *Replica) made() error {
	if r == nil || r.ids == nil {
		return errNoReplica
	}
	return nil
}

// Close ends the copying and waits until that is done; the client of the store is to
// be closed after it. The copy grows stale then.
func (r *Replica) Close() {
	if r.made() == nil {
		r.close()
		r.running.Wait()
	}
}

// Ready waits until there is a complete copy, and returns nil where it is not
// stale: for probes, and for programs that listen only then.
func (r *Replica) Ready(ctx context.Context) error {
	if err := r.made(); err != nil {
		return noAnswer("revocation", err)
	}
	select {
	case <-r.first:
	case <-r.closed.Done():
	case <-ctx.Done():
		return noAnswer("revocation", errors.Join(ctx.Err(), r.Status().LastError))
	}
	if lag := r.lag(); lag < 0 || lag > r.o.MaxLag {
		return noAnswer("revocation", r.behind(lag))
	}
	return nil
}

// Status says how the replica is doing.
func (r *Replica) Status() ReplicaStatus {
	if err := r.made(); err != nil {
		return ReplicaStatus{Lag: -1, LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return ReplicaStatus{Len: r.ids.Len(), Lag: r.lag(), LastError: r.failure}
}

// lag is how old the copy is; negative where there is none.
func (r *Replica) lag() time.Duration {
	began := r.fresh.Load()
	if began == nil {
		return -1
	}
	return age(*began, time.Now())
}

// age is measured on the monotonic clock, and on the wall clock where that counts more:
// the former may stand still while the machine sleeps.
func age(began, now time.Time) time.Duration {
	return max(now.Sub(began), now.Round(0).Sub(began.Round(0)), 0)
}

// now is the time by which revocations end, for a caller who has read the clock.
func (r *Replica) now(read time.Time) time.Time {
	if r.o.Now != nil {
		return r.o.Now()
	}
	return read
}

func (r *Replica) behind(lag time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lag < 0 {
		return errors.Join(errors.New("the revocations have not been read yet"), r.failure)
	}
	return errors.Join(fmt.Errorf("the copy of the revocations is %v old, at most %v is expected", lag, r.o.MaxLag), r.failure)
}

// Revoke implements [RevocationStore]. The token is refused here whatever the store
// says; an error means that others may not know of it yet: they will as soon as the
// store can be told.
func (r *Replica) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := r.made(); err != nil {
		return err
	}
	now := r.now(time.Now())
	if !now.Before(until) {
		return ctx.Err()
	}
	key, e := storedID(id), ownRevocation{until: until}
	if encodeID(key) != id {
		e.text = strings.Clone(id)
	}
	r.ids.MakeRoom(now)
	var full error
	if !r.ids.Add(&key, until, now) {
		full = errReplicaFull
	}
	r.mu.Lock()
	if full != nil { // nothing is certain until there is room for it
		r.overflowed = true
		r.fresh.Store(nil)
	}
	if len(r.own) >= r.pruneAt {
		for key, e := range r.own {
			if !now.Before(e.until) {
				delete(r.own, key)
				delete(r.unsent, key)
			}
		}
		r.pruneAt = max(minOwn, 2*len(r.own))
	}
	e.until = latest(e.until, r.own[key].until)
	r.own[key] = e // before the store is told, which may lose it while it answers
	r.mu.Unlock()
	err := r.store.Revoke(ctx, id, until)
	if err != nil {
		r.mu.Lock()
		r.unsent[key] = struct{}{}
		r.mu.Unlock()
	}
	return errors.Join(full, err)
}

var errReplicaFull = errors.New("jwtauth: the Replica is full")

// IsRevoked implements [RevocationStore].
func (r *Replica) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	if err := r.made(); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	var few [4]expiring.ID
	digests := few[:0]
	for _, id := range ids {
		digests = append(digests, storedID(id))
	}
	known, lag := r.has(digests)
	if known || lag >= 0 && lag <= r.o.MaxLag {
		return known, nil
	}
	return r.stale(ctx, lag, ids)
}

// has says whether one of ids is in the copy, and how old that is.
func (r *Replica) has(ids []expiring.ID) (known bool, lag time.Duration) {
	began := r.fresh.Load() // before the copy is looked at, which only becomes younger
	read := time.Now()
	now := r.now(read)
	for i := range ids {
		if r.ids.Has(&ids[i], now) {
			return true, 0
		}
	}
	if began == nil {
		return false, -1
	}
	return false, age(*began, read)
}

// check is IsRevoked for digests.
func (r *Replica) check(ctx context.Context, ids []expiring.ID) (bool, error) {
	if err := r.made(); err != nil {
		return false, err
	}
	known, lag := r.has(ids)
	if known || lag >= 0 && lag <= r.o.MaxLag {
		return known, nil
	}
	texts := make([]string, len(ids))
	for i := range ids {
		texts[i] = encodeID(ids[i])
	}
	return r.stale(ctx, lag, texts)
}

// stale answers where the copy does not know of ids and is older than it may be.
func (r *Replica) stale(ctx context.Context, lag time.Duration, ids []string) (bool, error) {
	err := r.behind(lag)
	if r.o.AskWhenStale {
		ctx, cancel := context.WithTimeout(ctx, r.o.StoreTimeout)
		defer cancel()
		revoked, failure := r.store.IsRevoked(ctx, ids...)
		if failure == nil {
			return revoked, nil
		}
		err = errors.Join(err, failure)
	}
	if lag >= 0 && lag-r.o.MaxLag <= r.o.InsecureStaleFor && r.o.InsecureStaleFor > 0 {
		r.mu.Lock()
		tell := !r.told && r.failure == nil
		r.told = true
		r.mu.Unlock()
		if tell {
			r.onEvent.send(ctx, Event{Kind: RevocationsUnavailable, Err: err})
		}
		return false, nil
	}
	return false, err
}
