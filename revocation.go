package jwtauth

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// RevocationStore is the deny list: it keeps ids of tokens and sessions, each with an end. A
// store must honor its context, keep an entry until its end, and be safe for concurrent use.
type RevocationStore interface {
	// Revoke adds an entry for id that ends at the time until. It never shortens an entry.
	// Once Revoke has returned nil, every later IsRevoked sees the entry.
	Revoke(ctx context.Context, id string, until time.Time) error
	// IsRevoked reports whether at least one of ids is revoked. If it cannot find out, it
	// returns an error. It must not keep ids after it has returned.
	IsRevoked(ctx context.Context, ids ...string) (bool, error)
}

// TokenID returns the id under which the token with that iss and jti is revoked. The format
// is stable, since old and new processes share a store. The id is the first 16 bytes of a
// SHA-256, in base64url without padding. The hashed bytes are the letter t, the length of
// iss in 4 bytes (big-endian), iss, and jti. Equal jti of two issuers therefore have
// different ids, and no text of an attacker reaches a store.
func TokenID(issuer, jti string) string {
	return revoked.Encode(revoked.NewID(revoked.Token, issuer, jti))
}

// SessionID returns the id under which the session with that iss and sid is revoked. It
// is made like [TokenID], with the letter s and the sid.
func SessionID(issuer, sid string) string {
	return revoked.Encode(revoked.NewID(revoked.Session, issuer, sid))
}

// sameStore reports whether a and b are the same store. It is false if they cannot be
// compared.
func sameStore(a, b RevocationStore) bool {
	a, b = unwrapped(a), unwrapped(b)
	return a != nil && b != nil && reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// unwrapped returns the store inside of a wrapper of package jwtauthtest, or else the store itself.
func unwrapped(s RevocationStore) RevocationStore {
	if w, ok := s.(interface{ WrappedRevocations() RevocationStore }); ok {
		return w.WrappedRevocations()
	}
	return s
}

// revocationIDsOf returns the ids by which a token may be revoked: its own, that of its
// session, and that of the epoch of its session.
func revocationIDsOf(t *Token) (ids revoked.IDs) {
	ids.Of[0], ids.N = revoked.NewID(revoked.Token, t.Issuer, t.ID), 1
	if t.SessionID != "" {
		ids.Of[1], ids.N = revoked.NewID(revoked.Session, t.Issuer, t.SessionID), 2
		if t.hasEpoch {
			ids.Of[2], ids.N = revoked.NewEpochID(t.Issuer, t.SessionID, t.epoch), 3
		}
	}
	return ids
}

// revocations calls a RevocationStore, with a time-out. A nil *revocations means that
// there is no store.
type revocations struct {
	store       RevocationStore
	timeout     time.Duration  // 0 means none
	memory      revoked.Memory // direct access to a store in the memory of this process; may be zero
	sharesClock bool           // the caller and the store in memory read the same clock
	onEvent     hook.Hook
}

// newRevocations makes the revocations for a store. isRealTime says that the Issuer or
// Verifier reads time.Now.
func newRevocations(store RevocationStore, timeout time.Duration, isRealTime bool, onEvent hook.Hook) *revocations {
	if store == nil {
		return nil
	}
	r := &revocations{store: store, timeout: timeout, onEvent: onEvent}
	if memory, ok := revoked.MemoryOf(store); ok {
		r.memory, r.sharesClock = memory, memory.RealTime && isRealTime
	}
	return r
}

// hasAny reports whether at least one of ids is revoked. now is the present time.
func (r *revocations) hasAny(ctx context.Context, ids revoked.IDs, now time.Time) (bool, error) {
	if r.memory.HasAny != nil {
		if !r.sharesClock {
			now = time.Time{}
		}
		return r.memory.HasAny(ctx, ids, now)
	}
	texts := make([]string, ids.N)
	for i, id := range ids.Of[:ids.N] {
		texts[i] = revoked.Encode(id)
	}
	ctx, cancel := withTimeout(ctx, r.timeout)
	defer cancel()
	return r.store.IsRevoked(ctx, texts...)
}

// ready returns nil if the store answers, or if there is none.
func (r *revocations) ready(ctx context.Context, now time.Time) error {
	if r == nil {
		return nil
	}
	if _, err := r.hasAny(ctx, revoked.IDs{N: 1}, now); err != nil {
		return unavailable("revocation", err)
	}
	return nil
}

// revoke adds id to the store, until the given time.
func (r *revocations) revoke(ctx context.Context, id string, until time.Time) error {
	if !r.memory.NeverWaits {
		var cancel context.CancelFunc
		ctx, cancel = withTimeout(ctx, r.timeout)
		defer cancel()
	}
	return r.store.Revoke(ctx, id, until)
}

// revokeToken revokes one token. The entry ends when the token has expired for every
// verifier.
func (r *revocations) revokeToken(ctx context.Context, t Token) error {
	if t.ID == "" {
		return errors.New("jwtauth: a token without jti cannot be revoked")
	}
	return r.revokeUntil(ctx, &t, TokenID(t.Issuer, t.ID), t.ExpiresAt.Add(bound.EndMargin))
}

// revokeUntil revokes one token by its id in the store.
func (r *revocations) revokeUntil(ctx context.Context, t *Token, id string, until time.Time) error {
	e := t.event()
	if err := r.revoke(ctx, id, until); err != nil {
		err := unavailable("revocation", err)
		sendFailure(ctx, r.onEvent, event.Unavailable, e, err)
		return err
	}
	e.Kind = event.TokenRevoked
	r.onEvent.Send(ctx, e)
	return nil
}

// withTimeout bounds a call to a store. If timeout is zero, only ctx bounds it.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}
