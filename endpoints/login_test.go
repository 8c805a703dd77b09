package endpoints_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

const goodLogin = `{"username":"alice","password":"` + password + `"}`

func TestABodyIsOneObjectOrOneForm(t *testing.T) {
	const (
		json = "application/json"
		form = "application/x-www-form-urlencoded"
	)
	good := "username=alice&password=" + strings.ReplaceAll(password, " ", "+")
	b := newSite(t, endpoints.Options{}).browser()
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"an object", json, goodLogin, 200},
		{"another spelling of the media type", "Application/JSON; charset=UTF-8", goodLogin, 200},
		{"blanks around it", json, " \r\n\t" + goodLogin + "\n", 200},
		{"further members", json, `{"username":"alice","password":"` + password + `","remember":true,"n":1}`, 200},
		{"a form", form, good, 200},
		{"a form with further fields", form, good + "&remember=on", 200},
		{"no media type", "", goodLogin, 415},
		{"plain text, which needs no preflight", "text/plain", goodLogin, 415},
		{"a multipart form", "multipart/form-data; boundary=x", "--x--", 415},
		{"another charset", "application/json; charset=utf-16", goodLogin, 415},
		{"a broken media type", "application/json; charset", goodLogin, 415},
		{"two media types", "application/json, text/plain", goodLogin, 415},
		{"nothing", json, "", 400},
		{"half of it", json, goodLogin[:len(goodLogin)-1], 400},
		{"null", json, "null", 400},
		{"a list", json, "[" + goodLogin + "]", 400},
		{"two objects", json, goodLogin + goodLogin, 400},
		{"text after it", json, goodLogin + "x", 400},
		{"a name twice", json, `{"username":"alice","password":"` + password + `","username":"bob"}`, 400},
		{"a name twice, once escaped", json, `{"username":"alice","password":"` + password + `","user\u006eame":"bob"}`, 400},
		{"a name twice, in another case", json, `{"username":"alice","password":"` + password + `","Username":"bob"}`, 400},
		{"a name in capitals", json, strings.Replace(goodLogin, "username", "USERNAME", 1), 400},
		{"a list in place of a text", json, `{"username":["alice"],"password":"x"}`, 400},
		{"null in place of a text", json, `{"username":null,"password":"x"}`, 400},
		{"no UTF-8", json, "{\"username\":\"\xff\",\"password\":\"x\"}", 400},
		{"a byte order mark", json, "\ufeff" + goodLogin, 400},
		{"deep nesting", json, `{"username":` + strings.Repeat("[", 10_000), 400},
		{"a field twice", form, good + "&username=bob", 400},
		{"a field twice, once escaped", form, good + "&user%6eame=bob", 400},
		{"a broken escape", form, good + "&x=%", 400},
		{"a semicolon", form, good + ";x=y", 400},
		{"no UTF-8 in a form", form, good + "&x=%ff", 400},
		{"an empty name", json, `{"username":"","password":"x"}`, 400},
		{"no password", json, `{"username":"alice"}`, 400},
		{"the largest", json, goodLogin + strings.Repeat(" ", 16<<10-len(goodLogin)), 200},
		{"one byte more", json, goodLogin + strings.Repeat(" ", 16<<10-len(goodLogin)+1), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.request("POST", "/auth/login", c.body, "Content-Type: "+c.contentType)
			a := b.send(r)
			require.Equal(t, c.status, a.Code, a.Body)
			require.Equal(t, "no-store", a.Header().Get("Cache-Control"))
			if c.status != 200 {
				require.Equal(t, "invalid_request", a.member("error"))
				require.NotEmpty(t, a.member("error_description"))
				require.NotContains(t, a.Body.String(), password)
				require.Empty(t, a.Header().Get("WWW-Authenticate"))
			}
		})
	}
	a := b.do("POST", "/auth/login?username=alice", goodLogin)
	require.Equal(t, 400, a.Code, "a query ends up in logs")
}

