package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

var errNoSessions = errors.New("jwtauth: this Issuer has no sessions: set IssuerOptions.Sessions and Revocations, or use IssueAccess")

// checkSessions is how every method begins that needs sessions.
func (i *Issuer) checkSessions() error {
	if err := i.check(); err != nil {
		return err
	}
	if i.o.Sessions == nil {
		return errNoSessions
	}
	return nil
}

func (i *Issuer) key(subject, sid string) SessionKey { return SessionKey{i.o.Issuer, subject, sid} }

// Issue opens a session, always a new one, and issues its first access token and
// refresh token. Read the clock for Grant.AuthTime before the password is
// checked. ErrUnavailable means that a store or a signer gave no answer; an
// error that is neither that nor ErrRefused means that g cannot be issued, or
// that the issuer has no Sessions.
func (i *Issuer) Issue(ctx context.Context, g Grant) (TokenResponse, error) {
	if err := i.checkSessions(); err != nil {
		return TokenResponse{}, err
	}
	at := i.now()
	s := session{granted: settled{Grant: g}, began: at, end: at.Add(i.o.SessionTTL), generation: 1}
	if err := i.settle(&s.granted, at); err != nil {
		return TokenResponse{}, err
	}
	if n := len(s.granted.claims); n > maxSessionClaims {
		return TokenResponse{}, fmt.Errorf("jwtauth: Grant.Claims has %d bytes, a session takes at most %d; look the rest up in Reload", n, maxSessionClaims)
	}
	s.id = newSessionID(i.o.Issuer, g.Subject)
	if n := len(s.data()); n > maxSessionData {
		return TokenResponse{}, fmt.Errorf("jwtauth: the grant's scopes, client and label take %d bytes, a session has room for %d", n, maxSessionData)
	}
	response, e, err := i.sign(ctx, &s, &s.granted, at)
	if err == nil {
		err = i.create(ctx, s, at)
	}
	return i.issued(ctx, response, e, err)
}

func (i *Issuer) create(ctx context.Context, s session, at time.Time) error {
	ctx, cancel := storeContext(ctx, i.o.Sessions, i.o.StoreTimeout)
	defer cancel()
	err := i.o.Sessions.Create(ctx, SessionRecord{
		Key: i.key(s.granted.Subject, s.id), Generation: s.generation,
		RotatedAt: at, ExpiresAt: s.idleEnd(at, i.o.IdleTTL), Data: s.data(),
	})
	if err != nil {
		return noAnswer("session", err)
	}
	return nil
}

// Refresh redeems a refresh token for an access token and the next refresh
// token (RFC 6749, section 6).
//
// A token is redeemed once. It is answered again, with successors of the same
// generation, if it arrives within RefreshGrace of the first time and before one
// of the successors has been redeemed. At any other time until it expires it
// counts as stolen: the session ends, its access tokens are revoked, and the error matches
// ErrTokenReused (RFC 9700, section 4.14.2). Two redemptions of one generation
// that lie further apart than one and a half times the grace and the skew of the
// clocks are never both answered. A thief who redeems each token within the
// grace of its owner is not seen.
//
// Refusals match ErrRefused and are answered with 400 invalid_grant. Everything
// that may fail comes before the one step that changes the session; where that
// step itself gives no answer, ErrUnavailable, the presented token stays good if
// the step had no effect, and if it had, for RefreshGrace from when the
// successors were signed, of which at most half is over by then.
func (i *Issuer) Refresh(ctx context.Context, refreshToken string) (TokenResponse, error) {
	if err := i.checkSessions(); err != nil {
		return TokenResponse{}, err
	}
	response, e, err := i.refresh(ctx, refreshToken)
	if err != nil {
		i.onEvent.sendFailure(ctx, RefreshRefused, e, err)
		return TokenResponse{}, err
	}
	i.onEvent.send(ctx, e)
	return response, nil
}

