// Package interop holds tests alone: other libraries judge what jwtauth writes,
// in Go, in Node (jose) and in Python (PyJWT); and jwtauth judges what a real OpenID
// provider writes.
//
//	go test ./interop/...
//
// runs them all. Where Node with npm, or Python with PyJWT (on Debian: python3-jwt
// and python3-cryptography), is missing, its tests are skipped and say so, or fail
// if CI is set.
package interop
