package jwtauth

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// sessionRows has the rows of one subject in a MemoryStore, sorted by ID, in chunks of at
// most maxChunk rows. No method takes longer than some milliseconds, even for a million
// rows. A nil *sessionRows is empty.
type sessionRows struct{ chunks []rowChunk }

// rowChunk is a part of a sessionRows. It is never empty.
type rowChunk struct {
	rows     []SessionRecord
	earliest time.Time // at or before the ExpiresAt of each row
}

const (
	maxChunk = 256
	// maxExpireChunks is how many chunks one call of expire looks through.
	maxExpireChunks = 64
)

func (s *sessionRows) isEmpty() bool { return s == nil || len(s.chunks) == 0 }

// place returns the chunk and the index of the row of id. If there is no such row, found is
// false, and place returns where to insert it. s must not be empty.
func (s *sessionRows) place(id string) (chunk, row int, found bool) {
	next := sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].rows[0].Key.ID > id })
	chunk = max(next-1, 0)
	row, found = slices.BinarySearchFunc(s.chunks[chunk].rows, id, func(r SessionRecord, id string) int {
		return strings.Compare(r.Key.ID, id)
	})
	return chunk, row, found
}

// find returns the row of id, or nil if there is none. The caller must not change it.
func (s *sessionRows) find(id string) *SessionRecord {
	if s.isEmpty() {
		return nil
	}
	chunk, row, found := s.place(id)
	if !found {
		return nil
	}
	return &s.chunks[chunk].rows[row]
}

// insert adds a row whose ID is not there.
func (s *sessionRows) insert(r SessionRecord) {
	if s.isEmpty() {
		s.chunks = []rowChunk{{[]SessionRecord{r}, r.ExpiresAt}}
		return
	}
	n, row, _ := s.place(r.Key.ID)
	c := &s.chunks[n]
	c.rows = slices.Insert(c.rows, row, r)
	c.lower(r.ExpiresAt)
	if len(c.rows) > maxChunk {
		half := slices.Clone(c.rows[maxChunk/2:])
		c.rows = slices.Clone(c.rows[:maxChunk/2])
		s.chunks = slices.Insert(s.chunks, n+1, rowChunk{half, c.earliest})
	}
}

// replace overwrites the row stored with r. find must have returned stored, and both rows must
// have the same ID.
func (s *sessionRows) replace(stored *SessionRecord, r SessionRecord) {
	n, _, _ := s.place(r.Key.ID)
	s.chunks[n].lower(r.ExpiresAt)
	*stored = r
}

func (c *rowChunk) lower(end time.Time) {
	if end.Before(c.earliest) {
		c.earliest = end
	}
}

// remove removes the row of id. It reports whether there was one.
func (s *sessionRows) remove(id string) bool {
	if s.isEmpty() {
		return false
	}
	n, row, found := s.place(id)
	if !found {
		return false
	}
	s.setRows(n, slices.Delete(s.chunks[n].rows, row, row+1))
	if len(s.chunks[n].rows) == 0 {
		s.chunks = slices.Delete(s.chunks, n, n+1)
	}
	return true
}

// setRows sets the rows of a chunk. If the rows use less than a quarter of their memory, it
// copies them.
func (s *sessionRows) setRows(chunk int, rows []SessionRecord) {
	if len(rows) < cap(rows)/4 {
		rows = slices.Clone(rows)
	}
	s.chunks[chunk].rows = rows
}

// from calls f for the rows whose ID is after the given one, in order, until f returns
// false. If after is "", it calls f for all rows.
func (s *sessionRows) from(after string, f func(*SessionRecord) bool) {
	if s.isEmpty() {
		return
	}
	chunk, row, found := s.place(after)
	if found && after != "" {
		row++
	}
	for ; chunk < len(s.chunks); chunk, row = chunk+1, 0 {
		for i := row; i < len(s.chunks[chunk].rows); i++ {
			if !f(&s.chunks[chunk].rows[i]) {
				return
			}
		}
	}
}

// countLive counts the rows that have not ended and that expire after now. It stops at
// limit.
func (s *sessionRows) countLive(now time.Time, limit int) (n int) {
	s.from("", func(r *SessionRecord) bool {
		if r.Generation != endedGeneration && now.Before(r.ExpiresAt) {
			n++
		}
		return n < limit
	})
	return n
}

// expire removes rows that have expired, and returns how many. next is when the next rows
// expire, or zero if no rows are left. If next is now, a further call removes more.
func (s *sessionRows) expire(now time.Time) (removed int, next time.Time) {
	looked := 0
	for n := range s.chunks {
		c := &s.chunks[n]
		if !now.Before(c.earliest) {
			if looked++; looked > maxExpireChunks {
				next = now
				break
			}
			removed += s.expireChunk(n, now)
		}
		if len(c.rows) > 0 && (next.IsZero() || c.earliest.Before(next)) {
			next = c.earliest
		}
	}
	s.chunks = slices.DeleteFunc(s.chunks, func(c rowChunk) bool { return len(c.rows) == 0 })
	return removed, next
}

// expireChunk removes the expired rows of a chunk, which may be empty afterwards.
func (s *sessionRows) expireChunk(n int, now time.Time) (removed int) {
	c := &s.chunks[n]
	was := len(c.rows)
	c.earliest = time.Time{}
	s.setRows(n, slices.DeleteFunc(c.rows, func(r SessionRecord) bool {
		if !now.Before(r.ExpiresAt) {
			return true
		}
		if c.earliest.IsZero() || r.ExpiresAt.Before(c.earliest) {
			c.earliest = r.ExpiresAt
		}
		return false
	}))
	return was - len(c.rows)
}
