package sqlstore_test

import (
	"crypto/sha256"
	"database/sql"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// oldProgram executes the statements of a program of version 2 of the schema. In PostgreSQL,
// its statements for revocations are also those of version 3. Their texts are copies, and must
// not change.
type oldProgram struct {
	dialect sqlstore.Dialect
	db      *sql.DB
}

func (e database) oldProgram(t testing.TB) oldProgram { return oldProgram{e.dialect, e.open(t)} }

const (
	oldCreate = `INSERT INTO jwtauth_sessions
	(owner, session, issuer, subject, id, generation, previous, rotated_at, expires_at, sweep_hour, advanced_by, data)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
	ON CONFLICT DO NOTHING`
	oldCreatePostgres = `WITH changed AS (` + oldCreate + ` RETURNING 1) SELECT 'jwtauth_create', count(*) FROM changed`

	oldAdvance = `UPDATE jwtauth_sessions SET
	previous    = CASE WHEN generation <= $3 THEN generation ELSE previous END,
	generation  = CASE WHEN generation <= $3 THEN CAST($3 AS bigint) + 1 ELSE generation END,
	rotated_at  = CASE WHEN generation <= $3 THEN $4 ELSE rotated_at END,
	expires_at  = CASE WHEN generation <= $3 THEN $5 ELSE expires_at END,
	sweep_hour  = CASE WHEN generation <= $3 THEN $6 ELSE sweep_hour END,
	advanced_by = CASE WHEN generation <= $3 THEN $7 ELSE advanced_by END
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING `
	oldColumns = `generation, previous, rotated_at, expires_at, data`

	oldAdvancePostgres = `WITH advanced AS (` + oldAdvance + oldColumns + `, advanced_by)
	SELECT 'jwtauth_advance', ` + oldColumns + `, advanced_by,
	CASE WHEN generation IS NULL THEN pg_logical_emit_message(true, 'jwtauth', ''::text) END
	FROM (SELECT 1) AS one LEFT JOIN advanced ON true`
	oldAdvanceSQLite = oldAdvance + `'jwtauth_advance', ` + oldColumns + `, advanced_by, NULL`

	oldListPostgres = `SELECT 'jwtauth_list', pg_is_in_recovery(), id, ` + oldColumns + `,
	CASE WHEN generation IS NULL AND NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'jwtauth', ''::text) END
	FROM (SELECT 1) AS one LEFT JOIN jwtauth_sessions ON owner = $1`
	oldListSQLite = `SELECT 'jwtauth_list', 0, id, ` + oldColumns + `, NULL
	FROM (SELECT 1) AS one LEFT JOIN jwtauth_sessions ON owner = $1`
)

const (
	oldRevokePostgres = `WITH changed AS (INSERT INTO jwtauth_revocations (key, id, until, xid)
	VALUES ($1, $2, $3, pg_current_xact_id())
	ON CONFLICT (key) DO UPDATE SET until = excluded.until, xid = excluded.xid
	WHERE jwtauth_revocations.until < excluded.until RETURNING 1) SELECT 'jwtauth_revoke', count(*) FROM changed`

	oldSincePostgres = `SELECT pg_current_snapshot()::text AS position, NULL::bytea AS id, NULL::bigint AS until
	UNION ALL SELECT NULL, id, until FROM jwtauth_revocations
	WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
	AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)`
)

// revoke stores a revocation in PostgreSQL.
func (p oldProgram) revoke(t testing.TB, id string, until time.Time) {
	t.Helper()
	key := sha256.Sum256([]byte(id))
	_, err := p.db.ExecContext(t.Context(), oldRevokePostgres, key[:], []byte(id), until.UnixMicro())
	require.NoError(t, err)
}

// since reads the log from a position on, or from the beginning, compares the entries, and
// returns the next position.
func (p oldProgram) since(t testing.TB, position string, want heard) (next string) {
	t.Helper()
	if position == "" {
		position = "1:1:"
	}
	rows, err := p.db.QueryContext(t.Context(), oldSincePostgres, position)
	require.NoError(t, err)
	defer rows.Close()
	entries := heard{}
	for rows.Next() {
		var after sql.NullString
		var id []byte
		var until sql.NullInt64
		require.NoError(t, rows.Scan(&after, &id, &until))
		if after.Valid {
			next = after.String
		} else {
			entries[string(id)] = time.UnixMicro(until.Int64).UTC()
		}
	}
	require.NoError(t, rows.Err())
	require.Equal(t, want, entries)
	return next
}

// text returns a statement as the old program sent it.
func (p oldProgram) text(postgres, sqlite string) string {
	if p.dialect == sqlstore.Postgres {
		return postgres
	}
	return strings.ReplaceAll(sqlite, "$", "?")
}

// sweepHour is the column of the same name.
func sweepHour(expires time.Time) int64 {
	return (expires.UnixMicro()+5*60*1_000_000)/3_600_000_000 + 1
}

func (p oldProgram) create(t testing.TB, r jwtauth.SessionRecord) {
	t.Helper()
	owner, session := sqlstore.Digest(r.Key.Issuer, r.Key.Subject), sqlstore.Digest(r.Key.ID)
	_, err := p.db.ExecContext(t.Context(), p.text(oldCreatePostgres, oldCreate), owner, session,
		[]byte(r.Key.Issuer), []byte(r.Key.Subject), []byte(r.Key.ID), r.Generation, r.Previous,
		r.RotatedAt.UnixMicro(), r.ExpiresAt.UnixMicro(), sweepHour(r.ExpiresAt), rand.Int64(), r.Data)
	require.NoError(t, err)
}

// row returns the record of the columns that the old program knows.
func (p oldProgram) row(k jwtauth.SessionKey, rotated, expires int64, r jwtauth.SessionRecord) jwtauth.SessionRecord {
	r.Key, r.RotatedAt, r.ExpiresAt = k, time.UnixMicro(rotated).UTC(), time.UnixMicro(expires).UTC()
	return r
}

func (p oldProgram) advance(t testing.TB, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool) {
	t.Helper()
	owner, session, call := sqlstore.Digest(k.Issuer, k.Subject), sqlstore.Digest(k.ID), rand.Int64()
	var name string
	var rotated, expires, advancedBy int64
	err := p.db.QueryRowContext(t.Context(), p.text(oldAdvancePostgres, oldAdvanceSQLite), owner, session,
		r.From, r.At.UnixMicro(), r.ExpiresAt.UnixMicro(), sweepHour(r.ExpiresAt), call).
		Scan(&name, &row.Generation, &row.Previous, &rotated, &expires, &row.Data, &advancedBy, new(any))
	require.NoError(t, err)
	return p.row(k, rotated, expires, row), advancedBy == call
}

func (p oldProgram) list(t testing.TB, issuer, subject string) (list []jwtauth.SessionRecord) {
	t.Helper()
	rows, err := p.db.QueryContext(t.Context(), p.text(oldListPostgres, oldListSQLite), sqlstore.Digest(issuer, subject))
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		var id []byte
		var rotated, expires int64
		var row jwtauth.SessionRecord
		require.NoError(t, rows.Scan(&name, new(any), &id, &row.Generation, &row.Previous, &rotated, &expires, &row.Data, new(any)))
		list = append(list, p.row(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: string(id)}, rotated, expires, row))
	}
	require.NoError(t, rows.Err())
	return list
}

