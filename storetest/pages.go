package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// pageRules are the rules for the pages of List.
var pageRules = []rule{
	{"Pages of any size have the same rows in the same order, which depends on the IDs alone", func(c *trial) {
		ids := hostileTexts()
		want := make(map[string]jwtauth.SessionRecord)
		for n, id := range ids {
			row := c.newRow(id)
			row.RotatedAt, row.ExpiresAt = c.now.Add(-time.Duration(n*37%50)*time.Minute), c.now.Add(time.Duration(1+n*17%60)*time.Hour)
			c.mustCreate(row)
			want[id] = row
		}
		order := c.order(subject)
		check := func(when string) {
			c.Helper()
			for _, limit := range []int{1, 2, 7, len(ids) - 1, len(ids), len(ids) + 1, maxPage} {
				rows, err := c.listInPages(issuer, subject, limit, func([]jwtauth.SessionRecord) {})
				if err != nil {
					c.Fatalf("List in pages of %d rows: %v", limit, err)
				}
				if !slices.Equal(idsOf(rows), order) {
					c.Errorf("%s, List in pages of %d rows returned %d rows, and in pages of %d rows %d; the IDs or their order differ", when, limit, len(rows), maxPage, len(order))
				}
				for _, row := range rows {
					if d := rowDifference(row, want[row.Key.ID]); d != "" {
						c.Errorf("in a page of %d rows, %s", limit, d)
					}
				}
			}
		}
		check("after Create")
		for n, id := range ids {
			switch n % 3 {
			case 0:
				rotation := c.rotationFrom(int64(n + 1))
				rotation.ExpiresAt = c.now.Add(time.Duration(90-n%50) * time.Minute)
				a := c.advance(keyOfAlice(id), rotation)
				want[id] = c.wantStep(want[id], rotation, a)
			case 1:
				c.mustDelete(keyOfAlice(id))
				c.mustCreate(want[id])
			}
		}
		check("after other calls")
		for _, id := range slices.Backward(ids) { // another owner with the same IDs, which are created in another order
			c.mustCreate(c.newRowFor(jwtauth.SessionKey{Issuer: issuer, Subject: "bob", ID: id}))
		}
		if !slices.Equal(c.order("bob"), order) {
			c.Errorf("the rows of another subject with the same IDs are in another order")
		}
	}},
	{"Only the last page is shorter than the limit", func(c *trial) {
		const n = 12
		for i := range n {
			c.createRow(fmt.Sprint("live ", i))
		}
		for limit := 1; limit <= n+1; limit++ {
			after, left := "", n
			for {
				page, err := c.sessions.List(c.ctx, issuer, subject, after, limit)
				if err != nil {
					c.Fatalf("List: %v", err)
				}
				if len(page) != min(limit, left) {
					c.Fatalf("a page of at most %d rows has %d, and there are %d more", limit, len(page), left)
				}
				if len(page) < limit {
					break
				}
				left -= len(page)
				after = page[len(page)-1].Key.ID
			}
		}
	}},
	{"Rows that have expired or ended make no page shorter", func(c *trial) {
		const n = 20
		live := make(map[string]jwtauth.SessionRecord)
		for i := range n {
			row := c.createRow(fmt.Sprint("live ", i))
			live[row.Key.ID] = row
			ended := c.mustAdvance(c.createRow(fmt.Sprint("ended ", i)), c.endStep())
			live[ended.Key.ID] = ended
			// The engine may remove this row at any time.
			expired := c.newRow(fmt.Sprint("expired ", i))
			expired.RotatedAt, expired.ExpiresAt = c.now.Add(-time.Hour), c.now.Add(-10*time.Minute)
			c.mustCreate(expired)
		}
		for _, limit := range []int{1, 2, 5, n, maxPage} {
			rows, err := c.listInPages(issuer, subject, limit, func([]jwtauth.SessionRecord) {})
			if err != nil {
				c.Fatalf("List: %v", err)
			}
			missing := make(map[string]bool)
			for id := range live {
				missing[id] = true
			}
			for _, row := range rows {
				if want, ok := live[row.Key.ID]; ok && rowDifference(row, want) != "" {
					c.Errorf("in a page of %d rows, %s", limit, rowDifference(row, want))
				}
				delete(missing, row.Key.ID)
			}
			for id := range missing {
				c.Errorf("List in pages of %d rows misses the row %q", limit, id)
			}
		}
	}},
	{"A page begins after the place of any ID, even of one that never existed", func(c *trial) {
		var rows []jwtauth.SessionRecord
		for i := range 12 {
			rows = append(rows, c.createRow(fmt.Sprintf("%c lasting %d", "0AZaz~áß漢\ufeff\uffff😀"[i%5], i)))
		}
		order := c.order(subject)
		c.wantRows(issuer, subject, rows...)
		for _, text := range hostileTexts() {
			behind := c.idsAfter(text, maxPage)
			if len(behind) > len(order) || !slices.Equal(behind, order[len(order)-len(behind):]) {
				c.Fatalf("the page after %.40q has the rows %q; the order of all rows is %q", text, behind, order)
			}
			row := c.createRow(text)
			if got, want := c.order(subject), slices.Insert(slices.Clone(order), len(order)-len(behind), text); !slices.Equal(got, want) {
				c.Errorf("with a row %.40q, the order is %.40q, want %.40q", text, got, want)
			}
			c.wantIDsAfter(text, behind)
			if before := len(order) - len(behind); before > 0 {
				c.wantIDsAfter(order[before-1], append([]string{text}, behind...))
			}
			c.mustDelete(row.Key)
			c.wantIDsAfter(text, behind)
		}
		// The rows after a row stay the same if that row is deleted.
		for i, id := range order {
			c.wantIDsAfter(id, order[i+1:])
			c.mustDelete(keyOfAlice(id))
			c.wantIDsAfter(id, order[i+1:])
		}
	}},
	{"Each row that stays is in exactly one page, while other rows come and go between the pages", func(c *trial) {
		const n = 30
		for _, limit := range []int{1, 3, 8} {
			lasting := make(map[string]bool)
			for i := range n {
				row := c.newRow(fmt.Sprint("lasting ", i))
				c.mustDelete(row.Key)
				c.mustCreate(row)
				lasting[row.Key.ID] = true
				c.createRow(fmt.Sprint("passing ", i, " of ", limit))
			}
			var come int
			seen := make(map[string]int)
			rows, err := c.listInPages(issuer, subject, limit, func(page []jwtauth.SessionRecord) {
				for _, row := range page {
					if !lasting[row.Key.ID] {
						c.mustDelete(row.Key) // if the page ends with this row, the next one begins after a row that is gone
					} else if row.Generation == 1 {
						c.mustAdvance(row, c.rotationFrom(1))
					}
				}
				for range 2 {
					if come < n {
						c.createRow(fmt.Sprint("come ", come, " of ", limit))
						come++
					}
				}
			})
			if err != nil {
				c.Fatalf("List: %v", err)
			}
			for _, row := range rows {
				if seen[row.Key.ID]++; seen[row.Key.ID] > 1 {
					c.Errorf("%s is in two pages of %d rows", keyText(row.Key), limit)
				}
			}
			for id := range lasting {
				if seen[id] == 0 {
					c.Errorf("%q is in no page of %d rows", id, limit)
				}
			}
		}
	}},
	{"Pages have thousands of rows of one subject", func(c *trial) {
		const n = 2500
		want := c.createMany(subject, n)
		c.createMany("bob", 10)
		c.wantRows(issuer, subject, want...)
		order := c.order(subject)
		if len(order) != n {
			c.Fatalf("List has %d rows, want %d", len(order), n)
		}
		for _, limit := range []int{maxPage, 250, 999} {
			pages := 1
			rows, err := c.listInPages(issuer, subject, limit, func(page []jwtauth.SessionRecord) { pages++ })
			if err != nil {
				c.Fatalf("List: %v", err)
			}
			if !slices.Equal(idsOf(rows), order) {
				c.Errorf("pages of %d rows have another order or other rows", limit)
			}
			if pages != n/limit+1 {
				c.Errorf("%d rows are in %d pages of %d rows, want %d pages", n, pages, limit, n/limit+1)
			}
		}
		for _, i := range []int{0, 1, 254, 255, 256, 999, 1000, 1999, 2000, 2497, 2498, 2499} {
			if got := c.idsAfter(order[i], 1); !slices.Equal(got, order[i+1:min(i+2, n)]) {
				c.Errorf("the page of 1 row after row %d is %q, want %q", i, got, order[i+1:min(i+2, n)])
			}
			if got := c.idsAfter(order[i], maxPage); !slices.Equal(got, order[i+1:min(i+1+maxPage, n)]) {
				c.Errorf("the page of %d rows after row %d has %d rows that are not the next ones", maxPage, i, len(got))
			}
		}
		c.wantCreate(c.newRow("more"), maxPage, jwtauth.ErrSessionLimit)
	}},
}

func idsOf(rows []jwtauth.SessionRecord) []string {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.Key.ID
	}
	return ids
}

// order returns the IDs of the rows of a subject, in the order of List.
func (c *trial) order(subject string) []string {
	c.Helper()
	return idsOf(c.mustList(issuer, subject))
}

// idsAfter returns the IDs in the page of alice after an ID.
func (c *trial) idsAfter(after string, limit int) []string {
	c.Helper()
	page, err := c.sessions.List(c.ctx, issuer, subject, after, limit)
	if err != nil {
		c.Fatalf("List after %.40q: %v", after, err)
	}
	return idsOf(page)
}

// wantIDsAfter checks the IDs of all rows of alice after an ID.
func (c *trial) wantIDsAfter(after string, want []string) {
	c.Helper()
	if got := c.idsAfter(after, maxPage); !slices.Equal(got, want) {
		c.Errorf("the page after %.40q has the rows %.40q, want %.40q", after, got, want)
	}
	if got := c.idsAfter(after, 1); !slices.Equal(got, want[:min(len(want), 1)]) {
		c.Errorf("the page of 1 row after %.40q is %.40q, want the first of %.40q", after, got, want)
	}
}
