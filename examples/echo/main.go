// Command echo protects the routes of an echo router. echo.WrapMiddleware accepts
// Require without an adapter.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
)

func main() {
	logins := oneuser.NewLogins(endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
	fmt.Println("curl -c cookies -H 'X-CSRF: curl' -d username=alice -d password=... http://127.0.0.1:8080/auth/login")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", service(logins)))
}

func service(logins *endpoints.Handlers) http.Handler {
	auth := logins.Auth()
	e := echo.New()
	e.GET("/", func(c *echo.Context) error { return c.String(http.StatusOK, "welcome\n") })
	e.Any("/auth/*", echo.WrapHandler(logins))
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
