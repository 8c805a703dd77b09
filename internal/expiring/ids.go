package expiring

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// ID is a digest that stands for something.
type ID [16]byte

const (
	idBits   = 12
	idShards = 1 << idBits
	tagBits  = 4
	// roomMost is at how many buckets one call looks, to find room where the set is
	// full.
	roomMost = 1 << 13
)

// IDs is a set of digests, each with an end, which is rounded up to a second.
// None is dropped before its end. Look-ups take no lock and allocate nothing. It
// is made by NewIDs and safe for concurrent use.
//
// It keeps 80 bits of a digest, mixed with a secret. So a digest that is not in
// the set is taken for one of n that are in it with a probability of n/2^80: 2^-60
// at a million. It errs in that direction alone: what is in the set is found.
//
// An entry costs 17 to 20 bytes where there are 100,000 or more, and some 50 bytes
// where there are 10,000; an empty set costs 131 kB.
type IDs struct {
	limit  int64
	count  atomic.Int64
	pace   pace
	next   atomic.Uint32 // the shard that is swept next
	secret [4]uint64
	shards [idShards]idShard
}

// idShard is a hash table of buckets, whose number never changes: where they have
// filled up, or entries have ended, what has not ended is put into new ones, and
// those take their place.
//
// A look-up loads the pointer once and misses nothing by that. Who adds or
// prolongs an entry holds the lock until it is in the buckets to which the pointer
// points, and who fills new buckets holds it from before the old ones are read
// until the pointer is stored. So the buckets that a look-up loads have all that
// was complete when it began; what only newer buckets have was not.
type idShard struct {
	buckets  atomic.Pointer[[]bucket]
	earliest atomic.Int64 // before that, in Unix seconds, nothing ends here
	write    sync.Mutex
	used     int // how many entries the buckets have; under write
}

// perBucket is how many entries there are in a cache line.
const perBucket = 5

// bucket is a cache line of entries. They take its places in order and keep them;
// an entry that finds no place goes to the next bucket that has one.
type bucket struct {
	prints [perBucket]uint64 // atomic; zero is a free place; written last
	ends   [perBucket]uint32 // atomic; Unix seconds, which only grow
	// more has the tags of the entries and, above them, a filter of 8 bits for those
	// that found no place here: each sets the bit that its print names, so that a
	// look-up ends at a bucket without the bit. It is atomic.
	more uint32
}

// mark is where an entry belongs and what is kept of its digest.
type mark struct {
	shard *idShard
	print uint64
	tag   uint32
}

// NewIDs makes an empty set of at most limit entries.
func NewIDs(limit int) *IDs {
	s := &IDs{limit: int64(limit)}
	var secret [8 * len(s.secret)]byte
	rand.Read(secret[:])
	for i := range s.secret {
		s.secret[i] = binary.LittleEndian.Uint64(secret[8*i:])
	}
	for i := range s.shards {
		s.shards[i].earliest.Store(never)
	}
	return s
}

// Len is how many entries there are, including those that have ended and have
// not been left out yet.
func (s *IDs) Len() int { return int(s.count.Load()) }

// mark mixes id with two halves of the secret, in the way in which Go's maps mix
// their keys on machines without instructions for it: so ids are spread evenly,
// whatever their form, and who chooses them cannot make them meet.
func (s *IDs) mark(id *ID) mark {
	print, spread := mix(id, s.secret[0], s.secret[1]), mix(id, s.secret[2], s.secret[3])
	return mark{&s.shards[spread>>(64-idBits)], max(print, 1), uint32(spread & (1<<tagBits - 1))}
}

func mix(id *ID, a, b uint64) uint64 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^a, binary.LittleEndian.Uint64(id[8:])^b)
	return high ^ low
}

// home is the bucket, of n, where the search for a print begins, and its bit in
// the filters.
func home(print uint64, n int) (i int, bit uint32) {
	high, _ := bits.Mul64(print, uint64(n))
	return int(high), 1 << (perBucket*tagBits + print&7)
}

// tag is the tag of entry j of a bucket.
func tag(more uint32, j int) uint32 { return more >> (tagBits * j) & (1<<tagBits - 1) }

// Has says whether id is in the set and has not ended.
func (s *IDs) Has(id *ID, now time.Time) bool {
	m := s.mark(id)
	buckets := m.shard.buckets.Load()
	if buckets == nil {
		return false
	}
	end := find(*buckets, m)
	return end != nil && now.Unix() < int64(atomic.LoadUint32(end))
}

