// Package ginjwt moves a service that uses appleboy/gin-jwt.
package ginjwt

import (
	"net/http"
	"time"

	ginjwt "github.com/appleboy/gin-jwt/v2"
	"github.com/gin-gonic/gin"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// Before is the service before the move.
func Before(secret []byte) (http.Handler, error) {
	auth, err := newOld(secret)
	if err != nil {
		return nil, err
	}
	router := gin.New()
	router.POST("/login", auth.LoginHandler)
	router.GET("/refresh_token", auth.RefreshHandler)
	router.GET("/orders", auth.MiddlewareFunc(), orders)
	return router, nil
}

// maxRefresh is how long after its login or refresh gin-jwt exchanges a token, even if it has expired.
const maxRefresh = 24 * time.Hour

func newOld(secret []byte) (*ginjwt.GinJWTMiddleware, error) {
	return ginjwt.New(&ginjwt.GinJWTMiddleware{
		Realm: "shop", Key: secret, Timeout: time.Hour, MaxRefresh: maxRefresh, IdentityKey: "id",
		Authenticator: func(c *gin.Context) (any, error) {
			user, ok := shop.Login(c.PostForm("username"), c.PostForm("password"))
			if !ok {
				return nil, ginjwt.ErrFailedAuthentication
			}
			return user, nil
		},
		PayloadFunc: func(user any) ginjwt.MapClaims {
			return ginjwt.MapClaims{"id": user.(shop.User).ID, "role": user.(shop.User).Role}
		},
	})
}

func orders(c *gin.Context) {
	claims := ginjwt.ExtractClaims(c)
	c.String(http.StatusOK, "user %v is %v", claims["id"], claims["role"])
}
