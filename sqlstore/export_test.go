package sqlstore

import "context"

// MigrateTo migrates as the version of the package did that knew so many steps.
func (s *Store) MigrateTo(ctx context.Context, version int) error {
	return s.migrate(ctx, s.steps()[:version])
}

// Versions is how many steps there are.
func (s *Store) Versions() int { return len(s.steps()) }

// Statements are the statements that run while a service runs, with arguments.
func (s *Store) Statements(cursor string) map[string][]any {
	owner, session := digest("issuer", "subject"), digest("id")
	from, _ := s.parseCursor(cursor)
	return map[string][]any{
		s.text.advance:                  {owner, session, int64(1), int64(1), int64(2), int64(3), int64(4)},
		s.text.remove:                   {owner, session},
		s.text.list:                     {owner},
		s.text.any + s.spell("$2,$3))"): {int64(1), owner, session},
		s.text.since:                    {int64(1), from.position},
		s.text.sweepSessions:            {int64(sweepBatch)},
		s.text.sweepRevocations:         {int64(sweepBatch)},
	}
}

// SweepEvery is after how many writes one removes what has expired.
const SweepEvery = sweepEvery

// Bell is how callers share the notifications of a store.
type Bell struct{ bell bell }

// Ring is ring.
func (b *Bell) Ring(notify func() error) { b.bell.ring(notify) }
