package expiring

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ID is a digest that stands for something. Digests are spread evenly; look-ups
// grow slower where they are not.
type ID [16]byte

const (
	idBits   = 12
	idShards = 1 << idBits
	tailSize = 8
	// sweepMost is how many shards one call sweeps, where they are due.
	sweepMost = 8
)

// IDs is a set of digests, each with an end. It is exact: no digest is taken for
// another one, and none is dropped before its end, which is rounded up to a second.
// Look-ups take no lock. An entry costs 20 bytes, and what allocation rounds up. It is made by NewIDs and safe for concurrent use.
//
// The set is cut into shards by the first bits. A shard is a sorted block, which
// never changes but for ends that are prolonged, and a short tail of what came
// since; a full tail is merged into a new block, and what has ended is left out
// on the occasion.
type IDs struct {
	limit  int64
	count  atomic.Int64
	pace   pace
	next   atomic.Uint32 // the shard that is swept next
	shards [idShards]idShard
}

type idShard struct {
	block    atomic.Pointer[block]
	earliest atomic.Int64 // before that, in Unix seconds, nothing ends here
	write    sync.Mutex
}

// block is what a shard holds. ids and ends are sorted by digest and stand beside
// each other; ends are Unix seconds.
type block struct {
	tailLen atomic.Int32
	tail    [tailSize]entry
	ids     []ID
	ends    []uint32 // atomic
}

type entry struct {
	id  ID
	end uint32 // atomic
}

// NewIDs makes an empty set of at most limit entries.
func NewIDs(limit int) *IDs {
	s := &IDs{limit: int64(limit)}
	for i := range s.shards {
		s.shards[i].earliest.Store(never)
	}
	return s
}

// Len is how many entries there are, including those that have ended and have
// not been left out yet.
func (s *IDs) Len() int { return int(s.count.Load()) }

func (s *IDs) shard(id *ID) *idShard { return &s.shards[binary.BigEndian.Uint16(id[:])>>(16-idBits)] }

// Has says whether id is in the set and has not ended.
func (s *IDs) Has(id *ID, now time.Time) bool {
	b := s.shard(id).block.Load()
	if b == nil {
		return false
	}
	end := b.find(id)
	return end != nil && now.Unix() < int64(atomic.LoadUint32(end))
}

// find returns the end of id, nil where it is not there.
func (b *block) find(id *ID) *uint32 {
	for i := range b.tail[:b.tailLen.Load()] {
		if b.tail[i].id == *id {
			return &b.tail[i].end
		}
	}
	if i, ok := b.search(id); ok {
		return &b.ends[i]
	}
	return nil
}

// search begins where id would lie if identifiers were spread evenly, and walks
// from there; after some steps, it halves what is left.
func (b *block) search(id *ID) (int, bool) {
	const steps = 64
	n := len(b.ids)
	if n == 0 {
		return 0, false
	}
	key := binary.BigEndian.Uint64(id[:])
	within := (key << idBits) >> 32 // the 32 bits behind those of the shard
	i := int(within * uint64(n) >> 32)
	for range steps {
		switch c := b.compare(i, key, id); {
		case c == 0:
			return i, true
		case c < 0: // the entry lies before id
			if i++; i == n || b.compare(i, key, id) > 0 {
				return i, false
			}
		default:
			if i--; i < 0 || b.compare(i, key, id) < 0 {
				return i + 1, false
			}
		}
	}
	low, high := 0, n
	for low < high {
		middle := int(uint(low+high) / 2)
		if b.compare(middle, key, id) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < n && b.ids[low] == *id
}

// compare compares entry i with id, whose first 8 bytes are key.
func (b *block) compare(i int, key uint64, id *ID) int {
	e := &b.ids[i]
	if c := cmp.Compare(binary.BigEndian.Uint64(e[:]), key); c != 0 {
		return c
	}
	return bytes.Compare(e[8:], id[8:])
}

// Add puts id into the set until that time, rounded up to a second; an end that
// lies later already stays. It is false where the set is full.
func (s *IDs) Add(id *ID, until, now time.Time) bool {
	end := seconds(until)
	sh := s.shard(id)
	sh.write.Lock()
	defer sh.write.Unlock()
	b := sh.block.Load()
	if b == nil {
		b = new(block)
		sh.block.Store(b)
	}
	if known := b.find(id); known != nil {
		if atomic.LoadUint32(known) < end {
			atomic.StoreUint32(known, end)
		}
		return true
	}
	if s.count.Add(1) > s.limit {
		s.count.Add(-1)
		return false
	}
	n := b.tailLen.Load()
	if n == tailSize {
		b = s.merge(sh, b, now)
		sh.block.Store(b)
		n = 0
	}
	if int64(end) < sh.earliest.Load() {
		sh.earliest.Store(int64(end))
	}
	b.tail[n] = entry{*id, end}
	b.tailLen.Store(n + 1) // readers see what was written before it
	return true
}

// Sweep leaves out what has ended in the shards that are due.
func (s *IDs) Sweep(now time.Time) {
	for range s.pace.due(now, idShards, sweepMost) {
		s.sweep(&s.shards[s.next.Add(1)%idShards], now)
	}
}

// MakeRoom leaves out what has ended, where the bound is reached, until it is
// not.
func (s *IDs) MakeRoom(now time.Time) {
	for i := range s.shards {
		if s.count.Load() < s.limit {
			return
		}
		s.sweep(&s.shards[i], now)
	}
}

func (s *IDs) sweep(sh *idShard, now time.Time) {
	if now.Unix() < sh.earliest.Load() {
		return
	}
	sh.write.Lock()
	defer sh.write.Unlock()
	b := sh.block.Load()
	if b == nil {
		return
	}
	if b = s.merge(sh, b, now); len(b.ids) == 0 {
		b = nil
	}
	sh.block.Store(b)
}

// merge makes a block of what is in b and has not ended, with an empty tail. The
// caller holds the lock for writing, so that no end changes meanwhile.
func (s *IDs) merge(sh *idShard, b *block, now time.Time) *block {
	at := now.Unix()
	live := func(end uint32) bool { return int64(end) > at }
	tail := make([]entry, 0, tailSize)
	for i := range b.tail[:b.tailLen.Load()] {
		if live(b.tail[i].end) {
			tail = append(tail, b.tail[i])
		}
	}
	slices.SortFunc(tail, func(a, b entry) int { return bytes.Compare(a.id[:], b.id[:]) })
	n := len(tail)
	for _, end := range b.ends {
		if live(end) {
			n++
		}
	}
	s.count.Add(int64(n - len(b.ids) - int(b.tailLen.Load())))
	merged := &block{ids: make([]ID, 0, n), ends: make([]uint32, 0, n)}
	for i := range b.ids {
		for len(tail) > 0 && bytes.Compare(tail[0].id[:], b.ids[i][:]) < 0 {
			merged.ids, merged.ends = append(merged.ids, tail[0].id), append(merged.ends, tail[0].end)
			tail = tail[1:]
		}
		if live(b.ends[i]) {
			merged.ids, merged.ends = append(merged.ids, b.ids[i]), append(merged.ends, b.ends[i])
		}
	}
	for _, e := range tail {
		merged.ids, merged.ends = append(merged.ids, e.id), append(merged.ends, e.end)
	}
	earliest := int64(never)
	for _, end := range merged.ends {
		earliest = min(earliest, int64(end))
	}
	sh.earliest.Store(earliest)
	return merged
}

// seconds rounds up, so that no entry ends early.
func seconds(t time.Time) uint32 {
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++
	}
	return uint32(min(max(n, 0), 1<<32-1))
}
