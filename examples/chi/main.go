// Command chi protects the routes of a go-chi router. Require has the type of chi's
// own middleware, so it needs no adapter.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
)

func main() {
	logins := oneuser.NewLogins(endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
	fmt.Println("curl -c cookies -H 'X-CSRF: curl' -d username=alice -d password=... http://127.0.0.1:8080/auth/login")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", service(logins)))
}

func service(logins *endpoints.Handlers) http.Handler {
	auth := logins.Auth()
	r := chi.NewRouter()
	r.Get("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "welcome") })
	r.Handle("/auth/*", logins)
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
