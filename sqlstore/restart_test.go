package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// countingLog counts the entries that a store lists.
type countingLog struct {
	replica.Log
	listed *atomic.Int64
}

func (l countingLog) Since(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
	return l.Log.Since(ctx, cursor, func(id string, until time.Time) {
		l.listed.Add(1)
		entry(id, until)
	})
}

// startFunc starts a server that a test may stop, with an empty database.
type startFunc func(t testing.TB) (*engines.Server, database)

// onEachServer runs a test for each engine that has a server.
func onEachServer(t *testing.T, name string, test func(t *testing.T, start startFunc)) {
	t.Run("PostgreSQL, "+name, func(t *testing.T) {
		test(t, func(t testing.TB) (*engines.Server, database) {
			server := engines.Postgres(t, "autovacuum=off")
			return server, postgresAt(server.URL())
		})
	})
	t.Run("MariaDB, "+name, func(t *testing.T) {
		test(t, func(t testing.TB) (*engines.Server, database) {
			server := engines.MariaDB(t)
			root, err := sql.Open("mysql", server.URL())
			require.NoError(t, err)
			defer root.Close()
			_, err = root.ExecContext(t.Context(), "CREATE DATABASE auth")
			require.NoError(t, err)
			return server, mariadbAt(server.URL() + "auth")
		})
	})
}

func TestARestartWithoutALossCostsNoFullReading(t *testing.T) {
	const replicas, entries = 120, 300
	for name, stop := range map[string]func(*engines.Server){"in good order": (*engines.Server).Stop, "by a crash": (*engines.Server).Kill} {
		onEachServer(t, name, func(t *testing.T, start startFunc) {
			server, e := start(t)
			e.store(t)
			db := e.open(t)
			db.SetMaxOpenConns(20)
			store := e.newStore(t, db)
			end := now().Add(time.Hour)
			for i := range entries {
				require.NoError(t, store.Revoke(t.Context(), fmt.Sprint(i), end))
			}
			var listed, resets atomic.Int64
			var all []*replica.Replica
			for range replicas {
				r, err := replica.New(countingLog{store, &listed}, replica.Options{OnEvent: func(_ context.Context, e event.Event) {
					if e.Kind == event.RevocationsReset {
						resets.Add(1)
					}
				}})
				require.NoError(t, err)
				t.Cleanup(func() { r.Close() })
				all = append(all, r)
			}
			for _, r := range all {
				require.NoError(t, r.Ready(t.Context()))
			}
			require.GreaterOrEqual(t, listed.Swap(0), int64(replicas*entries))

			stop(server)
			require.NoError(t, server.Start())
			require.Eventually(t, func() bool { return resets.Load() == replicas }, time.Minute, 10*time.Millisecond, "each Replica must send its own revocations again")
			require.Zero(t, listed.Load())
			require.NoError(t, store.Revoke(t.Context(), "after", end))
			for _, r := range all {
				require.Eventually(t, func() bool {
					isRevoked, err := r.IsRevoked(t.Context(), "after")
					return err == nil && isRevoked
				}, time.Minute, 10*time.Millisecond)
				for _, id := range []string{"0", fmt.Sprint(entries - 1)} {
					isRevoked, err := r.IsRevoked(t.Context(), id)
					require.NoError(t, err)
					require.True(t, isRevoked)
				}
			}
			require.EqualValues(t, replicas, listed.Load())
		})
	}
}

// unpooled returns a store whose pool keeps no connection, so that each call finds the server
// that runs.
func (e database) unpooled(t testing.TB) *sqlstore.Store {
	t.Helper()
	return e.newStore(t, e.openUnpooled(t))
}

func (e database) openUnpooled(t testing.TB) *sql.DB {
	t.Helper()
	db := e.open(t)
	db.SetMaxIdleConns(-1)
	return db
}

// restartable starts a PostgreSQL that a test may stop, and returns a store without a pool. The
// tables do not exist yet.
func restartable(t testing.TB, settings ...string) (server *engines.Server, e database, s *sqlstore.Store, old oldProgram) {
	t.Helper()
	server = engines.Postgres(t, settings...)
	e = postgresAt(server.URL())
	return server, e, e.unpooled(t), oldProgram{e.dialect, e.openUnpooled(t)}
}

// reader reads a log from one cursor to the next, as a Replica does.
type reader struct {
	cursor string
	known  heard
}