func (i *Issuer) refresh(ctx context.Context, refreshToken string) (TokenResponse, Event, error) {
	var t Token
	if err := i.refreshable.read(ctx, refreshToken, i.o.Now(), &t); err != nil {
		return TokenResponse{}, t.event(), grantError(err)
	}
	s, err := readSession(t)
	if err != nil {
		return TokenResponse{}, t.event(), grantError(err)
	}
	e := t.event()

	// Options that were shortened since the token was signed count at once.
	s.end = earliest(s.end, s.began.Add(i.o.SessionTTL))
	idleEnd := earliest(earliest(t.ExpiresAt.UTC(), s.end), t.IssuedAt.Add(i.o.IdleTTL).UTC())

	arrived := i.now()
	if !arrived.Before(idleEnd) {
		return TokenResponse{}, e, grantError(refused("session", ErrNoSession, "a session that ends after "+when(arrived), when(idleEnd)))
	}
	if ended, err := i.isEnded(ctx, s); err != nil {
		return TokenResponse{}, e, noAnswer("revocation", err)
	} else if ended {
		key := i.key(t.Subject, s.id)
		if err := i.delete(ctx, key); err != nil {
			return TokenResponse{}, e, noAnswer("session", err)
		}
		return TokenResponse{}, e, grantError(i.gone(ctx, key))
	}
	s.granted.Audiences = slices.DeleteFunc(s.granted.Audiences, func(a string) bool { return !slices.Contains(i.o.Audiences, a) })
	if len(s.granted.Audiences) == 0 {
		return TokenResponse{}, e, grantError(refused("aud", ErrTokenAudience, quotedList(i.o.Audiences), "audiences that the issuer had before"))
	}

	now, err := i.reload(ctx, s, s.view(t.IssuedAt.UTC(), idleEnd))
	if errors.Is(err, ErrGrantRefused) {
		if err := i.end(ctx, i.key(t.Subject, s.id), reasonGrantRefused); err != nil {
			return TokenResponse{}, e, err
		}
	}
	if err != nil {
		return TokenResponse{}, e, grantError(err)
	}

	// The successors are signed before anything has changed, so that a signer
	// that fails leaves the presented token good.
	at := i.now()
	next := s
	next.generation++
	response, signed, err := i.sign(ctx, &next, &now, at)
	if err != nil {
		return TokenResponse{}, e, noAnswer("sign", err)
	}
	limit, err := i.advanceLimit(at)
	if err != nil {
		return TokenResponse{}, e, err
	}
	signed.Kind, err = i.rotate(ctx, s, arrived, Rotation{From: s.generation, At: at, ExpiresAt: next.idleEnd(at, i.o.IdleTTL)}, limit, e)
	if err != nil {
		return TokenResponse{}, e, err
	}
	return response, signed, nil
}

// isEnded says whether the session has been revoked although its row may be there: its
// end was half done, or the session store has lost a Delete. Only a store that answers
// from memory is asked; the row is what decides.
func (i *Issuer) isEnded(ctx context.Context, s session) (bool, error) {
	id := revocationID('s', i.o.Issuer, s.id)
	revoked, _, err := isRevokedHere(ctx, i.o.Revocations, []expiring.ID{id}, i.o.Now())
	return revoked, err
}

// advanceLimit is how long Advance may take. With a grace, signing and Advance
// together get half of it: a client that gets no answer and tries again after a
// second comes within the grace, which counts from at, the one time that all of
// it is derived from.
func (i *Issuer) advanceLimit(at time.Time) (time.Duration, error) {
	limit := i.o.StoreTimeout
	if i.o.RefreshGrace == 0 {
		return limit, nil
	}
	taken := max(i.now().Sub(at), 0)
	left := i.o.RefreshGrace/2 - taken
	if left <= 0 {
		return 0, noAnswer("sign", fmt.Errorf("signing took %v, more than half of RefreshGrace", taken))
	}
	if limit == 0 || limit > left {
		limit = left
	}
	return limit, nil
}

