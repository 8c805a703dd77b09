package auth0

import (
	"fmt"
	"net/http"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/provider"
)

// After is the API that checks the same tokens with jwtauth.
func After(domain, audience string) (http.Handler, error) {
	verifier, err := provider.Auth0(domain, audience).NewVerifier()
	if err != nil {
		return nil, err
	}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.With(jwtauth.Scopes("read:orders")).Require(http.HandlerFunc(ordersAfter)))
	return mux, nil
}

func ordersAfter(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "user %s", token.Subject)
}
