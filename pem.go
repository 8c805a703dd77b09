package jwtauth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// maxKeyText is the length of the longest text that a key is parsed from.
const maxKeyText = 64 << 10

// ParseSigningKey reads a private key: PEM (PKCS#8, PKCS#1 or SEC 1, not
// encrypted) or a JWK (RFC 7517). The text must hold exactly one key. Where alg
// is "", the JWK's own alg or the natural algorithm of the key is taken; an alg
// that does not fit the key is an error. The kid is the JWK's own, or the
// RFC 7638 thumbprint. No error repeats anything private.
func ParseSigningKey(alg Algorithm, data []byte) (*SigningKey, error) {
	return named(parseSigningKey(alg, data))
}

func parseSigningKey(alg Algorithm, data []byte) (*SigningKey, error) {
	if text, ok := jwkText(data); ok {
		return parseWith(text, alg, (*jwk).signingKey)
	}
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errors.New("this PEM block holds a public key, which cannot sign; give the private key")
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncrypted
	default:
		return nil, fmt.Errorf("unknown PEM block %s, expected PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY", quoted(block.Type))
	}
	signer, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("the PEM block %s holds no private key that is known here: RSA (not RSA-PSS alone), EC on P-256, P-384 or P-521, or Ed25519", block.Type)
	}
	if alg == "" {
		natural, err := jwa.Natural(signer.Public())
		if err != nil {
			return nil, err
		}
		alg = Algorithm(natural.Name)
	}
	return newSigningKey(alg, signer)
}

// ParseVerificationKey reads a public key: PEM (PKIX, PKCS#1, or a certificate,
// of which neither the dates nor the chain are looked at) or a JWK (RFC 7517).
// The text must hold exactly one key, and no private one. For alg and kid see
// [ParseSigningKey].
func ParseVerificationKey(alg Algorithm, data []byte) (*VerificationKey, error) {
	return named(parseVerificationKey(alg, data))
}

func parseVerificationKey(alg Algorithm, data []byte) (*VerificationKey, error) {
	if text, ok := jwkText(data); ok {
		return parseWith(text, alg, (*jwk).verificationKey)
	}
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	var pub any
	switch block.Type {
	case "PUBLIC KEY":
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			pub = certificate.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("this PEM block holds a private key; a service that verifies needs the public one: openssl pkey -in FILE -pubout")
	default:
		return nil, fmt.Errorf("unknown PEM block %s, expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", quoted(block.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("the PEM block %s holds no public key", block.Type)
	}
	natural, err := jwa.Natural(pub)
	if err == nil && alg != "" {
		natural, err = alg.lookup()
	}
	if err != nil {
		return nil, err
	}
	return newVerificationKey(natural, pub)
}

var errEncrypted = errors.New("this private key is encrypted; decrypt it first: openssl pkey -in FILE")

// jwkText says whether data looks like a JSON object rather than PEM.
func jwkText(data []byte) ([]byte, bool) {
	text := bytes.TrimSpace(data)
	return text, len(text) <= maxKeyText && bytes.HasPrefix(text, []byte("{"))
}

func parseWith[K any](text []byte, alg Algorithm, make func(*jwk, Algorithm) (*K, error)) (*K, error) {
	j, err := parseJWK(text)
	if err != nil {
		return nil, fmt.Errorf("parsing a JWK: %w", err)
	}
	k, err := make(j, alg)
	if err != nil {
		return nil, fmt.Errorf("parsing a JWK: %w", err)
	}
	return k, nil
}

// onlyBlock decodes the one PEM block of a text. The parameters that OpenSSL
// writes before an EC key are passed over.
func onlyBlock(data []byte) (*pem.Block, error) {
	if len(data) > maxKeyText {
		return nil, fmt.Errorf("a key of %d bytes, at most %d are read", len(data), maxKeyText)
	}
	block, rest := pem.Decode(data)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("no key found: expected PEM (-----BEGIN …) or a JWK ({…)")
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errEncrypted
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block; give one key at a time")
	}
	return block, nil
}

// PEM encodes the key as a PKIX public key. HMAC keys, which have no public
// half, are an error. Neither the kid nor the algorithm goes along.
func (k *VerificationKey) PEM() ([]byte, error) {
	if err := k.checkPublic(); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	return encodePEM("PUBLIC KEY", der, err)
}

// PrivatePEM encodes the private key as PKCS#8. HMAC keys, which have no such
// form, and keys that live outside this process are an error. Neither the kid
// nor the algorithm goes along.
func (k *SigningKey) PrivatePEM() ([]byte, error) {
	if err := k.VerificationKey().check(); err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	if k.private.key == nil {
		return nil, errors.New("jwtauth: an HMAC key has no PEM form; see SigningKey.PrivateJWK")
	}
	if !jwa.InMemory(k.private.key) {
		return nil, errOutside
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private.key)
	return encodePEM("PRIVATE KEY", der, err)
}

func encodePEM(kind string, der []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("jwtauth: encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil
}
