// Command external-idp is an API that accepts the tokens of an OpenID provider or
// another OAuth authorization server. It finds the keys with the metadata document of the
// provider, and fetches them again when they change. -h says how to try it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
)

const usage = `An API that accepts the tokens of an OpenID provider:

    go run ./examples/external-idp -issuer https://login.example.com -audience https://api.example.com

Without a provider, in a clone of the repository, run each server in a terminal of its own:

    go run ./examples/server
    go run ./examples/external-idp -insecure-loopback-http -issuer http://127.0.0.1:8080 -audience http://127.0.0.1:8080

The server prints steps. Run the first step, which logs in and sets $ACCESS, and then:

    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8082/me

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	issuer := flag.String("issuer", "", "the expected iss claim: the `URL` of the provider, with https")
	audience := flag.String("audience", "", "the expected aud claim: the `NAME` of this API")
	loopback := flag.Bool("insecure-loopback-http", false, "allow http for a provider on this machine")
	flag.Parse()

	keys, err := discover(*issuer, *loopback)
	check(err)
	handler, err := service(keys, *issuer, *audience)
	check(err)
	server := &http.Server{Addr: "127.0.0.1:8082", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	fmt.Println(`curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8082/me`)
	check(server.ListenAndServe())
}

func discover(issuer string, loopback bool) (*jwk.Remote, error) {
	if issuer == "" {
		return nil, errors.New("-issuer is missing: the URL of the provider is expected, see -h")
	}
	keys, err := jwk.Discover(issuer, jwk.RemoteOptions{
		InsecureLoopbackHTTP: loopback, OnEvent: event.Log(slog.Default()),
	})
	if err != nil {
		return nil, fmt.Errorf("-issuer: %w (-insecure-loopback-http allows http on this machine)", err)
	}
	return keys, nil
}

func service(keys *jwk.Remote, issuer, audience string) (http.Handler, error) {
	if audience == "" {
		return nil, errors.New("-audience is missing: the name of this API in the tokens of the provider is expected, see -h")
	}
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: issuer, Audiences: []string{audience},
		AcceptTypJWT: true, // most providers write JWT instead of at+jwt
		OnEvent:      event.Log(slog.Default()),
	})
	if err != nil {
		return nil, err
	}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(me)))
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := keys.Ready(ctx); err != nil {
			jwtauth.WriteError(w, r, err) // 503
		}
	})
	return mux, nil
}

func me(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s, says %s\n", token.Subject, token.Issuer)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
