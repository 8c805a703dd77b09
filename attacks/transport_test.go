package attacks_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
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

func attackNoCredentials(t *testing.T) {
	w := fixture.New(t)
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"} {
		w.RequireNone(fixture.Request(method, "/"))
	}
}

func attackSchemeCase(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").AccessToken
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "BeArEr"} {
		answer, ran := w.Do(fixture.Request("GET", "/", scheme+" "+token))
		require.True(t, ran, "%s: %d", scheme, answer.Code)
	}
}

func attackTwoHeaders(t *testing.T) {
	w := fixture.New(t)
	one, other := "Bearer "+w.Login("alice").AccessToken, "Bearer "+w.Login("bob").AccessToken
	for _, values := range [][]string{
		{one, one}, {one, other}, {other, one}, {one, "Bearer x"}, {"Bearer x", one}, {one, ""}, {"", one}, {one, one, one},
	} {
		w.RequireTwoTokens(fixture.Request("GET", "/", values...))
	}
}

func attackMixedHeaders(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice").AccessToken
	w.RequireTwoTokens(fixture.Request("GET", "/", "Basic YWxpY2U6c2VjcmV0", bearer))
	w.RequireTwoTokens(fixture.Request("GET", "/", bearer, "Basic YWxpY2U6c2VjcmV0"))
	// Two credentials in one value are not one token.
	for _, value := range []string{bearer + ", Basic YWxpY2U6c2VjcmV0", bearer + "," + bearer, bearer + " " + bearer} {
		answer, ran := w.Do(fixture.Request("GET", "/", value))
		require.False(t, ran)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		require.Contains(t, answer.Header().Get("WWW-Authenticate"), `error="invalid_token"`)
	}
	w.RequireNone(fixture.Request("GET", "/", "Basic YWxpY2U6c2VjcmV0, "+bearer))
}

func attackOtherScheme(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").AccessToken
	for _, scheme := range []string{"Basic", "DPoP", "Digest", "Negotiate", "JWT", "Token", "Bear", "Bearerx", "Bearer2", "Bearer-Token", "XBearer"} {
		w.RequireNone(fixture.Request("GET", "/", scheme+" "+token))
	}
	w.RequireNone(fixture.Request("GET", "/", token))
}

func attackQuery(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").AccessToken
	for _, name := range []string{"access_token", "token", "jwt", "auth", "authorization", "Authorization"} {
		w.RequireNone(fixture.Request("GET", "/?"+name+"="+token))
		w.RequireNone(fixture.Request("GET", "/?"+name+"=Bearer%20"+token))
	}
	// With a header, the query does not matter either.
	answer, ran := w.Do(fixture.Request("GET", "/?access_token=x", "Bearer "+token))
	require.True(t, ran, "%d", answer.Code)
	answer, ran = w.Do(fixture.Request("GET", "/?access_token="+token, "Bearer x"))
	require.False(t, ran)
	require.Equal(t, http.StatusUnauthorized, answer.Code)
}

