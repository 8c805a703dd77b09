// Command external-idp is an API that trusts an OpenID provider or another OAuth
// authorization server: it finds the provider's keys by its name, and follows
// their rotations.
//
//	go run ./examples/external-idp -issuer https://login.example.com -audience https://api.example.com
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

func main() {
	issuer := flag.String("issuer", "", "the name of the provider, an https URL: the iss claim that is expected")
	audience := flag.String("audience", "", "the name of this API: the aud claim that is expected")
	loopback := flag.Bool("insecure-loopback-http", false, "take http for a provider on this machine")
	flag.Parse()

	keys, err := jwtauth.DiscoverKeySet(*issuer, jwtauth.RemoteKeySetOptions{
		InsecureLoopbackHTTP: *loopback, OnEvent: jwtauth.LogEvents(slog.Default()),
	})
	check(err)
	handler, err := service(keys, *issuer, *audience)
	check(err)
	server := &http.Server{Addr: "127.0.0.1:8082", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	fmt.Println("curl -H 'Authorization: Bearer …' http://127.0.0.1:8082/me")
	check(server.ListenAndServe())
}

func service(keys *jwtauth.RemoteKeySet, issuer, audience string) (http.Handler, error) {
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: issuer, Audiences: []string{audience},
		AcceptTypJWT: true, // most providers write JWT in place of at+jwt
		OnEvent:      jwtauth.LogEvents(slog.Default()),
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
	fmt.Fprintf(w, "hello %s, %s says so\n", token.Subject, token.Issuer)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
