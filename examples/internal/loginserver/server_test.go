package loginserver

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
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// testServer is a server without a listener, for tests that control the time, the
// address of the client or the parts of the server.
type testServer struct {
	*server
	t   testing.TB
	h   http.Handler
	log *programtest.Output
}

// someKey makes one key for all tests.
var someKey = sync.OnceValues(func() (*jwk.SigningKey, error) { return jwk.Generate(jwk.ES256) })

// newTestServer makes a server with the default flags, except for args.
func newTestServer(t testing.TB, args []string, users ...user) *testServer {
	t.Helper()
	c, err := command.parseFlags(append([]string{"-log", "json"}, args...), programtest.NoEnv)
	require.NoError(t, err)
	key, err := someKey()
	require.NoError(t, err)
	keys, err := jwk.NewRing(key)
	require.NoError(t, err)
	if len(users) == 0 {
		users = []user{{Name: "alice", Password: usersHash()}, {Name: "bob", Password: usersHash()}}
	}
	d, err := newDirectory(users)
	require.NoError(t, err)
	s := &testServer{t: t, log: programtest.NewOutput()}
	log := newLog(s.log, c.logFormat)
	stores, err := OpenMemory(t.Context(), "", log)
	require.NoError(t, err)
	s.server, err = newServer(c, &parts{keys: keys, users: d, stores: stores}, "https://i.test", log)
	require.NoError(t, err)
	s.h = s.handler()
	return s
}

// ask sends a request as a client at 192.0.2.1.
func (s *testServer) ask(method, path, token, body string) programtest.Answer {
	s.t.Helper()
	return s.askFrom("192.0.2.1:1234", method, path, token, body)
}

func (s *testServer) askFrom(address, method, path, token, body string) programtest.Answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = address
	programtest.SetHeaders(r, token, body)
	return s.serve(r)
}

func (s *testServer) serve(r *http.Request) programtest.Answer {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return programtest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.String()}
}

func (s *testServer) login(user, password string) (tokens jwtauth.TokenResponse) {
	s.t.Helper()
	a := s.ask("POST", "/api/login", "", programtest.LoginBody(user, password))
	require.Equal(s.t, 200, a.Status, a.Body)
	require.NoError(s.t, json.Unmarshal([]byte(a.Body), &tokens))
	return tokens
}

func TestEachPathAnswersItsOwnMethodAlone(t *testing.T) {
	p := start(t, nil)
	for path, allow := range map[string]string{
		"/api/login": "POST", "/api/refresh": "POST", "/api/logout": "POST", "/api/sessions/end-all": "POST", "/api/orders": "POST",
		"/api/protected": "GET, HEAD", "/api/sessions": "GET, HEAD", "/.well-known/jwks.json": "GET, HEAD", "/healthz": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if path == "/api/sessions/end-all" && method == "DELETE" {
				continue // it is the path of a session
			}
			a := p.Send(method, path, "", "")
			if strings.Contains(allow, method) {
				require.NotEqual(t, http.StatusMethodNotAllowed, a.Status, method+" "+path)
				continue
			}
			require.Equal(t, http.StatusMethodNotAllowed, a.Status, method+" "+path)
			require.Equal(t, allow, a.Header.Get("Allow"))
			require.Equal(t, "invalid_request", a.Member(t, "error"))
		}
	}
	a := p.Send("GET", "/nowhere", "", "")
	require.Equal(t, http.StatusNotFound, a.Status)
	require.Equal(t, "not_found", a.Member(t, "error"))
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	p := start(t, nil)
	access, _ := p.Login("alice")
	for _, c := range []struct{ method, path, token, body string }{
		{"GET", "/healthz", "", ""},
		{"GET", "/readyz", "", ""},
		{"GET", "/nowhere", "", ""},
		{"GET", "/api/login", "", ""},
		{"POST", "/api/login", "", programtest.LoginBody("alice", "wrong")},
		{"POST", "/api/login", "", programtest.LoginBody("alice", p.Password("alice"))},
		{"POST", "/api/login", "", "{"},
		{"POST", "/api/refresh", "", programtest.RefreshBody("x")},
		{"GET", "/api/protected", access, ""},
		{"GET", "/api/protected", "", ""},
		{"GET", "/api/sessions", access, ""},
		{"POST", "/api/orders", access, ""},
		{"POST", "/api/sessions/end-all", access, ""},
		{"POST", "/api/logout", access, ""},
		{"GET", "/.well-known/jwks.json", "", ""},
	} {
		a := p.Send(c.method, c.path, c.token, c.body)
		name := c.method + " " + c.path
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"), name)
		require.Equal(t, "no-referrer", a.Header.Get("Referrer-Policy"), name)
		require.Equal(t, "default-src 'none'; frame-ancestors 'none'", a.Header.Get("Content-Security-Policy"), name)
		require.Empty(t, a.Header.Get("Strict-Transport-Security"), name)
		cache := "no-store"
		if c.path == "/.well-known/jwks.json" {
			cache = "public, max-age=300"
		}
		require.Equal(t, cache, a.Header.Get("Cache-Control"), name)
		if a.Body != "" && c.path != "/.well-known/jwks.json" {
			require.Equal(t, "application/json", a.Header.Get("Content-Type"), name)
		}
	}
}

