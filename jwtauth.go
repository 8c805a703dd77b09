// Package jwtauth signs, verifies, refreshes and revokes JSON Web Tokens (RFC 7519) for
// services built on net/http.
//
// An [Issuer] signs access tokens (RFC 9068) and refresh tokens. A [Verifier] verifies
// access tokens. A [Middleware] wraps handlers, so that they run only with a verified
// token. A [SessionStore] keeps the sessions, and a [RevocationStore] the revoked tokens;
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
// The defaults are safe. A missing option is an error when the program starts, and an
// unsafe option has Insecure in its name. The key decides on the algorithm, never the
// token. The text of a token cannot be changed without making it invalid, with one
// exception: ECDSA signatures are malleable. If (r, s) is valid, so is (r, n-s). A token is
// therefore revoked by its id and not by its text.
//
// A bad token and a failed store are different errors. A bad token is an error that
// matches [ErrRefused] (401). If a store or a key source fails, the error matches
// [ErrUnavailable] (503).
//
// # Refresh tokens
//
// A session is one login on one device. Its refresh token can be redeemed once, for an access
// token and the next refresh token. An answer can get lost, and two browser tabs may race. So the
// token can be redeemed again within IssuerOptions.RecoverLost, as long as nobody has used the
// next one. Every other second redemption counts as theft, and ends the session. See
// [Issuer.Refresh].
//
// # Concurrency and zero values
//
// Everything that a constructor returns is safe for concurrent use. The zero value of
// every type fails closed: it refuses, or returns an error.
//
// A replica.Replica has a goroutine until Close, and so has a jwk.Remote whose option
// Background is set. All other goroutines end with their work. A goroutine with a time-out
// runs each of these: a jwk.Remote fetches keys, a jwk.Ring reads its Source,
// [ResolveIssuers] calls its function. A Ring, a Remote and a Replica call OnEvent in a
// goroutine that ends when no event is waiting.
package jwtauth