func TestTheFieldsOfABodyAreThoseOfTheForm(t *testing.T) {
	var got []string
	b := newSite(t, endpoints.Options{Login: func(r *http.Request, _, _ string) (jwtauth.Grant, error) {
		got = append(got, r.PostFormValue("otp")+" "+r.FormValue("remember")+" "+r.PostForm.Get("n"))
		return jwtauth.Grant{Subject: "alice"}, nil
	}}).browser()
	b.do("POST", "/auth/login", `{"username":"a","password":"b","otp":"012345","remember":true,"n":7}`)
	b.do("POST", "/auth/login", "username=a&password=b&otp=012345&remember=true&n=7")
	require.Equal(t, []string{"012345 true 7", "012345 true 7"}, got)
}

func TestALoginIsGrantedRefusedOrUndecided(t *testing.T) {
	s := newSite(t, endpoints.Options{})
	for _, c := range []struct {
		name   string
		status int
		code   string
		events []string
	}{
		{"alice", 200, "", []string{"token_issued"}},
		{"broken", 503, "temporarily_unavailable", []string{"unavailable login"}},
		{"slow", 503, "temporarily_unavailable", []string{"unavailable login"}},
		{"locked", 403, "locked", []string{"login_refused password"}},
	} {
		s.Heard()
		a := s.browser().do("POST", "/auth/login", `{"username":"`+c.name+`","password":"`+password+`"}`)
		require.Equal(t, c.status, a.Code)
		require.Equal(t, c.code, a.member("error"))
		require.Equal(t, c.events, s.Heard())
	}
	a := s.browser().do("POST", "/auth/login", `{"username":"alice","password":"guess"}`)
	require.Equal(t, 401, a.Code)
	require.Equal(t, "invalid_credentials", a.member("error"))
	require.Equal(t, []string{"login_refused password"}, s.Heard())

	s.stores.Before = fixture.Failing
	a = s.browser().do("POST", "/auth/login", goodLogin)
	require.Equal(t, 503, a.Code)
	require.Equal(t, "1", a.Header().Get("Retry-After"))
	require.Equal(t, []string{"unavailable session"}, s.Heard())
}

func TestALoginBeyondTheLimitIsRefusedWithAnEvent(t *testing.T) {
	s := newSite(t, endpoints.Options{}, func(o *jwtauth.IssuerOptions) { o.SessionLimit = 1 })
	s.browser().login("alice")
	s.Heard()
	a := s.browser().do("POST", "/auth/login", goodLogin)
	require.Equal(t, 403, a.Code)
	sent := s.Sent()
	require.Equal(t, []string{"login_refused limit"}, s.Heard())
	require.Equal(t, "alice", sent[len(sent)-1].Subject)
}

func TestGuessesAreSlowedDown(t *testing.T) {
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{PerName: 3})
	require.NoError(t, err)
	client := "192.0.2.1"
	s := newSite(t, endpoints.Options{Throttle: throttle, ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr(client) }})
	b := s.browser()
	for _, name := range []string{"alice", "Alice", "ALICE"} {
		require.Equal(t, 401, b.do("POST", "/auth/login", `{"username":"`+name+`","password":"guess"}`).Code)
	}
	s.Heard()
	a := b.do("POST", "/auth/login", goodLogin)
	require.Equal(t, 429, a.Code)
	require.Equal(t, "too_many_attempts", a.member("error"))
	require.NotEmpty(t, a.Header().Get("Retry-After"))
	require.Equal(t, []string{"login_refused throttle"}, s.Heard())
	client = "198.51.100.1"
	b.login("alice")

	// An attempt whose outcome is not known is no failure of the user for longer than a minute,
	// and a throttle that cannot decide lets nobody in.
	s = newSite(t, endpoints.Options{ClientAddr: func(*http.Request) netip.Addr { return netip.Addr{} }})
	a = s.browser().do("POST", "/auth/login", goodLogin)
	require.Equal(t, 503, a.Code)
	require.Equal(t, []string{"unavailable throttle"}, s.Heard())
}

