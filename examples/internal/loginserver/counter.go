package loginserver

import (
	"errors"
	"sync"
	"time"
)

// counter is a httprate.LimitCounter with a sliding log: it keeps the time of each
// attempt, so that no window, whenever it begins, has more attempts than the limit.
// It can also forget a key and give an attempt back. The number of keys is bounded.
// If there are too many, counter refuses new keys and does not forget old ones, so
// that a flood of names cannot clear the count of an account.
type counter struct {
	window  time.Duration
	maxKeys int

	mu        sync.Mutex
	attempts  map[string][]time.Time // per key at most as many as the limit, the oldest first
	lastSweep time.Time
}

var errManyKeys = errors.New("too many keys are counted already")

// Config implements httprate.LimitCounter. The limiter calls it once.
func (c *counter) Config(_ int, window time.Duration) { c.window = window }

// Increment implements httprate.LimitCounter.
func (c *counter) Increment(key string, currentWindow time.Time) error {
	return c.IncrementBy(key, currentWindow, 1)
}

// IncrementBy implements httprate.LimitCounter.
func (c *counter) IncrementBy(key string, _ time.Time, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	recent, known := c.recent(key, now)
	if !known && len(c.attempts) >= c.maxKeys && !c.sweep(now) {
		return errManyKeys
	}
	for range n {
		recent = append(recent, now)
	}
	c.attempts[key] = recent
	return nil
}

// Get implements httprate.LimitCounter. It reports all attempts that still count as
// those of the current window.
func (c *counter) Get(key string, _, _ time.Time) (current, previous int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent, _ := c.recent(key, time.Now())
	return len(recent), 0, nil
}

// recent returns the attempts that still count.
func (c *counter) recent(key string, now time.Time) (recent []time.Time, known bool) {
	recent, known = c.attempts[key]
	for len(recent) > 0 && now.Sub(recent[0]) >= c.window {
		recent = recent[1:]
	}
	return recent, known
}

// sweep drops the keys without an attempt that still counts, and reports whether
// there is room for another key. It walks through all keys at most once a second.
func (c *counter) sweep(now time.Time) bool {
	if now.Sub(c.lastSweep) < time.Second {
		return false
	}
	c.lastSweep = now
	for key := range c.attempts {
		if recent, _ := c.recent(key, now); len(recent) == 0 {
			delete(c.attempts, key)
		}
	}
	return len(c.attempts) < c.maxKeys
}

// forget drops all attempts of a key.
func (c *counter) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attempts, key)
}

// giveBack removes the last attempt of a key.
func (c *counter) giveBack(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if recent := c.attempts[key]; len(recent) > 1 {
		c.attempts[key] = recent[:len(recent)-1]
	} else {
		delete(c.attempts, key)
	}
}

// wait returns the time until the oldest attempt of a key no longer counts. If the
// key has none, it was refused because there are too many keys: wait returns the
// time until the next sweep.
func (c *counter) wait(key string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if recent, _ := c.recent(key, now); len(recent) > 0 {
		return recent[0].Add(c.window).Sub(now)
	}
	return time.Second
}
