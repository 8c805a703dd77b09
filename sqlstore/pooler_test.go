package sqlstore_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// execModes are the values of pgx's default_query_exec_mode, and whether each works behind
// a pooler that shares connections between transactions.
var execModes = map[string]bool{
	"": false, "cache_statement": false, "describe_exec": false,
	"cache_describe": true, "exec": true, "simple_protocol": true,
}

// behind returns a database through a PgBouncer, with an exec mode of pgx.
func behind(t *testing.T, pooler *engines.Server, direct database, mode string) database {
	t.Helper()
	u, err := url.Parse(direct.source)
	require.NoError(t, err)
	u.Host = pooler.Addr()
	e := postgresAt(u.String())
	if mode != "" {
		e = e.setting("default_query_exec_mode", mode)
	}
	return e
}

func requirePoolerRefused(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for _, word := range []string{"pooler", "default_query_exec_mode=cache_describe", "exec", "simple_protocol"} {
		require.ErrorContains(t, err, word)
	}
}

// The pooler is new for each mode, so the process is the first one behind it.
func TestCheckFindsADriverThatDoesNotFitThePooler(t *testing.T) {
	server := engines.Postgres(t)
	for name, settings := range map[string][]string{
		"last used first": {"pool_mode = transaction"},
		"round robin":     {"pool_mode = transaction", "server_round_robin = 1", "min_pool_size = 3"},
		"one server":      {"pool_mode = transaction", "default_pool_size = 1"},
		"statement mode":  {"pool_mode = statement"},
	} {
		for mode, works := range execModes {
			t.Run(name+" "+mode, func(t *testing.T) {
				direct := postgresAt(engines.Database(t, "pgx", server.URL()))
				direct.store(t)
				pooled := behind(t, engines.PgBouncer(t, server.Addr(), settings...), direct, mode)
				for _, most := range []int{0, 1, 2} { // of the connections of this process
					for range 3 {
						db := pooled.open(t)
						db.SetMaxOpenConns(most)
						err := errorOfCheck(t, pooled.newStore(t, db))
						if works {
							require.NoError(t, err)
						} else {
							requirePoolerRefused(t, err)
							break // the next process would be found out by the remains of this one
						}
					}
				}
			})
		}
	}
}

func TestMigrateAlsoSaysThatTheDriverDoesNotFitThePooler(t *testing.T) {
	direct := postgresql(t)
	pooler := engines.PgBouncer(t, hostOf(t, direct), "pool_mode = transaction")
	var err error
	for range 3 { // the first one may succeed
		s := behind(t, pooler, direct, "").newStore(t, behind(t, pooler, direct, "").open(t))
		if err = s.Migrate(t.Context()); err != nil {
			break
		}
	}
	requirePoolerRefused(t, err)
}

func hostOf(t *testing.T, e database) string {
	t.Helper()
	u, err := url.Parse(e.source)
	require.NoError(t, err)
	return u.Host
}

func TestCheckFindsTheDriverOutWhileOthersUseThePooler(t *testing.T) {
	direct := postgresql(t)
	direct.store(t)
	pooler := engines.PgBouncer(t, hostOf(t, direct), "pool_mode = transaction", "default_pool_size = 4")
	busy := behind(t, pooler, direct, "exec")
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for range 6 {
		s := busy.newStore(t, busy.open(t))
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.IsRevoked(ctx, tokenID(1)); err != nil && ctx.Err() == nil {
					t.Errorf("IsRevoked: %v", err)
				}
			}
		})
	}
	for mode, works := range execModes {
		e := behind(t, pooler, direct, mode)
		for range 5 {
			err := errorOfCheck(t, e.newStore(t, e.open(t)))
			if works {
				require.NoError(t, err, mode)
			} else {
				require.Error(t, err, mode)
			}
		}
	}
}

func TestCheckHasNothingAgainstSessionModeOrADirectConnection(t *testing.T) {
	direct := postgresql(t)
	direct.store(t)
	pooler := engines.PgBouncer(t, hostOf(t, direct), "pool_mode = session")
	for mode := range execModes {
		pooled := behind(t, pooler, direct, mode)
		alone := direct
		if mode != "" {
			alone = direct.setting("default_query_exec_mode", mode)
		}
		for name, e := range map[string]database{"direct": alone, "session": pooled} {
			db := e.open(t)
			db.SetMaxOpenConns(3) // in session mode, each keeps a server connection
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					s, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
					if err == nil {
						_, err = s.Check(t.Context())
					}
					if err != nil {
						t.Errorf("%s, %s: %v", name, mode, err)
					}
				})
			}
			all.Wait()
			require.NoError(t, db.Close())
		}
	}
}

func TestCheckBehindAPoolerEndsWithItsContext(t *testing.T) {
	direct := postgresql(t)
	direct.store(t)
	pooler := engines.PgBouncer(t, hostOf(t, direct), "pool_mode = transaction")
	e := behind(t, pooler, direct, "")
	s := e.newStore(t, e.open(t))
	require.NoError(t, pooler.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Check(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestWatchThroughAPoolerInTransactionModeSaysThatItHearsNothing(t *testing.T) {
	direct := postgresql(t)
	direct.store(t)
	for name, settings := range map[string][]string{
		"last used first": {"pool_mode = transaction"},
		"round robin":     {"pool_mode = transaction", "server_round_robin = 1", "min_pool_size = 3"},
		"one server":      {"pool_mode = transaction", "default_pool_size = 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := behind(t, engines.PgBouncer(t, hostOf(t, direct), settings...), direct, "exec")
			db := e.open(t)
			w, err := pgxwatch.New(db, e.newStore(t, db))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			calls := 0
			err = w.Watch(ctx, func() { calls++ })
			require.ErrorContains(t, err, "direct connection")
			require.ErrorContains(t, err, "session mode")
			require.LessOrEqual(t, calls, 1)
		})
	}
}

func TestWatchWorksThroughAPoolerInSessionMode(t *testing.T) {
	direct := postgresql(t)
	s := direct.store(t)
	changed, ended, _ := watch(t, behind(t, engines.PgBouncer(t, hostOf(t, direct), "pool_mode = session"), direct, ""))
	time.Sleep(5 * time.Second) // longer than it waits for its own push
	require.Empty(t, ended)
	require.NoError(t, s.Revoke(t.Context(), "x", now().Add(time.Hour)))
	await(t, changed)
}
