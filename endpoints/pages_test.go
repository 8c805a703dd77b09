package endpoints_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// pageOptions are those of a site with pages.
func pageOptions() endpoints.Options {
	return endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, LoginPage: "/login"}
}

// navigation are the headers of a browser that loads a page.
var navigation = []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: none", "Origin:", "X-CSRF:", "Accept: text/html,*/*;q=0.8"}

// formPost are the headers of a browser that sends the form of a page.
var formPost = []string{"Sec-Fetch-Mode: navigate", "X-CSRF:"}

func (b *browser) open(path string) answer { return b.do("GET", path, "", navigation...) }

func TestAPageWithoutALoginGoesToTheLoginPageAndComesBack(t *testing.T) {
	b := newSite(t, pageOptions()).browser()
	a := b.open("/me?a=1&b=%2F")
	require.Equal(t, 303, a.Code)
	require.Equal(t, "/login?return=%2Fme%3Fa%3D1%26b%3D%252F", a.Header().Get("Location"))
	require.Equal(t, "no-store", a.Header().Get("Cache-Control"))
	require.Contains(t, a.Header().Get("Vary"), "Sec-Fetch-Mode")
	back, err := url.Parse(a.Header().Get("Location"))
	require.NoError(t, err)

	fields := url.Values{"username": {"alice"}, "password": {"guess"}, "return": {back.Query().Get("return")}}
	a = b.do("POST", "/auth/login", fields.Encode(), formPost...)
	require.Equal(t, 303, a.Code)
	require.Equal(t, "/login?error=invalid_credentials&return=%2Fme%3Fa%3D1%26b%3D%252F", a.Header().Get("Location"))
	require.Empty(t, a.Header()["Set-Cookie"])

	fields.Set("password", password)
	a = b.do("POST", "/auth/login", fields.Encode(), formPost...)
	require.Equal(t, 303, a.Code)
	require.Equal(t, "/me?a=1&b=%2F", a.Header().Get("Location"))
	require.Empty(t, strings.TrimSpace(a.Body.String()), "no token is in a body that the browser shows")
	require.Equal(t, "alice", b.open("/me").Body.String())

	a = b.do("POST", "/auth/logout", "x=y", formPost...)
	require.Equal(t, 303, a.Code)
	require.Equal(t, "/login", a.Header().Get("Location"))
	require.Equal(t, 303, b.open("/me").Code)
}

func TestALogoutFormNeedsNoFields(t *testing.T) {
	b := newSite(t, pageOptions()).browser()
	b.login("alice")
	a := b.do("POST", "/auth/logout", "", append(formPost, "Content-Type: application/x-www-form-urlencoded")...)
	require.Equal(t, 303, a.Code)
	require.Equal(t, "/login", a.Header().Get("Location"))
	require.Equal(t, 303, b.open("/me").Code)
}

func TestAnExpiredPageGoesThroughTheRefreshPage(t *testing.T) {
	for name, expire := range map[string]func(b *browser){
		"the token has expired": func(b *browser) {},
		"the browser has dropped the cookie": func(b *browser) {
			var cookies []*http.Cookie
			for _, c := range b.jar.Cookies(b.request("GET", "/", "").URL) {
				if strings.Contains(c.Name, "access") {
					c.MaxAge = -1
					cookies = append(cookies, c)
				}
			}
			b.jar.SetCookies(b.request("GET", "/", "").URL, cookies)
		},
		"its access tokens were revoked": func(b *browser) {
			sessions, _, err := b.Issuer.Sessions(t.Context(), "alice", "")
			require.NoError(t, err)
			require.NoError(t, b.Issuer.ForceRefresh(t.Context(), "alice", sessions[0].ID))
			b.Clock.Advance(-16 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSite(t, pageOptions()).browser()
			b.login("alice")
			b.Clock.Advance(16 * time.Minute)
			expire(b)
			a := b.open("/me?a=1")
			require.Equal(t, 303, a.Code)
			require.Equal(t, "/auth/resume?return=%2Fme%3Fa%3D1", a.Header().Get("Location"))
			a = b.open(a.Header().Get("Location"))
			require.Equal(t, 200, a.Code)
			require.Contains(t, a.Body.String(), `data-refresh="/auth/refresh" data-back="/me?a=1" data-login="/login?return=%2Fme%3Fa%3D1"`)
			require.Contains(t, a.Header().Get("Content-Security-Policy"), "default-src 'none'")
			require.Equal(t, "alice", b.user()) // what the script of the page does
			require.Equal(t, "alice", b.open("/me").Body.String())
		})
	}
}

func TestOnlyPagesThatNeedALoginAreRedirected(t *testing.T) {
	s := newSite(t, pageOptions())
	s.Handler.(*http.ServeMux).Handle("/admin", s.h.Auth().With(jwtauth.Scopes("admin")).Require(http.NotFoundHandler()))
	b := s.browser()
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
	}{
		{"a page", "GET", "/me", nil, 303},
		{"an old browser", "GET", "/me", []string{"Sec-Fetch-Mode:"}, 303},
		{"a script", "GET", "/me", []string{"Sec-Fetch-Mode: cors", "Accept: */*"}, 401},
		{"a script that takes HTML", "GET", "/me", []string{"Sec-Fetch-Mode: cors"}, 401},
		{"an image", "GET", "/me", []string{"Sec-Fetch-Mode: no-cors"}, 401},
		{"a WebSocket", "GET", "/me", []string{"Sec-Fetch-Mode: websocket"}, 401},
		{"a program", "GET", "/me", []string{"Sec-Fetch-Mode:", "Accept: */*"}, 401},
		{"a form", "POST", "/me", nil, 401},
		{"HEAD", "HEAD", "/me", nil, 401},
	} {
		a := b.do(c.method, c.path, "", append(append([]string{}, navigation...), c.headers...)...)
		require.Equal(t, c.status, a.Code, c.name)
		if c.status == 401 {
			require.NotEmpty(t, a.Header().Get("WWW-Authenticate"), c.name)
		}
	}
	b.login("alice")
	require.Equal(t, 403, b.open("/admin").Code)
	s.stores.Before = fixture.Failing
	a := b.open("/me")
	require.Equal(t, 503, a.Code)
	require.NotEmpty(t, a.Header().Get("Retry-After"))
	s.stores.Before = nil
	require.NoError(t, s.Issuer.EndAllSessions(t.Context(), "alice"))
	a = b.open("/me")
	require.Equal(t, "/login?return=%2Fme", a.Header().Get("Location"), "a session that has ended needs a login")
}

