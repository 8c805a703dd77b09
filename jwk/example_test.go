package jwk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

// options are the options of the issuer in the examples.
var options = jwtauth.IssuerOptions{Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"}}

// Replace a signing key without refusing a good token.
func ExampleRing_Replace() {
	ctx := context.Background()
	old, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	keys, err := jwk.NewRing(old)
	mustWork(err)
	issuer, err := jwtauth.NewIssuer(keys, options)
	mustWork(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)
	signed, err := issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"}) // with the old key
	mustWork(err)

	next, err := jwk.Generate(jwk.ES256)
	mustWork(err)

	// First the new key is published. It signs nothing until every verifier knows it.
	mustWork(keys.Replace(old, next.Verification()))

	// Then it signs, and the old one is accepted as long as its tokens are alive.
	mustWork(keys.Replace(next, old.Verification()))
	_, err = verifier.Verify(ctx, signed.AccessToken)
	fmt.Println("during the change:", err)

	// Then the old one goes.
	mustWork(keys.Replace(next))
	_, err = verifier.Verify(ctx, signed.AccessToken)
	fmt.Println("after it:", errors.Is(err, jwtauth.ErrTokenKey))
	again, err := issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)
	_, err = verifier.Verify(ctx, again.AccessToken)
	fmt.Println("a token of the new key:", err)

	// Output:
	// during the change: <nil>
	// after it: true
	// a token of the new key: <nil>
}

// The keys of an issuer that publishes metadata, such as an OpenID provider.
func ExampleDiscover() {
	var document http.Handler
	provider := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { document.ServeHTTP(w, r) }))
	defer provider.Close()
	key, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	ring, err := jwk.NewRing(key)
	mustWork(err)
	mux := http.NewServeMux()
	mux.Handle("GET /keys", ring)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, provider.URL, provider.URL+"/keys")
	})
	document = mux

	keys, err := jwk.Discover(provider.URL, jwk.RemoteOptions{Client: provider.Client()})
	mustWork(err)
	fmt.Println(keys.Status().Keys) // nothing is fetched yet
	mustWork(keys.Ready(context.Background()))
	fmt.Println(keys.Status().Keys)

	// Output:
	// 0
	// 1
}

// A ring that was opened from a Source knows when a new key may sign.
func ExampleOpenRing() {
	var clock jwtauthtest.Clock
	clock.Set(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	ctx := context.Background()
	ring, err := jwk.OpenRing(ctx, jwk.NewMemorySource(), jwk.RingOptions{Now: clock.Now}) // keydir.New keeps them in files
	mustWork(err)
	o := options
	o.Now = clock.Now
	issuer, err := jwtauth.NewIssuer(ring, o)
	mustWork(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)
	tokens, err := issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)

	next, err := ring.Rotate(ctx)
	mustWork(err)
	fmt.Println("the next key signs in", next.SignsFrom.Sub(clock.Now()))
	show := func() {
		for _, key := range ring.Plan() {
			fmt.Print(key.State, " ")
		}
		_, err := verifier.Verify(ctx, tokens.AccessToken)
		fmt.Println(err)
	}
	show()
	clock.Advance(10 * time.Minute)
	show()

	// Output:
	// the next key signs in 8m0s
	// active next <nil>
	// retiring active <nil>
}

// A service that only verifies has the public key and no secret.
func ExampleStatic() {
	signing, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	text, err := signing.Verification().PEM() // the content of a file
	mustWork(err)

	key, err := jwk.ParseVerification(jwk.ES256, text)
	mustWork(err)
	keys, err := jwk.Static(key)
	mustWork(err)
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
	})
	mustWork(err)

	ring, err := jwk.NewRing(signing) // of the service that issues
	mustWork(err)
	issuer, err := jwtauth.NewIssuer(ring, options)
	mustWork(err)
	tokens, err := issuer.IssueAccess(context.Background(), jwtauth.Grant{Subject: "alice"})
	mustWork(err)
	token, err := verifier.Verify(context.Background(), tokens.AccessToken)
	fmt.Println(token.Subject, err)

	// Output:
	// alice <nil>
}

// mustWork ends the program if err is not nil.
func mustWork(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
