package endpoints_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

func TestTheCookiesHaveTheSafeAttributes(t *testing.T) {
	b := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}).browser()
	check := func(a answer) {
		set := a.Header()["Set-Cookie"]
		require.NotEmpty(t, set)
		for _, line := range set {
			c, err := http.ParseSetCookie(line)
			require.NoError(t, err)
			isRefresh := strings.HasPrefix(c.Name, "__Host-Http-refresh-")
			require.True(t, isRefresh || strings.HasPrefix(c.Name, "__Host-Http-access-") || c.Name == "__Host-Http-refresh", line)
			require.True(t, c.Secure && c.HttpOnly && c.Path == "/" && c.Domain == "" && !c.Partitioned, line)
			want := http.SameSiteLaxMode // pages that another site links to need the access token
			if isRefresh {
				want = http.SameSiteStrictMode
			}
			require.Equal(t, want, c.SameSite, line)
			require.LessOrEqual(t, len(c.Name)+len(c.Value), 4096)
		}
	}
	check(b.login("alice"))
	check(b.do("POST", "/auth/refresh", ""))
	check(b.do("POST", "/auth/logout", ""))
}

func TestMaxAgeIsTheRestOfTheLife(t *testing.T) {
	b := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}).browser()
	ages := func(a answer) (list []int) {
		for _, c := range a.Result().Cookies() {
			list = append(list, c.MaxAge)
		}
		return list
	}
	const day = 24 * 60 * 60
	require.Equal(t, []int{7 * day, 7 * day, 30 * day}, ages(b.login("alice")))
	b.Pass(6 * 24 * time.Hour)
	require.Equal(t, []int{7 * day, 7 * day}, ages(b.do("POST", "/auth/refresh", "")))
	for range 3 {
		b.Pass(6 * 24 * time.Hour)
		b.do("POST", "/auth/refresh", "")
	}
	b.Pass(5 * 24 * time.Hour)
	require.Equal(t, []int{day, day}, ages(b.do("POST", "/auth/refresh", "")), "the last day of the session")
}

// A browser removes a cookie only if the attributes of the removal are those of the cookie.
func TestACookieIsClearedWithTheAttributesItWasSetWith(t *testing.T) {
	for _, name := range []string{"", "__Host-app2", "plain"} {
		for _, partitioned := range []bool{false, true} {
			for _, insecure := range []bool{false, true} {
				o := endpoints.Options{RefreshCookie: &endpoints.Cookie{Name: name, Partitioned: partitioned, InsecureHTTP: insecure}}
				o.AccessCookie = &endpoints.Cookie{Partitioned: partitioned, InsecureHTTP: insecure}
				isPossible := (name == "" || strings.HasPrefix(name, "__Host-") != insecure) && (!partitioned || !insecure)
				if _, err := endpoints.New(fixture.New(t).Issuer, o); !isPossible {
					require.Error(t, err, "%+v", *o.RefreshCookie)
					continue
				}
				b := newSite(t, o).browser()
				set, cleared := map[string]string{}, map[string]string{}
				for into, a := range map[*map[string]string]answer{&set: b.login("alice"), &cleared: b.do("POST", "/auth/logout", "")} {
					for _, c := range a.Result().Cookies() {
						if into == &cleared {
							require.Equal(t, -1, c.MaxAge)
						}
						c.Value, c.MaxAge = "x", 0
						(*into)[c.Name] = c.String()
					}
				}
				require.Len(t, cleared, 2)
				for name, attributes := range cleared {
					require.Equal(t, set[name], attributes)
				}
			}
		}
	}
}

