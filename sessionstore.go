package jwtauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// Session describes a session, one login on one device, for a list that users can see.
type Session struct {
	ID       string
	Subject  string
	ClientID string
	Label    string
	Scopes   []string

	CreatedAt   time.Time
	AuthTime    time.Time // when the login began
	RefreshedAt time.Time // the last refresh; the login if there was none
	IdleEnd     time.Time // when the session ends unless it is refreshed
	EndsAt      time.Time // when the session ends in any case
}

// SessionKey names a session. Sessions of one Issuer and Subject belong together, and a
// store may partition by them. The parts are UTF-8.
type SessionKey struct{ Issuer, Subject, ID string }

// event returns an event that names the session, without a kind.
func (k SessionKey) event() event.Event {
	return event.Event{Issuer: k.Issuer, Subject: k.Subject, SessionID: k.ID}
}

// SessionRecord is the row of a session. A session has one row, however often it is
// refreshed. A store returns the fields as it got them. A row holds no token.
type SessionRecord struct {
	Key        SessionKey
	Generation int64     // of the newest refresh token; the first has 1
	Previous   int64     // the generation that the last Advance replaced; 0 before the first Advance
	RotatedAt  time.Time // the time of the last Advance, or of Create; UTC, in microseconds
	ExpiresAt  time.Time // when Advance no longer finds the row; UTC, in microseconds
	Data       []byte    // JSON that the store does not read, at most 8 KiB; Advance does not change it
}

// Rotation is the step that Advance makes.
type Rotation struct {
	From      int64 // the generation of the token that was presented
	At        time.Time
	ExpiresAt time.Time
}

// SessionStore is the allow list of sessions. A session that is not in the store cannot
// be refreshed. A store that loses its rows therefore logs users out, and lets nobody in.
// A store must honor its context and be safe for concurrent use. If a method returns an
// error other than ErrNoSession, it may have taken effect or not.
type SessionStore interface {
	// Create adds a row. It is an error if there is a row with the same Key.
	Create(ctx context.Context, r SessionRecord) error
	// Advance is one atomic step. If there is no row, or r.At is not before its ExpiresAt,
	// it returns ErrNoSession. If the Generation of the row is at most r.From, Advance sets
	// Previous to Generation, Generation to r.From + 1, RotatedAt to r.At and ExpiresAt to
	// r.ExpiresAt, and returns true for advanced. Of several callers with the same r.From,
	// exactly one gets true. In every case Advance returns the row as it is afterwards.
	Advance(ctx context.Context, k SessionKey, r Rotation) (row SessionRecord, advanced bool, err error)
	// Delete removes a row. It returns nil if there is none.
	Delete(ctx context.Context, k SessionKey) error
	// List returns the rows of a subject, in any order. It returns every row whose Create
	// returned before the call, as long as Advance can find the row. A store must keep a
	// row for at least a minute after its ExpiresAt: clocks may be that far apart, and a
	// refresh that has begun may still prolong the session.
	List(ctx context.Context, issuer, subject string) ([]SessionRecord, error)
}

// newSessionID makes a sid of 36 characters: 16 random bytes, and a digest that binds
// them to the subject. With the digest, EndSession can check the subject without a row.
func newSessionID(issuer, subject string) string {
	var random [sidRandom]byte
	rand.Read(random[:])
	return sealSessionID(random[:], issuer, subject)
}

const (
	sidRandom = 16
	sidDigest = 11
)

func sealSessionID(random []byte, issuer, subject string) string {
	text := append([]byte("sid"), random...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(issuer)))
	text = append(text, issuer...)
	text = append(text, subject...)
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(append(random[:sidRandom:sidRandom], sum[:sidDigest]...))
}

// isSessionOf reports whether newSessionID has made sid for that issuer and subject.
func isSessionOf(sid, issuer, subject string) bool {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	return err == nil && len(b) == sidRandom+sidDigest && sealSessionID(b[:sidRandom], issuer, subject) == sid
}

// These reasons of events are not names of checks.
const (
	reasonLateParent   = "late_parent" // the next refresh token had not been used yet
	reasonOldToken     = "old_token"   // the next refresh token had been used
	reasonLogout       = "logout"
	reasonEnded        = "ended"
	reasonReuse        = "reuse"
	reasonGrantRefused = "grant_refused"
)

// sessions calls the two stores of an Issuer and ends its sessions. It is nil if the
// Issuer has no SessionStore.
type sessions struct {
	issuer      string
	store       SessionStore
	neverWaits  bool          // store is in memory and needs no time-out
	timeout     time.Duration // of one call to store; 0 means none
	revocations *revocations  // nil with InsecureAccessOutlivesSession
	accessTTL   time.Duration // the longest lifetime of an access token
	now         func() time.Time
	onEvent     hook.Hook
}

