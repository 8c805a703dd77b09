package jwa

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Signer appends the signature of a text, in the JWS form of RFC 7518. It holds
// one key for one algorithm and is safe for concurrent use.
type Signer interface {
	AppendSignature(ctx context.Context, dst, text []byte) ([]byte, error)
}

// AppendSignature implements Signer.
func (k *HMACKey) AppendSignature(_ context.Context, dst, text []byte) ([]byte, error) {
	return k.AppendCode(dst, text), nil
}

// contextSigner is a crypto.Signer that can be cancelled.
type contextSigner interface {
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

type signer struct {
	alg     *Algorithm
	key     crypto.Signer
	opts    crypto.SignerOpts
	foreign Verifier // checks what a signer outside this process returns
}

// NewSigner prepares a signer whose public key fits the algorithm. The key pair
// of a private key in memory is tried out once; a signer of another kind (a
// KMS, an HSM) is not called, and each of its signatures is checked with its
// public key before it is handed out.
func (a *Algorithm) NewSigner(key crypto.Signer) (Signer, error) {
	if err := checkPrivate(key); err != nil {
		return nil, err
	}
	pub := key.Public()
	if err := a.CheckPublic(pub); err != nil {
		return nil, err
	}
	s := &signer{alg: a, key: key, opts: a.Hash}
	if a.Family == PSS {
		s.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.Hash}
	}
	verifier := a.NewVerifier(pub)
	if !InMemory(key) {
		s.foreign = verifier
		return s, nil
	}
	probe := []byte("does the private half fit the public one?")
	signature, err := s.AppendSignature(context.Background(), nil, probe)
	if err != nil || !verifier.Verify(probe, signature) {
		return nil, errors.New("the private half of this key does not fit its public half")
	}
	return s, nil
}

// InMemory says whether a signer is one of the standard library's private keys.
func InMemory(key crypto.Signer) bool {
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return true
	}
	return false
}

// checkPrivate refuses keys whose Public method would panic.
func checkPrivate(key crypto.Signer) error {
	switch k := key.(type) {
	case nil:
		return errors.New("no key: the signer is nil")
	case *rsa.PrivateKey:
		if k == nil || k.N == nil || k.D == nil {
			return errors.New("no key: the RSA private key is empty")
		}
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 if they are nil, other methods panic
		if k == nil || k.Curve == nil || k.X == nil || k.Y == nil || k.D == nil {
			return errors.New("no key: the EC private key is empty")
		}
	case ed25519.PrivateKey:
		if len(k) != ed25519.PrivateKeySize {
			return fmt.Errorf("an Ed25519 private key has %d bytes, this one has %d", ed25519.PrivateKeySize, len(k))
		}
	}
	return nil
}

func (s *signer) AppendSignature(ctx context.Context, dst, text []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return dst, err
	}
	if k, ok := s.key.(ed25519.PrivateKey); ok {
		return append(dst, ed25519.Sign(k, text)...), nil
	}
	var digest []byte
	if s.foreign == nil { // it lies where the signature goes, as what is given to a signer escapes
		dst = slices.Grow(dst, sha512.Size)
		digest = s.alg.digest(dst[len(dst):], text)
	} else { // who may go on reading after it was cancelled
		digest = s.alg.digest(nil, text)
	}
	var made []byte
	var err error
	if c, ok := s.key.(contextSigner); ok {
		made, err = c.SignContext(ctx, rand.Reader, digest, s.opts)
	} else {
		made, err = s.key.Sign(rand.Reader, digest, s.opts)
	}
	if err != nil {
		return dst, err
	}
	was := len(dst)
	if s.alg.Family == ECDSA {
		size := s.alg.CoordinateSize()
		var ok bool
		if dst, ok = appendRaw(dst, made, size); !ok && len(made) == 2*size {
			dst = append(dst, made...) // some services return the raw form
		}
	} else {
		dst = append(dst, made...)
	}
	if s.foreign != nil && !s.foreign.Verify(text, dst[was:]) {
		return dst[:was], errors.New("the signer returned a signature that its public key does not verify")
	}
	return dst, nil
}
