//lint:file-ignore SA1019 keys that are broken on purpose are made by hand

package jwa_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

var names = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// rsaKey is one RSA key for all tests: they take long to make.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var otherRSAKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return k
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return k
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// privateKey makes a key that fits an algorithm other than HMAC.
func privateKey(t testing.TB, a *jwa.Algorithm) crypto.Signer {
	t.Helper()
	switch a.Family {
	case jwa.RSA, jwa.PSS:
		return rsaKey()
	case jwa.ECDSA:
		return ecKey(t, a.Curve)
	default:
		return edKey(t)
	}
}

// pair makes the two halves of a new key.
func pair(t testing.TB, a *jwa.Algorithm) (jwa.Signer, jwa.Verifier) {
	t.Helper()
	if a.Family == jwa.HMAC {
		k := a.NewHMAC(random(a.Hash.Size()))
		return k, k
	}
	private := privateKey(t, a)
	s, err := a.NewSigner(private)
	require.NoError(t, err)
	return s, a.NewVerifier(private.Public())
}

func sign(t testing.TB, s jwa.Signer, text []byte) []byte {
	t.Helper()
	signature, err := s.AppendSignature(context.Background(), nil, text)
	require.NoError(t, err)
	return signature
}

func TestLookupKnowsTheListAndNothingElse(t *testing.T) {
	for _, name := range names {
		require.Equal(t, name, jwa.Lookup(name).Name)
	}
	require.Same(t, jwa.Lookup("EdDSA"), jwa.Lookup("Ed25519"), "two names of one algorithm")
	for _, name := range []string{
		"", "none", "None", "NONE", "nOnE", "hs256", "Hs256", "HS256 ", " HS256", "HS1", "HS224", "RS1", "RS257", "ES224", "ES521", "ES256K",
		"Ed448", "EDDSA", "ed25519", "RSA1_5", "RSA-OAEP", "A128KW", "dir", "ML-DSA-44",
	} {
		require.Nil(t, jwa.Lookup(name), name)
	}
}

func TestDefaultForIsTheAlgorithmOfTheKey(t *testing.T) {
	for want, pub := range map[string]crypto.PublicKey{
		"RS256": rsaKey().Public(), "ES256": ecKey(t, elliptic.P256()).Public(), "ES384": ecKey(t, elliptic.P384()).Public(),
		"ES512": ecKey(t, elliptic.P521()).Public(), "EdDSA": edKey(t).Public(),
	} {
		a, err := jwa.DefaultFor(pub)
		require.NoError(t, err)
		require.Equal(t, want, a.Name)
	}
	for _, pub := range []crypto.PublicKey{
		nil, ecKey(t, elliptic.P224()).Public(), (*ecdsa.PublicKey)(nil), &ecdsa.PublicKey{}, []byte("secret"), "text", rsaKey(), edKey(t),
	} {
		_, err := jwa.DefaultFor(pub)
		require.Error(t, err, "%T", pub)
	}
}

// modulus makes a number of so many bits that has the form of an RSA modulus.
func modulus(bits int) *big.Int {
	n := new(big.Int).SetBytes(random((bits + 7) / 8))
	n.Rsh(n, uint(-bits&7)).SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	for jwa.CheckModulus(n) != nil {
		n.Add(n, big.NewInt(2))
	}
	return n
}

