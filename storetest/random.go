package storetest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

var randomRules = []rule{
	{"Random calls with values at the edges do what SessionRecord.Step does", func(c *trial) {
		for seed := range uint64(12) {
			(&randomCalls{trial: *c, rand: rand.New(rand.NewPCG(seed, 1)), rows: make(map[string]jwtauth.SessionRecord)}).run(seed)
		}
	}},
}

// edges are values for which a store may compute wrongly.
var edges = []int64{0, 1, 2, twoTo53 - 1, twoTo53, twoTo53 + 1, 1 << 62, 1<<62 + 1, math.MaxInt64 - 1, math.MaxInt64}

// randomCalls makes random calls for the sessions of one subject, and compares the store
// with a model.
type randomCalls struct {
	trial
	rand *rand.Rand
	rows map[string]jwtauth.SessionRecord // by ID
}

func (c *randomCalls) run(seed uint64) {
	const calls = 60
	outer, owner := c.tb, fmt.Sprint("random ", seed)
	for n := range calls {
		c.tb = prefixed{outer, fmt.Sprintf("seed %d, call %d: ", seed, n)}
		k := jwtauth.SessionKey{Issuer: issuer, Subject: owner, ID: fmt.Sprint(c.rand.IntN(4))}
		switch c.rand.IntN(12) {
		case 0, 1, 2:
			c.create(k)
		case 3:
			c.mustDelete(k)
			delete(c.rows, k.ID)
		default:
			c.step(k)
		}
		var want []jwtauth.SessionRecord
		for _, row := range c.rows {
			want = append(want, row)
		}
		c.wantRows(issuer, owner, want...)
	}
	c.tb = outer
}

func (c *randomCalls) edge() int64 { return edges[c.rand.IntN(len(edges))] }

// near returns, half of the time, a value about n, and otherwise a value at the edges.
func (c *randomCalls) near(n int64) int64 {
	switch off := int64(c.rand.IntN(3)) - 1; {
	case c.rand.IntN(2) == 0:
		return c.edge()
	case n == math.MaxInt64 && off > 0 || n == 0 && off < 0:
		return n
	default:
		return n + off
	}
}

func (c *randomCalls) bytes(most int) []byte {
	if c.rand.IntN(3) == 0 {
		return nil
	}
	b := make([]byte, c.rand.IntN(most+1))
	for i := range b {
		b[i] = byte(c.rand.Uint32())
	}
	return b
}

// moment returns a time up to a minute away from the beginning of the check.
func (c *randomCalls) moment() time.Time {
	return c.now.Add(time.Duration(c.rand.IntN(121)-60) * time.Second)
}

// end returns an ExpiresAt, which is sometimes before moment. It is at most 20 seconds in the
// past, so an engine may not remove the row yet.
func (c *randomCalls) end() time.Time {
	return c.now.Add([]time.Duration{-20 * time.Second, time.Microsecond, 30 * time.Second, time.Hour, 24 * time.Hour, 200 * 365 * 24 * time.Hour}[c.rand.IntN(6)])
}

func (c *randomCalls) create(k jwtauth.SessionKey) {
	row := jwtauth.SessionRecord{
		Key: k, Generation: 1, RotatedAt: c.moment(), ExpiresAt: c.end(), Data: c.bytes(200), Details: c.bytes(100),
	}
	if c.rand.IntN(3) == 0 {
		row.Generation, row.Previous, row.Parent, row.ParentStep, row.Epoch = c.edge(), c.edge(), c.edge(), c.edge(), c.edge()
	}
	limit, live := c.rand.IntN(4), 0
	for _, other := range c.rows {
		if other.ExpiresAt.After(row.RotatedAt) && other.Generation != math.MaxInt64 {
			live++
		}
	}
	_, exists := c.rows[k.ID]
	full := limit > 0 && live >= limit
	err := c.sessions.Create(c.ctx, row, limit)
	switch {
	case exists && errors.Is(err, jwtauth.ErrSessionExists), full && errors.Is(err, jwtauth.ErrSessionLimit):
	case exists, full, err != nil:
		c.Errorf("Create with the limit %d returns the error %v; there are %d live rows, row exists: %t", limit, err, live, exists)
	default:
		c.rows[k.ID] = row
	}
}

func (c *randomCalls) step(k jwtauth.SessionKey) {
	row, exists := c.rows[k.ID]
	r := jwtauth.Rotation{
		From:   min(c.near(row.Generation), math.MaxInt64-1),
		Parent: c.near(row.Parent), Epoch: row.Epoch, At: c.moment(), ExpiresAt: c.end(), Details: c.bytes(100),
	}
	if c.rand.IntN(3) == 0 {
		r.Epoch = c.near(row.Epoch)
	}
	if c.rand.IntN(10) == 0 {
		r.At = row.ExpiresAt
	}
	if !exists || !r.At.Before(row.ExpiresAt) {
		c.wantNoSession(k, r)
		return
	}
	a := c.advance(k, r)
	c.rows[k.ID] = c.wantStep(row, r, a)
}

// prefixed is a tb that begins each error with a prefix.
type prefixed struct {
	tb
	prefix string
}

func (p prefixed) Errorf(format string, args ...any) {
	p.Helper()
	p.tb.Errorf("%s"+format, append([]any{p.prefix}, args...)...)
}

func (p prefixed) Fatalf(format string, args ...any) {
	p.Helper()
	p.tb.Fatalf("%s"+format, append([]any{p.prefix}, args...)...)
}
