package jwtauth_test

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

func newStore(o jwtauth.MemoryStoreOptions) (*jwtauth.MemoryStore, *jwtauthtest.Clock) {
	c := fixture.NewClock()
	o.Now = c.Now
	return jwtauth.NewMemoryStore(o), c
}

func sessionKey(subject, id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: subject, ID: id}
}

// sessionRow returns a new session that lives for an hour.
func sessionRow(c *jwtauthtest.Clock, subject, id string) jwtauth.SessionRecord {
	return jwtauth.SessionRecord{Key: sessionKey(subject, id), Generation: 1, RotatedAt: c.Now(), ExpiresAt: c.Now().Add(time.Hour), Data: []byte(`{"a":1}`)}
}

func TestCreateAddsARowAndRefusesAnIDThatIsThere(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(c, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	again := row
	again.Generation = 7
	require.Error(t, store.Create(t.Context(), again, 0))
	rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Equal(t, []jwtauth.SessionRecord{row}, rows)
	// The id of one subject, or issuer, is not that of another.
	require.NoError(t, store.Create(t.Context(), sessionRow(c, "bob", "1"), 0))
	other := sessionRow(c, "alice", "1")
	other.Key.Issuer = "https://other.test"
	require.NoError(t, store.Create(t.Context(), other, 0))
}

func TestAdvanceIsOneStepThatSaysWhoWon(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(c, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	advance := func(from int64) (jwtauth.SessionRecord, bool) {
		c.Advance(time.Second)
		got, advanced, err := store.Advance(t.Context(), row.Key, jwtauth.Rotation{From: from, At: c.Now(), ExpiresAt: c.Now().Add(time.Hour)})
		require.NoError(t, err)
		rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Equal(t, c.Now().Sub(got.RotatedAt), got.Age)
		got.Age = 0
		require.Equal(t, []jwtauth.SessionRecord{got}, rows, "the row that comes back is not the one that is there")
		return got, advanced
	}
	for _, step := range []struct {
		from                 int64
		advanced             bool
		generation, previous int64
	}{
		{1, true, 2, 1},
		{1, false, 2, 1},
		{2, true, 3, 2},
		{2, false, 3, 2},
		{1, false, 3, 2},
		{0, false, 3, 2},
		{-5, false, 3, 2},
		{9, true, 10, 3}, // a write was lost: it rolls forward, and Previous tells
		{9, false, 10, 3},
	} {
		before := row
		got, advanced := advance(step.from)
		require.Equal(t, step.advanced, advanced, "%+v", step)
		require.Equal(t, step.generation, got.Generation)
		require.Equal(t, step.previous, got.Previous)
		require.Equal(t, row.Key, got.Key)
		require.Equal(t, row.Data, got.Data)
		if advanced {
			require.Equal(t, c.Now(), got.RotatedAt)
			require.Equal(t, c.Now().Add(time.Hour), got.ExpiresAt)
		} else {
			require.Equal(t, before.RotatedAt, got.RotatedAt, "who lost has changed the time of rotation")
			require.Equal(t, before.ExpiresAt, got.ExpiresAt)
		}
		row = got
	}
}

func TestOfRacingAdvancesExactlyOneWins(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(c, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	for generation := int64(1); generation <= 50; generation++ {
		rotation := jwtauth.Rotation{From: generation, At: c.Now(), ExpiresAt: c.Now().Add(time.Hour)}
		var won atomic.Int64
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 32 {
			all.Go(func() {
				<-start
				got, advanced, err := store.Advance(t.Context(), row.Key, rotation)
				if err != nil || got.Generation != generation+1 || !got.RotatedAt.Equal(rotation.At) {
					t.Errorf("%+v %v", got, err)
				}
				if advanced {
					won.Add(1)
				}
			})
		}
		close(start)
		all.Wait()
		require.EqualValues(t, 1, won.Load())
	}
}

func TestAdvanceAtOrAfterTheEndIsNoSession(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		err  error
	}{{-time.Microsecond, nil}, {0, jwtauth.ErrNoSession}, {time.Microsecond, jwtauth.ErrNoSession}, {24 * time.Hour, jwtauth.ErrNoSession}} {
		store, clock := newStore(jwtauth.MemoryStoreOptions{})
		row := sessionRow(clock, "alice", "1")
		require.NoError(t, store.Create(t.Context(), row, 0))
		// The time of the caller counts, not the store's.
		got, advanced, err := store.Advance(t.Context(), row.Key, jwtauth.Rotation{From: 1, At: row.ExpiresAt.Add(c.late), ExpiresAt: row.ExpiresAt.Add(time.Hour)})
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.err == nil, advanced)
		if c.err != nil {
			require.Zero(t, got)
		}
	}
	store, clock := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(clock, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	for _, key := range []jwtauth.SessionKey{sessionKey("alice", "2"), sessionKey("bob", "1"), {Issuer: "https://other.test", Subject: "alice", ID: "1"}, {}} {
		_, advanced, err := store.Advance(t.Context(), key, jwtauth.Rotation{From: 1, At: clock.Now(), ExpiresAt: row.ExpiresAt})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		require.False(t, advanced)
	}
}

func TestDeleteRemovesARowAndIsNilForNone(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row, other := sessionRow(c, "alice", "1"), sessionRow(c, "alice", "2")
	require.NoError(t, store.Create(t.Context(), row, 0))
	require.NoError(t, store.Create(t.Context(), other, 0))
	require.NoError(t, store.Delete(t.Context(), sessionKey("bob", "1")))
	require.NoError(t, store.Delete(t.Context(), sessionKey("alice", "3")))
	require.NoError(t, store.Delete(t.Context(), row.Key))
	require.NoError(t, store.Delete(t.Context(), row.Key))
	rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Equal(t, []jwtauth.SessionRecord{other}, rows)
	_, _, err = store.Advance(t.Context(), row.Key, jwtauth.Rotation{From: 1, At: c.Now(), ExpiresAt: row.ExpiresAt})
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func TestListReturnsTheRowsOfOneSubject(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	for _, id := range []string{"1", "2", "3"} {
		require.NoError(t, store.Create(t.Context(), sessionRow(c, "alice", id), 0))
	}
	require.NoError(t, store.Create(t.Context(), sessionRow(c, "alic", "1"), 0))
	require.NoError(t, store.Create(t.Context(), sessionRow(c, "alice2", "1"), 0))
	ids := func() (ids []string) {
		rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		for _, row := range rows {
			ids = append(ids, row.Key.ID)
		}
		return ids
	}
	require.ElementsMatch(t, []string{"1", "2", "3"}, ids())
	rows, err := store.List(t.Context(), "https://other.test", "alice", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestARowIsListedForAsLongAsAdvanceCanFindIt(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(c, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	c.Advance(time.Hour + time.Minute - time.Second)
	for range 1 << 14 { // enough for all of the store to be swept
		require.NoError(t, store.Delete(t.Context(), sessionKey("bob", "1")))
	}
	rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Equal(t, []jwtauth.SessionRecord{row}, rows)
	_, advanced, err := store.Advance(t.Context(), row.Key, jwtauth.Rotation{From: 1, At: row.ExpiresAt.Add(-time.Microsecond), ExpiresAt: row.ExpiresAt.Add(time.Microsecond)})
	require.NoError(t, err)
	require.True(t, advanced)
	c.Advance(12 * time.Minute)
	for range 1 << 14 {
		require.NoError(t, store.Delete(t.Context(), sessionKey("bob", "1")))
	}
	require.Equal(t, "MemoryStore(0 sessions, 0 revocations)", fmt.Sprint(store))
}

func TestAKeyThatIsNotUTF8IsNotStored(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	for _, k := range []jwtauth.SessionKey{{Issuer: "\xff", Subject: "a", ID: "1"}, {Issuer: "a", Subject: "\xff", ID: "1"}, {Issuer: "a", Subject: "a", ID: "\xff"}} {
		row := sessionRow(c, "alice", "1")
		row.Key = k
		require.ErrorContains(t, store.Create(t.Context(), row, 0), "UTF-8")
	}
	require.Equal(t, "MemoryStore(0 sessions, 0 revocations)", fmt.Sprint(store))
}

func TestRevokedUntilTheEndAndNeverShortened(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	is := func(ids ...string) bool {
		revoked, err := store.IsRevoked(t.Context(), ids...)
		require.NoError(t, err)
		return revoked
	}
	require.False(t, is("a"))
	require.False(t, is())
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(time.Hour)))
	require.True(t, is("a"))
	require.True(t, is("x", "a"))
	require.True(t, is("a", "x"))
	require.False(t, is("x", "A", "", "a "))

	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(time.Minute)))
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(-time.Minute)))
	require.NoError(t, store.Revoke(t.Context(), "a", time.Time{}))
	c.Advance(time.Hour - time.Nanosecond)
	require.True(t, is("a"), "an entry was shortened")
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(time.Hour)))
	c.Advance(time.Hour - time.Nanosecond)
	require.True(t, is("a"), "an entry was not prolonged")
	c.Advance(time.Second)
	require.False(t, is("a"))
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now()))
	require.False(t, is("a"))
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(time.Second)))
	require.True(t, is("a"), "an entry that is over cannot come back")
}

