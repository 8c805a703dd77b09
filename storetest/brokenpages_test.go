package storetest_test

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	pageOrder = "Pages of any size have the same rows in the same order, which depends on the IDs alone"
	lastPage  = "Only the last page is shorter than the limit"
	noShorter = "Rows that have expired or ended make no page shorter"
	anyPlace  = "A page begins after the place of any ID, even of one that never existed"
	comeAndGo = "Each row that stays is in exactly one page, while other rows come and go between the pages"
	thousands = "Pages have thousands of rows of one subject"
)

// all returns all rows of a subject.
func (b *bent) all(issuer, subject string) (rows []record) {
	for after := ""; ; after = rows[len(rows)-1].Key.ID {
		page, _ := b.memory.List(context.Background(), issuer, subject, after, 1000)
		rows = append(rows, page...)
		if len(page) < 1000 {
			return rows
		}
	}
}

// pages makes List sort the rows with compare. from returns the place of the first row of
// the page after an ID.
func (b *bent) pages(compare func(x, y record) int, from func(rows []record, after string) int) {
	b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
		rows := b.all(issuer, subject)
		slices.SortFunc(rows, compare)
		if after != "" {
			rows = rows[from(rows, after):]
		}
		return rows[:min(len(rows), limit)], ctx.Err()
	}
}

func byID(x, y record) int { return strings.Compare(x.Key.ID, y.Key.ID) }

// behind returns the place after the row of an ID, or 0 if there is no row.
func behind(rows []record, id string) int {
	return 1 + slices.IndexFunc(rows, func(r record) bool { return r.Key.ID == id })
}

// pastID returns the number of rows whose ID is at most id.
func pastID(rows []record, id string) int {
	return countIf(rows, func(r record) bool { return r.Key.ID <= id })
}

func hashOf(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64()
}

