package migrate

import (
	"context"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
)

// TradeIn opens a session for an old token, and returns its first tokens, as Issuer.Issue does. t
// comes from a verifier of this package. A token can be traded in once. TradeIn revokes the token,
// so it is refused from then on. If two calls present it at the same time, one of them gets the
// session, and the other one an error that matches jwtauth.ErrTokenReused. A client that does not
// get the answer must log in.
//
// g is the grant of the session. Its Subject must be empty or that of t. If AuthTime is zero, it
// becomes auth_time of t. Without auth_time it becomes iat, and without iat the year 1970, because
// the user does not log in now. The session has only the scopes of g.
//
// TradeIn refuses tokens of an [InsecureSecret], and tokens of keys that a jwk.Remote has fetched
// over plain http (InsecureHTTP), with jwtauth.ErrTokenKey. Otherwise, an attacker who guesses the
// secret or replaces a key would get a session that outlives Options.Until. An error that matches
// neither ErrRefused nor ErrUnavailable means that g cannot be issued, that the issuer has no
// Sessions, or that the verifier of t has no Revocations.
func TradeIn(ctx context.Context, issuer *jwtauth.Issuer, t jwtauth.Token, g jwtauth.Grant) (jwtauth.TokenResponse, error) {
	response, err := oldtoken.TradeIn(ctx, issuer, t, g)
	if err != nil {
		return jwtauth.TokenResponse{}, err
	}
	return response.(jwtauth.TokenResponse), nil
}
