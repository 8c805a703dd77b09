package jwtauth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Token is a verified access token. It is passed by value: a handler that changes it
// changes its own copy. It has the claims and not the text of the token. It prints as a
// few of its identifiers, unless it is in an unexported field of the value that is
// printed. A time that the token does not have is zero. The zero Token means no token.
type Token struct {
	ID        string // jti
	Issuer    string // iss
	Subject   string // sub
	SessionID string // sid
	ClientID  string // client_id (RFC 9068)
	ACR       string // acr: how the user logged in (OpenID Connect)

	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf
	ExpiresAt time.Time // exp
	AuthTime  time.Time // auth_time: when the user logged in

	claims                 string // the payload
	audiences, scopes, amr strictjson.Value
	key                    *keyset.Key  // that has verified the token
	verifier               *verifierID  // the Verifier that has
	hasKid                 bool         // the header names the key
	customPos              uint32       // the position in claims before the first name that readClaims does not know; 0 if there is none
	verifiedAt             time.Time    // when the token was verified
	validity               window       // when the claims allow it
	memo                   *memo        // claims that were decoded; may be nil
	revocationIDs          *revoked.IDs // may be nil
}

// window is a span of time in Unix nanoseconds, without its end. The zero value is
// empty.
type window struct{ from, until int64 }

var always = window{math.MinInt64, math.MaxInt64}

// beginAt moves the start of w to t+more, if that is later. endAt moves its end to
// t+more, if that is earlier.
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

// nanoseconds returns t in Unix nanoseconds, limited to the range in which any duration
// of the options can be added.
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

// event returns the part of an event that names the token.
func (t *Token) event() event.Event {
	return event.Event{Issuer: t.Issuer, Subject: t.Subject, SessionID: t.SessionID, TokenID: t.ID, KeyID: t.key.KeyID()}
}

// Format prints a few of the identifiers, for every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns a few of the identifiers.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns a few of the identifiers; for the claims see ClaimsAs.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// contextKey is the key of the only value that this package puts into contexts.
type contextKey struct{}

// trust is shared by a Middleware and those that With derives from it: each trusts the
// tokens that another has put into a context.
type trust struct{ _ byte }

// tokenContext is a context with a token. The Token that it points to is immutable and
// may be shared with other requests.
type tokenContext struct {
	context.Context
	token      *Token
	verifiedAt time.Time // when the token was verified for this request
	trust      *trust    // of the middleware that verified it; nil for NewContext
}

func (c *tokenContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// String is what a context that was made from this one prints in its place.
func (c *tokenContext) String() string { return fmt.Sprint(c.Context) + "." + c.token.String() }

// get returns the token by value.
func (c *tokenContext) get() Token {
	t := *c.token
	t.verifiedAt = c.verifiedAt
	return t
}

// newTokenContext makes a context with a token of its own.
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