func TestAProtectedCallNeedsAToken(t *testing.T) {
	p := start(t, nil)
	access, refresh := p.Login("alice")
	a := p.Send("GET", "/api/protected", access, "")
	require.Equal(t, 200, a.Status)
	require.Equal(t, "alice", a.Member(t, "user"))
	require.Equal(t, []any{"orders:write"}, a.Member(t, "scopes"))
	require.Equal(t, []any{"admin"}, a.Member(t, "roles"))
	require.NotEmpty(t, a.Member(t, "session_id"))
	require.NotEmpty(t, a.Member(t, "expires_at"))

	for path, method := range map[string]string{"/api/protected": "GET", "/api/sessions": "GET", "/api/orders": "POST", "/api/sessions/end-all": "POST"} {
		a = p.Send(method, path, "", "")
		require.Equal(t, 401, a.Status, path)
		require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"), path)
		for _, bad := range []string{"x", access + "x", refresh} {
			a = p.Send(method, path, bad, "")
			require.Equal(t, 401, a.Status, path)
			require.Contains(t, a.Header.Get("WWW-Authenticate"), `error="invalid_token"`, path)
			require.Equal(t, "invalid_token", a.Member(t, "error"), path)
		}
	}
}

func TestAnOrderNeedsItsScope(t *testing.T) {
	p := start(t, nil)
	alice, _ := p.Login("alice")
	a := p.Send("POST", "/api/orders", alice, "")
	require.Equal(t, 201, a.Status)
	require.Equal(t, "alice", a.Member(t, "ordered_by"))
	bob, _ := p.Login("bob")
	a = p.Send("POST", "/api/orders", bob, "")
	require.Equal(t, 403, a.Status)
	require.Equal(t, "insufficient_scope", a.Member(t, "error"))
	require.Contains(t, a.Header.Get("WWW-Authenticate"), `scope="orders:write"`)
	require.Equal(t, 200, p.Send("GET", "/api/protected", bob, "").Status)
}

