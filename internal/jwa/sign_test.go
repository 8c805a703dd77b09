//lint:file-ignore SA1019 keys that are broken on purpose are made by hand

package jwa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

func TestHalvesThatDoNotFitAreNoKey(t *testing.T) {
	p256, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	ed, otherEd := edKey(t), edKey(t)
	for _, c := range []struct {
		name, alg string
		key       crypto.Signer
	}{
		{"EC, another public key", "ES256", &ecdsa.PrivateKey{PublicKey: other.PublicKey, D: p256.D}},
		{"EC, another number", "ES256", &ecdsa.PrivateKey{PublicKey: p256.PublicKey, D: new(big.Int).Add(p256.D, big.NewInt(1))}},
		{"EC, zero", "ES256", &ecdsa.PrivateKey{PublicKey: p256.PublicKey, D: new(big.Int)}},
		{"RSA, another modulus", "RS256", &rsa.PrivateKey{PublicKey: otherRSAKey().PublicKey, D: rsaKey().D, Primes: rsaKey().Primes}},
		{"RSA, another modulus, PSS", "PS256", &rsa.PrivateKey{PublicKey: otherRSAKey().PublicKey, D: rsaKey().D, Primes: rsaKey().Primes}},
		{"RSA, another exponent", "RS256", &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: rsaKey().N, E: 3}, D: rsaKey().D, Primes: rsaKey().Primes}},
		{"RSA, another number", "RS256", &rsa.PrivateKey{PublicKey: rsaKey().PublicKey, D: otherRSAKey().D, Primes: rsaKey().Primes}},
		{"RSA, other primes", "RS256", &rsa.PrivateKey{PublicKey: rsaKey().PublicKey, D: rsaKey().D, Primes: otherRSAKey().Primes}},
		{"Ed25519, another public key", "EdDSA", append(ed[:32:32], otherEd[32:]...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := jwa.Lookup(c.alg).NewSigner(c.key)
			require.ErrorContains(t, err, "does not fit its public half")
		})
	}
}

func TestWhatCannotSignIsNoKey(t *testing.T) {
	for _, c := range []struct {
		name, alg string
		key       crypto.Signer
		want      string
	}{
		{"nil", "ES256", nil, "the signer is nil"},
		{"Ed25519, zeros as public key", "EdDSA", append(edKey(t)[:32:32], make([]byte, 32)...), "small order"},
		{"a nil RSA key", "RS256", (*rsa.PrivateKey)(nil), "is empty"},
		{"an empty RSA key", "RS256", &rsa.PrivateKey{}, "is empty"},
		{"an RSA key without its number", "RS256", &rsa.PrivateKey{PublicKey: rsaKey().PublicKey}, "is empty"},
		{"a nil EC key", "ES256", (*ecdsa.PrivateKey)(nil), "is empty"},
		{"an empty EC key", "ES256", &ecdsa.PrivateKey{}, "is empty"},
		{"an EC key without its number", "ES256", &ecdsa.PrivateKey{PublicKey: ecKey(t, elliptic.P256()).PublicKey}, "is empty"},
		{"a nil Ed25519 key", "EdDSA", ed25519.PrivateKey(nil), "has 64 bytes, this one has 0"},
		{"the seed of an Ed25519 key", "EdDSA", ed25519.PrivateKey(random(32)), "has 64 bytes, this one has 32"},
		{"EC for RSA", "RS256", ecKey(t, elliptic.P256()), "needs an RSA key"},
		{"RSA for EC", "ES256", rsaKey(), "needs a P-256 key"},
		{"P-384 for ES256", "ES256", ecKey(t, elliptic.P384()), "needs a P-256 key, this one is P-384"},
		{"RSA for EdDSA", "EdDSA", rsaKey(), "needs an Ed25519 key"},
		{"RSA for HMAC", "HS256", rsaKey(), "needs a secret"},
		{"a foreign signer without a public key", "ES256", foreign{}, "this one is no key"},
		{"a foreign signer of another curve", "ES256", foreign{public: ecKey(t, elliptic.P384()).Public()}, "needs a P-256 key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := jwa.Lookup(c.alg).NewSigner(c.key)
			require.ErrorContains(t, err, c.want)
			require.Nil(t, s)
		})
	}
}

