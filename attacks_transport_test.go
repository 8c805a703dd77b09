package jwtauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var transportAttacks = []attack{
	{"T01", "no credentials", attackNoCredentials},
	{"T02", "scheme case", attackSchemeCase},
	{"T04", "two Authorization headers", attackTwoHeaders},
	{"T05", "mixed Authorization headers", attackMixedHeaders},
	{"T06", "other scheme", attackOtherScheme},
	{"T07", "token in the query", attackQuery},
	{"T08", "token in the form body or a custom header", attackOtherPlaces},
	{"T17", "CSRF exemption for header auth", attackNoCSRFForHeaders},
	{"T22", "challenge injection", attackChallengeInjection},
	{"T23", "caching", attackCaching},
}

// requireNone: code N of the attack list, a challenge without an error.
func (w *world) requireNone(r *http.Request) {
	w.t.Helper()
	answer, ran := w.do(r)
	require.False(w.t, ran, "the handler ran")
	require.Equal(w.t, http.StatusUnauthorized, answer.Code)
	require.Equal(w.t, []string{"Bearer"}, answer.Header()["Www-Authenticate"])
	require.Equal(w.t, "no-store", answer.Header().Get("Cache-Control"))
	require.JSONEq(w.t, `{"error_description":"`+textNoToken+`"}`, answer.Body.String())
	got, err := w.auth.Authenticate(r)
	require.ErrorIs(w.t, err, jwtauth.ErrNoToken)
	require.Zero(w.t, got)
}

// requireTwoTokens: code Q of the attack list.
func (w *world) requireTwoTokens(r *http.Request) {
	w.t.Helper()
	answer, ran := w.do(r)
	require.False(w.t, ran, "the handler ran")
	require.Equal(w.t, http.StatusBadRequest, answer.Code)
	require.Contains(w.t, answer.Header().Get("WWW-Authenticate"), `Bearer error="invalid_request"`)
	require.Contains(w.t, answer.Body.String(), `"error":"invalid_request"`)
	_, err := w.auth.Authenticate(r)
	require.ErrorIs(w.t, err, jwtauth.ErrTokenNotAlone)
}

// request is a request with these values of the Authorization header.
func request(method, target string, authorization ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if len(authorization) > 0 {
		r.Header["Authorization"] = authorization
	}
	return r
}

func attackNoCredentials(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"} {
		w.requireNone(request(method, "/"))
	}
}

func attackSchemeCase(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").AccessToken
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "BeArEr"} {
		answer, ran := w.do(request("GET", "/", scheme+" "+token))
		require.True(t, ran, "%s: %d", scheme, answer.Code)
	}
}

func attackTwoHeaders(t *testing.T) {
	w := newWorld(t)
	one, other := "Bearer "+w.login("alice").AccessToken, "Bearer "+w.login("bob").AccessToken
	for _, values := range [][]string{
		{one, one}, {one, other}, {other, one}, {one, "Bearer x"}, {"Bearer x", one}, {one, ""}, {"", one}, {one, one, one},
	} {
		w.requireTwoTokens(request("GET", "/", values...))
	}
}

func attackMixedHeaders(t *testing.T) {
	w := newWorld(t)
	bearer := "Bearer " + w.login("alice").AccessToken
	w.requireTwoTokens(request("GET", "/", "Basic YWxpY2U6c2VjcmV0", bearer))
	w.requireTwoTokens(request("GET", "/", bearer, "Basic YWxpY2U6c2VjcmV0"))
	// In one value, it is not one token.
	for _, value := range []string{bearer + ", Basic YWxpY2U6c2VjcmV0", bearer + "," + bearer, bearer + " " + bearer} {
		answer, ran := w.do(request("GET", "/", value))
		require.False(t, ran)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		require.Contains(t, answer.Header().Get("WWW-Authenticate"), `error="invalid_token"`)
	}
	w.requireNone(request("GET", "/", "Basic YWxpY2U6c2VjcmV0, "+bearer))
}

func attackOtherScheme(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").AccessToken
	for _, scheme := range []string{"Basic", "DPoP", "Digest", "Negotiate", "JWT", "Token", "Bear", "Bearerx", "Bearer2", "Bearer-Token", "XBearer"} {
		w.requireNone(request("GET", "/", scheme+" "+token))
	}
	w.requireNone(request("GET", "/", token))
}

func attackQuery(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").AccessToken
	for _, name := range []string{"access_token", "token", "jwt", "auth", "authorization", "Authorization"} {
		w.requireNone(request("GET", "/?"+name+"="+token))
		w.requireNone(request("GET", "/?"+name+"=Bearer%20"+token))
	}
	// A query decides nothing beside a header, either.
	answer, ran := w.do(request("GET", "/?access_token=x", "Bearer "+token))
	require.True(t, ran, "%d", answer.Code)
	answer, ran = w.do(request("GET", "/?access_token="+token, "Bearer x"))
	require.False(t, ran)
	require.Equal(t, http.StatusUnauthorized, answer.Code)
}

