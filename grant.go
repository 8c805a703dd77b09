package jwtauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Grant is for whom tokens are issued, and what they allow. It prints as its
// subject and client alone, unless it stands in an unexported field of something
// that is printed.
type Grant struct {
	Subject   string    // sub: who; 1 to 1024 bytes
	Scopes    []string  // scope: what may be done (RFC 6749, section 3.3)
	Audiences []string  // aud: a part of the issuer's; nil: all of them
	ClientID  string    // client_id: by whom (RFC 9068)
	AuthTime  time.Time // auth_time: when the login began, read before the password is; zero: now
	ACR       string    // acr: how the user logged in (OpenID Connect)
	AMR       []string  // amr: by which methods (RFC 8176)
	Label     string    // what the user calls the session: "Firefox on Linux"; at most 256 bytes

	// Claims are further claims: a struct or map that encodes to a JSON object,
	// of at most 2 KiB where it goes into a session. They cannot have the names
	// of the claims that the issuer sets.
	Claims any
}

func (g Grant) String() string {
	return fmt.Sprintf("Grant(sub %s, client_id %s)", quoted(g.Subject), quoted(g.ClientID))
}

// Format prints the subject and the client, whatever the verb.
func (g Grant) Format(f fmt.State, _ rune) { io.WriteString(f, g.String()) }

// LogValue is the subject and the client.
func (g Grant) LogValue() slog.Value { return slog.StringValue(g.String()) }

// MarshalText is the subject and the client.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// settled is a grant that has been checked and completed, with its custom claims
// encoded: an object, or empty.
type settled struct {
	Grant
	claims string
}

// The bounds of a grant.
const (
	maxLabel         = 256
	maxSessionClaims = 2 << 10
)

// settle checks and completes s.Grant.
func (i *Issuer) settle(s *settled, at time.Time) (err error) {
	g := &s.Grant
	for _, text := range [...]struct {
		name, value string
		least, most int
	}{
		{"Subject", g.Subject, 1, maxName},
		{"ClientID", g.ClientID, 0, maxName},
		{"ACR", g.ACR, 0, maxName},
		{"Label", g.Label, 0, maxLabel},
	} {
		if n := len(text.value); n < text.least || n > text.most || !utf8.ValidString(text.value) {
			return fmt.Errorf("jwtauth: Grant.%s is %s: %d to %d bytes of UTF-8 are expected", text.name, quoted(text.value), text.least, text.most)
		}
	}
	for n, scope := range g.Scopes {
		if !isScope(scope) || slices.Contains(g.Scopes[:n], scope) {
			return fmt.Errorf("jwtauth: Grant.Scopes: %s stands there twice or is no scope (RFC 6749, section 3.3)", quoted(scope))
		}
	}
	for _, method := range g.AMR {
		if method == "" || !utf8.ValidString(method) {
			return fmt.Errorf("jwtauth: Grant.AMR: %s is no method", quoted(method))
		}
	}
	if g.Audiences != nil && len(g.Audiences) == 0 {
		return errors.New("jwtauth: Grant.Audiences is empty: nil means all of the issuer's, and a token is for at least one")
	}
	for n, audience := range g.Audiences {
		if !slices.Contains(i.o.Audiences, audience) || slices.Contains(g.Audiences[:n], audience) {
			return fmt.Errorf("jwtauth: Grant.Audiences: %s stands there twice or is not one of the issuer's", quoted(audience))
		}
	}
	if g.AuthTime.After(at.Add(maxSkew)) || !g.AuthTime.IsZero() && g.AuthTime.Unix() < 0 {
		return fmt.Errorf("jwtauth: Grant.AuthTime is %s, which lies ahead or before 1970", when(g.AuthTime))
	}
	if g.Audiences == nil {
		g.Audiences = i.o.Audiences
	}
	if g.AuthTime.IsZero() {
		g.AuthTime = at
	}
	s.claims, err = encodeClaims(g.Claims)
	return err
}

// isScope says whether a text is one scope (RFC 6749, section 3.3).
func isScope(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c == '"' || c == '\\' || c > '~' {
			return false
		}
	}
	return s != ""
}

// encodeClaims encodes custom claims, a struct or a map, as an object; none as
// "". A name that is reserved, in any case or spelling that encoding/json would
// take for it, is an error.
func encodeClaims(claims any) (object string, err error) {
	if claims == nil {
		return "", nil
	}
	var text string
	if raw, ok := claims.(json.RawMessage); ok { // encoded already, and written into the tokens before the caller has it back
		text = strings.TrimSpace(unsafe.String(unsafe.SliceData(raw), len(raw)))
	} else {
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(claims); err != nil {
			return "", fmt.Errorf("jwtauth: encoding the custom claims: %w", err)
		}
		text = strings.TrimSpace(buf.String())
	}
	if text == "" || text == "null" || text == "{}" {
		return "", nil
	}
	// A refresh token carries the object one level deeper than an access token.
	err = strictjson.ObjectAt(2, text, func(name string, _ strictjson.Value) error {
		if reserved[strictjson.Fold(name)] {
			return fmt.Errorf("%s is a name that the issuer itself sets", quoted(name))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("jwtauth: the custom claims: %w", err)
	}
	return text, nil
}

// reserved are the claims that custom claims cannot set, folded.
var reserved = map[string]bool{
	"iss": true, "aud": true, "exp": true, "iat": true, "nbf": true, "jti": true, "sub": true,
	"sid": true, "typ": true, "scope": true, "client_id": true, "auth_time": true, "acr": true, "amr": true,
	"cnf": true, "act": true, "may_act": true,
}
