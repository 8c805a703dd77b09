// Package endpoints has ready handlers for an issuer and an API. [Handlers] serves login,
// refresh, logout and the sessions of a user, to browsers and to other clients. It also serves the
// OAuth routes token, revoke and introspect. [Metadata] serves metadata documents (RFC 8414,
// RFC 9728). [Throttle] slows down guessing of passwords.
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/origin"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// Options configures [Handlers]. All fields are optional. New copies the options.
type Options struct {
	// Path is where the routes begin. Default /auth.
	Path string

	// Login checks the name and the password of the route login, and returns the grant. An error
	// that matches ErrRefused, such as jwtauth.ErrGrantRefused, means that the name or the password
	// is wrong: 401. Any other error means that Login could not decide: 503. An *Error of the
	// program keeps its own answer. If its status is 4xx, it also counts as a wrong password, for
	// Throttle. Login should take the same time for a name that does not exist. The time of the
	// login (Grant.AuthTime) is read before Login is called, and is set if the grant has none.
	// Further fields of the body, such as a one-time password or "remember me", are in
	// r.PostForm. Default: there is no route login; see Start.
	Login func(r *http.Request, name, password string) (jwtauth.Grant, error)

	// RefreshCookie has the refresh token, which is then in no body. Default: the refresh token
	// is in the bodies, for clients that are no browsers.
	RefreshCookie *Cookie
	// AccessCookie has the access token, for pages that a browser loads, in addition to the body.
	// It needs RefreshCookie. Default none.
	AccessCookie *Cookie
	// LoginPage is the path of the page with the form of the login, such as /login. It needs
	// AccessCookie. If a page needs a login, the middleware redirects the browser to LoginPage (303).
	// The parameter return is the path of the page; the form passes it on as a field, and the login
	// then redirects the browser there. After a wrong password, the browser comes back to LoginPage
	// with the parameter error. An attacker can send a user to LoginPage with the URL of another host
	// in return. The route login only redirects to paths of this host. So a script of the login page
	// must not go to return by itself. Default: a page without a login is answered with 401.
	LoginPage string
	// TrustedOrigins are the origins of pages on other hosts that may use the cookies, such as
	// https://app.example.com. Such a page also needs a CORS middleware that allows its origin. If a
	// proxy changes the Host header, add the own origin to TrustedOrigins. Otherwise WebSockets are
	// refused.
	TrustedOrigins []string

	// Details describes the session, for example by the device; see Session.Details. It is called at
	// each refresh, and at a login whose grant has no Details. Each value is cut to 256 bytes, and
	// further if all take more than 1 KiB. Default: the Details of the grant.
	Details func(r *http.Request) map[string]string

	// ClientID is the client_id of the program that uses the routes login, refresh and sessions. The
	// route login and Start set it in a grant without ClientID. A grant with another ClientID is an
	// error, for which the route login answers 500. The routes refresh and sessions take only tokens
	// of this client. Default none.
	ClientID string
	// Client authenticates an OAuth client at the routes token and revoke. id and secret are from
	// the Authorization header (Basic) or from the body (client_id and client_secret); secret is ""
	// for a public client, which has none. Errors are as for Login: 401 invalid_client, or 503.
	// Compare secrets in constant time. Client must limit guesses of secrets, or the secrets must
	// be long and random. Some clients form-encode the id and the secret in the header (RFC 6749,
	// section 2.3.1), and some do not. If the two readings differ, Client gets the decoded one
	// first. If it refuses that one, it gets the other. Default: there are no such routes.
	Client func(r *http.Request, id, secret string) error
	// Introspect authorizes the caller of the route introspect, usually a service: it may ask about
	// every token. It is called like Client. If the request names no client, id is "": the service may
	// then authenticate itself in another way, which Introspect reads from r. For a good refresh
	// token, active is true, too, and token_use is refresh_token: an API must refuse such a token.
	// Default: there is no such route.
	Introspect func(r *http.Request, id, secret string) error

	// Throttle slows down guessing of passwords. Handlers removes white space from a name, and folds
	// its case, before it calls Begin: names that differ only in these have one limit. If Login
	// ignores more differences, such as accents, wrap the throttle. Default NewThrottle with its
	// defaults, for this process.
	Throttle Throttle
	// ClientAddr returns the address of the client, for Throttle. Default: the address of the
	// connection. Behind a proxy, that is the address of the proxy, so set ClientAddr.
	ClientAddr func(r *http.Request) netip.Addr
	// MaxBody is the largest length of a body, in bytes. Default 16384. At most 1,048,576.
	MaxBody int64

	// Verifier verifies the access tokens for Auth. Default Issuer.NewVerifier with the defaults. Set
	// it if Auth also accepts other tokens, such as those of another issuer or those of package
	// migrate. If it does not accept the tokens of this issuer, New combines it with the default by
	// AnyOf. But if ResolveIssuers made it, New changes nothing: its function must then also return a
	// Verifier for this issuer.
	Verifier *jwtauth.Verifier
	// Middleware configures Auth. With AccessCookie, the Extractors are further places: Auth looks at
	// them in their order if the header has no token and the browser has no login. The route logout
	// also logs out the tokens at these places. With RefreshCookie, so do the route login and Start.
	Middleware jwtauth.MiddlewareOptions
}

