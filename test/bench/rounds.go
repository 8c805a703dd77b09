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

// group holds cells that are measured together, for example the cells of one column of a table.
// A ratio always compares two cells of the same group in the same round.
type group struct {
	name  string
	slot  time.Duration // how long a cell runs in a round; 0 means the slot of the plan
	cells func() []cell
}

// cell is one operation that is measured.
type cell struct {
	name string

	adjacent    string // in each round, cells with the same adjacent run one after the other; "" means any order
	opsPerRound int    // 0 means as many operations as fit into the slot

	time func(n int) time.Duration // runs the operation n times and returns how long it took
	once func()                    // runs the operation once; nil if its allocations are not counted
	done func() error              // runs after all rounds, and returns an error if the times are not valid; may be nil
}

// sequential returns a cell in which one goroutine repeats op. op must check its own result.
func sequential(name string, op func()) cell {
	return cell{name: name, once: op, time: func(n int) time.Duration {
		start := time.Now()
		for range n {
			op()
		}
		return time.Since(start)
	}}
}

// nextToRaw is for a cell whose ratio to raw must be exact to one percent. In each round, the
// cell runs directly before or after raw and the other cells of this kind.
func nextToRaw(c cell) cell {
	c.adjacent = raw
	return c
}

// measured holds the results of a group. The keys of the maps are names of cells. Nanos has the
// time of one operation in each round; Allocs and Bytes are of one operation.
type measured struct {
	Group  string
	Cells  []string
	Nanos  map[string][]float64
	Allocs map[string]float64
	Bytes  map[string]float64
}

// plan holds the number of rounds, and how long a cell runs in a round.
type plan struct {
	rounds int
	slot   time.Duration
}

// measure runs the rounds of a group. In each round, every cell runs for one slot, in a new
// random order. The garbage is collected before each cell, so a cell does not pay for the garbage
// of another cell. Then the cell runs for a short time that is not measured.
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
			c.time(n/8 + 1) // fills pools and processor caches again after the collection
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

// order returns the cells in random order, but keeps cells with the same adjacent together.
func order(cells []cell) []cell {
	rank, together := make(map[string]float64, len(cells)), map[string]float64{}
	for _, c := range cells {
		rank[c.name] = rand.Float64()
		if c.adjacent == "" {
			continue
		}
		if together[c.adjacent] == 0 {
			together[c.adjacent] = rand.Float64()
		}
		rank[c.name] = together[c.adjacent] + rank[c.name]*1e-9
	}
	cells = slices.Clone(cells)
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Compare(rank[a.name], rank[b.name]) })
	return cells
}

// calibrate returns how many operations of a cell fit into the slot.
func calibrate(c cell, slot time.Duration) int {
	if c.opsPerRound > 0 {
		return c.opsPerRound
	}
	for n := 1; ; n *= 2 {
		if d := c.time(n); d >= slot/4 {
			return max(1, int(float64(n)*float64(slot)/float64(d)))
		}
	}
}

// The function allocations runs an operation counted times. The first warmUp runs fill pools and
// caches, and their allocations are not counted.
const (
	counted = 220
	warmUp  = 20
)

// allocations returns the average numbers of allocations and allocated bytes of one operation.
// Meanwhile, GOMAXPROCS is 1, and the garbage collector is off, because it would empty pools.
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

// has reports whether all these cells were measured.
func (m *measured) has(cells ...string) bool {
	return m != nil && !slices.ContainsFunc(cells, func(c string) bool { return len(m.Nanos[c]) == 0 })
}

// median returns the median time of a cell, in nanoseconds.
func (m *measured) median(cell string) float64 { return median(m.Nanos[cell]) }

// ratio divides the time of the cell by the time of the base in each round, and
// returns the median of these ratios.
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

// extra returns how many more allocations the cell has than the base.
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
