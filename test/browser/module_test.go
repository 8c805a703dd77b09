package browser_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/browser"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// modulePolicy is the Content-Security-Policy of the pages that use the module.
const modulePolicy = "default-src 'none'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; script-src "

// moduleScript is the script of these pages. The test finds the Auth object and what has happened
// in global variables. The parameter without takes features from the browser, before the module is
// loaded.
const moduleScript = `
window.violations = [], window.changes = [], window.shows = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("pageshow", (e) => shows.push(e.persisted));
const without = new URLSearchParams(location.search).getAll("without");
if (without.includes("locks")) Object.defineProperty(navigator, "locks", { value: undefined });
if (without.includes("channel")) window.BroadcastChannel = undefined;
if (without.includes("storage")) Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no storage", "SecurityError"); } });
const { Auth, AuthError } = await import("/jwtauth.mjs");
const auth = new Auth();
auth.addEventListener("change", () => changes.push({ State: auth.state, Reason: auth.reason, At: performance.now() }));
window.user = () => auth.fetch("/user").then((a) => (a.ok ? a.text() : "status " + a.status), (e) => (e instanceof AuthError ? e.kind : String(e)));
window.auth = auth;
`

// change is an event of the Auth object of a page.
type change struct {
	State, Reason string
	At            float64 // milliseconds since the page began to load
}

// moduleSite is a site with a page at /app that uses the module.
type moduleSite struct {
	*site
	unavailable atomic.Int32 // this many refreshes are answered with 503
}

func newModuleSite(t *testing.T, changes ...fixture.Change) *moduleSite {
	t.Helper()
	s := &moduleSite{site: newSite(t, endpoints.Options{
		RefreshCookie: &endpoints.Cookie{},
		Middleware: jwtauth.MiddlewareOptions{
			Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt.bearer.")},
		},
	}, changes...)}
	s.mux.Handle("GET /jwtauth.mjs", browser.Handler())
	s.mux.HandleFunc("GET /app", func(w http.ResponseWriter, _ *http.Request) {
		writeModulePage(w, "'self'", `<script type="module" src="/app.js"></script>`)
	})
	s.mux.HandleFunc("GET /inline", func(w http.ResponseWriter, _ *http.Request) {
		writeModulePage(w, "'nonce-abc'", `<script type="module" nonce="abc">`+moduleScript+`</script>`)
	})
	s.mux.HandleFunc("GET /app.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, moduleScript)
	})
	s.mux.HandleFunc("GET /other", func(w http.ResponseWriter, _ *http.Request) { writeModulePage(w, "'none'", "another page") })
	s.mux.Handle("GET /user", s.h.Auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = io.WriteString(w, token.Subject)
	})))
	s.mux.HandleFunc("POST /auth/refresh", func(w http.ResponseWriter, r *http.Request) {
		if s.unavailable.Add(-1) >= 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.h.ServeHTTP(w, r)
	})
	return s
}

