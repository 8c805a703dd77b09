package attacks_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var (
	privatePEM = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\\n\s]+[A-Za-z0-9+/=\s]{40}`)
	privateJWK = regexp.MustCompile(`\\?"(?:d|k|p|q|dp|dq|qi)\\?"\s*:\s*\\?"[A-Za-z0-9_-]{20,}`)
	secretCall = regexp.MustCompile("(?:NewHMAC|ParseSigning)\\([^\\n]*[\"`][^\"`\\n]{32,}[\"`]")
)

// findSecrets returns the parts of a text that could serve as a key.
func findSecrets(text string) (found []string) {
	for _, form := range []*regexp.Regexp{privatePEM, privateJWK, secretCall} {
		found = append(found, form.FindAllString(text, -1)...)
	}
	return found
}

// literalSecrets returns the constants of 32 bytes and more that a file passes to the
// functions that make keys, directly or by a name.
func literalSecrets(f *ast.File) (found []string) {
	values := make(map[string][]ast.Expr) // by name, in whichever scope
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for _, name := range n.Names {
				values[name.Name] = append(values[name.Name], n.Values...)
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok {
					values[name.Name] = append(values[name.Name], n.Rhs...)
				}
			}
		}
		return true
	})
	var look func(n ast.Node, depth int)
	look = func(n ast.Node, depth int) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && len(s) >= 32 {
					found = append(found, s)
				}
			case *ast.CompositeLit:
				if len(n.Elts) >= 32 {
					found = append(found, "a literal of "+strconv.Itoa(len(n.Elts))+" elements")
				}
			case *ast.Ident:
				if depth < 4 {
					for _, value := range values[n.Name] {
						look(value, depth+1)
					}
				}
			}
			return true
		})
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch name := exprText(call.Fun); name[strings.LastIndexByte(name, '.')+1:] {
			case "NewHMAC", "ParseSigning":
				for _, arg := range call.Args[min(1, len(call.Args)):] {
					look(arg, 0)
				}
			}
		}
		return true
	})
	return found
}

func attackBuiltInSecrets(t *testing.T) {
	// Both searches find such secrets, in the forms in which programs and documents have
	// them.
	pem, err := fixture.KeyFor(t, jwk.ES256).PrivatePEM()
	require.NoError(t, err)
	for _, sample := range []string{
		string(pem), rand32(t),
		`key, err := jwk.NewHMAC(jwk.HS256, "", []byte("k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"))`,
		`key, err := jwk.ParseSigning("", []byte("k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"))`,
	} {
		require.NotEmpty(t, findSecrets(sample), sample)
	}
	for _, body := range []string{
		`var k, _ = jwk.NewHMAC("HS256", "", []byte("k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"))`,
		`const fallback = "k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s"; func f(s string) { if s == "" { s = fallback }; NewHMAC("HS256", "", []byte(s)) }`,
		`var k, _ = jwk.ParseSigning("", []byte("{\"kty\":\"oct\",\"k\":\"k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s\"}"))`,
		"const text = `{\"kty\":\"oct\",\"k\":\"k3J9xQ2mV7pL5wR8tY1uN6bC4zD0aF3s\"}`; func f() { ParseSigning(\"\", []byte(text)) }",
		`var secret = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}; var k, _ = jwk.NewHMAC("HS256", "", secret)`,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+body, 0)
		require.NoError(t, err)
		require.NotEmpty(t, literalSecrets(f), body)
	}

	for _, f := range goSources(t) {
		require.Empty(t, literalSecrets(f.File), f.path)
	}
	searched := 0
	for _, path := range repoFiles(t) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".sum") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(fixture.Root(), path))
		require.NoError(t, err)
		require.Empty(t, findSecrets(string(content)), path)
		searched++
	}
	require.Greater(t, searched, 200)
	// A secret that documents print is refused.
	for _, sample := range []string{
		"your-256-bit-secret-your-256-bit-secret", "a-string-secret-at-least-256-bits-long", "change-this-secret-0123456789-abcdefghij",
		strings.Repeat("secret", 10), strings.Repeat("\x00", 64), "0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyz0123456789",
	} {
		_, err := jwk.NewHMAC(jwk.HS256, "", []byte(sample))
		require.Error(t, err, sample)
	}
}

// rand32 returns a JWK with a random secret of 32 bytes.
func rand32(t *testing.T) string {
	k, err := fixture.NewKey(t, jwk.HS256).PrivateJWK()
	require.NoError(t, err)
	return string(k)
}
