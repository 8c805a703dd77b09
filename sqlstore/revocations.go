package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"
	"unicode/utf8"
)

// maxIDs is the greatest number of ids that one statement looks up.
const maxIDs = 64

var errNotUTF8ID = errors.New("sqlstore: the id of a revocation is not valid UTF-8")

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

// Revoke implements [jwtauth.RevocationStore]. If Revoke gives a revocation a later end, Since
// lists the revocation again. Otherwise the row does not change, so repeating a revocation costs
// the engine little.
func (s *Store) Revoke(ctx context.Context, id string, until time.Time) error {
	if !utf8.ValidString(id) {
		return errNotUTF8ID
	}
	key, literal := revocationKey(id)
	changed, err := s.engine.revoke(ctx, revocation{key, literal, until.UnixMicro()})
	if err != nil {
		return failed("revoke", err)
	}
	if changed {
		s.sweepSometimes(ctx, &s.revokes, s.engine.sweepRevocations)
	}
	return nil
}

// IsRevoked implements [jwtauth.RevocationStore]. Options.Now decides whether a revocation
// has ended.
func (s *Store) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		keys := make([][]byte, n)
		for i, id := range ids[:n] {
			if !utf8.ValidString(id) {
				return false, errNotUTF8ID
			}
			keys[i], _ = revocationKey(id)
		}
		revoked, err := s.engine.isAnyRevoked(ctx, s.now().UnixMicro(), keys)
		if err != nil {
			return false, failed("is revoked", err)
		}
		if revoked {
			return true, nil
		}
		ids = ids[n:]
	}
	return false, ctx.Err()
}