func TestALoginPageThatNeedsALoginIsNotRedirectedToItself(t *testing.T) {
	o := pageOptions()
	o.LoginPage = "/me?lang=en"
	require.Equal(t, 401, newSite(t, o).browser().open("/me?return=%2F").Code)
}

func TestAPageInAFrameOfAnotherSiteCanBeRenewedThere(t *testing.T) {
	for _, partitioned := range []bool{false, true} {
		o := pageOptions()
		o.RefreshCookie.Partitioned, o.AccessCookie.Partitioned = partitioned, partitioned
		policy := newSite(t, o).browser().open("/auth/resume").Header().Get("Content-Security-Policy")
		require.Equal(t, !partitioned, strings.Contains(policy, "frame-ancestors 'none'"))
		require.Contains(t, policy, "default-src 'none'")
	}
}

// Browsers send Sec-Fetch-Site only to hosts with https, and to this machine.
func TestFormsWorkWithPlainHTTP(t *testing.T) {
	o := pageOptions()
	o.RefreshCookie.InsecureHTTP, o.AccessCookie.InsecureHTTP = true, true
	b := newSite(t, o).browser()
	fields := "username=alice&password=" + strings.ReplaceAll(password, " ", "+")
	for origin, status := range map[string]int{"http://app.test": 303, "http://evil.test": 403, "null": 403, "http://app.test:81": 403} {
		a := b.send(b.request("POST", "/auth/login", fields, "Origin: "+origin, "Sec-Fetch-Site:", "Sec-Fetch-Mode:", "X-CSRF:", "Accept: text/html"))
		require.Equal(t, status, a.Code, origin)
	}
}

func TestTheAnswersOfTheProgramAreKept(t *testing.T) {
	o := pageOptions()
	o.LoginPage = "/login?lang=en"
	o.Middleware.OnError = func(w http.ResponseWriter, _ *http.Request, err error) {
		e, _ := errors.AsType[*jwtauth.Error](err)
		http.Error(w, "sorry", e.Status)
	}
	b := newSite(t, o).browser()
	require.Equal(t, "sorry\n", b.do("GET", "/me", "").Body.String())
	require.Equal(t, "/login?lang=en&return=%2Fme", b.open("/me").Header().Get("Location"))
}

// A page for everybody shows a user whose access token has expired as logged in, and not as
// anonymous.
func TestAPageForEverybodyAlsoGoesThroughTheRefreshPage(t *testing.T) {
	s := newSite(t, pageOptions())
	s.Handler.(*http.ServeMux).Handle("/{$}", s.h.Auth().Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = w.Write([]byte("hello " + token.Subject))
	})))
	b := s.browser()
	require.Equal(t, "hello ", b.open("/").Body.String())
	b.login("alice")
	require.Equal(t, "hello alice", b.open("/").Body.String())
	b.Pass(6 * 24 * time.Hour)
	require.Equal(t, "/auth/resume?return=%2F", b.open("/").Header().Get("Location"))
	require.Equal(t, "alice", b.user())
	require.Equal(t, "hello alice", b.open("/").Body.String())
	require.Equal(t, 204, b.do("POST", "/auth/logout", "").Code)
	require.Equal(t, "hello ", b.open("/").Body.String())
}

func TestTheRefreshPageRepeatsNothingThatIsNotEscaped(t *testing.T) {
	b := newSite(t, pageOptions()).browser()
	a := b.do("POST", "/auth/login", "username=alice&password="+url.QueryEscape(password)+"&return="+url.QueryEscape("/proxy/https://x.test/a/../b"), formPost...)
	require.Equal(t, "/proxy/https://x.test/a/../b", a.Header().Get("Location"), "the path is not changed")
	for _, back := range []string{`/"><script>alert(1)</script>`, "/'&lt;", `/" onload="x`} {
		body := b.open("/auth/resume?return=" + url.QueryEscape(back)).Body.String()
		require.NotContains(t, body, "<script>alert")
		require.NotContains(t, body, `" onload`)
		require.Equal(t, 1, strings.Count(body, "<script>"))
	}
}