// read reads on, and returns what Since has listed.
func (r *reader) read(t testing.TB, log replica.Log) (entries heard, reset bool) {
	t.Helper()
	entries, r.cursor, reset = since(t, log, r.cursor)
	if r.known == nil {
		r.known = heard{}
	}
	maps.Copy(r.known, entries)
	return entries, reset
}

// clone returns a second reader that has read the same.
func (r *reader) clone() *reader { return &reader{r.cursor, maps.Clone(r.known)} }

// stoppedCopy stops a server, copies its files, and starts it again. The function restore
// replaces the files by the copy: the server has then lost everything since.
func stoppedCopy(t *testing.T, server *engines.Server) (restore func()) {
	t.Helper()
	data, backup := filepath.Join(server.Folder, "data"), filepath.Join(server.Folder, "backup")
	copyFiles := func(from, to string) {
		server.Stop()
		require.NoError(t, os.RemoveAll(to))
		out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, server.Start())
	}
	copyFiles(data, backup)
	return func() { copyFiles(backup, data) }
}

// numberOf returns the number that the engine has given to a row: the transaction that has
// written the row, or the position in the log.
func numberOf(t *testing.T, e database, id string) (number int64) {
	t.Helper()
	text := "SELECT xid::text::bigint FROM jwtauth_revocations WHERE id = $1"
	if e.dialect == sqlstore.MySQL {
		text = "SELECT max(seq) FROM jwtauth_revocations WHERE id = ?"
	}
	require.NoError(t, e.open(t).QueryRowContext(t.Context(), text, []byte(id)).Scan(&number))
	return number
}

// revoke revokes ids until the same end.
func revoke(t *testing.T, s *sqlstore.Store, end time.Time, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, s.Revoke(t.Context(), id, end))
	}
}

// Whatever a server has lost, a reader must know every entry of the server afterwards, and must
// learn of the loss.
func TestAReaderThatContinuesAfterALossOverlooksNothing(t *testing.T) {
	onEachServer(t, "after a loss", func(t *testing.T, start startFunc) {
		server, e := start(t)
		s := e.unpooled(t)
		require.NoError(t, s.Migrate(t.Context()))
		end := now().Add(time.Hour)
		revoke(t, s, end, "a", "b")
		var last reader
		last.read(t, s)
		restore := stoppedCopy(t, server)
		last.read(t, s)
		readers := []*reader{last.clone()} // readers[i] has read i lost entries
		var lost int64
		for i := range 3 {
			revoke(t, s, end, fmt.Sprint("lost ", i))
			lost = numberOf(t, e, fmt.Sprint("lost ", i))
			last.read(t, s)
			readers = append(readers, last.clone())
		}
		restore()
		want := heard{"a": end, "b": end}
		for more := range 5 {
			for i, r := range readers {
				r = r.clone()
				entries, reset := r.read(t, s)
				require.True(t, reset)
				if i == 0 {
					require.Len(t, entries, more, "everything that the reader knows is still there")
				} else {
					require.Equal(t, want, entries)
				}
				for id := range want {
					require.Contains(t, r.known, id, "the reader of %d lost entries", i)
				}
				entries, reset = r.read(t, s)
				require.False(t, reset)
				require.Empty(t, entries)
			}
			id := fmt.Sprint("new ", more)
			revoke(t, s, end, id)
			want[id] = end
			if more == 0 {
				require.Less(t, numberOf(t, e, id), lost, "no number was used again")
			}
		}
	})
}

