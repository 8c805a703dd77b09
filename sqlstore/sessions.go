package sqlstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth"
)

const (
	insertText = `INSERT INTO {prefix}sessions
	(owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, advanced_by, data, details) `

	createText = insertText + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
	ON CONFLICT DO NOTHING`

	// liveText counts the live sessions of a subject, up to the limit $17. Without ORDER BY, the
	// query planner may scan the whole table, because it expects to find enough rows soon.
	liveText = `SELECT count(*) AS n FROM (SELECT 1 FROM {prefix}sessions
	WHERE owner = $1 AND expires_at > $11 AND generation < 9223372036854775807
	ORDER BY session LIMIT $17) AS first`
)

// These statements are Create with a limit. In PostgreSQL, callers must not count the rows
// of a subject at the same time, so each caller first locks the subject until its
// transaction ends. The lock needs a statement of its own: a statement sees the database as
// it was when the statement began, and a lock inside the INSERT would be acquired after
// that. The lock has two numbers, and the lock of Migrate has one, so they are never the
// same. If no row is created, the statement commits an empty write (commitPostgres, see
// below).
//
// In SQLite, only one statement writes at a time. If there is a row with the same key, the
// statement does not change the row, but returns its advanced_by. If there is none, and the
// limit is reached, the statement returns no row.
const (
	lockOwnerPostgres = `SELECT '{prefix}lock owner', pg_advisory_xact_lock($1::int, $2::int) IS NOT NULL`

	createLimitedPostgres = `WITH live AS (` + liveText + `), created AS (` + insertText + `
	SELECT $1::bytea, $2::bytea, $3::bytea, $4::bytea, $5::bytea, $6::bigint, $7::bigint, $8::bigint, $9::bigint,
	$10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::bytea, $16::bytea
	FROM live WHERE n < $17 ON CONFLICT DO NOTHING RETURNING 1)
	SELECT '{prefix}create limited', EXISTS (SELECT 1 FROM created),
	live.n >= $17 AND NOT EXISTS (SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2),
	CASE WHEN NOT EXISTS (SELECT 1 FROM created) THEN ` + commitPostgres + ` END FROM live`

	createLimitedSQLite = insertText + `SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
	WHERE (` + liveText + `) < $17 OR EXISTS (SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2)
	ON CONFLICT (owner, session) DO UPDATE SET advanced_by = advanced_by
	RETURNING '{prefix}create limited', advanced_by`
)

// The engine's clock, in microseconds. clock_timestamp() is the time of its evaluation, and not
// that of the beginning of the statement. SQLite evaluates julianday('now') after it has locked
// the file, and once in a statement. Its precision is a millisecond.
const (
	nowPostgres = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	nowSQLite   = `CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000`
)

// stepText is the condition under which Advance makes a step: {step} in advanceText.
const stepText = `generation <= $3 AND epoch <= $9`

// advanceText does what SessionRecord.Step does. It has no condition on the generation and
// the epoch in its WHERE clause. With such a condition, a call that loses a race would find
// no row to update. A SELECT in the same statement would then return the row as it was when
// the statement began, before the winner's change. Instead, each call waits for the others
// and then updates the row. advanced_by says which call has made the last step.
const advanceText = `UPDATE {prefix}sessions SET
	previous    = CASE WHEN {step} THEN generation ELSE previous END,
	generation  = CASE WHEN {step} THEN CAST($3 AS bigint) + 1 ELSE generation END,
	parent      = CASE WHEN {step} THEN $8 ELSE parent END,
	parent_step = CASE WHEN {step} THEN CAST($3 AS bigint) + 1 ELSE parent_step END,
	epoch       = CASE WHEN epoch < $9 THEN $9 ELSE epoch END,
	rotated_at  = CASE WHEN {step} THEN {now} ELSE rotated_at END,
	expires_at  = CASE WHEN {step} THEN $5 ELSE expires_at END,
	sweep_hour  = CASE WHEN {step} THEN $6 ELSE sweep_hour END,
	advanced_by = CASE WHEN {step} THEN $7 ELSE advanced_by END,
	details     = CASE WHEN {step} THEN coalesce($10, details) ELSE details END`

// If Advance finds no session, the caller treats the session as ended. If a page of List is
// not full, the caller treats all other sessions of the subject as ended. In PostgreSQL,
// such a statement therefore also commits an empty write (commitPostgres). If a primary has
// lost its synchronous standby, the standby may have taken over and have other rows. The
// commit then does not return, so the old primary does not answer.
//
// In PostgreSQL, Advance locks the row before it updates the row. An UPDATE alone would compute
// the new values first, and then wait for the lock. It computes them again only if the row was
// changed meanwhile, so rotated_at could be too early by the duration of the wait.
const (
	sessionColumns = `generation, previous, parent, parent_step, epoch, rotated_at, expires_at, data, details`

	advancePostgres = `WITH locked AS MATERIALIZED (
	SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2 FOR NO KEY UPDATE),
	advanced AS (` + advanceText + ` FROM locked
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING ` + sessionColumns + `, {now} - rotated_at AS age, advanced_by)
	SELECT '{prefix}advance', ` + sessionColumns + `, age, advanced_by,
	CASE WHEN generation IS NULL THEN ` + commitPostgres + ` END
	FROM (SELECT 1) AS one LEFT JOIN advanced ON true`
	advanceSQLite = advanceText + `
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING '{prefix}advance', ` + sessionColumns + `, {now} - rotated_at, advanced_by, NULL`

	pageText = `SELECT session, id, ` + sessionColumns + ` FROM {prefix}sessions
	WHERE owner = $1 AND session > $2 ORDER BY session LIMIT $3`

	listPostgres = `WITH page AS MATERIALIZED (` + pageText + `)
	SELECT '{prefix}list', pg_is_in_recovery(), id, ` + sessionColumns + `,
	(SELECT CASE WHEN count(*) < $3 AND NOT pg_is_in_recovery() THEN ` + commitPostgres + ` END FROM page)
	FROM (SELECT 1) AS one LEFT JOIN page ON true ORDER BY session`
	listSQLite = `SELECT '{prefix}list', 0, id, ` + sessionColumns + `, NULL
	FROM (SELECT 1) AS one LEFT JOIN (` + pageText + `) AS page ON true ORDER BY session`

	commitPostgres = `pg_logical_emit_message(true, 'jwtauth', ''::text)`
)

const removeText = `DELETE FROM {prefix}sessions WHERE owner = $1 AND session = $2`

var errNotUTF8 = errors.New("sqlstore: an issuer, subject or id is not valid UTF-8")

// digest returns 16 bytes that stand for texts of any length in an index.
func digest(texts ...string) []byte {
	var b []byte
	for _, t := range texts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	sum := sha256.Sum256(b)
	return sum[:16]
}

// rowKey returns the primary key of a session.
func rowKey(k jwtauth.SessionKey) (owner, session []byte, err error) {
	if !utf8.ValidString(k.Issuer) || !utf8.ValidString(k.Subject) || !utf8.ValidString(k.ID) {
		return nil, nil, errNotUTF8
	}
	return digest(k.Issuer, k.Subject), digest(k.ID), nil
}

// newCallID returns a random number that identifies one call.
func newCallID() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:]))
}

// timeOf is the inverse of time.Time.UnixMicro.
func timeOf(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// Create implements [jwtauth.SessionStore]. In PostgreSQL, with a limit, it is a transaction
// of two statements, and concurrent calls for one subject wait for each other. Without a
// limit, it is one statement.
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord, limit int) error {
	owner, session, err := rowKey(r.Key)
	if err != nil {
		return err
	}
	expires, thisCall := r.ExpiresAt.UnixMicro(), newCallID()
	args := []any{
		owner, session, []byte(r.Key.Issuer), []byte(r.Key.Subject), []byte(r.Key.ID),
		r.Generation, r.Previous, r.Parent, r.ParentStep, r.Epoch, r.RotatedAt.UnixMicro(), expires,
		sweepHour(expires), thisCall, append([]byte{}, r.Data...), append([]byte{}, r.Details...),
	}
	switch {
	case limit <= 0:
		err = s.create(ctx, args)
	case s.dialect == Postgres:
		err = s.createLimitedPostgres(ctx, owner, append(args, int64(limit)))
	default:
		err = s.createLimitedSQLite(ctx, thisCall, append(args, int64(limit)))
	}
	switch {
	case err == nil:
		s.sweepSometimes(ctx, &s.creates, s.text.sweepSessions)
		return nil
	case errors.Is(err, jwtauth.ErrSessionExists), errors.Is(err, jwtauth.ErrSessionLimit):
		return err
	}
	return failed("create", err)
}

// create adds a row.
func (s *Store) create(ctx context.Context, args []any) error {
	n, err := s.change(ctx, "create", s.text.create, args...)
	if err == nil && n == 0 {
		err = jwtauth.ErrSessionExists
	}
	return err
}

// createLimitedPostgres adds a row if the owner has fewer live rows than the limit. If ctx
// ends, database/sql rolls the transaction back, or closes its connection.
func (s *Store) createLimitedPostgres(ctx context.Context, owner []byte, args []any) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() // has no effect after Commit
	high, low := s.ownerLock(owner)
	var locked, created, limitReached bool
	err = queryOnce(ctx, tx, s.text.lockOwner, func(scan func(...any) error) error {
		return s.scanAnswer(scan, "lock owner", &locked)
	}, []any{high, low})
	if err != nil {
		return err
	}
	err = queryOnce(ctx, tx, s.text.createLimited, func(scan func(...any) error) error {
		return s.scanAnswer(scan, "create limited", &created, &limitReached, new(any))
	}, args)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	switch {
	case created:
		return nil
	case limitReached:
		return jwtauth.ErrSessionLimit
	}
	return jwtauth.ErrSessionExists
}

// ownerLock returns the two numbers of the advisory lock of an owner. They are not negative:
// some drivers write them into the text of the statement, where -2147483648::int is an error.
func (s *Store) ownerLock(owner []byte) (high, low int64) {
	sum := digest("jwtauth sqlstore owner", s.prefix, string(owner))
	return int64(binary.BigEndian.Uint32(sum) >> 1), int64(binary.BigEndian.Uint32(sum[4:]) >> 1)
}

// createLimitedSQLite adds a row if its owner has fewer live rows than the limit.
func (s *Store) createLimitedSQLite(ctx context.Context, thisCall int64, args []any) error {
	var advancedBy int64
	err := s.queryWriting(ctx, s.text.createLimited, func(scan func(...any) error) error {
		return s.scanAnswer(scan, "create limited", &advancedBy)
	}, args...)
	switch {
	case errors.Is(err, errNoRow):
		return jwtauth.ErrSessionLimit
	case err == nil && advancedBy != thisCall:
		return jwtauth.ErrSessionExists
	}
	return err
}

// Advance implements [jwtauth.SessionStore].
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	owner, session, err := rowKey(k)
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	expires, thisCall := r.ExpiresAt.UnixMicro(), newCallID()
	var details any // NULL: the details stay
	if r.Details != nil {
		details = r.Details
	}
	var columns sessionRow
	var age, advancedBy sql.NullInt64
	err = s.queryWriting(ctx, s.text.advance, func(scan func(...any) error) error {
		return s.scanAnswer(scan, "advance", append(columns.pointers(), &age, &advancedBy, new(any))...)
	}, owner, session, r.From, r.At.UnixMicro(), expires, sweepHour(expires), thisCall, r.Parent, r.Epoch, details)
	if errors.Is(err, errNoRow) && s.dialect == SQLite {
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	if err != nil {
		return jwtauth.SessionRecord{}, false, failed("advance", err)
	}
	row, found := columns.record(k)
	if !found {
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	row.Age = time.Duration(age.Int64) * time.Microsecond
	return row, advancedBy.Int64 == thisCall, nil
}

// Delete implements [jwtauth.SessionStore].
func (s *Store) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	owner, session, err := rowKey(k)
	if err != nil {
		return err
	}
	if _, err := s.change(ctx, "remove", s.text.remove, owner, session); err != nil {
		return failed("delete", err)
	}
	return nil
}

// List implements [jwtauth.SessionStore]. The rows are in the order of a hash of their IDs.
// Expired rows are among them until a sweep removes them; the caller's clock decides whether
// a row has expired.
func (s *Store) List(ctx context.Context, issuer, subject, after string, limit int) ([]jwtauth.SessionRecord, error) {
	owner, place, err := rowKey(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: after})
	if err != nil {
		return nil, err
	}
	if after == "" {
		place = []byte{}
	}
	var list []jwtauth.SessionRecord
	var standby bool
	err = s.query(ctx, s.text.list, func(scan func(...any) error) error {
		key := jwtauth.SessionKey{Issuer: issuer, Subject: subject}
		var id []byte
		var columns sessionRow
		err := s.scanAnswer(scan, "list", append(append([]any{&standby, &id}, columns.pointers()...), new(any))...)
		if err != nil {
			return err
		}
		key.ID = string(id)
		if r, found := columns.record(key); found {
			list = append(list, r)
		}
		return nil
	}, owner, place, int64(limit))
	switch {
	case err != nil:
		return nil, failed("list", err)
	case standby:
		return nil, errStandby
	}
	return list, nil
}

// sessionRow holds sessionColumns. All are NULL if there is no session.
type sessionRow struct {
	generation, previous, parent, parentStep, epoch, rotated, expires sql.NullInt64
	data, details                                                     []byte
}

// pointers returns the destinations for scanning sessionColumns.
func (r *sessionRow) pointers() []any {
	return []any{&r.generation, &r.previous, &r.parent, &r.parentStep, &r.epoch, &r.rotated, &r.expires, &r.data, &r.details}
}

// record returns the session, if there is one.
func (r *sessionRow) record(k jwtauth.SessionKey) (record jwtauth.SessionRecord, found bool) {
	if !r.generation.Valid {
		return jwtauth.SessionRecord{}, false
	}
	return jwtauth.SessionRecord{
		Key: k, Generation: r.generation.Int64, Previous: r.previous.Int64,
		Parent: r.parent.Int64, ParentStep: r.parentStep.Int64, Epoch: r.epoch.Int64,
		RotatedAt: timeOf(r.rotated.Int64), ExpiresAt: timeOf(r.expires.Int64), Data: r.data, Details: r.details,
	}, true
}
