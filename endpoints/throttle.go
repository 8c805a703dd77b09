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

// Throttle slows down guessing of passwords. An implementation is safe for concurrent use.
type Throttle interface {
	// Begin is called before a password is checked. name is the account that the client
	// names, spelled as the program looks it up: if the program ignores case, name is in
	// lower case. It need not exist. addr is the address of the client.
	//
	// If the login may go on, done is not nil, and the attempt counts as a failure until
	// done is called: with true if the password was right, and with false if it was wrong.
	// Only the first call of done counts. If the outcome is not known, as after an error
	// of the user database, the program does not call done.
	//
	// If the login is refused, done and err are nil, and the client may try again after
	// retryAfter: 429 with Retry-After. The password must not be checked.
	//
	// An error means that there is no answer: 503. It matches ErrUnavailable of package
	// jwtauth.
	Begin(ctx context.Context, name string, addr netip.Addr) (done func(ok bool), retryAfter time.Duration, err error)
}

// The costs of an attempt for an account: a network may log in to an account
// failureCost times as often as it may fail.
const (
	failureCost = 4
	successCost = 1
)

// costLimit returns how much attempts may cost of which n may fail. What is left after n
// failures is less than the cost of another one, and n times failureCost successes reach
// it.
func costLimit(n uint32) uint32 { return n*failureCost + failureCost - 1 }

// outcomeTimeout is how long an attempt counts whose outcome is not known.
const outcomeTimeout = time.Minute

// MemoryThrottle is the [Throttle] of one process. It never blocks, and is safe for
// concurrent use. The zero value answers every Begin with an error.
//
//   - A network may fail ThrottleOptions.PerNetwork times within the window, whatever
//     accounts it names. A network is an IPv4 address or the /64 of an IPv6 address. The
//     /56 around it may fail twice as often, and the /48, or the /24 of IPv4, four times.
//   - For one account, a network may fail PerName times, and the networks around it twice
//     and four times as often. A right password costs a fourth of a wrong one: successful
//     logins are limited as well.
//   - A network from which an account logged in before may fail PerName times for that
//     account, whatever other networks do and however full the memory is. So a stranger
//     cannot lock the owner of an account out, unless both have the same address. The
//     last 8 networks of an account are remembered.
//
// There is no limit for an account as such, since anybody could then lock its owner out:
// somebody with thousands of networks has PerName guesses for each of them. Only a second
// factor stops that.
//
// The answer does not depend on whether an account exists. A name is kept only as a keyed
// hash, and with a key that ends with the process.
//
// The memory is bounded: with the default MaxEntries, 12 MiB, and 64 MiB at most. Failures
// are counted in count-min sketches. If more than MaxEntries failures come within a window,
// a sketch may mistake one network for another; with limits below the defaults, fewer
// failures are enough. Then a login may be refused, but only from a network from which the
// account did not log in before.
//
// Behind a proxy, addr must be the address that the proxy saw. With the address of the
// proxy itself, all clients are one network, and anybody can lock out all of them, except
// for accounts that have logged in before.
//
// The window is measured with the monotonic clock. If a clock of ThrottleOptions.Now is
// set back, the time goes on from there; if it is set forward, failures expire early.
type MemoryThrottle struct {
	perName, perNetwork uint32
	window              time.Duration
	maxEntries          int
	now                 func() time.Time
	secret              []byte // of the hash of names
	seed                maphash.Seed

	mu       sync.Mutex
	last     time.Time      // what now returned last
	elapsed  time.Duration  // since NewThrottle; it never goes back
	failures *sketch.Sketch // of networks
	attempts *sketch.Sketch // for accounts from networks, by their costs
	known    knownNetworks
	open     []*attempt // whose outcome is not known yet, the oldest first
}

