package browser_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestAPageWithoutALoginGoesToTheFormAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	b := newProfile(t).open(s.url("/me?a=1&b=%2F"))
	b.waitFor("/login?return=%2Fme%3Fa%3D1%26b%3D%252F", "Log in")
	b.fillLogin("alice", "a guess")
	b.waitFor("/login?error=invalid_credentials&return=%2Fme%3Fa%3D1%26b%3D%252F", "invalid_credentials")
	b.fillLogin("alice", password)
	b.waitFor("/me?a=1&b=%2F", "user alice")
	s.requireUser(b, "alice")
	b.do(`setTimeout(() => document.forms[0].requestSubmit())`)
	b.waitFor("/login", "Log in")
	require.Empty(t, b.tokenCookies(app))
	b.load(s.url("/me"))
	b.waitFor("/login?return=%2Fme", "Log in")
}

// With the policy no-referrer, a browser sends Origin: null with a form.
func TestAFormOfAPageWithoutReferrerLogsIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	s.mux.HandleFunc("GET /quiet", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		showLogin(w, r)
	})
	b := newProfile(t).open(s.url("/quiet?return=/me"))
	b.fillLogin("alice", password)
	b.waitFor("/me", "user alice")
	require.Equal(t, "null", s.visited("/auth/login")[0].origin)
}

func TestAnExpiredPageIsRenewedAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	before := p.tokenCookies(app)
	s.Clock.Advance(16 * time.Minute)
	s.visited("")
	b.load(s.url("/me?a=1&b=%2F"))
	b.waitFor("/me?a=1&b=%2F", "user alice")
	require.Len(t, s.visited("/auth/refresh"), 1)
	for name, value := range before {
		require.NotEqual(t, value, p.tokenCookies(app)[name])
	}
	for _, url := range b.history() {
		require.NotContains(t, url, "resume", "the button Back does not lead to the page resume")
	}
	s.requireUser(b, "alice")
	s.requireNoTheft()
}

func TestAPageWhoseAccessCookieTheBrowserHasDroppedIsRenewed(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	for name := range p.tokenCookies(app) {
		if strings.Contains(name, "access") {
			_, err := chromedp.Call(b.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: s.url("/")})
			require.NoError(t, err)
		}
	}
	require.Len(t, p.tokenCookies(app), 1)
	s.visited("")
	b.load(s.url("/me?a=1"))
	b.waitFor("/me?a=1", "user alice")
	require.Len(t, s.visited("/auth/resume"), 1)
}

// The browser does not send the refresh token with the link of another site, because its cookie
// has SameSite=Strict.
func TestALinkOfAnotherSiteToAnExpiredPageComesBackLoggedIn(t *testing.T) {
	t.Parallel()
	s, blank := newSite(t, pageOptions()), serveBlank(t)
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	s.Clock.Advance(16 * time.Minute)
	for _, path := range []string{"/me?a=1", "/auth/resume?return=/me?a=1"} {
		b = p.open(at(blank, elsewhere))
		s.visited("")
		b.follow(s.url(path))
		b.waitFor("/me?a=1", "user alice")
	}
	s.requireUser(b, "alice")
	s.requireNoTheft()
}

func TestAStoreThatFailsLogsNobodyOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	before := p.tokenCookies(app)

	s.isDown.Store(true)
	b.load(s.url("/me"))
	b.waitFor("/me", "temporarily_unavailable")
	require.Equal(t, 503, b.post("/auth/refresh").Status)
	require.Equal(t, before, p.tokenCookies(app))
	s.isDown.Store(false)
	s.requireUser(b, "alice")

	s.Clock.Advance(16 * time.Minute)
	s.isDown.Store(true)
	s.visited("")
	b.load(s.url("/me"))
	b.waitFor("/auth/resume?return=%2Fme", "The server does not answer at the moment. Trying again.")
	eventually(t, "the page tries again", func() bool { return len(s.seen("/auth/refresh")) >= 2 })
	s.isDown.Store(false)
	b.waitFor("/me", "user alice")
	require.Less(t, len(s.visited("/auth/refresh")), 6, "the page pauses between the attempts")
	s.requireUser(b, "alice")
	s.requireNoTheft()
}

func TestA400OfAProxyLogsNobodyOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	s.mux.HandleFunc("POST /auth/refresh", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>Request Header Or Cookie Too Large</html>", http.StatusBadRequest)
	})
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	before := p.tokenCookies(app)
	s.Clock.Advance(16 * time.Minute)
	b.load(s.url("/me"))
	b.waitFor("/auth/resume?return=%2Fme", "Your login cannot be renewed.")
	require.Equal(t, before, p.tokenCookies(app))
}

func TestAnEndedSessionGoesToTheFormAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	b := newProfile(t).newTab()
	for _, isExpired := range []bool{false, true} {
		b.logIn(s.url(""), "alice")
		require.NoError(t, s.Issuer.EndAllSessions(t.Context(), "alice"))
		if isExpired {
			s.Clock.Advance(16 * time.Minute)
		}
		b.load(s.url("/me?a=1"))
		b.waitFor("/login?return=%2Fme%3Fa%3D1", "Log in")
		b.fillLogin("alice", password)
		b.waitFor("/me?a=1", "user alice")
	}
	require.Equal(t, 204, b.post("/auth/logout").Status)
	b.load(s.url("/auth/resume?return=/me"))
	b.waitFor("/login?return=%2Fme", "Log in")
}

func TestAPageThatKeepsRefusingDoesNotLoop(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	refusal := &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_token", Description: "the access token has expired", Next: "refresh"}
	refuse := jwtauth.RequestPolicy("refuse", func(*http.Request, jwtauth.Token) (bool, error) { return false, refusal })
	s.mux.Handle("GET /refuses", s.h.Auth().With(refuse).Require(http.NotFoundHandler()))
	b := newProfile(t).newTab()
	b.logIn(s.url(""), "alice")
	s.visited("")
	b.load(s.url("/refuses"))
	b.waitFor("/auth/resume?return=%2Frefuses", "the page still cannot be opened")
	require.Len(t, s.seen("/refuses"), 2)
	require.Len(t, s.seen("/auth/refresh"), 1)
	s.requireUser(b, "alice")
	s.requireNoTheft()
}

func TestWithoutJavaScriptTheRefreshPageLeadsToTheForm(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	b := newProfile(t).newTab()
	b.logIn(s.url(""), "alice")
	s.Clock.Advance(16 * time.Minute)
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(t, err)
	b.load(s.url("/me"))
	b.waitFor("/auth/resume?return=%2Fme", "Without JavaScript, your login cannot be renewed.")
	b.do(`document.querySelector("noscript a").click()`)
	b.waitFor("/login?return=%2Fme", "Log in")
}
