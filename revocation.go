package jwtauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// RevocationStore is the deny list: identifiers of tokens and sessions, each
// with an end. It must honour its context, never drop an entry before its end,
// and be safe for concurrent use.
type RevocationStore interface {
	// Revoke adds id until that time. It never shortens an entry that is there.
	// When it has returned nil, every later IsRevoked sees the entry.
	Revoke(ctx context.Context, id string, until time.Time) error
	// IsRevoked says whether any of ids is there. An error means that it is not
	// known. It must not keep ids.
	IsRevoked(ctx context.Context, ids ...string) (bool, error)
}

// RevocationLog is a RevocationStore that tells what it was told: the part of a
// shared store that a [Replica] reads.
type RevocationLog interface {
	RevocationStore
	// Since calls entry for every live revocation that the store was told after
	// it handed out the cursor, in any order, some of them perhaps again, and returns
	// the cursor to go on from; a Revoke that changed nothing need not be told. A
	// cursor is opaque, of 1 to 256 bytes. "" asks for all there is. Where the store
	// cannot say what it was told since, as the cursor is not its own or too old, or
	// its engine is not what it was then, it tells all there is and reset is true.
	// entry is called by one goroutine at a time, and not after Since has returned;
	// what it was told before an error counts.
	Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error)
}

// RevocationWatcher is what a RevocationLog has beside, whose engine can push: the
// Replica finds it out, so a type that wraps the store must have it, too. Watch calls
// changed whenever there may be something new to ask Since for, until ctx ends or it
// cannot go on, and says why. It returns after changed was called for the last
// time; a push that is lost costs no more than the time to the next poll.
type RevocationWatcher interface {
	Watch(ctx context.Context, changed func()) error
}

// TokenID is the identifier under which the token with that iss and jti is
// revoked. It is a wire format that processes of different versions share:
// base64url, without padding, of the first 16 bytes of the SHA-256 of the
// letter t, the length of iss as 4 bytes (big-endian), iss and jti. Equal jti of
// two issuers do not meet, and nothing that a stranger wrote reaches a store.
func TokenID(issuer, jti string) string { return encodeID(revocationID('t', issuer, jti)) }

// SessionID is the identifier under which the session with that iss and sid is
// revoked: as [TokenID], with the letter s and the sid.
func SessionID(issuer, sid string) string { return encodeID(revocationID('s', issuer, sid)) }

func encodeID(id expiring.ID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func revocationID(kind byte, issuer, value string) expiring.ID {
	var few [256]byte
	text := append(few[:0], kind)
	text = binary.BigEndian.AppendUint32(text, uint32(len(issuer)))
	text = append(text, issuer...)
	text = append(text, value...)
	sum := sha256.Sum256(text)
	return expiring.ID(sum[:16])
}

// revocationIDs are what a revocation store is asked about a token: its own id
// and, where it has a session, that of the session.
type revocationIDs struct {
	of [2]expiring.ID
	n  int
}

func (r *revocationIDs) list() []expiring.ID { return r.of[:r.n] }

func idsOf(t *Token) (r revocationIDs) {
	r.of[0], r.n = revocationID('t', t.Issuer, t.ID), 1
	if t.SessionID != "" {
		r.of[1], r.n = revocationID('s', t.Issuer, t.SessionID), 2
	}
	return r
}

// isRevokedHere asks a store that answers from memory; here is false for others.
func isRevokedHere(ctx context.Context, store RevocationStore, ids []expiring.ID, now time.Time) (revoked, here bool, err error) {
	switch store := store.(type) {
	case *MemoryStore:
		revoked, err = store.has(ids, now)
	case *Replica:
		revoked, err = store.check(ctx, ids)
	default:
		return false, false, nil
	}
	return revoked, true, err
}

// revokeToken revokes one token until no verifier would take it any more.
func revokeToken(ctx context.Context, store RevocationStore, timeout time.Duration, onEvent hook, t Token) error {
	if t.ID == "" {
		return errors.New("jwtauth: a token without jti cannot be revoked")
	}
	bounded, cancel := storeContext(ctx, store, timeout)
	defer cancel()
	e := t.event()
	if err := store.Revoke(bounded, TokenID(t.Issuer, t.ID), t.ExpiresAt.Add(endMargin)); err != nil {
		err := noAnswer("revocation", err)
		onEvent.sendFailure(ctx, Unavailable, e, err)
		return err
	}
	e.Kind = TokenRevoked
	onEvent.send(ctx, e)
	return nil
}

// storeContext bounds a call to a store, unless the store never waits.
func storeContext(ctx context.Context, store any, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, never := store.(*MemoryStore); never || timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}
