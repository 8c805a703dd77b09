// Command echo protects the routes of an echo router. echo.WrapMiddleware accepts
// Require without an adapter.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func main() {
	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
	})
	check(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	check(err)
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	check(err)

	tokens, err := issuer.IssueAccess(context.Background(), jwtauth.Grant{Subject: "alice", Scopes: []string{"orders:write"}})
	check(err)
	fmt.Println("curl -X POST -H 'Authorization: Bearer " + tokens.AccessToken + "' http://127.0.0.1:8080/orders/7")
	check(http.ListenAndServe("127.0.0.1:8080", service(auth)))
}

func service(auth *jwtauth.Middleware) http.Handler {
	e := echo.New()
	e.GET("/", func(c *echo.Context) error { return c.String(http.StatusOK, "welcome\n") })
	e.GET("/me", me, echo.WrapMiddleware(auth.Require))
	writers := auth.With(jwtauth.Scopes("orders:write"))
	e.POST("/orders/:id", order, echo.WrapMiddleware(writers.Require))
	return e
}

func me(c *echo.Context) error {
	token, _ := jwtauth.FromContext(c.Request().Context())
	return c.String(http.StatusOK, fmt.Sprintln("hello", token.Subject))
}

func order(c *echo.Context) error {
	token, _ := jwtauth.FromContext(c.Request().Context())
	return c.String(http.StatusOK, fmt.Sprintf("%s orders %s\n", token.Subject, c.Param("id")))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