func attackOtherPlaces(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").AccessToken
	r := httptest.NewRequest("POST", "/", strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w.RequireNone(r)
	for _, name := range []string{
		"X-Access-Token", "Authorization_", "X-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization",
		"Proxy-Authorization", "Access-Token", "X-Auth-Token", "Cookie", "Sec-WebSocket-Protocol",
	} {
		for _, value := range []string{token, "Bearer " + token, "access_token=" + token, "__Host-access=" + token} {
			r := fixture.Request("GET", "/")
			r.Header.Set(name, value)
			w.RequireNone(r)
		}
	}
}

func attackNoCSRFForHeaders(t *testing.T) {
	w := fixture.New(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		r := fixture.Request(method, "https://api.test/", "Bearer "+w.Login("alice").AccessToken)
		r.Header.Set("Origin", "https://elsewhere.test")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		answer, ran := w.Do(r)
		require.True(t, ran, "%s: %d", method, answer.Code)
	}
}

// hostileTexts are texts that a stranger sends because a header or a log might repeat
// them.
var hostileTexts = []string{
	`"`, `", error="none`, "\r\nX-Injected: 1", "\nSet-Cookie: a=b", "\x00", "\x1b[2J", `\`, `\"`, "ключ", "\u202e", "\xff\xfe",
	`<script>alert(1)</script>`, `%0d%0aX-Injected:1`, strings.Repeat("A", 5000), "a, Basic realm=\"x\"",
}

func attackChallengeInjection(t *testing.T) {
	w := fixture.New(t)
	const challenge = `Bearer error="invalid_token", error_description="` + fixture.TextBadToken + `"`
	good := w.Login("alice").AccessToken
	var tokens []string
	for _, h := range hostileTexts {
		tokens = append(tokens, h, good+h, h+good, h+"."+h+"."+h)
		for _, name := range []string{"kid", "typ", "alg"} {
			tokens = append(tokens, fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{name: h}), w.Claims(nil)))
		}
		for _, name := range []string{"iss", "aud"} {
			tokens = append(tokens, w.Sign(w.Claims(map[string]any{name: h})))
		}
	}
	for _, token := range tokens {
		answer, ran := w.Get(token)
		require.False(t, ran)
		require.Equal(t, []string{challenge}, answer.Header()["Www-Authenticate"], "%.80q", token)
		require.Len(t, answer.Header(), 5, "%v", answer.Header())
		require.JSONEq(t, `{"error":"invalid_token","error_description":"`+fixture.TextBadToken+`","next":"login"}`, answer.Body.String())
	}
	// The challenge of a policy repeats nothing from the token.
	guarded := w.Auth.With(jwtauth.Scopes("orders:write")).Require(http.NotFoundHandler())
	for _, h := range hostileTexts {
		answer := httptest.NewRecorder()
		guarded.ServeHTTP(answer, fixture.Request("GET", "/", "Bearer "+w.Sign(w.Claims(map[string]any{"scope": h}))))
		require.Equal(t, http.StatusForbidden, answer.Code)
		require.Equal(t, []string{`Bearer error="insufficient_scope", error_description="` + fixture.TextNoScope + `", scope="orders:write"`}, answer.Header()["Www-Authenticate"])
	}
	// An option with such a text is an error.
	for _, h := range []string{`"`, `", error="none`, `\`, "\r\nX: 1", "\n", "\x00", "\x7f", "é"} {
		_, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{Realm: h})
		require.ErrorContains(t, err, "Realm")
		_, err = jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{ResourceMetadataURL: "https://api.test/" + h})
		require.ErrorContains(t, err, "ResourceMetadataURL")
	}
}

func attackCaching(t *testing.T) {
	w := fixture.New(t)
	tokens := w.Login("alice")
	broken, store := fixture.NewHooked(t)
	refused := broken.Login("alice").AccessToken
	store.Before = fixture.Failing
	issued := httptest.NewRecorder()
	jwtauth.WriteTokens(issued, tokens)
	none, _ := w.Do(fixture.Request("GET", "/"))
	bad, _ := w.Get("x")
	two, _ := w.Do(fixture.Request("GET", "/", "Bearer x", "Bearer y"))
	scope := httptest.NewRecorder()
	w.Auth.With(jwtauth.Scopes("admin")).Require(http.NotFoundHandler()).ServeHTTP(scope, fixture.Request("GET", "/", "Bearer "+tokens.AccessToken))
	down, _ := broken.Get(refused)
	for status, answer := range map[int]*httptest.ResponseRecorder{
		http.StatusOK: issued, http.StatusUnauthorized: bad, http.StatusBadRequest: two,
		http.StatusForbidden: scope, http.StatusServiceUnavailable: down,
	} {
		require.Equal(t, status, answer.Code)
		require.Equal(t, "no-store", answer.Header().Get("Cache-Control"), "%d", status)
		require.Equal(t, "no-cache", answer.Header().Get("Pragma"), "%d", status)
	}
	require.Equal(t, "no-store", none.Header().Get("Cache-Control"))
	require.Equal(t, http.StatusBadRequest, w.Redeem(tokens.AccessToken).Code)
	require.Equal(t, "no-store", w.Redeem(tokens.AccessToken).Header().Get("Cache-Control"))
	require.Equal(t, "no-store", w.Redeem(tokens.RefreshToken).Header().Get("Cache-Control"))
}
