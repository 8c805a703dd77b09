package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
)

// stores is where sessions and revocations are.
type stores struct {
	sessions    jwtauth.SessionStore
	revocations jwtauth.RevocationStore
	replica     *jwtauth.Replica // nil: the revocations are in memory alone
	engine      io.Closer
}

// close is for when the requests are finished.
func (s *stores) close() {
	if s.replica != nil {
		s.replica.Close()
		s.engine.Close() // nothing is under way that could fail
	}
}

// ready says whether revocations that were made elsewhere are known here.
func (s *stores) ready(ctx context.Context) error {
	if s.replica == nil {
		return nil
	}
	return s.replica.Ready(ctx)
}

// openTimeout bounds the time to open a store.
const openTimeout = 10 * time.Second

// sharedStore is what redisstore and sqlstore have in common.
type sharedStore interface {
	jwtauth.SessionStore
	jwtauth.RevocationLog
}

// openStores opens what -store names. An engine that would lose entries is refused,
// and one that may lose some is a warning.
func openStores(ctx context.Context, c *config, log *slog.Logger) (*stores, error) {
	kind, file, _ := strings.Cut(c.store, ":")
	if c.store == "memory" {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		return &stores{sessions: store, revocations: store}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var shared sharedStore
	var engine io.Closer
	var err error
	switch {
	case kind == "redis" || kind == "rediss":
		shared, engine, err = openRedis(ctx, c.store, log)
	case kind == "postgres" || kind == "postgresql":
		shared, engine, err = openPostgres(ctx, c.store)
	case kind == "sqlite" && file != "":
		shared, engine, err = openSQLite(ctx, file)
	default: // it is not repeated, as it may hold a password
		err = errors.New("memory, redis://…, postgres://… or sqlite:FILE is expected")
	}
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	if c.secretEnv == "" && len(c.keyFiles) == 0 {
		log.Warn("sessions outlive this process and its key does not: -key is expected")
	}
	if c.issuer == "" {
		log.Warn("sessions belong to an issuer, which is where this server is reached: -issuer is expected")
	}
	replica, err := jwtauth.NewReplica(shared, jwtauth.ReplicaOptions{OnEvent: jwtauth.LogEvents(log)})
	if err != nil {
		engine.Close()
		return nil, err
	}
	s := &stores{sessions: shared, revocations: replica, replica: replica, engine: engine}
	if err := replica.Ready(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("-store: %w", err)
	}
	return s, nil
}

func openRedis(ctx context.Context, address string, log *slog.Logger) (sharedStore, io.Closer, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, nil, errors.New("redis://USER:PASSWORD@HOST:PORT/NUMBER is expected") // err may hold the password
	}
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	store, err := redisstore.New(client, redisstore.Options{})
	var warnings []string
	if err == nil {
		warnings, err = store.Check(ctx)
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	for _, w := range warnings {
		log.Warn("redis", "warning", w)
	}
	return store, client, nil
}

// maxConns is how many connections to PostgreSQL there are at most; one of them
// waits for what it pushes.
const maxConns = 20

func openPostgres(ctx context.Context, address string) (sharedStore, io.Closer, error) {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	store, err := openSQL(ctx, db, sqlstore.Postgres)
	if err != nil {
		return nil, nil, err
	}
	pushed, err := pgxwatch.New(db, store)
	return pushed, db, err
}

func openSQLite(ctx context.Context, file string) (sharedStore, io.Closer, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // the engine would let others read it
	if err != nil {
		return nil, nil, err
	}
	f.Close()
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?_pragma=journal_mode(wal)")
	if err != nil {
		return nil, nil, err
	}
	store, err := openSQL(ctx, db, sqlstore.SQLite)
	return store, db, err
}

// openSQL makes the tables where there are none. It closes db on an error.
func openSQL(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) (*sqlstore.Store, error) {
	store, err := sqlstore.New(db, sqlstore.Options{Dialect: dialect})
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err == nil {
		err = store.Check(ctx)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return store, nil
}