func TestAFullStoreRefusesWhatIsNewAndForgetsNothing(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{MaxSessions: 3, MaxRevocations: 2})
	for _, id := range []string{"1", "2", "3"} {
		require.NoError(t, store.Create(t.Context(), sessionRow(c, "alice", id), 0))
	}
	for _, subject := range []string{"alice", "bob"} {
		require.ErrorContains(t, store.Create(t.Context(), sessionRow(c, subject, "4"), 0), "full")
	}
	rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 3)
	rows, err = store.List(t.Context(), fixture.Issuer, "bob", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows)
	_, advanced, err := store.Advance(t.Context(), sessionKey("alice", "2"), jwtauth.Rotation{From: 1, At: c.Now(), ExpiresAt: c.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, advanced, "who is in goes on")

	// Full of sessions, it still revokes; full of revocations, it still opens sessions.
	require.NoError(t, store.Revoke(t.Context(), "a", c.Now().Add(time.Hour)))
	require.NoError(t, store.Delete(t.Context(), sessionKey("alice", "1")))
	require.NoError(t, store.Revoke(t.Context(), "b", c.Now().Add(time.Hour)))
	require.ErrorContains(t, store.Revoke(t.Context(), "c", c.Now().Add(time.Hour)), "full")
	require.NoError(t, store.Revoke(t.Context(), "b", c.Now().Add(2*time.Hour)), "an entry that is there can be prolonged")
	require.NoError(t, store.Create(t.Context(), sessionRow(c, "bob", "4"), 0))
	for id, want := range map[string]bool{"a": true, "b": true, "c": false} {
		revoked, err := store.IsRevoked(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, revoked, id)
	}
	require.Equal(t, "MemoryStore(3 sessions, 2 revocations)", fmt.Sprint(store))
}

