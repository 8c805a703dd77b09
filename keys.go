package jwtauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Algorithm is the name of a signature algorithm (RFC 7518, section 3.1, and
// RFC 8037). A key has exactly one; a token never chooses. Where a key is
// parsed, "" stands for the one that the key's own text names, or else the
// natural one: RS256 for RSA, the one of the curve for EC, EdDSA for Ed25519,
// HS256 for a secret.
type Algorithm string

// The algorithms. Ed25519, the name that RFC 9864 gives to EdDSA with that
// curve, is taken as EdDSA wherever it stands.
const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	EdDSA Algorithm = "EdDSA"
)

func (a Algorithm) lookup() (*jwa.Algorithm, error) {
	if alg := jwa.Lookup(string(a)); alg != nil {
		return alg, nil
	}
	return nil, fmt.Errorf("unknown algorithm %s, expected one of HS256 to HS512, RS256 to RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA", quoted(string(a)))
}

// maxKeyID is the length of the longest kid that a key may have, in bytes.
const maxKeyID = 256

// VerificationKey verifies the signatures of one key with one algorithm. It
// holds no private part (for an HMAC algorithm, the secret is all there is), is
// immutable, and prints as its algorithm and kid alone. The zero value verifies
// nothing.
type VerificationKey struct {
	id     string
	alg    *jwa.Algorithm
	public crypto.PublicKey // nil for HMAC
	verify jwa.Verifier
	digest string // of the key itself: its thumbprint, or what is derived from the secret
}

// ID returns the kid. Unless [VerificationKey.WithID] gave another one, it is
// the key's RFC 7638 thumbprint; for HMAC, a value derived from the secret,
// which tells nothing about it.
func (k *VerificationKey) ID() string {
	if k == nil {
		return ""
	}
	return k.id
}

// Algorithm returns the one algorithm that the key is for.
func (k *VerificationKey) Algorithm() Algorithm {
	if k == nil || k.alg == nil {
		return ""
	}
	return Algorithm(k.alg.Name)
}

// WithID returns the same key under another kid. A kid that is empty, longer
// than 256 bytes or not UTF-8 is refused where the key is put to use.
func (k *VerificationKey) WithID(kid string) *VerificationKey {
	if k == nil {
		return nil
	}
	renamed := *k
	renamed.id = kid
	return &renamed
}

// same says whether two keys are one: the same key, kid and algorithm.
func (k *VerificationKey) same(other *VerificationKey) bool {
	return other != nil && k.id == other.id && k.alg == other.alg && k.digest == other.digest
}

// check says why a key cannot be put to use.
func (k *VerificationKey) check() error {
	switch {
	case k == nil || k.verify == nil:
		return errors.New("no key: it is nil or was not made by this package")
	case k.id == "" || len(k.id) > maxKeyID || !utf8.ValidString(k.id):
		return fmt.Errorf("a kid has 1 to %d bytes of UTF-8, this one is %s", maxKeyID, quoted(k.id))
	}
	return nil
}

func (k VerificationKey) String() string {
	return fmt.Sprintf("VerificationKey(%s %s)", k.Algorithm(), quoted(k.ID()))
}

