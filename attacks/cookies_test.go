package attacks_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

var cookieAttacks = []attack{
	{"T09", "header and cookie disagree", attackTwoPlaces},
	{"T11", "two cookies with one name", attackTwoCookies},
	{"T13", "cookie attributes", attackCookieAttributes},
	{"T14", "cookie attributes, finer", attackCookieLife},
	{"T15", "CSRF", attackCSRF},
	{"T16", "CSRF, trusted list", attackTrustedOrigins},
	{"T24", "CSRF at WebSockets", attackWebSocketByCookie},
	{"T25", "login CSRF", attackLoginCSRF},
	{"T26", "session fixation and cookie tossing", attackTossing},
	{"T27", "cookie bombs", attackCookieBombs},
	{"T28", "late answers", attackLateAnswers},
	{"T29", "tokens that do not fit a cookie", attackOversize},
	{"T30", "open redirects of the login", attackOpenRedirects},
}

const accessCookie = "__Host-Http-access"

// cookieWorld is a World whose handler takes the token from a header or a cookie.
func cookieWorld(t *testing.T, places ...jwtauth.Extractor) (*fixture.World, http.Handler) {
	w := fixture.New(t)
	return w, w.Middleware(jwtauth.MiddlewareOptions{Extractors: places}).Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = rw.Write([]byte("hello " + token.Subject))
	}))
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

func withCookies(r *http.Request, cookies ...string) *http.Request {
	r.Header.Set("Cookie", strings.Join(cookies, "; "))
	return r
}

func requireStatus(t *testing.T, status int, code string, answer *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, status, answer.Code, answer.Body)
	require.NotContains(t, answer.Body.String(), "hello")
	require.Contains(t, answer.Body.String(), `"error":"`+code+`"`)
}

func attackTwoPlaces(t *testing.T) {
	w, h := cookieWorld(t, jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(accessCookie))
	alice, bob := w.Login("alice").AccessToken, w.Login("bob").AccessToken
	for _, cookie := range []string{alice, bob, "garbage"} {
		requireStatus(t, 400, "invalid_request", serve(h, withCookies(fixture.Request("GET", "/", "Bearer "+alice), accessCookie+"="+cookie)))
	}
	// With FirstOf, the first place decides, also if its token is bad.
	w, h = cookieWorld(t, jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(accessCookie)))
	alice, bob = w.Login("alice").AccessToken, w.Login("bob").AccessToken
	require.Equal(t, "hello alice", serve(h, withCookies(fixture.Request("GET", "/", "Bearer "+alice), accessCookie+"="+bob)).Body.String())
	require.Equal(t, "hello bob", serve(h, withCookies(fixture.Request("GET", "/"), accessCookie+"="+bob)).Body.String())
	requireStatus(t, 401, "invalid_token", serve(h, withCookies(fixture.Request("GET", "/", "Bearer garbage"), accessCookie+"="+bob)))
	requireStatus(t, 401, "invalid_token", serve(h, withCookies(fixture.Request("GET", "/", "Bearer"), accessCookie+"="+bob)))
}

func attackTwoCookies(t *testing.T) {
	w, h := cookieWorld(t, jwtauth.FromCookie(accessCookie))
	alice, bob := w.Login("alice").AccessToken, w.Login("bob").AccessToken
	for _, pair := range [][2]string{{alice, bob}, {bob, alice}, {alice, alice}, {alice, "x"}, {"x", alice}, {alice, ""}, {"", alice}} {
		requireStatus(t, 400, "invalid_request", serve(h, withCookies(fixture.Request("GET", "/"), accessCookie+"="+pair[0], accessCookie+"="+pair[1])))
		r := fixture.Request("GET", "/")
		r.Header["Cookie"] = []string{accessCookie + "=" + pair[0], accessCookie + "=" + pair[1]}
		requireStatus(t, 400, "invalid_request", serve(h, r))
	}
	// A cookie with another name does not count, however similar the name is.
	for _, name := range []string{"__host-http-access", "access", "__Host-access", accessCookie + "x"} {
		require.Equal(t, "hello alice", serve(h, withCookies(fixture.Request("GET", "/"), name+"="+bob, accessCookie+"="+alice)).Body.String())
		require.Equal(t, 401, serve(h, withCookies(fixture.Request("GET", "/"), name+"="+bob)).Code)
	}
}

