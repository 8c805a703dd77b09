package endpoints

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// mediaType is the media type of a body.
type mediaType int

const (
	noBody mediaType = iota
	formBody
	jsonBody
)

// readBody reads the fields of a body: a form, or a JSON object whose members are strings,
// numbers or booleans. It also sets r.PostForm and r.Form to the fields. A request without a
// body has no fields. A field may appear only once, unless repeatable has its name. A query is
// refused, since URLs end up in logs. The error is an *Error with a 4xx status.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, repeatable ...string) (url.Values, mediaType, error) {
	if r.URL.RawQuery != "" {
		return nil, noBody, invalidRequest(http.StatusBadRequest, "parameters are expected in the body, not in the URL")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, noBody, invalidRequest(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	if err != nil {
		return nil, noBody, invalidRequest(http.StatusBadRequest, "the body could not be read")
	}
	fields, typ, err := parseBody(r.Header["Content-Type"], string(body))
	if err != nil {
		return nil, typ, err
	}
	for name, values := range fields {
		if len(values) > 1 && !slices.Contains(repeatable, name) {
			return nil, typ, invalidRequest(http.StatusBadRequest, "a parameter comes twice")
		}
	}
	r.PostForm, r.Form = fields, fields
	return fields, typ, nil
}

// parseBody parses a body by its Content-Type.
func parseBody(contentType []string, body string) (url.Values, mediaType, error) {
	const form = "application/x-www-form-urlencoded"
	if body == "" {
		// A form that has only a button has no body, but a browser sends its Content-Type.
		if len(contentType) == 1 && contentType[0] == form {
			return url.Values{}, formBody, nil
		}
		return url.Values{}, noBody, nil
	}
	if len(contentType) != 1 {
		return nil, noBody, errMediaType
	}
	name, parameters, err := mime.ParseMediaType(contentType[0])
	if charset, ok := parameters["charset"]; err != nil || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, noBody, errMediaType
	}
	switch name {
	case form:
		fields, err := url.ParseQuery(body)
		if err != nil || !isText(fields) {
			return nil, formBody, invalidRequest(http.StatusBadRequest, "the form in the body is malformed")
		}
		return fields, formBody, nil
	case "application/json":
		fields := url.Values{}
		err := strictjson.Object(body, func(name string, v strictjson.Value) error {
			text, ok := scalar(v)
			if !ok {
				return errNotScalar
			}
			fields.Add(name, text)
			return nil
		})
		if err != nil {
			return nil, jsonBody, invalidRequest(http.StatusBadRequest, "one JSON object with strings, numbers and booleans is expected, each name once")
		}
		return fields, jsonBody, nil
	}
	return nil, noBody, errMediaType
}

var (
	errMediaType = invalidRequest(http.StatusUnsupportedMediaType, "Content-Type: application/json or application/x-www-form-urlencoded is expected")
	errNotScalar = errors.New("an array, an object or null")
)

// scalar returns a JSON string, or the text of a number or boolean.
func scalar(v strictjson.Value) (text string, ok bool) {
	if text, ok = v.Str(); ok {
		return text, true
	}
	switch v[0] {
	case '{', '[', 'n':
		return "", false
	}
	return string(v), true
}

// isText reports whether all names and values are UTF-8.
func isText(fields url.Values) bool {
	for name, values := range fields {
		if !utf8.ValidString(name) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
			return false
		}
	}
	return true
}

// invalidRequest returns the refusal of a request that is not well formed (RFC 6749, section
// 5.2).
func invalidRequest(status int, description string) *jwtauth.Error {
	return &jwtauth.Error{Status: status, Code: "invalid_request", Description: description, Check: "request"}
}
