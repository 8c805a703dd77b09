package jwtauth

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// check is one step of verifying a token, by one of three functions. What first
// settles holds as long as the token's key is in use. What at settles depends on
// the moment: what it says of a claim holds within Token.good, which it narrows.
// What again asks depends on the caller or a store, and is asked each time. Where
// first reads the token, at can look at what was read.
type check struct {
	name  string
	first func(s *verification) error
	at    func(v *Verifier, t *Token, now time.Time) error
	again func(ctx context.Context, v *Verifier, t *Token, now time.Time) error
}

// checks is the one order in which a token is verified, and the one list of
// names that errors and events use.
var checks = []check{
	{name: "context", again: checkContext},
	{name: "size", first: checkSize},
	{name: "form", first: readForm},
	{name: "header", first: readHeader},
	{name: "crit", first: checkCrit},
	{name: "typ", first: checkTyp},
	{name: "key", first: findKey, at: keyInUse},
	{name: "signature", first: checkSignature},
	// Nothing of the payload is decoded above this line.
	{name: "claims", first: readClaims},
	{name: "iss", first: checkIss},
	{name: "aud", first: checkAud},
	{name: "exp", at: checkExp},
	{name: "nbf", at: checkNbf},
	{name: "iat", at: checkIat},
	{name: "lifetime", at: checkLifetime},
	{name: "age", at: checkAge},
	{name: "sub", first: checkSub},
	{name: "jti", first: checkJti},
	{name: "required", first: checkRequired},
	{name: "cnf", first: checkCnf},
	{name: "check", again: askCheck},
	{name: "revocation", again: askRevocations},
}

func checkContext(ctx context.Context, _ *Verifier, _ *Token, _ time.Time) error {
	if err := ctx.Err(); err != nil {
		return noAnswer("context", err)
	}
	return nil
}

func checkSize(s *verification) error {
	if limit := s.v.o.MaxTokenBytes; len(s.raw) > limit {
		return refused("size", ErrTokenMalformed, fmt.Sprintf("at most %d bytes", limit), fmt.Sprint(len(s.raw)))
	}
	return nil
}

// checkCrit refuses every critical extension, since none is understood here
// (RFC 7515, section 4.1.11), and b64 with or without crit (RFC 7797).
func checkCrit(s *verification) error {
	if s.header.hasCrit {
		return refused("crit", ErrTokenMalformed, "neither crit nor b64", "")
	}
	return nil
}

// checkTyp tells the kinds of tokens apart (RFC 8725, section 3.11). A media
// type may stand without its application/ (RFC 7515, section 4.1.9).
func checkTyp(s *verification) error {
	h, v := &s.header, s.v
	if s.known || !h.hasTyp && v.o.AcceptNoTyp {
		return nil
	}
	want := v.kind.typ()
	typ := h.typ
	if prefix := "application/"; len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	if strings.EqualFold(typ, want) || v.o.AcceptTypJWT && strings.EqualFold(typ, "JWT") {
		return nil
	}
	return refused("typ", ErrTokenType, want, quoted(h.typ))
}

// findKey finds the key that the header names. A key set that can grow is asked
// for one that it does not have, if the token could be a good one.
func findKey(s *verification) error {
	if s.known { // and the key is one of the keys of this moment
		return nil
	}
	h := &s.header
	table, err := s.v.keys.current(s.now)
	if err == nil {
		s.key = table.find(h.alg, h.kid, h.hasKid)
	}
	if s.key == nil && s.v.keys.grows() {
		if err := s.plausible(); err != nil {
			return err
		}
		if table, err = s.v.keys.await(s.ctx, s.now, h.kid); err == nil {
			s.key = table.find(h.alg, h.kid, h.hasKid)
		}
	}
	if err != nil {
		return noAnswer("key", err)
	}
	if s.table = table; s.key == nil {
		return refused("key", ErrTokenKey, "alg and kid of a key in use", quoted(h.alg)+" "+quoted(h.kid))
	}
	return nil
}

// keyInUse says whether the key of a token that was verified before is still in
// use.
func keyInUse(v *Verifier, t *Token, now time.Time) error {
	table, err := v.keys.current(now)
	if err != nil {
		return noAnswer("key", err)
	}
	if !table.has(t.key, t.hasKid) {
		return refused("key", ErrTokenKey, "a key in use", quoted(t.key.id))
	}
	return nil
}

func checkSignature(s *verification) error {
	s.header.alg, s.header.typ, s.header.kid = "", "", ""
	signature, err := s.decode(s.parts.Signature)
	if err != nil {
		return malformed("signature", err)
	}
	if s.key == nil || !s.key.verify.Verify(asBytes(s.parts.Signed), signature) {
		return refused("signature", ErrTokenSignature, "", "")
	}
	s.token.key, s.token.hasKid = s.key, s.header.hasKid
	s.held = true
	if !s.known {
		s.v.headers.learn(s.table, s.parts.Header, s.key, s.header.hasKid)
	}
	return nil
}

func checkIss(s *verification) error {
	return s.v.checkIssuer(s.token.Issuer)
}

func (v *Verifier) checkIssuer(issuer string) error {
	if want := v.o.Issuer; issuer != want {
		return refused("iss", ErrTokenIssuer, quoted(want), quoted(issuer)+differsBy(want, issuer))
	}
	return nil
}

// differsBy says in what two names of issuers differ that look alike, for the log.
func differsBy(want, got string) string {
	host := func(name string) string {
		if u, err := url.Parse(name); err == nil {
			return u.Scheme + "://" + u.Hostname() + u.EscapedPath()
		}
		return name
	}
	switch {
	case strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/"):
		return ", which differs by a slash at its end"
	case strings.EqualFold(want, got):
		return ", which differs by the case of letters"
	case host(want) == host(got):
		return ", which differs by its port, or by what is not its host and path"
	}
	return ""
}

