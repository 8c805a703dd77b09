package main

import (
	"net/http"

	"github.com/go-chi/jwtauth/v5"
	"github.com/lestrrat-go/jwx/v2/jwt"
)

var chi = peer{
	name: "chi-jwtauth", module: "github.com/go-chi/jwtauth/v5",
	verify: func(w *work) func(string) (answer, error) {
		auth := chiAuth(w)
		return func(token string) (answer, error) {
			t, err := jwtauth.VerifyToken(auth, token)
			if err != nil {
				return answer{}, err
			}
			scopes, _ := t.Get("scope")
			text, _ := scopes.(string)
			return answer{t.Subject(), hasScope(text, wantedScope)}, nil
		}
	},
	middleware: func(w *work, seen func(string)) http.Handler {
		auth := chiAuth(w)
		return jwtauth.Verifier(auth)(jwtauth.Authenticator(auth)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t, _, _ := jwtauth.FromContext(r.Context())
			seen(t.Subject())
		})))
	},
}

func chiAuth(w *work) *jwtauth.JWTAuth {
	return jwtauth.New(w.alg, w.signKey(), w.verifyKey(), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithAcceptableSkew(leeway))
}
