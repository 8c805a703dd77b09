package expiring_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/expiring"
)

// pass is how often Sweep must be called, step apart, to visit every shard.
const (
	pass = 1 << 14
	step = time.Minute / pass
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

type ends = expiring.Map[int, time.Time]

// newMap makes a map whose values are the ends of its entries.
func newMap(limit int) *ends {
	m := new(ends)
	m.Init(limit, func(end, now time.Time) (gone int, next time.Time) {
		if now.Before(end) {
			return 0, end
		}
		return 1, time.Time{}
	})
	return m
}

// put adds an entry, unless the map is full.
func put(m *ends, key int, end time.Time) bool {
	shard := m.Lock(key)
	defer shard.Unlock()
	if _, ok := shard.Entries[key]; !ok && !m.Grow(shard, end) {
		return false
	}
	shard.Entries[key] = end
	return true
}

func has(m *ends, key int) bool {
	shard := m.Shard(key)
	shard.RLock()
	defer shard.RUnlock()
	_, ok := shard.Entries[key]
	return ok
}

// sweepAll gives every shard its turn and returns the time afterwards.
func sweepAll(m *ends, now time.Time) time.Time {
	for d := 3 * time.Hour; d > 0; d -= time.Minute { // so that the time is no jump of the clock
		m.Sweep(now.Add(-d))
	}
	for range pass {
		m.Sweep(now)
		now = now.Add(step)
	}
	return now
}

func TestAFullMapSaysSoAndDropsNothing(t *testing.T) {
	const limit = 100
	m := newMap(limit)
	for key := range limit {
		require.True(t, put(m, key, start.Add(time.Hour)))
	}
	for key := range limit {
		require.False(t, put(m, limit+key, start.Add(time.Hour)))
		require.True(t, put(m, key, start.Add(2*time.Hour)), "an entry that is there already takes no room")
	}
	require.EqualValues(t, limit, m.Len())
	sweepAll(m, start)
	for key := range limit {
		require.True(t, has(m, key))
		require.False(t, has(m, limit+key))
	}

	m.Shrink(1)
	require.True(t, put(m, limit, start))
}

func TestAnEntryGoesAtItsEndAndNotBefore(t *testing.T) {
	m := newMap(1 << 20)
	const many = 5000
	for key := range many {
		end := start.Add(time.Hour)
		if key%2 == 0 {
			end = start.Add(3 * time.Hour)
		}
		require.True(t, put(m, key, end))
	}
	now := sweepAll(m, start.Add(time.Hour-step*pass))
	require.EqualValues(t, many, m.Len(), "an entry went before its end")
	now = sweepAll(m, now)
	require.EqualValues(t, many/2, m.Len())
	for key := range many {
		require.Equal(t, key%2 == 0, has(m, key), key)
	}
	sweepAll(m, now.Add(2*time.Hour))
	require.Zero(t, m.Len())
}

func TestSweepVisitsOneShardWhenItIsDue(t *testing.T) {
	m := newMap(1 << 20)
	const many = 50 * pass
	for key := range many {
		require.True(t, put(m, key, start))
	}
	m.Sweep(start)
	after := m.Len()
	require.Less(t, after, int64(many))
	require.Greater(t, after, int64(many-many/20), "one call cleared more than one shard")
	for range 100 {
		m.Sweep(start.Add(step - 1))
	}
	require.Equal(t, after, m.Len(), "a shard was cleared before it was due")
	m.Sweep(start.Add(step))
	require.Less(t, m.Len(), after)
}

func TestAFullMapMakesRoomWhereSomethingHasEnded(t *testing.T) {
	m := newMap(10)
	for key := range 9 {
		require.True(t, put(m, key, start.Add(time.Hour)))
	}
	require.True(t, put(m, 9, start))
	require.False(t, put(m, 10, start.Add(time.Hour)))
	m.MakeRoom(start.Add(-1))
	require.False(t, put(m, 10, start.Add(time.Hour)), "an entry went before its end")
	m.MakeRoom(start)
	require.True(t, put(m, 10, start.Add(time.Hour)))
	require.False(t, has(m, 9))
	for key := range 9 {
		require.True(t, has(m, key))
	}
}

func TestMemoryFallsBack(t *testing.T) {
	const many = 200_000
	m := newMap(many)
	before := heap()
	for key := range many {
		put(m, key, start)
	}
	full := heap() - before
	sweepAll(m, start)
	left := heap() - before
	require.Zero(t, m.Len())
	require.Less(t, left, full/10, "%d bytes of %d are left", left, full)
	runtime.KeepAlive(m)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func TestTheCountHoldsUnderConcurrency(t *testing.T) {
	const workers, each, limit = 8, 500, 1000
	m := newMap(limit)
	var wg sync.WaitGroup
	taken := make([]int, workers)
	for w := range workers {
		wg.Go(func() {
			for n := range each {
				key := w*each + n
				m.Sweep(start.Add(time.Duration(n) * step))
				if put(m, key, start.Add(time.Hour)) {
					taken[w]++
				}
				has(m, key)
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range taken {
		sum += n
	}
	require.Equal(t, limit, sum)
	require.EqualValues(t, limit, m.Len())
	sweepAll(m, start.Add(2*time.Hour))
	require.Zero(t, m.Len())
}
