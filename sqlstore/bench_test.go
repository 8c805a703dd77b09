package sqlstore_test

import (
	"fmt"
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
