package jwtauth

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// The checks of a token, in three lists. verifyWithoutEvent runs the lists one after the
// other, each in its order. Errors and events have the name of the check that failed.
var (
	// lastingChecks need the text of the token. Their result holds as long as the key of
	// the token is in use, so a cached token does not run them again.
	lastingChecks = []lastingCheck{
		{"size", checkSize},
		{"form", readForm},
		{"header", readHeader},
		{"crit", checkCrit},
		{"typ", checkTyp},
		{"key", findKey},
		{"signature", checkSignature},
		// No check above this line decodes the payload, except findKey and checkSignature
		// before they ask a key source for a key.
		{"claims", readClaims},
		{"iss", checkIss},
		{"aud", checkAud},
		{"sub", checkSub},
		{"jti", checkJti},
		{"required", checkRequired},
		{"cnf", checkCnf},
		{"provider", checkProvider},
	}
	// timedChecks depend on the time. Each narrows Token.validity to the span of time in
	// which its result holds, so for a cached token it is enough to compare that span with
	// the clock.
	timedChecks = []timedCheck{
		{"until", checkUntil},
		{"exp", checkExp},
		{"nbf", checkNbf},
		{"iat", checkIat},
		{"lifetime", checkLifetime},
		{"age", checkAge},
	}
	// requestChecks ask the program or a store. They run on every request.
	requestChecks = []requestCheck{
		{"check", askPolicies},
		{"revocation", askRevocations},
	}
)

type lastingCheck struct {
	name string
	run  func(s *verification) error
}

type timedCheck struct {
	name string
	run  func(v *Verifier, t *Token, now time.Time) error
}

type requestCheck struct {
	name string
	run  func(ctx context.Context, v *Verifier, t *Token, now time.Time) error
}

// checklist holds the checks that one verifier runs.
type checklist struct {
	lasting   []lastingCheck
	timed     []timedCheck
	onRequest []requestCheck
}

// newChecklist returns all checks except those with the given names.
func newChecklist(without ...string) (l checklist) {
	for _, c := range lastingChecks {
		if !slices.Contains(without, c.name) {
			l.lasting = append(l.lasting, c)
		}
	}
	for _, c := range timedChecks {
		if !slices.Contains(without, c.name) {
			l.timed = append(l.timed, c)
		}
	}
	for _, c := range requestChecks {
		if !slices.Contains(without, c.name) {
			l.onRequest = append(l.onRequest, c)
		}
	}
	return l
}

func (l *checklist) runLasting(s *verification) error {
	for i := range l.lasting {
		if err := l.lasting[i].run(s); err != nil {
			return err
		}
	}
	return nil
}

func (l *checklist) runTimed(v *Verifier, t *Token, now time.Time) error {
	for i := range l.timed {
		if err := l.timed[i].run(v, t, now); err != nil {
			return err
		}
	}
	return nil
}

func (l *checklist) runOnRequest(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	for i := range l.onRequest {
		if err := l.onRequest[i].run(ctx, v, t, now); err != nil {
			return err
		}
	}
	return nil
}

// checkContext returns ErrUnavailable if ctx has ended. It runs before all other checks.
func checkContext(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable("context", err)
	}
	return nil
}

func checkSize(s *verification) error {
	if limit := s.v.o.MaxTokenBytes; len(s.raw) > limit {
		return refused("size", ErrTokenMalformed, fmt.Sprintf("at most %d bytes", limit), fmt.Sprint(len(s.raw)))
	}
	return nil
}

// checkCrit refuses a header with crit, since this package supports no critical extension
// (RFC 7515, section 4.1.11). It also refuses b64, with or without crit (RFC 7797).
func checkCrit(s *verification) error {
	if s.header.hasCrit {
		return refused("crit", ErrTokenMalformed, "neither crit nor b64", "")
	}
	return nil
}

// checkTyp refuses a token of another kind, such as a refresh token (RFC 8725, section
// 3.11). typ may omit the prefix application/ (RFC 7515, section 4.1.9).
func checkTyp(s *verification) error {
	h, v := &s.header, s.v
	if s.headerIsKnown || !h.hasTyp && v.o.AcceptNoTyp {
		return nil
	}
	want := v.kind.Typ()
	if keyset.IsTyp(h.typ, want) || v.o.AcceptTypJWT && keyset.IsTyp(h.typ, "JWT") {
		return nil
	}
	if v.o.AcceptTypJWT {
		want += " or JWT"
	}
	if v.o.AcceptNoTyp {
		want += " or none"
	}
	return refused("typ", ErrTokenType, want, errtext.Quote(h.typ))
}

