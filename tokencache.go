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

// cachedValue is the cache's record of a token that has passed all checks. All requests
// with this token share the record. It is immutable, except that memo grows.
type cachedValue struct {
	token Token
	memo  memo
	ids   revoked.IDs
}

type (
	tokenCache = tokencache.Cache[cachedValue]
	cacheEntry = tokencache.Entry[cachedValue]
)

// cacheBytes is the memory that a cached token may take on average, in bytes.
const cacheBytes = 2 << 10

// newCache makes the cache of a verifier. A negative size means no cache.
func newCache(size int) *tokenCache {
	if size < 0 {
		return nil
	}
	return tokencache.New[cachedValue](size, int64(size)*cacheBytes)
}

// cachedToken returns the cached token with exactly this text, if its dates still allow it
// and its key is still in use. Otherwise it returns nil; a full verification must follow.
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

// CacheStats holds figures of the cache of a [Verifier].
type CacheStats struct {
	Len, Bytes              int64  // the tokens in the cache now, and their memory: an estimate that is never too low
	Hits, Misses, Evictions uint64 // since the verifier was made. Above a few thousand, Hits and Misses are estimates
}

// headerCache maps the encoded headers of tokens to their keys, so that a verifier
// decodes each header once. A header enters the cache when a token with that header has a
// good signature. All headers leave when the keys change.
type headerCache struct{ state atomic.Pointer[knownHeaders] }

// knownHeaders is immutable.
type knownHeaders struct {
	keys *keyset.Table
	list []knownHeader
}

type knownHeader struct {
	segment string
	key     *keyset.Key
}

// The bounds of a headerCache. The tokens of an Issuer have one header for each key,
// those of other issuers a few.
const (
	maxKnownHeaders  = 16
	maxHeaderSegment = 1 << 10
)

// find returns the key for a header. It returns nil if learn was not called for the header
// with the same keys.
func (h *headerCache) find(keys *keyset.Table, segment string) *keyset.Key {
	state := h.state.Load()
	if state == nil || state.keys != keys {
		return nil
	}
	for i := range state.list {
		if known := &state.list[i]; known.segment == segment {
			return known.key
		}
	}
	return nil
}

// learn adds the header of a token whose signature is good. The header must have a kid: without one,
// the same header may belong to several keys.
func (h *headerCache) learn(keys *keyset.Table, segment string, key *keyset.Key) {
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
	next.list = append(next.list, knownHeader{strings.Clone(segment), key})
	h.state.CompareAndSwap(old, next) // if a concurrent learn won, a later token adds the header
}
