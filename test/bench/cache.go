package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/jwtauth-go/jwtauth"
)

// The cells of the cache.
const (
	hotToken     = "one hot token"
	randomTokens = "10,000 tokens in random order"
	revocations  = ", revocations on"
)

// cacheGroup is the look-up of tokens that were verified before, beside the
// primitive that it saves. The cache keeps texts of its own, so that no look-up can
// end early because two texts lie at one place in memory.
func cacheGroup() group {
	return group{name: "cache", cells: func() []cell {
		w := newWork("ES256")
		tokens := w.tokens(10_000)
		plain := w.verifier()
		store := with(revoked(fewRevoked))
		strict := w.verifier(store)
		cells := []cell{closely(sequential(raw, rawVerify(w, tokens[0])))}
		for _, c := range []struct {
			suffix string
			v      *jwtauth.Verifier
		}{{"", plain}, {revocations, strict}} {
			hot := closely(sequential(hotToken+c.suffix, finding(c.v, tokens[0])))
			many := closely(sequential(randomTokens+c.suffix, finding(c.v, shuffled(tokens)...)))
			warm := finding(c.v, tokens...)
			for range tokens {
				warm()
			}
			many.done = onlyHits(c.v)
			cells = append(cells, hot, many)
		}
		return cells
	}}
}

// finding verifies tokens in turn, and looks at no more of them than whose they are.
func finding(v *jwtauth.Verifier, tokens ...string) func() {
	at, ctx := new(state), context.Background()
	return func() {
		t, err := v.Verify(ctx, tokens[at.next])
		if err != nil || !isUser(t.Subject) {
			panic(fmt.Sprintf("%v, error %v", t, err))
		}
		at.turn(len(tokens))
	}
}

// shuffled is a copy in another order.
func shuffled(list []string) []string {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
