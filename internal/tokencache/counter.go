package tokencache

import (
	"sync"
	"sync/atomic"
)

// counter counts without a memory cell that all processors write: it has many,
// and a sync.Pool hands the same one to the same processor, as a rule.
type counter struct {
	cells [64]cell
	next  atomic.Uint32
	pool  sync.Pool
}

type cell struct {
	n atomic.Uint64
	_ [120]byte // to two cache lines
}

func (c *counter) init() {
	c.pool.New = func() any { return &c.cells[c.next.Add(1)%uint32(len(c.cells))] }
}

func (c *counter) add() {
	mine := c.pool.Get().(*cell)
	mine.n.Add(1)
	c.pool.Put(mine)
}

func (c *counter) sum() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
