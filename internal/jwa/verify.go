package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha512"
	"hash"
	"sync"
)

// Verifier says whether a signature in the JWS form of RFC 7518 is that of the
// text. It holds one key for one algorithm and is safe for concurrent use.
type Verifier interface {
	Verify(signed, signature []byte) bool
}

// NewVerifier prepares a public key that CheckPublic has accepted.
func (a *Algorithm) NewVerifier(pub crypto.PublicKey) Verifier {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return &rsaVerifier{a, pub}
	case *ecdsa.PublicKey:
		return &ecdsaVerifier{a, pub, a.CoordinateSize()}
	default:
		return ed25519Verifier(pub.(ed25519.PublicKey))
	}
}

type rsaVerifier struct {
	alg *Algorithm
	pub *rsa.PublicKey
}

// pssOptions asks for a salt as long as the hash, which RFC 7518, section 3.5,
// prescribes; the default of crypto/rsa takes any.
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// scratch spares the primitives' arguments an allocation each. What is left in
// it is public: digests and signatures.
type scratch struct {
	sum  [sha512.Size]byte
	asn1 [maxASN1]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (v *rsaVerifier) Verify(signed, signature []byte) bool {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	digest := v.alg.digest(s.sum[:0], signed)
	if v.alg.Family == PSS {
		return rsa.VerifyPSS(v.pub, v.alg.Hash, digest, signature, pssOptions) == nil
	}
	return rsa.VerifyPKCS1v15(v.pub, v.alg.Hash, digest, signature) == nil
}

type ecdsaVerifier struct {
	alg  *Algorithm
	pub  *ecdsa.PublicKey
	size int
}

func (v *ecdsaVerifier) Verify(signed, signature []byte) bool {
	if len(signature) != 2*v.size {
		return false
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	asn1 := appendASN1(s.asn1[:0], signature[:v.size], signature[v.size:])
	return ecdsa.VerifyASN1(v.pub, v.alg.digest(s.sum[:0], signed), asn1)
}

type ed25519Verifier ed25519.PublicKey

func (v ed25519Verifier) Verify(signed, signature []byte) bool {
	return ed25519.Verify(ed25519.PublicKey(v), signed, signature)
}

// HMACKey computes and compares message authentication codes. The keyed states
// are pooled: keying one costs as much as a short text.
type HMACKey struct{ pool sync.Pool }

type keyedHash struct {
	hash.Hash
	sum [sha512.Size]byte
}

// NewHMAC prepares a secret that CheckSecret has accepted; it keeps no
// reference to the slice.
func (a *Algorithm) NewHMAC(secret []byte) *HMACKey {
	secret = append([]byte(nil), secret...)
	k := &HMACKey{}
	k.pool.New = func() any { return &keyedHash{Hash: hmac.New(a.Hash.New, secret)} }
	return k
}

// Verify implements Verifier. It takes the same time for any two codes that differ.
func (k *HMACKey) Verify(signed, code []byte) bool {
	h := k.pool.Get().(*keyedHash)
	h.Reset()
	h.Write(signed)
	ok := hmac.Equal(h.Sum(h.sum[:0]), code)
	k.pool.Put(h)
	return ok
}

// AppendCode appends the authentication code of a text.
func (k *HMACKey) AppendCode(dst, text []byte) []byte {
	h := k.pool.Get().(*keyedHash)
	h.Reset()
	h.Write(text)
	dst = h.Sum(dst)
	k.pool.Put(h)
	return dst
}
