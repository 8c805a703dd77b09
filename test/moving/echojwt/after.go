package echojwt

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// After is the service that issues new tokens, and accepts those of Before until a date.
func After(issuer *jwtauth.Issuer, store jwtauth.RevocationStore, secret []byte, until migrate.Date) (http.Handler, error) {
	old, err := verifierOfOld(store, secret, until)
	if err != nil {
		return nil, err
	}
	logins, err := endpoints.New(issuer, endpoints.Options{Verifier: old, Login: shop.Grant})
	if err != nil {
		return nil, err
	}
	auth, e := echo.WrapMiddleware(logins.Auth().Require), echo.New()
	e.Any("/auth/*", echo.WrapHandler(logins)) // login, refresh, logout, sessions
	e.POST("/login", login(secret))            // as before, for clients that do not know /auth/login yet
	e.POST("/trade-in", echo.WrapHandler(shop.TradeIn(logins)), auth)
	e.GET("/orders", ordersAfter, auth)
	return e, nil
}

func verifierOfOld(store jwtauth.RevocationStore, secret []byte, until migrate.Date) (*jwtauth.Verifier, error) {
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	if err != nil {
		return nil, err
	}
	return migrate.NewVerifier(key.Verification(), migrate.Options{
		Until: until, Issuer: "echo-jwt", SubjectClaim: "user_id", Revocations: store,
		OnEvent: event.Log(slog.Default()),
	})
}

func ordersAfter(c echo.Context) error {
	token, _ := jwtauth.FromContext(c.Request().Context())
	return c.String(http.StatusOK, fmt.Sprintf("user %s is %v", token.Subject, migrate.MapClaims(token)["role"]))
}
