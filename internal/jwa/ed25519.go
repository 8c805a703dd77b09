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

// checkEd25519 returns an error for a public key that is not the canonical encoding of a
// point of the curve, and for the eight points of small order (8 or less). If a key is such
// a point, anybody can make a signature without the private key. For example, if the key is
// the identity, the signature with R = identity and S = 0 is valid for every text.
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

	// The points of small order have these y: order 1 has y = 1, order 2 has y = -1, and
	// order 4 has y = 0. A point of order 8, when doubled, has y = 0. The formula for
	// doubling then gives x² = -y², and the curve equation gives d·y⁴ + 2y² = 1.
	eighth := new(big.Int).Mul(dyy, yy)
	mod(eighth.Add(eighth, new(big.Int).Lsh(yy, 1)))
	if yy.Sign() == 0 || yy.Cmp(big1) == 0 || eighth.Cmp(big1) == 0 {
		return errors.New("the point of this Ed25519 key has a small order: every text has a signature that it verifies")
	}

	// x² = (y²-1)/(d·y²+1) must be a square modulo p. A quotient u/v is a square if and only
	// if the product u·v is a square.
	u, v := new(big.Int).Sub(yy, big1), new(big.Int).Add(dyy, big1)
	if big.Jacobi(mod(u.Mul(u, v)), ed25519P) != 1 {
		return errors.New("the point of this Ed25519 key is not on its curve")
	}
	return nil
}
