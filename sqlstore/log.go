package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strconv"
	"strings"
	"time"
)

// The first row of Since is the state of the log: the position to go on from, and
// the epoch in which positions can be compared. Both come from the snapshot in
// which the other rows are read.
//
// PostgreSQL: the position is the snapshot itself. Next time, the rows are told
// whose transaction was not over in it. A number drawn from a sequence would not
// do: the transaction that drew 5 may be committed after the reader has passed 6.
// Nothing waits for a transaction that is open, in this database or another one of
// the server. Transaction ids that were in use shortly before a crash may be used
// again after it; the epoch ends with a crash, as its table is emptied, with each
// start of the server, and with the table.
//
// SQLite: writers come one after the other, so that a number is enough.
const (
	statePostgres = `SELECT pg_current_snapshot()::text AS position,
		(SELECT md5(concat_ws(' ', mark, tableoid, extract(epoch FROM pg_postmaster_start_time()))) FROM {prefix}life) AS epoch,
		NULL::bytea AS key, NULL::bytea AS id, NULL::bigint AS until`
	sincePostgres = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations
		WHERE until > $1 AND xid >= pg_snapshot_xmin($2::text::pg_snapshot)
		AND NOT pg_visible_in_snapshot(xid, $2::text::pg_snapshot)`

	stateSQLite = `SELECT CAST(coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{prefix}revocations'), 0) AS TEXT) AS position,
		(SELECT mark FROM {prefix}life) AS epoch, NULL AS key, NULL AS id, NULL AS until`
	sinceSQLite = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations WHERE until > $1 AND seq > CAST($2 AS INTEGER)`

	allText  = `SELECT NULL, NULL, key, id, until FROM {prefix}revocations WHERE until > $1`
	liveText = `INSERT INTO {prefix}life (one, mark) VALUES (1, $1) ON CONFLICT DO NOTHING`
)

// state is what the log was when it was read.
type state struct{ epoch, position string }

// Since implements [jwtauth.RevocationLog].
func (s *Store) Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error) {
	if from, ok := s.parseCursor(cursor); ok {
		now, err := s.read(ctx, s.text.since, entry, from.position)
		if err != nil {
			return "", false, failed("since", err)
		}
		if s.follows(now, from) {
			return s.cursor(now), false, nil
		}
	}
	for {
		now, err := s.read(ctx, s.text.all, entry)
		if err != nil {
			return "", false, failed("since", err)
		}
		if now.epoch != "" {
			return s.cursor(now), cursor != "", nil
		}
		if _, err := s.exec(ctx, s.text.live, rand.Text()); err != nil {
			return "", false, failed("since: begin an epoch", err)
		}
	}
}

// read tells the entries that a statement finds.
func (s *Store) read(ctx context.Context, text string, entry func(id string, until time.Time), args ...any) (now state, err error) {
	var position, epoch sql.NullString
	var key, id sql.RawBytes
	var until sql.NullInt64
	err = s.rows(ctx, text, func(scan func(...any) error) error {
		if err := scan(&position, &epoch, &key, &id, &until); err != nil {
			return err
		}
		if position.Valid {
			now = state{epoch.String, position.String}
		} else {
			entry(revocationID(key, id), timeOf(until.Int64))
		}
		return nil
	}, append([]any{s.now().UnixMicro()}, args...)...)
	return now, err
}

// follows says whether all that came between two states has been told.
func (s *Store) follows(now, from state) bool {
	if now.epoch != from.epoch {
		return false
	}
	if s.dialect == Postgres {
		return true
	}
	was, _ := strconv.ParseInt(from.position, 10, 64)
	is, _ := strconv.ParseInt(now.position, 10, 64)
	return was <= is // not so where the file is an older one now
}

// maxPosition leaves room for the epoch in the 256 bytes of a cursor.
const maxPosition = 200

func (s *Store) cursor(now state) string {
	position := now.position
	if xmin, _, _ := strings.Cut(position, ":"); len(position) > maxPosition {
		// So many transactions are open: tell some rows again.
		position = xmin + ":" + xmin + ":"
	}
	return now.epoch + "/" + position
}

// parseCursor reads what cursor wrote; anything else is not ok.
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

// isSnapshot says whether PostgreSQL reads a text as a pg_snapshot: xmin, xmax, and
// between them, in order, the transactions that are open.
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
