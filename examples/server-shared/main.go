// Command server-shared is examples/server with the sessions in SQLite, Redis or PostgreSQL.
// They outlive the server, and several servers can share them:
//
//	mkdir -m 700 keys
//	go run ./examples/server-shared -key keys -issuer http://127.0.0.1:8080 -store sqlite:sessions.db
//
// The other flags are those of examples/server. A URL with a password belongs in
// the environment variable JWTAUTH_STORE.
package main

import "github.com/jwtauth-go/jwtauth/examples/internal/loginserver"

var command = loginserver.Command{
	Name:       "server-shared",
	StoreUsage: "required: keep sessions and revocations in a `STORE`: redis://… or postgres://…, which servers may share, or sqlite:FILE. Also set -key and -issuer",
	OpenStores: openStores,
}

func main() { command.Main() }
