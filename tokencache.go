package jwtauth

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/internal/tokencache"
)

// cachedValue is what the cache keeps of a token that all checks have accepted. All
// requests with this token share it. It is immutable, except that memo grows.
type cachedValue struct {
	token Token
	memo  memo
	ids   revoked.IDs
}

type (
	tokenCache = tokencache.Cache[cachedValue]
	cacheEntry = tokencache.Entry[cachedValue]
)

// cacheBytes is how much memory a cached token may take on average.
const cacheBytes = 2 << 10

// newCache makes the cache of a verifier. A negative size means no cache.
func newCache(size int) *tokenCache {
	if size < 0 {
		return nil
	}
	return tokencache.New[cachedValue](size, int64(size)*cacheBytes)
}

// cachedToken returns the cached token with exactly this text, if the clock and the key
// set still allow it. Otherwise it returns nil, and a full verification says why or
// finds the key anew.
func cachedToken(ctx context.Context, v *Verifier, token string, now time.Time) *Token {
	if v.cache == nil || len(token) > v.o.MaxTokenBytes {
		return nil
	}
	e := v.cache.Get(token)
	if e == nil {
		return nil
	}
	t := &e.Value.token
	if !t.validity.covers(now) || checkKeyInUse(ctx, v, t, now) != nil {
		return nil
	}
	return t
}

// CacheStats are the figures of the cache of a [Verifier].
type CacheStats struct {
	Len, Bytes              int64  // what is cached now. Bytes is an estimate and never too low
	Hits, Misses, Evictions uint64 // since the verifier was made. Hits and Misses are estimates beyond a few thousand
}

// headerCache maps the encoded headers of tokens that one verifier has accepted to their
// keys, so that a header is decoded once. It learns a header after one full strict
// reading and one good signature, and forgets all headers when the keys change.
type headerCache struct{ state atomic.Pointer[knownHeaders] }

// knownHeaders is immutable.
type knownHeaders struct {
	keys *keyset.Table
	list []knownHeader
}

type knownHeader struct {
	segment string
	key     *keyset.Key
	hasKid  bool
}

// The bounds of a headerCache. Keys of our own have one header each, tokens of other
// issuers have a few.
const (
	maxKnownHeaders  = 16
	maxHeaderSegment = 1 << 10
)

// find returns the key of a header that was learned with these keys, or nil, and whether
// the header has a kid.
func (h *headerCache) find(keys *keyset.Table, segment string) (key *keyset.Key, hasKid bool) {
	state := h.state.Load()
	if state == nil || state.keys != keys {
		return nil, false
	}
	for i := range state.list {
		if known := &state.list[i]; known.segment == segment {
			return known.key, known.hasKid
		}
	}
	return nil, false
}

// learn remembers the header of a token whose signature is good.
func (h *headerCache) learn(keys *keyset.Table, segment string, key *keyset.Key, hasKid bool) {
	if len(segment) > maxHeaderSegment {
		return
	}
	old := h.state.Load()
	next := &knownHeaders{keys: keys}
	if old != nil && old.keys == keys {
		if len(old.list) == maxKnownHeaders {
			return
		}
		next.list = append(next.list, old.list...)
	}
	next.list = append(next.list, knownHeader{strings.Clone(segment), key, hasKid})
	h.state.CompareAndSwap(old, next) // if another call was quicker, the next token is learned
}
