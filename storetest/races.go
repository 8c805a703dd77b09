package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// raceCallers is the number of callers in a race.
const raceCallers = 32

var raceRules = []rule{
	{"If callers race to Create one ID, exactly one succeeds", func(c *trial) {
		for round := range 5 {
			row := c.newRow(fmt.Sprint(round))
			var winner atomic.Pointer[jwtauth.SessionRecord]
			together(raceCallers, func(i int) {
				own := row
				own.Data = fmt.Appendf(nil, `{"caller":%d}`, i)
				if c.sessions.Create(c.ctx, own, 0) == nil && winner.Swap(&own) != nil {
					c.Errorf("two Creates of one ID succeed")
				}
			})
			if winner.Load() == nil {
				c.Fatalf("none of %d Creates has succeeded", raceCallers)
			}
			c.wantRow(*winner.Load())
		}
	}},
	{"If callers race with one From and one At, exactly one advances, and all get the new row", func(c *trial) {
		row := c.createRow("1")
		for from := int64(1); from <= 20; from++ {
			rotation := c.rotationFrom(from)
			rotation.At = c.now.Add(time.Duration(from) * time.Millisecond)
			row = c.raceToAdvance(row, func(int) jwtauth.Rotation { return rotation })
		}
	}},
	{"If callers race with one From and different At, exactly one advances, and all get its row", func(c *trial) {
		row := c.createRow("1")
		for from := int64(1); from <= 10; from++ {
			row = c.raceToAdvance(row, func(i int) jwtauth.Rotation {
				at := c.now.Add(time.Duration(i) * time.Millisecond)
				return jwtauth.Rotation{From: from, Parent: from, At: at, ExpiresAt: at.Add(time.Hour)}
			})
		}
	}},
	{"If callers race from successive generations, at most one advances from each", func(c *trial) {
		row := c.createRow("1")
		for from := int64(1); from <= 30; from += 3 {
			var won [3]atomic.Int64
			together(raceCallers, func(i int) {
				rotation := c.rotationFrom(from + int64(i%3))
				got, advanced, err := c.sessions.Advance(c.ctx, row.Key, rotation)
				if err != nil {
					c.Errorf("Advance from %d: %v", rotation.From, err)
					return
				}
				if advanced {
					won[i%3].Add(1)
				}
				if got.Generation <= rotation.From || advanced && got.Generation != rotation.From+1 {
					c.Errorf("after Advance from %d the row's Generation is %d", rotation.From, got.Generation)
				}
				if got.Previous >= got.Generation || advanced && got.Previous > rotation.From {
					c.Errorf("after Advance from %d the row's Generation is %d and Previous is %d", rotation.From, got.Generation, got.Previous)
				}
				if got.ParentStep != got.Generation || got.Parent != got.Generation-1 {
					c.Errorf("after Advance from %d the row's Generation is %d, Parent is %d and ParentStep is %d", rotation.From, got.Generation, got.Parent, got.ParentStep)
				}
			})
			for i := range won {
				if n := won[i].Load(); n > 1 || n == 0 && i == 2 {
					c.Errorf("%d callers have advanced from generation %d", n, from+int64(i))
				}
			}
			rows := c.mustList(issuer, subject)
			if len(rows) != 1 || rows[0].Generation != from+3 {
				c.Fatalf("after a race up to generation %d, List returns %+v", from+3, rows)
			}
		}
	}},
	{"Sessions that are advanced at the same time do not disturb each other", func(c *trial) {
		together(raceCallers, func(i int) {
			row := c.newRow(fmt.Sprint(i))
			if i%2 == 0 {
				row.Key.Subject = fmt.Sprint("subject ", i)
			}
			if err := c.sessions.Create(c.ctx, row, 0); err != nil {
				c.Errorf("Create: %v", err)
				return
			}
			for from := int64(1); from <= 10; from++ {
				rotation := c.rotationFrom(from)
				row = c.wantStep(row, rotation, c.advance(row.Key, rotation))
			}
		})
	}},
	{"A row that is deleted while others advance it does not come back", func(c *trial) {
		for round := range 20 {
			row := c.createRow(fmt.Sprint(round))
			together(9, func(i int) {
				if i == 0 {
					if err := c.sessions.Delete(c.ctx, row.Key); err != nil {
						c.Errorf("Delete: %v", err)
					}
					return
				}
				for from := int64(1); from <= 6; from++ {
					if _, _, err := c.sessions.Advance(c.ctx, row.Key, c.rotationFrom(from)); err != nil && !errors.Is(err, jwtauth.ErrNoSession) {
						c.Errorf("Advance: %v", err)
					}
				}
			})
			c.wantNoSession(row.Key, c.rotationFrom(100))
			c.wantRows(issuer, subject)
		}
	}},
	{"List is complete while others write", func(c *trial) {
		const lasting = 20
		for i := range lasting {
			c.createRow(fmt.Sprint("lasting ", i))
		}
		var over atomic.Bool
		together(6, func(i int) {
			if i == 0 {
				defer over.Store(true)
				c.listWhileOthersWrite(lasting)
				return
			}
			for n := int64(1); !over.Load(); n++ {
				passing := c.newRow(fmt.Sprint("passing ", i, " ", n%3))
				if i == 1 {
					passing.Key.Subject = "bob"
				}
				lasts := keyOfAlice(fmt.Sprint("lasting ", i))
				_, _, advance := c.sessions.Advance(c.ctx, lasts, c.rotationFrom(n))
				if err := errors.Join(c.sessions.Create(c.ctx, passing, 0), advance, c.sessions.Delete(c.ctx, passing.Key)); err != nil {
					c.Errorf("while others list: %v", err)
					return
				}
			}
		})
	}},
}

