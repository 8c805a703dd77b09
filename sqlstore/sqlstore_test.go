package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	db := sqlite(t).open(t)
	for name, make := range map[string]func() (*sqlstore.Store, error){
		"no database":       func() (*sqlstore.Store, error) { return sqlstore.New(nil, sqlstore.Options{Dialect: sqlstore.SQLite}) },
		"no dialect":        func() (*sqlstore.Store, error) { return sqlstore.New(db, sqlstore.Options{}) },
		"unknown dialect":   func() (*sqlstore.Store, error) { return sqlstore.New(db, sqlstore.Options{Dialect: 9}) },
		"prefix with quote": func() (*sqlstore.Store, error) { return withPrefix(db, `x"; DROP TABLE users; --`) },
		"prefix in capital": func() (*sqlstore.Store, error) { return withPrefix(db, "Auth_") },
		"prefix too long":   func() (*sqlstore.Store, error) { return withPrefix(db, strings.Repeat("a", 31)) },
	} {
		s, err := make()
		require.Error(t, err, name)
		require.Nil(t, s, name)
	}
}

func withPrefix(db *sql.DB, prefix string) (*sqlstore.Store, error) {
	return sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.SQLite, Prefix: prefix})
}

func TestStoresWithTwoPrefixesInOneDatabaseAreApart(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		db := e.open(t)
		first := e.newStore(t, db)
		second, err := sqlstore.New(db, sqlstore.Options{Dialect: e.dialect, Prefix: "other_"})
		require.NoError(t, err)
		for _, s := range []*sqlstore.Store{first, second} {
			require.NoError(t, s.Migrate(t.Context()))
			require.NoError(t, errorOfCheck(t, s))
		}
		r := record("alice", "one")
		require.NoError(t, first.Create(t.Context(), r, 0))
		require.NoError(t, first.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
		rows, err := second.List(t.Context(), r.Key.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Empty(t, rows)
		revoked, err := second.IsRevoked(t.Context(), tokenID(1))
		require.NoError(t, err)
		require.False(t, revoked)
		entries, _, _ := since(t, second, "")
		require.Empty(t, entries)
	})
}

// For the engine, two sql.DB with pools of their own are like two processes.
func TestOf32CallersInTwoProcessesWithOneAtExactlyOneAdvances(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		stores := []*sqlstore.Store{e.store(t), e.newStore(t, e.open(t))}
		r := record("alice", "one")
		require.NoError(t, stores[0].Create(t.Context(), r, 0))
		for from := int64(1); from <= 25; from++ {
			var winners atomic.Int64
			var rotated [32]time.Time
			var all sync.WaitGroup
			start := make(chan struct{})
			for i := range 32 {
				all.Go(func() {
					<-start
					row, advanced, err := stores[i%2].Advance(t.Context(), r.Key, jwtauth.Rotation{From: from, Parent: from, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
					if err != nil || row.Generation != from+1 || row.Previous != from || row.Parent != from || row.ParentStep != from+1 {
						t.Errorf("Advance from %d: %+v, %v", from, row, err)
					}
					rotated[i] = row.RotatedAt
					if advanced {
						winners.Add(1)
					}
				})
			}
			close(start)
			all.Wait()
			require.EqualValues(t, 1, winners.Load(), "from generation %d", from)
			for _, at := range rotated {
				require.Equal(t, rotated[0], at, "two callers have seen different steps")
			}
		}
	})
}

func TestTenThousandRefreshesLeaveOneRow(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		r := record("alice", "one")
		require.NoError(t, s.Create(t.Context(), r, 0))
		for from := int64(1); from <= 10_000; from++ {
			_, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: from, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
			require.NoError(t, err)
			require.True(t, advanced)
		}
		rows, err := s.List(t.Context(), r.Key.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.EqualValues(t, 10_001, rows[0].Generation)
		size := map[sqlstore.Dialect]string{
			sqlstore.Postgres: `SELECT pg_total_relation_size('jwtauth_sessions')`,
			sqlstore.SQLite:   `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`,
			sqlstore.MySQL:    `SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'jwtauth_sessions'`,
		}[e.dialect]
		var bytes int
		require.NoError(t, e.open(t).QueryRowContext(t.Context(), size).Scan(&bytes))
		require.Less(t, bytes, 256<<10, "the table has grown with the number of refreshes")
	})
}

