package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Logout ends the session that an access or refresh token of this Issuer belongs to. The token may
// have expired, and a refresh token may have been redeemed. Logout returns nil if the session has
// ended already. If an access token has no session, Logout revokes the token itself. A token of
// Exchange is refused with ErrTokenAudience: a service that has it cannot log the user out. It
// also revokes an old token of package migrate, and ends the session that the token has bought;
// see [AnyOf]. A text that is not a token of this Issuer is refused with ErrRefused. It is an
// error if the token has a session and the Issuer has no Sessions. If a store fails, Logout
// returns ErrUnavailable: call it again to do the rest.
func (i *Issuer) Logout(ctx context.Context, token string) error {
	return i.logoutUnless(ctx, token, "")
}

// logoutUnless is Logout, except that it does nothing if the token belongs to the session with the
// id keepID, or has bought it.
func (i *Issuer) logoutUnless(ctx context.Context, token, keepID string) error {
	if err := i.checkMade(); err != nil {
		return err
	}
	var t Token
	err := i.logoutAccessVerifier.verifyWithoutEvent(ctx, token, i.o.Now(), &t)
	if errors.Is(err, ErrTokenType) {
		err = i.logoutRefreshVerifier.verifyWithoutEvent(ctx, token, i.o.Now(), &t)
		if old := i.id.oldVerifiers(); len(old) > 0 && errors.Is(err, ErrTokenType) {
			return i.logoutOld(ctx, old, token, keepID)
		}
		if err != nil {
			err = asInvalidGrant(err)
		}
	}
	switch {
	case err != nil:
		sendFailure(ctx, i.onEvent, event.TokenRefused, t.event(), err)
		return err
	case isExchanged(&t):
		err := refused("aud", ErrTokenAudience, errtext.QuoteList(i.o.Audiences), errtext.QuoteList(t.Audiences()))
		sendFailure(ctx, i.onEvent, event.TokenRefused, t.event(), err)
		return err
	case t.SessionID != "" && t.SessionID == keepID:
		return nil
	case t.SessionID != "" && i.sessions == nil:
		return errNoSessions
	case t.SessionID != "":
		return i.reportUnavailable(ctx, t.event(), i.sessions.end(ctx, i.sessions.key(t.Subject, t.SessionID), reasonLogout))
	case i.revocations == nil:
		return errNoRevocations
	default:
		return i.revocations.revokeToken(ctx, t)
	}
}

// Sessions returns a page of the sessions of a subject. Pass "" for after first, and then next,
// until next is "". A page has at most 100 sessions. Sessions that begin or end between the
// calls do not make another session appear twice, or be left out. In a page, the session that
// was refreshed last comes first. If the data of a session cannot be read, Sessions leaves it
// out and sends the event Unavailable.
func (i *Issuer) Sessions(ctx context.Context, subject, after string) (page []Session, next string, err error) {
	if err := i.requireSessionStore(); err != nil {
		return nil, "", err
	}
	if after != "" {
		if _, err := checkSessionID(after, i.o.Issuer, subject); err != nil {
			return nil, "", err
		}
	}
	for page = []Session{}; ; {
		rows, err := i.sessions.list(ctx, subject, after, pageSize)
		if err != nil {
			return nil, "", i.reportUnavailable(ctx, i.sessions.key(subject, "").event(), err)
		}
		now := i.now()
		for _, row := range rows {
			if row.Generation == endedGeneration {
				continue
			}
			s, err := i.fromRow(row)
			if err != nil {
				_ = i.reportUnavailable(ctx, i.sessions.key(subject, row.Key.ID).event(), unavailable("session", err))
			} else if now.Before(s.IdleEnd) {
				page = append(page, s)
			}
		}
		slices.SortStableFunc(page, func(a, b Session) int { return b.RefreshedAt.Compare(a.RefreshedAt) })
		switch {
		case len(rows) < pageSize:
			return page, "", nil
		case len(page) > 0:
			return page, rows[len(rows)-1].Key.ID, nil
		}
		if err := checkContext(ctx); err != nil {
			return nil, "", err
		}
		after = rows[len(rows)-1].Key.ID // the page had only sessions that have ended
	}
}

