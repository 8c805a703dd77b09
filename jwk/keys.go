package jwk

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/guessable"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// maxKeyID is the maximum length of a kid, in bytes.
const maxKeyID = 1 << 10

// VerificationKey verifies the signatures of one key with one algorithm. It holds no
// private key. For HMAC, it holds the secret. It is immutable, and prints only its
// algorithm and its kid. It is also a [Set] of one key. The zero value verifies nothing.
type VerificationKey struct{ key *keyset.Key }

// ID returns the kid. By default, the kid is the RFC 7638 thumbprint of the key. For
// HMAC, it is derived from the secret, and does not help to find the secret. See
// [VerificationKey.WithID].
func (k *VerificationKey) ID() string {
	if k == nil {
		return ""
	}
	return k.key.KeyID()
}

// Algorithm returns the algorithm of the key.
func (k *VerificationKey) Algorithm() Algorithm {
	if k == nil || k.key == nil {
		return ""
	}
	return Algorithm(k.key.Alg.Name)
}

// WithID returns the same key under another kid. A kid that is empty, longer than
// 1024 bytes or not UTF-8 is an error when the key is put into a set.
func (k *VerificationKey) WithID(kid string) *VerificationKey {
	if k == nil || k.key == nil {
		return k
	}
	renamed := *k.key
	renamed.ID = kid
	return &VerificationKey{&renamed}
}

// check returns an error if the key cannot be used.
func (k *VerificationKey) check() error {
	switch {
	case k == nil || k.key == nil:
		return errors.New("no key: it is nil or was not made by this package")
	case k.key.ID == "" || len(k.key.ID) > maxKeyID || !utf8.ValidString(k.key.ID):
		return fmt.Errorf("a kid has 1 to %d bytes of UTF-8, this one is %s", maxKeyID, errtext.Quote(k.key.ID))
	}
	return nil
}

func (k VerificationKey) String() string {
	return fmt.Sprintf("VerificationKey(%s %s)", k.Algorithm(), errtext.Quote(k.ID()))
}

