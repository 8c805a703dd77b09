package expiring

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/steady"
)

// ID is a digest.
type ID [16]byte

const (
	shardBits = 12
	idShards  = 1 << shardBits
	// maxRoomSearch is how many buckets one call reads to find room in a full set.
	maxRoomSearch = 1 << 13
)

// IDs is a bounded set of digests, each with an end, which is rounded up to a second. It
// keeps every digest until its end, also if the clock is ahead for a moment. Look-ups take no lock and allocate nothing. NewIDs
// makes it; it is safe for concurrent use.
//
// IDs is a sharded hash table with open addressing. It keeps 76 bits of a digest, mixed
// with a secret: a digest that is not in the set is found with a probability of n/2^76 if
// the set has n digests, which is 2^-56 at a million. A digest that is in the set is always
// found.
//
// An entry costs 17 to 20 bytes if there are 100,000 or more, and about 50 bytes if there
// are 10,000. An empty set costs 131 kB.
type IDs struct {
	limit     int64
	count     atomic.Int64
	pace      pace
	clock     steady.Clock
	nextShard atomic.Uint32 // to sweep
	secret    [4]uint64
	shards    [idShards]idShard
}

// idShard is a hash table. The number of its buckets never changes: if they are full, or
// entries have ended, the entries that have not ended are copied into new buckets, which
// replace the old ones (copy-on-write).
//
// A look-up loads the pointer once. Add and refill hold the lock, and Add writes into the
// buckets that the pointer points to. A look-up therefore sees every Add that returned
// before the look-up began.
type idShard struct {
	buckets  atomic.Pointer[[]bucket]
	earliest atomic.Int64 // no entry ends before, in Unix seconds
	write    sync.Mutex
	used     int // entries in buckets; guarded by write
}

// perBucket is how many entries fit into a cache line.
const perBucket = 5

// bucket is a cache line of entries. An entry keeps its place. An entry that finds a full
// bucket goes to the next bucket that has room (linear probing).
type bucket struct {
	prints [perBucket]uint64 // atomic; zero means free; written last
	ends   [perBucket]uint32 // atomic; Unix seconds, which only grow
	// passed is an atomic filter of 8 bits for the entries that found this bucket full:
	// each sets the bit that its print names. A look-up ends at a bucket without its bit.
	passed uint32
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

// Believe returns a time that has certainly come: now, unless the clock has just jumped
// ahead. Entries are removed by that time.
func (s *IDs) Confirm(now time.Time) time.Time { return s.clock.Confirm(now) }

// Len returns the number of entries, including those that have ended and were not removed
// yet.
func (s *IDs) Len() int { return int(s.count.Load()) }

// locate returns the shard of an id, and the 64 bits that are kept of it. It mixes the id
// with the secret like Go's maps mix their keys on machines without AES instructions, so
// that ids of any form are spread evenly, and so that nobody can choose ids that collide.
func (s *IDs) locate(id *ID) (shard *idShard, print uint64) {
	return &s.shards[mix(id, s.secret[2], s.secret[3])>>(64-shardBits)], max(mix(id, s.secret[0], s.secret[1]), 1)
}

func mix(id *ID, a, b uint64) uint64 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^a, binary.LittleEndian.Uint64(id[8:])^b)
	return high ^ low
}

// firstBucket returns the bucket, of n, where the search for a print begins, and the bit of
// the print in the filters.
func firstBucket(print uint64, n int) (i int, bit uint32) {
	high, _ := bits.Mul64(print, uint64(n))
	return int(high), 1 << (print & 7)
}

// Has reports whether id is in the set and has not ended.
func (s *IDs) Has(id *ID, now time.Time) bool {
	shard, print := s.locate(id)
	buckets := shard.buckets.Load()
	if buckets == nil {
		return false
	}
	end := find(*buckets, print)
	return end != nil && now.Unix() < int64(atomic.LoadUint32(end))
}

