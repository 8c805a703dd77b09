// Package origin checks that a request with a cookie was made by a page of the own origin, or of a
// trusted one. It adds two rules to [http.CrossOriginProtection]: one for WebSockets, and one for a header
// that only scripts can set.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// Header is a header that a form cannot set. If a script of another origin sets it, the
// browser first asks the server with a CORS preflight. Its value has no meaning. No browser and
// no WebView sets it by itself.
const Header = "X-CSRF"

// Check is the cross-origin check. It is immutable and safe for concurrent use.
type Check struct {
	protection *http.CrossOriginProtection
	allowsHTTP bool
}

// New makes a Check. Pages of the trusted origins, such as https://app.example.com, may make
// the same requests as pages of the own origin. Unless allowsHTTP is set, origins with plain
// http are refused, except for those of this machine.
func New(trusted []string, allowsHTTP bool) (*Check, error) {
	c := &Check{http.NewCrossOriginProtection(), allowsHTTP}
	for _, origin := range trusted {
		if err := c.checkTrusted(origin); err != nil {
			return nil, err
		}
		if err := c.protection.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// checkTrusted returns an error if no browser sends the origin in this spelling, or if it is not
// safe.
func (c *Check) checkTrusted(origin string) error {
	u, err := url.Parse(origin)
	switch {
	case strings.Contains(origin, "*"):
		return fmt.Errorf("%s is no origin: there are no wildcards, since anybody may own a host that matches", errtext.Quote(origin))
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.ToLower(origin) != origin,
		u.Port() == "443" && u.Scheme == "https", u.Port() == "80" && u.Scheme == "http", strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%s is no origin as browsers send it: scheme://host in lower case is expected, with the port if it is not the default, e.g. https://app.example.com", errtext.Quote(origin))
	case !c.allowsScheme(u):
		return fmt.Errorf("%s is plain http: anybody on the network can be this origin; https is expected", errtext.Quote(origin))
	}
	return nil
}

func (c *Check) allowsScheme(u *url.URL) bool {
	return u.Scheme == "https" || c.allowsHTTP || wellknown.IsLoopback(u.Hostname())
}

// CheckRequest returns an error if a page of another origin has made the request, and the method
// may change something. A browser lets every page open a WebSocket to every host. CheckRequest
// therefore also checks WebSocket handshakes, whatever their method. A handshake needs exactly one
// Origin header, which names the own host or a trusted origin. Unless allowsHTTP is set or the host
// is this machine, its scheme must be https.
func (c *Check) CheckRequest(r *http.Request) error {
	if !isWebSocket(r) {
		return c.protection.Check(r)
	}
	origin, ok := onlyOrigin(r)
	u, err := url.Parse(origin)
	if !ok || err != nil || !c.allowsScheme(u) {
		return errors.New("a WebSocket handshake needs one Origin header, with https")
	}
	return c.protection.Check(&http.Request{Method: http.MethodPost, Host: r.Host, Header: http.Header{"Origin": {origin}}})
}

// onlyOrigin returns the Origin header, if there is exactly one that is not empty.
func onlyOrigin(r *http.Request) (origin string, ok bool) {
	values := r.Header["Origin"]
	if len(values) != 1 {
		return "", false
	}
	return values[0], values[0] != ""
}

// CheckScript checks like CheckRequest, and also requires Header. Without Header, the request may
// come from an old browser that sends neither Origin nor Sec-Fetch-Site.
func (c *Check) CheckScript(r *http.Request) error {
	if r.Header.Get(Header) == "" {
		return errors.New("the header " + Header + " is missing")
	}
	return c.CheckRequest(r)
}

// CheckForm checks a request that may come from an HTML form. A form cannot set Header. Unless
// Header is set, the browser must say where the form comes from, in Sec-Fetch-Site or in Origin.
func (c *Check) CheckForm(r *http.Request) error {
	if _, ok := onlyOrigin(r); !ok && r.Header.Get(Header) == "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return errors.New("neither Sec-Fetch-Site nor Origin says where the form comes from, and the header " + Header + " is missing")
	}
	return c.CheckRequest(r)
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
