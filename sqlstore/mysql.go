package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// mysql is the engine of MySQL and MariaDB. These have no statement that changes a row and
// returns it, so most calls are transactions. They run at READ COMMITTED. At a stricter level,
// the engine also locks the gaps between rows, so more calls would wait for each other or lose a
// deadlock. At READ UNCOMMITTED, a call could rely on a row that is rolled back.
//
// A statement that only reads may be answered by a server that is read-only, because another
// server has taken over, or by one that has lost its replicas. A transaction whose result says
// that there is no session or that a limit is reached therefore commits an empty write. See
// confirmMySQL.
type mysql struct {
	base
	text mysqlStatements
}

// mysqlStatements holds the texts of statements. anyRevoked is only the beginning of a
// statement, because IsRevoked adds as many parameters as it has ids.
type mysqlStatements struct {
	confirm                         string
	create, count                   string
	lock, clock, step               string
	remove, list                    string
	ends, advanceLog, addRevocation string
	anyRevoked, since, all          string
	sweepSessions, sweepRevocations string
	schema                          schemaStatements
}

func newMySQL(b base) *mysql {
	m := &mysql{base: b}
	t := m.translate
	m.text = mysqlStatements{
		confirm: t(confirmMySQL),
		create:  t(createMySQL), count: t(countMySQL),
		lock: t(lockMySQL), clock: t(clockMySQL), step: t(stepMySQL),
		remove: t(removeMySQL), list: t(listMySQL),

		ends: t(endsMySQL), advanceLog: t(advanceLogMySQL), addRevocation: t(addRevocationMySQL),
		anyRevoked: t(anyRevokedMySQL),
		since:      t(stateMySQL + knownMySQL + " UNION ALL " + rowsMySQL + " WHERE seq > ?"),
		all:        t(stateMySQL + " UNION ALL " + rowsMySQL),

		sweepSessions: t(sweepSessionsMySQL), sweepRevocations: t(sweepRevocationsMySQL),

		schema: schemaStatements{
			exists: t(hasSchemaMySQL), create: t(makeSchemaMySQL), version: t(versionMySQL),
			withOldest: 1, oldest: t(oldestMySQL), begin: t(beginVersionMySQL), end: t(endVersionMySQL),
		},
	}
	return m
}

// translate returns a statement. text has {prefix} in place of the prefix, {now} in place of the
// engine's clock, and {writable} in place of a condition that is false if the server is read-only.
func (m *mysql) translate(text string) string {
	return strings.ReplaceAll(m.base.translate(text, nowMySQL), "{writable}", writableMySQL)
}

