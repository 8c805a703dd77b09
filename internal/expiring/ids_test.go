package expiring_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// digest is the n-th of a sequence of digests.
func digest(n uint64) *expiring.ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	id := expiring.ID(sum[:16])
	return &id
}

// TestTheSetAnswersLikeAMap drives a set and a map with the same random calls, on
// a clock that goes on, and wants the same answers.
func TestTheSetAnswersLikeAMap(t *testing.T) {
	for _, crowd := range []bool{false, true} { // spread evenly, and all in one shard
		random := rand.New(rand.NewPCG(1, 2))
		pick := func() *expiring.ID {
			id := digest(random.Uint64N(3000))
			if crowd {
				id[0], id[1] = 7, 7
			}
			return id
		}
		set, want, now := expiring.NewIDs(1<<20), make(map[expiring.ID]time.Time), start
		for range 60_000 {
			id := pick()
			switch random.IntN(4) {
			case 0:
				until := now.Add(time.Duration(random.IntN(600)) * time.Second)
				require.True(t, set.Add(id, until, now))
				if until = until.Add(time.Second - 1).Truncate(time.Second); until.After(want[*id]) {
					want[*id] = until
				}
			case 1:
				now = now.Add(time.Duration(random.IntN(200)) * time.Millisecond)
				set.Sweep(now)
			default:
				require.Equal(t, now.Before(want[*id]), set.Has(id, now))
			}
		}
		for id, until := range want {
			require.Equal(t, now.Before(until), set.Has(&id, now))
		}
	}
}

func TestNeighboursAreNotTakenForEachOther(t *testing.T) {
	set := expiring.NewIDs(1000)
	id := *digest(1)
	require.True(t, set.Add(&id, start.Add(time.Hour), start))
	for bit := range 128 {
		other := id
		other[bit/8] ^= 1 << (bit % 8)
		require.False(t, set.Has(&other, start))
		require.True(t, set.Add(&other, start.Add(time.Hour), start))
		require.True(t, set.Has(&other, start))
	}
	require.Equal(t, 129, set.Len())
	require.False(t, set.Has(new(expiring.ID), start))
}

func TestAnEndIsRoundedUpToASecondAndNeverShortened(t *testing.T) {
	set := expiring.NewIDs(10)
	require.True(t, set.Add(digest(1), start.Add(time.Millisecond), start))
	require.True(t, set.Has(digest(1), start.Add(time.Second-1)))
	require.False(t, set.Has(digest(1), start.Add(time.Second)))
	require.True(t, set.Add(digest(1), start.Add(time.Hour), start))
	require.True(t, set.Add(digest(1), start.Add(time.Minute), start))
	require.True(t, set.Has(digest(1), start.Add(time.Hour-1)))
	require.True(t, set.Add(digest(2), time.Unix(1<<40, 0), start), "an end beyond all reason is kept at the last one there is")
	require.True(t, set.Has(digest(2), start.Add(24*time.Hour)))
}

func TestAFullSetSaysSoAndMakesRoomOnlyForWhatHasEnded(t *testing.T) {
	set := expiring.NewIDs(10)
	for n := range uint64(9) {
		require.True(t, set.Add(digest(n), start.Add(time.Hour), start))
	}
	require.True(t, set.Add(digest(9), start.Add(time.Second), start))
	require.False(t, set.Add(digest(10), start.Add(time.Hour), start))
	require.True(t, set.Add(digest(9), start.Add(2*time.Second), start), "an entry that is there takes no room")
	set.MakeRoom(start.Add(time.Second))
	require.False(t, set.Add(digest(10), start.Add(time.Hour), start))
	set.MakeRoom(start.Add(2 * time.Second))
	require.True(t, set.Add(digest(10), start.Add(time.Hour), start))
	for n := range uint64(9) {
		require.True(t, set.Has(digest(n), start))
	}
	require.False(t, set.Has(digest(9), start))
}

// TestAnEntryCosts24BytesAtMost measures a million of them, and that they go.
func TestAnEntryCosts24BytesAtMost(t *testing.T) {
	const many = 1_000_000
	set := expiring.NewIDs(many)
	before := heap()
	for n := range uint64(many) {
		require.True(t, set.Add(digest(n), start.Add(time.Minute), start))
	}
	each := float64(heap()-before) / many
	t.Logf("%.1f bytes an entry", each)
	require.LessOrEqual(t, each, 24.0)
	now := start.Add(time.Minute)
	for range 4096 {
		set.Sweep(now)
		now = now.Add(time.Minute / 4096)
	}
	require.Zero(t, set.Len())
	require.Less(t, heap()-before, int64(1<<20))
	runtime.KeepAlive(set)
}

func TestOnceInTheSetNeverOutOfItBeforeItsEnd(t *testing.T) {
	set := expiring.NewIDs(1 << 20)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for reader := range uint64(4) {
		readers.Go(func() {
			seen := make(map[uint64]bool)
			for n := reader; ; n = (n + 7) % 5000 {
				select {
				case <-done:
					return
				default:
				}
				has := set.Has(digest(n), start)
				if seen[n] && !has {
					t.Errorf("%d was there and is not any more", n)
					return
				}
				seen[n] = has
			}
		})
	}
	for writer := range uint64(4) {
		writers.Go(func() {
			for n := uint64(0); n < 5000; n++ {
				set.Add(digest((n+writer*1250)%5000), start.Add(time.Duration(n)*time.Second+time.Second), start)
				set.Sweep(start.Add(time.Duration(n)))
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	require.Equal(t, 5000, set.Len())
}

func BenchmarkIDs(b *testing.B) {
	const many = 1_000_000
	ids := make([]expiring.ID, 2*many)
	for n := range ids {
		ids[n] = *digest(uint64(n))
	}
	set := expiring.NewIDs(2 * many)
	for n := range many {
		set.Add(&ids[n], start.Add(time.Hour), start)
	}
	random := rand.New(rand.NewPCG(1, 2))
	order := random.Perm(many)
	b.Run("Has/no", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if set.Has(&ids[many+order[n%many]], start) {
				b.Fatal("it is there")
			}
		}
	})
	b.Run("Has/yes", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if !set.Has(&ids[order[n%many]], start) {
				b.Fatal("it is not there")
			}
		}
	})
	b.Run("Add", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if n%many == 0 {
				b.StopTimer()
				set = expiring.NewIDs(2 * many)
				for n := range many {
					set.Add(&ids[n], start.Add(time.Hour), start)
				}
				b.StartTimer()
			}
			set.Add(&ids[many+n%many], start.Add(time.Hour), start)
		}
	})
}
