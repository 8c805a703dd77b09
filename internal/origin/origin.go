// Package origin checks that a request with a cookie was made by a page of the own site. It
// adds two rules to [http.CrossOriginProtection]: one for WebSockets, and one for a header
// that only scripts can set.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// Header is a header that a form cannot set. If a script of another origin sets it, the
// browser first asks the server with a CORS preflight. Its value has no meaning.
const Header = "X-Requested-With"

// Check is the cross-origin check. It is immutable and safe for concurrent use.
type Check struct{ protection *http.CrossOriginProtection }

// New makes a Check. Pages of the trusted origins, such as https://app.example.com, may make
// the same requests as pages of the own origin.
func New(trusted []string) (*Check, error) {
	c := &Check{http.NewCrossOriginProtection()}
	for _, origin := range trusted {
		if strings.Contains(origin, "*") {
			return nil, fmt.Errorf("%s is no origin: there are no wildcards, since anybody may own a host that matches", errtext.Quote(origin))
		}
		if err := c.protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("%w: scheme://host is expected, with the port if it is not the default, e.g. https://app.example.com", err)
		}
	}
	return c, nil
}

// Request returns an error if a page of another origin has made the request, and the method
// may change something. For a WebSocket handshake, the header Origin must name the own host
// or a trusted origin, although its method is GET: a browser lets every page open a WebSocket
// to every host.
func (c *Check) Request(r *http.Request) error {
	if isWebSocket(r) {
		if len(r.Header["Origin"]) != 1 || r.Header.Get("Origin") == "" {
			return errors.New("a WebSocket handshake needs one Origin header")
		}
		r = &http.Request{Method: http.MethodPost, Host: r.Host, Header: http.Header{"Origin": r.Header["Origin"]}}
	}
	return c.protection.Check(r)
}

// Script is Request, and also requires Header. Without Header, the request may come from an
// old browser that sends neither Origin nor Sec-Fetch-Site.
func (c *Check) Script(r *http.Request) error {
	if r.Header.Get(Header) == "" {
		return errors.New("the header " + Header + " is missing")
	}
	return c.Request(r)
}

// Form is Request for the form of a page, which cannot set Header. The browser must say in
// Sec-Fetch-Site that a page of the own origin has sent the form, unless Header is set.
func (c *Check) Form(r *http.Request) error {
	if r.Header.Get(Header) == "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return errors.New("neither is Sec-Fetch-Site same-origin, nor is the header " + Header + " set")
	}
	return c.Request(r)
}

// isWebSocket reports whether a request is a WebSocket handshake: an Upgrade of HTTP/1.1 (RFC
// 6455), or an extended CONNECT of HTTP/2 and HTTP/3 (RFC 8441).
func isWebSocket(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return true
	}
	for protocol := range wire.Elements(r.Header["Upgrade"]) {
		if strings.EqualFold(protocol, "websocket") {
			return true
		}
	}
	return false
}
