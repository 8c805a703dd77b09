package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxBody is the length of the longest body that is read, in bytes.
const maxBody = 64 << 10

// readJSON reads the body of a request: one JSON object in UTF-8, without fields
// that into has not. Where it is something else, readJSON answers the request
// and returns false. Which fields must be there, the caller checks; null is an
// object without any.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, ok := parameters["charset"]; err != nil || mediaType != "application/json" || ok && !strings.EqualFold(charset, "utf-8") {
		refuse(w, http.StatusUnsupportedMediaType, "invalid_request", "Content-Type: application/json is expected")
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		refuse(w, http.StatusRequestEntityTooLarge, "invalid_request", "a body of at most 64 KiB is expected")
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	ok := err == nil && utf8.Valid(body) && decoder.Decode(into) == nil
	if ok {
		_, err = decoder.Token()
		ok = err == io.EOF
	}
	if !ok {
		refuse(w, http.StatusBadRequest, "invalid_request", "one JSON object with the fields of this request is expected")
	}
	return ok
}

// refuse answers with an error in the form of RFC 6749, section 5.2. It is for
// the errors that are not the library's; those go through jwtauth.WriteError.
func refuse(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone, there is nobody to tell
}
