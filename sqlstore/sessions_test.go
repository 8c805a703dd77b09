package sqlstore_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// requireSameRow compares two rows, except Age and RotatedAt.
func requireSameRow(t testing.TB, want, got jwtauth.SessionRecord, message string) {
	t.Helper()
	for _, r := range []*jwtauth.SessionRecord{&want, &got} {
		r.Age, r.RotatedAt = 0, time.Time{}
		r.Data, r.Details = append([]byte{}, r.Data...), append([]byte{}, r.Details...)
	}
	require.Equal(t, want, got, message)
}

func TestAdvanceDoesWhatStepDoes(t *testing.T) {
	onEach(t, requireSteps)
	t.Run("MariaDB, with prepared statements", func(t *testing.T) { requireSteps(t, prepared(mariadb(t))) })
}

func requireSteps(t *testing.T, e database) {
	s := e.store(t)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 60 {
		want := record("alice", fmt.Sprint(n))
		want.Generation, want.Previous = 1+random.Int64N(3), random.Int64N(2)
		want.Parent, want.ParentStep, want.Epoch = random.Int64N(4), random.Int64N(4), random.Int64N(3)
		want.Details = [][]byte{nil, {}, []byte("first\x00")}[random.IntN(3)]
		require.NoError(t, s.Create(t.Context(), want, []int{0, 1000}[n%2]))
		requireSameRow(t, want, rowOf(t, s, want.Key), "after Create")
		require.Equal(t, want.RotatedAt, rowOf(t, s, want.Key).RotatedAt)
		for range 12 {
			r := jwtauth.Rotation{
				From: random.Int64N(7), Parent: random.Int64N(7), Epoch: random.Int64N(7),
				At: now(), ExpiresAt: now().Add(time.Duration(1+random.IntN(5)) * time.Hour),
				Details: [][]byte{nil, nil, {}, []byte("details")}[random.IntN(4)],
			}
			if random.IntN(30) == 0 {
				r.From, r.Epoch = math.MaxInt64-1, math.MaxInt64
			}
			before := rowOf(t, s, want.Key)
			next, step := before.Step(r, now())
			row, advanced, err := s.Advance(t.Context(), want.Key, r)
			require.NoError(t, err)
			message := fmt.Sprintf("%+v of %+v", r, before)
			require.Equal(t, step, advanced, message)
			requireSameRow(t, next, row, message)
			requireSameRow(t, next, rowOf(t, s, want.Key), message)
			require.Zero(t, rowOf(t, s, want.Key).Age)
			if advanced {
				require.WithinDuration(t, time.Now(), row.RotatedAt, 5*time.Second, message)
				require.Less(t, row.Age, time.Second)
			} else {
				require.Equal(t, before.RotatedAt, row.RotatedAt)
			}
			require.WithinDuration(t, time.Now(), row.RotatedAt.Add(row.Age), 5*time.Second, "Age and RotatedAt are of the same clock")
		}
	}
}

// rowOf returns a session of a list.
func rowOf(t testing.TB, s *sqlstore.Store, k jwtauth.SessionKey) jwtauth.SessionRecord {
	t.Helper()
	rows, err := s.List(t.Context(), k.Issuer, k.Subject, "", 1000)
	require.NoError(t, err)
	i := slices.IndexFunc(rows, func(r jwtauth.SessionRecord) bool { return r.Key == k })
	require.NotEqual(t, -1, i)
	return rows[i]
}

func TestAdvanceOfAnExpiredOrMissingRowChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		r := record("alice", "one")
		require.NoError(t, s.Create(t.Context(), r, 0))
		rotation := jwtauth.Rotation{From: 1, Epoch: 9, At: r.ExpiresAt, ExpiresAt: r.ExpiresAt.Add(time.Hour), Details: []byte("new")}
		_, _, err := s.Advance(t.Context(), r.Key, rotation)
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		_, _, err = s.Advance(t.Context(), keyOf("alice", "two"), rotation)
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		requireSameRow(t, r, rowOf(t, s, r.Key), "after Advance at the end")
		rotation.At = r.ExpiresAt.Add(-time.Microsecond)
		_, advanced, err := s.Advance(t.Context(), r.Key, rotation)
		require.NoError(t, err)
		require.True(t, advanced)
	})
}

