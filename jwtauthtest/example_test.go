package jwtauthtest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

type profile struct {
	Role string `json:"role"`
}

// newService is a service as its main makes it.
func newService(auth *jwtauth.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(me)))
	mux.Handle("POST /orders", auth.With(jwtauth.Scopes("orders:write")).Require(http.HandlerFunc(me)))
	return mux
}

func me(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	p, err := jwtauth.ClaimsAs[profile](token)
	if err != nil {
		http.Error(w, "a token without a profile", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%s is %s", token.Subject, p.Role)
}

// do is one request to a handler.
func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// In a test, t is its *testing.T.
func Example() {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	service := newService(issuer.Middleware)
	alice := jwtauth.Grant{Subject: "alice", Scopes: []string{"orders:write"}, Claims: profile{Role: "admin"}}

	answer := do(service, jwtauthtest.NewRequest("GET", "/me", nil, issuer.Token(t, alice)))
	fmt.Println(answer.Code, answer.Body)

	expired := issuer.Token(t, alice, jwtauthtest.Expired)
	fmt.Println(do(service, jwtauthtest.NewRequest("GET", "/me", nil, expired)).Code)

	fmt.Println(do(service, jwtauthtest.NewRequest("GET", "/me", nil, "")).Code)

	bob := jwtauth.Grant{Subject: "bob"}
	order := strings.NewReader(`{"item":"tea"}`)
	fmt.Println(do(service, jwtauthtest.NewRequest("POST", "/orders", order, issuer.Token(t, bob))).Code)

	// Output:
	// 200 alice is admin
	// 401
	// 401
	// 403
}

// A token can be bent in any claim, and several bends go together.
func ExampleIssuer_Token() {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Audiences: []string{"https://orders.test"}})
	alice := jwtauth.Grant{Subject: "alice"}

	for _, token := range []string{
		issuer.Token(t, alice),
		issuer.Token(t, alice, jwtauthtest.OtherAudience),
		issuer.Token(t, alice, jwtauthtest.OtherKey),
		issuer.Token(t, alice, jwtauthtest.Tampered),
		issuer.Token(t, alice, jwtauthtest.Claim("sub", nil)),
		issuer.Token(t, alice, jwtauthtest.Claim("tenant", 7), jwtauthtest.Expired),
		issuer.Token(t, alice, func(d *jwtauthtest.Draft) { d.Header["kid"] = "unknown" }),
	} {
		_, err := issuer.Middleware.Authenticate(jwtauthtest.NewRequest("GET", "/", nil, token))
		if failure, refused := errors.AsType[*jwtauth.Error](err); refused {
			fmt.Println("refused by the check", failure.Check)
			continue
		}
		fmt.Println("accepted")
	}

	// Output:
	// accepted
	// refused by the check aud
	// refused by the check signature
	// refused by the check signature
	// refused by the check sub
	// refused by the check exp
	// refused by the check key
}

// Tokens grow old when the clock is moved, and not while the test waits.
func ExampleClock() {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{AccessTTL: 5 * time.Minute})
	token := issuer.Token(t, jwtauth.Grant{Subject: "alice"})
	service := newService(issuer.Middleware)

	fmt.Println(do(service, jwtauthtest.NewRequest("GET", "/me", nil, token)).Code)
	issuer.Clock.Advance(6 * time.Minute)
	fmt.Println(do(service, jwtauthtest.NewRequest("GET", "/me", nil, token)).Code)

	// Output:
	// 200
	// 401
}

// A handler alone, without a middleware before it.
func ExampleWithToken() {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	alice := issuer.Verified(t, jwtauth.Grant{Subject: "alice", Claims: profile{Role: "admin"}})

	handler := jwtauthtest.WithToken(alice)(http.HandlerFunc(me))
	fmt.Println(do(handler, jwtauthtest.NewRequest("GET", "/me", nil, "")).Body)

	// Output:
	// alice is admin
}

// What the service answers while the store of its revocations is down.
func ExampleIssuer_FailStores() {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	service := newService(issuer.Middleware)
	token := issuer.Token(t, jwtauth.Grant{Subject: "alice"})

	issuer.FailStores(errors.New("connection refused"))
	answer := do(service, jwtauthtest.NewRequest("GET", "/me", nil, token))
	fmt.Println(answer.Code, "Retry-After:", answer.Header().Get("Retry-After"))

	issuer.FailStores(nil)
	fmt.Println(do(service, jwtauthtest.NewRequest("GET", "/me", nil, token)).Code)

	// Output:
	// 503 Retry-After: 1
	// 200
}
