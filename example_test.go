package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

// A service that logs people in, protects a handler, refreshes and logs out,
// and a client that walks through all of it.
func Example() {
	key, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	keys, err := jwk.NewRing(key)
	mustWork(err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store,
	})
	mustWork(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	mustWork(err)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		// Here the name and the password are checked.
		tokens, err := issuer.Issue(r.Context(), jwtauth.Grant{Subject: "alice", AuthTime: began})
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	})
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, "hello ", token.Subject)
	})))
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		tokens, err := issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.PostFormValue("refresh_token")})
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		token, err := jwtauth.BearerToken(r)
		if err == nil {
			err = issuer.Logout(r.Context(), token)
		}
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})

	// The client.
	server := httptest.NewServer(mux)
	defer server.Close()
	ask := func(method, path, token string, form url.Values) string {
		r, err := http.NewRequest(method, server.URL+path, strings.NewReader(form.Encode()))
		mustWork(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		mustWork(err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		mustWork(err)
		fmt.Println(method, path, answer.StatusCode)
		return string(body)
	}
	var tokens jwtauth.TokenResponse
	mustWork(json.Unmarshal([]byte(ask("POST", "/login", "", nil)), &tokens))
	fmt.Println(ask("GET", "/me", tokens.AccessToken, nil))
	mustWork(json.Unmarshal([]byte(ask("POST", "/refresh", "", url.Values{"refresh_token": {tokens.RefreshToken}})), &tokens))
	fmt.Println(ask("GET", "/me", tokens.AccessToken, nil))
	ask("POST", "/logout", tokens.AccessToken, nil)
	ask("GET", "/me", tokens.AccessToken, nil)
	ask("POST", "/refresh", "", url.Values{"refresh_token": {tokens.RefreshToken}})

	// Output:
	// POST /login 200
	// GET /me 200
	// hello alice
	// POST /refresh 200
	// GET /me 200
	// hello alice
	// POST /logout 204
	// GET /me 401
	// POST /refresh 400
}

func ExampleMiddleware_Require() {
	s := newExampleService()
	me := s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, "hello ", token.Subject)
	}))

	answer := exampleGet(me, s.login("alice"))
	fmt.Println(answer.Code, answer.Body)

	answer = exampleGet(me, "") // no token: no error code either (RFC 6750, section 3.1)
	fmt.Println(answer.Code, answer.Header().Get("WWW-Authenticate"))

	answer = exampleGet(me, "not.a.token")
	fmt.Println(answer.Code, strings.Split(answer.Header().Get("WWW-Authenticate"), ",")[0])

	// Output:
	// 200 hello alice
	// 401 Bearer
	// 401 Bearer error="invalid_token"
}

func ExampleMiddleware_With() {
	s := newExampleService()
	done := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })

	// A policy of the program has a name, which events carry.
	office := jwtauth.TokenPolicy("office", func(_ context.Context, t jwtauth.Token) (bool, error) {
		return strings.HasSuffix(t.Subject, "@example.com"), nil
	})
	writers := s.auth.With(jwtauth.Scopes("orders:write"))
	order := writers.Require(done)
	refund := writers.With(office, jwtauth.LoginWithin(5*time.Minute)).Require(done)

	alice := s.login("alice@example.com", "orders:write")
	bob := s.login("bob@example.net", "orders:write")
	fmt.Println("order: ", exampleGet(order, alice).Code, exampleGet(order, bob).Code, exampleGet(order, s.login("carol")).Code)
	fmt.Println("refund:", exampleGet(refund, alice).Code, exampleGet(refund, bob).Code)

	s.clock.Advance(6 * time.Minute) // the login is too old for a refund now
	fmt.Println("refund:", exampleGet(refund, alice).Header().Get("WWW-Authenticate"))

	// Output:
	// order:  200 200 403
	// refund: 200 403
	// refund: Bearer error="insufficient_user_authentication", error_description="this request needs a more recent login", max_age="300"
}

// A refresh token is redeemed once. A browser tab that redeems it a moment later is answered
// again with equivalent tokens. A later attempt counts as theft, and ends the session.
func ExampleIssuer_Refresh() {
	s := newExampleService()
	ctx := context.Background()
	login, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)

	next, err := s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: login.RefreshToken})
	fmt.Println("redeemed:", err)
	_, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: login.RefreshToken})
	fmt.Println("a racing tab:", err)

	s.clock.Advance(time.Hour)
	next, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: next.RefreshToken})
	fmt.Println("redeemed:", err)
	_, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: login.RefreshToken})
	fmt.Println("a thief:", errors.Is(err, jwtauth.ErrTokenReused))

	_, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: next.RefreshToken})
	fmt.Println("the session is gone:", errors.Is(err, jwtauth.ErrNoSession))
	_, err = s.verifier.Verify(ctx, next.AccessToken)
	fmt.Println("its access tokens are revoked:", errors.Is(err, jwtauth.ErrTokenRevoked))

	// Output:
	// redeemed: <nil>
	// a racing tab: <nil>
	// redeemed: <nil>
	// a thief: true
	// the session is gone: true
	// its access tokens are revoked: true
}

