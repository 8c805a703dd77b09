package jwtauth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/view"
)

// verification is the state of the verification of one token, while the lasting checks run.
type verification struct {
	ctx context.Context
	v   *Verifier
	now time.Time

	raw           string
	parts         compact.Token
	headerText    []byte // the decoded header; the strings in header share its memory
	segment       []byte // the payload or the signature, whichever was decoded last
	header        header
	table         *keyset.Table // the keys in use at now
	headerIsKnown bool          // the headerCache knows the header, so key is set and header is not needed
	key           *keyset.Key
	otherKeys     []*keyset.Key // further keys with which a token without a kid is tried
	token         *Token        // points to ownToken, or to the token in entry
	ownToken      Token
	entry         *cacheEntry // the cache entry for the token; nil if the cache does not admit the token
	cacheKey      string      // the text of the token, which is the key of entry
	isGenuine     bool        // the signature is good, so events may name the token
	foundRequired uint64      // bit i is set if the token has RequiredClaims[i]
	hasCnf        bool

	inAudienceClaim string // the value of AudienceClaim, unless that is client_id
	unusedBytes     int    // the memory that the cache entry keeps alive in addition to its claims
}

// header holds the members of a JOSE header that the checks use (RFC 7515, section 4).
// The strings share the memory of verification.headerText and are valid until release.
type header struct {
	alg, typ, kid           string
	hasTyp, hasKid, hasCrit bool // hasCrit: the header has crit or b64
}

var verifications = sync.Pool{New: func() any { return new(verification) }}

func newVerification(ctx context.Context, v *Verifier, token string, now time.Time) *verification {
	s := verifications.Get().(*verification)
	s.ctx, s.v, s.now, s.raw = ctx, v, now, token
	s.token = &s.ownToken
	s.ownToken.verifiedAt, s.ownToken.validity = now, always
	return s
}

// release forgets everything about the token, and keeps the two buffers for another
// verification.
func (s *verification) release() {
	headerText, segment := clearBuffer(s.headerText), clearBuffer(s.segment)
	*s = verification{headerText: headerText, segment: segment}
	verifications.Put(s)
}

// clearBuffer overwrites a buffer with zeros and returns it with length 0. It returns nil
// if the buffer is too large to keep.
func clearBuffer(buffer []byte) []byte {
	clear(buffer)
	if cap(buffer) > maxPooled {
		return nil
	}
	return buffer[:0]
}

// decode decodes one segment of the token. The next call of decode overwrites the result.
func (s *verification) decode(text string) (decoded []byte, err error) {
	clear(s.segment)
	s.segment, err = compact.AppendDecode(s.segment[:0], text)
	return s.segment, err
}

// payload decodes the payload before the signature is verified, and calls member for each
// claim. It reads strict JSON. It does not copy the strings, since an attacker chooses
// their size. The next call of decode overwrites them.
func (s *verification) payload(member func(name string, v strictjson.Value) error) error {
	decoded, err := s.decode(s.parts.Payload)
	if err != nil {
		return err
	}
	return strictjson.Claims(view.String(decoded), true, func(name string, v strictjson.Value, _ int) error { return member(name, v) })
}

func readForm(s *verification) (err error) {
	if s.parts, err = compact.Split(s.raw); err != nil {
		return malformed("form", err)
	}
	return nil
}

func readHeader(s *verification) error {
	if table, err := s.v.keys.Current(s.ctx, s.now); err == nil {
		if s.key = s.v.headers.find(table, s.parts.Header); s.key != nil {
			s.headerIsKnown, s.header.hasKid, s.table = true, true, table
			return nil
		}
	}
	var err error
	if s.headerText, err = compact.AppendDecode(s.headerText[:0], s.parts.Header); err != nil {
		return malformed("header", err)
	}
	h := &s.header
	err = strictjson.Object(view.String(s.headerText), func(name string, v strictjson.Value) error {
		ok := true
		switch name {
		case "alg":
			h.alg, ok = v.Str()
			h.alg = jwa.Canonical(h.alg)
		case "typ":
			h.typ, ok = v.Str()
			h.hasTyp = true
		case "kid":
			h.kid, ok = v.Str()
			h.hasKid = true
		case "crit", "b64":
			h.hasCrit = true
		}
		return wrongTypeUnless(ok, name)
	})
	if err != nil {
		return malformed("header", err)
	}
	return nil
}

// wrongTypeUnless returns nil if ok is true. Otherwise it returns an error that names the
// member.
func wrongTypeUnless(ok bool, name string) error {
	if ok {
		return nil
	}
	return wrongTypeError(name)
}

func wrongTypeError(name string) error {
	return fmt.Errorf("%s has a value of a wrong JSON type or out of range", errtext.Quote(name))
}

