// Package wire writes the JSON answers of this module.
package wire

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The answer to a question that could not be answered.
const (
	CodeUnavailable        = "temporarily_unavailable" // RFC 6749
	DescriptionUnavailable = "the request could not be authenticated just now; try again"
	NextUnavailable        = "retry"
	RetryAfterUnavailable  = time.Second
)

// Error is the body of an error answer (RFC 6749, section 5.2). Next is what the client can
// do.
type Error struct {
	Code        string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
	Next        string `json:"next,omitempty"`
}

// problem is the body of an error answer for a client that asks for problem details
// (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"error,omitempty"`
	Next   string `json:"next,omitempty"`
}

// WriteJSON writes an answer that nobody may store.
func WriteJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749, section 5.1
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}

// WriteError writes an error answer, with Retry-After if retryAfter is positive. r may
// be nil.
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

// WriteUnavailable writes 503 with Retry-After.
func WriteUnavailable(w http.ResponseWriter, r *http.Request) {
	WriteError(w, r, http.StatusServiceUnavailable, Error{CodeUnavailable, DescriptionUnavailable, NextUnavailable}, RetryAfterUnavailable)
}

// wantsProblem reports whether Accept names the media type of RFC 9457.
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