// findKey finds the key that the header names. If a key set that can grow does not have
// the key, findKey lets the set ask its source, unless the token is implausible.
func findKey(s *verification) error {
	if s.headerIsKnown { // readHeader has set s.key, which is in use
		return nil
	}
	h := &s.header
	table, err := s.v.keys.Current(s.ctx, s.now)
	if err == nil {
		s.selectKey(table)
	}
	if s.key == nil && s.v.facts.AsksForKid {
		if err := s.checkPlausible(); err != nil {
			return err
		}
		if table, err = s.v.keys.AskForKid(s.ctx, s.now, h.kid); err == nil {
			s.selectKey(table)
		}
	}
	if err != nil {
		return unavailable("key", err)
	}
	if s.table = table; s.key == nil {
		return refused("key", ErrTokenKey, expectedKey(table, h), errtext.Quote(h.alg)+" "+errtext.Quote(h.kid))
	}
	return nil
}

// expectedKey says which key was expected. If only the algorithm is another one, it names that of
// the key: perhaps the key has no alg, and RemoteOptions.Algorithms must say what it is for.
func expectedKey(table *keyset.Table, h *header) string {
	if h.hasKid {
		if same := table.WithID(h.kid); len(same) > 0 {
			return "alg " + same[0].Alg.Name + ", which the key of this kid is for"
		}
	}
	return "alg and kid of a key in use"
}

// selectKey sets s.key to the key that the header names. If it names none, selectKey takes all keys of
// the algorithm, unless they are many or the keys of an Issuer: its own tokens have a kid. An empty kid
// names none, as in a JWK.
func (s *verification) selectKey(table *keyset.Table) {
	h := &s.header
	if h.kid == "" && s.v.facts.TriesKeys {
		h.hasKid = false
	}
	if h.hasKid || !s.v.facts.TriesKeys {
		s.key = table.Find(h.alg, h.kid, h.hasKid)
	} else if keys := table.OfAlgorithm(h.alg); len(keys) > 0 {
		s.key, s.otherKeys = keys[0], keys[1:]
	}
}

// checkKeyInUse refuses a token that was verified earlier, if its key is no longer in use.
func checkKeyInUse(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	table, err := v.keys.Current(ctx, now)
	if err != nil {
		return unavailable("key", err)
	}
	if !table.Has(t.key, t.hasKid || v.facts.TriesKeys) {
		return refused("key", ErrTokenKey, "a key in use", errtext.Quote(t.key.KeyID()))
	}
	return nil
}

func checkSignature(s *verification) error {
	isGood, err := s.verifySignature()
	if err != nil {
		return malformed("signature", err)
	}
	if !isGood && s.askForReplacement() {
		isGood, _ = s.verifySignature()
	}
	if !isGood {
		return refused("signature", ErrTokenSignature, "", "")
	}
	s.token.key, s.token.hasKid, s.token.verifier = s.key, s.header.hasKid, s.v.id
	s.isGenuine = true
	if !s.headerIsKnown && s.header.hasKid {
		s.v.headers.learn(s.table, s.parts.Header, s.key)
	}
	return nil
}

func checkIss(s *verification) error { return checkIssuerClaim(s.v, s.token.Issuer) }

func checkIssuerClaim(v *Verifier, issuer string) error {
	if want := v.o.Issuer; issuer != want {
		return refused("iss", ErrTokenIssuer, errtext.Quote(want), errtext.Quote(issuer)+errtext.IssuerDifference(want, issuer))
	}
	return nil
}

func checkAud(s *verification) error {
	o := &s.v.o
	if o.InsecureAnyAudience {
		return nil
	}
	if o.AudienceClaim != "" {
		value := s.inAudienceClaim
		if o.AudienceClaim == "client_id" {
			value = s.token.ClientID
		}
		if !slices.Contains(o.AudienceClaimValues, value) {
			return refused("aud", ErrTokenAudience, o.AudienceClaim+" "+errtext.QuoteList(o.AudienceClaimValues), errtext.Quote(value))
		}
	}
	if (o.AudienceClaim != "" || o.InsecureNoAudience) && isEmptyList(s.token.audiences) {
		return nil
	}
	found := false
	if one, ok := s.token.audiences.Str(); ok {
		found = slices.Contains(o.Audiences, one)
	} else {
		s.token.audiences.EachString(func(audience string) bool {
			found = slices.Contains(o.Audiences, audience)
			return !found
		})
	}
	if !found {
		want := "no aud"
		if len(o.Audiences) > 0 {
			want = errtext.QuoteList(o.Audiences)
		}
		return refused("aud", ErrTokenAudience, want, errtext.QuoteList(s.token.Audiences()))
	}
	return nil
}

// isEmptyList reports whether a claim is absent, an empty string, or an array without a value.
func isEmptyList(v strictjson.Value) bool {
	if one, ok := v.Str(); ok {
		return one == ""
	}
	isEmpty := true
	v.EachString(func(string) bool {
		isEmpty = false
		return false
	})
	return isEmpty
}

// checkExp refuses a token from exp plus Leeway on (RFC 7519, section 4.1.4).
func checkExp(v *Verifier, t *Token, now time.Time) error {
	exp := t.ExpiresAt
	if exp.IsZero() {
		return refused("exp", ErrTokenClaim, "exp", "")
	}
	if t.validity.endAt(exp, v.o.Leeway); !t.validity.covers(now) {
		return refused("exp", ErrTokenExpired, "later than "+errtext.Time(now), errtext.Time(exp))
	}
	return nil
}

