package endpoints_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

// site is a service with handlers.
type site struct {
	*fixture.World
	stores *hookstore.Store
	h      *endpoints.Handlers
	http.Handler
}

const (
	siteURL  = "https://app.test"
	password = "correct horse battery staple"
)

// checkLogin is Options.Login: every name has one password, and some names fail.
func checkLogin(r *http.Request, name, given string) (jwtauth.Grant, error) {
	switch {
	case name == "broken":
		return jwtauth.Grant{}, errors.New("the directory does not answer")
	case name == "slow":
		return jwtauth.Grant{}, context.DeadlineExceeded
	case name == "locked":
		return jwtauth.Grant{}, &jwtauth.Error{Status: http.StatusForbidden, Code: "locked", Description: "the account is locked"}
	case given != password:
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}
	return jwtauth.Grant{Subject: name, ClientID: r.PostFormValue("client_id"), Scopes: []string{"read", "write"}}, nil
}

// newSite makes a service. Its handlers have the given options, and checkLogin.
func newSite(t *testing.T, o endpoints.Options, change ...func(*jwtauth.IssuerOptions)) *site {
	t.Helper()
	s := &site{}
	s.World, s.stores = fixture.NewHooked(t, func(io *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		for _, c := range change {
			c(io)
		}
	})
	if o.Login == nil {
		o.Login = checkLogin
	}
	var err error
	s.h, err = endpoints.New(s.Issuer, o)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", s.h)
	mux.Handle("/me", s.h.Auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = w.Write([]byte(token.Subject))
	})))
	s.Handler = mux
	return s
}

// browser is a browser with cookies. It sends the requests of a page of the site.
type browser struct {
	*site
	jar *cookiejar.Jar
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.T, err)
	return &browser{s, jar}
}

// answer is the answer to a request.
type answer struct {
	t testing.TB
	*httptest.ResponseRecorder
}

func (a answer) member(name string) string {
	var members map[string]any
	require.NoError(a.t, json.Unmarshal(a.Body.Bytes(), &members), a.Body.String())
	text, _ := members[name].(string)
	return text
}

// request makes a request as a script of a page of the site sends it. Headers are given as
// "Name: value"; "Name:" removes one.
func (b *browser) request(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, siteURL+path, strings.NewReader(body))
	r.Header.Set("Origin", siteURL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-CSRF", "fetch")
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	} else if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, cookie := range b.jar.Cookies(r.URL) {
		r.AddCookie(cookie)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Del(name)
		if value = strings.TrimSpace(value); value != "" {
			r.Header.Add(name, value)
		}
	}
	return r
}

// send sends a request, and does not keep the cookies of the answer.
func (b *browser) send(r *http.Request) answer {
	recorder := httptest.NewRecorder()
	b.ServeHTTP(recorder, r)
	return answer{b.T, recorder}
}

// keep keeps the cookies of an answer, which may arrive late.
func (b *browser) keep(a answer) {
	u, _ := url.Parse(siteURL)
	b.jar.SetCookies(u, a.Result().Cookies())
}

// do sends a request and keeps the cookies of the answer.
func (b *browser) do(method, path, body string, headers ...string) answer {
	a := b.send(b.request(method, path, body, headers...))
	b.keep(a)
	return a
}

func (b *browser) login(name string) answer {
	b.T.Helper()
	a := b.do("POST", "/auth/login", `{"username":"`+name+`","password":"`+password+`"}`)
	require.Equal(b.T, 200, a.Code, a.Body)
	return a
}

// user returns the user of the access token that a refresh returns, or the code of its error.
func (b *browser) user() string {
	b.T.Helper()
	a := b.do("POST", "/auth/refresh", "")
	if a.Code != 200 {
		return a.member("error")
	}
	token, err := b.h.Verifier().Verify(b.T.Context(), a.member("access_token"))
	require.NoError(b.T, err)
	return token.Subject
}

var withCookie = endpoints.Options{RefreshCookie: &endpoints.Cookie{}}

func TestALoginThatIsRefreshedAndEnded(t *testing.T) {
	b := newSite(t, withCookie).browser()
	a := b.login("alice")
	require.Empty(t, a.member("refresh_token"))
	require.NotEmpty(t, a.member("access_token"))
	require.Equal(t, "alice", b.user())
	require.Equal(t, "alice", b.user())
	require.Equal(t, 204, b.do("POST", "/auth/logout", "").Code)
	require.Equal(t, "invalid_grant", b.user())
	require.Equal(t, 204, b.do("POST", "/auth/logout", "").Code)
}
