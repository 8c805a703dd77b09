package sqlstore

import (
	"context"
	"sync/atomic"
)

// Channel is the channel of PostgreSQL on which Revoke notifies those who listen,
// with an empty payload; package pgxwatch listens to it. It is "" where the engine
// cannot push.
func (s *Store) Channel() string {
	if s.dialect == Postgres {
		return s.prefix + "revoked"
	}
	return ""
}

// bell counts the revocations that nobody has notified of.
type bell struct{ waiting atomic.Int64 }

// mostRings is how often one caller notifies for others.
const mostRings = 8

// ring notifies those who listen, once the revocation has been committed. It is a
// statement of its own, since transactions that notify are committed one at a time
// in the whole server, and would each wait for the disk. A push that fails is
// lost: whoever listens polls as well.
func (s *Store) ring(ctx context.Context) {
	if s.dialect == Postgres {
		s.bell.ring(func() error {
			_, err := s.db.ExecContext(ctx, "SELECT pg_notify($1, '')", s.Channel())
			return err
		})
	}
}

// ring sees to it that a notification begins after it was called. Callers that come
// while another one notifies leave it to that one, who does it once more for all of
// them.
func (b *bell) ring(notify func() error) {
	if b.waiting.Add(1) > 1 {
		return
	}
	for range mostRings {
		n := b.waiting.Load()
		if notify() != nil {
			b.waiting.Store(0)
			return
		}
		if b.waiting.CompareAndSwap(n, 0) {
			return
		}
	}
	b.waiting.Store(0) // who comes from here on notifies by itself
	_ = notify()
}
