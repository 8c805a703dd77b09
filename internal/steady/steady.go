// Package steady filters outliers of a clock. If a clock jumps ahead for a moment, code that
// deletes expired data would delete data that is still needed. Such code must use the time
// that Clock.Confirm returns.
package steady

import (
	"sync"
	"time"
)

const (
	// maxStep is the largest advance between two readings that does not count as a jump.
	maxStep = time.Minute
	// patience is how long a clock must stay ahead until its time is confirmed.
	patience = 10 * time.Minute
)

// Clock filters the readings of one clock. The zero value is ready. It is safe for
// concurrent use.
type Clock struct {
	mu        sync.Mutex
	confirmed time.Time // the last confirmed reading
	ahead     time.Time // the first reading after a jump that is not confirmed yet; or zero
}

// Confirm takes a reading and returns the confirmed time. That is now, unless the clock has
// jumped ahead by more than a minute. After a jump, it is the last reading before the jump,
// until the clock has stayed ahead for 10 minutes, measured by the clock itself.
//
// If the readings have a monotonic part, only the difference between the wall clock and the
// monotonic clock counts as a jump. Otherwise, every advance by more than a minute between
// two calls is a jump, even if no call came for an hour.
func (c *Clock) Confirm(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := now.Round(0).Sub(c.confirmed.Round(0))
	gained := wall
	if isMonotonic(now) && isMonotonic(c.confirmed) {
		gained = wall - max(now.Sub(c.confirmed), 0)
	}
	switch {
	case c.confirmed.IsZero(), wall < -maxStep: // the first reading, or the clock was set back
		c.confirmed, c.ahead = now, time.Time{}
	case wall <= 0: // goroutines may call Confirm in another order than they read the clock
		return now
	case gained <= maxStep:
		c.confirmed, c.ahead = now, time.Time{}
	case c.ahead.IsZero(), now.Before(c.ahead):
		c.ahead = now
	case now.Sub(c.ahead) >= patience:
		c.confirmed, c.ahead = now, time.Time{}
	}
	return c.confirmed
}

// isMonotonic reports whether t has a monotonic part.
func isMonotonic(t time.Time) bool { return t != t.Round(0) } // == compares the monotonic parts, Equal does not
