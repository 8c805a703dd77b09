// Package tokencache is a bounded, set-associative cache with CLOCK eviction, a doorkeeper
// for tokens that come once, and a cap per owner. Reads take no lock. Get compares whole
// keys, so a hash collision is a miss.
package tokencache

import (
	"hash/maphash"
	"math/bits"
	"reflect"
	"sync"
	"sync/atomic"
)

const (
	// ways is the number of entries of a set. With six, the set fits into one cache line.
	ways = 6
	// startSets is the number of sets after the first Put.
	startSets = 16
	// hashedBytes is the number of bytes at the end of a key that are hashed. The end of a
	// token is its signature, so it differs from that of other tokens.
	hashedBytes = 64
	// tableBytes is the most memory that the table needs for an entry.
	tableBytes = 2 * (64 + 4)
	// maxSearch is the largest number of sets in which a Put searches for entries to evict.
	maxSearch = 64
	// ownerCap limits an owner to 1/ownerCap of a full cache. If an owner has more bytes,
	// its new entries evict only its own entries. In the same way, it limits the share of an
	// owner in the doorkeeper.
	ownerCap = 8
)

// Cache is a cache of verified tokens, with the token as key. Make a Cache with New. It is
// safe for concurrent use.
type Cache[V any] struct {
	seed         maphash.Seed
	overhead     int64 // bytes of an entry in addition to its key and its value
	maxLen       int64
	maxBytes     int64
	table        atomic.Pointer[table[V]]
	write        sync.Mutex // guards changes of the sets, and the following fields up to notes
	clockHand    uint64     // the hand of CLOCK: the number of the set that was searched last
	bytesByOwner [256]int64 // the index is the tag of an owner
	notesByOwner [256]int   // calls of NoteSeen since the last reset; the index is the tag of an owner
	notes        int        // the sum of notesByOwner
	len          atomic.Int64
	bytes        atomic.Int64
	hits, misses counter
	evictions    atomic.Uint64
}

type table[V any] struct {
	sets []set[V] // their number is a power of two
	// fingerprints is the doorkeeper. It has one slot for each set. A slot holds the
	// fingerprint of the key that NoteSeen has noted last for that slot.
	fingerprints []atomic.Uint32
}

// set has six ways, each for one entry. Byte i of tags is the tag of the key in way i. It
// is 0 if the way is free. The bits of tags from usedBits on are the reference bits of
// CLOCK, one for each way: Get sets the bit, and the hand clears it. Byte i of owners is
// the tag of the owner of the entry in way i.
type set[V any] struct {
	tags    atomic.Uint64
	owners  uint64 // guarded by write
	entries [ways]atomic.Pointer[Entry[V]]
}

// Entry is one verified token. The caller makes the Entry with its Value, and puts it into a
// cache at most once.
type Entry[V any] struct {
	Value   V
	key     string
	hash    uint64
	cache   atomic.Pointer[Cache[V]]
	putSize int64        // the bytes that were charged when Put stored the entry
	size    atomic.Int64 // the bytes that are charged now; after the entry has left the cache, the constant evicted
}

// evicted is the size of an entry that has left its cache.
const evicted = -1 << 62

// New makes a cache of at most the given numbers of entries and bytes.
func New[V any](entries int, bytes int64) *Cache[V] {
	c := &Cache[V]{seed: maphash.MakeSeed(), maxLen: int64(entries), maxBytes: bytes}
	c.overhead = int64(reflect.TypeFor[Entry[V]]().Size()) + tableBytes
	c.table.Store(&table[V]{})
	return c
}

// Stats are the statistics of a cache. Len and Bytes are its current size, and the others
// count since New. Hits and Misses are approximate.
type Stats struct {
	Len, Bytes              int64
	Hits, Misses, Evictions uint64
}

// Stats returns the statistics.
func (c *Cache[V]) Stats() Stats {
	return Stats{c.len.Load(), c.bytes.Load(), c.hits.load(), c.misses.load(), c.evictions.Load()}
}

func (c *Cache[V]) hash(key string) uint64 {
	return maphash.String(c.seed, key[max(0, len(key)-hashedBytes):])
}

// tagOf returns the tag of a hash, which is not 0. Other bits of the hash select the set.
func tagOf(hash uint64) uint64 { return hash>>56 | 1 }

const (
	lowBits  = 0x0000_0101_0101_0101
	usedBits = 48 // the position of the first reference bit in tags
)

