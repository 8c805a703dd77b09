package endpoints

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html"
	"net/http"
	"net/url"
	"strings"

	"github.com/jwtauth-go/jwtauth"
)

// isNavigation reports whether a browser loads a page, in contrast to a script that calls an
// API.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// localPath returns a text if it is a path of this host, with or without a query. For any other
// text, such as the URL of another host, it returns "/".
func localPath(s string) string {
	u, err := url.Parse(s)
	isLocal := err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && len(s) <= 2048 &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '\\' || c > '~' })
	if !isLocal {
		return "/"
	}
	return s
}

// redirect sends the browser to a path of this host, with GET.
func redirect(w http.ResponseWriter, path string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

// loginPage returns the path of the login page with the parameters return and error.
func (h *Handlers) loginPage(back, errorCode string) string {
	parameters := url.Values{"return": {back}}
	if errorCode != "" {
		parameters.Set("error", errorCode)
	}
	separator := "?"
	if strings.Contains(h.o.LoginPage, "?") {
		separator = "&"
	}
	return h.o.LoginPage + separator + parameters.Encode()
}

// onErrorWithLogin returns the option OnError of Auth. If a page needs a login, the browser goes to
// the login page. If a refresh may help, it goes to the page resume. fallback answers all other
// errors. A 503 therefore logs nobody out.
func (h *Handlers) onErrorWithLogin(fallback func(http.ResponseWriter, *http.Request, error)) func(http.ResponseWriter, *http.Request, error) {
	if fallback == nil {
		fallback = jwtauth.WriteError
	}
	return func(w http.ResponseWriter, r *http.Request, err error) {
		e, ok := errors.AsType[*jwtauth.Error](err)
		loginPath, _, _ := strings.Cut(h.o.LoginPage, "?")
		isPage := r.Method == http.MethodGet && isNavigation(r) && r.URL.Path != loginPath
		w.Header().Add("Vary", "Sec-Fetch-Mode, Accept, Cookie")
		if !ok || !isPage || e.Status != http.StatusUnauthorized {
			fallback(w, r, err)
			return
		}
		back := localPath(r.URL.RequestURI())
		_, noTag := h.cookies.currentTag(r)
		_, noToken := h.cookies.accessToken(r)
		// The browser may have dropped only the cookie with the access token.
		if e.Next == "refresh" || noTag == nil && errors.Is(noToken, jwtauth.ErrNoToken) {
			redirect(w, h.o.Path+"/resume?"+url.Values{"return": {back}}.Encode())
			return
		}
		redirect(w, h.loginPage(back, ""))
	}
}

//go:embed resume.js
var resumeScript string

// resumePolicy is the Content-Security-Policy of the page resume. Only resumeScript may run.
var resumePolicy = func() string {
	sum := sha256.Sum256([]byte(resumeScript))
	return "default-src 'none'; connect-src 'self'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// resume answers with a page whose script refreshes, and then goes back to the page that the
// browser wanted. The cookie of the refresh token has SameSite=Strict. If the user has followed a
// link from another site, the browser does not send that cookie with the request for the page
// resume. But it does send the cookie with the request of the script.
func (h *Handlers) resume(w http.ResponseWriter, r *http.Request) {
	back := localPath(r.URL.Query().Get("return"))
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	policy := resumePolicy
	if !h.cookies.current.Partitioned { // a page with Partitioned cookies may be in a frame of another site
		policy += "; frame-ancestors 'none'"
	}
	header.Set("Content-Security-Policy", policy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	login := html.EscapeString(h.loginPage(back, ""))
	_, _ = w.Write([]byte(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>One moment</title>
<body data-refresh="` + html.EscapeString(h.o.Path) + `/refresh" data-back="` + html.EscapeString(back) + `" data-login="` + login + `">
<p role="status" id="status">One moment: your login is being renewed.</p>
<p id="again" hidden><a href="` + login + `">Log in again</a></p>
<noscript><p>Without JavaScript, your login cannot be renewed. <a href="` + login + `">Log in again</a>.</p></noscript>
<script>` + resumeScript + `</script>
</body></html>
`)) // an error means that the client is gone
}
