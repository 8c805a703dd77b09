package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

type (
	record   = jwtauth.SessionRecord
	key      = jwtauth.SessionKey
	rotation = jwtauth.Rotation
)

func keyIs(issuer, subject, id string) key { return key{Issuer: issuer, Subject: subject, ID: id} }

// bent is a MemoryStore some of whose methods are others.
type bent struct {
	memory *jwtauth.MemoryStore

	create    func(ctx context.Context, r record, limit int) error
	advance   func(ctx context.Context, k key, r rotation) (record, bool, error)
	remove    func(ctx context.Context, k key) error
	list      func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error)
	revoke    func(ctx context.Context, id string, until time.Time) error
	isRevoked func(ctx context.Context, ids ...string) (bool, error)
}

func newBent() *bent {
	m := newMemory()
	return &bent{m, m.Create, m.Advance, m.Delete, m.List, m.Revoke, m.IsRevoked}
}

func (b *bent) Create(ctx context.Context, r record, limit int) error { return b.create(ctx, r, limit) }

func (b *bent) Advance(ctx context.Context, k key, r rotation) (record, bool, error) {
	return b.advance(ctx, k, r)
}

func (b *bent) Delete(ctx context.Context, k key) error { return b.remove(ctx, k) }

func (b *bent) List(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
	return b.list(ctx, issuer, subject, after, limit)
}

func (b *bent) Revoke(ctx context.Context, id string, until time.Time) error {
	return b.revoke(ctx, id, until)
}

func (b *bent) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	return b.isRevoked(ctx, ids...)
}

// find returns the row of a key.
func (b *bent) find(k key) (record, bool) {
	rows, _ := b.memory.List(context.Background(), k.Issuer, k.Subject, "", 1000)
	for _, row := range rows {
		if row.Key == k {
			return row, true
		}
	}
	return record{}, false
}

// rows changes every row on its way out.
func (b *bent) rows(change func(*record)) {
	advance, list := b.advance, b.list
	b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
		row, advanced, err := advance(ctx, k, r)
		change(&row)
		return row, advanced, err
	}
	b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
		rows, err := list(ctx, issuer, subject, after, limit)
		for i := range rows {
			change(&rows[i])
		}
		return rows, err
	}
}

// keys takes different keys for one, as the function does, and says what was
// asked for.
func (b *bent) keys(change func(key) key) {
	m := b.memory
	b.create = func(ctx context.Context, r record, limit int) error {
		r.Key = change(r.Key)
		return m.Create(ctx, r, limit)
	}
	b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
		row, advanced, err := m.Advance(ctx, change(k), r)
		row.Key = k
		return row, advanced, err
	}
	b.remove = func(ctx context.Context, k key) error { return m.Delete(ctx, change(k)) }
	b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
		k := change(key{Issuer: issuer, Subject: subject})
		rows, err := m.List(ctx, k.Issuer, k.Subject, after, limit)
		for i := range rows {
			rows[i].Key.Issuer, rows[i].Key.Subject = issuer, subject
		}
		return rows, err
	}
}

// texts is keys for each part.
func (b *bent) texts(change func(string) string) {
	b.keys(func(k key) key { return keyIs(change(k.Issuer), change(k.Subject), change(k.ID)) })
}

// subjects remembers whose rows were created.
func (b *bent) subjects() *sync.Map {
	var all sync.Map
	create := b.create
	b.create = func(ctx context.Context, r record, limit int) error {
		all.Store(r.Key.Subject, true)
		return create(ctx, r, limit)
	}
	return &all
}

// ends keeps revocations in a map of its own, and lets put decide what an entry
// is.
func (b *bent) ends(put func(old, until time.Time) time.Time) {
	var mu sync.Mutex
	ends := make(map[string]time.Time)
	b.revoke = func(ctx context.Context, id string, until time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		ends[id] = put(ends[id], until)
		return ctx.Err()
	}
	b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			if time.Now().Before(ends[id]) {
				return true, ctx.Err()
			}
		}
		return false, ctx.Err()
	}
}

