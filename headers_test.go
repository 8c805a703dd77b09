package jwtauth_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// The tests of this file verify each token more than once: the first time its
// header is read, later it is known.

func TestAHeaderIsKnownOnlyAsLongAsItsKeys(t *testing.T) {
	w := newWorld(t)
	token := w.sign(w.claims(nil))
	for range 3 {
		w.requireAccepted(token)
	}
	other := newKey(t, jwtauth.ES256, false)
	require.NoError(t, w.keys.Set(other))
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenKey)
	require.NoError(t, w.keys.Set(other.WithID(w.key.ID())))
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenSignature, "another key under the same kid, and so the same header")
	require.NoError(t, w.keys.Set(other, w.key.VerificationKey()))
	for range 3 {
		w.requireAccepted(token)
	}
}

func TestAKnownHeaderSettlesNothingButItself(t *testing.T) {
	w := newWorld(t)
	w.requireAccepted(w.sign(w.claims(nil)))
	forged := signWith(t, newKey(t, jwtauth.ES256, false), header(w.key, nil), w.claims(nil))
	expired := w.sign(w.claims(map[string]any{"exp": w.clock.Now().Unix() - 600}))
	critical := signWith(t, w.key, header(w.key, map[string]any{"crit": []string{"x"}, "x": 1}), w.claims(nil))
	refresh := signWith(t, w.key, header(w.key, map[string]any{"typ": "rt+jwt"}), w.claims(nil))
	for range 3 {
		require.ErrorIs(t, w.requireRefused(forged), jwtauth.ErrTokenSignature)
		require.ErrorIs(t, w.requireRefused(expired), jwtauth.ErrTokenExpired)
		require.Equal(t, "crit", w.requireRefused(critical).Check)
		require.ErrorIs(t, w.requireRefused(refresh), jwtauth.ErrTokenType)
	}
}

func TestWhatOneVerifierKnowsAnotherDoesNot(t *testing.T) {
	w := newWorld(t)
	options := jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now}
	strict, err := jwtauth.NewVerifier(w.keys, options)
	require.NoError(t, err)
	options.AcceptTypJWT = true
	lax, err := jwtauth.NewVerifier(w.keys, options)
	require.NoError(t, err)
	token := signWith(t, w.key, header(w.key, map[string]any{"typ": "JWT"}), w.claims(nil))
	for range 3 {
		_, err = lax.Verify(t.Context(), token)
		require.NoError(t, err)
		_, err = strict.Verify(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrTokenType)
		_, err = lax.Without("typ").Verify(t.Context(), token)
		require.NoError(t, err)
	}
}

func TestMoreHeadersThanCanBeKnownAreAllGood(t *testing.T) {
	w := newWorld(t)
	var tokens []string
	for n := range 40 {
		tokens = append(tokens, signWith(t, w.key, header(w.key, map[string]any{"x": n}), w.claims(nil)))
	}
	long := header(w.key, map[string]any{"x5c": strings.Repeat("x", 1500)})
	tokens = append(tokens, signWith(t, w.key, long, w.claims(nil)))
	for range 3 {
		for _, token := range tokens {
			w.requireAccepted(token)
		}
	}
}
