//go:build linux

package faults_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// place is everything that a process needs to open a store.
type place struct {
	Engine string // redis, postgres, mariadb, sqlite
	URL    string
	Prefix string // of the keys in Redis
	Pool   int    // the maximum of connections; 0 means as many as the tests need
}

// sharedStore is a store of any engine.
type sharedStore interface {
	jwtauth.SessionStore
	replica.Log
}

// open opens a store. It sends nothing to the engine.
func (p place) open() (store sharedStore, closeStore func() error, err error) {
	switch p.Engine {
	case "redis":
		client, err := p.redis()
		if err != nil {
			return nil, nil, err
		}
		store, err := redisstore.New(client, redisstore.Options{Prefix: p.Prefix})
		return store, client.Close, err
	case "postgres":
		s, db, err := p.sql()
		if err != nil {
			return nil, nil, err
		}
		watched, err := pgxwatch.New(db, s)
		return watched, db.Close, err
	default:
		s, db, err := p.sql()
		if err != nil {
			return nil, nil, err
		}
		return s, db.Close, nil
	}
}

func (p place) redis() (*redis.Client, error) {
	o, err := redis.ParseURL(p.URL)
	if err != nil {
		return nil, err
	}
	o.ContextTimeoutEnabled = true
	if p.Pool > 0 {
		o.PoolSize = p.Pool
	}
	return redis.NewClient(o), nil
}

func (p place) sql() (*sqlstore.Store, *sql.DB, error) {
	driver, dialect := "pgx", sqlstore.Postgres
	switch p.Engine {
	case "mariadb":
		driver, dialect = "mysql", sqlstore.MySQL
	case "sqlite":
		driver, dialect = "sqlite", sqlstore.SQLite
	}
	db, err := sql.Open(driver, p.URL)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(40)
	db.SetMaxIdleConns(40)
	if p.Pool > 0 {
		db.SetMaxOpenConns(p.Pool)
	}
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: dialect})
	return s, db, err
}

// store opens the store until the test ends.
func (p place) store(t testing.TB) sharedStore {
	t.Helper()
	store, closeStore, err := p.open()
	require.NoError(t, err)
	t.Cleanup(func() { _ = closeStore() })
	return store
}

// prepare makes the tables, if the engine has tables. In PostgreSQL, it also writes the new
// tables to the disk. So a crash does not lose the tables, even if it loses later writes.
func (p place) prepare(t testing.TB) place {
	t.Helper()
	if p.Engine != "redis" {
		s, db, err := p.sql()
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, s.Migrate(t.Context()))
		if p.Engine == "postgres" {
			_, err = db.ExecContext(t.Context(), "CHECKPOINT")
			require.NoError(t, err)
		}
	}
	return p
}

// through returns the same place with another network address, for example that of a proxy.
func (p place) through(t testing.TB, addr string) place {
	t.Helper()
	u, err := url.Parse(p.URL)
	require.NoError(t, err)
	u.Host = addr
	p.URL = u.String()
	return p
}

func newPrefix() string { return "test:" + rand.Text() }

// on returns an empty place on a server that belongs to one test.
func on(t testing.TB, engine string, s *engines.Server) place {
	t.Helper()
	address := s.URL()
	if engine == "mariadb" {
		address = engines.MariaDBDatabase(t, "mysql", address)
	}
	return place{Engine: engine, URL: address, Prefix: newPrefix()}.prepare(t)
}

// newFile returns an empty place in a SQLite file.
func newFile(t testing.TB) place {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	return place{Engine: "sqlite", URL: "file:" + file + "?_pragma=journal_mode(wal)"}.prepare(t)
}

// newPlace returns an empty place for a test that does not break the engine. The place ends
// with the test.
func newPlace(t testing.TB, engine string) place {
	t.Helper()
	switch engine {
	case "redis":
		p := place{Engine: engine, URL: engines.RedisURL(t), Prefix: newPrefix()}
		t.Cleanup(func() { p.removeKeys(t) })
		return p
	case "postgres":
		return place{Engine: engine, URL: engines.Database(t, "pgx", engines.PostgresURL(t))}.prepare(t)
	case "mariadb":
		return place{Engine: engine, URL: engines.MariaDBDatabase(t, "mysql", engines.MariaDBURL(t))}.prepare(t)
	default:
		return newFile(t)
	}
}

// removeKeys removes all keys with the prefix from Redis.
func (p place) removeKeys(t testing.TB) {
	client, err := p.redis()
	require.NoError(t, err)
	defer client.Close()
	ctx := context.Background()
	keys := client.Scan(ctx, 0, p.Prefix+":*", 1000).Iterator()
	for keys.Next(ctx) {
		require.NoError(t, client.Del(ctx, keys.Val()).Err())
	}
	require.NoError(t, keys.Err())
}

// everyEngine names the engines of the stores.
var everyEngine = []string{"redis", "postgres", "mariadb", "sqlite"}

// onEach runs a test on an empty place of each engine.
func onEach(t *testing.T, test func(t *testing.T, p place)) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) { test(t, newPlace(t, engine)) })
	}
}
