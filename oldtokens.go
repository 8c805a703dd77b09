package jwtauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	v.old.logout = v.without("sub", "until", "exp", "revocation")
	forLogout := r
	forLogout.Map = unlessRefused(r.Map)
	v.old.logout.old = &oldTokens{Rules: forLogout}
	if v.onEvent != nil {
		v.checks.onRequest = append(v.checks.onRequest, requestCheck{"announce", announceOld})
	}
	return v, nil
}

// unlessRefused returns a Map that leaves the claims as they are if mapping refuses the token: a
// logout must revoke such a token, too, since it may have been accepted before, and be in a cache.
func unlessRefused(mapping func(map[string]any) (map[string]any, error)) func(map[string]any) (map[string]any, error) {
	if mapping == nil {
		return nil
	}
	return func(claims map[string]any) (map[string]any, error) {
		mapped, err := mapping(maps.Clone(claims))
		if class, _ := classify(err); err == nil && mapped == nil || err != nil && class == classRefused {
			return claims, nil
		}
		return mapped, err
	}
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

// dateOf returns the date of exp, nbf or iat as most old code reads it. ok means that the claim is a
// date from 1970 to 9999. Otherwise the claim counts as absent in these cases: iat in any form, and a
// negative nbf, which is the zero time.Time of Go. If a token without exp is accepted, so is an exp
// that never comes, such as one in milliseconds, and 0, which golang-jwt reads as no exp.
func (o *oldTokens) dateOf(name string, v strictjson.Value, date time.Time, ok bool) (time.Time, bool) {
	isAbsent := !ok
	switch name {
	case "iat":
	case "nbf":
		isAbsent = isAbsent && strings.HasPrefix(string(v), "-")
	default:
		isNumber := v != "" && '0' <= v[0] && v[0] <= '9'
		isAbsent = !o.NoExp.IsZero() && (v == "0" || isAbsent && isNumber)
	}
	if isAbsent {
		return time.Time{}, true
	}
	return date, ok
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
	// Without the name of the issuer: the token stays revoked if the program gives it another name.
	*ids = revoked.IDs{N: 1}
	ids.Of[0] = revoked.NewID(revoked.Token, "", t.ID)
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
// RefreshableFor decide, and not the date. A stranger may sign tokens of an InsecureSecret, whose
// revocations must not fill the store for years: they last for as long as a date can be ahead.
func (v *Verifier) revocation(t *Token) (id string, end time.Time, err error) {
	claims, err := v.reread(t)
	now := v.o.Now()
	longest := now.Add(longestRevocation)
	if v.old.IsInsecure {
		longest = now.Add(oldtoken.LongestMove)
	}
	if end = claims.ExpiresAt.Add(v.old.RefreshableFor); claims.ExpiresAt.IsZero() {
		end = longest
	}
	return revoked.Encode(t.revocationIDs.Of[0]), earliest(end, longest).Add(bound.EndMargin), err
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

// maxOld is how many verifiers of old tokens an Issuer remembers. A program has a few; one that
// makes them again and again needs the newest.
const maxOld = 16

// addOld records a verifier of old tokens as the newest one.
func (i *issuerID) addOld(v *Verifier) {
	i.mu.Lock()
	defer i.mu.Unlock()
	newest := []*Verifier{v} // in a new array, since oldVerifiers has returned the present one
	for _, other := range i.old {
		if other != v && len(newest) < maxOld {
			newest = append(newest, other)
		}
	}
	i.old = newest
}

// oldVerifiers returns the verifiers of old tokens.
func (i *issuerID) oldVerifiers() []*Verifier {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.old
}

// verifyForLogout returns the one of the verifiers that accepts an old token, and the token. If none
// does, it returns the first one with its error, or one that could not decide.
func verifyForLogout(ctx context.Context, verifiers []*Verifier, token string) (v *Verifier, t Token, err error) {
	for _, one := range verifiers {
		var found Token
		oneErr := one.old.logout.verifyWithoutEvent(ctx, token, one.o.Now(), &found)
		if oneErr == nil {
			return one, found, nil
		}
		if err == nil || errors.Is(oneErr, ErrUnavailable) && !errors.Is(err, ErrUnavailable) {
			v, t, err = one, found, oneErr
		}
	}
	return v, t, err
}

// logoutOld revokes the old token with this text, and ends the session that the token has bought.
// If that is the session with the id keepID, logoutOld does nothing. It is for Issuer.Logout. A
// token is not revoked if it has expired and the old code does not exchange it any more.
func (i *Issuer) logoutOld(ctx context.Context, verifiers []*Verifier, token, keepID string) error {
	v, t, err := verifyForLogout(ctx, verifiers, token)
	if err != nil {
		v.sendRefused(ctx, t, err)
		return err
	}
	now := v.o.Now()
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
}
