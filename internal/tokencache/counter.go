package tokencache

import (
	"hash/maphash"
	"sync/atomic"
)

// counter counts, and spares processors that count at once the memory that all of them
// write. It is exact up to countExactly. Beyond that it counts one call in countEvery,
// picked by chance, for countEvery calls: of a million calls it is off by about one percent.
type counter struct {
	_ [64]byte // away from what is read all the time
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
	case maphash.String(maphash.MakeSeed(), "")%countEvery == 0: // by chance
		c.n.Add(countEvery)
	}
}

func (c *counter) load() uint64 { return c.n.Load() }
