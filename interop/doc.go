// Package interop holds tests alone: other libraries judge what jwtauth writes,
// and a linearizability checker its store.
package interop
