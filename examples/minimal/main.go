// Command minimal is a whole service: login, a protected page, refresh, logout.
package main

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func main() {
	password := rand.Text() // a real service has one per user, hashed
	fmt.Println("curl -d name=alice -d password=" + password + " http://127.0.0.1:8080/login")
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
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	check(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	check(err)

	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(me)))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		name, given := r.PostFormValue("name"), r.PostFormValue("password")
		if name != "alice" || subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 0 {
			jwtauth.WriteError(w, r, errPassword)
			return
		}
		tokens, err := issuer.Issue(r.Context(), jwtauth.Grant{Subject: name, AuthTime: began})
		answer(w, r, tokens, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		tokens, err := issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.PostFormValue("refresh_token")})
		answer(w, r, tokens, err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := issuer.Logout(r.Context(), r.PostFormValue("refresh_token")); err != nil {
			jwtauth.WriteError(w, r, err)
		}
	})
	return http.MaxBytesHandler(mux, 1<<16) // examples/server also has a throttle and time-outs
}

// errPassword is the answer to a wrong password.
var errPassword = &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the name or the password is wrong"}

func me(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintln(w, "hello", token.Subject)
}

func answer(w http.ResponseWriter, r *http.Request, tokens jwtauth.TokenResponse, err error) {
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
