package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// jwkText is a parsed JSON Web Key (RFC 7517) whose members are not decoded yet.
type jwkText struct {
	members    map[string]string // the members that are strings
	keyOps     []string
	hasPrivate bool // there is a member of a private key or of a secret
}

// jwkStrings are the members of RFC 7517 and RFC 7518 that are used and are strings. Other
// members, such as x5c and x5u, are ignored.
var jwkStrings = []string{"kty", "use", "alg", "kid", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "k"}

func parseJWK(data []byte) (*jwkText, error) {
	j := &jwkText{members: make(map[string]string)}
	err := strictjson.Object(string(data), func(name string, v strictjson.Value) error {
		switch {
		case v == "null" || v == `""`: // many servers write these for what a key does not have
		case slices.Contains(jwkStrings, name):
			s, ok := v.Str()
			if !ok {
				return fmt.Errorf("the member %s is not a string", name)
			}
			j.members[name] = s
			j.hasPrivate = j.hasPrivate || slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "k"}, name)
		case name == "keys":
			return errors.New("this is a JWK Set; give one of its keys")
		case name == "oth":
			return errors.New("RSA keys of more than two primes are not supported")
		case name == "key_ops":
			unique := true
			ok := v.EachString(func(op string) bool {
				unique = unique && !slices.Contains(j.keyOps, op)
				j.keyOps = append(j.keyOps, op)
				return unique
			})
			if !ok || !unique {
				return errors.New("key_ops is not an array of different strings")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if use, ok := j.members["use"]; ok && use != "sig" && use != "jwt-svid" { // jwt-svid: SPIFFE, keys of JWT-SVIDs
		return nil, fmt.Errorf("use is %s, a key for signatures has sig", errtext.Quote(use))
	}
	if len(j.keyOps) > 0 && !slices.Contains(j.keyOps, "verify") && !(j.hasPrivate && slices.Contains(j.keyOps, "sign")) {
		return nil, errors.New("key_ops has no verify")
	}
	return j, nil
}

// algorithm returns the algorithm of the key. If want is set and the key has the member
// alg, the two must be the same. If there is neither, algorithm calls natural.
func (j *jwkText) algorithm(want Algorithm, natural func() (*jwa.Algorithm, error)) (*jwa.Algorithm, error) {
	said, ok := j.members["alg"]
	switch {
	case !ok && want == "":
		return natural()
	case !ok:
		return want.lookup()
	case want != "" && jwa.Canonical(string(want)) != jwa.Canonical(said):
		return nil, fmt.Errorf("this key is for algorithm %s, not %s", errtext.Quote(said), want)
	default:
		return Algorithm(said).lookup()
	}
}

// bytes decodes a member from base64url. Padding is accepted, since some servers write it.
func (j *jwkText) bytes(name string) ([]byte, error) {
	s, ok := j.members[name]
	if !ok || s == "" {
		return nil, fmt.Errorf("the member %s is missing or empty", name)
	}
	if len(s)%4 == 0 {
		s = strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	}
	b, err := compact.Decode(s)
	if err != nil {
		return nil, fmt.Errorf("the member %s is %w", name, err)
	}
	return b, nil
}

// integer decodes a number. Leading zero octets are an error (RFC 7518, section 2). If
// allowLeadingZero is set, one zero octet is accepted, since old programs write one if the
// highest bit of the number is set.
func (j *jwkText) integer(name string, allowLeadingZero bool) (*big.Int, error) {
	b, err := j.bytes(name)
	if err != nil {
		return nil, err
	}
	if allowLeadingZero && len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > maxJWKInteger {
		return nil, fmt.Errorf("the member %s has %d bytes, at most %d are expected", name, len(b), maxJWKInteger)
	}
	if b[0] == 0 {
		return nil, fmt.Errorf("the member %s begins with a zero octet; its shortest form is expected", name)
	}
	return new(big.Int).SetBytes(b), nil
}

// maxJWKInteger is the maximum length of a number, in bytes. No RSA modulus that this
// package accepts is longer.
const maxJWKInteger = 1024

// ecAlgorithm returns the algorithm of the curve of an EC key.
func (j *jwkText) ecAlgorithm() (*jwa.Algorithm, error) {
	alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[j.members["crv"]]
	if !ok {
		return nil, fmt.Errorf("unknown curve %s, expected P-256, P-384 or P-521", errtext.Quote(j.members["crv"]))
	}
	return jwa.Lookup(alg), nil
}

func (j *jwkText) public() (crypto.PublicKey, error) {
	switch kty := j.members["kty"]; kty {
	case "RSA":
		n, err := j.integer("n", true)
		if err != nil {
			return nil, err
		}
		e, err := j.integer("e", false)
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
		if crv := j.members["crv"]; crv != "Ed25519" {
			return nil, fmt.Errorf("unknown curve %s, expected Ed25519", errtext.Quote(crv))
		}
		x, err := j.bytes("x")
		if err != nil {
			return nil, err
		}
		return ed25519.PublicKey(x), nil
	default:
		return nil, fmt.Errorf("unknown kty %s, expected RSA, EC, OKP or oct", errtext.Quote(kty))
	}
}

// verificationKey makes the key of a JWK that must not have a private member.
func (j *jwkText) verificationKey(want Algorithm) (*VerificationKey, error) {
	if j.hasPrivate {
		return nil, errors.New("this JWK holds a private or symmetric key; a key to verify with has none: take ParseSigning(…).Verification()")
	}
	pub, err := j.public()
	if err != nil {
		return nil, err
	}
	alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return jwa.DefaultFor(pub) })
	if err != nil {
		return nil, err
	}
	k, err := newVerification(alg, pub)
	if err != nil {
		return nil, err
	}
	if kid, ok := j.members["kid"]; ok {
		k = k.WithID(kid)
	}
	return k, k.check()
}

