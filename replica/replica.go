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

// Log is a RevocationStore that can list its revocations.
type Log interface {
	jwtauth.RevocationStore
	// Since lists the live revocations that were stored after the earlier call of Since
	// that returned cursor. It calls entry once or more for each of them, in any order. It
	// may also list older revocations, and may leave out a Revoke that changed nothing. It
	// returns the cursor for the next call. A cursor is opaque and has 1 to 256 bytes. The
	// cursor "" asks for all revocations.
	//
	// reset means that revocations may be lost that the store has confirmed, or that the
	// store cannot tell what has changed since cursor. In the second case, it has listed all
	// revocations. This happens if cursor is too old or is not from this store, or if the
	// engine has lost some of what was read up to cursor. So a reader must keep what was
	// listed before. Since calls entry from one goroutine at a time, and never
	// after it has returned. If Since returns an error, the listed revocations are valid
	// all the same.
	Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error)
}

// Watcher is an optional interface of a Log whose engine can push. A type that wraps such a
// Log must have a Watch method that calls the one of the Log.
type Watcher interface {
	// Watch calls changed whenever Since may list something new. It returns when ctx ends,
	// or when watching fails, with the reason as its error. It must not call changed after
	// it has returned. Watch may miss a change, since the Replica also polls the store.
	Watch(ctx context.Context, changed func()) error
}

// Options configures a [Replica]. A zero field means its default.
type Options struct {
	// MaxLag is the maximum age of the copy. Default 2s. From 100ms to 1m. A revocation on
	// any machine takes effect here within MaxLag. If the engine loses a confirmed
	// revocation, the Replica in which it was made sends it to the store again. Within
	// MaxLag after that, the revocation takes effect on the other machines. The store is
	// read about four times within MaxLag, and whenever it pushes.
	MaxLag time.Duration
	// MaxEntries is the maximum number of live revocations in the copy. Default 4,194,304. At 80
	// percent, OnEvent gets RevocationsNearlyFull. At 95 percent, Revoke returns an error and
	// changes nothing: logouts are refused, and tokens are still verified. The last 5 percent are
	// for revocations of other processes. If there are more than MaxEntries, the copy can no longer
	// be completed. Once it is older than MaxLag, verifying and refreshing tokens return
	// ErrUnavailable. A live revocation is never dropped.
	MaxEntries int

	// OnEvent gets RevocationsUnavailable, RevocationsReset, RevocationsNearlyFull and
	// RevocationsNotPushed. It runs in a goroutine of its own, one event at a time, with a
	// context that does not end. It may call the Replica. New events are dropped while 256
	// events wait. If OnEvent panics, that event counts as lost.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock that decides when revocations end. Default time.Now. The age of the
	// copy is always measured with time.Now.
	Now func() time.Time
}

// Status is the result of [Replica.Status].
type Status struct {
	// Len is the number of revocations in the copy.
	Len int
	// Lag is the age of the copy: the time since the last complete reading began. It is
	// negative before the first complete reading.
	Lag time.Duration
	// LastError is the error of the last reading. It is nil if the reading was successful.
	LastError error

	MaxEntries int // Options.MaxEntries
	EventsLost int // counts the events that were dropped, and the panics of OnEvent
}

// Replica is a [jwtauth.RevocationStore] with a copy of the live revocations of a shared
// store. Checks read the copy in memory, without a lock. Give the Replica to the Issuer
// and to its verifiers. All methods are safe for concurrent use. Close ends its
// goroutines. The methods of the zero value return errors.
//
// Before the first complete reading, and whenever the copy is older than MaxLag, the
// Replica does not know all revocations. Verifying and refreshing tokens then return
// ErrUnavailable. Wait for Ready before the server listens.
//
// Revoke changes the copy before it calls the store. If the store fails, the Replica sends
// the revocation again later, until the revocation ends. A fail-over of the engine may lose
// confirmed revocations. The copy keeps such revocations. The Replica in which they were
// made sends them to the store again.
type Replica struct {
	store         Log
	o             Options
	events        hook.Queue
	ids           *expiring.IDs             // the copy
	lastReadStart atomic.Pointer[time.Time] // when the last complete reading began
	firstReadDone chan struct{}             // closed after the first complete reading that took at most MaxLag
	pollNow       chan struct{}             // has an element if the store is to be read at once
	closed        context.Context           // cancelled by Close
	close         context.CancelFunc
	running       sync.WaitGroup

	// only keepReading uses the following fields
	isNearlyFull bool      // RevocationsNearlyFull was sent
	latestTime   time.Time // the latest time of a reading; entries that had ended by then are not in the copy

	mu             sync.Mutex // guards the following fields
	lastError      error      // the error of the last reading, or nil
	ownRevocations map[revoked.ID]ownRevocation
	unsent         map[revoked.ID]struct{} // the ownRevocations that the store may not have
	sending        bool                    // a goroutine sends the unsent revocations
	pruneAt        int                     // the length of ownRevocations at which those that have ended are removed
}

