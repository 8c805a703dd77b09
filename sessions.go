package jwtauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// newSessionID makes a session id of 36 characters: 16 random bytes, and a digest that binds
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

// checkSessionID returns ErrNoSession if sid does not have the form of a session id. isOwn
// reports whether newSessionID can have made sid for this issuer and subject.
func checkSessionID(sid, issuer, subject string) (isOwn bool, err error) {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	if err != nil || len(b) != sidRandom+sidDigest || len(sid) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return false, refused("session", ErrNoSession, "a session id of 36 characters", fmt.Sprintf("%d bytes", len(sid)))
	}
	return sealSessionID(b[:sidRandom], issuer, subject) == sid, nil
}

// The values of Event.Reason that are not names of checks; see Error.Check.
const (
	reasonLateParent   = "late_parent" // the token is the parent, but was presented again too late; see Issuer.Refresh
	reasonOldToken     = "old_token"   // the successor of the token had been used, or the token is a lost successor
	reasonLogout       = "logout"
	reasonEnded        = "ended"
	reasonReuse        = "reuse"
	reasonGrantRefused = "grant_refused"
	reasonLimit        = "limit"
	reasonLastWeek     = "last_week" // an old token was accepted in the last week before the date of its verifier
)

const (
	// pageSize is the number of rows in a page of Issuer.Sessions.
	pageSize = 100
	// maxFailing is how much time tryEachRow spends on sessions for which its function fails.
	maxFailing = 10 * time.Second
	// maxHeld is how many events tryEachRow holds back.
	maxHeld = 10_000
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
func (s *sessions) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.neverWaits {
		return ctx, func() {}
	}
	return withTimeout(ctx, s.timeout)
}

// create returns ErrSessionLimit if the subject already has as many sessions as limit.
func (s *sessions) create(ctx context.Context, r SessionRecord, limit int) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err := s.store.Create(ctx, r, limit)
	switch {
	case err == nil:
		return nil
	case limit > 0 && isRefusalFor(err, ErrSessionLimit):
		return limitReached(limit)
	default:
		return unavailable("session", err)
	}
}

// advance returns ErrNoSession only if the store knows that there is no session.
func (s *sessions) advance(ctx context.Context, key SessionKey, r Rotation) (SessionRecord, bool, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	row, advanced, err := s.store.Advance(ctx, key, r)
	switch {
	case isRefusalFor(err, ErrNoSession): // false if err also matches ErrUnavailable
		return row, false, refused("session", ErrNoSession, "", "")
	case err != nil:
		return row, false, unavailable("session", err)
	case advanced && row.Generation != r.From+1,
		!advanced && row.Generation <= r.From && row.Epoch <= r.Epoch,
		row.Epoch < r.Epoch:
		return row, false, unavailable("session", fmt.Errorf("the store broke its contract: it returned Generation %d, Epoch %d and advanced %t after Advance with From %d and Epoch %d", row.Generation, row.Epoch, advanced, r.From, r.Epoch))
	case !advanced && row.Age == 0 && row.RotatedAt.Sub(s.now()).Abs() > time.Hour:
		return row, false, unavailable("session", errors.New("the store broke its contract: Advance has not set Age"))
	}
	return row, advanced, nil
}

// peek returns the row of a session and changes nothing. at is the present time, or an
// earlier one to find a row that has expired since then.
func (s *sessions) peek(ctx context.Context, key SessionKey, at time.Time) (SessionRecord, error) {
	row, _, err := s.advance(ctx, key, Rotation{At: at})
	return row, err
}

// aLeewayAgo is a Rotation.At that also finds the row of a session that has just expired.
// Verifiers accept its access tokens for a leeway longer, and by the clock of another node it
// may not have expired yet.
func (s *sessions) aLeewayAgo() time.Time { return s.now().Add(-bound.Leeway) }

func (s *sessions) delete(ctx context.Context, key SessionKey) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.Delete(ctx, key)
}