func TestWrongCookieOptionsAreErrorsThatTeach(t *testing.T) {
	issuer := fixture.New(t).Issuer
	for want, o := range map[string]endpoints.Options{
		"other hosts could set it":                  {RefreshCookie: &endpoints.Cookie{Name: "refresh"}},
		"Secure-refresh\": other hosts":             {RefreshCookie: &endpoints.Cookie{Name: "__Secure-refresh"}},
		"browsers drop it with InsecureHTTP":        {RefreshCookie: &endpoints.Cookie{Name: "__Host-x", InsecureHTTP: true}},
		"letters, digits, - and _ is expected":      {RefreshCookie: &endpoints.Cookie{Name: "__Host-a b"}},
		"a name of at most 100":                     {RefreshCookie: &endpoints.Cookie{Name: "__Host-" + strings.Repeat("a", 94)}},
		"Partitioned needs https":                   {RefreshCookie: &endpoints.Cookie{Partitioned: true, InsecureHTTP: true}},
		"AccessCookie needs RefreshCookie":          {AccessCookie: &endpoints.Cookie{}},
		"differ in Partitioned or InsecureHTTP":     {RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{Partitioned: true}},
		"browser would keep only one":               {RefreshCookie: &endpoints.Cookie{InsecureHTTP: true}, AccessCookie: &endpoints.Cookie{}},
		"is plain http: anybody on the network":     {RefreshCookie: &endpoints.Cookie{}, TrustedOrigins: []string{"http://front.test"}},
		"have one name":                             {RefreshCookie: &endpoints.Cookie{Name: "__Host-a"}, AccessCookie: &endpoints.Cookie{Name: "__Host-a"}},
		"Options.AccessCookie.Name":                 {RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{Name: "a"}},
		"LoginPage needs AccessCookie":              {RefreshCookie: &endpoints.Cookie{}, LoginPage: "/login"},
		"a path of this host is expected":           {RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, LoginPage: "https://elsewhere.test"},
		"TrustedOrigins means nothing":              {TrustedOrigins: []string{"https://a.test"}},
		"scheme://host in lower case is expected":   {RefreshCookie: &endpoints.Cookie{}, TrustedOrigins: []string{"a.test"}},
		"a path such as /auth is expected":          {Path: "auth/"},
		"MaxBody is -1, 1 to 1048576 is expected":   {MaxBody: -1},
		"Path is \"/{x}\": a path such as /auth is": {Path: "/{x}"},
	} {
		_, err := endpoints.New(issuer, o)
		require.ErrorContains(t, err, want)
	}
	for _, path := range []string{"/", "//", "/a/", "/a//b", "/a/../b", "a", "/a b", "/a%20b", "/{a}", "/a?b", "/é"} {
		_, err := endpoints.New(issuer, endpoints.Options{Path: path})
		require.ErrorContains(t, err, "Options.Path", path)
	}
	for _, origin := range []string{"https://Front.test", "https://front.test:443", "HTTPS://front.test", "https://user@front.test", "ftp://front.test", "https://front.test/", "https://front.test?a", "null", ""} {
		_, err := endpoints.New(issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, TrustedOrigins: []string{origin}})
		require.ErrorContains(t, err, "Options.TrustedOrigins", origin)
	}
	for _, page := range []string{"/login#top", "login", "//login", "/a b"} {
		_, err := endpoints.New(issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, LoginPage: page})
		require.ErrorContains(t, err, "Options.LoginPage", page)
	}
	withoutSessions, err := jwtauth.NewIssuer(fixture.New(t).Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
	require.NoError(t, err)
	_, err = endpoints.New(withoutSessions, endpoints.Options{})
	require.ErrorContains(t, err, "has no sessions")
	_, err = endpoints.New(nil, endpoints.Options{})
	require.Error(t, err)
	_, err = endpoints.New(new(jwtauth.Issuer), endpoints.Options{})
	require.Error(t, err)
}

