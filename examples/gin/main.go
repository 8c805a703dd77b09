// Command gin protects the routes of a gin router, with an adapter that calls Abort.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// wrap makes a gin handler from a net/http middleware. Gin runs the next handler unless Abort
// is called. An adapter without Abort would answer 401 and still run the handler.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // r has the token in its context
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

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
	router := gin.New()
	router.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "welcome\n") })
	router.GET("/me", wrap(auth.Require), me)
	writers := auth.With(jwtauth.Scopes("orders:write"))
	router.POST("/orders/:id", wrap(writers.Require), order)
	return router
}

func me(c *gin.Context) {
	token, _ := jwtauth.FromContext(c.Request.Context()) // c itself does not have the token
	c.String(http.StatusOK, "hello %s\n", token.Subject)
}

func order(c *gin.Context) {
	token, _ := jwtauth.FromContext(c.Request.Context())
	c.String(http.StatusOK, "%s orders %s\n", token.Subject, c.Param("id"))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
