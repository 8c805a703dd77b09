// Package jwtauthtest helps to test services that use jwtauth. Tokens, verifiers and errors
// are real. Only the clock is not; the test moves it.
//
//	func TestMe(t *testing.T) {
//		issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
//		service := newService(issuer.Middleware) // as main makes it
//		alice := jwtauth.Grant{Subject: "alice", Scopes: []string{"orders:write"}, Claims: Profile{Role: "admin"}}
//
//		for token, want := range map[string]int{
//			"":                                           http.StatusUnauthorized,
//			issuer.Token(t, alice):                       http.StatusOK,
//			issuer.Token(t, alice, jwtauthtest.Expired):  http.StatusUnauthorized,
//			issuer.Token(t, alice, jwtauthtest.OtherKey): http.StatusUnauthorized,
//		} {
//			answer := httptest.NewRecorder()
//			service.ServeHTTP(answer, jwtauthtest.NewRequest("GET", "/me", nil, token))
//			if answer.Code != want {
//				t.Errorf("got %d, want %d", answer.Code, want)
//			}
//		}
//	}
//
// # What to give to the service
//
//   - If the service takes a [jwtauth.Middleware], give it [Issuer].Middleware.
//   - If it takes a [jwtauth.Verifier], give it Issuer.Verifier.
//   - If it logs users in, or makes a verifier with its own options, give it Issuer.Issuer.
//   - If it verifies the tokens of another service, give it Issuer.Keys, the name of the
//     issuer and the name of the audience (see [NewIssuer]).
//   - If it reads a key from a file, write a file with Issuer.Key.PrivatePEM, or with the
//     PEM of Issuer.Key.Verification.
//   - If it fetches a JWK Set, serve Issuer.Keys, which is an http.Handler, with httptest.
//
// To test a handler without a middleware, wrap it with [WithToken], which puts a
// [jwtauth.Token] into the context of each request.
//
// # What is real
//
// Everything except the clock is real. Each Issuer has a new key. Without bends, tokens are
// from [jwtauth.Issuer.IssueAccess]. With bends, golang-jwt signs the tokens. The verifier
// and the middleware check tokens exactly as in production.
package jwtauthtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// The default names of an issuer and its audience.
const (
	issuerName   = "https://issuer.test"
	audienceName = "https://api.test"
)

// Issuer is a [jwtauth.Issuer] with a key, stores and a clock, and with a verifier and a
// middleware that accept its tokens. Make it with [NewIssuer]. It is safe for concurrent
// use.
type Issuer struct {
	*jwtauth.Issuer // for logins, refresh tokens and logout

	Key        *jwk.SigningKey     // the signing key, for ES256
	Keys       *jwk.Ring           // a ring with Key; also a handler that serves the JWK Set
	Verifier   *jwtauth.Verifier   // accepts the access tokens of the issuer; has default options
	Middleware *jwtauth.Middleware // uses Verifier; has default options
	Clock      *Clock              // the clock of the issuer and the verifier

	private *ecdsa.PrivateKey // the private key of Key
	stores  stores
}

// NewIssuer makes an issuer with a new key. Zero fields of o have the defaults of
// [jwtauth.NewIssuer], with these exceptions. The default of Issuer is https://issuer.test.
// The default of Audiences is https://api.test alone. If Sessions and Revocations are both
// nil, NewIssuer sets both to one new MemoryStore. If InsecureAccessOutlivesSession is set,
// it sets only Sessions. Now must be nil, since the issuer uses its Clock. If the options
// are not valid, NewIssuer ends the test.
func NewIssuer(t testing.TB, o jwtauth.IssuerOptions) *Issuer {
	t.Helper()
	i := &Issuer{Clock: &Clock{now: time.Now().Truncate(time.Second)}}
	if err := i.init(o); err != nil {
		t.Fatalf("jwtauthtest: NewIssuer: %v", err)
	}
	return i
}

func (i *Issuer) init(o jwtauth.IssuerOptions) (err error) {
	if i.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	if i.Key, err = jwk.NewSigning(jwk.ES256, i.private); err != nil {
		return err
	}
	if i.Keys, err = jwk.NewRing(i.Key); err != nil {
		return err
	}
	if o.Now != nil {
		return errNow
	}
	o.Now = i.Clock.Now
	if o.Issuer == "" {
		o.Issuer = issuerName
	}
	if o.Audiences == nil {
		o.Audiences = []string{audienceName}
	}
	i.stores.wrapStores(&o)
	if i.Issuer, err = jwtauth.NewIssuer(i.Keys, o); err != nil {
		return err
	}
	if i.Verifier, err = i.NewVerifier(jwtauth.VerifierOptions{}); err != nil {
		return err
	}
	i.Middleware, err = jwtauth.NewMiddleware(i.Verifier, jwtauth.MiddlewareOptions{})
	return err
}

// Token returns an access token for g. It applies the bends in order before it signs the
// token, for example [Expired]. The token belongs to no session. For a token of a session,
// use [jwtauth.Issuer.Issue]. If the token cannot be issued, the test ends.
func (i *Issuer) Token(t testing.TB, g jwtauth.Grant, bend ...func(*Draft)) string {
	t.Helper()
	response, err := i.IssueAccess(context.Background(), g)
	if err != nil {
		t.Fatalf("jwtauthtest: Token: %v", err)
		return ""
	}
	if len(bend) == 0 {
		return response.AccessToken
	}
	token, err := i.bend(response.AccessToken, bend)
	if err != nil {
		t.Fatalf("jwtauthtest: Token: %v", err)
	}
	return token
}

// Verified makes a token as [Issuer.Token] does, verifies it, and returns the result, for
// [WithToken] and [jwtauth.NewContext]. If the verifier refuses the token, the test ends.
func (i *Issuer) Verified(t testing.TB, g jwtauth.Grant, bend ...func(*Draft)) jwtauth.Token {
	t.Helper()
	token, err := i.Verifier.Verify(context.Background(), i.Token(t, g, bend...))
	if err != nil {
		t.Fatalf("jwtauthtest: Verified: %v", err)
	}
	return token
}

// NewToken is [jwtauth.NewToken]: it makes a Token from claims, for [WithToken] and for a
// [jwtauth.TokenVerifier] of the test. If the claims are not valid, the test ends.
func NewToken(t testing.TB, claims any) jwtauth.Token {
	t.Helper()
	token, err := jwtauth.NewToken(claims)
	if err != nil {
		t.Fatalf("jwtauthtest: NewToken: %v", err)
	}
	return token
}

// NewRequest is httptest.NewRequest with a token in the Authorization header. If token is
// empty, the request has no such header.
func NewRequest(method, target string, body io.Reader, token string) *http.Request {
	r := httptest.NewRequest(method, target, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// WithToken replaces the middleware in a test of a single handler. It puts token into the
// context of each request, where [jwtauth.FromContext] finds it. It checks nothing. A
// [jwtauth.Middleware] ignores such a token.
func WithToken(token jwtauth.Token) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(jwtauth.NewContext(r.Context(), token)))
		})
	}
}
