package jwtauth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// verification is one token on its way through the checks.
type verification struct {
	ctx context.Context
	v   *Verifier
	now time.Time

	raw      string
	parts    compact.Token
	scratch  []byte // the segment that was decoded last
	header   header
	table    *keyTable // the keys at that moment
	known    bool      // the header is one that was read before, and key is its key
	key      *VerificationKey
	token    *Token // what is known of it so far: own, or that of entry
	own      Token
	entry    *cacheEntry // what the token becomes in the cache, where there is one
	cacheKey string
	held     bool   // the signature, so that token comes from its issuer
	required uint64 // which of RequiredClaims are there
	cnf      bool
}

// header is what counts of a JOSE header (RFC 7515, section 4). The strings are
// there until the signature is decoded.
type header struct {
	alg, typ, kid           string
	hasTyp, hasKid, hasCrit bool
}

var verifications = sync.Pool{New: func() any { return new(verification) }}

func newVerification(ctx context.Context, v *Verifier, now time.Time) *verification {
	s := verifications.Get().(*verification)
	s.ctx, s.v, s.now = ctx, v, now
	s.token = &s.own
	s.own.at, s.own.good = now, always
	return s
}

// maxPooled is the size of the largest buffers that are kept for the next token.
const maxPooled = 16 << 10

// release forgets everything about the token and keeps the buffer.
func (s *verification) release() {
	clear(s.scratch)
	scratch := s.scratch[:0]
	*s = verification{}
	if cap(scratch) <= maxPooled {
		s.scratch = scratch
	}
	verifications.Put(s)
}

func readForm(s *verification) (err error) {
	if s.parts, err = compact.Split(s.raw); err != nil {
		return malformed("form", err)
	}
	return nil
}

// malformed is the refusal of a token that cannot be read; err tells why and
// repeats at most a name of it.
func malformed(check string, err error) *Error {
	e := refused(check, ErrTokenMalformed, "", "")
	e.cause = err
	return e
}

// decode decodes a segment. What it returns is overwritten by the next call.
func (s *verification) decode(segment string) (decoded []byte, err error) {
	clear(s.scratch)
	s.scratch, err = compact.AppendDecode(s.scratch[:0], segment)
	return s.scratch, err
}

// object decodes a segment of which nothing is known to be authentic and reads it
// as a strict JSON object. It makes no copy, whose size a stranger would choose:
// the next call of decode overwrites the strings that member gets.
func (s *verification) object(segment string, member func(name string, v strictjson.Value) error) error {
	decoded, err := s.decode(segment)
	if err != nil {
		return err
	}
	return strictjson.Object(asString(decoded), member)
}

func readHeader(s *verification) error {
	if table, err := s.v.keys.current(s.now); err == nil {
		if s.key, s.header.hasKid = s.v.headers.find(table, s.parts.Header); s.key != nil {
			s.known, s.table = true, table
			return nil
		}
	}
	h := &s.header
	err := s.object(s.parts.Header, func(name string, v strictjson.Value) error {
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
		return wrongType(ok, name)
	})
	if err != nil {
		return malformed("header", err)
	}
	return nil
}

