package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// mixer is a driver that answers each statement with the answer to another one, as a pooler
// does that mixes up the prepared statements of two clients: with rows of the given values,
// and for Exec with the number of rows.
type mixer struct {
	rows []driver.Value // the values of one row; nil means no row
	told *bool          // whether the row of the current statement was returned
}

func (m mixer) Connect(context.Context) (driver.Conn, error) { return m, nil }
func (m mixer) Driver() driver.Driver                        { return nil }
func (m mixer) Prepare(string) (driver.Stmt, error)          { return m, nil }
func (mixer) Close() error                                   { return nil }
func (mixer) Begin() (driver.Tx, error)                      { return nil, io.EOF }
func (m mixer) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return m, nil
}
func (mixer) Commit() error                              { return nil }
func (mixer) Rollback() error                            { return nil }
func (mixer) NumInput() int                              { return -1 }
func (mixer) Exec([]driver.Value) (driver.Result, error) { return driver.RowsAffected(1), nil }
func (m mixer) Columns() []string                        { return make([]string, len(m.rows)) }

func (m mixer) Query([]driver.Value) (driver.Rows, error) {
	*m.told = false
	return m, nil
}

func (m mixer) Next(values []driver.Value) error {
	if m.rows == nil || *m.told {
		return io.EOF
	}
	*m.told = true
	copy(values, m.rows)
	return nil
}

// answersOfOthers are the values with which mixer fills a row. Most of them fit most
// columns.
var answersOfOthers = map[string]driver.Value{"NULL": nil, "0": int64(0), "1": int64(1), "t": "t", "bytes": []byte("1"), "false": false}

func TestAnAnswerToAnotherStatementIsAnError(t *testing.T) {
	mixers := map[string]mixer{"no row": {}}
	for name, value := range answersOfOthers {
		for n := range 10 {
			row := make([]driver.Value, n+1)
			for i := range row {
				row[i] = value
			}
			mixers[fmt.Sprintf("%d of %s", n+1, name)] = mixer{rows: row}
		}
	}
	for name, m := range mixers {
		m.told = new(bool)
		db := sql.OpenDB(m)
		db.SetMaxOpenConns(1)
		s, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
		require.NoError(t, err)
		for method, call := range calls(s, record("alice", "one")) {
			if method == "Sweep" { // what it removes or not is garbage
				continue
			}
			err := call(t.Context())
			require.Error(t, err, "%s, answered with %s", method, name)
			require.NotErrorIs(t, err, jwtauth.ErrNoSession, "%s, answered with %s", method, name)
		}
		require.NoError(t, db.Close())
	}
}

// A driver of SQLite that loses the rows is a driver with a fault, but no reader believes it.
func TestARowThatIsMissingIsNoAnswer(t *testing.T) {
	db := sql.OpenDB(mixer{told: new(bool)})
	defer db.Close()
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.SQLite})
	require.NoError(t, err)
	for _, method := range []string{"List", "IsRevoked", "Since", "Check", "Migrate"} {
		err := calls(s, record("alice", "one"))[method](t.Context())
		require.ErrorContains(t, err, "no row", method)
	}
}

// coded is an error of a driver that has the code of SQLite.
type coded int

func (c coded) Error() string { return "some text" }
func (c coded) Code() int     { return int(c) }

func TestALockedFileIsKnownByTheCodeOfSQLite(t *testing.T) {
	for code, want := range map[int]bool{5: true, 6: true, 5 | 1<<8: true, 5 | 2<<8: true, 6 | 1<<8: true, 1: false, 10: false, 19 | 5<<8: false} {
		require.Equal(t, want, sqlstore.IsBusy(fmt.Errorf("sqlstore: %w", coded(code))), code)
	}
	require.True(t, sqlstore.IsBusy(errors.New("database is locked")), "a driver without codes")
	require.False(t, sqlstore.IsBusy(errors.New("disk full")))
}
