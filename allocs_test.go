//go:build !race

package jwtauth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// The race detector takes things out of pools at random, so allocations are
// counted without it.

// TestVerifyingAllocatesOneBuffer: the claims, and nothing else.
func TestVerifyingAllocatesOneBuffer(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.EdDSA} {
		w := newWorldWith(t, alg, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Sessions, o.Revocations = nil, nil
		})
		token := w.sign(w.claims(map[string]any{"scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
		ctx := t.Context()
		n := testing.AllocsPerRun(200, func() {
			if _, err := w.verifier.Verify(ctx, token); err != nil {
				t.Fatal(err)
			}
		})
		require.Equal(t, 1.0, n, alg)
	}
}
