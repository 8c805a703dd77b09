// Command websocket serves a page. The script of the page opens a WebSocket with a token. The
// server closes the connection soon after the session of the token has ended.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func main() {
	password := rand.Text()
	fmt.Println("open http://127.0.0.1:8080 in a browser; the password is " + password)
	check(http.ListenAndServe("127.0.0.1:8080", service(password)))
}

//go:embed page.html
var page []byte

// errPassword is the answer to a wrong password.
var errPassword = &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the password is wrong"}

func service(password string) http.Handler {
	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store,
	})
	check(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	check(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{
		Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt.bearer.")},
	})
	check(err)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })
	mux.Handle("GET /socket", auth.Require(socket(verifier)))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		if subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) == 0 {
			jwtauth.WriteError(w, r, errPassword)
			return
		}
		tokens, err := issuer.Issue(r.Context(), jwtauth.Grant{Subject: "alice", AuthTime: began})
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
		}
	})
	return http.MaxBytesHandler(mux, 1<<16)
}

// socket answers each message until the token is refused.
func socket(verifier *jwtauth.Verifier) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		// Accept checks the Origin and selects the subprotocol echo. The middleware has removed
		// the subprotocol with the token from the request.
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return // Accept has answered the request
		}
		defer c.CloseNow()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			defer cancel()
			if err := watch(ctx, verifier, token); err != nil {
				c.Close(websocket.StatusPolicyViolation, "log in again")
			}
		}()
		for {
			kind, message, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := c.Write(ctx, kind, append([]byte(token.Subject+" says "), message...)); err != nil {
				return
			}
		}
	})
}

// watch checks the token every second, and returns an error as soon as it is refused. If the
// revocation store does not answer, the connection continues until the token expires.
func watch(ctx context.Context, verifier *jwtauth.Verifier, token jwtauth.Token) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		if err := verifier.Recheck(ctx, token); errors.Is(err, jwtauth.ErrRefused) {
			return err
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
