// Package replica keeps the revocations of a shared store in memory, so that checking a
// token makes no network call.
//
//	store, err := redisstore.New(client, redisstore.Options{})
//	revocations, err := replica.New(store, replica.Options{})
//	defer revocations.Close()
//	err = revocations.Ready(ctx)
//	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{Sessions: store, Revocations: revocations, …})
package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/expiring"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// Log is a RevocationStore that can list its entries.
type Log interface {
	jwtauth.RevocationStore
	// Since calls entry for every live revocation that the store got after it returned
	// cursor, in any order, perhaps some of them again, and returns the next cursor. A
	// Revoke that changed nothing may be left out. A cursor is opaque, of 1 to 256 bytes;
	// "" asks for all entries. reset means that the store cannot tell what changed since
	// cursor, and has listed all entries: the cursor is not its own or too old, or the
	// engine has lost data. entry is called by one goroutine at a time, and not after
	// Since has returned. If Since returns an error, the entries that it listed count.
	Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error)
}

// Watcher is an optional interface of a Log whose engine can push. A type that wraps a
// Log must forward it.
type Watcher interface {
	// Watch calls changed whenever Since may have something new, until ctx ends or
	// watching fails, and returns why. After it has returned, it does not call changed. A
	// push that is lost costs at most the time until the next poll.
	Watch(ctx context.Context, changed func()) error
}

// Options configures a [Replica]. Zero fields mean the defaults.
type Options struct {
	// MaxLag is how old the copy may be. Default 2s. From 100ms to 1m. A revocation on any
	// machine takes effect here within MaxLag. If the engine loses a revocation that it
	// has confirmed, MaxLag counts from when the revocation was sent again. The store is
	// read four times as often, and whenever it pushes.
	MaxLag time.Duration
	// MaxEntries is how many live revocations are kept. Default 4,194,304. At 80 percent,
	// OnEvent gets RevocationsNearlyFull. At 95 percent, Revoke is an error and changes
	// nothing, so logouts are refused while tokens are verified. If other processes have
	// filled the rest, the copy is not complete, and checks are ErrUnavailable. A live
	// revocation is never dropped.
	MaxEntries int

	// OnEvent gets RevocationsUnavailable, RevocationsReset, RevocationsNearlyFull and
	// RevocationsNotPushed. It runs in a goroutine of its own, one event at a time, with a context that does not
	// end, and may call the Replica. Events are lost if 256 wait, or if OnEvent panics.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock by which revocations end. Default time.Now. The age of the copy is
	// measured by time.Now in any case.
	Now func() time.Time
}

// Status is how a [Replica] is doing.
type Status struct {
	Len       int           // how many revocations it has
	Lag       time.Duration // the age of the copy, since its last complete reading began; negative if there is none yet
	LastError error         // of the last reading; nil if it was good

	MaxEntries int // Options.MaxEntries
	EventsLost int // how many events OnEvent did not get, or panicked about
}

// Replica is a [jwtauth.RevocationStore] with an exact copy of the live revocations of a
// shared store. It answers from memory, without a lock. Give it to the Issuer and to its
// verifiers. All methods are safe for concurrent use. Close ends its goroutines. The zero
// value returns errors.
//
// Until there is a first copy, and whenever the copy is older than MaxLag, nobody knows
// what is revoked: verifying and refreshing are ErrUnavailable. Wait for Ready before you
// listen.
//
// Revoke takes effect here before it calls the store. If the store fails, the Replica
// sends the revocation again later, until it ends. If the engine loses confirmed revocations, as in a
// fail-over to a machine that lacks the last second, the copy keeps them, and those that
// were revoked here are sent again.
type Replica struct {
	store   Log
	o       Options
	events  hook.Queue
	ids     *expiring.IDs
	fresh   atomic.Pointer[time.Time] // when the last complete reading began
	first   chan struct{}             // closed after the first complete reading that was in time
	poke    chan struct{}             // has an element if the store is to be read now
	closed  context.Context           // ends with Close
	close   context.CancelFunc
	running sync.WaitGroup

	isNearlyFull bool // RevocationsNearlyFull was sent; only keepReading reads it

	mu      sync.Mutex // guards the following fields
	failure error
	own     map[revoked.ID]ownRevocation // live revocations that were made here
	unsent  map[revoked.ID]struct{}      // those of own that the store does not have

	sending bool
	pruneAt int // when own has so many entries, those that have ended are removed
}