func readClaims(s *verification) error {
	err := s.decodeClaims()
	if err == nil && s.v.old != nil {
		if err := s.rewriteOld(); err != nil {
			s.isGenuine = false
			return err
		}
	}
	if err == nil {
		err = s.parseClaims()
	}
	if err != nil {
		s.isGenuine = false // some claims were not read, so no event may name the token
		return malformed("claims", err)
	}
	t := s.token
	if s.v.old != nil {
		s.finishOld()
		return nil
	}
	if s.v.id.issuer != nil {
		t.hasEpoch = true // an older version of this library writes no epoch, and its tokens have the first one
	}
	if s.entry != nil && s.v.o.Revocations != nil {
		value := &s.entry.Value
		value.ids = revocationIDsOf(t)
		t.revocationIDs = &value.ids
	}
	return nil
}

// parseClaims reads the text s.token.claims into the fields of s.token.
func (s *verification) parseClaims() error {
	t := s.token
	return strictjson.Claims(t.claims, s.v.id.issuer == nil, func(name string, v strictjson.Value, pos int) error {
		if s.v.requiredIndex != nil && v != "null" {
			if i, ok := s.v.requiredIndex[name]; ok {
				s.foundRequired |= 1 << i
			}
		}
		ok := true
		switch name {
		case "iss":
			t.Issuer, ok = v.Str()
		case "sub":
			t.Subject, ok = s.readSubject(v)
		case "jti":
			t.ID, ok = s.readID(v)
		case "sid":
			t.SessionID, ok = s.readID(v)
		case "sid_epoch":
			if v != "null" {
				t.epoch, t.hasEpoch = v.Int()
				t.hasEpoch = t.hasEpoch && t.epoch >= 0
				ok = t.hasEpoch || s.v.o.Revocations == nil || s.v.old != nil
			}
		case "act":
			t.Actor = actorOf(v)
		case "exp":
			t.ExpiresAt, ok = s.readDate(name, v)
		case "nbf":
			t.NotBefore, ok = s.readDate(name, v)
		case "iat":
			t.IssuedAt, ok = s.readDate(name, v)
		case "aud":
			if v != "null" {
				t.audiences, ok = v, isStrings(v)
			}
		case "cnf":
			s.hasCnf = v != "null"
		// No check uses the next claims. If the JSON type is wrong, the field of the Token is empty, and
		// a policy that needs the claim refuses the token.
		case "client_id":
			t.ClientID, _ = v.Str()
		case "acr":
			t.ACR, _ = v.Str()
		case "auth_time":
			t.AuthTime, _ = v.Date()
		case "amr":
			if isStrings(v) {
				t.amr = v
			}
		default:
			if name == s.v.o.ScopeClaim {
				if v != "null" {
					t.scopes, ok = v, isStrings(v)
				}
			} else if resemblesReserved(name) {
				return fmt.Errorf("%s is a registered claim in another spelling", errtext.Quote(name))
			} else if name == s.v.o.AudienceClaim {
				s.inAudienceClaim, _ = v.Str()
			}
			if t.customPos == 0 {
				t.customPos = uint32(pos)
			}
		}
		return wrongTypeUnless(ok, name)
	})
}

// decodeClaims decodes the payload into s.token.claims. If the cache admits the token,
// decodeClaims also makes s.entry and moves s.token into it.
func (s *verification) decodeClaims() (err error) {
	var text []byte
	room := compact.DecodedLen(len(s.parts.Payload))
	if s.v.cache == nil || !s.v.cache.Admits(s.raw, len(s.raw)+2*room) {
		text, err = compact.AppendDecode(make([]byte, 0, room), s.parts.Payload)
		s.token.claims = view.String(text)
		return err
	}
	s.entry = new(cacheEntry)
	value := &s.entry.Value
	value.token, value.memo.entry = *s.token, s.entry
	s.token = &value.token
	s.token.memo = &value.memo
	// The claims and the text of the token share one allocation.
	text = append(make([]byte, 0, len(s.raw)+room), s.raw...)
	text, err = compact.AppendDecode(text, s.parts.Payload)
	joined := view.String(text)
	s.cacheKey, s.token.claims = joined[:len(s.raw)], joined[len(s.raw):]
	return err
}

// cacheToken puts a token that has passed all checks into the cache. If the cache did not
// admit the token, cacheToken notes it, so that the cache can admit it the next time.
func (s *verification) cacheToken() {
	owner := s.token.Subject
	if owner == "" { // see AllowNoSubject
		owner = s.token.ClientID
	}
	switch {
	case s.entry != nil:
		// A string with escapes, such as \u00e9, is a copy outside of the claims. All copies
		// together can be as long as the claims, so the length of the claims counts twice.
		s.v.cache.Put(s.entry, s.cacheKey, owner, 2*len(s.token.claims)+s.unusedBytes)
	case s.v.cache != nil:
		s.v.cache.NoteSeen(s.raw, owner)
	}
}

// actorOf returns act.sub (RFC 8693, section 4.1); "" if there is none.
func actorOf(act strictjson.Value) (subject string) {
	_ = strictjson.ObjectAt(1, string(act), func(name string, v strictjson.Value) error {
		if name == "sub" {
			subject, _ = v.Str()
		}
		return nil
	})
	return subject
}

