package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// engine executes the calls of a Store in the SQL of one dialect. Times are microseconds since
// 1970. Errors are those of the driver, except those that a method names.
type engine interface {
	// create adds a row. It returns ErrSessionExists or ErrSessionLimit. A limit of 0 is none.
	create(ctx context.Context, r newRow, limit int) error
	// advance makes a step, and returns the row without its Key. It returns ErrNoSession.
	advance(ctx context.Context, k rowKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error)
	// remove removes a row, if there is one.
	remove(ctx context.Context, k rowKey) error
	// list returns a page of the rows of an owner, in the order of the column session. Of each
	// Key, only the ID is set.
	list(ctx context.Context, owner, after []byte, limit int) ([]jwtauth.SessionRecord, error)

	// revoke adds a revocation, and reports whether that changed anything.
	revoke(ctx context.Context, r revocation) (changed bool, err error)
	// isAnyRevoked reports whether a revocation with one of the keys ends after now.
	isAnyRevoked(ctx context.Context, now int64, keys [][]byte) (bool, error)

	// isState reports whether a state from a cursor is one that the engine may have returned.
	isState(from state) bool
	// readFrom reads what may be missing to a reader that has read everything up to the state
	// from. If ok is false, the engine may have lost some of that, and the reader must read all.
	readFrom(ctx context.Context, from state, entry entryFunc) (now state, ok bool, err error)
	// readAll reads all revocations.
	readAll(ctx context.Context, entry entryFunc) (now state, err error)
	// makeEpoch makes an epoch, if there is none.
	makeEpoch(ctx context.Context) error

	// sweepSessions and sweepRevocations remove a batch of rows that have ended by the engine's
	// clock and by the caller's, and return how many rows they have removed.
	sweepSessions(ctx context.Context, callersNow int64) (n int64, err error)
	sweepRevocations(ctx context.Context, callersNow int64) (n int64, err error)

	// schema returns the statements for the table of the schema.
	schema() schemaStatements
	// beginMigration waits until no other process migrates, and lets others wait until
	// endMigration.
	beginMigration(ctx context.Context, conn *sql.Conn) error
	endMigration(ctx context.Context, conn *sql.Conn) error
	// checkSettings does what Check does, except for the tables.
	checkSettings(ctx context.Context) (warnings []string, err error)
	// alone calls f while no other caller in this process writes, if the engine needs that.
	alone(ctx context.Context, f func() error) error
	// retry calls f again while it fails because another process has locked the database.
	retry(ctx context.Context, f func() error) error
	// explain adds the cause to an error, if the error does not name the cause.
	explain(err error) error
}

// newEngine returns the engine of a dialect.
func newEngine(d Dialect, b base) engine {
	switch d {
	case Postgres:
		return newPostgres(b)
	case SQLite:
		return newSQLite(b)
	case MySQL:
		return newMySQL(b)
	}
	return nil
}

// entryFunc gets the entries of the log, as in [replica.Log].
type entryFunc func(id string, until time.Time)

// rowKey is the primary key of a session. See keyOf.
type rowKey struct{ owner, session []byte }

// newRow is a new row of the table of sessions.
type newRow struct {
	rowKey
	columns   []any // the values of all columns but advanced_by, in the order of insertText
	rotatedAt int64
}

// revocation is a new row of the table of revocations. See revocationKey for key and literal.
type revocation struct {
	key, literal []byte
	until        int64
}

// schemaStatements are statements for the table of the schema.
type schemaStatements struct {
	exists, create string
	version        string // returns the newest version
	withOldest     int    // the first version of the schema that has the column oldest_program
	oldest         string // returns the oldest version whose programs can use the tables
	begin, end     string // are executed before and after the statements of a migration
}
