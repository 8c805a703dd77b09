package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestAServerThatIsKilledAndComesBackHasLostNothingThatItConfirmed(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			server := engines.Redis(t, "--appendonly", "yes", "--appendfsync", fsync)
			store := newStore(t, clientOf(t, server))
			require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
			require.NoError(t, store.Create(t.Context(), row("alice", "2", time.Hour), 0))
			want, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
			require.NoError(t, err)
			require.True(t, advanced)
			require.NoError(t, store.Delete(t.Context(), keyOf("alice", "2")))
			_, cursor, _ := told(t, store, "")
			revoke(t, store, "a")

			server.Kill()
			for _, call := range callsOf(store, "bob") {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				err := call.do(ctx)
				cancel()
				require.Error(t, err, call.name)
				require.NotErrorIs(t, err, jwtauth.ErrNoSession, call.name)
			}
			require.NoError(t, server.Start())

			got, advanced, err := store.Advance(t.Context(), want.Key, rotation(1, time.Hour)) // a replay of the old token
			require.NoError(t, err)
			require.False(t, advanced)
			require.Positive(t, got.Age)
			got.Age = 0
			require.Equal(t, want, got)
			_, _, err = store.Advance(t.Context(), keyOf("alice", "2"), rotation(1, time.Hour))
			require.ErrorIs(t, err, jwtauth.ErrNoSession)
			requireRevoked(t, store, true, "a")
			ids, _, reset := told(t, store, cursor)
			require.True(t, reset)
			require.Contains(t, ids, "a")
		})
	}
}

func TestAServerThatComesBackFromAnOlderDumpResets(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	revoke(t, store, "a")
	require.NoError(t, client.Save(t.Context()).Err())
	revoke(t, store, "b")
	_, cursor, _ := told(t, store, "")
	server.Kill()
	require.FileExists(t, filepath.Join(server.Folder, "dump.rdb"))
	require.NoError(t, server.Start())
	revoke(t, store, "c") // the log is now as long as before
	ids, _, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Contains(t, ids, "a")
	require.NotContains(t, ids, "b")
	require.Contains(t, ids, "c")
}

func TestAFailoverToAReplicaThatLostTheLastSecondResets(t *testing.T) {
	master, replica := engines.Redis(t), engines.Redis(t)
	var address movable
	store := newStore(t, address.client(t, master))
	revoke(t, store, "a")
	replicate(t, replica, master)
	_, cursor, _ := told(t, store, "")
	promote(t, replica) // from here on, it gets no writes
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	revoke(t, store, "lost")
	_, seen, _ := told(t, store, cursor)
	master.Kill()
	address.to(replica)
	revoke(t, store, "b")
	var next string
	for _, c := range []string{cursor, seen} {
		ids, at, reset := told(t, store, c)
		require.True(t, reset)
		if c == seen { // the new master does not have what this reader has read last
			require.Contains(t, ids, "a")
		}
		require.Contains(t, ids, "b")
		require.NotContains(t, ids, "lost")
		next = at
	}
	revoke(t, store, "lost") // each node that knows the revocation sends it again
	ids, _, reset := told(t, store, next)
	require.False(t, reset)
	require.Contains(t, ids, "lost")
	requireRevoked(t, store, true, "lost")
	_, _, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
	require.ErrorIs(t, err, jwtauth.ErrNoSession, "a login that was lost has to log in again")
}

// The same process is the master again, but with the data of another server.
func TestAMasterThatWasAReplicaInBetweenResets(t *testing.T) {
	first, second := engines.Redis(t), engines.Redis(t)
	var address movable
	store := newStore(t, address.client(t, first))
	revoke(t, store, "a")
	replicate(t, second, first)
	promote(t, second)
	revoke(t, store, "lost 1", "lost 2")
	_, cursor, _ := told(t, store, "")
	address.to(second)
	revoke(t, store, "b", "c")
	replicate(t, first, second)
	promote(t, first)
	address.to(first)
	ids, _, reset := told(t, store, cursor)
	require.True(t, reset)
	require.Len(t, ids, 3)
}

func TestAReplicaIsNotRead(t *testing.T) {
	master, replica := engines.Redis(t), engines.Redis(t)
	store := newStore(t, clientOf(t, master))
	for _, call := range callsOf(store, "alice") {
		require.NoError(t, call.do(t.Context()), call.name)
	}
	replicate(t, replica, master)
	o := optionsOf(replica)
	o.MaxRetries = -1
	client := redis.NewClient(o)
	defer client.Close()
	stale := newStore(t, client)
	for _, call := range callsOf(stale, "alice") {
		require.Error(t, call.do(t.Context()), call.name)
	}
}