func (s *sessions) list(ctx context.Context, subject, after string, limit int) ([]SessionRecord, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.store.List(ctx, s.issuer, subject, after, limit)
	if err != nil {
		return nil, unavailable("session", err)
	}
	switch n := len(rows); {
	case n > limit:
		return nil, unavailable("session", fmt.Errorf("the store broke its contract: a page of %d rows, at most %d were asked for", n, limit))
	case n > 0 && rows[n-1].Key.ID == after:
		return nil, unavailable("session", errors.New("the store broke its contract: the last row of a page is again that of the page before"))
	}
	return rows, nil
}

// eachRow calls f for every row of a subject that existed before the call, and perhaps for newer
// rows, in the order of SessionStore.List. It stops at the first error of f. The parameter after
// is an ID: eachRow begins with the row that follows this ID. It reads the rows in pages.
func (s *sessions) eachRow(ctx context.Context, subject, after string, f func(SessionRecord) error) error {
	for {
		rows, err := s.list(ctx, subject, after, pageSize)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := checkContext(ctx); err != nil {
				return err
			}
			if err := f(row); err != nil {
				return err
			}
		}
		if len(rows) < pageSize {
			return nil
		}
		after = rows[len(rows)-1].Key.ID
	}
}

// isRevoked reports whether a session was revoked. The row of a revoked session may still be
// there, if Delete has failed or the session store has lost the Delete.
func (s *sessions) isRevoked(ctx context.Context, sid string, now time.Time) (bool, error) {
	if s.revocations == nil {
		return false, nil
	}
	ids := revoked.IDs{N: 1}
	ids.Of[0] = revoked.NewID(revoked.Session, s.issuer, sid)
	return s.revocations.hasAny(ctx, ids, now)
}

// revoke revokes the id of a session, or of an epoch of a session. Verifiers then refuse all
// access tokens with this id, including those that are issued after the call. The revocation
// ends when every token that was issued before the call has expired, at the end of a minute: so a
// dead token that is presented again and again changes the store once a minute.
func (s *sessions) revoke(ctx context.Context, id revoked.ID) error {
	if s.revocations == nil {
		return nil
	}
	until := s.now().Add(s.accessTTL + bound.EndMargin + time.Minute - 1).Truncate(time.Minute)
	if err := s.revocations.revoke(ctx, revoked.Encode(id), until); err != nil {
		return unavailable("revocation", err)
	}
	return nil
}

// endIfPresent ends a session if it has a row, and returns the events to send. Without a row, it
// does nothing: the tokens of the session have expired, or an earlier call has ended the session
// completely, since the row is deleted last. There is one more case: the store may have lost the
// row. Then the access tokens of the session stay good. The method end revokes them even without
// a row.
func (s *sessions) endIfPresent(ctx context.Context, key SessionKey, reason string) ([]event.Event, error) {
	markErr := s.markEnded(ctx, key)
	if isRefusalFor(markErr, ErrNoSession) {
		return nil, nil
	}
	if err := s.finishEnd(ctx, key, markErr); err != nil {
		return nil, err
	}
	return []event.Event{endedEvent(key, reason)}, nil
}

// end ends the session of a token that this issuer has signed, and then sends SessionEnded. It
// also revokes a session without a row, since the store may have lost the row.
func (s *sessions) end(ctx context.Context, key SessionKey, reason string) error {
	if err := s.endSilently(ctx, key); err != nil {
		return err
	}
	s.onEvent.Send(ctx, endedEvent(key, reason))
	return nil
}

// endSilently is end, except that it does not send SessionEnded.
func (s *sessions) endSilently(ctx context.Context, key SessionKey) error {
	return s.finishEnd(ctx, key, s.markEnded(ctx, key))
}

