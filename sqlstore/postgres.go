package sqlstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jwtauth-go/jwtauth"
)

// postgres is the engine of PostgreSQL. Each call is one statement, except Create with a limit and
// an Advance that makes no step.
type postgres struct {
	base
	text     statements
	notifier notifier
}

func newPostgres(b base) *postgres {
	p := &postgres{base: b}
	t := p.translate
	p.text = statements{
		create:  t(counted("create", createText)),
		step:    t(stepPostgres),
		advance: t(advancePostgres),
		remove:  t(counted("remove", removeText)),
		list:    t(listPostgres),

		lockOwner:     t(lockOwnerPostgres),
		createLimited: t(createLimitedPostgres),

		revoke:     t(counted("revoke", revokePostgres)),
		anyRevoked: t(anyRevokedPostgres),
		since:      t(statePostgres + " UNION ALL " + sincePostgres),
		all:        t(statePostgres + " UNION ALL " + allText),
		resume:     t(resumePostgres),
		makeEpoch:  t(counted("make epoch", makeEpochText)),

		sweepSessions:    t(sweepSessionsPostgres),
		sweepRevocations: t(sweepRevocationsPostgres),

		schema: schemaStatements{
			exists: t(hasSchemaPostgres), create: t(makeSchemaText), version: t(versionText),
			withOldest: 3, oldest: t(oldestText), begin: t(beginVersionText), end: t(endVersionText),
		},
	}
	return p
}

// translate returns a statement of PostgreSQL.
func (p *postgres) translate(text string) string { return p.base.translate(text, nowPostgres) }

// nowPostgres is the engine's clock, in microseconds. clock_timestamp() is the time of its
// evaluation, and not that of the beginning of the statement.
const nowPostgres = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// counted wraps a statement that writes. The result changes the same rows, and returns one row
// with the given name and the number of changed rows. See change.
func counted(name, text string) string {
	return "WITH changed AS (" + text + " RETURNING 1) SELECT '{prefix}" + name + "', count(*) FROM changed"
}

// change executes a result of counted, and returns how many rows it changed.
func (p *postgres) change(ctx context.Context, name, text string, args ...any) (n int64, err error) {
	err = query(ctx, p.db, text, func(scan scanFunc) error { return p.scanAnswer(scan, name, &n) }, args...)
	return n, err
}

// commitPostgres commits an empty write. If Advance finds no session, the caller treats the
// session as ended. If a page of List is not full, the caller treats all other sessions of the
// subject as ended. Such a statement therefore also commits an empty write. If a primary has
// lost its synchronous standby, the standby may have taken over and have other rows. The
// commit then does not return, so the old primary does not answer.
const commitPostgres = `pg_logical_emit_message(true, 'jwtauth', ''::text)`

// These statements are Create with a limit. Callers must not count the rows of a subject at
// the same time, so each caller first locks the subject until its transaction ends. The lock
// needs a statement of its own: a statement sees the database as it was when the statement
// began, and a lock inside the INSERT would be acquired after that. The lock has two numbers,
// and the lock of Migrate has one, so they are never the same. If no row is created, the
// statement commits an empty write.
const (
	lockOwnerPostgres = `SELECT '{prefix}lock owner', pg_advisory_xact_lock($1::int, $2::int) IS NOT NULL`

	createLimitedPostgres = `WITH live AS (` + liveText + `), created AS (` + insertText + `
	SELECT $1::bytea, $2::bytea, $3::bytea, $4::bytea, $5::bytea, $6::bigint, $7::bigint, $8::bigint, $9::bigint,
	$10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::bytea, $15::bytea, $16::bigint
	FROM live WHERE n < $17 ON CONFLICT DO NOTHING RETURNING 1)
	SELECT '{prefix}create limited', EXISTS (SELECT 1 FROM created),
	live.n >= $17 AND NOT EXISTS (SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2),
	CASE WHEN NOT EXISTS (SELECT 1 FROM created) THEN ` + commitPostgres + ` END FROM live`
)

func (p *postgres) create(ctx context.Context, r newRow, limit int) error {
	if limit > 0 {
		return p.createLimited(ctx, r, limit)
	}
	n, err := p.change(ctx, "create", p.text.create, append(r.columns, newCallID())...)
	if err == nil && n == 0 {
		err = jwtauth.ErrSessionExists
	}
	return err
}

