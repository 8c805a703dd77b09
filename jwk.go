package jwtauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// jwk is the text of one JSON Web Key (RFC 7517) after the strict reading, its
// members still as they were sent.
type jwk struct {
	text    map[string]string // the members that are strings
	keyOps  []string
	private bool
}

// The members of RFC 7517 and RFC 7518 that are looked at; all others are
// ignored, x5c and x5u in particular: the key is what the key members say.
var jwkStrings = []string{"kty", "use", "alg", "kid", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "k"}

func parseJWK(data []byte) (*jwk, error) {
	j := &jwk{text: make(map[string]string)}
	hasOps := false
	err := strictjson.Object(string(data), func(name string, v strictjson.Value) error {
		switch {
		case slices.Contains(jwkStrings, name):
			s, ok := v.Str()
			if !ok {
				return fmt.Errorf("the member %s is no string", name)
			}
			j.text[name] = s
			j.private = j.private || slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "k"}, name)
		case name == "keys":
			return errors.New("this is a JWK Set; give one of its keys")
		case name == "oth":
			return errors.New("RSA keys of more than two primes are not supported")
		case name == "key_ops":
			hasOps = true
			unique := true
			ok := v.EachString(func(op string) bool {
				unique = unique && !slices.Contains(j.keyOps, op)
				j.keyOps = append(j.keyOps, op)
				return unique
			})
			if !ok || !unique {
				return errors.New("key_ops is no array of different strings")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if use, ok := j.text["use"]; ok && use != "sig" {
		return nil, fmt.Errorf("use is %s, a key for signatures has sig", quoted(use))
	}
	if hasOps && !slices.Contains(j.keyOps, "verify") && !(j.private && slices.Contains(j.keyOps, "sign")) {
		return nil, errors.New("key_ops has no verify")
	}
	return j, nil
}

// algorithm decides which one the key is for: what the caller wants and what
// the key says must agree.
func (j *jwk) algorithm(want Algorithm, natural func() (*jwa.Algorithm, error)) (*jwa.Algorithm, error) {
	said, ok := j.text["alg"]
	switch {
	case !ok && want == "":
		return natural()
	case !ok:
		return want.lookup()
	case want != "" && jwa.Canonical(string(want)) != jwa.Canonical(said):
		return nil, fmt.Errorf("this key is for algorithm %s, not %s", quoted(said), want)
	default:
		return Algorithm(said).lookup()
	}
}

// bytes decodes a member.
func (j *jwk) bytes(name string) ([]byte, error) {
	s, ok := j.text[name]
	if !ok || s == "" {
		return nil, fmt.Errorf("the member %s is missing or empty", name)
	}
	b, err := compact.Decode(s)
	if err != nil {
		return nil, fmt.Errorf("the member %s is %w", name, err)
	}
	return b, nil
}

func (j *jwk) integer(name string) (*big.Int, error) {
	b, err := j.bytes(name)
	if err != nil {
		return nil, err
	}
	if len(b) > maxJWKInteger {
		return nil, fmt.Errorf("the member %s has %d bytes, at most %d are expected", name, len(b), maxJWKInteger)
	}
	return new(big.Int).SetBytes(b), nil
}

// maxJWKInteger leaves room for the largest RSA modulus and a leading zero.
const maxJWKInteger = 1025

// ecAlgorithm finds the algorithm of the EC key's curve.
func (j *jwk) ecAlgorithm() (*jwa.Algorithm, error) {
	alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[j.text["crv"]]
	if !ok {
		return nil, fmt.Errorf("unknown curve %s, expected P-256, P-384 or P-521", quoted(j.text["crv"]))
	}
	return jwa.Lookup(alg), nil
}

func (j *jwk) public() (crypto.PublicKey, error) {
	switch kty := j.text["kty"]; kty {
	case "RSA":
		n, err := j.integer("n")
		if err != nil {
			return nil, err
		}
		e, err := j.integer("e")
		if err != nil {
			return nil, err
		}
		if e.BitLen() > 31 {
			return nil, errors.New("the exponent of this RSA key is larger than 2^31-1")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "EC":
		alg, err := j.ecAlgorithm()
		if err != nil {
			return nil, err
		}
		point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
		for _, name := range []string{"x", "y"} {
			coordinate, err := j.bytes(name)
			if err != nil {
				return nil, err
			}
			if size := alg.CoordinateSize(); len(coordinate) != size {
				return nil, fmt.Errorf("the member %s has %d bytes, on this curve it has %d", name, len(coordinate), size)
			}
			point = append(point, coordinate...)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(alg.Curve, point)
		if err != nil {
			return nil, errors.New("the point of this EC key is not on its curve")
		}
		return key, nil
	case "OKP":
		if crv := j.text["crv"]; crv != "Ed25519" {
			return nil, fmt.Errorf("unknown curve %s, expected Ed25519", quoted(crv))
		}
		x, err := j.bytes("x")
		if err != nil {
			return nil, err
		}
		return ed25519.PublicKey(x), nil
	default:
		return nil, fmt.Errorf("unknown kty %s, expected RSA, EC, OKP or oct", quoted(kty))
	}
}

// verificationKey makes the key of a JWK that has no private part.
func (j *jwk) verificationKey(want Algorithm) (*VerificationKey, error) {
	if j.private {
		return nil, errors.New("this JWK holds a private or symmetric key; a key to verify with has none: take ParseSigningKey(…).VerificationKey()")
	}
	pub, err := j.public()
	if err != nil {
		return nil, err
	}
	alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return jwa.Natural(pub) })
	if err != nil {
		return nil, err
	}
	k, err := newVerificationKey(alg, pub)
	if err != nil {
		return nil, err
	}
	if kid, ok := j.text["kid"]; ok {
		k = k.WithID(kid)
	}
	return k, k.check()
}

func (j *jwk) signingKey(want Algorithm) (*SigningKey, error) {
	if !j.private {
		return nil, errors.New("this JWK holds no private key; a public key cannot sign")
	}
	if j.keyOps != nil && !slices.Contains(j.keyOps, "sign") {
		return nil, errors.New("key_ops has no sign")
	}
	var k *SigningKey
	if j.text["kty"] == "oct" {
		alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return HS256.lookup() })
		if err != nil {
			return nil, err
		}
		secret, err := j.bytes("k")
		if err != nil {
			return nil, err
		}
		if k, err = newHMACKey(Algorithm(alg.Name), "", secret); err != nil {
			return nil, err
		}
	} else {
		signer, err := j.signer()
		if err != nil {
			return nil, err
		}
		alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return jwa.Natural(signer.Public()) })
		if err != nil {
			return nil, err
		}
		if k, err = newSigningKey(Algorithm(alg.Name), signer); err != nil {
			return nil, err
		}
	}
	if kid, ok := j.text["kid"]; ok {
		k = k.WithID(kid)
	}
	return k, k.half.check()
}