// ownRevocation is a revocation that was made here.
type ownRevocation struct {
	text  string // the id, if Encode does not return it
	until time.Time
}

// The bounds of a Replica.
const (
	pollsPerLag    = 4
	maxCursor      = 256
	minOwn         = 1 << 10
	watchBackoff   = time.Second
	watchIsSteady  = time.Minute      // after a watch of that length, the next failure is reported again
	readingStopped = 10 * time.Second // a reading that brings nothing more for so long is given up
)

// New makes a Replica and begins to copy the revocations of a store.
func New(store Log, o Options) (*Replica, error) {
	if store == nil {
		return nil, errors.New("replica: New needs a store")
	}
	o.MaxLag = bound.OrDefault(o.MaxLag, 2*time.Second)
	if o.MaxEntries == 0 {
		o.MaxEntries = 1 << 22
	}
	switch {
	case o.MaxLag < 100*time.Millisecond || o.MaxLag > time.Minute:
		return nil, fmt.Errorf("replica: Options.MaxLag is %v, 100ms to 1m0s is expected", o.MaxLag)
	case o.MaxEntries < 1:
		return nil, fmt.Errorf("replica: Options.MaxEntries is %d, at least 1 is expected", o.MaxEntries)
	}
	r := &Replica{
		store: store, o: o, ids: expiring.NewIDs(o.MaxEntries),
		first: make(chan struct{}), poke: make(chan struct{}, 1), pruneAt: minOwn,
		own: make(map[revoked.ID]ownRevocation), unsent: make(map[revoked.ID]struct{}),
	}
	r.events.Init(o.OnEvent)
	r.closed, r.close = context.WithCancel(context.Background())
	r.running.Go(r.keepReading)
	if watcher, ok := store.(Watcher); ok {
		r.running.Go(func() { r.watch(watcher) })
	}
	return r, nil
}

// Format prints the number of entries, for every verb.
func (r *Replica) Format(f fmt.State, _ rune) {
	if r.made() != nil {
		io.WriteString(f, "Replica()")
		return
	}
	fmt.Fprintf(f, "Replica(%d revocations)", r.ids.Len())
}

var errNoReplica = errors.New("replica: this Replica was not made by New")

func (r *Replica) made() error {
	if r == nil || r.ids == nil {
		return errNoReplica
	}
	return nil
}

// Close ends the copying and waits until it has ended. Close the client of the store
// after it. The copy then becomes too old.
func (r *Replica) Close() {
	if r.made() == nil {
		r.close()
		r.running.Wait()
	}
}

// Ready waits for the first complete copy, and returns nil unless the copy is older than
// MaxLag. It is for readiness probes, and for programs that listen only then. Its error
// matches ErrUnavailable.
func (r *Replica) Ready(ctx context.Context) error {
	if err := r.made(); err != nil {
		return fault.NoAnswer("replica", err)
	}
	select {
	case <-r.first:
	case <-r.closed.Done():
	case <-ctx.Done():
		return fault.NoAnswer("replica", errors.Join(ctx.Err(), r.Status().LastError))
	}
	if lag := r.lag(); lag < 0 || lag > r.o.MaxLag {
		return fault.NoAnswer("replica", r.behind(lag))
	}
	return nil
}

