package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

// TestTheWalkOfTheREADMEEndsAsItSays runs the walk of the README with the password and
// the address of a server, and compares each status with the one in the README.
func TestTheWalkOfTheREADMEEndsAsItSays(t *testing.T) {
	p := programtest.Start(t, command.Run, nil, "-refresh-grace", "1m") // enough for a slow machine

	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	_, walk, ok := strings.Cut(string(readme), "<!-- run against examples/server by a test, the statuses included -->\n```sh\n")
	require.True(t, ok)
	walk, _, _ = strings.Cut(walk, "```")
	var want []string
	for _, said := range regexp.MustCompile(`(?m)# (\d{3})\b`).FindAllStringSubmatch(walk, -1) {
		want = append(want, said[1])
	}
	require.Greater(t, len(want), 5)
	require.Contains(t, walk, "PASSWORD=... ")
	walk = strings.Replace(walk, "PASSWORD=... ", "PASSWORD="+p.Password("alice")+" ", 1)
	walk = strings.Replace(walk, "http://127.0.0.1:8080", p.Base, 1)

	// Each curl also appends its status to a file.
	dir := t.TempDir()
	statuses, body := filepath.Join(dir, "statuses"), filepath.Join(dir, "body")
	programtest.Shell(t, "curl() { : >"+body+"; command curl --output "+body+` --write-out '%{http_code}\n' "$@" >>`+statuses+"; cat "+body+"; }\n"+walk)
	got, err := os.ReadFile(statuses)
	require.NoError(t, err)
	require.Equal(t, want, strings.Fields(string(got)))
}
