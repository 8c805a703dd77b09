package jwtauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var allAlgorithms = []jwtauth.Algorithm{
	jwtauth.HS256, jwtauth.HS384, jwtauth.HS512,
	jwtauth.RS256, jwtauth.RS384, jwtauth.RS512,
	jwtauth.PS256, jwtauth.PS384, jwtauth.PS512,
	jwtauth.ES256, jwtauth.ES384, jwtauth.ES512,
	jwtauth.EdDSA,
}

type profile struct {
	Role   string `json:"role"`
	Number int64  `json:"number"`
}

// service is a whole program over the library, as its users write it.
func service(w *world) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(rw http.ResponseWriter, r *http.Request) {
		began := w.clock.Now()
		tokens, err := w.issuer.Issue(r.Context(), jwtauth.Grant{
			Subject: r.FormValue("name"), AuthTime: began, Scopes: strings.Fields(r.FormValue("scope")),
			Claims: profile{Role: "admin", Number: 1<<62 + 1},
		})
		if err != nil {
			jwtauth.WriteError(rw, r, err)
			return
		}
		jwtauth.WriteTokens(rw, tokens)
	})
	mux.HandleFunc("POST /refresh", func(rw http.ResponseWriter, r *http.Request) {
		tokens, err := w.issuer.Refresh(r.Context(), r.FormValue("refresh_token"))
		if err != nil {
			jwtauth.WriteError(rw, r, err)
			return
		}
		jwtauth.WriteTokens(rw, tokens)
	})
	mux.HandleFunc("POST /logout", func(rw http.ResponseWriter, r *http.Request) {
		token, err := jwtauth.BearerToken(r)
		if err == nil {
			err = w.issuer.Logout(r.Context(), token)
		}
		if err != nil {
			jwtauth.WriteError(rw, r, err)
		}
	})
	mux.Handle("GET /me", w.auth.Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		p, err := jwtauth.ClaimsAs[profile](token)
		fmt.Fprint(rw, token.Subject, " ", p.Role, " ", p.Number, " ", err)
	})))
	orders := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ordered") })
	mux.Handle("POST /orders", w.auth.With(jwtauth.Scopes("orders:write")).Require(orders))
	mux.Handle("GET /.well-known/jwks.json", w.keys)
	return mux
}

// browser is a client of the service.
type browser struct {
	t    *testing.T
	base string
}

func (b browser) send(method, path, token, form string) (status int, body string, header http.Header) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.base+path, strings.NewReader(form))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(b.t, err)
	return answer.StatusCode, string(text), answer.Header
}

func (b browser) tokens(path, form string) (access, refresh string) {
	b.t.Helper()
	status, body, header := b.send("POST", path, "", form)
	require.Equal(b.t, http.StatusOK, status, body)
	require.Equal(b.t, "no-store", header.Get("Cache-Control"))
	var t jwtauth.TokenResponse
	require.NoError(b.t, json.Unmarshal([]byte(body), &t))
	require.Equal(b.t, "Bearer", t.TokenType)
	require.Equal(b.t, 900, t.ExpiresIn)
	return t.AccessToken, t.RefreshToken
}

func (b browser) requireStatus(want int, method, path, token, form string) string {
	b.t.Helper()
	status, body, _ := b.send(method, path, token, form)
	require.Equal(b.t, want, status, body)
	return body
}

