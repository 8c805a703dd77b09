// Package jwtgo moves a service that signs and parses with dgrijalva/jwt-go.
package jwtgo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dgrijalva/jwt-go"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// Claims are the claims of the tokens.
type Claims struct {
	Role string `json:"role"`
	jwt.StandardClaims
}

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
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, Claims{user.Role, jwt.StandardClaims{
			Subject: strconv.Itoa(user.ID), Issuer: "shop", Audience: "shop", ExpiresAt: time.Now().Add(24 * time.Hour).Unix(),
		}}).SignedString(secret)
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
		text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Token ")
		var claims Claims
		_, err := jwt.ParseWithClaims(text, &claims, func(t *jwt.Token) (any, error) {
			if t.Method != jwt.SigningMethodHS256 {
				return nil, fmt.Errorf("alg is %v", t.Header["alg"])
			}
			return secret, nil
		})
		if err != nil {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	}
}

func orders(w http.ResponseWriter, r *http.Request) {
	claims := r.Context().Value(claimsKey{}).(Claims)
	fmt.Fprintf(w, "user %s is %s", claims.Subject, claims.Role)
}