// Session returns the session of a refresh token, and redeems nothing. It accepts the current
// refresh token, and the one that was redeemed last, however long ago that was. Any other token
// is refused, but no session ends.
func (i *Issuer) Session(ctx context.Context, refreshToken string) (Session, error) {
	if err := i.requireSessionStore(); err != nil {
		return Session{}, err
	}
	view, e, err := i.lookUpSession(ctx, refreshToken)
	if err != nil {
		sendFailure(ctx, i.onEvent, event.RefreshRefused, e, err)
	}
	return view, err
}

// lookUpSession is Session without the event of a refusal.
func (i *Issuer) lookUpSession(ctx context.Context, refreshToken string) (Session, event.Event, error) {
	if err := i.requireSessionStore(); err != nil {
		return Session{}, event.Event{}, err
	}
	now := i.o.Now()
	var t Token
	var s session
	err := i.readRefreshToken(ctx, refreshToken, now, &t, &s)
	var view Session
	if err == nil {
		view, err = i.lookAt(ctx, &t, &s, now)
	}
	return view, t.event(), err
}

// lookAt returns the session of a refresh token that was verified.
func (i *Issuer) lookAt(ctx context.Context, t *Token, s *session, now time.Time) (Session, error) {
	if _, err := i.checkSession(ctx, s, t, now); err != nil {
		return Session{}, err
	}
	row, err := i.sessions.peek(ctx, i.sessions.key(t.Subject, s.id), i.now())
	switch {
	case err != nil:
		return Session{}, asInvalidGrant(err)
	case row.Generation == endedGeneration:
		return Session{}, asInvalidGrant(refused("session", ErrNoSession, "", ""))
	case s.generation < row.Generation && s.generation != row.parent():
		return Session{}, asInvalidGrant(refused("reuse", ErrTokenReused, fmt.Sprint("generation ", row.Generation), fmt.Sprint(s.generation)))
	}
	view, err := i.fromRow(row)
	if err != nil {
		return Session{}, unavailable("session", err)
	}
	return view, nil
}

// EndSession ends one session of a subject: the session cannot be refreshed any more, and its
// access tokens are revoked. If the session is of another subject, EndSession does nothing and
// returns nil. It returns nil if the session has ended already. A sessionID that does not have
// the form of a session id is refused with ErrNoSession. If a store fails, EndSession returns
// ErrUnavailable: call it again to do the rest.
func (i *Issuer) EndSession(ctx context.Context, subject, sessionID string) error {
	return i.withSession(ctx, subject, sessionID, func(key SessionKey) ([]event.Event, error) {
		return i.sessions.endIfPresent(ctx, key, reasonEnded)
	})
}

// withSession calls f with the key of a session, if the session can be one of the subject.
// It sends the events that f returns.
func (i *Issuer) withSession(ctx context.Context, subject, sessionID string, f func(SessionKey) ([]event.Event, error)) error {
	if err := i.requireSessionStore(); err != nil {
		return err
	}
	isOwn, err := checkSessionID(sessionID, i.o.Issuer, subject)
	if err != nil || !isOwn {
		return err
	}
	key := i.sessions.key(subject, sessionID)
	events, err := f(key)
	if err != nil {
		return i.reportUnavailable(ctx, key.event(), err)
	}
	i.onEvent.Send(ctx, events...)
	return nil
}

// EndOtherSessions ends all sessions of a subject except one; see EndAllSessions. A keepID
// that is not an id of a session of this subject is refused with ErrNoSession, and no session
// ends.
func (i *Issuer) EndOtherSessions(ctx context.Context, subject, keepID string) error {
	if err := i.requireSessionStore(); err != nil {
		return err
	}
	isOwn, err := checkSessionID(keepID, i.o.Issuer, subject)
	if err == nil && !isOwn {
		err = refused("session", ErrNoSession, "the id of a session of this subject", "")
	}
	if err != nil {
		return err
	}
	return i.endAll(ctx, subject, keepID)
}

