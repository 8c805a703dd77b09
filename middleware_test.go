package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// counting is a TokenVerifier that counts its calls.
type counting struct {
	jwtauth.TokenVerifier
	calls atomic.Int64
}

func (c *counting) Verify(ctx context.Context, token string) (jwtauth.Token, error) {
	c.calls.Add(1)
	return c.TokenVerifier.Verify(ctx, token)
}

// verifierFunc is a TokenVerifier that is one function.
type verifierFunc func(ctx context.Context, token string) (jwtauth.Token, error)

func (f verifierFunc) Verify(ctx context.Context, token string) (jwtauth.Token, error) {
	return f(ctx, token)
}

// serve sends a request through a handler.
func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

// greet is a handler whose answer names the subject for whom it ran.
var greet = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
	token, ok := jwtauth.FromContext(r.Context())
	fmt.Fprintf(rw, "ran for %q %v", token.Subject, ok)
})

func TestRequireHandsTheTokenToTheHandler(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice").AccessToken
	require.Equal(t, `ran for "alice" true`, serve(w.Auth.Require(greet), fixture.Request("GET", "/", bearer)).Body.String())
	require.Equal(t, `ran for "alice" true`, serve(w.Auth.Optional(greet), fixture.Request("GET", "/", bearer)).Body.String())
	require.NotContains(t, serve(w.Auth.Require(greet), fixture.Request("GET", "/")).Body.String(), "ran")
}

func TestAuthenticateDecidesWithoutAnAnswer(t *testing.T) {
	w := fixture.New(t)
	auth := w.Middleware(jwtauth.MiddlewareOptions{Realm: "api"})
	r := fixture.Request("GET", "/", "Bearer "+w.Login("alice", "read").AccessToken)
	token, err := auth.Authenticate(r)
	require.NoError(t, err)
	require.Equal(t, "alice", token.Subject)
	_, err = auth.With(jwtauth.Scopes("admin")).Authenticate(r)
	require.ErrorIs(t, err, jwtauth.ErrPolicy)
	require.Equal(t, `Bearer realm="api", error="insufficient_scope", error_description="`+fixture.TextNoScope+`", scope="admin"`, answeredTo(err).challenge)
	_, err = auth.Authenticate(fixture.Request("GET", "/"))
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
	_, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	require.Equal(t, answered{401, `Bearer realm="api"`, "", `{"error_description":"` + fixture.TextNoToken + `"}`}, answeredTo(err))
}

func TestOneFamilyVerifiesATokenOnce(t *testing.T) {
	w := fixture.New(t)
	verifier := &counting{TokenVerifier: w.Verifier}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	require.NoError(t, err)
	h := auth.Require(auth.With(jwtauth.Scopes("read")).Require(auth.Optional(auth.With(jwtauth.LoginWithin(time.Hour)).Require(greet))))
	require.Equal(t, `ran for "alice" true`, serve(h, fixture.Request("GET", "/", "Bearer "+w.Login("alice", "read").AccessToken)).Body.String())
	require.EqualValues(t, 1, verifier.calls.Load())
	// The inner policies are asked all the same.
	answer := serve(auth.Require(auth.With(jwtauth.Scopes("admin")).Require(greet)), fixture.Request("GET", "/", "Bearer "+w.Login("alice", "read").AccessToken))
	require.Equal(t, http.StatusForbidden, answer.Code)
	// And each request anew.
	require.EqualValues(t, 2, verifier.calls.Load())
}

func TestATokenThatAnotherPutIntoTheContextIsNotTrusted(t *testing.T) {
	w, other := fixture.New(t), fixture.New(t)
	token, err := w.Verifier.Verify(t.Context(), w.Login("alice").AccessToken)
	require.NoError(t, err)
	twin := w.Middleware(jwtauth.MiddlewareOptions{}) // of the same Verifier, but not of the same family
	for _, forged := range []jwtauth.Token{token, {}, {Issuer: fixture.Issuer, Subject: "root", ExpiresAt: time.Now().Add(time.Hour)}} {
		r := fixture.Request("GET", "/")
		r = r.WithContext(jwtauth.NewContext(r.Context(), forged))
		require.Equal(t, http.StatusUnauthorized, serve(w.Auth.Require(greet), r).Code)
		_, err := w.Auth.Authenticate(r)
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
		require.Equal(t, `ran for "" false`, serve(w.Auth.Optional(greet), r).Body.String(), "a handler took it for this middleware's")
		require.Equal(t, http.StatusUnauthorized, serve(w.Auth.Optional(w.Auth.Require(greet)), r).Code, "who is anonymous outside is not let in inside")
	}
	verifier := &counting{TokenVerifier: w.Verifier}
	inner, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	require.NoError(t, err)
	bearer := "Bearer " + w.Login("alice").AccessToken
	require.Equal(t, http.StatusOK, serve(twin.Require(inner.Require(greet)), fixture.Request("GET", "/", bearer)).Code)
	require.EqualValues(t, 1, verifier.calls.Load(), "the token of another family was trusted")
	// Another service's token opens nothing, wherever the two meet.
	theirs := w.Middleware(jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.NewExtractor(func(r *http.Request) (string, error) { return r.Header.Get("X-Token"), nil })}})
	r := fixture.Request("GET", "/")
	r.Header.Set("X-Token", w.Login("alice").AccessToken)
	require.Equal(t, http.StatusUnauthorized, serve(theirs.Require(other.Auth.Require(greet)), r).Code)
	require.Equal(t, `ran for "" false`, serve(theirs.Require(other.Auth.Optional(greet)), r).Body.String())
	// Behind a detour through another family, the first one finds its own again.
	detour := inner.Require(twin.Require(inner.Require(greet)))
	require.Equal(t, http.StatusOK, serve(detour, fixture.Request("GET", "/", bearer)).Code)
	require.EqualValues(t, 2, verifier.calls.Load())
}