var brokenPages = []broken{
	{"rows are listed in the order of their creation", pageOrder, func(b *bent) {
		var mu sync.Mutex
		created, n := make(map[key]int), 0
		b.create = func(ctx context.Context, r record, limit int) error {
			mu.Lock()
			defer mu.Unlock()
			n++
			created[r.Key] = n
			return b.memory.Create(ctx, r, limit)
		}
		b.pages(func(x, y record) int {
			mu.Lock()
			defer mu.Unlock()
			return cmp.Compare(created[x.Key], created[y.Key])
		}, behind)
	}},
	{"rows are listed in no order", pageOrder, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			slices.Reverse(rows[:len(rows)/2])
			return rows, err
		}
	}},
	{"pages are in the order of RotatedAt", pageOrder, func(b *bent) {
		b.pages(func(x, y record) int { return cmp.Or(x.RotatedAt.Compare(y.RotatedAt), byID(x, y)) }, behind)
	}},
	{"pages are in the order of ExpiresAt", pageOrder, func(b *bent) {
		b.pages(func(x, y record) int { return cmp.Or(x.ExpiresAt.Compare(y.ExpiresAt), byID(x, y)) }, behind)
	}},
	{"the order depends on the subject", pageOrder, func(b *bent) {
		b.pages(func(x, y record) int {
			return cmp.Compare(hashOf(x.Key.Subject+x.Key.ID), hashOf(y.Key.Subject+y.Key.ID))
		}, behind)
	}},
	{"the order ignores case, and so does after", pageOrder, func(b *bent) {
		b.pages(func(x, y record) int {
			return cmp.Or(strings.Compare(strings.ToLower(x.Key.ID), strings.ToLower(y.Key.ID)), byID(x, y))
		}, func(rows []record, after string) int {
			return countIf(rows, func(r record) bool { return strings.ToLower(r.Key.ID) <= strings.ToLower(after) })
		})
	}},
	{"rows whose places begin alike are listed once", pageOrder, func(b *bent) {
		place := func(id string) uint64 { return hashOf(id) >> 60 }
		b.pages(func(x, y record) int {
			return cmp.Or(cmp.Compare(place(x.Key.ID), place(y.Key.ID)), byID(x, y))
		}, func(rows []record, after string) int {
			return countIf(rows, func(r record) bool { return place(r.Key.ID) <= place(after) })
		})
	}},
	{"a page has one row less", lastPage, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, after, max(limit-1, 1))
		}
	}},
	{"a page has one row more", lastPage, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, after, limit+1)
		}
	}},
	{"a page has at most 10 rows", lastPage, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, after, min(limit, 10))
		}
	}},
	{"List does not look at after", lastPage, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, _ string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, "", limit)
		}
	}},
	{"after is compared with >=", lastPage, func(b *bent) {
		b.pages(byID, func(rows []record, after string) int {
			return countIf(rows, func(r record) bool { return r.Key.ID < after })
		})
	}},
	{"after the last row the first page comes again", lastPage, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			if len(rows) == 0 {
				return b.memory.List(ctx, issuer, subject, "", limit)
			}
			return rows, err
		}
	}},
	{"rows that have expired are removed from a page that is full", noShorter, func(b *bent) {
		var expired sync.Map
		b.create = func(ctx context.Context, r record, limit int) error { // so that the MemoryStore keeps the row
			if time.Since(r.ExpiresAt) > time.Minute {
				r.ExpiresAt = r.ExpiresAt.Add(time.Hour)
				expired.Store(r.Key, true)
			}
			return b.memory.Create(ctx, r, limit)
		}
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			return slices.DeleteFunc(rows, func(r record) bool {
				_, gone := expired.Load(r.Key)
				return gone
			}), err
		}
	}},
	{"rows that have ended are removed from a page that is full", noShorter, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, err := b.memory.List(ctx, issuer, subject, after, limit)
			return slices.DeleteFunc(rows, hasEnded), err
		}
	}},
	{"the list ends if there is no row of after", anyPlace, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			if _, ok := b.find(keyIs(issuer, subject, after)); after != "" && !ok {
				return nil, ctx.Err()
			}
			return b.memory.List(ctx, issuer, subject, after, limit)
		}
	}},
	{"the list begins again if there is no row of after", anyPlace, func(b *bent) { b.pages(byID, behind) }},
	{"no row of after is an error", anyPlace, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			if _, ok := b.find(keyIs(issuer, subject, after)); after != "" && !ok {
				return nil, errors.New("the cursor is not known")
			}
			return b.memory.List(ctx, issuer, subject, after, limit)
		}
	}},
	{"after is cut to 100 bytes", anyPlace, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, after[:min(len(after), 100)], limit)
		}
	}},
	{"after ends at a NUL", anyPlace, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			text, _, _ := strings.Cut(after, "\x00")
			return b.memory.List(ctx, issuer, subject, text, limit)
		}
	}},
	{"after that is not a number is an error", anyPlace, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			if strings.ContainsAny(after, "'\\") {
				return nil, errors.New("syntax error")
			}
			return b.memory.List(ctx, issuer, subject, after, limit)
		}
	}},
	{"after is the number of a row", comeAndGo, func(b *bent) {
		var numbers sync.Map // of the rows in the pages so far
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows, first := b.all(issuer, subject), 0
			if n, ok := numbers.Load(after); ok && after != "" {
				first = min(n.(int)+1, len(rows))
			}
			rows = rows[first:]
			rows = rows[:min(len(rows), limit)]
			for i, row := range rows {
				numbers.Store(row.Key.ID, first+i)
			}
			return rows, ctx.Err()
		}
	}},
	{"a row that is advanced moves to the end", comeAndGo, func(b *bent) {
		b.pages(func(x, y record) int { return cmp.Or(cmp.Compare(x.Generation, y.Generation), byID(x, y)) }, behind)
	}},
	{"a subject has at most 2,000 rows", thousands, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			rows := b.all(issuer, subject)
			rows = rows[:min(len(rows), 2000)]
			rows = rows[pastID(rows, after):]
			return rows[:min(len(rows), limit)], ctx.Err()
		}
	}},
	{"a page has at most 500 rows", thousands, func(b *bent) {
		b.list = func(ctx context.Context, issuer, subject, after string, limit int) ([]record, error) {
			return b.memory.List(ctx, issuer, subject, after, min(limit, 500))
		}
	}},
}
