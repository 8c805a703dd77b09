//go:build linux

package faults_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/test/engines"
)

var stormTime = flag.Duration("storm", 14*time.Second, "how long the storm lasts; a third of that, at least 4s, on an engine that may lose writes")

// stormGrace is the RefreshGrace of the nodes in a storm. It is as short as allowed, so that a
// client can come back after twice the grace before the storm ends.
const stormGrace = 4 * time.Second

// The clients: 64 that refresh, and others.
const (
	loneClients = 32 // with a session each
	losers      = 8  // with a session each, whose answers are lost again and again
	families    = 8  // sessions that several clients share
	tabs        = 3  // how many clients share such a session
	leavers     = 8
	thieves     = 4
	checkers    = 2
)

// storm is one run.
type storm struct {
	t       *testing.T
	ctx     context.Context // ends with the storm
	durable bool            // the engine loses no confirmed write
	server  *engines.Server
	proxies []*engines.Proxy // one for each node
	nodes   []*node
	sever   func(ctx context.Context) error // makes the engine close all connections

	mu         sync.Mutex
	counts     map[string]int
	violations int
	times      map[string][]time.Duration
	redeemed   map[string]map[int64][]answer // by session and generation
	ended      []endedSession
}

// endedSession is a session whose end a node has confirmed.
type endedSession struct {
	access string
	at     time.Time
	node   int // the node that confirmed it
}

func TestStorm(t *testing.T) {
	for _, test := range []struct {
		name    string
		start   func(t testing.TB, settings ...string) *engines.Server
		durable bool
		set     []string
	}{
		{"Redis, appendfsync always", engines.Redis, true, []string{"--appendonly", "yes", "--appendfsync", "always"}},
		{"PostgreSQL, synchronous_commit on", engines.Postgres, true, nil},
		{"Redis, appendfsync everysec", engines.Redis, false, []string{"--appendonly", "yes", "--appendfsync", "everysec"}},
		{"Redis, appendfsync no", engines.Redis, false, []string{"--appendonly", "yes", "--appendfsync", "no"}},
		{"Redis, snapshots alone", engines.Redis, false, []string{"--save", "1 1"}},
		{"PostgreSQL, synchronous_commit off", engines.Postgres, false, []string{"synchronous_commit=off", "wal_writer_delay=2s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			length := *stormTime
			if !test.durable {
				length = max(length/3, 4*time.Second)
			}
			newStorm(t, test.start(t, test.set...), test.durable).rage(length)
		})
	}
}

// newStorm starts two nodes, each with its own proxy in front of the engine.
func newStorm(t *testing.T, server *engines.Server, durable bool) *storm {
	s := &storm{
		t: t, durable: durable, server: server,
		counts: map[string]int{}, times: map[string][]time.Duration{}, redeemed: map[string]map[int64][]answer{},
	}
	engine, _, _ := strings.Cut(server.URL(), ":")
	p := on(t, engine, server)
	if engine == "redis" {
		client, err := p.redis()
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		s.sever = func(ctx context.Context) error {
			_, err := client.Pipelined(ctx, func(c redis.Pipeliner) error {
				c.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub")
				c.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				return nil
			})
			return err
		}
	} else {
		db, err := sql.Open("pgx", p.URL)
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		s.sever = func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
			return err
		}
	}
	for range 2 {
		proxy := engines.NewProxy(t, server.Addr())
		s.proxies = append(s.proxies, proxy)
		s.nodes = append(s.nodes, startNodeWith(t, p.through(t, proxy.Addr()), stormGrace))
	}
	return s
}

// weather makes the engine fail in several ways, until the storm ends.
func (s *storm) weather() {
	for n := 0; s.ctx.Err() == nil; n++ {
		s.pause(600)
		happens := []string{"killed", "slow", "severed", "killed", "paused", "cut"}[n%6]
		s.count("the engine: " + happens)
		switch node := s.anyNode(); happens {
		case "killed":
			s.server.Kill()
			if n%6 == 0 { // longer than a node waits for an answer
				s.rest(2500 * time.Millisecond)
			}
			s.pause(1000)
			if err := s.server.Start(); err != nil {
				s.violation("%v", err)
				return
			}
		case "slow":
			s.proxies[node].Delay(time.Duration(20+rand.IntN(200)) * time.Millisecond)
			s.pause(1000)
			s.proxies[node].Delay(0)
		case "severed":
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			if err := s.sever(ctx); err != nil {
				s.count("the engine: could not be told to sever")
			}
			cancel()
		case "paused":
			if err := s.server.Pause(); err != nil {
				s.violation("%v", err)
				return
			}
			s.pause(3000)
			s.server.Resume()
		case "cut":
			s.proxies[node].Cut()
		}
	}
}

// rage runs the storm for at least length, and on a slow machine for up to a minute, until
// isProof is true. Then it checks what has happened.
func (s *storm) rage(length time.Duration) {
	t := s.t
	before := make([]nodeStats, len(s.nodes))
	for i, n := range s.nodes {
		n.login(t, "nobody")
		before[i] = n.stats(t)
	}
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		s.rest(length)
		for s.ctx.Err() == nil && !s.isProof() {
			s.rest(100 * time.Millisecond)
		}
		cancel()
	})
	all.Go(s.weather)
	for i := range loneClients {
		all.Go(func() { s.user(fmt.Sprint("user ", i), 1) })
	}
	for i := range losers {
		all.Go(func() { s.loser(fmt.Sprint("loser ", i)) })
	}
	for i := range families {
		all.Go(func() { s.user(fmt.Sprint("family ", i), tabs) })
	}
	for i := range leavers {
		all.Go(func() { s.leaver(fmt.Sprint("leaver ", i)) })
	}
	for i := range thieves {
		all.Go(func() { s.thief(fmt.Sprint("victim ", i)) })
	}
	for i := range thieves {
		all.Go(func() { s.lateThief(fmt.Sprint("late victim ", i)) })
	}
	for range checkers {
		all.Go(s.checker)
	}
	all.Wait()
	s.settled()
	s.noForks()
	s.table(before)
	require.True(t, s.isProof(), "not everything that the storm must show has happened")
}

// isProof reports whether what the storm must show has happened: a refresh was answered with
// 503, a replayed token and a revoked one were refused, and a session went on after a lost
// answer. The recovery after a lost answer is not required of engines that may lose writes,
// because their storms are too short for it.
func (s *storm) isProof() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts["refresh: 503"] > 0 && s.counts["replay: 400"] > 0 && s.counts["API, revoked token: 401"] > 0 &&
		(s.counts["a lost answer, recovered"] > 0 || !s.durable)
}