// The row of the revocation that is sent again has the key and the xid of the row that was lost.
func TestARevocationThatIsSentAgainAfterALossDoesNotPretendToBeTheLostOne(t *testing.T) {
	for name, c := range map[string]struct {
		before func(s *sqlstore.Store, end time.Time)
		send   func(s *sqlstore.Store, old oldProgram, end time.Time)
	}{
		"a new row": {func(*sqlstore.Store, time.Time) {}, func(s *sqlstore.Store, _ oldProgram, end time.Time) { revoke(t, s, end, "x") }},
		"a later end": {
			func(s *sqlstore.Store, end time.Time) { revoke(t, s, end.Add(-time.Minute), "x") },
			func(s *sqlstore.Store, _ oldProgram, end time.Time) { revoke(t, s, end, "x") },
		},
		"a later end from an old program, which makes no nonce": {
			func(s *sqlstore.Store, end time.Time) { revoke(t, s, end.Add(-time.Minute), "x") },
			func(_ *sqlstore.Store, old oldProgram, end time.Time) { old.revoke(t, "x", end) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, e, s, old := restartable(t, "autovacuum=off")
			require.NoError(t, s.Migrate(t.Context()))
			end := now().Add(time.Hour)
			revoke(t, s, end, "a")
			c.before(s, end)
			var r reader
			r.read(t, s)
			restore := stoppedCopy(t, server)
			revoke(t, s, end, "lost")
			c.send(s, old, end)
			lost := numberOf(t, e, "x")
			r.read(t, s)
			require.Contains(t, r.known, "lost")
			require.Equal(t, end, r.known["x"])
			restore()
			revoke(t, s, end, "new")
			c.send(s, old, end)
			require.Equal(t, lost, numberOf(t, e, "x"), "the xid was not used again, the test proves nothing")
			entries, reset := r.read(t, s)
			require.True(t, reset)
			require.Equal(t, heard{"a": end, "new": end, "x": end}, entries)
		})
	}
}

// beginRevocation revokes an id in a transaction, as another program might, and leaves the
// transaction open until commit is called.
func beginRevocation(t *testing.T, e database, id string, end time.Time) (commit func()) {
	t.Helper()
	tx, err := e.open(t).BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	_, err = tx.ExecContext(t.Context(), "INSERT INTO jwtauth_revocations (key, id, until, xid) VALUES (sha256($1), $1, $2, pg_current_xact_id())", []byte(id), end.UnixMicro())
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Commit()) }
}

// The transaction has a smaller xid than the newest row that the reader has read.
func TestATransactionThatWasOpenBeforeARestartIsRead(t *testing.T) {
	server, e, s, _ := restartable(t)
	require.NoError(t, s.Migrate(t.Context()))
	end := now().Add(time.Hour)
	commit := beginRevocation(t, e, "late", end)
	revoke(t, s, end, "a", "b")
	var r reader
	r.read(t, s)
	require.Equal(t, heard{"a": end, "b": end}, r.known)
	commit()
	server.Kill()
	require.NoError(t, server.Start())
	entries, reset := r.read(t, s)
	require.True(t, reset)
	require.Contains(t, entries, "late")
}

