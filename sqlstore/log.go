package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// A statement that reads the log returns the state of the log and the rows of revocations. The
// engine reads both in one snapshot. The state says from which position the next call continues.
// Positions can be compared only within one epoch. All columns of the state are NULL in the
// other rows, and all columns of the other rows are NULL in the state.
//
// The rows include those that have ended and have not been swept yet. If a clock decided
// which rows are read, a clock that is ahead for a moment would skip rows. The cursor would
// then be past these rows, and no later call would read them.
const (
	allText       = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations`
	makeEpochText = `INSERT INTO {prefix}epoch (one, value) VALUES (1, $1) ON CONFLICT DO NOTHING`
)

// state is the state of the log at one time. epoch is "" if the engine has no epoch yet. newest
// identifies the newest row, or is "".
type state struct{ epoch, position, newest string }

// maxCursor is the greatest length of a cursor.
const maxCursor = 256

// cursor returns the state as a text.
func (now state) cursor() string { return now.epoch + "/" + now.position + "/" + now.newest }

// parseCursor is the inverse of cursor. ok is false for any other text.
func (s *Store) parseCursor(cursor string) (from state, ok bool) {
	parts := strings.Split(cursor, "/")
	if len(cursor) > maxCursor || len(parts) != 3 || parts[0] == "" {
		return state{}, false
	}
	from = state{parts[0], parts[1], parts[2]}
	return from, s.engine.isState(from)
}

// Since implements [replica.Log].
func (s *Store) Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error) {
	from, isOurs := s.parseCursor(cursor)
	for range maxReadings {
		var now state
		continued := false
		if isOurs {
			now, continued, err = s.engine.readFrom(ctx, from, entry)
		}
		if err == nil && !continued {
			now, err = s.engine.readAll(ctx, entry)
		}
		if err != nil {
			return "", false, failed("since", err)
		}
		if now.epoch != "" {
			isSame := continued && now.epoch == from.epoch
			return now.cursor(), cursor != "" && !isSame, nil
		}
		if err := s.engine.makeEpoch(ctx); err != nil {
			return "", false, failed("since: make an epoch", err)
		}
	}
	return "", false, failed("since", errNoEpoch)
}

// maxReadings bounds how often Since reads the log. The first reading after a crash of
// PostgreSQL finds no epoch, and the second finds one. If there is a third, the server has
// crashed again.
const maxReadings = 4

var (
	errNoEpoch = errors.New("the engine loses the epoch each time it is made")
	errNoState = errors.New("the engine returned no state of the log")
)

// logReader scans the rows of a statement that reads the log.
type logReader struct {
	base
	entry entryFunc
	now   state
}

func (r *logReader) scan(scan scanFunc) error {
	var position, epoch, newest sql.NullString
	var key, id sql.RawBytes
	var until sql.NullInt64
	if err := scan(&position, &epoch, &newest, &key, &id, &until); err != nil {
		return err
	}
	if !position.Valid {
		r.entry(revocationID(key, id), timeOf(until.Int64))
		return nil
	}
	if strings.HasPrefix(position.String, r.prefix+"read-only ") {
		return errReadOnly
	}
	after, ok := strings.CutPrefix(position.String, r.prefix+"since ")
	if !ok {
		return errMixed
	}
	r.now = state{epoch.String, after, newest.String}
	return nil
}

// state returns the state, after all rows have been scanned.
func (r *logReader) state() (state, error) {
	if r.now.position == "" {
		return state{}, errNoState
	}
	return r.now, nil
}
