package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

var storeRules = slices.Concat(sessionRules, skewRules, keyRules, raceRules, contextRules, revocationRules)

var sessionRules = []rule{
	{"Create keeps a record as it is", func(c *trial) {
		row := c.row("1")
		row.Generation, row.Previous, row.RotatedAt = 7, 3, c.now.Add(-time.Minute)
		c.create(row)
		c.hasOnly(issuer, subject, row)
	}},
	{"Create of an ID that is there is an error and changes nothing", func(c *trial) {
		row := c.created("1")
		other := row
		other.Generation, other.ExpiresAt, other.Data = 9, c.now.Add(2*time.Hour), []byte(`{"other":true}`)
		for _, again := range []jwtauth.SessionRecord{row, other} {
			if c.sessions.Create(c.ctx, again) == nil {
				c.Errorf("Create of a row that is there is no error")
			}
			c.hasOnly(issuer, subject, row)
		}
		rotation := c.rotation(1)
		row = rotated(row, rotation)
		c.advance(rotation, true, row)
		if c.sessions.Create(c.ctx, other) == nil {
			c.Errorf("Create of a row that has been advanced is no error")
		}
		c.hasOnly(issuer, subject, row)
	}},
	{"Create takes an ID that was deleted", func(c *trial) {
		row := c.created("1")
		c.remove(row.Key)
		row.Data = []byte(`{"again":true}`)
		c.create(row)
		c.hasOnly(issuer, subject, row)
	}},
	{"Advance writes where the row's Generation is at most From and says so", advanceSteps},
	{"Advance of one row leaves the others as they are", func(c *trial) {
		first, second := c.created("1"), c.created("2")
		stranger := c.rowOf(jwtauth.SessionKey{Issuer: issuer, Subject: "bob", ID: "1"})
		c.create(stranger)
		rotation := c.rotation(1)
		c.advance(rotation, true, rotated(first, rotation))
		c.hasOnly(issuer, subject, rotated(first, rotation), second)
		c.hasOnly(issuer, "bob", stranger)
	}},
	{"Advance of a row that is not there is ErrNoSession and makes none", func(c *trial) {
		row := c.created("1")
		for _, k := range []jwtauth.SessionKey{
			keyOf("2"), {Issuer: issuer, Subject: "bob", ID: "1"}, {Issuer: "https://other.test", Subject: subject, ID: "1"},
		} {
			c.refused(k, c.rotation(1))
			c.refused(k, c.rotation(0))
			if rows := c.list(k.Issuer, k.Subject); k.ID == "1" && len(rows) > 0 {
				c.Errorf("Advance of %s has made a row", show(k))
			}
		}
		c.hasOnly(issuer, subject, row)
	}},
	{"Advance at or after ExpiresAt is ErrNoSession and changes nothing", func(c *trial) {
		row := c.created("1")
		late := c.rotation(1)
		late.ExpiresAt = c.now.Add(9 * time.Hour)
		for _, past := range []time.Duration{0, time.Microsecond, time.Second, 24 * time.Hour} {
			late.At = row.ExpiresAt.Add(past)
			c.refused(row.Key, late)
			late.From = 0
			c.refused(row.Key, late)
			late.From = 1
		}
		c.has(row)
		intime := c.rotation(1)
		intime.At, intime.ExpiresAt = row.ExpiresAt.Add(-time.Microsecond), row.ExpiresAt.Add(time.Hour)
		c.advance(intime, true, rotated(row, intime))
	}},
	{"Advance may bring the expiry forward, and that one counts", func(c *trial) {
		row := c.created("1")
		rotation := c.rotation(1)
		rotation.ExpiresAt = c.now.Add(time.Minute)
		row = rotated(row, rotation)
		c.advance(rotation, true, row)
		late := c.rotation(2)
		late.At = row.ExpiresAt
		c.refused(row.Key, late)
		late.At = row.ExpiresAt.Add(-time.Microsecond)
		c.advance(late, true, rotated(row, late))
	}},
	{"Data comes back byte for byte, also 8 KiB", func(c *trial) {
		for n, data := range []string{
			`{}`, `null`, `{"b":1, "a" : 1.0,"a":1e2}`, " {\n\t\"a\" : [ ] }\n", `{"text":"\u0000\u0041\\\"'"}`, `{"text":"áß漢😀%_?$1"}`, `[12345678901234567890, 0.1e-5, -0]`,
			`"` + incompressible(8<<10-2) + `"`,
		} {
			row := c.row(fmt.Sprint(n))
			row.Data = []byte(data)
			c.create(row)
			rotation := c.rotation(1)
			c.has(row)
			c.advance(rotation, true, rotated(row, rotation))
			c.advance(rotation, false, rotated(row, rotation))
		}
	}},
	{"Data is neither shared with who gave it nor with who gets it", func(c *trial) {
		row := c.created("1")
		want := row
		want.Data = slices.Clone(row.Data)
		row.Data[0] = 'X'
		for generation := range int64(2) {
			c.has(want)
			for _, listed := range c.list(issuer, subject) {
				copy(listed.Data, "XXXX")
			}
			rotation := c.rotation(generation + 1)
			want = rotated(want, rotation)
			got, _, err := c.sessions.Advance(c.ctx, want.Key, rotation)
			if err != nil {
				c.Fatalf("Advance: %v", err)
			}
			if d := difference(got, want); d != "" {
				c.Errorf("in the row that Advance returns, %s", d)
			}
			copy(got.Data, "XXXX")
		}
		c.has(want)
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
				row := c.row(fmt.Sprint(n, "-", m))
				row.RotatedAt, row.ExpiresAt = began, expires
				c.create(row)
				c.has(row)
				late := jwtauth.Rotation{From: 1, At: expires, ExpiresAt: expires.Add(time.Hour)}
				c.refused(row.Key, late)
				last := jwtauth.Rotation{From: 1, At: expires.Add(-time.Microsecond), ExpiresAt: expires.Add(time.Microsecond)}
				c.advance(last, true, rotated(row, last))
			}
		}
	}},
	{"Delete removes one row, and of none it is nil", func(c *trial) {
		c.remove(keyOf("1"))
		first, second := c.created("1"), c.created("2")
		c.remove(keyOf("3"))
		c.remove(first.Key)
		c.remove(first.Key)
		c.hasOnly(issuer, subject, second)
		c.refused(first.Key, c.rotation(1))
		c.remove(second.Key)
		c.hasOnly(issuer, subject)
	}},
	{"Delete of another subject's or issuer's row with the same ID removes nothing", func(c *trial) {
		row := c.created("1")
		c.remove(jwtauth.SessionKey{Issuer: issuer, Subject: "bob", ID: "1"})
		c.remove(jwtauth.SessionKey{Issuer: "https://other.test", Subject: subject, ID: "1"})
		c.hasOnly(issuer, subject, row)
		rotation := c.rotation(1)
		c.advance(rotation, true, rotated(row, rotation))
	}},
	{"List returns all rows of one subject of one issuer and no other", func(c *trial) {
		c.hasOnly(issuer, subject)
		owners := map[jwtauth.SessionKey]int{
			{Issuer: issuer, Subject: subject}: 300, {Issuer: issuer, Subject: "bob"}: 2, {Issuer: "https://other.test", Subject: subject}: 1,
		}
		rows := make(map[jwtauth.SessionKey][]jwtauth.SessionRecord)
		for owner, n := range owners {
			for i := range n {
				row := c.rowOf(jwtauth.SessionKey{Issuer: owner.Issuer, Subject: owner.Subject, ID: fmt.Sprint(i)})
				row.ExpiresAt = c.now.Add(time.Duration(1+i) * time.Minute)
				c.create(row)
				rows[owner] = append(rows[owner], row)
			}
		}
		for owner := range owners {
			c.hasOnly(owner.Issuer, owner.Subject, rows[owner]...)
		}
		c.hasOnly(issuer, "carol")
	}},
	{"However often a row is advanced, it stays one row", func(c *trial) {
		row := c.created("1")
		for from := int64(1); from <= 50; from++ {
			rotation := c.rotation(from)
			rotation.At = c.now.Add(time.Duration(from) * time.Second)
			row = rotated(row, rotation)
			c.advance(rotation, true, row)
		}
		c.hasOnly(issuer, subject, row)
	}},
}

