package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestNewRefusesWhatCannotBeSafe(t *testing.T) {
	good := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true})
	defer good.Close()
	for name, client := range map[string]redis.UniversalClient{
		"no client":                                       nil,
		"a client that does not keep deadlines":           redis.NewClient(&redis.Options{}),
		"a failover client that does not keep deadlines":  redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}}),
		"a cluster client that does not keep deadlines":   redis.NewClusterClient(&redis.ClusterOptions{}),
		"a universal client that does not keep deadlines": redis.NewUniversalClient(&redis.UniversalOptions{}),
		"a nil client":                                    (*redis.Client)(nil),
		"a ring":                                          redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true}),
	} {
		_, err := redisstore.New(client, redisstore.Options{})
		require.Error(t, err, name)
		if client != nil && name != "a nil client" {
			client.Close()
		}
	}
	for _, prefix := range []string{" ", "a b", "{a}", "a{", "a*", "a\n", "ä", strings.Repeat("a", 65)} {
		_, err := redisstore.New(good, redisstore.Options{Prefix: prefix})
		require.Error(t, err, "%q", prefix)
	}
	for _, prefix := range []string{"", "a", "my.app:auth_v-2", strings.Repeat("a", 64)} {
		_, err := redisstore.New(good, redisstore.Options{Prefix: prefix})
		require.NoError(t, err, "%q", prefix)
	}
}

func TestAStoreThatNewDidNotMakeIsAnError(t *testing.T) {
	for _, store := range []*redisstore.Store{nil, {}} {
		for _, call := range callsOf(store, "alice") {
			require.Error(t, call.do(t.Context()), call.name)
		}
		_, err := store.Check(t.Context())
		require.Error(t, err)
		require.Error(t, store.Watch(t.Context(), func() {}))
	}
}

func TestCheckRefusesAnEngineThatEvicts(t *testing.T) {
	server := engines.Redis(t, "--appendonly", "yes")
	client := clientOf(t, server)
	store := newStore(t, client)
	for _, c := range []struct {
		maxmemory, policy, fsync string
		warning, err             string
	}{
		{"0", "noeviction", "everysec", "", ""},
		{"100mb", "noeviction", "always", "", ""},
		{"100mb", "allkeys-lru", "always", "", "drops keys"},
		{"100mb", "volatile-ttl", "always", "", "drops keys"},
		{"100mb", "allkeys-random", "always", "", "drops keys"},
		{"0", "allkeys-lru", "always", "must be noeviction", ""},
		{"0", "noeviction", "no", "appendfsync", ""},
	} {
		for name, value := range map[string]string{"maxmemory": c.maxmemory, "maxmemory-policy": c.policy, "appendfsync": c.fsync} {
			require.NoError(t, client.ConfigSet(t.Context(), name, value).Err())
		}
		warnings, err := store.Check(t.Context())
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		if c.warning == "" {
			require.Empty(t, warnings, "%+v", c)
		} else {
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], c.warning)
		}
	}
	require.NoError(t, client.ConfigSet(t.Context(), "appendonly", "no").Err())
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	warnings, err := store.Check(t.Context())
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "appendonly is off")
}

func TestCheckAsksEachMasterOfACluster(t *testing.T) {
	client := cluster(t)
	store := newStore(t, client)
	warnings, err := store.Check(t.Context())
	require.NoError(t, err)
	require.Len(t, warnings, 1, "each master has the same warning")
	last := clientOf(t, sharedCluster(t)[2])
	require.NoError(t, last.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	require.NoError(t, last.ConfigSet(t.Context(), "maxmemory", "1gb").Err())
	defer last.ConfigSet(t.Context(), "maxmemory-policy", "noeviction")
	defer last.ConfigSet(t.Context(), "maxmemory", "0")
	_, err = store.Check(t.Context())
	require.ErrorContains(t, err, "drops keys")
}

func TestCheckWarnsOfAClusterClientThatLearnsLateOfAFailover(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		warns    bool
	}{{0, true}, {time.Second, false}, {10 * time.Second, false}, {11 * time.Second, true}} {
		o := &redis.ClusterOptions{ContextTimeoutEnabled: true, ClusterStateReloadInterval: c.interval}
		for _, node := range sharedCluster(t) {
			o.Addrs = append(o.Addrs, node.Addr())
		}
		warnings, err := newStore(t, closing(t, redis.NewClusterClient(o))).Check(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.warns, strings.Contains(strings.Join(warnings, "\n"), "ClusterStateReloadInterval"), "%v: %q", c.interval, warnings)
	}
}