func TestTwoCookiesWithOneNameAreRefusedAndChangeNothing(t *testing.T) {
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}})
	b := s.browser()
	b.login("alice")
	other := s.browser()
	other.login("mallory")
	for _, c := range b.jar.Cookies(b.request("GET", "/", "").URL) {
		for _, value := range []string{c.Value, "x", other.jar.Cookies(b.request("GET", "/", "").URL)[0].Value} {
			for _, isFirst := range []bool{false, true} {
				for path, method := range map[string]string{"/auth/refresh": "POST", "/auth/logout": "POST", "/me": "GET"} {
					if path == "/me" == strings.Contains(c.Name, "refresh-") || path != "/me" && strings.Contains(c.Name, "access") {
						continue // the route does not read this cookie
					}
					r := b.request(method, path, "")
					cookies := r.Header.Get("Cookie")
					if isFirst {
						r.Header.Set("Cookie", c.Name+"="+value+"; "+cookies)
					} else {
						r.Header.Set("Cookie", cookies+"; "+c.Name+"="+value)
					}
					a := b.send(r)
					require.Equal(t, 400, a.Code, "%s %s", path, c.Name)
					require.Equal(t, "invalid_request", a.member("error"))
					require.Empty(t, a.Header()["Set-Cookie"])
				}
			}
		}
	}
	require.Equal(t, "alice", b.user())
}

func TestALateAnswerNeverReplacesAnotherLogin(t *testing.T) {
	for name, late := range map[string]func(b *browser) answer{
		"a refresh": func(b *browser) answer { return b.send(b.request("POST", "/auth/refresh", "")) },
		"a logout":  func(b *browser) answer { return b.send(b.request("POST", "/auth/logout", "")) },
		"a refused refresh": func(b *browser) answer {
			first := b.request("POST", "/auth/refresh", "")
			b.do("POST", "/auth/refresh", "")
			b.do("POST", "/auth/refresh", "")
			return b.send(first)
		},
	} {
		for _, logsOut := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", logout before: ", logsOut), func(t *testing.T) {
				b := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}).browser()
				b.login("alice")
				a := late(b)
				if logsOut {
					b.do("POST", "/auth/logout", "")
				}
				b.login("bob")
				b.keep(a)
				require.Equal(t, "bob", b.do("GET", "/me", "").Body.String())
				require.Equal(t, "bob", b.user())
				b.keep(a)
				require.Equal(t, "bob", b.do("GET", "/me", "").Body.String())
				require.Equal(t, "bob", b.user())
				// The next login removes what the late answer has left.
				b.login("carol")
				require.Len(t, b.jar.Cookies(b.request("GET", "/", "").URL), 3)
			})
		}
	}
}

func TestALateAnswerAfterALogoutLogsNobodyIn(t *testing.T) {
	b := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}).browser()
	b.login("alice")
	late := b.send(b.request("POST", "/auth/refresh", ""))
	require.Equal(t, 204, b.do("POST", "/auth/logout", "").Code)
	b.keep(late)
	require.Equal(t, 401, b.do("GET", "/me", "").Code)
	require.Equal(t, "invalid_grant", b.user())
}

func TestARefusalAndA503LeaveTheCookies(t *testing.T) {
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}})
	b := s.browser()
	b.login("alice")
	s.stores.Before = fixture.Failing
	for _, path := range []string{"/auth/refresh", "/auth/logout"} {
		a := b.do("POST", path, "")
		require.Equal(t, 503, a.Code)
		require.NotEmpty(t, a.Header().Get("Retry-After"))
		require.Empty(t, a.Header()["Set-Cookie"])
	}
	s.stores.Before = nil
	stolen := b.request("POST", "/auth/refresh", "")
	require.Equal(t, "alice", b.user())
	require.Equal(t, "alice", b.user())
	a := b.send(stolen)
	require.Equal(t, 400, a.Code)
	require.Empty(t, a.Header()["Set-Cookie"])
}

