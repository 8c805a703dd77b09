package migrate

import (
	"context"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
)

// TradeIn opens a session for an old token, and returns its first tokens, as Issuer.Issue does. t
// comes from a verifier of this package. It buys one session, once: TradeIn revokes it, so it is
// refused from then on. If two calls present it at the same time, one of them gets the session, and
// the other one an error that matches jwtauth.ErrTokenReused. A client that does not get the answer
// must log in.
//
// g is the grant of the session. Its Subject must be empty or that of t. The default of its AuthTime
// is auth_time of t, or else iat, and without both the year 1970: the user does not log in now. The
// session has only the scopes of g.
//
// A token of an [InsecureSecret], or of keys that a jwk.Remote with InsecureHTTP fetches, is refused
// with jwtauth.ErrTokenKey: who guesses the secret, or puts in a key, would get a session that outlives
// Options.Until. An error that matches neither ErrRefused nor ErrUnavailable
// means that g cannot be issued, that the issuer has no Sessions, or that the verifier of t has no
// Revocations.
func TradeIn(ctx context.Context, issuer *jwtauth.Issuer, t jwtauth.Token, g jwtauth.Grant) (jwtauth.TokenResponse, error) {
	response, err := oldtoken.TradeIn(ctx, issuer, t, g)
	if err != nil {
		return jwtauth.TokenResponse{}, err
	}
	return response.(jwtauth.TokenResponse), nil
}
