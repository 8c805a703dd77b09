// Package expiring has two bounded, sharded collections whose entries expire: Map, and IDs,
// which is a set of digests. They never evict a live entry: a full collection refuses new
// entries. Callers should call Sweep often. Each call removes the expired entries of a few
// shards (incremental sweeping), so no call takes long and no goroutine is needed.
package expiring

import (
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is how often each shard is swept, if Sweep is called often enough.
	sweepEvery = time.Minute
	// maxSweep is the largest number of shards that one call of IDs.Sweep sweeps.
	maxSweep = 4
)

// pacer spreads the sweeps of all shards evenly over sweepEvery.
type pacer struct{ next atomic.Int64 } // when the next shard is due, in Unix nanoseconds

// claimDue returns how many shards the caller must sweep now, at most limit. Each due
// shard is claimed by one call. If Sweep was called rarely, later calls catch up.
func (p *pacer) claimDue(now time.Time, shards, limit int) int {
	next, at := p.next.Load(), now.UnixNano()
	from := at // for the first call, and after the clock was set back
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

// never is later than the end of any entry. It works for both units: for ends in Unix
// seconds (IDs) and in Unix nanoseconds (Map).
const never = 1<<63 - 1
