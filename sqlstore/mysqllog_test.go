package sqlstore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/test/engines"
)

// Revocations are committed one after another. A reader does not wait for them.
func TestSinceDoesNotWaitForARevocationThatIsNotCommitted(t *testing.T) {
	e := mariadb(t)
	s := e.store(t)
	end := now().Add(time.Hour)
	revoke(t, s, end, "a")
	var r reader
	r.read(t, s)
	commit := hold(t, e, "UPDATE jwtauth_log SET seq = seq + 1, previous = nonce, nonce = REPEAT('x', 16)",
		"INSERT INTO jwtauth_revocations (seq, previous, id_key, id, until) SELECT seq, previous, 'b', 'b', 1 FROM jwtauth_log")
	done := make(chan error, 1)
	go func() { done <- s.Revoke(t.Context(), "c", end) }()
	requireWaiting(t, e, 1)
	entries, reset := r.read(t, s)
	require.False(t, reset)
	require.Empty(t, entries)
	require.Empty(t, done, "a revocation has not waited for an earlier one")
	commit() // which rolls back
	require.NoError(t, <-done)
	entries, reset = r.read(t, s)
	require.False(t, reset)
	require.Equal(t, heard{"c": end}, entries)
}

// A transaction that is rolled back must not convince Revoke that there is a revocation.
func TestRevokeDoesNotRelyOnARowThatIsNotCommitted(t *testing.T) {
	for _, level := range []string{"READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"} {
		t.Run(level, func(t *testing.T) {
			e := mariadb(t)
			e.store(t)
			s := e.newStore(t, e.setting("tx_isolation", "%27"+level+"%27").open(t))
			end := now().Add(time.Hour)
			rollback := hold(t, e, "INSERT INTO jwtauth_revocations (seq, previous, id_key, id, until) SELECT 1, previous, UNHEX(SHA2('a', 256)), 'a', 9000000000000000 FROM jwtauth_log")
			done := make(chan error, 1)
			go func() { done <- s.Revoke(t.Context(), "a", end) }()
			time.Sleep(300 * time.Millisecond)
			rollback()
			require.NoError(t, <-done)
			revoked, err := s.IsRevoked(t.Context(), "a")
			require.NoError(t, err)
			require.True(t, revoked)
		})
	}
}

// The epoch stands for one run of the server.
func TestTheEpochOfMariaDBStaysTheSame(t *testing.T) {
	s := mariadb(t).store(t)
	_, cursor, _ := since(t, s, "")
	epoch, _, _ := strings.Cut(cursor, "/")
	for deadline := time.Now().Add(2200 * time.Millisecond); time.Now().Before(deadline); time.Sleep(7 * time.Millisecond) {
		_, next, reset := since(t, s, cursor)
		require.False(t, reset)
		now, _, _ := strings.Cut(next, "/")
		require.Equal(t, epoch, now)
	}
}

// The row has the number or the transaction id of the lost one, and the same contents.
func TestARowThatTakesThePlaceOfALostOneIsRead(t *testing.T) {
	onEachServer(t, "restored", func(t *testing.T, start startFunc) {
		server, e := start(t)
		s := e.unpooled(t)
		require.NoError(t, s.Migrate(t.Context()))
		end := now().Add(time.Hour)
		revoke(t, s, end, "a")
		var r reader
		r.read(t, s)
		restore := stoppedCopy(t, server)
		revoke(t, s, end, "lost", "x")
		lost := numberOf(t, e, "x")
		r.read(t, s)
		behind := r.clone()
		restore()
		revoke(t, s, end, "new", "x")
		require.Equal(t, lost, numberOf(t, e, "x"), "the number was not used again, the test proves nothing")
		revoke(t, s, end, "later")
		for _, r := range []*reader{&r, behind} {
			entries, reset := r.read(t, s)
			require.True(t, reset)
			require.Equal(t, heard{"a": end, "new": end, "x": end, "later": end}, entries)
		}
	})
}

