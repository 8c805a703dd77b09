package sqlstore_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// engine is a database that a test may open as often as it likes, as several
// processes would.
type engine struct {
	dialect        sqlstore.Dialect
	driver, source string
}

func (e engine) open(t testing.TB) *sql.DB { return open(t, e.driver, e.source) }

func (e engine) newStore(t testing.TB, db *sql.DB) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: e.dialect})
	require.NoError(t, err)
	return s
}

// store is a store with its tables.
func (e engine) store(t testing.TB) *sqlstore.Store {
	t.Helper()
	s := e.newStore(t, e.open(t))
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Check(t.Context()))
	return s
}

// sqlite is a new file.
func sqlite(t testing.TB) engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	return engine{sqlstore.SQLite, "sqlite", "file:" + file + "?_pragma=journal_mode(wal)"}
}

// postgresql is a new database.
func postgresql(t testing.TB) engine {
	t.Helper()
	needPostgres(t)
	return engine{sqlstore.Postgres, "pgx", newDatabase(t, postgresURL)}
}

// engines runs a test on each engine.
func engines(t *testing.T, test func(t *testing.T, e engine)) {
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgresql(t)) })
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
}

// setting is the source with one more parameter.
func (e engine) setting(name, value string) engine {
	separator := "?"
	if strings.Contains(e.source, "?") {
		separator = "&"
	}
	e.source += separator + name + "=" + value
	return e
}

// now is the time as stores keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func keyOf(subject, id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: "https://issuer.test", Subject: subject, ID: id}
}

// record is a session that lives for an hour.
func record(subject, id string) jwtauth.SessionRecord {
	at := now()
	return jwtauth.SessionRecord{Key: keyOf(subject, id), Generation: 1, RotatedAt: at, ExpiresAt: at.Add(time.Hour), Data: []byte(`{"label":"phone"}`)}
}

// heard is what Since told.
type heard map[string]time.Time

func (h heard) entry(id string, until time.Time) { h[id] = until }

// since asks a log, and gives what it told.
func since(t testing.TB, log jwtauth.RevocationLog, cursor string) (entries heard, next string, reset bool) {
	t.Helper()
	entries = heard{}
	next, reset, err := log.Since(t.Context(), cursor, entries.entry)
	require.NoError(t, err)
	require.LessOrEqual(t, len(next), 256)
	return entries, next, reset
}

func tokenID(n int) string { return jwtauth.TokenID("https://issuer.test", fmt.Sprint("token-", n)) }

// requireFewGoroutines waits until there are at most that many goroutines, those
// of the test included.
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