// The caller's clock has no influence on RotatedAt and Age.
func TestRotatedAtIsTheTimeAfterTheWaitForTheRow(t *testing.T) {
	for name, lock := range map[string]string{
		"a lock":                    "SELECT 1 FROM jwtauth_sessions FOR UPDATE",
		"an update":                 "UPDATE jwtauth_sessions SET previous = previous",
		"a step of another program": "UPDATE jwtauth_sessions SET generation = 2, rotated_at = 77",
	} {
		for end, commit := range map[string]bool{"COMMIT": true, "ROLLBACK": false} {
			t.Run("PostgreSQL, "+name+", "+end, func(t *testing.T) {
				e := postgresql(t)
				requireRotatedAfter(t, e, lock, commit)
			})
		}
	}
	for name, lock := range map[string]string{
		"a lock":                    "SELECT 1 FROM jwtauth_sessions FOR UPDATE",
		"a step of another program": "UPDATE jwtauth_sessions SET generation = 2, rotated_at = 77",
	} {
		for end, commit := range map[string]bool{"COMMIT": true, "ROLLBACK": false} {
			t.Run("MariaDB, "+name+", "+end, func(t *testing.T) {
				requireRotatedAfter(t, mariadb(t).setting("time_zone", "%27%2B05:30%27"), lock, commit)
			})
		}
	}
	for _, timeout := range []string{"0", "100"} {
		t.Run("SQLite, busy_timeout "+timeout, func(t *testing.T) {
			e := sqlite(t).setting("_pragma", "busy_timeout("+timeout+")")
			requireRotatedAfter(t, e, "UPDATE jwtauth_sessions SET previous = previous", true)
		})
	}
}

// requireRotatedAfter executes a statement in a transaction, lets Advance wait for its end,
// and compares RotatedAt with that end.
func requireRotatedAfter(t *testing.T, e database, statement string, commit bool) {
	s := e.store(t)
	r := record("alice", "one")
	require.NoError(t, s.Create(t.Context(), r, 0))
	conn, err := e.open(t).Conn(t.Context())
	require.NoError(t, err)
	begin := "BEGIN"
	if e.dialect == sqlstore.SQLite {
		begin = "BEGIN IMMEDIATE"
	}
	for _, text := range []string{begin, statement} {
		_, err = conn.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	type result struct {
		row jwtauth.SessionRecord
		err error
	}
	done := make(chan result, 1)
	go func() {
		row, _, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 2, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
		done <- result{row, err}
	}()
	time.Sleep(300 * time.Millisecond)
	require.Empty(t, done)
	before := now().Truncate(time.Millisecond)
	text := map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commit]
	_, err = conn.ExecContext(t.Context(), text)
	require.NoError(t, err)
	got := <-done
	require.NoError(t, got.err)
	require.EqualValues(t, 3, got.row.Generation)
	require.False(t, got.row.RotatedAt.Before(before), "RotatedAt is %s before the end of the wait", before.Sub(got.row.RotatedAt))
	require.Less(t, got.row.Age, 200*time.Millisecond)
}

func TestAgeIsByTheClockOfTheEngine(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		r := record("alice", "one")
		require.NoError(t, s.Create(t.Context(), r, 0))
		far := r.RotatedAt.Add(-time.Hour) // the clock of another node
		_, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: far, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.True(t, advanced)
		time.Sleep(50 * time.Millisecond)
		row, advanced, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: 1, At: far, ExpiresAt: r.ExpiresAt})
		require.NoError(t, err)
		require.False(t, advanced)
		require.GreaterOrEqual(t, row.Age, 49*time.Millisecond)
		require.Less(t, row.Age, 5*time.Second)
	})
}

func TestCreateSaysWhetherTheRowExistsOrTheLimitIsReached(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		create := func(id string, limit int) error { return s.Create(t.Context(), record("alice", id), limit) }
		over := record("alice", "over")
		over.ExpiresAt = over.RotatedAt
		require.NoError(t, s.Create(t.Context(), over, 1), "no other row is live")
		ended := record("alice", "ended")
		require.NoError(t, s.Create(t.Context(), ended, 1), "an expired row is not live")
		_, advanced, err := s.Advance(t.Context(), ended.Key, jwtauth.Rotation{From: math.MaxInt64 - 1, Epoch: math.MaxInt64, At: ended.RotatedAt, ExpiresAt: ended.ExpiresAt})
		require.NoError(t, err)
		require.True(t, advanced)
		require.NoError(t, create("one", 1), "an ended row is not live")

		require.ErrorIs(t, create("two", 1), jwtauth.ErrSessionLimit)
		require.NotErrorIs(t, create("two", 1), jwtauth.ErrSessionExists)
		require.NoError(t, create("two", 2))
		require.ErrorIs(t, create("three", 2), jwtauth.ErrSessionLimit)
		require.NoError(t, create("three", 0), "without a limit")
		for _, id := range []string{"over", "ended", "one"} {
			for _, limit := range []int{0, 1, 3, 4, 1000} {
				require.ErrorIs(t, create(id, limit), jwtauth.ErrSessionExists, "%s, limit %d", id, limit)
				require.NotErrorIs(t, create(id, limit), jwtauth.ErrSessionLimit)
			}
		}
		require.NoError(t, s.Create(t.Context(), record("bob", "one"), 1), "another subject")
		requireSameRow(t, over, rowOf(t, s, over.Key), "after calls of Create that failed")
		require.NoError(t, s.Delete(t.Context(), keyOf("alice", "two")))
		require.NoError(t, create("two", 3))
	})
}

