package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// testServer is a server without a listener, for tests that set the time, the
// address of the client or what the server is made of.
type testServer struct {
	*server
	t   testing.TB
	h   http.Handler
	log *output
}

// someKey saves tests from making a key each.
var someKey = sync.OnceValues(func() (*jwtauth.SigningKey, error) { return jwtauth.GenerateKey(jwtauth.ES256) })

// newTestServer makes one with the default flags but for args.
func newTestServer(t testing.TB, args []string, users ...user) *testServer {
	t.Helper()
	c, err := parseFlags(append([]string{"-log", "json"}, args...), noEnv)
	require.NoError(t, err)
	key, err := someKey()
	require.NoError(t, err)
	keys, err := jwtauth.NewKeyRing(key)
	require.NoError(t, err)
	if len(users) == 0 {
		users = []user{{Name: "alice", Password: usersHash()}, {Name: "bob", Password: usersHash()}}
	}
	d, err := newDirectory(users)
	require.NoError(t, err)
	s := &testServer{t: t, log: newOutput()}
	log := newLog(s.log, c.logFormat)
	in, err := openStores(t.Context(), c, log)
	require.NoError(t, err)
	s.server, err = newServer(c, &parts{keys: keys, users: d, stores: in}, "https://i.test", log)
	require.NoError(t, err)
	s.h = s.handler()
	return s
}

// ask sends a request as a client at 192.0.2.1.
func (s *testServer) ask(method, path, token, body string) answer {
	s.t.Helper()
	return s.askFrom("192.0.2.1:1234", method, path, token, body)
}

func (s *testServer) askFrom(address, method, path, token, body string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = address
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.serve(r)
}

func (s *testServer) serve(r *http.Request) answer {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (s *testServer) login(user, password string) (tokens jwtauth.TokenResponse) {
	s.t.Helper()
	a := s.ask("POST", "/api/login", "", loginBody(user, password))
	require.Equal(s.t, 200, a.status, a.body)
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &tokens))
	return tokens
}

func TestEachPathAnswersItsOwnMethodAlone(t *testing.T) {
	p := start(t, nil)
	for path, allow := range map[string]string{
		"/api/login": "POST", "/api/refresh": "POST", "/api/logout": "POST", "/api/logout-all": "POST", "/api/orders": "POST",
		"/api/protected": "GET, HEAD", "/api/sessions": "GET, HEAD", "/.well-known/jwks.json": "GET, HEAD", "/healthz": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := p.send(method, path, "", "")
			if strings.Contains(allow, method) {
				require.NotEqual(t, http.StatusMethodNotAllowed, a.status, method+" "+path)
				continue
			}
			require.Equal(t, http.StatusMethodNotAllowed, a.status, method+" "+path)
			require.Equal(t, allow, a.header.Get("Allow"))
			require.Equal(t, "invalid_request", a.member(t, "error"))
		}
	}
	a := p.send("GET", "/nowhere", "", "")
	require.Equal(t, http.StatusNotFound, a.status)
	require.Equal(t, "not_found", a.member(t, "error"))
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	p := start(t, nil)
	access, _ := p.login("alice")
	for _, c := range []struct{ method, path, token, body string }{
		{"GET", "/healthz", "", ""},
		{"GET", "/readyz", "", ""},
		{"GET", "/nowhere", "", ""},
		{"GET", "/api/login", "", ""},
		{"POST", "/api/login", "", loginBody("alice", "wrong")},
		{"POST", "/api/login", "", loginBody("alice", p.password("alice"))},
		{"POST", "/api/login", "", "{"},
		{"POST", "/api/refresh", "", refreshJSON("x")},
		{"GET", "/api/protected", access, ""},
		{"GET", "/api/protected", "", ""},
		{"GET", "/api/sessions", access, ""},
		{"POST", "/api/orders", access, ""},
		{"POST", "/api/logout-all", access, ""},
		{"POST", "/api/logout", access, ""},
		{"GET", "/.well-known/jwks.json", "", ""},
	} {
		a := p.send(c.method, c.path, c.token, c.body)
		name := c.method + " " + c.path
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), name)
		require.Equal(t, "no-referrer", a.header.Get("Referrer-Policy"), name)
		require.Equal(t, "default-src 'none'; frame-ancestors 'none'", a.header.Get("Content-Security-Policy"), name)
		require.Empty(t, a.header.Get("Strict-Transport-Security"), name)
		cache := "no-store"
		if c.path == "/.well-known/jwks.json" {
			cache = "public, max-age=300"
		}
		require.Equal(t, cache, a.header.Get("Cache-Control"), name)
		if a.body != "" && c.path != "/.well-known/jwks.json" {
			require.Equal(t, "application/json", a.header.Get("Content-Type"), name)
		}
	}
}

