package sqlstore_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// fill adds live rows of other subjects to both tables.
func (e database) fill(t testing.TB, rows int) {
	t.Helper()
	db := e.open(t)
	end := now().Add(100 * time.Hour).UnixMicro()
	data := `{"client_id":"app","label":"phone","scopes":["orders:read","orders:write"],"began":1793534400,"auth_time":1793534400,"end":1796126400}`
	sessions := `INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, rotated_at, expires_at, sweep_hour, advanced_by, data)
		SELECT %[1]s, %[2]s, %[3]s, %[4]s, %[4]s, 1, 0, 0, %[5]d, %[6]d, 0, %[7]s FROM %[8]s`
	revocations := `INSERT INTO jwtauth_revocations (key, until%[1]s) SELECT %[2]s, %[3]d%[4]s FROM %[5]s`
	hour := end/3_600_000_000 + 1
	if e.dialect == sqlstore.Postgres {
		source := fmt.Sprintf("generate_series(1, %d) AS n", rows)
		for _, statement := range []string{
			fmt.Sprintf(sessions, "decode(md5('o' || n), 'hex')", "decode(md5('s' || n), 'hex')", "'https://issuer.test'::bytea", "md5('i' || n)::bytea", end, hour, "'"+data+"'::bytea", source),
			fmt.Sprintf(revocations, ", xid", "decode(md5('r' || n), 'hex')", end, ", pg_current_xact_id()", source),
			"VACUUM ANALYZE jwtauth_sessions", "VACUUM ANALYZE jwtauth_revocations",
		} {
			_, err := db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		return
	}
	source := fmt.Sprintf("(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n FROM s)", rows)
	for _, statement := range []string{
		fmt.Sprintf(sessions, "randomblob(16)", "randomblob(16)", "CAST('https://issuer.test' AS BLOB)", "CAST(hex(randomblob(16)) AS BLOB)", end, hour, "CAST('"+data+"' AS BLOB)", source),
		fmt.Sprintf(revocations, "", "randomblob(16)", end, "", source),
		"ANALYZE",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

func TestNoStatementScansATable(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		e.fill(t, 20_000)
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
		_, cursor, _ := since(t, s, "")
		db := e.open(t)
		explain, scan := "EXPLAIN ", "Seq Scan on jwtauth_"
		if e.dialect == sqlstore.SQLite {
			explain, scan = "EXPLAIN QUERY PLAN ", "SCAN jwtauth_"
		}
		seen := 0
		for statement, args := range s.Statements(cursor) {
			plan := planOf(t, db, explain+statement, args)
			plan = strings.ReplaceAll(plan, scan+"epoch", "") // the table has one row
			require.NotContains(t, plan, scan, statement)
			seen += strings.Count(plan, "jwtauth_")
		}
		require.Positive(t, seen, "the plans tell nothing")
		plan := planOf(t, db, explain+"SELECT 1 FROM jwtauth_sessions WHERE advanced_by = 1", nil)
		require.Contains(t, plan, scan, "this test does not know a scan when it sees one")
	})
}

func planOf(t *testing.T, db *sql.DB, explain string, args []any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), explain, args...)
	require.NoError(t, err, explain)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	values, scan := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		scan[i] = &values[i]
	}
	var plan strings.Builder
	for rows.Next() {
		require.NoError(t, rows.Scan(scan...))
		fmt.Fprintln(&plan, values...)
	}
	require.NoError(t, rows.Err())
	return plan.String()
}

// After a few runs of a statement, PostgreSQL may choose a generic plan for all arguments.
// This test therefore counts the scans of a busy service.
func TestAServiceThatRunsForAWhileScansNothing(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	since(t, s, "") // the first Since reads twice, because it makes an epoch
	e.fill(t, 20_000)
	before := scans(t, e)
	busy := e.open(t)
	busy.SetMaxOpenConns(1)
	s = e.newStore(t, busy)
	_, cursor, _ := since(t, s, "")
	for i := range 2 * sqlstore.SweepEvery {
		r := record("alice", fmt.Sprint(i))
		require.NoError(t, s.Create(t.Context(), r, 0))
		_, _, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.NoError(t, s.Revoke(t.Context(), tokenID(i), r.ExpiresAt))
		_, err = s.IsRevoked(t.Context(), tokenID(i), tokenID(-i))
		require.NoError(t, err)
		var entries heard
		entries, cursor, _ = since(t, s, cursor)
		require.Len(t, entries, 1)
		require.NoError(t, s.Delete(t.Context(), r.Key))
		_, err = s.List(t.Context(), r.Key.Issuer, "alice", "", 1000)
		require.NoError(t, err)
	}
	require.NoError(t, busy.Close()) // the backend then reports its statistics
	require.Eventually(t, func() bool { return scans(t, e).indexes > before.indexes }, 10*time.Second, 20*time.Millisecond)
	require.LessOrEqual(t, scans(t, e).whole-before.whole, int64(1), "beside the first Since, something reads a whole table")
}

type scanned struct{ whole, indexes int64 }

func scans(t *testing.T, e database) (s scanned) {
	t.Helper()
	require.NoError(t, e.open(t).QueryRowContext(t.Context(), `SELECT sum(seq_scan), sum(idx_scan) FROM pg_stat_user_tables
		WHERE relname IN ('jwtauth_sessions', 'jwtauth_revocations')`).Scan(&s.whole, &s.indexes))
	return s
}
