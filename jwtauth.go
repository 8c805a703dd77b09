// Package jwtauth signs, verifies, refreshes and revokes JSON Web Tokens (RFC 7519) for
// services built on net/http.
//
// An [Issuer] signs access tokens (RFC 9068) and refresh tokens. A [Verifier] verifies
// access tokens. A [Middleware] wraps handlers, so that they run only with a verified
// token. A [SessionStore] and a [RevocationStore] make refreshing and logging out safe;
// [MemoryStore] is both, for one process. The keys come from package jwk.
//
//	key, err := jwk.Generate(jwk.ES256)
//	keys, err := jwk.NewRing(key)
//	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
//	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
//		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
//		Sessions: store, Revocations: store, OnEvent: event.Log(slog.Default()),
//	})
//	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
//	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
//	http.Handle("GET /me", auth.Require(me))
//
// # Promises
//
// It is safe when used plainly. A missing option is an error when the program starts,
// and an unsafe choice has Insecure in its name. A key decides on the algorithm, never
// the token. A token has one reading and one spelling, except that every ECDSA
// signature (r, s) has a twin (r, n-s); a token is therefore revoked by its id and not
// by its text.
//
// "No" and "don't know" are different answers. A bad token is an error that matches
// [ErrRefused] (401). A store or key source that does not answer is an error that
// matches [ErrUnavailable] (503).
//
// # Refresh tokens
//
// A session is one login on one device. Its refresh token is redeemed once, for an
// access token and the next refresh token. Within IssuerOptions.RefreshGrace and before
// the next refresh token was used, it is answered again, so that two browser tabs may
// race. At any other time a second redemption counts as theft, and the session ends. See
// [Issuer.Refresh].
//
// # Concurrency and zero values
//
// Everything that a constructor returns is safe for concurrent use. The zero value of
// every type fails closed: it refuses, or returns ErrUnavailable.
//
// Goroutines: each fetch of a jwk.Remote, each reading of the Source of a jwk.Ring, and
// each call of the function of [ResolveIssuers] runs in a goroutine that ends with it,
// within a time-out. The OnEvent hook of a Ring, a Remote or a Replica runs in a goroutine
// that ends when no event is left. Only a jwk.Remote with Background and a replica.Replica
// have goroutines of their own, until Close.
package jwtauth
