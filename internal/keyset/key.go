// Package keyset has the interfaces by which package jwtauth gets keys from package jwk.
// jwk implements Set and Ring; jwtauth signs and verifies with the keys that they return.
// Since these types are internal, no program can write a jwk.Set of its own.
package keyset

import (
	"context"
	"crypto"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Key is a key for verifying signatures, with the only algorithm that may be used with it.
// It is immutable.
type Key struct {
	ID       string           // the kid
	Alg      *jwa.Algorithm   // the only algorithm that may be used with the key
	Public   crypto.PublicKey // nil for HMAC
	Verifier jwa.Verifier
	Digest   string // identifies the key material: its thumbprint, or a value derived from the secret
}

// Same reports whether two keys have the same material, kid and algorithm.
func (k *Key) Same(other *Key) bool {
	return other != nil && k.ID == other.ID && k.Alg == other.Alg && k.Digest == other.Digest
}

// SameMaterial reports whether two keys have the same material. Their kids and algorithms may
// differ.
func (k *Key) SameMaterial(other *Key) bool {
	a, isMAC := k.Verifier.(*jwa.HMACKey)
	b, isOtherMAC := other.Verifier.(*jwa.HMACKey)
	if isMAC && isOtherMAC {
		return a.SameSecret(b)
	}
	return k.Digest == other.Digest
}

// KeyID returns the kid; "" for the nil Key.
func (k *Key) KeyID() string {
	if k == nil {
		return ""
	}
	return k.ID
}

// name returns the alg and kid by which a Table finds k.
func (k *Key) name() keyName { return keyName{k.Alg.Name, k.ID} }

// Kind is a kind of token. Each has its own typ.
type Kind int

// The kinds.
const (
	Access Kind = iota
	Refresh
	kinds
)

// Old is the kind of the tokens of other code; see package migrate. No Signer signs them.
const Old Kind = -1

// Typ returns the typ of the tokens of a kind.
func (k Kind) Typ() string {
	switch k {
	case Refresh:
		return "rt+jwt"
	case Old:
		return "JWT"
	}
	return "at+jwt" // RFC 9068, section 2.1
}

// Signer signs tokens with one key. It is immutable and safe for concurrent use.
type Signer struct {
	key     *Key
	signer  jwa.Signer
	headers [kinds]string
}

// NewSigner makes a Signer for key. The signatures come from signer.
func NewSigner(key *Key, signer jwa.Signer) *Signer {
	s := &Signer{key: key, signer: signer}
	for kind := range s.headers {
		var o strictjson.Writer
		o.Str("alg", key.Alg.Name)
		o.Str("typ", Kind(kind).Typ())
		o.Str("kid", key.ID)
		s.headers[kind] = compact.Encode(o.Object())
	}
	return s
}

// Key returns the key that verifies the signatures of s.
func (s *Signer) Key() *Key { return s.key }

// Header returns the encoded header of the tokens of a kind.
func (s *Signer) Header(kind Kind) string { return s.headers[kind] }

// AppendSignature appends the signature of text to dst.
func (s *Signer) AppendSignature(ctx context.Context, dst, text []byte) ([]byte, error) {
	return s.signer.AppendSignature(ctx, dst, text)
}

// IsTyp reports whether typ is want, in any case and with or without the prefix application/.
func IsTyp(typ, want string) bool {
	if prefix := "application/"; len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return strings.EqualFold(typ, want)
}
