//go:build !race

package jwtauth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// The race detector takes things out of pools at random, so allocations are
// counted without it.

// TestVerifyingAllocatesOneBuffer: the claims, and nothing else, with
// revocations and without.
func TestVerifyingAllocatesOneBuffer(t *testing.T) {
	without := func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Sessions, o.Revocations = nil, nil }
	for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.EdDSA} {
		for _, w := range []*world{newWorldWith(t, alg), newWorldWith(t, alg, without)} {
			token := w.sign(w.claims(map[string]any{"sid": "s", "scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
			ctx := t.Context()
			require.Equal(t, 1.0, testing.AllocsPerRun(200, func() {
				if _, err := w.verifier.Verify(ctx, token); err != nil {
					t.Fatal(err)
				}
			}), alg)
		}
	}
}
