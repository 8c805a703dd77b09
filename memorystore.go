package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"io"
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
