package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestTheBinaryRunsFromTheRootAndStopsOnASignal(t *testing.T) {
	programtest.RequireBinaryStopsOnASignal(t, "server-shared", "-store", "sqlite:"+filepath.Join(t.TempDir(), "sessions.db"))
}

// startWithStore starts the command with a store and a directory of keys.
func startWithStore(t testing.TB, store, dir string) *programtest.Program {
	t.Helper()
	return programtest.StartWithKeys(t, command.Run, dir, "-store", store)
}

func TestSessionsInAFileOutliveTheServer(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "50% of #1?.db"), t.TempDir()
	p := startWithStore(t, "sqlite:"+file, dir)
	require.NotContains(t, p.Log.String(), "WARN")
	loggedOut, goneRefresh := p.Login("alice")
	require.Equal(t, http.StatusNoContent, p.Send("POST", "/api/logout", loggedOut, "").Status)
	require.Equal(t, http.StatusUnauthorized, p.Status(loggedOut))
	access, refresh := p.Login("alice")
	_, stolen := p.Login("bob")
	_, second := p.Refresh(stolen)
	ofBob, _ := p.Refresh(second)
	require.Zero(t, p.Stop())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	p = startWithStore(t, "sqlite:"+file, dir)
	require.Equal(t, http.StatusUnauthorized, p.Status(loggedOut), "it was revoked before the restart")
	require.Equal(t, http.StatusBadRequest, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(goneRefresh)).Status)
	require.Equal(t, http.StatusOK, p.Status(access))
	access, _ = p.Refresh(refresh)
	require.Equal(t, http.StatusOK, p.Status(access))
	require.Equal(t, http.StatusOK, p.Status(ofBob))
	require.Equal(t, http.StatusBadRequest, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(stolen)).Status, "it was redeemed before the restart")
	require.Equal(t, http.StatusUnauthorized, p.Status(ofBob), "its session has ended")
}

func TestAStoreThatIsNotOneIsALineWithoutItsPassword(t *testing.T) {
	text := programtest.WriteFile(t, "text", []byte(strings.Repeat("no database ", 100)))
	for _, c := range []struct{ store, line string }{
		{"mysql://u:secret@h/d", `"mysql:" is not the beginning of a store: ` + expected},
		{"sqlite:", `"sqlite:" is not the beginning of a store: ` + expected},
		{"sessions.db", `"sessions.db" is not a store: ` + expected},
		{"foo", `"foo" is not a store: ` + expected},
		{"memory:", `"memory:" is not the beginning of a store: ` + expected},
		{"redis://u:secret@127.0.0.1:1", "connection refused: an engine that runs at this address is expected"},
		{"postgres://u:secret@127.0.0.1:1/d", "an engine that runs at this address is expected"},
		{"redis://u:secret@h:x", "redis://USER:PASSWORD@HOST:PORT/NUMBER is expected"},
		{"sqlite:nowhere/sessions.db", "no such file or directory"},
		{"sqlite:" + text, "file is not a database"},
		{"postgres://u:secret@h:x/d", "invalid port"},
	} {
		t.Run(c.store, func(t *testing.T) {
			line := programtest.ErrorLine(t, command.Run, nil, "-store", c.store)
			require.Regexp(t, "^server-shared: -store: .*", line)
			require.Contains(t, line, c.line)
			require.NotContains(t, line, "secret")
		})
	}
}

func TestADeadRedisIsOneLine(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "server-shared")
	text, err := programtest.FromRoot("build", "-o", binary, "./examples/server-shared").CombinedOutput()
	require.NoError(t, err, string(text))
	output, err := exec.Command(binary, "-store", "redis://127.0.0.1:1").CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `^server-shared: -store: .* refused: an engine that runs at this address is expected\n$`, string(output))
}

func TestAStoreIsRequired(t *testing.T) {
	require.Equal(t, "server-shared: -store: it is missing: redis://…, postgres://… or sqlite:FILE is expected", programtest.ErrorLine(t, command.Run, nil))
}

func TestSessionsThatOutliveTheirKeyAreAWarning(t *testing.T) {
	p := programtest.Start(t, command.Run, nil, "-store", "sqlite:"+filepath.Join(t.TempDir(), "sessions.db"))
	require.Contains(t, p.Log.String(), "-key is expected")
	require.Contains(t, p.Log.String(), "-issuer is expected")
}
