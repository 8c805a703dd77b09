package sketch_test

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/sketch"
)

// counted returns how many events count at a tick.
func counted(w *sketch.Window, now uint32) (n uint32) {
	for w.FreeAt(now, n) != now {
		n++
	}
	return n
}

func TestAnEventCountsForAWholeWindow(t *testing.T) {
	for start := range uint32(20) {
		var w sketch.Window
		w.Add(start, 3)
		for now := start; now <= start+sketch.TicksPerWindow; now++ {
			require.EqualValues(t, 3, counted(&w, now))
			require.Equal(t, start+sketch.TicksPerWindow+1, w.FreeAt(now, 2))
		}
		require.Zero(t, counted(&w, start+sketch.TicksPerWindow+1))
	}
}

func TestAWindowCountsAsAListOfEventsDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var w sketch.Window
		list := map[uint32]uint32{}
		now := random.Uint32N(100)
		for range 100 {
			now += random.Uint32N(4) * random.Uint32N(3)
			switch n := random.Uint32N(5); random.Uint32N(3) {
			case 0, 1:
				w.Add(now, n)
				list[now] += n
			default:
				at := now - min(now, random.Uint32N(9))
				n = min(n, list[at])
				w.Remove(at, n)
				list[at] -= n
			}
			at := func(tick uint32) (sum uint32) {
				for added, n := range list {
					if added <= tick && tick-added <= sketch.TicksPerWindow {
						sum += n
					}
				}
				return sum
			}
			require.Equal(t, at(now), counted(&w, now))
			limit := random.Uint32N(6)
			free := now
			for at(free) > limit {
				free++
			}
			require.Equal(t, free, w.FreeAt(now, limit))
		}
	}
}

func TestACountIsNeverTooLowAndRarelyTooHigh(t *testing.T) {
	const width, limit = 1 << 12, 10
	s, seed := sketch.New(width), maphash.MakeSeed()
	hash := func(key int) uint64 { return maphash.Comparable(seed, key) }
	for key := range width {
		s.Add(hash(key), 1, uint32(key%limit)+1)
	}
	tooHigh := 0
	for key := range width {
		own := uint32(key%limit) + 1
		require.NotEqual(t, uint32(1), s.FreeAt(hash(key), 1, own-1), "an event was lost")
		if s.FreeAt(hash(key), 1, own+limit) != 1 {
			tooHigh++
		}
	}
	require.Less(t, tooHigh, width/50)
	for key := range width {
		s.Remove(hash(key), 1, uint32(key%limit)+1)
	}
	for key := range width {
		require.EqualValues(t, 1, s.FreeAt(hash(key), 1, 0), "an event is left")
	}
}
