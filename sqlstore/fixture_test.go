package sqlstore_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // the driver logs each connection that a test cuts
	os.Exit(engines.Run(m, "JWTAUTH_POSTGRES_URL", "JWTAUTH_MARIADB_DSN"))
}

// database is a database that a test may open several times, as several processes do.
type database struct {
	dialect        sqlstore.Dialect
	driver, source string
}

// open opens the database until the test ends.
func (e database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(e.driver, e.source)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func (e database) newStore(t testing.TB, db *sql.DB) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: e.dialect})
	require.NoError(t, err)
	return s
}

// store returns a store whose tables exist.
func (e database) store(t testing.TB) *sqlstore.Store {
	t.Helper()
	s := e.newStore(t, e.open(t))
	require.NoError(t, s.Migrate(t.Context()))
	warnings, err := s.Check(t.Context())
	require.NoError(t, err)
	require.Empty(t, warnings)
	return s
}

// errorOfCheck returns the error of Check without the warnings.
func errorOfCheck(t testing.TB, s *sqlstore.Store) error {
	t.Helper()
	_, err := s.Check(t.Context())
	return err
}

// sqlite returns a new file of SQLite.
func sqlite(t testing.TB) database {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	return database{sqlstore.SQLite, "sqlite", "file:" + file + "?_pragma=journal_mode(wal)"}
}

// sqliteWithoutSync returns a new file of SQLite that a power failure may destroy, for tests of many
// writes that are not about power failures: they take a third of the time. [sqlstore.Store.Check]
// refuses it.
func sqliteWithoutSync(t testing.TB) *sqlstore.Store {
	t.Helper()
	e := sqlite(t).setting("_pragma", "synchronous(off)")
	s := e.newStore(t, e.open(t))
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// postgresql returns a new database of PostgreSQL.
func postgresql(t testing.TB) database {
	t.Helper()
	return postgresAt(engines.Database(t, "pgx", engines.PostgresURL(t)))
}

// postgresAt returns the database of PostgreSQL that has this URL.
func postgresAt(url string) database { return database{sqlstore.Postgres, "pgx", url} }

// mariadb returns a new database of MariaDB.
func mariadb(t testing.TB) database {
	t.Helper()
	return mariadbAt(engines.MariaDBDatabase(t, "mysql", engines.MariaDBURL(t))).setting("interpolateParams", "true")
}

// mariadbAt returns the database of MariaDB that has this data source name.
func mariadbAt(source string) database { return database{sqlstore.MySQL, "mysql", source} }

// onEach runs a test on a new database of each engine.
func onEach(t *testing.T, test func(t *testing.T, e database)) {
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgresql(t)) })
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("MariaDB", func(t *testing.T) { test(t, mariadb(t)) })
}

// onEachWithOldVersions runs a test on a new database of each engine that has older versions of
// the schema.
func onEachWithOldVersions(t *testing.T, test func(t *testing.T, e database)) {
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgresql(t)) })
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
}

// tables returns the names of all tables.
func (e database) tables() []string {
	if e.dialect == sqlstore.MySQL {
		return []string{"jwtauth_sessions", "jwtauth_revocations", "jwtauth_schema", "jwtauth_log", "jwtauth_slots"}
	}
	return []string{"jwtauth_sessions", "jwtauth_revocations", "jwtauth_schema", "jwtauth_epoch"}
}

// parameter returns the first parameter of a statement.
func (e database) parameter() string {
	if e.dialect == sqlstore.MySQL {
		return "?"
	}
	return "$1"
}

// setting returns the database with one more parameter in its source.
func (e database) setting(name, value string) database {
	separator := "?"
	if strings.Contains(e.source, "?") {
		separator = "&"
	}
	e.source += separator + name + "=" + value
	return e
}

// now returns the time as stores keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func keyOf(subject, id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: "https://issuer.test", Subject: subject, ID: id}
}

// record returns a session that lasts for an hour.
func record(subject, id string) jwtauth.SessionRecord {
	at := now()
	return jwtauth.SessionRecord{Key: keyOf(subject, id), Generation: 1, RotatedAt: at, ExpiresAt: at.Add(time.Hour), Data: []byte(`{"label":"phone"}`)}
}

// heard collects the entries that Since lists.
type heard map[string]time.Time

func (h heard) entry(id string, until time.Time) { h[id] = until }

// since calls Since and returns the entries.
func since(t testing.TB, log replica.Log, cursor string) (entries heard, next string, reset bool) {
	t.Helper()
	entries = heard{}
	next, reset, err := log.Since(t.Context(), cursor, entries.entry)
	require.NoError(t, err)
	require.LessOrEqual(t, len(next), 256)
	return entries, next, reset
}

func tokenID(n int) string { return jwtauth.TokenID("https://issuer.test", fmt.Sprint("token-", n)) }

// requireFewGoroutines waits until there are at most that many goroutines, including those
// of the test.
func requireFewGoroutines(t testing.TB, most int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > most; <-tick.C {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines are left of %d:\n%s", runtime.NumGoroutine(), most, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