// EndAllSessions ends every session of a subject that Issue has opened before the call. It may
// also end one that is opened within a minute after the call, since clocks may differ. If it
// returns nil, all of them have ended, and their access tokens are revoked. If one session cannot
// be ended, it goes on with the others. It does not revoke access tokens without a session.
// ErrUnavailable means that sessions are left, or that some have ended only in part: call it again
// to do the rest. EndAllSessions ends the sessions one after the other. If ctx ends before the
// last one, it returns ErrUnavailable, and the next call goes on with those that are left.
func (i *Issuer) EndAllSessions(ctx context.Context, subject string) error {
	if err := i.requireSessionStore(); err != nil {
		return err
	}
	return i.endAll(ctx, subject, "")
}

func (i *Issuer) endAll(ctx context.Context, subject, keepID string) error {
	return i.reportUnavailable(ctx, i.sessions.key(subject, "").event(), i.sessions.endAll(ctx, subject, keepID))
}

// ForceRefresh revokes the access tokens that a session has received until now. The session goes
// on: its next refresh returns new tokens, after it has asked Reload. Use it if a role was taken
// away. As with EndSession, the sessionID of another subject or of a session that has ended does
// nothing. If a store fails, ForceRefresh returns ErrUnavailable: call it again. Until a call
// succeeds, verifiers may refuse the access tokens of the session, even those of a new refresh.
// Without IssuerOptions.Reload, a refresh returns the same grant again.
func (i *Issuer) ForceRefresh(ctx context.Context, subject, sessionID string) error {
	if err := i.checkRevocations(); err != nil {
		return err
	}
	return i.withSession(ctx, subject, sessionID, func(key SessionKey) ([]event.Event, error) {
		row, err := i.sessions.peek(ctx, key, i.sessions.aLeewayAgo())
		if isRefusalFor(err, ErrNoSession) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		row.Key = key
		return i.forceRefresh(ctx, row)
	})
}

// ForceRefreshAll is ForceRefresh for all sessions of a subject. Pass "" for after. If it
// returns an error, call it again with next, to go on with the sessions that are left; next is
// "" if there is no error. If one session fails, it goes on with the others.
func (i *Issuer) ForceRefreshAll(ctx context.Context, subject, after string) (next string, err error) {
	if err := i.checkRevocations(); err != nil {
		return "", err
	}
	next, err = i.sessions.tryEachRow(ctx, subject, after, func(row SessionRecord) ([]event.Event, error) {
		row.Key = i.sessions.key(subject, row.Key.ID)
		return i.forceRefresh(ctx, row)
	})
	return next, i.reportUnavailable(ctx, i.sessions.key(subject, "").event(), err)
}

// forceRefresh raises the epoch of a session, unless the session has ended.
func (i *Issuer) forceRefresh(ctx context.Context, row SessionRecord) ([]event.Event, error) {
	if row.Generation == endedGeneration {
		return nil, nil
	}
	return i.sessions.raiseEpoch(ctx, row.Key, row.Epoch)
}

// checkRevocations returns an error if the Issuer has no sessions, or no revocations.
func (i *Issuer) checkRevocations() error {
	if err := i.requireSessionStore(); err != nil {
		return err
	}
	if i.revocations == nil {
		return errNoRevocations
	}
	return nil
}

// RevokeID revokes one access token of this Issuer by its jti, for a token that is not at hand,
// such as an API key from IssueAccess. The revocation lasts until every access token that this
// Issuer has issued so far has expired. If the store fails, RevokeID returns ErrUnavailable.
func (i *Issuer) RevokeID(ctx context.Context, tokenID string) error {
	if err := i.checkMade(); err != nil {
		return err
	}
	if i.revocations == nil {
		return errNoRevocations
	}
	return i.revocations.revokeToken(ctx, Token{Issuer: i.o.Issuer, ID: tokenID, ExpiresAt: i.now().Add(i.o.LongestAccessTTL)})
}

