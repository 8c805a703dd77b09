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

// poolerText returns three facts about a connection.
//
// Exposed: the statement was parsed in one transaction and executed in another, because the
// driver prepared it first. Only then can a pooler execute it on a server connection that
// does not know it. The constant 'now' is the beginning of the transaction that parses the
// statement, and now() is the beginning of the transaction that executes it.
//
// Marked: the server connection has the marker $1. An earlier statement of this call of
// Check has set the marker on it. A statement that is not exposed sets no marker.
//
// Named: the driver prepared the statement under a name. Some poolers handle named prepared
// statements correctly.
const poolerText = `SELECT '{prefix}pooler', now() <> 'now'::timestamptz, coalesce(before.marker, '') = $1,
	EXISTS (SELECT 1 FROM pg_prepared_statements WHERE statement LIKE '%{marker}%'),
	CASE WHEN now() <> 'now'::timestamptz THEN set_config('jwtauth.marker', $1, false) END
	FROM (SELECT current_setting('jwtauth.marker', true) AS marker OFFSET 0) AS before`

const (
	// quietProbes is how many connections Check probes if none of them is shared.
	quietProbes = 3
	// maxProbes is how many connections Check probes if some are shared. If all probes
	// succeed, the pooler handles prepared statements.
	maxProbes = 12
)

// checkPooler returns errPooler if a pooler shares server connections and the driver prepares
// statements that the pooler does not handle. Such a statement may be executed on a server
// connection that does not have it, or has another one of the same name.
//
// Check probes one connection after another. A pooler in transaction mode may give a probe the
// server connection of an earlier probe, or another server connection in the second transaction.
// All probes of one call send the same text, which differs from the text of other calls. So if
// the driver names its statements, and the pooler does not handle names, the server returns an
// error.
func (p *postgres) checkPooler(ctx context.Context) error {
	marker := rand.Text()
	text := strings.ReplaceAll(p.translate(poolerText), "{marker}", marker)
	shared := false
	for n := range maxProbes {
		if n == quietProbes && !shared {
			break
		}
		probe, err := p.probePooler(ctx, text, marker)
		if err != nil || !probe.exposed {
			return err
		}
		shared = shared || probe.shared
		if shared && !probe.named {
			return errPooler
		}
	}
	return nil
}

// poolerProbe is the result of the probe of one connection.
type poolerProbe struct {
	exposed bool // the driver prepares statements first; see poolerText
	shared  bool // the server connection has changed, or an earlier probe has used it
	named   bool // the driver names its statements
}

// probePooler executes text twice on one new connection. If the connection may have a
// marker, probePooler closes it.
func (p *postgres) probePooler(ctx context.Context, text, marker string) (probe poolerProbe, err error) {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return probe, err
	}
	defer conn.Close()
	for n := range 2 {
		var marked bool
		var ignored sql.NullString
		row := conn.QueryRowContext(ctx, text, marker)
		if err := p.scanAnswer(row.Scan, "pooler", &probe.exposed, &marked, &probe.named, &ignored); err != nil {
			return probe, err
		}
		if !probe.exposed {
			return probe, nil
		}
		probe.shared = probe.shared || marked != (n == 1)
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // closes the connection
	return probe, nil
}

// explainPooler adds errPooler to an error that a pooler in transaction mode causes: the
// server does not know a prepared statement, or has one with the same name.
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