// signer makes the private key, whose public half must be the one that stands
// beside it.
func (j *jwk) signer() (crypto.Signer, error) {
	pub, err := j.public()
	if err != nil {
		return nil, err
	}
	d, err := j.bytes("d")
	if err != nil {
		return nil, err
	}
	var key interface {
		crypto.Signer
		Equal(crypto.PrivateKey) bool
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		private := &rsa.PrivateKey{PublicKey: *pub, D: new(big.Int).SetBytes(d)}
		for _, name := range []string{"p", "q"} {
			prime, err := j.integer(name)
			if err != nil {
				return nil, err
			}
			private.Primes = append(private.Primes, prime)
		}
		if err := private.Validate(); err != nil {
			return nil, errors.New("the members of this RSA key do not fit each other")
		}
		private.Precompute()
		key = private
	case *ecdsa.PublicKey:
		private, err := ecdsa.ParseRawPrivateKey(pub.Curve, d)
		if err != nil {
			return nil, errors.New("the member d is no private key of this curve")
		}
		key = private
	case ed25519.PublicKey:
		if len(d) != ed25519.SeedSize {
			return nil, fmt.Errorf("the member d has %d bytes, for Ed25519 it has %d", len(d), ed25519.SeedSize)
		}
		key = ed25519.NewKeyFromSeed(d)
	}
	if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
		return nil, errors.New("the private half of this key does not fit its public half")
	}
	return key, nil
}