const (
	steps     = "Advance changes a row if its Generation is at most From, and reports whether it did"
	oneAt     = "If callers race with one From and one At, exactly one advances, and all get the new row"
	ended     = "A call whose context has ended returns an error at once, and never ErrNoSession"
	expiry    = "Advance at or after ExpiresAt is ErrNoSession and changes nothing"
	createdBy = "Create of an existing ID is ErrSessionExists and changes nothing"
	data      = "Data of up to 8 KiB comes back byte for byte"
	times     = "Times come back in UTC and exact to the microsecond"
	literal   = "Keys that look alike are different sessions, and are stored literally"
	among     = "IsRevoked finds an id among any number of ids"
	veryEnd   = "A revocation lasts to its end, and another Revoke can lengthen but not shorten it"
	owned     = "Delete of another subject's or issuer's row with the same ID removes nothing"
	allRows   = "List returns all rows of one subject of one issuer and no other"
)

// broken is a store that breaks its contract in one way.
type broken struct {
	name string
	rule string // the rule that finds it
	bend func(b *bent)
}

var brokenStores = []broken{
	{"two callers are told that they have advanced, as their rotations are equal", oneAt, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			return row, advanced || err == nil && row.Generation == r.From+1 && row.ExpiresAt.Equal(r.ExpiresAt), err
		}
	}},
	{"who loses a race gets the row as it was before", oneAt, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			before, _ := b.find(k)
			runtime.Gosched()
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if err == nil && !advanced {
				row = before
			}
			return row, advanced, err
		}
	}},
	{"Advance reads in one step and writes in another", oneAt, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, ok := b.find(k)
			if !ok || !r.At.Before(row.ExpiresAt) {
				return record{}, false, jwtauth.ErrNoSession
			}
			if row.Generation > r.From {
				return row, false, ctx.Err()
			}
			runtime.Gosched()
			row, _ = row.Step(r, time.Now())
			_ = b.memory.Delete(ctx, k)
			_ = b.memory.Create(ctx, row, 0)
			return row, true, ctx.Err()
		}
	}},
	{"Advance compares with < where <= is right", steps, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.Generation == r.From {
				return row, false, ctx.Err()
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance compares with = where <= is right", steps, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.Generation < r.From {
				return row, false, ctx.Err()
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance does not compare", steps, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok {
				r.From = row.Generation
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"generations are doubles", steps, func(b *bent) {
		b.rows(func(r *record) { r.Generation, r.Previous = int64(float64(r.Generation)), int64(float64(r.Previous)) })
	}},
	{"Previous is lost", steps, func(b *bent) { b.rows(func(r *record) { r.Previous = 0 }) }},
	{"Previous is one less than Generation", steps, func(b *bent) { b.rows(func(r *record) { r.Previous = r.Generation - 1 }) }},
	{"Advance does not look at the expiry", expiry, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			r.At = time.Time{}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance at the very expiry is taken", expiry, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.ExpiresAt.Equal(r.At) {
				r.At = r.At.Add(-time.Microsecond)
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance deletes a row that it finds expired", expiry, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if errors.Is(err, jwtauth.ErrNoSession) {
				_ = b.memory.Delete(ctx, k)
			}
			return row, advanced, err
		}
	}},
	{"Advance leaves ExpiresAt as it was", "Advance may shorten the life of a row, and the new ExpiresAt counts", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && r.ExpiresAt.Before(row.ExpiresAt) {
				r.ExpiresAt = row.ExpiresAt
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance goes by the engine's clock where it is ahead", "A row exists for callers whose clock is a minute behind the engine's", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && !time.Now().Before(row.ExpiresAt) {
				return record{}, false, jwtauth.ErrNoSession
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance goes by the engine's clock where it is behind", "A row has expired for a caller whose clock is a minute ahead of the engine's, but not for others", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && time.Now().Before(row.ExpiresAt) {
				r.At = time.Now().UTC().Truncate(time.Microsecond)
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"List leaves out what has ended by the engine's clock", "List has a row for as long as Advance can find it", func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) (live []record, err error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			for _, row := range rows {
				if time.Now().Before(row.ExpiresAt) {
					live = append(live, row)
				}
			}
			return live, err
		}
	}},
	{"Advance makes a row where there is none", "Advance of a missing row is ErrNoSession and makes no row", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if _, there := b.find(k); errors.Is(err, jwtauth.ErrNoSession) && !there {
				row, _ := record{Key: k}.Step(r, time.Now())
				_ = b.memory.Create(ctx, row, 0)
			}
			return row, advanced, err
		}
	}},
	{"Advance of no row is an error of the driver", "Advance of a missing row is ErrNoSession and makes no row", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if errors.Is(err, jwtauth.ErrNoSession) {
				err = errors.New("no rows")
			}
			return row, advanced, err
		}
	}},
	{"Advance of a subject's row advances all of them", "Advance of one row leaves the others as they are", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			rows, _ := b.memory.List(ctx, k.Issuer, k.Subject, "", 1000)
			for _, row := range rows {
				if row.Key != k {
					_, _, _ = b.memory.Advance(ctx, row.Key, r)
				}
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"a refused Create is no error", createdBy, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			_ = b.memory.Create(ctx, r, limit)
			return ctx.Err()
		}
	}},
	{"Create overwrites", createdBy, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			_ = b.memory.Delete(ctx, r.Key)
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Create overwrites and reports an error", createdBy, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			err := b.memory.Create(ctx, r, limit)
			if err != nil {
				_ = b.memory.Delete(ctx, r.Key)
				_ = b.memory.Create(ctx, r, limit)
			}
			return err
		}
	}},
	{"Create looks and then writes", "If callers race to Create one ID, exactly one succeeds", func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			if _, ok := b.find(r.Key); ok {
				return jwtauth.ErrSessionExists
			}
			runtime.Gosched()
			_ = b.memory.Delete(ctx, r.Key)
			_ = b.memory.Create(ctx, r, limit)
			return ctx.Err()
		}
	}},
	{"Create begins at the first generation", "Create keeps a record as it is", func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.Generation, r.Previous = 1, 0
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"an ID is never free again", "Create accepts an ID that was deleted", func(b *bent) {
		var used sync.Map
		b.create = func(ctx context.Context, r record, limit int) error {
			if _, ok := used.Swap(r.Key, true); ok {
				return errors.New("it was there")
			}
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Data is lost", data, func(b *bent) { b.rows(func(r *record) { r.Data = nil }) }},
	{"Data is written anew", data, func(b *bent) {
		b.rows(func(r *record) {
			var text bytes.Buffer
			if json.Compact(&text, r.Data) == nil {
				r.Data = text.Bytes()
			}
		})
	}},
	{"Data is cut", data, func(b *bent) { b.rows(func(r *record) { r.Data = r.Data[:min(len(r.Data), 8<<10-1)] }) }},
	{"Data is shared", "Data is not shared with the caller of Create, Advance or List", func(b *bent) {
		var kept sync.Map
		create := b.create
		b.create = func(ctx context.Context, r record, limit int) error {
			kept.LoadOrStore(r.Key, r.Data)
			return create(ctx, r, limit)
		}
		b.rows(func(r *record) {
			if own, ok := kept.Load(r.Key); ok {
				r.Data = own.([]byte)
			}
		})
	}},
	{"times are cut to milliseconds", times, func(b *bent) {
		b.rows(func(r *record) {
			r.RotatedAt, r.ExpiresAt = r.RotatedAt.Truncate(time.Millisecond), r.ExpiresAt.Truncate(time.Millisecond)
		})
	}},
	{"times are doubles of seconds", times, func(b *bent) {
		b.rows(func(r *record) {
			r.ExpiresAt = time.UnixMicro(int64(float64(r.ExpiresAt.UnixMicro()) / 1e6 * 1e6)).UTC()
		})
	}},
	{"times are of another zone", times, func(b *bent) {
		b.rows(func(r *record) { r.RotatedAt = r.RotatedAt.In(time.FixedZone("CET", 3600)) })
	}},
	{"Delete of no row is an error", "Delete removes one row, and is no error if there is none", func(b *bent) {
		b.remove = func(ctx context.Context, k key) error {
			if _, ok := b.find(k); !ok {
				return jwtauth.ErrNoSession
			}
			return b.memory.Delete(ctx, k)
		}
	}},
	{"Delete removes all rows of the subject", "Delete removes one row, and is no error if there is none", func(b *bent) {
		b.remove = func(ctx context.Context, k key) error {
			rows, _ := b.memory.List(ctx, k.Issuer, k.Subject, "", 1000)
			for _, row := range rows {
				_ = b.memory.Delete(ctx, row.Key)
			}
			return ctx.Err()
		}
	}},
	{"Delete goes by the ID alone", owned, func(b *bent) {
		subjects := b.subjects()
		b.remove = func(ctx context.Context, k key) error {
			for subject := range subjects.Range {
				_ = b.memory.Delete(ctx, keyIs(k.Issuer, subject.(string), k.ID))
			}
			return ctx.Err()
		}
	}},
	{"List has the rows of other subjects", allRows, func(b *bent) {
		subjects := b.subjects()
		b.list = func(ctx context.Context, issuer, _, after string, limit int) (all []record, err error) {
			for subject := range subjects.Range {
				rows, _ := b.memory.List(ctx, issuer, subject.(string), after, limit)
				all = append(all, rows...)
			}
			return all, ctx.Err()
		}
	}},
	{"List does not look at the issuer", allRows, func(b *bent) {
		b.list = func(ctx context.Context, _, subject, after string, limit int) (all []record, err error) {
			for _, issuer := range []string{"https://issuer.test", "https://other.test"} {
				rows, _ := b.memory.List(ctx, issuer, subject, after, limit)
				all = append(all, rows...)
			}
			return all, ctx.Err()
		}
	}},
	{"List has one page", allRows, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			return rows[:min(len(rows), 256)], err
		}
	}},
	{"List has a row twice", allRows, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			return append(rows, rows[:min(len(rows), 1)]...), err
		}
	}},
	{"List has what was there a moment ago", "List is complete while others write", func(b *bent) {
		var before sync.Map
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			if last, ok := before.Swap([4]any{issuer, subject, after, limit}, rows); ok && err == nil {
				rows = last.([]record)
			}
			return rows, err
		}
	}},
	{"a generation is a row", "However often a row is advanced, it stays one row", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if advanced {
				old := row
				old.Key.ID += " before"
				_ = b.memory.Create(ctx, old, 0)
			}
			return row, advanced, err
		}
	}},
	{"the parts of a key are joined with a colon", literal, func(b *bent) {
		b.keys(func(k key) key { return keyIs("", k.Issuer+":"+k.Subject, k.ID) })
	}},
	{"the parts of a key are joined with a NUL", literal, func(b *bent) {
		b.keys(func(k key) key { return keyIs("", k.Issuer+"\x00"+k.Subject, k.ID) })
	}},
	{"the parts of a key are joined with nothing", literal, func(b *bent) {
		b.keys(func(k key) key { return keyIs(k.Issuer, "", k.Subject+k.ID) })
	}},
	{"keys are folded to lower case", literal, func(b *bent) { b.texts(strings.ToLower) }},
	{"keys lose the spaces at their end", literal, func(b *bent) { b.texts(func(s string) string { return strings.TrimRight(s, " ") }) }},
	{"keys end at a NUL", literal, func(b *bent) {
		b.texts(func(s string) string {
			s, _, _ = strings.Cut(s, "\x00")
			return s
		})
	}},
	{"keys are cut to 4 KiB", literal, func(b *bent) { b.texts(func(s string) string { return s[:min(len(s), 4<<10)] }) }},
	{"keys are composed", literal, func(b *bent) {
		b.texts(func(s string) string { return strings.ReplaceAll(s, "a\u0301", "á") })
	}},
	{"backslashes are taken for escapes", literal, func(b *bent) {
		b.texts(func(s string) string { return strings.ReplaceAll(s, `\\`, `\`) })
	}},
	{"keys are made UTF-8", "A key that is not UTF-8 is not stored and not mistaken for another key", func(b *bent) {
		b.texts(func(s string) string { return strings.ToValidUTF8(s, "\ufffd") })
	}},
	{"Create does not look at its context", ended, func(b *bent) {
		b.create = func(_ context.Context, r record, limit int) error {
			return b.memory.Create(context.Background(), r, limit)
		}
	}},
	{"Advance does not look at its context", ended, func(b *bent) {
		b.advance = func(_ context.Context, k key, r rotation) (record, bool, error) {
			return b.memory.Advance(context.Background(), k, r)
		}
	}},
	{"Advance takes a cancelled context for a lost session", ended, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if err != nil {
				err = jwtauth.ErrNoSession
			}
			return row, advanced, err
		}
	}},
	{"Delete does not look at its context", ended, func(b *bent) {
		b.remove = func(_ context.Context, k key) error { return b.memory.Delete(context.Background(), k) }
	}},
	{"List does not look at its context", ended, func(b *bent) {
		b.list = func(_ context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(context.Background(), issuer, subject, after, limit)
		}
	}},
	{"Revoke does not look at its context", ended, func(b *bent) {
		b.revoke = func(_ context.Context, id string, until time.Time) error {
			return b.memory.Revoke(context.Background(), id, until)
		}
	}},
	{"IsRevoked does not look at its context", ended, func(b *bent) {
		b.isRevoked = func(_ context.Context, ids ...string) (bool, error) {
			return b.memory.IsRevoked(context.Background(), ids...)
		}
	}},
	{"a call that is cut short keeps its connection", "After cancelled calls, the store works and its rows are whole", func(b *bent) {
		var connections atomic.Int64
		connections.Store(10)
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			if connections.Load() <= 0 {
				return false, errors.New("too many connections")
			}
			revoked, err := b.memory.IsRevoked(ctx, ids...)
			if err != nil {
				connections.Add(-1)
			}
			return revoked, err
		}
	}},
	{"Revoke shortens", veryEnd, func(b *bent) { b.ends(func(_, until time.Time) time.Time { return until }) }},
	{"Revoke until a time that has passed removes the entry", "Revoke until a time that has passed is no error and shortens nothing", func(b *bent) {
		b.ends(func(old, until time.Time) time.Time {
			if until.Before(old) && time.Now().Before(until) {
				return old
			}
			return until
		})
	}},
	{"Revoke until a time that has passed is an error", "Revoke until a time that has passed is no error and shortens nothing", func(b *bent) {
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			if until.Before(time.Now()) {
				return errors.New("invalid expire time")
			}
			return b.memory.Revoke(ctx, id, until)
		}
	}},
	{"Revoke does not lengthen", veryEnd, func(b *bent) {
		b.ends(func(old, until time.Time) time.Time {
			if time.Now().Before(old) {
				return old
			}
			return until
		})
	}},
	{"ends are cut to seconds", veryEnd, func(b *bent) {
		b.ends(func(old, until time.Time) time.Time {
			if until = until.Truncate(time.Second); until.Before(old) {
				return old
			}
			return until
		})
	}},
	{"ends have 32 bits of milliseconds", "A revocation may last for years", func(b *bent) {
		b.ends(func(old, until time.Time) time.Time {
			if until = time.Now().Add(time.Duration(int32(time.Until(until).Milliseconds())) * time.Millisecond); until.Before(old) {
				return old
			}
			return until
		})
	}},
	{"Revoke looks and then writes", "If callers race to revoke one id, the latest end stays", func(b *bent) {
		var ends sync.Map
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			old, _ := ends.Load(id)
			runtime.Gosched()
			if old == nil || old.(time.Time).Before(until) {
				ends.Store(id, until)
			}
			return ctx.Err()
		}
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			for _, id := range ids {
				if end, ok := ends.Load(id); ok && time.Now().Before(end.(time.Time)) {
					return true, ctx.Err()
				}
			}
			return false, ctx.Err()
		}
	}},
	{"a revocation is written when the next one comes", "After Revoke has returned, all callers see the revocation, while others revoke and ask", func(b *bent) {
		queue := make(chan func(), 100)
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			select {
			case write := <-queue:
				write()
			default:
			}
			queue <- func() { _ = b.memory.Revoke(context.Background(), id, until) }
			return ctx.Err()
		}
	}},
	{"IsRevoked looks at the first id", among, func(b *bent) {
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			return b.memory.IsRevoked(ctx, ids[:min(len(ids), 1)]...)
		}
	}},
	{"IsRevoked wants all of the ids", among, func(b *bent) {
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			for _, id := range ids {
				if revoked, err := b.memory.IsRevoked(ctx, id); err != nil || !revoked {
					return false, err
				}
			}
			return true, ctx.Err()
		}
	}},
	{"IsRevoked of no ids is an error", among, func(b *bent) {
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			if len(ids) == 0 {
				return false, errors.New("wrong number of arguments")
			}
			return b.memory.IsRevoked(ctx, ids...)
		}
	}},
	{"entries make room for others", "Every one of many ids is revoked", func(b *bent) {
		var n atomic.Int64
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			if n.Add(1) > 400 {
				return ctx.Err()
			}
			return b.memory.Revoke(ctx, id, until)
		}
	}},
	{"ids are folded to lower case", "Ids that look alike are different, and are stored literally", func(b *bent) {
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			return b.memory.Revoke(ctx, strings.ToLower(id), until)
		}
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			var lower []string
			for _, id := range ids {
				lower = append(lower, strings.ToLower(id))
			}
			return b.memory.IsRevoked(ctx, lower...)
		}
	}},
	{"IsRevoked keeps the slice, for the Revoke that may come", "IsRevoked keeps none of the slice that it is given", func(b *bent) {
		var asked, revoked []string
		b.isRevoked = func(ctx context.Context, ids ...string) (bool, error) {
			asked = ids
			for _, id := range ids {
				if slices.Contains(revoked, id) {
					return true, ctx.Err()
				}
			}
			return false, ctx.Err()
		}
		b.revoke = func(ctx context.Context, id string, _ time.Time) error {
			if i := slices.Index(asked, id); i >= 0 {
				revoked = asked[i : i+1]
			}
			return ctx.Err()
		}
	}},
	{"a session whose id is revoked is gone", "Sessions and revocations do not affect each other", func(b *bent) {
		b.revoke = func(ctx context.Context, id string, until time.Time) error {
			_ = b.memory.Delete(ctx, keyIs("https://issuer.test", "alice", id))
			return b.memory.Revoke(ctx, id, until)
		}
	}},
	{"callers get each other's rows", "Sessions that are advanced at the same time do not disturb each other", func(b *bent) {
		var last atomic.Pointer[record]
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if err == nil {
				own := row
				last.Store(&own)
				runtime.Gosched()
				row = *last.Load()
			}
			return row, advanced, err
		}
	}},
	{"a row that is behind moves by two", "If callers race from successive generations, at most one advances from each", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.Generation < r.From {
				_, _, _ = b.memory.Advance(ctx, k, r)
				row, _, err := b.memory.Advance(ctx, k, rotation{From: r.From + 1, Parent: r.From + 1, At: r.At, ExpiresAt: r.ExpiresAt})
				return row, true, err
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"Advance writes a row that was deleted meanwhile", "A row that is deleted while others advance it does not come back", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			before, there := b.find(k)
			runtime.Gosched()
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if there && errors.Is(err, jwtauth.ErrNoSession) && r.At.Before(before.ExpiresAt) && before.Generation <= r.From {
				row, advanced = before.Step(r, time.Now())
				_ = b.memory.Create(ctx, row, 0)
				return row, advanced, nil
			}
			return row, advanced, err
		}
	}},
	{"of callers with times of their own the last one's stays", "If callers race with one From and different At, exactly one advances, and all get its row", func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if err == nil && !advanced && row.Generation == r.From+1 {
				row.ExpiresAt = r.ExpiresAt
			}
			return row, advanced, err
		}
	}},
}
