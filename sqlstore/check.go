package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check finds out whether the store can keep its promises on this engine, for the
// start of a program: nil means that it can, as far as the engine tells. A schema
// that is missing, older or newer is ErrSchema. Every other error says which
// setting must change, or that the engine gave no answer.
func (s *Store) Check(ctx context.Context) error {
	return s.patiently(ctx, func() error { return s.check(ctx) })
}

func (s *Store) check(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return failed("check", err)
	}
	defer conn.Close()
	settings := s.checkPostgres
	if s.dialect == SQLite {
		settings = s.checkSQLite
	}
	if err := settings(ctx, conn); err != nil {
		return err
	}
	version, err := s.version(ctx, conn)
	if err != nil {
		return failed("check", err)
	}
	switch known := len(s.steps()); {
	case version == 0:
		return fmt.Errorf("%w: there are no tables %s…: call Migrate", ErrSchema, s.prefix)
	case version < known:
		return fmt.Errorf("%w: it has version %d, this program needs %d: call Migrate", ErrSchema, version, known)
	default:
		return newer(version, known)
	}
}

func (s *Store) checkPostgres(ctx context.Context, conn *sql.Conn) error {
	var version int
	var standby bool
	var isolation, commit string
	err := conn.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
		current_setting('default_transaction_isolation'), current_setting('synchronous_commit')`).Scan(&version, &standby, &isolation, &commit)
	switch {
	case err != nil:
		return failed("check", err)
	case version < 130000:
		return fmt.Errorf("sqlstore: this is PostgreSQL %d, it must be 13 or later", version/10000)
	case standby:
		return errStandby
	case isolation != "read committed":
		return fmt.Errorf("sqlstore: default_transaction_isolation is %s, under which calls that race fail: set it to read committed for this user", isolation)
	case commit == "off":
		return errors.New("sqlstore: synchronous_commit is off, a crash would lose revocations that were acknowledged: set it to on for this user")
	}
	return nil
}

func (s *Store) checkSQLite(ctx context.Context, conn *sql.Conn) error {
	var version string
	var fits bool
	err := conn.QueryRowContext(ctx, `SELECT sqlite_version(), unixepoch() IS NOT NULL`).Scan(&version, &fits)
	if err != nil {
		return fmt.Errorf("sqlstore: check: SQLite must be 3.38 or later: %w", err)
	}
	var synchronous int
	if err := conn.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
		return failed("check", err)
	}
	if synchronous == 0 {
		return errors.New("sqlstore: synchronous is off, a crash would lose revocations that were acknowledged, or the file")
	}
	return nil
}
