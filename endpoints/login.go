package endpoints

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/fault"
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
		err = h.checkOrigin(r, typ == formBody, event.LoginRefused)
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
				redirect(w, localPath(fields.Get("return")))
				return
			}
			h.writeTokens(w, tokens)
			return
		}
	}
	e, _ := errors.AsType[*jwtauth.Error](err)
	if isPage && e != nil && e.Status < 500 {
		redirect(w, h.loginPage(localPath(fields.Get("return")), cmp.Or(e.Code, "refused")))
		return
	}
	h.refuse(w, r, err)
}

// checkSecure refuses the login of a page that was loaded with plain http, unless the page is of this
// machine. The browser would drop the cookies, and the user would be logged out again after
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
	done, retryAfter, err := h.o.Throttle.Begin(r.Context(), foldName(name), h.o.ClientAddr(r))
	tooMany := &jwtauth.Error{
		Status: http.StatusTooManyRequests, Code: "too_many_attempts", Description: "too many attempts to log in; try again later",
		RetryAfter: max(retryAfter, time.Second), Check: "throttle",
	}
	switch e, isRefused := programError("throttle", err, tooMany); {
	case err == nil && done == nil:
		h.report(r, event.LoginRefused, "throttle", tooMany)
		return jwtauth.Grant{}, tooMany
	case err != nil && isRefused:
		h.report(r, event.LoginRefused, "throttle", err)
		return jwtauth.Grant{}, e
	case err != nil:
		h.report(r, event.Unavailable, "throttle", err)
		return jwtauth.Grant{}, e
	}
	g, err := h.o.Login(r, name, password)
	if err == nil && g.Subject == "" {
		err = fmt.Errorf("endpoints: Options.Login returned a grant without a subject: %w", jwtauth.ErrGrantRefused)
	}
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

// foldName returns the same text for all names that differ only in case and white space. A user
// directory may treat such names as one account.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// Start begins a session after the program itself has authenticated the user, for example with a
// passkey or by the callback of an OpenID provider. It issues tokens. With RefreshCookie, it then
// does three things, in this order. It logs out the tokens that Extractors of Options.Middleware
// find in the request, as Issuer.Logout does, except an old token that has bought the new session.
// It sets the cookies; the result has no refresh token. It ends the sessions whose cookies came
// with the request, since they are those of the same browser. With a callback from another site, a
// browser sends no SameSite=Strict cookies. The sessions of these cookies then end at the next
// refresh. Start writes no body; [jwtauth.WriteTokens] does.
//
// Start does not check the origin of the request. A route that calls it must be safe against
// login CSRF: another site could otherwise log the browser in as somebody else.
//
// The errors are those of [jwtauth.Issuer.Issue]. It is also an error if a token does not fit into
// its cookie, or if the grant is of another client than Options.ClientID. Nothing has then been
// set, issued or ended. If a store fails while Start logs out a token, or an Extractor does not
// know its token, the error matches ErrUnavailable, and no cookie is set. Otherwise, Auth would
// accept that token again after the end of the new login.
func (h *Handlers) Start(w http.ResponseWriter, r *http.Request, g jwtauth.Grant) (jwtauth.TokenResponse, error) {
	if h == nil || h.issuer == nil {
		return jwtauth.TokenResponse{}, errNoHandlers
	}
	ctx := r.Context()
	if g.Details == nil {
		g.Details = h.details(r)
	}
	if g.ClientID == "" {
		g.ClientID = h.o.ClientID
	}
	if g.ClientID != h.o.ClientID {
		return jwtauth.TokenResponse{}, fmt.Errorf("endpoints: the grant is of the client %s, and Options.ClientID is %s: the session could not be refreshed", errtext.Quote(g.ClientID), errtext.Quote(h.o.ClientID))
	}
	if h.cookies == nil {
		return h.issuer.Issue(ctx, g)
	}
	before := h.cookies.allLogins(r)
	var replaced []string
	for _, login := range before {
		session, err := h.seam.Session(ctx, login.refreshToken)
		if err == nil && session.Subject == g.Subject {
			replaced = append(replaced, session.ID)
		}
	}
	tokens, err := h.issuer.Issue(h.withTokenLimits(ctx, replaced...), g)
	if err != nil {
		return jwtauth.TokenResponse{}, err
	}
	if err := h.endFurther(r, tokens.SessionID); err != nil {
		return jwtauth.TokenResponse{}, err
	}
	h.cookies.setNewLogin(w, tokens)
	tokens.RefreshToken = ""
	for _, login := range before {
		_ = h.endLogin(w, r, login, tokens.SessionID) // if it fails, the next login or refresh tries again
	}
	return tokens, nil
}

