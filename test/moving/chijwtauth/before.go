// Package chijwtauth moves a service that uses go-chi/jwtauth, with a cookie for browsers.
package chijwtauth

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	chijwt "github.com/go-chi/jwtauth/v5"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// Before is the service before the move.
func Before(secret []byte) http.Handler {
	auth, router := chijwt.New("HS256", secret, nil), chi.NewRouter()
	router.Post("/login", login(auth))
	router.Group(func(r chi.Router) {
		r.Use(chijwt.Verifier(auth), chijwt.Authenticator(auth))
		r.Get("/orders", orders)
	})
	return router
}

func login(auth *chijwt.JWTAuth) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := shop.Login(r.PostFormValue("username"), r.PostFormValue("password"))
		if !ok {
			http.Error(w, "wrong name or password", http.StatusUnauthorized)
			return
		}
		end := time.Now().Add(24 * time.Hour)
		_, token, err := auth.Encode(map[string]any{"user_id": user.ID, "role": user.Role, "exp": end})
		if err != nil {
			http.Error(w, "try again later", http.StatusInternalServerError)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "jwt", Value: token, Path: "/", Expires: end, HttpOnly: true, Secure: true})
	}
}

func orders(w http.ResponseWriter, r *http.Request) {
	_, claims, _ := chijwt.FromContext(r.Context())
	fmt.Fprintf(w, "user %v is %v", claims["user_id"], claims["role"])
}