func TestNewContextServesTheTestsOfHandlers(t *testing.T) {
	token := jwtauth.Token{Subject: "alice"}
	r := fixture.Request("GET", "/")
	require.Equal(t, `ran for "alice" true`, serve(greet, r.WithContext(jwtauth.NewContext(r.Context(), token))).Body.String())
	require.Equal(t, `ran for "" false`, serve(greet, r).Body.String())
	_, ok := jwtauth.FromContext(context.Background())
	require.False(t, ok)
}

func TestThePatternOfAnInnerMuxIsSeenOutside(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice").AccessToken
	inner := http.NewServeMux()
	inner.Handle("GET /orders/{id}", greet)
	inner.HandleFunc("GET /panic/{id}", func(http.ResponseWriter, *http.Request) { panic("a handler that fails") })
	for name, h := range map[string]http.Handler{
		"Require": w.Auth.Require(inner), "Optional": w.Auth.Optional(inner), "nested": w.Auth.Require(w.Auth.With(jwtauth.LoginWithin(time.Hour)).Require(inner)),
	} {
		r := fixture.Request("GET", "/orders/7", bearer)
		serve(h, r)
		require.Equal(t, "GET /orders/{id}", r.Pattern, name)
		r = fixture.Request("GET", "/panic/7", bearer)
		require.PanicsWithValue(t, "a handler that fails", func() { serve(h, r) }, name)
		require.Equal(t, "GET /panic/{id}", r.Pattern, name)
		r = fixture.Request("GET", "/nothing", bearer)
		require.Equal(t, http.StatusNotFound, serve(h, r).Code)
		require.Empty(t, r.Pattern, name)
	}
	r := fixture.Request("GET", "/orders/7")
	serve(w.Auth.Optional(inner), r)
	require.Equal(t, "GET /orders/{id}", r.Pattern, "anonymous")

	// The pattern of a mux outside stays, and so do its path values.
	outer := http.NewServeMux()
	outer.Handle("GET /users/{name}", w.Auth.Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.PathValue("name"), " ", r.Pattern)
	})))
	r = fixture.Request("GET", "/users/bob", bearer)
	require.Equal(t, "bob GET /users/{name}", serve(outer, r).Body.String())
	require.Equal(t, "GET /users/{name}", r.Pattern)
}

func TestTheResponseWriterIsTheVeryOne(t *testing.T) {
	w := fixture.New(t)
	for _, wrap := range []func(http.Handler) http.Handler{w.Auth.Require, w.Auth.Optional, w.Auth.With(jwtauth.LoginWithin(time.Hour)).Require} {
		given := httptest.NewRecorder()
		var got http.ResponseWriter
		wrap(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { got = rw })).ServeHTTP(given, fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken))
		require.Same(t, given, got)
	}
}

func TestTheRequestOfTheCallerIsNotChanged(t *testing.T) {
	w := fixture.New(t)
	r := fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken)
	before := r.Header.Clone()
	serve(w.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, inner *http.Request) {
		require.NotSame(t, r, inner)
		require.Equal(t, before, inner.Header)
	})), r)
	require.Equal(t, before, r.Header)
	_, ok := jwtauth.FromContext(r.Context())
	require.False(t, ok)
}

// preflight returns a CORS preflight.
func preflight() *http.Request {
	r := fixture.Request("OPTIONS", "/")
	r.Header.Set("Origin", "https://app.test")
	r.Header.Set("Access-Control-Request-Method", "POST")
	return r
}

func TestAPreflightIsARequestLikeAnyOther(t *testing.T) {
	w := fixture.New(t)
	w.RequireNone(preflight())
}

func TestAPreflightGoesToItsHandlerWhereThereIsOne(t *testing.T) {
	w := fixture.New(t)
	auth := w.Middleware(jwtauth.MiddlewareOptions{Preflight: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, ok := jwtauth.FromContext(r.Context())
		require.False(t, ok)
		rw.WriteHeader(http.StatusNoContent)
	})})
	for _, wrap := range []func(http.Handler) http.Handler{auth.Require, auth.Optional, auth.With(jwtauth.Scopes("a")).Require} {
		answer := serve(wrap(greet), preflight())
		require.Equal(t, http.StatusNoContent, answer.Code)
		require.Empty(t, answer.Body.String(), "the wrapped handler ran")
	}
	// What only looks like one is none.
	for name, change := range map[string]func(r *http.Request){
		"another method":       func(r *http.Request) { r.Method = "POST" },
		"no Origin":            func(r *http.Request) { r.Header.Del("Origin") },
		"no method asked for":  func(r *http.Request) { r.Header.Del("Access-Control-Request-Method") },
		"a token that is none": func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
	} {
		r := preflight()
		change(r)
		require.Equal(t, http.StatusUnauthorized, serve(auth.Require(greet), r).Code, name)
	}
	require.Equal(t, http.StatusServiceUnavailable, serve(auth.With().Require(greet), preflight()).Code, "a middleware that is broken")
}