func TestAStoreThatWasFullTakesNewEntriesOnceTheOldAreOver(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{MaxSessions: 5, MaxRevocations: 5})
	for i := range 5 {
		require.NoError(t, store.Create(t.Context(), sessionRow(c, fmt.Sprint(i), "1"), 0))
		require.NoError(t, store.Revoke(t.Context(), fmt.Sprint(i), c.Now().Add(time.Hour)))
	}
	c.Advance(time.Hour)
	for range 1 << 14 {
		_, err := store.IsRevoked(t.Context(), "x")
		require.NoError(t, err)
		c.Advance(time.Second)
	}
	require.Equal(t, "MemoryStore(0 sessions, 0 revocations)", fmt.Sprint(store))
	for i := range 5 {
		require.NoError(t, store.Create(t.Context(), sessionRow(c, fmt.Sprint(i), "1"), 0))
		require.NoError(t, store.Revoke(t.Context(), fmt.Sprint(i), c.Now().Add(time.Hour)))
	}
}

func TestAFloodOfLoginsKeepsNobodyFromLoggingOut(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{MaxSessions: 2, Now: o.Now})
		o.Sessions, o.Revocations = store, store
	})
	first := w.Login("alice")
	w.Login("mallory")
	_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "mallory"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	w.Refresh(first.RefreshToken)
	require.NoError(t, w.Issuer.Logout(t.Context(), first.AccessToken))
	require.ErrorIs(t, w.RequireRefused(first.AccessToken), jwtauth.ErrTokenRevoked)
}

