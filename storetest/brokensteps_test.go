package storetest_test

import (
	"cmp"
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

const (
	clock      = "RotatedAt of a step and Age come from the clock of the engine, whatever At is"
	grows      = "Age grows until the next step, by the clock of the engine"
	negative   = "Age is negative if RotatedAt is ahead of the clock of the engine"
	parents    = "A step stores the Parent of the Rotation, and its new Generation as ParentStep"
	raised     = "Advance raises Epoch to the largest that it was given, even if the step is not made"
	lower      = "A step with a lower Epoch than the row's is not made and changes nothing"
	marked     = "A row of the largest Generation can never be advanced, and is otherwise a row like any other"
	details    = "Advance replaces Details, keeps them if it is given nil, and empties them if it is given an empty slice"
	anyDetails = "Details of up to 1 KiB come back byte for byte"
	ownDetails = "Details are not shared with the caller of Create, Advance or List"
	keeps      = "Create keeps a record as it is"
	recovery   = "If callers race to recover from a lost answer, exactly one advances, and all get its row"
	epochRace  = "If callers race to raise Epoch, the largest stays"
	epochSteps = "If callers race with steps and epochs, no step is made after a newer Epoch"
	endRace    = "If callers race to end a session and to advance it, exactly one ends it, and nothing follows"
	random     = "Random calls with values at the edges do what SessionRecord.Step does"
)

// steps replaces SessionRecord.Step. now is the clock of the engine.
func (b *bent) steps(step func(row record, r rotation, now time.Time) (record, bool)) {
	var mu sync.Mutex
	list := b.list
	b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
		mu.Lock()
		defer mu.Unlock()
		return list(ctx, issuer, subject, after, limit)
	}
	b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		row, ok := b.find(k)
		if !ok || !r.At.Before(row.ExpiresAt) {
			return record{}, false, cmp.Or(ctx.Err(), error(jwtauth.ErrNoSession))
		}
		row, advanced := step(row, r, time.Now())
		_ = b.memory.Delete(ctx, k)
		_ = b.memory.Create(ctx, row, 0)
		return row, advanced, ctx.Err()
	}
}

// rotations changes every rotation on its way in. row is the row, if there is one.
func (b *bent) rotations(change func(r *rotation, row record)) {
	b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
		row, _ := b.find(k)
		change(&r, row)
		return b.memory.Advance(ctx, k, r)
	}
}

// answers changes the row that Advance returns, unless it returns an error.
func (b *bent) answers(change func(row *record, advanced bool, r rotation)) {
	b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
		row, advanced, err := b.memory.Advance(ctx, k, r)
		if err == nil {
			change(&row, advanced, r)
		}
		return row, advanced, err
	}
}