func newSessions(o *IssuerOptions, r *revocations, now func() time.Time) *sessions {
	if o.Sessions == nil {
		return nil
	}
	memory, ok := revoked.MemoryOf(o.Sessions)
	return &sessions{
		issuer: o.Issuer, store: o.Sessions, neverWaits: ok && memory.NeverWaits, timeout: o.StoreTimeout,
		revocations: r, accessTTL: o.LongestAccessTTL, now: now, onEvent: o.OnEvent,
	}
}

func (s *sessions) key(subject, sid string) SessionKey { return SessionKey{s.issuer, subject, sid} }

// bounded returns the context for one call to the session store.
func (s *sessions) bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if s.neverWaits {
		timeout = 0
	}
	return withTimeout(ctx, timeout)
}

func (s *sessions) create(ctx context.Context, r SessionRecord) error {
	ctx, cancel := s.bounded(ctx, s.timeout)
	defer cancel()
	if err := s.store.Create(ctx, r); err != nil {
		return unavailable("session", err)
	}
	return nil
}

func (s *sessions) advance(ctx context.Context, key SessionKey, r Rotation, timeout time.Duration) (SessionRecord, bool, error) {
	ctx, cancel := s.bounded(ctx, timeout)
	defer cancel()
	return s.store.Advance(ctx, key, r)
}

func (s *sessions) delete(ctx context.Context, key SessionKey) error {
	ctx, cancel := s.bounded(ctx, s.timeout)
	defer cancel()
	return s.store.Delete(ctx, key)
}

func (s *sessions) list(ctx context.Context, subject string) ([]SessionRecord, error) {
	ctx, cancel := s.bounded(ctx, s.timeout)
	defer cancel()
	rows, err := s.store.List(ctx, s.issuer, subject)
	if err != nil {
		return nil, unavailable("session", err)
	}
	return rows, nil
}

// isRevoked reports whether a session was revoked. Its row may still be there, if Delete
// failed or the session store has lost a Delete.
func (s *sessions) isRevoked(ctx context.Context, sid string, now time.Time) (bool, error) {
	if s.revocations == nil {
		return false, nil
	}
	return s.revocations.hasAny(ctx, revoked.IDs{Of: [2]revoked.ID{revoked.NewID(revoked.Session, s.issuer, sid)}, N: 1}, now)
}

// revoke revokes all access tokens of a session that were issued until now.
func (s *sessions) revoke(ctx context.Context, key SessionKey) error {
	if s.revocations == nil {
		return nil
	}
	until := s.now().Add(s.accessTTL + bound.EndMargin)
	return s.revocations.revoke(ctx, SessionID(key.Issuer, key.ID), until)
}

// end ends a session in both stores, and then sends SessionEnded.
func (s *sessions) end(ctx context.Context, key SessionKey, reason string) error {
	if err := s.deleteAndRevoke(ctx, key); err != nil {
		return err
	}
	s.onEvent.Send(ctx, endedEvent(key, reason))
	return nil
}

func endedEvent(key SessionKey, reason string) event.Event {
	e := key.event()
	e.Kind, e.Reason = event.SessionEnded, reason
	return e
}

// deleteAndRevoke deletes the row of a session, then reads the clock, then revokes the
// session. In this order, the revocation outlives every access token that a concurrent
// refresh got before the row was deleted. deleteAndRevoke makes both calls, even if the
// first one fails or ctx has ended.
func (s *sessions) deleteAndRevoke(ctx context.Context, key SessionKey) error {
	ctx = context.WithoutCancel(ctx)
	if s.timeout == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*bound.StoreTimeout)
		defer cancel()
	}
	if err := errors.Join(s.delete(ctx, key), s.revoke(ctx, key)); err != nil {
		return unavailable("session", err)
	}
	return nil
}

// endAll implements EndOtherSessions and EndAllSessions. It sends SessionEnded for all
// sessions after it has tried the last one.
func (s *sessions) endAll(ctx context.Context, subject, keepID string) error {
	var errs []error
	var ended []event.Event
	tried := map[string]bool{keepID: true}
	for found := true; found; {
		found = false
		rows, err := s.list(ctx, subject)
		if err != nil {
			errs = append(errs, err)
			break
		}
		for _, row := range rows {
			if err := ctx.Err(); err != nil {
				errs = append(errs, err)
				found = false
				break
			}
			if tried[row.Key.ID] {
				continue
			}
			tried[row.Key.ID], found = true, true
			key := s.key(subject, row.Key.ID)
			if err := s.deleteAndRevoke(ctx, key); err != nil {
				errs = append(errs, err)
			} else {
				ended = append(ended, endedEvent(key, reasonEnded))
			}
		}
	}
	s.onEvent.Send(ctx, ended...)
	if err := errors.Join(errs...); err != nil {
		return unavailable("session", err)
	}
	return nil
}

// refuseEndedSession returns the error for a good refresh token whose session has no row.
// It revokes the access tokens of the session again, in case the row was deleted but the
// revocation failed.
func (s *sessions) refuseEndedSession(ctx context.Context, key SessionKey) error {
	if err := s.revoke(ctx, key); err != nil {
		return unavailable("revocation", err)
	}
	return refused("session", ErrNoSession, "", "")
}
