package sqlstore

import (
	"context"
	"sync/atomic"
)

// In microseconds.
const (
	margin = 5 * 60 * 1_000_000 // how long a row stays after it has expired, since clocks differ
	hour   = 3600 * 1_000_000
)

// sweepHour returns the first hour, counted from 1970, in which a session may be removed.
// expires is when the session expires, in microseconds.
func sweepHour(expires int64) int64 {
	at := expires + margin
	h := at / hour
	if at%hour < 0 {
		h--
	}
	return h + 1
}

// These statements remove rows that have ended by the engine's clock and by the caller's
// ($2), so one clock that is ahead for a moment removes no row that is still needed. In
// PostgreSQL, they skip rows that other transactions have locked, so a sweep never waits.
const (
	sweepSessionsPostgres = `DELETE FROM {prefix}sessions WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}sessions WHERE sweep_hour <= least(floor(extract(epoch FROM now()) / 3600)::bigint, $2::bigint / 3600000000)
	ORDER BY sweep_hour LIMIT $1 FOR UPDATE SKIP LOCKED))`
	sweepRevocationsPostgres = `DELETE FROM {prefix}revocations WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {prefix}revocations WHERE until <= least((extract(epoch FROM now()) * 1000000)::bigint, $2::bigint) - 300000000
	ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED))`

	sweepSessionsSQLite = `DELETE FROM {prefix}sessions WHERE rowid IN (
	SELECT rowid FROM {prefix}sessions WHERE sweep_hour <= min(unixepoch(), $2 / 1000000) / 3600 ORDER BY sweep_hour LIMIT $1)`
	sweepRevocationsSQLite = `DELETE FROM {prefix}revocations WHERE seq IN (
	SELECT seq FROM {prefix}revocations WHERE until <= min(unixepoch() * 1000000, $2) - 300000000 ORDER BY until LIMIT $1)`
)

const (
	sweepBatch = 500 // how many rows one statement removes at most
	sweepEvery = 256 // sweepSometimes removes a batch after this many writes
)

// Sweep removes revocations that ended at least 5 minutes ago, and sessions that expired at
// least 5 minutes ago, both by the engine's clock and by Options.Now. Some sessions stay up to
// an hour longer. It works in batches of 500 rows and returns how many rows it has removed, even
// if it fails. Any process may call Sweep at any time, and several may at once.
func (s *Store) Sweep(ctx context.Context) (n int, err error) {
	for _, text := range []string{s.text.sweepSessions, s.text.sweepRevocations} {
		for {
			gone, err := s.exec(ctx, text, sweepBatch, s.now().UnixMicro())
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

// sweepSometimes removes a batch of expired rows at every sweepEvery-th write. A batch has
// more rows than were written since the last one, so expired rows do not pile up. An error
// is ignored, because the write before it has succeeded.
func (s *Store) sweepSometimes(ctx context.Context, writes *atomic.Uint64, text string) {
	if writes.Add(1)%sweepEvery == 0 {
		_, _ = s.exec(ctx, text, sweepBatch, s.now().UnixMicro())
	}
}
