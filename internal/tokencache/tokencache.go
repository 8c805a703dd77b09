// Package tokencache remembers verified tokens by their texts, or by what stands
// for those. It is bounded in entries and in bytes, readers take no lock, and
// what is found was put in under exactly the key that was asked for: a collision
// of hashes can only miss.
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
	// startSets is how many sets the first entry makes room for.
	startSets = 16
	// hashed is how much of a key, from its end, goes into its hash: of a token,
	// the signature.
	hashed = 64
	// place is what the place of an entry in the table costs, at most.
	place = 2 * (64 + 4)
	// most is how many sets a Put looks through, at most, for room.
	most = 64
	// share is the part of a full cache beyond which an owner pays for new entries
	// with his own: one in so many.
	share = 8
)

// Cache is made by New and safe for concurrent use.
type Cache[V any] struct {
	seed         maphash.Seed
	overhead     int64 // what an entry costs beside what it was charged for
	maxLen       int64
	maxBytes     int64
	table        atomic.Pointer[table[V]]
	write        sync.Mutex // who holds it may change places
	hand         uint64     // the set to look through next, when room is needed
	owned        [256]int64 // bytes, by the tags of owners
	saw          [256]int   // how often Saw marked a key since it last began anew, by the same
	sawAll       int
	len          atomic.Int64
	bytes        atomic.Int64
	hits, misses counter
	evictions    atomic.Uint64
}

type table[V any] struct {
	sets []set[V]        // a power of two
	seen []atomic.Uint32 // as many: what stands for the key that Saw was told of last
}

// set has a byte for each of its entries in each of two words: of the hash of its
// key, never 0 where there is an entry, and of that of its owner. The top bytes
// of tags are the bits of those that were asked for since the hand came by.
type set[V any] struct {
	tags   atomic.Uint64
	owners uint64 // only for who writes
	places [ways]atomic.Pointer[Entry[V]]
}

// Entry is one verified token. It is made by the caller and put in once.
type Entry[V any] struct {
	Value V
	key   string
	hash  uint64
	cache atomic.Pointer[Cache[V]]
	price int64        // what it cost when it was put in
	size  atomic.Int64 // what was charged for it; gone once it is out
}

const gone = -1 << 62

// New makes a cache of at most that many entries and bytes.
func New[V any](entries int, bytes int64) *Cache[V] {
	c := &Cache[V]{seed: maphash.MakeSeed(), maxLen: int64(entries), maxBytes: bytes}
	c.overhead = int64(reflect.TypeFor[Entry[V]]().Size()) + place
	c.table.Store(&table[V]{})
	return c
}

// Stats are what a cache holds, and what it has counted since it was made.
type Stats struct {
	Len, Bytes              int64
	Hits, Misses, Evictions uint64
}

// Stats returns the figures of this moment.
func (c *Cache[V]) Stats() Stats {
	return Stats{c.len.Load(), c.bytes.Load(), c.hits.sum(), c.misses.sum(), c.evictions.Load()}
}

func (c *Cache[V]) hash(key string) uint64 {
	return maphash.String(c.seed, key[max(0, len(key)-hashed):])
}

// tagOf is the byte of a hash; the bits that choose a set are others.
func tagOf(hash uint64) uint64 { return hash>>56 | 1 }

const (
	lowBits  = 0x0000_0101_0101_0101
	usedBits = 48 // where they begin in tags
)

// matches are the ways of a set whose byte in a word may be tag, as a bit 7 in
// their byte each.
func matches(word, tag uint64) uint64 {
	x := word ^ tag*lowBits
	return (x - lowBits) &^ x & (lowBits << 7)
}

