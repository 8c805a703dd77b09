package jwtgo

import (
	"fmt"
	"log/slog"
	"net/http"

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
	logins, err := endpoints.New(issuer, endpoints.Options{
		Verifier: old, Login: shop.Grant,
		Middleware: jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{
			jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromHeader("Authorization", "Token")),
		}},
	})
	if err != nil {
		return nil, err
	}
	auth, mux := logins.Auth(), http.NewServeMux()
	mux.Handle("/auth/", logins)             // login, refresh, logout, sessions
	mux.Handle("POST /login", login(secret)) // as before, for clients that do not know /auth/login yet
	mux.Handle("POST /trade-in", auth.Require(shop.TradeIn(logins)))
	mux.Handle("GET /orders", auth.Require(http.HandlerFunc(ordersAfter)))
	return mux, nil
}

func verifierOfOld(store jwtauth.RevocationStore, secret []byte, until migrate.Date) (*jwtauth.Verifier, error) {
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	if err != nil {
		return nil, err
	}
	return migrate.NewVerifier(key.Verification(), migrate.Options{
		Until: until, Issuer: "shop", Audiences: []string{"shop"}, Revocations: store,
		OnEvent: event.Log(slog.Default()),
	})
}

func ordersAfter(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	claims, err := jwtauth.ClaimsAs[roleClaims](token)
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	fmt.Fprintf(w, "user %s is %s", token.Subject, claims.Role)
}

// roleClaims are the claims of the program. Claims would also read aud, which may be an array.
type roleClaims struct {
	Role string `json:"role"`
}
