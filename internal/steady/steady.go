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
	ahead     time.Time // the earliest reading since a jump that is not confirmed yet; zero if there is no such jump
	cameBack  bool      // whether a reading since the last confirmation was earlier than the field ahead
	last      time.Time // the last reading
}

// Confirm takes a reading and returns the confirmed time. That is the reading itself,
// unless the clock has jumped ahead by more than a minute. After a jump, it is the last
// reading before the jump, until the clock has stayed ahead for 10 minutes, measured by the
// clock itself.
//
// If the readings have a monotonic part, only the difference between the wall clock and the
// monotonic clock counts as a jump. Otherwise, every advance by more than a minute between
// two calls is a jump, even if no call came for an hour.
func (c *Clock) Confirm(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	jumpedAgain := c.cameBack && gained(c.last, now) > patience
	c.last = now
	wall := now.Round(0).Sub(c.confirmed.Round(0))
	switch {
	case c.confirmed.IsZero(), wall < -maxStep: // the first reading, or the clock was set back
		c.confirm(now)
	case wall <= 0: // goroutines may call Confirm in a different order from the one in which they read the clock
		return now
	case gained(c.confirmed, now) <= maxStep:
		c.confirm(now)
	case c.ahead.IsZero(), jumpedAgain:
		c.ahead = now
	case now.Before(c.ahead):
		c.ahead, c.cameBack = now, true
	case now.Sub(c.ahead) >= patience:
		c.confirm(now)
	}
	return c.confirmed
}

func (c *Clock) confirm(now time.Time) {
	c.confirmed, c.ahead, c.cameBack = now, time.Time{}, false
}

// gained returns how far the wall clock has advanced from one reading to another, less the
// advance of the monotonic clock if both readings have a monotonic part.
func gained(from, to time.Time) time.Duration {
	wall := to.Round(0).Sub(from.Round(0))
	if isMonotonic(from) && isMonotonic(to) {
		return wall - max(to.Sub(from), 0)
	}
	return wall
}

// Floor is a time that advances with a clock. It goes back only if the clock has stayed more
// than a minute behind it for 10 minutes. The zero value is ready. A Floor is not safe for
// concurrent use.
type Floor struct {
	at     time.Time
	behind time.Time // the earliest time since the clock fell behind; zero if it is not behind
}

// Advance takes a time that Clock.Confirm has returned. It returns the floor.
func (f *Floor) Advance(confirmed time.Time) time.Time {
	switch {
	case !confirmed.Before(f.at.Add(-maxStep)):
		f.behind = time.Time{}
		if confirmed.After(f.at) {
			f.at = confirmed
		}
	case f.behind.IsZero(), confirmed.Before(f.behind):
		f.behind = confirmed
	case confirmed.Sub(f.behind) >= patience:
		*f = Floor{at: confirmed}
	}
	return f.at
}

// isMonotonic reports whether t has a monotonic part.
func isMonotonic(t time.Time) bool { return t != t.Round(0) } // == compares the monotonic parts, Equal does not