func TestConcurrentLoginsNeverExceedTheLimit(t *testing.T) {
	logins := func(t *testing.T, stores ...*sqlstore.Store) {
		for round := range 8 {
			subject := fmt.Sprint("subject ", round)
			require.NoError(t, stores[0].Create(t.Context(), record(subject, "first"), 0))
			var created atomic.Int64
			var all sync.WaitGroup
			start := make(chan struct{})
			for i := range 20 {
				all.Go(func() {
					<-start
					err := stores[i%len(stores)].Create(t.Context(), record(subject, fmt.Sprint(i)), 5)
					if err == nil {
						created.Add(1)
					} else if !errors.Is(err, jwtauth.ErrSessionLimit) {
						t.Errorf("Create: %v", err)
					}
				})
			}
			close(start)
			all.Wait()
			require.EqualValues(t, 4, created.Load())
			require.Len(t, idsOf(t, stores[0], subject), 5)
		}
	}
	onEach(t, func(t *testing.T, e database) {
		logins(t, e.store(t), e.newStore(t, e.open(t)))
	})
	t.Run("MariaDB whose default isolation is stricter", func(t *testing.T) {
		e := mariadb(t)
		e.store(t)
		logins(t, e.newStore(t, e.setting("tx_isolation", "%27SERIALIZABLE%27").open(t)))
	})
	t.Run("PostgreSQL whose default isolation is stricter", func(t *testing.T) {
		e := postgresql(t)
		e.store(t)
		logins(t, e.newStore(t, e.setting("default_transaction_isolation", "repeatable%20read").open(t)))
	})
	for mode, works := range execModes {
		if !works {
			continue
		}
		t.Run("PostgreSQL behind a pooler in transaction mode, "+mode, func(t *testing.T) {
			direct := postgresql(t)
			direct.store(t)
			e := behind(t, engines.PgBouncer(t, hostOf(t, direct), "pool_mode = transaction", "default_pool_size = 3"), direct, mode)
			logins(t, e.newStore(t, e.open(t)), e.newStore(t, e.open(t)))
		})
	}
}