func TestOneRevokedIdAmongManyIsFound(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		ids := make([]string, 200)
		for i := range ids {
			ids[i] = tokenID(i)
		}
		for _, i := range []int{199, 64, 63, 0} {
			revoked, err := s.IsRevoked(t.Context(), ids[:i]...)
			require.NoError(t, err)
			require.False(t, revoked)
			require.NoError(t, s.Revoke(t.Context(), ids[i], now().Add(time.Hour)))
			revoked, err = s.IsRevoked(t.Context(), ids[:i+1]...)
			require.NoError(t, err)
			require.True(t, revoked)
		}
	})
}

func TestASessionMayHaveNoDataAndAKeyOfNothing(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		r := record("", "")
		r.Key.Issuer, r.Data = "", nil
		require.NoError(t, s.Create(t.Context(), r, 0))
		row, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.True(t, advanced)
		require.Empty(t, row.Data)
		require.NoError(t, s.Revoke(t.Context(), "", r.ExpiresAt))
		entries, _, _ := since(t, s, "")
		require.Equal(t, heard{"": r.ExpiresAt}, entries)
	})
}

func TestAnOperatorFindsTheSessionsOfASubject(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		subject := "o'brien\x00\n☂"
		require.NoError(t, s.Create(t.Context(), record(subject, "one"), 0))
		var issuer, id []byte
		require.NoError(t, e.open(t).QueryRowContext(t.Context(), `SELECT issuer, id FROM jwtauth_sessions WHERE subject = `+e.parameter(), []byte(subject)).Scan(&issuer, &id))
		require.Equal(t, "https://issuer.test", string(issuer))
		require.Equal(t, "one", string(id))
	})
}

// issuerOf returns a service whose sessions and revocations are in a store.
func issuerOf(t *testing.T, s *sqlstore.Store, keys *jwk.Ring) (*jwtauth.Issuer, *jwtauth.Verifier) {
	t.Helper()
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://issuer.test", Audiences: []string{"https://api.test"}, Sessions: s, Revocations: s,
	})
	require.NoError(t, err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	return issuer, verifier
}

func newRing(t *testing.T) *jwk.Ring {
	t.Helper()
	key, err := jwk.Generate(jwk.ES256)
	require.NoError(t, err)
	keys, err := jwk.NewRing(key)
	require.NoError(t, err)
	return keys
}

// R12, V03 of the list of attacks.
func TestAfterARestartSpentRefreshTokensAndRevokedTokensAreStillRefused(t *testing.T) {
	restarts := func(t *testing.T, e database, restart func()) {
		keys := newRing(t)
		db := e.open(t)
		s := e.newStore(t, db)
		require.NoError(t, s.Migrate(t.Context()))
		issuer, _ := issuerOf(t, s, keys)
		first, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		second, err := issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		require.NoError(t, err)
		second, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: second.RefreshToken})
		require.NoError(t, err)
		other, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		third, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		require.NoError(t, issuer.Logout(t.Context(), other.RefreshToken))
		require.NoError(t, db.Close())
		restart()

		s = e.newStore(t, e.open(t))
		require.NoError(t, errorOfCheck(t, s))
		issuer, verifier := issuerOf(t, s, keys)
		_, err = verifier.Verify(t.Context(), other.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		_, err = verifier.Verify(t.Context(), second.AccessToken)
		require.NoError(t, err)
		_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: third.RefreshToken})
		require.NoError(t, err, "a session that nobody has ended is gone")
		_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: second.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrRefused, "the session goes on after a replay")
		_, err = verifier.Verify(t.Context(), second.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	}
	t.Run("SQLite", func(t *testing.T) { restarts(t, sqlite(t), func() {}) })
	for name, stop := range map[string]func(*engines.Server){"in good order": (*engines.Server).Stop, "killed": (*engines.Server).Kill} {
		onEachServer(t, name, func(t *testing.T, start startFunc) {
			server, e := start(t)
			restarts(t, e, func() { stop(server); require.NoError(t, server.Start()) })
		})
	}
}

// R19 of the list of attacks.
func TestADumpHoldsNothingThatATokenCouldBeMadeOf(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		issuer, _ := issuerOf(t, s, newRing(t))
		tokens, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Details: map[string]string{"device": "phone"}, Scopes: []string{"orders"}})
		require.NoError(t, err)
		next, err := issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
		require.NoError(t, err)
		ended, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		require.NoError(t, issuer.Logout(t.Context(), ended.AccessToken))
		dump := dumpOf(t, e)
		require.Contains(t, dump, "alice")
		require.Contains(t, dump, "phone")
		for _, token := range []string{tokens.AccessToken, tokens.RefreshToken, next.AccessToken, next.RefreshToken, ended.AccessToken, ended.RefreshToken} {
			for _, part := range strings.Split(token, ".") {
				require.NotContains(t, dump, part)
			}
		}
	})
}

