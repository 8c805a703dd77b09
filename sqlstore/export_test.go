package sqlstore

import "context"

// MigrateTo migrates to an older version of the schema.
func (s *Store) MigrateTo(ctx context.Context, version int) error {
	return s.migrate(ctx, s.steps()[:version])
}

// Versions returns the newest version of the schema.
func (s *Store) Versions() int { return len(s.steps()) }

// Statements returns the statements of a running service, each with arguments.
func (s *Store) Statements(cursor string) map[string][]any {
	owner, session := digest("issuer", "subject"), digest("id")
	from, _ := s.parseCursor(cursor)
	return map[string][]any{
		s.text.advance: {owner, session, int64(1), int64(1), int64(2), int64(3), int64(4)},
		s.text.remove:  {owner, session},
		s.text.list:    {owner},
		s.text.anyRevoked + s.translate("$2,$3))"): {int64(1), owner, session},
		s.text.since:            {from.position},
		s.text.sweepSessions:    {int64(sweepBatch), int64(1)},
		s.text.sweepRevocations: {int64(sweepBatch), int64(1)},
	}
}

// SweepEvery is sweepEvery.
const SweepEvery = sweepEvery

// Notifier is notifier.
type Notifier struct{ notifier notifier }

// Do is do.
func (n *Notifier) Do(notify func() error) { n.notifier.do(notify) }

// IsBusy is isBusy.
var IsBusy = isBusy
