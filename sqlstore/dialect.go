package sqlstore

import (
	"fmt"
	"strings"
)

// Dialect is what a database speaks.
type Dialect int

// The dialects.
const (
	Postgres Dialect = 1 + iota // PostgreSQL 13 or later
	SQLite                      // SQLite 3.38 or later
)

// String names the dialect as the folder of its migrations is named.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "postgres"
	case SQLite:
		return "sqlite"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// statements is the text of all that is asked of the engine; of IsRevoked, which
// has a variable number of parameters, only the begin.
type statements struct {
	create, advance, remove, list     string
	revoke, any, since, all, live     string
	sweepSessions, sweepRevocations   string
	schemaThere, schemaTable, version string
	begin, lock, migrated             string
}

// spell writes a statement, which is given with {prefix} and PostgreSQL's
// parameters, in the dialect.
func (s *Store) spell(text string) string {
	text = strings.ReplaceAll(text, "{prefix}", s.prefix)
	if s.dialect == SQLite {
		text = strings.ReplaceAll(text, "$", "?")
	}
	return text
}

// pick is the spelling of one of two statements.
func (s *Store) pick(postgres, sqlite string) string {
	if s.dialect == Postgres {
		return s.spell(postgres)
	}
	return s.spell(sqlite)
}

func (s *Store) statements() statements {
	return statements{
		create:  s.spell(createText),
		advance: s.spell(advanceText),
		remove:  s.spell(removeText),
		list:    s.spell(listText),

		revoke: s.pick(revokePostgres, revokeSQLite),
		any:    s.pick(anyPostgres, anySQLite),
		since:  s.pick(statePostgres+" UNION ALL "+sincePostgres, stateSQLite+" UNION ALL "+sinceSQLite),
		all:    s.pick(statePostgres+" UNION ALL "+allText, stateSQLite+" UNION ALL "+allText),
		live:   s.spell(liveText),

		sweepSessions:    s.pick(sweepSessionsPostgres, sweepSessionsSQLite),
		sweepRevocations: s.pick(sweepRevocationsPostgres, sweepRevocationsSQLite),

		schemaThere: s.pick(schemaTherePostgres, schemaThereSQLite),
		schemaTable: s.spell(schemaTableText),
		version:     s.spell(versionText),
		begin:       s.pick("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN IMMEDIATE"),
		lock:        s.pick("SELECT pg_advisory_xact_lock($1)", "SELECT $1"),
		migrated:    s.spell(migratedText),
	}
}
