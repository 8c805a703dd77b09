// Command gin protects the routes of a gin router, with an adapter that calls Abort.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
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
	logins := oneuser.NewLogins(endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
	fmt.Println("curl -c cookies -H 'X-CSRF: curl' -d username=alice -d password=... http://127.0.0.1:8080/auth/login")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", service(logins)))
}

func service(logins *endpoints.Handlers) http.Handler {
	auth := logins.Auth()
	router := gin.New()
	router.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "welcome\n") })
	router.Any("/auth/*route", gin.WrapH(logins))
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
