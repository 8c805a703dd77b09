package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// hold opens a transaction, and keeps it open until end is called or the test ends. In
// PostgreSQL, the transaction has an id.
func hold(t *testing.T, e database, statements ...string) (end func()) {
	t.Helper()
	tx, err := e.open(t).BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	if e.dialect == sqlstore.Postgres {
		statements = append(statements, "SELECT pg_current_xact_id()")
	}
	for _, statement := range statements {
		_, err = tx.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	return func() { require.NoError(t, tx.Rollback()) }
}

// A store whose cursor is a number from a sequence, or the largest transaction id so far,
// loses the entry of a transaction that is committed late.
func TestAnEntryThatIsCommittedAfterLaterOnesIsTold(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	late := tokenID(1)
	end := now().Add(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), late, end.Add(-time.Minute)))
	release := hold(t, e, "SELECT 1 FROM jwtauth_revocations FOR UPDATE")
	_, cursor, _ := since(t, s, "")

	done := make(chan error, 1)
	go func() { done <- s.Revoke(t.Context(), late, end) }() // it has a transaction id and waits for the row
	require.Eventually(t, func() bool {
		var waiting int
		err := e.open(t).QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO jwtauth_revocations%' AND pid <> pg_backend_pid()`).Scan(&waiting)
		return err == nil && waiting == 1
	}, 10*time.Second, 5*time.Millisecond)
	for i := range 3 {
		require.NoError(t, s.Revoke(t.Context(), tokenID(10+i), end))
		var entries heard
		var reset bool
		entries, cursor, reset = since(t, s, cursor)
		require.False(t, reset)
		require.Equal(t, heard{tokenID(10 + i): end}, entries, "what was told is told again, or nothing is told")
	}
	release()
	require.NoError(t, <-done)
	entries, _, reset := since(t, s, cursor)
	require.False(t, reset)
	require.Equal(t, heard{late: end}, entries)
}

func TestATransactionThatIsOpenHidesNoEntry(t *testing.T) {
	for _, where := range []string{"in the same database", "in another database of the server"} {
		t.Run(where, func(t *testing.T) {
			e := postgresql(t)
			s := e.store(t)
			_, cursor, _ := since(t, s, "")
			where := map[bool]database{false: e, true: postgresql(t)}[strings.Contains(where, "another")]
			release := hold(t, where)
			end := now().Add(time.Hour)
			for i := range 20 {
				require.NoError(t, s.Revoke(t.Context(), tokenID(i), end))
				entries, next, reset := since(t, s, cursor)
				require.False(t, reset)
				require.Contains(t, entries, tokenID(i), "an entry waits for a transaction that has nothing to do with it")
				require.Len(t, entries, 1, "entries are told again for as long as it is open")
				cursor = next
			}
			release()
			require.NoError(t, s.Revoke(t.Context(), tokenID(20), end))
			entries, _, _ := since(t, s, cursor)
			require.Equal(t, heard{tokenID(20): end}, entries)
		})
	}
}

// There are so many open transactions that a cursor has no room for their ids.
func TestManyOpenTransactionsHideNoEntry(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	_, cursor, _ := since(t, s, "")
	end := now().Add(time.Hour)
	var release []func()
	for i := range 80 {
		release = append(release, hold(t, e, fmt.Sprintf(
			"INSERT INTO jwtauth_revocations (key, until, xid) VALUES (decode(md5('%d'), 'hex'), %d, pg_current_xact_id())", i, end.UnixMicro())))
	}
	for i := range 5 {
		require.NoError(t, s.Revoke(t.Context(), tokenID(i), end))
		entries, next, reset := since(t, s, cursor)
		require.False(t, reset)
		require.Contains(t, entries, tokenID(i))
		require.LessOrEqual(t, len(entries), i+1)
		cursor = next
	}
	for _, end := range release {
		end()
	}
	require.NoError(t, s.Revoke(t.Context(), tokenID(5), end))
	entries, cursor, _ := since(t, s, cursor)
	require.Contains(t, entries, tokenID(5))
	entries, _, _ = since(t, s, cursor)
	require.Empty(t, entries, "entries are told again although nothing is open any more")
}

