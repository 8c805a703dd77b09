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

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/view"
)

// Grant says for whom tokens are issued and what they allow. The fmt and slog packages print only
// the subject and the client of a Grant. If the Grant is in an unexported field of the printed
// value, fmt and slog cannot call its methods. They then print all of it.
type Grant struct {
	Subject   string    // sub: the user. Required. 1 to 1024 bytes
	Scopes    []string  // scope: what may be done (RFC 6749, section 3.3)
	Audiences []string  // aud: some of the issuer's audiences; nil means all of them
	ClientID  string    // client_id: the client that gets the tokens (RFC 9068)
	AuthTime  time.Time // auth_time: when the login began. Default now. Read the clock for it before you check the password
	ACR       string    // acr: how the user logged in (OpenID Connect)
	AMR       []string  // amr: the methods of the login (RFC 8176)

	// IdleTTL is the time without a refresh after which this session ends, and SessionTTL the time
	// after the login at which it ends in any case. They are for a choice such as "keep me logged in".
	// Default: IdleTTL and SessionTTL of IssuerOptions. From 1s to MaxIdleTTL and MaxSessionTTL of
	// IssuerOptions.
	IdleTTL, SessionTTL time.Duration

	// Details are what people see of the session in a list, such as a name for the device, or
	// an address. They are in no token. RefreshRequest and Reload can replace them. At most
	// 1 KiB as JSON.
	Details map[string]string

	// Claims are further claims: a struct or map that encodes to a JSON object. In a
	// session they take at most 2 KiB. The names iss, aud, exp, iat, nbf, jti, sub, sid,
	// sid_epoch, typ, scope, client_id, auth_time, acr, amr, cnf, act and may_act are
	// reserved.
	Claims any

	old *tradedToken // the old token that buys the session; see migrate.TradeIn
}

func (g Grant) String() string {
	return fmt.Sprintf("Grant(sub %s, client_id %s)", errtext.Quote(g.Subject), errtext.Quote(g.ClientID))
}

// Format prints the subject and the client, for every verb.
func (g Grant) Format(f fmt.State, _ rune) { io.WriteString(f, g.String()) }

// LogValue returns the subject and the client.
func (g Grant) LogValue() slog.Value { return slog.StringValue(g.String()) }

// MarshalText returns the subject and the client.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// grantWithClaims is a Grant with its encoded Claims: a JSON object, or "" for none.
type grantWithClaims struct {
	Grant
	claims string
}

// maxSessionClaims is the largest size of the claims of a session, in bytes.
const maxSessionClaims = 2 << 10

// completeGrant checks target.Grant, fills in its defaults, and encodes its claims.
func completeGrant(target *grantWithClaims, issuerAudiences []string, at time.Time) (err error) {
	g := &target.Grant
	for _, text := range [...]struct {
		name, value string
		least, most int
	}{
		{"Subject", g.Subject, 1, bound.Name},
		{"ClientID", g.ClientID, 0, bound.Name},
		{"ACR", g.ACR, 0, bound.Name},
	} {
		if n := len(text.value); n < text.least || n > text.most || !utf8.ValidString(text.value) {
			return fmt.Errorf("jwtauth: Grant.%s is %s: %d to %d bytes of UTF-8 are expected", text.name, errtext.Quote(text.value), text.least, text.most)
		}
	}
	for n, scope := range g.Scopes {
		if !isScope(scope) || slices.Contains(g.Scopes[:n], scope) {
			return fmt.Errorf("jwtauth: Grant.Scopes: %s is there twice or is not a scope (RFC 6749, section 3.3)", errtext.Quote(scope))
		}
	}
	for _, method := range g.AMR {
		if method == "" || !utf8.ValidString(method) {
			return fmt.Errorf("jwtauth: Grant.AMR: %s is not a method", errtext.Quote(method))
		}
	}
	if g.Audiences != nil && len(g.Audiences) == 0 {
		return errors.New("jwtauth: Grant.Audiences is empty: nil means all of the issuer's, and a token is for at least one")
	}
	for n, audience := range g.Audiences {
		if !slices.Contains(issuerAudiences, audience) || slices.Contains(g.Audiences[:n], audience) {
			return fmt.Errorf("jwtauth: Grant.Audiences: %s is there twice or is not one of the issuer's", errtext.Quote(audience))
		}
	}
	if g.AuthTime.After(at.Add(bound.Skew)) || !g.AuthTime.IsZero() && g.AuthTime.Unix() < 0 {
		return fmt.Errorf("jwtauth: Grant.AuthTime is %s, which lies ahead or before 1970", errtext.Time(g.AuthTime))
	}
	if g.Audiences == nil {
		g.Audiences = issuerAudiences
	}
	if g.AuthTime.IsZero() {
		g.AuthTime = at
	}
	target.claims, err = encodeClaims(g.Claims)
	return err
}

// isScope reports whether a text is one scope (RFC 6749, section 3.3).
func isScope(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c == '"' || c == '\\' || c > '~' {
			return false
		}
	}
	return s != ""
}

// encodeClaims encodes custom claims, a struct or a map, as a JSON object; "" if there
// are none. A reserved name is an error, also if its letters have another case.
func encodeClaims(claims any) (object string, err error) {
	if claims == nil {
		return "", nil
	}
	text, err := encodeObject(claims)
	if err != nil {
		return "", fmt.Errorf("jwtauth: encoding the custom claims: %w", err)
	}
	if text == "" || text == "null" || text == "{}" {
		return "", nil
	}
	// A refresh token carries the object one level deeper than an access token.
	err = strictjson.ObjectAt(2, text, func(name string, _ strictjson.Value) error {
		if reserved[strictjson.Fold(name)] {
			return fmt.Errorf("%s is a reserved name, see Grant.Claims", errtext.Quote(name))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("jwtauth: the custom claims: %w", err)
	}
	return text, nil
}

// encodeObject encodes claims as JSON, without white space around it. The result may share the
// memory of a json.RawMessage.
func encodeObject(claims any) (string, error) {
	if raw, ok := claims.(json.RawMessage); ok { // raw is encoded already, and needs no copy: the tokens are written before the caller can change it
		return strings.TrimSpace(view.String(raw)), nil
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return "", err
	}
	return strings.TrimSpace(buf.String()), nil
}

// reserved has the names that custom claims cannot have, as strictjson.Fold returns them.
var reserved = map[string]bool{
	"iss": true, "aud": true, "exp": true, "iat": true, "nbf": true, "jti": true, "sub": true,
	"sid": true, "sid_epoch": true, "typ": true, "scope": true, "client_id": true, "auth_time": true, "acr": true, "amr": true,
	"cnf": true, "act": true, "may_act": true,
}