// matchingWays returns the ways whose byte in word is tag. It sets bit 7 of each such byte
// in the result. The result may also have ways that do not match, so the caller must compare
// the key of the entry.
func matchingWays(word, tag uint64) uint64 {
	x := word ^ tag*lowBits
	return (x - lowBits) &^ x & (lowBits << 7)
}

// Get returns the entry of a key, or nil if the cache has none.
func (c *Cache[V]) Get(key string) *Entry[V] {
	t := c.table.Load()
	if len(t.sets) > 0 {
		h := c.hash(key)
		s := &t.sets[h&uint64(len(t.sets)-1)]
		tags := s.tags.Load()
		for m := matchingWays(tags, tagOf(h)); m != 0; m &= m - 1 {
			way := bits.TrailingZeros64(m) / 8 % ways
			if e := s.entries[way].Load(); e != nil && e.key == key {
				if tags>>(usedBits+way)&1 == 0 { // write only if needed: a write takes the cache line from other processors
					s.tags.Or(1 << (usedBits + way))
				}
				c.hits.add()
				return e
			}
		}
	}
	c.misses.add()
	return nil
}

// Admits reports whether a key may enter the cache. size is the size of the key and its
// value in bytes. While the cache has room, Admits returns true. If the cache is full, it
// returns true only for a key that NoteSeen has noted and that was not overwritten since.
// This is a doorkeeper: a token that comes once evicts nothing.
func (c *Cache[V]) Admits(key string, size int) bool {
	t := c.table.Load()
	if c.len.Load() < c.maxLen && c.bytes.Load()+int64(size)+c.overhead <= c.maxBytes || len(t.fingerprints) == 0 {
		return true
	}
	last, fingerprint := t.doorkeeper(c.hash(key))
	return last.Load() == fingerprint
}

// NoteSeen notes a key that Admits has refused, so that Admits accepts the key the next
// time. It ignores the call if the owner has used up its share of notes, so that one owner
// cannot overwrite the notes of all others.
func (c *Cache[V]) NoteSeen(key, owner string) {
	t := c.table.Load()
	if len(t.fingerprints) == 0 || !c.write.TryLock() {
		return
	}
	defer c.write.Unlock()
	if c.notes++; c.notes > len(t.fingerprints) {
		c.notes, c.notesByOwner = 1, [256]int{}
	}
	tag := c.ownerTag(owner)
	if c.notesByOwner[tag]++; c.notesByOwner[tag] <= max(len(t.fingerprints)/ownerCap, 1) {
		last, fingerprint := t.doorkeeper(c.hash(key))
		last.Store(fingerprint)
	}
}

// doorkeeper returns the slot for a hash in the doorkeeper, and the fingerprint of the hash.
func (t *table[V]) doorkeeper(hash uint64) (last *atomic.Uint32, fingerprint uint32) {
	return &t.fingerprints[hash&uint64(len(t.fingerprints)-1)], uint32(hash>>32) | 1
}

func (c *Cache[V]) ownerTag(owner string) uint64 { return maphash.String(c.seed, owner)>>56 | 1 }

// Put stores e under key. size is the size of the value in bytes, without the key. If the
// cache is full, Put evicts entries that were not read lately. If owner is above its cap, Put
// evicts only entries of owner to make room. If the six ways of a set are in use, which is
// rare, Put evicts one of them, whoever its owner is.
//
// Put does not store e if another Put is running, if e is too large, or if a short search
// finds no room.
func (c *Cache[V]) Put(e *Entry[V], key, owner string, size int) {
	total := int64(len(key)+size) + c.overhead + e.size.Load()
	if total > c.maxBytes || !c.write.TryLock() {
		return
	}
	defer c.write.Unlock()
	e.key, e.hash = key, c.hash(key)
	t := c.growIfFull()
	s := &t.sets[e.hash&uint64(len(t.sets)-1)]
	ownerTag := c.ownerTag(owner)
	way := s.chooseWay(e)
	c.evict(s, way)
	if !c.makeRoom(t, ownerTag, total) {
		return
	}
	e.putSize = total
	e.size.Store(total)
	e.cache.Store(c)
	c.bytesByOwner[ownerTag] += total
	c.len.Add(1)
	s.put(way, e, ownerTag)
}

