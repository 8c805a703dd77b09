package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// ownMariaDB starts a MariaDB that a test may configure, and returns a database on it, and the
// same database as the user root sees it.
func ownMariaDB(t testing.TB, settings ...string) (server *engines.Server, e, root database) {
	t.Helper()
	server = engines.MariaDB(t, settings...)
	root = mariadbAt(strings.Replace(server.URL(), "jwtauth@", "root@", 1))
	execute(t, root.open(t), "CREATE DATABASE auth")
	root.source += "auth"
	return server, mariadbAt(server.URL() + "auth"), root
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

// A server that is read-only may be a replica, or a primary whose replica has taken over.
func TestAMariaDBThatIsReadOnlyGivesNoAnswer(t *testing.T) {
	_, e, root := ownMariaDB(t)
	s := e.store(t)
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	_, cursor, _ := since(t, s, "")
	execute(t, root.open(t), "SET GLOBAL read_only = 1")
	for user, s := range map[string]*sqlstore.Store{"a service": s, "root": root.newStore(t, root.open(t))} {
		for name, call := range calls(s, r) {
			if user == "root" && slices.Contains([]string{"Create", "Advance", "Delete", "Sweep"}, name) {
				continue // a user with all rights writes to the server
			}
			if name == "Migrate" {
				continue // there is nothing to do
			}
			err := call(t.Context())
			require.ErrorContains(t, err, "read-only", "%s, %s", user, name)
			require.NotErrorIs(t, err, jwtauth.ErrSessionLimit)
		}
		rotation := jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt}
		_, _, err := s.Advance(t.Context(), keyOf("alice", "never heard of"), rotation)
		require.ErrorContains(t, err, "read-only")
		require.NotErrorIs(t, err, jwtauth.ErrNoSession)
		for _, limit := range []int{1, 1000} {
			_, err = s.List(t.Context(), r.Key.Issuer, "alice", "", limit)
			require.ErrorContains(t, err, "read-only")
		}
		require.ErrorContains(t, s.Create(t.Context(), record("alice", "two"), 1), "read-only")
		require.ErrorContains(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt), "read-only")
		_, _, err = s.Since(t.Context(), cursor, heard{}.entry)
		require.ErrorContains(t, err, "read-only")
	}
	execute(t, root.open(t), "SET GLOBAL read_only = 0")
	for name, call := range calls(s, r) {
		require.NoError(t, call(t.Context()), name)
	}
}

// A name may lead to another server after a failover, and a pool must find it.
func TestAConnectionToAMariaDBThatIsReadOnlyIsClosed(t *testing.T) {
	_, e, root := ownMariaDB(t)
	db := e.open(t)
	db.SetMaxOpenConns(1)
	s := e.newStore(t, db)
	require.NoError(t, s.Migrate(t.Context()))
	connection := func() (id int64) {
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
		return id
	}
	first := connection()
	_, err := s.IsRevoked(t.Context(), tokenID(1))
	require.NoError(t, err)
	require.Equal(t, first, connection())
	execute(t, root.open(t), "SET GLOBAL read_only = 1")
	for _, call := range []func() error{
		func() error { _, err := s.IsRevoked(t.Context(), tokenID(1)); return err },
		func() error { return s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)) },
		func() error { return s.Create(t.Context(), record("alice", "one"), 0) },
	} {
		require.ErrorContains(t, call(), "read-only")
		next := connection()
		require.NotEqual(t, first, next)
		first = next
	}
}

