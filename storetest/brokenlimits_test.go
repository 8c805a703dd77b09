package storetest_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

const (
	limited   = "Create returns ErrSessionLimit if the subject has as many live rows as the limit, and writes nothing"
	room      = "After Delete there is room for another session"
	liveUntil = "Rows count against the limit until their ExpiresAt, by the clock of the caller"
	endedRows = "Sessions that have ended do not count against the limit"
	owners    = "Rows of other subjects and issuers do not count against the limit"
	largest   = "The limit may be 1000"
	limitRace = "If callers race to Create, exactly as many succeed as the limit allows"
	limitGoes = "If callers race to Create and Delete, there are never more rows than the limit"
	eachLimit = "If callers of several subjects race to Create, each subject gets its limit"
)

// limits counts the rows for the limit of Create in its own way.
func (b *bent) limits(count func(r record, rows []record) int) {
	var mu sync.Mutex
	b.create = func(ctx context.Context, r record, limit int) error {
		mu.Lock()
		defer mu.Unlock()
		rows, _ := b.memory.List(ctx, r.Key.Issuer, r.Key.Subject, "", 1000)
		if limit > 0 && count(r, rows) >= limit {
			return jwtauth.ErrSessionLimit
		}
		return b.memory.Create(ctx, r, 0)
	}
}

// countIf counts the rows for which f is true.
func countIf(rows []record, f func(record) bool) (n int) {
	for _, row := range rows {
		if f(row) {
			n++
		}
	}
	return n
}

func hasEnded(r record) bool { return r.Generation == math.MaxInt64 }

