package guessable

import (
	"bytes"
	_ "embed"
	"strings"
	"sync"
)

//go:embed published.txt
var publishedText string

// The secrets that stand in public documents, in lower case: as they are written, and
// what they say in hexadecimal or base64. Only what is as long as a secret for HMAC is
// looked for inside of another secret.
var published = sync.OnceValue(func() (list [][]byte) {
	for line := range strings.Lines(publishedText) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		list = append(list, bytes.ToLower([]byte(line)))
		for _, decoded := range decodings([]byte(line)) {
			list = append(list, bytes.ToLower(decoded))
		}
	}
	return list
})

// isPublished reports whether a published secret is secret, is a part of it, or is what
// it says in hexadecimal or base64.
func isPublished(secret []byte) bool {
	// A document may say the secret in one of these ways and mean the same bytes.
	for _, form := range append(decodings(secret), secret) {
		form = bytes.ToLower(form)
		for _, p := range published() {
			if bytes.Contains(form, p) {
				return true
			}
		}
	}
	return false
}
