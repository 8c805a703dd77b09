// Package faults holds tests alone: what becomes of sessions and revocations when the
// engine that keeps them fails, with real servers. Package engines starts a redis-server
// and a PostgreSQL 13 or later on loopback, as the tests need them; SQLite is a file.
//
//	go test ./faults/...
//
// runs them all, in about a minute. What is in it:
//
//   - the storm: two processes and 64 clients refresh, log out and replay, while the
//     engine is killed and started again, paused, cut off and slowed down;
//   - a failure at each call to a store, before and after its effect;
//   - many who race with one refresh token, through two processes;
//   - a restart of everything, a dump of everything, a full disk, and an engine that
//     does not answer;
//   - the linearizability of each store, judged by porcupine.
//
// A long run of the storm, whose tables tell what happened to whom:
//
//	go test ./faults -run Storm -storm 60s -timeout 30m -v
//
// Where there is no server, its tests are skipped and say why, or fail if CI is set.
// JWTAUTH_REDIS_URL and JWTAUTH_POSTGRES_URL name servers for the tests that do not
// kill theirs. The tests need Linux.
package faults
