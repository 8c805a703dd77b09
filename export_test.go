package jwtauth

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/claimtype"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// Checks returns the names of the checks of a Verifier, in their order. The check until is only in
// verifiers of package migrate, which tests it.
func Checks() (names []string) {
	for _, c := range lastingChecks {
		names = append(names, c.name)
	}
	for _, c := range timedChecks {
		if c.name != "until" {
			names = append(names, c.name)
		}
	}
	for _, c := range requestChecks {
		names = append(names, c.name)
	}
	return names
}

// KnownHeaders returns the first segments in the header cache.
func (v *Verifier) KnownHeaders() (segments []string) {
	for _, known := range v.headers.state.Load().list {
		segments = append(segments, known.segment)
	}
	return segments
}

// Left returns the buffers of a verification that was released after it had decoded each
// segment of a token.
func Left(token string) [][]byte {
	s := &verification{v: &Verifier{headers: new(headerCache), keys: noKeys{}}, raw: token}
	if err := readForm(s); err != nil {
		panic(err)
	}
	_ = readHeader(s)
	for _, segment := range []string{s.parts.Payload, s.parts.Signature} {
		_, _ = s.decode(segment)
	}
	s.release()
	return [][]byte{s.headerText[:cap(s.headerText)], s.segment[:cap(s.segment)]}
}

// ResolvedIssuers returns how many verifiers ResolveIssuers remembers.
func ResolvedIssuers(v *Verifier) int {
	r := v.members.(*resolver)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.len
}

// DecodeClaims is ClaimsAs for a type that the test makes by reflection.
func DecodeClaims(t Token, into any) error {
	return claimtype.Of(reflect.TypeOf(into).Elem()).Decode(t.claims, int(t.customPos), into)
}

// noKeys is a key set that fails.
type noKeys struct{}

func (noKeys) Current(context.Context, time.Time) (*keyset.Table, error) {
	return nil, errors.New("no keys")
}
func (noKeys) AskForKid(context.Context, time.Time, string) (*keyset.Table, error) {
	return nil, errors.New("no keys")
}
func (noKeys) Facts() keyset.Facts { return keyset.Facts{} }

// SealSessionID makes the session id of 16 random bytes.
func SealSessionID(random []byte, issuer, subject string) string {
	return sealSessionID(random, issuer, subject)
}
