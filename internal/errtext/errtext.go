// Package errtext makes parts of error texts from values that may come from a
// stranger: escaped and of bounded length.
package errtext

import (
	"strconv"
	"strings"
	"time"
)

// maxQuoted bounds what an error repeats of a text, in bytes.
const maxQuoted = 64

// Quote returns s between quotation marks, escaped, and cut after 64 bytes.
func Quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}

// QuoteList returns the first four texts of a list, each as Quote returns it.
func QuoteList(list []string) string {
	const limit = 4
	var b strings.Builder
	for i, s := range list {
		if i == limit {
			b.WriteString(" …")
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(Quote(s))
	}
	return b.String()
}

// Time returns t in UTC, as RFC 3339 writes it.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxIssuer is the length of the longest name that an issuer may have, in bytes.
const maxIssuer = 1024

// IssuerDifference explains the difference between two issuer names that look alike, for
// the log. It returns "" if they do not, and for a name of a stranger that is longer than
// any configured one. It allocates nothing, since a stranger can make it run for each of
// many configured names.
func IssuerDifference(want, got string) string {
	if len(got) > maxIssuer {
		return ""
	}
	switch {
	case strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/"):
		return ", which differs by a slash at its end"
	case strings.EqualFold(want, got):
		return ", which differs by the case of letters"
	case locationOf(want) == locationOf(got):
		return ", which differs by its port, or by something other than host and path"
	}
	return ""
}

// location is the part of a URL that tells issuers apart.
type location struct{ scheme, host, path string }

// locationOf cuts a URL into its parts. Of a text that is not a URL, all is path.
func locationOf(name string) location {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok {
		return location{path: name}
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') { // those of an IPv6 address stand in brackets
		host = host[:colon]
	}
	return location{scheme, host, path}
}
