package migrate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// site is a service whose old code keeps the token in the cookie jwt, and one browser.
type site struct {
	t    *testing.T
	mux  *http.ServeMux
	jar  http.CookieJar
	base *url.URL
}

func newSite(t *testing.T, w *world, o endpoints.Options) *site {
	if o.Verifier == nil {
		o.Verifier = w.old
	}
	o.RefreshCookie, o.AccessCookie = &endpoints.Cookie{}, &endpoints.Cookie{}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FromCookie("jwt")}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	base, err := url.Parse("https://api.example.com/")
	require.NoError(t, err)
	s := &site{t, http.NewServeMux(), jar, base}
	s.mux.Handle("/auth/", h)
	s.mux.Handle("POST /trade-in", h.Auth().Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		old, _ := jwtauth.FromContext(r.Context())
		g, err := migrate.TradeIn(old, jwtauth.Grant{Scopes: old.Scopes()})
		if err == nil {
			_, err = h.Start(rw, r, g)
		}
		if err != nil {
			jwtauth.WriteError(rw, r, err)
		}
	})))
	s.mux.Handle("GET /me", h.Auth().Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(rw, token.Subject)
	})))
	return s
}

func (s *site) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "https://api.example.com"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-CSRF", "1")
	for _, c := range s.jar.Cookies(s.base) {
		r.AddCookie(c)
	}
	return r
}

func (s *site) send(r *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	s.mux.ServeHTTP(a, r)
	s.jar.SetCookies(s.base, a.Result().Cookies())
	return a
}

func (s *site) do(method, path, body string) *httptest.ResponseRecorder {
	return s.send(s.request(method, path, body))
}

func (s *site) setOld(text string) {
	s.jar.SetCookies(s.base, []*http.Cookie{{Name: "jwt", Value: text, Path: "/", Secure: true, HttpOnly: true}})
}

// without returns a request whose browser has dropped the cookies with a name that begins with prefix.
func without(r *http.Request, prefix string) *http.Request {
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if !strings.HasPrefix(c.Name, prefix) {
			r.AddCookie(c)
		}
	}
	return r
}

func TestTwoTabsThatTradeInAtTheSameTimeStayLoggedIn(t *testing.T) {
	w := newOldWorld(t)
	s := newSite(t, w, endpoints.Options{})
	s.setOld(w.sign(w.alice(nil)))
	one, two := s.request("POST", "/trade-in", ""), s.request("POST", "/trade-in", "") // both leave before an answer comes
	require.Equal(t, 200, s.send(one).Code)
	require.Equal(t, 200, s.send(two).Code)
	for n := range 4 {
		w.Clock.Advance(14 * time.Minute)
		a := s.do("POST", "/auth/refresh", "")
		require.Equal(t, 200, a.Code, "refresh %d: %s", n+1, a.Body)
		a = s.do("GET", "/me", "")
		require.Equal(t, 200, a.Code, "after refresh %d: %s", n+1, a.Body)
	}
}

func TestARepeatedTradeInDuringAFailureOfTheStoreEndsNoSession(t *testing.T) {
	w, store := newHookedWorld(t)
	s := newSite(t, w, endpoints.Options{})
	text := w.sign(w.alice(nil))
	s.setOld(text)
	require.Equal(t, 200, s.do("POST", "/trade-in", "").Code)
	failed := false
	store.Before = func(_ context.Context, method string) error {
		if method == "Advance" && !failed {
			failed = true
			return fixture.ErrStoreDown
		}
		return nil
	}
	r := s.request("POST", "/trade-in", "")
	r.Header.Set("Authorization", "Bearer "+text) // a page that sends the old token from its storage
	a := s.send(r)
	store.Before = nil
	require.True(t, failed)
	require.Equal(t, 200, a.Code)
	a = s.do("GET", "/me", "")
	require.Equal(t, 200, a.Code, "%s", a.Body)
}

func TestAnOldCookieOfAnotherUserDoesNotComeBack(t *testing.T) {
	w, store := newHookedWorld(t)
	s := newSite(t, w, endpoints.Options{Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: "bob"}, nil
	}})
	s.setOld(w.sign(w.alice(jwt.MapClaims{"exp": w.Clock.Now().Add(20 * 24 * time.Hour).Unix()})))
	login := func() int { return s.do("POST", "/auth/login", `{"username":"bob","password":"x"}`).Code }
	store.Before = fixture.FailingAt("Revoke")
	require.Equal(t, 503, login())
	require.Equal(t, "alice", s.do("GET", "/me", "").Body.String())
	store.Before = nil
	require.Equal(t, 200, login())
	require.Equal(t, "bob", s.do("GET", "/me", "").Body.String())
	w.Clock.Advance(8 * 24 * time.Hour) // the session of bob and its cookies have ended by themselves
	require.Equal(t, 401, s.send(without(s.request("GET", "/me", ""), "__Host-")).Code)
}

func TestAPageOfATrustedOriginEndsAnOldTokenToo(t *testing.T) {
	for path, want := range map[string]int{"/auth/login": 200, "/auth/logout": 204} {
		w := newOldWorld(t)
		s := newSite(t, w, endpoints.Options{TrustedOrigins: []string{"https://app.example.com"}, Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
			return jwtauth.Grant{Subject: "bob"}, nil
		}})
		text := w.sign(w.alice(nil))
		s.setOld(text)
		requireAccepted(t, w.old, text)
		body := ""
		if path == "/auth/login" {
			body = `{"username":"bob","password":"x"}`
		}
		r := s.request("POST", path, body)
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Sec-Fetch-Site", "same-site")
		require.Equal(t, want, s.send(r).Code)
		requireRefused(t, w.old, text, "revocation", jwtauth.ErrTokenRevoked)
	}
}

func TestAPageWithoutItsAccessCookieIsRefreshedAndDoesNotAskForALogin(t *testing.T) {
	w := newOldWorld(t)
	s := newSite(t, w, endpoints.Options{LoginPage: "/login"})
	text := w.sign(w.alice(nil))
	s.setOld(text)
	require.Equal(t, 200, s.do("POST", "/trade-in", "").Code)
	require.NoError(t, w.old.Revoke(t.Context(), requireAccepted(t, w.old, text)))
	r := without(s.request("GET", "/me", ""), "__Host-Http-access")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Accept", "text/html")
	require.Contains(t, s.send(r).Header().Get("Location"), "/auth/resume")
}

func TestALogoutEndsAnOldTokenAlsoIfTheProgramMadeTheVerifierItself(t *testing.T) {
	w := newOldWorld(t)
	w.World = fixture.New(t) // an issuer that no AnyOf knows
	w.old = w.verifier(w.keys)
	own, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Revocations: w.Store, Now: w.Clock.Now})
	require.NoError(t, err)
	both, err := jwtauth.AnyOf(own, w.old)
	require.NoError(t, err)
	s := newSite(t, w, endpoints.Options{Verifier: both})
	text := w.sign(w.alice(nil))
	s.setOld(text)
	require.Equal(t, "alice", s.do("GET", "/me", "").Body.String())
	require.Equal(t, 204, s.do("POST", "/auth/logout", "").Code)
	requireRefused(t, w.old, text, "revocation", jwtauth.ErrTokenRevoked)
}
