package sqlstore_test

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// BenchmarkAtAMillion measures each method on tables of a million sessions and a
// million revocations.
func BenchmarkAtAMillion(b *testing.B) {
	b.Run("PostgreSQL", func(b *testing.B) { benchmark(b, postgresql(b)) })
	b.Run("SQLite", func(b *testing.B) { benchmark(b, sqlite(b)) })
}

func benchmark(b *testing.B, e database) {
	e.store(b)
	e.fill(b, 1_000_000)
	db := e.open(b)
	db.SetMaxIdleConns(16)
	s := e.newStore(b, db)
	r := record("alice", "one")
	require.NoError(b, s.Create(b.Context(), r, 0))
	var n atomic.Int64
	create := func() error {
		other := record(fmt.Sprint("subject ", n.Add(1)), "one")
		return s.Create(b.Context(), other, 0)
	}
	revoke := func() error { return s.Revoke(b.Context(), tokenID(int(n.Add(1))), r.ExpiresAt) }
	isRevoked := func() error {
		i := int(n.Add(1))
		_, err := s.IsRevoked(b.Context(), tokenID(i), jwtauth.SessionID("https://issuer.test", fmt.Sprint(i)))
		return err
	}
	from := r.Generation
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"Create", create},
		{"Advance", func() error {
			row, _, err := s.Advance(b.Context(), r.Key, jwtauth.Rotation{From: from, At: r.RotatedAt, ExpiresAt: r.ExpiresAt})
			from = row.Generation
			return err
		}},
		{"List", func() error { _, err := s.List(b.Context(), r.Key.Issuer, "alice", "", 1000); return err }},
		{"Revoke", revoke},
		{"IsRevoked", isRevoked},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for name, do := range map[string]func() error{"Revoke by 16": revoke, "IsRevoked by 16": isRevoked, "Create by 16": create} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := do(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	b.Run("Since, one new", func(b *testing.B) {
		cursor, _, err := s.Since(b.Context(), "", func(string, time.Time) {})
		require.NoError(b, err)
		for b.Loop() {
			b.StopTimer()
			require.NoError(b, revoke())
			b.StartTimer()
			told := 0
			cursor, _, err = s.Since(b.Context(), cursor, func(string, time.Time) { told++ })
			if err != nil || told != 1 {
				b.Fatal(told, err)
			}
		}
	})
	b.Run("Since, all", func(b *testing.B) {
		for b.Loop() {
			told := 0
			if _, _, err := s.Since(b.Context(), "", func(string, time.Time) { told++ }); err != nil || told < 1_000_000 {
				b.Fatal(told, err)
			}
		}
	})
}

// BenchmarkAMillionSessionsOfOneSubject measures the calls whose time could depend on how
// many sessions the subject has.
func BenchmarkAMillionSessionsOfOneSubject(b *testing.B) {
	for name, e := range map[string]database{"PostgreSQL": postgresql(b), "SQLite": sqlite(b)} {
		s := e.store(b)
		e.fillSubject(b, "alice", 1_000_000)
		after := ""
		n := 0
		for _, c := range []struct {
			name string
			do   func() error
		}{
			{"List of 100", func() error {
				rows, err := s.List(b.Context(), "https://issuer.test", "alice", after, 100)
				after = rows[len(rows)-1].Key.ID
				return err
			}},
			{"List of 1000", func() error {
				_, err := s.List(b.Context(), "https://issuer.test", "alice", "", 1000)
				return err
			}},
			{"Create", func() error {
				n++
				return s.Create(b.Context(), record("alice", fmt.Sprint("new ", n)), 0)
			}},
			{"Create with a limit of 1000, which is reached", func() error {
				if err := s.Create(b.Context(), record("alice", "new"), 1000); !errors.Is(err, jwtauth.ErrSessionLimit) {
					return fmt.Errorf("Create: %w", err)
				}
				return nil
			}},
			{"Advance", func() error {
				_, _, err := s.Advance(b.Context(), keyOf("alice", "new 1"), jwtauth.Rotation{From: math.MaxInt64 - 2, At: now(), ExpiresAt: now().Add(time.Hour)})
				return err
			}},
			{"Delete", func() error {
				n--
				return s.Delete(b.Context(), keyOf("alice", fmt.Sprint("new ", n)))
			}},
		} {
			b.Run(name+", "+c.name, func(b *testing.B) {
				var longest time.Duration
				for b.Loop() {
					began := time.Now()
					if err := c.do(); err != nil {
						b.Fatal(err)
					}
					longest = max(longest, time.Since(began))
				}
				b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
			})
		}
	}
}
