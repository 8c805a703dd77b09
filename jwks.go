package jwtauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// encodeKeySet writes the JWK Set of the public keys, and its strong ETag. HMAC
// keys never appear.
func encodeKeySet(keys []*VerificationKey) (set []byte, etag string, err error) {
	set = []byte(`{"keys":[`)
	for _, k := range keys {
		if k.public == nil {
			continue
		}
		key, err := k.JWK()
		if err != nil {
			return nil, "", err
		}
		if set[len(set)-1] == '}' {
			set = append(set, ',')
		}
		set = append(set, key...)
	}
	set = append(set, "]}"...)
	sum := sha256.Sum256(set)
	return set, `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, nil
}

// keySetMaxAge is how long a verifier may keep the JWK Set.
const keySetMaxAge = 5 * time.Minute

// ServeHTTP answers GET and HEAD with the ring's JWK Set (RFC 7517, section 5):
// its public keys alone. Verifiers may keep it for 5 minutes (max-age) and ask
// again with If-None-Match.
func (r *KeyRing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	state, err := r.load()
	if err != nil {
		WriteError(w, req, noAnswer("keys", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(keySetMaxAge.Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", state.etag)
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(state.jwks))
}
