package migrate

import (
	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
)

// TradeIn returns a grant with which the old token t buys a session. If t does not come from a
// verifier of this package, the error matches jwtauth.ErrNoToken. Give the grant to Issuer.Issue,
// to Handlers.Start of package endpoints, or return it from Login of endpoints.Options.
//
// Each old token buys at most one session. A trade-in is a call of TradeIn, and a call of Issue
// with its result. Another trade-in returns tokens of the same session, until the session is
// refreshed for the first time: an answer can get lost, and other tabs may have the old token,
// too. This works for at most IssuerOptions.RecoverLost after the first trade-in (RefreshGrace, if
// RecoverLost is negative). Later, Issue refuses the grant with jwtauth.ErrTokenReused. The old
// token stays good for requests, so the answer is 403, and the client should keep the token. A
// logout, and every other call that ends the session, revokes it. A logout with the old token ends
// the session. Pass the same g each time a token is traded in: the access token has the scopes and
// claims of its own trade-in, but the refreshed ones have those of the first.
//
// g is the grant of the session. Its Subject must be empty or that of t. A trade-in is no login.
// So if AuthTime is zero, TradeIn sets it to auth_time of t, or else to iat. If t has neither,
// AuthTime is 1970-01-01, and the policy LoginWithin refuses the tokens. The session has only the
// scopes and the claims of g: copy from t what you need.
//
// TradeIn refuses tokens of an [InsecureSecret], and tokens of keys that a jwk.Remote has fetched
// over plain http (InsecureHTTP), with jwtauth.ErrTokenKey, also 403. Otherwise, an attacker who
// guesses the secret or replaces a key would get a session that outlives Options.Until. An error
// that does not match ErrRefused means that g is of another subject, or that the verifier of t has
// no Revocations. The Issuer needs Sessions and Revocations, or Issue returns an error. Its
// Revocations must be the store of the verifier.
func TradeIn(t jwtauth.Token, g jwtauth.Grant) (jwtauth.Grant, error) {
	traded, err := oldtoken.TradeIn(t, g)
	if err != nil {
		return jwtauth.Grant{}, err
	}
	return traded.(jwtauth.Grant), nil
}
