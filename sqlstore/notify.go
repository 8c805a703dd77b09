package sqlstore

import (
	"context"
	"sync/atomic"
)

// Channel returns the PostgreSQL channel on which Revoke notifies listeners, with an empty
// payload. Package pgxwatch listens to it, and tests its connection with a payload that
// begins with "test ". If the engine cannot push, Channel returns "".
func (s *Store) Channel() string {
	if p, ok := s.engine.(*postgres); ok {
		return p.channel()
	}
	return ""
}

// notify notifies listeners of a revocation that has been committed. The notification is not
// part of the transaction that revokes: the server commits transactions with a notification
// one at a time, and each would wait for the disk. A notification that fails is lost, but
// listeners also poll.
func (p *postgres) notify(ctx context.Context) {
	p.notifier.do(func() error {
		_, err := p.db.ExecContext(ctx, "SELECT pg_notify($1, '')", p.channel())
		return err
	})
}

func (p *postgres) channel() string { return p.prefix + "revoked" }

// notifier combines the notifications of concurrent callers. If a caller comes while another
// caller sends a notification, it returns at once. The other caller then sends one more
// notification for all callers that came meanwhile.
type notifier struct {
	pending atomic.Int64 // callers whose notification has not been sent
}

// maxRounds is how many notifications one caller sends for itself and others. If callers still
// wait after that, it sends one more and returns.
const maxRounds = 8

// do makes sure that a notification begins after do was called. The notification may be sent
// by another caller.
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
	n.pending.Store(0) // from here on, the next caller sends its own notification
	_ = notify()
}
