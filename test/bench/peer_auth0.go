package main

import (
	"context"
	"net/http"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/validator"
)

var auth0 = peer{
	name: "auth0", module: "github.com/auth0/go-jwt-middleware/v2",
	verify: func(w *work) func(string) (answer, error) {
		v, ctx := auth0Validator(w), context.Background()
		return func(token string) (answer, error) {
			t, err := v.ValidateToken(ctx, token)
			if err != nil {
				return answer{}, err
			}
			c := t.(*validator.ValidatedClaims)
			return answer{c.RegisteredClaims.Subject, hasScope(c.CustomClaims.(*auth0Claims).Scope, wantedScope)}, nil
		}
	},
	middleware: func(w *work, seen func(string)) http.Handler {
		m := jwtmiddleware.New(auth0Validator(w).ValidateToken)
		return m.CheckJWT(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen(r.Context().Value(jwtmiddleware.ContextKey{}).(*validator.ValidatedClaims).RegisteredClaims.Subject)
		}))
	},
}

type auth0Claims struct {
	Scope string `json:"scope"`
	custom
}

// Validate checks nothing. validator.CustomClaims requires the method.
func (*auth0Claims) Validate(context.Context) error { return nil }

func auth0Validator(w *work) *validator.Validator {
	key := w.verifyKey()
	v, err := validator.New(
		func(context.Context) (any, error) { return key, nil }, validator.SignatureAlgorithm(w.alg), issuer, []string{audience},
		validator.WithCustomClaims(func() validator.CustomClaims { return new(auth0Claims) }), validator.WithAllowedClockSkew(leeway),
	)
	must(err)
	return v
}
