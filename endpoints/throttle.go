package endpoints

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/sketch"
)

// Throttle slows down guessing of passwords. An implementation must be safe for concurrent
// use.
type Throttle interface {
	// Begin must be called before a password is checked. name is the name of the account
	// that the client sends. Begin must get equal names for the same account, so a program
	// that ignores case must give it in lower case. The account need not exist. addr is the
	// address of the client.
	//
	// If the login may go on, done is not nil. The attempt counts as a failure until the program calls
	// done, with true if the password was right and with false if it was wrong. Only the first call of
	// done counts. If the outcome is not known, such as after an error of the user database, the
	// program must not call done. MemoryThrottle forgets such an attempt after one minute.
	//
	// If the login is refused, done and err are nil. The program must not check the
	// password. It answers 429 (Too Many Requests) with retryAfter in the header
	// Retry-After.
	//
	// An error means that Begin could not decide. The program must not check the password,
	// and answers 503. The error matches ErrUnavailable of package jwtauth.
	Begin(ctx context.Context, name string, addr netip.Addr) (done func(ok bool), retryAfter time.Duration, err error)
}

// failureCost and successCost are the costs of an attempt for an account. A failed attempt
// costs as much as four successful ones.
const (
	failureCost = 4
	successCost = 1
)

// costLimit returns the limit of the sum of costs if n attempts may fail. It is just below
// the cost of n+1 failures.
func costLimit(n uint32) uint32 { return n*failureCost + failureCost - 1 }

// outcomeTimeout is how long an attempt counts as a failure if done is not called.
const outcomeTimeout = time.Minute

// MemoryThrottle is a [Throttle] for a single process. It never blocks, and is safe for
// concurrent use. Begin of the zero value returns an error.
//
// A network is an IPv4 address, or the /64 of an IPv6 address. Within
// ThrottleOptions.Window, these limits apply:
//
//   - ThrottleOptions.PerNetwork logins from a network may fail, for all accounts together. From the /56 around an IPv6 network, twice as many may fail. From the /48, or the /24 of IPv4, four times as many may fail.
//   - A network may fail ThrottleOptions.PerName times for one account. The larger networks
//     may again fail twice and four times as often. A successful login counts as a fourth
//     of a failure, so successful logins are limited as well.
//   - If an account has logged in from a network before, this network may fail PerName
//     times for the account, and the other limits do not apply. A stranger therefore cannot
//     lock out the owner of an account, unless both use the same network. The last 8
//     networks of an account are remembered.
//
// There is no limit for an account over all networks. Otherwise anybody could lock out its
// owner. An attacker with thousands of networks therefore has PerName guesses from each of
// them. Only a second factor prevents that.
//
// The answer does not depend on whether an account exists. Names are stored only as keyed
// hashes, with a random key of this process.
//
// The memory is bounded. It takes 192 bytes for each of ThrottleOptions.MaxEntries at the
// start, and 1 KiB at most. With the default MaxEntries, that is 12 MiB and 64 MiB.
//
// Failures are counted in count-min sketches. If more than MaxEntries failures come within
// a window, a sketch may count the failures of one network for another one. If the limits
// are below the defaults, this may happen with fewer failures. A login may then be refused
// too early, but only from a network from which the account has not logged in before.
//
// Behind a proxy, addr must be the address that the proxy received the request from. With
// the address of the proxy itself, all clients share one network, and an attacker can lock
// out all accounts that have not logged in before.
//
// With time.Now, the window is measured with the monotonic clock. If ThrottleOptions.Now returns
// times without a monotonic reading, and its clock is set back, the window goes on from the new
// time. If it is set forward, failures expire early.
type MemoryThrottle struct {
	perName, perNetwork uint32
	window              time.Duration
	maxEntries          int
	now                 func() time.Time
	secret              []byte       // the key of the hash of names
	seed                maphash.Seed // of the hash of networks

	mu       sync.Mutex     // guards the following fields
	last     time.Time      // the last reading of now
	elapsed  time.Duration  // the time since NewThrottle; it never goes back
	failures *sketch.Sketch // the failures of each network
	attempts *sketch.Sketch // the costs of attempts for each pair of account and network
	known    knownNetworks
	pending  []*attempt // the attempts whose outcome is not known yet, oldest first
}

