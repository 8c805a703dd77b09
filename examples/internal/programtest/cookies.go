package programtest

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Browser is a client with cookies. It sends the requests of pages of a handler, at
// https://app.test.
type Browser struct {
	t   testing.TB
	h   http.Handler
	jar *cookiejar.Jar
}

// NewBrowser makes a Browser without cookies.
func NewBrowser(t testing.TB, h http.Handler) *Browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &Browser{t, h, jar}
}

// Open loads a page, as a click on a link does.
func (b *Browser) Open(path string) *httptest.ResponseRecorder {
	return b.do("GET", path, "", map[string]string{"Sec-Fetch-Mode": "navigate"})
}

// Submit sends a form of a page.
func (b *Browser) Submit(path string, fields url.Values) *httptest.ResponseRecorder {
	return b.do("POST", path, fields.Encode(), map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"})
}

// SubmitFromElsewhere sends a form of a page of another site.
func (b *Browser) SubmitFromElsewhere(path string, fields url.Values) *httptest.ResponseRecorder {
	return b.do("POST", path, fields.Encode(), map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.test"})
}

// Fetch sends a request of a script without a body.
func (b *Browser) Fetch(method, path string) *httptest.ResponseRecorder {
	return b.do(method, path, "", map[string]string{"X-CSRF": "1", "Sec-Fetch-Site": "same-origin"})
}

func (b *Browser) do(method, path, body string, headers map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://app.test"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	answer := httptest.NewRecorder()
	b.h.ServeHTTP(answer, r)
	b.jar.SetCookies(r.URL, answer.Result().Cookies())
	return answer
}

// FetchWithToken sends a request of a script with an access token.
func (b *Browser) FetchWithToken(method, path, token string) *httptest.ResponseRecorder {
	return b.do(method, path, "", map[string]string{"X-CSRF": "1", "Sec-Fetch-Site": "same-origin", "Authorization": "Bearer " + token})
}

// RequireCookieLogin logs in, refreshes and logs out with cookies at /auth.
func RequireCookieLogin(t testing.TB, h http.Handler, name, password string) {
	t.Helper()
	b := NewBrowser(t, h)
	require.Equal(t, 401, b.Submit("/auth/login", url.Values{"username": {name}, "password": {"wrong"}}).Code)
	require.Equal(t, 200, b.Submit("/auth/login", url.Values{"username": {name}, "password": {password}}).Code)
	require.Equal(t, 200, b.Fetch("POST", "/auth/refresh").Code)
	require.Equal(t, 204, b.Fetch("POST", "/auth/logout").Code)
	require.Equal(t, 400, b.Fetch("POST", "/auth/refresh").Code)
}
