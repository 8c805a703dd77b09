package jwtauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WriteError answers a request with what an error of this package means: the
// status, the challenge of RFC 6750, section 3, where one belongs to it,
// Retry-After, and a JSON body with error and error_description (RFC 6749,
// section 5.2), or problem details (RFC 9457) where Accept asks for them. It
// serves the errors of Issue, Refresh and Logout as well as those of a
// Middleware. The client gets fixed texts alone; the reason is for the log. An
// error of another kind is a 500.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = errors.New("jwtauth: WriteError without an error")
	}
	e := asError(err)
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	h := w.Header()
	if challenge := e.header(status); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if wantsProblem(r) {
		writeJSON(w, status, "application/problem+json", problem{"about:blank", http.StatusText(status), status, e.Description, e.Code})
		return
	}
	writeJSON(w, status, "application/json", oauthError{e.Code, e.Description})
}

type oauthError struct {
	Code        string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
}

type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"error,omitempty"`
}

// WriteTokens answers a request with tokens (RFC 6749, section 5.1), not to be
// stored by anyone on the way.
func WriteTokens(w http.ResponseWriter, t TokenResponse) {
	if t.AccessToken == "" {
		WriteError(w, nil, errors.New("jwtauth: WriteTokens without tokens"))
		return
	}
	writeJSON(w, http.StatusOK, "application/json", t)
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749, section 5.1
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone, there is nobody to tell
}

// header is the WWW-Authenticate header: with 401, and with the other statuses
// that RFC 6750, section 3.1, gives one of its codes. A text that cannot stand
// between quotes as it is, which only a policy's own *Error can bring, is left
// out.
func (e *Error) header(status int) string {
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

// isQuotable says whether a text can stand between the quotes of a header
// parameter as it is.
func isQuotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// wantsProblem says whether Accept names the media type of RFC 9457.
func wantsProblem(r *http.Request) bool {
	if r == nil {
		return false
	}
	for accepted := range protocols(r.Header["Accept"]) {
		mediaType, _, _ := strings.Cut(accepted, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/problem+json") {
			return true
		}
	}
	return false
}