func TestLoginsOfOneSubjectDoNotWaitForThoseOfAnother(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	high, low := s.OwnerLock("https://issuer.test", "alice")
	release := hold(t, e, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, %d)", high, low))
	require.NoError(t, s.Create(t.Context(), record("bob", "one"), 1))
	require.NoError(t, s.Create(t.Context(), record("alice", "one"), 0), "without a limit")
	require.NoError(t, s.Migrate(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Create(ctx, record("alice", "two"), 2), context.DeadlineExceeded)
	requireNoOpenTransactions(t, e, 1)
	release()
	require.NoError(t, s.Create(t.Context(), record("alice", "two"), 2))
}

// requireNoOpenTransactions waits until the connections of a database have no open
// transaction and no advisory lock, except those of the test.
func requireNoOpenTransactions(t *testing.T, e database, own int) {
	t.Helper()
	db := e.open(t)
	var open, locks int
	require.Eventually(t, func() bool {
		err := db.QueryRowContext(t.Context(), `SELECT
			(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'),
			(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&open, &locks)
		return err == nil && open <= own && locks <= own
	}, 10*time.Second, 20*time.Millisecond, "a transaction is left open")
}

func TestALoginWhoseContextEndsLeavesNoTransactionOpen(t *testing.T) {
	cancelled := func(t *testing.T, direct, e database) {
		s := e.newStore(t, e.open(t))
		require.NoError(t, s.Create(t.Context(), record("alice", "first"), 5))
		var ended, created atomic.Int64
		var all sync.WaitGroup
		most := time.Now().Add(20 * time.Second)
		for i := range 4 {
			all.Go(func() {
				for n := 0; n < 60 || (created.Load() == 0 || ended.Load() == 0) && time.Now().Before(most); n++ {
					bound := time.Microsecond << rand.IntN(18) // up to 131 ms
					ctx, cancel := context.WithTimeout(t.Context(), bound)
					err := s.Create(ctx, record(fmt.Sprint("subject ", n%60), fmt.Sprint(i, " ", n)), 2)
					cancel()
					switch {
					case err == nil:
						created.Add(1)
					case ctx.Err() != nil:
						ended.Add(1)
					case !errors.Is(err, jwtauth.ErrSessionLimit):
						t.Errorf("Create: %v", err)
					}
				}
			})
		}
		all.Wait()
		require.Positive(t, ended.Load())
		require.Positive(t, created.Load())
		requireNoOpenTransactions(t, direct, 0)
		for n := range 60 {
			require.LessOrEqual(t, len(idsOf(t, s, fmt.Sprint("subject ", n))), 2)
		}
		require.NoError(t, s.Create(t.Context(), record("alice", "second"), 2), "the subject is still locked")
	}
	t.Run("direct", func(t *testing.T) {
		e := postgresql(t)
		e.store(t)
		cancelled(t, e, e)
	})
	t.Run("behind a pooler", func(t *testing.T) {
		direct := postgresql(t)
		direct.store(t)
		cancelled(t, direct, behind(t, engines.PgBouncer(t, hostOf(t, direct), "pool_mode = transaction"), direct, "cache_describe"))
	})
}

// pages returns the IDs of all pages of a subject.
func pages(t *testing.T, s *sqlstore.Store, subject string, limit int) (ids []string) {
	t.Helper()
	for after := ""; ; {
		rows, err := s.List(t.Context(), "https://issuer.test", subject, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(rows), limit)
		for _, r := range rows {
			ids = append(ids, r.Key.ID)
		}
		if len(rows) < limit {
			return ids
		}
		after = rows[limit-1].Key.ID
	}
}

func TestPagesHaveEachSessionOnce(t *testing.T) {
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		var want []string
		for i := range 60 {
			id := fmt.Sprint("session ", i)
			require.NoError(t, s.Create(t.Context(), record("alice", id), 0))
			require.NoError(t, s.Create(t.Context(), record("bob", id), 0))
			want = append(want, id)
		}
		byPlace := slices.Clone(want)
		slices.SortFunc(byPlace, func(a, b string) int {
			return cmp.Compare(string(sqlstore.Digest(a)), string(sqlstore.Digest(b)))
		})
		for _, limit := range []int{1, 2, 7, 30, 59, 60, 61, 1000} {
			require.Equal(t, byPlace, pages(t, s, "alice", limit), "in pages of %d", limit)
		}
		require.Empty(t, pages(t, s, "nobody", 1))

		// A page begins after the place of an ID also if the row is gone, or never was.
		require.NoError(t, s.Delete(t.Context(), keyOf("alice", byPlace[10])))
		rows, err := s.List(t.Context(), "https://issuer.test", "alice", byPlace[10], 3)
		require.NoError(t, err)
		require.Len(t, rows, 3)
		for i, r := range rows {
			require.Equal(t, byPlace[11+i], r.Key.ID)
			require.Zero(t, r.Age)
		}
		place := slices.IndexFunc(byPlace, func(id string) bool {
			return string(sqlstore.Digest(id)) > string(sqlstore.Digest("never"))
		})
		rows, err = s.List(t.Context(), "https://issuer.test", "alice", "never", 1)
		require.NoError(t, err)
		require.Equal(t, byPlace[place], rows[0].Key.ID)
	})
}

func TestAnUpdateOfASessionChangesNoIndex(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	r := record("alice", "one")
	r.Data = make([]byte, 300)
	require.NoError(t, s.Create(t.Context(), r, 0))
	busy := e.open(t)
	busy.SetMaxOpenConns(1)
	s = e.newStore(t, busy)
	for from := int64(1); from <= 500; from++ {
		_, _, err := s.Advance(t.Context(), r.Key, jwtauth.Rotation{From: from, Parent: from, Epoch: from, At: r.RotatedAt, ExpiresAt: r.ExpiresAt, Details: make([]byte, 300)})
		require.NoError(t, err)
	}
	require.NoError(t, busy.Close()) // the backend then reports its statistics
	db := e.open(t)
	var updates, hot int
	require.Eventually(t, func() bool {
		err := db.QueryRowContext(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jwtauth_sessions'`).Scan(&updates, &hot)
		return err == nil && updates >= 500
	}, 10*time.Second, 20*time.Millisecond)
	require.Greater(t, hot, updates*9/10)
}
