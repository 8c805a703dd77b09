package sqlstore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
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
	var text statements
	var lastIDs string
	more := map[string][]any{}
	switch e := s.engine.(type) {
	case *postgres:
		text, lastIDs = e.text, "$2,$3))"
		xid, oldest, nonce := splitNewest(from.newest)
		more[text.resume] = []any{xid, oldest, nonce}
	case *sqlite:
		text, lastIDs = e.text, "?2,?3))"
	case *mysql:
		return e.statements(owner, session, from)
	}
	for statement, args := range map[string][]any{
		text.advance: {owner, session, int64(1), int64(1), int64(2), int64(3), int64(4), int64(1), int64(0), nil},
		text.step:    {owner, session, int64(1), int64(1), int64(2), int64(3), int64(4), int64(1), int64(0), nil},
		text.remove:  {owner, session},
		text.list:    {owner, session, int64(100)},
		text.createLimited: {owner, session, owner, owner, owner, int64(1), int64(0), int64(0), int64(0), int64(0),
			int64(1), int64(2), int64(3), owner, owner, int64(4), int64(5)},
		text.anyRevoked + lastIDs: {int64(1), owner, session},
		text.since:                {from.position},
		text.sweepSessions:        {int64(sweepBatch), int64(1)},
		text.sweepRevocations:     {int64(sweepBatch), int64(1)},
	} {
		more[statement] = args
	}
	return more
}

// statements returns the statements of a running service, each with arguments.
func (m *mysql) statements(owner, session []byte, from state) map[string][]any {
	seq, _ := strconv.ParseInt(from.position, 10, 64)
	nonce, _ := hex.DecodeString(from.newest)
	return map[string][]any{
		m.text.confirm:              {int64(1)},
		m.text.count:                {owner, int64(1), int64(5), owner, session},
		m.text.lock:                 {owner, session},
		m.text.step:                 {int64(1), int64(1), int64(1), int64(1), int64(1), int64(1), int64(1), int64(1), owner, owner, session},
		m.text.remove:               {owner, session},
		m.text.list:                 {owner, session, int64(100)},
		m.text.ends:                 {session},
		m.text.advanceLog:           {session},
		m.text.anyRevoked + "?,?))": {int64(1), owner, session},
		m.text.since:                {seq, nonce, seq + 1, nonce, seq},
		m.text.sweepSessions:        {int64(1), int64(sweepBatch)},
		m.text.sweepRevocations:     {int64(1), int64(sweepBatch)},
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

// Digest is digest.
var Digest = digest

// OwnerLock is ownerLock.
func (s *Store) OwnerLock(issuer, subject string) (high, low int64) {
	return s.engine.(*postgres).ownerLock(digest(issuer, subject))
}

// LimitedStatements returns the statements that read the sessions of a subject, each with
// arguments: a page from the beginning, and Create with a limit.
func (s *Store) LimitedStatements(issuer, subject string, limit int) map[string][]any {
	owner, session := digest(issuer, subject), digest("new")
	var text statements
	switch e := s.engine.(type) {
	case *postgres:
		text = e.text
	case *sqlite:
		text = e.text
	}
	return map[string][]any{
		text.list: {owner, []byte{}, int64(limit)},
		text.createLimited: {owner, session, owner, owner, owner, int64(1), int64(0), int64(0), int64(0), int64(0),
			time.Now().UnixMicro(), int64(2), int64(3), owner, owner, int64(4), int64(limit)},
	}
}

// IsSupportedMySQL is isSupportedMySQL.
var IsSupportedMySQL = isSupportedMySQL

// IsConflict is isConflict.
var IsConflict = isConflict

// LockMigration does what Migrate does before it changes the tables. The function release does
// what Migrate does afterwards.
func (s *Store) LockMigration(ctx context.Context, conn *sql.Conn) (release func() error, err error) {
	return func() error { return s.engine.endMigration(ctx, conn) }, s.engine.beginMigration(ctx, conn)
}
