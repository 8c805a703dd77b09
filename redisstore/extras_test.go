package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// mark is the step with which an issuer ends a session.
func mark() jwtauth.Rotation {
	return jwtauth.Rotation{From: math.MaxInt64 - 1, Epoch: math.MaxInt64, At: time.Now(), ExpiresAt: inAnHour()}
}

func TestOnlyASessionThatNeedsItHasAnExtra(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		prefix := "test:" + rand.Text()
		store := storeOf(t, client, prefix)
		extras := ownerKey(prefix, "alice") + ":x"
		has := func(want bool, r jwtauth.Rotation) {
			t.Helper()
			_, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), r)
			require.NoError(t, err)
			require.True(t, advanced)
			require.Equal(t, want, client.HExists(t.Context(), extras, "1").Val())
			if want {
				left := client.PTTL(t.Context(), extras).Val()
				require.InDelta(t, client.PTTL(t.Context(), ownerKey(prefix, "alice")).Val(), left, float64(time.Second))
			}
		}
		require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
		for from := range int64(300) { // the numbers carry and borrow
			has(false, rotation(from+1, time.Hour))
		}
		recovery := rotation(301, 2*time.Hour)
		recovery.Parent = 300
		has(true, recovery)
		has(false, rotation(302, time.Hour))
		detailed := rotation(303, 3*time.Hour)
		detailed.Details = []byte("x")
		has(true, detailed)
		has(true, rotation(304, 9*time.Hour))
		empty := rotation(305, time.Hour)
		empty.Details = []byte{}
		has(false, empty)
		epoch := rotation(306, 10*time.Hour)
		epoch.Epoch = 1
		has(true, epoch)
		require.NoError(t, store.Create(t.Context(), row("alice", "2", time.Hour), 0))
		require.NoError(t, store.Delete(t.Context(), keyOf("alice", "1")))
		require.Zero(t, client.Exists(t.Context(), extras).Val(), "the extra of a session that is gone")
		require.NoError(t, store.Delete(t.Context(), keyOf("alice", "2")))
		require.Empty(t, keysOf(t, client, prefix))
	})
}

// SessionRecord.Step is the contract.
func TestAdvanceDoesWhatStepDoes(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		numbers := []int64{math.MinInt64, -257, -256, -1, 0, 1, 2, 3, 255, 256, 257, 1 << 32, math.MaxInt64 - 1, math.MaxInt64}
		random := mathrand.New(mathrand.NewPCG(1, 2))
		number := func() int64 { return numbers[random.IntN(len(numbers))] }
		small := func() int64 { return int64(random.IntN(4)) }
		details := func() []byte { return [][]byte{nil, {}, []byte("x"), []byte("\x00\xff")}[random.IntN(4)] }
		same := func(want, got jwtauth.SessionRecord, text string) {
			t.Helper()
			if len(want.Details) == 0 {
				want.Details = nil
			}
			require.Equal(t, want, got, text)
		}
		steps := 0
		for i := range 300 {
			pick := number
			if i%2 == 0 {
				pick = small
			}
			r := row("alice", fmt.Sprint(i), time.Hour)
			r.Generation, r.Previous, r.Parent, r.ParentStep, r.Epoch, r.Details = pick(), pick(), pick(), pick(), pick(), details()
			require.NoError(t, store.Create(t.Context(), r, 0))
			want := r
			for range 8 {
				rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
				require.NoError(t, err)
				want.Age = 0
				require.Len(t, rows, 1)
				same(want, rows[0], "a row of List")

				rotation := rotation(min(pick(), math.MaxInt64-1), time.Hour)
				rotation.Parent, rotation.Epoch, rotation.Details = pick(), pick(), details()
				if random.IntN(2) == 0 {
					rotation.Epoch = max(rotation.Epoch, want.Epoch)
				}
				got, advanced, err := store.Advance(t.Context(), r.Key, rotation)
				require.NoError(t, err)
				next, wantAdvanced := want.Step(rotation, got.RotatedAt.Add(got.Age))
				text := fmt.Sprintf("%+v from %+v", rotation, want)
				require.Equal(t, wantAdvanced, advanced, text)
				same(next, got, text)
				if want = next; advanced {
					steps++
				}
			}
			require.NoError(t, store.Delete(t.Context(), r.Key))
		}
		require.Greater(t, steps, 300)
	})
}

func TestARowAndAnExtraOfAnotherProgramAreAnErrorAndNoSession(t *testing.T) {
	client, prefix := single(t), "test:"+rand.Text()
	store := storeOf(t, client, prefix)
	r := row("alice", "1", time.Hour)
	r.Epoch = 1
	require.NoError(t, store.Create(t.Context(), r, 0))
	for _, bad := range []string{"", "x", strings.Repeat("x", 23)} {
		require.NoError(t, client.HSet(t.Context(), ownerKey(prefix, "alice")+":x", "1", bad).Err())
		_, advanced, err := store.Advance(t.Context(), r.Key, rotation(1, time.Hour))
		require.Error(t, err)
		require.NotErrorIs(t, err, jwtauth.ErrNoSession)
		require.False(t, advanced)
		if bad != "" {
			_, err = store.List(t.Context(), testIssuer, "alice", "", 1000)
			require.Error(t, err)
		}
	}
}

// The three steps with which an issuer ends a session, and the raise of an epoch.
func TestAFullEngineEndsSessionsAndRaisesEpochs(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	for _, id := range []string{"1", "2"} {
		require.NoError(t, store.Create(t.Context(), row("alice", id, time.Hour), 0))
	}
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())

	raised, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), jwtauth.Rotation{Epoch: 1, At: time.Now()})
	require.NoError(t, err)
	require.False(t, advanced)
	require.EqualValues(t, 1, raised.Epoch)

	_, advanced, err = store.Advance(t.Context(), keyOf("alice", "1"), mark())
	require.NoError(t, err)
	require.True(t, advanced)
	require.NoError(t, store.Revoke(t.Context(), "1", inAnHour()))
	require.NoError(t, store.Delete(t.Context(), keyOf("alice", "1")))

	withDetails := rotation(1, time.Hour)
	withDetails.Details = []byte("x")
	_, _, err = store.Advance(t.Context(), keyOf("alice", "2"), withDetails)
	require.ErrorContains(t, err, "OOM")
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.EqualValues(t, 1, rows[0].Generation, "half of a call was done")
	require.Empty(t, rows[0].Details)
}

// The clock of the caller is an hour ahead, and 20 hours behind.
func TestTheAgeIsByTheClockOfTheEngine(t *testing.T) {
	store := newStore(t, single(t))
	r := row("alice", "1", 100*time.Hour)
	require.NoError(t, store.Create(t.Context(), r, 0))
	for from, offset := range []time.Duration{time.Hour, -20 * time.Hour} {
		step := rotation(int64(from)+1, 100*time.Hour)
		step.At, step.ExpiresAt = step.At.Add(offset), step.ExpiresAt.Add(offset)
		began := time.Now()
		got, advanced, err := store.Advance(t.Context(), r.Key, step)
		require.NoError(t, err)
		require.True(t, advanced)
		require.Zero(t, got.Age)
		require.WithinDuration(t, began, got.RotatedAt, 10*time.Second)
		time.Sleep(20 * time.Millisecond)
		again, advanced, err := store.Advance(t.Context(), r.Key, step)
		require.NoError(t, err)
		require.False(t, advanced)
		require.Equal(t, got.RotatedAt, again.RotatedAt)
		require.GreaterOrEqual(t, again.Age, 20*time.Millisecond)
		require.LessOrEqual(t, again.Age, time.Since(began)+time.Second)
	}
}
