package ginjwt

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

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
	ginJWT, err := newOld(secret)
	if err != nil {
		return nil, err
	}
	auth, router := logins.Auth(), gin.New()
	router.Any("/auth/*route", gin.WrapH(logins)) // login, refresh, logout, sessions
	router.POST("/login", ginJWT.LoginHandler)    // as before, for clients that do not know /auth/login yet
	router.GET("/refresh_token", refuseRevoked(old), ginJWT.RefreshHandler)
	router.POST("/trade-in", gin.WrapH(auth.Require(shop.TradeIn(logins))))
	router.GET("/orders", wrap(auth.Require), ordersAfter)
	return router, nil
}

func verifierOfOld(store jwtauth.RevocationStore, secret []byte, until migrate.Date) (*jwtauth.Verifier, error) {
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	if err != nil {
		return nil, err
	}
	return migrate.NewVerifier(key.Verification(), migrate.Options{
		Until: until, Issuer: "gin-jwt", SubjectClaim: "id", Revocations: store, RefreshableFor: maxRefresh,
		OnEvent: event.Log(slog.Default()),
	})
}

// refuseRevoked refuses revoked tokens on the route refresh_token of gin-jwt, which takes expired
// tokens, too.
func refuseRevoked(old *jwtauth.Verifier) gin.HandlerFunc {
	return func(c *gin.Context) {
		token, err := jwtauth.BearerToken(c.Request)
		if err == nil {
			_, err = old.Verify(c.Request.Context(), token)
		}
		if err != nil && !errors.Is(err, jwtauth.ErrTokenExpired) {
			jwtauth.WriteError(c.Writer, c.Request, err)
			c.Abort()
		}
	}
}

// wrap makes a gin handler from a net/http middleware.
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

func ordersAfter(c *gin.Context) {
	token, _ := jwtauth.FromContext(c.Request.Context())
	c.String(http.StatusOK, "user %s is %v", token.Subject, migrate.MapClaims(token)["role"])
}