// readSubject reads sub, a string. With AllowNoSubject, null is absent. With IntegerSubject, sub may
// be an integer of at most 19 digits, without a fraction or an exponent.
func (s *verification) readSubject(v strictjson.Value) (subject string, ok bool) {
	if subject, ok = v.Str(); ok {
		return subject, true
	}
	digits := strings.TrimPrefix(string(v), "-")
	if s.v.o.IntegerSubject && v != "-0" && 0 < len(digits) && len(digits) <= 19 && strings.Trim(digits, "0123456789") == "" {
		return string(v), true
	}
	return "", v == "null" && s.v.o.AllowNoSubject
}

// readID reads jti or sid. With Revocations, a value that is not a string is an error: it could not
// be looked up. Without Revocations, and in an old token, it counts as absent. null is always
// absent.
func (s *verification) readID(v strictjson.Value) (id string, ok bool) {
	id, ok = v.Str()
	return id, ok || v == "null" || s.v.o.Revocations == nil || s.v.old != nil
}

// readDate reads exp, nbf or iat. null is absent, except that exp must not be null.
func (s *verification) readDate(name string, v strictjson.Value) (date time.Time, ok bool) {
	if v == "null" {
		return time.Time{}, name != "exp"
	}
	date, ok = v.Date()
	if s.v.old != nil {
		return s.v.old.dateOf(name, v, date, ok)
	}
	return date, ok
}

// isStrings reports whether a value is a string or an array of strings.
func isStrings(v strictjson.Value) bool {
	if _, ok := v.Str(); ok {
		return true
	}
	return v.EachString(func(string) bool { return true })
}

// verifySignature reports whether the signature is good under s.key or one of s.otherKeys. It
// sets s.key to that key.
func (s *verification) verifySignature() (isGood bool, err error) {
	signature, err := s.decode(s.parts.Signature)
	if err != nil || s.key == nil {
		return false, err
	}
	text := view.Bytes(s.parts.Signed)
	if s.key.Verifier.Verify(text, signature) {
		return true, nil
	}
	for _, k := range s.otherKeys {
		if k.Verifier.Verify(text, signature) {
			s.key = k
			return true, nil
		}
	}
	return false, nil
}

// askForReplacement lets a key set whose source may replace a key under its kid ask the source,
// after a signature was bad under s.key and s.otherKeys. It does so only if the token is
// plausible. It reports whether there are other keys, which it puts in their place. If the
// source does not answer, the signature stays bad: otherwise every forged token would be
// "not known" while the source is down.
func (s *verification) askForReplacement() bool {
	set, ok := s.v.keys.(keyset.Replacing)
	if !ok || s.key == nil {
		return false
	}
	if s.headerIsKnown { // the header was not decoded, but the headerCache has found its key
		s.header.alg, s.header.kid = s.key.Alg.Name, s.key.ID
	}
	if s.checkPlausible() != nil {
		return false
	}
	doubted := append([]*keyset.Key{s.key}, s.otherKeys...)
	table, err := set.AskForReplacement(s.ctx, s.now, doubted)
	if err != nil {
		return false
	}
	s.table, s.headerIsKnown, s.key, s.otherKeys = table, false, nil, nil
	s.selectKey(table)
	if s.key == nil {
		return false
	}
	var others []*keyset.Key
	for _, k := range append([]*keyset.Key{s.key}, s.otherKeys...) {
		if !slices.Contains(doubted, k) {
			others = append(others, k)
		}
	}
	if len(others) == 0 {
		return false
	}
	s.key, s.otherKeys = others[0], others[1:]
	return true
}

// checkPlausible refuses a token with an unknown key or a bad signature whose algorithm,
// issuer or dates are wrong, so that a forged token does not make the verifier ask its key
// source. The header and the claims are not authentic yet. If a key is found, they are checked
// again.
//
// A wrong date gives ErrTokenKey and not ErrTokenExpired. ErrTokenExpired therefore
// always means that the signature of the token is good.
func (s *verification) checkPlausible() error {
	h := &s.header
	alg := jwa.Lookup(h.alg)
	if alg == nil || s.v.facts.Asymmetric && alg.Family == jwa.HMAC {
		return refused("key", ErrTokenKey, "an algorithm of such keys", errtext.Quote(h.alg))
	}
	t := Token{validity: always}
	err := s.payload(func(name string, v strictjson.Value) error {
		ok := true
		switch name {
		case "iss":
			t.Issuer, ok = v.Str()
		case "exp":
			t.ExpiresAt, ok = s.readDate(name, v)
		case "nbf":
			t.NotBefore, ok = s.readDate(name, v)
		case "iat":
			t.IssuedAt, ok = s.readDate(name, v)
		}
		return wrongTypeUnless(ok || s.v.old != nil && v == "null", name)
	})
	if err != nil {
		return malformed("claims", err)
	}
	if s.v.old != nil {
		s.v.old.fillIn(&t, s.v.o.Issuer)
	}
	if err := checkIssuerClaim(s.v, t.Issuer); err != nil {
		return err
	}
	if err := s.v.checks.runTimed(s.v, &t, s.now); err != nil {
		return refused("key", ErrTokenKey, "a token that could be good, before its key is asked for", err.Error())
	}
	return nil
}
