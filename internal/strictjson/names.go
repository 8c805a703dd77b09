package strictjson

import (
	"strings"
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
	folded map[string]struct{} // in use once there are more
}

// add puts name into the set. It is false where the set holds a name that
// equals it after folding.
func (n *names) add(name string) bool {
	if n.folded == nil {
		for i := range n.few[:n.n] {
			if sameFolded(name, n.few[i]) {
				return false
			}
		}
		if n.n < linear {
			n.few[n.n] = name
			n.n++
			return true
		}
		n.folded = make(map[string]struct{}, 4*linear)
		for _, other := range n.few {
			n.folded[Fold(other)] = struct{}{}
		}
	}
	key := Fold(name)
	if _, twice := n.folded[key]; twice {
		return false
	}
	n.folded[key] = struct{}{}
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
