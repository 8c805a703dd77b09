// Package testseam lets tests of other packages do what the API of package jwtauth does
// not allow.
package testseam

// Without returns a verifier (a *jwtauth.Verifier) that leaves out one check, so that a
// test can show that this check alone refuses a token. Package jwtauth sets it.
var Without func(verifier any, check string) any
