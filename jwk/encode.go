package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// writePublic writes the members that a thumbprint is computed from, in the order of
// RFC 7638, section 3.2.
func writePublic(o *strictjson.Writer, pub crypto.PublicKey) {
	encode := base64.RawURLEncoding.EncodeToString
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		o.Str("e", encode(big.NewInt(int64(pub.E)).Bytes()))
		o.Str("kty", "RSA")
		o.Str("n", encode(pub.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil { // impossible, since the key was checked when it was loaded
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

// writeJWK writes the members that public and private JWKs share. alg is optional.
func (k *VerificationKey) writeJWK(o *strictjson.Writer, hasAlg bool) {
	o.Str("kid", k.key.ID)
	o.Str("use", "sig")
	if hasAlg {
		o.Str("alg", k.key.Alg.Name)
	}
	writePublic(o, k.key.Public)
}

// JWK encodes the key as a JSON Web Key (RFC 7517) with kid, use and alg. It returns an
// error for an HMAC key, which has no public key.
func (k *VerificationKey) JWK() ([]byte, error) { return k.encode(true) }

func (k *VerificationKey) encode(hasAlg bool) ([]byte, error) {
	if err := k.checkPublic(); err != nil {
		return nil, err
	}
	var o strictjson.Writer
	k.writeJWK(&o, hasAlg)
	return o.Object(), nil
}

func (k *VerificationKey) checkPublic() error {
	if err := k.check(); err != nil {
		return fmt.Errorf("jwk: %w", err)
	}
	if k.key.Public == nil {
		return errors.New("jwk: an HMAC key has no public half; see SigningKey.PrivateJWK")
	}
	return nil
}

// PrivateJWK encodes the private key or the secret as a JSON Web Key (RFC 7517) with
// kid, use and alg. It returns an error for the key of an external signer.
func (k *SigningKey) PrivateJWK() ([]byte, error) {
	if err := k.Verification().check(); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	var o strictjson.Writer
	k.verification.writeJWK(&o, true)
	switch private := k.private.key.(type) {
	case nil:
		o.Str("kty", "oct")
		o.Str("k", encode(k.private.secret))
	case ed25519.PrivateKey:
		o.Str("d", encode(private.Seed()))
	case *ecdsa.PrivateKey:
		d, err := private.Bytes()
		if err != nil {
			return nil, fmt.Errorf("jwk: encoding a key: %w", err)
		}
		o.Str("d", encode(d))
	case *rsa.PrivateKey:
		if len(private.Primes) != 2 {
			return nil, fmt.Errorf("jwk: this RSA key has %d primes, only keys of two can be encoded", len(private.Primes))
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

var errOutside = errors.New("jwk: this key lives outside the process and cannot be encoded")

// PEM encodes the key as a PKIX public key, without its kid and algorithm. It returns an
// error for an HMAC key, which has no public key.
func (k *VerificationKey) PEM() ([]byte, error) {
	if err := k.checkPublic(); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(k.key.Public)
	return encodePEM("PUBLIC KEY", der, err)
}

// PrivatePEM encodes the private key as PKCS#8, without its kid and algorithm. It returns
// an error for an HMAC key, which has no PEM form, and for the key of an external signer.
func (k *SigningKey) PrivatePEM() ([]byte, error) {
	if err := k.Verification().check(); err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	if k.private.key == nil {
		return nil, errors.New("jwk: an HMAC key has no PEM form; see SigningKey.PrivateJWK")
	}
	if !jwa.InMemory(k.private.key) {
		return nil, errOutside
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private.key)
	return encodePEM("PRIVATE KEY", der, err)
}

func encodePEM(kind string, der []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("jwk: encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil
}
