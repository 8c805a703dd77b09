package sqlstore

import (
	"context"
	"sync/atomic"
)

// Channel returns the PostgreSQL channel on which Revoke notifies listeners, with an empty
// payload. Package pgxwatch listens to it, and tests its connection with a payload that
// begins with "test ". If the engine cannot push, Channel returns "".
func (s *Store) Channel() string {
	if s.dialect == Postgres {
		return s.prefix + "revoked"
	}
	return ""
}

// notify notifies listeners of a revocation that has been committed. The notification is a
// statement of its own, because the server commits transactions that notify one at a time,
// and each would wait for the disk. If the notification fails, it is lost; listeners also
// poll.
func (s *Store) notify(ctx context.Context) {
	if s.dialect == Postgres {
		s.notifier.do(func() error {
			_, err := s.db.ExecContext(ctx, "SELECT pg_notify($1, '')", s.Channel())
			return err
		})
	}
}

// notifier combines the notifications of concurrent callers. A caller that comes while
// another one notifies leaves its notification to that one, which then notifies once more
// for all of them.
type notifier struct {
	pending atomic.Int64 // callers whose notification has not been sent
}

// maxRounds is how often one caller notifies for others.
const maxRounds = 8

// do makes sure that a notification begins after do was called.
func (n *notifier) do(notify func() error) {
	if n.pending.Add(1) > 1 {
		return
	}
	for range maxRounds {
		before := n.pending.Load()
		if notify() != nil {
			n.pending.Store(0)
			return
		}
		if n.pending.CompareAndSwap(before, 0) {
			return
		}
	}
	n.pending.Store(0) // the next caller notifies by itself
	_ = notify()
}
