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

// statements holds the texts of all statements. That of IsRevoked has a variable number
// of parameters, so anyRevoked is only its beginning.
type statements struct {
	create, advance, remove, list             string
	revoke, anyRevoked, since, all, makeEpoch string
	sweepSessions, sweepRevocations           string
	hasSchema, makeSchema, version            string
	begin, lockMigration, addVersion          string
}

// translate returns a statement in the dialect of the store. The given statement has
// {prefix} in place of the prefix, and the parameters of PostgreSQL.
func (s *Store) translate(text string) string {
	text = strings.ReplaceAll(text, "{prefix}", s.prefix)
	if s.dialect == SQLite {
		text = strings.ReplaceAll(text, "$", "?")
	}
	return text
}

// choose returns the translation of the statement for the dialect of the store.
func (s *Store) choose(postgres, sqlite string) string {
	if s.dialect == Postgres {
		return s.translate(postgres)
	}
	return s.translate(sqlite)
}

func (s *Store) statements() statements {
	return statements{
		create:  s.translate(createText),
		advance: s.translate(advanceText),
		remove:  s.translate(removeText),
		list:    s.translate(listText),

		revoke:     s.choose(revokePostgres, revokeSQLite),
		anyRevoked: s.choose(anyRevokedPostgres, anyRevokedSQLite),
		since:      s.choose(statePostgres+" UNION ALL "+sincePostgres, stateSQLite+" UNION ALL "+sinceSQLite),
		all:        s.choose(statePostgres+" UNION ALL "+allText, stateSQLite+" UNION ALL "+allText),
		makeEpoch:  s.translate(makeEpochText),

		sweepSessions:    s.choose(sweepSessionsPostgres, sweepSessionsSQLite),
		sweepRevocations: s.choose(sweepRevocationsPostgres, sweepRevocationsSQLite),

		hasSchema:     s.choose(hasSchemaPostgres, hasSchemaSQLite),
		makeSchema:    s.translate(makeSchemaText),
		version:       s.translate(versionText),
		begin:         s.choose("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN IMMEDIATE"),
		lockMigration: s.choose("SELECT pg_advisory_xact_lock($1)", "SELECT $1"),
		addVersion:    s.translate(addVersionText),
	}
}
