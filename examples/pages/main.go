// Command pages renders its pages on the server, with html/template. It needs no JavaScript,
// except to go on after the access token has expired.
package main

import (
	_ "embed"
	"html/template"
	"log"
	"net/http"
	"net/url"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
)

//go:embed pages.html
var text string

var pages = template.Must(template.New("").Parse(text))

func main() {
	logins := oneuser.NewLogins(options())
	log.Println("http://127.0.0.1:8080/")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", service(logins)))
}

func options() endpoints.Options {
	return endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, LoginPage: "/login"}
}

func service(logins *endpoints.Handlers) http.Handler {
	auth, mux := logins.Auth(), http.NewServeMux()
	mux.Handle("/auth/", logins)
	mux.HandleFunc("GET /login", login)
	mux.Handle("GET /{$}", auth.Optional(http.HandlerFunc(home)))
	mux.Handle("GET /account", auth.Require(http.HandlerFunc(account)))
	mux.Handle("POST /account/name", auth.Require(http.HandlerFunc(rename)))
	return withPolicy(mux)
}

// withPolicy lets the pages load nothing but styles of their own, and send forms only to this host.
func withPolicy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.ServeHTTP(w, r)
	})
}

// login shows the form. Its action is the route login, which sends the browser to the page in
// the field return, or back here with the parameter error.
func login(w http.ResponseWriter, r *http.Request) {
	render(w, "login", struct{ Return, Error string }{r.FormValue("return"), r.FormValue("error")})
}

func home(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	render(w, "home", token.Subject) // "" for an anonymous user
}

func account(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	render(w, "account", struct{ User, Name string }{token.Subject, r.FormValue("name")})
}

// rename changes something, so it is a POST. The middleware refuses the forms of other sites.
func rename(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/account?name="+url.QueryEscape(r.PostFormValue("name")), http.StatusSeeOther)
}

func render(w http.ResponseWriter, page string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // the pages depend on the user
	if err := pages.ExecuteTemplate(w, page, data); err != nil {
		log.Print(err)
	}
}
