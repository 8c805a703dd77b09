package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestMain(m *testing.M) {
	logging.Disable() // the client logs each connection that a test cuts
	os.Exit(engines.Run(m, redisVariable))
}

// redisVariable is an environment variable with the URL of a server on which tests run in
// addition.
const redisVariable = "JWTAUTH_REDIS_URL"

// The servers of all tests that do not break theirs.
var (
	sharedServer = engines.Shared(engines.NewRedis)
	sharedNodes  = []func(t testing.TB) *engines.Server{sharedNode(), sharedNode(), sharedNode()}
	formShared   sync.Once
	errForm      error // of formShared
)

func sharedNode() func(t testing.TB) *engines.Server {
	return engines.Shared(engines.NewRedis, "--cluster-enabled", "yes", "--cluster-node-timeout", "15000")
}

// sharedCluster returns the nodes of a cluster, each of which is a master.
func sharedCluster(t testing.TB) (nodes []*engines.Server) {
	t.Helper()
	for _, node := range sharedNodes {
		nodes = append(nodes, node(t))
	}
	formShared.Do(func() { errForm = formCluster(nodes) })
	require.NoError(t, errForm)
	return nodes
}

// formCluster divides the slots among the nodes and makes the nodes meet.
func formCluster(nodes []*engines.Server) error {
	const slots = 16384
	ctx := context.Background()
	host, port := hostPort(nodes[0])
	for i, node := range nodes {
		client := redis.NewClient(optionsOf(node))
		defer client.Close()
		if err := errors.Join(
			client.ClusterAddSlotsRange(ctx, i*slots/len(nodes), (i+1)*slots/len(nodes)-1).Err(),
			client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			client.ClusterMeet(ctx, host, port).Err(),
		); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		client := redis.NewClient(optionsOf(node))
		defer client.Close()
		if err := until(func() error {
			info, err := client.ClusterInfo(ctx).Result()
			if err == nil && !(strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(nodes)))) {
				err = errors.New("the cluster is not ready")
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// pause pauses a server until the test ends, or calls resume.
func pause(t testing.TB, s *engines.Server) (resume func()) {
	t.Helper()
	require.NoError(t, s.Pause())
	t.Cleanup(s.Resume)
	return s.Resume
}

// until calls try until it returns nil, for at most 20 seconds.
func until(try func() error) error {
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit:
			return err
		}
	}
}

// closing closes a client after the test.
func closing(t testing.TB, c redis.UniversalClient) redis.UniversalClient {
	t.Cleanup(func() { c.Close() })
	return c
}

// single returns a client of the shared server.
func single(t testing.TB) redis.UniversalClient {
	t.Helper()
	return closing(t, redis.NewClient(optionsOf(sharedServer(t))))
}

// cluster returns a client of the shared cluster.
func cluster(t testing.TB) redis.UniversalClient {
	t.Helper()
	o := &redis.ClusterOptions{ContextTimeoutEnabled: true, ClusterStateReloadInterval: time.Second}
	for _, node := range sharedCluster(t) {
		o.Addrs = append(o.Addrs, node.Addr())
	}
	return closing(t, redis.NewClusterClient(o))
}

// onEach runs a test on a single server, on a cluster, and on the server that
// redisVariable names.
func onEach(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Run("single", func(t *testing.T) { test(t, single(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, cluster(t)) })
	if url := os.Getenv(redisVariable); url != "" {
		t.Run(redisVariable, func(t *testing.T) {
			o, err := redis.ParseURL(url)
			require.NoError(t, err)
			o.ContextTimeoutEnabled = true
			test(t, closing(t, redis.NewClient(o)))
		})
	}
}

// newStore returns a store with a prefix of its own.
func newStore(t testing.TB, client redis.UniversalClient) *redisstore.Store {
	t.Helper()
	return storeOf(t, client, "test:"+rand.Text())
}