// writeModulePage writes a page that the back-forward cache may keep.
func writeModulePage(w http.ResponseWriter, scripts, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", modulePolicy+scripts)
	_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><meta charset="utf-8"><title>Page</title><body>%s</body></html>`, body)
}

// openApp opens a page of the module in a new tab, and waits for the first answer of the server.
func (s *moduleSite) openApp(p *profile, path string) *tab {
	p.t.Helper()
	b := p.open(s.url(path))
	b.waitForAuth()
	return b
}

// openTabs opens tabs of the page /app, with a query, in which a user is logged in.
func (s *moduleSite) openTabs(p *profile, query, user string, n int) (tabs []*tab) {
	p.t.Helper()
	for i := range n {
		tabs = append(tabs, s.openApp(p, "/app"+query))
		if i == 0 {
			tabs[0].logInByModule(user)
		}
		tabs[i].waitForState("in")
	}
	return tabs
}

// waitForAuth waits until the page knows whether somebody is logged in.
func (b *tab) waitForAuth() {
	b.t.Helper()
	eventually(b.t, "the page has an answer", func() bool {
		state, err := tryEval[string](b, `window.auth?.state ?? "unknown"`)
		return err == nil && state != "unknown"
	})
}

// waitForState waits until the page is in a state.
func (b *tab) waitForState(state string) {
	b.t.Helper()
	eventually(b.t, "the page is "+state, func() bool {
		got, err := tryEval[string](b, `window.auth?.state ?? ""`)
		return err == nil && got == state
	})
}

func (b *tab) logInByModule(user string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`auth.login({ username: %q, password: %q })`, user, password))
}

// user calls the API. It returns the user whom the API knows, or the error.
func (b *tab) user() string {
	b.t.Helper()
	return eval[string](b, `user()`)
}

// startRefresh makes the page refresh, and does not wait for the end.
func (b *tab) startRefresh() {
	b.t.Helper()
	b.do(`window.refreshed = auth.token().then((fresh) => auth.token({ fresh })).then(() => "done", (e) => e.kind ?? String(e)); 0`)
}

// refreshed waits for the end of startRefresh. It returns "done" or the kind of the error.
func (b *tab) refreshed() string {
	b.t.Helper()
	return eval[string](b, `window.refreshed`)
}

// changes returns the events of the Auth object of the page.
func (b *tab) changes() []change {
	b.t.Helper()
	return eval[[]change](b, `changes`)
}

// lastChange returns the last event.
func (b *tab) lastChange() change {
	b.t.Helper()
	all := b.changes()
	return all[len(all)-1]
}

// reload loads the page again.
func (b *tab) reload() {
	b.t.Helper()
	b.load(eval[string](b, `location.href`))
	b.waitForAuth()
}

// Each kind of browser has tabs that call the API all the time. All kinds run at the same time.
func TestTabsWithShortTokensShareRefreshes(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, isFirefox bool) {
		const tabs = 6
		kinds := []*struct {
			name, query string
			life, grace time.Duration
			duration    time.Duration
			site        *moduleSite
			tabs        []*tab
			refreshes   int
		}{
			{name: "locks and channel", query: "", life: 3 * time.Second, grace: 4 * time.Second, duration: 12 * time.Second},
			{name: "channel, no locks", query: "?without=locks", life: 6 * time.Second, grace: 4 * time.Second, duration: 12 * time.Second},
			{name: "only channel", query: "?without=locks&without=storage", life: 6 * time.Second, grace: 4 * time.Second, duration: 12 * time.Second},
			{name: "neither", query: "?without=locks&without=channel", life: 6 * time.Second, grace: 4 * time.Second, duration: 12 * time.Second},
		}
		if isFirefox {
			kinds = kinds[:1]
		}
		for _, k := range kinds {
			k.site = newModuleSite(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.AccessTTL, o.RefreshGrace = k.life, k.grace
			})
			k.site.isLive.Store(true)
			k.tabs = k.site.openTabs(newProfile(t), k.query, "alice", tabs)
		}
		for _, k := range kinds {
			k.site.visited("")
			for _, b := range k.tabs {
				b.do(fmt.Sprintf(`window.work = (async () => {
				const got = { Calls: 0, Failures: [] };
				for (const end = performance.now() + %d; performance.now() < end; await new Promise((done) => setTimeout(done, 200))) {
					got.Calls++;
					const name = await user();
					if (name !== "alice") got.Failures.push(name);
				}
				return got;
			})(); 0`, k.duration.Milliseconds()))
			}
		}
		for _, k := range kinds {
			calls := 0
			for _, b := range k.tabs {
				got := eval[struct {
					Calls    int
					Failures []string
				}](b, `window.work`)
				require.Empty(t, got.Failures, k.name)
				calls += got.Calls
			}
			asked := k.site.visited("/auth/refresh")
			for _, v := range asked {
				require.Equal(t, 200, v.status, k.name)
			}
			k.refreshes = len(asked)
			t.Logf("%s: %d tabs, %v, tokens of %v: %d calls, 0 failures, %d refreshes", k.name, tabs, k.duration, k.life, calls, k.refreshes)
			require.Greater(t, calls, tabs*10, k.name)
			k.site.requireNoTheft()
		}
		require.LessOrEqual(t, kinds[0].refreshes, 15, "6 are expected, and 36 if each tab refreshes by itself")
		if !isFirefox {
			require.GreaterOrEqual(t, kinds[3].refreshes, tabs, "each tab refreshes by itself")
		}
	})
}

// The browser ends the refresh of the tab. While the tab closes, the module therefore sends another
// one with keepalive, with the same cookie.
func TestATabOfTheModuleThatIsClosedDuringARefreshLosesNothing(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, isFirefox bool) {
		for _, isAnswer := range []bool{true, false} {
			for _, opensEarly := range []bool{true, false} {
				if isFirefox && opensEarly {
					continue
				}
				t.Run(fmt.Sprintf("handled before the tab is closed: %v, next page before the answer: %v", isAnswer, opensEarly), func(t *testing.T) {
					t.Parallel()
					s := newModuleSite(t)
					p := newProfile(t)
					b := s.openTabs(p, "", "alice", 1)[0]
					before := p.tokenCookies(app)
					ended := s.hold("/auth/refresh", isAnswer)
					b.startRefresh()
					s.wait(ended.arrived)
					kept := s.hold("/auth/refresh", isAnswer)
					b.shut()
					s.wait(kept.arrived)
					s.wait(ended.givenUp)
					s.requireKept(kept)
					if opensEarly {
						require.Equal(t, "alice", s.openApp(p, "/app").user())
					}
					kept.release()
					s.wait(kept.answered)
					eventually(t, "the browser has kept the new token", func() bool {
						now := p.tokenCookies(app)
						for name, value := range before {
							if now[name] == "" || now[name] == value {
								return false
							}
						}
						return true
					})
					ended.release()
					s.wait(ended.answered)
					s.Clock.Advance(time.Minute) // the grace is over
					for range 2 {
						require.Equal(t, "alice", s.openApp(p, "/app").user())
						s.Clock.Advance(time.Minute)
					}
					s.requireNoTheft()
				})
			}
		}
	})
}

func TestALockThatAnotherTabKeepsDelaysAPageByThreeSeconds(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	p := newProfile(t)
	keeper := s.openTabs(p, "", "alice", 1)[0]
	keeper.do(`new Promise((held) => { navigator.locks.request("jwtauth /auth", () => (held(), new Promise(() => {}))); })`)
	b := s.openApp(p, "/app")
	require.Equal(t, "alice", b.user())
	first := b.changes()[0]
	t.Logf("the page is %s after %.0f ms", first.State, first.At)
	require.Equal(t, "in", first.State)
	require.Greater(t, first.At, 2990.0)
	require.Less(t, first.At, 10_000.0)
	s.requireNoTheft()
}

func TestALogoutIsFinalAlsoIfAnotherTabRefreshes(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, _ bool) {
		for _, isAnswer := range []bool{true, false} {
			t.Run(fmt.Sprint("handled before the logout: ", isAnswer), func(t *testing.T) {
				t.Parallel()
				s := newModuleSite(t)
				p := newProfile(t)
				tabs := s.openTabs(p, "", "alice", 3)
				late := s.hold("/auth/refresh", isAnswer)
				tabs[0].startRefresh()
				s.wait(late.arrived)
				tabs[1].do(`auth.logout()`)
				for _, b := range tabs {
					b.waitForState("out")
				}
				late.release()
				require.Equal(t, "out", tabs[0].refreshed())
				for range 2 {
					for _, b := range tabs {
						require.Equal(t, "out", b.user())
						require.Equal(t, "out", b.lastChange().State)
						b.reload()
					}
				}
				require.Equal(t, "out", s.openApp(p, "/app").user())
				s.requireNoTheft()
			})
		}
	})
}

func TestAModuleWhoseServerAnswers503StaysLoggedInAndRecovers(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	b := s.openTabs(newProfile(t), "", "alice", 1)[0]
	s.visited("")
	s.unavailable.Store(3)
	b.startRefresh()
	require.Equal(t, "unavailable", b.refreshed())
	calls := 0
	for end := time.Now().Add(patience); b.lastChange().Reason != "refresh"; time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "the page has not recovered: %v", b.changes())
		require.Equal(t, "alice", b.user())
		b.startRefresh() // a page that asks again and again must not send a request each time
		calls++
	}
	changes := b.changes()[1:] // the first one is before the login
	began := slices.IndexFunc(changes, func(c change) bool { return c.Reason == "unavailable" })
	ended := slices.IndexFunc(changes, func(c change) bool { return c.Reason == "refresh" })
	for _, c := range changes {
		require.Equal(t, "in", c.State)
	}
	require.Greater(t, changes[ended].At-changes[began].At, 3*990.0, "Retry-After is the least pause")
	asked := s.visited("/auth/refresh")
	t.Logf("%d calls, 0 failures, %d refreshes, of which 3 got a 503", calls, len(asked))
	require.LessOrEqual(t, len(asked), 5, "the last call can come after the recovery")
	s.requireNoTheft()
}

func TestALateAnswerGivesAPageOfTheModuleNoOtherUser(t *testing.T) {
	t.Parallel()
	for _, isAnswer := range []bool{true, false} {
		t.Run(fmt.Sprint("handled before the login: ", isAnswer), func(t *testing.T) {
			t.Parallel()
			s := newModuleSite(t)
			p := newProfile(t)
			tabs := s.openTabs(p, "", "alice", 2)
			late := s.hold("/auth/refresh", isAnswer)
			tabs[0].startRefresh()
			s.wait(late.arrived)
			tabs[1].logInByModule("bob")
			require.Equal(t, "bob", tabs[1].user())
			eventually(t, "the other tab has heard of the login", func() bool { return tabs[0].user() == "bob" })
			late.release()
			tabs[0].refreshed()
			for range 3 {
				for _, b := range tabs {
					require.Equal(t, "bob", b.user())
					b.reload()
				}
			}
			s.requireNoTheft()
		})
	}
}

func TestAPageFromTheBackForwardCacheAsksTheServer(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	p := newProfile(t)
	tabs := s.openTabs(p, "", "alice", 2)
	goAwayAndBack := func(between func()) {
		tabs[0].load(s.url("/other"))
		between()
		tabs[0].do(`setTimeout(() => history.back()); 0`)
		eventually(t, "the page is back", func() bool {
			path, err := tryEval[string](tabs[0], `window.shows?.length && window.auth ? location.pathname : ""`)
			return err == nil && path == "/app"
		})
		tabs[0].waitForAuth()
		shows := eval[[]bool](tabs[0], `shows`) // if Chromium does not use the cache, this tests a new page
		t.Log("The page came from the back-forward cache:", shows[len(shows)-1])
	}
	goAwayAndBack(func() {})
	require.Equal(t, "alice", tabs[0].user())
	goAwayAndBack(func() { tabs[1].do(`auth.logout()`) })
	tabs[0].waitForState("out")
	require.Equal(t, "out", tabs[0].user())
	s.requireNoTheft()
}

func TestTheModuleWorksUnderAStrictPolicy(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	for _, path := range []string{"/app", "/inline"} {
		b := s.openApp(newProfile(t), path)
		b.logInByModule("alice")
		b.startRefresh()
		require.Equal(t, "done", b.refreshed())
		require.Equal(t, "alice", b.user())
		b.do(`auth.logout()`)
		require.Equal(t, "out", b.user())
		require.Empty(t, eval[[]string](b, `violations`))
	}
}

func TestTheModuleOpensWebSockets(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	b := s.openTabs(newProfile(t), "", "alice", 1)[0]
	require.Equal(t, "chat alice", eval[string](b, `auth.socket("/socket", "chat").then((socket) => new Promise((done) => {
		socket.onmessage = (e) => done(socket.protocol + " " + e.data);
		socket.onclose = (e) => done("closed " + e.code);
	}))`))
	require.Empty(t, eval[[]string](b, `violations`))
	b.do(`auth.logout()`)
	require.Equal(t, "out", eval[string](b, `auth.socket("/socket", "chat").catch((e) => e.kind)`))
}

// A stream survives the end of a connection, an expired token, and a server that gives no answer. It
// ends with the session.
func TestTheModuleReadsAStreamUntilTheSessionEnds(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	var connections atomic.Int32
	s.mux.Handle("GET /events", s.h.Auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := connections.Add(1)
		switch n {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 3: // the session ends while the stream is open
			defer func() {
				if err := s.Issuer.EndAllSessions(context.Background(), "alice"); err != nil {
					t.Error(err)
				}
			}()
		}
		token, _ := jwtauth.FromContext(r.Context())
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "id: %d\ndata: %s after %q\n\nevent: end\ndata: of\ndata: connection\n\n", n, token.Subject, r.Header.Get("Last-Event-ID"))
		_ = http.NewResponseController(w).Flush()
	})))
	b := s.openTabs(newProfile(t), "", "alice", 1)[0]
	s.Clock.Advance(16 * time.Minute) // the token of the page has expired, and the page does not know
	s.visited("")
	require.Equal(t, []string{
		`message 1 alice after ""`, "end 1 of\nconnection", `message 3 alice after "1"`, "end 3 of\nconnection", "out",
	}, eval[[]string](b, `(async () => {
		const events = [];
		await auth.stream("/events", { onmessage: (e) => events.push(e.type + " " + e.id + " " + e.data) }).catch((e) => events.push(e.kind));
		return events;
	})()`))
	require.EqualValues(t, 3, connections.Load())
	var statuses []int
	for _, v := range s.seen("/events") {
		statuses = append(statuses, v.status)
	}
	require.Equal(t, []int{401, 200, 503, 200, 401}, statuses)
	require.Len(t, s.visited("/auth/refresh"), 2)
	s.requireNoTheft()
}
