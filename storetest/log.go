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

// maxCursor is the maximum length of a cursor, in bytes.
const maxCursor = 256

// entries maps ids to the latest ends of their revocations.
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
	{"Since without a cursor lists all live entries and nothing else", func(c *trial) {
		c.wantListedExactly(entries{}, entriesOf(c.since("")))
		live := c.revokeMany("a", 300)
		c.wantListedExactly(live, entriesOf(c.since("")))
		c.wantListedExactly(live, entriesOf(c.since("")))
	}},
	{"Since lists ids literally, with ends that are not too early", func(c *trial) {
		live := make(entries)
		for i, id := range hostileTexts() {
			until := c.now.Truncate(time.Second).Add(time.Duration(i)*time.Minute + 10*time.Minute + time.Duration(i)*13_579*time.Microsecond)
			c.mustRevoke(id, until)
			live.add(id, until)
		}
		c.wantListedExactly(live, entriesOf(c.since("")))
	}},
	{"Since continues from a cursor, even from that of an empty store", func(c *trial) {
		_, cursor, _ := c.since("")
		for round := range 10 {
			live := c.revokeMany(fmt.Sprint(round), 5+round)
			listed, next, reset := c.since(cursor)
			c.wantListed(live, listed)
			if reset {
				c.Errorf("reset is true for the cursor of the last Since")
			}
			cursor = next
		}
		_, next, reset := c.since(cursor)
		if reset {
			c.Errorf("reset is true although nothing has changed")
		}
		c.wantListed(c.revokeMany("last", 1), entriesOf(c.since(next)))
	}},
	{"A cursor can be used again, and an old one lists all later entries", func(c *trial) {
		c.revokeMany("before", 3)
		_, old, _ := c.since("")
		live := make(entries)
		for round := range 5 {
			live.merge(c.revokeMany(fmt.Sprint(round), 40))
			c.since("")
		}
		for range 3 {
			listed, _, reset := c.since(old)
			c.wantListed(live, listed)
			if reset {
				c.Errorf("reset is true for a cursor that is a moment old")
			}
		}
	}},
	{"A lengthened entry is listed again, with its latest end", func(c *trial) {
		c.mustRevoke(tokenID("a"), c.now.Add(time.Hour))
		c.mustRevoke(tokenID("b"), c.now.Add(time.Hour))
		_, cursor, _ := c.since("")
		c.mustRevoke(tokenID("a"), c.now.Add(2*time.Hour))
		c.wantListed(entries{tokenID("a"): c.now.Add(2 * time.Hour)}, entriesOf(c.since(cursor)))
		c.mustRevoke(tokenID("a"), c.now.Add(time.Minute))
		c.mustRevoke(tokenID("a"), c.now.Add(-time.Minute))
		c.wantListedExactly(entries{tokenID("a"): c.now.Add(2 * time.Hour), tokenID("b"): c.now.Add(time.Hour)}, entriesOf(c.since("")))
		c.wantListed(entries{tokenID("a"): c.now.Add(2 * time.Hour)}, entriesOf(c.since(cursor)))
	}},
	{"With a cursor of another store, Since lists everything and reports a reset", func(c *trial) {
		live := c.revokeMany("a", 20)
		for i, garbage := range []string{"garbage", "x", " ", ":", "::", "-", "\x00", "\xff", "'", `{"a":1}`, "🂡", incompressibleText(maxCursor), incompressibleText(64 << 10)} {
			listed, next, reset := c.since(garbage)
			if !reset {
				c.Errorf("reset is false for the cursor %.40q", garbage)
			}
			c.wantListedExactly(live, listed)
			more := c.revokeMany(fmt.Sprint("after ", i), 2)
			listed, _, reset = c.since(next)
			c.wantListed(more, listed)
			if reset {
				c.Errorf("reset is true for the cursor of a Since that returned a reset")
			}
			live.merge(more)
		}
	}},
	{"Since loses nothing while many revoke", func(c *trial) { c.readWhileOthersRevoke(8, 100, 3) }},
	{"Since with a context that has ended returns an error at once", func(c *trial) {
		c.revokeMany("a", 3)
		_, cursor, _ := c.since("")
		nothing := func(string, time.Time) {}
		c.wantEndedContextErrors([]call{
			{"Since", func(ctx context.Context) error { _, _, err := c.log.Since(ctx, "", nothing); return err }},
			{"Since", func(ctx context.Context) error { _, _, err := c.log.Since(ctx, cursor, nothing); return err }},
		})
		c.since(cursor)
	}},
}