// Logout takes the access token or the refresh token of a session.
func ExampleIssuer_Logout() {
	s := newExampleService()
	ctx := context.Background()
	tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)

	fmt.Println(s.issuer.Logout(ctx, tokens.RefreshToken))
	fmt.Println(s.issuer.Logout(ctx, tokens.AccessToken)) // idempotent

	_, err = s.verifier.Verify(ctx, tokens.AccessToken)
	fmt.Println(errors.Is(err, jwtauth.ErrTokenRevoked))

	// Output:
	// <nil>
	// <nil>
	// true
}

// A user sees where he is logged in, and logs out all other devices.
func ExampleIssuer_Sessions() {
	s := newExampleService()
	ctx := context.Background()
	for _, device := range []string{"Firefox on Linux", "the phone"} {
		_, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice", Details: map[string]string{"device": device}})
		mustWork(err)
		s.clock.Advance(time.Hour)
	}

	list, _, err := s.issuer.Sessions(ctx, "alice", "")
	mustWork(err)
	for _, session := range list {
		fmt.Println(session.Details["device"], session.RefreshedAt.Format(time.TimeOnly))
	}
	here := list[0]
	mustWork(s.issuer.EndOtherSessions(ctx, "alice", here.ID))
	list, _, err = s.issuer.Sessions(ctx, "alice", "")
	mustWork(err)
	fmt.Println("left:", len(list), list[0].Details["device"])

	// Output:
	// the phone 13:00:00
	// Firefox on Linux 12:00:00
	// left: 1 the phone
}

// Reload looks a user up at each refresh: does the user still exist, and which roles does
// he have?
func ExampleIssuerOptions_reload() {
	type profile struct {
		Role string `json:"role"`
	}
	roles := map[string]string{"alice": "admin"} // the database of users
	s := newExampleService(func(o *jwtauth.IssuerOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
			role, ok := roles[s.Subject]
			if !ok {
				return jwtauth.ErrGrantRefused
			}
			g.Claims = profile{Role: role}
			return nil
		}
	})
	ctx := context.Background()
	tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice", Claims: profile{Role: "admin"}})
	mustWork(err)

	roles["alice"] = "guest"
	tokens, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	mustWork(err)
	token, err := s.verifier.Verify(ctx, tokens.AccessToken)
	mustWork(err)
	fmt.Println(jwtauth.ClaimsAs[profile](token))

	delete(roles, "alice")
	_, err = s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	fmt.Println(errors.Is(err, jwtauth.ErrGrantRefused))

	// Output:
	// {guest} <nil>
	// true
}

// Custom claims are decoded into a struct. Large integers stay exact.
func ExampleClaimsAs() {
	type profile struct {
		Role    string `json:"role"`
		Account int64  `json:"account"`
	}
	s := newExampleService()
	ctx := context.Background()
	tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice", Claims: profile{"admin", 9007199254740993}})
	mustWork(err)
	token, err := s.verifier.Verify(ctx, tokens.AccessToken)
	mustWork(err)

	p, err := jwtauth.ClaimsAs[profile](token)
	fmt.Println(p.Role, p.Account, err)

	_, err = jwtauth.ClaimsAs[profile](jwtauth.Token{})
	fmt.Println(errors.Is(err, jwtauth.ErrNoToken))

	// Output:
	// admin 9007199254740993 <nil>
	// true
}

// The middleware refuses a token whose claims do not fit the service, so that no handler has
// to.
func ExampleClaimsPolicy() {
	type profile struct {
		Tenant string `json:"tenant"`
	}
	s := newExampleService()
	verifier, err := s.issuer.NewVerifier(jwtauth.VerifierOptions{
		Checks: []jwtauth.Policy{jwtauth.ClaimsPolicy("tenant", func(_ context.Context, _ jwtauth.Token, p profile) (bool, error) {
			return p.Tenant != "", nil
		})},
	})
	mustWork(err)

	ctx := context.Background()
	for _, claims := range []any{profile{"acme"}, map[string]any{"tenant": 7}, nil} {
		tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice", Claims: claims})
		mustWork(err)
		_, err = verifier.Verify(ctx, tokens.AccessToken)
		fmt.Println(errors.Is(err, jwtauth.ErrTokenCheck))
	}

	// Output:
	// false
	// true
	// true
}

