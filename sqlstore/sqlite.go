package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// sqlite is the engine of SQLite. Each call is one statement, except an Advance that makes no
// step. Only one statement writes at a time.
type sqlite struct {
	base
	text   statements
	writer chan struct{} // a lock for writing
}

func newSQLite(b base) *sqlite {
	l := &sqlite{base: b, writer: make(chan struct{}, 1)}
	t := l.translate
	l.text = statements{
		create:  t(createText),
		step:    t(stepNowText + " " + whereStepText + " " + returningStepText),
		advance: t(advanceSQLite),
		remove:  t(removeText),
		list:    t(listSQLite),

		createLimited: t(createLimitedSQLite),

		revoke:     t(revokeSQLite),
		anyRevoked: t(anyRevokedSQLite),
		since:      t(stateSQLite + " UNION ALL " + sinceSQLite),
		all:        t(stateSQLite + " UNION ALL " + allText),
		makeEpoch:  t(makeEpochText),

		sweepSessions:    t(sweepSessionsSQLite),
		sweepRevocations: t(sweepRevocationsSQLite),

		schema: schemaStatements{
			exists: t(hasSchemaSQLite), create: t(makeSchemaText), version: t(versionText),
			withOldest: 3, oldest: t(oldestText), begin: t(beginVersionText), end: t(endVersionText),
		},
	}
	return l
}

// translate returns a statement of SQLite.
func (l *sqlite) translate(text string) string {
	return strings.ReplaceAll(l.base.translate(text, nowSQLite), "$", "?")
}

// nowSQLite is the clock, in microseconds. SQLite evaluates julianday('now') after it has locked
// the file, and once in a statement. Its precision is a millisecond.
const nowSQLite = `CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000`

