package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// lockWriter lets one caller at a time write to a SQLite file. The engine allows
// no more, and makes the others poll for their turn.
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

// busyPause is how long a caller waits before it asks again for a SQLite file that
// another process holds.
const busyPause = 2 * time.Millisecond

// patiently asks until SQLite is not busy, or the context ends: busy_timeout, the
// engine's own patience, does not look at contexts. A statement that found the
// engine busy has done nothing.
func (s *Store) patiently(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || s.dialect != SQLite || !strings.Contains(err.Error(), "database is locked") {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// exec writes, and says how many rows were touched.
func (s *Store) exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	unlock, err := s.lockWriter(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	err = s.patiently(ctx, func() error {
		result, err := s.db.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// writeRows is rows for a statement that writes.
func (s *Store) writeRows(ctx context.Context, text string, each func(scan func(...any) error) error, args ...any) error {
	unlock, err := s.lockWriter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return s.rows(ctx, text, each, args...)
}

// rows reads all rows.
func (s *Store) rows(ctx context.Context, text string, each func(scan func(...any) error) error, args ...any) error {
	return s.patiently(ctx, func() error { return s.readAll(ctx, text, each, args) })
}

// readAll reads to the end: a statement has taken effect only when its last row has
// been read, as an engine may fail to commit after it has told the rows.
func (s *Store) readAll(ctx context.Context, text string, each func(scan func(...any) error) error, args []any) error {
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}
