package jwtauth_test

import (
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
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

type profile struct {
	Role   string `json:"role"`
	Number int64  `json:"number"`
}

// service returns the handler of a program that uses the library.
func service(w *fixture.World) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(rw http.ResponseWriter, r *http.Request) {
		began := w.Clock.Now()
		tokens, err := w.Issuer.Issue(r.Context(), jwtauth.Grant{
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
		tokens, err := w.Issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.FormValue("refresh_token")})
		if err != nil {
			jwtauth.WriteError(rw, r, err)
			return
		}
		jwtauth.WriteTokens(rw, tokens)
	})
	mux.HandleFunc("POST /logout", func(rw http.ResponseWriter, r *http.Request) {
		token, err := jwtauth.BearerToken(r)
		if err == nil {
			err = w.Issuer.Logout(r.Context(), token)
		}
		if err != nil {
			jwtauth.WriteError(rw, r, err)
		}
	})
	mux.Handle("GET /me", w.Auth.Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		p, err := jwtauth.ClaimsAs[profile](token)
		fmt.Fprint(rw, token.Subject, " ", p.Role, " ", p.Number, " ", err)
	})))
	orders := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ordered") })
	mux.Handle("POST /orders", w.Auth.With(jwtauth.Scopes("orders:write")).Require(orders))
	mux.Handle("GET /.well-known/jwks.json", w.Keys)
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

// TestTheWholeStory goes through login, a protected call, a refresh, a racing tab, detected
// reuse and logout, over HTTP, with every algorithm.
func TestTheWholeStory(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		t.Run(string(alg), func(t *testing.T) {
			w := fixture.NewWith(t, alg)
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
			w.Clock.Advance(16 * time.Minute)
			b.requireStatus(401, "GET", "/me", access, "")
			first, firstRefresh := b.tokens("/refresh", "refresh_token="+refresh)
			second, _ := b.tokens("/refresh", "refresh_token="+refresh)
			b.requireStatus(200, "GET", "/me", first, "")
			b.requireStatus(200, "GET", "/me", second, "")
			sessions, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
			require.NoError(t, err)
			require.Len(t, sessions, 1)

			// After a successor was used, the old token is a sign of theft.
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

// The names of an issuer may come from the environment, so that a program needs no configuration of
// its own.
func TestNamesComeFromTheEnvironmentIfTheProgramSaysSo(t *testing.T) {
	w := fixture.New(t)
	set := func(issuer, audiences string) {
		t.Setenv("JWTAUTH_ISSUER", issuer)
		t.Setenv("JWTAUTH_AUDIENCES", audiences)
	}
	verify := func(o jwtauth.VerifierOptions) error {
		o.FromEnv, o.Now = true, w.Clock.Now
		v, err := jwtauth.NewVerifier(w.Keys, o)
		if err == nil {
			_, err = v.Verify(t.Context(), w.Sign(w.Claims(nil)))
		}
		return err
	}
	set(fixture.Issuer, "https://other.test, "+fixture.Audience)
	issuer, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{FromEnv: true})
	require.NoError(t, err)
	issued, err := issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	claims := fixture.Payload[map[string]any](t, issued.AccessToken)
	require.Equal(t, fixture.Issuer, claims["iss"])
	require.Equal(t, []any{"https://other.test", fixture.Audience}, claims["aud"])
	require.NoError(t, verify(jwtauth.VerifierOptions{}))
	// What the program says counts.
	require.ErrorIs(t, verify(jwtauth.VerifierOptions{Issuer: "https://else.test"}), jwtauth.ErrTokenIssuer)
	require.ErrorIs(t, verify(jwtauth.VerifierOptions{Audiences: []string{"https://else.test"}}), jwtauth.ErrTokenAudience)
	// The environment does not widen an option about audiences.
	require.ErrorIs(t, verify(jwtauth.VerifierOptions{AudienceClaim: "azp", AudienceClaimValues: []string{"app"}}), jwtauth.ErrTokenAudience)
	// Without FromEnv, the environment does not count.
	_, err = jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{})
	require.ErrorContains(t, err, "Issuer is missing")
	for _, c := range []struct{ issuer, audiences, want string }{
		{"", fixture.Audience, "the environment variable JWTAUTH_ISSUER is not set: the name of the issuer"},
		{fixture.Issuer, "", "the environment variable JWTAUTH_AUDIENCES is not set: the names of the services"},
		{fixture.Issuer, fixture.Audience + ",,x", "JWTAUTH_AUDIENCES has an empty value between its commas"},
		{"https://api.test/#x", fixture.Audience, "the environment variable JWTAUTH_ISSUER: Issuer "},
		{fixture.Issuer, "a,a", "the environment variable JWTAUTH_AUDIENCES: Audiences: one of "},
	} {
		set(c.issuer, c.audiences)
		_, err = jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{FromEnv: true})
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, verify(jwtauth.VerifierOptions{}), c.want)
	}
}
