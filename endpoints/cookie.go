package endpoints

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Cookie configures a cookie. The zero value has the safe defaults: a name that begins with
// __Host-Http-, Secure, HttpOnly and Path=/, without Domain. No other host can then set the
// cookie, and no script can read it.
//
// Each login has a cookie of its own: "-" and a random tag are appended to Name. One more cookie
// is named exactly RefreshCookie.Name. Its value is the tag of the current login. Only a login sets
// it. So if another user logs in while a refresh or a logout is under way, the answer of the refresh
// or logout cannot replace the new login, however late it arrives.
type Cookie struct {
	// Name is the name. Default __Host-Http-refresh for the refresh token, and
	// __Host-Http-access for the access token. It must begin with __Host-, unless InsecureHTTP is
	// set. A browser sends the cookies of a host to all its ports, so two programs on one host
	// need two names.
	Name string
	// Partitioned is for a page in a frame of another site (CHIPS): the cookie has SameSite=None
	// and Partitioned. If you change Partitioned, change Name, too: the browser would keep the old
	// cookie beside the new one. Without Partitioned, the cookie of the refresh token has
	// SameSite=Strict, and that of the access token Lax.
	Partitioned bool
	// InsecureHTTP is for plain http on another host than localhost: the cookie is not Secure, and
	// Name does not begin with __Host-. The default names are then refresh and access. Anybody on
	// the network can read the cookie, and other hosts of the site can replace it.
	InsecureHTTP bool
}

// maxCookie is the largest length of the name and the value of a cookie together, in bytes.
// Browsers drop a larger cookie, say nothing, and keep the old one.
const maxCookie = 4096

// cookieKind describes the cookies of one kind of token: refresh or access. The browser has one such
// cookie for each login.
type cookieKind struct {
	name     string
	template http.Cookie // Path, Secure, HttpOnly, SameSite and Partitioned
}

// newCookieKind makes a cookieKind. field is the name of the field of Options, and byDefault the
// default name without prefix.
func newCookieKind(field, byDefault string, o Cookie, sameSite http.SameSite) (*cookieKind, error) {
	if o.Name == "" {
		o.Name = byDefault
		if !o.InsecureHTTP {
			o.Name = "__Host-Http-" + byDefault
		}
	}
	c := &cookieKind{name: o.Name, template: http.Cookie{
		Name: o.Name, Path: "/", Secure: !o.InsecureHTTP, HttpOnly: true, SameSite: sameSite, Partitioned: o.Partitioned,
	}}
	if o.Partitioned {
		c.template.SameSite = http.SameSiteNoneMode
	}
	switch {
	case o.InsecureHTTP && o.Partitioned:
		return nil, fmt.Errorf("endpoints: Options.%s: Partitioned needs https, so it cannot be set with InsecureHTTP", field)
	case len(o.Name) > 100 || c.template.Valid() != nil:
		return nil, fmt.Errorf("endpoints: Options.%s.Name is %s: a name of at most 100 letters, digits, - and _ is expected", field, errtext.Quote(o.Name))
	case o.InsecureHTTP && strings.HasPrefix(o.Name, "__"):
		return nil, fmt.Errorf("endpoints: Options.%s.Name is %s: browsers drop it with InsecureHTTP; a name without __Host- is expected", field, errtext.Quote(o.Name))
	case !o.InsecureHTTP && !strings.HasPrefix(o.Name, "__Host-"):
		return nil, fmt.Errorf("endpoints: Options.%s.Name is %s: other hosts could set it; a name that begins with __Host-Http- is expected", field, errtext.Quote(o.Name))
	}
	return c, nil
}

// write sets a cookie for maxAge seconds. If maxAge is negative, it removes the cookie: a
// browser does so only if the name, the path, Secure and Partitioned are those that the cookie
// was set with.
func (c *cookieKind) write(w http.ResponseWriter, name, value string, maxAge int) {
	cookie := c.template
	cookie.Name, cookie.Value, cookie.MaxAge = name, value, maxAge
	w.Header().Add("Set-Cookie", cookie.String())
}

// nameOf returns the name of the cookie of a login.
func (c *cookieKind) nameOf(tag string) string { return c.name + "-" + tag }

// maxToken returns the largest length of a token that the cookie can hold. c may be nil.
func (c *cookieKind) maxToken() int {
	if c == nil {
		return 0
	}
	return maxCookie - len(c.nameOf("")) - tagLength
}

const tagLength = 12

func newTag() string { return rand.Text()[:tagLength] }

