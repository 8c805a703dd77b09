package attacks_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// publicFolders are the folders of the packages that programs import.
var publicFolders = []string{".", "browser", "endpoints", "event", "jwk", "jwk/keydir", "migrate", "provider", "replica"}

// testFolders hold code for tests and documents in files whose names do not end in _test.go.
var testFolders = []string{"attacks", "docs", "internal/fixture", "internal/hookstore", "internal/testseam", "jwtauthtest", "storetest", "test"}

// goFile is a Go file that is not a test.
type goFile struct {
	path   string // from the root of the module, with slashes
	folder string // of path
	*ast.File
}

// repoFiles returns the paths of the files of the repository, nested modules included,
// from the root of the module and with slashes.
func repoFiles(t testing.TB) (paths []string) {
	t.Helper()
	root := fixture.Root()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && file != root && slices.Contains([]string{"testdata", ".git", "vendor", "node_modules"}, entry.Name()) {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() {
			relative, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			paths = append(paths, filepath.ToSlash(relative))
		}
		return nil
	})
	require.NoError(t, err)
	return paths
}

// parsed parses those of the paths that are Go files and not tests.
func parsed(t testing.TB, paths []string) (files []goFile) {
	t.Helper()
	for _, p := range paths {
		if strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, "_test.go") {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(fixture.Root(), p), nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, goFile{p, path.Dir(p), f})
		}
	}
	return files
}

// isIn reports whether a path is in one of the folders, or below it.
func isIn(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return strings.HasPrefix(p, folder+"/") })
}

// goSources returns the Go files of the whole repository, nested modules included.
func goSources(t testing.TB) []goFile {
	t.Helper()
	return parsed(t, repoFiles(t))
}

// librarySources returns the Go files of the library: all packages of the module,
// except those for tests.
func librarySources(t testing.TB) []goFile {
	t.Helper()
	paths := repoFiles(t)
	others := slices.Clone(testFolders)
	for _, p := range paths {
		if path.Base(p) == "go.mod" && p != "go.mod" {
			others = append(others, path.Dir(p)) // a nested module
		}
	}
	files := parsed(t, slices.DeleteFunc(paths, func(p string) bool { return isIn(p, others) }))
	require.Greater(t, len(files), 40)
	return files
}

// publicSources returns the Go files of the packages that programs import.
func publicSources(t testing.TB) (files []goFile) {
	t.Helper()
	var folders []string
	for _, f := range librarySources(t) {
		if !isIn(f.path, []string{"internal"}) {
			files, folders = append(files, f), append(folders, f.folder)
		}
	}
	slices.Sort(folders)
	require.Equal(t, publicFolders, slices.Compact(folders), "a package that nobody named here")
	return files
}

// requireNoImport fails the test if a file imports one of the packages. A blank import of
// embed is allowed, since it only makes strings of files.
func requireNoImport(t testing.TB, files []goFile, packages ...string) {
	t.Helper()
	imports := 0
	for _, f := range files {
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			if isBlank := i.Name != nil && i.Name.Name == "_"; !isBlank || imported != "embed" {
				require.NotContains(t, packages, imported, f.path)
			}
			imports++
		}
	}
	require.Greater(t, imports, 200, "the imports were not read")
}

// requireOnly fails the test if one of files uses another name of a package than the given one.
func requireOnly(t *testing.T, files []goFile, path, pkg, name string) {
	t.Helper()
	i := slices.IndexFunc(files, func(f goFile) bool { return f.path == path })
	require.GreaterOrEqual(t, i, 0, path)
	ast.Inspect(files[i].File, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && exprText(s.X) == pkg {
			require.Equal(t, name, s.Sel.Name)
		}
		return true
	})
}