// endFurther ends the tokens at the Extractors of the program, since they belong to an earlier login
// of the browser, which would come back after the new one. It leaves those of the session with the id
// keepID, and the old token that has bought it. The error is ErrUnavailable: the login must then
// fail.
func (h *Handlers) endFurther(r *http.Request, keepID string) error {
	tokens, err := tokensAt(h.further, r, true)
	if errors.Is(err, jwtauth.ErrUnavailable) {
		return err
	}
	for _, token := range tokens {
		if err := h.seam.LogoutUnless(r.Context(), token, keepID); errors.Is(err, jwtauth.ErrUnavailable) {
			return err
		}
	}
	return nil
}

// endLogin ends the session of a login, and removes its cookies. If the session is that with the
// id keepID, or the issuer refuses the refresh token, endLogin only removes the cookies.
func (h *Handlers) endLogin(w http.ResponseWriter, r *http.Request, login presentedLogin, keepID string) error {
	err := h.seam.LogoutUnless(r.Context(), login.refreshToken, keepID)
	if err != nil && !errors.Is(err, jwtauth.ErrRefused) {
		return err
	}
	h.cookies.clear(w, login.tag)
	return nil
}

var errNoAccessToken = fmt.Errorf("endpoints: %w: the request has no access token", jwtauth.ErrNoToken)

var errNoHandlers = errors.New("endpoints: these Handlers were not made by New")

// refresh answers a refresh token with the next tokens.
func (h *Handlers) refresh(w http.ResponseWriter, r *http.Request) {
	if err := h.checkOrigin(r, false, event.RefreshRefused); err != nil {
		h.refuse(w, r, err)
		return
	}
	fields, _, err := readBody(w, r, h.o.MaxBody)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	request := jwtauth.RefreshRequest{
		Token: fields.Get("refresh_token"), ClientID: h.o.ClientID, Scopes: strings.Fields(fields.Get("scope")), Details: h.details(r),
	}
	if h.cookies != nil {
		h.refreshFromCookie(w, r, request)
		return
	}
	if request.Token == "" {
		h.refuse(w, r, invalidRequest(http.StatusBadRequest, "refresh_token is expected"))
		return
	}
	tokens, err := h.issuer.Refresh(r.Context(), request)
	h.answer(w, r, tokens, err)
}

// refreshFromCookie answers the route refresh if the refresh token is in a cookie.
func (h *Handlers) refreshFromCookie(w http.ResponseWriter, r *http.Request, request jwtauth.RefreshRequest) {
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
	tokens, err := h.issuer.Refresh(h.withTokenLimits(r.Context()), request)
	if err == nil {
		h.cookies.set(w, login.tag, tokens)
		h.endOlderLogins(w, r, login.tag, tokens.RefreshToken)
	}
	h.answer(w, r, tokens, err)
}

// endOlderLogins ends the logins in the cookies that are older than the current one. Such logins
// remain if Start ran in a callback from another site: the browser does not send SameSite=Strict
// cookies with such a request.
func (h *Handlers) endOlderLogins(w http.ResponseWriter, r *http.Request, currentTag, refreshToken string) {
	others := slices.DeleteFunc(h.cookies.allLogins(r), func(l presentedLogin) bool { return l.tag == currentTag })
	if len(others) == 0 {
		return
	}
	current, err := h.seam.Session(r.Context(), refreshToken)
	if err != nil {
		return // the next refresh tries again
	}
	for _, other := range others {
		session, err := h.seam.Session(r.Context(), other.refreshToken)
		// If the refresh token is refused, its session may have ended only in part, in a call that
		// failed. endLogin does the rest.
		if errors.Is(err, jwtauth.ErrRefused) || err == nil && session.CreatedAt.Before(current.CreatedAt) {
			_ = h.endLogin(w, r, other, current.ID)
		}
	}
}

