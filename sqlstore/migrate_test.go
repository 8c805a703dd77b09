package sqlstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// race lets four processes migrate at once.
func race(t *testing.T, e engine) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 4 {
		s := e.newStore(t, e.open(t))
		all.Go(func() {
			<-start
			if err := errors.Join(s.Migrate(t.Context()), s.Check(t.Context())); err != nil {
				t.Errorf("of four that migrate, one fails: %v", err)
			}
		})
	}
	close(start)
	all.Wait()
}

func TestProcessesThatMigrateAtOnceMakeOneSchema(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		race(t, e)
		var steps, last int
		require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT count(*), max(version) FROM jwtauth_schema").Scan(&steps, &last))
		require.Equal(t, e.newStore(t, e.open(t)).Versions(), steps)
		require.Equal(t, steps, last)
	})
}

func TestProcessesThatMigrateFromAnOlderVersionAtOnceKeepItsRows(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		s := e.newStore(t, e.open(t))
		require.NoError(t, s.MigrateTo(t.Context(), 1))
		require.ErrorIs(t, s.Check(t.Context()), sqlstore.ErrSchema)
		r := record("alice", "one")
		require.NoError(t, s.Create(t.Context(), r))
		race(t, e)
		require.Equal(t, []string{"one"}, idsOf(t, s, "alice"))
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	})
}

func TestAMigrationThatFailsHalfwayLeavesNothingBehind(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		db := e.open(t)
		// The second migration stumbles over a table of that name.
		_, err := db.ExecContext(t.Context(), "CREATE TABLE jwtauth_life (x int)")
		require.NoError(t, err)
		s := e.newStore(t, db)
		require.Error(t, s.Migrate(t.Context()))
		require.ErrorIs(t, s.Check(t.Context()), sqlstore.ErrSchema)
		require.Error(t, s.Create(t.Context(), record("alice", "one")))
		_, err = db.ExecContext(t.Context(), "DROP TABLE jwtauth_life")
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, s.Check(t.Context()))
	})
}

func TestCheckTellsOfASchemaThatIsMissingOrNewer(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		db := e.open(t)
		s := e.newStore(t, db)
		err := s.Check(t.Context())
		require.ErrorIs(t, err, sqlstore.ErrSchema)
		require.ErrorContains(t, err, "call Migrate")
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, s.Migrate(t.Context()))
		_, err = db.ExecContext(t.Context(), "INSERT INTO jwtauth_schema (version, applied_at) VALUES (99, 0)")
		require.NoError(t, err)
		require.ErrorIs(t, s.Check(t.Context()), sqlstore.ErrSchema)
		require.ErrorIs(t, s.Migrate(t.Context()), sqlstore.ErrSchema)
	})
}

// as is the database for a role that has these rights and no others.
func (e engine) as(t *testing.T, role string, rights ...string) engine {
	t.Helper()
	db := e.open(t)
	for _, statement := range append([]string{"CREATE ROLE " + role + " LOGIN"}, rights...) {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, _ = db.Exec("DROP OWNED BY " + role)
		_, _ = db.Exec("DROP ROLE " + role)
	})
	return e.setting("user", role)
}

func TestAServiceNeedsNoRightsButOnTheRows(t *testing.T) {
	e := postgresql(t)
	e.store(t)
	s := e.newStore(t, e.as(t, "service", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO service").open(t))
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Check(t.Context()))
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r))
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	entries, _, _ := since(t, s, "")
	require.Len(t, entries, 1)
	_, err := s.Sweep(t.Context())
	require.NoError(t, err)
}

func TestAServiceThatOnlyVerifiesCanReadTheLogFirst(t *testing.T) {
	e := postgresql(t)
	writer := e.store(t)
	require.NoError(t, writer.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
	s := e.newStore(t, e.as(t, "verifier", "GRANT SELECT ON jwtauth_revocations, jwtauth_schema, jwtauth_life TO verifier", "GRANT INSERT ON jwtauth_life TO verifier").open(t))
	require.NoError(t, s.Check(t.Context()))
	entries, cursor, _ := since(t, s, "")
	require.Len(t, entries, 1)
	_, _, reset := since(t, s, cursor)
	require.False(t, reset)
	require.Error(t, s.Revoke(t.Context(), tokenID(2), now().Add(time.Hour)))
}

func TestCheckRefusesSettingsUnderWhichThePromiseDoesNotHold(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"synchronous_commit", "off", "synchronous_commit"},
		{"default_transaction_isolation", "serializable", "read committed"},
		{"default_transaction_isolation", "repeatable%20read", "read committed"},
	} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			e := postgresql(t)
			e.store(t)
			err := e.newStore(t, e.setting(c.name, c.value).open(t)).Check(t.Context())
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, sqlstore.ErrSchema)
		})
	}
	e := sqlite(t)
	e.store(t)
	require.ErrorContains(t, e.newStore(t, e.setting("_pragma", "synchronous(off)").open(t)).Check(t.Context()), "synchronous")
}

// A replica answers with what was, perhaps long ago.
func TestAReplicaOfPostgreSQLIsRefused(t *testing.T) {
	primary := ownServer(t)
	e := engine{sqlstore.Postgres, "pgx", primary.url("postgres")}
	s := e.store(t)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
	_, cursor, _ := since(t, s, "")
	replica := primary.replica(t)
	s = e.newStore(t, open(t, "pgx", replica.url("postgres")))
	require.ErrorContains(t, s.Check(t.Context()), "primary")
	_, err := s.IsRevoked(t.Context(), tokenID(1))
	require.ErrorContains(t, err, "primary")
	for _, c := range []string{"", cursor} {
		_, _, err = s.Since(t.Context(), c, heard{}.entry)
		require.Error(t, err)
	}
	require.Error(t, s.Revoke(t.Context(), tokenID(2), now()))
}