// foreign is a signer outside this process, such as a KMS.
type foreign struct {
	public crypto.PublicKey
	sign   func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f foreign) Public() crypto.PublicKey { return f.public }
func (f foreign) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.sign(digest, opts)
}

// cancellable is one that takes a context.
type cancellable struct {
	foreign
	seen *context.Context
}

func (c cancellable) SignContext(ctx context.Context, _ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	*c.seen = ctx
	return c.sign(digest, opts)
}

func TestAForeignSignerSignsWithEveryAlgorithm(t *testing.T) {
	for _, name := range names[3:] {
		a := jwa.Lookup(name)
		private := privateKey(t, a)
		calls := 0
		s, err := a.NewSigner(foreign{private.Public(), func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			calls++
			require.Equal(t, a.Hash, opts.HashFunc())
			if a.Hash != 0 {
				require.Len(t, digest, a.Hash.Size())
			}
			return private.Sign(rand.Reader, digest, opts)
		}})
		require.NoError(t, err, name)
		require.Zero(t, calls, "%s: it was called while it was prepared", name)
		text := bytes.Repeat([]byte("text"), 100)
		require.True(t, a.NewVerifier(private.Public()).Verify(text, sign(t, s, text)), name)
		require.Equal(t, 1, calls)
	}
}

func TestAForeignSignerMayReturnTheRawForm(t *testing.T) {
	for name, size := range sizes {
		a := jwa.Lookup(name)
		private := privateKey(t, a)
		s, err := a.NewSigner(foreign{private.Public(), func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			made, err := private.Sign(rand.Reader, digest, opts)
			require.NoError(t, err)
			raw, ok := jwa.AppendRaw(nil, made, size)
			require.True(t, ok)
			return raw, nil
		}})
		require.NoError(t, err)
		require.True(t, a.NewVerifier(private.Public()).Verify([]byte("text"), sign(t, s, []byte("text"))), name)
	}
}

func TestNoWrongSignatureOfAForeignSignerIsHandedOut(t *testing.T) {
	broken := errors.New("broken")
	for _, name := range names[3:] {
		a := jwa.Lookup(name)
		private := privateKey(t, a)
		other := privateKey(t, a)
		if a.Family == jwa.RSA || a.Family == jwa.PSS {
			other = otherRSAKey()
		}
		for what, sign := range map[string]func([]byte, crypto.SignerOpts) ([]byte, error){
			"nothing":     func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil },
			"garbage":     func([]byte, crypto.SignerOpts) ([]byte, error) { return random(64), nil },
			"zeros":       func([]byte, crypto.SignerOpts) ([]byte, error) { return make([]byte, 256), nil },
			"another key": func(d []byte, o crypto.SignerOpts) ([]byte, error) { return other.Sign(rand.Reader, d, o) },
			"another text": func(d []byte, o crypto.SignerOpts) ([]byte, error) {
				d = bytes.Clone(d)
				d[0] ^= 1
				return private.Sign(rand.Reader, d, o)
			},
			"an error": func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, broken },
			"an error beside a signature": func(d []byte, o crypto.SignerOpts) ([]byte, error) {
				made, _ := private.Sign(rand.Reader, d, o)
				return made, broken
			},
		} {
			s, err := a.NewSigner(foreign{private.Public(), sign})
			require.NoError(t, err)
			got, err := s.AppendSignature(t.Context(), []byte("was here"), []byte("text"))
			require.Error(t, err, "%s: %s", name, what)
			require.Equal(t, "was here", string(got), "%s: %s", name, what)
		}
	}
}

func TestASignerGetsTheContext(t *testing.T) {
	a := jwa.Lookup("ES256")
	private := privateKey(t, a)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "mine")
	var seen context.Context
	s, err := a.NewSigner(cancellable{foreign{private.Public(), func(d []byte, o crypto.SignerOpts) ([]byte, error) {
		return private.Sign(rand.Reader, d, o)
	}}, &seen})
	require.NoError(t, err)
	_, err = s.AppendSignature(ctx, nil, []byte("text"))
	require.NoError(t, err)
	require.Equal(t, "mine", seen.Value(key{}))

	seen = nil
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.AppendSignature(ended, nil, []byte("text"))
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, seen, "it was called although the context had ended")
}
