package sqlstore

import (
	"fmt"
	"strings"
)

// Dialect is the SQL dialect of an engine.
type Dialect int

// The dialects.
const (
	Postgres Dialect = 1 + iota // PostgreSQL 13 or later
	SQLite                      // SQLite 3.38 or later
)

// String returns "postgres" or "sqlite", the name of the folder with the migrations.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "postgres"
	case SQLite:
		return "sqlite"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// statements holds the texts of all statements. anyRevoked is only the beginning of a
// statement, because IsRevoked adds as many parameters as it has ids.
type statements struct {
	create, advance, remove, list             string
	lockOwner, createLimited                  string
	revoke, anyRevoked, since, all, makeEpoch string
	resume                                    string // only for PostgreSQL
	sweepSessions, sweepRevocations           string
	hasSchema, makeSchema, version, oldest    string
	begin, lockMigration, addVersion          string
}

// translate returns a statement in the dialect of the store. text has {prefix} in place of
// the prefix, {now} in place of the engine's clock, {step} in place of stepText, and
// parameters in the form of PostgreSQL ($1).
func (s *Store) translate(text string) string {
	now := nowPostgres
	if s.dialect == SQLite {
		now = nowSQLite
	}
	text = strings.NewReplacer("{prefix}", s.prefix, "{now}", now, "{step}", stepText).Replace(text)
	if s.dialect == SQLite {
		text = strings.ReplaceAll(text, "$", "?")
	}
	return text
}

// choose returns the one of two statements that fits the dialect of the store, translated.
func (s *Store) choose(postgres, sqlite string) string {
	if s.dialect == Postgres {
		return s.translate(postgres)
	}
	return s.translate(sqlite)
}

// counted wraps a statement that writes, for PostgreSQL. The result changes the same rows, and
// returns one row with the given name and the number of changed rows. See change.
func counted(name, text string) string {
	return "WITH changed AS (" + text + " RETURNING 1) SELECT '{prefix}" + name + "', count(*) FROM changed"
}

func (s *Store) statements() statements {
	return statements{
		create:  s.choose(counted("create", createText), createText),
		advance: s.choose(advancePostgres, advanceSQLite),
		remove:  s.choose(counted("remove", removeText), removeText),
		list:    s.choose(listPostgres, listSQLite),

		lockOwner:     s.choose(lockOwnerPostgres, ""),
		createLimited: s.choose(createLimitedPostgres, createLimitedSQLite),

		revoke:     s.choose(counted("revoke", revokePostgres), revokeSQLite),
		anyRevoked: s.choose(anyRevokedPostgres, anyRevokedSQLite),
		since:      s.choose(statePostgres+" UNION ALL "+sincePostgres, stateSQLite+" UNION ALL "+sinceSQLite),
		all:        s.choose(statePostgres+" UNION ALL "+allText, stateSQLite+" UNION ALL "+allText),
		resume:     s.choose(resumePostgres, ""),
		makeEpoch:  s.choose(counted("make epoch", makeEpochText), makeEpochText),

		sweepSessions:    s.choose(sweepSessionsPostgres, sweepSessionsSQLite),
		sweepRevocations: s.choose(sweepRevocationsPostgres, sweepRevocationsSQLite),

		hasSchema:     s.choose(hasSchemaPostgres, hasSchemaSQLite),
		makeSchema:    s.translate(makeSchemaText),
		version:       s.translate(versionText),
		oldest:        s.translate(oldestText),
		begin:         s.choose("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN IMMEDIATE"),
		lockMigration: s.choose("SELECT pg_advisory_xact_lock($1)", "SELECT $1"),
		addVersion:    s.translate(addVersionText),
	}
}
