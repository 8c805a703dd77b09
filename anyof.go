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

// members holds the Verifiers of several issuers.
type members interface {
	// member returns the Verifier of an issuer; nil if there is none. If it cannot find
	// out, it returns an error. It must not keep issuer after it has returned.
	member(ctx context.Context, issuer string) (*Verifier, error)
	all() iter.Seq[*Verifier]
}

// AnyOf makes a Verifier for the tokens of several issuers. The iss claim of a token
// selects one of v, which verifies the token with its own keys and audiences. No issuer
// can therefore sign for another. It is an error if two of v have the same Issuer, or if
// AnyOf or ResolveIssuers made one of v. Events go to the hook of the selected Verifier,
// and those about an unknown issuer to the hook of the first one.
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
			return nil, errors.New("jwtauth: AnyOf cannot take a Verifier that AnyOf or ResolveIssuers made")
		case fixed.byIssuer[m.o.Issuer] != nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: two Verifiers of the issuer %s", errtext.Quote(m.o.Issuer))
		}
		fixed.byIssuer[m.o.Issuer] = m
		combined.o.MaxTokenBytes = max(combined.o.MaxTokenBytes, m.o.MaxTokenBytes)
	}
	combined.onEvent, combined.o.Now = v[0].onEvent, v[0].o.Now
	return combined, nil
}

// fixedMembers implements members for AnyOf.
type fixedMembers struct{ byIssuer map[string]*Verifier }

func (m *fixedMembers) member(_ context.Context, issuer string) (*Verifier, error) {
	return m.byIssuer[issuer], nil
}

func (m *fixedMembers) all() iter.Seq[*Verifier] { return maps.Values(m.byIssuer) }

// memberFor returns the Verifier for a token: v itself or, if v has members, the one of the
// token's iss. memberFor reads iss before the signature is verified; the member checks iss
// again afterwards. With an error, decider is the Verifier whose hook gets the event.
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

// similarIssuer returns a text for the log if an unknown issuer looks like a known one. It
// compares iss with at most 16 known issuers, and with none if there is no hook, since an
// attacker can trigger it.
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

// peekIssuer reads the iss claim of a token whose signature has not been verified, and
// calls use with it. The string is valid until use returns.
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