// markEnded is the first of the three steps that end a session: mark, revoke, delete. It also
// revokes the old token that has bought the session. A marked row has the largest Generation, so
// the session cannot be refreshed. If Refresh, Logout or a method that ends sessions meets a
// marked row, it completes the end.
func (s *sessions) markEnded(ctx context.Context, key SessionKey) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	now := s.now()
	row, _, err := s.advance(ctx, key, Rotation{
		From: endedGeneration - 1, Epoch: math.MaxInt64,
		At:        s.aLeewayAgo(),
		ExpiresAt: now.Add(s.accessTTL + bound.EndMargin),
	})
	if err != nil {
		return err
	}
	return s.revokeBuyer(ctx, key, row)
}

// revokeBuyer revokes the old token that has bought a session. It also revokes the session for as
// long, since its id comes from the old token: in a race, another call may make a row with the
// same id. For a session that no old token has bought, it does nothing. If the data of the row
// cannot be read, it does nothing either: that must not prevent the end of a session.
func (s *sessions) revokeBuyer(ctx context.Context, key SessionKey, row SessionRecord) error {
	d, err := readSessionData(row.Data)
	if err != nil || d.Old == "" {
		return nil
	}
	mark := oldMark{d.Old, time.Unix(d.OldEnd, 0)}
	if err := s.revokeMark(ctx, mark); err != nil {
		return err
	}
	mark.id = revoked.Encode(revoked.NewID(revoked.Session, key.Issuer, key.ID))
	return s.revokeMark(ctx, mark)
}

// revokeMark revokes the id of a mark, unless the mark has ended.
func (s *sessions) revokeMark(ctx context.Context, mark oldMark) error {
	if mark.id == "" || s.revocations == nil || !s.now().Before(mark.end) {
		return nil
	}
	if err := s.revocations.revoke(ctx, mark.id, mark.end); err != nil {
		return unavailable("revocation", err)
	}
	return nil
}

// finishEnd revokes a session and then deletes its row. markErr is the result of markEnded. The
// row is deleted last. So if an earlier step fails, the next call finds the row and tries again.
// A concurrent refresh may get an access token before the row is marked. revoke reads the clock
// after the row is marked. So the revocation ends after the access token of this refresh has
// expired.
func (s *sessions) finishEnd(ctx context.Context, key SessionKey, markErr error) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	missing := isRefusalFor(markErr, ErrNoSession)
	err := s.revoke(ctx, revoked.NewID(revoked.Session, key.Issuer, key.ID))
	if err == nil && markErr == nil {
		err = s.delete(ctx, key)
	}
	if missing {
		markErr = nil
	}
	if err := errors.Join(markErr, err); err != nil {
		return unavailable("session", err)
	}
	return nil
}

// detached returns a context that goes on if ctx is canceled: a call that has begun to change a
// session in several steps must reach the last step. Without a StoreTimeout, the context has a
// time-out, so that a store that hangs cannot block the call for ever.
func (s *sessions) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if s.timeout == 0 {
		return context.WithTimeout(ctx, 2*bound.StoreTimeout)
	}
	return ctx, func() {}
}

func endedEvent(key SessionKey, reason string) event.Event {
	e := key.event()
	e.Kind, e.Reason = event.SessionEnded, reason
	return e
}

// endAll implements EndOtherSessions and EndAllSessions. It leaves sessions that began more than a
// minute after the call. The minute is for clocks that differ.
func (s *sessions) endAll(ctx context.Context, subject, keepID string) error {
	newest := s.now().Add(bound.Skew)
	_, err := s.tryEachRow(ctx, subject, "", func(row SessionRecord) ([]event.Event, error) {
		if d, err := readSessionData(row.Data); err == nil && d.began().After(newest) || row.Key.ID == keepID {
			return nil, nil
		}
		return s.endIfPresent(ctx, s.key(subject, row.Key.ID), reasonEnded)
	})
	return err
}