// loginSite is a service with cookies.
type loginSite struct {
	*fixture.World
	http.Handler
}

func newLoginSite(t *testing.T, o endpoints.Options) *loginSite {
	w := fixture.New(t)
	o.Login = func(_ *http.Request, name, password string) (jwtauth.Grant, error) {
		if password != "right" {
			return jwtauth.Grant{}, jwtauth.ErrGrantRefused
		}
		return jwtauth.Grant{Subject: name}, nil
	}
	o.RefreshCookie, o.AccessCookie = &endpoints.Cookie{}, &endpoints.Cookie{}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", h)
	mux.Handle("/", h.Auth().Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = rw.Write([]byte("hello " + token.Subject))
	})))
	return &loginSite{w, mux}
}

// post is the request of a script of a page of the own origin.
func post(path, body string, cookies []*http.Cookie) *http.Request {
	r := httptest.NewRequest("POST", "https://app.test"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://app.test")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-CSRF", "fetch")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func (s *loginSite) login(t *testing.T, name string, before ...*http.Cookie) []*http.Cookie {
	t.Helper()
	answer := serve(s, post("/auth/login", `{"username":"`+name+`","password":"right"}`, before))
	require.Equal(t, 200, answer.Code, answer.Body)
	var set []*http.Cookie
	for _, c := range answer.Result().Cookies() {
		if c.MaxAge > 0 {
			set = append(set, c)
		}
	}
	return set
}

func attackCookieAttributes(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	cookies := s.login(t, "alice")
	require.Len(t, cookies, 3)
	for _, c := range cookies {
		require.True(t, strings.HasPrefix(c.Name, "__Host-Http-"), c.Name)
		require.True(t, c.HttpOnly && c.Secure && c.Path == "/" && c.Domain == "", c)
		require.True(t, c.SameSite == http.SameSiteStrictMode || !strings.HasPrefix(c.Name, "__Host-Http-refresh-") && c.SameSite == http.SameSiteLaxMode, c)
	}
}

func attackCookieLife(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	cookies := s.login(t, "alice")
	ages := map[string]int{}
	for _, c := range cookies {
		ages[strings.TrimRight(strings.TrimPrefix(c.Name, "__Host-Http-"), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")] = c.MaxAge
	}
	require.Equal(t, map[string]int{"access-": 7 * 24 * 3600, "refresh-": 7 * 24 * 3600, "refresh": 30 * 24 * 3600}, ages)
	answer := serve(s, post("/auth/logout", "", cookies))
	require.Equal(t, 204, answer.Code)
	for _, cleared := range answer.Result().Cookies() {
		require.Equal(t, -1, cleared.MaxAge)
		for _, c := range cookies {
			if c.Name == cleared.Name {
				require.Equal(t, []any{c.Path, c.Domain, c.Secure, c.HttpOnly, c.SameSite}, []any{cleared.Path, cleared.Domain, cleared.Secure, cleared.HttpOnly, cleared.SameSite})
			}
		}
	}
	for _, cookie := range []endpoints.Cookie{{Partitioned: true, InsecureHTTP: true}, {Name: "refresh"}, {Name: "__Secure-refresh"}} {
		_, err := endpoints.New(s.Issuer, endpoints.Options{RefreshCookie: &cookie})
		require.Error(t, err, "SameSite=None needs Secure, and other hosts must not set the cookie")
	}
}

// foreignPages are the headers of a request that a page of another origin has made.
var foreignPages = []map[string]string{
	{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Origin": "null"}, {"Origin": "null"},
	{"Origin": "https://evil.test"}, {"Origin": "https://sibling.app.test"}, {"Origin": "https://app.test.evil.test"}, {"Origin": "https://evilapp.test"},
	{"Origin": "https://app.test:8443"}, {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.test"},
	// These begin and end like the trusted origin, or have another scheme or port.
	{"Origin": "https://front.test.evil.test"}, {"Origin": "https://evilfront.test"}, {"Origin": "http://front.test"}, {"Origin": "https://front.test:444"},
	{"Origin": "https://front.test/"}, {"Origin": "https://user@front.test"}, {"Sec-Fetch-Site": "nonsense"},
}

func fromPage(r *http.Request, headers map[string]string) *http.Request {
	r.Header.Del("Origin")
	r.Header.Del("Sec-Fetch-Site")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return r
}

func attackCSRF(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	cookies := s.login(t, "alice")
	for _, headers := range foreignPages {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			r := post("/orders", "{}", cookies)
			r.Method = method
			requireStatus(t, 403, "access_denied", serve(s, fromPage(r, headers)))
		}
		for _, path := range []string{"refresh", "logout", "sessions/end-all", "sessions/end-others"} {
			answer := serve(s, fromPage(post("/auth/"+path, "", cookies), headers))
			requireStatus(t, 403, "access_denied", answer)
			require.Empty(t, answer.Header()["Set-Cookie"])
		}
	}
	// Without the header, a script or form could be one of another site in an old browser.
	for _, path := range []string{"refresh", "logout"} {
		r := fromPage(post("/auth/"+path, "", cookies), nil)
		r.Header.Del("X-CSRF")
		requireStatus(t, 403, "access_denied", serve(s, r))
	}
	require.Equal(t, "hello alice", serve(s, post("/orders", "{}", cookies)).Body.String())
	require.Equal(t, 200, serve(s, post("/auth/refresh", "", cookies)).Code)
}

func attackTrustedOrigins(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{TrustedOrigins: []string{"https://front.test"}})
	cookies := s.login(t, "alice")
	w, h := cookieWorld(t, jwtauth.FromCookie(accessCookie, "https://front.test"))
	cookie := accessCookie + "=" + w.Login("alice").AccessToken
	for _, headers := range foreignPages {
		requireStatus(t, 403, "access_denied", serve(s, fromPage(post("/orders", "{}", cookies), headers)))
		requireStatus(t, 403, "access_denied", serve(s, fromPage(post("/auth/refresh", "", cookies), headers)))
		r := withCookies(httptest.NewRequest("POST", "https://app.test/", nil), cookie)
		requireStatus(t, 403, "access_denied", serve(h, fromPage(r, headers)))
	}
	trusted := map[string]string{"Origin": "https://front.test", "Sec-Fetch-Site": "cross-site"}
	require.Equal(t, "hello alice", serve(s, fromPage(post("/orders", "{}", cookies), trusted)).Body.String())
	require.Equal(t, 200, serve(s, fromPage(post("/auth/refresh", "", cookies), trusted)).Code)
	require.Equal(t, "hello alice", serve(h, fromPage(withCookies(httptest.NewRequest("POST", "https://app.test/", nil), cookie), trusted)).Body.String())
	for _, list := range [][]string{{"*"}, {"https://*.test"}, {"front.test"}, {"https://front.test/"}, {"null"}, {""}} {
		_, err := endpoints.New(s.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, TrustedOrigins: list})
		require.Error(t, err, list)
	}
}

// A browser lets every page open a WebSocket to every host, with the cookies of that host. The
// method of the handshake is GET, so http.CrossOriginProtection accepts it.
func attackWebSocketByCookie(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{TrustedOrigins: []string{"https://front.test"}})
	cookies := s.login(t, "alice")
	handshake := func(upgrade string, origins ...string) *http.Request {
		r := post("/stream", "", cookies)
		r.Method, r.Header["Origin"] = "GET", origins
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", upgrade)
		return r
	}
	for _, upgrade := range []string{"websocket", "WebSocket", "h2c, websocket", " websocket "} {
		for _, origins := range [][]string{nil, {""}, {"null"}, {"http://app.test"}, {"ws://app.test"}, {"https://evil.test"}, {"https://sibling.app.test"}, {"https://app.test:8443"}, {"https://app.test", "https://evil.test"}, {"https://front.test.evil.test"}} {
			requireStatus(t, 403, "access_denied", serve(s, handshake(upgrade, origins...)))
		}
		for _, origin := range []string{"https://app.test", "https://front.test"} {
			require.Equal(t, "hello alice", serve(s, handshake(upgrade, origin)).Body.String())
		}
	}
	connect := handshake("", "https://evil.test") // HTTP/2 (RFC 8441)
	connect.Method = "CONNECT"
	connect.Header.Set(":protocol", "websocket")
	requireStatus(t, 403, "access_denied", serve(s, connect))
}

// Another site logs the browser in as the attacker, so that the user enters data there.
func attackLoginCSRF(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	victim := s.login(t, "alice")
	for _, headers := range append(foreignPages, nil) {
		for contentType, body := range map[string]string{
			"application/json": `{"username":"mallory","password":"right"}`, "application/x-www-form-urlencoded": "username=mallory&password=right",
			"text/plain": `{"username":"mallory","password":"right"}`,
		} {
			r := fromPage(post("/auth/login", body, victim), headers)
			r.Header.Del("X-CSRF") // a page of another origin can set it only after a preflight
			r.Header.Set("Content-Type", contentType)
			answer := serve(s, r)
			require.GreaterOrEqual(t, answer.Code, 400)
			require.Empty(t, answer.Header()["Set-Cookie"])
		}
	}
	require.Equal(t, 200, serve(s, post("/auth/refresh", "", victim)).Code)
}

// A sibling host sets cookies for the whole site, before the login or beside it. It cannot use
// names with the prefix __Host-, so its cookies have no effect.
func attackTossing(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	mallory := s.login(t, "mallory")
	var tossed []*http.Cookie
	for _, c := range mallory {
		for _, prefix := range []string{"", "__Http-", "__Secure-", "__host-http-", "__HOST-HTTP-"} {
			tossed = append(tossed, &http.Cookie{Name: prefix + strings.TrimPrefix(c.Name, "__Host-Http-"), Value: c.Value})
		}
	}
	require.Equal(t, 401, serve(s, post("/orders", "{}", tossed)).Code)
	requireStatus(t, 400, "invalid_grant", serve(s, post("/auth/refresh", "", tossed)))
	alice := s.login(t, "alice", tossed...)
	for _, cookies := range [][]*http.Cookie{append(tossed, alice...), append(alice, tossed...)} {
		require.Equal(t, "hello alice", serve(s, post("/orders", "{}", cookies)).Body.String())
	}
	// A login never takes over a session that was there before.
	before := s.login(t, "mallory")
	after := s.login(t, "alice", before...)
	for _, c := range after {
		for _, old := range before {
			require.NotEqual(t, old.Value, c.Value)
		}
	}
	requireStatus(t, 400, "invalid_grant", serve(s, post("/auth/refresh", "", before)))
}

func attackCookieBombs(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{})
	alice := s.login(t, "alice")
	var bomb []*http.Cookie
	for i := range 1000 {
		bomb = append(bomb, &http.Cookie{Name: fmt.Sprint("__Host-Http-refresh-", i), Value: "x"}, &http.Cookie{Name: fmt.Sprintf("__Host-Http-refresh-%012d", i), Value: "x"})
	}
	cookies := append(bomb, alice...)
	require.Equal(t, "hello alice", serve(s, post("/orders", "{}", cookies)).Body.String())
	require.Equal(t, 200, serve(s, post("/auth/refresh", "", cookies)).Code)
	for i := range 100 {
		tag := "AAAAAAAAAA" + string(rune('A'+i/26)) + string(rune('A'+i%26))
		bomb = append(bomb, &http.Cookie{Name: "__Host-Http-refresh-" + tag, Value: "x"})
	}
	answer := serve(s, post("/auth/login", `{"username":"alice","password":"right"}`, bomb))
	require.Equal(t, 200, answer.Code)
	require.Less(t, len(answer.Header()["Set-Cookie"]), 20, "the work of a login is bounded")
	// If all cookies are gone, the user is logged out, and can log in again.
	requireStatus(t, 400, "invalid_grant", serve(s, post("/auth/refresh", "", nil)))
	s.login(t, "alice")
}

