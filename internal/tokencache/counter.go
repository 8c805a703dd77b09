package tokencache

import (
	"sync/atomic"
	"unsafe"
)

// counter counts without a memory cell that all processors write: it has many,
// and a goroutine takes one by where its stack lies.
type counter struct{ cells [64]cell }

type cell struct {
	n atomic.Uint64
	_ [120]byte // to two cache lines
}

func (c *counter) add() {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // no stack is smaller
	c.cells[stack*0x9E37_79B9_7F4A_7C15>>58].n.Add(1)
}

func (c *counter) sum() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
