package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Token is a verified access token. It has the claims and not the text of the token. A
// date that is not in the claims is the zero time. The zero Token means no token.
//
// A Token is passed by value: a handler that changes it changes its own copy. The fmt and
// slog packages print only iss, sub and jti of a Token, unless it is in an unexported
// field of the printed value.
type Token struct {
	ID        string // jti
	Issuer    string // iss
	Subject   string // sub; empty only if VerifierOptions.AllowNoSubject is set
	SessionID string // sid
	ClientID  string // client_id (RFC 9068)
	Actor     string // act.sub: the service that acts for the subject (RFC 8693, section 4.1)
	ACR       string // acr: how the user logged in (OpenID Connect)

	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf
	ExpiresAt time.Time // exp
	AuthTime  time.Time // auth_time: when the user logged in

	claims                 string // the payload, a JSON object
	audiences, scopes, amr strictjson.Value
	key                    *keyset.Key  // the key that verified the signature
	verifier               *verifierID  // the id of the Verifier that verified the token
	hasKid                 bool         // the header has a kid
	hasEpoch               bool         // the claims have sid_epoch
	epoch                  int64        // sid_epoch: see Issuer.ForceRefresh
	customPos              uint32       // the position in claims before the first name that is not one of the known claims of package claimtype; 0 if there is none
	verifiedAt             time.Time    // when the token was verified
	validity               window       // the span of time in which the timed checks accept the token
	memo                   *memo        // the results of ClaimsAs; may be nil
	revocationIDs          *revoked.IDs // the ids of the token and its session; nil if they were not computed
}

// NewToken makes a Token from claims: a struct, a map or a json.RawMessage that encodes to a JSON
// object of at most 1 MiB. It is for tests, and for a [TokenVerifier] of the program. NewToken
// verifies nothing. It reads the claims as a Verifier does: strictly, with dates that are
// NumericDates (RFC 7519, section 2), and with the scopes in the claim scope, which is an array or
// one string with blanks between them. At least one of iss and sub is required.
//
// A [Middleware] accepts such a Token only from its own TokenVerifier. Policies and [ClaimsAs]
// work with it. [Verifier.Recheck], [Verifier.Revoke] and [Issuer.Exchange] refuse it.
func NewToken(claims any) (Token, error) {
	text, err := encodeObject(claims)
	if err != nil {
		return Token{}, fmt.Errorf("jwtauth: NewToken: encoding the claims: %w", err)
	}
	if len(text) > maxTokenBytes {
		return Token{}, fmt.Errorf("jwtauth: NewToken: the claims have %d bytes, at most %d are expected", len(text), maxTokenBytes)
	}
	s := newVerification(context.Background(), outside, "", time.Time{})
	defer s.release()
	s.token.claims, s.token.validity = strings.Clone(text), window{}
	if err := s.parseClaims(); err != nil {
		return Token{}, fmt.Errorf("jwtauth: NewToken: a JSON object with claims is expected: %w", err)
	}
	if s.token.isZero() {
		return Token{}, errors.New("jwtauth: NewToken: neither iss nor sub is among the claims, one is expected")
	}
	return *s.token, nil
}

// outside has the options by which NewToken reads claims.
var outside = &Verifier{id: new(verifierID), o: VerifierOptions{ScopeClaim: "scope", AllowNoSubject: true}}

// window is the half-open interval [from, until), in Unix nanoseconds. The zero value is
// empty.
type window struct{ from, until int64 }

var always = window{math.MinInt64, math.MaxInt64}

// beginAt moves the start of w to t+offset, if that is later. endAt moves the end of w to
// t+offset, if that is earlier.
func (w *window) beginAt(t time.Time, offset time.Duration) {
	w.from = max(w.from, nanoseconds(t)+int64(offset))
}
func (w *window) endAt(t time.Time, offset time.Duration) {
	w.until = min(w.until, nanoseconds(t)+int64(offset))
}

