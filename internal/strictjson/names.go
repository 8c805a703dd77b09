package strictjson

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// linear is up to how many names are compared one by one; beyond it they go
// into a map, so that an object of a thousand names costs a thousand steps and
// not a million.
const linear = 32

// names is the set of names that one object has had so far.
type names struct {
	list   []string
	folded map[string]struct{} // in use once list has grown past linear
}

// add puts name into the set. It is false where the set holds a name that
// equals it after folding.
func (n *names) add(name string) bool {
	if n.folded != nil {
		key := Fold(name)
		if _, twice := n.folded[key]; twice {
			return false
		}
		n.folded[key] = struct{}{}
		return true
	}
	for _, other := range n.list {
		if sameFolded(name, other) {
			return false
		}
	}
	n.list = append(n.list, name)
	if len(n.list) > linear {
		n.folded = make(map[string]struct{}, 4*linear)
		for _, other := range n.list {
			n.folded[Fold(other)] = struct{}{}
		}
	}
	return true
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

// Fold returns a spelling that two names share exactly when encoding/json
// would match both of them to one struct field.
func Fold(name string) string {
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