// A standby takes over, and the reader learns there that an open transaction of the primary has
// not been committed. Then the old primary, which has committed the transaction, takes over.
func TestAReaderThatComesBackToAnOldPrimaryOverlooksNothing(t *testing.T) {
	primary := engines.Postgres(t)
	e := postgresAt(primary.URL())
	s := e.store(t)
	end := now().Add(time.Hour)
	commit := beginRevocation(t, e, "late", end)
	revoke(t, s, end, "a")
	var r reader
	r.read(t, s)
	replica := engines.Standby(t, primary)
	db := postgresAt(replica.URL()).open(t)
	_, err := db.ExecContext(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	for range 2 {
		r.read(t, e.newStore(t, db))
	}
	require.Equal(t, heard{"a": end}, r.known)
	commit()
	entries, reset := r.read(t, s)
	require.True(t, reset)
	require.Contains(t, entries, "late")
}

func TestAfterTheNewestRowWasSweptARestartCostsAFullReading(t *testing.T) {
	server, _, s, _ := restartable(t)
	require.NoError(t, s.Migrate(t.Context()))
	end := now().Add(time.Hour)
	revoke(t, s, end, "a", "b")
	revoke(t, s, now().Add(-time.Hour), "over")
	var behind reader
	behind.read(t, s)
	n, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	current := behind.clone()
	entries, reset := current.read(t, s)
	require.False(t, reset)
	require.Empty(t, entries)
	server.Stop()
	require.NoError(t, server.Start())
	entries, reset = behind.read(t, s)
	require.True(t, reset)
	require.Equal(t, heard{"a": end, "b": end}, entries)
	entries, reset = current.read(t, s)
	require.True(t, reset)
	require.Empty(t, entries, "the newest row that is left is still there")
}

// Neither statement changes which transaction has written a row.
func TestAfterAVacuumARestartCostsNoFullReading(t *testing.T) {
	for _, statement := range []string{"VACUUM (FREEZE) jwtauth_revocations", "VACUUM (FULL, FREEZE) jwtauth_revocations"} {
		t.Run(statement, func(t *testing.T) {
			server, e, s, _ := restartable(t)
			require.NoError(t, s.Migrate(t.Context()))
			revoke(t, s, now().Add(time.Hour), "a", "b")
			var r reader
			r.read(t, s)
			_, err := e.open(t).ExecContext(t.Context(), statement)
			require.NoError(t, err)
			server.Stop()
			require.NoError(t, server.Start())
			entries, reset := r.read(t, s)
			require.True(t, reset)
			require.Empty(t, entries)
		})
	}
}

// The other server gives smaller xids to new rows than the copied rows have.
func TestARowThatWasCopiedToAnotherServerSaysNothing(t *testing.T) {
	first, second := engines.Postgres(t), engines.Postgres(t)
	e := postgresAt(first.URL())
	s := e.store(t)
	db := e.open(t)
	for range 500 {
		_, err := db.ExecContext(t.Context(), "SELECT pg_current_xact_id()")
		require.NoError(t, err)
	}
	end := now().Add(time.Hour)
	revoke(t, s, end, "a", "b")
	var r reader
	r.read(t, s)
	dump := filepath.Join(first.Folder, "dump")
	out, err := exec.Command(first.Program("pg_dump"), "-f", dump, first.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(first.Program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-q", "-f", dump, second.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)

	copied := postgresAt(second.URL())
	s = copied.newStore(t, copied.open(t))
	revoke(t, s, end, "c")
	require.Less(t, numberOf(t, copied, "c"), numberOf(t, copied, "a"), "the test proves nothing")
	entries, reset := r.read(t, s)
	require.True(t, reset)
	require.Equal(t, heard{"a": end, "b": end, "c": end}, entries)
}

func TestAProgramOfVersion3SharesTheLog(t *testing.T) {
	server, _, s, old := restartable(t)
	require.NoError(t, s.MigrateTo(t.Context(), 3))
	end := now().Add(time.Hour)
	old.revoke(t, "before", end)
	oldCursor := old.since(t, "", heard{"before": end})
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, errorOfCheck(t, s))
	require.NoError(t, s.MigrateTo(t.Context(), 3), "a program of version 3 may start")

	restart := func() {
		server.Kill()
		require.NoError(t, server.Start())
	}
	var r reader
	r.read(t, s)
	restart()
	entries, reset := r.read(t, s)
	require.True(t, reset)
	require.Equal(t, heard{"before": end}, entries, "the newest row has no nonce")

	revoke(t, s, end, "new")
	old.revoke(t, "old", end)
	entries, reset = r.read(t, s)
	require.False(t, reset)
	require.Equal(t, heard{"new": end, "old": end}, entries)
	oldCursor = old.since(t, oldCursor, heard{"new": end, "old": end})
	restart()
	entries, reset = r.read(t, s)
	require.True(t, reset)
	require.Empty(t, entries, "a row that an old program inserts has a nonce")

	later := end.Add(time.Minute)
	old.revoke(t, "old", later)
	entries, reset = r.read(t, s)
	require.False(t, reset)
	require.Equal(t, heard{"old": later}, entries)
	old.since(t, oldCursor, heard{"old": later})
	restart()
	entries, reset = r.read(t, s)
	require.True(t, reset)
	require.Equal(t, heard{"before": end, "new": end, "old": later}, entries, "a row that an old program updates has an old nonce")

	revoke(t, s, later.Add(time.Minute), "old")
	r.read(t, s)
	restart()
	entries, _ = r.read(t, s)
	require.Empty(t, entries)
}

func TestACursorOfAProgramOfVersion3IsGood(t *testing.T) {
	server, _, s, _ := restartable(t)
	require.NoError(t, s.Migrate(t.Context()))
	end := now().Add(time.Hour)
	revoke(t, s, end, "a")
	_, cursor, _ := since(t, s, "")
	old := cursor[:strings.LastIndex(cursor, "/")]
	revoke(t, s, end, "b")
	entries, _, reset := since(t, s, old+"/")
	require.False(t, reset)
	require.Equal(t, heard{"b": end}, entries)
	server.Stop()
	require.NoError(t, server.Start())
	for _, c := range []string{old, old + "/"} {
		entries, _, reset = since(t, s, c)
		require.True(t, reset)
		require.Equal(t, heard{"a": end, "b": end}, entries)
	}
}
