package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// A statement that makes a table commits at once, so a migration is not a transaction. A version
// counts as soon as applied_at is set, after the last statement of its migration.
const (
	hasSchemaMySQL    = `SELECT '{prefix}has schema', EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{prefix}schema')`
	makeSchemaMySQL   = `CREATE TABLE IF NOT EXISTS {prefix}schema (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL, oldest_program BIGINT) ENGINE = InnoDB`
	versionMySQL      = `SELECT '{prefix}version', COALESCE(MAX(version), 0) FROM {prefix}schema WHERE applied_at > 0`
	oldestMySQL       = `SELECT '{prefix}oldest', MAX(COALESCE(oldest_program, version)) FROM {prefix}schema WHERE applied_at > 0`
	beginVersionMySQL = `INSERT IGNORE INTO {prefix}schema (version, applied_at) VALUES (?, 0)`
	endVersionMySQL   = `UPDATE {prefix}schema SET applied_at = ? WHERE version = ?`

	// lockNameMySQL is the name of the lock for migrating the tables with this prefix.
	lockNameMySQL = `CONCAT('jwtauth ', LEFT(SHA2(CONCAT(COALESCE(DATABASE(), ''), ' {prefix}'), 256), 32))`
)

func (m *mysql) schema() schemaStatements { return m.text.schema }

// beginMigration acquires a lock of the connection. Closing the connection also releases it.
func (m *mysql) beginMigration(ctx context.Context, conn *sql.Conn) error {
	for {
		var isLocked bool
		row := conn.QueryRowContext(ctx, m.translate(`SELECT '{prefix}lock migration', COALESCE(GET_LOCK(`+lockNameMySQL+`, 1), 0)`))
		if err := m.scanAnswer(row.Scan, "lock migration", &isLocked); err != nil || isLocked {
			return err
		}
	}
}

func (m *mysql) endMigration(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, m.translate(`DO RELEASE_LOCK(`+lockNameMySQL+`)`))
	return err
}

// settingsMySQL counts the rights with which the user may write to a server that is read-only,
// and the tables that are not of InnoDB. _ in the name of a table must not match any letter.
const settingsMySQL = `SELECT '{prefix}settings', VERSION(), {writable}, @@session.autocommit, @@session.sql_mode,
	/*M! @@session.tx_isolation */ /*!80000 @@session.transaction_isolation */,
	@@global.innodb_flush_log_at_trx_commit, @@global.log_bin, @@global.sync_binlog, @@session.binlog_format,
	(SELECT COUNT(*) FROM information_schema.user_privileges
		WHERE grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')
		AND privilege_type IN ('SUPER', 'READ_ONLY ADMIN', 'READ ONLY ADMIN', 'CONNECTION_ADMIN')),
	(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND engine <> 'InnoDB'
		AND table_name IN ('{prefix}schema', '{prefix}sessions', '{prefix}revocations', '{prefix}log', '{prefix}slots'))`

func (m *mysql) checkSettings(ctx context.Context) (warnings []string, err error) {
	var version, mode, isolation, binlogFormat string
	var isWritable, isAutocommit, hasBinlog bool
	var flush, syncBinlog, rights, otherTables int64
	row := m.db.QueryRowContext(ctx, m.translate(settingsMySQL))
	err = m.scanAnswer(row.Scan, "settings", &version, &isWritable, &isAutocommit, &mode, &isolation, &flush, &hasBinlog, &syncBinlog, &binlogFormat, &rights, &otherTables)
	if err != nil {
		return nil, failed("check", err)
	}
	if !isSupportedMySQL(version) {
		return nil, fmt.Errorf("sqlstore: this server is version %s, it must be MySQL 8.0, MariaDB 10.6, or later", version)
	}
	switch {
	case !isWritable:
		return nil, errReadOnly
	case otherTables > 0:
		return nil, errors.New("sqlstore: some tables are not of the storage engine InnoDB: remove them, set enforce_storage_engine to NULL, and call Migrate")
	case flush == 0:
		return nil, errors.New("sqlstore: innodb_flush_log_at_trx_commit is 0, so a crash would lose confirmed revocations: set it to 1")
	case !isAutocommit:
		return nil, errors.New("sqlstore: autocommit is off, so reads would return old rows: set it to 1 for this user")
	case !strings.Contains(mode, "STRICT_TRANS_TABLES") && !strings.Contains(mode, "STRICT_ALL_TABLES"):
		return nil, fmt.Errorf("sqlstore: sql_mode is %q, under which values are changed without an error: add STRICT_TRANS_TABLES", mode)
	case isolation == "READ-UNCOMMITTED":
		return nil, errors.New("sqlstore: the isolation level is READ UNCOMMITTED, under which reads return rows that are not committed: set it to READ COMMITTED for this user")
	case hasBinlog && binlogFormat == "STATEMENT":
		return nil, errors.New("sqlstore: binlog_format is STATEMENT, under which all writes fail: set it to ROW or MIXED")
	}
	if flush != 1 {
		warnings = append(warnings, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d: if the machine fails, the revocations and sessions of the last moment are lost", flush))
	}
	if hasBinlog && syncBinlog != 1 {
		warnings = append(warnings, fmt.Sprintf("sync_binlog is %d: if the machine fails, the revocations and sessions of the last moment are lost", syncBinlog))
	}
	if rights > 0 {
		warnings = append(warnings, "this user may write to a server that is read-only (SUPER, READ_ONLY ADMIN or CONNECTION_ADMIN): after a failover, writes to the old primary would be lost")
	}
	return warnings, nil
}

// isSupportedMySQL reports whether the version of a server is new enough.
func isSupportedMySQL(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	if strings.Contains(version, "MariaDB") {
		return major > 10 || major == 10 && minor >= 6
	}
	return major >= 8
}
