// Package migrate helps a service with tokens and code of other libraries to move over.
//
// [Keyfunc] and [MapClaims] are for code that still uses golang-jwt: the first one gives the keys
// of a set to its parser, and the second one its type of claims to handlers.
package migrate