// listOne returns the only session of alice.
func listOne(t testing.TB, s *sqlstore.Store) jwtauth.SessionRecord {
	t.Helper()
	rows, err := s.List(t.Context(), "https://issuer.test", "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	return rows[0]
}

func TestAnOldProgramAndANewProgramShareASession(t *testing.T) {
	onEachWithOldVersions(t, func(t *testing.T, e database) {
		s := e.newStore(t, e.open(t))
		require.NoError(t, s.MigrateTo(t.Context(), 2))
		old := e.oldProgram(t)
		r := record("alice", "one")
		r.Data = []byte("\x00data")
		old.create(t, r)
		// The old program has prepared all its statements before the migration.
		_, advanced := old.advance(t, r.Key, jwtauth.Rotation{From: 0, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		require.False(t, advanced)
		require.Len(t, old.list(t, r.Key.Issuer, "alice"), 1)
		require.NoError(t, s.Migrate(t.Context()))

		fresh := listOne(t, s)
		require.Equal(t, r.Key, fresh.Key)
		require.EqualValues(t, 1, fresh.Generation)
		require.Zero(t, fresh.Parent)
		require.Zero(t, fresh.ParentStep)
		require.Zero(t, fresh.Epoch)
		require.Empty(t, fresh.Details)
		require.Equal(t, r.RotatedAt, fresh.RotatedAt)

		end := r.ExpiresAt.Add(time.Hour)
		row, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, Parent: 1, Epoch: 3, At: r.RotatedAt, ExpiresAt: end, Details: []byte("phone")})
		require.NoError(t, err)
		require.True(t, advanced)
		require.EqualValues(t, 1, row.Parent)
		require.EqualValues(t, 2, row.ParentStep)
		seen := old.list(t, r.Key.Issuer, "alice")
		require.Len(t, seen, 1)
		require.EqualValues(t, 2, seen[0].Generation)
		require.EqualValues(t, 1, seen[0].Previous)
		require.Equal(t, row.RotatedAt, seen[0].RotatedAt)
		require.Equal(t, end, seen[0].ExpiresAt)
		require.Equal(t, r.Data, seen[0].Data)

		at := now()
		oldRow, advanced := old.advance(t, r.Key, jwtauth.Rotation{From: 2, At: at, ExpiresAt: end})
		require.True(t, advanced)
		require.EqualValues(t, 3, oldRow.Generation)
		row = listOne(t, s)
		require.EqualValues(t, 3, row.Generation)
		require.EqualValues(t, 2, row.Previous)
		require.EqualValues(t, 1, row.Parent, "an old program leaves the parent")
		require.EqualValues(t, 2, row.ParentStep, "the step of the parent must show that an old program has made the last step")
		require.EqualValues(t, 3, row.Epoch)
		require.Equal(t, "phone", string(row.Details))
		require.Equal(t, at, row.RotatedAt)

		lost, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 2, Parent: 2, Epoch: 3, At: at, ExpiresAt: end})
		require.NoError(t, err)
		require.False(t, advanced, "an old program has won")
		require.EqualValues(t, 3, lost.Generation)
		row, advanced, err = s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 3, Parent: 2, Epoch: 3, At: at, ExpiresAt: end})
		require.NoError(t, err)
		require.True(t, advanced)
		require.EqualValues(t, 2, row.Parent)
		require.EqualValues(t, 4, row.ParentStep)
		require.Equal(t, "phone", string(row.Details))
		require.Equal(t, r.Data, row.Data)
		oldRow, advanced = old.advance(t, r.Key, jwtauth.Rotation{From: 3, At: at, ExpiresAt: end})
		require.False(t, advanced, "a new program has won")
		require.EqualValues(t, 4, oldRow.Generation)

		r = record("alice", "two")
		old.create(t, r)
		require.NoError(t, s.Create(t.Context(), record("alice", "three"), 3))
		require.ErrorIs(t, s.Create(t.Context(), record("alice", "four"), 3), jwtauth.ErrSessionLimit)
		require.ErrorIs(t, s.Create(t.Context(), r, 0), jwtauth.ErrSessionExists)
		require.Len(t, old.list(t, r.Key.Issuer, "alice"), 3)
		require.ElementsMatch(t, []string{"one", "two", "three"}, idsOf(t, s, "alice"))
	})
}
