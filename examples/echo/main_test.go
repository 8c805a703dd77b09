package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

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
