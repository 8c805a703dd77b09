package main

import (
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// The cells of this library, beside ours.
const (
	ourStructs = "jwtauth, ClaimsAs"
	withAll    = "jwtauth, cache and revocations"
	allStructs = "jwtauth, cache and revocations, ClaimsAs"
)

// fewRevoked is how many entries a store has where their number does not matter.
const fewRevoked = 1000

// verifyGroup is one algorithm, each library with the same token again and again,
// which none of them remembers.
func verifyGroup(alg string) group {
	return group{name: "verify/" + alg, cells: func() []cell {
		w := newWork(alg)
		token := w.token()
		v := w.verifier(off)
		cells := []cell{
			closely(sequential(raw, rawVerify(w, token))),
			closely(sequential(floor, floorVerify(w, token))),
			closely(sequential(ours, verifying(ours, ourAnswer(v), token))),
			sequential(ourStructs, verifying(ourStructs, ourStruct(v), token)),
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

// newTokensGroup has cache and revocations on, and no token comes twice.
func newTokensGroup(alg string) group {
	return group{name: "new/" + alg, cells: func() []cell {
		w := newWork(alg)
		cells := []cell{closely(cell{name: raw, once: rawVerify(w, w.fresh(counted)...), time: func(n int) time.Duration {
			return sequential(raw, rawVerify(w, w.fresh(n)...)).time(n)
		}})}
		store := revoked(fewRevoked)
		for _, c := range []struct {
			name   string
			verify func(*jwtauth.Verifier) func(string) (answer, error)
		}{{withAll, ourAnswer}, {allStructs, ourStruct}} {
			v := w.verifier(with(store))
			one := closely(cell{name: c.name, time: func(n int) time.Duration {
				return sequential(c.name, verifying(c.name, c.verify(v), w.fresh(n)...)).time(n)
			}})
			one.once = verifying(c.name, c.verify(v), w.fresh(counted)...)
			one.done = onlyMisses(v)
			cells = append(cells, one)
		}
		return cells
	}}
}

// onlyMisses says whether a verifier has seen new tokens only, as is intended.
func onlyMisses(v *jwtauth.Verifier) func() error {
	return func() error {
		if s := v.CacheStats(); s.Hits > 0 || s.Misses == 0 {
			return fmt.Errorf("%d of %d tokens were not new", s.Hits, s.Hits+s.Misses)
		}
		return nil
	}
}

// onlyHits says whether a verifier remembers nearly all tokens that it sees from
// here on.
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

// verifying verifies tokens in turn.
func verifying(name string, verify func(string) (answer, error), tokens ...string) func() {
	at := new(state)
	return func() {
		a, err := verify(tokens[at.next])
		if err != nil || !isUser(a.subject) || !a.can {
			panic(fmt.Sprintf("%s: answer %+v, error %v", name, a, err))
		}
		at.turn(len(tokens))
	}
}

// state is what an operation changes each time. It fills cache lines of its own, so
// that operations on two cores don't hinder each other.
type state struct {
	next int
	who  string
	_    [128]byte
}

// turn goes on to the next of n things.
func (s *state) turn(n int) {
	if s.next++; s.next == n {
		s.next = 0
	}
}

// refusing has one bad token refused again and again.
func refusing(name string, verify func(string) (answer, error), token string) func() {
	return func() {
		if _, err := verify(token); err == nil {
			panic(name + " accepts it")
		}
	}
}