// jarOf applies answers to the cookies of a browser.
func jarOf(answers ...*httptest.ResponseRecorder) []*http.Cookie {
	jar := map[string]*http.Cookie{}
	for _, a := range answers {
		for _, c := range a.Result().Cookies() {
			if jar[c.Name] = c; c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
	}
	list := make([]*http.Cookie, 0, len(jar))
	for _, c := range jar {
		list = append(list, c)
	}
	return list
}

// An answer to alice's refresh or logout arrives after bob has logged in with the same browser.
func attackLateAnswers(t *testing.T) {
	for _, path := range []string{"refresh", "logout"} {
		s := newLoginSite(t, endpoints.Options{})
		first := serve(s, post("/auth/login", `{"username":"alice","password":"right"}`, nil))
		late := serve(s, post("/auth/"+path, "", jarOf(first)))
		second := serve(s, post("/auth/login", `{"username":"bob","password":"right"}`, jarOf(first)))
		cookies := jarOf(first, second, late)
		require.Equal(t, "hello bob", serve(s, post("/", "", cookies)).Body.String(), path)
		answer := serve(s, post("/auth/refresh", "", cookies))
		require.Equal(t, 200, answer.Code)
		require.Equal(t, "hello bob", serve(s, post("/", "", jarOf(first, second, late, answer))).Body.String())
	}
}

// A browser drops a cookie of more than 4096 bytes, and keeps the one that it had: the token of
// another user, or one that was redeemed.
func attackOversize(t *testing.T) {
	w := fixture.New(t)
	for size := 3000; size <= 3900; size += 25 {
		h, err := endpoints.New(w.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}})
		require.NoError(t, err)
		answer := httptest.NewRecorder()
		_, err = h.Start(answer, httptest.NewRequest("POST", "/", nil), jwtauth.Grant{Subject: strings.Repeat("a", 900), Scopes: []string{strings.Repeat("s", size-2200)}, Claims: map[string]any{"c": strings.Repeat("c", 900)}})
		for _, c := range answer.Result().Cookies() {
			require.LessOrEqual(t, len(c.Name)+len(c.Value), 4096)
		}
		if err != nil {
			require.ErrorContains(t, err, "cookie")
			require.Empty(t, answer.Result().Cookies())
		}
	}
}

func attackOpenRedirects(t *testing.T) {
	s := newLoginSite(t, endpoints.Options{LoginPage: "/login"})
	for _, back := range []string{
		"https://evil.test", "//evil.test", "///evil.test", `/\evil.test`, `\\evil.test`, "/\t/evil.test", "/\n/evil.test", "javascript:alert(1)", "evil.test",
		"https:evil.test", "/ /evil.test", "data:text/html,x", "//evil.test/%2f..", "\x00/", "/a\r\nSet-Cookie: a=b", "http:///evil.test", "/%zz",
	} {
		form := strings.NewReader("username=alice&password=right&return=" + url.QueryEscape(back))
		r := httptest.NewRequest("POST", "https://app.test/auth/login", form)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		answer := serve(s, r)
		require.Equal(t, 303, answer.Code)
		require.Equal(t, "/", answer.Header().Get("Location"), back)

		resume := serve(s, httptest.NewRequest("GET", "https://app.test/auth/resume?return="+url.QueryEscape(back), nil))
		require.Equal(t, 200, resume.Code)
		require.Contains(t, resume.Body.String(), `data-back="/"`, back)
		require.NotContains(t, resume.Body.String(), "evil")
	}
}
