package jwa_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

var edP = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// edPoint spells the point with this y.
func edPoint(y *big.Int, sign byte) ed25519.PublicKey {
	k := y.FillBytes(make([]byte, 32))
	slices.Reverse(k)
	k[31] |= sign << 7
	return k
}

// smallOrder returns every spelling of the eight points of small order.
func smallOrder(t *testing.T) (keys []ed25519.PublicKey) {
	t.Helper()
	eighth, err := hex.DecodeString("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7")
	require.NoError(t, err)
	y8 := new(big.Int).SetBytes(eighth)
	one := big.NewInt(1)
	for _, y := range []*big.Int{
		new(big.Int), one, new(big.Int).Sub(edP, one), y8, new(big.Int).Sub(edP, y8),
		edP, new(big.Int).Add(edP, one), // 0 and 1 once more
	} {
		keys = append(keys, edPoint(y, 0), edPoint(y, 1))
	}
	return keys
}

func TestPointsUnderWhichEveryTextVerifiesAreNoKeys(t *testing.T) {
	keys := smallOrder(t)
	require.Len(t, keys, 14)
	// The signature whose R is the identity and whose S is 0.
	forged := append(edPoint(big.NewInt(1), 0), make([]byte, 32)...)
	holds := 0
	for _, k := range keys {
		require.Error(t, jwa.Lookup("EdDSA").CheckPublic(k), "%x", k)
		for _, text := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			if ed25519.Verify(k, []byte(text), forged) {
				holds++
			}
		}
	}
	require.Greater(t, holds, 14, "the keys are the dangerous ones: the forged signature holds for text after text")
}

func TestEd25519KeysAreCanonicalPointsOfTheCurve(t *testing.T) {
	check := jwa.Lookup("EdDSA").CheckPublic
	for more := int64(0); more < 19; more++ {
		y := new(big.Int).Add(edP, big.NewInt(more))
		require.ErrorContains(t, check(edPoint(y, 0)), "canonical", "p+%d", more)
	}
	isOff := 0
	for y := int64(2); y < 200; y++ {
		if err := check(edPoint(big.NewInt(y), 0)); err != nil {
			require.ErrorContains(t, err, "not on its curve")
			isOff++
		}
	}
	require.InDelta(t, 99, isOff, 40, "half of all numbers are no y of a point")
	for range 1000 {
		pub, _, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		require.NoError(t, check(pub), "%x", pub)
	}
}
