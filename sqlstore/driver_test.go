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

	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// mute is a driver that answers every statement with no row and no error.
type mute struct{}

func (m mute) Connect(context.Context) (driver.Conn, error) { return m, nil }
func (m mute) Driver() driver.Driver                        { return nil }
func (m mute) Prepare(string) (driver.Stmt, error)          { return m, nil }
func (mute) Close() error                                   { return nil }
func (mute) Begin() (driver.Tx, error)                      { return nil, io.EOF }
func (mute) NumInput() int                                  { return -1 }
func (mute) Exec([]driver.Value) (driver.Result, error)     { return driver.RowsAffected(0), nil }
func (m mute) Query([]driver.Value) (driver.Rows, error)    { return m, nil }
func (mute) Columns() []string                              { return []string{"standby", "revoked"} }
func (mute) Next([]driver.Value) error                      { return io.EOF }

// A proxy that mixes up the answers of two clients leaves a statement without its row.
func TestARowThatIsMissingIsNoAnswer(t *testing.T) {
	db := sql.OpenDB(mute{})
	defer db.Close()
	for _, dialect := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.SQLite} {
		s, err := sqlstore.New(db, sqlstore.Options{Dialect: dialect})
		require.NoError(t, err)
		isRevoked, err := s.IsRevoked(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA")
		require.ErrorContains(t, err, "no row")
		require.False(t, isRevoked)
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
