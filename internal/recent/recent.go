// Package recent is a bounded set of recently added keys, for use as a negative cache. After
// a request for a key, the caller does not send the same request again for a while.
package recent

import (
	"hash/maphash"
	"slices"
	"time"
)

// Set is a bounded set of keys, each with the time at which it was added. A Set stores
// hashes of the keys, not the keys. It is not safe for concurrent use.
type Set struct {
	window   time.Duration
	capacity int
	seed     maphash.Seed
	added    map[uint64]time.Time
	order    []uint64 // the hashes in added, oldest first
}

// New makes a set that keeps a key for window. It keeps at most capacity keys, and evicts
// the oldest key first.
func New(window time.Duration, capacity int) *Set {
	return &Set{window: window, capacity: capacity, seed: maphash.MakeSeed(), added: make(map[uint64]time.Time)}
}

// Has reports whether key was added less than window ago. It also returns true if now is up
// to window before the time at which key was added. That happens if callers do not call in
// the order in which they read the clock, or if the clock was set back.
func (s *Set) Has(key string, now time.Time) bool {
	at, ok := s.added[maphash.String(s.seed, key)]
	return ok && now.Sub(at).Abs() < s.window
}

// Add adds key, or renews its time.
func (s *Set) Add(key string, now time.Time) {
	hash := maphash.String(s.seed, key)
	if _, ok := s.added[hash]; ok {
		i := slices.Index(s.order, hash)
		s.order = slices.Delete(s.order, i, i+1)
	} else if len(s.order) == s.capacity {
		delete(s.added, s.order[0])
		s.order = slices.Delete(s.order, 0, 1)
	}
	s.order = append(s.order, hash)
	s.added[hash] = now
}
