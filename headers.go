package jwtauth

import (
	"strings"
	"sync/atomic"
)

// knownHeaders remembers the header segments of tokens that one verifier has
// found good: the base64url text of a header settles alg, typ, kid and crit in
// one comparison. A segment is learned after one full strict reading and one
// good signature, and forgotten with the keys of that moment.
type knownHeaders struct{ state atomic.Pointer[headerTable] }

type headerTable struct {
	keys *keyTable
	list []knownHeader // never changed
}

type knownHeader struct {
	segment string
	key     *VerificationKey
	hasKid  bool
}

// The bounds: own keys have one header each, other issuers' tokens a few.
const (
	maxKnownHeaders  = 16
	maxHeaderSegment = 1 << 10
)

// find returns the key of a segment that was learned with these keys, or nil, and
// whether the segment names it.
func (h *knownHeaders) find(keys *keyTable, segment string) (key *VerificationKey, hasKid bool) {
	t := h.state.Load()
	if t == nil || t.keys != keys {
		return nil, false
	}
	for i := range t.list {
		if known := &t.list[i]; known.segment == segment {
			return known.key, known.hasKid
		}
	}
	return nil, false
}

// learn remembers the segment of a token whose signature held under key.
func (h *knownHeaders) learn(keys *keyTable, segment string, key *VerificationKey, hasKid bool) {
	if len(segment) > maxHeaderSegment {
		return
	}
	old := h.state.Load()
	next := &headerTable{keys: keys}
	if old != nil && old.keys == keys {
		if len(old.list) == maxKnownHeaders {
			return
		}
		next.list = append(next.list, old.list...)
	}
	next.list = append(next.list, knownHeader{strings.Clone(segment), key, hasKid})
	h.state.CompareAndSwap(old, next) // whoever comes second learns it next time
}
