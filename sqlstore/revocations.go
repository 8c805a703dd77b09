package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An entry that is prolonged becomes one of the newest; one that is not is left
// alone, so that telling it again costs the engine little.
const (
	revokePostgres = `INSERT INTO {prefix}revocations (key, id, until, xid)
	VALUES ($1, $2, $3, pg_current_xact_id())
	ON CONFLICT (key) DO UPDATE SET until = excluded.until, xid = excluded.xid
	WHERE {prefix}revocations.until < excluded.until`

	revokeSQLite = `INSERT OR REPLACE INTO {prefix}revocations (key, id, until)
	SELECT $1, $2, $3
	WHERE NOT EXISTS (SELECT 1 FROM {prefix}revocations WHERE key = $1 AND until >= $3)`
)

const (
	anyPostgres = `SELECT pg_is_in_recovery(), EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
	anySQLite   = `SELECT 0, EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
)

// maxAsked is how many ids one statement asks about.
const maxAsked = 64

var (
	errNotUTF8ID = errors.New("sqlstore: the id of a revocation is not UTF-8")
	errStandby   = errors.New("sqlstore: this is a replica: connect to the primary, target_session_attrs=read-write")
)

// revocationKey is the key of an id, and the id itself where the key does not
// tell it. The ids of TokenID and SessionID are 16 bytes in base64url; a digest
// of anything else is longer.
func revocationKey(id string) (key, literal []byte) {
	if len(id) == base64.RawURLEncoding.EncodedLen(16) {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(id); err == nil && len(b) == 16 {
			return b, nil
		}
	}
	sum := sha256.Sum256([]byte(id))
	return sum[:], []byte(id)
}

// revocationID is the inverse.
func revocationID(key, literal []byte) string {
	if len(key) == 16 {
		return base64.RawURLEncoding.EncodeToString(key)
	}
	return string(literal)
}

// Revoke implements [jwtauth.RevocationStore].
func (s *Store) Revoke(ctx context.Context, id string, until time.Time) error {
	if !utf8.ValidString(id) {
		return errNotUTF8ID
	}
	key, literal := revocationKey(id)
	n, err := s.exec(ctx, s.text.revoke, key, literal, until.UnixMicro())
	if err != nil {
		return failed("revoke", err)
	}
	if n > 0 {
		s.ring(ctx)
		s.sweepSome(ctx, &s.revokes, s.text.sweepRevocations)
	}
	return nil
}

// IsRevoked implements [jwtauth.RevocationStore]. Options.Now decides which
// entries are over.
func (s *Store) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	for len(ids) > 0 {
		n := min(len(ids), maxAsked)
		if revoked, err := s.anyRevoked(ctx, ids[:n]); revoked || err != nil {
			return revoked, err
		}
		ids = ids[n:]
	}
	return false, ctx.Err()
}

func (s *Store) anyRevoked(ctx context.Context, ids []string) (revoked bool, err error) {
	var text strings.Builder
	text.WriteString(s.text.any)
	args := make([]any, 1, 1+len(ids))
	args[0] = s.now().UnixMicro()
	for i, id := range ids {
		if !utf8.ValidString(id) {
			return false, errNotUTF8ID
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(s.spell("$" + strconv.Itoa(i+2)))
		key, _ := revocationKey(id)
		args = append(args, key)
	}
	text.WriteString("))")
	var standby bool
	err = s.rows(ctx, text.String(), func(scan func(...any) error) error { return scan(&standby, &revoked) }, args...)
	switch {
	case err != nil:
		return false, failed("is revoked", err)
	case standby:
		return false, errStandby
	}
	return revoked, nil
}
