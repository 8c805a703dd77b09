//go:build linux

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/faults/engines"
)

// await sends a request until it is answered with a status: within the lag that a
// Replica may have, and as much again for a machine that is busy.
func (p *program) await(status int, path, token string) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		asked := time.Now()
		a := p.send("GET", path, token, "")
		if a.status == status {
			require.Equal(p.t, status == http.StatusServiceUnavailable, a.header.Get("Retry-After") != "")
			return
		}
		require.Less(p.t, asked.Sub(began), 4*time.Second, "%s is still %d: %s", path, a.status, a.body)
	}
}

func TestServersThatShareAStoreShareSessions(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t testing.TB) *engines.Server
	}{
		{"Redis", func(t testing.TB) *engines.Server { return engines.Redis(t, "--appendonly", "yes") }},
		{"PostgreSQL", func(t testing.TB) *engines.Server { return engines.Postgres(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			engine, dir := c.start(t), t.TempDir()
			one, two := startWithStore(t, engine.URL(), dir), startWithStore(t, engine.URL(), dir)
			require.NotContains(t, one.log.String(), "WARN")
			access, refresh := one.login("alice")
			require.Equal(t, http.StatusOK, two.status(access))
			access, _ = two.refresh(refresh)
			require.Equal(t, http.StatusOK, one.status(access))
			other, _ := two.login("alice")
			require.Equal(t, http.StatusNoContent, two.send("POST", "/api/logout", access, "").status)
			require.Equal(t, http.StatusUnauthorized, two.status(access))
			one.await(http.StatusUnauthorized, "/api/protected", access)
			require.Equal(t, http.StatusOK, one.status(other))
			require.Equal(t, http.StatusOK, one.send("GET", "/readyz", "", "").status)

			require.NoError(t, engine.Pause())
			one.await(http.StatusServiceUnavailable, "/readyz", "")
			one.await(http.StatusServiceUnavailable, "/api/protected", other)
			require.Equal(t, http.StatusOK, one.send("GET", "/healthz", "", "").status)
			engine.Resume()
			one.await(http.StatusOK, "/readyz", "")
			require.Equal(t, http.StatusOK, one.status(other))
			require.Equal(t, exitOK, one.stop())
			require.Equal(t, exitOK, two.stop())
		})
	}
}

func TestAStoreThatMayLoseSomethingIsAWarning(t *testing.T) {
	p := start(t, nil, "-store", engines.Redis(t).URL())
	require.Contains(t, p.log.String(), "appendonly is off")
	require.Contains(t, p.log.String(), "-key is expected")
	require.Contains(t, p.log.String(), "-issuer is expected")
	require.Equal(t, http.StatusOK, p.send("GET", "/readyz", "", "").status)
}

func TestAStoreThatDropsKeysIsRefused(t *testing.T) {
	engine := engines.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	var stdout, stderr strings.Builder
	require.Equal(t, exitConfig, run(t.Context(), []string{"-addr", "127.0.0.1:0", "-store", engine.URL()}, noEnv, &stdout, &stderr))
	require.Contains(t, stderr.String(), "server: -store: redisstore: the engine drops keys")
	require.Contains(t, stderr.String(), "noeviction")
}