func TestALoginEndsTheSessionOfTheCookieThatCameAlong(t *testing.T) {
	s := newSite(t, withCookie)
	b := s.browser()
	b.login("alice")
	old := b.request("POST", "/auth/refresh", "")
	s.Heard()
	b.login("bob")
	require.Equal(t, []string{"token_issued", "session_ended logout"}, s.Heard())
	require.Equal(t, 400, b.send(old).Code)
	require.Equal(t, "bob", b.user())
	require.Len(t, b.jar.Cookies(old.URL), 2, "the cookie of the old login is gone")

	// If the store fails after the new login, the old cookie stays, and the next request tries again.
	var once sync.Once
	s.stores.Before = func(ctx context.Context, method string) error {
		err := error(nil)
		if method == "Revoke" {
			once.Do(func() { err = fixture.ErrStoreDown })
		}
		return err
	}
	b.login("carol")
	require.Len(t, b.jar.Cookies(old.URL), 3)
	require.Equal(t, "carol", b.user())
	require.Len(t, b.jar.Cookies(old.URL), 2, "a refresh removes the cookie of a session that has ended")
	sessions, _, err := s.Issuer.Sessions(t.Context(), "bob", "")
	require.NoError(t, err)
	require.Empty(t, sessions)
}

// A browser does not send the cookies, which are SameSite=Strict, with a callback of an OpenID
// provider. So Start cannot end the session that it replaces.
func TestARefreshEndsOlderLoginsThatStartCouldNotSee(t *testing.T) {
	s := newSite(t, withCookie)
	b := s.browser()
	for range 20 {
		s.Pass(time.Hour)
		recorder := httptest.NewRecorder()
		_, err := s.h.Start(recorder, httptest.NewRequest("GET", siteURL+"/callback", nil), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		b.keep(answer{t, recorder})
		require.Equal(t, "alice", b.user())
		require.Len(t, b.jar.Cookies(b.request("GET", "/", "").URL), 2)
	}
	sessions, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
}

func TestARefreshDoesNotEndANewerLogin(t *testing.T) {
	b := newSite(t, withCookie).browser()
	b.login("alice")
	late := b.request("POST", "/auth/refresh", "")
	b.Pass(time.Hour)
	other := b.site.browser()
	newer := other.send(other.request("POST", "/auth/login", `{"username":"bob","password":"`+password+`"}`))
	for _, c := range newer.Result().Cookies() {
		if strings.Contains(c.Name, "refresh-") {
			late.AddCookie(c) // the browser has kept one of the two cookies of the new login
		}
	}
	require.Equal(t, 200, b.send(late).Code)
	b.keep(newer)
	require.Equal(t, "bob", b.user())
}

func TestALogoutEndsAllLoginsOfTheBrowser(t *testing.T) {
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}})
	b := s.browser()
	one, two := b.send(b.request("POST", "/auth/login", goodLogin)), b.send(b.request("POST", "/auth/login", goodLogin))
	b.keep(one)
	b.keep(two)
	s.stores.Before = fixture.Failing
	require.Equal(t, 503, b.do("POST", "/auth/logout", "").Code)
	s.stores.Before = nil
	require.Equal(t, 204, b.do("POST", "/auth/logout", "").Code)
	sessions, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, sessions)
	for _, c := range b.jar.Cookies(b.request("GET", "/", "").URL) {
		require.Equal(t, "__Host-Http-refresh", c.Name, "it has only a tag")
	}

	// The cookie with the tag may be gone, and the login still ends.
	b.login("alice")
	r := b.request("POST", "/auth/logout", "")
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if c.Name != "__Host-Http-refresh" {
			r.AddCookie(c)
		}
	}
	require.Equal(t, 204, b.send(r).Code)
	sessions, _, err = s.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, sessions)
}

// Without this, a limit of one session would refuse the second login of one browser, and a limit
// with EndOldest would end the session of another device.
func TestALoginAtTheLimitEndsTheSessionThatItReplaces(t *testing.T) {
	for _, endOldest := range []bool{false, true} {
		s := newSite(t, withCookie, func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.EndOldest = 2, endOldest })
		phone, laptop := s.browser(), s.browser()
		phone.login("alice")
		s.Pass(time.Hour)
		for range 3 {
			laptop.login("alice")
			require.Equal(t, "alice", laptop.user())
		}
		require.Equal(t, "alice", phone.user())
		a := s.browser().do("POST", "/auth/login", goodLogin)
		require.Equal(t, endOldest, a.Code == 200)
	}
}

