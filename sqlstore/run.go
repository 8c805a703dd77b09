package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// lockWriter lets one caller at a time write to a SQLite file. SQLite allows one writer, and
// without this lock the other callers would have to poll.
func (s *Store) lockWriter(ctx context.Context) (unlock func(), err error) {
	if s.writer == nil {
		return func() {}, nil
	}
	select {
	case s.writer <- struct{}{}:
		return func() { <-s.writer }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// busyPause is how long a call waits before it tries a locked SQLite file again.
const busyPause = 2 * time.Millisecond

// retryWhileBusy calls f again until SQLite is not locked by another process, or the
// context ends. SQLite's own busy_timeout does not watch contexts. A statement that found
// the file locked has had no effect.
func (s *Store) retryWhileBusy(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || s.dialect != SQLite || !isBusy(err) {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// isBusy reports whether an error of SQLite means that another process has locked the
// file. If the error has no method Code, isBusy looks at its text.
func isBusy(err error) bool {
	const busy, locked = 5, 6 // SQLITE_BUSY and SQLITE_LOCKED; their extended result codes have the same low byte
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		primary := coded.Code() & 0xFF
		return primary == busy || primary == locked
	}
	return strings.Contains(err.Error(), "database is locked")
}

// exec runs a statement that writes, and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	unlock, err := s.lockWriter(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	err = s.retryWhileBusy(ctx, func() error {
		result, err := s.db.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// queryWriting is like query, for a statement that writes.
func (s *Store) queryWriting(ctx context.Context, text string, each func(scan func(...any) error) error, args ...any) error {
	unlock, err := s.lockWriter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return s.query(ctx, text, each, args...)
}

// change runs a statement that writes, and returns how many rows it changed. In PostgreSQL,
// text must be a result of counted.
func (s *Store) change(ctx context.Context, name, text string, args ...any) (n int64, err error) {
	if s.dialect == SQLite {
		return s.exec(ctx, text, args...)
	}
	err = s.query(ctx, text, func(scan func(...any) error) error { return s.scanAnswer(scan, name, &n) }, args...)
	return n, err
}

var (
	errNoRow = errors.New("the engine returned no row, and must return one")
	errMixed = errors.New("the engine executed another statement: does a pooler mix up prepared statements? Check tells")
)

// scanAnswer scans a row whose first column is the prefix of the tables and the name of the
// statement. If the column differs, the error is errMixed: a pooler that shares connections
// may execute the prepared statement of another client with the parameters of this one.
func (s *Store) scanAnswer(scan func(...any) error, name string, columns ...any) error {
	var executed string
	if err := scan(append([]any{&executed}, columns...)...); err != nil {
		return err
	}
	if executed != s.prefix+name {
		return errMixed
	}
	return nil
}

// query calls each for all rows that a statement returns. It returns errNoRow if there is
// no row. Each statement returns a row if it was executed, with two exceptions in SQLite:
// Advance returns none if there is no session, and Create none if the limit is reached.
func (s *Store) query(ctx context.Context, text string, each func(scan func(...any) error) error, args ...any) error {
	return s.retryWhileBusy(ctx, func() error { return queryOnce(ctx, s.db, text, each, args) })
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// queryOnce is query without repeating. It reads all rows to the end, because the engine may
// fail to commit a write after it has returned the rows.
func queryOnce(ctx context.Context, db querier, text string, each func(scan func(...any) error) error, args []any) error {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	answered := false
	for rows.Next() {
		answered = true
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	if !answered {
		return errNoRow
	}
	return nil
}
