// Package pgxwatch makes PostgreSQL push the revocations of a [sqlstore.Store], through
// the driver github.com/jackc/pgx/v5/stdlib. It is a separate package so that programs that
// use only SQLite do not compile pgx.
//
//	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
//	watched, err := pgxwatch.New(db, store)
//	revocations, err := replica.New(watched, replica.Options{})
package pgxwatch

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// Store is a [sqlstore.Store] that is also a [replica.Watcher].
type Store struct {
	*sqlstore.Store
	db *sql.DB
}

var (
	_ replica.Log     = (*Store)(nil)
	_ replica.Watcher = (*Store)(nil)
)

const (
	// silence is how long a connection may be silent before it is probed with a ping.
	silence = 30 * time.Second
	// patience is how long Watch waits for its own notification.
	patience = 3 * time.Second
	// test is the beginning of the payload of a notification that Watch sends to itself. All
	// watchers receive it.
	test = "test "
)

var errDeaf = fmt.Errorf("no notification arrived in %v: LISTEN needs a direct connection to PostgreSQL, or a pooler in session mode", patience)

// New adds Watch to a store in PostgreSQL. db must use pgx's stdlib driver. Each Watch uses
// one connection of db all the time, and another one for a moment when it begins.
//
// db may be the sql.DB of the store. But if the store connects through a pooler that shares
// connections between transactions (PgBouncer in transaction mode), db must be another
// sql.DB: LISTEN needs a direct connection, or a pooler in session mode.
func New(db *sql.DB, store *sqlstore.Store) (*Store, error) {
	switch {
	case db == nil:
		return nil, errors.New("pgxwatch: New needs a database")
	case store == nil || store.Channel() == "":
		return nil, errors.New("pgxwatch: New needs a store in PostgreSQL")
	case db.Stats().MaxOpenConnections == 1:
		return nil, errors.New("pgxwatch: db has one connection, which Watch would keep: set SetMaxOpenConns to 2 or more")
	}
	return &Store{Store: store, db: db}, nil
}

// Watch implements [replica.Watcher]. It also calls changed as soon as it listens. It then
// sends a notification to itself. If the notification does not arrive within 3 seconds, Watch
// returns an error; this happens behind a pooler in transaction mode. It notices within a
// minute that a connection is dead.
func (s *Store) Watch(ctx context.Context, changed func()) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("pgxwatch: %w", err)
	}
	defer conn.Close()
	var reason error
	err = conn.Raw(func(driverConn any) error {
		c, ok := driverConn.(*stdlib.Conn)
		if !ok {
			reason = fmt.Errorf("pgxwatch: the driver's connection is a %T, pgx's stdlib is expected", driverConn)
			return nil
		}
		reason = fmt.Errorf("pgxwatch: %w", s.listen(ctx, c.Conn(), changed))
		return driver.ErrBadConn // the connection listens, so it must not return to the pool
	})
	if reason == nil {
		return fmt.Errorf("pgxwatch: %w", err)
	}
	return reason
}

// listen calls changed for each notification. It returns an error when the connection fails
// or ctx ends.
func (s *Store) listen(ctx context.Context, conn *pgx.Conn, changed func()) error {
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.Channel()}.Sanitize()); err != nil {
		return err
	}
	changed()
	if err := s.testListening(ctx, conn, changed); err != nil {
		return err
	}
	for {
		bounded, cancel := context.WithTimeout(ctx, silence)
		n, err := conn.WaitForNotification(bounded)
		silent := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil && strings.HasPrefix(n.Payload, test): // the test of another watcher
		case err == nil:
			changed()
		case !silent:
			return err
		default:
			bounded, cancel := context.WithTimeout(ctx, silence)
			err := conn.Ping(bounded)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// testListening returns errDeaf if conn does not receive a notification that another
// connection sends. The reason is then a pooler in transaction mode: it has assigned the
// server connection that executed LISTEN to another client.
func (s *Store) testListening(ctx context.Context, conn *pgx.Conn, changed func()) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	own := test + rand.Text()
	if _, err := s.db.ExecContext(bounded, "SELECT pg_notify($1, $2)", s.Channel(), own); err != nil {
		return fmt.Errorf("a second connection for a moment: %w", err)
	}
	for {
		n, err := conn.WaitForNotification(bounded)
		switch {
		case err != nil && bounded.Err() != nil && ctx.Err() == nil:
			return errDeaf
		case err != nil:
			return err
		case n.Payload == own:
			return nil
		case !strings.HasPrefix(n.Payload, test):
			changed()
		}
	}
}