func (w *window) covers(t time.Time) bool {
	at := t.UnixNano()
	return w.from <= at && at < w.until
}

// nanoseconds returns t in Unix nanoseconds. The result is limited, so that adding any
// duration of the options cannot overflow.
func nanoseconds(t time.Time) int64 {
	const limit = (math.MaxInt64 - 2*int64(bound.Duration)) / int64(time.Second)
	return min(max(t.Unix(), -limit), limit)*int64(time.Second) + int64(t.Nanosecond())
}

// isZero reports whether t means no token.
func (t *Token) isZero() bool { return t.Issuer == "" && t.Subject == "" }

// Audiences returns the aud claim as a list. The caller owns the list.
func (t Token) Audiences() []string { return listTexts(t.audiences, false) }

// Scopes returns the scopes. The caller owns the list.
func (t Token) Scopes() []string { return listTexts(t.scopes, true) }

// AMR returns the methods by which the user logged in (the amr claim, RFC 8176).
// The caller owns the list.
func (t Token) AMR() []string { return listTexts(t.amr, false) }

// HasScope reports whether the token has the scope.
func (t Token) HasScope(scope string) bool { return hasText(t.scopes, true, scope) }

func (t Token) String() string {
	return fmt.Sprintf("Token(iss %s, sub %s, jti %s)", errtext.Quote(t.Issuer), errtext.Quote(t.Subject), errtext.Quote(t.ID))
}

// event returns an event that names the token, without a kind.
func (t *Token) event() event.Event {
	return event.Event{Issuer: t.Issuer, Subject: t.Subject, SessionID: t.SessionID, TokenID: t.ID, KeyID: t.key.KeyID()}
}

// Format prints iss, sub and jti, for every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns iss, sub and jti.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns iss, sub and jti; for the claims see ClaimsAs.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// contextKey is the key of the only value that this package puts into contexts.
type contextKey struct{}

// trust is the identity of a Middleware and of those that With derives from it. They
// accept the tokens that one of them has put into a context.
type trust struct{ _ byte }

// tokenContext is a context with a token. The Token that token points to is immutable,
// since other requests may share it.
type tokenContext struct {
	context.Context
	token      *Token
	verifiedAt time.Time // when the token was verified for this request
	trust      *trust    // of the Middleware that verified the token; nil for NewContext
}

func (c *tokenContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// String is called if a context that was derived from this one is printed.
func (c *tokenContext) String() string { return fmt.Sprint(c.Context) + "." + c.token.String() }

// get returns a copy of the token, with the time of this request.
func (c *tokenContext) get() Token {
	t := *c.token
	t.verifiedAt = c.verifiedAt
	return t
}

// newTokenContext makes a context with its own copy of t.
func newTokenContext(ctx context.Context, t Token, trustedBy *trust) *tokenContext {
	c := &struct {
		tokenContext
		token Token
		memo  memo
	}{tokenContext{Context: ctx, verifiedAt: t.verifiedAt, trust: trustedBy}, t, memo{}}
	c.tokenContext.token = &c.token
	if t.memo == nil {
		c.token.memo = &c.memo
	}
	return &c.tokenContext
}

// NewContext returns a context with t, for [FromContext]. It is for tests and for
// transports other than net/http. No [Middleware] trusts such a token.
func NewContext(ctx context.Context, t Token) context.Context {
	return newTokenContext(ctx, t, nil)
}

// FromContext returns the token of a request from its context. ok is false for an
// anonymous request behind [Middleware.Optional], and if neither a middleware nor
// NewContext has put a token there.
func FromContext(ctx context.Context) (t Token, ok bool) {
	c, ok := ctx.Value(contextKey{}).(*tokenContext)
	if ok = ok && !c.token.isZero(); ok {
		t = *c.token
		t.verifiedAt = c.verifiedAt
	}
	return t, ok
}
