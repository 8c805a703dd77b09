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

// ID is a digest, for example the first 16 bytes of a SHA-256.
type ID [16]byte

const (
	shardBits = 12
	idShards  = 1 << shardBits
	// maxRoomSearch is the number of buckets after which MakeRoom stops searching.
	maxRoomSearch = 1 << 13
)

// IDs is a bounded set of digests, each with an end. Ends are rounded up to a second. IDs keeps
// every digest until its end, even if the clock jumps ahead for a moment. Look-ups take no lock
// and allocate nothing. Make an IDs with NewIDs. It is safe for concurrent use.
//
// IDs is a sharded hash table with open addressing. It identifies each digest by 76 bits of
// a hash that is keyed with a secret: 12 bits choose the shard, and 64 bits are stored as
// the fingerprint. Look-ups have no false negatives. If the set has n digests, the
// probability of a false positive is n/2^76, for example 2^-56 for a million digests.
//
// With 100,000 or more entries, an entry costs 17 to 20 bytes. With 10,000 entries, an entry
// costs about 50 bytes. An empty set costs 131 kB.
type IDs struct {
	limit     int64
	count     atomic.Int64
	pacer     pacer
	clock     steady.Clock
	nextShard atomic.Uint32 // the shard that Sweep sweeps next
	secret    [4]uint64
	shards    [idShards]idShard
}

// idShard is a hash table. Add writes new entries into the current buckets. If the buckets
// are full, or if entries have ended, refill copies the live entries into new buckets and
// replaces the pointer (copy-on-write).
//
// Add and refill hold the lock. A look-up takes no lock and loads the pointer once. It
// therefore sees every Add that returned before the look-up began.
type idShard struct {
	buckets  atomic.Pointer[[]bucket]
	earliest atomic.Int64 // a lower bound of the ends of all entries, in Unix seconds
	write    sync.Mutex
	used     int // the number of entries in buckets; guarded by write
}

// perBucket is how many entries fit into a cache line.
const perBucket = 5

// bucket is a cache line of entries. If the bucket of a new entry is full, the entry goes
// into the next bucket with room (linear probing). An entry stays in its slot until refill
// makes new buckets.
type bucket struct {
	fingerprints [perBucket]uint64 // atomic; zero means a free slot; Add stores the end of an entry before its fingerprint
	ends         [perBucket]uint32 // atomic; in Unix seconds; Add may only raise it
	// overflow is an atomic Bloom filter of 8 bits. It holds the fingerprints that were put into a
	// later bucket because this bucket was full. If the bit of a fingerprint is not set, a look-up
	// stops here.
	overflow uint32
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

// Confirm calls steady.Clock.Confirm of the set's clock, which ignores a reading that may be a
// jump, and returns the time to use. The set removes only entries that have ended at the
// confirmed time.
func (s *IDs) Confirm(now time.Time) time.Time { return s.clock.Confirm(now) }

// Len returns the number of entries. It includes entries that have ended and were not
// removed yet.
func (s *IDs) Len() int { return int(s.count.Load()) }

// locate returns the shard and the fingerprint of an id. Both come from a keyed hash. It is
// one step of the hash that Go's maps use on machines without AES instructions. The hash
// spreads ids of any form evenly, and nobody without the secret can choose ids that
// collide.
func (s *IDs) locate(id *ID) (shard *idShard, fingerprint uint64) {
	return &s.shards[mix(id, s.secret[2], s.secret[3])>>(64-shardBits)], max(mix(id, s.secret[0], s.secret[1]), 1)
}

func mix(id *ID, a, b uint64) uint64 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^a, binary.LittleEndian.Uint64(id[8:])^b)
	return high ^ low
}

// firstBucket returns the index of the bucket where the search for a fingerprint begins, if
// there are n buckets. It also returns the bit of the fingerprint in the filter overflow.
func firstBucket(fingerprint uint64, n int) (i int, bit uint32) {
	high, _ := bits.Mul64(fingerprint, uint64(n))
	return int(high), 1 << (fingerprint & 7)
}

// Has reports whether id is in the set and has not ended.
func (s *IDs) Has(id *ID, now time.Time) bool {
	shard, fingerprint := s.locate(id)
	buckets := shard.buckets.Load()
	if buckets == nil {
		return false
	}
	end := find(*buckets, fingerprint)
	return end != nil && now.Unix() < int64(atomic.LoadUint32(end))
}