// createLimited adds a row if the owner has fewer live rows than the limit. If ctx ends,
// database/sql rolls the transaction back, or closes its connection.
func (p *postgres) createLimited(ctx context.Context, r newRow, limit int) error {
	tx, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() // has no effect after Commit
	high, low := p.ownerLock(r.owner)
	var locked, created, limitReached bool
	err = query(ctx, tx, p.text.lockOwner, func(scan scanFunc) error {
		return p.scanAnswer(scan, "lock owner", &locked)
	}, high, low)
	if err != nil {
		return err
	}
	err = query(ctx, tx, p.text.createLimited, func(scan scanFunc) error {
		return p.scanAnswer(scan, "create limited", &created, &limitReached, new(any))
	}, append(r.columns, newCallID(), int64(limit))...)
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
func (p *postgres) ownerLock(owner []byte) (high, low int64) {
	sum := digest("jwtauth sqlstore owner", p.prefix, string(owner))
	return int64(binary.BigEndian.Uint32(sum) >> 1), int64(binary.BigEndian.Uint32(sum[4:]) >> 1)
}

// Advance locks the row before it updates the row. An UPDATE alone would compute the new values
// first, and then wait for the lock. It computes them again only if the row was changed
// meanwhile, so rotated_at could be too early by the duration of the wait.
const (
	lockedPostgres = `WITH locked AS MATERIALIZED (
	SELECT 1 FROM {prefix}sessions WHERE owner = $1 AND session = $2 FOR NO KEY UPDATE)`

	stepPostgres = lockedPostgres + stepNowText + ` FROM locked ` + whereStepText + ` ` + returningStepText

	advancePostgres = lockedPostgres + `,
	advanced AS (` + advanceText + ` FROM locked
	WHERE owner = $1 AND session = $2 AND expires_at > $4
	RETURNING ` + sessionColumns + `, {now} - rotated_at AS age, advanced_by)
	SELECT '{prefix}advance', ` + sessionColumns + `, age, advanced_by,
	CASE WHEN generation IS NULL THEN ` + commitPostgres + ` END
	FROM (SELECT 1) AS one LEFT JOIN advanced ON true`

	listPostgres = `WITH page AS MATERIALIZED (` + pageText + `)
	SELECT '{prefix}list', pg_is_in_recovery(), id, ` + sessionColumns + `,
	(SELECT CASE WHEN count(*) < $3 AND NOT pg_is_in_recovery() THEN ` + commitPostgres + ` END FROM page)
	FROM (SELECT 1) AS one LEFT JOIN page ON true ORDER BY session`
)

func (p *postgres) advance(ctx context.Context, k rowKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	args, thisCall := advanceArgs(k, r)
	if r.From > 0 {
		var step stepRow
		err := query(ctx, p.db, p.text.step, func(scan scanFunc) error {
			return p.scanAnswer(scan, "step", step.pointers()...)
		}, args...)
		if !errors.Is(err, errNoRow) {
			return step.record(r), err == nil, err
		}
	}
	var a advancedRow
	err = query(ctx, p.db, p.text.advance, func(scan scanFunc) error {
		return p.scanAnswer(scan, "advance", append(a.pointers(), new(any))...)
	}, args...)
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return a.result(thisCall)
}

func (p *postgres) remove(ctx context.Context, k rowKey) error {
	_, err := p.change(ctx, "remove", p.text.remove, k.owner, k.session)
	return err
}

var errStandby = errors.New("sqlstore: this PostgreSQL is a standby: connect to the primary (target_session_attrs=read-write)")

func (p *postgres) list(ctx context.Context, owner, after []byte, limit int) (list []jwtauth.SessionRecord, err error) {
	var isStandby bool
	err = query(ctx, p.db, p.text.list, func(scan scanFunc) error {
		var row sessionRow
		err := p.scanAnswer(scan, "list", append(append([]any{&isStandby}, row.pointersWithID()...), new(any))...)
		if r, found := row.record(); err == nil && found {
			list = append(list, r)
		}
		return err
	}, owner, after, int64(limit))
	switch {
	case err != nil:
		return nil, err
	case isStandby:
		return nil, errStandby
	}
	return list, nil
}

// The last three columns of a revocation have defaults, which are computed anew for each call.
const (
	revokePostgres = `INSERT INTO {prefix}revocations (key, id, until, xid)
	VALUES ($1, $2, $3, pg_current_xact_id())
	ON CONFLICT (key) DO UPDATE SET until = excluded.until, xid = excluded.xid,
	nonce = excluded.nonce, nonce_xid = excluded.nonce_xid, oldest_xid = excluded.oldest_xid
	WHERE {prefix}revocations.until < excluded.until`

	anyRevokedPostgres = `SELECT '{prefix}is revoked', pg_is_in_recovery(), EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
)

func (p *postgres) revoke(ctx context.Context, r revocation) (changed bool, err error) {
	n, err := p.change(ctx, "revoke", p.text.revoke, r.key, r.literal, r.until)
	if n > 0 {
		p.notify(ctx)
	}
	return n > 0, err
}

func (p *postgres) isAnyRevoked(ctx context.Context, now int64, keys [][]byte) (revoked bool, err error) {
	var text strings.Builder
	text.WriteString(p.text.anyRevoked)
	args := make([]any, 1, 1+len(keys))
	args[0] = now
	for i, key := range keys {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString("$" + strconv.Itoa(i+2))
		args = append(args, key)
	}
	text.WriteString("))")
	var isStandby bool
	err = query(ctx, p.db, text.String(), func(scan scanFunc) error {
		return p.scanAnswer(scan, "is revoked", &isStandby, &revoked)
	}, args...)
	switch {
	case err != nil:
		return false, err
	case isStandby:
		return false, errStandby
	}
	return revoked, nil
}

// The statements of the sweep skip rows that other transactions have locked, so a sweep never
// waits.
const (
	sweepSessionsPostgres = `DELETE FROM {prefix}sessions WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}sessions WHERE sweep_hour <= least(floor(extract(epoch FROM now()) / 3600)::bigint, $2::bigint / 3600000000)
	ORDER BY sweep_hour LIMIT $1 FOR UPDATE SKIP LOCKED))`
	sweepRevocationsPostgres = `DELETE FROM {prefix}revocations WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}revocations WHERE until <= least((extract(epoch FROM now()) * 1000000)::bigint, $2::bigint) - 300000000
	ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED))`
)

func (p *postgres) sweepSessions(ctx context.Context, callersNow int64) (n int64, err error) {
	return exec(ctx, p.db, p.text.sweepSessions, sweepBatch, callersNow)
}

func (p *postgres) sweepRevocations(ctx context.Context, callersNow int64) (n int64, err error) {
	return exec(ctx, p.db, p.text.sweepRevocations, sweepBatch, callersNow)
}

const hasSchemaPostgres = `SELECT '{prefix}has schema', to_regclass('{prefix}schema') IS NOT NULL`

func (p *postgres) schema() schemaStatements { return p.text.schema }

func (p *postgres) beginMigration(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED")
	if err == nil {
		_, err = conn.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", lockNumber(p.prefix))
	}
	return err
}

func (p *postgres) endMigration(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}

func (p *postgres) alone(_ context.Context, f func() error) error { return f() }
func (p *postgres) retry(_ context.Context, f func() error) error { return f() }
func (p *postgres) explain(err error) error                       { return explainPooler(err) }

const settingsPostgres = `SELECT '{prefix}settings', current_setting('server_version_num')::int, pg_is_in_recovery(),
	current_setting('default_transaction_isolation'), current_setting('synchronous_commit')`

func (p *postgres) checkSettings(ctx context.Context) (warnings []string, err error) {
	if err := p.checkPooler(ctx); err != nil {
		return nil, failed("check", err)
	}
	var version int
	var isStandby bool
	var isolation, commit string
	row := p.db.QueryRowContext(ctx, p.translate(settingsPostgres))
	err = p.scanAnswer(row.Scan, "settings", &version, &isStandby, &isolation, &commit)
	switch {
	case err != nil:
		return nil, failed("check", err)
	case version < 130000:
		return nil, fmt.Errorf("sqlstore: this is PostgreSQL %d, it must be 13 or later", version/10000)
	case isStandby:
		return nil, errStandby
	case isolation != "read committed":
		return nil, fmt.Errorf("sqlstore: default_transaction_isolation is %s, under which concurrent calls fail: set it to read committed for this user", isolation)
	case commit == "off":
		return nil, errors.New("sqlstore: synchronous_commit is off, so a crash would lose confirmed revocations: set it to on for this user")
	}
	return nil, nil
}
