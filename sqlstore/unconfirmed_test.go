package sqlstore_test

import (
	"context"
	"errors"
	"strconv"
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
	require.NoError(t, s.Create(t.Context(), r, 0))
	db := e.open(t)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	// PostgreSQL waits for a standby once its checkpointer has read the new setting, which can
	// be later than a session shows it: so this waits until a commit waits.
	attempt := 0
	require.Eventually(t, func() bool {
		attempt++
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := s.Create(ctx, record("carol", strconv.Itoa(attempt)), 0)
		return errors.Is(err, context.DeadlineExceeded)
	}, 10*time.Second, 10*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := s.Advance(ctx, keyOf("alice", "never heard of"), jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, jwtauth.ErrNoSession)

	for subject, limit := range map[string]int{"bob": 1000, "alice": 2} {
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = s.List(ctx, r.Key.Issuer, subject, "", limit)
		require.ErrorIs(t, err, context.DeadlineExceeded, "a page that is not full lacks the sessions of another primary")
	}
	rows, err := s.List(t.Context(), r.Key.Issuer, "alice", "", 1)
	require.NoError(t, err, "a full page does not say that there are no more")
	require.Len(t, rows, 1)

	for _, limit := range []int{1, 2} {
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err = s.Create(ctx, record("alice", "two"), limit)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, jwtauth.ErrSessionLimit)
	}
}
