// Package published serves public JSON documents, such as JWK Sets and metadata, over HTTP.
package published

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// Document is a handler that serves one JSON text with a strong ETag. Scripts of
// any origin may read the text. A Document is immutable.
type Document struct {
	mediaType string
	maxAge    time.Duration
	text      []byte
	etag      string
}

// New makes a document. Clients may cache it for maxAge.
func New(mediaType string, maxAge time.Duration, text []byte) *Document {
	sum := sha256.Sum256(text)
	return &Document{mediaType, maxAge, text, `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
}

// ServeHTTP answers GET and HEAD, and supports conditional requests: for example, it
// answers 304 if the ETag matches (RFC 9110, section 13). It ignores Range (RFC 9110,
// section 14.2): the parts of a small document, each with a header of its own, are larger
// than the whole.
func (d *Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", d.mediaType)
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(d.maxAge.Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", d.etag)
	if r.Header["Range"] != nil {
		r = r.WithContext(r.Context())
		r.Header = http.Header{"If-Match": r.Header["If-Match"], "If-None-Match": r.Header["If-None-Match"]}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.text))
}
