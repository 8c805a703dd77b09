package migrate

import (
	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
)

// TradeIn returns a grant with which an old token buys a session. t is the old token, and comes from
// a verifier of this package. Give the grant to Issuer.Issue, to Handlers.Start of package endpoints,
// or return it from Login of endpoints.Options.
//
// Each old token buys one session. Until that session is refreshed for the first time, the old token
// stays good, and another trade-in returns tokens of the same session: an answer can get lost, and
// other tabs may have the old token, too. After IssuerOptions.RecoverLost (or RefreshGrace, if
// RecoverLost is negative), a trade-in is refused with jwtauth.ErrTokenReused. The first refresh revokes
// the old token, and so does the end of the session. A logout with the old token also ends the session.
//
// g is the grant of the session. Its Subject must be empty or that of t. If AuthTime is zero, it
// becomes auth_time of t. Without auth_time it becomes iat, and without iat the year 1970, because
// the user does not log in now. The session has only the scopes of g.
//
// TradeIn refuses tokens of an [InsecureSecret], and tokens of keys that a jwk.Remote has fetched
// over plain http (InsecureHTTP), with jwtauth.ErrTokenKey. Otherwise, an attacker who guesses the
// secret or replaces a key would get a session that outlives Options.Until. An error that does not
// match ErrRefused means that g is of another subject, or that the verifier of t has no Revocations.
// The Issuer must have Sessions and Revocations, and the latter must be those of the verifier.
func TradeIn(t jwtauth.Token, g jwtauth.Grant) (jwtauth.Grant, error) {
	traded, err := oldtoken.TradeIn(t, g)
	if err != nil {
		return jwtauth.Grant{}, err
	}
	return traded.(jwtauth.Grant), nil
}