// ThrottleOptions configures a [MemoryThrottle]. Zero fields mean the defaults.
type ThrottleOptions struct {
	// PerName is how often one network may fail for one account within Window. Default
	// 10. From 1 to 1,000.
	PerName int
	// PerNetwork is how often one network may fail within Window, for all accounts
	// together. Default 100. From 1 to 100,000.
	PerNetwork int
	// Window is how long an attempt counts. It may count up to a sixth longer. Default 15m.
	// From 1s to 24h.
	Window time.Duration
	// MaxEntries is the number of failures within a window that are counted exactly, and
	// the number of accounts whose networks are remembered. It bounds the memory, which is
	// 1 KiB at most for each entry. Default 65,536. From 1,024 to 16,777,216.
	MaxEntries int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// NewThrottle makes a MemoryThrottle. An option out of its bounds is an error.
func NewThrottle(o ThrottleOptions) (*MemoryThrottle, error) {
	for _, option := range []struct {
		name                  string
		value                 *int
		byDefault, least, max int
	}{
		{"PerName", &o.PerName, 10, 1, 1_000},
		{"PerNetwork", &o.PerNetwork, 100, 1, 100_000},
		{"MaxEntries", &o.MaxEntries, 1 << 16, 1 << 10, 1 << 24},
	} {
		if *option.value == 0 {
			*option.value = option.byDefault
		}
		if *option.value < option.least || *option.value > option.max {
			return nil, fmt.Errorf("endpoints: ThrottleOptions.%s is %d: from %d to %d is expected", option.name, *option.value, option.least, option.max)
		}
	}
	if o.Window == 0 {
		o.Window = 15 * time.Minute
	}
	if o.Window < time.Second || o.Window > 24*time.Hour {
		return nil, fmt.Errorf("endpoints: ThrottleOptions.Window is %v: from 1s to 24h is expected", o.Window)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &MemoryThrottle{
		perName: uint32(o.PerName), perNetwork: uint32(o.PerNetwork), window: o.Window, maxEntries: o.MaxEntries,
		now: o.Now, last: o.Now(), secret: make([]byte, sha256.Size), seed: maphash.MakeSeed(),
		failures: sketch.New(o.MaxEntries / 2), attempts: sketch.New(o.MaxEntries), known: newKnownNetworks(o.MaxEntries),
	}
	rand.Read(t.secret)
	return t, nil
}

// Format prints the limits, for every verb.
func (t *MemoryThrottle) Format(f fmt.State, _ rune) {
	if t == nil || t.failures == nil {
		io.WriteString(f, "MemoryThrottle()")
		return
	}
	fmt.Fprintf(f, "MemoryThrottle(%d per name and %d per network in %v)", t.perName, t.perNetwork, t.window)
}

// attempt is a login that was not refused.
type attempt struct {
	name     nameHash
	charges  []charge
	network  uint64        // the hash of the smallest network
	known    *knownNetwork // nil if the account has not logged in from this network before
	tick     uint32        // when the attempt was counted
	deadline time.Duration // when outcomeTimeout ends, as a value of elapsed
	finished bool          // done was called
	refunded bool          // the deadline has passed, so the attempt no longer counts
}

// charge is the cost of an attempt for one key of a sketch.
type charge struct {
	sketch      *sketch.Sketch
	hash        uint64 // the key
	limit       uint32 // the attempt is refused if the sum of costs would be higher
	cost        uint32 // the cost of a failure, and of an attempt whose outcome is not known yet
	successCost uint32
}

var (
	errNoThrottle = errors.New("this MemoryThrottle was not made by NewThrottle")
	errNoAddress  = errors.New("the address of the client is not valid")
)

// Begin implements [Throttle].
func (t *MemoryThrottle) Begin(ctx context.Context, name string, addr netip.Addr) (done func(ok bool), retryAfter time.Duration, err error) {
	if t == nil || t.failures == nil {
		return nil, 0, fault.NoAnswer("endpoints", errNoThrottle)
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, fault.NoAnswer("endpoints", err)
	}
	if !addr.IsValid() {
		return nil, 0, fault.NoAnswer("endpoints", errNoAddress)
	}
	a := t.newAttempt(name, addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	a.tick = t.advanceClock()
	t.dropOverdue()
	a.known = t.known.find(a.name, a.network)
	if wait := t.retryAfter(a); wait > 0 {
		return nil, wait, nil
	}
	t.reserve(a)
	return func(ok bool) { t.finish(a, ok) }, 0, nil
}

// newAttempt makes an attempt with its charges for all networks around addr. It does not
// count the attempt yet.
func (t *MemoryThrottle) newAttempt(name string, addr netip.Addr) *attempt {
	a := &attempt{}
	mac := hmac.New(sha256.New, t.secret)
	io.WriteString(mac, name)
	copy(a.name[:], mac.Sum(nil))
	networks := networksOf(addr)
	a.charges = make([]charge, 0, 2*len(networks))
	for i, n := range networks {
		hash := maphash.Comparable(t.seed, n.prefix)
		if i == 0 {
			a.network = hash
		}
		nameAndNetwork := maphash.Comparable(t.seed, struct {
			nameHash
			netip.Prefix
		}{a.name, n.prefix})
		a.charges = append(a.charges,
			charge{sketch: t.failures, hash: hash, limit: t.perNetwork * n.factor, cost: 1},
			charge{sketch: t.attempts, hash: nameAndNetwork, limit: costLimit(t.perName * n.factor), cost: failureCost, successCost: successCost})
	}
	return a
}

// advanceClock reads the clock and returns the current tick.
func (t *MemoryThrottle) advanceClock() uint32 {
	now := t.now()
	if d := now.Sub(t.last); d > 0 { // not positive means that the clock was set back
		t.elapsed += min(d, 2*t.window+outcomeTimeout) // after that time, no attempt counts
	}
	t.last = now
	return uint32(t.elapsed / t.tickLength())
}

func (t *MemoryThrottle) tickLength() time.Duration { return t.window / sketch.TicksPerWindow }

// retryAfter returns the time until the attempt is within all its limits. Zero means that
// it may go on.
func (t *MemoryThrottle) retryAfter(a *attempt) time.Duration {
	ticks := uint32(0)
	if a.known != nil {
		ticks = a.known.attempts.FreeAt(a.tick, costLimit(t.perName)-failureCost) - a.tick
	} else {
		for _, c := range a.charges {
			ticks = max(ticks, c.sketch.FreeAt(c.hash, a.tick, c.limit-c.cost)-a.tick)
		}
	}
	if ticks == 0 {
		return 0
	}
	return time.Duration(a.tick+ticks)*t.tickLength() - t.elapsed
}

// reserve counts the attempt as a failure until its outcome is known. An attempt from a
// known network counts for all limits, since the network may be forgotten later.
func (t *MemoryThrottle) reserve(a *attempt) {
	t.addCharges(a)
	a.deadline = t.elapsed + outcomeTimeout
	if len(t.pending) >= t.maxEntries {
		t.pending[0] = nil // counts as a failure, unless done(true) is called
		t.pending = t.pending[1:]
	}
	t.pending = append(t.pending, a)
}

// addCharges counts the attempt as a failure.
func (t *MemoryThrottle) addCharges(a *attempt) {
	for _, c := range a.charges {
		c.sketch.Add(c.hash, a.tick, c.cost)
	}
	if a.known != nil {
		a.known.attempts.Add(a.tick, failureCost)
	}
}

// refund removes the cost of the attempt. If success is 1, the cost of a success remains.
func (t *MemoryThrottle) refund(a *attempt, success uint32) {
	for _, c := range a.charges {
		c.sketch.Remove(c.hash, a.tick, c.cost-c.successCost*success)
	}
	if a.known != nil {
		a.known.attempts.Remove(a.tick, failureCost-successCost*success)
	}
}

// dropOverdue removes the costs of attempts whose outcome is not known after
// outcomeTimeout.
func (t *MemoryThrottle) dropOverdue() {
	for len(t.pending) > 0 && (t.pending[0].finished || t.pending[0].deadline <= t.elapsed) {
		if a := t.pending[0]; !a.finished {
			t.refund(a, 0)
			a.refunded = true
		}
		t.pending[0] = nil
		t.pending = t.pending[1:]
	}
}

// finish counts the outcome of an attempt. It does nothing if it was called before.
func (t *MemoryThrottle) finish(a *attempt, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.finished {
		return
	}
	a.finished = true
	tick := t.advanceClock()
	if a.refunded { // a late outcome counts from now on
		a.tick = tick
		t.addCharges(a)
	}
	if !ok {
		return
	}
	t.refund(a, 1)
	if a.known == nil {
		a.known = &knownNetwork{network: a.network}
		a.known.attempts.Add(tick, successCost)
	}
	t.known.moveToFront(a.name, a.known)
}
