// Package oldtoken is the seam between package jwtauth and package migrate: it lets migrate make a
// verifier for the tokens of other code, which the API of jwtauth does not offer.
package oldtoken

import (
	"time"

	"github.com/jwtauth-go/jwtauth/internal/keyset"
)

// LongestMove is how far the date that ends a move may be ahead.
const LongestMove = 90 * 24 * time.Hour

// Rules are the rules for old tokens that no option of jwtauth has. They are immutable.
type Rules struct {
	Until        time.Time // from this time on, no token is accepted
	NoExp        time.Time // stands for exp in a token without exp. Zero means that exp is required
	SubjectClaim string    // the claim that is the subject
	// Map returns the claims that the program sees, and that have the subject. nil means that the
	// claims stay as they are. iss, aud, exp, nbf, iat and cnf are always those of the token.
	Map func(claims map[string]any) (map[string]any, error)
	// RefreshableFor is how long after exp the old code exchanges a token for a new one.
	RefreshableFor time.Duration
	// NeedsTyp means that a token must have the typ JWT. Otherwise typ may be missing, and no key
	// may be in a ring of an issuer.
	NeedsTyp   bool
	IsInsecure bool // a stranger may have the secret of the key, or may have put in a key
}

// IsFixed reports whether a claim of an old token is always that of the token, since a check uses it.
// Map cannot change it, and it cannot be the subject.
func IsFixed(name string) bool {
	switch name {
	case "iss", "aud", "exp", "nbf", "iat", "cnf":
		return true
	}
	return false
}

// NewVerifier makes a *jwtauth.Verifier. options is a jwtauth.VerifierOptions. Package jwtauth sets
// NewVerifier.
var NewVerifier func(keys keyset.Set, options any, r Rules) (verifier any, err error)

// TradeIn returns the grant, a jwtauth.Grant, with which an old token buys a session. token is a
// jwtauth.Token, and grant a jwtauth.Grant. Package jwtauth sets TradeIn.
var TradeIn func(token, grant any) (traded any, err error)
