package jwtauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/view"
)

// This file has the verifier of package migrate, for the tokens of other code ("old tokens").

// oldTokens is the part of a Verifier that only verifiers of package migrate have.
type oldTokens struct {
	oldtoken.Rules
	logout    *Verifier // of old tokens that Logout takes: also expired and revoked ones
	announced announced
}

// newOldVerifier makes a Verifier for old tokens.
func newOldVerifier(keys keyset.Set, o VerifierOptions, r oldtoken.Rules) (*Verifier, error) {
	o.InsecureNoAudience, o.IntegerSubject, o.AcceptNoTyp, o.MaxLifetime = true, true, !r.NeedsTyp, -1
	v, err := makeVerifier(keys, keyset.Old, o, nil)
	if err != nil {
		return nil, err
	}
	v.id.verifier = v
	v.old = &oldTokens{Rules: r}
	v.checks = newChecklist(v.idleChecks()...)
	v.old.logout = v.without("until", "exp", "iat", "revocation")
	if v.onEvent != nil {
		v.checks.onRequest = append(v.checks.onRequest, requestCheck{"announce", announceOld})
	}
	return v, nil
}

// checkUntil refuses old tokens after the date that ends the move.
func checkUntil(v *Verifier, t *Token, now time.Time) error {
	until := v.old.Until
	if !v.old.NoExp.IsZero() && t.ExpiresAt.Equal(v.old.NoExp) {
		until = v.old.NoExp // the token has no exp
	}
	if t.validity.endAt(until, 0); t.validity.covers(now) {
		return nil
	}
	e := refused("until", ErrTokenExpired, "a time before "+errtext.Time(until), errtext.Time(now))
	e.Next = nextLogin // there is nothing to refresh
	return e
}

// orRevoked returns ErrTokenRevoked in place of err if err says that the token has expired, the
// token was revoked, and RefreshableFor has not passed. Otherwise, it returns err.
func (o *oldTokens) orRevoked(ctx context.Context, v *Verifier, t *Token, now time.Time, err error) error {
	if o.RefreshableFor == 0 || v.revocations == nil || !isRefusalFor(err, ErrTokenExpired) || !now.Before(t.ExpiresAt.Add(o.RefreshableFor)) {
		return err
	}
	if revokedErr := askRevocations(ctx, v, t, now); revokedErr != nil {
		return revokedErr
	}
	return err
}

// fillIn completes the claims of an old token: iss and exp may be missing.
func (o *oldTokens) fillIn(t *Token, issuer string) {
	if t.Issuer == "" {
		t.Issuer = issuer
	}
	if t.ExpiresAt.IsZero() {
		t.ExpiresAt = o.NoExp
	}
}

// finishOld sets the fields of an old token that do not come from the claims of the same name. The
// id is the SHA-256 of the header and the payload, since jti may be missing or not be unique, and
// since an ECDSA signature has a twin. An old token belongs to no session.
func (s *verification) finishOld() {
	t := s.token
	sum := sha256.Sum256(view.Bytes(s.parts.Signed))
	t.ID, t.SessionID, t.Actor, t.hasEpoch = base64.RawURLEncoding.EncodeToString(sum[:]), "", "", false
	s.v.old.fillIn(t, s.v.o.Issuer)
	ids := new(revoked.IDs)
	if s.entry != nil {
		ids = &s.entry.Value.ids
		s.unusedBytes += len(t.ID)
	}
	*ids = revocationIDsOf(t)
	t.revocationIDs = ids // the program can change t.ID, but not these
}

// rewriteOld replaces the claims of an old token, in s.token.claims, by those that the program
// sees: claims that Rules.Map has made, with iss, and with sub if another claim is the subject.
func (s *verification) rewriteOld() error {
	original, rules, t := s.token.claims, &s.v.old.Rules, s.token
	var w strictjson.Writer
	hasIssuer := false
	err := strictjson.Claims(original, true, func(name string, v strictjson.Value, _ int) error {
		if oldtoken.IsFixed(name) && v != "null" && !(name == "iss" && v == `""`) {
			w.Raw(name, string(v))
			hasIssuer = hasIssuer || name == "iss"
		}
		return nil
	})
	if err != nil {
		return malformed("claims", err)
	}
	if !hasIssuer {
		w.Str("iss", s.v.o.Issuer)
	}
	mapped := original
	if rules.Map != nil {
		if mapped, err = s.mapOld(original); err != nil {
			return err
		}
	}
	var subject strictjson.Value
	isOther := rules.SubjectClaim != "sub"
	err = strictjson.Claims(mapped, true, func(name string, v strictjson.Value, _ int) error {
		if isOther && name == rules.SubjectClaim {
			subject = v
		}
		if !oldtoken.IsFixed(name) && !(isOther && name == "sub") {
			w.Raw(name, string(v))
		}
		return nil
	})
	if err != nil {
		return malformed("claims", err)
	}
	if text, ok := s.readSubject(subject); isOther && ok && text != "" {
		w.Str("sub", text)
	}
	s.unusedBytes, t.claims = len(original), string(w.Object())
	return nil
}

