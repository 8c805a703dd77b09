package sqlstore_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// race lets four processes migrate at once.
func race(t *testing.T, e database) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 4 {
		s := e.newStore(t, e.open(t))
		all.Go(func() {
			<-start
			if err := errors.Join(s.Migrate(t.Context()), errorOfCheck(t, s)); err != nil {
				t.Errorf("of four that migrate, one fails: %v", err)
			}
		})
	}
	close(start)
	all.Wait()
}

func TestProcessesThatMigrateAtOnceMakeOneSchema(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		race(t, e)
		var steps, last int
		require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT count(*), max(version) FROM jwtauth_schema").Scan(&steps, &last))
		require.Equal(t, e.newStore(t, e.open(t)).Versions(), steps)
		require.Equal(t, steps, last)
	})
}

func TestProcessesThatMigrateFromAnOlderVersionAtOnceKeepItsRows(t *testing.T) {
	onEachWithOldVersions(t, func(t *testing.T, e database) {
		s := e.newStore(t, e.open(t))
		require.NoError(t, s.MigrateTo(t.Context(), 1))
		require.ErrorIs(t, errorOfCheck(t, s), sqlstore.ErrSchema)
		r := record("alice", "one")
		e.oldProgram(t).create(t, r)
		race(t, e)
		require.Equal(t, []string{"one"}, idsOf(t, s, "alice"))
		require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	})
}

func TestAMigrationThatFailsHalfwayCanBeRepeated(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		db := e.open(t)
		// The migration fails because a table with this name exists.
		table := e.tables()[3]
		_, err := db.ExecContext(t.Context(), "CREATE TABLE "+table+" (x int)")
		require.NoError(t, err)
		s := e.newStore(t, db)
		require.Error(t, s.Migrate(t.Context()))
		require.ErrorIs(t, errorOfCheck(t, s), sqlstore.ErrSchema)
		if e.dialect != sqlstore.MySQL { // there, each table is made at once
			require.Error(t, s.Create(t.Context(), record("alice", "one"), 0))
		}
		_, err = db.ExecContext(t.Context(), "DROP TABLE "+table)
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, errorOfCheck(t, s))
	})
}

func TestCheckTellsOfASchemaThatIsMissingOrNewer(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		db := e.open(t)
		s := e.newStore(t, db)
		err := errorOfCheck(t, s)
		require.ErrorIs(t, err, sqlstore.ErrSchema)
		require.ErrorContains(t, err, "call Migrate")
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, s.Migrate(t.Context()))
		_, err = db.ExecContext(t.Context(), "INSERT INTO jwtauth_schema (version, applied_at) VALUES (99, 1)")
		require.NoError(t, err)
		require.ErrorIs(t, errorOfCheck(t, s), sqlstore.ErrSchema)
		require.ErrorIs(t, s.Migrate(t.Context()), sqlstore.ErrSchema)
	})
}

// unknown is no oldest version.
const unknown = -9

func TestANewerSchemaThatFitsLetsOlderProgramsStart(t *testing.T) {
	for name, c := range map[string]struct {
		oldest []int // of each newer version, minus the version of this package; unknown if it does not say so
		fits   bool
	}{
		"it fits":                       {[]int{0}, true},
		"it fits still older programs":  {[]int{-1}, true},
		"it does not fit":               {[]int{1}, false},
		"it does not say":               {[]int{unknown}, false},
		"two versions fit":              {[]int{0, 0}, true},
		"only the last of two fits":     {[]int{1, 0}, false},
		"only the first of two fits":    {[]int{0, 2}, false},
		"the first of two does not say": {[]int{unknown, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, e database) {
				running := e.store(t)
				newer := e.newStore(t, e.open(t))
				for i, oldest := range c.oldest {
					if oldest != unknown {
						oldest = max(oldest+running.Versions(), 1)
					} else {
						oldest = 0
					}
					newer.AddVersion(fmt.Sprintf("ALTER TABLE jwtauth_sessions ADD COLUMN more%d int;\n", i), oldest)
				}
				require.ErrorIs(t, errorOfCheck(t, newer), sqlstore.ErrSchema, "a program that needs a newer schema must not start")
				require.NoError(t, newer.Migrate(t.Context()))
				require.NoError(t, newer.Migrate(t.Context()))
				require.NoError(t, errorOfCheck(t, newer))

				// One program starts beside the newer one, and one runs already.
				starting := e.newStore(t, e.open(t))
				for _, err := range []error{starting.Migrate(t.Context()), errorOfCheck(t, starting), errorOfCheck(t, running)} {
					if c.fits {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, sqlstore.ErrSchema)
					}
				}
				if !c.fits {
					return
				}
				r := record("alice", "one")
				require.NoError(t, starting.Create(t.Context(), r, 1))
				for i, s := range []*sqlstore.Store{newer, running, starting, newer} {
					row, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: int64(i) + 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
					require.NoError(t, err)
					require.True(t, advanced)
					require.EqualValues(t, i+2, row.Generation)
				}
				require.NoError(t, newer.Migrate(t.Context()))
				require.NoError(t, errorOfCheck(t, newer))
			})
		})
	}
}

