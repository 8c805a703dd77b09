package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/bounds.md names a test for each bound.
func TestEveryTestThatTheBoundsNameExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "bounds.md"))
	require.NoError(t, err)
	list, err := os.ReadFile(filepath.Join("..", "testdata", "attacks.txt"))
	require.NoError(t, err)
	tests := make(map[string]bool) // by folder and name
	named := regexp.MustCompile("`(?:([a-z/]+)\\.)?(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 60)
	for _, name := range named {
		if folder := filepath.Join("..", name[1]); !tests[folder] {
			tests[folder] = true
			for _, test := range testsIn(t, folder) {
				tests[folder+" "+test] = true
			}
		}
		require.True(t, tests[filepath.Join("..", name[1])+" "+name[2]], "%s is not there", name[0])
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 4 || cells[0] == "---" || strings.TrimSpace(cells[0]) == "what" {
			continue
		}
		rows++
		attacks := regexp.MustCompile(`\b[A-Z]\d\d\b`).FindAllString(cells[3], -1)
		for _, id := range attacks {
			require.Contains(t, string(list), "\n"+id+" ", "no such attack")
			require.NotContains(t, string(list), "\n"+id+" left out", "%s has no test", id)
		}
		require.True(t, len(attacks) > 0 || strings.Contains(cells[3], "Test"), "no test shows: %s", line)
	}
	require.Greater(t, rows, 50)
}

// testsIn returns the names of the tests in a folder.
func testsIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
