// Package interop tests jwtauth together with other libraries. It contains only tests.
// Libraries in Go, Node (jose) and Python (PyJWT) verify the tokens and read the keys of
// jwtauth. In turn, jwtauth verifies tokens of go-jose and golang-jwt, and of
// oidc-provider, an OpenID provider in Node.
//
// To run all tests, call this in the root of the repository:
//
//	go test ./test/interop/...
//
// Some tests need Node with npm, or Python with PyJWT and cryptography (on Debian:
// python3-jwt and python3-cryptography). If one of these programs is missing, its tests are
// skipped with a message. If the environment variable CI is set, they fail instead.
package interop
