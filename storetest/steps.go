package storetest

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// twoTo53 is 2^53. A float64 does not represent all larger integers.
const twoTo53 = int64(1) << 53

// endStep returns the rotation that ends a session: no step can follow it.
func (c *trial) endStep() jwtauth.Rotation {
	return jwtauth.Rotation{From: math.MaxInt64 - 1, Epoch: math.MaxInt64, At: c.now, ExpiresAt: c.now.Add(30 * time.Minute)}
}

// stepRules are the rules for the parts of SessionRecord.Step.
var stepRules = []rule{
	{"RotatedAt of a step and Age come from the clock of the engine, whatever At is", func(c *trial) {
		row := c.newRow("1")
		row.RotatedAt, row.ExpiresAt = c.now.Add(-10*time.Minute), c.now.Add(2*time.Hour)
		c.mustCreate(row)
		for n, off := range []time.Duration{0, -time.Minute, time.Minute, -time.Hour, 90 * time.Minute} {
			rotation := jwtauth.Rotation{From: int64(n), Parent: 1, At: c.now.Add(off), ExpiresAt: c.now.Add(2 * time.Hour)}
			row = c.wantAdvance(row, rotation, n > 0)
			rotation.At = c.now.Add(-off)
			row = c.wantAdvance(row, rotation, false)
		}
	}},
	{"Age grows until the next step, by the clock of the engine", func(c *trial) {
		const wait, slack = 250 * time.Millisecond, 25 * time.Millisecond
		row := c.mustAdvance(c.createRow("1"), c.rotationFrom(1))
		first := c.advance(row.Key, c.rotationFrom(1))
		c.wantStep(row, c.rotationFrom(1), first)
		time.Sleep(wait)
		second := c.advance(row.Key, c.rotationFrom(1))
		c.wantStep(row, c.rotationFrom(1), second)
		least, most := second.began.Sub(first.ended)-slack, second.ended.Sub(first.began)+slack
		if grown := second.row.Age - first.row.Age; grown < least || grown > most {
			c.Errorf("Age has grown by %v between two calls; by the clock of this machine, it has grown by %v to %v", grown, least, most)
		}
		third := c.advance(row.Key, c.rotationFrom(2))
		c.wantStep(row, c.rotationFrom(2), third)
		if later := third.row.RotatedAt.Sub(row.RotatedAt); later < wait-slack {
			c.Errorf("a step is %v after the other by their RotatedAt; it was at least %v after the other", later, wait)
		}
	}},
	{"Age is negative if RotatedAt is ahead of the clock of the engine", func(c *trial) {
		row := c.newRow("1")
		row.RotatedAt = c.now.Add(40 * time.Second)
		c.mustCreate(row)
		row = c.wantAdvance(row, c.rotationFrom(0), false)
		c.wantAdvance(row, c.rotationFrom(1), true)
	}},
	{"A step stores the Parent of the Rotation, and its new Generation as ParentStep", func(c *trial) {
		row := c.createRow("1")
		for _, step := range []struct {
			from, parent int64
			advanced     bool
		}{
			{1, 1, true}, {1, 1, false}, {2, 1, true}, {2, 2, false}, {3, 1, true}, // two recoveries with the token of generation 1
			{4, 4, true}, {9, 0, true}, {9, 9, false}, // the row skips generations
			{twoTo53, twoTo53 + 1, true}, {twoTo53 + 1, twoTo53 - 1, true}, {twoTo53 + 2, math.MaxInt64, true}, {twoTo53 + 3, math.MaxInt64 - 1, true}, {1 << 62, 1<<62 - 1, true},
			{math.MaxInt64 - 1, math.MaxInt64 - 2, true},
		} {
			rotation := c.rotationFrom(step.from)
			rotation.Parent = step.parent
			row = c.wantAdvance(row, rotation, step.advanced)
		}
	}},
	{"Advance raises Epoch to the largest that it was given, even if the step is not made", func(c *trial) {
		row := c.createRow("1")
		for n, step := range []struct {
			from, epoch int64
			advanced    bool
		}{
			{0, 3, false}, {0, 2, false}, {1, 3, true}, {1, 9, false}, {2, 9, true}, {3, 10, true}, {0, 0, false},
			{0, twoTo53 - 1, false}, {4, twoTo53, true}, {4, twoTo53 + 1, false}, {5, twoTo53 + 1, true}, {6, twoTo53 + 2, true},
			{0, 1<<62 - 1, false}, {7, 1 << 62, true}, {7, 1<<62 + 1, false}, {8, 1<<62 + 1, true},
			{0, math.MaxInt64 - 1, false}, {9, math.MaxInt64 - 1, true}, {10, math.MaxInt64, true}, {11, math.MaxInt64, true}, {0, 0, false},
		} {
			rotation := jwtauth.Rotation{
				From: step.from, Parent: step.from, Epoch: step.epoch, At: c.now, ExpiresAt: c.now.Add(time.Hour + time.Duration(n)*time.Minute),
				Details: fmt.Append(nil, "step ", n),
			}
			row = c.wantAdvance(row, rotation, step.advanced)
		}
	}},
	{"A step with a lower Epoch than the row's is not made and changes nothing", func(c *trial) {
		for n, epoch := range []int64{1, 5, twoTo53 + 1, 1<<62 + 1, math.MaxInt64} {
			row := c.newRow(fmt.Sprint(n))
			row.Epoch = epoch
			c.mustCreate(row)
			for _, from := range []int64{0, 1, 2, math.MaxInt64 - 1} {
				row = c.wantAdvance(row, jwtauth.Rotation{
					From: from, Parent: 1, Epoch: epoch - 1, At: c.now, ExpiresAt: c.now.Add(9 * time.Hour), Details: []byte("later"),
				}, false)
			}
			rotation := c.rotationFrom(1)
			rotation.Epoch = epoch
			c.wantAdvance(row, rotation, true)
		}
	}},
	{"A row of the largest Generation can never be advanced, and is otherwise a row like any other", func(c *trial) {
		missing := keyOfAlice("missing")
		c.wantNoSession(missing, c.endStep())
		c.wantRows(issuer, subject)
		other := c.createRow("other")
		row := c.wantAdvance(c.createRow("1"), c.rotationFrom(1), true)
		row = c.wantAdvance(row, c.endStep(), true)
		if row.Generation != math.MaxInt64 || row.Epoch != math.MaxInt64 {
			c.Errorf("the row that has ended has Generation %d and Epoch %d", row.Generation, row.Epoch)
		}
		for _, from := range []int64{0, 1, 2, twoTo53, math.MaxInt64 - 2, math.MaxInt64 - 1} {
			for _, epoch := range []int64{0, 1, math.MaxInt64 - 1, math.MaxInt64} {
				row = c.wantAdvance(row, jwtauth.Rotation{
					From: from, Parent: from, Epoch: epoch, At: c.now, ExpiresAt: c.now.Add(9 * time.Hour), Details: []byte("later"),
				}, false)
			}
		}
		late := c.endStep()
		late.At = row.ExpiresAt
		c.wantNoSession(row.Key, late)
		c.wantCreate(c.newRow("1"), 0, jwtauth.ErrSessionExists)
		c.wantRows(issuer, subject, row, other)
		c.mustDelete(row.Key)
		c.wantNoSession(row.Key, c.endStep())
		c.wantRows(issuer, subject, other)
		c.createRow("1")
	}},
	{"Advance replaces Details, keeps them if it is given nil, and empties them if it is given an empty slice", func(c *trial) {
		row := c.newRow("1")
		row.Details = nil
		c.mustCreate(row)
		c.wantRow(row)
		row = c.wantAdvance(row, c.rotationFrom(1), true)
		from := int64(2)
		for _, details := range [][]byte{[]byte("first"), nil, []byte("2"), nil, {}, nil, []byte(`{"label":"third"}`), {}, {0}, nil} {
			rotation := c.rotationFrom(from)
			rotation.Details = details
			row = c.wantAdvance(row, rotation, true)
			from++
			for _, ignored := range [][]byte{nil, {}, []byte("not stored")} {
				rotation.Details = ignored
				row = c.wantAdvance(row, rotation, false)
			}
		}
	}},
	{"Details of up to 1 KiB come back byte for byte", func(c *trial) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for n, details := range []string{
			`{}`, `null`, `{"b":1, "a" : 1.0}`, " \n\t", "\x00", "\x00\x00a\x00", "\xff", "\xc3", "a\xed\xa0\x80", "{\"a\":\"\\u0000\"}", `\x61`, `\\`, "'", "%s",
			string(all), string(slices.Repeat(all, 4)), string(slices.Repeat([]byte{0xff}, 1<<10)), incompressibleText(1 << 10),
		} {
			created := c.newRow(fmt.Sprint("created ", n))
			created.Details = []byte(details)
			c.mustCreate(created)
			c.wantRow(created)
			created = c.wantAdvance(created, c.rotationFrom(1), true)
			row := c.createRow(fmt.Sprint("advanced ", n))
			rotation := c.rotationFrom(1)
			rotation.Details = []byte(details)
			row = c.wantAdvance(row, rotation, true)
			row = c.wantAdvance(row, c.rotationFrom(2), true)
			c.mustDelete(row.Key)
			c.mustDelete(created.Key)
		}
	}},
	{"Details are not shared with the caller of Create, Advance or List", func(c *trial) {
		row := c.createRow("1")
		want := row
		want.Details = slices.Clone(row.Details)
		copy(row.Details, "XXXX")
		for from := int64(1); from <= 4; from++ {
			c.wantRow(want)
			for _, listed := range c.mustList(issuer, subject) {
				copy(listed.Details, "XXXX")
			}
			rotation := c.rotationFrom(from)
			if from%2 == 0 {
				rotation.Details = fmt.Append(nil, "details ", from)
			}
			a := c.advance(want.Key, rotation)
			want = c.wantStep(want, rotation, a)
			want.Details = slices.Clone(want.Details)
			copy(rotation.Details, "XXXX")
			copy(a.row.Details, "XXXX")
		}
		c.wantRow(want)
	}},
}

