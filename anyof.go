package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"
)

// members are the verifiers of several issuers.
type members interface {
	// member is the verifier of an issuer; nil where there is none. An error means
	// that it is not known. The text must not be kept.
	member(ctx context.Context, issuer string) (*Verifier, error)
	all() iter.Seq[*Verifier]
}

// AnyOf makes a verifier of the tokens of several issuers: the one whose Issuer
// is the token's iss decides, with its own keys and audiences, so that no issuer
// can sign for another. Two verifiers of one issuer, and one that AnyOf or
// ResolveIssuers made, are errors. Events go to the hook of the verifier that
// decides; those about tokens of an unknown issuer, to the first one's.
func AnyOf(v ...*Verifier) (*Verifier, error) {
	if len(v) == 0 {
		return nil, errors.New("jwtauth: AnyOf needs at least one Verifier")
	}
	fixed := make(fixedMembers, len(v))
	any := &Verifier{members: fixed}
	for _, m := range v {
		switch {
		case m == nil || m.keys == nil && m.members == nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: %w", errNoVerifier)
		case m.members != nil:
			return nil, errors.New("jwtauth: AnyOf of a Verifier that AnyOf made; give all of them to one AnyOf")
		case fixed[m.o.Issuer] != nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: two Verifiers of the issuer %s", quoted(m.o.Issuer))
		}
		fixed[m.o.Issuer] = m
		any.o.MaxTokenBytes = max(any.o.MaxTokenBytes, m.o.MaxTokenBytes)
	}
	any.onEvent, any.o.Now = v[0].onEvent, v[0].o.Now
	return any, nil
}

type fixedMembers map[string]*Verifier

func (m fixedMembers) member(_ context.Context, issuer string) (*Verifier, error) {
	return m[issuer], nil
}

func (m fixedMembers) all() iter.Seq[*Verifier] { return maps.Values(m) }

// memberFor returns the verifier that decides on a token: v itself or, where it has
// members, that of the token's iss, which is read before the signature is checked
// here and is checked by the member afterwards. Beside an error, it returns the
// verifier whose hook hears of it.
func (v *Verifier) memberFor(ctx context.Context, token string) (*Verifier, error) {
	switch {
	case v == nil || v.keys == nil && v.members == nil:
		return v, noAnswer("verifier", errNoVerifier)
	case v.members == nil:
		return v, nil
	}
	s := newVerification(ctx, v, time.Time{})
	defer s.release()
	s.raw = token
	issuer, err := s.peekIssuer()
	if err != nil {
		return v, err
	}
	m, err := v.members.member(ctx, issuer)
	switch {
	case err != nil:
		return v, err
	case m == nil:
		return v, refused("iss", ErrTokenIssuer, "an issuer that is known here", quoted(issuer)+v.resembles(issuer))
	}
	return m, nil
}

// resembles says in what an issuer differs from a known one that looks alike, for
// the log. It looks at a few of them, since a stranger makes it look.
func (v *Verifier) resembles(issuer string) string {
	left := 16
	for m := range v.members.all() {
		if text := differsBy(m.o.Issuer, issuer); text != "" {
			return text + ", from " + quoted(m.o.Issuer)
		}
		if left--; left == 0 {
			break
		}
	}
	return ""
}