func TestTheTimeOfTheLoginIsReadBeforeThePassword(t *testing.T) {
	var s *site
	began := time.Time{}
	s = newSite(t, endpoints.Options{Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		began = s.Clock.Now()
		s.Pass(time.Minute)
		return jwtauth.Grant{Subject: "alice"}, nil
	}})
	token, err := s.Verifier.Verify(t.Context(), s.browser().login("alice").member("access_token"))
	require.NoError(t, err)
	require.Equal(t, began.Unix(), token.AuthTime.Unix())
}

func TestNoHeaderOfAClientMakesTheDetailsTooLarge(t *testing.T) {
	s := newSite(t, endpoints.Options{Details: func(r *http.Request) map[string]string {
		agent := r.UserAgent()
		return map[string]string{"agent": agent, "again": agent, "third": agent, "fourth": agent, "fifth": agent}
	}})
	for _, agent := range []string{strings.Repeat("<", 300), strings.Repeat("x", 300), strings.Repeat(`"\`, 300), strings.Repeat("\u2028", 300), strings.Repeat("\x7f\u0001", 300)} {
		b := s.browser()
		header := "User-Agent: " + agent
		a := b.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`"}`, header)
		require.Equal(t, 200, a.Code, a.Body)
		a = b.do("POST", "/auth/refresh", `{"refresh_token":"x"}`, header)
		require.Equal(t, 400, a.Code, a.Body)
	}
}

func TestTheDetailsOfASessionFollowItsRequests(t *testing.T) {
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, Details: func(r *http.Request) map[string]string {
		return map[string]string{"agent": r.UserAgent()}
	}})
	agent := func() string {
		sessions, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
		require.NoError(t, err)
		return sessions[0].Details["agent"]
	}
	b := s.browser()
	b.do("POST", "/auth/login", goodLogin, "User-Agent: one")
	require.Equal(t, "one", agent())
	b.do("POST", "/auth/refresh", "", "User-Agent: two")
	require.Equal(t, "two", agent())
}

// The header X-CSRF proves that a script of the own origin, or of one that CORS
// allows, has made the request. A form of a page has Sec-Fetch-Site in its place.
func TestWithCookiesOnlyTheOwnPagesLogInRefreshAndLogOut(t *testing.T) {
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, TrustedOrigins: []string{"https://front.app.test"}})
	form := "username=alice&password=" + strings.ReplaceAll(password, " ", "+")
	for _, c := range []struct {
		name      string
		headers   []string
		json      bool // a script with JSON, or an empty body, is accepted
		plainForm bool // a form is accepted, at login and logout
	}{
		{"the own page", nil, true, true},
		{"an old browser that sends no Sec-Fetch-Site", []string{"Sec-Fetch-Site:"}, true, true},
		{"a client that is no browser", []string{"Sec-Fetch-Site:", "Origin:"}, true, true},
		{"a form of the own page", []string{"X-CSRF:"}, false, true},
		{"a form of an old browser, or by plain http", []string{"X-CSRF:", "Sec-Fetch-Site:"}, false, true},
		{"a form without any of the headers", []string{"X-CSRF:", "Sec-Fetch-Site:", "Origin:"}, false, false},
		{"a trusted origin", []string{"Sec-Fetch-Site: same-site", "Origin: https://front.app.test"}, true, true},
		{"a form of a trusted origin", []string{"Sec-Fetch-Site: same-site", "Origin: https://front.app.test", "X-CSRF:"}, false, true},
		{"a sibling host", []string{"Sec-Fetch-Site: same-site", "Origin: https://evil.app.test"}, false, false},
		{"another site", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.test"}, false, false},
		{"another site in an old browser", []string{"Sec-Fetch-Site:", "Origin: https://evil.test"}, false, false},
		{"a sandboxed frame", []string{"Sec-Fetch-Site: cross-site", "Origin: null"}, false, false},
		{"another port", []string{"Sec-Fetch-Site: same-site", "Origin: https://app.test:8443"}, false, false},
		{"begins like a trusted origin", []string{"Sec-Fetch-Site: cross-site", "Origin: https://front.app.test.evil.test"}, false, false},
		{"ends like a trusted origin", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evilfront.app.test"}, false, false},
		{"a trusted host with another scheme", []string{"Sec-Fetch-Site: cross-site", "Origin: http://front.app.test"}, false, false},
		{"a trusted host with another port", []string{"Sec-Fetch-Site: same-site", "Origin: https://front.app.test:444"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.browser()
			b.login("alice")
			status := func(isGood bool, good int) int {
				if isGood {
					return good
				}
				return 403
			}
			require.Equal(t, status(c.json, 200), b.do("POST", "/auth/refresh", "", c.headers...).Code)
			require.Equal(t, status(c.plainForm, 200), b.do("POST", "/auth/login", form, c.headers...).Code)
			require.Equal(t, status(c.json, 200), b.do("POST", "/auth/login", goodLogin, c.headers...).Code)
			require.Equal(t, status(c.plainForm, 204), b.do("POST", "/auth/logout", "x=y", c.headers...).Code)
			if !c.plainForm {
				require.Equal(t, "alice", b.user(), "a refusal keeps the login")
			}
			for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS"} {
				for _, path := range []string{"login", "refresh", "logout"} {
					require.Equal(t, 405, b.send(b.request(method, "/auth/"+path, "", c.headers...)).Code)
				}
			}
		})
	}
}

