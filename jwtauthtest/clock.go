package jwtauthtest

import (
	"errors"
	"sync"
	"time"
)

// Clock is a clock that only the test moves. The clock of an [Issuer] starts at the real
// time at which the Issuer was made, cut to seconds. Until the test moves the clock, a
// service with the real clock therefore accepts the tokens of the Issuer as well. All
// methods are safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time of the clock. Set options named Now to this method.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward by d, or back if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Set sets the clock to a time.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

var errNow = errors.New("IssuerOptions.Now is set; the clock of this issuer is its Clock, which has Set and Advance")
