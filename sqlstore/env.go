package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
)

// urlVariable is the environment variable of FromEnv.
const urlVariable = "JWTAUTH_DATABASE_URL"

// FromEnv makes a Store in the database that the environment variable JWTAUTH_DATABASE_URL names, with
// a driver that the program imports, such as pgx or sqlite. The value is what sql.Open takes, such as
// postgres://user:password@db.example.com/app or file:/var/lib/app/auth.db. FromEnv sends nothing to
// the database; see [Store.Migrate] and [Store.Check]. Set the size of the pool by the driver's own
// parameters, or use [New]. Errors name the variable and not its value. [Store.Close] closes the
// database.
func FromEnv(driver string, o Options) (*Store, error) {
	name := os.Getenv(urlVariable)
	if name == "" {
		return nil, errors.New("sqlstore: the environment variable " + urlVariable + " is not set: the data source name of a database is expected, such as postgres://user@localhost/app")
	}
	if !slices.Contains(sql.Drivers(), driver) {
		return nil, fmt.Errorf("sqlstore: the program has no database driver %q: import one, such as github.com/jackc/pgx/v5/stdlib for pgx", driver)
	}
	db, err := sql.Open(driver, name)
	if err != nil { // err may have the password
		return nil, fmt.Errorf("sqlstore: the environment variable %s is not a data source name of the driver %q", urlVariable, driver)
	}
	s, err := New(db, o)
	if err != nil {
		db.Close()
		return nil, err
	}
	s.owned = db
	return s, nil
}

// Close closes the database of a Store that [FromEnv] made, and does nothing for another Store. After
// that, the methods return errors.
func (s *Store) Close() error {
	if s == nil || s.owned == nil {
		return nil
	}
	return s.owned.Close()
}
