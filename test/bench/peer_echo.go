package main

import (
	"net/http"

	"github.com/golang-jwt/jwt/v5"
	echojwt "github.com/labstack/echo-jwt/v4"
	"github.com/labstack/echo/v4"
)

// echoJWT uses golang-jwt behind echo's router. It needs a ParseTokenFunc to check
// the issuer and the audience.
var echoJWT = peer{
	name: "echo-jwt", module: "github.com/labstack/echo-jwt/v4",
	middleware: func(w *work, seen func(string)) http.Handler {
		parser, keyFunc := golangJWTParser(w)
		e := echo.New()
		e.Use(echojwt.WithConfig(echojwt.Config{ParseTokenFunc: func(_ echo.Context, token string) (any, error) {
			return parser.ParseWithClaims(token, new(golangJWTClaims), keyFunc)
		}}))
		e.GET("/orders", func(c echo.Context) error {
			seen(c.Get("user").(*jwt.Token).Claims.(*golangJWTClaims).Subject)
			return nil
		})
		return e
	},
}
