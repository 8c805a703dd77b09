package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"
)

// The first row that Since reads is the state of the log: the position from which the next
// call continues, and the epoch. Positions can be compared only within one epoch. The
// engine reads the state and the other rows in one snapshot.
//
// In PostgreSQL, the position is the snapshot itself. The next call reads the rows whose
// transaction had not been committed in that snapshot. A number from a sequence would miss
// rows: the transaction with number 5 may be committed after a reader has read number 6.
// Since never waits for an open transaction, whether in this database or in another
// database of the server. After a crash, PostgreSQL may use recent transaction ids again.
// Therefore a new epoch begins after a crash, which empties the unlogged table of the
// epoch. It also begins with each start of the server, and after the table was dropped.
//
// In SQLite, only one transaction writes at a time, so the position is a sequence number.
//
// The rows include those that have ended and have not been swept yet. If a clock decided
// which rows are read, a clock that is ahead for a moment would skip rows. The cursor would
// then be past these rows, and no later call would read them.
const (
	statePostgres = `SELECT '{prefix}since ' || pg_current_snapshot()::text AS position,
		(SELECT md5(concat_ws(' ', value, tableoid, extract(epoch FROM pg_postmaster_start_time()))) FROM {prefix}epoch) AS epoch,
		NULL::bytea AS key, NULL::bytea AS id, NULL::bigint AS until`
	sincePostgres = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations
		WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
		AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)`

	stateSQLite = `SELECT '{prefix}since ' || CAST(coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{prefix}revocations'), 0) AS TEXT) AS position,
		(SELECT value FROM {prefix}epoch) AS epoch, NULL AS key, NULL AS id, NULL AS until`
	sinceSQLite = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations WHERE seq > CAST($1 AS INTEGER)`

	allText       = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations`
	makeEpochText = `INSERT INTO {prefix}epoch (one, value) VALUES (1, $1) ON CONFLICT DO NOTHING`
)

// state is the state of the log at one time. epoch is "" if the engine has no epoch yet.
type state struct{ epoch, position string }

// Since implements [replica.Log].
func (s *Store) Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error) {
	if from, ok := s.parseCursor(cursor); ok {
		now, err := s.readEntries(ctx, s.text.since, entry, from.position)
		if err != nil {
			return "", false, failed("since", err)
		}
		if s.isContinued(from, now) {
			return s.cursor(now), false, nil
		}
	}
	for range maxReadings {
		now, err := s.readEntries(ctx, s.text.all, entry)
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

// maxReadings bounds how often Since reads the whole log. The first reading after a crash
// of PostgreSQL finds no epoch, and the second finds one. If there is a third, the server
// has crashed again.
const maxReadings = 4

var (
	errNoEpoch = errors.New("the engine loses the epoch each time it is made")
	errNoState = errors.New("the engine returned no state of the log")
)

// readEntries calls entry for each row that a statement returns, and returns the state.
func (s *Store) readEntries(ctx context.Context, text string, entry func(id string, until time.Time), args ...any) (now state, err error) {
	var position, epoch sql.NullString
	var key, id sql.RawBytes
	var until sql.NullInt64
	err = s.query(ctx, text, func(scan func(...any) error) error {
		if err := scan(&position, &epoch, &key, &id, &until); err != nil {
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
		now = state{epoch.String, after}
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

// maxPosition is the greatest length of a position. It leaves room for the epoch in the 256
// bytes of a cursor.
const maxPosition = 200

func (s *Store) cursor(now state) string {
	position := now.position
	if xmin, _, _ := strings.Cut(position, ":"); len(position) > maxPosition {
		// Many transactions are open, so the position is too long. The shorter position
		// makes the next call read some rows again.
		position = xmin + ":" + xmin + ":"
	}
	return now.epoch + "/" + position
}

// parseCursor is the inverse of cursor. ok is false for any other text.
func (s *Store) parseCursor(cursor string) (from state, ok bool) {
	epoch, position, ok := strings.Cut(cursor, "/")
	if !ok || epoch == "" || len(position) > maxPosition {
		return state{}, false
	}
	if s.dialect == Postgres {
		ok = isSnapshot(position)
	} else {
		_, err := strconv.ParseUint(position, 10, 63)
		ok = err == nil
	}
	return state{epoch, position}, ok
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
