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

// If Revoke gives a revocation a later end, Since lists the revocation again as a new one.
// Otherwise the row does not change, so repeating a revocation costs the engine little. In
// PostgreSQL, the last three columns have defaults, which are computed anew for each call.
const (
	revokePostgres = `INSERT INTO {prefix}revocations (key, id, until, xid)
	VALUES ($1, $2, $3, pg_current_xact_id())
	ON CONFLICT (key) DO UPDATE SET until = excluded.until, xid = excluded.xid,
	nonce = excluded.nonce, nonce_xid = excluded.nonce_xid, oldest_xid = excluded.oldest_xid
	WHERE {prefix}revocations.until < excluded.until`

	revokeSQLite = `INSERT OR REPLACE INTO {prefix}revocations (key, id, until)
	SELECT $1, $2, $3
	WHERE NOT EXISTS (SELECT 1 FROM {prefix}revocations WHERE key = $1 AND until >= $3)`
)

const (
	anyRevokedPostgres = `SELECT '{prefix}is revoked', pg_is_in_recovery(), EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
	anyRevokedSQLite   = `SELECT '{prefix}is revoked', 0, EXISTS (SELECT 1 FROM {prefix}revocations WHERE until > $1 AND key IN (`
)

// maxIDs is the greatest number of ids that one statement looks up.
const maxIDs = 64

var (
	errNotUTF8ID = errors.New("sqlstore: the id of a revocation is not valid UTF-8")
	errStandby   = errors.New("sqlstore: this PostgreSQL is a standby: connect to the primary (target_session_attrs=read-write)")
)

// revocationKey returns the key of an id's row. The ids of TokenID and SessionID are 16
// bytes in base64url: the key is these bytes, and literal is nil. The key of any other id
// is a SHA-256, which is longer, and literal is the id.
func revocationKey(id string) (key, literal []byte) {
	if len(id) == base64.RawURLEncoding.EncodedLen(16) {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(id); err == nil && len(b) == 16 {
			return b, nil
		}
	}
	sum := sha256.Sum256([]byte(id))
	return sum[:], []byte(id)
}

// revocationID is the inverse of revocationKey.
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
	n, err := s.change(ctx, "revoke", s.text.revoke, key, literal, until.UnixMicro())
	if err != nil {
		return failed("revoke", err)
	}
	if n > 0 {
		s.notify(ctx)
		s.sweepSometimes(ctx, &s.revokes, s.text.sweepRevocations)
	}
	return nil
}

// IsRevoked implements [jwtauth.RevocationStore]. Options.Now decides whether a revocation
// has ended.
func (s *Store) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		if revoked, err := s.isAnyRevoked(ctx, ids[:n]); revoked || err != nil {
			return revoked, err
		}
		ids = ids[n:]
	}
	return false, ctx.Err()
}

func (s *Store) isAnyRevoked(ctx context.Context, ids []string) (revoked bool, err error) {
	var text strings.Builder
	text.WriteString(s.text.anyRevoked)
	args := make([]any, 1, 1+len(ids))
	args[0] = s.now().UnixMicro()
	for i, id := range ids {
		if !utf8.ValidString(id) {
			return false, errNotUTF8ID
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(s.translate("$" + strconv.Itoa(i+2)))
		key, _ := revocationKey(id)
		args = append(args, key)
	}
	text.WriteString("))")
	var standby bool
	err = s.query(ctx, text.String(), func(scan func(...any) error) error {
		return s.scanAnswer(scan, "is revoked", &standby, &revoked)
	}, args...)
	switch {
	case err != nil:
		return false, failed("is revoked", err)
	case standby:
		return false, errStandby
	}
	return revoked, nil
}
