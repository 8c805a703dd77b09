package browser_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/browser"
)

func TestTheModuleIsServedWithAnETag(t *testing.T) {
	get := func(match string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/jwtauth.mjs", nil)
		if match != "" {
			r.Header.Set("If-None-Match", match)
		}
		answer := httptest.NewRecorder()
		browser.Handler().ServeHTTP(answer, r)
		return answer
	}
	answer := get("")
	require.Equal(t, 200, answer.Code)
	require.Equal(t, "text/javascript; charset=utf-8", answer.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
	require.Equal(t, "public, max-age=600", answer.Header().Get("Cache-Control"))
	file, err := os.ReadFile("jwtauth.mjs")
	require.NoError(t, err)
	require.Equal(t, string(file), answer.Body.String())
	require.Equal(t, 304, get(answer.Header().Get("ETag")).Code)
	post := httptest.NewRecorder()
	browser.Handler().ServeHTTP(post, httptest.NewRequest("POST", "/jwtauth.mjs", nil))
	require.Equal(t, 405, post.Code)
}

// run runs a program of Node. Without it, the test is skipped, and fails if CI is set.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing, and CI needs it: %v", name, err)
		}
		t.Skipf("%s is missing, so nothing tests the module", name)
	}
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stderr = os.Stderr
	output, err := c.Output()
	require.NoError(t, err, string(output))
	return output
}

// The tests of the module have a clock, a network and tabs of their own.
func TestTheModule(t *testing.T) { run(t, "node", "--test", "jwtauth.test.mjs", "turns.test.mjs") }

func TestTheNPMPackageHasTheServedBytes(t *testing.T) {
	dir := t.TempDir()
	var packed []struct{ Filename string }
	require.NoError(t, json.Unmarshal(run(t, "npm", "pack", "--json", "--offline", "--pack-destination", dir), &packed))
	require.Len(t, packed, 1)
	archive, err := os.Open(filepath.Join(dir, packed[0].Filename))
	require.NoError(t, err)
	defer archive.Close()
	unzipped, err := gzip.NewReader(archive)
	require.NoError(t, err)
	found := map[string][]byte{}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		found[entry.Name], err = io.ReadAll(entries)
		require.NoError(t, err)
	}
	require.Len(t, found, 3, "the module, its types and package.json")
	answer := httptest.NewRecorder()
	browser.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, answer.Body.String(), string(found["package/jwtauth.mjs"]))
	require.NotEmpty(t, found["package/jwtauth.d.ts"])
}
