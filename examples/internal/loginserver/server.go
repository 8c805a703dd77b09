package loginserver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// server answers the requests.
type server struct {
	issuer     *jwtauth.Issuer
	logins     *endpoints.Handlers // for clients without a browser, with tokens in bodies
	pageLogins *endpoints.Handlers // for the page, with a cookie
	isDemo     bool                // the page can make trouble
	keys       *jwk.Ring
	users      *directory
	passwords  *passwordChecker
	stores     *Stores
	metadata   *endpoints.Metadata // nil if there is no public key
	log        *slog.Logger
	secure     bool // the server uses HTTPS

	trustedProxies []netip.Prefix
	proxyWarning   sync.Once
}

// newServer makes the server from its parts. base is the name of the issuer if -issuer is not
// given.
func newServer(c *config, p *parts, base string, log *slog.Logger) (*server, error) {
	s := &server{
		keys: p.keys, users: p.users, passwords: newPasswordChecker(), stores: p.stores, log: log, secure: p.certificate != nil,
		trustedProxies: c.trustedProxies,
	}
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{PerName: c.loginLimit, PerNetwork: c.loginLimit * networkFactor, Window: c.loginWindow})
	if err != nil {
		return nil, fmt.Errorf("-login-limit, -login-window: %w", err)
	}
	o := jwtauth.IssuerOptions{
		Issuer: c.issuer, Audiences: []string{c.audience},
		Sessions: p.stores.Sessions, Revocations: p.stores.Revocations,
		AccessTTL: c.accessTTL, IdleTTL: c.refreshTTL, SessionTTL: c.sessionTTL, RefreshGrace: c.refreshGrace,
		SessionLimit: 100, EndOldest: true, // a user cannot fill the store with logins
		Reload:  p.users.reload,
		OnEvent: event.Log(log),
	}
	if c.issuer == "" {
		o.Issuer = base
	}
	if c.audience == "" {
		o.Audiences = []string{o.Issuer}
	}
	if c.refreshGrace == 0 {
		o.RefreshGrace = -1 // 0 would mean the default of the library
	}
	if s.issuer, err = jwtauth.NewIssuer(s.keys, o); err != nil {
		return nil, fmt.Errorf("-issuer, -audience: %w", err)
	}
	if c.secretEnv == "" { // otherwise there is no public key to publish
		s.metadata, err = newMetadata(s.issuer, o.Issuer)
		if err != nil {
			log.Warn("there is no metadata document, so verifiers cannot find the keys by the name of the issuer", "error", err)
		}
	}
	s.logins, err = endpoints.New(s.issuer, endpoints.Options{
		Path: "/api", Login: s.login, Details: details, Throttle: throttle, ClientAddr: s.clientAddr,
	})
	if err != nil {
		return nil, err
	}
	s.isDemo = p.demo != nil
	s.pageLogins, err = s.newPageLogins(c, throttle)
	return s, err
}

// jwksPath is the path of the JWK Set with the public keys.
const jwksPath = "/.well-known/jwks.json"

// newMetadata makes the metadata document. With it, a verifier that knows only the name of the
// issuer finds the keys.
func newMetadata(issuer *jwtauth.Issuer, name string) (*endpoints.Metadata, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, err
	}
	keys := url.URL{Scheme: u.Scheme, Host: u.Host, Path: jwksPath}
	return endpoints.NewMetadata(issuer, endpoints.MetadataOptions{JWKSURI: keys.String()})
}

// handler returns the routes.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, h http.Handler) {
		mux.Handle(method+" "+path, h)
		allow := method
		if method == http.MethodGet {
			allow = "GET, HEAD"
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow)
			refuse(w, http.StatusMethodNotAllowed, "invalid_request", "this path is for "+allow)
		})
	}
	auth := s.logins.Auth()
	mux.Handle("/api/", s.logins) // login, refresh, logout and sessions
	handle("GET", "/api/protected", auth.Require(http.HandlerFunc(s.protected)))
	handle("POST", "/api/orders", auth.With(jwtauth.Scopes("orders:write")).Require(http.HandlerFunc(s.order)))
	s.handlePage(handle, mux)
	handle("GET", jwksPath, s.keys)
	handle("GET", "/healthz", http.HandlerFunc(s.healthy))
	handle("GET", "/readyz", http.HandlerFunc(s.ready))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(s.metadata.Paths(), r.URL.EscapedPath()) {
			s.metadata.ServeHTTP(w, r)
			return
		}
		refuse(w, http.StatusNotFound, "not_found", "there is nothing at this path")
	})
	return s.withCommonHeaders(mux)
}

// withCommonHeaders sets headers that every answer has, unless next replaces them. It also adds
// the address of the client to the context of the request.
func (s *server) withCommonHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if s.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r = r.WithContext(withPeer(r.Context(), s.clientAddr(r).String()))
		s.warnOfUnknownProxy(r)
		next.ServeHTTP(w, r)
	})
}

// protected answers with the user of the token.
func (s *server) protected(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	claims, err := jwtauth.ClaimsAs[profile](token)
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		User   string   `json:"user"`
		Scopes []string `json:"scopes,omitempty"`
		profile
		SessionID string    `json:"session_id"`
		ExpiresAt time.Time `json:"expires_at"`
	}{token.Subject, token.Scopes(), claims, token.SessionID, token.ExpiresAt.UTC()})
}

// order is an example of an operation that needs a scope.
func (s *server) order(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	writeJSON(w, http.StatusCreated, struct {
		OrderedBy string `json:"ordered_by"`
	}{token.Subject})
}

// healthy reports that the process runs. It answers 200 even if the server is not ready.
func (s *server) healthy(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready reports to a load balancer whether the server can answer requests. It answers 503
// while revocations of other servers may be missing, without a key that signs, and while a
// store does not answer.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	err := s.stores.Ready(r.Context())
	if err == nil {
		err = s.issuer.Ready(r.Context())
	}
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// refuse answers with an error in the form of RFC 6749, section 5.2. For errors of the
// library, the handlers use jwtauth.WriteError instead.
func refuse(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
}
