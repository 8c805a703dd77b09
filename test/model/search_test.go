package model_test

import (
	"fmt"
	"hash/maphash"
	"slices"
)

// found is the result of a search.
type found struct {
	states int
	depth  int
	trace  []string // a shortest way to the broken promise
}

// search visits every state that can be reached, breadth first, until a promise is broken.
func (m *model) search() (r found) {
	first := m.start()
	m.normalize(&first)
	all, origins := []state{first}, []int32{0}
	seen := newSet()
	seen.add(all, 0)
	level := 1 // the index in all at which the next depth begins
	for n := 0; n < len(all) && m.broken == ""; n++ {
		if n == level {
			r.depth++
			level = len(all)
		}
		now := all[n] // a copy, since append may reallocate the slice all
		m.each(&now, func(_ happening, s *state) {
			if m.broken != "" && r.trace != nil {
				return
			}
			m.normalize(s)
			all = append(all, *s)
			switch {
			case m.broken != "": // the step itself broke a promise
			case !seen.add(all, int32(len(all)-1)):
				all = all[:len(all)-1]
				return
			default:
				m.inspect(s)
			}
			origins = append(origins, int32(n))
			if m.broken != "" {
				var way []state
				for at := len(all) - 1; at > 0; at = int(origins[at]) {
					way = append(way, all[at])
				}
				slices.Reverse(way)
				r.trace = m.trace(way)
			}
		})
	}
	r.states = len(all)
	return r
}

// trace describes the steps that lead from the first state through the given ones. It
// repeats the steps without normalize, so the generations and the tabs have their own names.
func (m *model) trace(way []state) (trace []string) {
	again := &model{scene: m.scene, rules: m.rules}
	now := again.start()
	for _, next := range way {
		var step string
		var after state
		again.each(&now, func(h happening, s *state) {
			if same := *s; step == "" {
				if again.normalize(&same); same == next {
					step, after = again.describe(h), *s
				}
			}
		})
		trace, now = append(trace, step), after
	}
	return joinPasses(trace, 10/float64(m.limits.grace))
}

// joinPasses joins the steps in which time passes.
func joinPasses(trace []string, seconds float64) (joined []string) {
	passed := 0.0
	for _, step := range append(trace, "") {
		if step == timePasses {
			passed += seconds
			continue
		}
		if passed > 0 {
			joined, passed = append(joined, fmt.Sprintf("%g s pass", passed)), 0
		}
		if step != "" {
			joined = append(joined, step)
		}
	}
	return joined
}

// set is a hash table with open addressing. It has the numbers of the states that a search
// has seen, and not the states, which would be in memory twice.
type set struct {
	seed  maphash.Seed
	slots []int32 // the number of a state, plus 1
	count int
}

func newSet() *set { return &set{seed: maphash.MakeSeed(), slots: make([]int32, 1<<12)} }

// add adds a state, unless an equal one is there. It reports whether it was added.
func (t *set) add(all []state, n int32) bool {
	if t.count*2 > len(t.slots) {
		old := t.slots
		t.slots = make([]int32, 2*len(old))
		for _, one := range old {
			if one != 0 {
				t.slots[t.find(all, one-1)] = one
			}
		}
	}
	at := t.find(all, n)
	if t.slots[at] != 0 {
		return false
	}
	t.slots[at] = n + 1
	t.count++
	return true
}

// find returns the slot that has a state equal to the state n, or the slot for it.
func (t *set) find(all []state, n int32) int {
	mask := len(t.slots) - 1
	at := int(maphash.Comparable(t.seed, all[n])) & mask
	for t.slots[at] != 0 && all[t.slots[at]-1] != all[n] {
		at = (at + 1) & mask
	}
	return at
}
