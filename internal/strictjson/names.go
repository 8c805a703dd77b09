package strictjson

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxListed is the number of names that are compared one by one. For more names, a hash
// table keeps the cost of an object linear in the number of its names.
const maxListed = 16

// names is the set of names that one object has had so far.
type names struct {
	list        [maxListed]string // the names, up to maxListed
	n           int               // how many names are in list
	filter      uint64            // a Bloom filter of the plain names, with one bit a name
	hasNonPlain bool              // a name is not plain, so the filter is not complete
	exact       nestedNames       // whether names that differ by case are different
	table       *table            // the hashes of all names, if list is full; else nil
}

// isSurelyNew reports whether the filter shows that a plain name is not in the set, and
// adds the name to the filter. If it returns false, the name may be in the set or not.
func (n *names) isSurelyNew(length int, packed uint64) bool {
	// The bits that hold the case of letters are set, so that the filter ignores case. The
	// factor is chosen so that the registered claims and other frequent claims get
	// different bits.
	traits := (packed | 0x2020_2020_2020_2020) + uint64(length)
	bit := uint64(1) << (traits * 0x2073_6971_C07D_A4F5 >> 58)
	isNew := n.filter&bit == 0 && !n.hasNonPlain
	n.filter |= bit
	return isNew
}

// packName returns the bytes of a plain name in one word: all of them, or, of a longer
// name, a mix of the first 8 and the last 8. Different names may have the same word.
func packName(name string) (packed uint64) {
	n := len(name)
	if n >= 8 {
		if packed = load8(name, 0); n > 8 {
			packed ^= load8(name, n-8) &^ 0x2020_2020_2020_2020 << 1
		}
		return packed
	}
	for i := n - 1; i >= 0; i-- {
		packed = packed<<8 | uint64(name[i])
	}
	return packed
}

// listHas reports whether list holds name. It returns
// false if the names are in the hash table, which add searches.
func (n *names) listHas(name string) bool {
	if n.table != nil {
		return false
	}
	for i := range n.list[:n.n] {
		if isSame(name, n.list[i], n.exact) {
			return true
		}
	}
	return false
}

// add adds a name that is not in list. It returns false if the name may be in the set
// already. It is short, so that the compiler inlines it and the set stays on the stack.
func (n *names) add(name string) (isNew bool) {
	if n.n < maxListed {
		n.list[n.n] = name
		n.n++
		return true
	}
	return n.addHash(name)
}

func (n *names) addHash(name string) (isNew bool) {
	if n.table == nil {
		n.table = newTable(0)
		for _, other := range n.list {
			n.table.add(hashOf(other, n.exact))
		}
	}
	n.table = n.table.withRoom()
	return n.table.add(hashOf(name, n.exact))
}

// release returns the hash table to its pool.
func (n *names) release() {
	if n.table != nil {
		n.table.release()
	}
}

// hasEarlier reports whether the object that begins at start has a name before position
// end that is the same as name. The text before end is known to be valid JSON.
//
// It runs only if two names of an object have the same hash. That is almost always a real
// duplicate, which ends the reading: different names collide with a probability of 2^-64.
func hasEarlier(text string, start, end int, name string, exact nestedNames) bool {
	for pos := skipSpace(text, start+1); pos < end; pos = skipSpace(text, pos+1) {
		nameEnd, _, err := readString(text, pos)
		if err != nil || isSame(name, unescape(text[pos+1:nameEnd-1]), exact) {
			return true
		}
		colon := skipSpace(text, nameEnd)
		if pos, err = readValue(text, skipSpace(text, colon+1), 1, exactCase); err != nil {
			return true
		}
		pos = skipSpace(text, pos)
	}
	return false
}

// isSame reports whether two names are the same, after folding unless exact is set.
func isSame(a, b string, exact nestedNames) bool {
	if exact {
		return a == b
	}
	return sameFolded(a, b)
}

// sameFolded is strings.EqualFold, but returns early if both names begin with ASCII
// letters that differ.
func sameFolded(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	if (a[0]|b[0]) < utf8.RuneSelf && lower(a[0]) != lower(b[0]) {
		return false
	}
	return strings.EqualFold(a, b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// isFolded reports whether name is ASCII without capital letters.
func isFolded(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// Fold returns the folded spelling of a name. Two names have the same folded spelling
// if and only if encoding/json matches them to the same struct field.
func Fold(name string) string {
	if isFolded(name) {
		return name
	}
	return strings.Map(foldRune, name)
}

func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		return rune(lower(byte(r)))
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if least < utf8.RuneSelf {
		return rune(lower(byte(least)))
	}
	return least
}
