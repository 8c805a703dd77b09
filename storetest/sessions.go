package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

var storeRules = slices.Concat(sessionRules, stepRules, limitRules, pageRules, skewRules, keyRules, raceRules, stepRaceRules, randomRules, contextRules, revocationRules)

var sessionRules = []rule{
	{"Create keeps a record as it is", func(c *trial) {
		row := c.newRow("1")
		row.Generation, row.Previous, row.Parent, row.ParentStep, row.Epoch, row.RotatedAt = 7, 3, 4, 6, 5, c.now.Add(-time.Minute)
		created := row
		created.Age = time.Hour // no store keeps Age
		c.mustCreate(created)
		c.wantRows(issuer, subject, row)
		c.wantAdvance(row, jwtauth.Rotation{At: c.now, ExpiresAt: c.now.Add(2 * time.Hour)}, false)
	}},
	{"Create of an existing ID is ErrSessionExists and changes nothing", func(c *trial) {
		row := c.createRow("1")
		other := row
		other.Generation, other.ExpiresAt, other.Data = 9, c.now.Add(2*time.Hour), []byte(`{"other":true}`)
		other.Parent, other.ParentStep, other.Epoch, other.Details = 8, 9, 3, []byte(`{"label":"other"}`)
		for _, again := range []jwtauth.SessionRecord{row, other} {
			for _, limit := range []int{0, 2, maxPage} {
				c.wantCreate(again, limit, jwtauth.ErrSessionExists)
			}
			c.wantRows(issuer, subject, row)
		}
		row = c.wantAdvance(row, c.rotationFrom(1), true)
		c.wantCreate(other, 0, jwtauth.ErrSessionExists)
		c.wantRows(issuer, subject, row)
	}},
	{"Create accepts an ID that was deleted", func(c *trial) {
		row := c.createRow("1")
		c.mustDelete(row.Key)
		row.Data = []byte(`{"again":true}`)
		c.mustCreate(row)
		c.wantRows(issuer, subject, row)
	}},
	{"Advance changes a row if its Generation is at most From, and reports whether it did", advanceSteps},
	{"Advance of one row leaves the others as they are", func(c *trial) {
		first, second := c.createRow("1"), c.createRow("2")
		stranger := c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: "bob", ID: "1"})
		c.mustCreate(stranger)
		c.wantRows(issuer, subject, c.wantAdvance(first, c.rotationFrom(1), true), second)
		c.wantRows(issuer, "bob", stranger)
	}},
	{"Advance of a missing row is ErrNoSession and makes no row", func(c *trial) {
		row := c.createRow("1")
		for _, k := range []jwtauth.SessionKey{
			keyOfAlice("2"), {Issuer: issuer, Subject: "bob", ID: "1"}, {Issuer: "https://other.test", Subject: subject, ID: "1"},
		} {
			c.wantNoSession(k, c.rotationFrom(1))
			c.wantNoSession(k, c.rotationFrom(0))
			if rows := c.mustList(k.Issuer, k.Subject); k.ID == "1" && len(rows) > 0 {
				c.Errorf("Advance of %s has made a row", keyText(k))
			}
		}
		c.wantRows(issuer, subject, row)
	}},
	{"Advance at or after ExpiresAt is ErrNoSession and changes nothing", func(c *trial) {
		row := c.createRow("1")
		late := c.rotationFrom(1)
		late.ExpiresAt, late.Epoch, late.Details = c.now.Add(9*time.Hour), 7, []byte("late")
		for _, past := range []time.Duration{0, time.Microsecond, time.Second, 24 * time.Hour} {
			late.At = row.ExpiresAt.Add(past)
			c.wantNoSession(row.Key, late)
			late.From = 0
			c.wantNoSession(row.Key, late)
			late.From = 1
		}
		c.wantRow(row)
		intime := c.rotationFrom(1)
		intime.At, intime.ExpiresAt = row.ExpiresAt.Add(-time.Microsecond), row.ExpiresAt.Add(time.Hour)
		c.wantAdvance(row, intime, true)
	}},
	{"Advance may shorten the life of a row, and the new ExpiresAt counts", func(c *trial) {
		row := c.createRow("1")
		rotation := c.rotationFrom(1)
		rotation.ExpiresAt = c.now.Add(time.Minute)
		row = c.wantAdvance(row, rotation, true)
		late := c.rotationFrom(2)
		late.At = row.ExpiresAt
		c.wantNoSession(row.Key, late)
		late.At = row.ExpiresAt.Add(-time.Microsecond)
		c.wantAdvance(row, late, true)
	}},
	{"Data of up to 8 KiB comes back byte for byte", func(c *trial) {
		for n, data := range []string{
			`{}`, `null`, `{"b":1, "a" : 1.0,"a":1e2}`, " {\n\t\"a\" : [ ] }\n", `{"text":"\u0000\u0041\\\"'"}`, `{"text":"áß漢😀%_?$1"}`, `[12345678901234567890, 0.1e-5, -0]`,
			`"` + incompressibleText(8<<10-2) + `"`,
			"", "\x00", "a\x00b", "\xff\xfe", "\xed\xa0\x80",
		} {
			row := c.newRow(fmt.Sprint(n))
			row.Data = []byte(data)
			c.mustCreate(row)
			c.wantRow(row)
			row = c.wantAdvance(row, c.rotationFrom(1), true)
			c.wantAdvance(row, c.rotationFrom(1), false)
		}
	}},
	{"Data is not shared with the caller of Create, Advance or List", func(c *trial) {
		row := c.createRow("1")
		want := row
		want.Data = slices.Clone(row.Data)
		row.Data[0] = 'X'
		for generation := range int64(2) {
			c.wantRow(want)
			for _, listed := range c.mustList(issuer, subject) {
				copy(listed.Data, "XXXX")
			}
			rotation := c.rotationFrom(generation + 1)
			a := c.advance(want.Key, rotation)
			want = c.wantStep(want, rotation, a)
			copy(a.row.Data, "XXXX")
		}
		c.wantRow(want)
	}},
	{"Times come back in UTC and exact to the microsecond", func(c *trial) {
		for n, began := range []time.Time{
			c.now.Truncate(time.Second), c.now.Truncate(time.Second).Add(time.Microsecond), c.now.Truncate(time.Second).Add(999_999 * time.Microsecond),
			c.now.Truncate(24 * time.Hour), c.now.Truncate(time.Second).Add(-123_456 * time.Microsecond),
		} {
			for m, expires := range []time.Time{
				c.now.Truncate(time.Second).Add(time.Hour + 654_321*time.Microsecond),
				time.Date(2038, 1, 19, 3, 14, 8, 1_000, time.UTC),
				time.Date(2299, 12, 31, 23, 59, 59, 999_999_000, time.UTC), // more than 2^53 microseconds
			} {
				row := c.newRow(fmt.Sprint(n, "-", m))
				row.RotatedAt, row.ExpiresAt = began, expires
				c.mustCreate(row)
				c.wantRow(row)
				late := jwtauth.Rotation{From: 1, At: expires, ExpiresAt: expires.Add(time.Hour)}
				c.wantNoSession(row.Key, late)
				last := jwtauth.Rotation{From: 1, At: expires.Add(-time.Microsecond), ExpiresAt: expires.Add(time.Microsecond)}
				c.wantAdvance(row, last, true)
			}
		}
	}},
	{"Delete removes one row, and is no error if there is none", func(c *trial) {
		c.mustDelete(keyOfAlice("1"))
		first, second := c.createRow("1"), c.createRow("2")
		c.mustDelete(keyOfAlice("3"))
		c.mustDelete(first.Key)
		c.mustDelete(first.Key)
		c.wantRows(issuer, subject, second)
		c.wantNoSession(first.Key, c.rotationFrom(1))
		c.mustDelete(second.Key)
		c.wantRows(issuer, subject)
	}},
	{"Delete of another subject's or issuer's row with the same ID removes nothing", func(c *trial) {
		row := c.createRow("1")
		c.mustDelete(jwtauth.SessionKey{Issuer: issuer, Subject: "bob", ID: "1"})
		c.mustDelete(jwtauth.SessionKey{Issuer: "https://other.test", Subject: subject, ID: "1"})
		c.wantRows(issuer, subject, row)
		c.wantAdvance(row, c.rotationFrom(1), true)
	}},
	{"List returns all rows of one subject of one issuer and no other", func(c *trial) {
		c.wantRows(issuer, subject)
		owners := map[jwtauth.SessionKey]int{
			{Issuer: issuer, Subject: subject}: 300, {Issuer: issuer, Subject: "bob"}: 2, {Issuer: "https://other.test", Subject: subject}: 1,
		}
		rows := make(map[jwtauth.SessionKey][]jwtauth.SessionRecord)
		for owner, n := range owners {
			for i := range n {
				row := c.newRowFor(jwtauth.SessionKey{Issuer: owner.Issuer, Subject: owner.Subject, ID: fmt.Sprint(i)})
				row.ExpiresAt = c.now.Add(time.Duration(1+i) * time.Minute)
				c.mustCreate(row)
				rows[owner] = append(rows[owner], row)
			}
		}
		for owner := range owners {
			c.wantRows(owner.Issuer, owner.Subject, rows[owner]...)
		}
		c.wantRows(issuer, "carol")
	}},
	{"However often a row is advanced, it stays one row", func(c *trial) {
		row := c.createRow("1")
		for from := int64(1); from <= 50; from++ {
			rotation := c.rotationFrom(from)
			rotation.At = c.now.Add(time.Duration(from) * time.Second)
			row = c.wantAdvance(row, rotation, true)
		}
		c.wantRows(issuer, subject, row)
	}},
}