// Format prints the algorithm and the kid, for every verb.
func (k VerificationKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue returns the algorithm and the kid.
func (k VerificationKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns the algorithm and the kid. To encode the key, use
// [VerificationKey.JWK].
func (k VerificationKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// SigningKey signs with one key and one algorithm. It is immutable, and prints only its
// algorithm and its kid. The zero value signs nothing.
type SigningKey struct {
	verification *VerificationKey
	signer       *keyset.Signer
	private      *privatePart
}

// privatePart is the secret part of a SigningKey. Only PrivatePEM and PrivateJWK return it.
type privatePart struct {
	prepared jwa.Signer    // signs with key or secret
	key      crypto.Signer // nil for HMAC
	secret   []byte        // nil unless the key is for HMAC
}

// ContextSigner is a crypto.Signer whose calls can be cancelled, such as the client of a
// key management service. A key of [NewSigning] calls SignContext instead of Sign if its
// signer has the method.
type ContextSigner interface {
	crypto.Signer
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// generatedRSABits is the size of the RSA keys that Generate makes.
const generatedRSABits = 2048

// Generate makes a new random key. An HMAC key is as long as the hash, and an RSA key has
// 2048 bits. Use ES256 unless you need another algorithm. Nearly all verifiers accept
// ES256.
func Generate(alg Algorithm) (*SigningKey, error) { return prefixed(generate(alg)) }

// prefixed adds the name of the package to err, if there is one.
func prefixed[K any](k *K, err error) (*K, error) {
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	return k, nil
}

func generate(alg Algorithm) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	var signer crypto.Signer
	switch a.Family {
	case jwa.HMAC:
		secret := make([]byte, a.Hash.Size())
		rand.Read(secret)
		return newHMAC(alg, "", secret)
	case jwa.ECDSA:
		signer, err = ecdsa.GenerateKey(a.Curve, rand.Reader)
	case jwa.EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		signer, err = rsa.GenerateKey(rand.Reader, generatedRSABits)
	}
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return newSigning(alg, signer)
}

// NewHMAC makes a key from a shared secret. The secret must be at least as long as
// the hash (RFC 7518, section 3.2). It is refused if it can be guessed, such as an example
// secret from public documents, a sequence, a repetition, or a public key. A random
// secret is accepted in any encoding. If kid is "", a kid is derived from the secret, so
// all processes with the secret have the same kid. The slice is copied.
func NewHMAC(alg Algorithm, kid string, secret []byte) (*SigningKey, error) {
	return prefixed(newHMAC(alg, kid, secret))
}

func newHMAC(alg Algorithm, kid string, secret []byte) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	if err := a.CheckSecret(secret); err != nil {
		return nil, err
	}
	if err := guessable.Check(secret); err != nil {
		return nil, err
	}
	mac := a.NewHMAC(secret)
	digest := mac.Digest()
	if kid == "" {
		kid = digest
	}
	verification := &VerificationKey{&keyset.Key{ID: kid, Alg: a, Verifier: mac, Digest: digest}}
	return newKeyPair(verification, &privatePart{prepared: mac, secret: slices.Clone(secret)}), nil
}

func newKeyPair(verification *VerificationKey, private *privatePart) *SigningKey {
	return &SigningKey{verification, keyset.NewSigner(verification.key, private.prepared), private}
}

// NewSigning makes a key from a private key in memory, or from an external signer (a
// KMS, an HSM). The kid is the RFC 7638 thumbprint of the public key. A private key in
// memory must not be changed afterwards. NewSigning makes one signature with it, to check
// that it fits its public key.
//
// NewSigning only calls the Public method of an external signer. To sign a token, an
// external signer gets the digest, or for EdDSA the text itself. If it is a
// [ContextSigner], it also gets the context. It may return an ECDSA signature in ASN.1 or
// as r followed by s. It may be slow, and it may fail. Each of its signatures is verified
// before it is used.
func NewSigning(alg Algorithm, signer crypto.Signer) (*SigningKey, error) {
	return prefixed(newSigning(alg, signer))
}

func newSigning(alg Algorithm, signer crypto.Signer) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	switch k := signer.(type) {
	case ed25519.PrivateKey:
		signer = slices.Clone(k)
	case *rsa.PrivateKey:
		if k != nil && k.N != nil && k.D != nil { // a copy, since Precompute writes to the key
			own := &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: slices.Clone(k.Primes)}
			own.Precompute()
			signer = own
		}
	}
	prepared, err := a.NewSigner(signer)
	if err != nil {
		return nil, err
	}
	verification, err := newVerification(a, signer.Public())
	if err != nil {
		return nil, err
	}
	return newKeyPair(verification, &privatePart{prepared: prepared, key: signer}), nil
}

func newVerification(a *jwa.Algorithm, pub crypto.PublicKey) (*VerificationKey, error) {
	if err := a.CheckPublic(pub); err != nil {
		return nil, err
	}
	id := thumbprint(pub)
	return &VerificationKey{&keyset.Key{ID: id, Alg: a, Public: pub, Verifier: a.NewVerifier(pub), Digest: id}}, nil
}

// thumbprint returns the RFC 7638 thumbprint with SHA-256.
func thumbprint(pub crypto.PublicKey) string {
	var o strictjson.Writer
	writePublic(&o, pub)
	sum := sha256.Sum256(o.Object())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ID returns the kid; see [VerificationKey.ID].
func (k *SigningKey) ID() string { return k.Verification().ID() }

// Algorithm returns the algorithm of the key.
func (k *SigningKey) Algorithm() Algorithm { return k.Verification().Algorithm() }

// WithID returns the same key under another kid; see [VerificationKey.WithID].
func (k *SigningKey) WithID(kid string) *SigningKey {
	if k == nil || k.verification == nil {
		return k
	}
	return newKeyPair(k.verification.WithID(kid), k.private)
}

// Verification returns the key that verifies the signatures of k. It returns nil for the
// zero SigningKey.
func (k *SigningKey) Verification() *VerificationKey {
	if k == nil {
		return nil
	}
	return k.verification
}

func (k SigningKey) String() string {
	return fmt.Sprintf("SigningKey(%s %s)", k.Algorithm(), errtext.Quote(k.ID()))
}

// Format prints the algorithm and the kid, for every verb.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue returns the algorithm and the kid.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns the algorithm and the kid. To encode the key, use
// [SigningKey.PrivateJWK].
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
