// Package errtext formats untrusted values for error texts. The results are escaped and have
// a bounded length.
package errtext

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxQuoted is the largest number of bytes of a text that an error repeats.
const maxQuoted = 64

// Quote returns s between quotation marks, escaped, and cut after 64 bytes.
func Quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}

// maxURL is the largest number of bytes of a URL that an error repeats. A person may have to
// copy the URL.
const maxURL = 200

// URL returns a URL between quotation marks, escaped, and cut after 200 bytes. It replaces the
// user, the password and the query by "…", since they may be secrets.
func URL(text string) string {
	before, after := 0, len(text) // the part of text that may have a user
	if u, err := url.Parse(text); err == nil && u.Opaque == "" {
		if _, rest, ok := strings.Cut(text, "//"); ok {
			before = len(text) - len(rest)
			if end := strings.IndexAny(rest, "/?#"); end >= 0 {
				after = before + end
			}
		}
	}
	if at := strings.LastIndexByte(text[before:after], '@'); at >= 0 {
		text = text[:before] + "…" + text[before+at:]
	}
	if end := strings.IndexAny(text, "?#"); end >= 0 {
		text = text[:end+1] + "…"
	}
	if len(text) > maxURL {
		return strconv.Quote(strings.ToValidUTF8(text[:maxURL], "")) + "…"
	}
	return strconv.Quote(text)
}

// QuoteList returns the first four texts of a list, each quoted by Quote.
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

// maxIssuer is the largest length of an issuer, in bytes. It equals bound.Name.
const maxIssuer = 1024

// IssuerDifference explains the difference between two issuers that look alike, for the log.
// It returns "" if they do not look alike, or if got is longer than any configured issuer can
// be. It allocates nothing: an attacker can cause a call for each configured issuer.
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

// location is the part of a URL that IssuerDifference compares.
type location struct{ scheme, host, path string }

// locationOf returns the location of a URL. If name is not a URL, path is the whole name.
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
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') { // colons before a bracket belong to an IPv6 address
		host = host[:colon]
	}
	return location{scheme, host, path}
}
