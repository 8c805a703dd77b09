package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

func TestRolesOpenTheirDoorsAlone(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	handler := service(issuer.Issuer)
	with := func(claims any, bend ...func(*jwtauthtest.Draft)) string {
		return issuer.Token(t, jwtauth.Grant{Subject: "alice", Claims: claims}, bend...)
	}
	guest := with(staff{[]string{"guest"}})
	accountant := with(staff{[]string{"accountant"}})
	both := with(staff{[]string{"accountant", "admin"}})
	const ok, refused, forbidden = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
	for _, c := range []struct {
		name, token           string
		me, invoices, deleted int
	}{
		{"no token", "", refused, refused, refused},
		{"a guest", guest, ok, forbidden, forbidden},
		{"an accountant", accountant, ok, ok, forbidden},
		{"an admin who is no accountant", with(staff{[]string{"admin"}}), ok, forbidden, forbidden},
		{"an accountant who is an admin", both, ok, ok, ok},
		{"no roles", with(nil), refused, refused, refused},
		{"roles of another type", with(map[string]any{"roles": "admin accountant"}), refused, refused, refused},
		{"an expired token", with(staff{[]string{"admin"}}, jwtauthtest.Expired), refused, refused, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, ask := range []struct {
				method, path string
				status       int
			}{{"GET", "/me", c.me}, {"GET", "/invoices", c.invoices}, {"DELETE", "/invoices", c.deleted}} {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, jwtauthtest.NewRequest(ask.method, ask.path, nil, c.token))
				require.Equal(t, ask.status, w.Code, "%s %s", ask.method, ask.path)
				require.Equal(t, ask.status == ok, w.Body.String() == "done\n")
			}
		})
	}
}
