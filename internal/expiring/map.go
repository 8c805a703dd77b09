package expiring

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/steady"
)

// mapShards is the number of shards of a Map. It is large, so that sweeping one is fast.
const mapShards = 1 << 14

// maxMapSweep is the largest number of shards of a Map that one Sweep sweeps.
const maxMapSweep = 3

// Map is a bounded, sharded map. A caller locks a shard and changes its Entries directly. The
// caller also keeps the count of the map, with Grow and Shrink. An entry that holds several
// items, for example a list of rows, may count once for each item.
type Map[K comparable, V any] struct {
	seed      maphash.Seed
	expire    func(v V, now time.Time) (removed int, next time.Time)
	limit     int64
	count     atomic.Int64
	pacer     pacer
	clock     steady.Clock
	nextShard atomic.Uint32
	shards    [mapShards]Shard[K, V]
}

// Shard is the part of a map that one lock guards.
type Shard[K comparable, V any] struct {
	sync.RWMutex
	Entries  map[K]V
	earliest atomic.Int64 // a lower bound of the ends of all entries, in Unix nanoseconds
}

// Init sets the bound of the map, and a function that expires an entry. The function removes
// the expired parts of v. It returns how many it has removed, and when the next part of v
// ends. If nothing is left of v, it returns the zero time, and the map removes the entry.
func (e *Map[K, V]) Init(limit int, expire func(V, time.Time) (int, time.Time)) {
	e.seed, e.limit, e.expire = maphash.MakeSeed(), int64(limit), expire
	for i := range e.shards {
		e.shards[i].earliest.Store(never)
	}
}

// Shard returns the shard of a key.
func (e *Map[K, V]) Shard(key K) *Shard[K, V] {
	return &e.shards[maphash.Comparable(e.seed, key)%mapShards]
}

// Lock locks the shard of a key and returns it.
func (e *Map[K, V]) Lock(key K) *Shard[K, V] {
	s := e.Shard(key)
	s.Lock()
	return s
}

// Grow counts one more entry, which the caller is about to add to s and which ends at end.
// It returns false if the map is full. The caller has locked s.
func (e *Map[K, V]) Grow(s *Shard[K, V], end time.Time) bool {
	if e.count.Add(1) > e.limit {
		e.count.Add(-1)
		return false
	}
	s.earliest.Store(min(s.earliest.Load(), end.UnixNano()))
	if s.Entries == nil {
		s.Entries = make(map[K]V)
	}
	return true
}

// MakeRoom removes expired entries if the map is full, until the map is not full any more.
func (e *Map[K, V]) MakeRoom(now time.Time) {
	if e.count.Load() < e.limit {
		return
	}
	now = e.clock.Confirm(now)
	for i := range e.shards {
		if e.count.Load() < e.limit {
			return
		}
		e.clear(&e.shards[i], now)
	}
}

// Len returns the count that Grow and Shrink keep. It includes expired entries that were
// not removed yet.
func (e *Map[K, V]) Len() int64 { return e.count.Load() }

// Shrink lowers the count by n, after the caller has removed n entries.
func (e *Map[K, V]) Shrink(n int) { e.count.Add(int64(-n)) }

// Sweep removes expired entries from the few shards that are due.
func (e *Map[K, V]) Sweep(now time.Time) {
	n := e.pacer.claimDue(now, mapShards, maxMapSweep)
	if n == 0 {
		return
	}
	now = e.clock.Confirm(now)
	for range n {
		e.clear(&e.shards[e.nextShard.Add(1)%mapShards], now)
	}
}

// clear removes the expired entries of a shard. If more than half of the entries are
// removed, clear copies the others into a new Go map, since a Go map keeps the memory of
// deleted entries.
func (e *Map[K, V]) clear(s *Shard[K, V], now time.Time) {
	if now.UnixNano() < s.earliest.Load() {
		return
	}
	s.Lock()
	defer s.Unlock()
	was, earliest := len(s.Entries), int64(never)
	for key, v := range s.Entries {
		removed, next := e.expire(v, now)
		e.Shrink(removed)
		if next.IsZero() {
			delete(s.Entries, key)
		} else {
			earliest = min(earliest, next.UnixNano())
		}
	}
	s.earliest.Store(earliest)
	switch {
	case len(s.Entries) == 0:
		s.Entries = nil
	case len(s.Entries) < was/2:
		left := make(map[K]V, len(s.Entries))
		for key, v := range s.Entries {
			left[key] = v
		}
		s.Entries = left
	}
}
