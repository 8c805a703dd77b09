// Command server is a whole service that uses jwtauth: login with a password,
// calls that need a token, refresh with reuse detection, logout, audit log.
//
//	go run ./examples/server
//
// prints two users with new passwords, and curl commands that try everything. -h lists the
// flags. Sessions are in memory. With -key DIR, the keys are in a directory and outlive the
// server. The command examples/server-shared keeps the sessions in SQLite, Redis or
// PostgreSQL.
//
// The code is in examples/internal/loginserver.
package main

import "github.com/jwtauth-go/jwtauth/examples/internal/loginserver"

var command = loginserver.Command{Name: "server", OpenStores: loginserver.OpenMemory}

func main() { command.Main() }
