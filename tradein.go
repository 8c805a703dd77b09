package jwtauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// This file has the trade-in of package migrate: an old token buys one session of the issuer.

// tradedToken is the old token that buys a session.
type tradedToken struct {
	token Token
	v     *Verifier // that has verified token
}

// tradeIn returns the grant with which an old token buys a session; see migrate.TradeIn.
func tradeIn(t Token, g Grant) (Grant, error) {
	if t.verifier == nil || t.verifier.verifier == nil || t.verifier.verifier.old == nil {
		return Grant{}, refused("token", ErrNoToken, "a token that a verifier of package migrate returned", "")
	}
	old := tradedToken{token: t, v: t.verifier.verifier}
	switch {
	case old.v.revocations == nil:
		return Grant{}, errors.New("jwtauth: an old token can be traded in only once, so its verifier needs Revocations, to note that it was")
	case old.v.old.IsInsecure:
		return Grant{}, notTraded("key", ErrTokenKey, "a key that no stranger can have", errtext.Quote(t.key.KeyID()))
	}
	if err := old.completeGrant(&g); err != nil {
		return Grant{}, err
	}
	g.old = &old
	return g, nil
}

// recheck checks the old token again when it buys the session of the grant.
func (o *tradedToken) recheck(ctx context.Context, i *Issuer, g *Grant) error {
	if err := o.completeGrant(g); err != nil { // the program may have changed the grant
		return err
	}
	if i.revocations == nil || !sameStore(o.v.o.Revocations, i.o.Revocations) {
		return errors.New("jwtauth: an old token can be traded in only if its verifier and the Issuer have the same Revocations: the end of the session revokes the old token")
	}
	signed, err := o.v.reread(&o.token)
	if err != nil {
		return err
	}
	o.v.old.fillIn(&signed, o.v.o.Issuer)
	t := o.token // the program may have changed its dates
	t.ExpiresAt, t.NotBefore, t.IssuedAt = signed.ExpiresAt, signed.NotBefore, signed.IssuedAt
	return o.v.Recheck(ctx, t)
}

// prepare sets the fields of the session that the old token buys.
func (o *tradedToken) prepare(s *session, issuer string) (err error) {
	s.id = boughtSessionID(*o.token.revocationIDs, issuer, s.granted.Subject)
	s.boughtBy.id, s.boughtBy.end, err = o.v.revocation(&o.token)
	return err
}

// boughtSessionID returns the id of the session that an old token buys. It comes from the id of
// the old token, so the store lets only one call create the session. The formula must not change,
// since processes of different versions share a store.
func boughtSessionID(old revoked.IDs, issuer, subject string) string {
	sum := sha256.Sum256(append([]byte("trade-in"), old.Of[0][:]...))
	return sealSessionID(sum[:sidRandom], issuer, subject)
}

// completeGrant sets the subject of a grant to that of the old token and, if the grant has no
// AuthTime, AuthTime to the time of its login.
func (o *tradedToken) completeGrant(g *Grant) error {
	t, err := o.v.reread(&o.token)
	if err != nil {
		return err
	}
	switch {
	case g.Subject != "" && g.Subject != t.Subject:
		return fmt.Errorf("jwtauth: Grant.Subject is %s, the subject of the old token is %s: leave it empty, or make it by Map of migrate.Options", errtext.Quote(g.Subject), errtext.Quote(t.Subject))
	case !g.AuthTime.IsZero():
	case !t.AuthTime.IsZero():
		g.AuthTime = earliest(t.AuthTime, o.v.o.Now()) // no check has read auth_time
	case !t.IssuedAt.IsZero():
		g.AuthTime = earliest(t.IssuedAt, o.v.o.Now()) // iat of an old token may be in the future
	default:
		g.AuthTime = time.Unix(0, 0) // unknown, so LoginWithin refuses
	}
	g.Subject = t.Subject
	return nil
}

// trade opens the session that an old token buys. row is its row. If an earlier call has opened
// the session, and nobody has refreshed it yet, trade returns tokens of that session: the answer
// of the earlier call may have been lost, or another tab has the old token, too. trade does so for
// RecoverLost (or RefreshGrace) after the first call. It does not do so after ForceRefresh: then
// only a refresh returns access tokens, since it calls Reload. The end of the session revokes the
// old token; see sessions.revokeBuyer.
//
// The old token gets the mark revoked.Traded, which lasts as long as a revocation of the token
// would. So the token cannot buy another session after the row has been removed.
func (i *Issuer) trade(ctx context.Context, old *tradedToken, s *session, row SessionRecord) (TokenResponse, event.Event, error) {
	traded := revoked.IDs{N: 1}
	traded.Of[0] = revoked.NewID(revoked.Traded, "", string(old.token.revocationIDs.Of[0][:]))
	setMark := func(ctx context.Context) error {
		if err := i.revocations.revoke(ctx, revoked.Encode(traded.Of[0]), s.boughtBy.end); err != nil {
			return unavailable("revocation", err)
		}
		return nil
	}
	wasTraded, err := i.revocations.hasAny(ctx, traded, i.now())
	if err != nil {
		return TokenResponse{}, old.token.event(), unavailable("revocation", err)
	}
	if !wasTraded {
		response, e, err := i.signer.sign(ctx, s, &s.granted, row.RotatedAt)
		if err == nil {
			err = i.create(ctx, row, true)
		}
		if err == nil {
			err = i.finishTrade(ctx, old, row.Key, setMark)
		}
		if !errors.Is(err, ErrSessionExists) {
			return response, e, err
		}
	}

	found, err := i.sessions.peek(ctx, row.Key, i.now())
	if err != nil && !isRefusalFor(err, ErrNoSession) {
		return TokenResponse{}, old.token.event(), err
	}
	d, dataErr := readSessionData(found.Data)
	switch {
	case err != nil || found.Generation != 1 || found.Epoch != 0 || found.Age > max(i.o.RefreshGrace, i.o.RecoverLost):
		return TokenResponse{}, old.token.event(), notTraded("trade_in", ErrTokenReused, "an old token that has bought no session", "")
	case dataErr != nil:
		return TokenResponse{}, old.token.event(), unavailable("session", dataErr)
	}
	if err := i.finishTrade(ctx, old, row.Key, setMark); err != nil {
		return TokenResponse{}, old.token.event(), err
	}
	s.began, s.end = d.began(), time.Unix(d.End, 0).UTC()
	i.limitLifetime(s)
	s.idle -= found.Age // the row ends that long after the first call
	return i.signer.sign(ctx, s, &s.granted, i.now())
}

// finishTrade marks an old token as traded in, after the row of its session was created or found.
// If the token was revoked since Recheck, a session that it has bought has ended, or is ending.
// finishTrade then ends the session of the row, too, and refuses the token. If a store fails, the
// row stays, and the next call finds it.
func (i *Issuer) finishTrade(ctx context.Context, old *tradedToken, key SessionKey, setMark func(context.Context) error) error {
	ctx, cancel := i.sessions.detached(ctx)
	defer cancel()
	isRevoked, err := i.revocations.hasAny(ctx, *old.token.revocationIDs, i.now())
	switch {
	case err != nil:
		return unavailable("revocation", err)
	case !isRevoked:
		return setMark(ctx)
	}
	if err := i.sessions.endSilently(ctx, key); err != nil {
		return err
	}
	return refused("revocation", ErrTokenRevoked, "", "")
}

func init() {
	oldtoken.TradeIn = func(token, grant any) (any, error) { return tradeIn(token.(Token), grant.(Grant)) }
}