// mapOld calls Rules.Map for the claims of an old token, and returns the new claims as JSON.
func (s *verification) mapOld(original string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(original))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil { // unreachable, since strictjson has read the claims
		return "", malformed("claims", err)
	}
	refusal := func() *Error { return refused("map", ErrTokenCheck, "", "") }
	mapped, err := s.v.old.Map(claims)
	switch {
	case err != nil:
		return "", errorFromProgram("map", err, refusal)
	case mapped == nil:
		return "", refusal()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(mapped); err != nil {
		return "", unavailable("map", fmt.Errorf("encoding the claims that Map has returned: %w", err))
	}
	if limit := s.v.o.MaxTokenBytes; text.Len() > limit {
		return "", unavailable("map", fmt.Errorf("the claims that Map has returned have %d bytes, at most %d are expected", text.Len(), limit))
	}
	return text.String(), nil
}

// isOldTyp reports whether an old token may have this typ.
func isOldTyp(typ string, hasTyp bool) bool { return !hasTyp || keyset.IsTyp(typ, keyset.Old.Typ()) }

// peekOld reports whether the verifier of old tokens decides about a token whose iss is issuer. If
// there is also a verifier of new tokens with that iss, typ selects one of them. Each verifier
// checks typ again.
func (s *verification) peekOld(m *fixedMembers, issuer string) (isOld bool, err error) {
	switch {
	case m.old == nil:
		return false, nil
	case issuer == "":
		return true, nil
	case issuer != m.old.o.Issuer:
		return false, nil
	case m.byIssuer[issuer] == nil:
		return true, nil
	}
	if s.headerText, err = compact.AppendDecode(s.headerText[:0], s.parts.Header); err != nil {
		return false, malformed("header", err)
	}
	err = strictjson.Object(view.String(s.headerText), func(name string, v strictjson.Value) error {
		if name != "typ" {
			return nil
		}
		var ok bool
		s.header.typ, ok = v.Str()
		s.header.hasTyp = true
		return wrongTypeUnless(ok, name)
	})
	if err != nil {
		return false, malformed("header", err)
	}
	return isOldTyp(s.header.typ, s.header.hasTyp), nil
}

// fits returns an error if a verifier of old tokens does not fit an issuer, whose store of
// revocations is given.
func (v *Verifier) fits(id *issuerID, store RevocationStore) error {
	if err := checkApart(v, id); err != nil {
		return err
	}
	if v.o.Revocations != nil && store != nil && !sameStore(v.o.Revocations, store) {
		return errors.New("jwtauth: AnyOf: Revocations of migrate.Options is not the store of the Issuer, so the end of a session would not revoke the old token that has bought it: give both the same value, of a type that can be compared, such as a pointer")
	}
	return nil
}

// checkApart returns an error if a key for old tokens is also in a ring of an issuer, unless typ
// tells the tokens apart.
func checkApart(old *Verifier, id *issuerID) error {
	if old.old.NeedsTyp {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*bound.StoreTimeout)
	defer cancel()
	table, err := old.keys.Current(ctx, old.o.Now())
	if err != nil {
		return nil // the keys of a jwk.Remote may not have been fetched yet
	}
	for _, ring := range id.keys {
		own, err := ring.Current(ctx, old.o.Now())
		if err != nil {
			return fmt.Errorf("jwtauth: AnyOf: reading the keys of the Issuer, to compare them with those of old tokens: %w", err)
		}
		for _, k := range table.All() {
			for _, other := range own.All() {
				if k.SameMaterial(other) {
					return fmt.Errorf("jwtauth: AnyOf: the key %s of old tokens is also in a ring of the Issuer: give the Issuer a new key, or set AllowIssuerKeys of migrate.Options if every old token has the typ JWT", errtext.Quote(k.ID))
				}
			}
		}
	}
	return nil
}

// reread reads the claims of an old token again: the program may have changed the fields of the
// Token. ExpiresAt of the result is zero if the token has no exp.
func (v *Verifier) reread(t *Token) (Token, error) {
	s := newVerification(context.Background(), v, "", time.Time{})
	defer s.release()
	s.ownToken.claims = t.claims
	if err := s.parseClaims(); err != nil { // unreachable, since Verify has read the claims
		return Token{}, malformed("claims", err)
	}
	return s.ownToken, nil
}

// revocation returns the id of an old token in the store, and the end of its revocation. A token
// that was revoked must not come back if the program is built again with a later date. So exp and
// RefreshableFor decide. The date decides only for an InsecureSecret.
func (v *Verifier) revocation(t *Token) (id string, end time.Time, err error) {
	claims, err := v.reread(t)
	now := v.o.Now()
	switch end = claims.ExpiresAt; {
	case v.old.IsInsecure:
		end = v.old.Until // a stranger may sign tokens, whose revocations must not fill the store for years
	case end.IsZero():
		end = now.Add(longestRevocation)
	default:
		end = end.Add(v.old.RefreshableFor)
	}
	return revoked.Encode(t.revocationIDs.Of[0]), earliest(end, now.Add(longestRevocation)).Add(bound.EndMargin), err
}

