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
	(owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, data, details, advanced_by) `

	createText = insertText + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
	ON CONFLICT DO NOTHING`

	// liveText counts the live sessions of a subject, up to the limit $17. Without ORDER BY, the
	// query planner may scan the whole table, because it expects to find enough rows soon.
	liveText = `SELECT count(*) AS n FROM (SELECT 1 FROM {prefix}sessions
	WHERE owner = $1 AND expires_at > $11 AND generation < 9223372036854775807
	ORDER BY session LIMIT $17) AS first`
)

// stepText is the condition under which Advance makes a step: {step} in advanceText.
const stepText = `generation <= $3 AND epoch <= $9`

// advanceText does what SessionRecord.Step does, in PostgreSQL and SQLite. It has no condition on
// the generation and the epoch in its WHERE clause. With such a condition, a call that loses a
// race would find no row to update. A SELECT in the same statement would then return the row as it
// was when the statement began, before the winner's change. Instead, each call waits for the
// others and then updates the row. advanced_by says which call has made the last step.
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

// stepNowText makes a step, and changes no row if the row does not allow the step. It is the first
// of two statements of Advance in PostgreSQL and SQLite: most calls make a step, and it is cheaper
// than advanceText, which decides about all other calls.
const stepNowText = `UPDATE {prefix}sessions SET
	previous = generation, generation = CAST($3 AS bigint) + 1, parent = $8, parent_step = CAST($3 AS bigint) + 1,
	epoch = $9, rotated_at = {now}, expires_at = $5, sweep_hour = $6, advanced_by = $7, details = coalesce($10, details)`

const (
	whereStepText     = `WHERE owner = $1 AND session = $2 AND expires_at > $4 AND {step}`
	returningStepText = `RETURNING '{prefix}step', previous, rotated_at, data, details`

	sessionColumns = `generation, previous, parent, parent_step, epoch, rotated_at, expires_at, data, details`

	pageText = `SELECT session, id, ` + sessionColumns + ` FROM {prefix}sessions
	WHERE owner = $1 AND session > $2 ORDER BY session LIMIT $3`
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

// keyOf returns the primary key of a session.
func keyOf(k jwtauth.SessionKey) (rowKey, error) {
	if !utf8.ValidString(k.Issuer) || !utf8.ValidString(k.Subject) || !utf8.ValidString(k.ID) {
		return rowKey{}, errNotUTF8
	}
	return rowKey{digest(k.Issuer, k.Subject), digest(k.ID)}, nil
}

// newCallID returns a random number that identifies one call.
func newCallID() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:]))
}

// timeOf is the inverse of time.Time.UnixMicro.
func timeOf(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// Create implements [jwtauth.SessionStore]. With a limit, concurrent calls for one subject wait
// for each other. In MariaDB, calls for some other subjects may wait, too.
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord, limit int) error {
	k, err := keyOf(r.Key)
	if err != nil {
		return err
	}
	expires := r.ExpiresAt.UnixMicro()
	err = s.engine.create(ctx, newRow{k, []any{
		k.owner, k.session, []byte(r.Key.Issuer), []byte(r.Key.Subject), []byte(r.Key.ID),
		r.Generation, r.Previous, r.Parent, r.ParentStep, r.Epoch, r.RotatedAt.UnixMicro(), expires,
		sweepHour(expires), append([]byte{}, r.Data...), append([]byte{}, r.Details...),
	}, r.RotatedAt.UnixMicro()}, max(limit, 0))
	switch {
	case err == nil:
		s.sweepSometimes(ctx, &s.creates, s.engine.sweepSessions)
		return nil
	case errors.Is(err, jwtauth.ErrSessionExists), errors.Is(err, jwtauth.ErrSessionLimit):
		return err
	}
	return failed("create", err)
}

// Advance implements [jwtauth.SessionStore].
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	key, err := keyOf(k)
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	row, advanced, err = s.engine.advance(ctx, key, r)
	switch {
	case errors.Is(err, jwtauth.ErrNoSession):
		return jwtauth.SessionRecord{}, false, err
	case err != nil:
		return jwtauth.SessionRecord{}, false, failed("advance", err)
	}
	row.Key = k
	return row, advanced, nil
}

