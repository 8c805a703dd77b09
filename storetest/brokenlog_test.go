package storetest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// told is an entry of a log.
type told struct {
	id    string
	until time.Time
}

// revocationLog is a MemoryStore that writes down what it is told. A cursor is
// its epoch and how many entries there were.
type revocationLog struct {
	*jwtauth.MemoryStore
	epoch string
	mu    sync.Mutex
	log   []told

	revoke func(ctx context.Context, id string, until time.Time) error
	since  func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error)
}

func newLog() *revocationLog {
	l := &revocationLog{MemoryStore: newMemory(), epoch: rand.Text()}
	l.revoke, l.since = l.write, l.read
	return l
}

func (l *revocationLog) Revoke(ctx context.Context, id string, until time.Time) error {
	return l.revoke(ctx, id, until)
}

func (l *revocationLog) Since(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
	return l.since(ctx, cursor, entry)
}

func (l *revocationLog) write(ctx context.Context, id string, until time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.MemoryStore.Revoke(ctx, id, until); err != nil {
		return err
	}
	l.log = append(l.log, told{id, until})
	return nil
}

func (l *revocationLog) read(ctx context.Context, cursor string, entry func(string, time.Time)) (next string, reset bool, err error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int
	if rest, own := strings.CutPrefix(cursor, l.epoch+":"); own {
		_, err = fmt.Sscan(rest, &n)
		reset = err != nil || n > len(l.log)
	} else {
		reset = cursor != ""
	}
	if reset {
		n = 0
	}
	for _, e := range l.log[n:] {
		if time.Now().Before(e.until) {
			entry(e.id, e.until)
		}
	}
	return l.cursor(len(l.log)), reset, nil
}

func (l *revocationLog) cursor(n int) string { return fmt.Sprint(l.epoch, ":", n) }

const (
	goesOn    = "Since continues from a cursor, even from that of an empty store"
	everybody = "Since without a cursor lists all live entries and nothing else"
	exactly   = "Since lists ids literally, with ends that are not too early"
	notOwn    = "With a cursor of another store, Since lists everything and reports a reset"
	many      = "Since loses nothing while many revoke"
	lengthens = "A lengthened entry is listed again, with its latest end"
)

// entries changes what Since tells.
func (l *revocationLog) entries(change func(id string, until time.Time, entry func(string, time.Time))) {
	l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
		return l.read(ctx, cursor, func(id string, until time.Time) { change(id, until, entry) })
	}
}

var brokenLogs = []struct {
	name string
	rule string
	bend func(l *revocationLog)
}{
	{"an entry has its place in the log before it can be read", many, func(l *revocationLog) {
		l.revoke = func(ctx context.Context, id string, until time.Time) error {
			l.mu.Lock()
			place := len(l.log)
			l.log = append(l.log, told{id: id}) // live only once it is complete
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.log[place].until = until
			return l.MemoryStore.Revoke(ctx, id, until)
		}
	}},
	{"the cursor is read after the entries", many, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			next, reset, err := l.read(ctx, cursor, entry)
			for range 10_000 { // until somebody has written
				runtime.Gosched()
				l.mu.Lock()
				now := l.cursor(len(l.log))
				l.mu.Unlock()
				if now != next {
					return now, reset, err
				}
			}
			return next, reset, err
		}
	}},
	{"the first page is all", everybody, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			n := 0
			return l.read(ctx, cursor, func(id string, until time.Time) {
				if n++; n <= 256 {
					entry(id, until)
				}
			})
		}
	}},
	{"the cursor is one too far", goesOn, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			_, reset, err := l.read(ctx, cursor, entry)
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.cursor(len(l.log) + 1), reset, err
		}
	}},
	{"an entry is told once, to whoever comes first", "A cursor can be used again, and an old one lists all later entries", func(l *revocationLog) {
		var seen sync.Map
		l.entries(func(id string, until time.Time, entry func(string, time.Time)) {
			if _, known := seen.LoadOrStore(id, true); !known {
				entry(id, until)
			}
		})
	}},
	{"an entry that is there is not told again when it is lengthened", lengthens, func(l *revocationLog) {
		l.revoke = func(ctx context.Context, id string, until time.Time) error {
			if there, _ := l.IsRevoked(ctx, id); there {
				return l.MemoryStore.Revoke(ctx, id, until)
			}
			return l.write(ctx, id, until)
		}
	}},
	{"an entry is told as ending when the last Revoke said", lengthens, func(l *revocationLog) {
		l.revoke = func(ctx context.Context, id string, until time.Time) error {
			l.mu.Lock()
			for i := range l.log {
				if l.log[i].id == id {
					l.log[i].until = until
				}
			}
			l.mu.Unlock()
			return l.write(ctx, id, until)
		}
	}},
	{"a cursor that is not known tells nothing", notOwn, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			if cursor != "" && !strings.HasPrefix(cursor, l.epoch) {
				return l.read(ctx, l.cursor(len(l.log)), func(string, time.Time) {})
			}
			return l.read(ctx, cursor, entry)
		}
	}},
	{"a reset is not told", notOwn, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			next, _, err := l.read(ctx, cursor, entry)
			return next, false, err
		}
	}},
	{"every call is a reset", goesOn, func(l *revocationLog) {
		l.since = func(ctx context.Context, _ string, entry func(string, time.Time)) (string, bool, error) {
			next, _, err := l.read(ctx, "", entry)
			return next, true, err
		}
	}},
	{"a cursor that is not known is an error", notOwn, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			next, reset, err := l.read(ctx, cursor, entry)
			if reset {
				err = fmt.Errorf("the cursor %q is not known", cursor)
			}
			return next, reset, err
		}
	}},
	{"ends are cut to seconds", exactly, func(l *revocationLog) {
		l.entries(func(id string, until time.Time, entry func(string, time.Time)) {
			entry(id, until.Truncate(time.Second))
		})
	}},
	{"ends are far away", exactly, func(l *revocationLog) {
		l.entries(func(id string, until time.Time, entry func(string, time.Time)) { entry(id, until.Add(time.Hour)) })
	}},
	{"ids end at a NUL", exactly, func(l *revocationLog) {
		l.entries(func(id string, until time.Time, entry func(string, time.Time)) {
			id, _, _ = strings.Cut(id, "\x00")
			entry(id, until)
		})
	}},
	{"ids are told that nobody has revoked", everybody, func(l *revocationLog) {
		l.entries(func(id string, until time.Time, entry func(string, time.Time)) {
			entry(id, until)
			entry(id+"x", until)
		})
	}},
	{"entry is called after Since has returned", everybody, func(l *revocationLog) {
		var late func()
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			next, reset, err := l.read(ctx, cursor, entry)
			if late != nil {
				late()
			}
			late = func() { entry("late", time.Now()) }
			return next, reset, err
		}
	}},
	{"entries are told by many at the same time", everybody, func(l *revocationLog) {
		l.since = func(ctx context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			var all sync.WaitGroup
			defer all.Wait()
			return l.read(ctx, cursor, func(id string, until time.Time) { all.Go(func() { entry(id, until) }) })
		}
	}},
	{"a cursor grows", goesOn, func(l *revocationLog) { l.epoch = strings.Repeat("x", 300) }},
	{"Since does not look at its context", "Since with a context that has ended returns an error at once", func(l *revocationLog) {
		l.since = func(_ context.Context, cursor string, entry func(string, time.Time)) (string, bool, error) {
			return l.read(context.Background(), cursor, entry)
		}
	}},
}
