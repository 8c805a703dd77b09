// Package shop is what all services of this module have in common: their users.
package shop

import (
	"net/http"
	"strconv"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// User is a user of the services.
type User struct {
	ID         int
	Name, Role string
}

// Login returns the user with a name and a password.
func Login(name, password string) (User, bool) {
	u := map[string]User{"alice": {7, "alice", "admin"}, "bob": {8, "bob", "buyer"}, "carol": {9, "carol", "buyer"}}[name]
	return u, u.Name != "" && password == "password of "+name
}

// Grant is the Login of the services after the move.
func Grant(_ *http.Request, name, password string) (jwtauth.Grant, error) {
	user, ok := Login(name, password)
	if !ok {
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}
	return jwtauth.Grant{Subject: strconv.Itoa(user.ID), Claims: map[string]string{"role": user.Role}}, nil
}

// TradeIn is a route on which an old token buys a session.
func TradeIn(logins *endpoints.Handlers) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		old, _ := jwtauth.FromContext(r.Context())
		if old.SessionID != "" { // a new token: another tab has traded the old one in
			w.WriteHeader(http.StatusNoContent)
			return
		}
		grant, err := migrate.TradeIn(old, jwtauth.Grant{Claims: map[string]any{"role": migrate.MapClaims(old)["role"]}})
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		tokens, err := logins.Start(w, r, grant)
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	}
}
