// Package sketch counts events by key in a sliding window: a count-min sketch whose
// cells are windows. Its memory does not grow, whatever keys come, and it keeps no key. A
// count is never too low. It is too high if other keys share all cells of a key, which
// becomes likely when there are more keys than the width.
//
// The caller measures time in ticks, a sixth of the window each.
package sketch

// TicksPerWindow is how many ticks a window has. An event counts for a whole window, and
// at most one tick longer.
const TicksPerWindow = 6

// slots is how many ticks a window remembers: the current one has begun only.
const slots = TicksPerWindow + 1

// Window counts events in a sliding window. The zero value is empty. It is not safe for
// concurrent use. The ticks of one window must not go back.
type Window struct {
	last   uint32 // the tick of the last call
	counts [slots]uint32
}

// Add counts n events at tick now.
func (w *Window) Add(now, n uint32) {
	w.advance(now)
	w.counts[now%slots] += n
}

// Remove takes n events back that were added at a tick, unless they no longer count.
func (w *Window) Remove(at, n uint32) {
	if w.last-at < slots {
		w.counts[at%slots] -= n
	}
}

// FreeAt returns the first tick, from now on, at which at most limit events count.
func (w *Window) FreeAt(now, limit uint32) uint32 {
	w.advance(now)
	sum := uint32(0)
	for _, n := range w.counts {
		sum += n
	}
	at := now
	for sum > limit {
		at++
		sum -= w.counts[at%slots] // the slot of the tick at-slots, which ends
	}
	return at
}

// advance clears the slots of the ticks that have ended.
func (w *Window) advance(now uint32) {
	if now-w.last >= slots {
		w.counts = [slots]uint32{}
		w.last = now
	}
	for w.last != now {
		w.last++
		w.counts[w.last%slots] = 0
	}
}

// rows is how many cells a key has. Each is in a row of its own.
const rows = 4

// Sketch is a count-min sketch of windows. It is not safe for concurrent use.
type Sketch struct {
	width uint64
	cells []Window
}

// New makes a sketch whose rows have width cells. It has 128 bytes for each.
func New(width int) *Sketch {
	return &Sketch{uint64(width), make([]Window, rows*width)}
}

// Add counts n events of a key at tick now. hash is a keyed hash of the key.
func (s *Sketch) Add(hash uint64, now, n uint32) {
	for row := range uint64(rows) {
		s.cell(hash, row).Add(now, n)
	}
}

// Remove takes n events back that were added at a tick, unless they no longer count.
func (s *Sketch) Remove(hash uint64, at, n uint32) {
	for row := range uint64(rows) {
		s.cell(hash, row).Remove(at, n)
	}
}

// FreeAt returns the first tick, from now on, at which at most limit events of a key
// count.
func (s *Sketch) FreeAt(hash uint64, now, limit uint32) uint32 {
	first := s.cell(hash, 0).FreeAt(now, limit)
	for row := range uint64(rows) {
		if at := s.cell(hash, row).FreeAt(now, limit); at-now < first-now {
			first = at
		}
	}
	return first
}

// cell returns the cell of a key in a row (double hashing).
func (s *Sketch) cell(hash, row uint64) *Window {
	h := uint32(hash) + uint32(row)*(uint32(hash>>32)|1)
	return &s.cells[row*s.width+uint64(h)*s.width>>32]
}
