package jwtauth

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/tokencache"
)

// remembered is what a verifier keeps of a token that all checks have let pass.
// It is shared by all requests that bring this token: nothing in it changes,
// except that its memo grows.
type remembered struct {
	token Token
	memo  memo
	ids   revocationIDs
}

type cacheEntry = tokencache.Entry[remembered]

// cacheBytes is how much memory a remembered token may take on average.
const cacheBytes = 2 << 10

func newCache(o VerifierOptions) *tokencache.Cache[remembered] {
	if o.CacheSize < 0 {
		return nil
	}
	return tokencache.New[remembered](o.CacheSize, int64(o.CacheSize)*cacheBytes)
}

// CacheStats says what a [Verifier] remembers, and how often that was of use.
type CacheStats struct {
	Len, Bytes              int64  // of this moment; Bytes is an estimate that errs upwards
	Hits, Misses, Evictions uint64 // since the verifier was made: tokens that were found, were not, had to go
}

// CacheStats returns the figures of the verifier's cache; those of a verifier that
// AnyOf or ResolveIssuers made are the sums of its members'. Without a cache, they
// are zero.
func (v *Verifier) CacheStats() (sum CacheStats) {
	if v == nil {
		return sum
	}
	if v.cache != nil {
		sum = CacheStats(v.cache.Stats())
	}
	if v.members == nil {
		return sum
	}
	for m := range v.members.all() {
		s := m.CacheStats()
		sum.Len, sum.Bytes = sum.Len+s.Len, sum.Bytes+s.Bytes
		sum.Hits, sum.Misses, sum.Evictions = sum.Hits+s.Hits, sum.Misses+s.Misses, sum.Evictions+s.Evictions
	}
	return sum
}

// recall returns a token that is remembered, nil for none: the same to the letter,
// verified with a key that is still in use, and good at that time.
func (v *Verifier) recall(ctx context.Context, token string, now time.Time) *Token {
	if v.cache == nil || len(token) > v.o.MaxTokenBytes {
		return nil
	}
	var e *cacheEntry
	if v.o.CacheDigests {
		sum := sha256.Sum256(asBytes(token))
		e = v.cache.Get(asString(sum[:]))
	} else {
		e = v.cache.Get(token)
	}
	if e == nil {
		return nil
	}
	t := &e.Value.token
	if !t.good.covers(now) || keyInUse(v, t, now) != nil {
		return nil // and the full list of checks says why, or finds its key anew
	}
	return t
}

// decodeClaims makes the text of the claims. Where the verifier has a cache that
// admits the token, it also makes the entry that this is to become if all checks let
// it pass.
func (s *verification) decodeClaims() (err error) {
	var text []byte
	room := compact.DecodedLen(len(s.parts.Payload))
	if s.v.cache == nil || !s.v.cache.Admits(s.raw, len(s.raw)+2*room) {
		text, err = compact.AppendDecode(make([]byte, 0, room), s.parts.Payload)
		s.token.claims = asString(text)
		return err
	}
	s.entry = new(cacheEntry)
	kept := &s.entry.Value
	kept.token, kept.memo.in = *s.token, s.entry
	s.token = &kept.token
	s.token.memo = &kept.memo
	// The claims share one allocation with what stands for the token.
	if s.v.o.CacheDigests {
		sum := sha256.Sum256(asBytes(s.raw))
		text = append(make([]byte, 0, len(sum)+room), sum[:]...)
	} else {
		text = append(make([]byte, 0, len(s.raw)+room), s.raw...)
	}
	n := len(text)
	text, err = compact.AppendDecode(text, s.parts.Payload)
	both := asString(text)
	s.cacheKey, s.token.claims = both[:n], both[n:]
	return err
}

// remember puts a token that all checks have let pass into the cache, or sees to it
// that it is put there when it comes again.
func (s *verification) remember() {
	switch {
	case s.entry != nil:
		// Names with escapes were copied out of the claims.
		s.v.cache.Put(s.entry, s.cacheKey, s.token.Subject, 2*len(s.token.claims))
	case s.v.cache != nil:
		s.v.cache.Saw(s.raw, s.token.Subject)
	}
}