// find returns the end of an entry; nil if the entry is not there. The search ends, since
// some bucket is not full, and the filter of a bucket that is not full is empty.
func find(buckets []bucket, print uint64) *uint32 {
	i, bit := firstBucket(print, len(buckets))
	for {
		b := &buckets[i]
		for j := range b.prints {
			if atomic.LoadUint64(&b.prints[j]) == print {
				return &b.ends[j]
			}
		}
		if atomic.LoadUint32(&b.passed)&bit == 0 {
			return nil
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// findFree returns a free place for an entry that is not there, and sets the bit of the
// entry in the full buckets before it. The caller holds the lock.
func findFree(buckets []bucket, print uint64) (b *bucket, j int) {
	i, bit := firstBucket(print, len(buckets))
	for {
		b = &buckets[i]
		for j := range b.prints {
			if b.prints[j] == 0 {
				return b, j
			}
		}
		if b.passed&bit == 0 {
			atomic.StoreUint32(&b.passed, b.passed|bit)
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// Add adds id until that time, rounded up to a second, unless that time has passed. It
// never shortens an entry. It returns false if the set is full.
func (s *IDs) Add(id *ID, until, now time.Time) bool {
	now = s.clock.Confirm(now)
	if !now.Before(until) {
		return true
	}
	shard, print := s.locate(id)
	end := seconds(until)
	shard.write.Lock()
	defer shard.write.Unlock()
	buckets := shard.load()
	if buckets != nil {
		if known := find(buckets, print); known != nil {
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
	if shard.used == room(len(buckets)) {
		buckets = s.refill(shard, now, 1)
	}
	if int64(end) < shard.earliest.Load() {
		shard.earliest.Store(int64(end))
	}
	b, j := findFree(buckets, print)
	atomic.StoreUint32(&b.ends[j], end)
	atomic.StoreUint64(&b.prints[j], print)
	shard.used++
	return true
}

func (sh *idShard) load() []bucket {
	if buckets := sh.buckets.Load(); buckets != nil {
		return *buckets
	}
	return nil
}

// room returns how many entries n buckets take: 85 percent of their places.
func room(n int) int { return n * 17 / 4 }

// Sweep removes the entries that have ended from the shards that are due.
func (s *IDs) Sweep(now time.Time) {
	n := s.pace.due(now, idShards, maxSweep)
	if n == 0 {
		return
	}
	now = s.clock.Confirm(now)
	for range n {
		s.sweep(&s.shards[s.nextShard.Add(1)%idShards], now)
	}
}

// MakeRoom removes entries that have ended from a full set, until the set is not full any
// more. It stops after it has read much and found nothing; the next call goes on.
func (s *IDs) MakeRoom(now time.Time) {
	if s.count.Load() < s.limit {
		return
	}
	now = s.clock.Confirm(now)
	for i, read := 0, 0; i < idShards && read < maxRoomSearch && s.count.Load() >= s.limit; i++ {
		read += s.sweep(&s.shards[i], now)
	}
}

// sweep removes the entries that have ended from a shard, and returns how many buckets it
// has read: none if it is too early for an entry to have ended.
func (s *IDs) sweep(shard *idShard, now time.Time) int {
	if now.Unix() < shard.earliest.Load() {
		return 0
	}
	shard.write.Lock()
	defer shard.write.Unlock()
	n := len(shard.load())
	s.refill(shard, now, 0)
	return n
}

// refill copies the entries that have not ended into new buckets, with room for more
// entries and a quarter of all. It does nothing if no entry has ended and more is zero. The
// caller holds the lock.
func (s *IDs) refill(shard *idShard, now time.Time, more int) []bucket {
	old, at := shard.load(), now.Unix()
	live, earliest := 0, int64(never)
	for i := range old {
		for j, end := range old[i].ends {
			if old[i].prints[j] != 0 && int64(end) > at {
				live++
				earliest = min(earliest, int64(end))
			}
		}
	}
	shard.earliest.Store(earliest)
	if live == shard.used && more == 0 {
		return old
	}
	s.count.Add(int64(live - shard.used))
	shard.used = live
	if live+more == 0 {
		shard.buckets.Store(nil)
		return nil
	}
	buckets := append([]bucket(nil), make([]bucket, (live+more)*5/17+1)...)
	buckets = buckets[:cap(buckets)] // the allocation is rounded up
	for i := range old {
		from := &old[i]
		for j, end := range from.ends {
			if from.prints[j] != 0 && int64(end) > at {
				b, k := findFree(buckets, from.prints[j])
				b.prints[k], b.ends[k] = from.prints[j], end
			}
		}
	}
	shard.buckets.Store(&buckets)
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
