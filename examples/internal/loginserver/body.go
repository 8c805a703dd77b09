package loginserver

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

// maxBody is the greatest length of a body, in bytes.
const maxBody = 64 << 10

// readFields reads the body of a request into the fields, by their names. The body must
// be one JSON object in UTF-8. Its members must have the names of fields, in exactly this
// spelling, each at most once, and strings as values. For any other body, readFields answers
// the request with an error and returns false. The caller must check that the fields it
// needs are not empty.
func readFields(w http.ResponseWriter, r *http.Request, fields map[string]*string) bool {
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
	if err != nil || !utf8.Valid(body) || !decodeFields(body, fields) {
		refuse(w, http.StatusBadRequest, "invalid_request", "one JSON object with the fields of this request, each once, is expected")
		return false
	}
	return true
}

// decodeFields reads the body member by member. json.Unmarshal would accept two members with
// one name, and names in any case. A proxy might read such a body in another way.
func decodeFields(body []byte, fields map[string]*string) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return false
	}
	isRead := make(map[*string]bool)
	for decoder.More() {
		name, err := decoder.Token()
		text, _ := name.(string)
		field := fields[text]
		if err != nil || field == nil || isRead[field] || decoder.Decode(field) != nil {
			return false
		}
		isRead[field] = true
	}
	if end, err := decoder.Token(); err != nil || end != json.Delim('}') {
		return false
	}
	_, err := decoder.Token()
	return err == io.EOF
}

// refuse answers with an error in the form of RFC 6749, section 5.2. For errors of the
// library, the handlers use jwtauth.WriteError instead.
func refuse(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
}