func TestOnErrorWritesTheAnswerAndTheHandlerDoesNotRun(t *testing.T) {
	w := fixture.New(t)
	var got error
	auth := w.Middleware(jwtauth.MiddlewareOptions{Realm: "api", OnError: func(rw http.ResponseWriter, r *http.Request, err error) {
		got = err
		fmt.Fprint(rw, "mine ", r.URL.Path) // a 200, which opens nothing
	}})
	for _, authorization := range [][]string{nil, {"Bearer x"}, {"Bearer x", "Bearer y"}, {"Bearer"}} {
		for _, h := range []http.Handler{auth.Require(greet), auth.With(jwtauth.Scopes("a")).Require(greet)} {
			require.Equal(t, "mine /p", serve(h, fixture.Request("GET", "/p", authorization...)).Body.String())
			e, ok := errors.AsType[*jwtauth.Error](got)
			require.True(t, ok)
			require.Same(t, e, got)
			require.Contains(t, answeredTo(got).challenge, `realm="api"`)
		}
	}
	serve(auth.With(jwtauth.Scopes("a")).Require(greet), fixture.Request("GET", "/", "Bearer "+w.Login("alice").AccessToken))
	require.ErrorIs(t, got, jwtauth.ErrPolicy)
	silent := w.Middleware(jwtauth.MiddlewareOptions{OnError: func(http.ResponseWriter, *http.Request, error) {}})
	require.Empty(t, serve(silent.Require(greet), fixture.Request("GET", "/")).Body.String())
}

func TestTheChallengeNamesRealmAndMetadata(t *testing.T) {
	w := fixture.New(t)
	auth := w.Middleware(jwtauth.MiddlewareOptions{Realm: "the api", ResourceMetadataURL: "https://api.test/.well-known/oauth-protected-resource"})
	const metadata = `resource_metadata="https://api.test/.well-known/oauth-protected-resource"`
	good := "Bearer " + w.Login("alice").AccessToken
	for _, c := range []struct {
		want          string
		h             http.Handler
		authorization []string
	}{
		{`Bearer realm="the api", ` + metadata, auth.Require(greet), nil},
		{`Bearer realm="the api", ` + metadata, auth.With(jwtauth.Scopes("a")).Require(greet), []string{"Basic x"}},
		{`Bearer realm="the api", error="invalid_token", error_description="` + fixture.TextBadToken + `", ` + metadata, auth.Require(greet), []string{"Bearer x"}},
		{`Bearer realm="the api", error="invalid_request", error_description="` + fixture.TextTwoTokens + `", ` + metadata, auth.Optional(greet), []string{good, good}},
		{`Bearer realm="the api", error="insufficient_scope", error_description="` + fixture.TextNoScope + `", scope="a b", ` + metadata, auth.With(jwtauth.Scopes("a", "b")).Require(greet), []string{good}},
		{`Bearer realm="the api", error="insufficient_user_authentication", error_description="` + fixture.TextOldLogin + `", max_age="0", ` + metadata, auth.With(jwtauth.LoginWithin(0)).Require(greet), []string{good}},
		{``, auth.With(jwtauth.TokenPolicy("no", func(context.Context, jwtauth.Token) (bool, error) { return false, nil })).Require(greet), []string{good}},
	} {
		require.Equal(t, c.want, serve(c.h, fixture.Request("GET", "/", c.authorization...)).Header().Get("WWW-Authenticate"))
	}
	r := fixture.Request("GET", "/")
	r.Header.Set("Accept", "application/problem+json")
	answer := serve(auth.Require(greet), r)
	require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
	require.Equal(t, `Bearer realm="the api", `+metadata, answer.Header().Get("WWW-Authenticate"))
}

func TestTheTokenOfAWebSocketIsASubprotocolThatTheHandlerDoesNotSee(t *testing.T) {
	w := fixture.New(t)
	const name = "Sec-Websocket-Protocol"
	auth := w.Middleware(jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt.bearer.")}})
	token := w.Login("alice").AccessToken
	other := w.Login("bob").AccessToken
	with := func(authorization string, protocols ...string) *http.Request {
		r := fixture.Request("GET", "/")
		r.Header[name] = protocols
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return r
	}
	for _, c := range []struct {
		sent []string
		left []string
	}{
		{[]string{"chat, jwt.bearer." + token}, []string{"chat"}},
		{[]string{"jwt.bearer." + token + ",chat"}, []string{"chat"}},
		{[]string{"v2.chat ,\tjwt.bearer." + token + " , v1.chat"}, []string{"v2.chat, v1.chat"}},
		{[]string{"v2.chat", "jwt.bearer." + token, "v1.chat"}, []string{"v2.chat, v1.chat"}},
	} {
		r := with("", c.sent...)
		sent := r.Header.Clone()
		var left http.Header
		serve(auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { left = r.Header })), r)
		require.NotNil(t, left, "the handler did not run: %v", c.sent)
		require.Equal(t, c.left, left[name])
		require.Equal(t, sent, r.Header, "the caller's own request was changed")
	}
	for status, requests := range map[int][]*http.Request{
		http.StatusUnauthorized: {
			with("", "jwt.bearer."), with("", "chat, jwt.bearer.x"), with("", "chat"), with("", "bearer."+token), with("", token), with("", "chat, jwt.bearer. "+token), with("", "JWT.bearer."+token), with("Bearer", "jwt.bearer."+token),
		},
		http.StatusBadRequest: {
			with("Bearer "+token, "jwt.bearer."+token), with("Bearer "+token, "jwt.bearer."+other), with("Bearer x", "jwt.bearer."+token), with("Bearer "+token, "jwt.bearer.x"),
			with("", "jwt.bearer."+token+", jwt.bearer."+token), with("", "jwt.bearer."+token, "jwt.bearer."+other), with("", "jwt.bearer., jwt.bearer."+token),
			with("", "jwt.bearer."+token), with("", ", jwt.bearer."+token+","), with("", "jwt.bearer.x"), with("Basic x", "jwt.bearer."+token),
		},
		http.StatusOK: {with("Bearer "+token, "chat"), with("Basic x", "chat, jwt.bearer."+token)},
	} {
		for _, r := range requests {
			require.Equal(t, status, serve(auth.Require(greet), r).Code, "%v", r.Header)
		}
	}
	answer := serve(auth.Require(greet), with("", "jwt.bearer."+token))
	const text = "a WebSocket client offers a second subprotocol besides the one with the token, for the server to select"
	require.JSONEq(t, `{"error":"invalid_request","error_description":"`+text+`"}`, answer.Body.String())
	require.Equal(t, `Bearer error="invalid_request", error_description="`+text+`"`, answer.Header().Get("WWW-Authenticate"))
	for _, prefix := range []string{"", "a b", "a,b", "a\n", `"`, "é"} {
		_, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromWebSocketProtocol(prefix)}})
		require.ErrorContains(t, err, "FromWebSocketProtocol")
	}
}