// A primary whose replica is gone may have been replaced by that replica. What it does not know
// proves nothing.
func TestAMariaDBWithoutItsSemiSynchronousReplicaNeverSaysThatASessionIsMissing(t *testing.T) {
	_, e, root := ownMariaDB(t, "--log-bin", "--sync-binlog=1", "--rpl-semi-sync-master-timeout=3600000", "--rpl-semi-sync-master-wait-point=AFTER_SYNC")
	s := e.store(t)
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	execute(t, root.open(t), "SET GLOBAL rpl_semi_sync_master_enabled = 1")
	within := func(call func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return call(ctx)
	}
	require.ErrorIs(t, within(func(ctx context.Context) error { return s.Create(ctx, record("carol", "one"), 0) }), context.DeadlineExceeded, "the server does not wait for a replica, the test proves nothing")

	err := within(func(ctx context.Context) error {
		_, _, err := s.Advance(ctx, keyOf("alice", "never heard of"), jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, jwtauth.ErrNoSession)
	for _, look := range []jwtauth.Rotation{{}, {From: r.Generation - 1, Parent: r.Generation - 1}} { // of Issuer.Session, and of a replay
		err = within(func(ctx context.Context) error {
			look.At, look.ExpiresAt = r.RotatedAt, r.ExpiresAt
			_, _, err := s.Advance(ctx, r.Key, look)
			return err
		})
		require.ErrorIs(t, err, context.DeadlineExceeded, "another primary may have made a step")
	}
	for subject, limit := range map[string]int{"bob": 1000, "alice": 2} {
		err := within(func(ctx context.Context) error {
			_, err := s.List(ctx, r.Key.Issuer, subject, "", limit)
			return err
		})
		require.ErrorIs(t, err, context.DeadlineExceeded, "a page that is not full lacks the sessions of another primary")
	}
	rows, err := s.List(t.Context(), r.Key.Issuer, "alice", "", 1)
	require.NoError(t, err, "a full page does not say that there are no more")
	require.Len(t, rows, 1)
	err = within(func(ctx context.Context) error { return s.Create(ctx, record("alice", "two"), 1) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, jwtauth.ErrSessionLimit)
	end := now().Add(time.Hour)
	for range 2 { // the row of the first call is there, but no replica has it
		err = within(func(ctx context.Context) error { return s.Revoke(ctx, tokenID(1), end) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

func TestCheckOfMariaDB(t *testing.T) {
	_, e, root := ownMariaDB(t, "--log-bin", "--sync-binlog=1")
	e.store(t)
	admin := root.open(t)
	for setting, c := range map[string]struct{ value, normal, refused, warned string }{
		"read_only":                      {"1", "0", "read-only", ""},
		"autocommit":                     {"0", "1", "autocommit", ""},
		"sql_mode":                       {"'NO_ENGINE_SUBSTITUTION'", "'STRICT_TRANS_TABLES'", "STRICT_TRANS_TABLES", ""},
		"tx_isolation":                   {"'READ-UNCOMMITTED'", "'REPEATABLE-READ'", "READ UNCOMMITTED", ""},
		"binlog_format":                  {"'STATEMENT'", "'MIXED'", "binlog_format", ""},
		"innodb_flush_log_at_trx_commit": {"0", "2", "innodb_flush_log_at_trx_commit", "innodb_flush_log_at_trx_commit is 2"},
		"sync_binlog":                    {"1", "0", "", "sync_binlog is 0"},
	} {
		t.Run(setting, func(t *testing.T) {
			execute(t, admin, "SET GLOBAL "+setting+" = "+c.value)
			_, err := e.newStore(t, e.open(t)).Check(t.Context())
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				require.NotErrorIs(t, err, sqlstore.ErrSchema)
			} else {
				require.NoError(t, err)
			}
			execute(t, admin, "SET GLOBAL "+setting+" = "+c.normal)
			warnings, err := e.newStore(t, e.open(t)).Check(t.Context())
			require.NoError(t, err)
			if c.warned == "" {
				require.Empty(t, warnings)
			} else {
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], c.warned)
				execute(t, admin, "SET GLOBAL "+setting+" = 1")
			}
		})
	}
	t.Run("a user who may write to a server that is read-only", func(t *testing.T) {
		warnings, err := root.newStore(t, admin).Check(t.Context())
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], "READ_ONLY ADMIN")
	})
	t.Run("a table of another storage engine", func(t *testing.T) {
		execute(t, admin, "ALTER TABLE jwtauth_slots ENGINE = Aria")
		require.ErrorContains(t, errorOfCheck(t, e.newStore(t, e.open(t))), "InnoDB")
	})
}

func TestOnlyVersionsWithSkipLockedAreSupported(t *testing.T) {
	for version, want := range map[string]bool{
		"10.11.19-MariaDB-0+deb12u1": true, "10.6.0-MariaDB": true, "11.4.2-MariaDB-log": true, "10.5.28-MariaDB": false, "5.5.68-MariaDB": false,
		"8.0.36": true, "8.4.3-google": true, "9.1.0": true, "5.7.44-log": false, "": false, "MariaDB": false,
	} {
		require.Equal(t, want, sqlstore.IsSupportedMySQL(version), version)
	}
}

func TestAMariaDBServiceNeedsNoRightsButOnTheRows(t *testing.T) {
	_, e, root := ownMariaDB(t)
	e.store(t)
	execute(t, root.open(t), "CREATE USER service", "GRANT SELECT, INSERT, UPDATE, DELETE ON auth.* TO service",
		"CREATE USER verifier", "GRANT SELECT ON auth.jwtauth_revocations TO verifier", "GRANT SELECT ON auth.jwtauth_log TO verifier", "GRANT SELECT ON auth.jwtauth_schema TO verifier")
	as := func(user string) *sqlstore.Store {
		e := mariadbAt(strings.Replace(e.source, "jwtauth@", user+"@", 1))
		return e.newStore(t, e.open(t))
	}
	s := as("service")
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, errorOfCheck(t, s))
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	require.ErrorIs(t, s.Create(t.Context(), record("alice", "two"), 1), jwtauth.ErrSessionLimit)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	_, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Empty(t, idsOf(t, s, "bob"))

	s = as("verifier")
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, errorOfCheck(t, s))
	entries, cursor, _ := since(t, s, "")
	require.Len(t, entries, 1)
	_, _, reset := since(t, s, cursor)
	require.False(t, reset)
	revoked, err := s.IsRevoked(t.Context(), tokenID(1))
	require.NoError(t, err)
	require.True(t, revoked)
	require.Error(t, s.Revoke(t.Context(), tokenID(2), r.ExpiresAt))
}

