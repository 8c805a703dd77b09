package jwtauth

import (
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/jwtauth-go/jwtauth/internal/claimtype"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// ClaimsAs decodes all claims of a token, registered and custom ones, into a T, by the
// rules of encoding/json. A number that is decoded into an interface is a json.Number, so
// that integers stay exact. The caller owns the result. For a token in a context or in the
// cache of a Verifier, the result is remembered if a copy of a T shares no memory with it:
// if T has no map, slice, pointer or interface.
//
// The error for a zero Token matches ErrNoToken, and that for claims that do not fit T
// matches ErrTokenMalformed; [ClaimsPolicy] refuses such tokens before the handler runs.
func ClaimsAs[T any](t Token) (T, error) {
	var claims T
	if t.claims == "" {
		return claims, fmt.Errorf("jwtauth: no claims: %w", ErrNoToken)
	}
	typ := reflect.TypeFor[T]()
	if remembered, ok := t.memo.find(typ); ok {
		return remembered.(T), nil
	}
	facts := claimtype.Of(typ)
	if err := facts.Decode(t.claims, int(t.customPos), &claims); err != nil {
		var none T
		return none, fmt.Errorf("jwtauth: %w: the claims do not fit %v: %w", ErrTokenMalformed, typ, err)
	}
	if facts.Shareable {
		t.memo.add(typ, claims)
	}
	return claims, nil
}

// memo remembers the decoded claims of one token. The zero value is empty. A nil memo
// remembers nothing.
type memo struct {
	newest atomic.Pointer[decoded]
	entry  chargeableEntry // the cache entry that pays for the memory; may be nil
}

// chargeableEntry is a cache entry.
type chargeableEntry interface {
	// Charge reports whether the entry may grow by n bytes, and notes that it does.
	Charge(n int) bool
}

type decoded struct {
	typ    reflect.Type
	value  any
	next   *decoded
	length int
}

// maxDecoded is for how many types the claims of one token are remembered.
// decodedOverhead is what each costs in addition to its value, in bytes.
const (
	maxDecoded      = 4
	decodedOverhead = 64
)

func (m *memo) find(typ reflect.Type) (any, bool) {
	if m == nil {
		return nil, false
	}
	for r := m.newest.Load(); r != nil; r = r.next {
		if r.typ == typ {
			return r.value, true
		}
	}
	return nil, false
}

func (m *memo) add(typ reflect.Type, value any) {
	if m == nil {
		return
	}
	newest := m.newest.Load()
	r := &decoded{typ: typ, value: value, next: newest, length: 1}
	if newest != nil {
		r.length += newest.length
	}
	if r.length > maxDecoded || m.entry != nil && !m.entry.Charge(claimtype.Size(reflect.ValueOf(value))+decodedOverhead) {
		return
	}
	m.newest.CompareAndSwap(newest, r) // if another call was quicker, the next one decodes again
}

// eachText calls f for each element of a claim that is one string or an array of strings. If
// words is set, it splits one string at its blanks.
func eachText(v strictjson.Value, splitWords bool, f func(string) bool) {
	s, ok := v.Str()
	if !ok {
		v.EachString(f)
		return
	}
	if !splitWords {
		f(s)
		return
	}
	for word := range strings.SplitSeq(s, " ") {
		if word != "" && !f(word) {
			return
		}
	}
}

func listTexts(v strictjson.Value, splitWords bool) (list []string) {
	eachText(v, splitWords, func(s string) bool {
		list = append(list, s)
		return true
	})
	return list
}

func hasText(v strictjson.Value, splitWords bool, want string) (found bool) {
	eachText(v, splitWords, func(s string) bool {
		found = s == want
		return !found
	})
	return found && want != ""
}

// resemblesReserved reports whether a name that is not a registered claim is one in another
// case or spelling. Such a claim would not be checked, and encoding/json would take it
// for the registered one in the struct of a handler.
func resemblesReserved(name string) bool {
	folded := strictjson.Fold(name)
	return folded != name && reserved[folded]
}
