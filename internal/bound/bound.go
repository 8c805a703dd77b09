// Package bound has the limits and defaults that several packages share, and functions that
// check values against them.
package bound

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

const (
	// Skew is the largest allowed difference between the clocks of two nodes.
	Skew = time.Minute
	// Leeway is the largest value of the option Leeway of a verifier.
	Leeway = 5 * time.Minute
	// EndMargin is how long the key and the revocation of a token are kept after the token
	// has expired. During this time, a verifier with a leeway may still accept the token.
	EndMargin = Leeway + Skew
	// Duration is the longest duration of an option. It is so short that the sum of a date
	// and several durations cannot overflow.
	Duration = 10 * 365 * 24 * time.Hour
	// Name is the largest length of an issuer, audience or subject, in bytes.
	Name = 1024

	// AccessTTL and IdleTTL are the default lifetimes of access and refresh tokens.
	AccessTTL = 15 * time.Minute
	IdleTTL   = 7 * 24 * time.Hour
	// MaxDetails is the largest length of the Details of a session as JSON, in bytes.
	MaxDetails = 1 << 10
	// StoreTimeout is the default time-out of one call to a store.
	StoreTimeout = 2 * time.Second
	// KeySetAge is how long verifiers may keep a JWK Set, by default.
	KeySetAge = 5 * time.Minute
)

// EncodeDetails returns the Details of a session as JSON.
func EncodeDetails(details map[string]string) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // which would make six bytes of one
	err := encoder.Encode(details)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// OrDefault returns the effective value of a duration option. If d is zero, it returns
// byDefault. If d is negative, it returns zero, which means none.
func OrDefault(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return max(d, 0)
}

// CheckIssuer returns an error if name is not allowed as the name of an issuer.
func CheckIssuer(name string) error {
	const what = "Issuer" // the name of the option
	if name == "" {
		return fmt.Errorf("%s is missing; it is the value of the iss claim, e.g. https://api.example.com", what)
	}
	if strings.Contains(name, "#") {
		return fmt.Errorf("%s %s has a fragment, which the name of an issuer cannot have (RFC 8414, section 2)", what, errtext.Quote(name))
	}
	return CheckName(what, name)
}

// CheckName returns an error if name is not allowed as an issuer or an audience. The error
// names the option as what.
func CheckName(what, name string) error {
	if name == "" || len(name) > Name || !utf8.ValidString(name) {
		return fmt.Errorf("%s %s: 1 to %d bytes of UTF-8 are expected", what, errtext.Quote(name), Name)
	}
	if strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fmt.Errorf("%s %s has a control character, or begins or ends with white space", what, errtext.Quote(name))
	}
	return nil
}
