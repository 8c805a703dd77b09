package strictjson

import (
	"hash/maphash"
	"sync"
	"unicode/utf8"
)

// table is a set of hashes: a hash table with open addressing and linear probing.
type table struct {
	class int      // slots has minSlots << class elements
	slots []uint64 // 0 is a free slot
	n     int
}

// minSlots is the size of the smallest table. At most three quarters of it are in use.
const minSlots = 64

// tables are pools of empty tables, one for each class, so that an attacker who sends
// objects with many names does not cause an allocation for each of them. Tables for more
// than 1,536 names are not pooled.
var tables [6]sync.Pool

func newTable(class int) *table {
	if class < len(tables) {
		if t, ok := tables[class].Get().(*table); ok {
			return t
		}
	}
	return &table{class: class, slots: make([]uint64, minSlots<<class)}
}

func (t *table) release() {
	if t.class < len(tables) {
		clear(t.slots)
		t.n = 0
		tables[t.class].Put(t)
	}
}

// withRoom returns t if it has room for one more hash, or else a larger table with the
// same hashes. After that, the caller must use only the returned table.
func (t *table) withRoom() *table {
	if t.n < len(t.slots)/4*3 {
		return t
	}
	larger := newTable(t.class + 1)
	for _, hash := range t.slots {
		if hash != 0 {
			larger.add(hash)
		}
	}
	t.release()
	return larger
}

// add adds a hash. It returns false if the table already has it.
func (t *table) add(hash uint64) (isNew bool) {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch t.slots[i] {
		case 0:
			t.slots[i] = hash
			t.n++
			return true
		case hash:
			return false
		}
	}
}

// seed is secret, so that an attacker cannot choose names whose hashes collide.
var seed = maphash.MakeSeed()

// hashFolded returns the hash of Fold(name), which is never 0.
func hashFolded(name string) uint64 {
	if isFolded(name) {
		return max(maphash.String(seed, name), 1)
	}
	var h maphash.Hash
	h.SetSeed(seed)
	var buffer [64]byte
	folded := buffer[:0]
	for _, r := range name {
		if len(folded) > len(buffer)-utf8.UTFMax {
			h.Write(folded)
			folded = buffer[:0]
		}
		folded = utf8.AppendRune(folded, foldRune(r))
	}
	h.Write(folded)
	return max(h.Sum64(), 1)
}

// hashOf returns the hash of a name, of its folded spelling unless exact is set. It is never 0.
func hashOf(name string, exact nestedNames) uint64 {
	if exact {
		return max(maphash.String(seed, name), 1)
	}
	return hashFolded(name)
}