// The replica lacks the last revocation of its primary.
func TestAReaderContinuesAtAReplicaOfMariaDBThatHasTakenOver(t *testing.T) {
	primary, e, root := ownMariaDB(t, "--log-bin", "--sync-binlog=1", "--server-id=1")
	replica := engines.MariaDB(t, "--server-id=2")
	db := root.open(t)
	var file string
	var position int64
	require.NoError(t, db.QueryRowContext(t.Context(), "SHOW MASTER STATUS").Scan(&file, &position, new(any), new(any)))
	other := mariadbAt(strings.Replace(replica.URL(), "jwtauth@", "root@", 1)).open(t)
	_, port, err := net.SplitHostPort(primary.Addr())
	require.NoError(t, err)
	execute(t, other, "CREATE DATABASE auth", "SET GLOBAL read_only = 1",
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %s, MASTER_USER = 'root', MASTER_LOG_FILE = '%s', MASTER_LOG_POS = %d", port, file, position),
		"START SLAVE")
	s, second := e.store(t), mariadbAt(replica.URL()+"auth")
	end := now().Add(time.Hour)
	revoke(t, s, end, "a", "b")
	var known reader
	known.read(t, s)
	copied := second.newStore(t, second.open(t))
	require.Eventually(t, func() bool {
		var rows int
		return other.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM auth.jwtauth_revocations").Scan(&rows) == nil && rows == 2
	}, 20*time.Second, 20*time.Millisecond)
	require.ErrorContains(t, errorOfCheck(t, copied), "read-only")
	execute(t, other, "STOP SLAVE")
	revoke(t, s, end, "lost")
	lost := known.clone()
	lost.read(t, s)
	require.Contains(t, lost.known, "lost")

	primary.Kill()
	execute(t, other, "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
	require.NoError(t, errorOfCheck(t, copied))
	revoke(t, copied, end, "c")
	entries, reset := known.read(t, copied)
	require.True(t, reset)
	require.Equal(t, heard{"c": end}, entries)
	entries, reset = lost.read(t, copied)
	require.True(t, reset)
	require.Equal(t, heard{"a": end, "b": end, "c": end}, entries)
}

// The server runs on while somebody restores the tables.
func TestALogOfMariaDBThatWasReplacedInARunningServerIsReadAgain(t *testing.T) {
	e := mariadb(t)
	s, db := e.store(t), e.open(t)
	end := now().Add(time.Hour)
	revoke(t, s, end, "a")
	var known, lost reader
	known.read(t, s)
	execute(t, db, "CREATE TABLE saved AS SELECT * FROM jwtauth_revocations", "CREATE TABLE saved_log AS SELECT * FROM jwtauth_log")
	revoke(t, s, end, "b")
	lost.read(t, s)
	execute(t, db, "DELETE FROM jwtauth_revocations", "INSERT INTO jwtauth_revocations SELECT * FROM saved",
		"DELETE FROM jwtauth_log", "INSERT INTO jwtauth_log SELECT * FROM saved_log")
	for _, more := range []string{"", "c", "d"} {
		want := heard{"a": end}
		if more != "" {
			revoke(t, s, end, "c") // in the place of b
			want["c"] = end
		}
		if more == "d" {
			revoke(t, s, end, "d")
			want["d"] = end
		}
		entries, reset := lost.clone().read(t, s)
		require.True(t, reset)
		require.Equal(t, want, entries)
		entries, reset = known.clone().read(t, s)
		require.False(t, reset, "the reader has read nothing that was lost")
		delete(want, "a")
		require.Equal(t, want, entries)
	}
}

func TestAReaderOfMariaDBOverlooksNothingWhileRowsAreSwept(t *testing.T) {
	e := mariadb(t)
	s := e.store(t)
	end, over := now().Add(time.Hour), now().Add(-time.Hour)
	revoke(t, s, end, "a")
	var r reader
	r.read(t, s)
	revoke(t, s, over, "over")
	last := r.clone()
	last.read(t, s)
	n, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	entries, reset := last.read(t, s)
	require.False(t, reset, "the newest row was swept, and the reader has read it")
	require.Empty(t, entries)
	revoke(t, s, end, "b")
	entries, reset = last.read(t, s)
	require.False(t, reset)
	require.Equal(t, heard{"b": end}, entries)

	// The row after the position was swept before the reader came to it.
	entries, reset = r.read(t, s)
	require.True(t, reset)
	require.Equal(t, heard{"a": end, "b": end}, entries)
}

func TestARevocationThatGetsALaterEndIsANewRow(t *testing.T) {
	e := mariadb(t)
	s := e.store(t)
	end := now().Add(time.Hour)
	revoke(t, s, end, "a")
	var r reader
	r.read(t, s)
	for range 3 {
		revoke(t, s, end, "a") // changes nothing
	}
	revoke(t, s, end.Add(-time.Minute), "a")
	entries, _ := r.read(t, s)
	require.Empty(t, entries)
	revoke(t, s, end.Add(time.Minute), "a")
	entries, reset := r.read(t, s)
	require.False(t, reset)
	require.Equal(t, heard{"a": end.Add(time.Minute)}, entries)
	var rows int
	require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM jwtauth_revocations").Scan(&rows))
	require.Equal(t, 2, rows)
}

// Another process migrates, and does not come to an end.
func TestAMigrationOfMariaDBWaitsAsLongAsTheContextSays(t *testing.T) {
	e := mariadb(t)
	s := e.newStore(t, e.open(t))
	conn, err := e.open(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	release, err := s.LockMigration(t.Context(), conn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Migrate(ctx), context.DeadlineExceeded)
	require.NoError(t, release())
	require.NoError(t, s.Migrate(t.Context()))
}
