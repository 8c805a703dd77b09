package sqlstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
)

func TestAStoreComesFromTheEnvironment(t *testing.T) {
	t.Setenv("JWTAUTH_DATABASE_URL", "file:"+filepath.Join(t.TempDir(), "auth.db")+"?_pragma=journal_mode(wal)")
	s, err := sqlstore.FromEnv("sqlite", sqlstore.Options{Dialect: sqlstore.SQLite})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Revoke(t.Context(), "a", time.Now().Add(time.Hour)))
	revoked, err := s.IsRevoked(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, revoked)
	require.NoError(t, s.Close())
	_, err = s.IsRevoked(t.Context(), "a")
	require.Error(t, err)
	require.NoError(t, (*sqlstore.Store)(nil).Close())
	require.NoError(t, new(sqlstore.Store).Close())
}

func TestAWrongEnvironmentIsAnErrorThatNamesTheVariableAndNoPassword(t *testing.T) {
	for _, c := range []struct{ value, driver, want string }{
		{"", "pgx", "JWTAUTH_DATABASE_URL is not set"},
		{"postgres://x:hunter2@localhost/app", "postgres", `no database driver "postgres": import one`},
		{"postgres://x:hunter2@local host:y/app", "pgx", "JWTAUTH_DATABASE_URL"},
	} {
		t.Setenv("JWTAUTH_DATABASE_URL", c.value)
		s, err := sqlstore.FromEnv(c.driver, sqlstore.Options{Dialect: sqlstore.Postgres})
		if err == nil { // the driver reads the name when it connects
			err = s.Migrate(t.Context())
			require.NoError(t, s.Close())
		} else {
			require.ErrorContains(t, err, c.want)
		}
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
	t.Setenv("JWTAUTH_DATABASE_URL", "postgres://localhost/app")
	_, err := sqlstore.FromEnv("pgx", sqlstore.Options{})
	require.ErrorContains(t, err, "Dialect")
}