// since calls Since and ends the check if it fails. It must not be called in a goroutine
// of the check.
func (c *trial) since(cursor string) (listed entries, next string, reset bool) {
	c.Helper()
	listed, next, reset, err := c.trySince(cursor)
	if err != nil {
		c.Fatalf("Since of the cursor %.40q: %v", cursor, err)
	}
	return listed, next, reset
}

// trySince calls Since and returns the listed entries. It may be called in any goroutine.
func (c *trial) trySince(cursor string) (listed entries, next string, reset bool, err error) {
	var mu sync.Mutex
	var over bool
	listed = make(entries)
	next, reset, err = c.log.Since(c.ctx, cursor, func(id string, until time.Time) {
		if !mu.TryLock() {
			c.Errorf("Since calls entry while another call of entry runs, or after Since has returned")
			return
		}
		defer mu.Unlock()
		if over {
			c.Errorf("Since calls entry after it has returned")
			return
		}
		runtime.Gosched() // makes concurrent calls of entry overlap
		listed.add(id, until)
	})
	mu.Lock()
	defer mu.Unlock()
	over = true
	if len(next) > maxCursor {
		c.Errorf("a cursor has %d bytes, at most %d are expected", len(next), maxCursor)
	}
	return maps.Clone(listed), next, reset, err
}

// entriesOf returns the first result of since.
func entriesOf(listed entries, _ string, _ bool) entries { return listed }

// revokeMany revokes n ids that are made from name, and returns them with their ends.
func (c *trial) revokeMany(name string, n int) entries {
	c.Helper()
	live := make(entries)
	for i := range n {
		id, until := tokenID(fmt.Sprint(name, " ", i)), c.now.Add(10*time.Minute+time.Duration(i)*1_234_567*time.Microsecond)
		c.mustRevoke(id, until)
		live[id] = until
	}
	return live
}

// wantListed checks that Since has listed all entries of want.
func (c *trial) wantListed(want, listed entries) {
	c.Helper()
	for id, until := range want {
		switch got, ok := listed[id]; {
		case !ok:
			c.Errorf("Since does not list %.40q", id)
		case got.Before(until), got.After(until.Add(time.Minute)):
			c.Errorf("Since lists %.40q with the end %v; its end is %v", id, got, until)
		}
	}
}

// wantListedExactly checks that Since has listed all entries of want and no others.
func (c *trial) wantListedExactly(want, listed entries) {
	c.Helper()
	c.wantListed(want, listed)
	for id := range listed {
		if _, ok := want[id]; !ok {
			c.Errorf("Since lists %.40q, which was not revoked", id)
		}
	}
}

// readWhileOthersRevoke runs writers and readers concurrently. Each writer revokes its own
// ids, and an id that all writers share. Each reader calls Since with its own cursor, and
// must see all revocations.
func (c *trial) readWhileOthersRevoke(writers, each, readers int) {
	c.Helper()
	shared := jwtauth.SessionID(issuer, "shared")
	live := make(entries)
	for w := range writers {
		for n := range each {
			live[tokenID(fmt.Sprint(w, " ", n))] = c.now.Add(time.Hour)
		}
	}
	live[shared] = c.now.Add(time.Hour + time.Duration(writers*each-1)*time.Minute)
	var writing atomic.Int64
	writing.Store(int64(writers))
	var ready sync.WaitGroup // waits until each reader has its first cursor
	ready.Add(readers)
	together(writers+readers, func(i int) {
		if i < writers {
			defer writing.Add(-1)
			ready.Wait()
			for n := range each {
				err := c.revocations.Revoke(c.ctx, tokenID(fmt.Sprint(i, " ", n)), c.now.Add(time.Hour))
				if err == nil {
					err = c.revocations.Revoke(c.ctx, shared, c.now.Add(time.Hour+time.Duration(n*writers+i)*time.Minute))
				}
				if err != nil {
					c.Errorf("Revoke: %v", err)
				}
				runtime.Gosched() // lets readers run in between, even if the store never waits
			}
			return
		}
		union, cursor, _, err := c.trySince("")
		ready.Done()
		for last := false; err == nil && !last; {
			last = writing.Load() == 0
			listed, next, reset, failed := c.trySince(cursor)
			if reset {
				c.Errorf("reset is true for the reader's last cursor")
			}
			union.merge(listed)
			cursor, err = next, failed
		}
		if err != nil {
			c.Errorf("Since: %v", err)
			return
		}
		c.wantListedExactly(live, union)
	})
}