// dumpOf returns the contents of all tables as text.
func dumpOf(t *testing.T, e database) string {
	t.Helper()
	db := e.open(t)
	var dump strings.Builder
	for _, table := range e.tables() {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		values, scan := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			scan[i] = &values[i]
		}
		for rows.Next() {
			require.NoError(t, rows.Scan(scan...))
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					v = string(b)
				}
				fmt.Fprintln(&dump, table, columns[i], v)
			}
		}
		require.NoError(t, rows.Err())
	}
	return dump.String()
}

func TestSweepRemovesWhatHasBeenOverForLongEnoughAndNothingElse(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		at := now()
		ends := map[string]time.Time{
			"long over": at.Add(-3 * time.Hour), "over": at.Add(-4 * time.Minute), "alive": at.Add(time.Minute), "fresh": at.Add(time.Hour),
		}
		for id, end := range ends {
			r := record("alice", id)
			r.ExpiresAt = end
			require.NoError(t, s.Create(t.Context(), r, 0))
			require.NoError(t, s.Revoke(t.Context(), id, end))
		}
		for i := range 1234 {
			r := record("bob", fmt.Sprint(i))
			r.ExpiresAt = at.Add(-2 * time.Hour)
			require.NoError(t, s.Create(t.Context(), r, 0))
		}
		_, err := s.Sweep(t.Context())
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"over", "alive", "fresh"}, idsOf(t, s, "alice"))
		require.Empty(t, idsOf(t, s, "bob"))
		n, err := s.Sweep(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		var left int
		require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT count(*) FROM jwtauth_revocations").Scan(&left))
		require.Equal(t, 3, left)
	})
}

func idsOf(t *testing.T, s *sqlstore.Store, subject string) (ids []string) {
	t.Helper()
	rows, err := s.List(t.Context(), "https://issuer.test", subject, "", 1000)
	require.NoError(t, err)
	for _, r := range rows {
		ids = append(ids, r.Key.ID)
	}
	return ids
}

func TestOnlyAStepThatIsMadePostponesTheSweep(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		for name, step := range map[string]struct {
			rotation jwtauth.Rotation
			isMade   bool
			swept    int
		}{
			"a refresh":      {jwtauth.Rotation{From: 1}, true, 0},
			"a raised epoch": {jwtauth.Rotation{Epoch: 7}, false, 1},
		} {
			t.Run(name, func(t *testing.T) {
				s := e.store(t)
				r := record("alice", name)
				r.ExpiresAt = now().Add(-3 * time.Hour)
				require.NoError(t, s.Create(t.Context(), r, 0))
				step.rotation.At, step.rotation.ExpiresAt = r.ExpiresAt.Add(-time.Hour), now().Add(time.Hour)
				_, advanced, err := s.Advance(t.Context(), r.Key, step.rotation)
				require.NoError(t, err)
				require.Equal(t, step.isMade, advanced)
				n, err := s.Sweep(t.Context())
				require.NoError(t, err)
				require.Equal(t, step.swept, n)
			})
		}
	})
}

func TestWritesRemoveMoreExpiredRowsThanTheyAdd(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		over := now().Add(-3 * time.Hour)
		for i := range 3 * sqlstore.SweepEvery {
			r := record("alice", fmt.Sprint(i))
			r.ExpiresAt = over
			require.NoError(t, s.Create(t.Context(), r, 0))
			require.NoError(t, s.Revoke(t.Context(), tokenID(i), over))
		}
		for _, table := range []string{"jwtauth_sessions", "jwtauth_revocations"} {
			var n int
			require.NoError(t, e.open(t).QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
			require.Less(t, n, sqlstore.SweepEvery, table)
		}
	})
}

func TestSweepersAndWritersDoNotDisturbEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		stores := []*sqlstore.Store{e.store(t), e.newStore(t, e.open(t))}
		over := now().Add(-3 * time.Hour)
		for i := range 600 {
			require.NoError(t, stores[0].Revoke(t.Context(), tokenID(i), over))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				if _, err := stores[i%2].Sweep(ctx); err != nil {
					t.Errorf("Sweep: %v", err)
				}
			})
			all.Go(func() {
				for n := i; n < 600; n += 4 {
					if err := stores[i%2].Revoke(ctx, tokenID(n), now().Add(time.Hour)); err != nil {
						t.Errorf("Revoke: %v", err)
					}
				}
			})
		}
		all.Wait()
		entries, _, _ := since(t, stores[0], "")
		require.Len(t, entries, 600, "an entry that was told again while it was swept is gone")
	})
}
