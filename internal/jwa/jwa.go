// Package jwa holds the signature algorithms of JWS (RFC 7518, section 3, RFC 8037 and RFC
// 9864). It checks whether a key fits an algorithm, and makes signers and verifiers that
// are bound to one key and one algorithm. The primitives are those of the standard library.
package jwa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
)

// Family is a group of algorithms that differ only by hash or curve.
type Family int

// The families.
const (
	HMAC  Family = iota + 1
	RSA          // RSASSA-PKCS1-v1_5
	PSS          // RSASSA-PSS
	ECDSA        // each algorithm has its own curve
	EdDSA        // Ed25519
)

// Algorithm is one signature algorithm.
type Algorithm struct {
	Name   string
	Family Family
	Hash   crypto.Hash    // 0 for EdDSA, which includes its own hash
	Curve  elliptic.Curve // nil unless Family is ECDSA
}

var algorithms = []*Algorithm{
	{"HS256", HMAC, crypto.SHA256, nil},
	{"HS384", HMAC, crypto.SHA384, nil},
	{"HS512", HMAC, crypto.SHA512, nil},
	{"RS256", RSA, crypto.SHA256, nil},
	{"RS384", RSA, crypto.SHA384, nil},
	{"RS512", RSA, crypto.SHA512, nil},
	{"PS256", PSS, crypto.SHA256, nil},
	{"PS384", PSS, crypto.SHA384, nil},
	{"PS512", PSS, crypto.SHA512, nil},
	{"ES256", ECDSA, crypto.SHA256, elliptic.P256()},
	{"ES384", ECDSA, crypto.SHA384, elliptic.P384()},
	{"ES512", ECDSA, crypto.SHA512, elliptic.P521()},
	{"EdDSA", EdDSA, 0, nil},
}

// Canonical returns EdDSA for Ed25519, which is another name of the same algorithm (RFC
// 9864). It returns all other names unchanged.
func Canonical(name string) string {
	if name == "Ed25519" {
		return "EdDSA"
	}
	return name
}

// Lookup returns the algorithm of that name, or nil if there is none.
func Lookup(name string) *Algorithm {
	name = Canonical(name)
	for _, a := range algorithms {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// DefaultFor returns the algorithm for a public key, if neither the program nor the JWK names
// one. For RSA, that is RS256.
func DefaultFor(pub crypto.PublicKey) (*Algorithm, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return Lookup("RS256"), nil
	case *ecdsa.PublicKey:
		for _, a := range algorithms {
			if pub != nil && a.Family == ECDSA && a.Curve == pub.Curve {
				return a, nil
			}
		}
	case ed25519.PublicKey:
		return Lookup("EdDSA"), nil
	}
	return nil, fmt.Errorf("no algorithm fits %s", Describe(pub))
}

// Describe returns a short description of a key for error texts, such as "a P-256 key".
func Describe(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			return "an empty RSA key"
		}
		return fmt.Sprintf("a %d-bit RSA key", k.N.BitLen())
	case *ecdsa.PublicKey:
		if k == nil || k.Curve == nil {
			return "an empty EC key"
		}
		return "a " + k.Curve.Params().Name + " key"
	case ed25519.PublicKey:
		return "an Ed25519 key"
	case []byte:
		return "a secret"
	case nil:
		return "no key"
	default:
		return fmt.Sprintf("a %T", key)
	}
}

// CheckPublic returns an error if a public key does not fit the algorithm or is weak. The
// error says why, and what the algorithm needs.
func (a *Algorithm) CheckPublic(pub crypto.PublicKey) error {
	switch a.Family {
	case RSA, PSS:
		k, ok := pub.(*rsa.PublicKey)
		if !ok || k == nil || k.N == nil {
			return a.wrongKey("an RSA key", pub)
		}
		return checkRSA(k)
	case ECDSA:
		k, ok := pub.(*ecdsa.PublicKey)
		if !ok || k == nil || k.Curve != a.Curve {
			return a.wrongKey("a "+a.Curve.Params().Name+" key", pub)
		}
		//lint:ignore SA1019 if X or Y is nil, ECDH panics
		if k.X == nil || k.Y == nil {
			return errors.New("the point of this EC key is missing")
		}
		if _, err := k.ECDH(); err != nil {
			return errors.New("the point of this EC key is not on its curve")
		}
		return nil
	case EdDSA:
		k, ok := pub.(ed25519.PublicKey)
		if !ok {
			return a.wrongKey("an Ed25519 key", pub)
		}
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 public key has %d bytes, this one has %d", ed25519.PublicKeySize, len(k))
		}
		return checkEd25519(k)
	default:
		return a.wrongKey("a secret", pub)
	}
}

func (a *Algorithm) wrongKey(needs string, got any) error {
	is := Describe(got)
	if a.Family == ECDSA {
		if k, ok := got.(*ecdsa.PublicKey); ok && k != nil && k.Curve != nil {
			is = k.Curve.Params().Name
		}
	}
	return fmt.Errorf("algorithm %s needs %s, this one is %s", a.Name, needs, is)
}

// The accepted sizes of RSA keys. Smaller keys can be factored. Larger keys make
// verification so slow that an attacker could exhaust the server.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

func checkRSA(k *rsa.PublicKey) error {
	switch bits := k.N.BitLen(); {
	case k.N.Sign() < 0:
		return errors.New("the modulus of this RSA key is negative")
	case bits < minRSABits:
		return fmt.Errorf("an RSA key needs at least %d bits, this one has %d", minRSABits, bits)
	case bits > maxRSABits:
		return fmt.Errorf("an RSA key may have at most %d bits, this one has %d", maxRSABits, bits)
	case k.N.Bit(0) == 0:
		return errors.New("the modulus of this RSA key is even")
	case k.E < 3 || k.E&1 == 0 || k.E > 1<<31-1:
		return fmt.Errorf("the exponent of an RSA key is odd, from 3 to 2^31-1, this one is %d", k.E)
	}
	return CheckModulus(k.N)
}

// digest appends the hash of data to dst. For EdDSA, which signs the text itself, it returns
// data.
func (a *Algorithm) digest(dst, data []byte) []byte {
	switch a.Hash {
	case crypto.SHA256:
		sum := sha256.Sum256(data)
		return append(dst, sum[:]...)
	case crypto.SHA384:
		sum := sha512.Sum384(data)
		return append(dst, sum[:]...)
	case crypto.SHA512:
		sum := sha512.Sum512(data)
		return append(dst, sum[:]...)
	}
	return data
}

// CoordinateSize returns the length in bytes of r and s in a signature and of x and y in a
// JWK. It is for ECDSA only.
func (a *Algorithm) CoordinateSize() int { return (a.Curve.Params().BitSize + 7) / 8 }
