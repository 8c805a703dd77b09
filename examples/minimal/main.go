// Command minimal is a whole service: login, refresh, logout, sessions, and two protected routes.
package main

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log"
	"net/http"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func main() {
	password := rand.Text() // a real service has one per user, hashed
	fmt.Println("curl -d username=alice -d password=" + password + " http://127.0.0.1:8080/auth/login")
	check(http.ListenAndServe("127.0.0.1:8080", service(password)))
}

func service(password string) http.Handler {
	key, err := jwk.Generate(jwk.ES256) // or jwk.ParseSigning, jwk.NewHMAC, jwk.NewSigning
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store,
	})
	check(err)
	logins, err := endpoints.New(issuer, endpoints.Options{Login: func(_ *http.Request, name, given string) (jwtauth.Grant, error) {
		if name != "alice" || subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 0 {
			return jwtauth.Grant{}, jwtauth.ErrGrantRefused
		}
		return jwtauth.Grant{Subject: name, Scopes: []string{"orders:write"}}, nil
	}}) // with RefreshCookie: &endpoints.Cookie{}, for pages in a browser
	check(err)

	auth, mux := logins.Auth(), http.NewServeMux()
	mux.Handle("/auth/", logins) // login, refresh, logout, sessions
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(me)))
	mux.Handle("POST /orders", auth.With(jwtauth.Scopes("orders:write")).Require(http.HandlerFunc(me)))
	return mux
}

func me(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintln(w, "hello", token.Subject)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
