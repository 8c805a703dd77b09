package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/expiring"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
)

// MemoryStore forgets everything when the process ends: all users must log in again, and
// revoked access tokens are good again until they expire. It is a [SessionStore] and a
// [RevocationStore] for one process.
//
// No entry is removed before its end. If the store is full, a new entry is an error. The
// store rounds the end of a revocation up to a second and keeps 76 bits of the id. With a
// million revocations, a good token is therefore refused with a probability of 2^-56. A
// revoked token is never accepted. No method waits. No goroutine cleans up: each call
// removes some expired entries. At 100 calls a second, an expired revocation is gone within
// a minute, and an expired session within seven.
type MemoryStore struct {
	now           func() time.Time
	readsRealTime bool // now is time.Now
	sessions      expiring.Map[sessionOwner, *sessionRows]
	revocations   *expiring.IDs
}

// MemoryStoreOptions configures a [MemoryStore]. Zero fields mean the defaults.
type MemoryStoreOptions struct {
	// MaxSessions and MaxRevocations are the largest numbers of entries. Default
	// 2,097,152 sessions and 4,194,304 revocations. They are separate, so that a flood of
	// logins cannot keep anybody from logging out.
	MaxSessions, MaxRevocations int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// sessionOwner is a subject of an issuer. All its sessions are in one sessionRows.
type sessionOwner struct{ issuer, subject string }

// NewMemoryStore makes an empty store.
func NewMemoryStore(o MemoryStoreOptions) *MemoryStore {
	if o.MaxSessions <= 0 {
		o.MaxSessions = 1 << 21
	}
	if o.MaxRevocations <= 0 {
		o.MaxRevocations = 1 << 22
	}
	m := &MemoryStore{now: o.Now, readsRealTime: o.Now == nil}
	if m.readsRealTime {
		m.now = time.Now
	}
	m.sessions.Init(o.MaxSessions, (*sessionRows).expire)
	m.revocations = expiring.NewIDs(o.MaxRevocations)
	return m
}

var (
	errNoStore    = errors.New("jwtauth: this MemoryStore was not made by NewMemoryStore")
	errStoreFull  = errors.New("jwtauth: the MemoryStore is full")
	errKeyNotUTF8 = errors.New("jwtauth: the key of a session is not UTF-8")
)

// Format prints the number of entries, for every verb.
func (m *MemoryStore) Format(f fmt.State, _ rune) {
	if m == nil || m.now == nil {
		io.WriteString(f, "MemoryStore()")
		return
	}
	fmt.Fprintf(f, "MemoryStore(%d sessions, %d revocations)", m.sessions.Len(), m.revocations.Len())
}

// keepExpired is how long a session stays after its ExpiresAt; see SessionStore.List.
const keepExpired = bound.Leeway

// checkAndSweep begins a call: it checks the store and ctx, and removes some expired entries.
func (m *MemoryStore) checkAndSweep(ctx context.Context) (now time.Time, err error) {
	if m == nil || m.now == nil {
		return now, errNoStore
	}
	now = m.now()
	m.sessions.Sweep(now.Add(-keepExpired))
	m.revocations.Sweep(now)
	return now, ctx.Err()
}

// Create implements [SessionStore].
func (m *MemoryStore) Create(ctx context.Context, r SessionRecord, limit int) error {
	now, err := m.checkAndSweep(ctx)
	if err != nil {
		return err
	}
	if !utf8.ValidString(r.Key.Issuer) || !utf8.ValidString(r.Key.Subject) || !utf8.ValidString(r.Key.ID) {
		return errKeyNotUTF8
	}
	m.sessions.MakeRoom(now.Add(-keepExpired))
	owner := sessionOwner{r.Key.Issuer, r.Key.Subject}
	shard := m.sessions.Lock(owner)
	defer shard.Unlock()
	rows := shard.Entries[owner]
	if rows.find(r.Key.ID) != nil {
		return ErrSessionExists
	}
	if limit > 0 && rows.countLive(r.RotatedAt, limit) >= limit {
		return ErrSessionLimit
	}
	if !m.sessions.Grow(shard, r.ExpiresAt) {
		return fmt.Errorf("%w of sessions", errStoreFull)
	}
	if rows == nil {
		rows = new(sessionRows)
		shard.Entries[owner] = rows
	}
	rows.insert(copyRow(r))
	return nil
}

// Advance implements [SessionStore].
func (m *MemoryStore) Advance(ctx context.Context, k SessionKey, r Rotation) (row SessionRecord, advanced bool, err error) {
	now, err := m.checkAndSweep(ctx)
	if err != nil {
		return SessionRecord{}, false, err
	}
	owner := sessionOwner{k.Issuer, k.Subject}
	shard := m.sessions.Lock(owner)
	defer shard.Unlock()
	rows := shard.Entries[owner]
	stored := rows.find(k.ID)
	if stored == nil || !r.At.Before(stored.ExpiresAt) {
		return SessionRecord{}, false, ErrNoSession
	}
	row, advanced = stored.Step(r, now)
	row = copyRow(row)
	rows.replace(stored, row)
	return copyRow(row), advanced, nil
}

// Delete implements [SessionStore].
func (m *MemoryStore) Delete(ctx context.Context, k SessionKey) error {
	if _, err := m.checkAndSweep(ctx); err != nil {
		return err
	}
	owner := sessionOwner{k.Issuer, k.Subject}
	shard := m.sessions.Lock(owner)
	defer shard.Unlock()
	rows := shard.Entries[owner]
	if !rows.remove(k.ID) {
		return nil
	}
	if rows.isEmpty() {
		delete(shard.Entries, owner)
	}
	m.sessions.Shrink(1)
	return nil
}

// List implements [SessionStore]. It also returns a session whose end has passed, as long
// as Advance can find the session: a refresh that is under way may still prolong it. The
// rows are in the order of their IDs.
func (m *MemoryStore) List(ctx context.Context, issuer, subject, after string, limit int) ([]SessionRecord, error) {
	if _, err := m.checkAndSweep(ctx); err != nil {
		return nil, err
	}
	owner := sessionOwner{issuer, subject}
	shard := m.sessions.Lock(owner)
	defer shard.Unlock()
	var list []SessionRecord
	shard.Entries[owner].from(after, func(r *SessionRecord) bool {
		if len(list) == limit {
			return false
		}
		row := copyRow(*r)
		row.Age = 0
		list = append(list, row)
		return true
	})
	return list, nil
}

// copyRow returns r with its own Data and Details.
func copyRow(r SessionRecord) SessionRecord {
	r.Data, r.Details = append([]byte(nil), r.Data...), append([]byte(nil), r.Details...)
	return r
}

// Revoke implements [RevocationStore].
func (m *MemoryStore) Revoke(ctx context.Context, id string, until time.Time) error {
	now, err := m.checkAndSweep(ctx)
	if err != nil {
		return err
	}
	m.revocations.MakeRoom(now, 0)
	key := revoked.Parse(id)
	if !m.revocations.Add(&key, until, now) {
		return fmt.Errorf("%w of revocations", errStoreFull)
	}
	return nil
}

// IsRevoked implements [RevocationStore].
func (m *MemoryStore) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	now, err := m.checkAndSweep(ctx)
	if err != nil {
		return false, err
	}
	var buffer [4]revoked.ID
	keys := buffer[:0] // parse all ids first, so that the CPU can overlap the memory accesses of the look-ups
	for _, id := range ids {
		keys = append(keys, revoked.Parse(id))
	}
	for i := range keys {
		if m.revocations.Has(&keys[i], now) {
			return true, nil
		}
	}
	return false, nil
}

// hasAny is IsRevoked for ids in binary form. If now is zero, hasAny reads the clock.
func (m *MemoryStore) hasAny(_ context.Context, ids revoked.IDs, now time.Time) (bool, error) {
	if m == nil || m.now == nil {
		return false, errNoStore
	}
	if now.IsZero() {
		now = m.now()
	}
	m.revocations.Sweep(now)
	for i := range ids.N {
		if m.revocations.Has(&ids.Of[i], now) {
			return true, nil
		}
	}
	return false, nil
}

// MemorySeam is for other packages of this module.
func (m *MemoryStore) MemorySeam() revoked.Memory {
	return revoked.Memory{Store: m, HasAny: m.hasAny, RealTime: m != nil && m.readsRealTime, NeverWaits: true}
}

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