func isTag(s string) bool {
	return len(s) == tagLength && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// cookies reads and writes the cookies of logins.
type cookies struct {
	refresh *cookieKind
	access  *cookieKind // nil if there is none
	current http.Cookie // the template of the cookie whose value is the tag of the current login
}

// presentedLogin is a login whose cookie came with a request.
type presentedLogin struct{ tag, refreshToken string }

var (
	errNoCookie    = fmt.Errorf("endpoints: %w: the request has no cookie of a login", jwtauth.ErrNoToken)
	errCookieTwice = &jwtauth.Error{Status: http.StatusBadRequest, Code: "invalid_request", Description: "the request has two cookies with one name", Check: "alone"}
)

// singleCookie returns the value of the cookie with the given name. Two cookies with this name are
// an error.
func singleCookie(r *http.Request, name string) (string, error) {
	found := r.CookiesNamed(name)
	switch {
	case len(found) > 1:
		return "", errCookieTwice
	case len(found) == 0 || found[0].Value == "":
		return "", errNoCookie
	}
	return found[0].Value, nil
}

// currentTag returns the tag of the current login.
func (c *cookies) currentTag(r *http.Request) (string, error) {
	tag, err := singleCookie(r, c.refresh.name)
	if err == nil && !isTag(tag) {
		err = errNoCookie
	}
	return tag, err
}

// currentLogin returns the current login.
func (c *cookies) currentLogin(r *http.Request) (presentedLogin, error) {
	tag, err := c.currentTag(r)
	if err != nil {
		return presentedLogin{}, err
	}
	token, err := singleCookie(r, c.refresh.nameOf(tag))
	return presentedLogin{tag, token}, err
}

// accessToken returns the access token of the current login.
func (c *cookies) accessToken(r *http.Request) (string, error) {
	tag, err := c.currentTag(r)
	if err != nil {
		return "", err
	}
	return singleCookie(r, c.access.nameOf(tag))
}

// maxLogins is how many logins allLogins returns at most.
const maxLogins = 8

// allLogins returns the logins whose refresh token came with the request, the current one first.
// Usually, there is only this one, or none. Late answers, logins at the same time, and logins by
// a callback from another site can leave others.
func (c *cookies) allLogins(r *http.Request) (logins []presentedLogin) {
	prefix := c.refresh.nameOf("")
	current, err := c.currentLogin(r)
	if err == nil {
		logins = append(logins, current)
	}
	for _, cookie := range r.Cookies() {
		if tag, ok := strings.CutPrefix(cookie.Name, prefix); ok && isTag(tag) && tag != current.tag && len(logins) < maxLogins {
			logins = append(logins, presentedLogin{tag, cookie.Value})
		}
	}
	return logins
}

// setNewLogin sets the cookies of a new login, and makes it the current login.
func (c *cookies) setNewLogin(w http.ResponseWriter, t jwtauth.TokenResponse) {
	tag := newTag()
	c.set(w, tag, t)
	current := c.current
	current.Value, current.MaxAge = tag, t.SessionExpiresIn
	w.Header().Add("Set-Cookie", current.String())
}

// set sets the cookies of a login that the browser has already, or of a new one.
func (c *cookies) set(w http.ResponseWriter, tag string, t jwtauth.TokenResponse) {
	c.refresh.write(w, c.refresh.nameOf(tag), t.RefreshToken, t.RefreshTimeout)
	if c.access != nil {
		// The cookie lives as long as the refresh token. The server then sees an expired access
		// token, and can refresh it instead of asking for a login.
		c.access.write(w, c.access.nameOf(tag), t.AccessToken, t.RefreshTimeout)
	}
}

// clear removes the cookies of a login. It does not remove the cookie whose value is the tag of the
// current login: the response may reach the browser after another login has set that cookie.
func (c *cookies) clear(w http.ResponseWriter, tag string) {
	c.refresh.write(w, c.refresh.nameOf(tag), "", -1)
	if c.access != nil {
		c.access.write(w, c.access.nameOf(tag), "", -1)
	}
}

// newCookies makes the cookies of the options. It returns nil if there are none.
func newCookies(o *Options) (*cookies, error) {
	if o.RefreshCookie == nil {
		if o.AccessCookie != nil {
			return nil, errors.New("endpoints: Options.AccessCookie needs RefreshCookie")
		}
		return nil, nil
	}
	c := &cookies{}
	var err error
	if c.refresh, err = newCookieKind("RefreshCookie", "refresh", *o.RefreshCookie, http.SameSiteStrictMode); err != nil {
		return nil, err
	}
	c.current = c.refresh.template
	if o.AccessCookie == nil {
		return c, nil
	}
	if c.access, err = newCookieKind("AccessCookie", "access", *o.AccessCookie, http.SameSiteLaxMode); err != nil {
		return nil, err
	}
	if o.AccessCookie.Partitioned != o.RefreshCookie.Partitioned || o.AccessCookie.InsecureHTTP != o.RefreshCookie.InsecureHTTP {
		return nil, errors.New("endpoints: Options.RefreshCookie and AccessCookie differ in Partitioned or InsecureHTTP: the browser would keep only one of them")
	}
	if c.access.name == c.refresh.name {
		return nil, errors.New("endpoints: Options.RefreshCookie and AccessCookie have one name")
	}
	// The access token is found with the tag. With Strict, the browser would not send the tag when a
	// user follows a link from another site.
	c.current.SameSite = c.access.template.SameSite
	return c, nil
}