var brokenLimits = []broken{
	{"Create has no limit", limited, func(b *bent) { b.limits(func(record, []record) int { return 0 }) }},
	{"one more than the limit is created", limited, func(b *bent) {
		b.limits(func(_ record, rows []record) int { return len(rows) - 1 })
	}},
	{"one less than the limit is created", limited, func(b *bent) {
		b.limits(func(_ record, rows []record) int { return len(rows) + 1 })
	}},
	{"Create without a limit has the limit of the last Create", limited, func(b *bent) {
		var last int
		b.create = func(ctx context.Context, r record, limit int) error {
			if limit == 0 {
				limit = last
			}
			last = limit
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"Create writes the row before it is refused", limited, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			err := b.memory.Create(ctx, r, limit)
			if errors.Is(err, jwtauth.ErrSessionLimit) {
				_ = b.memory.Create(ctx, r, 0)
			}
			return err
		}
	}},
	{"Create makes room by deleting another row", limited, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			err := b.memory.Create(ctx, r, limit)
			if errors.Is(err, jwtauth.ErrSessionLimit) {
				rows, _ := b.memory.List(ctx, r.Key.Issuer, r.Key.Subject, "", 1)
				_ = b.memory.Delete(ctx, rows[0].Key)
				err = b.memory.Create(ctx, r, limit)
			}
			return err
		}
	}},
	{"the limit is an error of the driver", limited, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			err := b.memory.Create(ctx, r, limit)
			if errors.Is(err, jwtauth.ErrSessionLimit) {
				err = errors.New("a check constraint is violated")
			}
			return err
		}
	}},
	{"the limit counts all rows that were ever created", room, func(b *bent) {
		var all sync.Map
		b.limits(func(r record, _ []record) (n int) {
			for k := range all.Range {
				if k.(key).Subject == r.Key.Subject {
					n++
				}
			}
			if n < 3 {
				all.Store(r.Key, true)
			}
			return n
		})
	}},
	{"Delete of no row makes room", room, func(b *bent) {
		there := limitByCount(b)
		b.remove = func(ctx context.Context, k key) error {
			there.mu.Lock()
			defer there.mu.Unlock()
			there.rows[k.Subject]--
			return b.memory.Delete(ctx, k)
		}
	}},
	{"the limit counts rows that have expired", liveUntil, func(b *bent) {
		b.limits(func(_ record, rows []record) int {
			return countIf(rows, func(row record) bool { return !hasEnded(row) })
		})
	}},
	{"the limit goes by the engine's clock", liveUntil, func(b *bent) {
		b.limits(func(_ record, rows []record) int {
			return countIf(rows, func(row record) bool { return !hasEnded(row) && time.Now().Before(row.ExpiresAt) })
		})
	}},
	{"the limit counts a row that expires at the time of the Create", liveUntil, func(b *bent) {
		b.limits(func(r record, rows []record) int {
			return countIf(rows, func(row record) bool { return !hasEnded(row) && !row.ExpiresAt.Before(r.RotatedAt) })
		})
	}},
	{"the limit goes by the ExpiresAt that Create has set", liveUntil, func(b *bent) {
		var mu sync.Mutex
		ends := make(map[key]time.Time)
		b.create = func(ctx context.Context, r record, limit int) error {
			mu.Lock()
			defer mu.Unlock()
			rows, _ := b.memory.List(ctx, r.Key.Issuer, r.Key.Subject, "", 1000)
			if limit > 0 && countIf(rows, func(row record) bool { return ends[row.Key].After(r.RotatedAt) }) >= limit {
				return jwtauth.ErrSessionLimit
			}
			ends[r.Key] = r.ExpiresAt
			return b.memory.Create(ctx, r, 0)
		}
	}},
	{"the limit counts sessions that have ended", endedRows, func(b *bent) {
		b.limits(func(r record, rows []record) int {
			return countIf(rows, func(row record) bool { return row.ExpiresAt.After(r.RotatedAt) })
		})
	}},
	{"generations that are nearly the largest are taken for ended", endedRows, func(b *bent) {
		b.limits(func(r record, rows []record) int {
			return countIf(rows, func(row record) bool {
				return float64(row.Generation) != float64(math.MaxInt64) && row.ExpiresAt.After(r.RotatedAt)
			})
		})
	}},
	{"the limit counts the subject's rows of all issuers", owners, func(b *bent) {
		b.limits(func(r record, rows []record) int {
			other, _ := b.memory.List(context.Background(), "https://other.test", r.Key.Subject, "", 1000)
			return len(rows) + len(other)
		})
	}},
	{"the limit counts the rows of all subjects", owners, func(b *bent) {
		var all sync.Map
		b.limits(func(r record, _ []record) (n int) {
			for range all.Range {
				n++
			}
			all.Store(r.Key, true)
			return n
		})
	}},
	{"the limit is at most 255", largest, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			return b.memory.Create(ctx, r, min(limit, 255))
		}
	}},
	{"the limit counts one page of 256 rows", largest, func(b *bent) {
		b.limits(func(_ record, rows []record) int { return min(len(rows), 256) })
	}},
	{"the limit is counted in one step and the row inserted in another", limitRace, func(b *bent) {
		b.create = func(ctx context.Context, r record, limit int) error {
			rows, _ := b.memory.List(ctx, r.Key.Issuer, r.Key.Subject, "", 1000)
			if limit > 0 && len(rows) >= limit {
				return jwtauth.ErrSessionLimit
			}
			runtime.Gosched()
			return b.memory.Create(ctx, r, 0)
		}
	}},
	{"a Create counts those that have begun after it", limitRace, func(b *bent) {
		var mu sync.Mutex
		begun := make(map[string]int)
		count := func(subject string, n int) int {
			mu.Lock()
			defer mu.Unlock()
			begun[subject] += n
			return begun[subject]
		}
		b.create = func(ctx context.Context, r record, limit int) error {
			count(r.Key.Subject, 1)
			for range 50 {
				runtime.Gosched()
			}
			if limit > 0 && count(r.Key.Subject, 0) > limit {
				return jwtauth.ErrSessionLimit
			}
			return b.memory.Create(ctx, r, limit)
		}
	}},
	{"a row that is deleted later makes room at once", limitGoes, func(b *bent) {
		there := limitByCount(b)
		b.remove = func(ctx context.Context, k key) error {
			there.mu.Lock()
			there.rows[k.Subject] -= 2
			there.mu.Unlock()
			return b.memory.Delete(ctx, k)
		}
	}},
	{"Creates of different subjects fail together", eachLimit, func(b *bent) {
		var mu sync.Mutex
		b.create = func(ctx context.Context, r record, limit int) error {
			if !mu.TryLock() {
				return errors.New("could not serialize access")
			}
			defer mu.Unlock()
			for range 10 {
				runtime.Gosched()
			}
			return b.memory.Create(ctx, r, limit)
		}
	}},
}

// rowCount counts the rows of each subject.
type rowCount struct {
	mu   sync.Mutex
	rows map[string]int
}

// limitByCount makes Create obey the limit by a count, which Delete of a wrong store then
// changes wrongly.
func limitByCount(b *bent) *rowCount {
	there := &rowCount{rows: make(map[string]int)}
	b.create = func(ctx context.Context, r record, limit int) error {
		there.mu.Lock()
		defer there.mu.Unlock()
		if limit > 0 && there.rows[r.Key.Subject] >= limit {
			return jwtauth.ErrSessionLimit
		}
		there.rows[r.Key.Subject]++
		return b.memory.Create(ctx, r, 0)
	}
	return there
}
