// Package faults has only tests. They check what happens to sessions and revocations if their
// engine (Redis, PostgreSQL, MariaDB or SQLite) fails. The tests use real servers. Package test/engines
// starts redis-server, PostgreSQL 13 or later and MariaDB on loopback. SQLite is a file.
//
//	go test ./test/faults/...
//
// runs all tests in about two minutes:
//
//   - the storm: 64 clients refresh tokens and others log out and replay tokens, through two
//     processes, while the engine is killed and started again, paused, cut off and slowed down;
//   - a failure at each call to a store, before and after the call takes effect;
//   - many clients that race with one refresh token, through two processes;
//   - a restart of everything, a dump of everything, a full disk, and an engine that does not
//     answer;
//   - the linearizability of each store, checked by porcupine.
//
// For a long run of the storm, which prints tables with its results:
//
//	go test ./test/faults -run Storm -storm 60s -timeout 30m -v
//
// If an engine is not installed, its tests are skipped, or fail if CI is set. Some tests need no
// server of their own. If JWTAUTH_REDIS_URL and JWTAUTH_POSTGRES_URL are set, these tests use
// the servers there. The tests need Linux.
package faults
