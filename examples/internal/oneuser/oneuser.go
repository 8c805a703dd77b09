// Package oneuser makes the logins of the smaller examples: there is one user, alice, with a new
// password. The command examples/minimal has the same code in one file.
package oneuser

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log"
	"log/slog"
	"net/http"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// NewLogins makes the handlers, and prints the password. The keys and the sessions are in
// memory. If something fails, NewLogins ends the program.
func NewLogins(o endpoints.Options) *endpoints.Handlers {
	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store, OnEvent: event.Log(slog.Default()),
	})
	check(err)
	password := rand.Text()
	fmt.Println("the user is alice, and the password is", password)
	o.Login = Login(password)
	logins, err := endpoints.New(issuer, o)
	check(err)
	return logins
}

// Login returns a function for endpoints.Options.Login that knows one user.
func Login(password string) func(*http.Request, string, string) (jwtauth.Grant, error) {
	return func(_ *http.Request, name, given string) (jwtauth.Grant, error) {
		if name != "alice" || subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 0 {
			return jwtauth.Grant{}, jwtauth.ErrGrantRefused
		}
		return jwtauth.Grant{Subject: name, Scopes: []string{"orders:write"}}, nil
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
