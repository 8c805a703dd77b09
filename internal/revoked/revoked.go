// Package revoked computes the ids by which a revocation store knows tokens and sessions.
// It also has an optional fast path between package jwtauth and stores that answer from
// memory.
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

// ID is the id of a token or session in a revocation store. It is a digest.
type ID = expiring.ID

// IDs are the ids that revoke one token: the id of the token and, if the token belongs to a
// session, the ids of the session and of its epoch. N is their number. Of is an array and
// not a slice, so that a look-up allocates nothing.
type IDs struct {
	Of [3]ID
	N  int
}

// The kinds of ids, for NewID.
const (
	Token   = 't' // the value is a jti
	Session = 's' // the value is a sid
	Traded  = 'o' // the value is the 16 bytes of the id of an old token that has bought a session
	epoch   = 'e' // the value is an epoch as 8 bytes (big-endian), and a sid
)

// NewID returns the id of a token or session: the first 16 bytes of the SHA-256 of its
// kind, the length of issuer as 4 bytes (big-endian), issuer and value. This format must not
// change, since processes of different versions share a store.
func NewID(kind byte, issuer, value string) ID {
	var buffer [256]byte
	return digest(append(begin(buffer[:0], kind, issuer), value...))
}

// NewEpochID returns the id of one epoch of a session. It is made like NewID.
func NewEpochID(issuer, sid string, n int64) ID {
	var buffer [256]byte
	text := binary.BigEndian.AppendUint64(begin(buffer[:0], epoch, issuer), uint64(n))
	return digest(append(text, sid...))
}

func begin(text []byte, kind byte, issuer string) []byte {
	text = binary.BigEndian.AppendUint32(append(text, kind), uint32(len(issuer)))
	return append(text, issuer...)
}

func digest(text []byte) ID {
	sum := sha256.Sum256(text)
	return ID(sum[:16])
}

// Encode returns the text of an id for a RevocationStore: base64url without padding.
func Encode(id ID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Parse decodes the text of an id that Encode has made. It maps any other text to a digest
// of the text.
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

// Memory is the fast path of a RevocationStore that answers from memory. A store offers it
// by a method MemorySeam() Memory. The fast path gives the same answers as the store.
type Memory struct {
	// Store is the store itself. MemoryOf compares Store with its argument, to detect a
	// type that embeds the store. Such a type inherits MemorySeam, but may override
	// IsRevoked.
	Store any
	// HasAny is IsRevoked for ids that are not encoded. If now is zero, the store reads its
	// own clock.
	HasAny func(ctx context.Context, ids IDs, now time.Time) (bool, error)
	// RealTime means that the clock of the store is time.Now. A caller that has just called
	// time.Now may then pass the result as now.
	RealTime bool
	// NeverWaits means that no method blocks, so that a caller needs no time-out.
	NeverWaits bool
}

// MemoryOf returns the fast path of a store. ok is false if the store has none.
func MemoryOf(store any) (m Memory, ok bool) {
	s, ok := store.(interface{ MemorySeam() Memory })
	if !ok {
		return Memory{}, false
	}
	m = s.MemorySeam()
	return m, m.Store == store
}