func TestTheStoreKeepsCopiesOfData(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	row := sessionRow(c, "alice", "1")
	require.NoError(t, store.Create(t.Context(), row, 0))
	want := string(row.Data)
	row.Data[0] = 'X'
	for range 2 {
		rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Equal(t, want, string(rows[0].Data))
		rows[0].Data[0] = 'X'
		got, _, err := store.Advance(t.Context(), row.Key, jwtauth.Rotation{From: 1, At: c.Now(), ExpiresAt: row.ExpiresAt})
		require.NoError(t, err)
		require.Equal(t, want, string(got.Data))
		got.Data[0] = 'X'
		got.Data = append(got.Data, "more"...)
	}
	// It does not keep the slice of ids that it was asked for.
	ids := []string{"a", "b"}
	_, err := store.IsRevoked(t.Context(), ids...)
	require.NoError(t, err)
	require.NoError(t, store.Revoke(t.Context(), ids[0], c.Now().Add(time.Hour)))
	ids[0] = "z"
	revoked, err := store.IsRevoked(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, revoked)
}

func TestEveryCallToTheStoreHonoursItsContext(t *testing.T) {
	store, c := newStore(jwtauth.MemoryStoreOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	row := sessionRow(c, "alice", "1")
	for name, call := range map[string]func(ctx context.Context) error{
		"Create": func(ctx context.Context) error { return store.Create(ctx, row, 0) },
		"Advance": func(ctx context.Context) error {
			_, _, err := store.Advance(ctx, row.Key, jwtauth.Rotation{From: 1, At: c.Now(), ExpiresAt: row.ExpiresAt})
			return err
		},
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, row.Key) },
		"List": func(ctx context.Context) error {
			_, err := store.List(ctx, fixture.Issuer, "alice", "", 1000)
			return err
		},
		"Revoke":    func(ctx context.Context) error { return store.Revoke(ctx, "a", c.Now().Add(time.Hour)) },
		"IsRevoked": func(ctx context.Context) error { _, err := store.IsRevoked(ctx, "a"); return err },
	} {
		require.ErrorIs(t, call(ctx), context.Canceled, name)
	}
	require.Equal(t, "MemoryStore(0 sessions, 0 revocations)", fmt.Sprint(store))
}

func TestTheMemoryStoreSaysFirstThatItForgets(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "memorystore.go", nil, parser.ParseComments)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(f.Comments[0].Text(), "MemoryStore forgets everything when the process ends"))
}

func TestExpiredSessionsAreClearedAwayAndLiveOnesStay(t *testing.T) {
	c := fixture.NewClock()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: c.Now, MaxSessions: 3})
	create := func(subject, id string, lives time.Duration) error {
		return store.Create(t.Context(), jwtauth.SessionRecord{
			Key:        jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: subject, ID: id},
			Generation: 1, RotatedAt: c.Now(), ExpiresAt: c.Now().Add(lives),
		}, 0)

	}
	require.NoError(t, create("alice", "short", time.Minute))
	require.NoError(t, create("alice", "long", time.Hour))
	require.NoError(t, create("alice", "longer", 2*time.Hour))
	require.Error(t, create("bob", "1", time.Hour))
	for range 6 {
		c.Advance(time.Minute)
		_, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1)
		require.NoError(t, err)
	}
	require.NoError(t, create("bob", "1", time.Hour), "what ended five minutes ago makes room")
	require.Error(t, create("bob", "2", time.Hour))
	rows, err := store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	c.Advance(3 * time.Hour)
	require.Error(t, create("bob", "2", time.Hour), "the clock may be ahead for a moment")
	c.Advance(15 * time.Minute)
	require.NoError(t, create("bob", "2", time.Hour))
}

