package redisstore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

const testIssuer = "https://issuer.test"

func keyOf(subject, id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: testIssuer, Subject: subject, ID: id}
}

// row returns a session that begins now and lasts as long as given.
func row(subject, id string, lasts time.Duration) jwtauth.SessionRecord {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return jwtauth.SessionRecord{Key: keyOf(subject, id), Generation: 1, RotatedAt: now, ExpiresAt: now.Add(lasts), Data: []byte(`{"a":1}`)}
}

// rotation returns the step of a client that presents the newest token.
func rotation(from int64, lasts time.Duration) jwtauth.Rotation {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return jwtauth.Rotation{From: from, Parent: from, At: now, ExpiresAt: now.Add(lasts)}
}

// inAnHour returns an end that comes after the test.
func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// storeOf returns a store with the given prefix.
func storeOf(t testing.TB, client redis.UniversalClient, prefix string) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(client, redisstore.Options{Prefix: prefix})
	require.NoError(t, err)
	return store
}

// optionsOf returns the options of a client of one server.
func optionsOf(s *engines.Server) *redis.Options {
	return &redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true}
}

func hostPort(s *engines.Server) (host, port string) {
	host, port, _ = net.SplitHostPort(s.Addr())
	return host, port
}

// clientOf returns a client of one server.
func clientOf(t testing.TB, s *engines.Server) *redis.Client {
	c := redis.NewClient(optionsOf(s))
	t.Cleanup(func() { c.Close() })
	return c
}

// eachMaster runs f for each server that has keys.
func eachMaster(t testing.TB, client redis.UniversalClient, f func(c *redis.Client)) {
	t.Helper()
	if c, ok := client.(*redis.Client); ok {
		f(c)
		return
	}
	var mu sync.Mutex
	require.NoError(t, client.(*redis.ClusterClient).ForEachMaster(t.Context(), func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		f(c)
		return nil
	}))
}

// keysOf returns all keys that begin with a prefix, each with a client of its server.
func keysOf(t testing.TB, client redis.UniversalClient, prefix string) map[string]*redis.Client {
	t.Helper()
	all := map[string]*redis.Client{}
	eachMaster(t, client, func(c *redis.Client) {
		scan := c.Scan(t.Context(), 0, prefix+":*", 1000).Iterator()
		for scan.Next(t.Context()) {
			all[scan.Val()] = c
		}
		require.NoError(t, scan.Err())
	})
	return all
}

// told returns the entries that Since lists.
func told(t testing.TB, log replica.Log, cursor string) (ids map[string]time.Time, next string, reset bool) {
	t.Helper()
	ids = map[string]time.Time{}
	next, reset, err := log.Since(t.Context(), cursor, func(id string, until time.Time) { ids[id] = until })
	require.NoError(t, err)
	return ids, next, reset
}

func revoke(t testing.TB, store jwtauth.RevocationStore, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, store.Revoke(t.Context(), id, inAnHour()))
	}
}

func requireRevoked(t testing.TB, store jwtauth.RevocationStore, want bool, ids ...string) {
	t.Helper()
	got, err := store.IsRevoked(t.Context(), ids...)
	require.NoError(t, err)
	require.Equal(t, want, got, "%q", ids)
}

// counter counts the commands that a client sends.
type counter struct{ n atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// call is one call of a Store method.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// callsOf returns calls of all methods, in an order in which they succeed.
func callsOf(store *redisstore.Store, subject string) []call {
	ignore := func(string, time.Time) {}
	var cursor atomic.Value // calls may be made at the same time
	cursor.Store("")
	return []call{
		{"Create", func(ctx context.Context) error { return store.Create(ctx, row(subject, "1", time.Hour), 0) }},
		{"Advance", func(ctx context.Context) error {
			_, _, err := store.Advance(ctx, keyOf(subject, "1"), rotation(1, time.Hour))
			return err
		}},
		{"List", func(ctx context.Context) error { _, err := store.List(ctx, testIssuer, subject, "", 1000); return err }},
		{"Delete", func(ctx context.Context) error { return store.Delete(ctx, keyOf(subject, "1")) }},
		{"Revoke", func(ctx context.Context) error { return store.Revoke(ctx, subject, inAnHour()) }},
		{"IsRevoked", func(ctx context.Context) error { _, err := store.IsRevoked(ctx, "a", "b", "c"); return err }},
		{"Since the start", func(ctx context.Context) error {
			next, _, err := store.Since(ctx, "", ignore)
			cursor.Store(next)
			return err
		}},
		{"Since", func(ctx context.Context) error {
			_, _, err := store.Since(ctx, cursor.Load().(string), ignore)
			return err
		}},
	}
}

// movable is an address that can move from one server to another, like a DNS name.
type movable struct {
	mu    sync.Mutex
	addr  string
	conns []net.Conn
	cut   atomic.Int64 // when so many reads have succeeded, the connection is cut
}

// to moves the address to a server, and cuts the connections.
func (m *movable) to(s *engines.Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addr = s.Addr()
	for _, c := range m.conns {
		c.Close()
	}
	m.conns = nil
}

func (m *movable) client(t testing.TB, s *engines.Server) *redis.Client {
	m.to(s)
	o := optionsOf(s)
	o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var d net.Dialer
		c, err := d.DialContext(ctx, network, m.addr)
		if err != nil {
			return nil, err
		}
		m.conns = append(m.conns, c)
		return &cuttable{Conn: c, m: m}, nil
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

type cuttable struct {
	net.Conn
	m *movable
}

// Read waits for the answer. If it is the one to lose, Read cuts the connection.
func (c *cuttable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.m.cut.Add(-1) == 0 {
		c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// replicate makes a server the replica of another one, and waits until both are equal.
func replicate(t testing.TB, replica, master *engines.Server) {
	t.Helper()
	host, port := hostPort(master)
	c := clientOf(t, replica)
	require.NoError(t, c.ReplicaOf(t.Context(), host, port).Err())
	require.NoError(t, until(func() error {
		info, err := c.Info(t.Context(), "replication").Result()
		if err == nil && !(strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")) {
			err = fmt.Errorf("the replica has not synchronized:\n%s", info)
		}
		return err
	}))
	n, err := clientOf(t, master).Wait(t.Context(), 1, 10*time.Second).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// promote makes a replica a master.
func promote(t testing.TB, s *engines.Server) {
	t.Helper()
	require.NoError(t, clientOf(t, s).ReplicaOf(t.Context(), "NO", "ONE").Err())
}
