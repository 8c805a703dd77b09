// Command key-rotation is an API that runs as several processes with one directory
// of keys. The processes use the same keys, accept each other's tokens, and replace
// the signing key while requests go on. -h says how to try it.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

const usage = `An API of several processes with one directory of keys. In a clone of the repository,
run each server in a terminal of its own:

    mkdir -m 700 keys
    go run ./examples/key-rotation -key keys -listen 127.0.0.1:8083
    go run ./examples/key-rotation -key keys -listen 127.0.0.1:8084

The first process prints a command for the login. Use the access token at both:

    ACCESS=...   # the access_token
    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8083/me
    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8084/me

A SIGHUP to any of the processes makes the next key. The first of these commands does the
same, prints the plan and ends. The second command drops a stolen key:

    go run ./examples/key-rotation -key keys -rotate
    go run ./examples/key-rotation -key keys -revoke KID

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	listen := flag.String("listen", "127.0.0.1:8083", "listen on this `address`")
	dir := flag.String("key", "keys", "the `directory` of the keys; all processes must have the same")
	maxAge := flag.Duration("max-age", 5*time.Minute, "how long verifiers may keep the JWK Set: 1s to 24h")
	reload := flag.Duration("reload", time.Minute, "how often the directory is read: 1s to 1h")
	rotate := flag.Bool("rotate", false, "make the next key, print the plan and end")
	revoke := flag.String("revoke", "", "drop the key with this `kid`, print the plan and end")
	flag.Parse()

	ctx := context.Background()
	keys, err := jwk.OpenRing(ctx, keydir.New(*dir), jwk.RingOptions{
		MaxAge: *maxAge, ReloadEvery: *reload, OnEvent: event.Log(slog.Default()),
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: make the directory with mkdir -m 700 %q", err, *dir)
	}
	check("-key, -max-age, -reload: ", err)
	switch {
	case *revoke != "":
		check("-revoke: ", keys.RevokeKey(ctx, *revoke))
		printPlan(os.Stdout, keys)
		return
	case *rotate:
		_, err := keys.Rotate(ctx)
		check("-rotate: ", err)
		printPlan(os.Stdout, keys)
		return
	}
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // early, since without this call a SIGHUP would end the process
	go rotateOn(hangUps, keys, os.Stdout)

	password := rand.Text() // a real service has one per user, hashed
	handler, err := service(keys, jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}), password, time.Now)
	check("", err)
	listener, err := net.Listen("tcp", *listen)
	check("-listen: ", err)
	fmt.Printf("curl -d password=%s http://%s/login\n", password, listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	check("", server.Serve(listener))
}

// rotateOn makes the next key at each signal, and prints the plan. If a next key is already
// waiting, because another process also got the signal, no key is made.
func rotateOn(hangUps <-chan os.Signal, keys *jwk.Ring, w io.Writer) {
	for range hangUps {
		if _, err := keys.Rotate(context.Background()); err != nil {
			slog.Error("making the next key failed", "error", err) // or the keys could not be read again
			continue
		}
		printPlan(w, keys)
	}
}

// printPlan prints the dates of each key.
func printPlan(w io.Writer, keys *jwk.Ring) {
	date := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format(time.RFC3339)
	}
	var text bytes.Buffer // printed in one Write, because other goroutines write to the log
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "kid\tstate\tsigns from\tto\taccess to\trefresh to\trevoked")
	for _, k := range keys.Plan() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.State, date(k.SignsFrom), date(k.SignsTo), date(k.AccessTo), date(k.RefreshTo), date(k.Revoked))
	}
	fmt.Fprintln(t)
	t.Flush()
	_, _ = text.WriteTo(w)
}

// service returns the handler, which is the same in all processes. Processes with the same
// keys, issuer and audience accept each other's access tokens. To share sessions as well, the
// processes would need one store.
func service(keys *jwk.Ring, store *jwtauth.MemoryStore, password string, now func() time.Time) (http.Handler, error) {
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store, Now: now,
	})
	if err != nil {
		return nil, err
	}
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	if err != nil {
		return nil, err
	}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(greet)))
	mux.Handle("GET /.well-known/jwks.json", keys)
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		began := now()
		if subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) == 0 {
			jwtauth.WriteError(w, r, errPassword)
			return
		}
		tokens, err := issuer.Issue(r.Context(), jwtauth.Grant{Subject: "alice", AuthTime: began})
		answer(w, r, tokens, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		tokens, err := issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.PostFormValue("refresh_token")})
		answer(w, r, tokens, err)
	})
	return http.MaxBytesHandler(mux, 1<<16), nil
}

// errPassword is the answer to a wrong password.
var errPassword = &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the password is wrong"}

func greet(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintln(w, "hello", token.Subject)
}

func answer(w http.ResponseWriter, r *http.Request, tokens jwtauth.TokenResponse, err error) {
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens)
}

// check ends the program if there is an error. flags names the flags that may be wrong.
func check(flags string, err error) {
	if err != nil {
		log.Fatal(flags, err)
	}
}
