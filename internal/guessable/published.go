package guessable

import (
	"bytes"
	_ "embed"
	"strings"
	"sync"
)

//go:embed published.txt
var publishedText string

// published returns the secrets from public documents, in lower case: each secret as the
// document has it, and decoded from hexadecimal and base64.
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

// isPublished reports whether secret, or secret decoded from hexadecimal or base64, contains
// a published secret. It ignores case.
func isPublished(secret []byte) bool {
	// The program may write the same bytes in another encoding than the document.
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
