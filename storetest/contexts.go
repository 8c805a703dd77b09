package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// promptly is within what time a call returns whose context has ended.
const promptly = 5 * time.Second

var contextRules = []rule{
	{"A call whose context has ended is an error, promptly, and never ErrNoSession", func(c *trial) {
		row := c.created("1")
		c.revoke(token("1"), c.now.Add(time.Hour))
		c.endedContexts([]call{
			{"Create", func(ctx context.Context) error { return c.sessions.Create(ctx, c.row("2")) }},
			{"Advance", func(ctx context.Context) error {
				_, _, err := c.sessions.Advance(ctx, row.Key, c.rotation(1))
				return err
			}},
			{"Delete", func(ctx context.Context) error { return c.sessions.Delete(ctx, row.Key) }},
			{"List", func(ctx context.Context) error { _, err := c.sessions.List(ctx, issuer, subject); return err }},
			{"Revoke", func(ctx context.Context) error {
				return c.revocations.Revoke(ctx, token("2"), c.now.Add(time.Hour))
			}},
			{"IsRevoked", func(ctx context.Context) error {
				_, err := c.revocations.IsRevoked(ctx, token("1"))
				return err
			}},
		})
	}},
	{"Calls that are cut short leave a store that works and rows that are whole", func(c *trial) {
		row := c.created("1")
		var generation, won, failed atomic.Int64
		generation.Store(1)
		together(8, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 15 {
				ctx, cancel := context.WithTimeout(c.ctx, time.Microsecond<<r.IntN(12))
				got, moved, err := c.sessions.Advance(ctx, row.Key, c.rotation(generation.Load()))
				if err != nil {
					failed.Add(1)
				} else {
					generation.Store(got.Generation)
				}
				if moved {
					won.Add(1)
				}
				if errors.Is(err, jwtauth.ErrNoSession) {
					c.Errorf("Advance of a row that is there is ErrNoSession")
				}
				if r.IntN(4) == 0 {
					cancel()
				}
				passing := c.row(fmt.Sprint("passing ", i))
				_ = c.sessions.Create(ctx, passing)
				_ = c.sessions.Delete(ctx, passing.Key)
				_, _ = c.sessions.List(ctx, issuer, subject)
				_ = c.revocations.Revoke(ctx, token(fmt.Sprint(i, n)), c.now.Add(time.Hour))
				_, _ = c.revocations.IsRevoked(ctx, token(fmt.Sprint(i, n)))
				cancel()
			}
		})
		c.recovers()
		for i := range 16 {
			after := c.created(fmt.Sprint("after ", i))
			rotation := c.rotation(1)
			c.advance(rotation, true, rotated(after, rotation))
			c.remove(after.Key)
			c.revoke(token(fmt.Sprint("after ", i)), c.now.Add(time.Hour))
			c.isRevoked(true, token(fmt.Sprint("after ", i)))
		}
		// Nobody was ahead of the row, so each who won has moved it by one. The engine
		// may still be at work for those who have gone.
		for _, now := range c.list(issuer, subject) {
			if now.Key == row.Key {
				if moved := now.Generation - 1; moved < won.Load() || moved > won.Load()+failed.Load() {
					c.Errorf("the row was moved %d times; %d callers were told that they had, %d got no answer", moved, won.Load(), failed.Load())
				}
				return
			}
		}
		c.Errorf("the row is gone")
	}},
}

// recovers waits until the store answers: one whose driver gives up a connection
// with each call that is cut short has to make new ones.
func (c *trial) recovers() {
	c.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); ; <-again.C {
		_, err := c.sessions.List(c.ctx, issuer, subject)
		if err == nil {
			return
		}
		if time.Since(began) > promptly {
			c.Fatalf("List still fails after calls that were cut short: %v", err)
		}
	}
}

// call is a method of a store with all its arguments but the context.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// endedContexts expects that calls fail at once where their context has ended.
func (c *trial) endedContexts(calls []call) {
	c.Helper()
	cancelled, cancel := context.WithCancel(c.ctx)
	cancel()
	late, cancel := context.WithDeadline(c.ctx, c.now.Add(-time.Second))
	defer cancel()
	for _, ended := range []context.Context{cancelled, late} {
		for _, call := range calls {
			answer := make(chan error, 1)
			go func() { answer <- call.do(ended) }()
			select {
			case err := <-answer:
				if err == nil || errors.Is(err, jwtauth.ErrNoSession) {
					c.Errorf("%s returns the error %v, where the context has ended: %v", call.name, err, ended.Err())
				}
			case <-time.After(promptly):
				c.Errorf("%s does not return where the context has ended: %v", call.name, ended.Err())
			}
		}
	}
}