// chooseWay returns the way for e. It prefers, in this order, a way with the same key, a
// free way, a way whose entry was not read lately, and a random way.
func (s *set[V]) chooseWay(e *Entry[V]) int {
	tags := s.tags.Load()
	for m := matchingWays(tags, tagOf(e.hash)); m != 0; m &= m - 1 {
		way := bits.TrailingZeros64(m) / 8
		if old := s.entries[way].Load(); old != nil && old.key == e.key {
			return way
		}
	}
	if m := matchingWays(tags, 0); m != 0 {
		return bits.TrailingZeros64(m) / 8
	}
	used := tags >> usedBits & (1<<ways - 1)
	if way := bits.TrailingZeros64(^used); way < ways {
		return way
	}
	s.tags.And(1<<usedBits - 1)
	return int(e.hash >> 32 % ways)
}

// put stores an entry in a free way.
func (s *set[V]) put(way int, e *Entry[V], ownerTag uint64) {
	s.entries[way].Store(e)
	s.owners |= ownerTag << (8 * way)
	s.tags.Or(tagOf(e.hash) << (8 * way))
}

// evict removes the entry of a way, if there is one.
func (c *Cache[V]) evict(s *set[V], way int) {
	old := s.entries[way].Load()
	if old == nil {
		return
	}
	c.bytesByOwner[s.owners>>(8*way)&0xff] -= old.putSize
	s.tags.And(^(0xff<<(8*way) | 1<<(usedBits+way)))
	s.owners &^= 0xff << (8 * way)
	s.entries[way].Store(nil)
	c.bytes.Add(-old.size.Swap(evicted))
	c.len.Add(-1)
	c.evictions.Add(1)
}

// makeRoom reserves total bytes for one more entry. If the cache is full, the hand of CLOCK
// moves from set to set. It evicts entries that were not read since it was there last. In
// the second half of a search, it also evicts other entries. For an owner above its cap,
// makeRoom evicts entries of that owner, and no others. It returns false if the search finds
// too little room.
func (c *Cache[V]) makeRoom(t *table[V], ownerTag uint64, total int64) bool {
	full := func() bool { return c.len.Load() >= c.maxLen || c.bytes.Load() > c.maxBytes }
	c.bytes.Add(total)
	aboveCap := c.bytesByOwner[ownerTag]+total > c.maxBytes/ownerCap
	for n := 0; n < maxSearch && full(); n++ {
		c.clockHand++
		s := &t.sets[c.clockHand&uint64(len(t.sets)-1)]
		tags := s.tags.Load()
		for way := range ways {
			evictable := tags>>(usedBits+way)&1 == 0 || n >= maxSearch/2
			if aboveCap {
				evictable = s.owners>>(8*way)&0xff == ownerTag
			}
			if evictable && full() {
				c.evict(s, way)
			}
		}
		if !aboveCap {
			s.tags.And(1<<usedBits - 1)
		}
	}
	if full() {
		c.bytes.Add(-total)
		return false
	}
	return true
}

// growIfFull returns the table. If the table has as many entries as sets, growIfFull first
// replaces it by one with twice as many sets.
func (c *Cache[V]) growIfFull() *table[V] {
	t := c.table.Load()
	n := max(len(t.sets), startSets/2)
	if t.sets != nil && (c.len.Load() < int64(n) || int64(n) >= c.maxLen) {
		return t
	}
	larger := &table[V]{make([]set[V], 2*n), make([]atomic.Uint32, 2*n)}
	for i := range t.sets {
		old := &t.sets[i]
		for way := range ways {
			if e := old.entries[way].Load(); e != nil {
				s := &larger.sets[e.hash&uint64(2*n-1)]
				free := bits.TrailingZeros64(matchingWays(s.tags.Load(), 0)) / 8
				s.put(free, e, old.owners>>(8*way)&0xff)
				s.tags.Or(old.tags.Load() >> (usedBits + way) & 1 << (usedBits + free))
			}
		}
	}
	c.table.Store(larger)
	return larger
}

// Charge charges n more bytes for the value of an entry, and reports whether the cache has
// room for them. If Charge returns false, the value must not grow. An entry that is not in
// a cache may always grow.
func (e *Entry[V]) Charge(n int) bool {
	c := e.cache.Load()
	if c == nil {
		e.size.Add(int64(n))
		return true
	}
	if c.bytes.Add(int64(n)) > c.maxBytes {
		c.bytes.Add(int64(-n))
		return false
	}
	for {
		size := e.size.Load()
		if size < 0 { // the entry was evicted, and its bytes are no longer counted
			c.bytes.Add(int64(-n))
			return true
		}
		if e.size.CompareAndSwap(size, size+int64(n)) {
			return true
		}
	}
}
