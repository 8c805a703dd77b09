package expiring

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/steady"
)

// mapShards is how many shards a map has: so many that clearing one is short.
const mapShards = 1 << 14

// mapSweepMost is how many shards of a map one call sweeps, if they are due.
const mapSweepMost = 3

// Map is a bounded map in shards whose expired entries are cleared away one
// shard at a time, by whichever call comes when it is due.
type Map[K comparable, V any] struct {
	seed   maphash.Seed
	expire func(v V, now time.Time) (gone int, next time.Time)
	limit  int64
	count  atomic.Int64
	pace   pace
	clock  steady.Clock
	next   atomic.Uint32
	parts  [mapShards]Shard[K, V]
}

// Shard is the part of a map that one lock guards.
type Shard[K comparable, V any] struct {
	sync.RWMutex
	Entries  map[K]V
	earliest atomic.Int64 // before that, in Unix nanoseconds, nothing ends here
}

// Init sets the bound, and the function that expires an entry: how many fewer
// count, and when it is to be asked about it again; the zero time removes it.
func (e *Map[K, V]) Init(limit int, expire func(V, time.Time) (int, time.Time)) {
	e.seed, e.limit, e.expire = maphash.MakeSeed(), int64(limit), expire
	for i := range e.parts {
		e.parts[i].earliest.Store(never)
	}
}

// Shard returns the shard of a key.
func (e *Map[K, V]) Shard(key K) *Shard[K, V] {
	return &e.parts[maphash.Comparable(e.seed, key)%mapShards]
}

// Lock locks the shard of a key and returns it.
func (e *Map[K, V]) Lock(key K) *Shard[K, V] {
	s := e.Shard(key)
	s.Lock()
	return s
}

// Grow counts one more entry, which ends then, in a shard that the caller has
// locked; false if the bound is reached.
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

// MakeRoom clears expired entries away if the bound is reached, until it is
// not.
func (e *Map[K, V]) MakeRoom(now time.Time) {
	if e.count.Load() < e.limit {
		return
	}
	now = e.clock.Confirm(now)
	for i := range e.parts {
		if e.count.Load() < e.limit {
			return
		}
		e.clear(&e.parts[i], now)
	}
}

// Len is how many entries count now, expired ones that have not been cleared away
// included.
func (e *Map[K, V]) Len() int64 { return e.count.Load() }

// Shrink counts n entries less.
func (e *Map[K, V]) Shrink(n int) { e.count.Add(int64(-n)) }

// Sweep clears the shards that are due.
func (e *Map[K, V]) Sweep(now time.Time) {
	n := e.pace.due(now, mapShards, mapSweepMost)
	if n == 0 {
		return
	}
	now = e.clock.Confirm(now)
	for range n {
		e.clear(&e.parts[e.next.Add(1)%mapShards], now)
	}
}

// clear removes what has expired. The map is made anew if most of it has
// gone, since a Go map keeps the memory of deleted entries.
func (e *Map[K, V]) clear(s *Shard[K, V], now time.Time) {
	if now.UnixNano() < s.earliest.Load() {
		return
	}
	s.Lock()
	defer s.Unlock()
	was, earliest := len(s.Entries), int64(never)
	for key, v := range s.Entries {
		gone, next := e.expire(v, now)
		e.Shrink(gone)
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
