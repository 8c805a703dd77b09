package tokencache

import (
	"hash/maphash"
	"sync/atomic"
)

// counter is an approximate counter that many processors can increment at once with little
// contention. It is exact up to countExactly. Above that, it samples: one random call in
// countEvery adds countEvery. After a million calls, its error is about one percent.
type counter struct {
	_ [64]byte // padding, since writes of n would slow down reads of fields in the same cache line
	n atomic.Uint64
	_ [56]byte
}

const (
	countExactly = 1 << 12
	countEvery   = 1 << 6
)

func (c *counter) add() {
	switch {
	case c.n.Load() < countExactly:
		c.n.Add(1)
	case maphash.String(maphash.MakeSeed(), "")%countEvery == 0: // a random number, without a lock
		c.n.Add(countEvery)
	}
}

func (c *counter) load() uint64 { return c.n.Load() }