// ownRevocation is a revocation that was made with Revoke of this Replica.
type ownRevocation struct {
	text  string // the id as text, if encoding the key gives another text; otherwise empty
	until time.Time
}

// The bounds of a Replica.
const (
	pollsPerLag   = 4
	maxCursor     = 256
	minOwn        = 1 << 10
	watchBackoff  = time.Second
	watchIsSteady = time.Minute      // after a watch of that length, the next failure is reported again
	entryTimeout  = 10 * time.Second // the time for the next 1024 entries of a reading
)

// New makes a Replica and starts to copy the revocations of a store.
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
		firstReadDone: make(chan struct{}), pollNow: make(chan struct{}, 1), pruneAt: minOwn,
		ownRevocations: make(map[revoked.ID]ownRevocation), unsent: make(map[revoked.ID]struct{}),
	}
	r.events.Init(o.OnEvent)
	r.closed, r.close = context.WithCancel(context.Background())
	r.running.Go(r.keepReading)
	if watcher, ok := store.(Watcher); ok {
		r.running.Go(func() { r.watch(watcher) })
	}
	return r, nil
}

// Format prints the number of revocations, for every verb.
func (r *Replica) Format(f fmt.State, _ rune) {
	if r.check() != nil {
		io.WriteString(f, "Replica()")
		return
	}
	fmt.Fprintf(f, "Replica(%d revocations)", r.ids.Len())
}

var errNoReplica = errors.New("replica: this Replica was not made by New")

func (r *Replica) check() error {
	if r == nil || r.ids == nil {
		return errNoReplica
	}
	return nil
}

// Close stops the goroutines of the Replica and waits for them. Call it before you close
// the client of the store. After Close, checks return ErrUnavailable as soon as the copy
// is older than MaxLag.
func (r *Replica) Close() {
	if r.check() == nil {
		r.close()
		r.running.Wait()
	}
}

// Ready waits for the first complete reading. It returns an error if the copy is older than
// MaxLag, or if ctx ends. It is for readiness probes, and for programs that need the copy
// before they listen. Its error matches ErrUnavailable.
func (r *Replica) Ready(ctx context.Context) error {
	if err := r.check(); err != nil {
		return fault.NoAnswer("replica", err)
	}
	select {
	case <-r.firstReadDone:
	case <-r.closed.Done():
	case <-ctx.Done():
		return fault.NoAnswer("replica", errors.Join(ctx.Err(), r.Status().LastError))
	}
	if lag := r.lag(); lag < 0 || lag > r.o.MaxLag {
		return fault.NoAnswer("replica", r.tooOldError(lag))
	}
	return nil
}

