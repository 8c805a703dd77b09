package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// racers is how many callers race.
const racers = 32

var raceRules = []rule{
	{"Of callers that race to Create one ID exactly one does", func(c *trial) {
		for round := range 5 {
			row := c.row(fmt.Sprint(round))
			var winner atomic.Pointer[jwtauth.SessionRecord]
			together(racers, func(i int) {
				own := row
				own.Data = fmt.Appendf(nil, `{"caller":%d}`, i)
				if c.sessions.Create(c.ctx, own) == nil && winner.Swap(&own) != nil {
					c.Errorf("two Creates of one ID are no error")
				}
			})
			if winner.Load() == nil {
				c.Fatalf("none of %d Creates has succeeded", racers)
			}
			c.has(*winner.Load())
		}
	}},
	{"Of callers that race with one From and one At exactly one advances, and all get the row as it is then", func(c *trial) {
		row := c.created("1")
		for from := int64(1); from <= 20; from++ {
			rotation := c.rotation(from)
			rotation.At = c.now.Add(time.Duration(from) * time.Millisecond)
			row = c.race(row, func(int) jwtauth.Rotation { return rotation })
		}
	}},
	{"Of callers that race with one From, each with an At of its own, exactly one advances, and all get its row", func(c *trial) {
		row := c.created("1")
		for from := int64(1); from <= 10; from++ {
			row = c.race(row, func(i int) jwtauth.Rotation {
				at := c.now.Add(time.Duration(i) * time.Millisecond)
				return jwtauth.Rotation{From: from, At: at, ExpiresAt: at.Add(time.Hour)}
			})
		}
	}},
	{"Of callers that race with a generation and the next, each is advanced from at most once", func(c *trial) {
		row := c.created("1")
		for from := int64(1); from <= 30; from += 3 {
			var won [3]atomic.Int64
			together(racers, func(i int) {
				rotation := c.rotation(from + int64(i%3))
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
			})
			for i := range won {
				if n := won[i].Load(); n > 1 || n == 0 && i == 2 {
					c.Errorf("%d callers have advanced from generation %d", n, from+int64(i))
				}
			}
			rows := c.list(issuer, subject)
			if len(rows) != 1 || rows[0].Generation != from+3 {
				c.Fatalf("after a race up to generation %d, List returns %+v", from+3, rows)
			}
		}
	}},
	{"Sessions that are advanced at the same time do not disturb each other", func(c *trial) {
		together(racers, func(i int) {
			row := c.row(fmt.Sprint(i))
			if i%2 == 0 {
				row.Key.Subject = fmt.Sprint("subject ", i)
			}
			if err := c.sessions.Create(c.ctx, row); err != nil {
				c.Errorf("Create: %v", err)
				return
			}
			for from := int64(1); from <= 10; from++ {
				rotation := c.rotation(from)
				row = rotated(row, rotation)
				got, advanced, err := c.sessions.Advance(c.ctx, row.Key, rotation)
				if d := difference(got, row); err != nil || !advanced || d != "" {
					c.Errorf("Advance from %d of a session that nobody else advances: advanced is %t, %v, %s", from, advanced, err, d)
				}
			}
		})
	}},
	{"A row that is deleted while others advance it does not come back", func(c *trial) {
		for round := range 20 {
			row := c.created(fmt.Sprint(round))
			together(9, func(i int) {
				if i == 0 {
					if err := c.sessions.Delete(c.ctx, row.Key); err != nil {
						c.Errorf("Delete: %v", err)
					}
					return
				}
				for from := int64(1); from <= 6; from++ {
					if _, _, err := c.sessions.Advance(c.ctx, row.Key, c.rotation(from)); err != nil && !errors.Is(err, jwtauth.ErrNoSession) {
						c.Errorf("Advance: %v", err)
					}
				}
			})
			c.refused(row.Key, c.rotation(100))
			c.hasOnly(issuer, subject)
		}
	}},
	{"List is complete while others write", func(c *trial) {
		const lasting = 20
		for i := range lasting {
			c.created(fmt.Sprint("lasting ", i))
		}
		var over atomic.Bool
		together(6, func(i int) {
			if i == 0 {
				defer over.Store(true)
				c.listWhileOthersWrite(lasting)
				return
			}
			for n := int64(1); !over.Load(); n++ {
				passing := c.row(fmt.Sprint("passing ", i, " ", n%3))
				if i == 1 {
					passing.Key.Subject = "bob"
				}
				lasts := keyOf(fmt.Sprint("lasting ", i))
				_, _, advance := c.sessions.Advance(c.ctx, lasts, c.rotation(n))
				if err := errors.Join(c.sessions.Create(c.ctx, passing), advance, c.sessions.Delete(c.ctx, passing.Key)); err != nil {
					c.Errorf("while others list: %v", err)
					return
				}
			}
		})
	}},
}

// race lets many callers advance a row from the generation that it has, and
// returns the row that they leave.
func (c *trial) race(row jwtauth.SessionRecord, rotation func(i int) jwtauth.Rotation) jwtauth.SessionRecord {
	c.Helper()
	var got [racers]jwtauth.SessionRecord
	var won [racers]bool
	together(racers, func(i int) {
		var err error
		if got[i], won[i], err = c.sessions.Advance(c.ctx, row.Key, rotation(i)); err != nil {
			c.Errorf("Advance: %v", err)
		}
	})
	winner, winners := -1, 0
	for i := range won {
		if won[i] {
			winner = i
			winners++
		}
	}
	if winners != 1 {
		c.Fatalf("of %d callers that advance from generation %d, %d are told that they have", racers, row.Generation, winners)
	}
	want := rotated(row, rotation(winner))
	for i := range got {
		if d := difference(got[i], want); d != "" {
			c.Errorf("in the row that a caller gets who raced from generation %d (advanced is %t), %s", row.Generation, won[i], d)
		}
	}
	c.hasOnly(issuer, subject, want)
	return want
}

// listWhileOthersWrite lists alice again and again, each time with one row more;
// it is called in a goroutine.
func (c *trial) listWhileOthersWrite(lasting int) {
	for n := range 40 {
		more := c.row(fmt.Sprint("more ", n))
		if err := c.sessions.Create(c.ctx, more); err != nil {
			c.Errorf("Create: %v", err)
			return
		}
		rows, err := c.sessions.List(c.ctx, issuer, subject)
		if err != nil {
			c.Errorf("List: %v", err)
			return
		}
		seen := make(map[string]bool)
		for _, row := range rows {
			if row.Key.Issuer != issuer || row.Key.Subject != subject {
				c.Errorf("List has a row of %s", show(row.Key))
			}
			if seen[row.Key.ID] {
				c.Errorf("List has %s twice", show(row.Key))
			}
			seen[row.Key.ID] = true
			if row.Generation < 1 || string(row.Data) != string(c.rowOf(row.Key).Data) {
				c.Errorf("List has a row that nobody has written: %+v", row)
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
