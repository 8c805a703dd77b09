package browser_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

const password = "correct horse battery staple"

// The hosts of the tests. app and sibling are one site. All of them are served by every server.
const (
	app       = "app.test"
	sibling   = "sibling.app.test"
	elsewhere = "elsewhere.test"
)

// strictPolicy is the Content-Security-Policy of the pages of a site.
const strictPolicy = "default-src 'none'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// site is a service with handlers and pages.
type site struct {
	*fixture.World
	stores *hookstore.Store
	h      *endpoints.Handlers
	mux    *http.ServeMux
	secure *httptest.Server
	plain  *httptest.Server
	isDown atomic.Bool  // whether the store fails
	isLive atomic.Bool  // whether the clock shows the real time
	saved  atomic.Int32 // how often /save was called

	mu     sync.Mutex // guards the following fields
	visits []visit
	holds  map[string]*hold
}

// visit is a request that was answered.
type visit struct {
	method, path string
	status       int
	origin       string
	cookies      []string // their names, without the tag of the login
}

// pageOptions are the options of a site with pages.
func pageOptions() endpoints.Options {
	return endpoints.Options{RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}, LoginPage: "/login"}
}

// newSite makes a site and starts its servers. By default, all users have the same password.
func newSite(t *testing.T, o endpoints.Options, change ...fixture.Change) *site {
	t.Helper()
	s := &site{mux: http.NewServeMux(), holds: make(map[string]*hold)}
	s.World, s.stores = fixture.NewHooked(t, change...)
	s.stores.Before = func(context.Context, string) error {
		if s.isDown.Load() {
			return fixture.ErrStoreDown
		}
		return nil
	}
	if o.Login == nil {
		o.Login = func(_ *http.Request, name, given string) (jwtauth.Grant, error) {
			if given != password {
				return jwtauth.Grant{}, jwtauth.ErrGrantRefused
			}
			return jwtauth.Grant{Subject: name}, nil
		}
	}
	var err error
	s.h, err = endpoints.New(s.Issuer, o)
	require.NoError(t, err)
	s.mux.Handle("/auth/", s.h)
	s.mux.HandleFunc("GET /login", showLogin)
	s.mux.Handle("GET /me", s.h.Auth().Require(http.HandlerFunc(showUser)))
	s.mux.Handle("POST /save", s.h.Auth().Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.saved.Add(1) })))
	s.mux.Handle("GET /socket", s.h.Auth().Require(http.HandlerFunc(upgrade)))
	s.secure, s.plain = serve(t, s, true), serve(t, s, false)
	return s
}

// serve starts a server.
func serve(t *testing.T, h http.Handler, isSecure bool) *httptest.Server {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a browser that ends breaks connections
	if isSecure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

// at returns the URL of a server under another name of its host.
func at(server *httptest.Server, host string) string {
	u, _ := url.Parse(server.URL)
	return u.Scheme + "://" + host + ":" + u.Port()
}

// url returns the URL of a path of the site.
func (s *site) url(path string) string { return at(s.secure, app) + path }

func showLogin(w http.ResponseWriter, r *http.Request) {
	writePage(w, `<form method="post" action="/auth/login"><input name="username"><input name="password" type="password">`+
		`<input name="return" type="hidden" value="`+html.EscapeString(r.URL.Query().Get("return"))+`"><button>Log in</button></form>`+
		`<p>`+html.EscapeString(r.URL.Query().Get("error"))+`</p>`)
}

func showUser(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	writePage(w, `<p>user `+html.EscapeString(token.Subject)+`</p><form method="post" action="/auth/logout"><button>Log out</button></form>`)
}

// writePage writes a page of a site.
func writePage(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", strictPolicy)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><meta charset="utf-8"><title>Page</title><body>%s</body></html>`, body)
}

// upgrade accepts a WebSocket, and sends the name of the user in one message. It selects the protocol
// that the browser offers, if there is one.
func upgrade(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	connection, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer connection.Close()
	if writer, ok := w.(*statusWriter); ok {
		writer.status = http.StatusSwitchingProtocols
	}
	selected := ""
	if protocol := r.Header.Get("Sec-WebSocket-Protocol"); protocol != "" {
		selected = "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	_, _ = fmt.Fprintf(buffer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%sSec-WebSocket-Accept: %s\r\n\r\n\x81%c%s",
		selected, base64.StdEncoding.EncodeToString(sum[:]), len(token.Subject), token.Subject)
	_ = buffer.Flush()
	_, _ = bufio.NewReader(connection).ReadByte() // the browser closes
}

// hold holds back a request or its answer.
type hold struct {
	isAnswer bool
	isLost   bool
	arrived  chan struct{}   // closed when the request is held back
	opened   chan struct{}   // closed when it goes on
	answered chan struct{}   // closed when it was answered
	givenUp  <-chan struct{} // closed when the browser gives up; nil until the request has arrived
	release  func()          // lets it go on
	cookies  []*http.Cookie  // of the answer that is held back; nil until the request has arrived
}

// holdAnswer lets the handlers answer the next request of a path, but holds back the answer.
func (s *site) holdAnswer(path string) *hold { return s.hold(path, true) }

// loseAnswer lets the handlers answer the next request of a path, and then breaks the connection.
func (s *site) loseAnswer(path string) {
	h := s.hold(path, true)
	h.isLost = true
	h.release()
}

// hold holds back the answer to the next request of a path. If isAnswer is false, it holds back
// the request, before the handlers get it.
func (s *site) hold(path string, isAnswer bool) *hold {
	h := &hold{isAnswer: isAnswer, arrived: make(chan struct{}), opened: make(chan struct{}), answered: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.opened) })
	s.T.Cleanup(h.release)
	s.mu.Lock()
	s.holds[path] = h
	s.mu.Unlock()
	return h
}

