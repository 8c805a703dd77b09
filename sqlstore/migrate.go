package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

//go:embed migrations
var migrations embed.FS

const (
	schemaTherePostgres = `SELECT to_regclass('{prefix}schema') IS NOT NULL`
	schemaThereSQLite   = `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{prefix}schema')`
	schemaTableText     = `CREATE TABLE IF NOT EXISTS {prefix}schema (version bigint PRIMARY KEY, applied_at bigint NOT NULL)`
	versionText         = `SELECT coalesce(max(version), 0) FROM {prefix}schema`
	migratedText        = `INSERT INTO {prefix}schema (version, applied_at) VALUES ($1, $2)`
)

// ErrSchema means that the tables are not those of this version of the package.
var ErrSchema = errors.New("sqlstore: the schema does not fit")

// Migrate makes the tables, or brings those of an older version of this package up
// to date, in one transaction; where all is up to date it changes nothing and needs
// no right to. Several processes may call it at once: one does the work and the
// others wait. A schema that is newer than this package is ErrSchema.
func (s *Store) Migrate(ctx context.Context) error { return s.migrate(ctx, s.steps()) }

// steps are the migrations: the first leads to version 1.
func (s *Store) steps() (steps []string) {
	folder := "migrations/" + s.dialect.String()
	files, err := fs.ReadDir(migrations, folder)
	if err != nil {
		panic(err) // it is embedded
	}
	for _, f := range files {
		b, err := migrations.ReadFile(folder + "/" + f.Name())
		if err != nil {
			panic(err)
		}
		steps = append(steps, strings.ReplaceAll(string(b), "{prefix}", s.prefix))
	}
	return steps
}

func (s *Store) migrate(ctx context.Context, steps []string) error {
	unlock, err := s.lockWriter(ctx) // before the connection, as everybody does
	if err == nil {
		defer unlock()
		err = s.patiently(ctx, func() error { return s.tryMigrate(ctx, steps) })
	}
	if err != nil && !errors.Is(err, ErrSchema) {
		return failed("migrate", err)
	}
	return err
}

func (s *Store) tryMigrate(ctx context.Context, steps []string) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	if version >= len(steps) {
		return newer(version, len(steps))
	}
	if err := s.apply(ctx, conn, steps); err != nil {
		// The transaction ends with the connection, whatever state it is in.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return err
	}
	return nil
}

// apply does what is left to do, once nobody else does it.
func (s *Store) apply(ctx context.Context, conn *sql.Conn, steps []string) (err error) {
	run := func(text string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, text, args...)
		}
	}
	run(s.text.begin)
	run(s.text.lock, lockNumber(s.prefix))
	run(s.text.schemaTable)
	if err != nil {
		return err
	}
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	for version < len(steps) {
		for _, statement := range split(steps[version]) {
			run(statement)
		}
		version++
		run(s.text.migrated, version, time.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("to version %d: %w", version, err)
		}
	}
	run("COMMIT")
	if err != nil {
		return err
	}
	return newer(version, len(steps))
}

// split cuts a file into its statements: each ends a line with a semicolon, and not
// every driver takes several at once.
func split(file string) (statements []string) {
	for part := range strings.SplitSeq(file, ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			statements = append(statements, part)
		}
	}
	return statements
}

// lockNumber is the advisory lock of those who migrate tables with that prefix.
func lockNumber(prefix string) int64 {
	sum := sha256.Sum256([]byte("jwtauth sqlstore " + prefix))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

func newer(version, known int) error {
	if version > known {
		return fmt.Errorf("%w: it has version %d, this program knows %d: it is older than another one that uses the database", ErrSchema, version, known)
	}
	return nil
}

// version is that of the tables that are there, 0 for none.
func (s *Store) version(ctx context.Context, conn *sql.Conn) (version int, err error) {
	var there bool
	if err := conn.QueryRowContext(ctx, s.text.schemaThere).Scan(&there); err != nil || !there {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, s.text.version).Scan(&version)
	return version, err
}
