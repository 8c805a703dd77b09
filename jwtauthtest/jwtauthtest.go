// Package jwtauthtest tests services that jwtauth protects: with real tokens, a
// real verifier and the real error path, and a clock that the test moves.
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
// # Where to put it in
//
// A service that takes a [jwtauth.Middleware] gets [Issuer].Middleware, and one
// that takes a [jwtauth.Verifier] gets Issuer.Verifier. One that logs users in,
// or makes a verifier with options of its own, gets Issuer.Issuer. One that
// verifies the tokens of another service gets Issuer.Keys, and the two names
// that stand in [jwtauth.IssuerOptions]; one that reads a key from a file gets
// what Issuer.Key encodes to, and one that fetches a JWK Set gets it from
// Issuer.Keys, which is its handler.
//
// A handler alone, without a middleware before it, gets a [jwtauth.Token] in its
// context from [WithToken].
//
// # What is real
//
// Everything except the clock. Each Issuer has a new key. [jwtauth.Issuer.IssueAccess]
// issues the tokens that are not bent, and golang-jwt signs the bent ones. Nothing here
// accepts a token that would be refused elsewhere.
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

// The names that an issuer has unless its options give it others.
const (
	issuerName   = "https://issuer.test"
	audienceName = "https://api.test"
)

// Issuer is a [jwtauth.Issuer] with a key, stores, a clock, and the verifier and
// middleware that take its tokens. It is made by [NewIssuer] and safe for
// concurrent use.
type Issuer struct {
	*jwtauth.Issuer // for logins, refresh tokens and logout

	Key        *jwk.SigningKey     // the one that signs, an ES256 key
	Keys       *jwk.Ring           // holds that key: for NewVerifier, and as the handler of a JWK Set
	Verifier   *jwtauth.Verifier   // of its access tokens, with the default options
	Middleware *jwtauth.Middleware // with that verifier and the default options
	Clock      *Clock              // of all of them

	private *ecdsa.PrivateKey
	stores  stores
}

// NewIssuer makes an issuer with a new key, which stays the same for the whole
// test. Zero fields of o mean what they mean to [jwtauth.NewIssuer], except for
// these: Issuer is https://issuer.test, Audiences are https://api.test alone,
// and where there are neither Sessions nor Revocations, a MemoryStore is both.
// Now must be nil: it is the Clock of the issuer. Options that are mistaken end
// the test.
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
	i.stores.wrap(&o)
	if i.Issuer, err = jwtauth.NewIssuer(i.Keys, o); err != nil {
		return err
	}
	if i.Verifier, err = i.NewVerifier(jwtauth.VerifierOptions{}); err != nil {
		return err
	}
	i.Middleware, err = jwtauth.NewMiddleware(i.Verifier, jwtauth.MiddlewareOptions{})
	return err
}

// Token returns an access token for g, bent in order by each of bend, such as
// [Expired], or straight where there is none. It belongs to no session; for one
// that does, see [jwtauth.Issuer.Issue]. A grant that cannot be issued ends the
// test.
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

// Verified returns what a handler finds in its context for a token that Token
// makes: for [WithToken] and [jwtauth.NewContext]. A token that is refused ends
// the test.
func (i *Issuer) Verified(t testing.TB, g jwtauth.Grant, bend ...func(*Draft)) jwtauth.Token {
	t.Helper()
	token, err := i.Verifier.Verify(context.Background(), i.Token(t, g, bend...))
	if err != nil {
		t.Fatalf("jwtauthtest: Verified: %v", err)
	}
	return token
}

// NewRequest is httptest.NewRequest with a token in the Authorization header, or
// without that header where token is empty.
func NewRequest(method, target string, body io.Reader, token string) *http.Request {
	r := httptest.NewRequest(method, target, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// WithToken stands in for a middleware where a handler is tested alone: it puts
// token into the context of each request, for [jwtauth.FromContext] to find, and
// checks nothing. No [jwtauth.Middleware] trusts a token that came this way.
func WithToken(token jwtauth.Token) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(jwtauth.NewContext(r.Context(), token)))
		})
	}
}