// longestRevocation is how long the revocation of an old token lasts at most. Old tokens may live for
// decades, and entries for so long would fill the store.
const longestRevocation = 365 * 24 * time.Hour

// revokeOld revokes an old token.
func (v *Verifier) revokeOld(ctx context.Context, t Token) error {
	id, end, err := v.revocation(&t)
	if err != nil {
		return err
	}
	return v.revocations.revokeUntil(ctx, &t, id, end)
}

// logoutOld revokes the old token with this text, and ends the session that the token has bought.
// If that is the session with the id keepID, logoutOld does nothing. It is for Issuer.Logout. A
// token is not revoked if it has expired and the old code does not exchange it any more.
func (i *Issuer) logoutOld(ctx context.Context, v *Verifier, token, keepID string) error {
	var t Token
	now := v.o.Now()
	if err := v.old.logout.verifyWithoutEvent(ctx, token, now, &t); err != nil {
		v.sendRefused(ctx, t, err)
		return err
	}
	sid := boughtSessionID(*t.revocationIDs, i.o.Issuer, t.Subject)
	if sid == keepID {
		return nil
	}
	if t.ExpiresAt.Equal(v.old.NoExp) || now.Before(t.ExpiresAt.Add(v.o.Leeway+v.old.RefreshableFor)) {
		if v.revocations == nil {
			return errors.New("jwtauth: the Verifier of old tokens has no Revocations to revoke a token in")
		}
		if err := v.revokeOld(ctx, t); err != nil {
			return err
		}
	}
	if i.sessions == nil {
		return nil
	}
	key := i.sessions.key(t.Subject, sid)
	events, err := i.sessions.endIfPresent(ctx, key, reasonLogout)
	if err != nil {
		return i.reportUnavailable(ctx, key.event(), err)
	}
	i.onEvent.Send(ctx, events...)
	return nil
}

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
		return Grant{}, refused("key", ErrTokenKey, "a key that no stranger can have", errtext.Quote(t.key.KeyID()))
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
		g.AuthTime = t.IssuedAt
	default:
		g.AuthTime = time.Unix(0, 0) // unknown, so LoginWithin refuses
	}
	g.Subject = t.Subject
	return nil
}

// trade opens the session that an old token buys. row is its row. If an earlier call has opened
// the session, and nobody has refreshed it yet, trade returns tokens of that session: the answer
// of the earlier call may have been lost, or another tab has the old token, too. trade does so for
// RecoverLost (or RefreshGrace) after the first call. The end of the session revokes the old
// token; see sessions.revokeBuyer.
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
	case err != nil || found.Generation != 1 || found.Age > max(i.o.RefreshGrace, i.o.RecoverLost):
		return TokenResponse{}, old.token.event(), refused("trade_in", ErrTokenReused, "an old token that has bought no session", "")
	case dataErr != nil:
		return TokenResponse{}, old.token.event(), unavailable("session", dataErr)
	}
	if err := i.finishTrade(ctx, old, row.Key, setMark); err != nil {
		return TokenResponse{}, old.token.event(), err
	}
	s.began, s.end, s.epoch = d.began(), time.Unix(d.End, 0).UTC(), found.Epoch
	i.limitLifetime(s)
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

// announced remembers the old tokens that were announced on one day.
type announced struct {
	mu   sync.Mutex
	day  int64 // since 1970
	seen map[revoked.ID]struct{}
}

const (
	// maxAnnounced is how many old tokens a verifier announces on one day.
	maxAnnounced = 1 << 16
	// lastWeek is the time before the end in which the event has the reason last_week.
	lastWeek = 7 * 24 * time.Hour
)

// isFirst reports whether a token comes for the first time on its day. It is also false if too many
// other tokens have come on that day.
func (a *announced) isFirst(id revoked.ID, now time.Time) bool {
	day := now.Unix() / (24 * 60 * 60)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.day != day || a.seen == nil {
		a.day, a.seen = day, make(map[revoked.ID]struct{})
	}
	if _, ok := a.seen[id]; ok || len(a.seen) >= maxAnnounced {
		return false
	}
	a.seen[id] = struct{}{}
	return true
}

// announceOld sends OldTokenAccepted, once a day for each token. It refuses nothing.
func announceOld(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	if v.old.announced.isFirst(t.revocationIDs.Of[0], now) {
		e := t.event()
		e.Kind, e.Until = event.OldTokenAccepted, v.old.Until
		if v.old.Until.Sub(now) <= lastWeek {
			e.Reason = reasonLastWeek
		}
		v.onEvent.Send(ctx, e)
	}
	return nil
}

func init() {
	oldtoken.NewVerifier = func(keys keyset.Set, options any, r oldtoken.Rules) (any, error) {
		return newOldVerifier(keys, options.(VerifierOptions), r)
	}
	oldtoken.TradeIn = func(token, grant any) (any, error) { return tradeIn(token.(Token), grant.(Grant)) }
}