func TestALoginThatFailsEndsNoSession(t *testing.T) {
	s := newSite(t, withCookie, func(o *jwtauth.IssuerOptions) { o.SessionLimit = 1 })
	b := s.browser()
	b.login("alice")
	require.Equal(t, 200, s.browser().login("bob").Code)
	for _, body := range []string{
		`{"username":"alice","password":"wrong"}`, `{"username":"broken","password":"x"}`,
		`{"username":"bob","password":"` + password + `"}`, // the limit
		`{"username":"","password":"x"}`,
	} {
		a := b.do("POST", "/auth/login", body)
		require.GreaterOrEqual(t, a.Code, 400)
		require.Empty(t, a.Header()["Set-Cookie"])
	}
	require.Equal(t, "alice", b.user())
}

func TestTwoLoginsAtTheSameTimeLeaveOne(t *testing.T) {
	b := newSite(t, withCookie).browser()
	one := b.send(b.request("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`))
	two := b.send(b.request("POST", "/auth/login", `{"username":"bob","password":"`+password+`"}`))
	b.keep(two)
	b.keep(one)
	require.Equal(t, "alice", b.user(), "the answer that came last decides")
	b.login("carol")
	for _, name := range []string{"alice", "bob"} {
		sessions, _, err := b.Issuer.Sessions(t.Context(), name, "")
		require.NoError(t, err)
		require.Empty(t, sessions)
	}
}

// A browser drops a cookie of more than 4096 bytes and keeps the old one, which is the token of
// the user before, or one that was redeemed.
func TestATokenThatDoesNotFitItsCookieIsAnErrorBeforeAnythingChanges(t *testing.T) {
	big := false
	o := endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, Login: func(r *http.Request, name, _ string) (jwtauth.Grant, error) {
		g := jwtauth.Grant{Subject: name}
		if big {
			for i := range 90 {
				g.Scopes = append(g.Scopes, fmt.Sprintf("scope-%02d-%s", i, strings.Repeat("x", 22)))
			}
		}
		return g, nil
	}}
	var claims any
	s := newSite(t, o, func(o *jwtauth.IssuerOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Claims = claims
			return nil
		}
	})
	b := s.browser()
	b.login("alice")
	big = true
	a := b.do("POST", "/auth/login", `{"username":"alice","password":"x"}`)
	require.Equal(t, 500, a.Code)
	require.Empty(t, a.Header()["Set-Cookie"])
	sessions, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, sessions, 1)

	r := b.request("POST", "/auth/login", "")
	grant, err := o.Login(r, "alice", "")
	require.NoError(t, err)
	_, err = s.h.Start(a.ResponseRecorder, r, grant)
	require.ErrorContains(t, err, "bytes, but it, or its cookie, may have at most 40")

	claims = map[string]string{"big": strings.Repeat("x", 3500)}
	a = b.do("POST", "/auth/refresh", "")
	require.Equal(t, 503, a.Code)
	require.Empty(t, a.Header()["Set-Cookie"])
	claims = nil
	require.Equal(t, "alice", b.user(), "the refresh token was not redeemed")

	// An issuer without cookies still issues the large token.
	_, err = s.Issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
}

func TestTwoProgramsOnOneHostHaveTwoNames(t *testing.T) {
	one := newSite(t, withCookie)
	two := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{Name: "__Host-Http-two"}})
	b := one.browser()
	b.login("alice")
	other := &browser{two, b.jar}
	other.login("bob")
	require.Equal(t, "alice", b.user())
	require.Equal(t, "bob", other.user())
	require.Equal(t, 204, other.do("POST", "/auth/logout", "").Code)
	require.Equal(t, "alice", b.user())
}
