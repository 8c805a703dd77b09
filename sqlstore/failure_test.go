package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// calls returns a call of each method that needs the engine.
func calls(s *sqlstore.Store, r jwtauth.SessionRecord) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Create": func(ctx context.Context) error {
			other := r
			other.Key.ID = fmt.Sprint(time.Now().UnixNano())
			return s.Create(ctx, other, 0)
		},
		"Create with a limit": func(ctx context.Context) error {
			other := r
			other.Key.ID = fmt.Sprint("limited ", time.Now().UnixNano())
			return s.Create(ctx, other, 1000)
		},
		"Advance": func(ctx context.Context) error {
			_, _, err := s.Advance(ctx, r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
			return err
		},
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, keyOf("bob", "one")) },
		"List":   func(ctx context.Context) error { _, err := s.List(ctx, r.Key.Issuer, "bob", "", 1000); return err },
		"Revoke": func(ctx context.Context) error {
			return s.Revoke(ctx, tokenID(int(time.Now().UnixNano())), r.ExpiresAt)
		},
		"IsRevoked": func(ctx context.Context) error { _, err := s.IsRevoked(ctx, tokenID(2)); return err },
		"Since":     func(ctx context.Context) error { _, _, err := s.Since(ctx, "", heard{}.entry); return err },
		"Sweep":     func(ctx context.Context) error { _, err := s.Sweep(ctx); return err },
		"Check":     func(ctx context.Context) error { _, err := s.Check(ctx); return err },
		"Migrate":   func(ctx context.Context) error { return s.Migrate(ctx) },
	}
}

func TestWhereThePoolIsExhaustedEachCallEndsWithItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		db := e.open(t)
		db.SetMaxOpenConns(1)
		s := e.newStore(t, db)
		require.NoError(t, s.Migrate(t.Context()))
		r := record("alice", "one")
		require.NoError(t, s.Create(t.Context(), r, 0))
		held, err := db.Conn(t.Context())
		require.NoError(t, err)
		before := runtime.NumGoroutine()
		var all sync.WaitGroup
		for name, call := range calls(s, r) {
			for range 20 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
		all.Wait()
		requireFewGoroutines(t, before)
		require.NoError(t, held.Close())
		for name, call := range calls(s, r) {
			require.NoError(t, call(t.Context()), name)
		}
	})
}

func TestARowThatSomebodyHoldsIsWaitedForAsLongAsTheContextSays(t *testing.T) {
	for name, e := range map[string]database{"PostgreSQL": postgresql(t), "MariaDB": mariadb(t)} {
		t.Run(name, func(t *testing.T) {
			s := e.store(t)
			r := record("alice", "one")
			require.NoError(t, s.Create(t.Context(), r, 0))
			release := hold(t, e, "SELECT 1 FROM jwtauth_sessions FOR UPDATE")
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _, err := s.Advance(ctx, r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, jwtauth.ErrNoSession)
			release()
			row, _, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
			require.NoError(t, err)
			require.EqualValues(t, 2, row.Generation)
		})
	}
}