func TestAClientThatMayReadFromReplicasReadsFromTheMaster(t *testing.T) {
	master, replica := engines.Redis(t, "--cluster-enabled", "yes"), engines.Redis(t, "--cluster-enabled", "yes")
	require.NoError(t, formCluster([]*engines.Server{master}))
	require.NoError(t, joinAsReplica(t, replica, master))
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{master.Addr()}, ReadOnly: true, RouteRandomly: true, ContextTimeoutEnabled: true,
	})
	defer client.Close()
	store := newStore(t, client)
	read := func() int64 {
		var calls int64
		info, err := clientOf(t, replica).InfoMap(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		for name, value := range info["Commandstats"] {
			if name == "cmdstat_evalsha" || name == "cmdstat_eval" || name == "cmdstat_get" {
				var n int64
				fmt.Sscanf(value, "calls=%d", &n)
				calls += n
			}
		}
		return calls
	}
	require.NoError(t, until(func() error {
		client.ReloadState(t.Context())
		if client.Get(t.Context(), "nothing"); read() == 0 {
			return fmt.Errorf("the client does not read from the replica")
		}
		return nil
	}))
	before := read()
	for i := range 50 {
		for _, call := range callsOf(store, fmt.Sprint(i)) {
			require.NoError(t, call.do(t.Context()), call.name)
		}
	}
	require.Equal(t, before, read())
}

func joinAsReplica(t *testing.T, replica, master *engines.Server) error {
	m, r := clientOf(t, master), clientOf(t, replica)
	id, err := m.ClusterMyID(t.Context()).Result()
	if err != nil {
		return err
	}
	host, port := hostPort(master)
	if err := r.ClusterMeet(t.Context(), host, port).Err(); err != nil {
		return err
	}
	if err := until(func() error { return r.ClusterReplicate(t.Context(), id).Err() }); err != nil {
		return err
	}
	return until(func() error {
		links, err := m.ClusterShards(t.Context()).Result()
		if err == nil && (len(links) != 1 || len(links[0].Nodes) != 2 || links[0].Nodes[0].Health != "online" || links[0].Nodes[1].Health != "online") {
			err = fmt.Errorf("the replica has not joined: %+v", links)
		}
		return err
	})
}

func TestAServerThatSaysNothingEndsNobodysDeadline(t *testing.T) {
	server := engines.Redis(t)
	o := optionsOf(server)
	o.PoolSize = 4
	client := redis.NewClient(o)
	defer client.Close()
	store := newStore(t, client)
	for _, call := range callsOf(store, "alice") {
		require.NoError(t, call.do(t.Context()), call.name)
	}
	before := runtime.NumGoroutine()
	resume := pause(t, server)
	const deadline = 300 * time.Millisecond
	var all sync.WaitGroup
	for i := range 50 { // many more than connections
		for _, call := range callsOf(store, fmt.Sprint("bob ", i)) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				if err := call.do(ctx); err == nil {
					t.Errorf("%s has an answer", call.name)
				}
				if late := time.Since(began) - deadline; late > 2*time.Second {
					t.Errorf("%s has returned %v after its deadline", call.name, late)
				}
			})
		}
	}
	all.Wait()
	require.NoError(t, until(func() error {
		if n := runtime.NumGoroutine(); n > before+4 {
			return fmt.Errorf("%d goroutines are left, there were %d", n, before)
		}
		return nil
	}))
	resume()
	require.NoError(t, until(func() error {
		_, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
		return err
	}))
	for _, call := range callsOf(store, "carol") {
		require.NoError(t, call.do(t.Context()), call.name)
	}
}

// The answer is lost after the call has taken effect, and the client repeats the call.
func TestACallWhoseAnswerIsLostIsDoneOnce(t *testing.T) {
	server := engines.Redis(t)
	var address movable
	store := newStore(t, address.client(t, server))
	for _, call := range callsOf(store, "warm") {
		require.NoError(t, call.do(t.Context()), call.name)
	}
	lose := func(do func() error) {
		t.Helper()
		address.cut.Store(1)
		require.NoError(t, do())
		require.LessOrEqual(t, address.cut.Load(), int64(0), "no answer was lost")
	}
	lose(func() error { return store.Create(t.Context(), row("alice", "1", time.Hour), 0) })
	lose(func() error {
		got, _, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
		require.EqualValues(t, 2, got.Generation)
		return err
	})
	require.Error(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0), "this one is another call")
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.EqualValues(t, 2, rows[0].Generation)
	_, cursor, _ := told(t, store, "")
	lose(func() error { return store.Revoke(t.Context(), "a", inAnHour()) })
	ids, _, _ := told(t, store, cursor)
	require.Contains(t, ids, "a")
	lose(func() error { return store.Delete(t.Context(), keyOf("alice", "1")) })
}