// advanceSteps checks Advance with many values of From. Each step has its own times.
func advanceSteps(c *trial) {
	row := c.createRow("1")
	const huge = twoTo53
	for n, step := range []struct {
		from     int64
		advanced bool
	}{
		{1, true}, {1, false}, {2, true}, {2, false}, {1, false}, {0, false}, {-5, false},
		{9, true}, {9, false}, {8, false}, {10, true}, // From is ahead of the row, so the row skips generations
		{huge - 1, true}, {huge - 1, false}, {huge, true}, {huge, false}, {huge + 1, true}, {huge + 1, false}, {huge + 2, true}, {huge + 1, false},
		{1<<62 + 1, true}, {1<<62 + 1, false}, {1 << 62, false}, {1<<62 + 2, true},
	} {
		at := c.now.Add(time.Duration(n) * 1_000_001 * time.Microsecond)
		if n%3 == 2 {
			at = c.now.Add(-time.Duration(n) * time.Second) // another caller's clock is behind
		}
		rotation := jwtauth.Rotation{From: step.from, Parent: step.from - int64(n%2), At: at, ExpiresAt: at.Add(time.Hour)}
		row = c.wantAdvance(row, rotation, step.advanced)
	}
}

// skewRules are the rules for callers whose clocks differ from the clock of the engine by up
// to a minute.
var skewRules = []rule{
	{"A row exists for callers whose clock is a minute behind the engine's", func(c *trial) {
		row := c.newRow("1")
		row.RotatedAt, row.ExpiresAt = c.now.Add(-10*time.Minute), c.now.Add(-45*time.Second)
		c.mustCreate(row)
		c.writeUnrelated()
		c.wantRow(row)
		c.wantCreate(row, 0, jwtauth.ErrSessionExists) // although it has expired by the engine's clock
		rotation := jwtauth.Rotation{From: 1, At: c.now.Add(-time.Minute), ExpiresAt: c.now.Add(-30 * time.Second)}
		row = c.wantAdvance(row, rotation, true)
		c.writeUnrelated()
		row = c.wantAdvance(row, rotation, false)
		rotation.From, rotation.At = 2, row.ExpiresAt
		c.wantNoSession(row.Key, rotation)
		rotation.At, rotation.ExpiresAt = c.now.Add(-time.Minute), c.now.Add(time.Hour)
		c.wantAdvance(row, rotation, true)
		c.mustDelete(row.Key)
		c.wantRows(issuer, subject)
	}},
	{"A row has expired for a caller whose clock is a minute ahead of the engine's, but not for others", func(c *trial) {
		row := c.newRow("1")
		row.ExpiresAt = c.now.Add(30 * time.Second)
		c.mustCreate(row)
		ahead := jwtauth.Rotation{From: 1, At: c.now.Add(time.Minute), ExpiresAt: c.now.Add(time.Hour)}
		c.wantNoSession(row.Key, ahead)
		rotation := jwtauth.Rotation{From: 1, At: c.now, ExpiresAt: c.now.Add(90 * time.Second)}
		row = c.wantAdvance(row, rotation, true)
		ahead.From = 2
		c.wantAdvance(row, ahead, true)
	}},
	{"List has a row for as long as Advance can find it", func(c *trial) {
		var rows []jwtauth.SessionRecord
		for i := range 20 {
			row := c.newRow(fmt.Sprint(i))
			row.RotatedAt, row.ExpiresAt = c.now.Add(-time.Hour), c.now.Add(-time.Duration(i)*2*time.Second)
			c.mustCreate(row)
			rows = append(rows, row)
		}
		c.writeUnrelated()
		c.wantRows(issuer, subject, rows...)
	}},
}

// writeUnrelated writes rows and revocations that the check does not use. Some stores
// remove expired rows when they write.
func (c *trial) writeUnrelated() {
	c.Helper()
	for i := range 64 {
		row := c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: fmt.Sprint("bystander ", i%8), ID: fmt.Sprint(i)})
		c.mustDelete(row.Key)
		c.mustCreate(row)
		if _, _, err := c.sessions.Advance(c.ctx, row.Key, c.rotationFrom(1)); err != nil {
			c.Fatalf("Advance: %v", err)
		}
		c.mustRevoke(jwtauth.TokenID(issuer, fmt.Sprint("bystander ", i)), c.now.Add(time.Hour))
	}
}

// incompressibleText returns a text of n bytes that an engine cannot compress much.
func incompressibleText(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; {
		x = x*6364136223846793005 + 1442695040888963407
		b.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[x>>58])
	}
	return b.String()
}