// TestTheWholeStory is login, protected call, refresh, a racing tab, detected
// reuse and logout, over HTTP, with every algorithm.
func TestTheWholeStory(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(string(alg), func(t *testing.T) {
			w := newWorldWith(t, alg)
			server := httptest.NewServer(service(w))
			defer server.Close()
			b := browser{t, server.URL}

			access, refresh := b.tokens("/login", "name=alice&scope=read+orders:write")
			require.Equal(t, "alice admin 4611686018427387905 <nil>", b.requireStatus(200, "GET", "/me", access, ""))
			require.Equal(t, "ordered", b.requireStatus(200, "POST", "/orders", access, ""))
			b.requireStatus(401, "GET", "/me", "", "")
			b.requireStatus(401, "GET", "/me", refresh, "")

			_, reader := b.tokens("/login", "name=bob&scope=read")
			onlyRead, _ := b.tokens("/refresh", "refresh_token="+reader)
			body := b.requireStatus(403, "POST", "/orders", onlyRead, "")
			require.Contains(t, body, "insufficient_scope")

			// Two tabs redeem one token; both are answered, in one session.
			w.clock.Advance(16 * time.Minute)
			b.requireStatus(401, "GET", "/me", access, "")
			first, firstRefresh := b.tokens("/refresh", "refresh_token="+refresh)
			second, _ := b.tokens("/refresh", "refresh_token="+refresh)
			b.requireStatus(200, "GET", "/me", first, "")
			b.requireStatus(200, "GET", "/me", second, "")
			sessions, err := w.issuer.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			require.Len(t, sessions, 1)

			// Once a successor is used, the old token can only be a thief's.
			third, thirdRefresh := b.tokens("/refresh", "refresh_token="+firstRefresh)
			body = b.requireStatus(400, "POST", "/refresh", "", "refresh_token="+refresh)
			require.Contains(t, body, "invalid_grant")
			for _, dead := range []string{first, second, third} {
				b.requireStatus(401, "GET", "/me", dead, "")
			}
			b.requireStatus(400, "POST", "/refresh", "", "refresh_token="+thirdRefresh)

			access, refresh = b.tokens("/login", "name=alice")
			b.requireStatus(200, "POST", "/logout", access, "")
			b.requireStatus(401, "GET", "/me", access, "")
			b.requireStatus(400, "POST", "/refresh", "", "refresh_token="+refresh)
			b.requireStatus(200, "POST", "/logout", access, "")

			set := b.requireStatus(200, "GET", "/.well-known/jwks.json", "", "")
			require.Equal(t, strings.HasPrefix(string(alg), "HS"), set == `{"keys":[]}`)
		})
	}
}

type contextName string

// TestClaimsAreRememberedOnlyWhereSharingIsSafe looks at the handler's side of a
// token: what ClaimsAs returns is the caller's own.
func TestClaimsAreRememberedOnlyWhereSharingIsSafe(t *testing.T) {
	w := newWorld(t)
	verified := w.requireAccepted(w.sign(w.claims(map[string]any{
		"list": []string{"a", "b"}, "map": map[string]any{"n": 1}, "role": "admin", "big": uint64(1<<64 - 1),
		"pair": [2]int{1, 2}, "number": 7,
	})))
	ctx := jwtauth.NewContext(context.WithValue(t.Context(), contextName("name"), "value"), verified)
	require.Equal(t, "value", ctx.Value(contextName("name")), "other values stay visible")
	token, ok := jwtauth.FromContext(ctx)
	require.True(t, ok)

	type lists struct {
		List []string       `json:"list"`
		Map  map[string]any `json:"map"`
		Role *string        `json:"role"`
		Big  any            `json:"big"`
	}
	for range 2 {
		claims, err := jwtauth.ClaimsAs[lists](token)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, claims.List)
		require.Equal(t, json.Number("1"), claims.Map["n"])
		require.Equal(t, "admin", *claims.Role)
		require.Equal(t, json.Number("18446744073709551615"), claims.Big)
		claims.List[0], claims.Map["n"], *claims.Role = "changed", 2, "changed"
	}

	// More types than are remembered, each of them right each time.
	for range 2 {
		requireClaims(t, token, struct{ Role string }{"admin"})
		requireClaims(t, token, struct{ Number int8 }{7})
		requireClaims(t, token, struct{ Number float64 }{7})
		requireClaims(t, token, struct{ Pair [2]int }{[2]int{1, 2}})
		requireClaims(t, token, struct{ Number uint16 }{7})
		requireClaims(t, token, profile{Role: "admin", Number: 7})
	}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = jwtauth.ClaimsAs[struct{ Role string }](token) }), 1.0,
		"what is remembered is not decoded again")

	_, err := jwtauth.ClaimsAs[struct{ Role int }](token)
	require.ErrorContains(t, err, "do not fit")
	_, err = jwtauth.ClaimsAs[profile](jwtauth.Token{})
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
}

func requireClaims[T any](t *testing.T, token jwtauth.Token, want T) {
	t.Helper()
	got, err := jwtauth.ClaimsAs[T](token)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