const (
	// nowMySQL is the engine's clock when the statement began, in microseconds. It does not
	// depend on time_zone.
	nowMySQL = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`

	writableMySQL = `CONCAT(@@global.read_only) IN ('0', 'OFF')`

	// confirmMySQL is a write that only shows that the server can commit. The row is one of 256,
	// so that concurrent callers rarely wait for each other.
	confirmMySQL = `UPDATE {prefix}slots SET n = n + 1 WHERE slot = ? AND {writable}`
)

var errReadOnly = errors.New("sqlstore: this server is read-only: connect to the primary")

// confirm makes the transaction one that only a server that can commit writes completes. Until
// the transaction ends, other calls of confirm with the same key wait.
func (m *mysql) confirm(ctx context.Context, tx *sql.Conn, key []byte) error {
	n, err := exec(ctx, tx, m.text.confirm, int64(key[0]))
	if err == nil && n != 1 {
		err = errReadOnly
	}
	return err
}

const (
	maxConflicts  = 20                   // how often a call is repeated that lost a deadlock
	conflictPause = 5 * time.Millisecond // the greatest pause before the first repetition
)

// connected calls f with a connection. If f fails because of a deadlock or because it has waited
// for a lock for too long, it had no effect, and connected calls f again. If the server is
// read-only, connected closes the connection, so that the next call may find another server.
func (m *mysql) connected(ctx context.Context, f func(conn *sql.Conn) error) (err error) {
	for n := range maxConflicts {
		if n > 0 {
			select {
			case <-time.After(rand.N(conflictPause << min(n, 6))):
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), err)
			}
		}
		if err = m.onConn(ctx, f); err == nil || !isConflict(err) {
			break
		}
	}
	return err
}

func (m *mysql) onConn(ctx context.Context, f func(conn *sql.Conn) error) error {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = f(conn)
	if err != nil && isReadOnly(err) {
		closeForGood(conn)
	}
	return err
}

// closeForGood closes a connection without returning it to the pool.
func closeForGood(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }

// transaction calls f in a transaction and commits it. See connected. If f returns an error, or
// ctx ends, the transaction is rolled back. It does not use sql.Tx, since a driver cannot see
// there when the context of Commit ends.
func (m *mysql) transaction(ctx context.Context, f func(tx *sql.Conn) error) error {
	return m.connected(ctx, func(conn *sql.Conn) error {
		hasEnded := false
		defer func() {
			if !hasEnded {
				closeForGood(conn) // the server rolls the transaction back
			}
		}()
		for _, text := range []string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"} {
			if _, err := conn.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		err := f(conn)
		if err == nil {
			_, err = conn.ExecContext(ctx, "COMMIT")
			hasEnded = err == nil
			return err
		}
		_, errRollback := conn.ExecContext(ctx, "ROLLBACK")
		hasEnded = errRollback == nil
		return err
	})
}

// errorNumber finds the number of an error in its text, as all drivers of MySQL write it.
var errorNumber = regexp.MustCompile(`(?i)\berror (\d{4})\b`)

func hasNumber(err error, numbers ...string) bool {
	for _, found := range errorNumber.FindAllStringSubmatch(err.Error(), -1) {
		for _, n := range numbers {
			if found[1] == n {
				return true
			}
		}
	}
	return false
}

// isConflict reports whether an error is a deadlock (1213) or a lock that was not free in
// innodb_lock_wait_timeout (1205).
func isConflict(err error) bool { return hasNumber(err, "1213", "1205") }

// isReadOnly reports whether an error means that the server is read-only, by an option (1290,
// 1836) or by the default of its transactions (1792).
func isReadOnly(err error) bool {
	return errors.Is(err, errReadOnly) || hasNumber(err, "1290", "1792", "1836")
}

func (m *mysql) alone(_ context.Context, f func() error) error { return f() }
func (m *mysql) retry(_ context.Context, f func() error) error { return f() }
func (m *mysql) explain(err error) error                       { return err }

// INSERT IGNORE inserts no row if there is one with the same key. No other error can occur that
// it would ignore, because no column is too short for its value.
const (
	createMySQL = `INSERT IGNORE INTO {prefix}sessions
	(owner, session, issuer, subject, id, generation, previous, parent, parent_step, epoch, rotated_at, expires_at, sweep_hour, data, details)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	// countMySQL counts the live sessions of a subject, up to a limit, and says whether a session
	// exists.
	countMySQL = `SELECT '{prefix}count', (SELECT COUNT(*) FROM (SELECT 1 FROM {prefix}sessions
	WHERE owner = ? AND expires_at > ? AND generation < 9223372036854775807 ORDER BY session LIMIT ?) AS live),
	EXISTS (SELECT 1 FROM {prefix}sessions WHERE owner = ? AND session = ?)`
)

// create adds a row. With a limit, it first locks the slot of the owner until the transaction
// ends, so that concurrent calls do not count at the same time.
func (m *mysql) create(ctx context.Context, r newRow, limit int) error {
	var result error
	err := m.transaction(ctx, func(tx *sql.Conn) error {
		result = nil
		if limit > 0 {
			if err := m.confirm(ctx, tx, r.owner); err != nil {
				return err
			}
			var live int
			var exists bool
			err := query(ctx, tx, m.text.count, func(scan scanFunc) error {
				return m.scanAnswer(scan, "count", &live, &exists)
			}, r.owner, r.rotatedAt, int64(limit), r.owner, r.session)
			if err != nil {
				return err
			}
			if live >= limit && !exists {
				result = jwtauth.ErrSessionLimit
				return nil
			}
		}
		n, err := exec(ctx, tx, m.text.create, r.columns...)
		if err == nil && n == 0 {
			result = jwtauth.ErrSessionExists
		}
		return err
	})
	if err != nil {
		return err
	}
	return result
}

// The time of a step is read by a statement of its own, which begins after the wait for the row.
const (
	lockMySQL = `SELECT '{prefix}lock', ` + sessionColumns + `
	FROM (SELECT 1 AS one) AS one LEFT JOIN {prefix}sessions ON owner = ? AND session = ? FOR UPDATE`
	clockMySQL = `SELECT '{prefix}clock', {now}`
	stepMySQL  = `UPDATE {prefix}sessions SET generation = ?, previous = ?, parent = ?, parent_step = ?, epoch = ?,
	rotated_at = ?, expires_at = ?, sweep_hour = ?, details = ? WHERE owner = ? AND session = ?`
)

