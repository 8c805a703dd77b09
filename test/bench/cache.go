package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/jwtauth-go/jwtauth"
)

// The names of the cells in the group "cache".
const (
	hotToken     = "one hot token"
	randomTokens = "10,000 tokens in random order"
	revocations  = ", revocations on"
)

// cacheGroup measures Verify for tokens that are in the cache, and, for comparison, the
// signature check that a cache hit makes unnecessary. The cache holds its own copies of the
// tokens. So two equal strings never share memory, and each comparison reads them completely.
func cacheGroup() group {
	return group{name: "cache", cells: func() []cell {
		w := newWork("ES256")
		tokens := w.tokens(10_000)
		plain := w.verifier()
		store := withRevocations(revoked(fewRevoked))
		strict := w.verifier(store)
		cells := []cell{nextToRaw(sequential(raw, rawVerify(w, tokens[0])))}
		for _, c := range []struct {
			suffix string
			v      *jwtauth.Verifier
		}{{"", plain}, {revocations, strict}} {
			hot := nextToRaw(sequential(hotToken+c.suffix, finding(c.v, tokens[0])))
			many := nextToRaw(sequential(randomTokens+c.suffix, finding(c.v, shuffled(tokens)...)))
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

// finding returns a function that verifies the tokens in turn, one at each call. It checks only
// the subject of the result.
func finding(v *jwtauth.Verifier, tokens ...string) func() {
	loop, ctx := new(loopState), context.Background()
	return func() {
		t, err := v.Verify(ctx, tokens[loop.next])
		if err != nil || !isUser(t.Subject) {
			panic(fmt.Sprintf("%v, error %v", t, err))
		}
		loop.advance(len(tokens))
	}
}

// shuffled returns a copy of list in random order.
func shuffled(list []string) []string {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
