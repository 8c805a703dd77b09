package expiring_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
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

// halves is the id of two numbers.
func halves(first, second uint64) *expiring.ID {
	var id expiring.ID
	binary.LittleEndian.PutUint64(id[:8], first)
	binary.LittleEndian.PutUint64(id[8:], second)
	return &id
}

// insider knows the secret of a set, and so where the entries lie.
type insider [4]uint64

func newInsider(set *expiring.IDs) (in insider) {
	secret := reflect.ValueOf(set).Elem().FieldByName("secret")
	for i := range in {
		in[i] = secret.Index(i).Uint()
	}
	return in
}

// sees returns the shard of an id, and how far behind the first bucket its search begins, of
// 2^64.
func (in insider) sees(id *expiring.ID) (shard int, home uint64) {
	mix := func(a, b uint64) uint64 {
		high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^a, binary.LittleEndian.Uint64(id[8:])^b)
		return high ^ low
	}
	return int(mix(in[2], in[3]) >> 52), mix(in[0], in[1])
}

// crowd returns ids of one shard whose search begins in the first of its buckets,
// even where there are 256.
func (in insider) crowd(many int) (ids []*expiring.ID) {
	for n := uint64(0); len(ids) < many; n++ {
		id := halves(n, in[3]) // a product of zero
		if _, home := in.sees(id); home < 1<<56 {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestTheSetAnswersLikeAMap drives a set and a map with the same random calls, on
// a clock that goes on, and wants the same answers.
func TestTheSetAnswersLikeAMap(t *testing.T) {
	const many = 3000
	for name, id := range map[string]func(insider, uint64) *expiring.ID{
		"spread evenly":      func(_ insider, n uint64) *expiring.ID { return digest(n) },
		"equal first halves": func(_ insider, n uint64) *expiring.ID { return halves(7, n) },
		"equal second halves": func(_ insider, n uint64) *expiring.ID {
			return halves(n<<32, 7)
		},
		"equal halves":      func(_ insider, n uint64) *expiring.ID { return halves(n, n) },
		"all in one shard":  func(in insider, n uint64) *expiring.ID { return halves(n, in[3]) },
		"all in one bucket": nil,
	} {
		t.Run(name, func(t *testing.T) {
			set, want, now := expiring.NewIDs(1<<20), make(map[expiring.ID]time.Time), start
			in, random := newInsider(set), rand.New(rand.NewPCG(1, 2))
			var ids []*expiring.ID
			if id == nil {
				ids = in.crowd(many)
			}
			for n := uint64(len(ids)); n < many; n++ {
				ids = append(ids, id(in, n))
			}
			for range 60_000 {
				id := ids[random.IntN(many)]
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
			live := 0
			for id, until := range want {
				require.Equal(t, now.Before(until), set.Has(&id, now))
				if now.Before(until) {
					live++
				}
			}
			require.GreaterOrEqual(t, set.Len(), live)
			require.LessOrEqual(t, set.Len(), many)
		})
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

// TestIDsOfOneFingerprintAreOneEntry makes ids of one shard whose fingerprint is zero, which no fingerprint
// may be, since zero means a free place.
func TestIDsOfOneFingerprintAreOneEntry(t *testing.T) {
	set := expiring.NewIDs(1000)
	in := newInsider(set)
	var same []*expiring.ID
	for n := uint64(0); len(same) < 2; n++ {
		id := halves(n, in[1])
		if shard, home := in.sees(id); shard == 7 {
			require.Zero(t, home)
			same = append(same, id)
		}
	}
	require.False(t, set.Has(same[0], start), "a free place is not an entry")
	require.True(t, set.Add(same[0], start.Add(time.Hour), start))
	require.True(t, set.Has(same[0], start))
	// An id that agrees in all that is kept is found too, and lengthens the entry.
	require.True(t, set.Has(same[1], start))
	require.True(t, set.Add(same[1], start.Add(50*time.Hour), start))
	require.Equal(t, 1, set.Len())
	require.True(t, set.Has(same[0], start.Add(50*time.Hour-1)))
	require.False(t, set.Has(same[0], start.Add(50*time.Hour)))
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
	set.MakeRoom(start.Add(time.Second), 0)
	require.False(t, set.Add(digest(10), start.Add(time.Hour), start))
	set.MakeRoom(start.Add(2*time.Second), 0)
	require.True(t, set.Add(digest(10), start.Add(time.Hour), start))
	for n := range uint64(9) {
		require.True(t, set.Has(digest(n), start))
	}
	require.False(t, set.Has(digest(9), start))
}

// TestAFullSetLooksForRoomABitAtATime fills a set with entries that all seem to
// end, and lets one end that is found last.
func TestAFullSetLooksForRoomABitAtATime(t *testing.T) {
	const many = 150_000
	set := expiring.NewIDs(many)
	in := newInsider(set)
	for n := range uint64(many) {
		require.True(t, set.Add(digest(n), start.Add(time.Minute), start))
	}
	spared := false
	for n := range uint64(many) {
		id := digest(n)
		if shard, _ := in.sees(id); shard == 4095 && !spared {
			spared = true
			continue
		}
		require.True(t, set.Add(id, start.Add(time.Hour), start))
	}
	now, calls := start.Add(time.Minute), 0
	for ; set.Len() == many && calls < 100; calls++ {
		set.MakeRoom(now, 0)
	}
	require.Equal(t, many-1, set.Len())
	t.Logf("%d calls", calls)
	require.Greater(t, calls, 2, "one call looked at more than a third of all")
	require.Less(t, calls, 10)
}

// TestAnEntryCosts24BytesAtMost measures sets of several sizes, and that what
// they held goes.
func TestAnEntryCosts24BytesAtMost(t *testing.T) {
	before := heap()
	set := expiring.NewIDs(1 << 22)
	require.Less(t, heap()-before, int64(160_000), "an empty set")
	n := uint64(0)
	for _, many := range []uint64{100_000, 120_000, 150_000, 200_000, 300_000, 400_000, 500_000, 600_000, 800_000, 1_000_000, 1_250_000, 1_500_000, 2_000_000} {
		for ; n < many; n++ {
			if !set.Add(digest(n), start.Add(time.Minute), start) {
				t.Fatal("it is full")
			}
		}
		each := float64(heap()-before) / float64(many)
		t.Logf("%.1f bytes an entry of %d", each, many)
		require.LessOrEqual(t, each, 24.0)
	}
	now := start.Add(time.Minute)
	for range 4096 {
		set.Sweep(now)
		now = now.Add(time.Minute / 4096)
	}
	require.Zero(t, set.Len())
	require.Less(t, heap()-before, int64(160_000))
	runtime.KeepAlive(set)
}

// TestNoCallDoesMuchAtOnce counts the work: what a call allocates is what it
// moves, and what goes out of the set is what it clears away.
func TestNoCallDoesMuchAtOnce(t *testing.T) {
	const many, window = 400_000, 10_000
	set := expiring.NewIDs(2 * many)
	var before, after runtime.MemStats
	longest, moved := uint64(0), 0
	for n := range uint64(many + window) {
		if n < many {
			set.Add(digest(n), start.Add(time.Minute), start)
			continue
		}
		id := digest(n)
		runtime.ReadMemStats(&before)
		set.Add(id, start.Add(time.Minute), start)
		runtime.ReadMemStats(&after)
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 0 {
			moved, longest = moved+1, max(longest, bytes)
		}
	}
	t.Logf("%d of %d calls allocate, at most %d bytes", moved, window, longest)
	require.Less(t, moved, window/10)
	require.Less(t, longest, uint64(8<<10), "a shard has some 2 kB")

	now, most := start.Add(time.Minute), 0
	for set.Len() > 0 {
		was := set.Len()
		set.Sweep(now)
		most = max(most, was-set.Len())
		now = now.Add(time.Second) // late: as much is due as there may be
	}
	t.Logf("%d entries at most go at once", most)
	require.Less(t, most, 4*200, "four shards have some 400")
}

func TestALookUpAllocatesNothing(t *testing.T) {
	set := expiring.NewIDs(10)
	require.True(t, set.Add(digest(1), start.Add(time.Hour), start))
	yes, no := digest(1), digest(2)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !set.Has(yes, start) || set.Has(no, start) {
			t.Error("a wrong answer")
		}
	}))
}

// TestGrowthLosesNothingThatReadersKnow adds entries that have ended and prolongs
// every other one, in a set that is soon full, while readers ask for those that
// have been prolonged: all in one shard, so that they meet, and spread evenly.
func TestGrowthLosesNothingThatReadersKnow(t *testing.T) {
	const many = 8_000
	for _, together := range []bool{true, false} {
		set := expiring.NewIDs(many + 100)
		in := newInsider(set)
		ids := make([]*expiring.ID, 2*many)
		for n := range ids {
			if ids[n] = digest(uint64(n)); together {
				ids[n] = halves(uint64(n), in[3])
			}
		}
		var known atomic.Int64 // how many entries have been prolonged
		var readers sync.WaitGroup
		now := start.Add(2 * time.Second)
		for reader := range uint64(3) {
			readers.Go(func() {
				random := rand.New(rand.NewPCG(reader, 2))
				for n := int64(0); n < many; {
					if n = known.Load(); n == 0 {
						continue
					}
					for range 10 {
						if i := n - 1 - random.Int64N(1+random.Int64N(n)); !set.Has(ids[i], now) {
							t.Errorf("%d of %d is not there", i, n)
							known.Store(many)
							return
						}
					}
				}
			})
		}
		for n := int64(0); n < many && known.Load() == n; n++ {
			for _, id := range []*expiring.ID{ids[n], ids[many+n]} {
				set.MakeRoom(now, 0)
				set.Add(id, start.Add(time.Second), now)
			}
			set.MakeRoom(now, 0)
			if !set.Add(ids[n], start.Add(time.Hour), now) {
				t.Error("it is full")
			}
			known.CompareAndSwap(n, n+1)
		}
		readers.Wait()
	}
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

// TestWritersOfOneShardDoNotDisturbEachOther adds to one shard from many sides,
// also entries that have ended, while those are cleared away.
func TestWritersOfOneShardDoNotDisturbEachOther(t *testing.T) {
	const writers, each = 4, 10_000
	set := expiring.NewIDs(1 << 20)
	in := newInsider(set)
	now := start.Add(time.Minute)
	var all, sweeper sync.WaitGroup
	done := make(chan struct{})
	sweep := func() {
		for range 1024 { // each with four of the shards
			set.Sweep(now)
			now = now.Add(time.Second)
		}
	}
	sweeper.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				sweep()
			}
		}
	})
	for writer := range uint64(writers) {
		all.Go(func() {
			for n := range uint64(each) {
				set.Add(halves(1<<32+n*writers+writer, in[3]), start, start)
				set.Add(halves(n*writers+writer, in[3]), time.Unix(1<<32, 0), start)
			}
		})
	}
	all.Wait()
	close(done)
	sweeper.Wait()
	sweep()
	require.Equal(t, writers*each, set.Len())
	for n := range uint64(writers * each) {
		require.True(t, set.Has(halves(n, in[3]), start), n)
	}
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
