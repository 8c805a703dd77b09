// Command roles gives access by role. Its tokens have the roles of the user in a claim.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"slices"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// staff has the claims of a token in addition to the registered ones.
type staff struct {
	Roles []string `json:"roles"`
}

// role is a policy that refuses tokens without the role.
func role(name string) jwtauth.Policy {
	return jwtauth.ClaimsPolicy("role", func(_ context.Context, _ jwtauth.Token, s staff) (bool, error) {
		return slices.Contains(s.Roles, name), nil
	})
}

// anyRole is a check of the verifier. It refuses tokens without any role, on every route.
var anyRole = jwtauth.ClaimsPolicy("any_role", func(_ context.Context, _ jwtauth.Token, s staff) (bool, error) {
	return len(s.Roles) > 0, nil
})

func main() {
	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
	})
	check(err)
	tokens, err := issuer.IssueAccess(context.Background(), jwtauth.Grant{Subject: "alice", Claims: staff{[]string{"accountant"}}})
	check(err)
	fmt.Println("curl -H 'Authorization: Bearer " + tokens.AccessToken + "' http://127.0.0.1:8080/invoices")
	check(http.ListenAndServe("127.0.0.1:8080", service(issuer)))
}

func service(issuer *jwtauth.Issuer) http.Handler {
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{Checks: []jwtauth.Policy{anyRole}})
	check(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	check(err)
	done := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "done") })
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(done))
	mux.Handle("GET /invoices", auth.With(role("accountant")).Require(done))
	mux.Handle("DELETE /invoices", auth.With(role("accountant"), role("admin")).Require(done))
	return mux
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
