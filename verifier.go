package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Verifier checks access tokens of one issuer (of several, where [AnyOf] made
// it). It is immutable and safe for concurrent use. The zero value accepts
// nothing.
type Verifier struct {
	keys     KeySet
	o        VerifierOptions
	kind     tokenKind
	checks   []check
	headers  *knownHeaders
	required map[string]int // RequiredClaims: name to index
	onEvent  hook
	members  map[string]*Verifier // of AnyOf, by issuer; all else is unset then
}

// NewVerifier makes a verifier of the tokens that one issuer signs with keys.
// For an issuer in the same program, take [Issuer.NewVerifier].
func NewVerifier(keys KeySet, o VerifierOptions) (*Verifier, error) {
	if keys == nil {
		return nil, errors.New("jwtauth: no keys: NewVerifier needs a KeyRing or StaticKeys")
	}
	if _, err := keys.current(time.Time{}); err != nil {
		return nil, err
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return newVerifier(keys, accessToken, o), nil
}

// newVerifier takes options that have been checked and filled in.
func newVerifier(keys KeySet, kind tokenKind, o VerifierOptions) *Verifier {
	v := &Verifier{keys: keys, o: o, kind: kind, checks: checks, headers: new(knownHeaders), onEvent: o.OnEvent}
	v.required = make(map[string]int, len(o.RequiredClaims))
	for i, name := range o.RequiredClaims {
		v.required[name] = i
	}
	return v
}

// without returns a verifier that leaves the named checks out.
func (v *Verifier) without(names ...string) *Verifier {
	fewer := *v
	fewer.headers = new(knownHeaders) // what it lets pass, v must not
	fewer.checks = slices.DeleteFunc(slices.Clone(v.checks), func(c check) bool {
		return slices.Contains(names, c.name)
	})
	return &fewer
}

var errNoVerifier = errors.New("this Verifier was not made by NewVerifier, Issuer.NewVerifier or AnyOf")

// Verify checks a token and returns what it says. On any error the Token is
// zero, and the error is an *[Error] that matches [ErrRefused] and the sentinel
// of its reason, or [ErrUnavailable] where the keys or the revocation store gave
// no answer or ctx has ended. Nothing of the payload is decoded before the
// signature holds.
func (v *Verifier) Verify(ctx context.Context, token string) (Token, error) {
	v, err := v.memberFor(ctx, token)
	if err != nil {
		v.failed(ctx, Token{}, err)
		return Token{}, err
	}
	t, err := v.verify(ctx, token)
	if err != nil {
		v.failed(ctx, t, err)
		return Token{}, err
	}
	return t, nil
}

// verify is Verify without the event, and not for a verifier that AnyOf made.
// Beside an error, it returns the token as far as its signature held.
func (v *Verifier) verify(ctx context.Context, token string) (Token, error) {
	s := newVerification(ctx, v)
	defer s.release()
	s.raw = token
	for i := range v.checks {
		if err := v.checks[i].run(s); err != nil {
			return s.authentic(), err
		}
	}
	return s.token, nil
}

// Recheck says whether a token that this verifier has verified is still good:
// its key in use, unexpired, not too old, unrevoked. It is for connections that
// outlive a request, such as WebSockets and streams. The errors are those of
// Verify.
func (v *Verifier) Recheck(ctx context.Context, t Token) error {
	maker, err := v.makerOf(t)
	if err != nil {
		v.failed(ctx, t, err)
		return err
	}
	v = maker
	s := newVerification(ctx, v)
	defer s.release()
	s.token = t
	s.token.at = s.now
	for i := range v.checks {
		if c := &v.checks[i]; c.again {
			if err := c.run(s); err != nil {
				v.failed(ctx, t, err)
				return err
			}
		}
	}
	return nil
}

// Revoke makes this one token refused from now on, whoever issued it, by every
// verifier that shares the revocation store. Other tokens of its session are not
// touched; see [Issuer.EndSession]. A token without jti, and a verifier without
// Revocations, are errors; a store that fails is ErrUnavailable.
func (v *Verifier) Revoke(ctx context.Context, t Token) error {
	v, err := v.makerOf(t)
	if err != nil {
		return err
	}
	if v.o.Revocations == nil {
		return errors.New("jwtauth: this Verifier has no Revocations to revoke a token in")
	}
	return revokeToken(ctx, v.o.Revocations, v.o.StoreTimeout, v.onEvent, t)
}

// makerOf returns the verifier that has verified t: v itself or one of its
// members.
func (v *Verifier) makerOf(t Token) (*Verifier, error) {
	if v == nil || v.keys == nil && v.members == nil {
		return nil, noAnswer("verifier", errNoVerifier)
	}
	if t.key == nil {
		return nil, refused("token", ErrNoToken, "a token that Verify returned", "")
	}
	m := v
	if v.members != nil {
		m = v.members[t.Issuer]
	}
	if m == nil || m.o.Issuer != t.Issuer {
		return nil, refused("iss", ErrTokenIssuer, "a token that this verifier returned", quoted(t.Issuer))
	}
	return m, nil
}

// failed sends the event of a failure.
func (v *Verifier) failed(ctx context.Context, t Token, err error) {
	if v == nil || v.onEvent == nil {
		return
	}
	v.onEvent.sendFailure(ctx, TokenRefused, t.event(), err)
}

// event is the part of an event that tells which token it is about.
func (t *Token) event() Event {
	return Event{Issuer: t.Issuer, Subject: t.Subject, SessionID: t.SessionID, TokenID: t.ID, KeyID: t.key.ID()}
}

// AnyOf makes a verifier of the tokens of several issuers: the one whose Issuer
// is the token's iss decides, with its own keys and audiences, so that no issuer
// can sign for another. Two verifiers of one issuer, and one that AnyOf made,
// are errors. Events go to the hook of the verifier that decides; those about
// tokens of an unknown issuer, to the first one's.
func AnyOf(v ...*Verifier) (*Verifier, error) {
	if len(v) == 0 {
		return nil, errors.New("jwtauth: AnyOf needs at least one Verifier")
	}
	any := &Verifier{members: make(map[string]*Verifier, len(v))}
	for _, m := range v {
		switch {
		case m == nil || m.keys == nil && m.members == nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: %w", errNoVerifier)
		case m.members != nil:
			return nil, errors.New("jwtauth: AnyOf of a Verifier that AnyOf made; give all of them to one AnyOf")
		case any.members[m.o.Issuer] != nil:
			return nil, fmt.Errorf("jwtauth: AnyOf: two Verifiers of the issuer %s", quoted(m.o.Issuer))
		}
		any.members[m.o.Issuer] = m
		any.o.MaxTokenBytes = max(any.o.MaxTokenBytes, m.o.MaxTokenBytes)
	}
	any.onEvent, any.o.Now = v[0].onEvent, v[0].o.Now
	return any, nil
}

// memberFor returns the verifier that decides on a token: v itself or, where
// AnyOf made it, the member of the token's iss, which is read before the
// signature is checked here and is checked by the member afterwards. Beside an
// error, it returns the verifier whose hook hears of it.
func (v *Verifier) memberFor(ctx context.Context, token string) (*Verifier, error) {
	switch {
	case v == nil || v.keys == nil && v.members == nil:
		return v, noAnswer("verifier", errNoVerifier)
	case v.members == nil:
		return v, nil
	}
	s := newVerification(ctx, v)
	defer s.release()
	s.raw = token
	issuer, err := s.peekIssuer()
	if err != nil {
		return v, err
	}
	if m := v.members[issuer]; m != nil {
		return m, nil
	}
	return v, refused("iss", ErrTokenIssuer, "one of the issuers of AnyOf", quoted(issuer))
}

// CheckClaims makes a VerifierOptions.Check from claims with types: a token
// whose claims do not decode into a T is refused at the door, with 401, and does
// not become the 500 of a handler; then f is asked, unless it is nil. What f
// returns means what it means for Check.
func CheckClaims[T any](f func(ctx context.Context, t Token, claims T) error) func(context.Context, Token) error {
	return func(ctx context.Context, t Token) error {
		claims, err := ClaimsAs[T](t)
		if err != nil {
			return err
		}
		if f == nil {
			return nil
		}
		return f(ctx, t, claims)
	}
}
