// Package wellknown has the well-known URLs of issuer metadata, and checks for URLs that are
// published in metadata.
package wellknown

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Paths returns the paths of the two metadata documents of an issuer. openID is the path of
// the issuer, then the well-known path (OpenID Connect Discovery 1.0). oauth is the
// well-known path, then the path of the issuer (RFC 8414, section 3).
func Paths(issuer string) (openID, oauth string, err error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("the issuer %s is not a URL with a host and without query and fragment", errtext.Quote(issuer))
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	return path + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server" + path, nil
}

// IsLoopback reports whether a host is localhost or a loopback address.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// CheckPublic returns an error unless text is an https URL, an http URL of a loopback address
// (for development), or empty. name is the name of the value in the error.
func CheckPublic(name, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())) {
		return fmt.Errorf("%s is %s: an https URL is expected, without user and fragment", name, errtext.Quote(text))
	}
	return nil
}