func TestCheckWarnsOfAMasterThatConfirmsWritesWithoutItsReplicas(t *testing.T) {
	master, replica := engines.Redis(t, "--appendonly", "yes"), engines.Redis(t)
	client := clientOf(t, master)
	store := newStore(t, client)
	warnings, err := store.Check(t.Context())
	require.NoError(t, err)
	require.Empty(t, warnings, "it has no replica")
	replicate(t, replica, master)
	warnings, err = store.Check(t.Context())
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "min-replicas-to-write")
	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	warnings, err = store.Check(t.Context())
	require.NoError(t, err)
	require.Empty(t, warnings)
}

func TestCheckRefusesAReplicaAndAnEngineThatDoesNotAnswer(t *testing.T) {
	master, replica := engines.Redis(t), engines.Redis(t)
	replicate(t, replica, master)
	_, err := newStore(t, clientOf(t, replica)).Check(t.Context())
	require.ErrorContains(t, err, "replica")
	store := newStore(t, clientOf(t, master))
	master.Kill()
	defer master.Start()
	_, err = store.Check(t.Context())
	require.Error(t, err)
}

// Without the right to INFO, Check and the scripts that need it fail. Without the right to
// CONFIG, Check warns of what it could not read.
func TestAUserWithoutInfoIsToldSo(t *testing.T) {
	server := engines.Redis(t)
	admin := clientOf(t, server)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-info").Err())
	o := optionsOf(server)
	o.Username, o.Password = "app", "secret"
	client := redis.NewClient(o)
	defer client.Close()
	store := newStore(t, client)
	_, err := store.Check(t.Context())
	require.ErrorContains(t, err, "NOPERM")
	_, err = store.IsRevoked(t.Context(), "a")
	require.Error(t, err)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", "+info", "-config").Err())
	warnings, err := store.Check(t.Context())
	require.NoError(t, err)
	require.Len(t, warnings, 1, "a warning that it does not persist")
	requireRevoked(t, store, false, "a")
}

// The test reads the rights from the package documentation.
func TestTheRightsThatTheDocumentationNamesAreEnough(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	_, rights, ok := strings.Cut(file.Doc.Text(), "ACL SETUSER ")
	require.True(t, ok)
	words := []any{"ACL", "SETUSER"}
	for _, word := range strings.Fields(rights) {
		words = append(words, word)
	}
	for name, open := range map[string]func(t *testing.T) redis.UniversalClient{
		"single": func(t *testing.T) redis.UniversalClient {
			server := engines.Redis(t)
			require.NoError(t, clientOf(t, server).Do(t.Context(), words...).Err())
			o := optionsOf(server)
			o.Username, o.Password = "jwtauth", "secret"
			return closing(t, redis.NewClient(o))
		},
		"cluster": func(t *testing.T) redis.UniversalClient {
			node := engines.Redis(t, "--cluster-enabled", "yes")
			require.NoError(t, formCluster([]*engines.Server{node}))
			require.NoError(t, clientOf(t, node).Do(t.Context(), words...).Err())
			return closing(t, redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: []string{node.Addr()}, Username: "jwtauth", Password: "secret", ContextTimeoutEnabled: true,
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := open(t)
			store := storeOf(t, client, "")
			_, err := store.Check(t.Context())
			require.NoError(t, err)
			for _, subject := range []string{"alice", "bob"} {
				for _, call := range callsOf(store, subject) {
					require.NoError(t, call.do(t.Context()), call.name)
				}
			}
			for i := range 5 { // from the second one on, Create looks for garbage
				r := row("alice", rand.Text(), time.Hour)
				r.Details = []byte("x")
				require.NoError(t, store.Create(t.Context(), r, 0), i)
			}
			require.ErrorIs(t, store.Create(t.Context(), row("alice", "1", time.Hour), 1), jwtauth.ErrSessionLimit)
			old := oldStoreOf(t, client, "jwtauth")
			for i := range 1100 { // so many need an index
				require.NoError(t, store.Create(t.Context(), row("carol", fmt.Sprint(i), time.Hour), 0))
			}
			for _, id := range []string{"3", "4", "5"} {
				require.Greater(t, len(pagesOf(t, store, "carol", 1000)), 1090)
				old.Delete(keyOf("carol", id)) // the index is then wrong
			}
			detailed := row("dave", "1", time.Hour)
			detailed.Details = []byte("x")
			require.NoError(t, store.Create(t.Context(), detailed, 0))
			old.Delete(detailed.Key)
			for i := range 2 { // the extra of dave's session is garbage
				require.NoError(t, store.Create(t.Context(), row("dave", fmt.Sprint("new ", i), time.Hour), 0))
			}
			require.NoError(t, store.Delete(t.Context(), keyOf("dave", "new 0")))
			require.NoError(t, store.Delete(t.Context(), keyOf("dave", "new 1")))
			watched(t, store, func() { revoke(t, store, "pushed") })
			require.ErrorContains(t, client.Set(t.Context(), "other", "x", 0).Err(), "NOPERM")
		})
	}
}