// stepRaceRules are the rules for racing callers of Advance that do more than refresh.
var stepRaceRules = []rule{
	{"If callers race to recover from a lost answer, exactly one advances, and all get its row", func(c *trial) {
		row := c.createRow("1")
		for round := range 6 {
			presented := row.Generation
			row = c.mustAdvance(row, c.rotationFrom(presented)) // whose answer is lost
			var first, last [raceCallers]answer
			recovery := func(i int, from int64) jwtauth.Rotation {
				return jwtauth.Rotation{From: from, Parent: presented, At: c.now, ExpiresAt: c.now.Add(time.Hour), Details: fmt.Append(nil, "caller ", i)}
			}
			present := func(i int) { first[i] = c.advance(row.Key, recovery(i, presented)) }
			recoverOnce := func(i int) {
				if last[i] = first[i]; first[i].err == nil && first[i].row.Generation == row.Generation {
					last[i] = c.advance(row.Key, recovery(i, row.Generation))
				}
			}
			if round%2 == 0 { // all have seen the same row
				together(raceCallers, present)
				together(raceCallers, recoverOnce)
			} else {
				together(raceCallers, func(i int) { present(i); recoverOnce(i) })
			}
			var recovered *jwtauth.SessionRecord
			for i := range last {
				if err := last[i].err; err != nil {
					c.Fatalf("Advance: %v", err)
				}
				if first[i].advanced {
					c.Errorf("Advance from generation %d is made twice", presented)
				}
				if last[i].advanced {
					if recovered != nil {
						c.Fatalf("two callers recover from generation %d", row.Generation)
					}
					next := c.wantStep(row, recovery(i, row.Generation), last[i])
					recovered = &next
				}
			}
			if recovered == nil {
				c.Fatalf("none of %d callers recovers from generation %d", raceCallers, row.Generation)
			}
			for i := range last {
				if !last[i].advanced {
					c.wantStep(*recovered, recovery(i, row.Generation), last[i])
				}
			}
			row = *recovered
			c.wantRows(issuer, subject, row)
		}
	}},
	{"If callers race to raise Epoch, the largest stays", func(c *trial) {
		row := c.createRow("1")
		for round := range int64(10) {
			largest := row.Epoch + raceCallers + 1
			together(raceCallers, func(i int) {
				var last int64
				for _, epoch := range []int64{row.Epoch + 1 + int64(i*7+int(round))%raceCallers, row.Epoch + int64(i), largest - int64(i)} {
					a := c.advance(row.Key, jwtauth.Rotation{Epoch: epoch, At: c.now, ExpiresAt: c.now.Add(9 * time.Hour)})
					if a.err != nil || a.advanced {
						c.Errorf("Advance from 0: advanced is %t, %v", a.advanced, a.err)
					}
					if last = max(last, epoch); a.row.Epoch < last {
						c.Errorf("Advance returns Epoch %d after Epoch was raised to %d", a.row.Epoch, last)
					}
					last = max(last, a.row.Epoch)
				}
			})
			row.Epoch = largest
			c.wantRows(issuer, subject, row)
		}
	}},
	{"If callers race with steps and epochs, no step is made after a newer Epoch", func(c *trial) {
		for round := range 10 {
			row := c.createRow(fmt.Sprint(round))
			var answers [raceCallers]answer
			rotation := func(i int) jwtauth.Rotation {
				r := c.rotationFrom(1)
				r.Epoch = int64((i*11 + round) % raceCallers / 4)
				r.From = int64(i % 2) // every other caller raises the epoch only
				return r
			}
			together(raceCallers, func(i int) { answers[i] = c.advance(row.Key, rotation(i)) })
			steps, largest := 0, int64(0)
			for i, a := range answers {
				r := rotation(i)
				largest = max(largest, r.Epoch)
				switch {
				case a.err != nil:
					c.Fatalf("Advance: %v", a.err)
				case a.advanced && (a.row.Epoch != r.Epoch || r.From == 0):
					c.Errorf("Advance from %d with epoch %d of a row of epoch %d makes the step", r.From, r.Epoch, a.row.Epoch)
				case !a.advanced && a.row.Epoch <= r.Epoch && a.row.Generation <= r.From, a.row.Epoch < r.Epoch:
					c.Errorf("Advance from %d with epoch %d does not make the step; the row has Generation %d and Epoch %d", r.From, r.Epoch, a.row.Generation, a.row.Epoch)
				case a.advanced:
					steps++
					row = c.wantStep(row, r, a)
				}
			}
			if steps > 1 {
				c.Errorf("%d callers have advanced from generation 1", steps)
			}
			row.Epoch = largest
			c.wantRow(row)
		}
	}},
	{"If callers race to end a session and to advance it, exactly one ends it, and nothing follows", func(c *trial) {
		for round := range 10 {
			row := c.createRow(fmt.Sprint(round))
			var ends, steps atomic.Int64
			together(raceCallers, func(i int) {
				r := c.rotationFrom(1)
				if i%2 == 0 {
					r = c.endStep()
				}
				a := c.advance(row.Key, r)
				switch {
				case a.err != nil:
					c.Errorf("Advance: %v", a.err)
				case i%2 == 0 && a.row.Generation != math.MaxInt64:
					c.Errorf("a call that ends the session returns the Generation %d", a.row.Generation)
				case i%2 == 0 && a.advanced:
					ends.Add(1)
				case a.advanced:
					steps.Add(1)
				}
			})
			if ends.Load() != 1 || steps.Load() > 1 {
				c.Errorf("%d callers have ended the session, and %d have advanced it from generation 1", ends.Load(), steps.Load())
			}
			for _, got := range c.mustList(issuer, subject) {
				if wantPrevious := 1 + steps.Load(); got.Key == row.Key && (got.Generation != math.MaxInt64 || got.Epoch != math.MaxInt64 || got.Previous != wantPrevious) {
					c.Errorf("the row of a session that has ended has Generation %d, Previous %d and Epoch %d", got.Generation, got.Previous, got.Epoch)
				}
			}
			c.wantNoSession(keyOfAlice("missing"), c.endStep())
		}
	}},
}