func TestOneTokenInOnePlace(t *testing.T) {
	w := fixture.New(t)
	found := func(text string, err error) jwtauth.Extractor {
		return jwtauth.NewExtractor(func(*http.Request) (string, error) { return text, err })
	}
	token := w.Login("alice").AccessToken
	none := errors.New("no such place")
	unreadable := fmt.Errorf("such place: %w", jwtauth.ErrTokenMalformed)
	for _, c := range []struct {
		name       string
		extractors []jwtauth.Extractor
		want       int
	}{
		{"the second place", []jwtauth.Extractor{found("", nil), found(token, nil)}, 200},
		{"none says so", []jwtauth.Extractor{found("", jwtauth.ErrNoToken), found("x", fmt.Errorf("wrapped: %w", jwtauth.ErrNoToken)), found(token, nil)}, 200},
		{"nowhere", []jwtauth.Extractor{found("", nil), found("", jwtauth.ErrNoToken)}, 401},
		{"the same one twice", []jwtauth.Extractor{found(token, nil), found(token, nil)}, 400},
		{"a good and a bad one", []jwtauth.Extractor{found(token, nil), found("x", nil)}, 400},
		{"a bad and a good one", []jwtauth.Extractor{found("x", nil), found(token, nil)}, 400},
		{"a good one and one that cannot be read", []jwtauth.Extractor{found(token, nil), found("", unreadable)}, 401},
		{"one that cannot be read and a good one", []jwtauth.Extractor{found("", unreadable), found(token, nil)}, 401},
		{"a token beside a refusal", []jwtauth.Extractor{found(token, unreadable)}, 401},
		{"a token beside an error", []jwtauth.Extractor{found(token, none)}, 503},
		{"an error that is no refusal", []jwtauth.Extractor{found("", none)}, 503},
		{"no answer", []jwtauth.Extractor{found("", fmt.Errorf("session store: %w", jwtauth.ErrUnavailable))}, 503},
		{"a deadline", []jwtauth.Extractor{found(token, context.DeadlineExceeded)}, 503},
		{"an error that speaks for itself", []jwtauth.Extractor{found("", &jwtauth.Error{Status: 418})}, 418},
	} {
		auth := w.Middleware(jwtauth.MiddlewareOptions{Extractors: c.extractors})
		answer := serve(auth.Require(greet), fixture.Request("GET", "/"))
		require.Equal(t, c.want, answer.Code, c.name)
		require.NotContains(t, answer.Body.String(), "such place")
	}
}

func TestTheExtractorsAreTheCallersAtTheStartOnly(t *testing.T) {
	w := fixture.New(t)
	extractors := []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer")}
	auth := w.Middleware(jwtauth.MiddlewareOptions{Extractors: extractors})
	extractors[0] = jwtauth.NewExtractor(func(*http.Request) (string, error) { return w.Login("mallory").AccessToken, nil })
	require.Equal(t, http.StatusUnauthorized, serve(auth.Require(greet), fixture.Request("GET", "/")).Code)
}

func TestBearerTokenReadsTheHeaderAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		values []string
		token  string
		err    error
	}{
		{nil, "", jwtauth.ErrNoToken},
		{[]string{"Bearer abc"}, "abc", nil},
		{[]string{"bEARER abc"}, "abc", nil},
		{[]string{"Bearer a b"}, "a b", nil}, // which Verify refuses
		{[]string{"Bearer  abc"}, " abc", nil},
		{[]string{"Basic abc"}, "", jwtauth.ErrNoToken},
		{[]string{"BearerX abc"}, "", jwtauth.ErrNoToken},
		{[]string{"Bearer-X abc"}, "", jwtauth.ErrNoToken},
		{[]string{"Bear"}, "", jwtauth.ErrNoToken},
		{[]string{""}, "", jwtauth.ErrTokenMalformed},
		{[]string{"Bearer"}, "", jwtauth.ErrTokenMalformed},
		{[]string{"Bearer "}, "", jwtauth.ErrTokenMalformed},
		{[]string{"Bearer\tabc"}, "", jwtauth.ErrTokenMalformed},
		{[]string{"Bearer=abc"}, "", jwtauth.ErrTokenMalformed},
		{[]string{"Bearer a", "Bearer a"}, "", jwtauth.ErrTokenNotAlone},
		{[]string{"", ""}, "", jwtauth.ErrTokenNotAlone},
	} {
		token, err := jwtauth.BearerToken(fixture.Request("GET", "/", c.values...))
		require.Equal(t, c.token, token, "%q", c.values)
		if c.err == nil {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, c.err, "%q", c.values)
	}
}