func checkNbf(v *Verifier, t *Token, now time.Time) error {
	nbf := t.NotBefore
	if nbf.IsZero() {
		return nil
	}
	if t.validity.beginAt(nbf, -v.o.Leeway); !t.validity.covers(now) {
		return refused("nbf", ErrTokenNotYetValid, "not later than "+errtext.Time(now), errtext.Time(nbf))
	}
	return nil
}

func checkIat(v *Verifier, t *Token, now time.Time) error {
	iat := t.IssuedAt
	if iat.IsZero() {
		return nil
	}
	if t.validity.beginAt(iat, -v.o.Leeway); !t.validity.covers(now) {
		return refused("iat", ErrTokenNotYetValid, "not later than "+errtext.Time(now), errtext.Time(iat))
	}
	return nil
}

// checkLifetime refuses a token that lives longer than MaxLifetime: a token for ten years
// is a mistake or an attack.
func checkLifetime(v *Verifier, t *Token, now time.Time) error {
	limit := v.o.MaxLifetime
	from := t.IssuedAt
	if from.IsZero() {
		from = now
		t.validity.beginAt(t.ExpiresAt, -limit)
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
	if t.validity.endAt(iat, limit+v.o.Leeway+1); !t.validity.covers(now) {
		return refused("age", ErrTokenTooLong, "issued at most "+limit.String()+" ago", now.Sub(iat).String())
	}
	return nil
}

func checkSub(s *verification) error {
	if s.token.Subject == "" && !s.v.o.AllowNoSubject {
		want := "sub"
		if s.v.old != nil {
			want = errtext.Quote(s.v.old.SubjectClaim) + " with a text or an integer"
		}
		return refused("sub", ErrTokenClaim, want, "")
	}
	return nil
}

// checkJti refuses a token without an id, since it could not be revoked.
func checkJti(s *verification) error {
	if s.token.ID == "" {
		return refused("jti", ErrTokenClaim, "jti", "")
	}
	return nil
}

func checkRequired(s *verification) error {
	for i, name := range s.v.o.RequiredClaims {
		if s.foundRequired&(1<<i) == 0 {
			return refused("required", ErrTokenClaim, errtext.Quote(name), "")
		}
	}
	return nil
}

// checkCnf refuses a token that is bound to a sender (RFC 7800). If it were accepted as
// a bearer token, a thief could use it.
func checkCnf(s *verification) error {
	if s.hasCnf {
		return refused("cnf", ErrTokenBound, "a bearer token", "cnf")
	}
	return nil
}

// checkProvider asks the rules of package provider.
func checkProvider(s *verification) error {
	if broken, got := claimrule.Check(s.v.rules, s.token.claims); broken != nil {
		return refused("provider", ErrTokenCheck, broken.Expected, got)
	}
	return nil
}

// askPolicies asks the policies in VerifierOptions.Checks.
func askPolicies(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	if t.memo == nil {
		t.memo = new(memo) // so that a ClaimsPolicy and the handler decode the claims once
	}
	asked := *t
	asked.verifiedAt = now
	for i := range v.o.Checks {
		if err := v.o.Checks[i].evaluate(ctx, nil, asked, refusedByCheck); err != nil {
			return err
		}
	}
	return nil
}

func refusedByCheck() *Error { return refused("", ErrTokenCheck, "", "") }

// askRevocations asks VerifierOptions.Revocations about the token and its session.
func askRevocations(ctx context.Context, v *Verifier, t *Token, now time.Time) error {
	var ids revoked.IDs
	if t.revocationIDs != nil {
		ids = *t.revocationIDs
	} else {
		ids = revocationIDsOf(t)
	}
	isRevoked, err := v.revocations.hasAny(ctx, ids, now)
	switch {
	case err != nil && v.o.InsecureAcceptUnknownRevocation && ctx.Err() == nil:
		e := t.event()
		e.Kind, e.Reason, e.Err = event.RevocationUnknown, "revocation", err
		v.onEvent.Send(ctx, e)
		return nil
	case err != nil:
		return unavailable("revocation", err)
	case isRevoked:
		return revokedError(ctx, v, ids, now)
	}
	return nil
}

// revokedError returns the refusal of a revoked token. If only the epoch of its session was
// revoked (see Issuer.ForceRefresh), the session goes on, so the client can refresh.
func revokedError(ctx context.Context, v *Verifier, ids revoked.IDs, now time.Time) error {
	e := refused("revocation", ErrTokenRevoked, "", "")
	if ids.N == len(ids.Of) {
		ids.N--
		isOver, err := v.revocations.hasAny(ctx, ids, now)
		if err != nil {
			return unavailable("revocation", err)
		}
		if !isOver {
			e.Next = nextRefresh
		}
	}
	return e
}
