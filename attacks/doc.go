// Package attacks is the list of attacks that the library withstands. It has only
// tests.
//
// Each case is one attack, and its test fails if the defence is missing. The ids of all
// cases are in testdata/attacks.txt, in groups: H is for headers, E for encodings and
// JSON, S for signatures and keys, C for claims, T for requests, R for refresh tokens, V
// for revocations, J for JWK Sets, P for providers, M for migration, D for denial of
// service, and A for the API. A case without a test stands there with its reason.
//
// The tests use the API of the library as a program does. Some of them read the sources
// of the library instead, such as those for a type, a method or an import that nobody
// may forget.
package attacks