func TestOptionalLetsTheAnonymousInAndNobodyElse(t *testing.T) {
	w, store := fixture.NewHooked(t)
	token := w.Login("alice").AccessToken
	revoked := w.Login("bob")
	require.NoError(t, w.Issuer.Logout(t.Context(), revoked.AccessToken))
	w.Kinds()
	asked := false
	optional := w.Auth.With(jwtauth.TokenPolicy("ask", func(context.Context, jwtauth.Token) (bool, error) { asked = true; return true, nil })).Optional(greet)
	for _, anonymous := range [][]string{nil, {"Basic YTpi"}, {"DPoP " + token}} {
		answer := serve(optional, fixture.Request("GET", "/", anonymous...))
		require.Equal(t, `ran for "" false`, answer.Body.String())
		require.Empty(t, answer.Header()["Www-Authenticate"])
	}
	require.False(t, asked, "a policy was asked about nobody")
	require.Empty(t, w.Kinds(), "nobody was refused")
	require.Equal(t, `ran for "alice" true`, serve(optional, fixture.Request("GET", "/", "Bearer "+token)).Body.String())
	require.True(t, asked)
	for _, bad := range []string{"", "Bearer", "Bearer ", "Bearer x", "Bearer " + token + "x", "Bearer  " + token, "Bearer " + revoked.AccessToken, "Bearer " + revoked.RefreshToken} {
		answer := serve(optional, fixture.Request("GET", "/", bad))
		require.Equal(t, http.StatusUnauthorized, answer.Code, "%q", bad)
		require.NotContains(t, answer.Body.String(), "ran")
		require.Contains(t, answer.Header().Get("WWW-Authenticate"), `error="invalid_token"`)
	}
	require.Equal(t, http.StatusBadRequest, serve(optional, fixture.Request("GET", "/", "Bearer "+token, "Bearer "+token)).Code)
	require.Equal(t, http.StatusForbidden, serve(w.Auth.With(jwtauth.Scopes("admin")).Optional(greet), fixture.Request("GET", "/", "Bearer "+token)).Code)
	store.Before = fixture.Failing
	require.Equal(t, http.StatusServiceUnavailable, serve(optional, fixture.Request("GET", "/", "Bearer "+token)).Code)
	require.Equal(t, http.StatusServiceUnavailable, serve(w.Auth.With().Optional(greet), fixture.Request("GET", "/")).Code, "a middleware that is broken")
}

func TestScopesAndAnyScope(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice", "read", "write").AccessToken
	for _, c := range []struct {
		name   string
		policy jwtauth.Policy
		want   int
	}{
		{"all", jwtauth.Scopes("read", "write"), 200}, {"one", jwtauth.Scopes("write"), 200}, {"one that is missing", jwtauth.Scopes("read", "admin"), 403},
		{"a part of one", jwtauth.Scopes("rea"), 403}, {"two in one", jwtauth.Scopes("read write"), 503}, {"another case", jwtauth.Scopes("READ"), 403},
		{"none", jwtauth.Scopes(), 503}, {"an empty one", jwtauth.Scopes(""), 503}, {"one beside an empty one", jwtauth.Scopes("read", ""), 503},
		{"any", jwtauth.AnyScope("admin", "write"), 200}, {"any that is missing", jwtauth.AnyScope("admin", "root"), 403}, {"any of none", jwtauth.AnyScope(), 503},
		{"any beside an empty one", jwtauth.AnyScope("read", ""), 503}, {"any beside two in one", jwtauth.AnyScope("read", "a b"), 503},
	} {
		answer := serve(w.Auth.With(c.policy).Require(greet), fixture.Request("GET", "/", bearer))
		require.Equal(t, c.want, answer.Code, c.name)
	}
	names := []string{"read"}
	policy := jwtauth.Scopes(names...)
	names[0] = "admin"
	require.Equal(t, http.StatusOK, serve(w.Auth.With(policy).Require(greet), fixture.Request("GET", "/", bearer)).Code, "the names are the policy's own")
	// A token without scopes has none.
	require.Equal(t, http.StatusForbidden, serve(w.Auth.With(jwtauth.AnyScope("read", "write")).Require(greet), fixture.Request("GET", "/", "Bearer "+w.Login("bob").AccessToken)).Code)
}

