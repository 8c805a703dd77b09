// Package echojwt moves a service that uses labstack/echo-jwt.
package echojwt

import (
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	echojwt "github.com/labstack/echo-jwt/v4"
	"github.com/labstack/echo/v4"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// Claims are the claims of the tokens.
type Claims struct {
	UserID int    `json:"user_id"`
	Role   string `json:"role"`
	jwt.RegisteredClaims
}

// Before is the service before the move.
func Before(secret []byte) http.Handler {
	e := echo.New()
	e.POST("/login", login(secret))
	e.GET("/orders", orders, echojwt.WithConfig(echojwt.Config{
		SigningKey:    secret,
		NewClaimsFunc: func(echo.Context) jwt.Claims { return new(Claims) },
	}))
	return e
}

func login(secret []byte) echo.HandlerFunc {
	return func(c echo.Context) error {
		user, ok := shop.Login(c.FormValue("username"), c.FormValue("password"))
		if !ok {
			return echo.ErrUnauthorized
		}
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &Claims{user.ID, user.Role, jwt.RegisteredClaims{
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(72 * time.Hour)),
		}}).SignedString(secret)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, echo.Map{"token": token})
	}
}

func orders(c echo.Context) error {
	claims := c.Get("user").(*jwt.Token).Claims.(*Claims)
	return c.String(http.StatusOK, fmt.Sprintf("user %d is %s", claims.UserID, claims.Role))
}
