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
	marks  uint64              // of the names, as long as all of them are ASCII
	folded map[string]struct{} // in use once there are more
}

// has says whether the set holds a name that equals this one after folding.
// Whether all names are known to be ASCII, the caller says, the same for all of
// them. A name that is not there must be added next.
func (n *names) has(name string, ascii bool) bool {
	if n.folded != nil {
		_, twice := n.folded[Fold(name)]
		return twice
	}
	mark := uint64(1)
	if ascii && name != "" {
		// Names that fold together have one length and, but for the case, the same
		// letters: this bit tells most of the others apart.
		traits := uint64(len(name))<<16 | uint64(name[0]|0x20)<<8 | uint64(name[len(name)-1]|0x20)
		mark <<= traits * 0x9E37_79B9_7F4A_7C15 >> 58
	}
	if !ascii || n.marks&mark != 0 {
		for i := range n.few[:n.n] {
			if sameFolded(name, n.few[i]) {
				return true
			}
		}
	}
	n.marks |= mark
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