func TestLoginWithinLooksAtTheLoginAndNotAtTheToken(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	fresh := func(d time.Duration, token string) int {
		return serve(w.Auth.With(jwtauth.LoginWithin(d)).Require(greet), fixture.Request("GET", "/", "Bearer "+token)).Code
	}
	require.Equal(t, 200, fresh(time.Minute, r.AccessToken))
	w.Clock.Advance(time.Minute)
	require.Equal(t, 200, fresh(time.Minute, r.AccessToken))
	w.Clock.Advance(time.Second)
	require.Equal(t, 401, fresh(time.Minute, r.AccessToken))
	require.Equal(t, 200, fresh(time.Hour, r.AccessToken))
	require.Equal(t, 401, fresh(time.Minute, w.Refresh(r.RefreshToken).AccessToken), "a refresh is no login")
	require.Equal(t, 200, fresh(time.Minute, w.Login("alice").AccessToken))
	for _, d := range []time.Duration{0, -1, time.Second - 1, -time.Hour} {
		require.Equal(t, 401, fresh(d, w.Login("alice").AccessToken))
	}
	for _, d := range []time.Duration{time.Hour, math.MaxInt64} {
		require.Equal(t, 401, fresh(d, w.Sign(w.Claims(map[string]any{"auth_time": nil}))), "nobody knows when the login was")
	}
	require.Equal(t, 401, fresh(time.Hour, w.Sign(w.Claims(map[string]any{"auth_time": w.Clock.Now().Add(6 * time.Minute).Unix()}))), "a login that lies ahead")
	answer := serve(w.Auth.With(jwtauth.LoginWithin(90*time.Second)).Require(greet), fixture.Request("GET", "/", "Bearer "+w.Sign(w.Claims(map[string]any{"auth_time": 1}))))
	require.Equal(t, `Bearer error="insufficient_user_authentication", error_description="`+fixture.TextOldLogin+`", max_age="90"`, answer.Header().Get("WWW-Authenticate"))
}

func TestWhatTheErrorOfAPolicyMeans(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice").AccessToken
	for _, c := range []struct {
		name string
		err  error
		want answered
	}{
		{"one that is no refusal", errors.New("the database of debts is away"), answered{503, "", "1", `{"error":"temporarily_unavailable","error_description":"` + fixture.TextNoAnswer + `","next":"retry"}`}},
		{"no", nil, answered{403, "", "", `{"error":"access_denied","error_description":"` + fixture.TextDenied + `"}`}},
		{"a refusal", jwtauth.ErrRefused, answered{403, "", "", `{"error":"access_denied","error_description":"` + fixture.TextDenied + `"}`}},
		{"unavailable", fmt.Errorf("accounts: %w", jwtauth.ErrUnavailable), answered{503, "", "1", `{"error":"temporarily_unavailable","error_description":"` + fixture.TextNoAnswer + `","next":"retry"}`}},
		{"a deadline", context.DeadlineExceeded, answered{503, "", "1", `{"error":"temporarily_unavailable","error_description":"` + fixture.TextNoAnswer + `","next":"retry"}`}},
		{"an Error", fmt.Errorf("wrapped: %w", &jwtauth.Error{Status: 402, Code: "payment_required", Description: "pay first"}), answered{402, "", "", `{"error":"payment_required","error_description":"pay first"}`}},
	} {
		later := false
		h := w.Auth.With(jwtauth.RequestPolicy("first", func(r *http.Request, token jwtauth.Token) (bool, error) {
			require.Equal(t, "alice", token.Subject)
			require.Equal(t, "/x", r.URL.Path)
			return c.err != nil, c.err
		}), jwtauth.TokenPolicy("later", func(context.Context, jwtauth.Token) (bool, error) { later = true; return true, nil })).Require(greet)
		answer := serve(h, fixture.Request("GET", "/x", bearer))
		require.Equal(t, c.want, answered{answer.Code, answer.Header().Get("WWW-Authenticate"), answer.Header().Get("Retry-After"), strings.TrimSpace(answer.Body.String())}, c.name)
		require.False(t, later, "a policy was asked after one had refused")
	}
}

func TestWithAddsPoliciesInOrderAndChangesNothingElse(t *testing.T) {
	w := fixture.New(t)
	bearer := "Bearer " + w.Login("alice").AccessToken
	var order []int
	ask := func(n int) jwtauth.Policy {
		return jwtauth.TokenPolicy("ask", func(context.Context, jwtauth.Token) (bool, error) { order = append(order, n); return true, nil })
	}
	base := w.Auth.With(ask(1))
	left, right := base.With(ask(2), ask(3)), base.With(ask(4))
	long := w.Auth.With(ask(5), ask(5), ask(5), ask(5), ask(5)) // whose list has room for one more
	longer, other := long.With(ask(6)), long.With(ask(7))
	for _, c := range []struct {
		auth *jwtauth.Middleware
		want []int
	}{{left, []int{1, 2, 3}}, {right, []int{1, 4}}, {base, []int{1}}, {w.Auth, nil}, {left, []int{1, 2, 3}}, {longer, []int{5, 5, 5, 5, 5, 6}}, {other, []int{5, 5, 5, 5, 5, 7}}} {
		order = nil
		require.Equal(t, http.StatusOK, serve(c.auth.Require(greet), fixture.Request("GET", "/", bearer)).Code)
		require.Equal(t, c.want, order)
	}
	// What was forgotten lets nobody pass, also when more is added later.
	for name, auth := range map[string]*jwtauth.Middleware{"none": w.Auth.With(), "the zero Policy": w.Auth.With(jwtauth.Policy{}), "one that is zero": w.Auth.With(ask(1), jwtauth.Policy{}), "no scopes": w.Auth.With(jwtauth.Scopes()), "no function": w.Auth.With(jwtauth.TokenPolicy("x", nil)), "no function of the request": w.Auth.With(jwtauth.RequestPolicy("x", nil)), "no name": w.Auth.With(jwtauth.ClaimsPolicy[struct{}]("", nil)), "a long name": w.Auth.With(jwtauth.ClaimsPolicy[struct{}](strings.Repeat("x", 65), nil)), "more": w.Auth.With().With(ask(1)), "a list of none": w.Auth.With([]jwtauth.Policy{}...)} {
		order = nil
		require.Equal(t, http.StatusServiceUnavailable, serve(auth.Require(greet), fixture.Request("GET", "/", bearer)).Code, name)
		require.Empty(t, order)
		_, err := auth.Authenticate(fixture.Request("GET", "/", bearer))
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	}
}

