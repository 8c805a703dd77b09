// Package shop is what all services of this module have in common: their users.
package shop

import (
	"encoding/json"
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

// Grant checks a password for the route login of package endpoints.
func Grant(_ *http.Request, name, password string) (jwtauth.Grant, error) {
	user, ok := Login(name, password)
	if !ok {
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}
	return jwtauth.Grant{Subject: strconv.Itoa(user.ID), Claims: map[string]string{"role": user.Role}}, nil
}

// TradeIn is a route behind Auth, on which an old token buys a session.
func TradeIn(logins *endpoints.Handlers) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		if token.SessionID != "" { // a new token: another tab of the browser has traded the old one in
			w.WriteHeader(http.StatusNoContent)
			return
		}
		grant, err := migrate.TradeIn(token, jwtauth.Grant{Claims: map[string]any{"role": migrate.MapClaims(token)["role"]}})
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		tokens, err := logins.Start(w, r, grant) // also sets the cookies, if the routes have some
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	}
}

// LoginForOldClients is the old login route for clients that cannot change: its answer has the old form,
// with a new access token.
func LoginForOldClients(issuer *jwtauth.Issuer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		grant, err := Grant(r, r.PostFormValue("username"), r.PostFormValue("password"))
		if err != nil {
			http.Error(w, "wrong name or password", http.StatusUnauthorized)
			return
		}
		tokens, err := issuer.IssueAccess(r.Context(), grant) // Issue, if sessions shall list this login
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(map[string]string{"token": tokens.AccessToken})
	}
}
