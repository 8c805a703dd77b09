package provider

import (
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// rule returns a rule about one claim. v is "" if the claim is absent or null.
func rule(claim, expected string, holds func(v strictjson.Value) bool) claimrule.Rule {
	return claimrule.Rule{
		Claims: []string{claim}, Expected: claim + " " + expected,
		Holds: func(values []strictjson.Value) bool { return holds(values[0]) },
	}
}

// isOneOf demands that a claim is a string and one of values.
func isOneOf(claim string, values ...string) claimrule.Rule {
	return firstIsOneOf([]string{claim}, values...)
}

// firstIsOneOf demands that the first claim that is there is a string and one of values.
func firstIsOneOf(claims []string, values ...string) claimrule.Rule {
	values = slices.Clone(values)
	return claimrule.Rule{
		Claims: claims, Expected: strings.Join(claims, " or ") + " " + errtext.QuoteList(values),
		Holds: func(found []strictjson.Value) bool {
			for _, v := range found {
				if v != "" {
					s, ok := v.Str()
					return ok && s != "" && slices.Contains(values, s)
				}
			}
			return false
		},
	}
}

// isNotOneOf refuses some values of a claim, which may be absent.
func isNotOneOf(claim string, values ...string) claimrule.Rule {
	return rule(claim, "not "+errtext.QuoteList(values), func(v strictjson.Value) bool {
		s, _ := v.Str()
		return !slices.Contains(values, s)
	})
}

// isPresent demands that a claim is there, and has more than brackets, quotation marks and white space.
func isPresent(claim string) claimrule.Rule {
	return rule(claim, "present", func(v strictjson.Value) bool { return strings.Trim(string(v), "[]{}\" \t\r\n") != "" })
}

// isAbsent demands that a claim is not there.
func isAbsent(claim string) claimrule.Rule {
	return rule(claim, "absent", func(v strictjson.Value) bool { return v == "" })
}

// isTrue demands that a claim is true. Some providers write the string "true".
func isTrue(claim string) claimrule.Rule {
	return rule(claim, "true", func(v strictjson.Value) bool { return v == "true" || v == `"true"` })
}

// isNotTrue demands that a claim is false, or not there.
func isNotTrue(claim string) claimrule.Rule {
	return rule(claim, "not true", func(v strictjson.Value) bool { return v == "" || v == "false" || v == `"false"` })
}

// containsOneOf demands that a claim is an array of strings that has one of values.
func containsOneOf(claim string, values ...string) claimrule.Rule {
	values = slices.Clone(values)
	return rule(claim, "with one of "+errtext.QuoteList(values), func(v strictjson.Value) bool {
		found := false
		ok := v.EachString(func(s string) bool {
			found = found || slices.Contains(values, s)
			return true
		})
		return ok && found
	})
}

// loginIsPast demands auth_time and iat, and that auth_time is at most bound.Skew later than iat.
// The verifier has checked that iat is not in the future.
func loginIsPast() claimrule.Rule {
	return claimrule.Rule{
		Claims: []string{"auth_time", "iat"}, Expected: "auth_time in the past",
		Holds: func(values []strictjson.Value) bool {
			login, hasLogin := values[0].Date()
			issued, hasIssued := values[1].Date()
			return hasLogin && hasIssued && login.Sub(issued) <= bound.Skew
		},
	}
}

// isPolicyOf demands that tfp, or acr if tfp is absent, is a policy of Azure AD B2C. Case is
// ignored.
func isPolicyOf(policy string) claimrule.Rule {
	return claimrule.Rule{
		Claims: []string{"tfp", "acr"}, Expected: "tfp or acr " + errtext.Quote(policy),
		Holds: func(values []strictjson.Value) bool {
			v := values[0]
			if v == "" {
				v = values[1]
			}
			s, ok := v.Str()
			return ok && strings.EqualFold(s, policy)
		},
	}
}

// isAbsentOr demands that a claim is absent, or that its JSON text is value.
func isAbsentOr(claim, value string) claimrule.Rule {
	return rule(claim, value+" or absent", func(v strictjson.Value) bool { return v == "" || string(v) == value })
}

// isMachineOfAuth0 demands that the token is one of a machine. gty is absent in the profile of RFC 9068.
func isMachineOfAuth0() claimrule.Rule {
	return claimrule.Rule{
		Claims: []string{"gty", "sub", "azp", "client_id"}, Expected: `gty "client-credentials" and sub CLIENT@clients`,
		Holds: func(values []strictjson.Value) bool {
			grant, _ := values[0].Str()
			subject, _ := values[1].Str()
			client, ok := values[2].Str()
			if values[2] == "" {
				client, ok = values[3].Str()
			}
			return (values[0] == "" || grant == "client-credentials") && ok && client != "" && subject == client+"@clients"
		},
	}
}
