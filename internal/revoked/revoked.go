// Package revoked has the ids under which tokens and sessions are revoked, and the
// seam by which package jwtauth asks a store that answers from memory.
package revoked

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// ID is the digest that a revocation store keeps.
type ID = expiring.ID

// IDs are the ids that a store is asked for about one token: that of the token and, if the
// token has a session, that of the session. They are passed by value, so that asking
// allocates nothing.
type IDs struct {
	Of [2]ID
	N  int
}

// The kinds of ids.
const (
	Token   = 't' // the value is a jti
	Session = 's' // the value is a sid
)

// NewID returns the id of a token or session: the first 16 bytes of the SHA-256 of its
// kind, the length of iss as 4 bytes (big-endian), iss and value. Processes of
// different versions share it.
func NewID(kind byte, issuer, value string) ID {
	var buffer [256]byte
	text := append(buffer[:0], kind)
	text = binary.BigEndian.AppendUint32(text, uint32(len(issuer)))
	text = append(text, issuer...)
	text = append(text, value...)
	sum := sha256.Sum256(text)
	return ID(sum[:16])
}

// Encode returns the text of an id for a RevocationStore: base64url without padding.
func Encode(id ID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Parse returns the id whose text it is. Any other text is hashed.
func Parse(text string) ID {
	var id ID
	if len(text) == base64.RawURLEncoding.EncodedLen(len(id)) {
		if b, err := compact.AppendDecode(make([]byte, 0, 32), text); err == nil {
			return ID(b)
		}
	}
	sum := sha256.Sum256([]byte("x" + text))
	return ID(sum[:16])
}

// Memory is what a store that answers from memory has in addition to the methods of a
// RevocationStore. It saves time and changes no answer.
type Memory struct {
	// Store is the store itself: a type that embeds the store inherits its method
	// MemorySeam, and may have replaced others.
	Store any
	// HasAny is IsRevoked for ids that are not encoded. now is zero if the store is to
	// read its own clock.
	HasAny func(ctx context.Context, ids IDs, now time.Time) (bool, error)
	// RealTime means that the store uses time.Now, so that a caller who has read that
	// clock can pass the time on.
	RealTime bool
	// NeverWaits means that no method waits, so that no time-out is needed.
	NeverWaits bool
}

// MemoryOf returns the Memory of a store; ok is false if it has none.
func MemoryOf(store any) (m Memory, ok bool) {
	s, ok := store.(interface{ MemorySeam() Memory })
	if !ok {
		return Memory{}, false
	}
	m = s.MemorySeam()
	return m, m.Store == store
}