func TestARefreshTokenIsInItsCookieOrInTheBody(t *testing.T) {
	s := newSite(t, withCookie)
	b := s.browser()
	b.login("alice")
	tokens := s.Login("bob")
	for _, body := range []string{`{"refresh_token":"` + tokens.RefreshToken + `"}`, "refresh_token=" + tokens.RefreshToken} {
		a := b.do("POST", "/auth/refresh", body)
		require.Equal(t, 400, a.Code)
		require.Equal(t, "invalid_request", a.member("error"))
	}
	require.Equal(t, "alice", b.user())
	a := s.browser().do("POST", "/auth/refresh", "")
	require.Equal(t, 400, a.Code)
	require.Equal(t, "login", a.member("next"))

	app := newSite(t, endpoints.Options{})
	b = app.browser()
	refresh := b.login("alice").member("refresh_token")
	require.Empty(t, b.jar.Cookies(b.request("GET", "/", "").URL))
	a = b.do("POST", "/auth/refresh", `{"refresh_token":"`+refresh+`"}`)
	require.Equal(t, 200, a.Code)
	second := a.member("refresh_token")
	require.NotEqual(t, refresh, second)
	require.Equal(t, 200, b.do("POST", "/auth/refresh", "refresh_token="+second).Code)
	a = b.do("POST", "/auth/refresh", "")
	require.Equal(t, 400, a.Code)
	require.Equal(t, "invalid_request", a.member("error"))
	a = b.do("POST", "/auth/refresh", "refresh_token=garbage")
	require.Equal(t, 400, a.Code)
	require.Equal(t, "invalid_grant", a.member("error"))
}

func TestARefreshTokenBelongsToItsClient(t *testing.T) {
	s := newSite(t, endpoints.Options{ClientID: "web", Client: clients})
	b := s.browser()
	refresh := b.login("alice").member("refresh_token")
	require.Equal(t, 200, b.do("POST", "/auth/refresh", "scope=read&refresh_token="+refresh).Code)
	// The name of another client proves nothing: that client must authenticate itself at the route token.
	stolen := b.issue(t, "one").RefreshToken
	for _, fields := range []string{"", "&client_id=one"} {
		a := b.do("POST", "/auth/refresh", "refresh_token="+stolen+fields)
		require.Equal(t, 400, a.Code)
		require.Equal(t, "invalid_grant", a.member("error"))
	}
	a := b.do("POST", "/auth/login", `{"username":"alice","password":"`+password+`","client_id":"one"}`)
	require.Equal(t, 500, a.Code, "a session that could not be refreshed")
	_, err := s.h.Start(httptest.NewRecorder(), b.request("POST", "/", ""), jwtauth.Grant{Subject: "alice", ClientID: "one"})
	require.ErrorContains(t, err, `the grant is of the client "one", and Options.ClientID is "web"`)
}