// Handlers serves these routes below Options.Path:
//
//	POST   login                 name and password for tokens
//	POST   refresh               the next tokens
//	POST   logout                ends the session
//	GET    sessions              the sessions of the caller, in pages
//	DELETE sessions/{id}         ends one of them
//	POST   sessions/end-others   ends all but the session of the caller
//	POST   sessions/end-all      ends all
//	GET    resume                a page that refreshes, and returns to the page before, with LoginPage
//	POST   token                 RFC 6749, grant_type=refresh_token, with Client
//	POST   revoke                RFC 7009, with Client
//	POST   introspect            RFC 7662, with Introspect
//
// A route with an option in its description exists only if that option is set. The OAuth routes
// are token, revoke and introspect; their bodies are forms. The other bodies are JSON objects or
// forms: login has the fields username and password, and return with LoginPage; refresh has
// refresh_token without RefreshCookie; logout may have it, too. A body that has a field twice is
// refused, except for resource at the OAuth routes. If the answer of sessions has the member next,
// its value as the parameter after returns the next page.
//
// Answers are JSON, except that logout and the ends of sessions answer 204 without a body. With
// LoginPage, a form of a page is answered with a redirect (303). Errors have the form of RFC 6749,
// section 5.2; see jwtauth.WriteError. The routes of sessions need an access token that belongs to
// a session of this issuer. Its client_id must be Options.ClientID.
//
// With RefreshCookie, the routes login, refresh and logout are for browsers. A request that a page
// of another origin has made is refused with 403, except for TrustedOrigins. A script must send
// the header X-CSRF, with any value; forms can be sent to login and logout only. A refused refresh
// and a 503 of login or refresh leave the cookies as they are. A logout with 503 deletes the
// cookies of the sessions that it has ended.
//
// Handlers is safe for concurrent use. The zero value answers 503.
type Handlers struct {
	issuer   *jwtauth.Issuer
	seam     keyset.Issuer
	o        Options
	verifier *jwtauth.Verifier
	auth     *jwtauth.Middleware
	cookies  *cookies // nil if the refresh token is in bodies
	check    *origin.Check
	mux      *http.ServeMux

	further []jwtauth.Extractor // Extractors of Options.Middleware
	places  []jwtauth.Extractor // where logout finds access tokens that are not in a cookie of package endpoints
}

const (
	defaultPath    = "/auth"
	defaultMaxBody = 16 << 10
	maxMaxBody     = 1 << 20
)

// isPath reports whether a text is a path of letters, digits and ._~- that net/http does not
// change or interpret.
func isPath(s string) bool {
	isOther := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("/._~-", c))
	}
	return strings.HasPrefix(s, "/") && s == path.Clean(s) && s != "/" && !strings.ContainsFunc(s, isOther)
}

