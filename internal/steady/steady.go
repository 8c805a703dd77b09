// Package steady tells a clock that has advanced from a clock that was set ahead for a
// moment, so that nothing is removed for good because of a time that has not come.
package steady

import (
	"sync"
	"time"
)

const (
	// step is how much a clock may gain between two readings without suspicion.
	step = time.Minute
	// patience is how long a clock must stay ahead until it is believed.
	patience = 10 * time.Minute
)

// Clock judges the readings of one clock. The zero value is ready. It is safe for
// concurrent use.
type Clock struct {
	mu       sync.Mutex
	believed time.Time // the last reading that was believed
	ahead    time.Time // the first of the readings that are too far ahead; zero if there is none
}

// Believe returns a time that has certainly come: now, or an earlier time if the clock has
// jumped ahead. If readings have a monotonic part, a jump is what the wall clock has gained
// beside it. Otherwise, a step of more than a minute counts as a jump, also after idle
// time. A jump is believed after the clock has stayed ahead for 10 minutes, by its own
// readings.
func (c *Clock) Believe(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := now.Round(0).Sub(c.believed.Round(0))
	gained := wall
	if isMonotonic(now) && isMonotonic(c.believed) {
		gained = wall - max(now.Sub(c.believed), 0)
	}
	switch {
	case c.believed.IsZero(), wall < -step: // the first reading, or the clock was set back
		c.believed, c.ahead = now, time.Time{}
	case wall <= 0: // readings do not come in the order in which they were made
		return now
	case gained <= step:
		c.believed, c.ahead = now, time.Time{}
	case c.ahead.IsZero(), now.Before(c.ahead):
		c.ahead = now
	case now.Sub(c.ahead) >= patience:
		c.believed, c.ahead = now, time.Time{}
	}
	return c.believed
}

// isMonotonic reports whether t has a monotonic part.
func isMonotonic(t time.Time) bool { return t != t.Round(0) } // Equal ignores that part
