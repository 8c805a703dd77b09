// Package jwtauth signs, checks, refreshes and revokes JSON Web Tokens
// (RFC 7519) around plain net/http handlers.
//
// An [Issuer] signs access tokens (RFC 9068) and refresh tokens. A [Verifier]
// checks access tokens in one fixed order: size, form, header, key, signature,
// claims, revocation. A [Middleware] stands before handlers and lets nobody pass
// without a token. A [SessionStore] and a [RevocationStore] make refreshing and
// logging out safe; [MemoryStore] is both, for one process.
//
//	key, err := jwtauth.GenerateKey(jwtauth.ES256)
//	keys, err := jwtauth.NewKeyRing(key)
//	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
//	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
//		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
//		Sessions: store, Revocations: store,
//	})
//	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
//	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
//	http.Handle("GET /me", auth.Require(me))
//
// # What it promises
//
// Safe when used plainly: what is missing is an error when the program starts,
// and what is unsafe has Insecure in its name. Keys decide on the algorithm,
// never the token. A token has one reading, and one spelling but for the twin
// (r, n-s) that every ECDSA signature has; it is revoked by its id, not its text.
//
// Never wrong about not knowing: a bad token is an error that matches
// [ErrRefused] (401), and a store that does not answer is one that matches
// [ErrUnavailable] (503). A browser tab that races another one is no thief.
//
// # Refresh tokens
//
// A session is one login on one device. Its refresh token is redeemed once, for
// an access token and a successor. Redeemed again within IssuerOptions.RefreshGrace
// and before the successor was used, it is answered again; at any other time it
// counts as stolen, and the session ends. See [Issuer.Refresh].
//
// # Concurrency and zero values
//
// Everything that a constructor returns is safe for concurrent use. The zero
// values of all types fail closed: they refuse or answer that they do not know.
// The package starts no goroutine but for the fetches of a [RemoteKeySet], each of
// which ends within its time-out, and keeps no process-wide state but for what it
// has learned about types that claims are decoded into.
package jwtauth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Token is a verified access token: what its issuer says, checked. Handlers get
// it from [FromContext] by value; changing its fields changes nothing elsewhere.
// It holds the claims; the text of the token is no part of it, though it shares
// their memory where the Verifier has a cache without CacheDigests. It prints as a few of its
// identifiers, unless it stands in an unexported field of something that is
// printed. Times that the token does not name are zero. The zero Token
// stands for no token.
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

	claims                 string // the payload, to the letter
	audiences, scopes, amr strictjson.Value
	key                    *VerificationKey // which has verified it
	hasKid                 bool             // the token names its key
	custom                 uint32           // where in claims the first name begins that is none of knownClaims; 0: there is none
	at                     time.Time        // when it was verified
	good                   window           // when its claims let it pass
	memo                   *memo
	ids                    *revocationIDs // nil where they are not at hand
}

// window is a span of time, in Unix nanoseconds: until is outside. The zero value
// is empty.
type window struct{ from, until int64 }

var always = window{math.MinInt64, math.MaxInt64}

// beginAt and endAt narrow w to what is not before, or is before, a date and some
// time more or less.
func (w *window) beginAt(t time.Time, more time.Duration) {
	w.from = max(w.from, nanoseconds(t)+int64(more))
}
func (w *window) endAt(t time.Time, more time.Duration) {
	w.until = min(w.until, nanoseconds(t)+int64(more))
}

func (w *window) covers(t time.Time) bool {
	at := t.UnixNano()
	return w.from <= at && at < w.until
}

// nanoseconds is UnixNano, or the nearest to which any duration of the options can be
// added.
func nanoseconds(t time.Time) int64 {
	const most = (math.MaxInt64 - 2*int64(maxDuration)) / int64(time.Second)
	return min(max(t.Unix(), -most), most)*int64(time.Second) + int64(t.Nanosecond())
}

// isZero says whether t stands for no token.
func (t *Token) isZero() bool { return t.Issuer == "" && t.Subject == "" }

// Audiences returns the aud claim as a list. The caller owns it.
func (t Token) Audiences() []string { return collect(t.audiences, false) }

// Scopes returns the scopes. The caller owns the list.
func (t Token) Scopes() []string { return collect(t.scopes, true) }

// AMR returns the methods by which the user logged in (the amr claim, RFC 8176).
// The caller owns the list.
func (t Token) AMR() []string { return collect(t.amr, false) }

// HasScope says whether scope is one of the token's.
func (t Token) HasScope(scope string) bool { return contains(t.scopes, true, scope) }

// each calls f for each element of a claim that is an array of strings or one
// string; a string of words is split at its blanks.
func each(v strictjson.Value, words bool, f func(string) bool) {
	s, ok := v.Str()
	if !ok {
		v.EachString(f)
		return
	}
	if !words {
		f(s)
		return
	}
	for word := range strings.SplitSeq(s, " ") {
		if word != "" && !f(word) {
			return
		}
	}
}

func collect(v strictjson.Value, words bool) (list []string) {
	each(v, words, func(s string) bool {
		list = append(list, s)
		return true
	})
	return list
}

func contains(v strictjson.Value, words bool, want string) (found bool) {
	each(v, words, func(s string) bool {
		found = s == want
		return !found
	})
	return found && want != ""
}

func (t Token) String() string {
	return fmt.Sprintf("Token(iss %s, sub %s, jti %s)", quoted(t.Issuer), quoted(t.Subject), quoted(t.ID))
}

// Format prints a few of the token's identifiers, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is a few of the token's identifiers.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is a few of the token's identifiers; for the claims see ClaimsAs.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// contextKey is the key of the one value that this package puts into contexts.
type contextKey struct{}

// tokenContext is a context that holds a token, as one value. What token points
// to is never changed and may be shared with other requests.
type tokenContext struct {
	context.Context
	token *Token
	at    time.Time // when it was verified
	by    *family   // the middleware that verified it; nil for NewContext
}

func (c *tokenContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// String is what a context that was made from this one prints for it.
func (c *tokenContext) String() string { return fmt.Sprint(c.Context) + "." + c.token.String() }

// get returns the token by value.
func (c *tokenContext) get() Token {
	t := *c.token
	t.at = c.at
	return t
}

// newTokenContext makes a context that holds a token of its own.
func newTokenContext(ctx context.Context, t Token, by *family) *tokenContext {
	c := &struct {
		tokenContext
		token Token
		memo  memo
	}{tokenContext{Context: ctx, at: t.at, by: by}, t, memo{}}
	c.tokenContext.token = &c.token
	if t.memo == nil {
		c.token.memo = &c.memo
	}
	return &c.tokenContext
}

// NewContext returns a context that holds t, for [FromContext] to find: for
// tests, and for transports that are not net/http. No [Middleware] trusts such
// a token.
func NewContext(ctx context.Context, t Token) context.Context {
	return newTokenContext(ctx, t, nil)
}

// FromContext returns the token of the request that ctx belongs to. It is false
// for an anonymous request behind [Middleware.Optional], and where neither a
// middleware nor NewContext has put one there.
func FromContext(ctx context.Context) (t Token, ok bool) {
	c, ok := ctx.Value(contextKey{}).(*tokenContext)
	if ok = ok && !c.token.isZero(); ok {
		t = *c.token
		t.at = c.at
	}
	return t, ok
}
