//go:build linux

package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/replica"
)

const (
	issuerName = "https://issuer.test"
	audience   = "https://api.test"
)

// grace and maxLag are the defaults of the library.
const (
	grace  = 10 * time.Second
	maxLag = 2 * time.Second
)

// nodeVariable is the environment variable with the configuration of a node. It makes the
// test binary run a node.
const nodeVariable = "JWTAUTH_FAULTS_NODE"

// nodeConfig is the configuration of a node.
type nodeConfig struct {
	Place place
	Key   string // PEM
	Grace time.Duration
}

// service is the service of one node: an issuer, a replica of the revocations, and an HTTP
// interface to both.
type service struct {
	store   sharedStore
	replica *replica.Replica
	issuer  *jwtauth.Issuer
	auth    *jwtauth.Middleware
	http.Handler

	mu     sync.Mutex
	events map[event.Kind]int
	close  func()
}

// newService makes a service with a store. change may edit the options.
func newService(key []byte, store sharedStore, change ...func(*jwtauth.IssuerOptions)) (*service, error) {
	signing, err := jwk.ParseSigning("", key)
	if err != nil {
		return nil, err
	}
	ring, err := jwk.NewRing(signing)
	if err != nil {
		return nil, err
	}
	s := &service{store: store, events: map[event.Kind]int{}}
	if s.replica, err = replica.New(store, replica.Options{MaxLag: maxLag, OnEvent: s.count}); err != nil {
		return nil, err
	}
	s.close = s.replica.Close
	o := jwtauth.IssuerOptions{
		Issuer: issuerName, Audiences: []string{audience}, RefreshGrace: grace,
		Sessions: store, Revocations: s.replica, OnEvent: s.count,
	}
	for _, c := range change {
		c(&o)
	}
	if s.issuer, err = jwtauth.NewIssuer(ring, o); err != nil {
		return nil, err
	}
	verifier, err := s.issuer.NewVerifier(jwtauth.VerifierOptions{})
	if err != nil {
		return nil, err
	}
	if s.auth, err = jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{}); err != nil {
		return nil, err
	}
	s.Handler = s.routes()
	return s, nil
}

func (s *service) count(_ context.Context, e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[e.Kind]++
}

// nodeStats is the state of a node.
type nodeStats struct {
	Events     map[event.Kind]int
	Goroutines int
	Heap       uint64
	Revoked    int // how many revocations the replica has
}

func (s *service) stats() nodeStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return nodeStats{Events: maps.Clone(s.events), Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc, Revoked: s.replica.Status().Len}
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	tokens := func(w http.ResponseWriter, r *http.Request, tokens jwtauth.TokenResponse, err error) {
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		jwtauth.WriteTokens(w, tokens)
	}
	nothing := func(w http.ResponseWriter, r *http.Request, err error) {
		if err != nil {
			jwtauth.WriteError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		response, err := s.issuer.Issue(r.Context(), jwtauth.Grant{Subject: r.FormValue("subject"), AuthTime: time.Now()})
		tokens(w, r, response, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		response, err := s.issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.FormValue("token")})
		tokens(w, r, response, err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		nothing(w, r, s.issuer.Logout(r.Context(), r.FormValue("token")))
	})
	mux.HandleFunc("POST /logout-everywhere", func(w http.ResponseWriter, r *http.Request) {
		nothing(w, r, s.issuer.EndAllSessions(r.Context(), r.FormValue("subject")))
	})
	mux.Handle("GET /me", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, token.Subject)
	})))
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.stats()) })
	return mux
}

// runNode is the main function of a node. It ends when its standard input ends, or when the
// process that started it ends.
func runNode(text string) int {
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	var c nodeConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return failed(err)
	}
	store, closeStore, err := c.Place.open()
	if err != nil {
		return failed(err)
	}
	s, err := newService([]byte(c.Key), store, func(o *jwtauth.IssuerOptions) { o.RefreshGrace = c.Grace })
	if err != nil {
		return failed(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return failed(err)
	}
	ready, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.replica.Ready(ready); err != nil {
		return failed(err)
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		fmt.Println("http://" + l.Addr().String())
		_, _ = io.Copy(io.Discard, os.Stdin)
		web.Close()
	}()
	_ = web.Serve(l)
	s.close()
	_ = closeStore()
	return 0
}

// node is a process that serves.
type node struct {
	url string
	cmd *exec.Cmd
	in  io.Closer
	end func() error
}

// testKey returns the key of all nodes, in PEM.
var testKey = sync.OnceValue(func() []byte {
	key, err := jwk.Generate(jwk.ES256)
	if err == nil {
		var pem []byte
		if pem, err = key.PrivatePEM(); err == nil {
			return pem
		}
	}
	panic(err)
})

// startNode starts a node with a store, until the test ends.
func startNode(t testing.TB, p place) *node {
	t.Helper()
	return startNodeWith(t, p, grace)
}

// startNodeWith is startNode for another RefreshGrace.
func startNodeWith(t testing.TB, p place, grace time.Duration) *node {
	t.Helper()
	config, err := json.Marshal(nodeConfig{p, string(testKey()), grace})
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), nodeVariable+"="+string(config))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	started := make(chan error)
	ended := make(chan error, 1)
	read := make(chan struct{})
	go func() {
		runtime.LockOSThread() // Linux sends Pdeathsig when the thread that started the process ends; a locked thread ends with its goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			<-read
			ended <- cmd.Wait()
		}
	}()
	require.NoError(t, <-started)
	n := &node{cmd: cmd, in: in}
	n.end = sync.OnceValue(func() error {
		in.Close()
		err := <-ended
		if err != nil || complaints.Len() > 0 {
			return fmt.Errorf("a node ended with %v: %s", err, complaints.Bytes())
		}
		return nil
	})
	t.Cleanup(func() {
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	close(read)
	require.NoError(t, err)
	n.url = strings.TrimSpace(line)
	return n
}

// kill ends the node like kill -9.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.end()
	n.end = func() error { return nil }
}
