package main

import (
	"errors"
	"sync"
	"time"
)

// counter is a httprate.LimitCounter that can forget a key and give an attempt
// back. It keeps the time of each attempt, so that no window of that length, at
// whatever time it begins, has more attempts than the limit. It is bounded: with
// many keys it refuses new ones rather than forget one that is counted.
type counter struct {
	window time.Duration
	most   int

	mu       sync.Mutex
	attempts map[string][]time.Time // at most as many as the limit, the oldest first
	swept    time.Time
}

var errManyKeys = errors.New("too many keys are counted already")

// Config implements httprate.LimitCounter; the limiter calls it once.
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
	if !known && len(c.attempts) >= c.most && !c.sweep(now) {
		return errManyKeys
	}
	for range n {
		recent = append(recent, now)
	}
	c.attempts[key] = recent
	return nil
}

// Get implements httprate.LimitCounter: all attempts that count are in the
// current window.
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

// sweep drops the keys of which no attempt counts any more, and says whether
// there is room then. It looks at all keys at most once a second.
func (c *counter) sweep(now time.Time) bool {
	if now.Sub(c.swept) < time.Second {
		return false
	}
	c.swept = now
	for key := range c.attempts {
		if recent, _ := c.recent(key, now); len(recent) == 0 {
			delete(c.attempts, key)
		}
	}
	return len(c.attempts) < c.most
}

func (c *counter) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attempts, key)
}

// giveBack takes the last attempt away.
func (c *counter) giveBack(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if recent := c.attempts[key]; len(recent) > 1 {
		c.attempts[key] = recent[:len(recent)-1]
	} else {
		delete(c.attempts, key)
	}
}

// wait is how long it takes until an attempt of a key counts no more, or, where
// there is none, until room for another key is likely.
func (c *counter) wait(key string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if recent, _ := c.recent(key, now); len(recent) > 0 {
		return recent[0].Add(c.window).Sub(now)
	}
	return time.Second
}
