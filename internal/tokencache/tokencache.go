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
	ways = 6 // so that a set is one cache line
	// startSets is the number of sets after the first Put.
	startSets = 16
	// hashedBytes is how much of a key, from its end, is hashed: of a token, the
	// signature.
	hashedBytes = 64
	// tableBytes is how much memory an entry takes in the table, at most.
	tableBytes = 2 * (64 + 4)
	// maxSearch is how many sets a Put searches for room, at most.
	maxSearch = 64
	// ownerCap is the part of a full cache, one in so many, above which new entries of an
	// owner evict only entries of that owner.
	ownerCap = 8
)

// Cache is made by New and safe for concurrent use.
type Cache[V any] struct {
	seed         maphash.Seed
	overhead     int64 // of an entry, in addition to what it is charged for
	maxLen       int64
	maxBytes     int64
	table        atomic.Pointer[table[V]]
	write        sync.Mutex // guards the following fields, and changes of the sets
	hand         uint64     // CLOCK: the set that is searched next
	owned        [256]int64 // bytes, by tag of the owner
	noted        [256]int   // calls of NoteSeen since it last began anew, by tag of the owner
	notedAll     int
	len          atomic.Int64
	bytes        atomic.Int64
	hits, misses counter
	evictions    atomic.Uint64
}

type table[V any] struct {
	sets []set[V]        // a power of two
	seen []atomic.Uint32 // the doorkeeper, as many: the fingerprint of the last key that NoteSeen noted
}

// set has six entries. The low six bytes of tags are a tag of each key, never 0 for an
// entry; the high bits are the reference bits of CLOCK: which entries Get has returned since
// the hand passed. The bytes of owners are a tag of each owner.
type set[V any] struct {
	tags    atomic.Uint64
	owners  uint64 // guarded by write
	entries [ways]atomic.Pointer[Entry[V]]
}

// Entry is one verified token. The caller makes it, and puts it in once.
type Entry[V any] struct {
	Value   V
	key     string
	hash    uint64
	cache   atomic.Pointer[Cache[V]]
	putSize int64        // the bytes that Put charged
	size    atomic.Int64 // the bytes that were charged so far; evicted after eviction
}

// evicted is the size of an entry that has left its cache.
const evicted = -1 << 62

// New makes a cache of at most so many entries and bytes.
func New[V any](entries int, bytes int64) *Cache[V] {
	c := &Cache[V]{seed: maphash.MakeSeed(), maxLen: int64(entries), maxBytes: bytes}
	c.overhead = int64(reflect.TypeFor[Entry[V]]().Size()) + tableBytes
	c.table.Store(&table[V]{})
	return c
}

// Stats are the figures of a cache. Len and Bytes are those of now.
type Stats struct {
	Len, Bytes              int64
	Hits, Misses, Evictions uint64
}

// Stats returns the figures.
func (c *Cache[V]) Stats() Stats {
	return Stats{c.len.Load(), c.bytes.Load(), c.hits.load(), c.misses.load(), c.evictions.Load()}
}

func (c *Cache[V]) hash(key string) uint64 {
	return maphash.String(c.seed, key[max(0, len(key)-hashedBytes):])
}

// tagOf returns the tag of a hash. Other bits of the hash choose the set.
func tagOf(hash uint64) uint64 { return hash>>56 | 1 }

const (
	lowBits  = 0x0000_0101_0101_0101
	usedBits = 48 // the position of the reference bits in tags
)

// matches returns the ways whose byte in a word may be tag, as bit 7 of that byte.
func matches(word, tag uint64) uint64 {
	x := word ^ tag*lowBits
	return (x - lowBits) &^ x & (lowBits << 7)
}

