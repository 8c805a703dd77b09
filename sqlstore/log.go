package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The first row that Since reads is the state of the log: the position from which the next
// call continues, the epoch, and the newest row. Positions can be compared only within one
// epoch. The engine reads the state and the other rows in one snapshot.
//
// In PostgreSQL, the position is the snapshot itself. The next call reads the rows whose
// transaction had not been committed in that snapshot. A number from a sequence would miss
// rows: the transaction with number 5 may be committed after a reader has read number 6.
// Since never waits for an open transaction, whether in this database or in another
// database of the server. After a crash, PostgreSQL may use recent transaction ids again.
// Therefore a new epoch begins after a crash, which empties the unlogged table of the
// epoch. It also begins with each start of the server, and after the table was dropped. If
// the newest row is still there, the next call continues in the new epoch (resumePostgres).
//
// In SQLite, only one transaction writes at a time, so the position is a sequence number. The
// epoch stays the same if the file is opened again.
//
// The rows include those that have ended and have not been swept yet. If a clock decided
// which rows are read, a clock that is ahead for a moment would skip rows. The cursor would
// then be past these rows, and no later call would read them.
const (
	statePostgres = `SELECT '{prefix}since ' || pg_current_snapshot()::text AS position,
		(SELECT md5(concat_ws(' ', value, tableoid, extract(epoch FROM pg_postmaster_start_time()))) FROM {prefix}epoch) AS epoch,
		(SELECT CASE WHEN nonce_xid = xid THEN concat_ws(':', xid, oldest_xid, nonce) END FROM {prefix}revocations ORDER BY xid DESC LIMIT 1) AS newest,
		NULL::bytea AS key, NULL::bytea AS id, NULL::bigint AS until`
	sincePostgres = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations
		WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
		AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)`

	stateSQLite = `SELECT '{prefix}since ' || CAST(coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{prefix}revocations'), 0) AS TEXT) AS position,
		(SELECT value FROM {prefix}epoch) AS epoch, NULL AS newest, NULL AS key, NULL AS id, NULL AS until`
	sinceSQLite = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations WHERE seq > CAST($1 AS INTEGER)`

	allText       = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations`
	makeEpochText = `INSERT INTO {prefix}epoch (one, value) VALUES (1, $1) ON CONFLICT DO NOTHING`
)

// resumePostgres continues from the newest row of an earlier reading, although the server has
// restarted or another server has taken over. $1 is the xid of that row, $2 its oldest_xid, and
// $3 its nonce. If the row is no longer there, the statement returns no row at all, not even the
// state.
//
// A server that loses transactions loses the last ones: recovery ends at some point of the
// write-ahead log, and the server loses what was committed after that point. If the row is
// there, this point is later than the commit of the row. Each row then belongs to one of these
// transactions:
//
//   - The transaction that wrote the newest row. The reader has read its rows.
//   - A transaction before oldest_xid. It had ended before the newest row was written, so it
//     was committed here, too, and the reader has read its rows.
//   - A transaction from oldest_xid on. It may have been committed, here or elsewhere, after the
//     reader has read. The statement reads its rows.
//   - A transaction that began after recovery. Recovery has found the xid of the newest row, so
//     the server only uses greater ones. The statement reads its rows.
//
// The random nonce is necessary, because a server that has lost the row may use its xid again,
// even for the same revocation. A program of version 3 updates a row without making a new
// nonce, so the row counts only if nonce_xid is xid. The column xmin of PostgreSQL is the
// transaction that wrote the row in this server. It differs from xid if the row was copied from
// another server, or restored from a dump. The xids of such rows say nothing about this server.
const resumePostgres = `WITH known AS MATERIALIZED (SELECT 1 FROM {prefix}revocations
	WHERE xid = $1::text::xid8 AND nonce = $3::text::uuid AND nonce_xid = xid AND xmin = xid::xid)
	` + statePostgres + ` FROM known
	UNION ALL SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations, known
	WHERE xid >= $2::text::xid8 AND xid <> $1::text::xid8`

// state is the state of the log at one time. epoch is "" if the engine has no epoch yet.
// newest identifies the newest row. It is "" in SQLite, and if there is no row that
// resumePostgres accepts.
type state struct{ epoch, position, newest string }

// Since implements [replica.Log].
func (s *Store) Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error) {
	from, ok := s.parseCursor(cursor)
	if ok {
		now, err := s.readEntries(ctx, s.text.since, entry, from.position)
		if err != nil {
			return "", false, failed("since", err)
		}
		if s.isContinued(from, now) {
			return s.cursor(now), false, nil
		}
	}
	for range maxReadings {
		now, err := s.resumeOrReadAll(ctx, from.newest, entry)
		if err != nil {
			return "", false, failed("since", err)
		}
		if now.epoch != "" {
			return s.cursor(now), cursor != "", nil
		}
		if _, err := s.change(ctx, "make epoch", s.text.makeEpoch, rand.Text()); err != nil {
			return "", false, failed("since: make an epoch", err)
		}
	}
	return "", false, failed("since", errNoEpoch)
}

// resumeOrReadAll reads what may be missing to a reader whose newest row is given. If the engine
// may have lost rows that the reader has read, it reads all rows.
func (s *Store) resumeOrReadAll(ctx context.Context, newest string, entry func(id string, until time.Time)) (now state, err error) {
	if newest != "" {
		xid, oldest, nonce := splitNewest(newest)
		now, err := s.readEntries(ctx, s.text.resume, entry, xid, oldest, nonce)
		if !errors.Is(err, errNoRow) {
			return now, err
		}
	}
	return s.readEntries(ctx, s.text.all, entry)
}

// maxReadings bounds how often Since reads the log. The first reading after a crash of
// PostgreSQL finds no epoch, and the second finds one. If there is a third, the server has
// crashed again.
const maxReadings = 4

var (
	errNoEpoch = errors.New("the engine loses the epoch each time it is made")
	errNoState = errors.New("the engine returned no state of the log")
)

// readEntries calls entry for each row that a statement returns, and returns the state.
func (s *Store) readEntries(ctx context.Context, text string, entry func(id string, until time.Time), args ...any) (now state, err error) {
	var position, epoch, newest sql.NullString
	var key, id sql.RawBytes
	var until sql.NullInt64
	err = s.query(ctx, text, func(scan func(...any) error) error {
		if err := scan(&position, &epoch, &newest, &key, &id, &until); err != nil {
			return err
		}
		if !position.Valid {
			entry(revocationID(key, id), timeOf(until.Int64))
			return nil
		}
		after, ok := strings.CutPrefix(position.String, s.prefix+"since ")
		if !ok {
			return errMixed
		}
		now = state{epoch.String, after, newest.String}
		return nil
	}, args...)
	if err == nil && now.position == "" {
		err = errNoState
	}
	return now, err
}

// isContinued reports whether the rows that were read are all changes since the state from.
func (s *Store) isContinued(from, now state) bool {
	if now.epoch != from.epoch {
		return false
	}
	if s.dialect == Postgres {
		return true
	}
	was, _ := strconv.ParseInt(from.position, 10, 64)
	is, _ := strconv.ParseInt(now.position, 10, 64)
	return was <= is // false if the file was replaced by an older one
}

// maxCursor is the greatest length of a cursor.
const maxCursor = 256

// cursor returns the cursor of a state: the epoch, the position and the newest row.
func (s *Store) cursor(now state) string {
	text := now.epoch + "/" + now.position + "/" + now.newest
	if len(text) > maxCursor {
		// Many transactions are open, so the position is too long. The shorter position
		// makes the next call read some rows again.
		xmin, _, _ := strings.Cut(now.position, ":")
		text = now.epoch + "/" + xmin + ":" + xmin + ":/" + now.newest
	}
	return text
}

// parseCursor is the inverse of cursor. ok is false for any other text.
func (s *Store) parseCursor(cursor string) (from state, ok bool) {
	parts := strings.Split(cursor, "/")
	if len(cursor) > maxCursor || len(parts) != 3 {
		return state{}, false
	}
	from = state{parts[0], parts[1], parts[2]}
	if s.dialect == Postgres {
		ok = isSnapshot(from.position) && (from.newest == "" || newestText.MatchString(from.newest))
	} else {
		_, err := strconv.ParseUint(from.position, 10, 63)
		ok = err == nil && from.newest == ""
	}
	if !ok || from.epoch == "" {
		return state{}, false
	}
	return from, true
}

// newestText matches the newest row in a cursor: xid, oldest_xid and nonce.
var newestText = regexp.MustCompile(`^[0-9]{1,19}:[0-9]{1,19}:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// splitNewest returns the parts of a text that newestText matches.
func splitNewest(newest string) (xid, oldest, nonce string) {
	parts := strings.Split(newest, ":")
	return parts[0], parts[1], parts[2]
}

// isSnapshot reports whether PostgreSQL accepts a text as a pg_snapshot: xmin, xmax, and
// the ids of the open transactions between them, in ascending order.
func isSnapshot(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return false
	}
	xmin, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || xmin < 1 {
		return false
	}
	xmax, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || xmax < xmin {
		return false
	}
	if parts[2] == "" {
		return true
	}
	last := xmin - 1
	for _, open := range strings.Split(parts[2], ",") {
		x, err := strconv.ParseInt(open, 10, 64)
		if err != nil || x <= last || x >= xmax {
			return false
		}
		last = x
	}
	return true
}