func (o *Options) setDefaults() error {
	if o.Path == "" {
		o.Path = defaultPath
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.ClientAddr == nil {
		o.ClientAddr = remoteAddr
	}
	switch {
	case !isPath(o.Path):
		return fmt.Errorf("endpoints: Options.Path is %s: a path such as /auth is expected", errtext.Quote(o.Path))
	case o.MaxBody < 0 || o.MaxBody > maxMaxBody:
		return fmt.Errorf("endpoints: Options.MaxBody is %d, 1 to %d is expected", o.MaxBody, maxMaxBody)
	case o.LoginPage != "" && o.AccessCookie == nil:
		return errors.New("endpoints: Options.LoginPage needs AccessCookie: a browser loads pages without a header")
	case o.LoginPage != "" && (localPath(o.LoginPage) != o.LoginPage || strings.Contains(o.LoginPage, "#")):
		return fmt.Errorf("endpoints: Options.LoginPage is %s: a path of this host is expected, e.g. /login", errtext.Quote(o.LoginPage))
	case len(o.TrustedOrigins) > 0 && o.RefreshCookie == nil:
		return errors.New("endpoints: Options.TrustedOrigins means nothing without RefreshCookie")
	}
	if o.Throttle == nil && o.Login != nil {
		throttle, err := NewThrottle(ThrottleOptions{})
		if err != nil {
			return err
		}
		o.Throttle = throttle
	}
	return nil
}

// New makes the handlers of an issuer. The issuer must have sessions.
func New(issuer *jwtauth.Issuer, o Options) (*Handlers, error) {
	seam, err := issuer.EndpointsSeam()
	if err != nil {
		return nil, err
	}
	if !seam.HasSessions {
		return nil, errors.New("endpoints: the Issuer has no sessions: IssuerOptions.Sessions and Revocations are expected")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	h := &Handlers{issuer: issuer, seam: seam, o: o}
	allowsHTTP := o.RefreshCookie != nil && o.RefreshCookie.InsecureHTTP
	if h.check, err = origin.New(o.TrustedOrigins, allowsHTTP); err != nil {
		return nil, fmt.Errorf("endpoints: Options.TrustedOrigins: %w", err)
	}
	if h.cookies, err = newCookies(&o); err != nil {
		return nil, err
	}
	verifier, err := seam.AddTo(o.Verifier)
	if err != nil {
		return nil, err
	}
	h.verifier = verifier.(*jwtauth.Verifier)
	bearer := jwtauth.FromHeader("Authorization", "Bearer")
	h.further, h.places = slices.Clone(o.Middleware.Extractors), slices.Clone(o.Middleware.Extractors)
	if o.RefreshCookie != nil || len(h.places) == 0 {
		h.places = append([]jwtauth.Extractor{bearer}, h.places...)
	}
	if o.AccessCookie != nil {
		all := []jwtauth.Extractor{bearer, jwtauth.NewExtractor(h.findAccessToken)}
		for _, place := range h.further {
			all = append(all, place.EndpointsSeam().Unless(h.hasLogin).(jwtauth.Extractor))
		}
		o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FirstOf(all...)}
	}
	if o.LoginPage != "" {
		o.Middleware.OnError = h.onErrorWithLogin(o.Middleware.OnError)
	}
	if h.auth, err = jwtauth.NewMiddleware(h.verifier, o.Middleware); err != nil {
		return nil, err
	}
	h.mux = h.routes()
	return h, nil
}

func (h *Handlers) routes() *http.ServeMux {
	mux := http.NewServeMux()
	otherMethods := http.NewServeMux() // answers what mux has no route for: 405 for another method, 404 for an unknown path
	handle := func(method, route string, f http.HandlerFunc) {
		pattern := h.o.Path + "/" + route
		mux.Handle(method+" "+pattern, f)
		allow := method
		if method == http.MethodGet {
			allow = "GET, HEAD"
		}
		otherMethods.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			h.refuse(w, r, invalidRequest(http.StatusMethodNotAllowed, "this path is for "+allow))
		})
	}
	own := h.auth.With(jwtauth.TokenPolicy("issuer", h.isOwn))
	handleOwn := func(method, route string, f http.HandlerFunc) { handle(method, route, own.Require(f).ServeHTTP) }
	if h.o.Login != nil {
		handle("POST", "login", h.login)
	}
	handle("POST", "refresh", h.refresh)
	handle("POST", "logout", h.logout)
	handleOwn("GET", "sessions", h.listSessions)
	handleOwn("DELETE", "sessions/{id}", h.endSession)
	handleOwn("POST", "sessions/end-others", h.endOthers)
	handleOwn("POST", "sessions/end-all", h.endAll)
	if h.o.LoginPage != "" {
		handle("GET", "resume", h.resume)
	}
	if h.o.Client != nil {
		handle("POST", "token", h.token)
		handle("POST", "revoke", h.revoke)
	}
	if h.o.Introspect != nil {
		handle("POST", "introspect", h.introspect)
	}
	mux.Handle("/", otherMethods)
	otherMethods.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, r, &jwtauth.Error{Status: http.StatusNotFound, Code: "not_found", Description: "there is nothing at this path", Check: "request"})
	})
	return mux
}