func TestAProtectedCallNeedsAToken(t *testing.T) {
	p := start(t, nil)
	access, refresh := p.login("alice")
	a := p.send("GET", "/api/protected", access, "")
	require.Equal(t, 200, a.status)
	require.Equal(t, "alice", a.member(t, "user"))
	require.Equal(t, []any{"orders:write"}, a.member(t, "scopes"))
	require.Equal(t, []any{"admin"}, a.member(t, "roles"))
	require.NotEmpty(t, a.member(t, "session_id"))
	require.NotEmpty(t, a.member(t, "expires_at"))

	for path, method := range map[string]string{"/api/protected": "GET", "/api/sessions": "GET", "/api/orders": "POST", "/api/logout-all": "POST"} {
		a = p.send(method, path, "", "")
		require.Equal(t, 401, a.status, path)
		require.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"), path)
		for _, bad := range []string{"x", access + "x", refresh} {
			a = p.send(method, path, bad, "")
			require.Equal(t, 401, a.status, path)
			require.Contains(t, a.header.Get("WWW-Authenticate"), `error="invalid_token"`, path)
			require.Equal(t, "invalid_token", a.member(t, "error"), path)
		}
	}
}

func TestAnOrderNeedsItsScope(t *testing.T) {
	p := start(t, nil)
	alice, _ := p.login("alice")
	a := p.send("POST", "/api/orders", alice, "")
	require.Equal(t, 201, a.status)
	require.Equal(t, "alice", a.member(t, "ordered_by"))
	bob, _ := p.login("bob")
	a = p.send("POST", "/api/orders", bob, "")
	require.Equal(t, 403, a.status)
	require.Equal(t, "insufficient_scope", a.member(t, "error"))
	require.Contains(t, a.header.Get("WWW-Authenticate"), `scope="orders:write"`)
	require.Equal(t, 200, p.send("GET", "/api/protected", bob, "").status)
}

func TestSessionsListsTheCallersOwn(t *testing.T) {
	s := newTestServer(t, nil)
	here := s.login("alice", usersPassword)
	r := httptest.NewRequest("POST", "/api/login", strings.NewReader(loginBody("alice", usersPassword)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Firefox on Linux")
	require.Equal(t, 200, s.serve(r).status)
	s.login("bob", usersPassword)

	a := s.ask("GET", "/api/sessions", here.AccessToken, "")
	require.Equal(t, 200, a.status)
	var list struct {
		Sessions []struct {
			ID, Label string
			Current   bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &list))
	require.Len(t, list.Sessions, 2)
	require.NotEqual(t, list.Sessions[0].Current, list.Sessions[1].Current)
	for _, session := range list.Sessions {
		if !session.Current {
			require.Equal(t, "Firefox on Linux", session.Label)
		}
	}
	require.NotContains(t, a.body, here.RefreshToken)
}

func TestPublishesItsPublicKey(t *testing.T) {
	p := start(t, nil)
	a := p.send("GET", "/.well-known/jwks.json", "", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, "application/jwk-set+json", a.header.Get("Content-Type"))
	require.NotEmpty(t, a.header.Get("ETag"))
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(a.body), &set))
	require.Len(t, set.Keys, 1)
	require.Equal(t, "ES256", set.Keys[0]["alg"])
	require.NotContains(t, set.Keys[0], "d")
}

func TestIsHealthy(t *testing.T) {
	p := start(t, nil)
	a := p.send("GET", "/healthz", "", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, "ok", a.member(t, "status"))
}

func TestLongHeadersAreRefused(t *testing.T) {
	p := start(t, nil)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, p.send("GET", "/healthz", strings.Repeat("a", 21<<10), "").status)
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	s := newTestServer(t, nil)
	ctx, cancel := context.WithCancel(jwtauth.NewContext(t.Context(), jwtauth.Token{Subject: "alice"}))
	cancel()
	for _, h := range []http.HandlerFunc{s.sessions, s.logoutAll} {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		require.Equal(t, 503, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	w := httptest.NewRecorder()
	s.protected(w, httptest.NewRequest("GET", "/", nil)) // as if it were not behind the middleware
	require.Equal(t, 401, w.Code)
}