func (j *jwkText) signingKey(want Algorithm) (*SigningKey, error) {
	if !j.hasPrivate {
		return nil, errors.New("this JWK holds no private key; a public key cannot sign")
	}
	if j.keyOps != nil && !slices.Contains(j.keyOps, "sign") {
		return nil, errors.New("key_ops has no sign")
	}
	var k *SigningKey
	if j.members["kty"] == "oct" {
		alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return HS256.lookup() })
		if err != nil {
			return nil, err
		}
		secret, err := j.bytes("k")
		if err != nil {
			return nil, err
		}
		if k, err = newHMAC(Algorithm(alg.Name), "", secret); err != nil {
			return nil, err
		}
	} else {
		signer, err := j.signer()
		if err != nil {
			return nil, err
		}
		alg, err := j.algorithm(want, func() (*jwa.Algorithm, error) { return jwa.DefaultFor(signer.Public()) })
		if err != nil {
			return nil, err
		}
		if k, err = newSigning(Algorithm(alg.Name), signer); err != nil {
			return nil, err
		}
	}
	if kid, ok := j.members["kid"]; ok {
		k = k.WithID(kid)
	}
	return k, k.Verification().check()
}

// signer makes the private key. It returns an error if the private key does not fit the
// public members of the JWK.
func (j *jwkText) signer() (crypto.Signer, error) {
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
			prime, err := j.integer(name, true)
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
			return nil, errors.New("the member d is not a private key of this curve")
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

// parseForeignKey parses a key of the JWK Set of another issuer. It returns the key once for
// each of its algorithms. If the JWK has no alg, the algorithms are those of implied that fit
// the type of the key, and isImplied is true. If implied is empty, it is the default algorithm.
func parseForeignKey(text []byte, implied []*jwa.Algorithm) (keys []*keyset.Key, isImplied bool, err error) {
	j, err := parseJWK(text)
	if err != nil {
		return nil, false, err
	}
	_, hasAlg := j.members["alg"]
	if hasAlg || len(implied) == 0 {
		k, err := j.verificationKey("")
		if err != nil {
			return nil, false, err
		}
		return []*keyset.Key{k.key}, !hasAlg, nil
	}
	pub, err := j.public()
	if err != nil {
		return nil, false, err
	}
	natural, err := jwa.DefaultFor(pub)
	if err != nil {
		return nil, false, err
	}
	for _, a := range implied {
		isRSA := natural.Family == jwa.RSA && (a.Family == jwa.RSA || a.Family == jwa.PSS)
		if a != natural && !isRSA {
			continue
		}
		k, err := j.verificationKey(Algorithm(a.Name))
		if err != nil {
			return nil, false, err
		}
		keys = append(keys, k.key)
	}
	if len(keys) == 0 {
		return nil, false, fmt.Errorf("it has no alg, and none of RemoteOptions.Algorithms fits %s", jwa.Describe(pub))
	}
	return keys, true, nil
}
