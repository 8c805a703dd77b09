package sqlstore

import (
	"context"
	"fmt"
	"time"
)

// MigrateTo migrates to an older version of the schema.
func (s *Store) MigrateTo(ctx context.Context, version int) error {
	return s.migrate(ctx, s.steps[:version])
}

// AddVersion makes the store a program that knows one more version of the schema, to which
// the statements in text lead. oldest is the oldest version whose programs can use it; 0
// means that the migration does not say so.
func (s *Store) AddVersion(text string, oldest int) {
	version := len(s.steps) + 1
	if oldest > 0 {
		text += fmt.Sprintf("UPDATE %sschema SET oldest_program = %d WHERE version = %d;\n", s.prefix, oldest, version)
	}
	s.steps = append(s.steps[:version-1:version-1], text)
}

// Versions returns the newest version of the schema.
func (s *Store) Versions() int { return len(s.steps) }

// Statements returns the statements of a running service, each with arguments.
func (s *Store) Statements(cursor string) map[string][]any {
	owner, session := digest("issuer", "subject"), digest("id")
	from, _ := s.parseCursor(cursor)
	statements := map[string][]any{
		s.text.advance: {owner, session, int64(1), int64(1), int64(2), int64(3), int64(4), int64(1), int64(0), nil},
		s.text.remove:  {owner, session},
		s.text.list:    {owner, session, int64(100)},
		s.text.createLimited: {owner, session, owner, owner, owner, int64(1), int64(0), int64(0), int64(0), int64(0),
			int64(1), int64(2), int64(3), int64(4), owner, owner, int64(5)},
		s.text.anyRevoked + s.translate("$2,$3))"): {int64(1), owner, session},
		s.text.since:            {from.position},
		s.text.sweepSessions:    {int64(sweepBatch), int64(1)},
		s.text.sweepRevocations: {int64(sweepBatch), int64(1)},
	}
	if s.text.resume != "" {
		xid, oldest, nonce := splitNewest(from.newest)
		statements[s.text.resume] = []any{xid, oldest, nonce}
	}
	return statements
}

// SweepEvery is sweepEvery.
const SweepEvery = sweepEvery

// Notifier is notifier.
type Notifier struct{ notifier notifier }

// Do is do.
func (n *Notifier) Do(notify func() error) { n.notifier.do(notify) }

// IsBusy is isBusy.
var IsBusy = isBusy

// Digest is digest.
var Digest = digest

// OwnerLock is ownerLock.
func (s *Store) OwnerLock(issuer, subject string) (high, low int64) {
	return s.ownerLock(digest(issuer, subject))
}

// LimitedStatements returns the statements that read the sessions of a subject, each with
// arguments: a page from the beginning, and Create with a limit.
func (s *Store) LimitedStatements(issuer, subject string, limit int) map[string][]any {
	owner, session := digest(issuer, subject), digest("new")
	return map[string][]any{
		s.text.list: {owner, []byte{}, int64(limit)},
		s.text.createLimited: {owner, session, owner, owner, owner, int64(1), int64(0), int64(0), int64(0), int64(0),
			time.Now().UnixMicro(), int64(2), int64(3), int64(4), owner, owner, int64(limit)},
	}
}