// A service accepts the tokens of two issuers. The iss claim of a token selects the verifier.
func ExampleAnyOf() {
	customers := newExampleService()
	staff := newExampleService(func(o *jwtauth.IssuerOptions) { o.Issuer = "https://staff.example.com" })

	verifier, err := jwtauth.AnyOf(customers.verifier, staff.verifier)
	mustWork(err)
	for _, text := range []string{customers.login("alice"), staff.login("bob")} {
		token, err := verifier.Verify(context.Background(), text)
		fmt.Println(token.Issuer, token.Subject, err)
	}

	// Output:
	// https://api.example.com alice <nil>
	// https://staff.example.com bob <nil>
}

// A program with long connections rechecks the token of each from time to time.
func ExampleVerifier_Recheck() {
	s := newExampleService()
	ctx := context.Background()
	tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)
	token, err := s.verifier.Verify(ctx, tokens.AccessToken) // when the connection is opened
	mustWork(err)

	fmt.Println(s.verifier.Recheck(ctx, token))

	mustWork(s.issuer.Logout(ctx, tokens.AccessToken))
	fmt.Println(errors.Is(s.verifier.Recheck(ctx, token), jwtauth.ErrTokenRevoked))

	// Output:
	// <nil>
	// true
}

// In a browser, the subprotocols are the only header of a WebSocket that a script can set:
// new WebSocket(url, ["chat", "jwt.bearer." + token]).
func ExampleFromWebSocketProtocol() {
	s := newExampleService()
	auth, err := jwtauth.NewMiddleware(s.verifier, jwtauth.MiddlewareOptions{
		Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt.bearer.")},
	})
	mustWork(err)
	socket := auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Println(token.Subject, "speaks", r.Header.Get("Sec-WebSocket-Protocol"))
	}))

	r := httptest.NewRequest("GET", "/socket", nil)
	r.Header.Set("Sec-WebSocket-Protocol", "chat, jwt.bearer."+s.login("alice"))
	socket.ServeHTTP(httptest.NewRecorder(), r)

	// Output:
	// alice speaks chat
}

// The client gets a code that says what to do. The log gets the reason.
func ExampleWriteError() {
	s := newExampleService()
	refresh := func(w http.ResponseWriter, r *http.Request) {
		tokens, err := s.issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.PostFormValue("refresh_token")})
		if err != nil {
			if failure, ok := errors.AsType[*jwtauth.Error](err); ok {
				fmt.Println("for the log:", failure.Check, errors.Is(err, jwtauth.ErrTokenMalformed))
			}
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	}

	r := httptest.NewRequest("POST", "/refresh", strings.NewReader("refresh_token=rubbish"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	refresh(answer, r)
	fmt.Println(answer.Code, answer.Body)

	// Output:
	// for the log: form true
	// 400 {"error":"invalid_grant","error_description":"the login or the refresh token is wrong, expired, revoked or has been used before","next":"login"}
}

// A handler that greets strangers and people who are logged in. A bad token is refused all
// the same.
func ExampleMiddleware_Optional() {
	s := newExampleService()
	greet := s.auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := jwtauth.FromContext(r.Context()); ok {
			fmt.Fprint(w, "hello ", token.Subject)
			return
		}
		fmt.Fprint(w, "hello stranger")
	}))
	fmt.Println(exampleGet(greet, s.login("alice")).Body)
	fmt.Println(exampleGet(greet, "").Body)
	fmt.Println(exampleGet(greet, "not.a.token").Code)

	// Output:
	// hello alice
	// hello stranger
	// 401
}

// Log out everywhere else, and then everywhere.
func ExampleIssuer_EndAllSessions() {
	s := newExampleService()
	ctx := context.Background()
	var phone, laptop jwtauth.TokenResponse
	for _, device := range []*jwtauth.TokenResponse{&phone, &laptop} {
		tokens, err := s.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		mustWork(err)
		*device = tokens
	}
	live := func() int {
		list, _, err := s.issuer.Sessions(ctx, "alice", "")
		mustWork(err)
		return len(list)
	}
	fmt.Println(live())
	mustWork(s.issuer.EndOtherSessions(ctx, "alice", laptop.SessionID))
	fmt.Println(live())
	_, err := s.issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: phone.RefreshToken})
	fmt.Println(errors.Is(err, jwtauth.ErrRefused))
	mustWork(s.issuer.EndAllSessions(ctx, "alice"))
	fmt.Println(live())

	// Output:
	// 2
	// 1
	// true
	// 0
}

