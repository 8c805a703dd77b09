// Package wellknown knows the addresses at which issuers and APIs publish metadata.
package wellknown

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Paths returns the paths at which verifiers look for the metadata of an issuer:
// with the path of its name in front (OpenID Connect Discovery 1.0), and inserted
// (RFC 8414, section 3).
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

// CheckPublic accepts https URLs, http URLs of loopback addresses (for
// development), and "".
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