// logout ends the session of a refresh token, or of the access token in the Authorization
// header. With cookies, it ends all logins of the browser, at most 8, and is also 204 if there is none.
func (h *Handlers) logout(w http.ResponseWriter, r *http.Request) {
	fields, typ, err := readBody(w, r, h.o.MaxBody)
	if err == nil {
		err = h.checkOrigin(r, typ == formBody, event.TokenRefused)
	}
	switch {
	case err != nil:
	case h.cookies == nil:
		err = h.logoutToken(r, fields.Get("refresh_token"))
	default:
		err = h.logoutCookies(w, r)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if h.o.LoginPage != "" && typ == formBody && isNavigation(r) {
		redirect(w, h.o.LoginPage)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutCookies ends all logins whose cookies came with the request, and removes the cookies. It also
// takes the access tokens of the request: a client with an old token of package migrate has none of
// these cookies yet.
func (h *Handlers) logoutCookies(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.cookies.currentLogin(r); err != nil && !errors.Is(err, jwtauth.ErrNoToken) {
		return err
	}
	tokens, placeErr := tokensAt(h.places, r, true)
	_, failed := h.logoutAll(r, tokens)
	for _, login := range h.cookies.allLogins(r) {
		failed = decisive(failed, h.endLogin(w, r, login, ""))
	}
	return decisive(failed, placeErr)
}

// decisive returns the error that the answer is made of: ErrUnavailable if there is one, or else the first
// error.
func decisive(errs ...error) error {
	for _, err := range errs {
		if errors.Is(err, jwtauth.ErrUnavailable) {
			return err
		}
	}
	return cmp.Or(errs...)
}

// logoutToken ends a session if RefreshCookie is not set. The request has the refresh token in the
// body, or the access token in a place where Auth finds it.
func (h *Handlers) logoutToken(r *http.Request, refreshToken string) error {
	tokens, placeErr := tokensAt(h.places, r, false)
	_, noBearer := jwtauth.BearerToken(r)
	switch {
	case refreshToken != "" && noBearer == nil:
		return invalidRequest(http.StatusBadRequest, "one token is expected, in the Authorization header or in the body")
	case refreshToken == "" && len(tokens) == 0:
		return cmp.Or(placeErr, errNoAccessToken)
	}
	refused, failed := h.logoutAll(r, tokens)
	switch {
	case refreshToken == "" && failed == nil && len(refused) == len(tokens):
		failed = refused[0]
	case refreshToken != "": // the tokens are then others, such as an old token in a cookie
		err := h.issuer.Logout(r.Context(), refreshToken)
		if errors.Is(err, jwtauth.ErrRefused) {
			err = &jwtauth.Error{Status: http.StatusBadRequest, Code: "invalid_grant", Description: "this is not a refresh token of this issuer", Check: "request"}
		}
		failed = decisive(failed, err)
	}
	return decisive(failed, placeErr)
}

// logoutAll ends the sessions of access tokens. It returns the refusals of the issuer, and the other errors.
func (h *Handlers) logoutAll(r *http.Request, tokens []string) (refused []error, failed error) {
	for _, token := range tokens {
		switch err := h.issuer.Logout(r.Context(), token); {
		case errors.Is(err, jwtauth.ErrRefused):
			refused = append(refused, err)
		default:
			failed = decisive(failed, err)
		}
	}
	return refused, failed
}

// tokensAt returns the access tokens of a request that are at the places, each once. isOriginChecked
// means that the caller has checked the origin. If places cannot be read, err is that of one of them.
func tokensAt(places []jwtauth.Extractor, r *http.Request, isOriginChecked bool) (tokens []string, err error) {
	for _, place := range places {
		more, placeErr := place.EndpointsSeam().Tokens(r, isOriginChecked)
		tokens, err = append(tokens, more...), decisive(err, placeErr)
	}
	slices.Sort(tokens)
	return slices.Compact(tokens), err
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
	e, _ := errors.AsType[*jwtauth.Error](err)
	switch {
	case e == nil && !errors.Is(err, jwtauth.ErrRefused) && !fault.IsUnavailable(err):
		h.report(r, event.Unavailable, "endpoint", err) // a mistake in the program: the client gets only a 500
	case e != nil && e.Code == "invalid_request":
		// jwtauth.WriteError would add a challenge, as for an API with access tokens (RFC 6750).
		wire.WriteError(w, r, e.Status, wire.Error{Code: e.Code, Description: e.Description, Next: e.Next}, e.RetryAfter)
		return
	}
	jwtauth.WriteError(w, r, err)
}