func TestAFullEngineRefusesLoginsAndGoesOnToAnswerAndToRevoke(t *testing.T) {
	server := engines.Redis(t, "--maxmemory-policy", "noeviction")
	client := clientOf(t, server)
	store := newStore(t, client)
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	revoke(t, store, "a")
	_, cursor, _ := told(t, store, "")
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.Error(t, store.Create(t.Context(), row("alice", "2", time.Hour), 0))
	_, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
	require.Error(t, err)
	require.NotErrorIs(t, err, jwtauth.ErrNoSession)
	require.False(t, advanced)
	for _, at := range []string{"b", "c"} {
		require.NoError(t, store.Revoke(t.Context(), at, inAnHour().Add(-time.Minute)))
		requireRevoked(t, store, true, "a", at)
	}
	fresh := newStore(t, client)
	revoke(t, fresh, "first")
	requireRevoked(t, fresh, true, "first")
	ids, _, reset := told(t, store, cursor)
	require.False(t, reset)
	require.Len(t, ids, 2)
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.EqualValues(t, 1, rows[0].Generation, "half of a call was done")
	require.NoError(t, store.Delete(t.Context(), keyOf("alice", "1")), "who wants to log out may")
}

func TestAMasterWithoutItsReplicasConfirmsNothingAndGoesOnToReadRevocations(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	require.NoError(t, store.Create(t.Context(), row("alice", "1", time.Hour), 0))
	revoke(t, store, "a")
	_, cursor, _ := told(t, store, "")
	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	require.ErrorContains(t, store.Create(t.Context(), row("alice", "2", time.Hour), 0), "NOREPLICAS")
	_, advanced, err := store.Advance(t.Context(), keyOf("alice", "1"), rotation(1, time.Hour))
	require.ErrorContains(t, err, "NOREPLICAS")
	require.False(t, advanced)
	require.ErrorContains(t, store.Delete(t.Context(), keyOf("alice", "1")), "NOREPLICAS")
	require.ErrorContains(t, store.Revoke(t.Context(), "b", inAnHour()), "NOREPLICAS")
	requireRevoked(t, store, true, "a")
	requireRevoked(t, store, false, "b")
	_, _, reset := told(t, store, cursor)
	require.False(t, reset)
	_, err = store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.ErrorContains(t, err, "NOREPLICAS")
	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())
	rows, err := store.List(t.Context(), testIssuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.EqualValues(t, 1, rows[0].Generation)
}

func TestADumpHoldsNoToken(t *testing.T) {
	server := engines.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	client := clientOf(t, server)
	store := newStore(t, client)
	key, err := jwk.Generate(jwk.ES256)
	require.NoError(t, err)
	ring, err := jwk.NewRing(key)
	require.NoError(t, err)
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testIssuer}, Sessions: store, Revocations: store})
	require.NoError(t, err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	first, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", AuthTime: time.Now(), Scopes: []string{"read"}, ClientID: "app", Details: map[string]string{"device": "phone"}})
	require.NoError(t, err)
	second, err := issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken, ClientID: "app"})
	require.NoError(t, err)
	third, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", AuthTime: time.Now()})
	require.NoError(t, err)
	require.NoError(t, issuer.Logout(t.Context(), third.AccessToken))
	_, err = verifier.Verify(t.Context(), third.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	require.NoError(t, client.ConfigSet(t.Context(), "rdbcompression", "no").Err())
	require.NoError(t, client.Save(t.Context()).Err())

	files := 0
	require.NoError(t, filepath.Walk(server.Folder, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for _, tokens := range []jwtauth.TokenResponse{first, second, third} {
			for _, token := range []string{tokens.AccessToken, tokens.RefreshToken} {
				require.NotContains(t, string(data), token)
				require.NotContains(t, string(data), token[len(token)-40:], "the signature of a token is in %s", path)
			}
		}
		return err
	}))
	require.GreaterOrEqual(t, files, 3)
}
