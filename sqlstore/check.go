package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check asks the engine whether it can keep the promises of this package. Call it when a
// program starts.
//
// An error means that the engine cannot keep them, or that it did not answer. If the tables
// are missing, older than this package, or so new that this package cannot use them, the
// error is [ErrSchema]. Other errors name the setting that must change. This includes a
// setting of the driver that does not work behind a pooler; to find it, Check may open and
// close a few connections one after another. Each warning is a line of text for the log. It
// names a setting that loses entries if the machine fails. If there are no warnings, the
// list is nil.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	err = s.retryWhileBusy(ctx, func() (err error) {
		warnings, err = s.check(ctx)
		return err
	})
	if err != nil {
		return nil, explainPooler(err)
	}
	return warnings, nil
}

func (s *Store) check(ctx context.Context) (warnings []string, err error) {
	if s.dialect == Postgres {
		if err := s.checkPooler(ctx); err != nil {
			return nil, failed("check", err)
		}
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, failed("check", err)
	}
	defer conn.Close()
	checkSettings := s.checkPostgres
	if s.dialect == SQLite {
		checkSettings = checkSQLite
	}
	if warnings, err = checkSettings(ctx, conn); err != nil {
		return nil, err
	}
	version, err := s.version(ctx, conn)
	if err != nil {
		return nil, failed("check", err)
	}
	switch known := len(s.steps); {
	case version == 0:
		return nil, fmt.Errorf("%w: there are no tables %s…: call Migrate", ErrSchema, s.prefix)
	case version < known:
		return nil, fmt.Errorf("%w: it has version %d, this program needs %d: call Migrate", ErrSchema, version, known)
	}
	if err := s.refuseNewer(ctx, conn, version, len(s.steps)); errors.Is(err, ErrSchema) {
		return nil, err
	} else if err != nil {
		return nil, failed("check", err)
	}
	return warnings, nil
}

const settingsText = `SELECT '{prefix}settings', current_setting('server_version_num')::int, pg_is_in_recovery(),
	current_setting('default_transaction_isolation'), current_setting('synchronous_commit')`

func (s *Store) checkPostgres(ctx context.Context, conn *sql.Conn) (warnings []string, err error) {
	var version int
	var standby bool
	var isolation, commit string
	row := conn.QueryRowContext(ctx, s.translate(settingsText))
	err = s.scanAnswer(row.Scan, "settings", &version, &standby, &isolation, &commit)
	switch {
	case err != nil:
		return nil, failed("check", err)
	case version < 130000:
		return nil, fmt.Errorf("sqlstore: this is PostgreSQL %d, it must be 13 or later", version/10000)
	case standby:
		return nil, errStandby
	case isolation != "read committed":
		return nil, fmt.Errorf("sqlstore: default_transaction_isolation is %s, under which concurrent calls fail: set it to read committed for this user", isolation)
	case commit == "off":
		return nil, errors.New("sqlstore: synchronous_commit is off, so a crash would lose confirmed revocations: set it to on for this user")
	}
	return nil, nil
}

// The values of PRAGMA synchronous.
const (
	synchronousOff    = 0
	synchronousNormal = 1
)

func checkSQLite(ctx context.Context, conn *sql.Conn) (warnings []string, err error) {
	var version string
	var hasUnixepoch bool // a function since 3.38
	if err := conn.QueryRowContext(ctx, `SELECT sqlite_version(), unixepoch() IS NOT NULL`).Scan(&version, &hasUnixepoch); err != nil {
		return nil, fmt.Errorf("sqlstore: check: SQLite must be 3.38 or later: %w", err)
	}
	var synchronous int
	if err := conn.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
		return nil, failed("check", err)
	}
	switch synchronous {
	case synchronousOff:
		return nil, errors.New("sqlstore: synchronous is off, so a crash would lose confirmed revocations, or the file: set it to full")
	case synchronousNormal:
		return []string{"synchronous is normal: if the power fails, the revocations and sessions of the last moment are lost"}, nil
	}
	return nil, nil
}
