package sqlstore

import (
	"context"
	"database/sql"
	"errors"
)

// base is what the engines have in common.
type base struct {
	db     *sql.DB
	prefix string // the beginning of all table names
}

var (
	errNoRow = errors.New("the engine returned no row, and must return one")
	errMixed = errors.New("the engine executed another statement: does a pooler mix up prepared statements? Check tells")
)

// scanAnswer scans a row whose first column is the prefix of the tables and the name of the
// statement. If the column differs, the error is errMixed: a pooler that shares connections
// may execute the prepared statement of another client with the parameters of this one.
func (b base) scanAnswer(scan scanFunc, name string, columns ...any) error {
	var executed string
	if err := scan(append([]any{&executed}, columns...)...); err != nil {
		return err
	}
	if executed != b.prefix+name {
		return errMixed
	}
	return nil
}

// scanFunc copies the columns of a row, as [sql.Rows.Scan] does.
type scanFunc func(columns ...any) error

// querier is a database, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// query calls each for all rows that a statement returns. It returns errNoRow if there is no
// row. It reads all rows to the end, because the engine may fail to commit a write after it
// has returned the rows.
func query(ctx context.Context, db querier, text string, each func(scan scanFunc) error, args ...any) error {
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

// execer is a database, a connection or a transaction.
type execer interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
}

// exec executes a statement that writes, and returns how many rows it changed.
func exec(ctx context.Context, db execer, text string, args ...any) (n int64, err error) {
	result, err := db.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