const (
	// maxEvictions is how many sessions a login ends in one of its three tries.
	maxEvictions = 64
	// maxCounted is how many sessions one login looks through at most.
	maxCounted = 10_000
)

// create adds the row of a new session. If the subject has too many sessions, create makes
// room: it ends those that the login replaces, those that are over by the present options and,
// with EndOldest, those that were refreshed longest ago. mayExist means that another call may create
// the same row.
func (i *Issuer) create(ctx context.Context, row SessionRecord, mayExist bool) error {
	limit := i.o.SessionLimit
	err := i.sessions.create(ctx, row, limit)
	surplus := i.replacedSessions(ctx, row.Key.Subject)
	for try := 0; try < 3 && limit > 0 && isRefusalFor(err, ErrSessionLimit); try++ {
		if len(surplus) == 0 {
			var listErr error
			if surplus, listErr = i.findSurplus(ctx, row.Key.Subject); listErr != nil {
				return listErr
			}
		}
		// If mayExist, the row may be there by now. It must not make room for itself.
		surplus = slices.DeleteFunc(surplus, func(key SessionKey) bool { return key == row.Key })
		if len(surplus) == 0 && !i.o.EndOldest {
			return err
		}
		var ended []event.Event
		for _, key := range surplus {
			events, endErr := i.sessions.endIfPresent(ctx, key, reasonLimit)
			ended = append(ended, events...)
			if endErr != nil {
				i.onEvent.Send(ctx, ended...)
				return endErr
			}
		}
		surplus = nil
		err = i.sessions.create(ctx, row, limit)
		i.onEvent.Send(ctx, ended...)
	}
	switch {
	case limit > 0 && i.o.EndOldest && isRefusalFor(err, ErrSessionLimit):
		return unavailable("limit", fmt.Errorf("the subject still has %d sessions: others log in at the same time, or SessionLimit was lowered", limit))
	case limit > 0 && err != nil && !isRefusalFor(err, ErrSessionLimit) && !mayExist:
		// The row may be there. Nobody has its tokens, but it would count toward SessionLimit.
		ctx, cancel := i.sessions.detached(ctx)
		defer cancel()
		_ = i.sessions.delete(ctx, row.Key)
	}
	return err
}

// replacedSessions returns the sessions of a subject that a login replaces.
func (i *Issuer) replacedSessions(ctx context.Context, subject string) (keys []SessionKey) {
	for _, id := range bound.LoginOf(ctx).Replaced {
		if isOwn, err := checkSessionID(id, i.o.Issuer, subject); err == nil && isOwn {
			keys = append(keys, i.sessions.key(subject, id))
		}
	}
	return keys
}

// findSurplus returns the sessions that a login ends to stay below SessionLimit, at most
// maxEvictions.
func (i *Issuer) findSurplus(ctx context.Context, subject string) (surplus []SessionKey, err error) {
	type liveRow struct {
		key     SessionKey
		rotated time.Time
	}
	var live []liveRow
	now := i.now()
	counted := 0
	err = i.sessions.eachRow(ctx, subject, "", func(row SessionRecord) error {
		if counted++; counted > maxCounted {
			return unavailable("limit", fmt.Errorf("the subject has more than %d sessions: call EndAllSessions", maxCounted))
		}
		key := i.sessions.key(subject, row.Key.ID)
		s, err := i.fromRow(row)
		switch {
		case row.Generation == endedGeneration || !now.Before(row.ExpiresAt):
		case err == nil && !now.Before(s.IdleEnd):
			surplus = append(surplus, key)
		default:
			live = append(live, liveRow{key, row.RotatedAt})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if i.o.EndOldest {
		slices.SortFunc(live, func(a, b liveRow) int { return a.rotated.Compare(b.rotated) })
		for n := 0; n < len(live)-i.o.SessionLimit+1; n++ {
			surplus = append(surplus, live[n].key)
		}
	}
	return surplus[:min(len(surplus), maxEvictions)], nil
}
