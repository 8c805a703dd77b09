// Package bound holds the durations and sizes that several packages agree on, and
// the validators that go with them.
package bound

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

const (
	// Skew is how far apart the clocks of two nodes may be.
	Skew = time.Minute
	// Leeway is the largest leeway of a verifier.
	Leeway = 5 * time.Minute
	// EndMargin is how long after the end of a token its key and its revocation are
	// kept: some verifier may accept the token until then.
	EndMargin = Leeway + Skew
	// Duration is the longest duration that an option may have, so that a sum of
	// several durations and a date cannot overflow.
	Duration = 10 * 365 * 24 * time.Hour
	// Name is the length of the longest issuer, audience or subject, in bytes.
	Name = 1024

	// AccessTTL and IdleTTL are the default lifetimes of access and refresh tokens.
	AccessTTL = 15 * time.Minute
	IdleTTL   = 7 * 24 * time.Hour
	// StoreTimeout is the default time-out of one call to a store.
	StoreTimeout = 2 * time.Second
	// KeySetAge is how long verifiers may keep a JWK Set, by default.
	KeySetAge = 5 * time.Minute
)

// OrDefault resolves a duration option: zero means the default, and a negative
// value means none, which is zero from here on.
func OrDefault(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return max(d, 0)
}

// CheckIssuer checks the name of an issuer.
func CheckIssuer(name string) error {
	const what = "Issuer" // the name of the option
	if name == "" {
		return fmt.Errorf("%s is missing: the iss claim, e.g. https://api.example.com", what)
	}
	if strings.Contains(name, "#") {
		return fmt.Errorf("%s %s has a fragment, which the name of an issuer cannot have (RFC 8414, section 2)", what, errtext.Quote(name))
	}
	return CheckName(what, name)
}

// CheckName checks an issuer or an audience. what is the word for it in the error.
func CheckName(what, name string) error {
	if name == "" || len(name) > Name || !utf8.ValidString(name) {
		return fmt.Errorf("%s %s: 1 to %d bytes of UTF-8 are expected", what, errtext.Quote(name), Name)
	}
	if strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fmt.Errorf("%s %s has a control character, or a blank at an end", what, errtext.Quote(name))
	}
	return nil
}
