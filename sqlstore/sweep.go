package sqlstore

import (
	"context"
	"sync/atomic"
)

// keptFor is for how many microseconds a row is kept after it expired: clocks
// differ.
const keptFor = 5 * 60 * 1_000_000

const hour = 3600 * 1_000_000

// sweepHour is the first hour at whose begin a session has been over for long
// enough.
func sweepHour(expires int64) int64 {
	at := expires + keptFor
	h := at / hour
	if at%hour < 0 {
		h--
	}
	return h + 1
}

// The clock is the engine's. Rows that others hold are left for later, nobody
// waits.
const (
	sweepSessionsPostgres = `DELETE FROM {prefix}sessions WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}sessions WHERE sweep_hour <= floor(extract(epoch FROM now()) / 3600)::bigint
	ORDER BY sweep_hour LIMIT $1 FOR UPDATE SKIP LOCKED))`
	sweepRevocationsPostgres = `DELETE FROM {prefix}revocations WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}revocations WHERE until <= (extract(epoch FROM now()) * 1000000)::bigint - 300000000
	ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED))`

	sweepSessionsSQLite = `DELETE FROM {prefix}sessions WHERE rowid IN (
	SELECT rowid FROM {prefix}sessions WHERE sweep_hour <= unixepoch() / 3600 ORDER BY sweep_hour LIMIT $1)`
	sweepRevocationsSQLite = `DELETE FROM {prefix}revocations WHERE seq IN (
	SELECT seq FROM {prefix}revocations WHERE until <= (unixepoch() - 300) * 1000000 ORDER BY until LIMIT $1)`
)

const (
	sweepBatch = 500 // rows that one statement removes
	sweepEvery = 256 // writes of which one removes a batch
)

// Sweep removes the rows that have been over for 5 minutes or more, sessions for up
// to an hour longer, in batches of 500, and says how many there were. It may run
// anywhere and at any time, several at once too. On an error, n have been removed.
func (s *Store) Sweep(ctx context.Context) (n int, err error) {
	for _, text := range []string{s.text.sweepSessions, s.text.sweepRevocations} {
		for {
			gone, err := s.exec(ctx, text, sweepBatch)
			n += int(gone)
			if err != nil {
				return n, failed("sweep", err)
			}
			if gone < sweepBatch {
				break
			}
		}
	}
	return n, nil
}

// sweepSome removes a batch after every so many writes: more than were written. A
// failure is no failure of the write.
func (s *Store) sweepSome(ctx context.Context, writes *atomic.Uint64, text string) {
	if writes.Add(1)%sweepEvery == 0 {
		_, _ = s.exec(ctx, text, sweepBatch)
	}
}
