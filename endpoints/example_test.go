package endpoints_test

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func ExampleNewThrottle() {
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
	if err != nil {
		log.Fatal(err)
	}
	login := func(w http.ResponseWriter, r *http.Request) {
		name, password := r.PostFormValue("name"), r.PostFormValue("password")
		client, _ := netip.ParseAddrPort(r.RemoteAddr) // behind a proxy: the address that it saw
		done, retryAfter, err := throttle.Begin(r.Context(), name, client.Addr())
		switch {
		case err != nil:
			jwtauth.WriteError(w, r, err)
			return
		case done == nil:
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)+1))
			http.Error(w, "too many attempts", http.StatusTooManyRequests)
			return
		}
		right := name == "alice" && password == "correct horse battery staple" // a real program compares hashes
		done(right)
		if !right {
			http.Error(w, "the name or the password is wrong", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "hello")
	}
	for range 12 {
		answer := httptest.NewRecorder()
		login(answer, httptest.NewRequest("POST", "/login?name=alice&password=guess", nil))
		fmt.Print(answer.Code, " ")
	}
	// Output: 401 401 401 401 401 401 401 401 401 401 429 429
}

// newIssuer makes an issuer with sessions.
func newIssuer() *jwtauth.Issuer {
	key, err := jwk.Generate(jwk.ES256)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwk.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{
		Issuer: "https://login.example.com", Audiences: []string{"https://api.example.com"}, Sessions: store, Revocations: store,
	})
	if err != nil {
		log.Fatal(err)
	}
	return issuer
}

// checkPassword is Options.Login of the examples. A real program compares hashes.
func checkPassword(_ *http.Request, name, password string) (jwtauth.Grant, error) {
	if name != "alice" || password != "correct horse battery staple" {
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}
	return jwtauth.Grant{Subject: name}, nil
}

// Serve login, refresh, logout and sessions for clients that are no browsers.
func ExampleNew() {
	logins, err := endpoints.New(newIssuer(), endpoints.Options{Login: checkPassword})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", logins)
	mux.Handle("GET /me", logins.Auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, "hello ", token.Subject)
	})))

	send := func(method, path, body, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, r)
		return answer
	}
	fmt.Println(send("POST", "/auth/login", `{"username":"alice","password":"guess"}`, "").Code)
	var tokens jwtauth.TokenResponse
	answer := send("POST", "/auth/login", `{"username":"alice","password":"correct horse battery staple"}`, "")
	if err := json.Unmarshal(answer.Body.Bytes(), &tokens); err != nil {
		log.Fatal(err)
	}
	fmt.Println(send("GET", "/me", "", tokens.AccessToken).Body)
	fmt.Println(send("POST", "/auth/refresh", `{"refresh_token":"`+tokens.RefreshToken+`"}`, "").Code)
	fmt.Println(send("POST", "/auth/logout", "", tokens.AccessToken).Code)
	fmt.Println(send("GET", "/me", "", tokens.AccessToken).Code)
	// Output:
	// 401
	// hello alice
	// 200
	// 204
	// 401
}

// Keep the refresh token of a browser in a cookie.
func ExampleCookie() {
	logins, err := endpoints.New(newIssuer(), endpoints.Options{Login: checkPassword, RefreshCookie: &endpoints.Cookie{}})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"correct horse battery staple"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-CSRF", "1") // the script of the page sets it
	answer := httptest.NewRecorder()
	logins.ServeHTTP(answer, r)
	fmt.Println(answer.Code, strings.Contains(answer.Body.String(), `"refresh_token":`))
	for _, c := range answer.Result().Cookies() {
		name, _, _ := strings.Cut(c.Name, "refresh-")
		fmt.Println(name, c.HttpOnly, c.Secure, c.SameSite == http.SameSiteStrictMode)
	}
	// Output:
	// 200 false
	// __Host-Http- true true true
	// __Host-Http-refresh true true true
}

// Authenticate OAuth clients by client_secret_basic or client_secret_post, the usual methods.
func ExampleOptions_oauthClient() {
	secrets := map[string]string{"web-app": "100% secret"} // a real program keeps hashes
	authenticate := func(_ *http.Request, id, secret string) error {
		want, isKnown := secrets[id]
		if !isKnown || subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 0 {
			return jwtauth.ErrGrantRefused
		}
		return nil
	}

	handlers, err := endpoints.New(newIssuer(), endpoints.Options{Client: authenticate})
	if err != nil {
		log.Fatal(err)
	}

	request := httptest.NewRequest("POST", "/auth/revoke", strings.NewReader("token=x"))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("web%2Dapp", "100%25+secret")
	answer := httptest.NewRecorder()
	handlers.ServeHTTP(answer, request)
	fmt.Println(answer.Code)
	// Output: 200
}

// Let other services find the keys of an issuer, and clients the issuer of an API.
func ExampleNewMetadata() {
	key, err := jwk.Generate(jwk.ES256)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwk.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: "https://login.example.com", Audiences: []string{"https://api.example.com"}})
	if err != nil {
		log.Fatal(err)
	}
	metadata, err := endpoints.NewMetadata(issuer, endpoints.MetadataOptions{JWKSURI: "https://login.example.com/keys"})
	if err != nil {
		log.Fatal(err)
	}
	resource, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{
		Resource: "https://api.example.com", AuthorizationServers: []string{"https://login.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /keys", ring)
	for _, m := range []*endpoints.Metadata{metadata, resource} {
		for _, path := range m.Paths() {
			mux.Handle("GET "+path, m)
			fmt.Println(path)
		}
	}
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("GET", "/.well-known/openid-configuration", nil))
	fmt.Println(answer.Code)

	// Output:
	// /.well-known/openid-configuration
	// /.well-known/oauth-authorization-server
	// /.well-known/oauth-protected-resource
	// 200
}