func attackOtherPlaces(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").AccessToken
	r := httptest.NewRequest("POST", "/", strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w.requireNone(r)
	for _, name := range []string{
		"X-Access-Token", "Authorization_", "X-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization",
		"Proxy-Authorization", "Access-Token", "X-Auth-Token", "Cookie", "Sec-WebSocket-Protocol",
	} {
		for _, value := range []string{token, "Bearer " + token, "access_token=" + token, "__Host-access=" + token} {
			r := request("GET", "/")
			r.Header.Set(name, value)
			w.requireNone(r)
		}
	}
}

func attackNoCSRFForHeaders(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		r := request(method, "https://api.test/", "Bearer "+w.login("alice").AccessToken)
		r.Header.Set("Origin", "https://elsewhere.test")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		answer, ran := w.do(r)
		require.True(t, ran, "%s: %d", method, answer.Code)
	}
}

// hostileTexts are what a stranger would write where a header or a log might
// repeat it.
var hostileTexts = []string{
	`"`, `", error="none`, "\r\nX-Injected: 1", "\nSet-Cookie: a=b", "\x00", "\x1b[2J", `\`, `\"`, "ключ", "\u202e", "\xff\xfe",
	`<script>alert(1)</script>`, `%0d%0aX-Injected:1`, strings.Repeat("A", 5000), "a, Basic realm=\"x\"",
}

func attackChallengeInjection(t *testing.T) {
	w := newWorld(t)
	const challenge = `Bearer error="invalid_token", error_description="` + textBadToken + `"`
	good := w.login("alice").AccessToken
	var tokens []string
	for _, h := range hostileTexts {
		tokens = append(tokens, h, good+h, h+good, h+"."+h+"."+h)
		for _, name := range []string{"kid", "typ", "alg"} {
			tokens = append(tokens, signWith(t, w.key, header(w.key, map[string]any{name: h}), w.claims(nil)))
		}
		for _, name := range []string{"iss", "aud"} {
			tokens = append(tokens, w.sign(w.claims(map[string]any{name: h})))
		}
	}
	for _, token := range tokens {
		answer, ran := w.get(token)
		require.False(t, ran)
		require.Equal(t, []string{challenge}, answer.Header()["Www-Authenticate"], "%.80q", token)
		require.Len(t, answer.Header(), 5, "%v", answer.Header())
		require.JSONEq(t, `{"error":"invalid_token","error_description":"`+textBadToken+`"}`, answer.Body.String())
	}
	// What a token says does not get into the challenge of a policy.
	guarded := w.auth.With(jwtauth.Scopes("orders:write")).Require(http.NotFoundHandler())
	for _, h := range hostileTexts {
		answer := httptest.NewRecorder()
		guarded.ServeHTTP(answer, request("GET", "/", "Bearer "+w.sign(w.claims(map[string]any{"scope": h}))))
		require.Equal(t, http.StatusForbidden, answer.Code)
		require.Equal(t, []string{`Bearer error="insufficient_scope", error_description="` + textNoScope + `", scope="orders:write"`}, answer.Header()["Www-Authenticate"])
	}
	// Nor what an option says, since it would not construct.
	for _, h := range []string{`"`, `", error="none`, `\`, "\r\nX: 1", "\n", "\x00", "\x7f", "é"} {
		_, err := jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{Realm: h})
		require.ErrorContains(t, err, "Realm")
		_, err = jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{ResourceMetadataURL: "https://api.test/" + h})
		require.ErrorContains(t, err, "ResourceMetadataURL")
	}
}

func attackCaching(t *testing.T) {
	w := newWorld(t)
	tokens := w.login("alice")
	broken, store := newHookedWorld(t)
	refused := broken.login("alice").AccessToken
	store.before = failing
	issued := httptest.NewRecorder()
	jwtauth.WriteTokens(issued, tokens)
	none, _ := w.do(request("GET", "/"))
	bad, _ := w.get("x")
	two, _ := w.do(request("GET", "/", "Bearer x", "Bearer y"))
	scope := httptest.NewRecorder()
	w.auth.With(jwtauth.Scopes("admin")).Require(http.NotFoundHandler()).ServeHTTP(scope, request("GET", "/", "Bearer "+tokens.AccessToken))
	down, _ := broken.get(refused)
	for status, answer := range map[int]*httptest.ResponseRecorder{
		http.StatusOK: issued, http.StatusUnauthorized: bad, http.StatusBadRequest: two,
		http.StatusForbidden: scope, http.StatusServiceUnavailable: down,
	} {
		require.Equal(t, status, answer.Code)
		require.Equal(t, "no-store", answer.Header().Get("Cache-Control"), "%d", status)
		require.Equal(t, "no-cache", answer.Header().Get("Pragma"), "%d", status)
	}
	require.Equal(t, "no-store", none.Header().Get("Cache-Control"))
	require.Equal(t, http.StatusBadRequest, w.redeem(tokens.AccessToken).Code)
	require.Equal(t, "no-store", w.redeem(tokens.AccessToken).Header().Get("Cache-Control"))
	require.Equal(t, "no-store", w.redeem(tokens.RefreshToken).Header().Get("Cache-Control"))
}
