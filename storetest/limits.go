package storetest

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// limitRules are the rules for the limit of Create.
var limitRules = []rule{
	{"Create returns ErrSessionLimit if the subject has as many live rows as the limit, and writes nothing", func(c *trial) {
		var rows []jwtauth.SessionRecord
		for limit := 1; limit <= 4; limit++ {
			row := c.newRow(fmt.Sprint(limit))
			c.wantCreate(row, limit, nil)
			rows = append(rows, row)
			refused := c.newRow("refused")
			for lower := limit; lower > 0; lower-- {
				c.wantCreate(refused, lower, jwtauth.ErrSessionLimit)
			}
			c.wantNoSession(refused.Key, c.rotationFrom(1))
			c.wantRows(issuer, subject, rows...)
		}
		row := c.newRow("refused") // its ID is still free
		c.wantCreate(row, 0, nil)
		rows = append(rows, row)
		c.wantRows(issuer, subject, rows...)
		c.wantCreate(c.newRow("more"), 4, jwtauth.ErrSessionLimit)
		c.wantCreate(c.newRow("more"), 5, jwtauth.ErrSessionLimit)
		c.wantCreate(c.newRow("more"), 6, nil)
	}},
	{"After Delete there is room for another session", func(c *trial) {
		for i := range 3 {
			c.wantCreate(c.newRow(fmt.Sprint(i)), 3, nil)
		}
		for i := range 5 {
			next := c.newRow(fmt.Sprint(i + 3))
			c.wantCreate(next, 3, jwtauth.ErrSessionLimit)
			c.mustDelete(keyOfAlice("none"))
			c.wantCreate(next, 3, jwtauth.ErrSessionLimit)
			c.mustDelete(keyOfAlice(fmt.Sprint(i)))
			c.wantCreate(next, 3, nil)
		}
	}},
	{"Rows count against the limit until their ExpiresAt, by the clock of the caller", func(c *trial) {
		soon, past := c.newRow("soon"), c.newRow("past")
		soon.ExpiresAt = c.now.Add(30 * time.Second)
		past.RotatedAt, past.ExpiresAt = c.now.Add(-time.Hour), c.now.Add(-30*time.Second)
		c.mustCreate(soon)
		c.mustCreate(past)
		at := func(id string, at time.Time) jwtauth.SessionRecord {
			row := c.newRow(id)
			row.RotatedAt = at
			return row
		}
		c.wantCreate(at("1", past.ExpiresAt.Add(-time.Microsecond)), 2, jwtauth.ErrSessionLimit)
		c.wantCreate(at("1", past.ExpiresAt), 1, jwtauth.ErrSessionLimit)
		c.wantCreate(at("1", soon.ExpiresAt.Add(-time.Microsecond)), 1, jwtauth.ErrSessionLimit)
		c.wantCreate(at("1", past.ExpiresAt), 2, nil)
		c.wantCreate(at("2", soon.ExpiresAt.Add(-time.Microsecond)), 2, jwtauth.ErrSessionLimit)
		c.wantCreate(at("2", soon.ExpiresAt), 2, nil)
		for range 2 { // each takes the place of the row that has expired
			c.mustDelete(keyOfAlice("1"))
			c.wantCreate(at("1", soon.ExpiresAt), 2, nil)
		}
		// A step changes the time from which the row no longer counts.
		c.mustDelete(keyOfAlice("1"))
		prolonged := c.mustAdvance(soon, c.rotationFrom(1))
		c.wantCreate(at("3", soon.ExpiresAt), 2, jwtauth.ErrSessionLimit)
		shortened := c.rotationFrom(2)
		shortened.ExpiresAt = c.now.Add(10 * time.Second)
		c.mustAdvance(prolonged, shortened)
		c.wantCreate(at("3", shortened.ExpiresAt), 2, nil)
	}},
	{"Sessions that have ended do not count against the limit", func(c *trial) {
		for i := range 3 {
			c.wantCreate(c.newRow(fmt.Sprint(i)), 3, nil)
		}
		c.wantCreate(c.newRow("3"), 3, jwtauth.ErrSessionLimit)
		for i := range 3 {
			row := c.newRow(fmt.Sprint(i))
			ended := c.mustAdvance(row, c.endStep())
			c.wantCreate(c.newRow(fmt.Sprint(i+3)), 3, nil)
			c.wantCreate(c.newRow("refused"), 3, jwtauth.ErrSessionLimit)
			c.wantRow(ended)
		}
		// Only the largest Generation marks a session that has ended.
		for i, generation := range []int64{twoTo53, twoTo53 + 1, 1 << 62, math.MaxInt64 - 1000, math.MaxInt64 - 1} {
			row := c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: fmt.Sprint("large ", i), ID: "1"})
			row.Generation = generation
			c.mustCreate(row)
			row.Key.ID, row.Generation = "2", 1
			c.wantCreate(row, 1, jwtauth.ErrSessionLimit)
		}
	}},
	{"Rows of other subjects and issuers do not count against the limit", func(c *trial) {
		for i := range 3 {
			for _, owner := range []jwtauth.SessionKey{
				{Issuer: issuer, Subject: "bob"}, {Issuer: "https://other.test", Subject: subject}, {Issuer: issuer, Subject: subject + " "}, {Issuer: issuer, Subject: "ALICE"},
			} {
				owner.ID = fmt.Sprint(i)
				c.mustCreate(c.newRowFor(owner))
			}
		}
		c.wantCreate(c.newRow("1"), 1, nil)
		c.wantCreate(c.newRow("2"), 1, jwtauth.ErrSessionLimit)
		c.wantCreate(c.newRow("2"), 2, nil)
	}},
	{"The limit may be 1000", func(c *trial) {
		c.createMany(subject, 999)
		c.wantCreate(c.newRow("thousandth"), 1000, nil)
		c.wantCreate(c.newRow("more"), 1000, jwtauth.ErrSessionLimit)
		c.wantCreate(c.newRow("more"), 999, jwtauth.ErrSessionLimit)
		c.mustAdvance(c.newRow("thousandth"), c.endStep())
		c.wantCreate(c.newRow("more"), 1000, nil)
		if n := len(c.mustList(issuer, subject)); n != 1001 {
			c.Errorf("List has %d rows, want 1001", n)
		}
	}},
	{"If callers race to Create, exactly as many succeed as the limit allows", func(c *trial) {
		for round := range 8 {
			limit := 1 + round
			owner := fmt.Sprint("subject ", round)
			var want []jwtauth.SessionRecord
			for i := range round / 2 { // rows that are there already
				row := c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: owner, ID: fmt.Sprint("before ", i)})
				c.mustCreate(row)
				want = append(want, row)
			}
			var created [raceCallers]bool
			rowOf := func(i int) jwtauth.SessionRecord {
				return c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: owner, ID: fmt.Sprint(i)})
			}
			together(raceCallers, func(i int) {
				err := c.sessions.Create(c.ctx, rowOf(i), limit)
				created[i] = err == nil
				if err != nil && !errors.Is(err, jwtauth.ErrSessionLimit) {
					c.Errorf("Create: %v", err)
				}
			})
			for i, ok := range created {
				if ok {
					want = append(want, rowOf(i))
				}
			}
			if len(want) != limit {
				c.Errorf("after a race of %d callers with the limit %d, there are %d rows", raceCallers, limit, len(want))
			}
			c.wantRows(issuer, owner, want...)
		}
	}},
	{"If callers race to Create and Delete, there are never more rows than the limit", func(c *trial) {
		const limit = 4
		var created atomic.Int64 // rows whose Create has returned, and whose Delete has not begun
		var successes atomic.Int64
		together(16, func(i int) {
			for n := range 15 {
				row := c.newRow(fmt.Sprint(i, " ", n))
				switch err := c.sessions.Create(c.ctx, row, limit); {
				case err == nil:
					successes.Add(1)
					if there := created.Add(1); there > limit {
						c.Errorf("%d rows are there, the limit is %d", there, limit)
					}
					runtime.Gosched()
					created.Add(-1)
					if err := c.sessions.Delete(c.ctx, row.Key); err != nil {
						c.Errorf("Delete: %v", err)
					}
				case !errors.Is(err, jwtauth.ErrSessionLimit):
					c.Errorf("Create: %v", err)
				}
				runtime.Gosched() // so that many rows are there at the same time, even if the store never waits
			}
		})
		if successes.Load() == 0 {
			c.Errorf("no Create has succeeded")
		}
		c.wantRows(issuer, subject)
		for i := range limit {
			c.wantCreate(c.newRow(fmt.Sprint(i)), limit, nil)
		}
	}},
	{"If callers of several subjects race to Create, each subject gets its limit", func(c *trial) {
		const subjects, limit = 8, 2
		var created [subjects]atomic.Int64
		together(raceCallers, func(i int) {
			row := c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: fmt.Sprint("subject ", i%subjects), ID: fmt.Sprint(i)})
			err := c.sessions.Create(c.ctx, row, limit)
			if err == nil {
				created[i%subjects].Add(1)
			} else if !errors.Is(err, jwtauth.ErrSessionLimit) {
				c.Errorf("Create: %v", err)
			}
		})
		for i := range created {
			if n := created[i].Load(); n != limit {
				c.Errorf("a subject has %d rows after a race with the limit %d", n, limit)
			}
		}
	}},
}

// createMany creates n rows of a subject, with many calls at a time.
func (c *trial) createMany(subject string, n int) (rows []jwtauth.SessionRecord) {
	c.Helper()
	var failed atomic.Pointer[error]
	for i := range n {
		rows = append(rows, c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: fmt.Sprint("one of many ", i)}))
	}
	together(raceCallers, func(caller int) {
		for i := caller; i < n; i += raceCallers {
			if err := c.sessions.Create(c.ctx, rows[i], 0); err != nil {
				failed.Store(&err)
				return
			}
		}
	})
	if err := failed.Load(); err != nil {
		c.Fatalf("Create of many rows: %v", *err)
	}
	return rows
}
