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
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/examples/internal/loginserver"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
)

// openTimeout is how long opening a store may take.
const openTimeout = 10 * time.Second

const expected = "redis://…, postgres://… or sqlite:FILE is expected"

// store has the methods that redisstore.Store and sqlstore.Store have in common.
type store interface {
	jwtauth.SessionStore
	replica.Log
	Check(ctx context.Context) (warnings []string, err error)
}

// openStores opens the store at the address that -store names. It returns an error if the
// engine would lose entries, and logs the warnings of Check.
func openStores(ctx context.Context, address string, log *slog.Logger) (*loginserver.Stores, error) {
	kind, file, _ := strings.Cut(address, ":")
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var shared store
	var engine io.Closer
	var err error
	switch {
	case kind == "redis" || kind == "rediss":
		shared, engine, err = openRedis(ctx, address, log)
	case kind == "postgres" || kind == "postgresql":
		shared, engine, err = openPostgres(ctx, address, log)
	case kind == "sqlite" && file != "":
		shared, engine, err = openSQLite(ctx, file, log)
	case address == "":
		err = errors.New("it is missing: " + expected)
	case !strings.Contains(address, ":"):
		err = fmt.Errorf("%q is not a store: %s", address, expected)
	default: // the error contains only kind, because the rest may have a password
		err = fmt.Errorf("%q is not the beginning of a store: %s", kind+":", expected)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%w: an engine that runs at this address is expected", err)
	}
	if err != nil {
		return nil, err
	}
	revocations, err := replica.New(shared, replica.Options{OnEvent: event.Log(log)})
	if err != nil {
		engine.Close()
		return nil, err
	}
	s := &loginserver.Stores{
		Sessions: shared, Revocations: revocations, Lasting: true,
		Ready: revocations.Ready,
		Close: func() {
			revocations.Close()
			engine.Close() // no call is open, so there is no error to report
		},
	}
	if err := s.Ready(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// check calls Check of a store and logs the warnings.
func check(ctx context.Context, s store, log *slog.Logger) error {
	warnings, err := s.Check(ctx)
	for _, w := range warnings {
		log.Warn("the store may lose entries", "warning", w)
	}
	return err
}

func openRedis(ctx context.Context, address string, log *slog.Logger) (store, io.Closer, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, nil, errors.New("redis://USER:PASSWORD@HOST:PORT/NUMBER is expected") // err may contain the password
	}
	o.ContextTimeoutEnabled = true
	redis.SetLogger(debugLog{log})
	client := redis.NewClient(o)
	s, err := redisstore.New(client, redisstore.Options{})
	if err == nil {
		err = check(ctx, s, log)
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return s, client, nil
}

// debugLog logs the messages of the Redis driver with the level DEBUG, because the errors of
// the calls contain everything that matters.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Printf(ctx context.Context, format string, v ...any) {
	d.log.DebugContext(ctx, fmt.Sprintf(format, v...))
}

// maxConns is the greatest number of connections to PostgreSQL. One of them waits for
// notifications.
const maxConns = 20

func openPostgres(ctx context.Context, address string, log *slog.Logger) (store, io.Closer, error) {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	s, err := openSQL(ctx, db, sqlstore.Postgres, log)
	if err != nil {
		return nil, nil, err
	}
	pushed, err := pgxwatch.New(db, s)
	return pushed, db, err
}

func openSQLite(ctx context.Context, file string, log *slog.Logger) (store, io.Closer, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make the file readable for other users
	if err != nil {
		return nil, nil, err
	}
	f.Close()
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?_pragma=journal_mode(wal)")
	if err != nil {
		return nil, nil, err
	}
	s, err := openSQL(ctx, db, sqlstore.SQLite, log)
	return s, db, err
}

// openSQL makes the tables if they are missing. If it returns an error, it has closed db.
func openSQL(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect, log *slog.Logger) (*sqlstore.Store, error) {
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: dialect})
	if err == nil {
		err = s.Migrate(ctx)
	}
	if err == nil {
		err = check(ctx, s, log)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}