func TestAFileThatAnotherProcessHoldsIsWaitedForAsLongAsTheContextSays(t *testing.T) {
	e := sqlite(t)
	s := e.store(t)
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	require.NoError(t, s.Revoke(t.Context(), tokenID(1), r.ExpiresAt))
	other, err := e.open(t).Conn(t.Context())
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	patient := make(chan error, 1)
	go func() { patient <- s.Revoke(t.Context(), tokenID(2), r.ExpiresAt) }()
	for name, call := range calls(s, r) {
		wait := 20 * time.Millisecond
		if slices.Contains([]string{"List", "IsRevoked", "Check"}, name) {
			wait = 10 * time.Second // a reader has to succeed, also on a slow machine
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := call(ctx)
		cancel()
		switch name {
		case "List", "IsRevoked", "Check":
			require.NoError(t, err, "%s reads, and waits for a writer", name)
		case "Since", "Migrate": // the first Since writes an epoch; Migrate may have nothing to do
		default:
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
		}
	}
	require.Empty(t, patient)
	_, err = other.ExecContext(t.Context(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-patient)
	revoked, err := s.IsRevoked(t.Context(), tokenID(2))
	require.NoError(t, err)
	require.True(t, revoked)
}

// refresher is a client that refreshes one session again and again, and remembers which
// calls the store has confirmed.
type refresher struct {
	acknowledged  int64    // the newest generation that the store has confirmed
	revoked       []string // the ids whose revocation the store has confirmed
	told, refused int      // how many calls of Advance succeeded, and how many failed
}

func (c *refresher) run(ctx context.Context, s *sqlstore.Store, r jwtauth.SessionRecord, client int) error {
	for n := 0; ctx.Err() == nil; n++ {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		row, _, err := s.Advance(bounded, r.Key, jwtauth.Rotation{From: c.acknowledged, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		id := tokenID(client*1_000_000 + n)
		revoke := s.Revoke(bounded, id, r.ExpiresAt)
		cancel()
		switch {
		case errors.Is(err, jwtauth.ErrNoSession):
			return err
		case err != nil:
			c.refused++
		case row.Generation <= c.acknowledged || row.Generation > c.acknowledged+1:
			return fmt.Errorf("after generation %d the row has %d", c.acknowledged, row.Generation)
		default:
			c.told++
			c.acknowledged = row.Generation
		}
		if revoke == nil {
			c.revoked = append(c.revoked, id)
		}
	}
	return nil
}

func TestAServerThatIsKilledLosesNothingThatItAcknowledged(t *testing.T) {
	onEachServer(t, "killed", func(t *testing.T, start startFunc) {
		server, e := start(t)
		stores := []*sqlstore.Store{e.store(t), e.newStore(t, e.open(t))}
		before := runtime.NumGoroutine()
		var clients [8]refresher
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range clients {
			r := record("alice", fmt.Sprint(i))
			require.NoError(t, stores[0].Create(t.Context(), r, 0))
			clients[i].acknowledged = 1
			all.Go(func() {
				if err := clients[i].run(ctx, stores[i%2], r, i); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		watcher := e.newStore(t, e.open(t))
		told, cursor := heard{}, ""
		follow := func() {
			require.Eventually(t, func() bool {
				next, _, err := watcher.Since(t.Context(), cursor, told.entry)
				if err == nil {
					cursor = next
				}
				return err == nil
			}, 10*time.Second, 10*time.Millisecond)
		}
		for range 3 {
			for range 50 {
				follow()
			}
			server.Kill()
			_, err := watcher.IsRevoked(t.Context(), tokenID(0))
			require.Error(t, err, "somebody answers for a server that is dead")
			require.NoError(t, server.Start())
		}
		follow()
		cancel()
		all.Wait()
		follow()
		refused := 0
		for i, c := range clients {
			refused += c.refused
			require.Greater(t, c.told, 3, "client %d", i)
			rows, err := stores[0].List(t.Context(), "https://issuer.test", "alice", "", 1000)
			require.NoError(t, err)
			require.Len(t, rows, len(clients))
			for _, id := range c.revoked {
				require.Contains(t, told, id, "Since has not told an entry that was acknowledged")
				revoked, err := stores[1].IsRevoked(t.Context(), id)
				require.NoError(t, err)
				require.True(t, revoked)
			}
			for _, row := range rows {
				if row.Key.ID == fmt.Sprint(i) {
					require.GreaterOrEqual(t, row.Generation, c.acknowledged)
					require.LessOrEqual(t, row.Generation, c.acknowledged+1)
				}
			}
		}
		require.Positive(t, refused, "nobody noticed that the server was dead: the test proves nothing")
		requireFewGoroutines(t, before+16)
	})
}