var brokenSteps = []broken{
	{"RotatedAt and Age are by the caller's clock", clock, func(b *bent) {
		b.steps(func(row record, r rotation, _ time.Time) (record, bool) { return row.Step(r, r.At) })
	}},
	{"RotatedAt is by the caller's clock, Age by the engine's", clock, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			if advanced {
				row.RotatedAt = r.At
				row.Age = now.Sub(r.At).Truncate(time.Microsecond)
			}
			return row, advanced
		})
	}},
	{"Age is by the caller's clock", clock, func(b *bent) {
		b.answers(func(row *record, _ bool, r rotation) { row.Age = r.At.Sub(row.RotatedAt) })
	}},
	{"Age is not counted", clock, func(b *bent) { b.answers(func(row *record, _ bool, _ rotation) { row.Age = 0 }) }},
	{"Age is counted in milliseconds and read as microseconds", clock, func(b *bent) {
		b.answers(func(row *record, _ bool, _ rotation) { row.Age /= 1000 })
	}},
	{"Age has nanoseconds", grows, func(b *bent) {
		b.answers(func(row *record, advanced bool, _ rotation) { row.Age += 1 })
	}},
	{"Age is the age of the row before the step", clock, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			age := now.Sub(row.RotatedAt).Truncate(time.Microsecond)
			row, advanced := row.Step(r, now)
			row.Age = age
			return row, advanced
		})
	}},
	{"Age stands still", grows, func(b *bent) {
		var ages sync.Map
		b.answers(func(row *record, advanced bool, _ rotation) {
			if !advanced {
				age, _ := ages.LoadOrStore(row.Key, row.Age)
				row.Age = age.(time.Duration)
			}
		})
	}},
	{"Age is never negative", negative, func(b *bent) {
		b.answers(func(row *record, _ bool, _ rotation) { row.Age = max(row.Age, 0) })
	}},
	{"a call that does not make the step renews RotatedAt", grows, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			row.RotatedAt, row.Age = now.UTC().Truncate(time.Microsecond), 0
			return row, advanced
		})
	}},
	{"RotatedAt is the time at which the transaction has begun, long before", grows, func(b *bent) {
		began := time.Now()
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			if now.Sub(began) > 200*time.Millisecond {
				now = now.Add(-200 * time.Millisecond)
			}
			return row.Step(r, now)
		})
	}},
	{"RotatedAt has nanoseconds", clock, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			if advanced {
				row.RotatedAt = row.RotatedAt.Add(1)
			}
			return row, advanced
		})
	}},
	{"Create sets RotatedAt by the engine's clock", keeps, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.RotatedAt = time.Now().UTC().Truncate(time.Microsecond)
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"List has the Age that Create was given", keeps, func(b *bent) {
		var ages sync.Map
		b.create = func(ctx context.Context, r record, limit int) error {
			ages.Store(r.Key, r.Age)
			return b.memory.Create(ctx, r, limit)
		}
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			for i := range rows {
				if age, ok := ages.Load(rows[i].Key); ok {
					rows[i].Age = age.(time.Duration)
				}
			}
			return rows, err
		}
	}},
	{"Create loses Parent", keeps, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.Parent = 0
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Create loses ParentStep", keeps, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.ParentStep = 0
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Create loses Epoch", keeps, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.Epoch = 0
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Create loses Details", keeps, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			r.Details = nil
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Parent is lost", parents, func(b *bent) { b.rows(func(r *record) { r.Parent = 0 }) }},
	{"Parent is From", parents, func(b *bent) { b.rotations(func(r *rotation, _ record) { r.Parent = r.From }) }},
	{"Parent is what was replaced", parents, func(b *bent) { b.rows(func(r *record) { r.Parent = r.Previous }) }},
	{"a recovery keeps the Parent as it was", parents, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			if r.Parent != r.From && row.Parent != 0 {
				r.Parent = row.Parent
			}
			return row.Step(r, now)
		})
	}},
	{"a call that does not make the step changes Parent", parents, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			row.Parent = r.Parent
			return row, advanced
		})
	}},
	{"Parent is a double", parents, func(b *bent) { b.rows(func(r *record) { r.Parent = int64(float64(r.Parent)) }) }},
	{"ParentStep is lost", parents, func(b *bent) { b.rows(func(r *record) { r.ParentStep = 0 }) }},
	{"ParentStep stays what the first step made", parents, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			next, advanced := row.Step(r, now)
			if row.ParentStep != 0 {
				next.ParentStep = row.ParentStep
			}
			return next, advanced
		})
	}},
	{"ParentStep is what was replaced", parents, func(b *bent) { b.rows(func(r *record) { r.ParentStep = r.Previous }) }},
	{"ParentStep is Parent+1", parents, func(b *bent) { b.rows(func(r *record) { r.ParentStep = r.Parent + 1 }) }},
	{"Epoch is raised only with a step", raised, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			next, advanced := row.Step(r, now)
			if !advanced {
				next.Epoch = row.Epoch
			}
			return next, advanced
		})
	}},
	{"Epoch is raised only without a step", raised, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			next, advanced := row.Step(r, now)
			if advanced {
				next.Epoch = row.Epoch
			}
			return next, advanced
		})
	}},
	{"Epoch is set to what a call gives", raised, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			row.Epoch = r.Epoch
			return row, advanced
		})
	}},
	{"Epoch is raised behind the answer", raised, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			before, _ := b.find(k)
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if !advanced {
				row.Epoch = before.Epoch
			}
			return row, advanced, err
		}
	}},
	{"Epoch is a double", raised, func(b *bent) { b.rows(func(r *record) { r.Epoch = int64(float64(r.Epoch)) }) }},
	{"Epoch has 32 bits", raised, func(b *bent) { b.rows(func(r *record) { r.Epoch = int64(int32(r.Epoch)) }) }},
	{"epochs are compared as doubles", lower, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			if row.Generation <= r.From && float64(row.Epoch) <= float64(r.Epoch) {
				row.Epoch = min(row.Epoch, r.Epoch)
			}
			return row.Step(r, now)
		})
	}},
	{"a step is made only if its Epoch is the row's", raised, func(b *bent) {
		b.rotations(func(r *rotation, row record) {
			if r.Epoch > row.Epoch {
				r.From = 0
			}
		})
	}},
	{"raising the epoch prolongs the row", raised, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			newer := r.Epoch > row.Epoch
			row, advanced := row.Step(r, now)
			if newer {
				row.ExpiresAt = r.ExpiresAt
			}
			return row, advanced
		})
	}},
	{"a step is made in spite of its lower Epoch", lower, func(b *bent) {
		b.rotations(func(r *rotation, row record) { r.Epoch = max(r.Epoch, row.Epoch) })
	}},
	{"a step with a lower Epoch is refused, but prolongs the row", lower, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			late := r.Epoch < row.Epoch
			row, advanced := row.Step(r, now)
			if late {
				row.ExpiresAt = r.ExpiresAt
			}
			return row, advanced
		})
	}},
	{"a step with a lower Epoch is ErrNoSession", lower, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && r.Epoch < row.Epoch {
				return record{}, false, jwtauth.ErrNoSession
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"a row that has ended can be advanced once more", marked, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			if row.Generation == math.MaxInt64 && r.From == math.MaxInt64-1 {
				row.Generation--
			}
			return row.Step(r, now)
		})
	}},
	{"a row that has ended is not found", marked, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.Generation == math.MaxInt64 {
				return record{}, false, jwtauth.ErrNoSession
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"a row that has ended is not listed", marked, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			return slices.DeleteFunc(rows, func(r record) bool { return r.Generation == math.MaxInt64 }), err
		}
	}},
	{"a row that has ended cannot be deleted", marked, func(b *bent) {
		b.remove = func(ctx context.Context, k key) error {
			if row, ok := b.find(k); ok && row.Generation == math.MaxInt64 {
				return ctx.Err()
			}
			return b.memory.Delete(ctx, k)
		}
	}},
	{"Create replaces a row that has ended", marked, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			if row, ok := b.find(r.Key); ok && row.Generation == math.MaxInt64 {
				_ = b.memory.Delete(ctx, r.Key)
			}
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"the end of a session that never was makes a row", marked, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if errors.Is(err, jwtauth.ErrNoSession) && r.Epoch == math.MaxInt64 {
				row, _ := record{Key: k}.Step(r, time.Now())
				_ = b.memory.Create(ctx, row, 0)
			}
			return row, advanced, err
		}
	}},
	{"Details are lost", details, func(b *bent) { b.rows(func(r *record) { r.Details = nil }) }},
	{"Details stay as they were created", details, func(b *bent) {
		b.rotations(func(r *rotation, _ record) { r.Details = nil })
	}},
	{"nil Details empty the row's", details, func(b *bent) {
		b.rotations(func(r *rotation, _ record) { r.Details = append([]byte{}, r.Details...) })
	}},
	{"empty Details keep the row's", details, func(b *bent) {
		b.rotations(func(r *rotation, _ record) { r.Details = append([]byte(nil), r.Details...) })
	}},
	{"Details are merged with the row's", details, func(b *bent) {
		b.rotations(func(r *rotation, row record) {
			if r.Details != nil && len(r.Details) < len(row.Details) {
				r.Details = append(append([]byte{}, r.Details...), row.Details[len(r.Details):]...)
			}
		})
	}},
	{"Details are replaced although the step is not made", details, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			if r.Details != nil {
				row.Details = r.Details
			}
			return row, advanced
		})
	}},
	{"Details are cut to 1000 bytes", anyDetails, func(b *bent) {
		b.rows(func(r *record) { r.Details = r.Details[:min(len(r.Details), 1000)] })
	}},
	{"Details are made UTF-8", anyDetails, func(b *bent) {
		b.rows(func(r *record) { r.Details = []byte(strings.ToValidUTF8(string(r.Details), "\ufffd")) })
	}},
	{"Details end at a NUL", anyDetails, func(b *bent) {
		b.rows(func(r *record) {
			text, _, _ := strings.Cut(string(r.Details), "\x00")
			r.Details = []byte(text)
		})
	}},
	{"Details are shared with the caller of Create and Advance", ownDetails, func(b *bent) {
		var kept sync.Map
		b.create = func(ctx context.Context, r record, limit int) error {
			kept.LoadOrStore(r.Key, r.Details)
			return b.memory.Create(ctx, r, limit)
		}
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if advanced && r.Details != nil {
				kept.Store(k, r.Details)
			}
			return row, advanced, err
		}
		b.rows(func(r *record) {
			if own, ok := kept.Load(r.Key); ok {
				r.Details = own.([]byte)
			}
		})
	}},
	{"Details are shared with the caller of List", ownDetails, func(b *bent) {
		var kept sync.Map
		b.rows(func(r *record) {
			own, _ := kept.LoadOrStore(r.Key, r.Details)
			if old := own.([]byte); len(old) == len(r.Details) {
				r.Details = old
			}
		})
	}},
	{"Data is replaced by Details", details, func(b *bent) {
		b.steps(func(row record, r rotation, now time.Time) (record, bool) {
			row, advanced := row.Step(r, now)
			if advanced && r.Details != nil {
				row.Data = r.Details
			}
			return row, advanced
		})
	}},
	{"a recovery has no condition", recovery, func(b *bent) {
		b.rotations(func(r *rotation, row record) {
			if r.Parent != r.From {
				r.From = max(r.From, row.Generation)
			}
		})
	}},
	{"all that recover are told that they have advanced", recovery, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			return row, advanced || err == nil && r.Parent != r.From && row.Parent == r.Parent, err
		}
	}},
	{"who loses the race for a recovery is told ErrNoSession", recovery, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if err == nil && !advanced && r.Parent != r.From {
				return record{}, false, jwtauth.ErrNoSession
			}
			return row, advanced, err
		}
	}},
	{"the epoch is read in one step and raised in another", epochRace, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, ok := b.find(k)
			if !ok || row.Generation <= r.From {
				return b.memory.Advance(ctx, k, r)
			}
			runtime.Gosched()
			row, advanced := row.Step(r, time.Now())
			_ = b.memory.Delete(ctx, k)
			_ = b.memory.Create(ctx, row, 0)
			return row, advanced, nil
		}
	}},
	{"the epoch is compared in one step and the row advanced in another", epochSteps, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			if row, ok := b.find(k); ok && row.Epoch <= r.Epoch && row.Generation <= r.From {
				for range 20 {
					runtime.Gosched()
				}
				if now, ok := b.find(k); ok {
					r.Epoch = max(r.Epoch, now.Epoch)
				}
			}
			return b.memory.Advance(ctx, k, r)
		}
	}},
	{"whoever ends a session is told that it has ended it", endRace, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			row, advanced, err := b.memory.Advance(ctx, k, r)
			return row, advanced || err == nil && r.From == math.MaxInt64-1, err
		}
	}},
	{"a session that is ended is advanced at the same time", endRace, func(b *bent) {
		b.advance = func(ctx context.Context, k key, r rotation) (record, bool, error) {
			before, ok := b.find(k)
			runtime.Gosched()
			row, advanced, err := b.memory.Advance(ctx, k, r)
			if ok && err == nil && !advanced && before.Generation <= r.From && row.Generation == math.MaxInt64 {
				row, advanced = before.Step(r, time.Now())
				_ = b.memory.Delete(ctx, k)
				_ = b.memory.Create(ctx, row, 0)
			}
			return row, advanced, err
		}
	}},
	{"generations over 2^62 are one", random, func(b *bent) {
		b.rows(func(r *record) {
			if r.Generation > 1<<62 && r.Generation < math.MaxInt64-1 {
				r.Generation = 1 << 62
			}
		})
	}},
	{"a row of the next to last Generation cannot be ended", random, func(b *bent) {
		b.rotations(func(r *rotation, row record) {
			if row.Generation == math.MaxInt64-1 {
				r.From = min(r.From, math.MaxInt64-2)
			}
		})
	}},
}
