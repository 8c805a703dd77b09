package sqlstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// A primary whose synchronous standby is gone may have been replaced by that standby. What
// it does not know proves nothing.
func TestAPrimaryWithoutItsSynchronousStandbyNeverSaysThatASessionIsMissing(t *testing.T) {
	server := engines.Postgres(t)
	e := postgresAt(server.URL())
	s := e.store(t)
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r))
	db := e.open(t)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		var names string
		err := db.QueryRowContext(t.Context(), "SHOW synchronous_standby_names").Scan(&names)
		return err == nil && names == "gone"
	}, 10*time.Second, 10*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := s.Advance(ctx, keyOf("alice", "never heard of"), jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, jwtauth.ErrNoSession)

	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = s.List(ctx, r.Key.Issuer, "bob")
	require.ErrorIs(t, err, context.DeadlineExceeded, "a list that lacks the sessions of another primary")
	rows, err := s.List(t.Context(), r.Key.Issuer, "alice")
	require.NoError(t, err)
	require.Len(t, rows, 1)
}
