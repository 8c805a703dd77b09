package endpoints

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// login answers a name and a password with the tokens of a new session.
func (h *Handlers) login(w http.ResponseWriter, r *http.Request) {
	// The time is read before the password is checked: if the password is changed during this
	// login, the login counts as older than the change.
	began := h.seam.Now()
	fields, typ, err := readBody(w, r, h.o.MaxBody)
	if err == nil {
		err = h.checkOrigin(r, typ == formBody)
	}
	if err == nil {
		err = h.checkSecure(r)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	isPage := h.o.LoginPage != "" && typ == formBody && isNavigation(r)
	g, err := h.authenticate(w, r, fields.Get("username"), fields.Get("password"))
	if err == nil {
		if g.AuthTime.IsZero() {
			g.AuthTime = began
		}
		var tokens jwtauth.TokenResponse
		if tokens, err = h.Start(w, r, g); err == nil {
			if isPage {
				redirect(w, r, localPath(fields.Get("return")))
				return
			}
			h.writeTokens(w, tokens)
			return
		}
	}
	e, _ := errors.AsType[*jwtauth.Error](err)
	if isPage && e != nil && e.Status < 500 {
		redirect(w, r, h.loginPage(localPath(fields.Get("return")), e.Code))
		return
	}
	h.refuse(w, r, err)
}

// checkSecure refuses the login of a page that was loaded with plain http from another host than
// localhost. The browser would drop the cookies, and the user would be logged out again after
// the first access token.
func (h *Handlers) checkSecure(r *http.Request) error {
	page, err := url.Parse(r.Header.Get("Origin"))
	if h.cookies == nil || !h.cookies.current.Secure || err != nil || page.Scheme != "http" || wellknown.IsLoopback(page.Hostname()) {
		return nil
	}
	e := invalidRequest(http.StatusBadRequest, "browsers drop the cookie of a page without https; see Cookie.InsecureHTTP")
	h.report(r, event.LoginRefused, "http", e)
	return e
}

// errPassword is the answer to a wrong name or password. The route login is no token endpoint of
// OAuth, so the status is 401 and not 400 (invalid_grant).
var errPassword = &jwtauth.Error{
	Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the name or the password is wrong", Check: "password",
}

// authenticate calls Options.Login if the throttle allows it. The throttle counts each attempt
// before the password is checked. If it counted only failures, after the check, then many
// guesses in parallel would all be checked before the first one was counted.
func (h *Handlers) authenticate(w http.ResponseWriter, r *http.Request, name, password string) (jwtauth.Grant, error) {
	if name == "" || password == "" {
		return jwtauth.Grant{}, invalidRequest(http.StatusBadRequest, "username and password are expected")
	}
	// Names that differ only in case share their limits: Login may not tell them apart.
	done, retryAfter, err := h.o.Throttle.Begin(r.Context(), strings.ToLower(name), h.o.ClientAddr(r))
	switch {
	case err != nil:
		e, _ := programError("throttle", err, nil)
		h.report(r, event.Unavailable, "throttle", err)
		return jwtauth.Grant{}, e
	case done == nil:
		e := &jwtauth.Error{
			Status: http.StatusTooManyRequests, Code: "too_many_attempts", Description: "too many attempts to log in; try again later",
			RetryAfter: max(retryAfter, time.Second), Check: "throttle",
		}
		h.report(r, event.LoginRefused, "throttle", e)
		return jwtauth.Grant{}, e
	}
	g, err := h.o.Login(r, name, password)
	if err == nil {
		done(true)
		return g, nil
	}
	e, isRefused := programError("login", err, errPassword)
	if isRefused {
		done(false)
		h.report(r, event.LoginRefused, "password", err)
	} else { // done is not called, because it is not known whether the password was right
		h.report(r, event.Unavailable, "login", err)
	}
	return jwtauth.Grant{}, e
}

// Start begins a session, after a proof of the program's own, such as a passkey or the
// callback of an OpenID provider. It issues tokens and sets the cookies. Then it ends the
// sessions whose cookies came with the request: they are those of the same browser. It writes no
// body; [jwtauth.WriteTokens] does. With RefreshCookie, the result has no refresh token.
//
// Start does not check the origin of the request. A route that calls it must be safe against
// login CSRF: another site could otherwise log the browser in as somebody else.
//
// The errors are those of [jwtauth.Issuer.Issue]. It is also an error if a token does not fit
// into its cookie. Nothing has then been set, issued or ended.
func (h *Handlers) Start(w http.ResponseWriter, r *http.Request, g jwtauth.Grant) (jwtauth.TokenResponse, error) {
	if h == nil || h.issuer == nil {
		return jwtauth.TokenResponse{}, errNoHandlers
	}
	ctx := r.Context()
	if g.Details == nil {
		g.Details = h.details(r)
	}
	tokens, err := h.issuer.Issue(h.issuing(ctx), g)
	if err != nil || h.cookies == nil {
		return tokens, err
	}
	h.cookies.begin(w, tokens)
	tokens.RefreshToken = ""
	for _, before := range h.cookies.allLogins(r) {
		if err := h.issuer.Logout(ctx, before.refreshToken); err == nil || errors.Is(err, jwtauth.ErrRefused) {
			h.cookies.clear(w, before.tag)
		} // otherwise the next login tries again
	}
	return tokens, nil
}

var errNoHandlers = errors.New("endpoints: these Handlers were not made by New")

// refresh answers a refresh token with the next tokens.
func (h *Handlers) refresh(w http.ResponseWriter, r *http.Request) {
	if err := h.checkOrigin(r, false); err != nil {
		h.refuse(w, r, err)
		return
	}
	fields, _, err := readBody(w, r, h.o.MaxBody)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	request := jwtauth.RefreshRequest{
		Token: fields.Get("refresh_token"), ClientID: fields.Get("client_id"), Scopes: strings.Fields(fields.Get("scope")), Details: h.details(r),
	}
	if h.cookies == nil {
		tokens, err := h.issuer.Refresh(r.Context(), request)
		if request.Token == "" {
			err = invalidRequest(http.StatusBadRequest, "refresh_token is expected")
		}
		h.answer(w, r, tokens, err)
		return
	}
	login, err := h.cookies.currentLogin(r)
	switch {
	case request.Token != "":
		err = invalidRequest(http.StatusBadRequest, "the refresh token is expected in its cookie, not in the body")
	case errors.Is(err, jwtauth.ErrNoToken):
		err = &jwtauth.Error{Status: http.StatusBadRequest, Code: "invalid_grant", Description: "there is no login: its cookie is missing", Next: "login", Check: "absent"}
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	request.Token = login.refreshToken
	tokens, err := h.issuer.Refresh(h.issuing(r.Context()), request)
	if err == nil {
		h.cookies.set(w, login.tag, tokens)
	}
	h.answer(w, r, tokens, err)
}

// logout ends the session of a refresh token, or of the access token in the Authorization
// header. It is also 204 if the session has ended, and with cookies if there is no login.
func (h *Handlers) logout(w http.ResponseWriter, r *http.Request) {
	fields, typ, err := readBody(w, r, h.o.MaxBody)
	if err == nil {
		err = h.checkOrigin(r, typ == formBody)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if h.cookies == nil {
		if err := h.logoutToken(r, fields.Get("refresh_token")); err != nil {
			h.refuse(w, r, err)
			return
		}
	} else if login, err := h.cookies.currentLogin(r); err == nil {
		err = h.issuer.Logout(r.Context(), login.refreshToken)
		if err != nil && !errors.Is(err, jwtauth.ErrRefused) { // a refused token is no login
			h.refuse(w, r, err)
			return
		}
		h.cookies.clear(w, login.tag)
	} else if !errors.Is(err, jwtauth.ErrNoToken) {
		h.refuse(w, r, err)
		return
	}
	if h.o.LoginPage != "" && typ == formBody && isNavigation(r) {
		redirect(w, r, h.o.LoginPage)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutToken ends the session of the token of a request whose tokens are not in cookies. The
// token is the refresh token in the body, or the access token in the Authorization header.
func (h *Handlers) logoutToken(r *http.Request, refreshToken string) error {
	accessToken, err := jwtauth.BearerToken(r)
	switch {
	case errors.Is(err, jwtauth.ErrNoToken) && refreshToken != "":
		err := h.issuer.Logout(r.Context(), refreshToken)
		if errors.Is(err, jwtauth.ErrRefused) {
			return &jwtauth.Error{Status: http.StatusBadRequest, Code: "invalid_grant", Description: "this is not a refresh token of this issuer", Check: "request"}
		}
		return err
	case err != nil:
		return err
	case refreshToken != "":
		return invalidRequest(http.StatusBadRequest, "one token is expected, in the Authorization header or in the body")
	}
	return h.issuer.Logout(r.Context(), accessToken)
}

// answer writes tokens or an error.
func (h *Handlers) answer(w http.ResponseWriter, r *http.Request, t jwtauth.TokenResponse, err error) {
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.writeTokens(w, t)
}

// refuse writes an error.
func (h *Handlers) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*jwtauth.Error](err); ok && e.Code == "invalid_request" {
		// jwtauth.WriteError would add a challenge, as for an API with access tokens (RFC 6750).
		wire.WriteError(w, r, e.Status, wire.Error{Code: e.Code, Description: e.Description, Next: e.Next}, e.RetryAfter)
		return
	}
	jwtauth.WriteError(w, r, err)
}
