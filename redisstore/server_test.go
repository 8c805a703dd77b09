package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
)

// server is a redis-server of the tests' own, on loopback, in a folder of its own.
type server struct {
	addr string
	dir  string
	args []string
	pid  int
	line io.Closer // the server is killed when this closes, so also when the tests die
	done chan struct{}
}

// startServer starts a server with these settings on a port that is free.
func startServer(args ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "redisstore")
	if err != nil {
		return nil, err
	}
	for range 5 { // the port may be taken before the server has it
		var addr, bus string
		if addr, err = freePort(); err != nil {
			break
		}
		s := &server{addr: addr, dir: dir, args: args}
		if len(args) > 0 && args[0] == "--cluster-enabled" {
			if bus, err = freePort(); err != nil {
				break
			}
			_, bus, _ = net.SplitHostPort(bus)
			s.args = append([]string{"--cluster-port", bus}, args...)
		}
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	os.RemoveAll(dir)
	return nil, err
}

func freePort() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts the server, again after it was killed, and waits until it answers.
func (s *server) start() error {
	_, port := s.hostPort()
	args := append([]string{"-c", `"$@" </dev/null & read line; kill -9 $!; wait`, "sh",
		"redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--repl-diskless-sync-delay", "0", "--logfile", filepath.Join(s.dir, "log")}, s.args...)
	cmd := exec.Command("sh", args...)
	line, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.line, s.done = line, done
	go func() {
		cmd.Wait()
		close(done)
	}()
	client := redis.NewClient(s.options())
	defer client.Close()
	err = until(func() error {
		info, err := client.Info(context.Background(), "server").Result()
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(info, "process_id:")
		digits, _, _ := strings.Cut(after, "\r")
		s.pid, err = strconv.Atoi(digits)
		return err
	})
	if err != nil {
		s.kill()
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("redis-server does not answer: %w\n%s", err, log)
	}
	return nil
}

// kill ends the server as kill -9 does, and waits for its end.
func (s *server) kill() {
	s.line.Close()
	<-s.done
}

func (s *server) stop() {
	s.kill()
	os.RemoveAll(s.dir)
}

// pause stops the server's process, which keeps its connections, until the
// function that it returns is called.
func (s *server) pause(t *testing.T) (resume func()) {
	require.NoError(t, syscall.Kill(s.pid, syscall.SIGSTOP))
	resume = sync.OnceFunc(func() { syscall.Kill(s.pid, syscall.SIGCONT) })
	t.Cleanup(resume)
	return resume
}

func (s *server) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(s.addr)
	return host, port
}

func (s *server) options() *redis.Options {
	return &redis.Options{Addr: s.addr, ContextTimeoutEnabled: true}
}

// until tries again and again, for at most 20 seconds.
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

// shared are the servers that all tests use which do not break them.
var shared struct {
	single  *server
	cluster []*server
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	logging.Disable() // the client writes down each connection that a test cuts
	if err := haveServer(); err != nil {
		return m.Run()
	}
	defer func() {
		if full.server != nil {
			full.server.stop()
		}
	}()
	var err error
	if shared.single, err = startServer(); err != nil {
		fmt.Println(err)
		return 1
	}
	defer shared.single.stop()
	for range 3 {
		node, err := startServer("--cluster-enabled", "yes", "--cluster-node-timeout", "15000")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer node.stop()
		shared.cluster = append(shared.cluster, node)
	}
	if err := formCluster(shared.cluster); err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

// formCluster gives each node its part of the slots and makes them meet.
func formCluster(nodes []*server) error {
	const slots = 16384
	ctx := context.Background()
	for i, node := range nodes {
		client := redis.NewClient(node.options())
		defer client.Close()
		host, port := nodes[0].hostPort()
		bus := nodes[0].args[1]
		if err := errors.Join(
			client.ClusterAddSlotsRange(ctx, i*slots/len(nodes), (i+1)*slots/len(nodes)-1).Err(),
			client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			client.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err(),
		); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		client := redis.NewClient(node.options())
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

func haveServer() error {
	_, err := exec.LookPath("redis-server")
	return err
}

// needServer skips the test where there is no redis-server, and fails it in CI.
func needServer(t testing.TB) {
	t.Helper()
	if err := haveServer(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, as there is no server to test with: ", err, " (Debian: apt install redis-server)")
	}
}

// ownServer is a server that a test may break.
func ownServer(t testing.TB, args ...string) *server {
	t.Helper()
	needServer(t)
	s, err := startServer(args...)
	require.NoError(t, err)
	t.Cleanup(s.stop)
	return s
}

// engine is what stores are tested on.
type engine struct {
	name string
	open func(t testing.TB) redis.UniversalClient
}

func closing(t testing.TB, c redis.UniversalClient) redis.UniversalClient {
	t.Cleanup(func() { c.Close() })
	return c
}

func single(t testing.TB) redis.UniversalClient {
	needServer(t)
	return closing(t, redis.NewClient(shared.single.options()))
}

func cluster(t testing.TB) redis.UniversalClient {
	needServer(t)
	o := &redis.ClusterOptions{ContextTimeoutEnabled: true}
	for _, node := range shared.cluster {
		o.Addrs = append(o.Addrs, node.addr)
	}
	return closing(t, redis.NewClusterClient(o))
}

// engines are a single server, a cluster, and the server that is named in
// JWTAUTH_REDIS_URL.
func engines() []engine {
	all := []engine{{"single", single}, {"cluster", cluster}}
	if url := os.Getenv("JWTAUTH_REDIS_URL"); url != "" {
		all = append(all, engine{"JWTAUTH_REDIS_URL", func(t testing.TB) redis.UniversalClient {
			o, err := redis.ParseURL(url)
			require.NoError(t, err)
			o.ContextTimeoutEnabled = true
			return closing(t, redis.NewClient(o))
		}})
	}
	return all
}

// onEach runs a test on each engine.
func onEach(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	for _, e := range engines() {
		t.Run(e.name, func(t *testing.T) { test(t, e.open(t)) })
	}
}

// newStore is a store with a prefix of its own.
func newStore(t testing.TB, client redis.UniversalClient) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(client, redisstore.Options{Prefix: "test:" + rand.Text()})
	require.NoError(t, err)
	return store
}