// Version 2 has no column for the oldest program, and version 3 says 2.
func TestAVersionThatSaysNothingOfOlderProgramsRefusesThem(t *testing.T) {
	onEachWithOldVersions(t, func(t *testing.T, e database) {
		s := e.newStore(t, e.open(t))
		require.NoError(t, s.MigrateTo(t.Context(), 2))
		require.ErrorIs(t, s.MigrateTo(t.Context(), 1), sqlstore.ErrSchema)
		require.NoError(t, s.Migrate(t.Context()))
		require.ErrorIs(t, s.MigrateTo(t.Context(), 1), sqlstore.ErrSchema)
		require.NoError(t, s.MigrateTo(t.Context(), 2))
	})
}

// as returns the database as a new role sees it that has only these rights.
func (e database) as(t *testing.T, role string, rights ...string) database {
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
	require.NoError(t, errorOfCheck(t, s))
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	require.ErrorIs(t, s.Create(t.Context(), record("alice", "two"), 1), jwtauth.ErrSessionLimit)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	entries, _, _ := since(t, s, "")
	require.Len(t, entries, 1)
	_, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Empty(t, idsOf(t, s, "bob"))
	_, _, err = s.Advance(t.Context(), keyOf("bob", "none"), jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func TestAServiceThatOnlyVerifiesCanReadTheLogFirst(t *testing.T) {
	e := postgresql(t)
	writer := e.store(t)
	require.NoError(t, writer.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
	s := e.newStore(t, e.as(t, "verifier", "GRANT SELECT ON jwtauth_revocations, jwtauth_schema, jwtauth_epoch TO verifier", "GRANT INSERT ON jwtauth_epoch TO verifier").open(t))
	require.NoError(t, errorOfCheck(t, s))
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
			err := errorOfCheck(t, e.newStore(t, e.setting(c.name, c.value).open(t)))
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, sqlstore.ErrSchema)
		})
	}
	e := sqlite(t)
	e.store(t)
	require.ErrorContains(t, errorOfCheck(t, e.newStore(t, e.setting("_pragma", "synchronous(off)").open(t))), "synchronous")
}

func TestCheckWarnsOfASettingThatLosesTheLastMoment(t *testing.T) {
	e := sqlite(t)
	e.store(t)
	for value, want := range map[string]int{"extra": 0, "full": 0, "normal": 1} {
		warnings, err := e.newStore(t, e.setting("_pragma", "synchronous("+value+")").open(t)).Check(t.Context())
		require.NoError(t, err, value)
		require.Len(t, warnings, want, value)
		for _, w := range warnings {
			require.Contains(t, w, "synchronous is normal")
		}
		if want == 0 {
			require.Nil(t, warnings)
		}
	}
}

// A standby may be far behind its primary.
func TestAReplicaOfPostgreSQLIsRefused(t *testing.T) {
	primary := engines.Postgres(t)
	e := postgresAt(primary.URL())
	s := e.store(t)
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), now().Add(time.Hour)))
	_, cursor, _ := since(t, s, "")
	replica := engines.Standby(t, primary)
	s = e.newStore(t, postgresAt(replica.URL()).open(t))
	require.ErrorContains(t, errorOfCheck(t, s), "primary")
	_, err := s.IsRevoked(t.Context(), tokenID(1))
	require.ErrorContains(t, err, "primary")
	for _, c := range []string{"", cursor} {
		_, _, err = s.Since(t.Context(), c, heard{}.entry)
		require.Error(t, err)
	}
	require.Error(t, s.Revoke(t.Context(), tokenID(2), now()))
	_, err = s.List(t.Context(), "https://issuer.test", "alice", "", 1000)
	require.ErrorContains(t, err, "primary")
}
