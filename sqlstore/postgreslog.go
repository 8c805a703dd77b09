package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// In PostgreSQL, the position of the log is a snapshot. The next call reads the rows whose
// transaction had not been committed in that snapshot. A number from a sequence would miss
// rows: the transaction with number 5 may be committed after a reader has read number 6.
// Since never waits for an open transaction, whether in this database or in another
// database of the server. After a crash, PostgreSQL may use recent transaction ids again.
// Therefore a new epoch begins after a crash, which empties the unlogged table of the
// epoch. It also begins with each start of the server, and after the table was dropped. If
// the newest row is still there, the next call continues in the new epoch (resumePostgres).
const (
	statePostgres = `SELECT '{prefix}since ' || pg_current_snapshot()::text AS position,
		(SELECT md5(concat_ws(' ', value, tableoid, extract(epoch FROM pg_postmaster_start_time()))) FROM {prefix}epoch) AS epoch,
		(SELECT CASE WHEN nonce_xid = xid THEN concat_ws(':', xid, oldest_xid, nonce) END FROM {prefix}revocations ORDER BY xid DESC LIMIT 1) AS newest,
		NULL::bytea AS key, NULL::bytea AS id, NULL::bigint AS until`
	sincePostgres = `SELECT NULL, NULL, NULL, key, id, until FROM {prefix}revocations
		WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
		AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)`
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

func (p *postgres) readFrom(ctx context.Context, from state, entry entryFunc) (now state, ok bool, err error) {
	now, err = p.read(ctx, p.text.since, entry, from.position)
	if err != nil || now.epoch == from.epoch {
		return now, err == nil, err
	}
	if from.newest == "" {
		return state{}, false, nil
	}
	xid, oldest, nonce := splitNewest(from.newest)
	now, err = p.read(ctx, p.text.resume, entry, xid, oldest, nonce)
	if errors.Is(err, errNoRow) {
		return state{}, false, nil
	}
	return now, err == nil, err
}

func (p *postgres) readAll(ctx context.Context, entry entryFunc) (now state, err error) {
	return p.read(ctx, p.text.all, entry)
}

// read calls entry for each row that a statement returns, and returns the state.
func (p *postgres) read(ctx context.Context, text string, entry entryFunc, args ...any) (now state, err error) {
	r := logReader{base: p.base, entry: entry}
	if err = query(ctx, p.db, text, r.scan, args...); err != nil {
		return state{}, err
	}
	if now, err = r.state(); len(now.cursor()) > maxCursor {
		// Many transactions are open, so the position is too long. The shorter position
		// makes the next call read some rows again.
		xmin, _, _ := strings.Cut(now.position, ":")
		now.position = xmin + ":" + xmin + ":"
	}
	return now, err
}

func (p *postgres) makeEpoch(ctx context.Context) error {
	_, err := p.change(ctx, "make epoch", p.text.makeEpoch, rand.Text())
	return err
}

func (p *postgres) isState(from state) bool {
	return isSnapshot(from.position) && (from.newest == "" || newestText.MatchString(from.newest))
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