// asString is the same bytes as a string: they must not change while it is in use.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// asBytes is the same text as bytes, for who only reads them.
func asBytes(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// wrongType is the error about a member whose value is not ok.
func wrongType(ok bool, name string) error {
	if ok {
		return nil
	}
	return errWrongType(name)
}

func errWrongType(name string) error {
	return fmt.Errorf("%s has a value of a wrong JSON type or out of range", quoted(name))
}

func readClaims(s *verification) error {
	if err := s.decodeClaims(); err != nil {
		return malformed("claims", err)
	}
	t := s.token
	err := strictjson.Object(t.claims, func(name string, v strictjson.Value) error {
		if s.v.required != nil && v != "null" {
			if i, ok := s.v.required[name]; ok {
				s.required |= 1 << i
			}
		}
		ok := true
		switch name {
		case "iss":
			t.Issuer, ok = v.Str()
		case "sub":
			t.Subject, ok = v.Str()
		case "jti":
			t.ID, ok = v.Str()
		case "sid":
			t.SessionID, ok = v.Str()
		case "client_id":
			t.ClientID, ok = v.Str()
		case "acr":
			t.ACR, ok = v.Str()
		case "exp":
			t.ExpiresAt, ok = v.Date()
		case "nbf":
			t.NotBefore, ok = v.Date()
		case "iat":
			t.IssuedAt, ok = v.Date()
		case "auth_time":
			t.AuthTime, ok = v.Date()
		case "aud":
			t.audiences, ok = v, isStrings(v)
		case "amr":
			t.amr, ok = v, isStrings(v)
		case "cnf":
			s.cnf = true
		default:
			if name == s.v.o.ScopeClaim {
				t.scopes, ok = v, isStrings(v)
			} else if isImpostor(name) {
				return fmt.Errorf("%s is a registered claim in another spelling", quoted(name))
			}
			if t.custom == 0 {
				t.custom = max(uint32(strictjson.Index(t.claims, name)), customSomewhere)
			}
		}
		return wrongType(ok, name)
	})
	if err != nil {
		s.held = false // what has been read of it may be half of the truth
		return malformed("claims", err)
	}
	if s.entry != nil && s.v.o.Revocations != nil {
		kept := &s.entry.Value
		kept.ids = idsOf(t)
		t.ids = &kept.ids
	}
	return nil
}

// isImpostor says whether a name that is none of the registered claims is one in
// another case or spelling. Such a claim would not be checked, and encoding/json
// would take it for the registered one in the struct of a handler.
func isImpostor(name string) bool {
	folded := strictjson.Fold(name)
	return folded != name && reserved[folded]
}

// isStrings says whether a value is a string or an array of strings.
func isStrings(v strictjson.Value) bool {
	if _, ok := v.Str(); ok {
		return true
	}
	return v.EachString(func(string) bool { return true })
}

// plausible says whether a token for which there is no key could be a good one: by
// its algorithm, its issuer and its dates, which are not authentic and are checked
// again if a key is found. So the reason of its refusal is never a date: whoever
// hears that a token has expired can rely on its signature. Header strings that are
// needed later outlive it.
func (s *verification) plausible() error {
	h := &s.header
	alg := jwa.Lookup(h.alg)
	if _, remote := s.v.keys.(*RemoteKeySet); alg == nil || remote && alg.Family == jwa.HMAC {
		return refused("key", ErrTokenKey, "an algorithm of such keys", quoted(h.alg))
	}
	h.alg, h.kid = alg.Name, strings.Clone(h.kid)
	t := Token{good: always}
	err := s.object(s.parts.Payload, func(name string, v strictjson.Value) error {
		ok := true
		switch name {
		case "iss":
			t.Issuer, ok = v.Str()
		case "exp":
			t.ExpiresAt, ok = v.Date()
		case "nbf":
			t.NotBefore, ok = v.Date()
		case "iat":
			t.IssuedAt, ok = v.Date()
		}
		return wrongType(ok, name)
	})
	if err != nil {
		return malformed("claims", err)
	}
	if err := s.v.checkIssuer(t.Issuer); err != nil {
		return err
	}
	for i := range s.v.checks {
		if c := &s.v.checks[i]; c.at != nil && c.first == nil {
			if err := c.at(s.v, &t, s.now); err != nil {
				return refused("key", ErrTokenKey, "a token that could be good, before its key is asked for", err.Error())
			}
		}
	}
	return nil
}

// peekIssuer reads the iss claim of a token whose signature has not been
// checked. The string is there until s is released.
func (s *verification) peekIssuer() (issuer string, err error) {
	if err := checkSize(s); err != nil {
		return "", err
	}
	if err := readForm(s); err != nil {
		return "", err
	}
	err = s.object(s.parts.Payload, func(name string, v strictjson.Value) error {
		if name != "iss" {
			return nil
		}
		var ok bool
		issuer, ok = v.Str()
		return wrongType(ok, name)
	})
	if err != nil {
		return "", malformed("claims", err)
	}
	return issuer, nil
}
