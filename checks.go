package jwtauth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// check is one step of verifying a token. The steps that are marked again hold
// only for a time and are asked again by Recheck.
type check struct {
	name  string
	again bool
	run   func(s *verification) error
}

// checks is the one order in which a token is verified, and the one list of
// names that errors and events use.
var checks = []check{
	{"context", true, checkContext},
	{"size", false, checkSize},
	{"form", false, readForm},
	{"header", false, readHeader},
	{"crit", false, checkCrit},
	{"typ", false, checkTyp},
	{"key", true, checkKey},
	{"signature", false, checkSignature},
	// Nothing of the payload is decoded above this line.
	{"claims", false, readClaims},
	{"iss", false, checkIss},
	{"aud", false, checkAud},
	{"exp", true, checkExp},
	{"nbf", true, checkNbf},
	{"iat", false, checkIat},
	{"lifetime", false, checkLifetime},
	{"age", true, checkAge},
	{"sub", false, checkSub},
	{"jti", false, checkJti},
	{"required", false, checkRequired},
	{"cnf", false, checkCnf},
	{"check", true, askCheck},
	{"revocation", true, askRevocations},
}

func checkContext(s *verification) error {
	if err := s.ctx.Err(); err != nil {
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

// checkKey finds the key that the header names, or, for a token that was
// verified before, says whether its key is still in use.
func checkKey(s *verification) error {
	table, err := s.v.keys.current(s.now)
	if err != nil {
		return noAnswer("key", err)
	}
	s.table = table
	if s.token.key != nil {
		if !table.has(s.token.key) {
			return refused("key", ErrTokenKey, "a key in use", quoted(s.token.key.id))
		}
		return nil
	}
	h := &s.header
	if s.token.key = table.find(h.alg, h.kid, h.hasKid); s.token.key == nil {
		return refused("key", ErrTokenKey, "alg and kid of a key in use", quoted(h.alg)+" "+quoted(h.kid))
	}
	return nil
}

func checkSignature(s *verification) error {
	signature, err := s.decode(s.parts.Signature)
	if err != nil {
		return malformed("signature", err)
	}
	if key := s.token.key; key == nil || !key.verify.Verify(s.parts.Signed, signature) {
		return refused("signature", ErrTokenSignature, "", "")
	}
	s.held = true
	if !s.known {
		s.v.headers.learn(s.table, s.parts.Header, s.token.key)
	}
	return nil
}

func checkIss(s *verification) error {
	if want := s.v.o.Issuer; s.token.Issuer != want {
		return refused("iss", ErrTokenIssuer, quoted(want), quoted(s.token.Issuer))
	}
	return nil
}

func checkAud(s *verification) error {
	if s.v.o.InsecureAnyAudience {
		return nil
	}
	found := false
	each(s.token.audiences, false, func(audience string) bool {
		for _, own := range s.v.o.Audiences {
			found = found || audience == own
		}
		return !found
	})
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
func checkExp(s *verification) error {
	switch exp := s.token.ExpiresAt; {
	case exp.IsZero():
		return refused("exp", ErrTokenClaim, "exp", "")
	case !s.now.Before(exp.Add(s.v.o.Leeway)):
		return refused("exp", ErrTokenExpired, "later than "+when(s.now), when(exp))
	}
	return nil
}

func checkNbf(s *verification) error {
	if nbf := s.token.NotBefore; !nbf.IsZero() && nbf.After(s.now.Add(s.v.o.Leeway)) {
		return refused("nbf", ErrTokenNotYetValid, "not later than "+when(s.now), when(nbf))
	}
	return nil
}

func checkIat(s *verification) error {
	if iat := s.token.IssuedAt; !iat.IsZero() && iat.After(s.now.Add(s.v.o.Leeway)) {
		return refused("iat", ErrTokenNotYetValid, "not later than "+when(s.now), when(iat))
	}
	return nil
}

// checkLifetime bounds what an issuer may promise: a token for ten years is a
// mistake or an attack.
func checkLifetime(s *verification) error {
	limit := s.v.o.MaxLifetime
	if limit == 0 {
		return nil
	}
	from := s.token.IssuedAt
	if from.IsZero() {
		from = s.now
	}
	if lifetime := s.token.ExpiresAt.Sub(from); lifetime > limit {
		return refused("lifetime", ErrTokenTooLong, "at most "+limit.String(), lifetime.String())
	}
	return nil
}

func checkAge(s *verification) error {
	limit := s.v.o.MaxAge
	if limit == 0 {
		return nil
	}
	iat := s.token.IssuedAt
	if iat.IsZero() {
		return refused("age", ErrTokenClaim, "iat", "")
	}
	if age := s.now.Sub(iat); age > limit+s.v.o.Leeway {
		return refused("age", ErrTokenTooLong, "issued at most "+limit.String()+" ago", age.String())
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
	if s.token.ID == "" && s.v.o.Revocations != nil {
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

func askCheck(s *verification) error {
	if s.v.o.Check == nil {
		return nil
	}
	if s.token.memo == nil {
		s.token.memo = new(memo) // CheckClaims and the handler decode once
	}
	err := s.v.o.Check(s.ctx, s.token)
	if err == nil {
		return nil
	}
	return fromCaller("check", err, func() *Error { return refused("check", ErrTokenCheck, "", "") })
}

func askRevocations(s *verification) error {
	if s.v.o.Revocations == nil {
		return nil
	}
	t := &s.token
	revoked, err := s.v.isRevoked(s.ctx, t, s.now)
	switch {
	case err != nil && s.v.o.InsecureAcceptUnknownRevocation && s.ctx.Err() == nil:
		e := t.event()
		e.Kind, e.Reason, e.Err = RevocationUnknown, "revocation", err
		s.v.onEvent.send(s.ctx, e)
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
	var few [2]expiring.ID
	ids := append(few[:0], revocationID('t', t.Issuer, t.ID))
	if t.SessionID != "" {
		ids = append(ids, revocationID('s', t.Issuer, t.SessionID))
	}
	if memory, ok := v.o.Revocations.(*MemoryStore); ok {
		return memory.has(ids, now)
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = encodeID(id)
	}
	ctx, cancel := storeContext(ctx, v.o.Revocations, v.o.StoreTimeout)
	defer cancel()
	return v.o.Revocations.IsRevoked(ctx, texts...)
}