func checkAud(s *verification) error {
	if s.v.o.InsecureAnyAudience {
		return nil
	}
	found := false
	if one, ok := s.token.audiences.Str(); ok {
		found = slices.Contains(s.v.o.Audiences, one)
	} else {
		s.token.audiences.EachString(func(audience string) bool {
			found = slices.Contains(s.v.o.Audiences, audience)
			return !found
		})
	}
	if !found {
		return refused("aud", ErrTokenAudience, quotedList(s.v.o.Audiences), quotedList(s.token.Audiences()))
	}
	return nil
}

func quotedList(list []string) string {
	const most = 4
	var b strings.Builder
	for i, s := range list {
		if i == most {
			b.WriteString(" …")
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quoted(s))
	}
	return b.String()
}

// when writes a time for an error.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkExp refuses from the very second that exp names (RFC 7519, section
// 4.1.4).
func checkExp(v *Verifier, t *Token, now time.Time) error {
	exp := t.ExpiresAt
	if exp.IsZero() {
		return refused("exp", ErrTokenClaim, "exp", "")
	}
	if t.good.endAt(exp, v.o.Leeway); !t.good.covers(now) {
		return refused("exp", ErrTokenExpired, "later than "+when(now), when(exp))
	}
	return nil
}

func checkNbf(v *Verifier, t *Token, now time.Time) error {
	nbf := t.NotBefore
	if nbf.IsZero() {
		return nil
	}
	if t.good.beginAt(nbf, -v.o.Leeway); !t.good.covers(now) {
		return refused("nbf", ErrTokenNotYetValid, "not later than "+when(now), when(nbf))
	}
	return nil
}

func checkIat(v *Verifier, t *Token, now time.Time) error {
	iat := t.IssuedAt
	if iat.IsZero() {
		return nil
	}
	if t.good.beginAt(iat, -v.o.Leeway); !t.good.covers(now) {
		return refused("iat", ErrTokenNotYetValid, "not later than "+when(now), when(iat))
	}
	return nil
}

// checkLifetime bounds what an issuer may promise: a token for ten years is a
// mistake or an attack.
func checkLifetime(v *Verifier, t *Token, now time.Time) error {
	limit := v.o.MaxLifetime
	from := t.IssuedAt
	if from.IsZero() {
		from = now
		t.good.beginAt(t.ExpiresAt, -limit)
	}
	if lifetime := t.ExpiresAt.Sub(from); lifetime > limit {
		return refused("lifetime", ErrTokenTooLong, "at most "+limit.String(), lifetime.String())
	}
	return nil
}

func checkAge(v *Verifier, t *Token, now time.Time) error {
	limit := v.o.MaxAge
	iat := t.IssuedAt
	if iat.IsZero() {
		return refused("age", ErrTokenClaim, "iat", "")
	}
	if t.good.endAt(iat, limit+v.o.Leeway+1); !t.good.covers(now) {
		return refused("age", ErrTokenTooLong, "issued at most "+limit.String()+" ago", now.Sub(iat).String())
	}
	return nil
}

func checkSub(s *verification) error {
	if s.token.Subject == "" {
		return refused("sub", ErrTokenClaim, "sub", "")
	}
	return nil
}

// checkJti: what has no name cannot be revoked.
func checkJti(s *verification) error {
	if s.token.ID == "" {
		return refused("jti", ErrTokenClaim, "jti", "")
	}
	return nil
}

// maxRequiredClaims is how many claims fit into verification.required.
const maxRequiredClaims = 64

func checkRequired(s *verification) error {
	for i, name := range s.v.o.RequiredClaims {
		if s.required&(1<<i) == 0 {
			return refused("required", ErrTokenClaim, quoted(name), "")
		}
	}
	return nil
}

// checkCnf refuses tokens that are bound to a sender (RFC 7800), which as plain
// bearer tokens would lose what protects them.
func checkCnf(s *verification) error {
	if s.cnf {
		return refused("cnf", ErrTokenBound, "a bearer token", "cnf")
	}
	return nil
}

func askCheck(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	if t.memo == nil {
		t.memo = new(memo) // CheckClaims and the handler decode once
	}
	asked := *t
	asked.at = now
	err := v.o.Check(ctx, asked)
	if err == nil {
		return nil
	}
	return fromCaller("check", err, func() *Error { return refused("check", ErrTokenCheck, "", "") })
}

func askRevocations(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	revoked, err := v.isRevoked(ctx, t, now)
	switch {
	case err != nil && v.o.InsecureAcceptUnknownRevocation && ctx.Err() == nil:
		e := t.event()
		e.Kind, e.Reason, e.Err = RevocationUnknown, "revocation", err
		v.onEvent.send(ctx, e)
		return nil
	case err != nil:
		return noAnswer("revocation", err)
	case revoked:
		return refused("revocation", ErrTokenRevoked, "", "")
	}
	return nil
}

// isRevoked asks the revocation store about a token and its session.
func (v *Verifier) isRevoked(ctx context.Context, t *Token, now time.Time) (bool, error) {
	var made revocationIDs
	ids := t.ids
	if ids == nil {
		made = idsOf(t)
		ids = &made
	}
	if revoked, here, err := isRevokedHere(ctx, v.o.Revocations, ids.list(), now); here {
		return revoked, err
	}
	texts := make([]string, 0, len(ids.of))
	for _, id := range ids.list() {
		texts = append(texts, encodeID(id))
	}
	ctx, cancel := storeContext(ctx, v.o.Revocations, v.o.StoreTimeout)
	defer cancel()
	return v.o.Revocations.IsRevoked(ctx, texts...)
}