// Issuers that come and go, such as one for each tenant.
func ExampleResolveIssuers() {
	s := newExampleService()
	tenants := map[string]*jwtauth.Verifier{"https://api.example.com": s.verifier}
	verifier, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		if known != nil {
			return known, nil // its keys and its cache are still good
		}
		return tenants[issuer], nil // nil: there is no such tenant
	}, jwtauth.ResolveOptions{})
	mustWork(err)
	token, err := verifier.Verify(context.Background(), s.login("alice"))
	fmt.Println(token.Subject, err)

	// Output: alice <nil>
}

// A token in a header of its own, as some gateways send it.
func ExampleNewExtractor() {
	s := newExampleService()
	auth, err := jwtauth.NewMiddleware(s.verifier, jwtauth.MiddlewareOptions{
		Extractors: []jwtauth.Extractor{jwtauth.NewExtractor(func(r *http.Request) (string, error) {
			return r.Header.Get("X-Gateway-Token"), nil // "" means that there is none
		})},
	})
	mustWork(err)
	me := auth.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	r := httptest.NewRequest("GET", "/me", nil)
	r.Header.Set("X-Gateway-Token", s.login("alice"))
	answer := httptest.NewRecorder()
	me.ServeHTTP(answer, r)
	fmt.Println(answer.Code, answer.Body)

	// Output: 200 hello
}

// Answers in the format of the rest of an API.
func ExampleMiddlewareOptions_onError() {
	s := newExampleService()
	auth, err := jwtauth.NewMiddleware(s.verifier, jwtauth.MiddlewareOptions{
		OnError: func(w http.ResponseWriter, r *http.Request, err error) {
			e, _ := errors.AsType[*jwtauth.Error](err)
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, "%s, next: %s", e.Description, e.Next)
		},
	})
	mustWork(err)
	me := auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	fmt.Println(exampleGet(me, "not.a.token").Body)

	// Output: the access token is malformed, revoked or not meant for this service, next: login
}

// exampleService has the parts that Example makes, with a clock that stands still.
type exampleService struct {
	clock    *jwtauthtest.Clock
	key      *jwk.SigningKey
	keys     *jwk.Ring
	issuer   *jwtauth.Issuer
	verifier *jwtauth.Verifier
	auth     *jwtauth.Middleware
}

func newExampleService(change ...func(*jwtauth.IssuerOptions)) *exampleService {
	s := &exampleService{clock: new(jwtauthtest.Clock)}
	s.clock.Set(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	var err error
	s.key, err = jwk.Generate(jwk.ES256)
	mustWork(err)
	s.keys, err = jwk.NewRing(s.key)
	mustWork(err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: s.clock.Now})
	o := jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store, Now: s.clock.Now,
	}
	for _, f := range change {
		f(&o)
	}
	s.issuer, err = jwtauth.NewIssuer(s.keys, o)
	mustWork(err)
	s.verifier, err = s.issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)
	s.auth, err = jwtauth.NewMiddleware(s.verifier, jwtauth.MiddlewareOptions{})
	mustWork(err)
	return s
}

// login returns an access token.
func (s *exampleService) login(subject string, scopes ...string) string {
	tokens, err := s.issuer.Issue(context.Background(), jwtauth.Grant{Subject: subject, Scopes: scopes})
	mustWork(err)
	return tokens.AccessToken
}

// exampleGet sends a request with a token to a handler.
func exampleGet(h http.Handler, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// mustWork ends the program if err is not nil.
func mustWork(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Take the token of a request from the header, or else from a cookie.
func ExampleFirstOf() {
	s := newExampleService()
	auth, err := jwtauth.NewMiddleware(s.verifier, jwtauth.MiddlewareOptions{
		Extractors: []jwtauth.Extractor{jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("__Host-Http-access"))},
	})
	mustWork(err)
	page := auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, site := range []string{"same-origin", "cross-site"} {
		r := httptest.NewRequest("POST", "https://app.example.com/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-Http-access", Value: s.login("alice")})
		r.Header.Set("Sec-Fetch-Site", site) // the browser sets it
		answer := httptest.NewRecorder()
		page.ServeHTTP(answer, r)
		fmt.Println(site, answer.Code)
	}

	// Output:
	// same-origin 200
	// cross-site 403
}
