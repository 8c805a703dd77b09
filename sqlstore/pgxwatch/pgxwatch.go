// Package pgxwatch has PostgreSQL push the revocations of a [sqlstore.Store], through
// the driver github.com/jackc/pgx/v5/stdlib. It is a package of its own so that
// programs with SQLite alone don't compile pgx.
//
//	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
//	pushed, err := pgxwatch.New(db, store)
//	replica, err := jwtauth.NewReplica(pushed, jwtauth.ReplicaOptions{})
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

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// Store is a [sqlstore.Store] that is a [jwtauth.RevocationWatcher] too.
type Store struct {
	*sqlstore.Store
	db *sql.DB
}

var (
	_ jwtauth.RevocationLog     = (*Store)(nil)
	_ jwtauth.RevocationWatcher = (*Store)(nil)
)

// silence is after how long a connection on which nothing comes is asked whether
// it is still there.
const silence = 30 * time.Second

// New adds Watch to a store in PostgreSQL. db is opened with pgx's stdlib driver;
// each Watch keeps one connection of it for itself. It may be the one of the store,
// unless that goes through a pooler which hands a connection to others after each
// transaction: LISTEN needs a direct one.
func New(db *sql.DB, store *sqlstore.Store) (*Store, error) {
	switch {
	case db == nil:
		return nil, errors.New("pgxwatch: no database")
	case store == nil || store.Channel() == "":
		return nil, errors.New("pgxwatch: the store is not one in PostgreSQL")
	case db.Stats().MaxOpenConnections == 1:
		return nil, errors.New("pgxwatch: db has one connection, which Watch would keep: SetMaxOpenConns takes 2 at least")
	}
	return &Store{Store: store, db: db}, nil
}

// Watch implements [jwtauth.RevocationWatcher]. It calls changed once when it has
// begun to listen. A connection that is lost without a word is noticed within a
// minute.
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
			reason = fmt.Errorf("pgxwatch: the driver's connection is a %T, not one of pgx's stdlib", driverConn)
			return nil
		}
		reason = fmt.Errorf("pgxwatch: %w", listen(ctx, c.Conn(), s.Channel(), changed))
		return driver.ErrBadConn // it listens: nobody else may have it
	})
	if reason == nil {
		return fmt.Errorf("pgxwatch: %w", err)
	}
	return reason
}

// listen returns why it cannot go on.
func listen(ctx context.Context, conn *pgx.Conn, channel string, changed func()) error {
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	changed()
	for {
		bounded, cancel := context.WithTimeout(ctx, silence)
		_, err := conn.WaitForNotification(bounded)
		quiet := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			changed()
		case !quiet:
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
