package main

import "net/http"

// answer is what every library must tell about a token: whose it is, and whether
// it has the wanted scope.
type answer struct {
	subject string
	can     bool
}

// peer is another library, set up as its own documents say, with the same checks
// as far as it has them: alg, signature, iss, aud, exp, nbf. A field is nil, or
// returns nil, where it has no such thing.
type peer struct {
	name   string
	module string // what the build information calls it
	verify func(w *work) func(token string) (answer, error)
	// middleware wraps a handler that tells seen whose request it is.
	middleware func(w *work, seen func(subject string)) http.Handler
	// issue makes access tokens of the harness's claims, with a new jti and the
	// time of the call.
	issue func(w *work) func() (string, error)
}

// peers are all of them, in the order of the tables.
var peers = []peer{golangJWT, golangJWTMap, kataras, jwx, goJOSE, goOIDC, tink, auth0, chi, echoJWT}
