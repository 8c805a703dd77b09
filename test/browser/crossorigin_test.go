package browser_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// attacked are the routes that change something, with a body that they would accept.
var attacked = map[string]string{
	"/auth/login":            "username=mallory&password=" + strings.ReplaceAll(password, " ", "+"),
	"/auth/refresh":          "",
	"/auth/logout":           "",
	"/auth/sessions/end-all": "",
	"/save":                  "",
}

// jsForm is JavaScript that makes a form in document and returns it.
func jsForm(document, action, body string) string {
	return fmt.Sprintf(`((document) => {
		const form = document.createElement("form");
		form.method = "POST"; form.action = %q;
		for (const [name, value] of new URLSearchParams(%q)) form.append(Object.assign(document.createElement("input"), {name, value}));
		document.body.append(form);
		return form;
	})(%s)`, action, body, document)
}

// attack is a way in which a page of another origin sends a POST request.
type attack struct {
	name string
	run  func(b *tab, url, body string)
}

var attacks = []attack{
	{"form", func(b *tab, url, body string) {
		b.do(`{ const form = ` + jsForm("document", url, body) + `; setTimeout(() => form.submit()); }`)
	}},
	{"form in a sandboxed frame", func(b *tab, url, body string) {
		b.do(fmt.Sprintf(`{
			const frame = document.createElement("iframe");
			frame.sandbox = "allow-forms allow-scripts";
			frame.srcdoc = "<body><script>" + %q + ".submit()</scr" + "ipt>";
			document.body.append(frame);
		}`, jsForm("document", url, body)))
	}},
	{"fetch", func(b *tab, url, body string) {
		b.do(fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams(%q)})`, url, body))
	}},
	{"beacon", func(b *tab, url, body string) {
		b.do(fmt.Sprintf(`void navigator.sendBeacon(%q, new URLSearchParams(%q))`, url, body))
	}},
}

// origins returns the origins of pages of other people, with whether the browser sends them
// along with the cookies of the app, although SameSite is set: they are of the same site.
func origins(blank, plain string) map[string]bool {
	return map[string]bool{
		strings.Replace(blank, "127.0.0.1", elsewhere, 1): false,
		strings.Replace(blank, "127.0.0.1", sibling, 1):   true,
		strings.Replace(blank, "127.0.0.1", app, 1):       true, // another port
		strings.Replace(plain, "127.0.0.1", app, 1):       false,
	}
}

func TestNoOtherOriginCanUseTheLogin(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, isFirefox bool) {
		s, blank := newSite(t, pageOptions()), serveBlank(t)
		plain := serve(t, blank.Config.Handler, false)
		p := newProfile(t)
		own := p.newTab()
		own.logIn(s.url(""), "alice")
		s.requireUser(own, "alice")
		for origin, isSameSite := range origins(blank.URL, plain.URL) {
			if isFirefox && strings.Contains(origin, elsewhere) {
				continue
			}
			t.Run(origin[:strings.LastIndex(origin, ":")], func(t *testing.T) {
				before := p.tokenCookies(app)
				s.Heard()
				b := p.newTab()
				defer b.close()
				// In Firefox, SameSite does not look at the scheme.
				isSameSite := isSameSite || isFirefox && strings.HasPrefix(origin, "http://app.test")
				for _, a := range attacks {
					b.load(origin)
					for path, body := range attacked {
						s.visited("")
						a.run(b, s.url(path), body)
						got := s.waitForVisit(path)
						if a.name == "form" { // the tab shows the answer
							b.waitFor(path, "")
							b.load(origin)
						}
						require.Equal(t, http.MethodPost, got.method)
						// A sandboxed frame has no origin, so it is of no site.
						hasCookies := isSameSite && a.name != "form in a sandboxed frame"
						require.Equal(t, hasCookies, slices.Contains(got.cookies, "__Host-Http-access-"), "%s %s", a.name, path)
						require.Equal(t, hasCookies, slices.Contains(got.cookies, "__Host-Http-refresh-"), "%s %s", a.name, path)
						want := 403
						if needsAccess := path == "/save" || path == "/auth/sessions/end-all"; needsAccess && !hasCookies {
							want = 401
						}
						require.Equal(t, want, got.status, "%s %s", a.name, path)
					}
				}
				require.Equal(t, before, p.tokenCookies(app))
				for _, e := range s.Heard() {
					require.Contains(t, []string{"login_refused origin", "refresh_refused origin", "token_refused origin", "token_refused absent"}, e)
				}
				require.Zero(t, s.saved.Load())
			})
		}
		s.requireUser(own, "alice")
		require.Equal(t, 200, own.post("/save").Status)
		require.EqualValues(t, 1, s.saved.Load())
	})
}

// A script of another origin that sets the header X-CSRF needs a preflight, which the
// handlers do not answer.
func TestNoScriptOfAnotherOriginCanSetTheHeader(t *testing.T) {
	t.Parallel()
	s, blank := newSite(t, pageOptions()), serveBlank(t)
	plain := serve(t, blank.Config.Handler, false)
	p := newProfile(t)
	own := p.newTab()
	own.logIn(s.url(""), "alice")
	sessions, _, err := s.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	paths := append(slices.Collect(maps.Keys(attacked)), "/auth/sessions/"+sessions[0].ID)
	for origin := range origins(blank.URL, plain.URL) {
		b := p.open(origin)
		for _, path := range paths {
			for _, method := range []string{"POST", "DELETE"} {
				s.visited("")
				a := b.fetch(s.url(path), fmt.Sprintf(`{method: %q, credentials: "include", headers: {"X-CSRF": "fetch"}}`, method))
				require.Zero(t, a.Status, "the script learns nothing")
				for _, v := range s.visited(path) {
					require.Equal(t, http.MethodOptions, v.method)
					require.GreaterOrEqual(t, v.status, 400)
				}
			}
		}
		// Nor can it read the tokens and the sessions.
		for _, path := range []string{"/auth/sessions", "/me"} {
			require.Zero(t, b.fetch(s.url(path), `{credentials: "include"}`).Status)
		}
		b.close()
	}
	s.requireUser(own, "alice")
	require.Zero(t, s.saved.Load())
}

func TestAGetRequestChangesNothing(t *testing.T) {
	t.Parallel()
	s, blank := newSite(t, pageOptions()), serveBlank(t)
	p := newProfile(t)
	own := p.newTab()
	own.logIn(s.url(""), "alice")
	before := p.tokenCookies(app)
	s.Heard()
	for _, host := range []string{elsewhere, sibling} {
		b := p.newTab()
		for path, body := range attacked {
			b.load(at(blank, host))
			b.do(fmt.Sprintf(`new Promise((done) => { const image = new Image(); image.onerror = done; image.src = %q; })`, s.url(path)))
			s.visited("")
			b.follow(s.url(path) + "?" + body)
			require.Contains(t, []int{401, 405}, s.waitForVisit(path).status)
			b.waitFor(strings.TrimSuffix(path+"?"+body, "?"), "")
		}
		// The page resume refreshes. It is of the app, and goes back only to a page of the app.
		b.load(at(blank, host))
		b.follow(s.url("/auth/resume?" + query("return", at(blank, elsewhere)+"/")))
		b.waitFor("/", "404")
		require.Equal(t, app, eval[string](b, `location.hostname`))
		for name := range before {
			require.Contains(t, p.tokenCookies(app), name)
		}
		before = p.tokenCookies(app)
	}
	for _, e := range s.Heard() {
		require.Equal(t, "token_refreshed", e)
	}
	require.Zero(t, s.saved.Load())
	s.requireUser(own, "alice")
}

// openSocket opens a WebSocket with a script of the page. It returns the first message, or the
// code with which the WebSocket was closed.
func (b *tab) openSocket(url string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`new Promise((done) => {
		const socket = new WebSocket(%q);
		socket.onmessage = (e) => { done("message " + e.data); socket.close(); };
		socket.onclose = (e) => done("closed " + e.code);
	})`, strings.Replace(url, "https:", "wss:", 1)))
}

func TestAWebSocketOfAnotherOriginIsRefused(t *testing.T) {
	t.Parallel()
	o := pageOptions()
	const trusted = "trusted.app.test"
	blank := serveBlank(t)
	o.TrustedOrigins = []string{at(blank, trusted)}
	s := newSite(t, o)
	plain := serve(t, blank.Config.Handler, false)
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	require.Equal(t, "message alice", b.openSocket(s.url("/socket")))
	require.Equal(t, 101, s.waitForVisit("/socket").status)
	for origin, isSameSite := range origins(blank.URL, plain.URL) {
		b := p.open(origin)
		require.Equal(t, "closed 1006", b.openSocket(s.url("/socket")), origin)
		want := 401
		if isSameSite {
			want = 403
		}
		require.Equal(t, want, s.waitForVisit("/socket").status, origin)
		b.close()
	}
	b = p.open(at(blank, trusted))
	require.Equal(t, "message alice", b.openSocket(s.url("/socket")))
	b.load(s.url("/me"))
	require.Equal(t, 204, b.post("/auth/logout").Status)
	require.Equal(t, "closed 1006", b.openSocket(s.url("/socket")))
}
