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
	router, forgetOld := chi.NewRouter(), forget("jwt")
	router.Handle("/auth/*", forgetOld(logins)) // login, refresh, logout, sessions
	// The old route stays, for pages that do not know /auth/login yet.
	router.With(forget("__Host-Http-refresh")).Post("/login", login(chijwt.New("HS256", secret, nil)))
	router.Group(func(r chi.Router) {
		r.Use(logins.Auth().Require)
		r.With(forgetOld).Post("/trade-in", shop.TradeIn(logins))
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

// forget returns a middleware that deletes a cookie if the answer is a success.
func forget(cookie string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f := &forgetting{ResponseWriter: w, cookie: cookie}
			next.ServeHTTP(f, r)
			if !f.hasHeader {
				f.WriteHeader(http.StatusOK)
			}
		})
	}
}

type forgetting struct {
	http.ResponseWriter
	cookie    string
	hasHeader bool
}

func (w *forgetting) WriteHeader(status int) {
	if w.hasHeader = true; status < 300 {
		http.SetCookie(w, &http.Cookie{Name: w.cookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: true})
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *forgetting) Write(body []byte) (int, error) {
	if !w.hasHeader {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(body)
}

func ordersAfter(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "user %s is %v", token.Subject, migrate.MapClaims(token)["role"])
}