func (m *mysql) advance(ctx context.Context, k rowKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	var found bool
	err = m.transaction(ctx, func(tx *sql.Conn) (err error) {
		row, advanced, found, err = m.advanceIn(ctx, tx, k, r)
		return err
	})
	switch {
	case err != nil:
		return jwtauth.SessionRecord{}, false, err
	case !found:
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	return row, advanced, nil
}

// advanceIn locks the row, computes the step, and writes the row.
func (m *mysql) advanceIn(ctx context.Context, tx *sql.Conn, k rowKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced, found bool, err error) {
	var columns sessionRow
	err = query(ctx, tx, m.text.lock, func(scan scanFunc) error {
		return m.scanAnswer(scan, "lock", columns.pointers()...)
	}, k.owner, k.session)
	if err != nil {
		return row, false, false, err
	}
	before, found := columns.record()
	if !found || columns.expires.Int64 <= r.At.UnixMicro() {
		return row, false, false, m.confirm(ctx, tx, k.owner)
	}
	var now int64
	err = query(ctx, tx, m.text.clock, func(scan scanFunc) error { return m.scanAnswer(scan, "clock", &now) })
	if err != nil {
		return row, false, false, err
	}
	row, advanced = before.Step(r, timeOf(now))
	if !advanced && row.Epoch == before.Epoch {
		// The caller may answer with new tokens, so the server must be the one that has the last step.
		return row, false, true, m.confirm(ctx, tx, k.owner)
	}
	expires := row.ExpiresAt.UnixMicro()
	_, err = tx.ExecContext(ctx, m.text.step, row.Generation, row.Previous, row.Parent, row.ParentStep, row.Epoch,
		row.RotatedAt.UnixMicro(), expires, sweepHour(expires), append([]byte{}, row.Details...), k.owner, k.session)
	return row, advanced, true, err
}

const removeMySQL = `DELETE FROM {prefix}sessions WHERE owner = ? AND session = ?`

func (m *mysql) remove(ctx context.Context, k rowKey) error {
	return m.transaction(ctx, func(tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, m.text.remove, k.owner, k.session)
		return err
	})
}

const listMySQL = `SELECT '{prefix}list', {writable}, id, ` + sessionColumns + `
	FROM (SELECT 1 AS one) AS one LEFT JOIN (SELECT session, id, ` + sessionColumns + ` FROM {prefix}sessions
	WHERE owner = ? AND session > ? ORDER BY session LIMIT ?) AS page ON TRUE ORDER BY session`

// list returns a page. If the page is not full, the caller treats all other sessions of the
// subject as ended, so the transaction also commits an empty write.
func (m *mysql) list(ctx context.Context, owner, after []byte, limit int) (list []jwtauth.SessionRecord, err error) {
	err = m.transaction(ctx, func(tx *sql.Conn) error {
		list = nil
		err := query(ctx, tx, m.text.list, func(scan scanFunc) error {
			var row sessionRow
			var isWritable bool
			err := m.scanAnswer(scan, "list", append([]any{&isWritable}, row.pointersWithID()...)...)
			if err == nil && !isWritable {
				err = errReadOnly
			}
			if r, found := row.record(); err == nil && found {
				list = append(list, r)
			}
			return err
		}, owner, after, int64(limit))
		if err != nil {
			return err
		}
		if len(list) < limit {
			return m.confirm(ctx, tx, owner)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// The statements of the sweep skip rows that other transactions have locked, so a sweep never
// waits.
const (
	sweepSessionsMySQL = `DELETE old FROM (SELECT owner, session FROM {prefix}sessions
	WHERE sweep_hour <= LEAST(UNIX_TIMESTAMP(), ? DIV 1000000) DIV 3600 ORDER BY sweep_hour LIMIT ? FOR UPDATE SKIP LOCKED) AS due
	STRAIGHT_JOIN {prefix}sessions AS old ON old.owner = due.owner AND old.session = due.session`
	sweepRevocationsMySQL = `DELETE old FROM (SELECT seq FROM {prefix}revocations
	WHERE until <= LEAST(UNIX_TIMESTAMP() * 1000000, ?) - 300000000 ORDER BY until LIMIT ? FOR UPDATE SKIP LOCKED) AS due
	STRAIGHT_JOIN {prefix}revocations AS old ON old.seq = due.seq`
)

func (m *mysql) sweepSessions(ctx context.Context, callersNow int64) (n int64, err error) {
	return m.sweep(ctx, m.text.sweepSessions, callersNow)
}

func (m *mysql) sweepRevocations(ctx context.Context, callersNow int64) (n int64, err error) {
	return m.sweep(ctx, m.text.sweepRevocations, callersNow)
}

func (m *mysql) sweep(ctx context.Context, text string, callersNow int64) (n int64, err error) {
	err = m.transaction(ctx, func(tx *sql.Conn) (err error) {
		n, err = exec(ctx, tx, text, callersNow, int64(sweepBatch))
		return err
	})
	return n, err
}