// ServeHTTP answers the routes. Mount the handler at Options.Path + "/", such as /auth/.
func (h *Handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h == nil || h.mux == nil {
		wire.WriteUnavailable(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// Auth returns a middleware for the tokens of the issuer. With AccessCookie, it takes the token
// from the header, or else from the cookie. If the token is in the cookie and the page is of another
// origin, it refuses WebSockets, and every method except GET, HEAD and OPTIONS; see
// [jwtauth.FromCookie].
func (h *Handlers) Auth() *jwtauth.Middleware {
	if h == nil || h.auth == nil {
		return &jwtauth.Middleware{}
	}
	return h.auth
}

// Format prints the path and the name of the issuer, for every verb.
func (h *Handlers) Format(f fmt.State, _ rune) {
	if h == nil || h.mux == nil {
		io.WriteString(f, "Handlers()")
		return
	}
	fmt.Fprintf(f, "Handlers(%s of %s)", h.o.Path, errtext.Quote(h.seam.Name))
}

// Verifier returns the verifier of Auth.
func (h *Handlers) Verifier() *jwtauth.Verifier {
	if h == nil || h.verifier == nil {
		return &jwtauth.Verifier{}
	}
	return h.verifier
}

// hasLogin reports whether the browser has a login. Its access cookie may be missing.
func (h *Handlers) hasLogin(r *http.Request) bool {
	_, err := h.cookies.currentTag(r)
	return err == nil
}

// findAccessToken finds the access token in the cookie.
func (h *Handlers) findAccessToken(r *http.Request) (string, error) {
	token, err := h.cookies.accessToken(r)
	if err == nil {
		if mistake := h.check.CheckRequest(r); mistake != nil {
			return "", crossOrigin(mistake)
		}
	}
	return token, err
}

// isOwn reports whether a token belongs to a session of the issuer and of ClientID, and was not
// made by Exchange.
func (h *Handlers) isOwn(_ context.Context, t jwtauth.Token) (bool, error) {
	isForLogins := slices.ContainsFunc(t.Audiences(), func(a string) bool { return slices.Contains(h.seam.Audiences, a) })
	return t.Issuer == h.seam.Name && t.Subject != "" && t.SessionID != "" && t.ClientID == h.o.ClientID && t.Actor == "" && isForLogins, nil
}

// checkOrigin refuses a request of a page of another origin, and a request without X-CSRF that is
// not a form. Without RefreshCookie, it accepts every request. kind is the event of a refusal.
func (h *Handlers) checkOrigin(r *http.Request, isForm bool, kind event.Kind) error {
	if h.cookies == nil {
		return nil
	}
	check := h.check.CheckScript
	if isForm {
		check = h.check.CheckForm
	}
	if mistake := check(r); mistake != nil {
		err := crossOrigin(mistake)
		h.report(r, kind, "origin", mistake)
		return err
	}
	return nil
}

func crossOrigin(mistake error) error {
	return &jwtauth.Error{
		Status: http.StatusForbidden, Code: "access_denied", Description: "this request is not allowed",
		Check: "origin", Got: mistake.Error(),
	}
}

// withTokenLimits returns a context in which the issuer makes only tokens that fit into the
// cookies. replaced are the ids of sessions that the caller ends after the login. If the user has
// too many sessions, the issuer ends these first.
func (h *Handlers) withTokenLimits(ctx context.Context, replaced ...string) context.Context {
	if h.cookies == nil {
		return ctx
	}
	return bound.WithLogin(ctx, bound.Login{AccessBytes: h.cookies.access.maxToken(), RefreshBytes: h.cookies.refresh.maxToken(), Replaced: replaced})
}

// writeTokens writes tokens. The refresh token is not written if it is in a cookie.
func (h *Handlers) writeTokens(w http.ResponseWriter, t jwtauth.TokenResponse) {
	if h.cookies != nil {
		t.RefreshToken = ""
	}
	jwtauth.WriteTokens(w, t)
}

// details returns the details of the session of a request, or nil.
func (h *Handlers) details(r *http.Request) map[string]string {
	if h.o.Details == nil {
		return nil
	}
	details := maps.Clone(h.o.Details(r))
	// A value often comes from a request header. It may be long or not UTF-8, and JSON may make six
	// bytes of one. A client must not make the login fail by it.
	for limit := maxDetail; limit > 0; limit /= 2 {
		for name, value := range details {
			details[name] = strings.ToValidUTF8(value[:min(len(value), limit)], "")
		}
		if text, err := bound.EncodeDetails(details); err != nil || len(text) <= bound.MaxDetails {
			break
		}
	}
	return details
}

// maxDetail is the largest length of a value of Options.Details, in bytes.
const maxDetail = 256

// programError converts an error of a function of the program. refused reports whether the
// function refused, or could not decide. refusal is the answer to a refusal that is not an *Error.
func programError(check string, err error, refusal *jwtauth.Error) (e *jwtauth.Error, refused bool) {
	own, _ := errors.AsType[*jwtauth.Error](err)
	switch {
	case fault.IsUnavailable(err):
		if own != nil && own.Status < 500 {
			own = nil
		}
	case own != nil && own.Status >= 400 && own.Status < 500:
		return own, true
	case own == nil && errors.Is(err, jwtauth.ErrRefused):
		return refusal, true
	}
	if own == nil {
		own = &jwtauth.Error{
			Status: http.StatusServiceUnavailable, Code: wire.CodeUnavailable, Description: wire.DescriptionUnavailable,
			Next: wire.NextUnavailable, RetryAfter: wire.RetryAfterUnavailable, Check: check,
		}
	}
	return own, false
}

// report sends an event about a request that was refused, or could not be decided.
func (h *Handlers) report(r *http.Request, kind event.Kind, reason string, err error) {
	h.seam.OnEvent.Send(r.Context(), event.Event{Kind: kind, Reason: reason, Err: err})
}

// remoteAddr returns the address of the connection.
func remoteAddr(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr) // not valid for a Unix socket
	return addr.Addr()
}
