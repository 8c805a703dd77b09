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

// sweepFunc removes a batch of rows that have ended by the engine's clock and by the caller's, so
// one clock that is ahead for a moment removes no row that is still needed. It returns how many
// rows it has removed.
type sweepFunc func(ctx context.Context, callersNow int64) (n int64, err error)

const (
	sweepBatch = 500 // how many rows one statement removes at most
	sweepEvery = 256 // sweepSometimes removes a batch after this many writes
)

// Sweep removes revocations that ended at least 5 minutes ago, and sessions that expired at
// least 5 minutes ago, both by the engine's clock and by Options.Now. Some sessions stay up to
// an hour longer. It works in batches of 500 rows and returns how many rows it has removed, even
// if it fails. Any process may call Sweep at any time, and several may at once.
func (s *Store) Sweep(ctx context.Context) (n int, err error) {
	for _, sweep := range []sweepFunc{s.engine.sweepSessions, s.engine.sweepRevocations} {
		for {
			gone, err := sweep(ctx, s.now().UnixMicro())
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
func (s *Store) sweepSometimes(ctx context.Context, writes *atomic.Uint64, sweep sweepFunc) {
	if writes.Add(1)%sweepEvery == 0 {
		_, _ = sweep(ctx, s.now().UnixMicro())
	}
}
