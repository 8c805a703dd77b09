// Command verify-only is a service that accepts the tokens of another service. It has only the
// public key of that service, so an intruder cannot use it to sign tokens. -h says how to try
// it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
)

const usage = `A service that accepts the tokens of another service, whose public key it has. In a
clone of the repository, run each server in a terminal of its own:

    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
    go run ./examples/server -key key.pem
    go run ./examples/verify-only -key public.pem

The server prints steps. Run the first step, which logs in and sets $ACCESS, and then:

    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8081/me

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	file := flag.String("key", "", "a PEM `FILE` with the public key (default: the PEM in the environment variable JWTAUTH_PUBLIC_KEY)")
	issuer := flag.String("issuer", "http://127.0.0.1:8080", "the expected iss claim")
	audience := flag.String("audience", "http://127.0.0.1:8080", "the expected aud claim: the name of this service")
	flag.Parse()

	text, err := readKey(*file)
	check(err)
	handler, err := service(text, *issuer, *audience)
	check(err)
	fmt.Println(`curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8081/me`)
	check(http.ListenAndServe("127.0.0.1:8081", handler))
}

func readKey(file string) ([]byte, error) {
	if file == "" {
		text := os.Getenv("JWTAUTH_PUBLIC_KEY")
		if text == "" {
			return nil, errors.New("-key is missing, and JWTAUTH_PUBLIC_KEY is empty or not set: the public key of the issuer is expected, see -h")
		}
		return []byte(text), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-key: %w: a PEM file with a public key is expected, see -h", err)
	}
	return text, nil
}

func service(publicKey []byte, issuer, audience string) (http.Handler, error) {
	key, err := jwk.ParseVerification("", publicKey)
	if err != nil {
		return nil, fmt.Errorf("-key or JWTAUTH_PUBLIC_KEY: %w", err)
	}
	verifier, err := jwtauth.NewVerifier(key, jwtauth.VerifierOptions{
		Issuer: issuer, Audiences: []string{audience}, OnEvent: event.Log(slog.Default()),
	})
	if err != nil {
		return nil, fmt.Errorf("-issuer or -audience: %w", err)
	}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(me)))
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