// tryEachRow is eachRow, except that it goes on if f fails. After the last row, it returns the
// first error of f. If the rows cannot be read or ctx ends, it returns that error instead. done
// is the last ID before the first failure, or "" if there is no error. tryEachRow gives up when
// the calls that failed have taken maxFailing in all: it must not wait again and again for a
// store that is down.
//
// It holds the events of f back until the last row, at most maxHeld of them: a hook may panic,
// and that must not keep the other sessions from being ended.
func (s *sessions) tryEachRow(ctx context.Context, subject, after string, f func(SessionRecord) ([]event.Event, error)) (done string, err error) {
	var (
		first    error
		panicked any
		held     []event.Event
		failing  time.Duration
		failed   int
	)
	send := func() {
		defer func() {
			if value := recover(); panicked == nil {
				panicked = value
			}
		}()
		s.onEvent.Send(ctx, held...)
	}
	done = after
	err = s.eachRow(ctx, subject, after, func(row SessionRecord) error {
		began := time.Now()
		events, err := f(row)
		if held = append(held, events...); len(held) >= maxHeld {
			send()
			held = held[:0]
		}
		switch {
		case err == nil && first == nil:
			done = row.Key.ID
		case err != nil:
			failed++
			first = cmp.Or(first, err)
			if failing += time.Since(began); failing >= maxFailing {
				return first
			}
		}
		return nil
	})
	send()
	if panicked != nil {
		panic(panicked)
	}
	switch {
	case err != nil:
		return done, unavailable("session", err)
	case first != nil:
		e := *unavailable("session", first)
		e.cause = fmt.Errorf("%d sessions are left; the error of the first one: %w", failed, e.cause)
		return done, &e
	}
	return "", nil
}

// raiseEpoch revokes the access tokens of a session that have the given epoch, and then raises
// the session to the next epoch. In the other order, if the revocation failed, the next call
// would read the new epoch and never revoke the old one. raiseEpoch returns the events to send.
func (s *sessions) raiseEpoch(ctx context.Context, key SessionKey, epoch int64) ([]event.Event, error) {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	if err := s.revoke(ctx, revoked.NewEpochID(key.Issuer, key.ID, epoch)); err != nil {
		return nil, err
	}
	_, _, err := s.advance(ctx, key, Rotation{Epoch: epoch + 1, At: s.aLeewayAgo()})
	if err != nil && !isRefusalFor(err, ErrNoSession) {
		return nil, err
	}
	e := key.event()
	e.Kind = event.RefreshForced
	return []event.Event{e}, nil
}

// maxSessionData is the largest size of SessionRecord.Data, in bytes. Stores rely on it and on
// bound.MaxDetails.
const maxSessionData = 8 << 10

// sessionData is the content of SessionRecord.Data.
type sessionData struct {
	ClientID string   `json:"client_id"`
	Label    string   `json:"label"` // Grant.Label of an older version; Session.Details shows it as device
	Scopes   []string `json:"scopes"`
	Began    int64    `json:"began"`
	AuthTime int64    `json:"auth_time"`
	End      int64    `json:"end"`
	IdleTTL  int64    `json:"idle"`
	TTL      int64    `json:"ttl"`
	Old      string   `json:"old"`     // the id of the old token that has bought the session
	OldEnd   int64    `json:"old_end"` // when its revocation can end
}

func (d *sessionData) began() time.Time { return time.Unix(d.Began, 0).UTC() }

var errSessionData = errors.New("the store returned a session with other data than was stored")

func readSessionData(data []byte) (d sessionData, err error) {
	if json.Unmarshal(data, &d) != nil {
		return d, errSessionData
	}
	return d, nil
}

// readDetails returns the details of a session.
func readDetails(details []byte) (m map[string]string, err error) {
	if len(details) > 0 && json.Unmarshal(details, &m) != nil {
		return nil, errSessionData
	}
	return m, nil
}

// encodeDetails encodes the details of a session; nil gives nil.
func encodeDetails(details map[string]string) ([]byte, error) {
	if details == nil {
		return nil, nil
	}
	text, err := bound.EncodeDetails(details)
	if err == nil && len(text) > bound.MaxDetails {
		err = fmt.Errorf("jwtauth: Details take %d bytes as JSON, at most %d are expected", len(text), bound.MaxDetails)
	}
	return text, err
}