func TestATokenVerifierOfSomebodyElse(t *testing.T) {
	w := fixture.New(t)
	good, err := w.Verifier.Verify(t.Context(), w.Login("alice").AccessToken)
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		token jwtauth.Token
		err   error
		want  int
	}{
		{"a token", good, nil, 200},
		{"a token beside an error", good, errors.New("wrong"), 503},
		{"a token beside a refusal", good, jwtauth.ErrRefused, 401},
		{"a token beside no answer", good, jwtauth.ErrUnavailable, 503},
		{"an expired one", jwtauth.Token{}, fmt.Errorf("theirs: %w", jwtauth.ErrTokenExpired), 401},
		{"neither a token nor an error", jwtauth.Token{}, nil, 503},
		{"next to nothing", jwtauth.Token{ID: "x", ExpiresAt: time.Now()}, nil, 503},
	} {
		auth, err := jwtauth.NewMiddleware(verifierFunc(func(context.Context, string) (jwtauth.Token, error) { return c.token, c.err }), jwtauth.MiddlewareOptions{})
		require.NoError(t, err)
		for _, h := range []http.Handler{auth.Require(greet), auth.Optional(greet)} {
			answer := serve(h, fixture.Request("GET", "/", "Bearer x"))
			require.Equal(t, c.want, answer.Code, c.name)
			require.Equal(t, c.want == 200, strings.Contains(answer.Body.String(), "ran"), c.name)
			require.Equal(t, c.name == "an expired one", strings.Contains(answer.Body.String(), `"next":"refresh"`), c.name)
		}
	}
}

func TestANilHandlerIsAnErrorAndNoPanic(t *testing.T) {
	w := fixture.New(t)
	token := "Bearer " + w.Login("alice").AccessToken
	for _, h := range []http.Handler{w.Auth.Require(nil), w.Auth.Optional(nil)} {
		require.Equal(t, http.StatusInternalServerError, serve(h, fixture.Request("GET", "/", token)).Code)
	}
	require.Equal(t, http.StatusUnauthorized, serve(w.Auth.Require(nil), fixture.Request("GET", "/")).Code)
	require.Equal(t, http.StatusInternalServerError, serve(w.Auth.Optional(nil), fixture.Request("GET", "/")).Code)
}

func TestAnErrorOfOneRequestIsNotThatOfAnother(t *testing.T) {
	// The challenge of one middleware does not get into an error that a policy
	// returns again and again.
	w := fixture.New(t)
	shared := &jwtauth.Error{Status: 401, Code: "invalid_token"}
	policy := jwtauth.TokenPolicy("shared", func(context.Context, jwtauth.Token) (bool, error) { return false, shared })
	bearer := "Bearer " + w.Login("alice").AccessToken
	for _, realm := range []string{"one", "two"} {
		answer := serve(w.Middleware(jwtauth.MiddlewareOptions{Realm: realm}).With(policy).Require(greet), fixture.Request("GET", "/", bearer))
		require.Equal(t, `Bearer realm="`+realm+`", error="invalid_token"`, answer.Header().Get("WWW-Authenticate"))
	}
	require.Equal(t, `Bearer error="invalid_token"`, answeredTo(shared).challenge)
}

// echo answers with the user and the subprotocols that it sees.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	_, _ = w.Write([]byte(token.Subject + r.Header.Get("Sec-WebSocket-Protocol")))
})

