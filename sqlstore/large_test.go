package sqlstore_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// fillSubject adds rows of one subject. Every second one has expired.
func (e database) fillSubject(t testing.TB, subject string, rows int) {
	t.Helper()
	db := e.open(t)
	owner := sqlstore.Digest("https://issuer.test", subject)
	end := now().Add(100 * time.Hour)
	hour := sweepHour(end)
	text := `INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, rotated_at, expires_at, sweep_hour, advanced_by, data)
		SELECT $1, decode(md5('s' || n), 'hex'), $2, $3, ('i' || n)::bytea, 1, 0, 0, $4::bigint - (n % 2) * 720000000000, $5, 0, $6 FROM generate_series(1, $7::int) AS n`
	if e.dialect == sqlstore.SQLite {
		text = `INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, rotated_at, expires_at, sweep_hour, advanced_by, data)
		WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?7)
		SELECT ?1, randomblob(16), ?2, ?3, CAST('i' || n AS BLOB), 1, 0, 0, ?4 - (n % 2) * 720000000000, ?5, 0, ?6 FROM s`
	}
	if e.dialect == sqlstore.MySQL {
		text = `INSERT INTO jwtauth_sessions (owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, data, details)
		WITH RECURSIVE p AS (SELECT ? AS owner, ? AS issuer, ? AS subject, ? AS ending, ? AS hour, ? AS data, ? AS number), s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s JOIN p WHERE n < number)
		SELECT owner, UNHEX(MD5(CONCAT('s', n))), issuer, subject, CONCAT('i', n), 1, 0, 0, 0, 0, 0, ending - (n % 2) * 720000000000, hour, data, '' FROM s JOIN p`
		db.SetMaxOpenConns(1)
		_, err := db.ExecContext(t.Context(), "SET SESSION max_recursive_iterations = 4294967295")
		require.NoError(t, err)
	}
	_, err := db.ExecContext(t.Context(), text, owner, []byte("https://issuer.test"), []byte(subject), end.UnixMicro(), hour, make([]byte, 150), rows)
	require.NoError(t, err)
	analyze := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "VACUUM ANALYZE jwtauth_sessions", sqlstore.SQLite: "ANALYZE", sqlstore.MySQL: "ANALYZE TABLE jwtauth_sessions",
	}[e.dialect]
	_, err = db.ExecContext(t.Context(), analyze)
	require.NoError(t, err)
}

// actualRows matches the number of rows that a node of a plan has returned, or has read in
// vain.
var actualRows = regexp.MustCompile(`(?:actual rows=|Rows Removed by Filter: )(\d+)`)

// A page and a login with a limit read as many rows as the limit says, however many sessions
// the subject has. Half of the sessions here have expired, so a login reads twice as many.
func TestAPageAndALoginReadABoundedNumberOfRows(t *testing.T) {
	const limit = 50
	t.Run("PostgreSQL", func(t *testing.T) {
		e := postgresql(t)
		s := e.store(t)
		e.fillSubject(t, "alice", 50_000)
		db := e.open(t)
		for statement, args := range s.LimitedStatements("https://issuer.test", "alice", limit) {
			plan := planOf(t, db, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) "+statement, args)
			require.Contains(t, plan, "Index Scan using jwtauth_sessions_pkey")
			require.NotContains(t, plan, "Seq Scan")
			for _, m := range actualRows.FindAllStringSubmatch(plan, -1) {
				rows, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				require.LessOrEqual(t, rows, 4*limit, plan)
			}
		}
	})
	t.Run("SQLite", func(t *testing.T) {
		e := sqlite(t)
		s := e.store(t)
		e.fillSubject(t, "alice", 50_000)
		for statement, args := range s.LimitedStatements("https://issuer.test", "alice", limit) {
			plan := planOf(t, e.open(t), "EXPLAIN QUERY PLAN "+statement, args)
			require.Contains(t, plan, "SEARCH jwtauth_sessions USING INDEX sqlite_autoindex_jwtauth_sessions_1 (owner=?")
			require.NotContains(t, plan, "SCAN jwtauth_")
		}
	})
}
