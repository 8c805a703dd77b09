// Package sqlstore keeps the sessions and revocations of jwtauth in a SQL database. Many
// machines can share PostgreSQL (13 or later), MariaDB (10.6 or later) or MySQL (8.0 or later).
// SQLite (3.38 or later) is for one machine, whose restart the file survives. The package takes
// a [database/sql.DB] and imports no driver. It is tested with github.com/jackc/pgx/v5/stdlib,
// modernc.org/sqlite and github.com/go-sql-driver/mysql. The tests run with PostgreSQL 15 and
// MariaDB 10.11. MySQL itself, Galera and Group Replication have not been tested. What this page
// says of MariaDB is meant for MySQL, too.
//
//	// postgres://auth@db1,db2/app?target_session_attrs=read-write&connect_timeout=1
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
//	err = store.Migrate(ctx)          // or once, by hand, before the programs start
//	warnings, err := store.Check(ctx) // log the warnings; do not start if there is an error
//
// For MariaDB, with the driver "mysql" and [MySQL] as the dialect:
//
//	auth@tcp(db1)/app?interpolateParams=true&timeout=1s
//
// # What it promises
//
// Each change is one statement or one transaction, so it has happened completely or not at all.
// PostgreSQL and SQLite need one statement for most calls. An Advance that makes no step needs a
// second one, which decides alone. Create with a limit is a transaction of two statements in
// PostgreSQL: the first one locks the subject, so that concurrent logins do not exceed the limit
// together. In MariaDB, most calls are transactions of up to four statements. A transaction that
// loses a deadlock is repeated. If a call returns nil, every call that begins later sees the
// change, from any machine. A session is one row, however often it is refreshed. If several
// callers race to advance a session, exactly one of them advances it. Bytes are stored as they
// are, including quotes and NUL. Text that is not valid UTF-8 is refused. No row contains a token,
// or anything that a token could be made of.
//
// No call takes longer because a subject has many live sessions. List reads a page by the
// primary key. The pages are in the order of a hash of the ids. Create with a limit reads
// the rows of the subject until it has found as many live rows as the limit says. It also
// reads the expired rows that no sweep has removed yet. If a subject has a million of those,
// a login takes seconds, so run [Store.Sweep] on a schedule before you set a limit.
//
// # Clocks
//
// RotatedAt and Age of a session that was refreshed come from the clock of the engine, in
// microseconds, or in milliseconds for SQLite. The time zone of the engine has no influence.
// Advance reads that clock after it has waited for the row. RotatedAt of a session that was not
// refreshed comes from the caller of Create. If another server takes over, Age is the
// difference between the clocks of two servers, so synchronize them (NTP).
//
// A row is removed only if it expired at least 5 minutes ago by two clocks: the engine's,
// and that of the caller that removes it. Until then, the clock of the caller that reads the
// row decides whether the row has expired. If one clock is ahead for a moment, nothing is
// lost. SQLite uses the clock of the machine: if that clock is ahead while rows are removed,
// some of them are removed too early.
//
// # When the engine fails
//
// If the engine does not answer, a method returns an error, and jwtauth answers 503. The
// change may have happened or not; repeating the call is safe. A context also ends the wait
// for a connection.
//
// The engine must not lose writes that it has confirmed. If it loses a session, the user has
// to log in again. If it loses an Advance, the next refresh makes up for it. But if it loses
// a Delete, a session that was ended can be refreshed again. And if it loses a revocation,
// an access token is accepted again until it expires. Neither happens while a
// [replica.Replica] remembers the revocation. Therefore:
//
//   - PostgreSQL: with synchronous_commit = off, a crash loses the last moment before it.
//     Check refuses that. If a standby may take over, only synchronous replication
//     (synchronous_standby_names) loses nothing. A primary that has lost its synchronous
//     standby confirms no write. Advance then does not return ErrNoSession, Create with a
//     limit does not return ErrSessionLimit, and List does not return the last page. They
//     wait until their context ends. To make them wait, the statement commits an empty write
//     before it gives one of these answers. But IsRevoked and Since still return the rows
//     that this primary has. So stop the old primary before a standby takes over (fencing).
//   - PostgreSQL: connect to the primary (target_session_attrs=read-write). A standby may
//     lag behind, so the methods refuse it. Set connect_timeout=1 in the data source name: a
//     driver tries several hosts in order, and waiting for a host that is down must not use
//     up IssuerOptions.StoreTimeout (2s).
//   - PostgreSQL: the isolation level must be READ COMMITTED, the default. Under a stricter
//     level, concurrent calls fail instead of waiting for each other, but no answer is
//     wrong. Check refuses stricter levels.
//   - PostgreSQL and MariaDB: after each restart or failover, Since reports a reset, and a
//     replica sends its own revocations again. Since continues from the cursor if the server
//     still has the newest row of the last reading, because a server that loses transactions
//     loses the last ones. Otherwise Since lists all revocations. In PostgreSQL, it also lists
//     all if a sweep has removed that row. In SQLite, a restart is no reset.
//   - MariaDB: with innodb_flush_log_at_trx_commit = 0, a crash loses the last moment before it.
//     Check refuses that. If the machine fails, only 1 loses nothing, and only with
//     sync_binlog = 1 if there is a binary log. Check warns of other values. If a replica may
//     take over, only semi-synchronous replication loses nothing. Set
//     rpl_semi_sync_master_timeout so high that the primary never stops waiting, and
//     rpl_semi_sync_master_wait_point to AFTER_SYNC (MySQL: rpl_semi_sync_source). A primary that has lost its replicas then
//     confirms no write, and gives none of the answers that PostgreSQL does not give without
//     its synchronous standby. But IsRevoked and Since still return the rows that this primary
//     has. So stop the old primary before a replica takes over, or make it read-only.
//   - MariaDB: connect to the primary. A proxy must not send reads to replicas. A server with
//     read_only = 1 is refused, so set that on replicas. The user must not have the right to
//     write to such a server (SUPER, READ_ONLY ADMIN, CONNECTION_ADMIN); Check warns of that.
//     After an answer of a server that is read-only, the connection is closed, so that the next
//     call connects again. Set timeout=1s in the data source name.
//   - MariaDB: binlog_format must be ROW or MIXED, sql_mode must be strict, autocommit must be
//     on, and the isolation level must be READ COMMITTED or stricter. Check refuses other
//     settings.
//   - SQLite: set _pragma=journal_mode(wal) in the data source name, so that readers do not
//     wait for writers. If another process has locked the file, a call waits until its
//     context ends. _pragma=busy_timeout may prolong a call beyond that, so keep it at 100
//     ms or below.
//   - SQLite: with _pragma=synchronous(full), the default of the engine, a power failure
//     loses nothing. With normal, a power failure loses the last moment, but killing the
//     process loses nothing. Check warns of normal and refuses off.
//   - SQLite: the file must be on a local disk, not on a network.
//   - Restoring a backup brings ended sessions back and forgets revocations. Before the
//     service opens again, delete all rows of the table of sessions, which logs everyone
//     out. Also wait until the longest access token has expired, or change the keys. Restart
//     programs that had a SQLite file open.
//
// # The pool
//
// A sql.DB opens any number of connections and keeps two of them idle. Set SetMaxOpenConns
// to this process's share of max_connections, and SetMaxIdleConns to the same number.
// Package pgxwatch uses one connection all the time.
//
// With go-sql-driver/mysql, set interpolateParams=true in the data source name. Otherwise the
// driver prepares each statement for one execution, which takes another round trip. MariaDB
// commits revocations one at a time, so it can commit about as many in a second as the disk can
// flush. PostgreSQL commits them together.
//
// # Behind a pooler
//
// Through PgBouncer in session mode, everything works, including pgxwatch. In transaction
// mode, PgBouncer may send each statement to another server connection. pgx prepares
// statements by default, and a prepared statement exists in one server connection only: calls
// fail as soon as there is a second connection. Add default_query_exec_mode=cache_describe to
// the data source name (exec and simple_protocol work, too). cache_statement, the default,
// and describe_exec do not work. [Store.Check] returns an error for them, unless the pooler
// handles prepared statements itself. A pooler in transaction mode does not forward
// notifications. So give pgxwatch a sql.DB with a direct connection, or use no pgxwatch, and
// the replica polls. In statement mode, Migrate and Create with a limit return errors,
// because PgBouncer then refuses transactions.
//
// # Rights
//
// In PostgreSQL, a service needs SELECT, INSERT, UPDATE and DELETE on the tables. It also
// needs the right to call pg_logical_emit_message and pg_advisory_xact_lock, which every
// user has by default. Migrate needs the right to make tables, and must own the tables that
// it changes. A service that only verifies, with a replica, needs SELECT on the tables of
// revocations and of the schema, and SELECT and INSERT on the table whose name ends with
// epoch: the first reader after a crash writes a new epoch there.
//
// In MariaDB, a service needs SELECT, INSERT, UPDATE and DELETE on the tables. Migrate needs
// CREATE, too. A service that only verifies, with a replica, needs SELECT on the tables of
// revocations, of the log and of the schema.
//
// # Upgrades
//
// Old and new programs may share the tables during an upgrade. Migrate adds to the tables
// what the new programs need, and programs that are running go on. In PostgreSQL, Migrate
// locks the tables of sessions and revocations for a moment, after it has waited for open
// transactions that use them. Other calls wait behind Migrate, so let no transaction on these
// tables stay open. In MariaDB, a migration is not one transaction. If it fails halfway, Check
// returns [ErrSchema], and the next Migrate continues.
//
// The table of the schema records the oldest version of the schema whose programs can use the
// tables. A program of that version or a later one can start even after a newer program has
// migrated. So it may restart during the upgrade, and the upgrade may be rolled back. A program
// of version 2 or older does not know that. It goes on if it is running, but Check and Migrate
// return [ErrSchema] if it starts after version 3 has been made.
//
// # Space
//
// Some writes also remove a few expired rows, so that the tables stay about as large as
// their live rows. [Store.Sweep] removes all expired rows, and may run on a schedule. In MariaDB,
// a revocation that gets a later end is another row.
package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/replica"
)