// ThrottleOptions configures a [MemoryThrottle]. Zero fields mean the defaults.
type ThrottleOptions struct {
	// PerName is how often one network may fail for one account within Window. Default
	// 10. From 1 to 1,000.
	PerName int
	// PerNetwork is how often one network may fail within Window, for all accounts
	// together. Default 100. From 1 to 100,000.
	PerNetwork int
	// Window is how long an attempt counts, and a sixth longer at most. Default 15m. From
	// 1s to 24h.
	Window time.Duration
	// MaxEntries is how many failures within a window are told apart, and how many
	// accounts have remembered networks. Default 65,536. From 1,024 to 16,777,216.
	MaxEntries int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// NewThrottle makes a Throttle without failures. An option out of its bounds is an error.
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

// attempt is a login that may go on.
type attempt struct {
	name     nameHash
	counts   []count
	network  uint64        // hash of the narrowest network
	known    *knownNetwork // if the account logged in from this network before
	tick     uint32        // when it was counted
	deadline time.Duration
	settled  bool // done was called
	refunded bool // the deadline has passed: it is not counted any more
}

// count is what an attempt counts for one key of a sketch.
type count struct {
	in          *sketch.Sketch
	hash        uint64
	limit       uint32
	cost        uint32 // until the outcome is known, and of a failure
	successCost uint32
}

var (
	errNoThrottle = errors.New("this MemoryThrottle was not made by NewThrottle")
	errNoAddress  = errors.New("a Throttle needs the address of the client, and this one is not valid")
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
	if wait := t.wait(a); wait > 0 {
		return nil, wait, nil
	}
	t.reserve(a)
	return func(ok bool) { t.settle(a, ok) }, 0, nil
}

// newAttempt prepares what an attempt counts for.
func (t *MemoryThrottle) newAttempt(name string, addr netip.Addr) *attempt {
	a := &attempt{}
	mac := hmac.New(sha256.New, t.secret)
	io.WriteString(mac, name)
	copy(a.name[:], mac.Sum(nil))
	networks := networksOf(addr)
	a.counts = make([]count, 0, 2*len(networks))
	for i, n := range networks {
		hash := maphash.Comparable(t.seed, n.prefix)
		if i == 0 {
			a.network = hash
		}
		ofName := maphash.Comparable(t.seed, struct {
			nameHash
			netip.Prefix
		}{a.name, n.prefix})
		a.counts = append(a.counts,
			count{in: t.failures, hash: hash, limit: t.perNetwork * n.factor, cost: 1},
			count{in: t.attempts, hash: ofName, limit: costLimit(t.perName * n.factor), cost: failureCost, successCost: successCost})
	}
	return a
}

// advanceClock reads the clock and returns the current tick.
func (t *MemoryThrottle) advanceClock() uint32 {
	now := t.now()
	if d := now.Sub(t.last); d > 0 { // otherwise the clock was set back
		t.elapsed += min(d, 2*t.window+outcomeTimeout) // after that, nothing counts
	}
	t.last = now
	return uint32(t.elapsed / t.tickLength())
}

func (t *MemoryThrottle) tickLength() time.Duration { return t.window / sketch.TicksPerWindow }

// wait returns how long it takes until the attempt is within all of its limits.
func (t *MemoryThrottle) wait(a *attempt) time.Duration {
	ticks := uint32(0)
	if a.known != nil {
		ticks = a.known.attempts.FreeAt(a.tick, costLimit(t.perName)-failureCost) - a.tick
	} else {
		for _, c := range a.counts {
			ticks = max(ticks, c.in.FreeAt(c.hash, a.tick, c.limit-c.cost)-a.tick)
		}
	}
	if ticks == 0 {
		return 0
	}
	return time.Duration(a.tick+ticks)*t.tickLength() - t.elapsed
}

// reserve counts the attempt as a failure. One from a known network counts for the other
// limits as well: the network may be forgotten.
func (t *MemoryThrottle) reserve(a *attempt) {
	t.count(a)
	a.deadline = t.elapsed + outcomeTimeout
	if len(t.open) >= t.maxEntries {
		t.open[0] = nil // it remains a failure, unless done(true) is called
		t.open = t.open[1:]
	}
	t.open = append(t.open, a)
}

func (t *MemoryThrottle) count(a *attempt) {
	for _, c := range a.counts {
		c.in.Add(c.hash, a.tick, c.cost)
	}
	if a.known != nil {
		a.known.attempts.Add(a.tick, failureCost)
	}
}

// refund takes back what the attempt counts, except for the cost of a success if it was
// one.
func (t *MemoryThrottle) refund(a *attempt, success uint32) {
	for _, c := range a.counts {
		c.in.Remove(c.hash, a.tick, c.cost-c.successCost*success)
	}
	if a.known != nil {
		a.known.attempts.Remove(a.tick, failureCost-successCost*success)
	}
}

// dropOverdue no longer counts attempts whose outcome is not known in time.
func (t *MemoryThrottle) dropOverdue() {
	for len(t.open) > 0 && (t.open[0].settled || t.open[0].deadline <= t.elapsed) {
		if a := t.open[0]; !a.settled {
			t.refund(a, 0)
			a.refunded = true
		}
		t.open[0] = nil
		t.open = t.open[1:]
	}
}

// settle counts the outcome of an attempt.
func (t *MemoryThrottle) settle(a *attempt, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.settled {
		return
	}
	a.settled = true
	tick := t.advanceClock()
	if a.refunded { // an outcome that comes late counts from now on
		a.tick = tick
		t.count(a)
	}
	if !ok {
		return
	}
	t.refund(a, 1)
	if a.known == nil {
		a.known = &knownNetwork{network: a.network}
		a.known.attempts.Add(tick, successCost)
	}
	t.known.remember(a.name, a.known)
}
