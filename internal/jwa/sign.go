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

// contextSigner is an optional interface of a crypto.Signer whose calls can be cancelled.
type contextSigner interface {
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

type signer struct {
	alg     *Algorithm
	key     crypto.Signer
	opts    crypto.SignerOpts
	foreign Verifier // verifies each signature of a key that is not in memory; else nil
}

// NewSigner makes a Signer of a crypto.Signer whose public key fits the algorithm.
//
// For a private key in memory, NewSigner signs a probe and verifies it, so that a key with
// two halves that do not match is an error. For any other signer, such as a KMS or an HSM,
// NewSigner makes no call. The Signer then verifies each signature before it returns it.
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

// InMemory reports whether a signer is a private key of the standard library.
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
		//lint:ignore SA1019 if X or Y is nil, other methods panic
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
	if s.foreign == nil { // saves an allocation: the signature overwrites the digest in dst
		dst = slices.Grow(dst, sha512.Size)
		digest = s.alg.digest(dst[len(dst):], text)
	} else { // a cancelled call may still read the digest, so dst is not used for it
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
			dst = append(dst, made...) // some services return the form of JWS already
		}
	} else {
		dst = append(dst, made...)
	}
	if s.foreign != nil && !s.foreign.Verify(text, dst[was:]) {
		return dst[:was], errors.New("the signer returned a signature that its public key does not verify")
	}
	return dst, nil
}
