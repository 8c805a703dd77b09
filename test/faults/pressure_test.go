//go:build linux

package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// ask sends a request to the service in this process.
func (s *service) ask(path, token string, form ...string) (status int, retryAfter string) {
	method, values := http.MethodPost, url.Values{}
	if path == "/me" {
		method = http.MethodGet
	}
	for i := 0; i+1 < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r := httptest.NewRequest(method, path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Header().Get("Retry-After")
}

// inProcess returns a service in this process that is ready.
func inProcess(t *testing.T, store sharedStore) *service {
	t.Helper()
	s, err := newService(testKey(), store)
	require.NoError(t, err)
	t.Cleanup(s.close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, s.replica.Ready(ctx))
	return s
}

// heap returns how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// clog makes a store give no answer until release is called.
type clog func(t *testing.T) (release func())

func TestWhereTheStoreGivesNoAnswerRequestsEndAtTheirDeadline(t *testing.T) {
	paused := func(engine string, s *engines.Server) (sharedStore, clog) {
		return on(t, engine, s).store(t), func(t *testing.T) func() {
			require.NoError(t, s.Pause())
			return s.Resume
		}
	}
	held := func(t *testing.T, p place) (sharedStore, clog) {
		p.Pool = 1
		s, db, err := p.sql()
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		return s, func(t *testing.T) func() {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			return func() { require.NoError(t, conn.Close()) }
		}
	}
	began, goroutines := heap(), runtime.NumGoroutine()
	var all sync.WaitGroup
	for _, test := range []struct {
		name string
		open func(t *testing.T) (sharedStore, clog)
	}{
		{"redis, paused", func(t *testing.T) (sharedStore, clog) { return paused("redis", engines.Redis(t)) }},
		{"postgres, paused", func(t *testing.T) (sharedStore, clog) { return paused("postgres", engines.Postgres(t)) }},
		{"redis, the only connection is held", func(t *testing.T) (sharedStore, clog) {
			p := newPlace(t, "redis")
			p.Pool = 1
			client, err := p.redis()
			require.NoError(t, err)
			t.Cleanup(func() { client.Close() })
			store, err := redisstore.New(client, redisstore.Options{Prefix: p.Prefix})
			require.NoError(t, err)
			return store, func(t *testing.T) func() {
				conn := client.Conn()
				require.NoError(t, conn.Ping(t.Context()).Err())
				return func() { require.NoError(t, conn.Close()) }
			}
		}},
		{"postgres, the only connection is held", func(t *testing.T) (sharedStore, clog) { return held(t, newPlace(t, "postgres")) }},
		{"sqlite, the only connection is held", func(t *testing.T) (sharedStore, clog) { return held(t, newPlace(t, "sqlite")) }},
	} {
		all.Go(func() { // in parallel, because they mostly wait
			t.Run(test.name, func(t *testing.T) {
				store, block := test.open(t)
				underPressure(t, inProcess(t, store), block)
			})
		})
	}
	all.Wait()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines+4; <-tick.C { // there are at most four shared servers, and each has one goroutine
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines are running, and there were %d before the test:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		}
	}
	require.Less(t, heap(), began+8<<20, "memory is still in use")
}

// underPressure expects that all requests are answered with 503 while the store gives no
// answer, and that everything works afterwards.
func underPressure(t *testing.T, s *service, block clog) {
	const requests = 50 // for each path
	var here [3 * requests]jwtauth.TokenResponse
	for i := range here {
		var err error
		here[i], err = s.issuer.Issue(t.Context(), jwtauth.Grant{Subject: fmt.Sprint("user ", i)})
		require.NoError(t, err)
	}
	release := sync.OnceFunc(block(t))
	defer release()
	for range 2 {
		var all sync.WaitGroup
		expect := func(want int, path, token string, form ...string) {
			all.Go(func() {
				began := time.Now()
				status, retryAfter := s.ask(path, token, form...)
				if took := time.Since(began); took > slowest {
					t.Errorf("%s: the answer %d took %v", path, status, took)
				}
				if status != want || (status == http.StatusServiceUnavailable) != (retryAfter == "1") {
					t.Errorf("%s: %d with Retry-After %q", path, status, retryAfter)
				}
			})
		}
		for i := range requests {
			expect(503, "/login", "", "subject", "somebody")
			expect(503, "/refresh", "", "token", here[i].RefreshToken)
			expect(503, "/logout", "", "token", here[requests+i].RefreshToken)
			expect(503, "/logout-everywhere", "", "subject", fmt.Sprint("user ", 2*requests+i))
		}
		all.Wait()
	}
	// By now, the copy of the revocations is too old.
	status, retryAfter := s.ask("/me", here[0].AccessToken)
	require.Equal(t, 503, status)
	require.Equal(t, "1", retryAfter)

	release()
	limit := time.After(30 * time.Second)
	for i := range here {
		path, want := "/logout-everywhere", 204
		form := []string{"subject", fmt.Sprint("user ", i)}
		switch {
		case i < requests:
			path, want, form = "/refresh", 200, []string{"token", here[i].RefreshToken}
		case i < 2*requests:
			path, form = "/logout", []string{"token", here[i].RefreshToken}
		}
		for status := 503; status != want; {
			if status, _ = s.ask(path, "", form...); status == 503 {
				select {
				case <-time.After(20 * time.Millisecond):
					continue
				case <-limit:
					t.Fatal("every answer is 503")
				}
			}
			require.Equal(t, want, status, path)
		}
	}
	for i := range here {
		want := 401
		if i < requests {
			want = 200
		}
		status, _ := s.ask("/me", here[i].AccessToken)
		require.Equal(t, want, status)
	}
}