// find returns a pointer to the end of an entry, or nil if there is no such entry. The loop
// terminates: at least one bucket is not full, and its filter is therefore empty.
func find(buckets []bucket, fingerprint uint64) *uint32 {
	i, bit := firstBucket(fingerprint, len(buckets))
	for {
		b := &buckets[i]
		for j := range b.fingerprints {
			if atomic.LoadUint64(&b.fingerprints[j]) == fingerprint {
				return &b.ends[j]
			}
		}
		if atomic.LoadUint32(&b.overflow)&bit == 0 {
			return nil
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// findFree returns a free slot for a new entry: index j of bucket b. In the filters of the
// full buckets before b, it sets the bit of the fingerprint. The caller holds the lock.
func findFree(buckets []bucket, fingerprint uint64) (b *bucket, j int) {
	i, bit := firstBucket(fingerprint, len(buckets))
	for {
		b = &buckets[i]
		for j := range b.fingerprints {
			if b.fingerprints[j] == 0 {
				return b, j
			}
		}
		if b.overflow&bit == 0 {
			atomic.StoreUint32(&b.overflow, b.overflow|bit)
		}
		if i++; i == len(buckets) {
			i = 0
		}
	}
}

// Add adds id until the given time, rounded up to a second. If id is in the set already,
// Add may extend its entry and never shortens it. Add does nothing if until has passed. It
// returns false if the set is full.
func (s *IDs) Add(id *ID, until, now time.Time) bool {
	now = s.clock.Confirm(now)
	if !now.Before(until) {
		return true
	}
	shard, fingerprint := s.locate(id)
	end := seconds(until)
	shard.write.Lock()
	defer shard.write.Unlock()
	buckets := shard.load()
	if buckets != nil {
		if known := find(buckets, fingerprint); known != nil {
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
	if shard.used == maxUsed(len(buckets)) {
		buckets = s.refill(shard, now, 1)
	}
	if int64(end) < shard.earliest.Load() {
		shard.earliest.Store(int64(end))
	}
	b, j := findFree(buckets, fingerprint)
	atomic.StoreUint32(&b.ends[j], end)
	atomic.StoreUint64(&b.fingerprints[j], fingerprint)
	shard.used++
	return true
}

func (sh *idShard) load() []bucket {
	if buckets := sh.buckets.Load(); buckets != nil {
		return *buckets
	}
	return nil
}

// maxUsed returns how many entries n buckets may hold: 85 percent of their slots.
func maxUsed(n int) int { return n * 17 / 4 }

// Sweep removes the ended entries of the few shards that are due. It returns false if no
// shard was due.
func (s *IDs) Sweep(now time.Time) bool {
	n := s.pacer.claimDue(now, idShards, maxSweep)
	if n == 0 {
		return false
	}
	now = s.clock.Confirm(now)
	for range n {
		s.sweep(&s.shards[s.nextShard.Add(1)%idShards], now)
	}
	return true
}

// MakeRoom removes ended entries until the set has room for more than reserve new entries,
// or until it has read maxRoomSearch buckets. The next call starts at the first shard
// again. It skips shards in which no entry can have ended, so it soon reaches the shards
// that this call did not read.
func (s *IDs) MakeRoom(now time.Time, reserve int) {
	limit := s.limit - int64(reserve)
	if s.count.Load() < limit {
		return
	}
	now = s.clock.Confirm(now)
	for i, read := 0, 0; i < idShards && read < maxRoomSearch && s.count.Load() >= limit; i++ {
		read += s.sweep(&s.shards[i], now)
	}
}

// sweep removes the ended entries of a shard. It returns how many buckets it has read. It
// reads none if no entry can have ended yet.
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

// refill copies the live entries of a shard into new buckets. extra is the number of
// entries that the caller will add. The new buckets have 25 percent more room than the live
// entries and extra entries need. If no entry has ended and extra is zero, refill does
// nothing. It returns the current buckets. The caller holds the lock.
func (s *IDs) refill(shard *idShard, now time.Time, extra int) []bucket {
	old, at := shard.load(), now.Unix()
	live, earliest := 0, int64(never)
	for i := range old {
		for j, end := range old[i].ends {
			if old[i].fingerprints[j] != 0 && int64(end) > at {
				live++
				earliest = min(earliest, int64(end))
			}
		}
	}
	shard.earliest.Store(earliest)
	if live == shard.used && extra == 0 {
		return old
	}
	s.count.Add(int64(live - shard.used))
	shard.used = live
	if live+extra == 0 {
		shard.buckets.Store(nil)
		return nil
	}
	buckets := append([]bucket(nil), make([]bucket, (live+extra)*5/17+1)...)
	buckets = buckets[:cap(buckets)] // append rounds the allocation up to a size class; use all of it
	for i := range old {
		from := &old[i]
		for j, end := range from.ends {
			if from.fingerprints[j] != 0 && int64(end) > at {
				b, k := findFree(buckets, from.fingerprints[j])
				b.fingerprints[k], b.ends[k] = from.fingerprints[j], end
			}
		}
	}
	shard.buckets.Store(&buckets)
	return buckets
}

// seconds returns t in Unix seconds, rounded up, so that no entry ends early.
func seconds(t time.Time) uint32 {
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++
	}
	return uint32(min(max(n, 0), 1<<32-1))
}
