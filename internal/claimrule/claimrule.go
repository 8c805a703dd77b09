// Package claimrule holds the rules about claims that package provider gives to a verifier.
// They depend on nothing but the claims, so a cached token does not ask them again.
package claimrule

import (
	"slices"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// Rule is what the claims of a token must fulfil. It is immutable.
type Rule struct {
	Claims   []string // the names of the claims that Holds needs
	Expected string   // what a token needs, for the log
	// Holds reports whether a token fulfils the rule. values has one value for each of Claims:
	// "" if the claim is absent or null.
	Holds func(values []strictjson.Value) bool
}

// NewVerifier makes a verifier (a *jwtauth.Verifier) like jwtauth.NewVerifier, whose options
// (a jwtauth.VerifierOptions) it takes. The verifier asks the rules after its other checks of
// claims. Package jwtauth sets NewVerifier.
var NewVerifier func(keys jwk.Set, options any, rules []Rule) (verifier any, err error)

// Check returns the first rule that the claims, a JSON object, do not fulfil, and its values
// for the log. It returns nil if there is none. claims has been read before without an error.
func Check(rules []Rule, claims string) (broken *Rule, got string) {
	for i := range rules {
		r := &rules[i]
		values := make([]strictjson.Value, len(r.Claims))
		err := strictjson.Claims(claims, true, func(name string, v strictjson.Value, _ int) error {
			if i := slices.Index(r.Claims, name); i >= 0 && v != "null" {
				values[i] = v
			}
			return nil
		})
		if err == nil && r.Holds(values) {
			continue
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = string(v)
		}
		return r, errtext.QuoteList(texts)
	}
	return nil, ""
}
