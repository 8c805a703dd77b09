package jwtauth

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Refresh redeems a refresh token: it returns an access token and the next refresh token
// (RFC 6749, section 6).
//
// A refresh token can be redeemed once. A second redemption also succeeds, with equivalent
// tokens, if it comes within RefreshGrace and the next refresh token has not been used. This
// is for racing browser tabs and lost responses. Any other second redemption before the
// token expires counts as theft (RFC 9700, section 4.14.2). Refresh then ends the session,
// revokes its access tokens, and returns an error that matches ErrTokenReused.
//
// Two successful redemptions of one refresh token are at most this far apart: 1.5
// RefreshGrace, plus StoreTimeout, the time of Reload, and the difference of the clocks. A
// thief who always redeems within the grace is not detected.
//
// A refusal matches ErrRefused, and WriteError answers it with 400 invalid_grant. Refresh
// calls Reload and signs the tokens before it changes the session in the store. If the
// store then fails, Refresh returns ErrUnavailable, and the client can try again with the
// same refresh token. The store may have changed the session although it failed. The
// presented token then stays good for RefreshGrace, counted from the start of signing. At
// least half of that is left.
func (i *Issuer) Refresh(ctx context.Context, refreshToken string) (TokenResponse, error) {
	if err := i.checkSessions(); err != nil {
		return TokenResponse{}, err
	}
	response, e, err := i.refresh(ctx, refreshToken)
	if err != nil {
		sendFailure(ctx, i.onEvent, event.RefreshRefused, e, err)
		return TokenResponse{}, err
	}
	i.onEvent.Send(ctx, e)
	return response, nil
}

// refresh is Refresh, except that it returns the event and does not send it.
func (i *Issuer) refresh(ctx context.Context, refreshToken string) (TokenResponse, event.Event, error) {
	var t Token
	if err := i.refreshVerifier.verifyWithoutEvent(ctx, refreshToken, i.o.Now(), &t); err != nil {
		if isRefusalFor(err, ErrTokenNotYetValid) { // this issuer signed the token, so the clock of this machine is behind
			err = unavailable("clock", err)
		}
		return TokenResponse{}, t.event(), asGrantError(err)
	}
	e := t.event()
	s, err := readSession(t)
	if err != nil {
		return TokenResponse{}, e, asGrantError(err)
	}
	key, arrived := i.sessions.key(t.Subject, s.id), i.now()
	idleEnd, err := i.checkSession(ctx, &s, &t, arrived)
	if err != nil {
		return TokenResponse{}, e, err
	}
	g, err := i.reload(ctx, s, s.view(t.IssuedAt.UTC(), idleEnd))
	if err != nil && isRefusalFor(err, ErrGrantRefused) {
		if err := i.sessions.end(ctx, key, reasonGrantRefused); err != nil {
			return TokenResponse{}, e, err
		}
	}
	if err != nil {
		return TokenResponse{}, e, asGrantError(err)
	}

	// Sign before the session changes: if the signer fails, the presented token stays valid.
	at := i.now()
	next := s
	next.generation++
	response, signed, err := i.signer.sign(ctx, &next, &g, at)
	if err != nil {
		return TokenResponse{}, e, unavailable("sign", err)
	}
	limit, err := i.advanceTimeout(at)
	if err != nil {
		return TokenResponse{}, e, err
	}
	step := Rotation{From: s.generation, At: at, ExpiresAt: next.idleEnd(at, i.o.IdleTTL)}
	if signed.Kind, err = i.rotate(ctx, key, step, arrived, limit, e); err != nil {
		return TokenResponse{}, e, err
	}
	return response, signed, nil
}

// checkSession refuses a session that has ended by its dates or was revoked, or whose
// audiences the issuer no longer has. It applies the present options to s, since they may
// be stricter than at the login. idleEnd is when the session ends unless it is refreshed.
func (i *Issuer) checkSession(ctx context.Context, s *session, t *Token, arrived time.Time) (idleEnd time.Time, err error) {
	s.end = earliest(s.end, s.began.Add(i.o.SessionTTL))
	idleEnd = earliest(earliest(t.ExpiresAt.UTC(), s.end), t.IssuedAt.Add(i.o.IdleTTL).UTC())
	if !arrived.Before(idleEnd) {
		return idleEnd, asGrantError(refused("session", ErrNoSession, "a session that ends after "+errtext.Time(arrived), errtext.Time(idleEnd)))
	}
	revoked, err := i.sessions.isRevoked(ctx, s.id, arrived)
	if err != nil {
		return idleEnd, unavailable("revocation", err)
	}
	if revoked {
		key := i.sessions.key(t.Subject, s.id)
		if err := i.sessions.deleteAndRevoke(ctx, key); err != nil {
			return idleEnd, err
		}
		return idleEnd, asGrantError(refused("session", ErrNoSession, "", ""))
	}
	s.granted.Audiences = slices.DeleteFunc(s.granted.Audiences, func(a string) bool { return !slices.Contains(i.o.Audiences, a) })
	if len(s.granted.Audiences) == 0 {
		return idleEnd, asGrantError(refused("aud", ErrTokenAudience, errtext.QuoteList(i.o.Audiences), "audiences that the issuer had before"))
	}
	return idleEnd, nil
}