func TestSessionsListsTheCallersOwn(t *testing.T) {
	s := newTestServer(t, nil)
	here := s.login("alice", usersPassword)
	r := httptest.NewRequest("POST", "/api/login", strings.NewReader(programtest.LoginBody("alice", usersPassword)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Firefox on Linux")
	require.Equal(t, 200, s.serve(r).Status)
	s.login("bob", usersPassword)

	a := s.ask("GET", "/api/sessions", here.AccessToken, "")
	require.Equal(t, 200, a.Status)
	var list struct {
		Sessions []struct {
			ID      string
			Details map[string]string
			Current bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.Body), &list))
	require.Len(t, list.Sessions, 2)
	require.NotEqual(t, list.Sessions[0].Current, list.Sessions[1].Current)
	for _, session := range list.Sessions {
		if !session.Current {
			require.Equal(t, "Firefox on Linux", session.Details["device"])
		}
	}
	require.NotContains(t, a.Body, here.RefreshToken)
}

func TestPublishesItsPublicKey(t *testing.T) {
	p := start(t, nil)
	a := p.Send("GET", "/.well-known/jwks.json", "", "")
	require.Equal(t, 200, a.Status)
	require.Equal(t, "application/jwk-set+json", a.Header.Get("Content-Type"))
	require.NotEmpty(t, a.Header.Get("ETag"))
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(a.Body), &set))
	require.Len(t, set.Keys, 1)
	require.Equal(t, "ES256", set.Keys[0]["alg"])
	require.NotContains(t, set.Keys[0], "d")
}

func TestIsHealthy(t *testing.T) {
	p := start(t, nil)
	a := p.Send("GET", "/healthz", "", "")
	require.Equal(t, 200, a.Status)
	require.Equal(t, "ok", a.Member(t, "status"))
}

func TestLongHeadersAreRefused(t *testing.T) {
	p := start(t, nil)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, p.Send("GET", "/healthz", strings.Repeat("a", 21<<10), "").Status)
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	s := newTestServer(t, nil)
	tokens := s.login("alice", usersPassword)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for path, method := range map[string]string{"/api/sessions": "GET", "/api/sessions/end-all": "POST", "/api/protected": "GET", "/api/refresh": "POST"} {
		body := ""
		if path == "/api/refresh" {
			body = programtest.RefreshBody(tokens.RefreshToken)
		}
		r := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(ctx)
		programtest.SetHeaders(r, tokens.AccessToken, body)
		a := s.serve(r)
		require.Equal(t, 503, a.Status, path)
		require.Equal(t, "1", a.Header.Get("Retry-After"))
	}
	w := httptest.NewRecorder()
	s.protected(w, httptest.NewRequest("GET", "/", nil)) // without the middleware in front
	require.Equal(t, 401, w.Code)
}

func TestVerifiersFindTheKeysByTheNameOfTheIssuer(t *testing.T) {
	p := start(t, nil)
	access, _ := p.Login("alice")
	keys, err := jwk.Discover(p.Base, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
	require.NoError(t, err)
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: p.Base, Audiences: []string{p.Base}})
	require.NoError(t, err)
	token, err := verifier.Verify(t.Context(), access)
	require.NoError(t, err)
	require.Equal(t, "alice", token.Subject)

	for issuer, path := range map[string]string{
		"https://i.test": "/.well-known/openid-configuration", "https://i.test/a": "/a/.well-known/openid-configuration",
		"https://i.test/{a}": "/%7Ba%7D/.well-known/openid-configuration",
	} {
		s := newTestServer(t, []string{"-issuer", issuer})
		a := s.ask("GET", path, "", "")
		require.Equal(t, 200, a.Status, issuer)
		require.Equal(t, issuer, a.Member(t, "issuer"))
		require.Equal(t, "https://i.test/.well-known/jwks.json", a.Member(t, "jwks_uri"))
		require.NotContains(t, s.log.String(), "WARN")
	}
	s := newTestServer(t, []string{"-issuer", "http://i.test"})
	require.Equal(t, 404, s.ask("GET", "/.well-known/openid-configuration", "", "").Status)
	require.Contains(t, s.log.String(), "an https URL is expected")
	p = start(t, map[string]string{"S": goodSecret}, "-secret-env", "S")
	require.Equal(t, 404, p.Send("GET", "/.well-known/openid-configuration", "", "").Status)
	require.NotContains(t, p.Log.String(), "WARN")
}
