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

// TestEveryTestThatTheBoundsNameExists: each row of docs/bounds.md names the tests of a bound, or
// the ids of attacks, which have tests, too.
func TestEveryTestThatTheBoundsNameExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "bounds.md"))
	require.NoError(t, err)
	attacks, err := os.ReadFile(filepath.Join("..", "testdata", "attacks.txt"))
	require.NoError(t, err)
	testsByFolder := make(map[string][]string)
	named := regexp.MustCompile("`(?:([a-z/]+)\\.)?(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 60)
	for _, match := range named {
		folder, test := filepath.Join("..", match[1]), match[2]
		if testsByFolder[folder] == nil {
			testsByFolder[folder] = testsIn(t, folder)
		}
		require.Contains(t, testsByFolder[folder], test, "%s is not there", match[0])
	}
	bounds := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 4 || cells[0] == "---" || strings.TrimSpace(cells[0]) == "what" {
			continue
		}
		bounds++
		ids := regexp.MustCompile(`\b[A-Z]\d\d\b`).FindAllString(cells[3], -1)
		for _, id := range ids {
			require.Contains(t, string(attacks), "\n"+id+" ", "no such attack")
			require.NotContains(t, string(attacks), "\n"+id+" left out", "%s has no test", id)
		}
		require.True(t, len(ids) > 0 || strings.Contains(cells[3], "Test"), "no test is named: %s", line)
	}
	require.Greater(t, bounds, 50)
}

// testsIn returns the names of the functions in the test files of a folder.
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
