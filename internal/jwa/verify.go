package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"sync"
)

// Verifier verifies signatures in the JWS form of RFC 7518 with one key and one algorithm.
// It is safe for concurrent use.
type Verifier interface {
	Verify(signed, signature []byte) bool
}

// NewVerifier makes a Verifier of a public key that CheckPublic has accepted.
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

// pssOptions requires a salt as long as the hash (RFC 7518, section 3.5). By default,
// crypto/rsa accepts a salt of any length.
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// scratch is pooled memory for the arguments of a verification, to avoid allocations. It
// holds only digests and signatures, which are not secret, so it is not cleared.
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

// HMACKey is a Signer and a Verifier for HMAC. It pools hash.Hash values that have the key,
// since making one costs as much as hashing a short text.
type HMACKey struct {
	pool   sync.Pool
	secret []byte
}

type keyedHash struct {
	hash.Hash
	sum [sha512.Size]byte
}

// NewHMAC makes the key of a secret that CheckSecret has accepted. It copies the secret.
func (a *Algorithm) NewHMAC(secret []byte) *HMACKey {
	secret = append([]byte(nil), secret...)
	k := &HMACKey{secret: secret}
	k.pool.New = func() any { return &keyedHash{Hash: hmac.New(a.Hash.New, secret)} }
	return k
}

// Secret returns a copy of the secret.
func (k *HMACKey) Secret() []byte { return append([]byte(nil), k.secret...) }

// Digest derives a kid from the secret. The kid is the HMAC of a fixed label. A strong secret
// cannot be found with its help.
func (k *HMACKey) Digest() string {
	return base64.RawURLEncoding.EncodeToString(k.AppendCode(nil, []byte("jwtauth kid 1"))[:16])
}

// SameSecret reports whether two keys have the same secret. Their algorithms may differ.
func (k *HMACKey) SameSecret(other *HMACKey) bool {
	const label = "jwtauth same secret"
	alg := Lookup("HS256")
	return alg.NewHMAC(k.secret).Verify([]byte(label), alg.NewHMAC(other.secret).AppendCode(nil, []byte(label)))
}

// Verify implements Verifier. It compares in constant time.
func (k *HMACKey) Verify(signed, code []byte) bool {
	h := k.pool.Get().(*keyedHash)
	h.Reset()
	h.Write(signed)
	ok := hmac.Equal(h.Sum(h.sum[:0]), code)
	k.pool.Put(h)
	return ok
}

// AppendCode appends the HMAC of a text to dst.
func (k *HMACKey) AppendCode(dst, text []byte) []byte {
	h := k.pool.Get().(*keyedHash)
	h.Reset()
	h.Write(text)
	dst = h.Sum(dst)
	k.pool.Put(h)
	return dst
}
