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

const createText = `INSERT INTO {prefix}sessions
	(owner, session, issuer, subject, id, generation, previous, rotated_at, expires_at, sweep_hour, advanced_by, data)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
	ON CONFLICT DO NOTHING`

// advanceText has no condition on the generation. With such a condition, a call that loses a
// race would find no row to update. A SELECT in the same statement would then return the row
// as it was when the statement began, before the winner's change. Instead, each call waits
// for the others and then updates the row. advanced_by says which call changed the
// generation.
const advanceText = `UPDATE {prefix}sessions SET
	previous    = CASE WHEN generation <= $3 THEN generation ELSE previous END,
	generation  = CASE WHEN generation <= $3 THEN CAST($3 AS bigint) + 1 ELSE generation END,
	rotated_at  = CASE WHEN generation <= $3 THEN $4 ELSE rotated_at END,
	expires_at  = CASE WHEN generation <= $3 THEN $5 ELSE expires_at END,
	sweep_hour  = CASE WHEN generation <= $3 THEN $6 ELSE sweep_hour END,
	advanced_by = CASE WHEN generation <= $3 THEN $7 ELSE advanced_by END
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING `

// If Advance finds no session, the caller treats the session as ended. If List finds none,
// the caller treats all sessions of the subject as ended. In PostgreSQL, such a statement
// therefore also commits an empty write (commitPostgres) before it returns a row. If a
// primary has lost its synchronous standby, the standby may have taken over and have other
// rows. The commit then does not return, so the old primary does not answer.
const (
	sessionColumns = `generation, previous, rotated_at, expires_at, data`

	advancePostgres = `WITH advanced AS (` + advanceText + sessionColumns + `, advanced_by)
	SELECT '{prefix}advance', ` + sessionColumns + `, advanced_by,
	CASE WHEN generation IS NULL THEN ` + commitPostgres + ` END
	FROM (SELECT 1) AS one LEFT JOIN advanced ON true`
	advanceSQLite = advanceText + `'{prefix}advance', ` + sessionColumns + `, advanced_by, NULL`

	listPostgres = `SELECT '{prefix}list', pg_is_in_recovery(), id, ` + sessionColumns + `,
	CASE WHEN generation IS NULL AND NOT pg_is_in_recovery() THEN ` + commitPostgres + ` END
	FROM (SELECT 1) AS one LEFT JOIN {prefix}sessions ON owner = $1`
	listSQLite = `SELECT '{prefix}list', 0, id, ` + sessionColumns + `, NULL
	FROM (SELECT 1) AS one LEFT JOIN {prefix}sessions ON owner = $1`

	commitPostgres = `pg_logical_emit_message(true, 'jwtauth', ''::text)`
)

const removeText = `DELETE FROM {prefix}sessions WHERE owner = $1 AND session = $2`

var (
	errTaken   = errors.New("sqlstore: a session with this id exists already")
	errNotUTF8 = errors.New("sqlstore: an issuer, subject or id is not valid UTF-8")
)

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

// Create implements [jwtauth.SessionStore].
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord) error {
	owner, session, err := rowKey(r.Key)
	if err != nil {
		return err
	}
	expires := r.ExpiresAt.UnixMicro()
	n, err := s.change(ctx, "create", s.text.create,
		owner, session, []byte(r.Key.Issuer), []byte(r.Key.Subject), []byte(r.Key.ID),
		r.Generation, r.Previous, r.RotatedAt.UnixMicro(), expires, sweepHour(expires), newCallID(), append([]byte{}, r.Data...))
	if err != nil {
		return failed("create", err)
	}
	if n == 0 {
		return errTaken
	}
	s.sweepSometimes(ctx, &s.creates, s.text.sweepSessions)
	return nil
}

// Advance implements [jwtauth.SessionStore].
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	owner, session, err := rowKey(k)
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	expires, thisCall := r.ExpiresAt.UnixMicro(), newCallID()
	var columns sessionRow
	var advancedBy sql.NullInt64
	err = s.queryWriting(ctx, s.text.advance, func(scan func(...any) error) error {
		return s.scanAnswer(scan, "advance", append(columns.pointers(), &advancedBy, new(any))...)
	}, owner, session, r.From, r.At.UnixMicro(), expires, sweepHour(expires), thisCall)
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

// List implements [jwtauth.SessionStore]. The list has expired rows until a sweep removes
// them; the caller's clock decides whether a row has expired.
func (s *Store) List(ctx context.Context, issuer, subject string) ([]jwtauth.SessionRecord, error) {
	owner, _, err := rowKey(jwtauth.SessionKey{Issuer: issuer, Subject: subject})
	if err != nil {
		return nil, err
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
	}, owner)
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
	generation, previous, rotated, expires sql.NullInt64
	data                                   []byte
}

// pointers returns the destinations for scanning sessionColumns.
func (r *sessionRow) pointers() []any {
	return []any{&r.generation, &r.previous, &r.rotated, &r.expires, &r.data}
}

// record returns the session, if there is one.
func (r *sessionRow) record(k jwtauth.SessionKey) (record jwtauth.SessionRecord, found bool) {
	if !r.generation.Valid {
		return jwtauth.SessionRecord{}, false
	}
	return jwtauth.SessionRecord{
		Key: k, Generation: r.generation.Int64, Previous: r.previous.Int64,
		RotatedAt: timeOf(r.rotated.Int64), ExpiresAt: timeOf(r.expires.Int64), Data: r.data,
	}, true
}