// raceToAdvance runs many callers that advance a row from its generation. It checks their
// results and returns the new row.
func (c *trial) raceToAdvance(row jwtauth.SessionRecord, rotation func(i int) jwtauth.Rotation) jwtauth.SessionRecord {
	c.Helper()
	var answers [raceCallers]answer
	together(raceCallers, func(i int) { answers[i] = c.advance(row.Key, rotation(i)) })
	winner, winners := -1, 0
	for i, a := range answers {
		if a.err != nil {
			c.Fatalf("Advance: %v", a.err)
		}
		if a.advanced {
			winner = i
			winners++
		}
	}
	if winners != 1 {
		c.Fatalf("of %d callers that advance from generation %d, advanced is true for %d", raceCallers, row.Generation, winners)
	}
	row = c.wantStep(row, rotation(winner), answers[winner])
	for i, a := range answers {
		if i == winner {
			continue
		}
		c.wantStep(row, rotation(i), a)
		if a.row.Age < -clockTolerance {
			c.Errorf("Age is %v for a caller that lost a race", a.row.Age)
		}
	}
	c.wantRows(issuer, subject, row)
	return row
}

// listWhileOthersWrite lists all rows of alice many times, every other time in small pages.
// It creates a row before each time.
// It may be called in a goroutine.
func (c *trial) listWhileOthersWrite(lasting int) {
	for n := range 40 {
		more := c.newRow(fmt.Sprint("more ", n))
		if err := c.sessions.Create(c.ctx, more, 0); err != nil {
			c.Errorf("Create: %v", err)
			return
		}
		limit := maxPage
		if n%2 == 1 {
			limit = 7
		}
		rows, err := c.listInPages(issuer, subject, limit, func([]jwtauth.SessionRecord) {})
		if err != nil {
			c.Errorf("List: %v", err)
			return
		}
		seen := make(map[string]bool)
		for _, row := range rows {
			if row.Key.Issuer != issuer || row.Key.Subject != subject {
				c.Errorf("List has a row of %s", keyText(row.Key))
			}
			if seen[row.Key.ID] {
				c.Errorf("List has %s twice", keyText(row.Key))
			}
			seen[row.Key.ID] = true
			if row.Generation < 1 || string(row.Data) != string(c.newRowFor(row.Key).Data) {
				c.Errorf("List has a row that was not written: %+v", row)
			}
		}
		for i := range lasting {
			if id := fmt.Sprint("lasting ", i); !seen[id] {
				c.Errorf("List misses %q while others write", id)
			}
		}
		for i := range n + 1 {
			if id := fmt.Sprint("more ", i); !seen[id] {
				c.Errorf("List misses %q, whose Create has returned", id)
			}
		}
	}
}
