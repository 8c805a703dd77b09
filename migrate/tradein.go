package migrate

import (
	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
)

// TradeIn returns a grant with which an old token buys a session. t is the old token, and comes from
// a verifier of this package. Give the grant to Issuer.Issue, to Handlers.Start of package endpoints,
// or return it from Login of endpoints.Options. These open the session and revoke the old token, so
// it is refused from then on. Each old token buys one session: another call with the token or with
// the grant gets an error that matches jwtauth.ErrTokenReused or jwtauth.ErrTokenRevoked, also if it
// comes at the same time. A client that does not get the answer must log in.
//
// g is the grant of the session. Its Subject must be empty or that of t. If AuthTime is zero, it
// becomes auth_time of t. Without auth_time it becomes iat, and without iat the year 1970, because
// the user does not log in now. The session has only the scopes of g.
//
// TradeIn refuses tokens of an [InsecureSecret], and tokens of keys that a jwk.Remote has fetched
// over plain http (InsecureHTTP), with jwtauth.ErrTokenKey. Otherwise, an attacker who guesses the
// secret or replaces a key would get a session that outlives Options.Until. An error that does not
// match ErrRefused means that g is of another subject, or that the verifier of t has no Revocations.
func TradeIn(t jwtauth.Token, g jwtauth.Grant) (jwtauth.Grant, error) {
	traded, err := oldtoken.TradeIn(t, g)
	if err != nil {
		return jwtauth.Grant{}, err
	}
	return traded.(jwtauth.Grant), nil
}
