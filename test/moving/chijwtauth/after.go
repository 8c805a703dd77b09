package chijwtauth

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"
	chijwt "github.com/go-chi/jwtauth/v5"

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
		Verifier: old, Login: shop.Grant, RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{},
		Middleware: jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromCookie("jwt")}},
	})
	if err != nil {
		return nil, err
	}
	router := chi.NewRouter()
	router.Handle("/auth/*", forgetOldCookie(logins))              // login, refresh, logout, sessions
	router.Post("/login", login(chijwt.New("HS256", secret, nil))) // as before, for pages that do not know /auth/login yet
	router.Group(func(r chi.Router) {
		r.Use(logins.Auth().Require)
		r.With(forgetOldCookie).Post("/trade-in", shop.TradeIn(logins))
		r.Get("/orders", ordersAfter)
	})
	return router, nil
}

func verifierOfOld(store jwtauth.RevocationStore, secret []byte, until migrate.Date) (*jwtauth.Verifier, error) {
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	if err != nil {
		return nil, err
	}
	return migrate.NewVerifier(key.Verification(), migrate.Options{
		Until: until, Issuer: "chi-jwtauth", SubjectClaim: "user_id", Revocations: store,
		OnEvent: event.Log(slog.Default()),
	})
}

// forgetOldCookie deletes the old cookie if the answer is a success.
func forgetOldCookie(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&forgetting{ResponseWriter: w}, r)
	})
}

type forgetting struct{ http.ResponseWriter }

func (w *forgetting) WriteHeader(status int) {
	if status < 300 {
		http.SetCookie(w, &http.Cookie{Name: "jwt", Path: "/", MaxAge: -1, HttpOnly: true, Secure: true})
	}
	w.ResponseWriter.WriteHeader(status)
}

func ordersAfter(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "user %s is %v", token.Subject, migrate.MapClaims(token)["role"])
}