// find returns the end of an entry, nil where it is not there. It stops, since
// not all buckets are full, and the filter of one that is not full is empty.
func find(buckets []bucket, m mark) *uint32 {
	i, bit := home(m.print, len(buckets))
	for {
		b := &buckets[i]
		for j := range b.prints {
			if atomic.LoadUint64(&b.prints[j]) == m.print && tag(atomic.LoadUint32(&b.more), j) == m.tag {
				return &b.ends[j]
			}
		}
		if atomic.LoadUint32(&b.more)&bit == 0 {
			return nil
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// place returns a free place for an entry that is not there, and sets its bit in
// the buckets that it passes. The caller holds the lock.
func place(buckets []bucket, print uint64) (b *bucket, j int) {
	i, bit := home(print, len(buckets))
	for {
		b = &buckets[i]
		for j := range b.prints {
			if b.prints[j] == 0 {
				return b, j
			}
		}
		if b.more&bit == 0 {
			atomic.StoreUint32(&b.more, b.more|bit)
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// Add puts id into the set until that time, rounded up to a second; an end that
// lies later already stays. It is false where the set is full.
func (s *IDs) Add(id *ID, until, now time.Time) bool {
	m, end := s.mark(id), seconds(until)
	sh := m.shard
	sh.write.Lock()
	defer sh.write.Unlock()
	buckets := sh.load()
	if buckets != nil {
		if known := find(buckets, m); known != nil {
			if *known < end {
				atomic.StoreUint32(known, end)
			}
			return true
		}
	}
	if s.count.Add(1) > s.limit {
		s.count.Add(-1)
		return false
	}
	if sh.used == room(len(buckets)) {
		buckets = s.refill(sh, now, 1)
	}
	if int64(end) < sh.earliest.Load() {
		sh.earliest.Store(int64(end))
	}
	b, j := place(buckets, m.print)
	atomic.StoreUint32(&b.ends[j], end)
	atomic.StoreUint32(&b.more, b.more|m.tag<<(tagBits*j))
	atomic.StoreUint64(&b.prints[j], m.print)
	sh.used++
	return true
}

func (sh *idShard) load() []bucket {
	if buckets := sh.buckets.Load(); buckets != nil {
		return *buckets
	}
	return nil
}

// room is how many entries n buckets take: 85 of 100 places.
func room(n int) int { return n * 17 / 4 }

// Sweep leaves out what has ended in the shards that are due.
func (s *IDs) Sweep(now time.Time) {
	for range s.pace.due(now, idShards, sweepMost) {
		s.sweep(&s.shards[s.next.Add(1)%idShards], now)
	}
}

// MakeRoom leaves out what has ended, where the bound is reached, until it is
// not. It stops where it has looked at much and found nothing; the next call then
// goes on.
func (s *IDs) MakeRoom(now time.Time) {
	for i, seen := 0, 0; i < idShards && seen < roomMost && s.count.Load() >= s.limit; i++ {
		seen += s.sweep(&s.shards[i], now)
	}
}

// sweep leaves out what has ended in a shard, and returns at how many buckets it
// has looked: none where it is too early for anything to have ended.
func (s *IDs) sweep(sh *idShard, now time.Time) int {
	if now.Unix() < sh.earliest.Load() {
		return 0
	}
	sh.write.Lock()
	defer sh.write.Unlock()
	n := len(sh.load())
	s.refill(sh, now, 0)
	return n
}

// refill makes new buckets of what has not ended, with room for some more and a
// quarter of all beside, unless nothing has ended and nothing more is to come.
// The caller holds the lock, so that nothing changes meanwhile.
func (s *IDs) refill(sh *idShard, now time.Time, more int) []bucket {
	old, at := sh.load(), now.Unix()
	live, earliest := 0, int64(never)
	for i := range old {
		for j, end := range old[i].ends {
			if old[i].prints[j] != 0 && int64(end) > at {
				live++
				earliest = min(earliest, int64(end))
			}
		}
	}
	sh.earliest.Store(earliest)
	if live == sh.used && more == 0 {
		return old
	}
	s.count.Add(int64(live - sh.used))
	sh.used = live
	if live+more == 0 {
		sh.buckets.Store(nil)
		return nil
	}
	buckets := append([]bucket(nil), make([]bucket, (live+more)*5/17+1)...)
	buckets = buckets[:cap(buckets)] // what an allocation rounds up is of use, too
	for i := range old {
		from := &old[i]
		for j, end := range from.ends {
			if from.prints[j] != 0 && int64(end) > at {
				b, k := place(buckets, from.prints[j])
				b.prints[k], b.ends[k] = from.prints[j], end
				b.more |= tag(from.more, j) << (tagBits * k)
			}
		}
	}
	sh.buckets.Store(&buckets)
	return buckets
}

// seconds rounds up, so that no entry ends early.
func seconds(t time.Time) uint32 {
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++
	}
	return uint32(min(max(n, 0), 1<<32-1))
}
