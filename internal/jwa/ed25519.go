package jwa

import (
	"crypto/ed25519"
	"errors"
	"math/big"
	"slices"
)

// The curve of Ed25519 (RFC 8032, section 5.1): -x² + y² = 1 + d·x²·y² modulo p.
var (
	ed25519P = new(big.Int).Sub(new(big.Int).Lsh(big1, 255), big.NewInt(19))
	ed25519D = func() *big.Int { // -121665/121666
		d := new(big.Int).ModInverse(big.NewInt(121666), ed25519P)
		return d.Mul(d, big.NewInt(-121665)).Mod(d, ed25519P)
	}()
)

// checkEd25519 returns an error for a public key that is not the one spelling of a point
// of the curve, and for the eight points whose order is 8 or less. Under such a point a
// stranger can make a signature that holds for any text: with the identity, the
// signature whose R is the identity and whose S is 0.
func checkEd25519(k ed25519.PublicKey) error {
	text := slices.Clone(k)
	text[31] &= 0x7F // the highest bit is the sign of x
	slices.Reverse(text)
	y := new(big.Int).SetBytes(text)
	if y.Cmp(ed25519P) >= 0 {
		return errors.New("the point of this Ed25519 key is not in its canonical spelling")
	}
	mod := func(x *big.Int) *big.Int { return x.Mod(x, ed25519P) }
	yy := mod(new(big.Int).Mul(y, y))
	dyy := mod(new(big.Int).Mul(ed25519D, yy))

	// The point of order 1 has y = 1, that of order 2 has y = -1, those of order 4 have
	// y = 0. Twice a point of order 8 has y = 0, hence x² = -y² and d·y⁴ + 2y² = 1.
	eighth := new(big.Int).Mul(dyy, yy)
	mod(eighth.Add(eighth, new(big.Int).Lsh(yy, 1)))
	if yy.Sign() == 0 || yy.Cmp(big1) == 0 || eighth.Cmp(big1) == 0 {
		return errors.New("the point of this Ed25519 key has a small order: every text has a signature that it verifies")
	}

	// x² = (y²-1)/(d·y²+1) must be a square. The product is one if the quotient is.
	u, v := new(big.Int).Sub(yy, big1), new(big.Int).Add(dyy, big1)
	if big.Jacobi(mod(u.Mul(u, v)), ed25519P) != 1 {
		return errors.New("the point of this Ed25519 key is not on its curve")
	}
	return nil
}
