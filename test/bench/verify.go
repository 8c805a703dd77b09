package main

import (
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// The names of the cells of this library, in addition to ours.
const (
	ourStructs = "jwtauth, ClaimsAs"
	withAll    = "jwtauth, cache and revocations"
	allStructs = "jwtauth, cache and revocations, ClaimsAs"
)

// fewRevoked is the number of revocations in a store if their number does not matter.
const fewRevoked = 1000

// verifyGroup measures verifying with one algorithm. Each library verifies the same
// token again and again, without a cache.
func verifyGroup(alg string) group {
	return group{name: "verify/" + alg, cells: func() []cell {
		w := newWork(alg)
		token := w.token()
		v := w.verifier(withoutCache)
		cells := []cell{
			nextToRaw(sequential(raw, rawVerify(w, token))),
			nextToRaw(sequential(floor, floorVerify(w, token))),
			nextToRaw(sequential(ours, verifying(ours, ourVerify(v), token))),
			sequential(ourStructs, verifying(ourStructs, ourVerifyStruct(v), token)),
		}
		for _, p := range peers {
			if p.verify == nil {
				continue
			}
			if verify := p.verify(w); verify != nil {
				cells = append(cells, sequential(p.name, verifying(p.name, verify, token)))
			}
		}
		return cells
	}}
}

// newTokensGroup measures this library with the cache and revocations on. Each token
// is verified once.
func newTokensGroup(alg string) group {
	return group{name: "new/" + alg, cells: func() []cell {
		w := newWork(alg)
		cells := []cell{nextToRaw(cell{name: raw, once: rawVerify(w, w.fresh(counted)...), time: func(n int) time.Duration {
			return sequential(raw, rawVerify(w, w.fresh(n)...)).time(n)
		}})}
		store := revoked(fewRevoked)
		for _, c := range []struct {
			name   string
			verify func(*jwtauth.Verifier) func(string) (answer, error)
		}{{withAll, ourVerify}, {allStructs, ourVerifyStruct}} {
			v := w.verifier(withRevocations(store))
			one := nextToRaw(cell{name: c.name, time: func(n int) time.Duration {
				return sequential(c.name, verifying(c.name, c.verify(v), w.fresh(n)...)).time(n)
			}})
			one.once = verifying(c.name, c.verify(v), w.fresh(counted)...)
			one.done = onlyMisses(v)
			cells = append(cells, one)
		}
		return cells
	}}
}

// onlyMisses returns a function that returns an error if the verifier has had a cache hit, or no
// cache miss.
func onlyMisses(v *jwtauth.Verifier) func() error {
	return func() error {
		if s := v.CacheStats(); s.Hits > 0 || s.Misses == 0 {
			return fmt.Errorf("%d of %d tokens were not new", s.Hits, s.Hits+s.Misses)
		}
		return nil
	}
}

// onlyHits returns a function that returns an error if, since the call of onlyHits, the verifier
// has had more than one cache miss for every 50 hits.
func onlyHits(v *jwtauth.Verifier) func() error {
	before := v.CacheStats()
	return func() error {
		now := v.CacheStats()
		if hits, misses := now.Hits-before.Hits, now.Misses-before.Misses; misses*50 > hits {
			return fmt.Errorf("%d of %d tokens were new", misses, hits+misses)
		}
		return nil
	}
}

// verifying returns a function that verifies the tokens in turn, one at each call, and checks
// the answer.
func verifying(name string, verify func(string) (answer, error), tokens ...string) func() {
	loop := new(loopState)
	return func() {
		a, err := verify(tokens[loop.next])
		if err != nil || !isUser(a.subject) || !a.can {
			panic(fmt.Sprintf("%s: answer %+v, error %v", name, a, err))
		}
		loop.advance(len(tokens))
	}
}

// loopState holds the variables that an operation changes at each call. The padding keeps the
// loopStates of two goroutines in different cache lines, to avoid false sharing.
type loopState struct {
	next    int    // index of the next token
	subject string // of the last request
	_       [128]byte
}

// advance adds one to next, and begins again at n.
func (s *loopState) advance(n int) {
	if s.next++; s.next == n {
		s.next = 0
	}
}

// refusing returns a function that verifies one bad token. It panics if the token is
// accepted.
func refusing(name string, verify func(string) (answer, error), token string) func() {
	return func() {
		if _, err := verify(token); err == nil {
			panic(name + " accepts a bad token")
		}
	}
}