func TestCheckPublicRefusesWhatDoesNotFit(t *testing.T) {
	n := rsaKey().N
	p256 := ecKey(t, elliptic.P256())
	offCurve := ecKey(t, elliptic.P256()).PublicKey
	offCurve.Y = new(big.Int).Xor(offCurve.Y, big.NewInt(1))
	for _, c := range []struct {
		name, alg string
		key       crypto.PublicKey
		want      string
	}{
		{"nothing", "RS256", nil, "needs an RSA key, this one is no key"},
		{"a nil RSA key", "RS256", (*rsa.PublicKey)(nil), "an empty RSA key"},
		{"an empty RSA key", "PS256", &rsa.PublicKey{}, "an empty RSA key"},
		{"an RSA key by value", "RS256", rsaKey().PublicKey, "needs an RSA key"},
		{"an RSA private key", "RS256", rsaKey(), "needs an RSA key"},
		{"EC for RSA", "RS256", p256.Public(), "needs an RSA key, this one is a P-256 key"},
		{"512 bits", "RS256", &rsa.PublicKey{N: modulus(512), E: 65537}, "at least 2048 bits, this one has 512"},
		{"2047 bits", "RS512", &rsa.PublicKey{N: modulus(2047), E: 65537}, "at least 2048 bits, this one has 2047"},
		{"8193 bits", "PS512", &rsa.PublicKey{N: modulus(8193), E: 65537}, "at most 8192 bits, this one has 8193"},
		{"an even modulus", "RS256", &rsa.PublicKey{N: new(big.Int).Sub(n, big.NewInt(1)), E: 65537}, "even"},
		{"exponent 0", "RS256", &rsa.PublicKey{N: n}, "exponent"},
		{"exponent 1", "RS256", &rsa.PublicKey{N: n, E: 1}, "exponent"},
		{"exponent 2", "RS256", &rsa.PublicKey{N: n, E: 2}, "exponent"},
		{"an even exponent", "RS256", &rsa.PublicKey{N: n, E: 65536}, "exponent"},
		{"a negative exponent", "RS256", &rsa.PublicKey{N: n, E: -3}, "exponent"},
		{"an exponent of 32 bits", "RS256", &rsa.PublicKey{N: n, E: 1<<32 + 1}, "exponent"},
		{"ROCA", "RS256", &rsa.PublicKey{N: roca(t), E: 65537}, "CVE-2017-15361"},
		{"a nil EC key", "ES256", (*ecdsa.PublicKey)(nil), "an empty EC key"},
		{"an empty EC key", "ES256", &ecdsa.PublicKey{}, "an empty EC key"},
		{"RSA for EC", "ES256", rsaKey().Public(), "needs a P-256 key, this one is a 2048-bit RSA key"},
		{"the wrong curve", "ES256", ecKey(t, elliptic.P384()).Public(), "needs a P-256 key, this one is P-384"},
		{"the wrong curve for ES512", "ES512", p256.Public(), "needs a P-521 key, this one is P-256"},
		{"a curve that no algorithm has", "ES256", ecKey(t, elliptic.P224()).Public(), "P-224"},
		{"off the curve", "ES256", &offCurve, "not on its curve"},
		{"the point at infinity", "ES256", &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}, "not on its curve"},
		{"31 bytes of Ed25519", "EdDSA", ed25519.PublicKey(make([]byte, 31)), "has 32 bytes, this one has 31"},
		{"33 bytes of Ed25519", "EdDSA", ed25519.PublicKey(make([]byte, 33)), "has 32 bytes, this one has 33"},
		{"no bytes of Ed25519", "EdDSA", ed25519.PublicKey(nil), "has 32 bytes, this one has 0"},
		{"an Ed25519 private key", "EdDSA", edKey(t), "needs an Ed25519 key"},
		{"bytes for EdDSA", "EdDSA", make([]byte, 32), "needs an Ed25519 key, this one is a secret"},
		{"EC for EdDSA", "EdDSA", p256.Public(), "needs an Ed25519 key, this one is a P-256 key"},
		{"RSA for HMAC", "HS256", rsaKey().Public(), "needs a secret, this one is a 2048-bit RSA key"},
		{"bytes for HMAC", "HS256", make([]byte, 32), "needs a secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorContains(t, jwa.Lookup(c.alg).CheckPublic(c.key), c.want)
		})
	}
	for _, bits := range []int{2048, 3072, 8192} {
		for _, e := range []int{3, 65537, 1<<31 - 1} {
			require.NoError(t, jwa.Lookup("RS256").CheckPublic(&rsa.PublicKey{N: modulus(bits), E: e}))
		}
	}
	for _, name := range names[3:] {
		a := jwa.Lookup(name)
		require.NoError(t, a.CheckPublic(privateKey(t, a).Public()))
	}
}
