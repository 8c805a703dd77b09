package jwtauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// Session is one login on one device, as people see it.
type Session struct {
	ID       string
	Subject  string
	ClientID string
	Label    string
	Scopes   []string

	CreatedAt   time.Time
	AuthTime    time.Time // when the login began
	RefreshedAt time.Time // when it was refreshed last
	IdleEnd     time.Time // when it ends unless it is refreshed
	EndsAt      time.Time // when it ends in any case
}

// SessionKey names a session. A store partitions by Issuer and Subject, so that
// the sessions of one subject lie together. The parts are UTF-8.
type SessionKey struct{ Issuer, Subject, ID string }

// SessionRecord is the one row of a session, however often it is refreshed. A
// store keeps it as it is; there is no token in it.
type SessionRecord struct {
	Key        SessionKey
	Generation int64     // of the refresh token that is good now; the first is 1
	Previous   int64     // the generation that the last Advance replaced; 0 before the first
	RotatedAt  time.Time // of the last Advance, or of Create; UTC, microseconds
	ExpiresAt  time.Time // UTC, microseconds
	Data       []byte    // JSON, opaque to the store, at most 8 KiB, set once
}

// Rotation is what Advance writes.
type Rotation struct {
	From      int64 // the generation of the token that was presented
	At        time.Time
	ExpiresAt time.Time
}

// SessionStore is the allow list of sessions: what is not there cannot be
// refreshed, so a store that loses everything logs people out and never lets
// anyone in. It must honour its context and be safe for concurrent use. Where a
// method returns an error other than the one named, it may have taken effect or
// not.
type SessionStore interface {
	// Create adds a row. An ID that is there already is an error.
	Create(ctx context.Context, r SessionRecord) error
	// Advance is one atomic step. Where there is no row, or r.At is not before
	// its ExpiresAt, it returns ErrNoSession. Where the row's Generation is at
	// most r.From, that generation becomes Previous, Generation becomes
	// r.From + 1, RotatedAt and ExpiresAt become r's, and advanced is true; of
	// callers that race with one r.From, exactly one gets true. In every case the
	// row as it is afterwards comes back.
	Advance(ctx context.Context, k SessionKey, r Rotation) (row SessionRecord, advanced bool, err error)
	// Delete removes a row; nil where there is none.
	Delete(ctx context.Context, k SessionKey) error
	// List returns the rows of a subject, in any order: every one whose Create
	// returned before the call. Only those may be missing that Advance would not
	// find either: a row is kept for a minute after its ExpiresAt at least, since
	// clocks may be that far apart, and a refresh that has begun may still prolong it.
	List(ctx context.Context, issuer, subject string) ([]SessionRecord, error)
}

// newSessionID makes a sid: 16 random bytes, and a digest that binds them to the
// subject, so that EndSession can tell whose session it was when its row is gone
// already. 36 characters.
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

// isSessionOf says whether a sid was made for that subject.
func isSessionOf(sid, issuer, subject string) bool {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	return err == nil && len(b) == sidRandom+sidDigest && sealSessionID(b[:sidRandom], issuer, subject) == sid
}

// endMargin is for how much longer than the longest access token the revocation
// of a session is kept: the largest leeway of a verifier, and the skew of the
// clocks.
const endMargin = maxLeeway + maxSkew

// revokeSession revokes the access tokens of a session, all that were issued up
// to now.
func (i *Issuer) revokeSession(ctx context.Context, key SessionKey) error {
	if i.o.Revocations == nil {
		return nil // InsecureAccessOutlivesSession
	}
	until := i.now().Add(i.o.LongestAccessTTL + endMargin)
	ctx, cancel := storeContext(ctx, i.o.Revocations, i.o.StoreTimeout)
	defer cancel()
	return i.o.Revocations.Revoke(ctx, SessionID(key.Issuer, key.ID), until)
}

// end ends one session: Delete, then the clock, then Revoke, so that no access
// token that a racing refresh got before the Delete outlives the revocation.
// Both halves are attempted, also where the request has been cancelled.
func (i *Issuer) end(ctx context.Context, key SessionKey, reason string) error {
	ctx = context.WithoutCancel(ctx)
	if i.o.StoreTimeout == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*defaultStoreTimeout)
		defer cancel()
	}
	if err := errors.Join(i.delete(ctx, key), i.revokeSession(ctx, key)); err != nil {
		return noAnswer("session", err)
	}
	e := key.event()
	e.Kind, e.Reason = SessionEnded, reason
	i.onEvent.send(ctx, e)
	return nil
}

// event is the part of an event that tells which session it is about.
func (k SessionKey) event() Event {
	return Event{Issuer: k.Issuer, Subject: k.Subject, SessionID: k.ID}
}

// report sends the event of a call that gave no answer, and returns its error.
func (i *Issuer) report(ctx context.Context, e Event, err error) error {
	if isNoAnswer(err) {
		i.onEvent.sendFailure(ctx, Unavailable, e, err)
	}
	return err
}

func (i *Issuer) delete(ctx context.Context, key SessionKey) error {
	ctx, cancel := storeContext(ctx, i.o.Sessions, i.o.StoreTimeout)
	defer cancel()
	return i.o.Sessions.Delete(ctx, key)
}