// The last wait of each call is for a lock that somebody else holds longer than
// innodb_lock_wait_timeout.
func TestAWaitThatIsTooLongForTheServerGoesOn(t *testing.T) {
	e := mariadb(t)
	e.store(t)
	s := e.newStore(t, e.setting("innodb_lock_wait_timeout", "1").open(t))
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	release := hold(t, e, "SELECT 1 FROM jwtauth_sessions FOR UPDATE", "SELECT 1 FROM jwtauth_log FOR UPDATE")
	time.AfterFunc(1500*time.Millisecond, release)
	var all sync.WaitGroup
	all.Go(func() {
		row, _, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		if err != nil || row.Generation != 2 {
			t.Errorf("Advance: %+v, %v", row, err)
		}
	})
	all.Go(func() {
		if err := s.Revoke(t.Context(), tokenID(1), r.ExpiresAt); err != nil {
			t.Errorf("Revoke: %v", err)
		}
	})
	all.Wait()
	revoked, err := s.IsRevoked(t.Context(), tokenID(1))
	require.NoError(t, err)
	require.True(t, revoked)
}

// Create with a limit locks its slot and then waits for the row. The other transaction has the
// row and waits for the slot. InnoDB ends the transaction that has changed fewer rows.
func TestACallThatLosesADeadlockIsRepeated(t *testing.T) {
	e := mariadb(t)
	s := e.store(t)
	var creating atomic.Int64
	tx, err := e.open(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	owner, session := sqlstore.Digest("https://issuer.test", "alice"), sqlstore.Digest("one")
	for i := range 50 {
		_, err = tx.ExecContext(t.Context(), "INSERT INTO jwtauth_revocations (seq, until, id_key, previous) VALUES (?, 0, '', '')", -1-i)
		require.NoError(t, err)
	}
	_, err = tx.ExecContext(t.Context(), `INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, data, details)
		VALUES (?, ?, '', '', '', 1, 0, 0, 0, 0, 0, 0, 0, '', '')`, owner, session)
	require.NoError(t, err)
	done := make(chan error, 1)
	creating.Add(1)
	go func() { done <- s.Create(t.Context(), record("alice", "one"), 5) }()
	requireWaiting(t, e, 1)
	_, err = tx.ExecContext(t.Context(), "UPDATE jwtauth_slots SET n = n + 1 WHERE slot = ?", int64(owner[0]))
	require.NoError(t, err, "the test was the one that lost")
	require.Empty(t, done)
	require.NoError(t, tx.Rollback())
	require.NoError(t, <-done)
	require.Equal(t, []string{"one"}, idsOf(t, s, "alice"))
}

// transactionsTick is how often a test may ask for the open transactions. The server refreshes
// innodb_trx only if nobody has read it for 100 ms.
const transactionsTick = 250 * time.Millisecond

// requireWaiting waits until so many transactions wait for a lock.
func requireWaiting(t *testing.T, e database, want int) {
	t.Helper()
	db := e.open(t)
	require.Eventually(t, func() bool {
		var waiting int
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%jwtauth_%'").Scan(&waiting)
		return err == nil && waiting == want
	}, 10*time.Second, transactionsTick)
}

func TestWhichErrorsOfMySQLAreRepeated(t *testing.T) {
	for text, want := range map[string]bool{
		"Error 1213 (40001): Deadlock found when trying to get lock; try restarting transaction": true,
		"Error 1205 (HY000): Lock wait timeout exceeded; try restarting transaction":             true,
		"ERROR 1213 (40001): Deadlock":                               true,
		"Error 1062 (23000): Duplicate entry '1213' for key":         false,
		"Error 2013: Lost connection to server during query":         false,
		"Error 12130: there is no such error":                        false,
		"driver: bad connection":                                     false,
		"Error 1290 (HY000): running with the --read-only option":    false,
		"sqlstore: this server is read-only: connect to the primary": false,
	} {
		require.Equal(t, want, sqlstore.IsConflict(fmt.Errorf("sqlstore: %w", errors.New(text))), text)
	}
}

// The subjects are in different slots.
func TestMariaDBLoginsOfOneSubjectDoNotWaitForThoseOfAnother(t *testing.T) {
	e := mariadb(t)
	s := e.store(t)
	slot := func(subject string) byte { return sqlstore.Digest("https://issuer.test", subject)[0] }
	require.NotEqual(t, slot("alice"), slot("bob"))
	release := hold(t, e, fmt.Sprintf("UPDATE jwtauth_slots SET n = n + 1 WHERE slot = %d", slot("alice")))
	require.NoError(t, s.Create(t.Context(), record("bob", "one"), 1))
	require.NoError(t, s.Create(t.Context(), record("alice", "one"), 0), "without a limit")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Create(ctx, record("alice", "two"), 2), context.DeadlineExceeded)
	release()
	require.NoError(t, s.Create(t.Context(), record("alice", "two"), 2))
}

