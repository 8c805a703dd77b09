package main

import (
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/jwtauth-go/jwtauth"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/conformance.md anew")

// TestEveryLibraryAcceptsAGoodToken: if a library refused good tokens, its refusal
// of bad tokens would prove nothing.
func TestEveryLibraryAcceptsAGoodToken(t *testing.T) {
	for _, alg := range algorithms {
		w := newWork(alg)
		for _, p := range append([]peer{library}, peers...) {
			if accepted, ok := accepts(p, w, w.token()); ok {
				require.True(t, accepted, "%s, %s", p.name, alg)
			}
		}
	}
}

// TestThisLibraryRefusesEveryBadToken: each bad token for an ES256 key is also made
// and tried with the keys of all other algorithms. The verifiers are those that are
// measured: with the cache, without it, and with cache and revocations. Each has
// accepted a good token before.
func TestThisLibraryRefusesEveryBadToken(t *testing.T) {
	for _, bad := range badTokens {
		for _, alg := range algorithms {
			if alg != bad.alg && bad.alg != "ES256" {
				continue
			}
			w := newWork(alg)
			for _, v := range []*jwtauth.Verifier{w.verifier(), w.verifier(withoutCache), w.verifier(withRevocations(revoked(1)))} {
				verify := ourVerify(v)
				_, err := verify(w.token())
				require.NoError(t, err)
				a, err := verify(bad.token(w))
				require.ErrorIs(t, err, jwtauth.ErrRefused, "%s, %s", bad.name, alg)
				require.Zero(t, a, bad.name)
			}
		}
	}
}

// TestBadTokensAreBadForTheReasonThatTheirNameSays: if a token were refused for
// another reason, it would not test the reason in its name.
func TestBadTokensAreBadForTheReasonThatTheirNameSays(t *testing.T) {
	reasons := map[string]error{
		"alg none": jwtauth.ErrTokenKey,
		"HS256 with the RSA public key as the secret": jwtauth.ErrTokenKey,
		"PS256 for a key of RS256":                    jwtauth.ErrTokenKey,
		"an unknown critical header (crit)":           jwtauth.ErrTokenMalformed,
		"another typ":                                 jwtauth.ErrTokenType,
		"another kid":                                 jwtauth.ErrTokenKey,
		"expired":                                     jwtauth.ErrTokenExpired,
		"no exp":                                      jwtauth.ErrTokenClaim,
		"EXP in place of exp":                         jwtauth.ErrTokenMalformed,
		"not valid yet":                               jwtauth.ErrTokenNotYetValid,
		"another issuer":                              jwtauth.ErrTokenIssuer,
		"ISS in place of iss":                         jwtauth.ErrTokenMalformed,
		"another audience":                            jwtauth.ErrTokenAudience,
		"Sub in place of sub":                         jwtauth.ErrTokenMalformed,
		"sub twice":                                   jwtauth.ErrTokenMalformed,
		"claims that are not UTF-8":                   jwtauth.ErrTokenMalformed,
		"another spelling of the signature in base64": jwtauth.ErrTokenMalformed,
		"a line break in the signature":               jwtauth.ErrTokenMalformed,
	}
	require.Len(t, reasons, len(badTokens))
	for _, bad := range badTokens {
		w := newWork(bad.alg)
		_, err := ourVerify(w.verifier(withoutCache))(bad.token(w))
		require.True(t, errors.Is(err, reasons[bad.name]), "%s: %v", bad.name, err)
	}
}

// TestWhatPeersAcceptIsRecorded: if a peer has become stricter or less strict, write
// testdata/conformance.md again with go test -update.
func TestWhatPeersAcceptIsRecorded(t *testing.T) {
	const file = "testdata/conformance.md"
	got := conformance()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
