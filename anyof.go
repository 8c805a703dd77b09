package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// members are the verifiers of several issuers.
type members interface {
	// member returns the verifier of an issuer; nil if there is none. An error means that
	// this is not known. member must not keep issuer.
	member(ctx context.Context, issuer string) (*Verifier, error)
	all() iter.Seq[*Verifier]
}

// AnyOf makes a verifier of the tokens of several issuers. The verifier whose Issuer is
// the iss of a token decides alone, with its own keys and audiences, so that no issuer
// can sign for another. Two verifiers of one issuer are an error, and so is a verifier
// that AnyOf or ResolveIssuers made. Events go to the hook of the verifier that decides;
// those about an unknown issuer go to the hook of the first verifier.
func AnyOf(v ...*Verifier) (*Verifier, error) {
	if len(v) == 0 {
		return nil, errors.New("jwtauth: AnyOf needs at least one Verifier")
	}
	fixed := &fixedMembers{make(map[string]*Verifier, len(v))}
	combined := &Verifier{members: fixed}
	for _, m := range v {
		switch {
		case !m.isMade():
			return nil, fmt.Errorf("jwtauth: AnyOf: %w", errNoVerifier)
		case m.members != nil:
			return nil, errors.New("jwtauth: AnyOf of a Verifier that AnyOf made; give all of them to one AnyOf")
		case fixed.byIssuer[m.o.Issuer] != nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: two Verifiers of the issuer %s", errtext.Quote(m.o.Issuer))
		}
		fixed.byIssuer[m.o.Issuer] = m
		combined.o.MaxTokenBytes = max(combined.o.MaxTokenBytes, m.o.MaxTokenBytes)
	}
	combined.onEvent, combined.o.Now = v[0].onEvent, v[0].o.Now
	return combined, nil
}

// fixedMembers are the members of AnyOf.
type fixedMembers struct{ byIssuer map[string]*Verifier }

func (m *fixedMembers) member(_ context.Context, issuer string) (*Verifier, error) {
	return m.byIssuer[issuer], nil
}

func (m *fixedMembers) all() iter.Seq[*Verifier] { return maps.Values(m.byIssuer) }

// memberFor returns the verifier that decides about a token: v itself or, if v has
// members, that of the token's iss. It reads iss before the signature is verified; the
// member checks iss again afterwards. With an error, it returns the verifier whose hook
// gets the event.
func memberFor(ctx context.Context, v *Verifier, token string) (decider *Verifier, err error) {
	switch {
	case !v.isMade():
		return v, unavailable("verifier", errNoVerifier)
	case v.members == nil:
		return v, nil
	}
	decider = v
	err = peekIssuer(ctx, v, token, func(issuer string) error {
		m, err := v.members.member(ctx, issuer)
		switch {
		case err != nil:
			return err
		case m == nil:
			return refused("iss", ErrTokenIssuer, "an issuer that is known here", errtext.Quote(issuer)+similarIssuer(v, issuer))
		}
		decider = m
		return nil
	})
	return decider, err
}

// similarIssuer names a known issuer that looks like an unknown one, for the log. It
// compares only a few, since a stranger can make it run, and none if no hook listens.
func similarIssuer(v *Verifier, issuer string) string {
	if v.onEvent == nil {
		return ""
	}
	left := 16
	for m := range v.members.all() {
		if text := errtext.IssuerDifference(m.o.Issuer, issuer); text != "" {
			return text + ", from " + errtext.Quote(m.o.Issuer)
		}
		if left--; left == 0 {
			break
		}
	}
	return ""
}

// peekIssuer reads the iss claim of a token whose signature has not been verified. The
// string is valid until the function that it calls returns.
func peekIssuer(ctx context.Context, v *Verifier, token string, use func(issuer string) error) error {
	s := newVerification(ctx, v, token, time.Time{})
	defer s.release()
	if err := checkSize(s); err != nil {
		return err
	}
	if err := readForm(s); err != nil {
		return err
	}
	var issuer string
	err := s.payload(func(name string, v strictjson.Value) error {
		if name != "iss" {
			return nil
		}
		var ok bool
		issuer, ok = v.Str()
		return wrongTypeUnless(ok, name)
	})
	if err != nil {
		return malformed("claims", err)
	}
	return use(issuer)
}
