package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryExportedNameHasAComment checks the packages that programs can import. The comment of a
// group of constants or variables is enough for all of them.
func TestEveryExportedNameHasAComment(t *testing.T) {
	names := 0
	for path, file := range publicSources(t) {
		require.False(t, filepath.Base(path) == "doc.go" && file.Doc == nil, "%s has no package comment", path)
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !d.Name.IsExported() || d.Recv != nil && !ast.IsExported(receiver(d)) || d.Name.Name == "String" {
					continue
				}
				names++
				require.NotEmpty(t, d.Doc.Text(), "%s: %s has no comment", path, d.Name.Name)
				require.True(t, strings.HasPrefix(d.Doc.Text(), d.Name.Name+" "), "%s: the comment of %s begins with another word", path, d.Name.Name)
			case *ast.GenDecl:
				names += requireComments(t, path, d)
			}
		}
	}
	require.Greater(t, names, 250)
}

// requireComments checks the types, constants and variables of a declaration, and returns the
// number of exported names.
func requireComments(t *testing.T, path string, d *ast.GenDecl) (names int) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			names++
			comment := s.Doc.Text() + d.Doc.Text()
			require.True(t, strings.HasPrefix(comment, s.Name.Name+" "), "%s: type %s has no comment, or one that begins with another word", path, s.Name.Name)
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() {
					names++
					require.NotEmpty(t, s.Doc.Text()+s.Comment.Text()+d.Doc.Text(), "%s: %s has no comment", path, name.Name)
				}
			}
		}
	}
	return names
}

// receiver returns the name of the type of a method.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// publicSources returns the parsed files of all packages that programs can import, by path.
func publicSources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	packages := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		if entry.IsDir() {
			if path != ".." && (strings.HasPrefix(name, ".") || name == "internal" || name == "testdata" || name == "examples" || name == "test" || name == "attacks") {
				return filepath.SkipDir
			}
			return err
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			require.NoError(t, err)
			files[path] = file
			packages[filepath.Dir(path)] = packages[filepath.Dir(path)] || file.Doc != nil
		}
		return err
	})
	require.NoError(t, err)
	for folder, hasComment := range packages {
		require.True(t, hasComment, "%s has no package comment", folder)
	}
	return files
}
