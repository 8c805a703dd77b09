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
	MySQL                       // MySQL 8.0 or later, or MariaDB 10.6 or later
)

// String returns "postgres", "sqlite" or "mysql", the name of the folder with the migrations.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "postgres"
	case SQLite:
		return "sqlite"
	case MySQL:
		return "mysql"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// statements holds the texts of the statements of PostgreSQL and SQLite, which execute one
// statement for each call. anyRevoked is only the beginning of a statement, because IsRevoked
// adds as many parameters as it has ids.
type statements struct {
	create, step, advance, remove, list       string
	lockOwner, createLimited                  string // lockOwner is only for PostgreSQL
	revoke, anyRevoked, since, all, makeEpoch string
	resume                                    string // only for PostgreSQL
	sweepSessions, sweepRevocations           string
	schema                                    schemaStatements
}

// translate returns a statement with the names of the tables and the clock of an engine. text
// has {prefix} in place of the prefix, {now} in place of the clock, and {step} in place of
// stepText.
func (b base) translate(text, now string) string {
	return strings.NewReplacer("{prefix}", b.prefix, "{now}", now, "{step}", stepText).Replace(text)
}
