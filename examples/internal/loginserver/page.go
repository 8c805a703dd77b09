package loginserver

import (
	"embed"
	"net/http"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/browser"
	"github.com/jwtauth-go/jwtauth/endpoints"
)

//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load only its own files, and call only this server.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// newPageLogins makes the handlers for the page. The refresh token is in a cookie.
func (s *server) newPageLogins(c *config, throttle endpoints.Throttle) (*endpoints.Handlers, error) {
	return endpoints.New(s.issuer, endpoints.Options{
		RefreshCookie: &endpoints.Cookie{InsecureHTTP: c.insecureHTTP && !s.secure},
		Login:         s.login, Details: details, Throttle: throttle, ClientAddr: s.clientAddr,
	})
}

// handlePage adds the routes of the page.
func (s *server) handlePage(handle func(method, path string, h http.Handler), mux *http.ServeMux) {
	file := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", pagePolicy)
			http.ServeFileFS(w, r, pageFiles, "page/"+name)
		})
	}
	handle("GET", "/{$}", file("index.html"))
	handle("GET", "/page/style.css", file("style.css"))
	handle("GET", "/page/app.js", file("app.js"))
	handle("GET", "/jwtauth.mjs", browser.Handler())
	d := &demo{server: s, thieves: make(map[string]string)}
	mux.Handle("/auth/", d.disturb(s.pageLogins))
	if s.isDemo {
		for _, what := range []string{"lose", "down", "copy", "steal"} {
			handle("POST", "/demo/"+what, s.pageLogins.Auth().Require(http.HandlerFunc(d.serve(what))))
		}
	}
}

// demo makes the trouble that the buttons of the page ask for. It exists only with the demo users,
// whose passwords the server prints: a server with real users must not have such routes.
type demo struct {
	*server
	mu        sync.Mutex
	lose      int               // this many answers of a refresh get lost
	downUntil time.Time         // until then, a refresh gets no answer
	thieves   map[string]string // the copied refresh tokens, by session
}

// maxThieves bounds the copied tokens.
const maxThieves = 100

// disturb wraps the handlers of the page.
func (d *demo) disturb(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/auth/refresh" {
			h.ServeHTTP(w, r)
			return
		}
		d.mu.Lock()
		isDown, isLost := time.Now().Before(d.downUntil), d.lose > 0
		if isLost && !isDown {
			d.lose--
		}
		d.mu.Unlock()
		switch {
		case isDown:
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable", "the server gives no answer, as you wanted")
		case isLost:
			h.ServeHTTP(&nowhere{header: http.Header{}}, r)
			panic(http.ErrAbortHandler) // the connection ends without an answer
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// nowhere is a ResponseWriter whose answer reaches nobody.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// serve answers a button.
func (d *demo) serve(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		d.mu.Lock()
		defer d.mu.Unlock()
		outcome := "done"
		switch what {
		case "lose":
			d.lose = 1
		case "down":
			d.downUntil = time.Now().Add(5 * time.Second)
		case "copy":
			if len(d.thieves) >= maxThieves {
				clear(d.thieves)
			}
			d.thieves[token.SessionID] = refreshTokenOf(r)
		case "steal":
			_, err := d.issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: d.thieves[token.SessionID]})
			outcome = "it was accepted, since nobody had used a newer token"
			if err != nil {
				outcome = "it was refused"
			}
		}
		writeJSON(w, http.StatusOK, map[string]string{"outcome": outcome})
	}
}

// refreshTokenOf returns the refresh token in the cookies of a request. Only somebody who reads the
// requests of a browser can do that, and no script.
func refreshTokenOf(r *http.Request) string {
	const name = "refresh"
	for _, prefix := range []string{"__Host-Http-" + name, name} {
		if tag, err := r.Cookie(prefix); err == nil {
			if c, err := r.Cookie(prefix + "-" + tag.Value); err == nil {
				return c.Value
			}
		}
	}
	return ""
}
