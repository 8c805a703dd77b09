// Package golangjwt moves a service that signs and parses with golang-jwt.
package golangjwt

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// Before is the service before the move.
func Before(secret []byte) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /login", login(secret))
	mux.Handle("GET /orders", requireOld(secret, orders))
	return mux
}

func login(secret []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := shop.Login(r.PostFormValue("username"), r.PostFormValue("password"))
		if !ok {
			http.Error(w, "wrong name or password", http.StatusUnauthorized)
			return
		}
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"user_id": user.ID, "role": user.Role, "exp": time.Now().Add(72 * time.Hour).Unix(),
		}).SignedString(secret)
		if err != nil {
			http.Error(w, "try again later", http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"token": token})
	}
}

type claimsKey struct{}

func requireOld(secret []byte, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return secret, nil }, jwt.WithValidMethods([]string{"HS256"}))
		if err != nil {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, token.Claims)))
	}
}

func orders(w http.ResponseWriter, r *http.Request) {
	claims := r.Context().Value(claimsKey{}).(jwt.MapClaims)
	fmt.Fprintf(w, "user %v is %v", claims["user_id"], claims["role"])
}
