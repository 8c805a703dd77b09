// Command chi protects the routes of a go-chi router. Require has the type of chi's
// own middleware, so it needs no adapter.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func main() {
	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
	})
	check(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	check(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	check(err)

	tokens, err := issuer.IssueAccess(context.Background(), jwtauth.Grant{Subject: "alice", Scopes: []string{"orders:write"}})
	check(err)
	fmt.Println("curl -X POST -H 'Authorization: Bearer " + tokens.AccessToken + "' http://127.0.0.1:8080/orders/7")
	check(http.ListenAndServe("127.0.0.1:8080", service(auth)))
}

func service(auth *jwtauth.Middleware) http.Handler {
	r := chi.NewRouter()
	r.Get("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "welcome") })
	r.Group(func(r chi.Router) {
		r.Use(auth.Require)
		r.Get("/me", me)
		// auth.Require has verified the token. This middleware only checks the scopes.
		r.With(auth.With(jwtauth.Scopes("orders:write")).Require).Post("/orders/{id}", order)
	})
	return r
}

func me(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintln(w, "hello", token.Subject)
}

func order(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "%s orders %s\n", token.Subject, chi.URLParam(r, "id"))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
