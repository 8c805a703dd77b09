package loginserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

// newDemo makes a server with the buttons that make trouble, and a browser where alice is logged in.
func newDemo(t *testing.T) (*testServer, *programtest.Browser) {
	s := newTestServer(t, nil)
	s.isDemo = true
	s.h = s.handler()
	b := programtest.NewBrowser(t, s.h)
	require.Equal(t, 200, b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {usersPassword}}).Code)
	return s, b
}

func TestThePageLoadsOnlyItsOwnFiles(t *testing.T) {
	p := start(t, nil)
	for path, mediaType := range map[string]string{
		"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8", "/page/style.css": "text/css; charset=utf-8", "/jwtauth.mjs": "text/javascript; charset=utf-8",
	} {
		a := p.Send("GET", path, "", "")
		require.Equal(t, 200, a.Status, path)
		require.Equal(t, mediaType, a.Header.Get("Content-Type"))
		require.NotContains(t, a.Body, "http://")
		require.NotContains(t, a.Body, "https://")
		require.NotContains(t, a.Body, "style=")
		require.NotContains(t, a.Body, "innerHTML")
	}
	require.Equal(t, pagePolicy, p.Send("GET", "/", "", "").Header.Get("Content-Security-Policy"))
	require.Equal(t, 404, p.Send("GET", "/page/", "", "").Status)
	require.Equal(t, 404, p.Send("GET", "/page/../page.go", "", "").Status)
}

// button presses a button of the page, and returns the outcome.
func button(t *testing.T, b *programtest.Browser, what string) string {
	t.Helper()
	token := refreshOnce(t, b)
	a := b.FetchWithToken("POST", "/demo/"+what, token)
	require.Equal(t, 200, a.Code, a.Body)
	var answer struct{ Outcome string }
	require.NoError(t, json.Unmarshal(a.Body.Bytes(), &answer))
	return answer.Outcome
}

// refreshOnce returns the access token of a refresh.
func refreshOnce(t *testing.T, b *programtest.Browser) string {
	t.Helper()
	a := b.Fetch("POST", "/auth/refresh")
	require.Equal(t, 200, a.Code, a.Body)
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(a.Body.Bytes(), &tokens))
	return tokens.AccessToken
}

func TestTheTheftOfThePageIsFound(t *testing.T) {
	s, b := newDemo(t)
	button(t, b, "copy")
	refreshOnce(t, b)
	token := refreshOnce(t, b)
	a := b.FetchWithToken("POST", "/demo/steal", token)
	require.Contains(t, a.Body.String(), "it was refused")
	require.Equal(t, 400, b.Fetch("POST", "/auth/refresh").Code)
	require.Contains(t, s.log.String(), `"kind":"token_reused"`)
}

func TestALostAnswerOfThePageLogsNobodyOut(t *testing.T) {
	s, b := newDemo(t)
	button(t, b, "lose")
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { b.Fetch("POST", "/auth/refresh") })
	refreshOnce(t, b)
	require.Contains(t, s.log.String(), `"kind":"refresh_replayed"`)
	require.NotContains(t, s.log.String(), "token_reused")

	button(t, b, "down")
	a := b.Fetch("POST", "/auth/refresh")
	require.Equal(t, 503, a.Code)
	require.Equal(t, "1", a.Header().Get("Retry-After"))
	require.Empty(t, a.Header()["Set-Cookie"])
}

func TestOnlyADemoHasButtonsThatMakeTrouble(t *testing.T) {
	s := newTestServer(t, nil)
	b := programtest.NewBrowser(t, s.h)
	require.Equal(t, 200, b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {usersPassword}}).Code)
	token := refreshOnce(t, b)
	for _, what := range []string{"lose", "down", "copy", "steal"} {
		require.Equal(t, 404, b.FetchWithToken("POST", "/demo/"+what, token).Code)
	}
	_, demo := newDemo(t)
	require.Equal(t, 401, demo.Fetch("POST", "/demo/lose").Code)
}
