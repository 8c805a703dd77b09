// Package engines starts redis-server, PostgreSQL, MariaDB and PgBouncer for tests, which may
// kill the servers, pause them and start them again. Each server has a free port on loopback
// and a temporary folder. No server outlives the test binary that started it, even if the
// test binary is killed.
//
// A test gets a server of its own from [Redis], [Postgres], [MariaDB] or [PgBouncer]. Tests
// that do not break their server share one: see [Shared], [RedisURL], [PostgresURL] and
// [MariaDBURL]. If the
// programs of an engine are not installed, the tests that need it are skipped, or fail if
// the environment variable CI is set. Call [Run] in TestMain, so that the skipped tests
// are reported:
//
//	func TestMain(m *testing.M) { os.Exit(engines.Run(m)) }
//
// The package needs only the standard library. Servers start on Linux and other Unix
// systems; elsewhere, the tests that need one are skipped.
package engines
