package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

var errPooler = errors.New("sqlstore: a pooler shares connections of PostgreSQL between transactions (as PgBouncer in transaction mode), and the driver's prepared statements do not survive that: " +
	"for pgx, add default_query_exec_mode=cache_describe to the data source name, or exec, or simple_protocol; or set the pooler to session mode")

// poolerText tells three things about a connection.
//
// Is a statement parsed in another transaction than it is executed in? The constant 'now' is
// the beginning of the transaction that parses the statement, now() that of the transaction
// that executes it. Only a statement that is prepared first is exposed to a pooler.
//
// Has this server connection the marker $1 of this call of Check? Then it was used by an
// earlier transaction. A statement that is not exposed leaves no marker.
//
// Is the statement prepared under a name? Some poolers keep track of the named ones.
const poolerText = `SELECT '{prefix}pooler', now() <> 'now'::timestamptz, coalesce(before.marker, '') = $1,
	EXISTS (SELECT 1 FROM pg_prepared_statements WHERE statement LIKE '%{marker}%'),
	CASE WHEN now() <> 'now'::timestamptz THEN set_config('jwtauth.marker', $1, false) END
	FROM (SELECT current_setting('jwtauth.marker', true) AS marker OFFSET 0) AS before`

const (
	// quietProbes is how many connections Check looks at if none of them is shared.
	quietProbes = 3
	// maxProbes is how many connections Check looks at if they are shared, until it believes
	// that the pooler keeps track of prepared statements.
	maxProbes = 12
)

// checkPooler returns errPooler if the statements of the driver can be executed on a server
// connection that does not know them, or knows another one.
//
// Each probe opens a connection of its own, one after another. A pooler in transaction mode
// gives it a server connection that an earlier probe has used, or changes the server
// connection between two transactions. The text differs in each call, but not in each probe,
// so a driver that names its statements fails with the server's own error.
func (s *Store) checkPooler(ctx context.Context) error {
	marker := rand.Text()
	text := strings.ReplaceAll(s.translate(poolerText), "{marker}", marker)
	shared := false
	for n := range maxProbes {
		if n == quietProbes && !shared {
			break
		}
		p, err := s.probePooler(ctx, text, marker)
		if err != nil || !p.exposed {
			return err
		}
		shared = shared || p.shared
		if shared && !p.named {
			return errPooler
		}
	}
	return nil
}

// poolerProbe is what poolerText tells about one connection.
type poolerProbe struct {
	exposed bool // statements are parsed in another transaction than they are executed in
	shared  bool // the server connection has changed, or was used before
	named   bool // the driver names its statements
}

// probePooler looks at one connection twice. It closes a connection that has a marker.
func (s *Store) probePooler(ctx context.Context, text, marker string) (p poolerProbe, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return p, err
	}
	defer conn.Close()
	for n := range 2 {
		var marked bool
		var ignored sql.NullString
		row := conn.QueryRowContext(ctx, text, marker)
		if err := s.scanAnswer(row.Scan, "pooler", &p.exposed, &marked, &p.named, &ignored); err != nil {
			return p, err
		}
		if !p.exposed {
			return p, nil
		}
		p.shared = p.shared || marked != (n == 1)
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // closes it
	return p, nil
}

// explainPooler adds errPooler to the error of a server connection that does not know a
// prepared statement, or has one with the same name.
func explainPooler(err error) error {
	const unknownStatement, duplicateStatement = "26000", "42P05"
	var coded interface{ SQLState() string }
	isMixed := errors.Is(err, errMixed)
	if errors.As(err, &coded) {
		isMixed = coded.SQLState() == unknownStatement || coded.SQLState() == duplicateStatement
	}
	if isMixed {
		return fmt.Errorf("%w: %w", errPooler, err)
	}
	return err
}