func TestACookieIsATokenOfOwnPagesAlone(t *testing.T) {
	w := fixture.New(t)
	h := w.Middleware(jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromCookie("access")}}).Require(echo)
	token := w.Login("alice").AccessToken
	w.Heard()
	for _, c := range []struct {
		name, method, cookie, site string
		status                     int
		events                     []string
	}{
		{"the own page", "POST", token, "same-origin", 200, nil},
		{"a program", "POST", token, "", 200, nil},
		{"a link of another site", "GET", token, "cross-site", 200, nil},
		{"a form of another site", "POST", token, "cross-site", 403, []string{"token_refused origin"}},
		{"a form of a sibling host", "DELETE", token, "same-site", 403, []string{"token_refused origin"}},
		{"garbage of another site", "POST", "x", "cross-site", 403, []string{"token_refused origin"}},
		{"garbage", "POST", "x", "same-origin", 401, []string{"token_refused form"}},
		{"an empty cookie", "POST", "", "cross-site", 401, []string{"token_refused absent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "https://app.test/", nil)
			r.Header.Set("Cookie", "other=1; access="+c.cookie)
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			require.Equal(t, c.status, answer.Code, answer.Body)
			require.Equal(t, c.events, w.Heard())
			if c.status == 403 {
				require.JSONEq(t, `{"error":"access_denied","error_description":"`+fixture.TextDenied+`"}`, answer.Body.String())
				require.Empty(t, answer.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestFirstOfTakesTheFirstPlaceThatHasAToken(t *testing.T) {
	w := fixture.New(t)
	places := []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt."), jwtauth.FromCookie("access")}
	h := w.Middleware(jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FirstOf(places...)}}).Require(echo)
	places[0] = jwtauth.Extractor{} // the list was copied
	alice, bob, carol := w.Login("alice").AccessToken, w.Login("bob").AccessToken, w.Login("carol").AccessToken
	for _, c := range []struct {
		header, protocol, cookie string
		status                   int
		body                     string
	}{
		{"Bearer " + alice, "jwt." + bob + ", chat", carol, 200, "alicechat"},
		{"", "jwt." + bob + ", chat", carol, 200, "bobchat"},
		{"Basic x", "chat", carol, 200, "carolchat"},
		{"", "chat", "", 401, ""},
		{"Bearer x", "jwt." + bob + ", chat", carol, 401, ""},
		{"Bearer", "jwt." + bob + ", chat", carol, 401, ""},
		{"", "jwt.x, chat", carol, 401, ""},
		{"", "jwt." + bob, carol, 400, ""},
	} {
		r := fixture.Request("GET", "/")
		for name, value := range map[string]string{"Authorization": c.header, "Sec-Websocket-Protocol": c.protocol} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		r.AddCookie(&http.Cookie{Name: "access", Value: c.cookie})
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		require.Equal(t, c.status, answer.Code)
		if c.status == 200 {
			require.Equal(t, c.body, answer.Body.String(), "the handler sees no subprotocol with a token")
		}
	}
}

func TestWrongPlacesAreErrorsThatTeach(t *testing.T) {
	w := fixture.New(t)
	for want, e := range map[string]jwtauth.Extractor{
		`FromCookie: "a b" is not the name of a cookie`: jwtauth.FromCookie("a b"),
		"FromCookie: \"\" is not the name":              jwtauth.FromCookie(""),
		"scheme://host in lower case is expected":       jwtauth.FromCookie("a", "app.test"),
		"there are no wildcards":                        jwtauth.FromCookie("a", "https://*.app.test"),
		"FirstOf without Extractors":                    jwtauth.FirstOf(),
		"an Extractor is made by FromHeader":            jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.Extractor{}),
		`"" is not the name of a header`:                jwtauth.FromHeader("", "Bearer"),
		`"X Token" is not the name of a header`:         jwtauth.FromHeader("X Token", ""),
		`"Bearer " is not a scheme`:                     jwtauth.FromHeader("Authorization", "Bearer "),
		"or FromCookie":                                 jwtauth.FromHeader("cookie", ""),
		"fill the header Sec-Websocket-Protocol":        jwtauth.FromHeader("Sec-WebSocket-Protocol", ""),
		"send the scheme basic by themselves":           jwtauth.FromHeader("Authorization", "basic"),
	} {
		_, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{e}})
		require.ErrorContains(t, err, want)
	}
}

func TestAHeaderHoldsATokenAfterASchemeOrAlone(t *testing.T) {
	w := fixture.New(t)
	places := []jwtauth.Extractor{jwtauth.FromHeader("authorization", "Token"), jwtauth.FromHeader("Authorization", ""), jwtauth.FromHeader("X-Access-Token", ""), jwtauth.FromHeader("Authorization", "bearer")}
	alice, bob := w.Login("alice").AccessToken, w.Login("bob").AccessToken
	for range len(places) { // each place is the first one once: the order decides nothing
		places = append(places[1:], places[0])
		for _, o := range []jwtauth.MiddlewareOptions{{Extractors: places}, {Extractors: []jwtauth.Extractor{jwtauth.FirstOf(places...)}}} {
			h := w.Middleware(o).Require(echo)
			for _, c := range []struct {
				name, value string
				status      int
				check       string
			}{
				{"Authorization", "Bearer " + alice, 200, ""},
				{"Authorization", "TOKEN " + alice, 200, ""},
				{"Authorization", alice, 200, ""},
				{"X-Access-Token", alice, 200, ""},
				{"X-Access-Token", "Bearer " + alice, 401, "absent"},
				{"Authorization", "Basic " + alice, 401, "absent"},
				{"Authorization", "Tokens " + alice, 401, "absent"},
				{"Authorization", "Token", 401, ""},
				{"Authorization", "Bearer", 401, ""},
				{"Authorization", "", 401, "extract"},
				{"X-Access-Token", "", 401, "absent"},
				{"Authorization", "Token  " + alice, 401, "header"},
				{"Authorization", alice + ", " + bob, 401, "form"},
				{"X-Other", alice, 401, "absent"},
			} {
				r := fixture.Request("GET", "/")
				r.Header.Set(c.name, c.value)
				answer := httptest.NewRecorder()
				h.ServeHTTP(answer, r)
				require.Equal(t, c.status, answer.Code, "%s: %s", c.name, c.value)
				if c.check != "" {
					_, err := w.Middleware(o).Authenticate(r)
					e, _ := errors.AsType[*jwtauth.Error](err)
					require.Equal(t, c.check, e.Check, "%s: %s", c.name, c.value)
				}
			}
			two := fixture.Request("GET", "/")
			two.Header["X-Access-Token"] = []string{alice, alice}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, two)
			require.Equal(t, 400, answer.Code)
		}
	}
	both := fixture.Request("GET", "/", "Bearer "+alice)
	both.Header.Set("X-Access-Token", bob)
	answer := httptest.NewRecorder()
	w.Middleware(jwtauth.MiddlewareOptions{Extractors: places}).Require(echo).ServeHTTP(answer, both)
	require.Equal(t, 400, answer.Code, "two tokens in two places")
}