// rotate is the rule: whether the successors of a token are handed out, and as
// which event. The token was presented when it arrived; e is its event.
func (i *Issuer) rotate(ctx context.Context, s session, arrived time.Time, r Rotation, limit time.Duration, e Event) (EventKind, error) {
	key := i.key(s.granted.Subject, s.id)
	row, advanced, err := i.advance(ctx, key, r, limit)
	switch {
	case errors.Is(err, ErrNoSession):
		return "", grantError(i.gone(ctx, key))
	case err != nil:
		return "", noAnswer("session", err)
	case row.Generation <= r.From || advanced && row.Generation != r.From+1:
		return "", noAnswer("session", fmt.Errorf("the store broke its contract: generation %d after Advance from %d", row.Generation, r.From))
	case advanced:
		if row.Previous < r.From {
			e.Kind = GenerationBehind
			i.onEvent.send(ctx, e)
		}
		return TokenRefreshed, nil
	}
	distance := row.Generation - r.From
	age := arrived.Sub(row.RotatedAt) // negative where it arrived first, or this node's clock is behind
	if i.o.RefreshGrace > 0 && distance == 1 && age >= -maxSkew && age <= i.o.RefreshGrace {
		return RefreshReplayed, nil
	}
	e.Kind, e.Reason = TokenReused, reasonOldToken
	if distance == 1 {
		e.Reason = reasonLateParent
	}
	i.onEvent.send(ctx, e)
	if err := i.end(ctx, key, reasonReuse); err != nil {
		return "", err
	}
	return "", grantError(refused("reuse", ErrTokenReused, fmt.Sprint("generation ", row.Generation), fmt.Sprint(r.From)))
}

func (i *Issuer) advance(ctx context.Context, key SessionKey, r Rotation, limit time.Duration) (SessionRecord, bool, error) {
	ctx, cancel := storeContext(ctx, i.o.Sessions, limit)
	defer cancel()
	return i.o.Sessions.Advance(ctx, key, r)
}

// grantError makes a refusal the answer of a token endpoint.
func grantError(err error) error { return asGrant(asError(err)) }

// gone is the refusal of a genuine token whose session is not there any more. It
// revokes the session's access tokens again, so that an end of which only the
// first half was done becomes a whole one.
func (i *Issuer) gone(ctx context.Context, key SessionKey) error {
	if err := i.revokeSession(ctx, key); err != nil {
		return noAnswer("revocation", err)
	}
	return refused("session", ErrNoSession, "", "")
}

// reload asks the hook what is allowed now, and holds it to what was granted.
func (i *Issuer) reload(ctx context.Context, s session, view Session) (settled, error) {
	if i.o.Reload == nil {
		return s.granted, nil
	}
	granted := s.granted.Grant
	g := granted
	g.Scopes, g.Audiences, g.AMR = slices.Clone(g.Scopes), slices.Clone(g.Audiences), slices.Clone(g.AMR)
	if s.granted.claims != "" {
		g.Claims = json.RawMessage(s.granted.claims)
	}
	err := i.o.Reload(ctx, view, &g)
	switch {
	case errors.Is(err, ErrGrantRefused) && !isNoAnswer(err):
		e := refused("reload", ErrGrantRefused, "", "")
		e.cause = err
		return settled{}, e
	case err != nil:
		return settled{}, noAnswer("reload", err)
	}
	for _, kept := range []struct {
		name string
		same bool
	}{
		{"Subject", g.Subject == granted.Subject},
		{"ClientID", g.ClientID == granted.ClientID},
		{"Audiences", slices.Equal(g.Audiences, granted.Audiences)},
		{"AuthTime", g.AuthTime.Equal(granted.AuthTime)},
		{"ACR", g.ACR == granted.ACR},
		{"AMR", slices.Equal(g.AMR, granted.AMR)},
		{"Label", g.Label == granted.Label},
		{"Scopes, adding one", !slices.ContainsFunc(g.Scopes, func(s string) bool { return !slices.Contains(granted.Scopes, s) })},
	} {
		if !kept.same {
			return settled{}, noAnswer("reload", fmt.Errorf("the Reload hook changed %s", kept.name))
		}
	}
	now := settled{Grant: g}
	if now.claims, err = encodeClaims(g.Claims); err != nil {
		return settled{}, noAnswer("reload", err)
	}
	return now, nil
}