// Format prints the algorithm and the kid, whatever the verb.
func (k VerificationKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue is the algorithm and the kid.
func (k VerificationKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is the algorithm and the kid; see [VerificationKey.JWK].
func (k VerificationKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// SigningKey signs with one key and one algorithm. It is immutable and prints
// as its algorithm and kid alone. The zero value signs nothing.
type SigningKey struct {
	half    *VerificationKey
	signer  jwa.Signer
	private *private      // behind a pointer, which fmt does not follow
	headers [kinds]string // the encoded header of each kind of token
}

// private is the half of a key that never leaves it but for PrivatePEM and
// PrivateJWK.
type private struct {
	key    crypto.Signer // nil for HMAC
	secret []byte        // HMAC alone
}

// ContextSigner is a crypto.Signer that can be cancelled, as the clients of key
// management services are. Where a signer has the method, it is used.
type ContextSigner interface {
	crypto.Signer
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// generatedRSABits is the size of the RSA keys that GenerateKey makes.
const generatedRSABits = 2048

// GenerateKey makes a new random key: as long as the hash for HMAC, 2048 bits
// for RSA. ES256 is the one to take where nothing else is asked for: every
// verifier in the field accepts it.
func GenerateKey(alg Algorithm) (*SigningKey, error) { return named(generateKey(alg)) }

// named puts the name of the package before the error of an exported function
// that makes a key.
func named[K any](k *K, err error) (*K, error) {
	if err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	return k, nil
}

func generateKey(alg Algorithm) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	var signer crypto.Signer
	switch a.Family {
	case jwa.HMAC:
		secret := make([]byte, a.Hash.Size())
		rand.Read(secret)
		return newHMACKey(alg, "", secret)
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
	return newSigningKey(alg, signer)
}

// NewHMACKey makes a key from a shared secret. The secret must be at least as
// long as the hash (RFC 7518, section 3.2) and not guessable: no sample from
// public documents, at least 16 different bytes (12 where it is printable
// text, which refuses one in sixty of 32 hexadecimal digits: take 64), no sequence,
// no repetition. Where kid is "", one is derived from the secret, so that
// two processes and a restart agree on it. The slice is copied.
func NewHMACKey(alg Algorithm, kid string, secret []byte) (*SigningKey, error) {
	return named(newHMACKey(alg, kid, secret))
}

func newHMACKey(alg Algorithm, kid string, secret []byte) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	if err := a.CheckSecret(secret); err != nil {
		return nil, err
	}
	if err := jwa.CheckGuessable(secret); err != nil {
		return nil, err
	}
	mac := a.NewHMAC(secret)
	digest := secretDigest(mac)
	if kid == "" {
		kid = digest
	}
	k := &SigningKey{signer: mac, private: &private{secret: slices.Clone(secret)}}
	return k.withHalf(&VerificationKey{id: kid, alg: a, verify: mac, digest: digest}), nil
}

// secretDigest derives a kid from a secret: a code over a fixed label, which does
// not help to find the secret.
func secretDigest(mac *jwa.HMACKey) string {
	return base64.RawURLEncoding.EncodeToString(mac.AppendCode(nil, []byte("jwtauth kid 1"))[:16])
}

// NewSigningKey makes a key from a private key in memory, or from a signer that
// lives elsewhere (a KMS, an HSM). The latter gets the digest (for EdDSA, the
// text), may return ECDSA signatures in ASN.1 or as r and s side by side, may
// be slow or fail, and is given the context where it is a [ContextSigner]; each
// of its signatures is checked with its public key before it is handed out. It
// is not called here. Its kid is the RFC 7638 thumbprint of the public key. A
// private key in memory must not be changed afterwards.
func NewSigningKey(alg Algorithm, signer crypto.Signer) (*SigningKey, error) {
	return named(newSigningKey(alg, signer))
}

func newSigningKey(alg Algorithm, signer crypto.Signer) (*SigningKey, error) {
	a, err := alg.lookup()
	if err != nil {
		return nil, err
	}
	switch k := signer.(type) {
	case ed25519.PrivateKey:
		signer = slices.Clone(k)
	case *rsa.PrivateKey:
		if k != nil && k.N != nil && k.D != nil { // without a race on the caller's
			own := &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: slices.Clone(k.Primes)}
			own.Precompute()
			signer = own
		}
	}
	prepared, err := a.NewSigner(signer)
	if err != nil {
		return nil, err
	}
	half, err := newVerificationKey(a, signer.Public())
	if err != nil {
		return nil, err
	}
	k := &SigningKey{signer: prepared, private: &private{key: signer}}
	return k.withHalf(half), nil
}

func newVerificationKey(a *jwa.Algorithm, pub crypto.PublicKey) (*VerificationKey, error) {
	if err := a.CheckPublic(pub); err != nil {
		return nil, err
	}
	k := &VerificationKey{alg: a, public: pub, verify: a.NewVerifier(pub)}
	k.digest = thumbprint(k)
	k.id = k.digest
	return k, nil
}

// ID returns the kid; see [VerificationKey.ID].
func (k *SigningKey) ID() string { return k.VerificationKey().ID() }

// Algorithm returns the one algorithm that the key is for.
func (k *SigningKey) Algorithm() Algorithm { return k.VerificationKey().Algorithm() }

// WithID returns the same key under another kid; see [VerificationKey.WithID].
func (k *SigningKey) WithID(kid string) *SigningKey {
	if k == nil || k.half == nil {
		return k
	}
	renamed := *k
	return renamed.withHalf(k.half.WithID(kid))
}

// VerificationKey returns the verifying half, nil for a zero key.
func (k *SigningKey) VerificationKey() *VerificationKey {
	if k == nil {
		return nil
	}
	return k.half
}

// withHalf sets the verifying half and what follows from it.
func (k *SigningKey) withHalf(half *VerificationKey) *SigningKey {
	k.half = half
	for kind := range k.headers {
		k.headers[kind] = encodeHeader(tokenKind(kind), half)
	}
	return k
}

func (k SigningKey) String() string {
	return fmt.Sprintf("SigningKey(%s %s)", k.Algorithm(), quoted(k.ID()))
}

// Format prints the algorithm and the kid, whatever the verb.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue is the algorithm and the kid.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is the algorithm and the kid; see [SigningKey.PrivateJWK].
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// tokenKind tells the two kinds of tokens apart; each has a typ of its own.
type tokenKind int

const (
	accessToken tokenKind = iota
	refreshToken
	kinds
)

func (k tokenKind) typ() string {
	if k == refreshToken {
		return "rt+jwt"
	}
	return "at+jwt" // RFC 9068, section 2.1
}

// encodeHeader makes the header segment of the tokens that a key signs.
func encodeHeader(kind tokenKind, k *VerificationKey) string {
	var o strictjson.Writer
	o.Str("alg", k.alg.Name)
	o.Str("typ", kind.typ())
	o.Str("kid", k.id)
	return compact.Encode(o.Object())
}
