// Package auth0 moves an API that checks the tokens of Auth0 with Auth0's middleware.
package auth0

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
)

// Claims are the claims that the validator does not know.
type Claims struct {
	Scope string `json:"scope"`
}

// Validate implements validator.CustomClaims.
func (Claims) Validate(context.Context) error { return nil }

// Before is the API before the move.
func Before(domain, audience string) (http.Handler, error) {
	issuer, err := url.Parse("https://" + domain + "/")
	if err != nil {
		return nil, err
	}
	keys := jwks.NewCachingProvider(issuer, 5*time.Minute)
	check, err := validator.New(keys.KeyFunc, validator.RS256, issuer.String(), []string{audience},
		validator.WithCustomClaims(func() validator.CustomClaims { return new(Claims) }))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", jwtmiddleware.New(check.ValidateToken).CheckJWT(http.HandlerFunc(orders)))
	return mux, nil
}

func orders(w http.ResponseWriter, r *http.Request) {
	claims := r.Context().Value(jwtmiddleware.ContextKey{}).(*validator.ValidatedClaims)
	if !slices.Contains(strings.Fields(claims.CustomClaims.(*Claims).Scope), "read:orders") {
		http.Error(w, "the scope read:orders is required", http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, "user %s", claims.RegisteredClaims.Subject)
}