// BenchmarkMemoryStore looks for ids that are not in a store of a million, and adds some.
func BenchmarkMemoryStore(b *testing.B) {
	const many = 1_000_000
	ids := make([]string, 2*many)
	for n := range ids {
		ids[n] = jwtauth.TokenID(fixture.Issuer, fmt.Sprint(n))
	}
	until := time.Now().Add(time.Hour)
	fill := func() *jwtauth.MemoryStore {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		for _, id := range ids[:many] {
			require.NoError(b, store.Revoke(b.Context(), id, until))
		}
		return store
	}
	store := fill()
	b.Run("IsRevoked", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		for n := many; b.Loop(); n += 2 {
			if n == 2*many {
				n = many
			}
			if revoked, err := store.IsRevoked(ctx, ids[n], ids[n+1]); revoked || err != nil {
				b.Fatal(revoked, err)
			}
		}
	})
	b.Run("Revoke", func(b *testing.B) {
		ctx := b.Context()
		for n := many; b.Loop(); n++ {
			if n == 2*many {
				b.StopTimer()
				store, n = fill(), many
				b.StartTimer()
			}
			if err := store.Revoke(ctx, ids[n], until); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A subject with very many sessions must not block the store while they are removed.
func TestASubjectWithManySessionsExpiresInParts(t *testing.T) {
	const many = 40_000
	store, c := newStore(jwtauth.MemoryStoreOptions{MaxSessions: many})
	for n := range many {
		require.NoError(t, store.Create(t.Context(), sessionRow(c, "alice", fmt.Sprint(n)), 0))
	}
	c.Advance(2 * time.Hour)
	left := func() (n int) {
		_, err := fmt.Sscanf(fmt.Sprint(store), "MemoryStore(%d sessions", &n)
		require.NoError(t, err)
		return n
	}
	for was, calls := many, 0; ; calls++ {
		require.Less(t, calls, 1<<17)
		c.Advance(time.Second) // the store believes its clock after ten minutes
		_, err := store.List(t.Context(), fixture.Issuer, "bob", "", 1)
		require.NoError(t, err)
		now := left()
		require.LessOrEqual(t, was-now, 64*256)
		if was = now; now == 0 {
			break
		}
	}
}

// The rows of one subject are compared with a map, while random rows come, move and go.
func TestTheRowsOfASubjectAreThoseOfAMap(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		store, c := newStore(jwtauth.MemoryStoreOptions{})
		want := make(map[string]int64)
		for range 4000 {
			id := fmt.Sprint(r.IntN(1500))
			key := sessionKey("alice", id)
			switch r.IntN(5) {
			case 0, 1, 2:
				err := store.Create(t.Context(), sessionRow(c, "alice", id), 0)
				if _, there := want[id]; there {
					require.ErrorIs(t, err, jwtauth.ErrSessionExists)
				} else {
					require.NoError(t, err)
					want[id] = 1
				}
			case 3:
				require.NoError(t, store.Delete(t.Context(), key))
				delete(want, id)
			default:
				_, advanced, err := store.Advance(t.Context(), key, jwtauth.Rotation{From: want[id], At: c.Now(), ExpiresAt: c.Now().Add(time.Hour)})
				if _, there := want[id]; there {
					require.NoError(t, err)
					require.True(t, advanced)
					want[id]++
				} else {
					require.ErrorIs(t, err, jwtauth.ErrNoSession)
				}
			}
		}
		got := make(map[string]int64)
		limit := 1 + r.IntN(300)
		for after := ""; ; {
			page, err := store.List(t.Context(), fixture.Issuer, "alice", after, limit)
			require.NoError(t, err)
			for _, row := range page {
				require.Greater(t, row.Key.ID, after)
				after = row.Key.ID
				got[after] = row.Generation
			}
			if len(page) < limit {
				break
			}
		}
		require.Equal(t, want, got)
	}
}
