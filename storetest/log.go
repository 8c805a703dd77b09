package storetest

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// maxCursor is how long a cursor may be, in bytes.
const maxCursor = 256

// entries are ids and their ends, of each the latest.
type entries map[string]time.Time

func (e entries) add(id string, until time.Time) {
	if until.After(e[id]) {
		e[id] = until
	}
}

func (e entries) merge(more entries) {
	for id, until := range more {
		e.add(id, until)
	}
}

var logRules = []rule{
	{"Since with no cursor tells all live entries and nothing else", func(c *trial) {
		c.told(entries{}, first(c.since("")))
		live := c.revokeSome("a", 300)
		c.told(live, first(c.since("")))
		c.told(live, first(c.since("")))
	}},
	{"Since tells ids literally and ends that are not too early", func(c *trial) {
		live := make(entries)
		for i, id := range hostileTexts() {
			until := c.now.Truncate(time.Second).Add(time.Duration(i)*time.Minute + 10*time.Minute + time.Duration(i)*13_579*time.Microsecond)
			c.revoke(id, until)
			live.add(id, until)
		}
		c.told(live, first(c.since("")))
	}},
	{"Since goes on from the cursor, of an empty store too", func(c *trial) {
		_, cursor, _ := c.since("")
		for round := range 10 {
			live := c.revokeSome(fmt.Sprint(round), 5+round)
			told, next, reset := c.since(cursor)
			c.tells(live, told)
			if reset {
				c.Errorf("reset is true for the cursor that was handed out last")
			}
			cursor = next
		}
		_, next, reset := c.since(cursor)
		if reset {
			c.Errorf("reset is true where nothing has happened")
		}
		c.tells(c.revokeSome("last", 1), first(c.since(next)))
	}},
	{"A cursor can be used again, and an old one tells all that came after it", func(c *trial) {
		c.revokeSome("before", 3)
		_, old, _ := c.since("")
		live := make(entries)
		for round := range 5 {
			live.merge(c.revokeSome(fmt.Sprint(round), 40))
			c.since("")
		}
		for range 3 {
			told, _, reset := c.since(old)
			c.tells(live, told)
			if reset {
				c.Errorf("reset is true for a cursor that is a moment old")
			}
		}
	}},
	{"An entry that is lengthened is told again, and its latest end is told", func(c *trial) {
		c.revoke(token("a"), c.now.Add(time.Hour))
		c.revoke(token("b"), c.now.Add(time.Hour))
		_, cursor, _ := c.since("")
		c.revoke(token("a"), c.now.Add(2*time.Hour))
		c.tells(entries{token("a"): c.now.Add(2 * time.Hour)}, first(c.since(cursor)))
		c.revoke(token("a"), c.now.Add(time.Minute))
		c.revoke(token("a"), c.now.Add(-time.Minute))
		c.told(entries{token("a"): c.now.Add(2 * time.Hour), token("b"): c.now.Add(time.Hour)}, first(c.since("")))
		c.tells(entries{token("a"): c.now.Add(2 * time.Hour)}, first(c.since(cursor)))
	}},
	{"A cursor that is not the store's own is a reset and tells everything", func(c *trial) {
		live := c.revokeSome("a", 20)
		for i, garbage := range []string{"garbage", "x", " ", ":", "::", "-", "\x00", "\xff", "'", `{"a":1}`, "🂡", incompressible(maxCursor), incompressible(64 << 10)} {
			told, next, reset := c.since(garbage)
			if !reset {
				c.Errorf("reset is false for the cursor %.40q", garbage)
			}
			c.told(live, told)
			more := c.revokeSome(fmt.Sprint("after ", i), 2)
			told, _, reset = c.since(next)
			c.tells(more, told)
			if reset {
				c.Errorf("reset is true for the cursor that came with a reset")
			}
			live.merge(more)
		}
	}},
	{"Since loses nothing while many revoke", func(c *trial) { c.readWhileOthersRevoke(8, 100, 3) }},
	{"Since with a context that has ended is an error, promptly", func(c *trial) {
		c.revokeSome("a", 3)
		_, cursor, _ := c.since("")
		nothing := func(string, time.Time) {}
		c.endedContexts([]call{
			{"Since", func(ctx context.Context) error { _, _, err := c.log.Since(ctx, "", nothing); return err }},
			{"Since", func(ctx context.Context) error { _, _, err := c.log.Since(ctx, cursor, nothing); return err }},
		})
		c.since(cursor)
	}},
}

