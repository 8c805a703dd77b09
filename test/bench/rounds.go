package main

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// group is what is measured side by side: the cells of one table column, say. A
// ratio is only ever taken between two cells of one group in one round.
type group struct {
	name  string
	slot  time.Duration // how long a cell runs in a round; 0: as the command says
	cells func() []cell
}

// cell is one thing that is measured.
type cell struct {
	name string

	beside string // cells of one such name stand side by side in each round
	most   int    // operations in a round; 0: as many as fit into the slot

	time func(n int) time.Duration // does it n times
	once func()                    // does it once; nil where allocations are not counted
	done func() error              // what was wrong, once all is measured; may be nil
}

// sequential is the cell of an operation that one goroutine does again and again.
// The operation checks its own answer.
func sequential(name string, op func()) cell {
	return cell{name: name, once: op, time: func(n int) time.Duration {
		start := time.Now()
		for range n {
			op()
		}
		return time.Since(start)
	}}
}

// closely marks the cells whose distance from the limit counts to the percent.
func closely(c cell) cell {
	c.beside = raw
	return c
}

// measured is what came out for a group: for each cell, nanoseconds for one
// operation in each round, and what one operation allocates.
type measured struct {
	Group  string
	Cells  []string
	Nanos  map[string][]float64
	Allocs map[string]float64
	Bytes  map[string]float64
}

// plan is how long is measured.
type plan struct {
	rounds int
	slot   time.Duration
}

// measure runs the rounds of a group. In each, every cell runs once for a slot.
// Cells that belong beside each other stay together; apart from that the order is
// another one each time. Each cell begins with a heap that was just collected and
// with a run-up, and pays for the garbage that it makes itself.
func measure(g group, p plan) *measured {
	cells := g.cells()
	if g.slot == 0 {
		g.slot = p.slot
	}
	m := &measured{Group: g.name, Nanos: map[string][]float64{}, Allocs: map[string]float64{}, Bytes: map[string]float64{}}
	count := map[string]int{}
	for _, c := range cells {
		m.Cells = append(m.Cells, c.name)
		if c.once != nil {
			m.Allocs[c.name], m.Bytes[c.name] = allocations(c.once)
		}
		count[c.name] = calibrate(c, g.slot)
	}
	for range p.rounds {
		for _, c := range order(cells) {
			runtime.GC()
			n := count[c.name]
			c.time(n/8 + 1) // fills what the collection has emptied: pools, and the caches of the processor
			m.Nanos[c.name] = append(m.Nanos[c.name], float64(c.time(n))/float64(n))
		}
	}
	for _, c := range cells {
		if c.done != nil {
			if err := c.done(); err != nil {
				panic(fmt.Errorf("%s: %s: %w", g.name, c.name, err))
			}
		}
	}
	return m
}

// order shuffles the cells and keeps those together that belong beside each other.
func order(cells []cell) []cell {
	rank, together := make(map[string]float64, len(cells)), map[string]float64{}
	for _, c := range cells {
		rank[c.name] = rand.Float64()
		if c.beside == "" {
			continue
		}
		if together[c.beside] == 0 {
			together[c.beside] = rand.Float64()
		}
		rank[c.name] = together[c.beside] + rank[c.name]*1e-9
	}
	cells = slices.Clone(cells)
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Compare(rank[a.name], rank[b.name]) })
	return cells
}

// calibrate finds how often an operation fits into a slot.
func calibrate(c cell, slot time.Duration) int {
	if c.most > 0 {
		return c.most
	}
	for n := 1; ; n *= 2 {
		if d := c.time(n); d >= slot/4 {
			return max(1, int(float64(n)*float64(slot)/float64(d)))
		}
	}
}

// Allocations are counted over some operations, after others that fill pools and
// caches.
const (
	counted = 220
	warmUp  = 20
)

// allocations counts what one operation allocates, alone on one thread and
// without a collection in between, which would empty pools.
func allocations(op func()) (count, bytes float64) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range warmUp {
		op()
	}
	const n = counted - warmUp
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		op()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n
}

// has says whether all these cells were measured.
func (m *measured) has(cells ...string) bool {
	return m != nil && !slices.ContainsFunc(cells, func(c string) bool { return len(m.Nanos[c]) == 0 })
}

// median is the median time of a cell.
func (m *measured) median(cell string) float64 { return median(m.Nanos[cell]) }

// ratio is the median over the rounds of what a cell took by what the base took
// in the same round.
func (m *measured) ratio(cell, base string) float64 {
	if !m.has(cell, base) {
		return math.NaN()
	}
	var each []float64
	for i, t := range m.Nanos[cell] {
		each = append(each, t/m.Nanos[base][i])
	}
	return median(each)
}

// extra is how many allocations a cell has over those of the base.
func (m *measured) extra(cell, base string) float64 { return m.Allocs[cell] - m.Allocs[base] }

func median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	list = slices.Sorted(slices.Values(list))
	middle := len(list) / 2
	if len(list)%2 == 1 {
		return list[middle]
	}
	return (list[middle-1] + list[middle]) / 2
}