// Status returns how the replica is doing.
func (r *Replica) Status() Status {
	if err := r.made(); err != nil {
		return Status{Lag: -1, LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Len: r.ids.Len(), Lag: r.lag(), LastError: r.failure, MaxEntries: r.o.MaxEntries, EventsLost: r.events.Lost()}
}

// lag returns the age of the copy; negative if there is none.
func (r *Replica) lag() time.Duration {
	began := r.fresh.Load()
	if began == nil {
		return -1
	}
	return age(*began, time.Now())
}

// age returns the longer of the times that the monotonic clock and the wall clock have
// measured: the former may stand still while the machine sleeps.
func age(began, now time.Time) time.Duration {
	return max(now.Sub(began), now.Round(0).Sub(began.Round(0)), 0)
}

// now returns the time by which revocations end. read is the time of time.Now.
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

// Revoke implements [jwtauth.RevocationStore]. It takes effect here, unless the Replica is
// nearly full. Any other error means that other processes may not know of it yet; they will
// as soon as the store can be reached.
func (r *Replica) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := r.made(); err != nil {
		return err
	}
	now := r.ids.Believe(r.now(time.Now()))
	if !now.Before(until) {
		return ctx.Err()
	}
	key, e := revoked.Parse(id), ownRevocation{until: until}
	if revoked.Encode(key) != id {
		e.text = strings.Clone(id)
	}
	r.ids.MakeRoom(now)
	if r.ids.Len() >= r.maxOwn() || !r.ids.Add(&key, until, now) {
		return errReplicaFull
	}
	r.mu.Lock()
	if len(r.own) >= r.pruneAt {
		for key, e := range r.own {
			if !now.Before(e.until) {
				delete(r.own, key)
				delete(r.unsent, key)
			}
		}
		r.pruneAt = max(minOwn, 2*len(r.own))
	}
	e.until = later(e.until, r.own[key].until)
	r.own[key] = e // before the call, in which the store may lose it
	r.mu.Unlock()
	err := r.store.Revoke(ctx, id, until)
	if err != nil {
		r.mu.Lock()
		r.unsent[key] = struct{}{}
		r.mu.Unlock()
	}
	return err
}

var errReplicaFull = errors.New("replica: the Replica is nearly full: raise Options.MaxEntries")

// maxOwn is the number of entries from which on Revoke refuses. The rest of MaxEntries is
// for revocations of other processes.
func (r *Replica) maxOwn() int { return r.o.MaxEntries - r.o.MaxEntries/20 }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// IsRevoked implements [jwtauth.RevocationStore].
func (r *Replica) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	began, now, err := r.begin()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, err
	}
	at := r.now(now)
	var few [4]revoked.ID
	keys := few[:0] // all of them first, so that the look-ups wait for memory at the same time
	for _, id := range ids {
		keys = append(keys, revoked.Parse(id))
	}
	for i := range keys {
		if r.ids.Has(&keys[i], at) {
			return true, nil
		}
	}
	return false, r.checkAge(began, now)
}

// hasAny is IsRevoked for ids that are not encoded. It reads the clock itself: the time of
// the caller may be too old to tell the age of the copy.
func (r *Replica) hasAny(_ context.Context, ids revoked.IDs, _ time.Time) (bool, error) {
	began, now, err := r.begin()
	if err != nil {
		return false, err
	}
	at := r.now(now)
	for i := range ids.N {
		if r.ids.Has(&ids.Of[i], at) {
			return true, nil
		}
	}
	return false, r.checkAge(began, now)
}

// begin begins a look-up. It reads the age of the copy before the copy is read, which only
// becomes younger.
func (r *Replica) begin() (began *time.Time, now time.Time, err error) {
	if err := r.made(); err != nil {
		return nil, now, err
	}
	return r.fresh.Load(), time.Now(), nil
}

// checkAge returns an error if the copy is missing or too old to say that an id is not
// revoked.
func (r *Replica) checkAge(began *time.Time, now time.Time) error {
	if began == nil {
		return r.behind(-1)
	}
	if lag := age(*began, now); lag > r.o.MaxLag {
		return r.behind(lag)
	}
	return nil
}

// MemorySeam is for package jwtauth.
func (r *Replica) MemorySeam() revoked.Memory {
	return revoked.Memory{Store: r, HasAny: r.hasAny}
}
