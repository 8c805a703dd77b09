package strictjson

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// linear is up to how many names are compared one by one; beyond it, their hashes go into
// a table, so that an object of a thousand names costs a thousand steps and not a million.
const linear = 16

// names is the set of names that one object has had so far.
type names struct {
	few   [linear]string
	n     int
	marks uint64 // of the names, as long as all of them are plain
	odd   bool   // not all of them are
	table *table // of all names, in use once there are more than few
}

// isNew says whether a name of that length, with those letters, equals none of the
// set after folding. Where it is false, nobody knows.
func (n *names) isNew(length int, letters uint64) bool {
	// But for the case of letters, with a factor that gives the registered claims,
	// and what is often seen beside them, a mark each.
	traits := (letters | 0x2020_2020_2020_2020) + uint64(length)
	bit := uint64(1) << (traits * 0x2073_6971_C07D_A4F5 >> 58)
	isNew := n.marks&bit == 0 && !n.odd
	n.marks |= bit
	return isNew
}

// lettersOf are, of a plain name, all letters or the first and the last 8.
func lettersOf(name string) (letters uint64) {
	n := len(name)
	if n >= 8 {
		if letters = load(name, 0); n > 8 {
			letters ^= load(name, n-8) &^ 0x2020_2020_2020_2020 << 1
		}
		return letters
	}
	for i := n - 1; i >= 0; i-- {
		letters = letters<<8 | uint64(name[i])
	}
	return letters
}

// has says whether few holds a name that equals this one after folding. Once there are
// more names, add finds that out.
func (n *names) has(name string) bool {
	if n.table != nil {
		return false
	}
	for i := range n.few[:n.n] {
		if sameFolded(name, n.few[i]) {
			return true
		}
	}
	return false
}

// add adds a name that few does not have. It returns false if the object may have had the
// name before. It is short, so that it is inlined where the set lies.
func (n *names) add(name string) (isNew bool) {
	if n.n < linear {
		n.few[n.n] = name
		n.n++
		return true
	}
	return n.addHash(name)
}

func (n *names) addHash(name string) (isNew bool) {
	if n.table == nil {
		n.table = newTable(0)
		for _, other := range n.few {
			n.table.add(hashFolded(other))
		}
	}
	n.table = n.table.withRoom()
	return n.table.add(hashFolded(name))
}

// release gives the table back.
func (n *names) release() {
	if n.table != nil {
		n.table.release()
	}
}

// isTwice says whether the object that begins at start has an equal name before the
// position end. The text before end was read without an error. Different names have
// different hashes but for a chance of 2^-64, so isTwice runs for a real duplicate, which
// ends the reading.
func isTwice(text string, start, end int, name string) bool {
	for pos := next(text, start+1); pos < end; pos = next(text, pos+1) {
		behind, _, err := quoted(text, pos)
		if err != nil || sameFolded(name, unescape(text[pos+1:behind-1])) {
			return true
		}
		colon := next(text, behind)
		if pos, err = value(text, next(text, colon+1), 1); err != nil {
			return true
		}
		pos = next(text, pos)
	}
	return false
}

// sameFolded is strings.EqualFold with an early exit for names that differ in
// their first letter, both of them ASCII.
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

// isFolded says whether a name is ASCII without capitals.
func isFolded(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// Fold returns a spelling that two names share exactly when encoding/json
// would match both of them to one struct field.
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