// since calls Since for a check, not in a goroutine.
func (c *trial) since(cursor string) (told entries, next string, reset bool) {
	c.Helper()
	told, next, reset, err := c.trySince(cursor)
	if err != nil {
		c.Fatalf("Since of the cursor %.40q: %v", cursor, err)
	}
	return told, next, reset
}

func (c *trial) trySince(cursor string) (told entries, next string, reset bool, err error) {
	var mu sync.Mutex
	var over bool
	told = make(entries)
	next, reset, err = c.log.Since(c.ctx, cursor, func(id string, until time.Time) {
		if !mu.TryLock() {
			c.Errorf("Since calls entry while it has not returned, or after Since has")
			return
		}
		defer mu.Unlock()
		if over {
			c.Errorf("Since calls entry after it has returned")
			return
		}
		runtime.Gosched() // so that calls overlap, where they may
		told.add(id, until)
	})
	mu.Lock()
	defer mu.Unlock()
	over = true
	if len(next) > maxCursor {
		c.Errorf("a cursor has %d bytes, at most %d are expected", len(next), maxCursor)
	}
	return maps.Clone(told), next, reset, err
}

func first(told entries, _ string, _ bool) entries { return told }

// revokeSome revokes n ids that begin with name, for some time each.
func (c *trial) revokeSome(name string, n int) entries {
	c.Helper()
	live := make(entries)
	for i := range n {
		id, until := token(fmt.Sprint(name, " ", i)), c.now.Add(10*time.Minute+time.Duration(i)*1_234_567*time.Microsecond)
		c.revoke(id, until)
		live[id] = until
	}
	return live
}

// tells expects that all of want was told.
func (c *trial) tells(want, told entries) {
	c.Helper()
	for id, until := range want {
		switch got, ok := told[id]; {
		case !ok:
			c.Errorf("Since does not tell %.40q", id)
		case got.Before(until), got.After(until.Add(time.Minute)):
			c.Errorf("Since tells that %.40q ends at %v; it ends at %v", id, got, until)
		}
	}
}

// told expects that all of want was told and nothing else.
func (c *trial) told(want, told entries) {
	c.Helper()
	c.tells(want, told)
	for id := range told {
		if _, ok := want[id]; !ok {
			c.Errorf("Since tells %.40q, which nobody has revoked", id)
		}
	}
}

// readWhileOthersRevoke lets writers revoke ids of their own, and one that they
// share, and readers follow, each with a cursor of its own.
func (c *trial) readWhileOthersRevoke(writers, each, readers int) {
	c.Helper()
	shared := jwtauth.SessionID(issuer, "shared")
	live := make(entries)
	for w := range writers {
		for n := range each {
			live[token(fmt.Sprint(w, " ", n))] = c.now.Add(time.Hour)
		}
	}
	live[shared] = c.now.Add(time.Hour + time.Duration(writers*each-1)*time.Minute)
	var writing atomic.Int64
	writing.Store(int64(writers))
	var ready sync.WaitGroup // the readers have a cursor
	ready.Add(readers)
	together(writers+readers, func(i int) {
		if i < writers {
			defer writing.Add(-1)
			ready.Wait()
			for n := range each {
				err := c.revocations.Revoke(c.ctx, token(fmt.Sprint(i, " ", n)), c.now.Add(time.Hour))
				if err == nil {
					err = c.revocations.Revoke(c.ctx, shared, c.now.Add(time.Hour+time.Duration(n*writers+i)*time.Minute))
				}
				if err != nil {
					c.Errorf("Revoke: %v", err)
				}
				runtime.Gosched() // so that readers come in between, where a store never waits
			}
			return
		}
		union, cursor, _, err := c.trySince("")
		ready.Done()
		for last := false; err == nil && !last; {
			last = writing.Load() == 0
			told, next, reset, failed := c.trySince(cursor)
			if reset {
				c.Errorf("reset is true for the reader's last cursor")
			}
			union.merge(told)
			cursor, err = next, failed
		}
		if err != nil {
			c.Errorf("Since: %v", err)
			return
		}
		c.told(live, union)
	})
}