// Get returns the entry of a key; nil if there is none.
func (c *Cache[V]) Get(key string) *Entry[V] {
	t := c.table.Load()
	if len(t.sets) > 0 {
		h := c.hash(key)
		s := &t.sets[h&uint64(len(t.sets)-1)]
		tags := s.tags.Load()
		for m := matches(tags, tagOf(h)); m != 0; m &= m - 1 {
			way := bits.TrailingZeros64(m) / 8 % ways
			if e := s.entries[way].Load(); e != nil && e.key == key {
				if tags>>(usedBits+way)&1 == 0 { // written once, since readers share the cache line
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

// Admits reports whether a key with so many bytes may enter the cache. While there is room,
// every key may. Once the cache is full, only a key that NoteSeen has noted may, if not too
// many others were noted since (a doorkeeper): a token that comes once evicts nothing.
func (c *Cache[V]) Admits(key string, size int) bool {
	t := c.table.Load()
	if c.len.Load() < c.maxLen && c.bytes.Load()+int64(size)+c.overhead <= c.maxBytes || len(t.seen) == 0 {
		return true
	}
	last, fingerprint := t.doorkeeper(c.hash(key))
	return last.Load() == fingerprint
}

// NoteSeen notes a key that was not admitted, so that it is admitted the next time. An owner
// with more than a share of the notes does not crowd out others.
func (c *Cache[V]) NoteSeen(key, owner string) {
	t := c.table.Load()
	if len(t.seen) == 0 || !c.write.TryLock() {
		return
	}
	defer c.write.Unlock()
	if c.notedAll++; c.notedAll > len(t.seen) {
		c.notedAll, c.noted = 1, [256]int{}
	}
	tag := c.ownerTag(owner)
	if c.noted[tag]++; c.noted[tag] <= max(len(t.seen)/ownerCap, 1) {
		last, fingerprint := t.doorkeeper(c.hash(key))
		last.Store(fingerprint)
	}
}

// doorkeeper returns the slot of a hash in the doorkeeper, and its fingerprint.
func (t *table[V]) doorkeeper(hash uint64) (last *atomic.Uint32, fingerprint uint32) {
	return &t.seen[hash&uint64(len(t.seen)-1)], uint32(hash>>32) | 1
}

func (c *Cache[V]) ownerTag(owner string) uint64 { return maphash.String(c.seed, owner)>>56 | 1 }

// Put puts e into the cache under a key. Its value takes size bytes in addition to the key.
// If the cache is full, Put evicts an entry that was not read lately; an owner above the cap
// evicts only its own. e stays out if another Put is under way, if e is too large, or if a
// short search finds no room.
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
	c.owned[ownerTag] += total
	c.len.Add(1)
	s.put(way, e, ownerTag)
}

// chooseWay returns the way for e: that of an entry with the same key, a free one, one that
// was not read lately, or any.
func (s *set[V]) chooseWay(e *Entry[V]) int {
	tags := s.tags.Load()
	for m := matches(tags, tagOf(e.hash)); m != 0; m &= m - 1 {
		way := bits.TrailingZeros64(m) / 8
		if old := s.entries[way].Load(); old != nil && old.key == e.key {
			return way
		}
	}
	if m := matches(tags, 0); m != 0 {
		return bits.TrailingZeros64(m) / 8
	}
	used := tags >> usedBits & (1<<ways - 1)
	if way := bits.TrailingZeros64(^used); way < ways {
		return way
	}
	s.tags.And(1<<usedBits - 1)
	return int(e.hash >> 32 % ways)
}

// put writes an entry into a free way.
func (s *set[V]) put(way int, e *Entry[V], ownerTag uint64) {
	s.entries[way].Store(e)
	s.owners |= ownerTag << (8 * way)
	s.tags.Or(tagOf(e.hash) << (8 * way))
}

// evict frees a way.
func (c *Cache[V]) evict(s *set[V], way int) {
	old := s.entries[way].Load()
	if old == nil {
		return
	}
	c.owned[s.owners>>(8*way)&0xff] -= old.putSize
	s.tags.And(^(0xff<<(8*way) | 1<<(usedBits+way)))
	s.owners &^= 0xff << (8 * way)
	s.entries[way].Store(nil)
	c.bytes.Add(-old.size.Swap(evicted))
	c.len.Add(-1)
	c.evictions.Add(1)
}

// makeRoom reserves room for one more entry of so many bytes. The hand goes round the sets
// and evicts entries that were not read since it last passed, and any entry in the second
// half of a search. For an owner above the cap it evicts only entries of that owner.
func (c *Cache[V]) makeRoom(t *table[V], ownerTag uint64, total int64) bool {
	full := func() bool { return c.len.Load() >= c.maxLen || c.bytes.Load() > c.maxBytes }
	c.bytes.Add(total)
	aboveCap := c.owned[ownerTag]+total > c.maxBytes/ownerCap
	for n := 0; n < maxSearch && full(); n++ {
		c.hand++
		s := &t.sets[c.hand&uint64(len(t.sets)-1)]
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

// growIfFull returns the table. If it has as many entries as sets, it is made twice as large
// first.
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
				free := bits.TrailingZeros64(matches(s.tags.Load(), 0)) / 8
				s.put(free, e, old.owners>>(8*way)&0xff)
				s.tags.Or(old.tags.Load() >> (usedBits + way) & 1 << (usedBits + free))
			}
		}
	}
	c.table.Store(larger)
	return larger
}

// Charge reports whether the value of an entry may grow by n bytes, and charges them. If the
// entry is not in the cache yet, or has left it, the value may grow.
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
