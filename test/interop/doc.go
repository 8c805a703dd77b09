// Package interop tests jwtauth together with other libraries. It contains only tests.
// Libraries in Go, Node (jose, node-jose) and Python (PyJWT, python-jose) verify the tokens and
// read the keys of jwtauth. In turn, jwtauth verifies tokens of go-jose and golang-jwt, and of
// oidc-provider, an OpenID provider in Node.
//
// These issuers have RSA keys without alg, and jwtauth verifies their tokens: jose in Node, jwcrypto
// and Authlib in Python, ruby-jwt and json-jwt in Ruby, and Crypt::JWT in Perl.
//
// OAuth clients use the handlers of package endpoints: the metadata, and the routes token,
// revoke and introspect. The clients are oauth4webapi, openid-client, simple-oauth2 and the SDK of
// the Model Context Protocol in Node, Authlib in Python, and golang.org/x/oauth2 and
// zitadel/oidc in Go. The Go SDK of the Model Context Protocol and openid_connect in Ruby read only
// the metadata.
//
// To run all tests, call this in the root of the repository:
//
//	go test ./test/interop/...
//
// Some tests need Node with npm, or Python, Ruby or Perl with the libraries above. On Debian, the
// packages are python3-jwt, python3-cryptography, python3-authlib, python3-requests, python3-jose,
// python3-jwcrypto, ruby-jwt, ruby-json-jwt, ruby-openid-connect and libcrypt-jwt-perl. If a
// library is missing, its tests are skipped with a message. If the environment variable CI is set,
// they fail instead.
package interop
