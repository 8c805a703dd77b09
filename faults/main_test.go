//go:build linux

package faults_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/faults/engines"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
)

func TestMain(m *testing.M) {
	logging.Disable() // the client writes down each connection that a test cuts
	if c := os.Getenv(nodeVariable); c != "" {
		os.Exit(runNode(c))
	}
	if c := os.Getenv(remoteVariable); c != "" {
		os.Exit(runRemote(c))
	}
	flag.Parse()
	code := m.Run()
	for _, s := range shared.started {
		if err := s.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared are the servers of the tests that do not break theirs.
var shared struct {
	mu      sync.Mutex
	started []*engines.Server
}

func sharing(start func(...string) (*engines.Server, error)) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		s, err := start()
		if err != nil {
			return "", err
		}
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.started = append(shared.started, s)
		return s.URL(), nil
	})
}

var (
	sharedRedis    = sharing(engines.NewRedis)
	sharedPostgres = sharing(engines.NewPostgres)
)

// place is where a store keeps what it is told: what a process needs to open it.
type place struct {
	Engine string // redis, postgres, sqlite
	URL    string
	Prefix string // of redis
	Pool   int    // how many connections there are at most; 0: enough
}

// sharedStore is what all of the stores are.
type sharedStore interface {
	jwtauth.SessionStore
	jwtauth.RevocationLog
}

// open opens a store without asking its engine anything.
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
		pushed, err := pgxwatch.New(db, s)
		return pushed, db.Close, err
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
	if p.Engine == "sqlite" {
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

// prepare makes the tables, where there are any.
func (p place) prepare(t testing.TB) place {
	t.Helper()
	if p.Engine != "redis" {
		s, db, err := p.sql()
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, s.Migrate(t.Context()))
	}
	return p
}

// through is the place as it is reached at another address.
func (p place) through(t testing.TB, addr string) place {
	t.Helper()
	u, err := url.Parse(p.URL)
	require.NoError(t, err)
	u.Host = addr
	p.URL = u.String()
	return p
}

func newPrefix() string { return "test:" + rand.Text() }

// on is an empty place on a server of a test's own.
func on(t testing.TB, engine string, s *engines.Server) place {
	t.Helper()
	return place{Engine: engine, URL: s.URL(), Prefix: newPrefix()}.prepare(t)
}

// newFile is an empty place in a file.
func newFile(t testing.TB) place {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	return place{Engine: "sqlite", URL: "file:" + file + "?_pragma=journal_mode(wal)"}.prepare(t)
}

// server names the server for tests that do not break it.
func server(t testing.TB, variable string, start func() (string, error)) string {
	t.Helper()
	if named := os.Getenv(variable); named != "" {
		return named
	}
	started, err := start()
	if errors.Is(err, exec.ErrNotFound) {
		engines.Missing(t, err)
	}
	require.NoError(t, err)
	return started
}

// newPlace is an empty place that ends with the test.
func newPlace(t testing.TB, engine string) place {
	t.Helper()
	switch engine {
	case "redis":
		p := place{Engine: engine, URL: server(t, "JWTAUTH_REDIS_URL", sharedRedis), Prefix: newPrefix()}
		t.Cleanup(func() { p.forget(t) })
		return p
	case "postgres":
		return place{Engine: engine, URL: newDatabase(t, server(t, "JWTAUTH_POSTGRES_URL", sharedPostgres))}.prepare(t)
	default:
		return newFile(t)
	}
}

// forget removes all keys with the prefix.
func (p place) forget(t testing.TB) {
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

// newDatabase makes a database on a server, until the test ends, and names it.
func newDatabase(t testing.TB, server string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	db, err := sql.Open("pgx", server)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		require.NoError(t, err)
		db.Close()
	})
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// everyEngine are the engines of the stores.
var everyEngine = []string{"redis", "postgres", "sqlite"}

// onEach runs a test on an empty place of each engine.
func onEach(t *testing.T, test func(t *testing.T, p place)) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) { test(t, newPlace(t, engine)) })
	}
}