func TestNoSpellingOfANameHasGuessesOfItsOwn(t *testing.T) {
	guesses := 0
	b := newSite(t, endpoints.Options{Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		guesses++
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}}).browser()
	for _, name := range []string{"sissi", "SISSI", "ſissi", "siſsi", "sisſi", "ſiſſi", " sissi", "sissi ", "sissi ", "si ssi", "sissi "} {
		for range 5 {
			b.do("POST", "/auth/login", `{"username":"`+name+`","password":"x"}`)
		}
	}
	require.Equal(t, 10, guesses)
	require.Equal(t, 401, b.do("POST", "/auth/login", `{"username":"sisi","password":"x"}`).Code)
}

// throttle is a Throttle that always answers the same.
type throttle struct{ err error }

func (t throttle) Begin(context.Context, string, netip.Addr) (func(bool), time.Duration, error) {
	return nil, 0, t.err
}

func TestAThrottleOfTheProgramRefusesOrCannotDecide(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{nil, 429}, {fmt.Errorf("blocked: %w", jwtauth.ErrRefused), 429}, {errors.New("no answer"), 503}, {&jwtauth.Error{Status: 403, Code: "blocked"}, 403},
	} {
		s := newSite(t, endpoints.Options{Throttle: throttle{c.err}})
		require.Equal(t, c.status, s.browser().do("POST", "/auth/login", goodLogin).Code, c.err)
	}
}

func TestAnErrorThatIsBothIsNoRefusal(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{errors.Join(jwtauth.ErrGrantRefused, context.DeadlineExceeded), 503},
		{errors.Join(jwtauth.ErrUnavailable, &jwtauth.Error{Status: 401}), 503},
		{fmt.Errorf("wrapped: %w", jwtauth.ErrGrantRefused), 401},
		{&jwtauth.Error{Status: 502}, 502},
		{(*jwtauth.Error)(nil), 503},
		{nil, 401}, // a grant without a subject
	} {
		s := newSite(t, endpoints.Options{Login: func(*http.Request, string, string) (jwtauth.Grant, error) { return jwtauth.Grant{}, c.err }})
		a := s.browser().do("POST", "/auth/login", goodLogin)
		require.Equal(t, c.status, a.Code, "%v", c.err)
	}
}

func TestEveryRefusalOfAnOriginAndEveryMistakeOfTheProgramHasAnEvent(t *testing.T) {
	agent := strings.Repeat("x", 1100)
	s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{}, Details: func(r *http.Request) map[string]string {
		return map[string]string{"agent": r.UserAgent()}
	}})
	b := s.browser()
	s.Heard()
	b.do("POST", "/auth/login", goodLogin, "X-CSRF:")
	b.do("POST", "/auth/refresh", "", "X-CSRF:")
	b.do("POST", "/auth/logout", "", "X-CSRF:")
	require.Equal(t, []string{"login_refused origin", "refresh_refused origin", "token_refused origin"}, s.Heard())

	require.Equal(t, 200, b.do("POST", "/auth/login", goodLogin, "User-Agent: "+agent).Code, "a long header is cut")
	require.Equal(t, 200, b.do("POST", "/auth/refresh", "", "User-Agent: \xff"+agent).Code)

	s = newSite(t, endpoints.Options{Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: "alice", Scopes: []string{"a b"}}, nil
	}})
	require.Equal(t, 500, s.browser().do("POST", "/auth/login", goodLogin).Code)
	require.Equal(t, []string{"unavailable endpoint"}, s.Heard())
}

