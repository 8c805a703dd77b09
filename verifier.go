package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/tokencache"
)

// Verifier checks access tokens of one issuer (of several, where [AnyOf] or
// [ResolveIssuers] made it). It remembers tokens that it has found good, up to a bound; that changes no
// answer. It is safe for concurrent use. The zero value accepts nothing.
type Verifier struct {
	keys     KeySet
	o        VerifierOptions
	kind     tokenKind
	checks   []check
	again    []check // those which are asked of a token that was verified before
	headers  *knownHeaders
	cache    *tokencache.Cache[remembered] // nil for none
	required map[string]int                // RequiredClaims: name to index
	onEvent  hook
	members  members // of AnyOf and ResolveIssuers; all else but o and onEvent is unset then
}

// NewVerifier makes a verifier of the tokens that one issuer signs with keys.
// For an issuer in the same program, take [Issuer.NewVerifier].
func NewVerifier(keys KeySet, o VerifierOptions) (*Verifier, error) {
	if keys == nil {
		return nil, errors.New("jwtauth: no keys: NewVerifier needs a KeyRing or StaticKeys")
	}
	if err := keys.made(); err != nil {
		return nil, err
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if remote, ok := keys.(*RemoteKeySet); ok && remote.issuer != "" && remote.issuer != o.Issuer {
		return nil, fmt.Errorf("jwtauth: the keys were discovered for the issuer %s, VerifierOptions.Issuer is %s", quoted(remote.issuer), quoted(o.Issuer))
	}
	v := newVerifier(keys, accessToken, o)
	v.cache = newCache(o)
	return v, nil
}

// newVerifier takes options that have been checked and filled in. What it makes
// remembers no tokens.
func newVerifier(keys KeySet, kind tokenKind, o VerifierOptions) *Verifier {
	v := &Verifier{keys: keys, o: o, kind: kind, headers: new(knownHeaders), onEvent: o.OnEvent}
	if len(o.RequiredClaims) > 0 {
		v.required = make(map[string]int, len(o.RequiredClaims))
	}
	for i, name := range o.RequiredClaims {
		v.required[name] = i
	}
	v.ask(checks)
	return v
}

// ask sets the checks that v asks: those that it has a question for.
func (v *Verifier) ask(checks []check) {
	idle := map[string]bool{
		"lifetime": v.o.MaxLifetime == 0, "age": v.o.MaxAge == 0, "jti": v.o.Revocations == nil,
		"required": v.required == nil, "check": v.o.Check == nil, "revocation": v.o.Revocations == nil,
	}
	v.checks = slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return idle[c.name] })
	v.again = slices.DeleteFunc(slices.Clone(v.checks), func(c check) bool { return c.again == nil })
}

// without returns a verifier that leaves the named checks out. What it lets pass,
// v must not, so it remembers nothing of what v knows.
func (v *Verifier) without(names ...string) *Verifier {
	fewer := *v
	fewer.headers, fewer.cache = new(knownHeaders), nil
	fewer.ask(slices.DeleteFunc(slices.Clone(v.checks), func(c check) bool { return slices.Contains(names, c.name) }))
	return &fewer
}

var errNoVerifier = errors.New("this Verifier was not made by NewVerifier, Issuer.NewVerifier or AnyOf")

// Verify checks a token and returns what it says. On any error the Token is
// zero, and the error is an *[Error] that matches [ErrRefused] and the sentinel
// of its reason, or [ErrUnavailable] where the keys or the revocation store gave
// no answer or ctx has ended. Nothing of the payload is decoded before the
// signature holds, with two exceptions that are checked again afterwards: AnyOf
// reads iss, and before a RemoteKeySet is asked for a key that it does not have, so
// are iss and the dates.
func (v *Verifier) Verify(ctx context.Context, token string) (t Token, err error) {
	decider, now, known, err := v.lookUp(ctx, token)
	switch {
	case err != nil:
		return t, err
	case known != nil:
		t = *known
		t.at = now
		return t, nil
	}
	err = decider.verify(ctx, token, now, &t)
	return t, err
}

// lookUp is the first half of Verify: it finds the verifier that decides and, in
// its cache, the token. That is nil where the second half, verify, has to read it.
// What is known is shared with other requests and must not be changed.
func (v *Verifier) lookUp(ctx context.Context, token string) (decider *Verifier, now time.Time, known *Token, err error) {
	if decider, err = v.memberFor(ctx, token); err != nil {
		decider.failed(ctx, Token{}, err)
		return decider, now, nil, err
	}
	now = decider.o.Now()
	if known = decider.recall(ctx, token, now); known == nil {
		return decider, now, nil, nil
	}
	for i := range decider.again {
		if err := decider.again[i].again(ctx, decider, known, now); err != nil {
			decider.failed(ctx, *known, err)
			return decider, now, nil, err
		}
	}
	return decider, now, known, nil
}

// verify reads a token into t, which is zero beside an error, and asks all checks.
// It is not for a verifier that AnyOf made.
func (v *Verifier) verify(ctx context.Context, token string, now time.Time, t *Token) error {
	err := v.read(ctx, token, now, t)
	if err != nil {
		v.failed(ctx, *t, err)
		*t = Token{}
	}
	return err
}

// read is verify without the event. Beside an error, t is the token as far as its
// signature held.
func (v *Verifier) read(ctx context.Context, token string, now time.Time, t *Token) error {
	s := newVerification(ctx, v, now)
	defer s.release()
	s.raw = token
	for i := range v.checks {
		var err error
		switch c := &v.checks[i]; {
		case c.first != nil:
			err = c.first(s)
		case c.at != nil:
			err = c.at(v, s.token, now)
		default:
			err = c.again(ctx, v, s.token, now)
		}
		if err != nil {
			if s.held {
				*t = *s.token
			}
			return err
		}
	}
	s.remember()
	*t = *s.token
	return nil
}

// Recheck says whether a token that this verifier has verified is still good:
// its key in use, unexpired, not too old, unrevoked. It is for connections that
// outlive a request, such as WebSockets and streams. The errors are those of
// Verify.
func (v *Verifier) Recheck(ctx context.Context, t Token) error {
	maker, err := v.makerOf(ctx, t)
	if err != nil {
		v.failed(ctx, t, err)
		return err
	}
	now := maker.o.Now()
	t.good = always
	for i := range maker.checks {
		switch c := &maker.checks[i]; {
		case c.at != nil:
			err = c.at(maker, &t, now)
		case c.again != nil:
			err = c.again(ctx, maker, &t, now)
		}
		if err != nil {
			maker.failed(ctx, t, err)
			return err
		}
	}
	return nil
}

// Revoke makes this one token refused from now on, whoever issued it, by every
// verifier that shares the revocation store. Other tokens of its session are not
// touched; see [Issuer.EndSession]. A token without jti, and a verifier without
// Revocations, are errors; a store that fails is ErrUnavailable.
func (v *Verifier) Revoke(ctx context.Context, t Token) error {
	v, err := v.makerOf(ctx, t)
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
func (v *Verifier) makerOf(ctx context.Context, t Token) (*Verifier, error) {
	if v == nil || v.keys == nil && v.members == nil {
		return nil, noAnswer("verifier", errNoVerifier)
	}
	if t.key == nil {
		return nil, refused("token", ErrNoToken, "a token that Verify returned", "")
	}
	m := v
	if v.members != nil {
		var err error
		if m, err = v.members.member(ctx, t.Issuer); err != nil {
			return nil, err
		}
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
