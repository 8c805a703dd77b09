package attacks_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// declarations are the exported names of the library. A name of package jwtauth stands
// alone, as in Verifier. A name of another package has the package before it, as in
// jwk.Ring.
type declarations struct {
	types   []string
	methods []string          // as in Verifier.Verify and jwk.Ring.Rotate
	hatches map[string]string // the names that unsafeName finds, with the comments that speak of them
}

// unsafeName finds the names that say that they take a protection away. It does not find
// KeySkipped, the name of an event.
var unsafeName = regexp.MustCompile(`Insecure|Skip(?:[^p]|$)|Unverified|Unsafe|Dangerous|NoVerify`)

// declaredIn reads the sources of all packages that programs import, so that a test that
// must cover everything fails for what is new.
func declaredIn(t *testing.T) declarations {
	t.Helper()
	d := declarations{hatches: make(map[string]string)}
	for _, f := range publicSources(t) {
		prefix := f.Name.Name + "."
		if f.folder == "." {
			prefix = ""
		}
		var comments strings.Builder
		for _, group := range f.Comments {
			comments.WriteString(group.Text())
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if !n.Name.IsExported() {
					return false
				}
				name := prefix + n.Name.Name
				if n.Recv != nil {
					of := strings.TrimPrefix(exprText(n.Recv.List[0].Type), "*")
					name = prefix + of + "." + n.Name.Name
					if ast.IsExported(of) {
						d.methods = append(d.methods, name)
					}
				}
				if unsafeName.MatchString(name) {
					d.hatches[name] = n.Doc.Text()
				}
				return false
			case *ast.TypeSpec:
				name := prefix + n.Name.Name
				if n.Name.IsExported() {
					d.types = append(d.types, name)
				}
				if unsafeName.MatchString(name) {
					d.hatches[name] = comments.String()
				}
				if s, ok := n.Type.(*ast.StructType); ok && n.Name.IsExported() {
					for _, field := range s.Fields.List {
						for _, member := range field.Names {
							if unsafeName.MatchString(member.Name) && member.IsExported() {
								d.hatches[name+"."+member.Name] = comments.String()
							}
						}
					}
				}
			case *ast.ValueSpec:
				for _, name := range n.Names {
					if name.IsExported() && unsafeName.MatchString(name.Name) {
						d.hatches[prefix+name.Name] = n.Doc.Text() + n.Comment.Text()
					}
				}
			}
			return true
		})
	}
	for _, name := range []string{"Verifier", "endpoints.Metadata", "event.Kind", "jwk.Ring", "keydir.Source", "replica.Replica"} {
		require.Contains(t, d.types, name)
	}
	for _, name := range []string{"Verifier.Verify", "endpoints.Metadata.URL", "event.Event.Level", "jwk.Ring.Rotate", "keydir.Source.Load", "replica.Replica.Ready"} {
		require.Contains(t, d.methods, name)
	}
	return d
}

// exprText returns the name that an expression consists of: of a variable, a type, a
// pointer or a selector.
func exprText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + exprText(e.X)
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return exprText(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return exprText(e.X)
	}
	return ""
}
