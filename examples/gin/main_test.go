package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

func init() { gin.SetMode(gin.TestMode) }

func TestRoutesAskForTheirTokens(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	logins, err := endpoints.New(issuer.Issuer, endpoints.Options{Login: oneuser.Login("right"), RefreshCookie: &endpoints.Cookie{}})
	require.NoError(t, err)
	handler := service(logins)
	programtest.RequireCookieLogin(t, handler, "alice", "right")
	alice := jwtauth.Grant{Subject: "alice", Scopes: []string{"orders:write"}}
	bob := jwtauth.Grant{Subject: "bob"}
	for _, c := range []struct {
		name, method, path, token string
		status                    int
		body                      string
	}{
		{"anyone is welcome", "GET", "/", "", http.StatusOK, "welcome\n"},
		{"a good token", "GET", "/me", issuer.Token(t, bob), http.StatusOK, "hello bob\n"},
		{"no token", "GET", "/me", "", http.StatusUnauthorized, ""},
		{"an expired token", "GET", "/me", issuer.Token(t, bob, jwtauthtest.Expired), http.StatusUnauthorized, ""},
		{"a token for another service", "GET", "/me", issuer.Token(t, bob, jwtauthtest.OtherAudience), http.StatusUnauthorized, ""},
		{"the scope", "POST", "/orders/7", issuer.Token(t, alice), http.StatusOK, "alice orders 7\n"},
		{"a token without the scope", "POST", "/orders/7", issuer.Token(t, bob), http.StatusForbidden, ""},
		{"an order without a token", "POST", "/orders/7", "", http.StatusUnauthorized, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, jwtauthtest.NewRequest(c.method, c.path, nil, c.token))
			require.Equal(t, c.status, w.Code)
			if c.status == http.StatusOK {
				require.Equal(t, c.body, w.Body.String())
				return
			}
			require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer")
			require.NotContains(t, w.Body.String(), "hello")
		})
	}
}

func TestNothingRunsBehindTheAdapterWithoutAToken(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	bob := jwtauth.Grant{Subject: "bob"}
	for _, c := range []struct {
		name, token string
		ran         []string
	}{
		{"no token", "", nil},
		{"an expired token", issuer.Token(t, bob, jwtauthtest.Expired), nil},
		{"a token of another key", issuer.Token(t, bob, jwtauthtest.OtherKey), nil},
		{"a good token", issuer.Token(t, bob), []string{"next bob", "handler bob"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ran []string
			note := func(name string) gin.HandlerFunc {
				return func(c *gin.Context) {
					token, ok := jwtauth.FromContext(c.Request.Context())
					require.True(t, ok, "%s has no token in the context of its request", name)
					ran = append(ran, name+" "+token.Subject)
				}
			}
			router := gin.New()
			aborted := false
			router.Use(func(c *gin.Context) {
				c.Next()
				aborted = c.IsAborted()
			})
			router.GET("/", wrap(issuer.Middleware.Require), note("next"), note("handler"))
			w := httptest.NewRecorder()
			router.ServeHTTP(w, jwtauthtest.NewRequest("GET", "/", nil, c.token))
			require.Equal(t, c.ran, ran)
			require.Equal(t, len(c.ran) == 0, aborted)
			if aborted {
				require.Equal(t, http.StatusUnauthorized, w.Code)
			}
		})
	}
}

func TestOptionalLetsAnonymousRequestsThroughTheAdapter(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	router := gin.New()
	router.GET("/", wrap(issuer.Middleware.Optional), func(c *gin.Context) {
		_, ok := jwtauth.FromContext(c.Request.Context())
		c.String(http.StatusOK, "%t", ok)
	})
	for token, want := range map[string]string{"": "false", issuer.Token(t, jwtauth.Grant{Subject: "bob"}): "true"} {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, jwtauthtest.NewRequest("GET", "/", nil, token))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, want, w.Body.String())
	}
}