// Get returns the entry of that key, nil where there is none.
func (c *Cache[V]) Get(key string) *Entry[V] {
	t := c.table.Load()
	if len(t.sets) > 0 {
		h := c.hash(key)
		s := &t.sets[h&uint64(len(t.sets)-1)]
		tags := s.tags.Load()
		for m := matches(tags, tagOf(h)); m != 0; m &= m - 1 {
			way := bits.TrailingZeros64(m) / 8 % ways
			if e := s.places[way].Load(); e != nil && e.key == key {
				if tags>>(usedBits+way)&1 == 0 { // written once, so that readers share the line
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

// Admits says whether an entry is worth to be put in, whose key, or what stands for
// it, is this and which takes that many bytes: always as long as there is room, and
// then where Saw was told of the same key, and not of too many others since. So what
// comes once pushes out nothing that comes again.
func (c *Cache[V]) Admits(key string, size int) bool {
	t := c.table.Load()
	if c.len.Load() < c.maxLen && c.bytes.Load()+int64(size)+c.overhead <= c.maxBytes || len(t.seen) == 0 {
		return true
	}
	last, mark := t.mark(c.hash(key))
	return last.Load() == mark
}

// Saw is told of a key of owner that was not admitted, and that has deserved to be
// the next time. Who has more of those than his share does not crowd out others.
func (c *Cache[V]) Saw(key, owner string) {
	t := c.table.Load()
	if len(t.seen) == 0 || !c.write.TryLock() {
		return
	}
	defer c.write.Unlock()
	if c.sawAll++; c.sawAll > len(t.seen) {
		c.sawAll, c.saw = 1, [256]int{}
	}
	tag := c.ownerTag(owner)
	if c.saw[tag]++; c.saw[tag] <= max(len(t.seen)/share, 1) {
		last, mark := t.mark(c.hash(key))
		last.Store(mark)
	}
}

// mark is where a hash stands among those that were seen, and as what.
func (t *table[V]) mark(hash uint64) (last *atomic.Uint32, mark uint32) {
	return &t.seen[hash&uint64(len(t.seen)-1)], uint32(hash>>32) | 1
}

func (c *Cache[V]) ownerTag(owner string) uint64 { return maphash.String(c.seed, owner)>>56 | 1 }

// Put remembers e under that key for owner; its value refers to that many bytes
// beside the key. Where the cache is full, an entry goes that was not asked for
// lately; somebody who owns a large part of it pays with his own. Where another
// call is just putting something in, or e is too large, or no room is found in a
// short search, e stays out.
func (c *Cache[V]) Put(e *Entry[V], key, owner string, size int) {
	total := int64(len(key)+size) + c.overhead + e.size.Load()
	if total > c.maxBytes || !c.write.TryLock() {
		return
	}
	defer c.write.Unlock()
	e.key, e.hash = key, c.hash(key)
	t := c.grown()
	s := &t.sets[e.hash&uint64(len(t.sets)-1)]
	ownerTag := c.ownerTag(owner)
	way := s.choose(e)
	c.evict(s, way)
	if !c.makeRoom(t, ownerTag, total) {
		return
	}
	e.price = total
	e.size.Store(total)
	e.cache.Store(c)
	c.owned[ownerTag] += total
	c.len.Add(1)
	s.put(way, e, ownerTag)
}

// choose chooses where e goes: where its key stands already, an empty place, one
// that was not asked for lately, any.
func (s *set[V]) choose(e *Entry[V]) int {
	tags := s.tags.Load()
	for m := matches(tags, tagOf(e.hash)); m != 0; m &= m - 1 {
		way := bits.TrailingZeros64(m) / 8
		if old := s.places[way].Load(); old != nil && old.key == e.key {
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

// put writes an entry into an empty place.
func (s *set[V]) put(way int, e *Entry[V], ownerTag uint64) {
	s.places[way].Store(e)
	s.owners |= ownerTag << (8 * way)
	s.tags.Or(tagOf(e.hash) << (8 * way))
}

// evict empties a place.
func (c *Cache[V]) evict(s *set[V], way int) {
	old := s.places[way].Load()
	if old == nil {
		return
	}
	c.owned[s.owners>>(8*way)&0xff] -= old.price
	s.tags.And(^(0xff<<(8*way) | 1<<(usedBits+way)))
	s.owners &^= 0xff << (8 * way)
	s.places[way].Store(nil)
	c.bytes.Add(-old.size.Swap(gone))
	c.len.Add(-1)
	c.evictions.Add(1)
}

// makeRoom reserves room for one more entry of that many bytes. A hand goes round
// the sets and takes what was not asked for since it last came by, and in the
// second half of a search whatever it finds; of who owns much, only his own.
func (c *Cache[V]) makeRoom(t *table[V], ownerTag uint64, total int64) bool {
	full := func() bool { return c.len.Load() >= c.maxLen || c.bytes.Load() > c.maxBytes }
	c.bytes.Add(total)
	greedy := c.owned[ownerTag]+total > c.maxBytes/share
	for n := 0; n < most && full(); n++ {
		c.hand++
		s := &t.sets[c.hand&uint64(len(t.sets)-1)]
		tags := s.tags.Load()
		for way := range ways {
			take := tags>>(usedBits+way)&1 == 0 || n >= most/2
			if greedy {
				take = s.owners>>(8*way)&0xff == ownerTag
			}
			if take && full() {
				c.evict(s, way)
			}
		}
		if !greedy {
			s.tags.And(1<<usedBits - 1)
		}
	}
	if full() {
		c.bytes.Add(-total)
		return false
	}
	return true
}

// grown returns the table, made twice as large where it has as many entries as
// sets.
func (c *Cache[V]) grown() *table[V] {
	t := c.table.Load()
	n := max(len(t.sets), startSets/2)
	if t.sets != nil && (c.len.Load() < int64(n) || int64(n) >= c.maxLen) {
		return t
	}
	larger := &table[V]{make([]set[V], 2*n), make([]atomic.Uint32, 2*n)}
	for i := range t.sets {
		old := &t.sets[i]
		for way := range ways {
			if e := old.places[way].Load(); e != nil {
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

// Charge asks whether what hangs on an entry may grow by n bytes. Where it is not
// in a cache yet, or has left it, it may.
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
		if size < 0 { // its bytes are no longer counted
			c.bytes.Add(int64(-n))
			return true
		}
		if e.size.CompareAndSwap(size, size+int64(n)) {
			return true
		}
	}
}
