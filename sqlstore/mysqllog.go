package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// Each revocation is a new row with the next number. The number comes from the one row of the
// table log, which stays locked until the transaction ends. So revocations are committed in the
// order of their numbers, one at a time. With AUTO_INCREMENT, a reader could see number 6 before
// number 5 is committed, and would never read number 5.
//
// A row is not changed if the revocation gets a later end: the engine adds another row, and the
// first one stays until it is swept. So a reader finds the row that follows its position.
const (
	endsMySQL = `SELECT '{prefix}ends', COALESCE(MAX(until), -9223372036854775808) FROM {prefix}revocations WHERE id_key = ?`

	// advanceLogMySQL makes the next number and nonce. The engine evaluates SET from left to
	// right, with new values, so previous comes first.
	advanceLogMySQL = `UPDATE {prefix}log SET seq = seq + 1, previous = nonce,
	nonce = LEFT(UNHEX(SHA2(CONCAT(nonce, ?), 256)), 16) WHERE one = 1 AND {writable}`

	addRevocationMySQL = `INSERT INTO {prefix}revocations (seq, previous, id_key, id, until)
	SELECT seq, previous, ?, ?, ? FROM {prefix}log WHERE one = 1`

	anyRevokedMySQL = `SELECT '{prefix}is revoked', {writable}, EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > ? AND id_key IN (`
)

// revoke adds a row, unless there is one that ends as late. Two concurrent calls may both add a
// row, which does no harm.
func (m *mysql) revoke(ctx context.Context, r revocation) (changed bool, err error) {
	err = m.transaction(ctx, func(tx *sql.Conn) error {
		var until int64
		err := query(ctx, tx, m.text.ends, func(scan scanFunc) error { return m.scanAnswer(scan, "ends", &until) }, r.key)
		if err != nil {
			return err
		}
		if changed = until < r.until; !changed {
			return m.confirm(ctx, tx, r.key) // the server that has the row must be able to keep it
		}
		n, err := exec(ctx, tx, m.text.advanceLog, []byte(rand.Text()))
		if err == nil && n != 1 {
			err = errReadOnly
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, m.text.addRevocation, r.key, r.literal, r.until)
		return err
	})
	return changed && err == nil, err
}

func (m *mysql) isAnyRevoked(ctx context.Context, now int64, keys [][]byte) (revoked bool, err error) {
	text := m.text.anyRevoked + strings.Repeat("?,", len(keys)-1) + "?))"
	args := []any{now}
	for _, key := range keys {
		args = append(args, key)
	}
	err = m.connected(ctx, func(conn *sql.Conn) error {
		var isWritable bool
		err := query(ctx, conn, text, func(scan scanFunc) error {
			return m.scanAnswer(scan, "is revoked", &isWritable, &revoked)
		}, args...)
		if err == nil && !isWritable {
			err = errReadOnly
		}
		return err
	})
	return revoked && err == nil, err
}

// The position of the log is the number of the newest row. newest is the nonce of the log, which
// is a hash of the nonce before it and a random text. So if a log had the same nonce at a
// position, all its rows up to there are those that the reader has read. A log of which the
// engine has lost the last rows, and which has got others since, has other nonces.
//
// The epoch stands for one run of one server. If it changes, the engine may have lost
// revocations that it has confirmed but that this reader has not read. UNIX_TIMESTAMP() and
// UPTIME are of the same moment, so their difference is constant. Two runs can begin within one
// second: the end of UUID() has bits that the server draws when it starts. MariaDB executes the
// first of the two special comments, and MySQL the second.
const (
	stateMySQL = `SELECT CONCAT(IF({writable}, '{prefix}since ', '{prefix}read-only '), seq) AS position,
	(SELECT SHA2(CONCAT(@@global.server_id, ' ', @@hostname, ' ', @@port, ' ', UNIX_TIMESTAMP() - CAST(VARIABLE_VALUE AS SIGNED), SUBSTRING(UUID(), 20)), 256)
		FROM /*M! information_schema.GLOBAL_STATUS */ /*!80000 performance_schema.global_status */ WHERE VARIABLE_NAME IN ('UPTIME', 'Uptime')) AS epoch,
	HEX(nonce) AS newest, NULL AS id_key, NULL AS id, NULL AS until FROM {prefix}log WHERE one = 1`

	// knownMySQL is true if the log had a nonce at a position: now, or before the next row.
	knownMySQL = ` AND (seq = ? AND nonce = ? OR EXISTS (SELECT 1 FROM {prefix}revocations WHERE seq = ? AND previous = ?))`

	rowsMySQL = `SELECT NULL, NULL, NULL, id_key, id, until FROM {prefix}revocations`
)

func (m *mysql) readFrom(ctx context.Context, from state, entry entryFunc) (now state, ok bool, err error) {
	seq, _ := strconv.ParseInt(from.position, 10, 64)
	nonce, _ := hex.DecodeString(from.newest)
	now, err = m.read(ctx, m.text.since, entry, seq, nonce, seq+1, nonce, seq)
	if errors.Is(err, errNoRow) || errors.Is(err, errNoState) {
		return state{}, false, nil // the log had another nonce at that position
	}
	return now, err == nil, err
}

func (m *mysql) readAll(ctx context.Context, entry entryFunc) (now state, err error) {
	return m.read(ctx, m.text.all, entry)
}

// read calls entry for each row that a statement returns, and returns the state.
func (m *mysql) read(ctx context.Context, text string, entry entryFunc, args ...any) (now state, err error) {
	r := logReader{base: m.base, entry: entry}
	err = m.connected(ctx, func(conn *sql.Conn) error {
		r.now = state{}
		return query(ctx, conn, text, r.scan, args...)
	})
	if err != nil {
		return state{}, err
	}
	return r.state()
}

// hexNonce matches a nonce in a cursor.
var hexNonce = regexp.MustCompile(`^[0-9A-F]{32}$`)

func (m *mysql) isState(from state) bool {
	seq, err := strconv.ParseUint(from.position, 10, 62)
	return err == nil && strconv.FormatUint(seq, 10) == from.position && hexNonce.MatchString(from.newest)
}

// makeEpoch returns an error, because the engine has an epoch as soon as it runs.
func (m *mysql) makeEpoch(context.Context) error {
	return errors.New("the server does not say for how long it has been running (Uptime)")
}