// writePublic writes the members that RFC 7638, section 3.2, makes a thumbprint
// from, in its order.
func writePublic(o *strictjson.Writer, pub crypto.PublicKey) {
	encode := base64.RawURLEncoding.EncodeToString
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		o.Str("e", encode(big.NewInt(int64(pub.E)).Bytes()))
		o.Str("kty", "RSA")
		o.Str("n", encode(pub.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil { // cannot be: the key was checked when it was loaded
			return
		}
		half := len(point) / 2
		o.Str("crv", pub.Curve.Params().Name)
		o.Str("kty", "EC")
		o.Str("x", encode(point[1:1+half]))
		o.Str("y", encode(point[1+half:]))
	case ed25519.PublicKey:
		o.Str("crv", "Ed25519")
		o.Str("kty", "OKP")
		o.Str("x", encode(pub))
	}
}

// thumbprint is the RFC 7638 thumbprint with SHA-256.
func thumbprint(k *VerificationKey) string {
	var o strictjson.Writer
	writePublic(&o, k.public)
	sum := sha256.Sum256(o.Object())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// writeJWK begins a JWK: what the key is for, and its public members.
func (k *VerificationKey) writeJWK(o *strictjson.Writer) {
	o.Str("kid", k.id)
	o.Str("use", "sig")
	o.Str("alg", k.alg.Name)
	writePublic(o, k.public)
}

// JWK encodes the key as a JSON Web Key (RFC 7517) with kid, use and alg. HMAC
// keys, which have no public half, are an error.
func (k *VerificationKey) JWK() ([]byte, error) {
	if err := k.checkPublic(); err != nil {
		return nil, err
	}
	var o strictjson.Writer
	k.writeJWK(&o)
	return o.Object(), nil
}

func (k *VerificationKey) checkPublic() error {
	if err := k.check(); err != nil {
		return fmt.Errorf("jwtauth: %w", err)
	}
	if k.public == nil {
		return errors.New("jwtauth: an HMAC key has no public half; see SigningKey.PrivateJWK")
	}
	return nil
}

// PrivateJWK encodes the private key, or the secret, as a JSON Web Key
// (RFC 7517) with kid, use and alg. A key that lives outside this process is an
// error.
func (k *SigningKey) PrivateJWK() ([]byte, error) {
	if err := k.VerificationKey().check(); err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	var o strictjson.Writer
	k.half.writeJWK(&o)
	switch private := k.private.key.(type) {
	case nil:
		o.Str("kty", "oct")
		o.Str("k", encode(k.private.secret))
	case ed25519.PrivateKey:
		o.Str("d", encode(private.Seed()))
	case *ecdsa.PrivateKey:
		d, err := private.Bytes()
		if err != nil {
			return nil, fmt.Errorf("jwtauth: encoding a key: %w", err)
		}
		o.Str("d", encode(d))
	case *rsa.PrivateKey:
		if len(private.Primes) != 2 {
			return nil, fmt.Errorf("jwtauth: this RSA key has %d primes, only keys of two can be encoded", len(private.Primes))
		}
		for _, number := range []struct {
			name  string
			value *big.Int
		}{
			{"d", private.D}, {"p", private.Primes[0]}, {"q", private.Primes[1]},
			{"dp", private.Precomputed.Dp}, {"dq", private.Precomputed.Dq}, {"qi", private.Precomputed.Qinv},
		} {
			o.Str(number.name, encode(number.value.Bytes()))
		}
	default:
		return nil, errOutside
	}
	return o.Object(), nil
}

var errOutside = errors.New("jwtauth: this key lives outside the process and cannot be encoded")