// Options configures a [Store]. Dialect has no default.
type Options struct {
	// Dialect is the SQL dialect of the database.
	Dialect Dialect
	// Prefix is the beginning of all table names. Default "jwtauth_". At most 30 lower-case
	// letters, digits and underscores. search_path decides which schema of PostgreSQL has
	// the tables.
	Prefix string
	// Now is the clock by which revocations end, and one of the two clocks by which rows are
	// removed. Default time.Now.
	Now func() time.Time
}

// Store is a [jwtauth.SessionStore], a [jwtauth.RevocationStore] and a [replica.Log]. It is
// safe for concurrent use and starts no goroutine. [New] and [FromEnv] make one; the zero
// value cannot be used.
type Store struct {
	base
	engine  engine
	owned   *sql.DB  // the database, if FromEnv opened it; else nil
	steps   []string // the migrations; the first one leads to version 1
	now     func() time.Time
	creates atomic.Uint64 // calls of Create that wrote a row
	revokes atomic.Uint64 // calls of Revoke that wrote a row
}

var (
	_ jwtauth.SessionStore = (*Store)(nil)
	_ replica.Log          = (*Store)(nil)
)

var validPrefix = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,29}$`)

// New makes a Store in a database. It sends nothing to the database: [Store.Migrate] makes
// the tables, and [Store.Check] checks the settings. The caller closes db after the last use
// of the Store.
func New(db *sql.DB, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "jwtauth_"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: New needs a database")
	case o.Dialect < Postgres || o.Dialect > MySQL:
		return nil, errors.New("sqlstore: Options.Dialect must be Postgres, SQLite or MySQL")
	case !validPrefix.MatchString(o.Prefix):
		return nil, fmt.Errorf("sqlstore: Options.Prefix is %q, at most 30 lower-case letters, digits and underscores are expected", o.Prefix)
	}
	b := base{db, o.Prefix}
	return &Store{base: b, engine: newEngine(o.Dialect, b), steps: readSteps(o.Dialect, o.Prefix), now: o.Now}, nil
}

// failed returns the error of a step that failed.
func failed(step string, err error) error { return fmt.Errorf("sqlstore: %s: %w", step, err) }
