// Command server-shared is examples/server with sessions that outlive the server or
// are shared by several servers. They are in SQLite, Redis or PostgreSQL:
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
	StoreUsage: "keep sessions and revocations in a `STORE`: redis://… or postgres://…, which servers may share, or sqlite:FILE; required. Set -key and -issuer, too",
	OpenStores: openStores,
}

func main() { command.Main() }
