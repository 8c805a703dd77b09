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

// TokenResponse is the answer to a login or a refresh (RFC 6749, section 5.1). Its JSON
// is that answer and holds the tokens; write it with [WriteTokens]. It prints without
// the tokens, unless it is in an unexported field of the value that is printed.
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // Bearer
	ExpiresIn    int    `json:"expires_in"` // of the access token, in seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`

	SessionID        string    `json:"-"`
	ExpiresAt        time.Time `json:"-"` // of the access token
	RefreshExpiresAt time.Time `json:"-"`
}

func (t TokenResponse) String() string {
	return fmt.Sprintf("TokenResponse(sid %s, expires %s)", errtext.Quote(t.SessionID), errtext.Time(t.ExpiresAt))
}

// Format prints the session and the end of the access token, for every verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns the session and the end of the access token.
func (t TokenResponse) LogValue() slog.Value { return slog.StringValue(t.String()) }

// WriteTokens writes tokens as JSON that nobody may store (RFC 6749, section 5.1).
func WriteTokens(w http.ResponseWriter, t TokenResponse) {
	if t.AccessToken == "" {
		WriteError(w, nil, errors.New("jwtauth: WriteTokens without tokens"))
		return
	}
	wire.WriteJSON(w, http.StatusOK, "application/json", t)
}

// WriteError writes the answer to an error of this package: of Issue, Refresh, Logout
// and the like, or of a Middleware. The answer has the status, the challenge of
// RFC 6750, section 3, if the status has one, Retry-After, and a JSON body with error,
// error_description (RFC 6749, section 5.2) and next ([Error].Next), or problem details
// (RFC 9457) with error and next if Accept names them. The client gets only fixed texts; the reason is for the log. An
// *[Error] that the program has made is answered with its own Status, Code, Description and
// Next, such as a wrong password with 401. Any other error is a 500.
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

// challengeOf returns the WWW-Authenticate header: with 401, and with the other
// statuses for which RFC 6750, section 3.1, has a code. It leaves out a text that cannot
// stand between quotation marks, which only an *Error of the program can have.
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

// isQuotable reports whether a text can stand between the quotation marks of a header
// parameter as it is.
func isQuotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}
