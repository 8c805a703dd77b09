package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startWithStore runs the program with a store, with the keys of a directory and
// always the same issuer.
func startWithStore(t testing.TB, store, dir string, args ...string) *program {
	t.Helper()
	return startWithKeys(t, dir, append([]string{"-store", store}, args...)...)
}

// refresh redeems a refresh token.
func (p *program) refresh(token string) (access, refresh string) {
	p.t.Helper()
	a := p.send("POST", "/api/refresh", "", refreshJSON(token))
	require.Equal(p.t, http.StatusOK, a.status, a.body)
	return a.member(p.t, "access_token").(string), a.member(p.t, "refresh_token").(string)
}

func (p *program) status(token string) int {
	p.t.Helper()
	return p.send("GET", "/api/protected", token, "").status
}

func TestSessionsInAFileOutliveTheServer(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "50% of #1?.db"), t.TempDir()
	p := startWithStore(t, "sqlite:"+file, dir)
	require.NotContains(t, p.log.String(), "WARN")
	loggedOut, goneRefresh := p.login("alice")
	require.Equal(t, http.StatusNoContent, p.send("POST", "/api/logout", loggedOut, "").status)
	require.Equal(t, http.StatusUnauthorized, p.status(loggedOut))
	access, refresh := p.login("alice")
	_, stolen := p.login("bob")
	_, second := p.refresh(stolen)
	ofBob, _ := p.refresh(second)
	require.Equal(t, exitOK, p.stop())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	p = startWithStore(t, "sqlite:"+file, dir)
	require.Equal(t, http.StatusUnauthorized, p.status(loggedOut), "it was revoked before the restart")
	require.Equal(t, http.StatusBadRequest, p.send("POST", "/api/refresh", "", refreshJSON(goneRefresh)).status)
	require.Equal(t, http.StatusOK, p.status(access))
	access, _ = p.refresh(refresh)
	require.Equal(t, http.StatusOK, p.status(access))
	require.Equal(t, http.StatusOK, p.status(ofBob))
	require.Equal(t, http.StatusBadRequest, p.send("POST", "/api/refresh", "", refreshJSON(stolen)).status, "it was redeemed before the restart")
	require.Equal(t, http.StatusUnauthorized, p.status(ofBob), "its session has ended")
}

func TestAStoreThatIsNotOneIsALineWithoutItsPassword(t *testing.T) {
	const expected = "memory, redis://…, postgres://… or sqlite:FILE is expected"
	text := writeFile(t, "text", []byte(strings.Repeat("no database ", 100)))
	for _, c := range []struct{ store, line string }{
		{"mysql://u:secret@h/d", expected},
		{"sqlite:", expected},
		{"sessions.db", expected},
		{"memory:", expected},
		{"redis://u:secret@h:x", "redis://USER:PASSWORD@HOST:PORT/NUMBER is expected"},
		{"sqlite:nowhere/sessions.db", "no such file or directory"},
		{"sqlite:" + text, "file is not a database"},
		{"postgres://u:secret@h:x/d", "invalid port"},
	} {
		t.Run(c.store, func(t *testing.T) {
			var stdout, stderr strings.Builder
			require.Equal(t, exitConfig, run(t.Context(), []string{"-store", c.store}, noEnv, &stdout, &stderr))
			require.Regexp(t, "^server: -store: .*", stderr.String())
			require.Contains(t, stderr.String(), c.line)
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"))
			require.NotContains(t, stderr.String(), "secret")
			require.Empty(t, stdout.String())
		})
	}
}