// The writers keep their transactions open for different times, so that the transactions
// are committed in another order than they began.
func TestSinceLosesNothingWhileTransactionsAreCommittedInAnyOrder(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	end := now().Add(time.Hour)
	var writing atomic.Int64
	var writers, readers sync.WaitGroup
	const each, count = 60, 8
	writing.Store(count)
	db := e.open(t)
	for w := range count {
		writers.Go(func() {
			defer writing.Add(-1)
			for n := range each {
				if err := slowly(t.Context(), db, fmt.Sprint(w, " ", n), end, n%(w+1)); err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			told, cursor := heard{}, ""
			for last := false; !last; {
				last = writing.Load() == 0
				next, reset, err := s.Since(t.Context(), cursor, told.entry)
				if err != nil || reset && cursor != "" {
					t.Errorf("Since: %t, %v", reset, err)
					return
				}
				cursor = next
			}
			if len(told) != each*count {
				t.Errorf("Since has told %d entries of %d", len(told), each*count)
			}
		})
	}
	writers.Wait()
	readers.Wait()
}

// slowly revokes like Revoke, and waits for more milliseconds before it commits.
func slowly(ctx context.Context, db *sql.DB, name string, until time.Time, more int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "INSERT INTO jwtauth_revocations (key, until, xid) VALUES (decode(md5($1), 'hex'), $2, pg_current_xact_id())", name, until.UnixMicro())
	for range more {
		if err == nil {
			_, err = tx.ExecContext(ctx, "SELECT pg_sleep(0.001)")
		}
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// After a crash, PostgreSQL uses transaction ids again that had not reached the disk. A
// cursor from before the crash may therefore be ahead of a new entry.
func TestAfterACrashTheLogTellsWhatIsNew(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, server *engines.Server, session *sql.Conn){
		"of one backend, where the server goes on": func(t *testing.T, server *engines.Server, session *sql.Conn) {
			var pid int
			require.NoError(t, session.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
			p, err := os.FindProcess(pid)
			require.NoError(t, err)
			witness, err := postgresAt(server.URL()).open(t).Conn(t.Context())
			require.NoError(t, err)
			require.NoError(t, p.Kill())
			require.Eventually(t, func() bool { return witness.PingContext(t.Context()) != nil }, 20*time.Second, 5*time.Millisecond)
		},
		"of the server": func(t *testing.T, server *engines.Server, _ *sql.Conn) {
			server.Kill()
			require.NoError(t, server.Start())
		},
	} {
		t.Run(name, func(t *testing.T) {
			for attempt := 1; !requireOnlyNewAfter(t, crash); attempt++ {
				require.Less(t, attempt, 5, "no id was used twice, the test proves nothing")
			}
		})
	}
}

// requireOnlyNewAfter crashes a new server. It returns false if the server does not use a
// transaction id again that it had used before the crash.
func requireOnlyNewAfter(t *testing.T, crash func(t *testing.T, server *engines.Server, session *sql.Conn)) bool {
	t.Helper()
	// Otherwise the server soon writes the newest transaction ids to its log.
	server := engines.Postgres(t, "wal_writer_delay=10s", "autovacuum=off", "wal_level=minimal", "max_wal_senders=0")
	e := postgresAt(server.URL())
	s := e.store(t)
	end := now().Add(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
	since(t, s, "")
	session, err := e.open(t).Conn(t.Context())
	require.NoError(t, err)
	var lost, used int64
	for range 20 {
		require.NoError(t, session.QueryRowContext(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&lost))
	}
	_, cursor, reset := since(t, s, "")
	require.False(t, reset)
	old := cursor
	crash(t, server, session)
	require.Eventually(t, func() bool {
		return s.Revoke(t.Context(), tokenID(2), end) == nil
	}, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT max(xid::text::bigint) FROM jwtauth_revocations").Scan(&used))
	if used > lost {
		return false
	}
	entries, cursor, reset := since(t, s, cursor)
	require.True(t, reset)
	require.Equal(t, heard{tokenID(2): end}, entries)
	_, _, reset = since(t, s, cursor)
	require.False(t, reset)
	_, _, reset = since(t, s, old) // the cursor of another process
	require.True(t, reset)
	return true
}

// The server may be another one, which was made from the files of the first.
func TestACursorIsOldWhenTheServerWasStartedAnew(t *testing.T) {
	server := engines.Postgres(t)
	e := postgresAt(server.URL())
	s := e.store(t)
	end := now().Add(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
	_, cursor, _ := since(t, s, "")
	server.Stop()
	require.NoError(t, server.Start())
	entries, _, reset := since(t, e.newStore(t, e.open(t)), cursor)
	require.True(t, reset)
	require.Empty(t, entries)
}

// The standby may lack the last changes of its primary.
func TestACursorIsOldWhenAReplicaHasTakenOver(t *testing.T) {
	primary := engines.Postgres(t)
	e := postgresAt(primary.URL())
	s := e.store(t)
	end := now().Add(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
	since(t, s, "")
	replica := engines.Standby(t, primary)
	_, cursor, _ := since(t, s, "")
	primary.Kill()
	db := postgresAt(replica.URL()).open(t)
	_, err := db.ExecContext(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	entries, cursor, reset := since(t, e.newStore(t, db), cursor)
	require.True(t, reset)
	require.Empty(t, entries)
	_, _, reset = since(t, e.newStore(t, db), cursor)
	require.False(t, reset)
}

func TestACursorIsOldWhenABackupWasRestored(t *testing.T) {
	server := engines.Postgres(t)
	e := postgresAt(server.URL())
	s := e.store(t)
	end := now().Add(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
	since(t, s, "")
	backup := filepath.Join(server.Folder, "backup")
	out, err := exec.Command(server.Program("pg_dump"), "--clean", "-f", backup, server.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, s.Revoke(t.Context(), tokenID(2), end))
	_, cursor, _ := since(t, s, "")
	out, err = exec.Command(server.Program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-q", "-f", backup, server.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	entries, cursor, reset := since(t, s, cursor)
	require.True(t, reset)
	require.Equal(t, heard{tokenID(1): end}, entries)
	require.NoError(t, s.Revoke(t.Context(), tokenID(3), end))
	entries, _, reset = since(t, s, cursor)
	require.False(t, reset)
	require.Equal(t, heard{tokenID(3): end}, entries)
}

func TestACursorIsOldWhenTheTablesAreOthers(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
		_, cursor, _ := since(t, s, "")
		for _, table := range e.tables() {
			_, err := e.open(t).ExecContext(t.Context(), "DROP TABLE "+table)
			require.NoError(t, err)
		}
		require.NoError(t, s.Migrate(t.Context()))
		entries, _, reset := since(t, s, cursor)
		require.True(t, reset)
		require.Empty(t, entries)
	})
}

func TestACursorIsGoodInAnotherProcess(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		end := now().Add(time.Hour)
		s := e.store(t)
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
		_, cursor, _ := since(t, s, "")
		other := e.newStore(t, e.open(t))
		require.NoError(t, other.Revoke(t.Context(), tokenID(2), end))
		entries, _, reset := since(t, other, cursor)
		require.False(t, reset)
		require.Equal(t, heard{tokenID(2): end}, entries)
	})
}

func TestACursorIsOldWhenTheFileIsAnOlderOne(t *testing.T) {
	e := sqlite(t)
	file, _, _ := strings.Cut(strings.TrimPrefix(e.source, "file:"), "?")
	end := now().Add(time.Hour)
	db := e.open(t)
	s := e.newStore(t, db)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
	since(t, s, "")
	_, err := db.ExecContext(t.Context(), "VACUUM INTO ?", file+".backup")
	require.NoError(t, err)
	require.NoError(t, s.Revoke(t.Context(), tokenID(2), end))
	_, cursor, _ := since(t, s, "")
	require.NoError(t, db.Close())
	copyFile(t, file+".backup", file)

	entries, _, reset := since(t, e.newStore(t, e.open(t)), cursor)
	require.True(t, reset)
	require.Equal(t, heard{tokenID(1): end}, entries)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.Create(to)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

const uuid = "ffffffff-ffff-4fff-bfff-ffffffffffff"

func TestCursorsThatNobodyHandedOutAreNoMistakeOfTheEngine(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		end := now().Add(time.Hour)
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), end))
		_, cursor, _ := since(t, s, "")
		epoch, rest, _ := strings.Cut(cursor, "/")
		position, _, _ := strings.Cut(rest, "/")
		for _, newest := range []string{"x", "1", "1:1", "1:1:1", "1:1:" + strings.Repeat("-", 36), "1:x:" + uuid, "-1:1:" + uuid, "1:1:" + uuid + "/", strings.Repeat("1", 40) + ":1:" + uuid} {
			_, _, reset := since(t, s, epoch+"/"+position+"/"+newest)
			require.True(t, reset, "%q", newest)
			entries, _, reset := since(t, s, "other/"+position+"/"+newest)
			require.True(t, reset, "%q", newest)
			require.Equal(t, heard{tokenID(1): end}, entries, "%q", newest)
		}
		for _, position := range []string{"", "x", "-1", "1:", "1:2", "0:1:", "5:4:", "5:9:4", "5:9:9", "5:9:7,6", "5:9:6,6", "5:9:,", "99999999999999999999", "99999999999999999999:99999999999999999999:", "5:9:6'", "\x00"} {
			entries, next, reset := since(t, s, epoch+"/"+position+"/")
			require.True(t, reset, "%q", position)
			require.Equal(t, heard{tokenID(1): end}, entries, "%q", position)
			_, _, reset = since(t, s, next)
			require.False(t, reset)
		}
	})
}