// Delete implements [jwtauth.SessionStore].
func (s *Store) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	key, err := keyOf(k)
	if err != nil {
		return err
	}
	if err := s.engine.remove(ctx, key); err != nil {
		return failed("delete", err)
	}
	return nil
}

// List implements [jwtauth.SessionStore]. The rows are in the order of a hash of their IDs.
// Expired rows are among them until a sweep removes them; the caller's clock decides whether
// a row has expired.
func (s *Store) List(ctx context.Context, issuer, subject, after string, limit int) ([]jwtauth.SessionRecord, error) {
	k, err := keyOf(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: after})
	if err != nil {
		return nil, err
	}
	if after == "" {
		k.session = []byte{}
	}
	list, err := s.engine.list(ctx, k.owner, k.session, limit)
	if err != nil {
		return nil, failed("list", err)
	}
	for i := range list {
		list[i].Key.Issuer, list[i].Key.Subject = issuer, subject
	}
	return list, nil
}

// sessionRow holds sessionColumns. All are NULL if there is no session.
type sessionRow struct {
	id                                                                []byte // only if the statement returns it
	generation, previous, parent, parentStep, epoch, rotated, expires sql.NullInt64
	data, details                                                     []byte
}

// pointers returns the destinations for scanning sessionColumns.
func (r *sessionRow) pointers() []any {
	return []any{&r.generation, &r.previous, &r.parent, &r.parentStep, &r.epoch, &r.rotated, &r.expires, &r.data, &r.details}
}

// pointersWithID returns the destinations for scanning the id and sessionColumns.
func (r *sessionRow) pointersWithID() []any { return append([]any{&r.id}, r.pointers()...) }

// record returns the session, if there is one. Of its Key, only the ID is set.
func (r *sessionRow) record() (record jwtauth.SessionRecord, found bool) {
	if !r.generation.Valid {
		return jwtauth.SessionRecord{}, false
	}
	return jwtauth.SessionRecord{
		Key: jwtauth.SessionKey{ID: string(r.id)}, Generation: r.generation.Int64, Previous: r.previous.Int64,
		Parent: r.parent.Int64, ParentStep: r.parentStep.Int64, Epoch: r.epoch.Int64,
		RotatedAt: timeOf(r.rotated.Int64), ExpiresAt: timeOf(r.expires.Int64), Data: r.data, Details: r.details,
	}, true
}

// advanceArgs returns the arguments of advanceText. thisCall is its value of advanced_by.
func advanceArgs(k rowKey, r jwtauth.Rotation) (args []any, thisCall int64) {
	expires, thisCall := r.ExpiresAt.UnixMicro(), newCallID()
	var details any // NULL: the details stay
	if r.Details != nil {
		details = r.Details
	}
	return []any{k.owner, k.session, r.From, r.At.UnixMicro(), expires, sweepHour(expires), thisCall, r.Parent, r.Epoch, details}, thisCall
}

// stepRow holds the columns that stepNowText returns.
type stepRow struct {
	previous, rotated int64
	data, details     []byte
}

func (s *stepRow) pointers() []any { return []any{&s.previous, &s.rotated, &s.data, &s.details} }

// record returns the row after the step r.
func (s *stepRow) record(r jwtauth.Rotation) jwtauth.SessionRecord {
	return jwtauth.SessionRecord{
		Generation: r.From + 1, Previous: s.previous, Parent: r.Parent, ParentStep: r.From + 1, Epoch: r.Epoch,
		RotatedAt: timeOf(s.rotated), ExpiresAt: timeOf(r.ExpiresAt.UnixMicro()), Data: s.data, Details: s.details,
	}
}

// advancedRow holds the columns that a statement with advanceText returns.
type advancedRow struct {
	sessionRow
	age, advancedBy sql.NullInt64
}

func (a *advancedRow) pointers() []any {
	return append(a.sessionRow.pointers(), &a.age, &a.advancedBy)
}

// result returns the result of Advance.
func (a *advancedRow) result(thisCall int64) (row jwtauth.SessionRecord, advanced bool, err error) {
	row, found := a.record()
	if !found {
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	row.Age = time.Duration(a.age.Int64) * time.Microsecond
	return row, a.advancedBy.Int64 == thisCall, nil
}