// Status returns the state of the Replica for health checks.
func (r *Replica) Status() Status {
	if err := r.check(); err != nil {
		return Status{Lag: -1, LastError: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Len: r.ids.Len(), Lag: r.lag(), LastError: r.lastError, MaxEntries: r.o.MaxEntries, EventsLost: r.events.Lost()}
}

// lag returns the age of the copy. It is negative before the first complete reading.
func (r *Replica) lag() time.Duration {
	began := r.lastReadStart.Load()
	if began == nil {
		return -1
	}
	return age(*began, time.Now())
}

// age returns the time since began, by the monotonic clock or by the wall clock, whichever
// is longer. The monotonic clock may stand still while the machine sleeps.
func age(began, now time.Time) time.Duration {
	return max(now.Sub(began), now.Round(0).Sub(began.Round(0)), 0)
}

// now returns the time of Options.Now if it is set, or else systemTime, which is a result
// of time.Now.
func (r *Replica) now(systemTime time.Time) time.Time {
	if r.o.Now != nil {
		return r.o.Now()
	}
	return systemTime
}

// tooOldError returns the error of a copy whose age is lag.
func (r *Replica) tooOldError(lag time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lag < 0 {
		return errors.Join(errors.New("the revocations have not been read yet"), r.lastError)
	}
	return errors.Join(fmt.Errorf("the copy of the revocations is %v old, at most %v is expected", lag, r.o.MaxLag), r.lastError)
}

// Revoke implements [jwtauth.RevocationStore]. If the copy has 95 percent of MaxEntries, Revoke
// returns an error and changes nothing. After an error of the store, the revocation is in effect
// here, and the Replica sends it again until the store accepts it. Revoke calls the store even
// if until has passed by the clock of this process, since that clock may be wrong.
func (r *Replica) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := r.check(); err != nil {
		return err
	}
	now := r.ids.Confirm(r.now(time.Now()))
	key, e := revoked.Parse(id), ownRevocation{until: until}
	if revoked.Encode(key) != id {
		e.text = strings.Clone(id)
	}
	r.ids.MakeRoom(now, r.o.MaxEntries-r.revokeLimit())
	isFull := r.ids.Len() >= r.revokeLimit() && now.Before(until) && !r.ids.Has(&key, now)
	if isFull || !r.ids.Add(&key, until, now) {
		return errReplicaFull
	}
	r.mu.Lock()
	if len(r.ownRevocations) >= r.pruneAt {
		for key, e := range r.ownRevocations {
			if !now.Before(e.until) {
				delete(r.ownRevocations, key)
				delete(r.unsent, key)
			}
		}
		r.pruneAt = max(minOwn, 2*len(r.ownRevocations))
	}
	e.until = later(e.until, r.ownRevocations[key].until)
	r.ownRevocations[key] = e // before the call, since the engine may lose the revocation during it
	r.mu.Unlock()
	err := r.store.Revoke(ctx, id, until)
	if err != nil {
		r.mu.Lock()
		r.unsent[key] = struct{}{}
		r.mu.Unlock()
	}
	return err
}

var errReplicaFull = errors.New("replica: the Replica has no room for more revocations of this process: raise Options.MaxEntries")

// revokeLimit returns the number of entries at which Revoke returns an error. The rest of
// MaxEntries is for revocations of other processes.
func (r *Replica) revokeLimit() int { return r.o.MaxEntries - r.o.MaxEntries/20 }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// IsRevoked implements [jwtauth.RevocationStore].
func (r *Replica) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	began, now, err := r.startLookup()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, err
	}
	at := r.now(now)
	var buffer [4]revoked.ID
	keys := buffer[:0] // parse all ids first, so the cache misses of the look-ups overlap
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

// hasAny is IsRevoked for parsed ids. It ignores the time of the caller and reads the clock,
// since an older time would make the copy look younger than it is.
func (r *Replica) hasAny(_ context.Context, ids revoked.IDs, _ time.Time) (bool, error) {
	began, now, err := r.startLookup()
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

// startLookup returns the start of the last reading and the time. A look-up must call
// startLookup before it looks into the copy. Otherwise, a reading that ends after the
// look-up but before the age check would make the copy seem younger than it was.
func (r *Replica) startLookup() (began *time.Time, now time.Time, err error) {
	if err := r.check(); err != nil {
		return nil, now, err
	}
	return r.lastReadStart.Load(), time.Now(), nil
}

// checkAge returns an error if there is no copy, or if it is older than MaxLag. began is
// from startLookup.
func (r *Replica) checkAge(began *time.Time, now time.Time) error {
	if began == nil {
		return r.tooOldError(-1)
	}
	if lag := age(*began, now); lag > r.o.MaxLag {
		return r.tooOldError(lag)
	}
	return nil
}

// MemorySeam is for package jwtauth.
func (r *Replica) MemorySeam() revoked.Memory {
	return revoked.Memory{Store: r, HasAny: r.hasAny}
}
