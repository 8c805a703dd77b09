// Package sqlstore keeps the sessions and revocations of jwtauth in PostgreSQL
// (13 or later), where many machines share them, or in SQLite (3.38 or later),
// where those of one machine survive a restart. It takes a [database/sql.DB] and
// imports no driver; it is tested with github.com/jackc/pgx/v5/stdlib and
// modernc.org/sqlite.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
//	err = store.Migrate(ctx) // or once, by hand, before the programs start
//	err = store.Check(ctx)   // is this an engine that the promises hold on?
//
// # What it promises
//
// Each change is one statement: it has happened or it has not, and a call that
// returned nil is seen by every call that begins later, from any machine. A session
// is one row however often it is refreshed. Of callers that race to advance a
// session exactly one is told that it advanced. A row is removed at the earliest 5
// minutes after it expired by the clock of the engine; until then the caller's
// clock decides. Bytes are stored as they are, also quotes and NUL; text that is
// not UTF-8 is refused. There is no token in a row, and nothing that a token could
// be made of.
//
// # When the engine fails
//
// A method that gets no answer returns an error that jwtauth answers with 503.
// What the method was to do may be done or not; all of it may be asked again. A
// context ends the wait for a connection as well as that for an answer.
//
// An engine that is back with less than it acknowledged is what to prevent. A lost
// session is a login more, and a lost advance is made up for when the session is
// refreshed next. But where a Delete is lost, a session that was ended can be
// refreshed again, and where a revocation is lost, an access token is good again
// until it expires; neither while a Replica remembers the revocation. So take care
// of these:
//
//   - PostgreSQL: synchronous_commit = off loses what was acknowledged in the last
//     moment before a crash, and Check refuses it. Where a replica may take over,
//     only synchronous replication (synchronous_standby_names) keeps it all.
//   - PostgreSQL: connect to the primary (target_session_attrs=read-write). A
//     replica answers late; the methods refuse one.
//   - PostgreSQL: the isolation level is READ COMMITTED, the default. Under a
//     stricter one, calls that race fail where they would have waited; no answer
//     is wrong. Check refuses it.
//   - SQLite: set _pragma=journal_mode(wal) in the name of the data source, so that
//     readers don't wait. A file that another process holds is waited for until the
//     context ends; by _pragma=busy_timeout a call may last longer than that, so keep
//     it at 100 ms or below.
//   - SQLite: with _pragma=synchronous(full), the default of the engine, nothing is
//     lost when the power fails; normal loses the last moment then, and nothing when
//     the process is killed. Check refuses off.
//   - SQLite: the file belongs on a disk of this machine, not on a network.
//   - A backup that is restored brings ended sessions back, and forgets
//     revocations: end all sessions by TRUNCATE of the table of sessions (nobody
//     who has logged out is logged in again then), and let the longest access token
//     expire, or change the keys, before the service opens. Restart programs that
//     had a SQLite file open.
//
// # The pool
//
// A sql.DB opens as many connections as it is asked for and keeps two: set
// SetMaxOpenConns to this process's part of max_connections, and SetMaxIdleConns to
// the same. Package pgxwatch keeps one of them for good.
//
// # Rights
//
// In PostgreSQL, a service needs SELECT, INSERT, UPDATE and DELETE on the tables,
// and Migrate the right to make them. One that only verifies, with a Replica, needs
// SELECT on the tables of revocations and of the schema, and SELECT and INSERT on
// the one named life: whoever reads first after a crash begins a new epoch there.
//
// # Room
//
// Writes remove a few expired rows now and then, so that the tables stay about as
// large as what lives in them. [Store.Sweep] removes all of them, for a schedule.
package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// Options configures a [Store]. Dialect has no default.
type Options struct {
	// Dialect is what the database speaks.
	Dialect Dialect
	// Prefix is how the names of the tables begin: "jwtauth_". It has lower-case
	// letters, digits and underscores, at most 30. In which schema of PostgreSQL
	// they are is up to search_path.
	Prefix string
	// Now is the clock that decides which revocations are over: time.Now.
	Now func() time.Time
}

// Store is a [jwtauth.SessionStore], a [jwtauth.RevocationStore] and a
// [jwtauth.RevocationLog]. It is safe for concurrent use and starts no goroutine.
// The zero value is of no use; see [New].
type Store struct {
	db      *sql.DB
	dialect Dialect
	prefix  string
	text    statements
	now     func() time.Time
	bell    bell
	writer  chan struct{} // holds a place for the one that writes to SQLite
	creates atomic.Uint64
	revokes atomic.Uint64
}

var (
	_ jwtauth.SessionStore  = (*Store)(nil)
	_ jwtauth.RevocationLog = (*Store)(nil)
)

var validPrefix = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,29}$`)

// New makes a store of a database. It does not talk to it; [Store.Migrate] makes
// the tables, and [Store.Check] finds out whether all is as it must be. Closing db
// is up to the caller.
func New(db *sql.DB, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "jwtauth_"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: no database")
	case o.Dialect != Postgres && o.Dialect != SQLite:
		return nil, errors.New("sqlstore: Options.Dialect must be Postgres or SQLite")
	case !validPrefix.MatchString(o.Prefix):
		return nil, fmt.Errorf("sqlstore: Options.Prefix is %q, it must have lower-case letters, digits and underscores, at most 30", o.Prefix)
	}
	s := &Store{db: db, dialect: o.Dialect, prefix: o.Prefix, now: o.Now}
	s.text = s.statements()
	if o.Dialect == SQLite {
		s.writer = make(chan struct{}, 1)
	}
	return s, nil
}

// failed says which step gave no answer.
func failed(step string, err error) error { return fmt.Errorf("sqlstore: %s: %w", step, err) }
