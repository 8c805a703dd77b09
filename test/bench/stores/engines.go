package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// store has the methods that are measured.
type store interface {
	jwtauth.SessionStore
	replica.Log
}

// engine is a running server of Redis, PostgreSQL or MariaDB, or an SQLite file.
type engine struct {
	name, title string
	address     string
	lag         time.Duration // the bound for the time until a revocation reaches another process
	tripName    string        // describes what the function of trip does
	stop        func()
}

// start starts the engine with the given name: redis, postgres, mariadb or, by default, sqlite.
func start(name string) (*engine, error) {
	e := &engine{name: name}
	switch name {
	case "redis":
		e.title, e.lag, e.tripName = "Redis", 50*time.Millisecond, "PING"
		server, err := engines.NewRedis("--appendonly", "yes")
		if err != nil {
			return nil, err
		}
		e.address, e.stop = server.URL(), func() { must(server.Remove()) }
	case "postgres":
		e.title, e.lag, e.tripName = "PostgreSQL", 250*time.Millisecond, "UPDATE of one row"
		server, err := engines.NewPostgres()
		if err != nil {
			return nil, err
		}
		e.address, e.stop = server.URL(), func() { must(server.Remove()) }
	case "mariadb":
		e.title, e.lag, e.tripName = "MariaDB", 2*time.Second, "UPDATE of one row"
		server, err := engines.NewMariaDB("--max-connections=1000")
		if err != nil {
			return nil, err
		}
		db, err := sql.Open("mysql", server.URL())
		must(err)
		_, err = db.Exec("CREATE DATABASE stores")
		must(err)
		must(db.Close())
		e.address, e.stop = server.URL()+"stores?interpolateParams=true", func() { must(server.Remove()) }
	default:
		e.title, e.lag, e.tripName = "SQLite", 2*time.Second, "UPDATE of one row"
		dir, err := os.MkdirTemp("", "stores")
		if err != nil {
			return nil, err
		}
		e.address, e.stop = filepath.Join(dir, "db"), func() { os.RemoveAll(dir) }
	}
	return e, nil
}

func (e *engine) open() store { return connect(e.name, e.address) }

// connect opens the store with a new client, as another process would.
func connect(name, address string) store {
	if name == "redis" {
		s, err := redisstore.New(redisClient(address), redisstore.Options{})
		must(err)
		_, err = s.Check(ctx)
		must(err)
		return s
	}
	dialects := map[string]sqlstore.Dialect{"postgres": sqlstore.Postgres, "mariadb": sqlstore.MySQL, "sqlite": sqlstore.SQLite}
	db := database(name, address)
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: dialects[name]})
	must(err)
	must(s.Migrate(ctx))
	if name != "postgres" {
		return s
	}
	watched, err := pgxwatch.New(db, s)
	must(err)
	return watched
}

func redisClient(address string) *redis.Client {
	o, err := redis.ParseURL(address)
	must(err)
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o)
}

func database(name, address string) *sql.DB {
	driver := "pgx"
	switch name {
	case "mariadb":
		driver = "mysql"
	case "sqlite":
		driver, address = "sqlite", "file:"+address+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(100)"
	}
	db, err := sql.Open(driver, address)
	must(err)
	db.SetMaxIdleConns(writers)
	return db
}

// trip returns a function that makes one round trip to the engine and nothing else. With
// SQL, the round trip changes a row.
func (e *engine) trip() func() {
	if e.name == "redis" {
		c := redisClient(e.address)
		return func() { must(c.Ping(ctx).Err()) }
	}
	db := database(e.name, e.address)
	_, err := db.Exec(`CREATE TABLE trip (id INT PRIMARY KEY, n INT)`)
	must(err)
	_, err = db.Exec(`INSERT INTO trip VALUES (1, 0)`)
	must(err)
	update := `UPDATE trip SET n = n + 1 WHERE id = 1`
	return func() {
		_, err := db.ExecContext(ctx, update)
		must(err)
	}
}

// size returns how many bytes the engine uses.
func (e *engine) size() int64 {
	switch e.name {
	case "redis":
		var used int64
		info, err := redisClient(e.address).Info(ctx, "memory").Result()
		must(err)
		_, err = fmt.Sscanf(after(info, "used_memory:"), "%d", &used)
		must(err)
		return used
	case "postgres":
		var used int64
		must(database(e.name, e.address).QueryRow(`SELECT pg_database_size(current_database())`).Scan(&used))
		return used
	case "mariadb":
		var used int64
		db := database(e.name, e.address)
		_, err := db.Exec(`ANALYZE TABLE jwtauth_sessions, jwtauth_revocations, jwtauth_log`)
		must(err)
		must(db.QueryRow(`SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = 'stores'`).Scan(&used))
		return used
	}
	info, err := os.Stat(e.address)
	must(err)
	if log, err := os.Stat(e.address + "-wal"); err == nil {
		return info.Size() + log.Size()
	}
	return info.Size()
}

// after returns the part of text that follows the first mark, or "" if there is no mark.
func after(text, mark string) string {
	for i := 0; i+len(mark) <= len(text); i++ {
		if text[i:i+len(mark)] == mark {
			return text[i+len(mark):]
		}
	}
	return ""
}

// sweep returns a function that removes expired sessions and returns their number. It
// returns nil if the store has no Sweep method.
func (e *engine) sweep(s store) func() int {
	sweeper, ok := s.(interface {
		Sweep(context.Context) (int, error)
	})
	if !ok {
		return nil
	}
	return func() int {
		n, err := sweeper.Sweep(ctx)
		must(err)
		return n
	}
}

// cpu returns how much processor time this process has used.
func cpu() time.Duration {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
