package main

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

func newBrowser(t *testing.T) (*programtest.Browser, *jwtauthtest.Issuer) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	o := options()
	o.Login = oneuser.Login("right")
	logins, err := endpoints.New(issuer.Issuer, o)
	require.NoError(t, err)
	return programtest.NewBrowser(t, service(logins)), issuer
}

func TestAUserLogsInUsesAPageAndLogsOut(t *testing.T) {
	b, _ := newBrowser(t)
	require.Contains(t, b.Open("/").Body.String(), "Log in")
	a := b.Open("/account")
	require.Equal(t, 303, a.Code)
	page := b.Open(a.Header().Get("Location"))
	require.Contains(t, page.Body.String(), `name="return" value="/account"`)

	a = b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {"wrong"}, "return": {"/account"}})
	require.Equal(t, 303, a.Code)
	require.Contains(t, b.Open(a.Header().Get("Location")).Body.String(), "The name or the password is wrong.")

	a = b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {"right"}, "return": {"/account"}})
	require.Equal(t, "/account", a.Header().Get("Location"))
	require.Contains(t, b.Open("/account").Body.String(), "You are alice.")
	require.Contains(t, b.Open("/").Body.String(), "logged in as alice")
	a = b.Submit("/account/name", url.Values{"name": {"<Alice>"}})
	require.Contains(t, b.Open(a.Header().Get("Location")).Body.String(), "Your new name is &lt;Alice&gt;.")

	a = b.Submit("/auth/logout", url.Values{"from": {"account"}})
	require.Equal(t, "/login", a.Header().Get("Location"))
	require.Equal(t, 303, b.Open("/account").Code)
}

func TestAnExpiredPageComesBackAfterARefresh(t *testing.T) {
	b, issuer := newBrowser(t)
	b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {"right"}})
	issuer.Clock.Advance(time.Hour)
	a := b.Open("/account")
	require.Equal(t, "/auth/resume?return=%2Faccount", a.Header().Get("Location"))
	resume := b.Open(a.Header().Get("Location"))
	require.True(t, strings.Contains(resume.Body.String(), "<script>") && strings.Contains(resume.Header().Get("Content-Security-Policy"), "script-src 'sha256-"))
	require.Equal(t, 200, b.Fetch("POST", "/auth/refresh").Code) // what its script does
	require.Equal(t, 200, b.Open("/account").Code)
}

func TestTheFormsOfOtherSitesAreRefused(t *testing.T) {
	b, _ := newBrowser(t)
	b.Submit("/auth/login", url.Values{"username": {"alice"}, "password": {"right"}})
	require.Equal(t, 303, b.Submit("/account/name", url.Values{"name": {"x"}}).Code)
	require.Equal(t, 403, b.SubmitFromElsewhere("/account/name", url.Values{"name": {"x"}}).Code)
	require.Equal(t, 403, b.SubmitFromElsewhere("/auth/logout", url.Values{"x": {"y"}}).Code)
	require.Equal(t, 200, b.Open("/account").Code)
}
