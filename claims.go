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
// rules of encoding/json. A number decoded into an interface becomes a json.Number, so
// that integers stay exact. The caller owns the result.
//
// ClaimsAs remembers the result if T has no pointer, slice, map or interface, and if the
// token comes from a context or from the cache of a Verifier. The next call with the same T
// then decodes nothing.
//
// For a zero Token, the error matches ErrNoToken. If the claims do not fit T, the error
// matches ErrTokenMalformed. [ClaimsPolicy] refuses such tokens before the handler runs.
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

// memo remembers the results of ClaimsAs for one token, as a linked list. The zero
// value is empty. A nil memo remembers nothing.
type memo struct {
	newest atomic.Pointer[decoded]
	entry  chargeableEntry // counts the memory of the results; nil if the token is not in a cache
}

// chargeableEntry is a cache entry, whose size counts against the limit of the cache.
type chargeableEntry interface {
	// Charge adds n bytes to the size of the entry. It returns false, and adds nothing,
	// if the cache has no room.
	Charge(n int) bool
}

// decoded is one result of ClaimsAs.
type decoded struct {
	typ    reflect.Type
	value  any // the claims, decoded into a typ
	next   *decoded
	length int // the length of the list that begins here
}

// maxDecoded is the number of types for which a memo remembers results. decodedOverhead
// is the memory that a result takes in addition to its value, in bytes.
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
	m.newest.CompareAndSwap(newest, r) // if a concurrent add won, this result is not remembered
}

// eachText calls f for each text of a claim, which is a string or an array of strings,
// until f returns false. If splitWords is set, eachText splits a string at its blanks.
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

// resemblesReserved reports whether name is not a reserved name, but encoding/json would
// match it to the same field of a struct, as ISS and iss. The verifier would not check such
// a claim, but encoding/json, which ignores case, would decode it into the iss field of a
// handler's struct.
func resemblesReserved(name string) bool {
	folded := strictjson.Fold(name)
	return folded != name && reserved[folded]
}
