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
	makeSchemaText   = `CREATE TABLE IF NOT EXISTS {prefix}schema (version bigint PRIMARY KEY, applied_at bigint NOT NULL)`
	versionText      = `SELECT '{prefix}version', coalesce(max(version), 0) FROM {prefix}schema`
	oldestText       = `SELECT '{prefix}oldest', max(coalesce(oldest_program, version)) FROM {prefix}schema`
	beginVersionText = `INSERT INTO {prefix}schema (version, applied_at) VALUES ($1, 0)`
	endVersionText   = `UPDATE {prefix}schema SET applied_at = $1 WHERE version = $2`
)

// ErrSchema means that the tables are missing, or that they are of a version that this
// package cannot use.
var ErrSchema = errors.New("sqlstore: the schema does not fit")

// Migrate makes the tables, or updates those of an older version of this package, in one
// transaction. If the tables are up to date, Migrate changes nothing and needs no right to
// do so. Several processes may call Migrate at once: one does the work and the others wait
// for it. If a newer version of this package has made the tables, and this version can still
// use them, Migrate returns nil. If it cannot, the error is ErrSchema.
func (s *Store) Migrate(ctx context.Context) error { return s.migrate(ctx, s.steps) }

// readSteps returns the migrations. The first one leads to version 1.
func readSteps(d Dialect, prefix string) (steps []string) {
	folder := "migrations/" + d.String()
	files, err := fs.ReadDir(migrations, folder)
	if err != nil {
		panic(err) // the files are embedded
	}
	for _, f := range files {
		b, err := migrations.ReadFile(folder + "/" + f.Name())
		if err != nil {
			panic(err)
		}
		steps = append(steps, strings.ReplaceAll(string(b), "{prefix}", prefix))
	}
	return steps
}

func (s *Store) migrate(ctx context.Context, steps []string) error {
	err := s.engine.alone(ctx, func() error { // before taking a connection, as in all other methods
		return s.engine.retry(ctx, func() error { return s.tryMigrate(ctx, steps) })
	})
	if err != nil && !errors.Is(err, ErrSchema) {
		return failed("migrate", s.engine.explain(err))
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
		return s.refuseNewer(ctx, conn, version, len(steps))
	}
	if err := s.apply(ctx, conn, steps); err != nil {
		// Closing the connection also ends the transaction.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return err
	}
	return nil
}

// apply runs the missing migrations, after it has waited for other processes that migrate.
func (s *Store) apply(ctx context.Context, conn *sql.Conn, steps []string) (err error) {
	run := func(text string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, text, args...)
		}
	}
	if err := s.engine.beginMigration(ctx, conn); err != nil {
		return err
	}
	schema := s.engine.schema()
	run(schema.create)
	if err != nil {
		return err
	}
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	for version < len(steps) {
		run(schema.begin, version+1) // first, because the step may change the row
		for _, statement := range split(steps[version]) {
			run(statement)
		}
		version++
		run(schema.end, time.Now().UnixMicro(), version)
		if err != nil {
			return fmt.Errorf("to version %d: %w", version, err)
		}
	}
	if err := s.engine.endMigration(ctx, conn); err != nil {
		return err
	}
	return s.refuseNewer(ctx, conn, version, len(steps))
}

// split cuts a file into its statements, because some drivers accept only one at a time.
// Each statement ends with a semicolon at the end of a line.
func split(file string) (statements []string) {
	for part := range strings.SplitSeq(file, ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			statements = append(statements, part)
		}
	}
	return statements
}

// lockNumber returns the number of the advisory lock for migrating tables with a prefix.
func lockNumber(prefix string) int64 {
	sum := sha256.Sum256([]byte("jwtauth sqlstore " + prefix))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// refuseNewer returns ErrSchema if version is greater than known, the version of this package,
// unless the tables say that programs of the version known can use them.
func (s *Store) refuseNewer(ctx context.Context, conn *sql.Conn, version, known int) error {
	if version <= known {
		return nil
	}
	oldest, schema := version, s.engine.schema()
	if version >= schema.withOldest {
		if err := s.scanAnswer(conn.QueryRowContext(ctx, schema.oldest).Scan, "oldest", &oldest); err != nil {
			return err
		}
	}
	if oldest > known {
		return fmt.Errorf("%w: it has version %d, which programs from version %d on can use; this program knows %d: a newer program has migrated the database", ErrSchema, version, oldest, known)
	}
	return nil
}

// version returns the version of the tables, or 0 if there are no tables.
func (s *Store) version(ctx context.Context, conn *sql.Conn) (version int, err error) {
	var exists bool
	err = s.scanAnswer(conn.QueryRowContext(ctx, s.engine.schema().exists).Scan, "has schema", &exists)
	if err != nil || !exists {
		return 0, err
	}
	err = s.scanAnswer(conn.QueryRowContext(ctx, s.engine.schema().version).Scan, "version", &version)
	return version, err
}
