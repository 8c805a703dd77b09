package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var golangJWT = peer{
	name: "golang-jwt", module: "github.com/golang-jwt/jwt/v5",
	verify: func(w *work) func(string) (answer, error) {
		parser, keyFunc := golangJWTParser(w)
		return func(token string) (answer, error) {
			var c golangJWTClaims
			_, err := parser.ParseWithClaims(token, &c, keyFunc)
			return answer{c.Subject, hasScope(c.Scope, wantedScope)}, err
		}
	},
	middleware: func(w *work, seen func(string)) http.Handler {
		return golangJWTMiddleware(w, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen(r.Context().Value(golangJWTKey{}).(*golangJWTClaims).Subject)
		}))
	},
	issue: func(w *work) func() (string, error) {
		method, key := jwt.GetSigningMethod(w.alg), w.signKey()
		return func() (string, error) {
			now := time.Now()
			t := jwt.NewWithClaims(method, &golangJWTClaims{
				RegisteredClaims: jwt.RegisteredClaims{
					Issuer: issuer, Subject: subject, Audience: jwt.ClaimStrings{audience}, ID: newID(),
					ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)), IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
				},
				Scope: scope, custom: custom{tenant, roles},
			})
			t.Header["typ"], t.Header["kid"] = "at+jwt", keyID
			return t.SignedString(key)
		}
	},
}

// golangJWTMap is golang-jwt with the claims in a map, as in its examples.
var golangJWTMap = peer{
	name: "golang-jwt, map", module: golangJWT.module,
	verify: func(w *work) func(string) (answer, error) {
		parser, keyFunc := golangJWTParser(w)
		return func(token string) (answer, error) {
			c := jwt.MapClaims{}
			if _, err := parser.ParseWithClaims(token, c, keyFunc); err != nil {
				return answer{}, err
			}
			sub, _ := c["sub"].(string)
			scopes, _ := c["scope"].(string)
			return answer{sub, hasScope(scopes, wantedScope)}, nil
		}
	},
}

type golangJWTClaims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
	custom
}

type golangJWTKey struct{}

// golangJWTMiddleware is a typical middleware with golang-jwt, which has none itself.
// Like setToken, it is not inlined.
//
//go:noinline
func golangJWTMiddleware(w *work, h http.Handler) http.Handler {
	parser, keyFunc := golangJWTParser(w)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		c := new(golangJWTClaims)
		if _, err := parser.ParseWithClaims(token, c, keyFunc); !ok || err != nil {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), golangJWTKey{}, c)))
	})
}

func golangJWTParser(w *work) (*jwt.Parser, jwt.Keyfunc) {
	key := w.verifyKey()
	return jwt.NewParser(
		jwt.WithValidMethods([]string{w.alg}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(leeway),
	), func(*jwt.Token) (any, error) { return key, nil }
}
