package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestTheBinaryRunsFromTheRootAndStopsOnASignal(t *testing.T) {
	programtest.RequireBinaryStopsOnASignal(t, "server")
}

func TestTheServerHasNoFlagForAStore(t *testing.T) {
	require.Equal(t, "server: flag provided but not defined: -store: one of the flags that -h lists is expected",
		programtest.ErrorLine(t, command.Run, nil, "-store", "memory"))
}

// TestTheServerBuildsLight keeps go run ./examples/server fast on a new machine: the
// drivers of databases take minutes to compile.
func TestTheServerBuildsLight(t *testing.T) {
	text, err := programtest.FromRoot("list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", "./examples/server").Output()
	require.NoError(t, err)
	modules := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		path, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, store := range []string{"modernc", "pgx", "go-redis", "sqlstore", "redisstore"} {
			require.NotContains(t, path, store)
		}
		if module != "" {
			modules[module] = true
			continue
		}
		for _, heavy := range []string{"database/sql", "encoding/gob", "encoding/xml", "expvar", "go", "html/template", "net/rpc", "os/exec", "regexp", "testing", "text/template"} {
			require.False(t, path == heavy || strings.HasPrefix(path, heavy+"/"), "%s is in the build", path)
		}
	}
	got := make([]string, 0, len(modules))
	for module := range modules {
		got = append(got, module)
	}
	slices.Sort(got)
	require.Equal(t, []string{
		"github.com/golang-jwt/jwt/v5",
		"github.com/jwtauth-go/jwtauth",
		"github.com/jwtauth-go/jwtauth/examples",
		"golang.org/x/crypto",
		"golang.org/x/sys",
	}, got)
}
