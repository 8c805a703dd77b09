// Package interop tests jwtauth together with other libraries. It contains only tests.
// Libraries in Go, Node (jose) and Python (PyJWT) verify the tokens and read the keys of
// jwtauth. In turn, jwtauth verifies tokens of go-jose and golang-jwt, and of
// oidc-provider, an OpenID provider in Node.
//
// OAuth clients use the handlers of package endpoints: the metadata, and the routes token,
// revoke and introspect. The clients are oauth4webapi, openid-client, simple-oauth2 and the SDK of
// the Model Context Protocol in Node, Authlib in Python, and golang.org/x/oauth2 and
// zitadel/oidc in Go.
//
// To run all tests, call this in the root of the repository:
//
//	go test ./test/interop/...
//
// Some tests need Node with npm, Python with PyJWT and cryptography, or Python with Authlib and
// requests (on Debian: python3-jwt, python3-cryptography, python3-authlib and python3-requests).
// If one of these programs is missing, its tests are skipped with a message. If the environment
// variable CI is set, they fail instead.
package interop
