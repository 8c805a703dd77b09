// Package expiring has two bounded, sharded collections whose entries end: a map, and a set
// of digests. They keep every entry until its end, and report when they are full. Each
// call removes expired entries from a few shards (incremental sweeping), so that no call
// pauses for long and no goroutine is needed.
package expiring

import (
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is the time in which all shards are swept, if enough calls come.
	sweepEvery = time.Minute
	// maxSweep is how many shards one call sweeps at most.
	maxSweep = 4
)

// pace decides when the next shard is swept.
type pace struct{ next atomic.Int64 } // in Unix nanoseconds

// due returns how many of the shards are to be swept now, at most limit. If few calls came,
// later ones catch up.
func (p *pace) due(now time.Time, shards, limit int) int {
	next, at := p.next.Load(), now.UnixNano()
	from := at // of the first call, or after the clock was set back
	switch {
	case next > at+int64(sweepEvery):
	case at < next:
		return 0
	case next > 0:
		from = max(next, at-int64(sweepEvery))
	}
	step := int64(sweepEvery) / int64(shards)
	n := min(int((at-from)/step)+1, limit)
	if !p.next.CompareAndSwap(next, from+int64(n)*step) {
		return 0
	}
	return n
}

// never is later than any end, in Unix nanoseconds.
const never = 1<<63 - 1
