// Package wire writes JSON responses: tokens, and errors in the formats of OAuth and of
// problem details.
package wire

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The members and the Retry-After of the error response that WriteUnavailable writes.
const (
	CodeUnavailable        = "temporarily_unavailable" // RFC 6749
	DescriptionUnavailable = "the request could not be authenticated just now; try again"
	NextUnavailable        = "retry"
	RetryAfterUnavailable  = time.Second
)

// Error is the body of an error response (RFC 6749, section 5.2). Next tells the client what
// it can do, for example "retry" or "login".
type Error struct {
	Code        string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
	Next        string `json:"next,omitempty"`
}

// problem is the body of an error response for a client that asks for problem details
// (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"error,omitempty"`
	Next   string `json:"next,omitempty"`
}

// WriteJSON writes a response that must not be cached.
func WriteJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749, section 5.1
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the connection is broken
}

// WriteError writes an error response, with Retry-After if retryAfter is positive. It writes
// problem details if r accepts them. r may be nil.
func WriteError(w http.ResponseWriter, r *http.Request, status int, e Error, retryAfter time.Duration) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
	}
	if wantsProblem(r) {
		WriteJSON(w, status, "application/problem+json", problem{"about:blank", http.StatusText(status), status, e.Description, e.Code, e.Next})
		return
	}
	WriteJSON(w, status, "application/json", e)
}

// WriteUnavailable writes the error response 503 with Retry-After.
func WriteUnavailable(w http.ResponseWriter, r *http.Request) {
	WriteError(w, r, http.StatusServiceUnavailable, Error{CodeUnavailable, DescriptionUnavailable, NextUnavailable}, RetryAfterUnavailable)
}

// wantsProblem reports whether the header Accept has the media type of problem details.
func wantsProblem(r *http.Request) bool {
	if r == nil {
		return false
	}
	for accepted := range Elements(r.Header["Accept"]) {
		mediaType, _, _ := strings.Cut(accepted, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/problem+json") {
			return true
		}
	}
	return false
}

// Elements yields the elements of a list header (RFC 9110, section 5.6.1).
func Elements(values []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, value := range values {
			for element := range strings.SplitSeq(value, ",") {
				if element = strings.Trim(element, " \t"); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}
