package jwtauthtest

import (
	"errors"
	"sync"
	"time"
)

// Clock stands still until it is moved. The one of an [Issuer] begins at the
// second in which that was made, so that a service which reads the real clock
// takes its tokens, too, until the test moves it. All methods are safe for
// concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time that the clock shows: for the Now options.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on by d, or back where d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Set makes the clock show a time.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

var errNow = errors.New("IssuerOptions.Now is set; the clock of this issuer is its Clock, which has Set and Advance")