func TestAMariaDBLoginWhoseContextEndsLeavesNoTransactionOpen(t *testing.T) {
	e := mariadb(t)
	e.store(t)
	s := e.newStore(t, e.open(t))
	var ended, created atomic.Int64
	var all sync.WaitGroup
	most := time.Now().Add(20 * time.Second)
	for i := range 4 {
		all.Go(func() {
			for n := 0; n < 60 || (created.Load() == 0 || ended.Load() == 0) && time.Now().Before(most); n++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond<<rand.IntN(18)) // up to 131 ms
				err := s.Create(ctx, record(fmt.Sprint("subject ", n%60), fmt.Sprint(i, " ", n)), 2)
				cancel()
				switch {
				case err == nil:
					created.Add(1)
				case ctx.Err() != nil:
					ended.Add(1)
				case !errors.Is(err, jwtauth.ErrSessionLimit):
					t.Errorf("Create: %v", err)
				}
			}
		})
	}
	all.Wait()
	require.Positive(t, ended.Load())
	require.Positive(t, created.Load())
	db := e.open(t)
	require.Eventually(t, func() bool {
		var open int
		err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id
			WHERE db = DATABASE() AND id <> CONNECTION_ID()`).Scan(&open)
		return err == nil && open == 0
	}, 10*time.Second, transactionsTick, "a transaction is left open")
	for n := range 60 {
		require.LessOrEqual(t, len(idsOf(t, s, fmt.Sprint("subject ", n))), 2)
	}
}

// A page and a login with a limit read as many rows as the limit says.
func TestAMariaDBPageAndALoginReadABoundedNumberOfRows(t *testing.T) {
	const limit = 50
	e := mariadb(t)
	e.store(t)
	e.fillSubject(t, "alice", 50_000)
	db := e.open(t)
	db.SetMaxOpenConns(1)
	s := e.newStore(t, db)
	reads := func() (n int) {
		rows, err := db.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var name, value string
			require.NoError(t, rows.Scan(&name, &value))
			read, err := strconv.Atoi(value)
			require.NoError(t, err)
			n += read
		}
		return n
	}
	before := reads()
	_, err := s.List(t.Context(), "https://issuer.test", "alice", "", limit)
	require.NoError(t, err)
	require.ErrorIs(t, s.Create(t.Context(), record("alice", "new"), limit), jwtauth.ErrSessionLimit)
	read := reads() - before
	require.Greater(t, read, limit, "the test does not see what is read")
	require.LessOrEqual(t, read, 8*limit)
}

// The clock of the engine is UTC, whatever time zone the connection has.
func TestTheTimeZoneOfAConnectionHasNoInfluence(t *testing.T) {
	e := mariadb(t)
	e.store(t)
	r := record("alice", "one")
	for i, zone := range []string{"%2B13:00", "-11:30", "%2B00:00"} {
		s := e.newStore(t, e.setting("time_zone", "%27"+zone+"%27").open(t))
		if i == 0 {
			require.NoError(t, s.Create(t.Context(), r, 0))
		}
		row, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: int64(i) + 1, Epoch: int64(i), At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.True(t, advanced)
		require.WithinDuration(t, time.Now(), row.RotatedAt, 5*time.Second)
		row, _, err = s.Advance(t.Context(), r.Key, jwtauth.Rotation{Epoch: int64(i) + 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.Less(t, row.Age.Abs(), 5*time.Second)
		n, err := s.Sweep(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
	}
}
