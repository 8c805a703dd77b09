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
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
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

// silence is how long a connection may be silent before it is probed with a ping.
const silence = 30 * time.Second

// New adds Watch to a store in PostgreSQL. db must use pgx's stdlib driver. Each Watch uses
// one connection of db all the time. db may be that of the store, unless the store connects
// through a pooler that shares connections between transactions, because LISTEN needs a
// direct connection.
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

// Watch implements [replica.Watcher]. It also calls changed once it listens. It notices
// within a minute that a connection is dead.
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
		reason = fmt.Errorf("pgxwatch: %w", listen(ctx, c.Conn(), s.Channel(), changed))
		return driver.ErrBadConn // it listens, so it must not return to the pool
	})
	if reason == nil {
		return fmt.Errorf("pgxwatch: %w", err)
	}
	return reason
}

// listen calls changed for each notification, until it fails or ctx ends. It returns the
// reason.
func listen(ctx context.Context, conn *pgx.Conn, channel string, changed func()) error {
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	changed()
	for {
		bounded, cancel := context.WithTimeout(ctx, silence)
		_, err := conn.WaitForNotification(bounded)
		silent := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
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
