//go:build linux

package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// await sends a request until it is answered with a status. It allows the greatest lag
// of a replica, 2 seconds, and as much again for a machine that is busy.
func await(t testing.TB, p *programtest.Program, status int, path, token string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		asked := time.Now()
		a := p.Send("GET", path, token, "")
		if a.Status == status {
			require.Equal(t, status == http.StatusServiceUnavailable, a.Header.Get("Retry-After") != "")
			return
		}
		require.Less(t, asked.Sub(began), 4*time.Second, "%s is still %d: %s", path, a.Status, a.Body)
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
			require.NotContains(t, one.Log.String(), "WARN")
			access, refresh := one.Login("alice")
			require.Equal(t, http.StatusOK, two.Status(access))
			access, _ = two.Refresh(refresh)
			require.Equal(t, http.StatusOK, one.Status(access))
			other, _ := two.Login("alice")
			require.Equal(t, http.StatusNoContent, two.Send("POST", "/api/logout", access, "").Status)
			require.Equal(t, http.StatusUnauthorized, two.Status(access))
			await(t, one, http.StatusUnauthorized, "/api/protected", access)
			require.Equal(t, http.StatusOK, one.Status(other))
			require.Equal(t, http.StatusOK, one.Send("GET", "/readyz", "", "").Status)

			require.NoError(t, engine.Pause())
			await(t, one, http.StatusServiceUnavailable, "/readyz", "")
			await(t, one, http.StatusServiceUnavailable, "/api/protected", other)
			require.Equal(t, http.StatusOK, one.Send("GET", "/healthz", "", "").Status)
			engine.Resume()
			await(t, one, http.StatusOK, "/readyz", "")
			require.Equal(t, http.StatusOK, one.Status(other))
			require.Zero(t, one.Stop())
			require.Zero(t, two.Stop())
		})
	}
}

func TestAStoreThatMayLoseSomethingIsAWarning(t *testing.T) {
	p := programtest.Start(t, command.Run, nil, "-store", engines.Redis(t).URL())
	require.Contains(t, p.Log.String(), "appendonly is off")
	require.Contains(t, p.Log.String(), "-key is expected")
	require.Contains(t, p.Log.String(), "-issuer is expected")
	require.Equal(t, http.StatusOK, p.Send("GET", "/readyz", "", "").Status)
}

func TestAStoreThatDropsKeysIsRefused(t *testing.T) {
	engine := engines.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	line := programtest.ErrorLine(t, command.Run, nil, "-addr", "127.0.0.1:0", "-store", engine.URL())
	require.Contains(t, line, "server-shared: -store: redisstore: the engine drops keys")
	require.Contains(t, line, "noeviction")
}