// lockWriter lets one caller at a time write to the file. SQLite allows one writer, and without
// this lock the other callers would have to poll.
func (l *sqlite) lockWriter(ctx context.Context) (unlock func(), err error) {
	select {
	case l.writer <- struct{}{}:
		return func() { <-l.writer }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *sqlite) alone(ctx context.Context, f func() error) error {
	unlock, err := l.lockWriter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// busyPause is how long a call waits before it tries a locked file again.
const busyPause = 2 * time.Millisecond

// retry calls f again until the file is not locked by another process, or the context ends.
// SQLite's own busy_timeout does not watch contexts. A statement that found the file locked has
// had no effect.
func (l *sqlite) retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || !isBusy(err) {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// isBusy reports whether an error of SQLite means that another process has locked the
// file. If the error has no method Code, isBusy looks at its text.
func isBusy(err error) bool {
	const busy, locked = 5, 6 // SQLITE_BUSY and SQLITE_LOCKED; their extended result codes have the same low byte
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		primary := coded.Code() & 0xFF
		return primary == busy || primary == locked
	}
	return strings.Contains(err.Error(), "database is locked")
}

func (l *sqlite) explain(err error) error { return err }

// exec executes a statement that writes, and returns how many rows it changed.
func (l *sqlite) exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	err = l.alone(ctx, func() error {
		return l.retry(ctx, func() (err error) {
			n, err = exec(ctx, l.db, text, args...)
			return err
		})
	})
	return n, err
}

// query is like the function query.
func (l *sqlite) query(ctx context.Context, text string, each func(scan scanFunc) error, args ...any) error {
	return l.retry(ctx, func() error { return query(ctx, l.db, text, each, args...) })
}

// queryWriting is like query, for a statement that writes.
func (l *sqlite) queryWriting(ctx context.Context, text string, each func(scan scanFunc) error, args ...any) error {
	return l.alone(ctx, func() error { return l.query(ctx, text, each, args...) })
}

// createLimitedSQLite is Create with a limit. If there is a row with the same key, the statement
// does not change the row, but returns its advanced_by. If there is none, and the limit is
// reached, the statement returns no row.
const createLimitedSQLite = insertText + `SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
	WHERE (` + liveText + `) < $17 OR EXISTS (SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2)
	ON CONFLICT (owner, session) DO UPDATE SET advanced_by = advanced_by
	RETURNING '{prefix}create limited', advanced_by`

func (l *sqlite) create(ctx context.Context, r newRow, limit int) error {
	if limit > 0 {
		return l.createLimited(ctx, r, limit)
	}
	n, err := l.exec(ctx, l.text.create, append(r.columns, newCallID())...)
	if err == nil && n == 0 {
		err = jwtauth.ErrSessionExists
	}
	return err
}

// createLimited adds a row if its owner has fewer live rows than the limit.
func (l *sqlite) createLimited(ctx context.Context, r newRow, limit int) error {
	var advancedBy int64
	thisCall := newCallID()
	err := l.queryWriting(ctx, l.text.createLimited, func(scan scanFunc) error {
		return l.scanAnswer(scan, "create limited", &advancedBy)
	}, append(r.columns, thisCall, int64(limit))...)
	switch {
	case errors.Is(err, errNoRow):
		return jwtauth.ErrSessionLimit
	case err == nil && advancedBy != thisCall:
		return jwtauth.ErrSessionExists
	}
	return err
}

// If there is no session, Advance returns no row.
const (
	advanceSQLite = advanceText + `
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING '{prefix}advance', ` + sessionColumns + `, {now} - rotated_at, advanced_by`

	listSQLite = `SELECT '{prefix}list', id, ` + sessionColumns + `
	FROM (SELECT 1) AS one LEFT JOIN (` + pageText + `) AS page ON true ORDER BY session`
)

func (l *sqlite) advance(ctx context.Context, k rowKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	args, thisCall := advanceArgs(k, r)
	if r.From > 0 {
		var step stepRow
		err := l.queryWriting(ctx, l.text.step, func(scan scanFunc) error {
			return l.scanAnswer(scan, "step", step.pointers()...)
		}, args...)
		if !errors.Is(err, errNoRow) {
			return step.record(r), err == nil, err
		}
	}
	var a advancedRow
	err = l.queryWriting(ctx, l.text.advance, func(scan scanFunc) error {
		return l.scanAnswer(scan, "advance", a.pointers()...)
	}, args...)
	if err != nil && !errors.Is(err, errNoRow) {
		return jwtauth.SessionRecord{}, false, err
	}
	return a.result(thisCall)
}

func (l *sqlite) remove(ctx context.Context, k rowKey) error {
	_, err := l.exec(ctx, l.text.remove, k.owner, k.session)
	return err
}

func (l *sqlite) list(ctx context.Context, owner, after []byte, limit int) (list []jwtauth.SessionRecord, err error) {
	err = l.query(ctx, l.text.list, func(scan scanFunc) error {
		var row sessionRow
		err := l.scanAnswer(scan, "list", row.pointersWithID()...)
		if r, found := row.record(); err == nil && found {
			list = append(list, r)
		}
		return err
	}, owner, after, int64(limit))
	if err != nil {
		return nil, err
	}
	return list, nil
}

const (
	revokeSQLite = `INSERT OR REPLACE INTO {prefix}revocations (key, id, until)
	SELECT $1, $2, $3
	WHERE NOT EXISTS (SELECT 1 FROM {prefix}revocations WHERE key = $1 AND until >= $3)`

	anyRevokedSQLite = `SELECT '{prefix}is revoked', EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
)

func (l *sqlite) revoke(ctx context.Context, r revocation) (changed bool, err error) {
	n, err := l.exec(ctx, l.text.revoke, r.key, r.literal, r.until)
	return n > 0, err
}

func (l *sqlite) isAnyRevoked(ctx context.Context, now int64, keys [][]byte) (revoked bool, err error) {
	text := l.text.anyRevoked + strings.Repeat("?,", len(keys)-1) + "?))"
	args := []any{now}
	for _, key := range keys {
		args = append(args, key)
	}
	err = l.query(ctx, text, func(scan scanFunc) error { return l.scanAnswer(scan, "is revoked", &revoked) }, args...)
	return revoked, err
}

// In SQLite, only one transaction writes at a time, so the position of the log is a sequence
// number. The epoch names the file, and stays the same if the file is opened again.
const (
	stateSQLite = `SELECT '{prefix}since ' || CAST(coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{prefix}revocations'), 0) AS TEXT) AS position,
		(SELECT value FROM {prefix}epoch) AS epoch, NULL AS newest, NULL AS key, NULL AS id, NULL AS until`
	sinceSQLite = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations WHERE seq > CAST($1 AS INTEGER)`
)

func (l *sqlite) readFrom(ctx context.Context, from state, entry entryFunc) (now state, ok bool, err error) {
	now, err = l.read(ctx, l.text.since, entry, from.position)
	if err != nil {
		return state{}, false, err
	}
	was, _ := strconv.ParseInt(from.position, 10, 64)
	is, _ := strconv.ParseInt(now.position, 10, 64)
	return now, now.epoch == from.epoch && was <= is, nil // is < was if the file was replaced by an older one
}

func (l *sqlite) readAll(ctx context.Context, entry entryFunc) (now state, err error) {
	return l.read(ctx, l.text.all, entry)
}

// read calls entry for each row that a statement returns, and returns the state.
func (l *sqlite) read(ctx context.Context, text string, entry entryFunc, args ...any) (now state, err error) {
	r := logReader{base: l.base, entry: entry}
	if err := l.query(ctx, text, r.scan, args...); err != nil {
		return state{}, err
	}
	return r.state()
}

func (l *sqlite) isState(from state) bool {
	_, err := strconv.ParseUint(from.position, 10, 63)
	return err == nil && from.newest == ""
}

func (l *sqlite) makeEpoch(ctx context.Context) error {
	_, err := l.exec(ctx, l.text.makeEpoch, rand.Text())
	return err
}

const (
	sweepSessionsSQLite = `DELETE FROM {prefix}sessions WHERE rowid IN (
	SELECT rowid FROM {prefix}sessions WHERE sweep_hour <= min(unixepoch(), $2 / 1000000) / 3600 ORDER BY sweep_hour LIMIT $1)`
	sweepRevocationsSQLite = `DELETE FROM {prefix}revocations WHERE seq IN (
	SELECT seq FROM {prefix}revocations WHERE until <= min(unixepoch() * 1000000, $2) - 300000000 ORDER BY until LIMIT $1)`
)

func (l *sqlite) sweepSessions(ctx context.Context, callersNow int64) (n int64, err error) {
	return l.exec(ctx, l.text.sweepSessions, sweepBatch, callersNow)
}

func (l *sqlite) sweepRevocations(ctx context.Context, callersNow int64) (n int64, err error) {
	return l.exec(ctx, l.text.sweepRevocations, sweepBatch, callersNow)
}

const hasSchemaSQLite = `SELECT '{prefix}has schema', EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{prefix}schema')`

func (l *sqlite) schema() schemaStatements { return l.text.schema }

func (l *sqlite) beginMigration(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

func (l *sqlite) endMigration(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}

// The values of PRAGMA synchronous.
const (
	synchronousOff    = 0
	synchronousNormal = 1
)

func (l *sqlite) checkSettings(ctx context.Context) (warnings []string, err error) {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return nil, failed("check", err)
	}
	defer conn.Close()
	var version string
	var hasUnixepoch bool // a function since 3.38
	if err := conn.QueryRowContext(ctx, `SELECT sqlite_version(), unixepoch() IS NOT NULL`).Scan(&version, &hasUnixepoch); err != nil {
		return nil, fmt.Errorf("sqlstore: check: SQLite must be 3.38 or later: %w", err)
	}
	var synchronous int
	if err := conn.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
		return nil, failed("check", err)
	}
	switch synchronous {
	case synchronousOff:
		return nil, errors.New("sqlstore: synchronous is off, so a crash would lose confirmed revocations, or the file: set it to full")
	case synchronousNormal:
		return []string{"synchronous is normal: if the power fails, the revocations and sessions of the last moment are lost"}, nil
	}
	return nil, nil
}