// Logout ends the session that an access token or refresh token of this issuer
// belongs to, whatever its generation and expired or not; a session that has
// ended already is no error. An access token without a session is revoked
// itself. Anything else than a token of this issuer is ErrRefused; a token of a
// session, where the issuer has no Sessions, is a mistake; where a store fails,
// ErrUnavailable: part of it may be done, and calling again does the
// rest.
func (i *Issuer) Logout(ctx context.Context, token string) error {
	if err := i.check(); err != nil {
		return err
	}
	var t Token
	err := i.anyAccess.read(ctx, token, i.o.Now(), &t)
	if errors.Is(err, ErrTokenType) {
		if err = i.anyRefresh.read(ctx, token, i.o.Now(), &t); err != nil {
			err = grantError(err)
		}
	}
	switch {
	case err != nil:
		i.onEvent.sendFailure(ctx, TokenRefused, t.event(), err)
		return err
	case t.SessionID != "" && i.o.Sessions == nil:
		return errNoSessions
	case t.SessionID != "":
		return i.report(ctx, t.event(), i.end(ctx, i.key(t.Subject, t.SessionID), reasonLogout))
	case i.o.Revocations == nil:
		return errors.New("jwtauth: this Issuer has no Revocations to revoke a token in")
	default:
		return revokeToken(ctx, i.o.Revocations, i.o.StoreTimeout, i.onEvent, t)
	}
}

// Sessions lists where a subject is logged in, the most recently refreshed
// first.
func (i *Issuer) Sessions(ctx context.Context, subject string) ([]Session, error) {
	if err := i.checkSessions(); err != nil {
		return nil, err
	}
	rows, err := i.list(ctx, subject)
	if err != nil {
		return nil, i.report(ctx, i.key(subject, "").event(), err)
	}
	now := i.now()
	list := make([]Session, 0, len(rows))
	for _, row := range rows {
		var d sessionData
		if err := json.Unmarshal(row.Data, &d); err != nil {
			err := noAnswer("session", errors.New("the store returned a row whose Data is not what was stored"))
			return nil, i.report(ctx, row.Key.event(), err)
		}
		s := session{id: row.Key.ID, granted: settled{Grant: Grant{
			Subject: subject, ClientID: d.ClientID, Label: d.Label, Scopes: d.Scopes, AuthTime: time.Unix(d.AuthTime, 0).UTC(),
		}}}
		s.began = time.Unix(d.Began, 0).UTC()
		s.end = earliest(time.Unix(d.End, 0).UTC(), s.began.Add(i.o.SessionTTL))
		idleEnd := earliest(row.ExpiresAt.UTC(), s.idleEnd(row.RotatedAt.UTC(), i.o.IdleTTL))
		if now.Before(idleEnd) {
			list = append(list, s.view(row.RotatedAt.UTC(), idleEnd))
		}
	}
	slices.SortFunc(list, func(a, b Session) int {
		if c := b.RefreshedAt.Compare(a.RefreshedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

func (i *Issuer) list(ctx context.Context, subject string) ([]SessionRecord, error) {
	ctx, cancel := storeContext(ctx, i.o.Sessions, i.o.StoreTimeout)
	defer cancel()
	rows, err := i.o.Sessions.List(ctx, i.o.Issuer, subject)
	if err != nil {
		return nil, noAnswer("session", err)
	}
	return rows, nil
}

// EndSession ends one session of a subject: it cannot be refreshed any more, and
// its access tokens are revoked. A sessionID that is not this subject's does
// nothing, and a session that has ended already is no error. Where a store
// fails, ErrUnavailable: part of it may be done, and calling again does the
// rest.
func (i *Issuer) EndSession(ctx context.Context, subject, sessionID string) error {
	if err := i.checkSessions(); err != nil {
		return err
	}
	if !isSessionOf(sessionID, i.o.Issuer, subject) {
		return nil
	}
	key := i.key(subject, sessionID)
	return i.report(ctx, key.event(), i.end(ctx, key, reasonEnded))
}

// EndOtherSessions ends all sessions of a subject but one; see EndAllSessions.
func (i *Issuer) EndOtherSessions(ctx context.Context, subject, keepID string) error {
	return i.endSessions(ctx, subject, keepID)
}

// EndAllSessions ends every session of a subject whose Issue returned before the
// call. It goes on past errors, and lists again until it finds no session that
// it has not tried, or ctx ends. Access tokens without a session are not
// reached. ErrUnavailable means that some may be left: call again. Of a session
// whose row was deleted and whose revocation failed, the access tokens end by
// themselves within AccessTTL.
func (i *Issuer) EndAllSessions(ctx context.Context, subject string) error {
	return i.endSessions(ctx, subject, "")
}

func (i *Issuer) endSessions(ctx context.Context, subject, keepID string) error {
	if err := i.checkSessions(); err != nil {
		return err
	}
	var errs []error
	tried := map[string]bool{keepID: true}
	for found := true; found; {
		found = false
		rows, err := i.list(ctx, subject)
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
			if !tried[row.Key.ID] {
				tried[row.Key.ID], found = true, true
				errs = append(errs, i.end(ctx, i.key(subject, row.Key.ID), reasonEnded))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return i.report(ctx, i.key(subject, "").event(), noAnswer("session", err))
	}
	return nil
}
