package strictjson

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// linear is up to how many names are compared one by one, without an allocation;
// beyond it they go into a map, so that an object of a thousand names costs a
// thousand steps and not a million.
const linear = 16

// names is the set of names that one object has had so far.
type names struct {
	few    [linear]string
	n      int
	marks  uint64              // of the names, as long as all of them are plain
	odd    bool                // not all of them are
	folded map[string]struct{} // in use once there are more
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

// has says whether the set holds a name that equals this one after folding.
func (n *names) has(name string) bool {
	if n.folded != nil {
		_, twice := n.folded[Fold(name)]
		return twice
	}
	for i := range n.few[:n.n] {
		if sameFolded(name, n.few[i]) {
			return true
		}
	}
	return false
}

// add is short, so that it is inlined where the set lies.
func (n *names) add(name string) {
	if n.n < linear {
		n.few[n.n] = name
		n.n++
		return
	}
	n.addFolded(name)
}

func (n *names) addFolded(name string) {
	if n.folded == nil {
		n.folded = foldedNames.Get().(map[string]struct{})
		for _, other := range n.few {
			n.folded[Fold(other)] = struct{}{}
		}
	}
	n.folded[Fold(name)] = struct{}{}
}

// foldedNames are empty maps, so that a stranger's object of many names does not
// cost a new one each time.
var foldedNames = sync.Pool{New: func() any { return make(map[string]struct{}, 4*linear) }}

// release gives the map back.
func (n *names) release() {
	if n.folded == nil {
		return
	}
	if len(n.folded) <= 64*linear {
		clear(n.folded)
		foldedNames.Put(n.folded)
	}
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
	return strings.Map(func(r rune) rune {
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
	}, name)
}
