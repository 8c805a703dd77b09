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

// endedCallTimeout is the maximum duration of a call whose context has ended.
const endedCallTimeout = 5 * time.Second

var contextRules = []rule{
	{"A call whose context has ended returns an error at once, and never ErrNoSession", func(c *trial) {
		row := c.createRow("1")
		c.mustRevoke(tokenID("1"), c.now.Add(time.Hour))
		c.wantEndedContextErrors([]call{
			{"Create", func(ctx context.Context) error { return c.sessions.Create(ctx, c.newRow("2"), 0) }},
			{"Advance", func(ctx context.Context) error {
				_, _, err := c.sessions.Advance(ctx, row.Key, c.rotationFrom(1))
				return err
			}},
			{"Delete", func(ctx context.Context) error { return c.sessions.Delete(ctx, row.Key) }},
			{"List", func(ctx context.Context) error { _, err := c.sessions.List(ctx, issuer, subject, "", 1000); return err }},
			{"Revoke", func(ctx context.Context) error {
				return c.revocations.Revoke(ctx, tokenID("2"), c.now.Add(time.Hour))
			}},
			{"IsRevoked", func(ctx context.Context) error {
				_, err := c.revocations.IsRevoked(ctx, tokenID("1"))
				return err
			}},
		})
	}},
	{"After cancelled calls, the store works and its rows are whole", func(c *trial) {
		row := c.createRow("1")
		var generation, won, failed atomic.Int64
		generation.Store(1)
		together(8, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 15 {
				ctx, cancel := context.WithTimeout(c.ctx, time.Microsecond<<r.IntN(12))
				got, moved, err := c.sessions.Advance(ctx, row.Key, c.rotationFrom(generation.Load()))
				if err != nil {
					failed.Add(1)
				} else {
					generation.Store(got.Generation)
				}
				if moved {
					won.Add(1)
				}
				if errors.Is(err, jwtauth.ErrNoSession) {
					c.Errorf("Advance of a row that exists is ErrNoSession")
				}
				if r.IntN(4) == 0 {
					cancel()
				}
				passing := c.newRow(fmt.Sprint("passing ", i))
				_ = c.sessions.Create(ctx, passing, 0)
				_ = c.sessions.Delete(ctx, passing.Key)
				_, _ = c.sessions.List(ctx, issuer, subject, "", 1000)
				_ = c.revocations.Revoke(ctx, tokenID(fmt.Sprint(i, n)), c.now.Add(time.Hour))
				_, _ = c.revocations.IsRevoked(ctx, tokenID(fmt.Sprint(i, n)))
				cancel()
			}
		})
		c.waitUntilUsable()
		for i := range 16 {
			after := c.createRow(fmt.Sprint("after ", i))
			c.wantAdvance(after, c.rotationFrom(1), true)
			c.mustDelete(after.Key)
			c.mustRevoke(tokenID(fmt.Sprint("after ", i)), c.now.Add(time.Hour))
			c.wantRevoked(true, tokenID(fmt.Sprint("after ", i)))
		}
		// Each successful Advance has moved the row by one generation, since no caller uses a From
		// that is greater than the Generation of the row. A call that returned an error may have moved
		// the row as well.
		for _, now := range c.mustList(issuer, subject) {
			if now.Key == row.Key {
				if moved := now.Generation - 1; moved < won.Load() || moved > won.Load()+failed.Load() {
					c.Errorf("the row was advanced %d times; %d calls returned advanced, %d returned an error", moved, won.Load(), failed.Load())
				}
				return
			}
		}
		c.Errorf("the row is gone")
	}},
}

// waitUntilUsable waits until the store answers again. A driver may close its connection
// when a call is cancelled, and then has to open a new connection.
func (c *trial) waitUntilUsable() {
	c.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); ; <-again.C {
		_, err := c.sessions.List(c.ctx, issuer, subject, "", 1000)
		if err == nil {
			return
		}
		if time.Since(began) > endedCallTimeout {
			c.Fatalf("List still fails after calls that were cancelled: %v", err)
		}
	}
}

// call is a call of a method of a store. do gets the context of the call.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// wantEndedContextErrors checks that calls return an error at once if their context has
// ended.
func (c *trial) wantEndedContextErrors(calls []call) {
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
					c.Errorf("%s returns the error %v, although the context has ended: %v", call.name, err, ended.Err())
				}
			case <-time.After(endedCallTimeout):
				c.Errorf("%s does not return, although the context has ended: %v", call.name, ended.Err())
			}
		}
	}
}
