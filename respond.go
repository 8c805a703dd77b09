package jwtauth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// TokenResponse is the response to a login or a refresh (RFC 6749, section 5.1). Its JSON
// encoding holds the tokens; write it with [WriteTokens]. The fmt and slog packages print
// it without the tokens, unless it is in an unexported field of the printed value.
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // always Bearer
	ExpiresIn    int    `json:"expires_in"` // the lifetime of the access token, in seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	// RefreshTimeout is the time until the session ends unless it is refreshed, and
	// SessionExpiresIn the time until it ends in any case, both in seconds
	// (draft-ietf-oauth-refresh-token-expiration). They are zero if there is no refresh token.
	RefreshTimeout   int `json:"refresh_token_timeout,omitempty"`
	SessionExpiresIn int `json:"authorization_expires_in,omitempty"`

	SessionID string    `json:"-"`
	ExpiresAt time.Time `json:"-"` // the exp of the access token
	IdleEnd   time.Time `json:"-"` // when the session ends unless it is refreshed: the exp of the refresh token; zero if there is none
	EndsAt    time.Time `json:"-"` // when the session ends in any case; zero if there is no refresh token
}

func (t TokenResponse) String() string {
	return fmt.Sprintf("TokenResponse(sid %s, expires %s)", errtext.Quote(t.SessionID), errtext.Time(t.ExpiresAt))
}

// Format prints the session and the end of the access token, for every verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns the session and the end of the access token.
func (t TokenResponse) LogValue() slog.Value { return slog.StringValue(t.String()) }

// WriteTokens writes tokens as JSON, with the header Cache-Control: no-store (RFC 6749,
// section 5.1).
func WriteTokens(w http.ResponseWriter, t TokenResponse) {
	if t.AccessToken == "" {
		WriteError(w, nil, errors.New("jwtauth: WriteTokens without tokens"))
		return
	}
	wire.WriteJSON(w, http.StatusOK, "application/json", t)
}

// WriteError writes the response to an error of this package, such as one of an [Issuer]
// or a [Middleware]. The client gets only fixed texts; the reason is for the log.
//
// The response has the Status of the [Error], a challenge (RFC 6750, section 3) if that
// Status or the Code calls for one, and Retry-After if it is set. The JSON body has
// error, error_description (RFC 6749, section 5.2) and next. If the Accept header names
// application/problem+json, the body is problem details (RFC 9457) with error and next.
//
// An *Error that the program has made, such as a 401 for a wrong password, is written
// with its own Status, Code, Description and Next. An error that matches neither
// ErrRefused nor ErrUnavailable is a 500.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = errors.New("jwtauth: WriteError without an error")
	}
	e := asError(err)
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	if challenge := challengeOf(e, status); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	wire.WriteError(w, r, status, wire.Error{Code: e.Code, Description: e.Description, Next: e.Next}, e.RetryAfter)
}

// challengeOf returns the value of the WWW-Authenticate header. It is "" unless the status is
// 401 or the code is invalid_request or insufficient_scope (RFC 6750, section 3.1). A parameter
// that is not quotable is left out. Only an *Error that the program made can have such a
// parameter.
func challengeOf(e *Error, status int) string {
	switch {
	case status == http.StatusUnauthorized, e.Code == codeInvalidRequest, e.Code == codeScope:
	default:
		return ""
	}
	parameters := make([]string, 0, 6)
	for _, p := range []struct{ name, value string }{
		{"realm", e.challenge.realm},
		{"error", e.Code},
		{"error_description", e.Description},
		{"scope", e.challenge.scope},
		{"max_age", e.challenge.maxAge},
		{"resource_metadata", e.challenge.resourceMetadata},
	} {
		if p.value != "" && isQuotable(p.value) && (e.Code != "" || p.name != "error_description") {
			parameters = append(parameters, p.name+`="`+p.value+`"`)
		}
	}
	return strings.TrimSuffix("Bearer "+strings.Join(parameters, ", "), " ")
}

// isQuotable reports whether a text is printable ASCII without quotation marks and
// backslashes, so that it can be a quoted parameter of a header.
func isQuotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}