// wait waits until a channel is closed.
func (s *site) wait(ch <-chan struct{}) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), patience)
	defer cancel()
	select {
	case <-ch:
	case <-ctx.Done():
		require.FailNow(s.T, "the request did not come")
	}
}

// requireKept requires that the browser still waits for the answer to a request whose tab was closed.
// Without keepalive, Chromium gives it up at once.
func (s *site) requireKept(h *hold) {
	s.T.Helper()
	select {
	case <-h.givenUp:
		require.FailNow(s.T, "the browser has given up the request")
	case <-time.After(500 * time.Millisecond):
	}
}

// ServeHTTP answers a request, and notes it.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.isLive.Load() {
		s.Clock.Set(time.Now())
	}
	h := s.holds[r.URL.Path]
	delete(s.holds, r.URL.Path)
	s.mu.Unlock()
	if h != nil {
		h.givenUp = r.Context().Done()
	}
	// The request goes on if the browser gives up.
	r = r.WithContext(context.WithoutCancel(r.Context()))
	writer := &statusWriter{ResponseWriter: w}
	defer func() {
		s.note(r, writer.status)
		if h != nil {
			close(h.answered)
		}
	}()
	if h == nil {
		s.mux.ServeHTTP(writer, r)
		return
	}
	recorder := httptest.NewRecorder()
	if h.isAnswer {
		s.mux.ServeHTTP(recorder, r)
		h.cookies = recorder.Result().Cookies()
	}
	close(h.arrived)
	<-h.opened
	if !h.isAnswer {
		s.mux.ServeHTTP(recorder, r)
	}
	if h.isLost {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), recorder.Header())
	writer.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes())
}

// note notes an answered request.
func (s *site) note(r *http.Request, status int) {
	v := visit{r.Method, r.URL.Path, status, r.Header.Get("Origin"), nil}
	for _, c := range r.Cookies() {
		name := c.Name
		if i := strings.LastIndex(name, "-"); len(name)-i-1 == 12 {
			name = name[:i+1]
		}
		v.cookies = append(v.cookies, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits = append(s.visits, v)
}

// seen returns the answered requests of a path so far.
func (s *site) seen(path string) (found []visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.visits {
		if v.path == path {
			found = append(found, v)
		}
	}
	return found
}

// visited is seen. It then forgets all requests.
func (s *site) visited(path string) []visit {
	found := s.seen(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits = nil
	return found
}

// waitForVisit waits until a request of a path was answered. It then forgets all requests.
func (s *site) waitForVisit(path string) visit {
	s.T.Helper()
	eventually(s.T, path+" was called", func() bool { return len(s.seen(path)) > 0 })
	return s.visited(path)[0]
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fillLogin sends the form of the login page that the tab shows.
func (b *tab) fillLogin(name, password string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`{
		const form = document.forms[0];
		form.username.value = %q; form.password.value = %q;
		setTimeout(() => form.requestSubmit());
	}`, name, password))
}

// logIn logs in with the form of the site at a URL, and waits for the page of the user.
func (b *tab) logIn(site, name string) {
	b.t.Helper()
	b.load(site + "/login?return=/me")
	b.fillLogin(name, password)
	b.waitFor("/me", "user "+name)
}

// fetchLogin is the JavaScript of a login by a script. fields are further members of the body.
func fetchLogin(name string, fields ...string) string {
	body, _ := json.Marshal(map[string]string{"username": name, "password": password, "padding": strings.Join(fields, "")})
	return fmt.Sprintf(`{method: "POST", headers: {"X-CSRF": "fetch", "Content-Type": "application/json"}, body: %q}`, body)
}

// member returns a member of the JSON object in an answer.
func (a answer) member(t *testing.T, name string) string {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.Body), &members), a.Body)
	text, _ := members[name].(string)
	return text
}

// refreshedUser refreshes with a script of the page that the tab shows. It returns the user of
// the new access token, or the code of the error.
func (s *site) refreshedUser(b *tab) string {
	b.t.Helper()
	a := b.post("/auth/refresh")
	if a.Status != http.StatusOK {
		return a.member(b.t, "error")
	}
	token, err := s.h.Verifier().Verify(b.t.Context(), a.member(b.t, "access_token"))
	require.NoError(b.t, err)
	return token.Subject
}

// requireUser requires that the browser is logged in as a user: in a page, after a refresh, and
// in a page again.
func (s *site) requireUser(b *tab, name string) {
	b.t.Helper()
	for range 2 {
		b.load(s.url("/me"))
		b.waitFor("/me", "user "+name)
		require.Equal(b.t, name, s.refreshedUser(b))
	}
}

// requireNoTheft requires that no refresh token counted as stolen.
func (s *site) requireNoTheft() {
	s.T.Helper()
	for _, e := range s.Sent() {
		require.NotEqual(s.T, "token_reused", string(e.Kind))
	}
}

// serveBlank starts a server with empty pages of other people. A page sets the cookies of the
// parameters set.
func serveBlank(t *testing.T) *httptest.Server {
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, set := range r.URL.Query()["set"] {
			w.Header().Add("Set-Cookie", set)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>Other people</title><body></body></html>`)
	}), true)
}

// query returns a query in which one parameter has several values.
func query(name string, values ...string) string { return url.Values{name: values}.Encode() }

// follow clicks a link in the page.
func (b *tab) follow(url string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`{
		const link = document.createElement("a");
		link.href = %q;
		document.body.append(link);
		setTimeout(() => link.click());
	}`, url))
}
