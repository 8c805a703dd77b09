package sqlstore_test

import (
	"database/sql"
	"fmt"
	"regexp"
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
	if e.dialect == sqlstore.MySQL {
		e.fillMySQL(t, rows, end, hour, data)
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

func (e database) fillMySQL(t testing.TB, rows int, end, hour int64, data string) {
	t.Helper()
	conn, err := e.open(t).Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	numbers := fmt.Sprintf("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)", rows)
	for _, statement := range []string{
		"SET SESSION max_recursive_iterations = 4294967295",
		fmt.Sprintf(`INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, data, details)
			%[1]s SELECT UNHEX(MD5(CONCAT('o', n))), UNHEX(MD5(CONCAT('s', n))), 'https://issuer.test', MD5(CONCAT('i', n)), MD5(CONCAT('i', n)), 1, 0, 0, 0, 0, 0, %[2]d, %[3]d, '%[4]s', '' FROM s`, numbers, end, hour, data),
		fmt.Sprintf(`INSERT INTO jwtauth_revocations (seq, until, id_key, previous) %[1]s SELECT n, %[2]d, UNHEX(MD5(CONCAT('r', n))), UNHEX(MD5(n)) FROM s`, numbers, end),
		fmt.Sprintf("UPDATE jwtauth_log SET seq = %d", rows),
		"ANALYZE TABLE jwtauth_sessions, jwtauth_revocations",
	} {
		_, err := conn.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

// scans returns the lines of a plan in which the engine reads a whole table with many rows.
func (e database) scans(plan string) (lines []string) {
	scan := map[sqlstore.Dialect]*regexp.Regexp{
		sqlstore.Postgres: regexp.MustCompile(`Seq Scan on jwtauth_`),
		sqlstore.SQLite:   regexp.MustCompile(`SCAN jwtauth_`),
		sqlstore.MySQL:    regexp.MustCompile(` (ALL|index) `),
	}[e.dialect]
	small := regexp.MustCompile(`jwtauth_epoch|<derived|GLOBAL_STATUS`)
	for line := range strings.Lines(plan) {
		if scan.MatchString(line) && !small.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestNoStatementScansATable(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		e.fill(t, 20_000)
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
		_, cursor, _ := since(t, s, "")
		db := e.open(t)
		explain := "EXPLAIN "
		if e.dialect == sqlstore.SQLite {
			explain = "EXPLAIN QUERY PLAN "
		}
		seen := 0
		for statement, args := range s.Statements(cursor) {
			plan := planOf(t, db, explain+statement, args)
			require.Empty(t, e.scans(plan), "%s\n%s", statement, plan)
			seen += strings.Count(plan, "jwtauth_")
		}
		require.Positive(t, seen, "the plans tell nothing")
		plan := planOf(t, db, explain+"SELECT 1 FROM jwtauth_sessions WHERE generation = 1", nil)
		require.NotEmpty(t, e.scans(plan), "this test does not know a scan when it sees one")
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
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = string(b)
			}
		}
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
