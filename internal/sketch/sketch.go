// Package sketch counts events by key in a sliding window. It is a count-min sketch whose
// cells are sliding windows. Its memory is fixed, and it stores no keys. A count is never
// too low. A count is too high if every cell of a key is shared with another key. That
// becomes likely if there are more keys than the width of the sketch.
//
// The caller measures time in ticks. A window has six ticks.
package sketch

// TicksPerWindow is the number of ticks of a window. An event counts for one window, and
// for at most one tick more.
const TicksPerWindow = 6

// slots is the number of counters of a window: one for each whole tick, and one for the
// current tick, which has not ended.
const slots = TicksPerWindow + 1

// Window counts events in a sliding window. The zero value is an empty window. Window is not
// safe for concurrent use. now must not decrease from one call to the next.
type Window struct {
	last   uint32 // the latest tick that was passed to advance
	counts [slots]uint32
}

// Add counts n events at tick now.
func (w *Window) Add(now, n uint32) {
	w.advance(now)
	w.counts[now%slots] += n
}

// Remove subtracts n events that were added at tick at, if they still count.
func (w *Window) Remove(at, n uint32) {
	if w.last-at < slots {
		w.counts[at%slots] -= n
	}
}

// FreeAt returns the first tick, not before now, at which at most limit events count, if no
// more are added.
func (w *Window) FreeAt(now, limit uint32) uint32 {
	w.advance(now)
	sum := uint32(0)
	for _, n := range w.counts {
		sum += n
	}
	at := now
	for sum > limit {
		at++
		sum -= w.counts[at%slots] // the events of tick at-slots stop counting
	}
	return at
}

// advance moves the window to tick now, and clears the slots of ticks that no longer count.
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

// rows is the number of rows of a sketch. A key has one cell in each row.
const rows = 4

// Sketch is a count-min sketch of windows. It is not safe for concurrent use.
type Sketch struct {
	width uint64
	cells []Window
}

// New makes a sketch whose rows have width cells. It takes 128 bytes for each unit of width.
func New(width int) *Sketch {
	return &Sketch{uint64(width), make([]Window, rows*width)}
}

// Add counts n events of a key at tick now. hash is a keyed hash of the key.
func (s *Sketch) Add(hash uint64, now, n uint32) {
	for row := range uint64(rows) {
		s.cell(hash, row).Add(now, n)
	}
}

// Remove subtracts n events of a key that were added at tick at, if they still count.
func (s *Sketch) Remove(hash uint64, at, n uint32) {
	for row := range uint64(rows) {
		s.cell(hash, row).Remove(at, n)
	}
}

// FreeAt returns the first tick, not before now, at which at most limit events of a key
// count, if no more are added.
func (s *Sketch) FreeAt(hash uint64, now, limit uint32) uint32 {
	first := s.cell(hash, 0).FreeAt(now, limit)
	for row := range uint64(rows) {
		if at := s.cell(hash, row).FreeAt(now, limit); at-now < first-now {
			first = at
		}
	}
	return first
}

// cell returns the cell of a key in a row. It derives the hash of each row from one hash
// (double hashing).
func (s *Sketch) cell(hash, row uint64) *Window {
	h := uint32(hash) + uint32(row)*(uint32(hash>>32)|1)
	return &s.cells[row*s.width+uint64(h)*s.width>>32]
}
