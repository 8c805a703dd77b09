package endpoints_test

import (
	"crypto/subtle"
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
	handlers, err := endpoints.New(issuer, endpoints.Options{Client: authenticate})
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