// advanceSteps goes through the rule of Advance, each step with times of its own.
func advanceSteps(c *trial) {
	row := c.created("1")
	const huge = 1 << 53 // where doubles stop counting
	for n, step := range []struct {
		from     int64
		advanced bool
	}{
		{1, true}, {1, false}, {2, true}, {2, false}, {1, false}, {0, false}, {-5, false},
		{9, true}, {9, false}, {8, false}, {10, true}, // the row was behind: it rolls forward, and Previous tells
		{huge - 1, true}, {huge - 1, false}, {huge, true}, {huge, false}, {huge + 1, true}, {huge + 1, false}, {huge + 2, true}, {huge + 1, false},
		{1<<62 + 1, true}, {1<<62 + 1, false}, {1 << 62, false}, {1<<62 + 2, true},
	} {
		at := c.now.Add(time.Duration(n) * 1_000_001 * time.Microsecond)
		if n%3 == 2 {
			at = c.now.Add(-time.Duration(n) * time.Second) // another caller's clock is behind
		}
		rotation := jwtauth.Rotation{From: step.from, At: at, ExpiresAt: at.Add(time.Hour)}
		if step.advanced {
			row = rotated(row, rotation)
		}
		c.advance(rotation, step.advanced, row)
	}
}

// skewRules hold for callers whose clocks are up to a minute from the engine's.
var skewRules = []rule{
	{"A row is there for callers whose clock is a minute behind the engine's", func(c *trial) {
		row := c.row("1")
		row.RotatedAt, row.ExpiresAt = c.now.Add(-10*time.Minute), c.now.Add(-45*time.Second)
		c.create(row)
		c.churn()
		c.has(row)
		if c.sessions.Create(c.ctx, row) == nil {
			c.Errorf("Create of a row that is there is no error, as its end has passed by the engine's clock")
		}
		rotation := jwtauth.Rotation{From: 1, At: c.now.Add(-time.Minute), ExpiresAt: c.now.Add(-30 * time.Second)}
		row = rotated(row, rotation)
		c.advance(rotation, true, row)
		c.churn()
		c.advance(rotation, false, row)
		rotation.From, rotation.At = 2, row.ExpiresAt
		c.refused(row.Key, rotation)
		rotation.At, rotation.ExpiresAt = c.now.Add(-time.Minute), c.now.Add(time.Hour)
		c.advance(rotation, true, rotated(row, rotation))
		c.remove(row.Key)
		c.hasOnly(issuer, subject)
	}},
	{"A row is over for a caller whose clock is a minute ahead of the engine's, and for that one alone", func(c *trial) {
		row := c.row("1")
		row.ExpiresAt = c.now.Add(30 * time.Second)
		c.create(row)
		ahead := jwtauth.Rotation{From: 1, At: c.now.Add(time.Minute), ExpiresAt: c.now.Add(time.Hour)}
		c.refused(row.Key, ahead)
		rotation := jwtauth.Rotation{From: 1, At: c.now, ExpiresAt: c.now.Add(90 * time.Second)}
		row = rotated(row, rotation)
		c.advance(rotation, true, row)
		ahead.From = 2
		c.advance(ahead, true, rotated(row, ahead))
	}},
	{"List has a row for as long as Advance can find it", func(c *trial) {
		var rows []jwtauth.SessionRecord
		for i := range 20 {
			row := c.row(fmt.Sprint(i))
			row.RotatedAt, row.ExpiresAt = c.now.Add(-time.Hour), c.now.Add(-time.Duration(i)*2*time.Second)
			c.create(row)
			rows = append(rows, row)
		}
		c.churn()
		c.hasOnly(issuer, subject, rows...)
	}},
}

// churn writes what has nothing to do with the check, so that a store that clears
// away while it writes does so.
func (c *trial) churn() {
	c.Helper()
	for i := range 64 {
		row := c.rowOf(jwtauth.SessionKey{Issuer: issuer, Subject: fmt.Sprint("bystander ", i%8), ID: fmt.Sprint(i)})
		c.remove(row.Key)
		c.create(row)
		if _, _, err := c.sessions.Advance(c.ctx, row.Key, c.rotation(1)); err != nil {
			c.Fatalf("Advance: %v", err)
		}
		c.revoke(jwtauth.TokenID(issuer, fmt.Sprint("bystander ", i)), c.now.Add(time.Hour))
	}
}

// incompressible is a text of that length which no engine can make small.
func incompressible(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; {
		x = x*6364136223846793005 + 1442695040888963407
		b.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[x>>58])
	}
	return b.String()
}