func TestALogoutTakesOneToken(t *testing.T) {
	s := newSite(t, endpoints.Options{})
	b := s.browser()
	sessions := func() int {
		list, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
		require.NoError(t, err)
		return len(list)
	}
	for _, c := range []struct {
		name          string
		header, body  bool
		status, after int
	}{
		{"the refresh token", false, true, 204, 0},
		{"the access token", true, false, 204, 0},
		{"both", true, true, 400, 1},
		{"none", false, false, 401, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, s.Issuer.EndAllSessions(t.Context(), "alice"))
			a := b.login("alice")
			var body string
			var headers []string
			if c.header {
				headers = []string{"Authorization: Bearer " + a.member("access_token")}
			}
			if c.body {
				body = "refresh_token=" + a.member("refresh_token")
			}
			require.Equal(t, c.status, b.do("POST", "/auth/logout", body, headers...).Code)
			require.Equal(t, c.after, sessions())
			if c.status == 204 {
				require.Equal(t, 204, b.do("POST", "/auth/logout", body, headers...).Code, "a session that has ended")
			}
		})
	}
	require.Equal(t, 400, b.do("POST", "/auth/logout", "refresh_token=garbage").Code)
}

func TestStartBeginsASessionAfterAProofOfTheProgram(t *testing.T) {
	s := newSite(t, withCookie)
	b := s.browser()
	b.login("alice")
	answer := httptest.NewRecorder()
	tokens, err := s.h.Start(answer, b.request("GET", "/callback", ""), jwtauth.Grant{Subject: "bob"})
	require.NoError(t, err)
	require.Empty(t, tokens.RefreshToken)
	require.NotEmpty(t, tokens.AccessToken)
	require.Empty(t, answer.Body.String())
	require.Len(t, answer.Header()["Set-Cookie"], 3, "the two of the login, and the one that clears the old login")

	_, err = s.h.Start(answer, b.request("GET", "/callback", ""), jwtauth.Grant{})
	require.Error(t, err)
	_, err = new(endpoints.Handlers).Start(answer, b.request("GET", "/callback", ""), jwtauth.Grant{Subject: "bob"})
	require.Error(t, err)
}

func TestZeroHandlersAnswer503(t *testing.T) {
	for _, h := range []*endpoints.Handlers{nil, {}} {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest("POST", "/auth/login", nil))
		require.Equal(t, 503, answer.Code)
		answer = httptest.NewRecorder()
		h.Auth().Require(http.NotFoundHandler()).ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, 503, answer.Code)
		_, err := h.Verifier().Verify(t.Context(), "x")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	}
}

func TestWithoutLoginThereIsNoSuchRoute(t *testing.T) {
	h, err := endpoints.New(fixture.New(t).Issuer, endpoints.Options{Path: "/a/b"})
	require.NoError(t, err)
	for path, status := range map[string]int{"/a/b/login": 404, "/a/b/token": 404, "/a/b/revoke": 404, "/a/b/introspect": 404, "/a/b/resume": 404, "/auth/refresh": 404, "/a/b/refresh": 400} {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest("POST", path, nil))
		require.Equal(t, status, answer.Code, path)
	}
}

func TestARequestThatEndsChangesNothing(t *testing.T) {
	s := newSite(t, withCookie)
	b := s.browser()
	b.login("alice")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client is gone"))
	for _, path := range []string{"login", "refresh", "logout"} {
		body := ""
		if path == "login" {
			body = goodLogin
		}
		a := b.send(b.request("POST", "/auth/"+path, body).WithContext(ctx))
		require.Equal(t, 503, a.Code, path)
		require.Empty(t, a.Header()["Set-Cookie"])
	}
	require.Equal(t, "alice", b.user())
}

func TestALoginByPlainHTTPIsRefusedUnlessTheCookieIsForIt(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		s := newSite(t, endpoints.Options{RefreshCookie: &endpoints.Cookie{InsecureHTTP: insecure}})
		for host, isLocal := range map[string]bool{"app.test": false, "192.0.2.1:8080": false, "localhost:8080": true, "127.0.0.1": true, "[::1]:80": true} {
			b := s.browser()
			r := b.request("POST", "/auth/login", goodLogin, "Origin: http://"+host)
			r.Host = host
			s.Heard()
			a := b.send(r)
			if insecure || isLocal {
				require.Equal(t, 200, a.Code, host)
				continue
			}
			require.Equal(t, 400, a.Code, host)
			require.Contains(t, a.member("error_description"), "InsecureHTTP")
			require.Equal(t, []string{"login_refused http"}, s.Heard())
		}
	}
}
