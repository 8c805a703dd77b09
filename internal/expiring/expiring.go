// Package expiring holds bounded collections whose entries end: a map, and a set
// of digests. Nothing is dropped before its end; where a collection is full, it
// says so. Expired entries are cleared away a shard at a time by the calls that
// come, so that none of them pauses for long, and no goroutine is needed.
package expiring

import (
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is within what time all shards are swept, where enough calls come.
	sweepEvery = time.Minute
	// sweepMost is how many shards one call sweeps, where they are due.
	sweepMost = 4
)

// pace says when the next shard is due.
type pace struct{ next atomic.Int64 } // in Unix nanoseconds

// due says how many shards of that many are due, at most most. What too few
// calls have left undone, later ones catch up with.
func (p *pace) due(now time.Time, shards, most int) int {
	next, at := p.next.Load(), now.UnixNano()
	if at < next {
		return 0
	}
	from := at // the first time
	if next > 0 {
		from = max(next, at-int64(sweepEvery))
	}
	step := int64(sweepEvery) / int64(shards)
	n := min(int((at-from)/step)+1, most)
	if !p.next.CompareAndSwap(next, from+int64(n)*step) {
		return 0
	}
	return n
}

// never is later than any end, in Unix nanoseconds.
const never = 1<<63 - 1
