package main

import "net/http"

// answer holds what every library must find in a token: the subject, and whether the
// token has the wanted scope.
type answer struct {
	subject string
	can     bool
}

// peer is another library, set up as its own documentation says. It checks alg, signature, iss,
// aud, exp and nbf, as far as the library can. A function is nil if the library has no such
// feature. verify and issue return nil if the library does not support the algorithm.
type peer struct {
	name   string
	module string // the module path in the build information
	verify func(w *work) func(token string) (answer, error)
	// middleware returns a handler behind the middleware. The handler calls seen
	// with the subject of the token.
	middleware func(w *work, seen func(subject string)) http.Handler
	// issue returns a function that issues an access token with a new jti, the time
	// of the call and otherwise the same claims.
	issue func(w *work) func() (string, error)
}

// peers lists all peers.
var peers = []peer{golangJWT, golangJWTMap, kataras, jwx, goJOSE, goOIDC, tink, auth0, chi, echoJWT}