// advanceTimeout returns how long Advance may take. RefreshGrace begins at the given
// time. Signing and Advance together get half of it. The other half is left for a client
// that gets no response and tries again.
func (i *Issuer) advanceTimeout(at time.Time) (time.Duration, error) {
	limit := i.o.StoreTimeout
	if i.o.RefreshGrace == 0 {
		return limit, nil
	}
	taken := max(i.now().Sub(at), 0)
	left := i.o.RefreshGrace/2 - taken
	if left <= 0 {
		return 0, unavailable("sign", fmt.Errorf("signing took %v, more than half of RefreshGrace", taken))
	}
	if limit == 0 || limit > left {
		limit = left
	}
	return limit, nil
}

// rotate advances the session in the store. If the client may have the next tokens, rotate
// returns the kind of event to send: TokenRefreshed or RefreshReplayed. Otherwise it returns
// an error. arrived is when the refresh token was presented; e names the token.
func (i *Issuer) rotate(ctx context.Context, key SessionKey, step Rotation, arrived time.Time, limit time.Duration, e event.Event) (event.Kind, error) {
	row, advanced, err := i.sessions.advance(ctx, key, step, limit)
	switch {
	case isRefusalFor(err, ErrNoSession): // false if err also matches ErrUnavailable
		return "", asGrantError(i.sessions.refuseEndedSession(ctx, key))
	case err != nil:
		return "", unavailable("session", err)
	case row.Generation <= step.From || advanced && row.Generation != step.From+1:
		return "", unavailable("session", fmt.Errorf("the store broke its contract: generation %d after Advance from %d", row.Generation, step.From))
	case advanced:
		if row.Previous < step.From {
			e.Kind = event.GenerationBehind
			i.onEvent.Send(ctx, e)
		}
		return event.TokenRefreshed, nil
	}
	distance := row.Generation - step.From
	age := arrived.Sub(row.RotatedAt) // negative if the token came before the rotation, or if the clock of this machine is behind
	if i.o.RefreshGrace > 0 && distance == 1 && age >= -bound.Skew && age <= i.o.RefreshGrace {
		return event.RefreshReplayed, nil
	}
	e.Kind, e.Reason = event.TokenReused, reasonOldToken
	if distance == 1 {
		e.Reason = reasonLateParent
	}
	if err := i.sessions.deleteAndRevoke(ctx, key); err != nil {
		i.onEvent.Send(ctx, e)
		return "", err
	}
	i.onEvent.Send(ctx, e, endedEvent(key, reasonReuse))
	return "", asGrantError(refused("reuse", ErrTokenReused, fmt.Sprint("generation ", row.Generation), fmt.Sprint(step.From)))
}

// reload calls the Reload hook and returns the grant for the next access token. It is an
// error if the hook changed a field that must stay, or added a scope.
func (i *Issuer) reload(ctx context.Context, s session, view Session) (grantWithClaims, error) {
	if i.o.Reload == nil {
		return s.granted, nil
	}
	granted := s.granted.Grant
	g := granted
	g.Scopes, g.Audiences, g.AMR = slices.Clone(g.Scopes), slices.Clone(g.Audiences), slices.Clone(g.AMR)
	if s.granted.claims != "" {
		g.Claims = json.RawMessage(s.granted.claims)
	}
	if err := i.o.Reload(ctx, view, &g); err != nil {
		return grantWithClaims{}, errorFromProgram("reload", err, func() *Error { return refused("reload", nil, "", "") })
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
		{"Scopes, naming one twice", !hasDuplicate(g.Scopes)},
	} {
		if !kept.same {
			return grantWithClaims{}, unavailable("reload", fmt.Errorf("the Reload hook changed %s", kept.name))
		}
	}
	reloaded := grantWithClaims{Grant: g}
	var err error
	if reloaded.claims, err = encodeClaims(g.Claims); err != nil {
		return grantWithClaims{}, unavailable("reload", err)
	}
	return reloaded, nil
}
