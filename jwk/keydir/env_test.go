package keydir_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// fromEnv opens the ring of an environment that has only the given variables.
func fromEnv(t *testing.T, variables map[string]string) (*jwk.Ring, error) {
	t.Helper()
	for _, name := range []string{"JWTAUTH_KEY_DIR", "JWTAUTH_KEY_FILE", "JWTAUTH_SECRET_FILE"} {
		t.Setenv(name, variables[name])
	}
	return keydir.RingFromEnv(t.Context(), jwk.RingOptions{})
}

func TestTheEnvironmentNamesADirectoryAFileOrASecret(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	ring, err := fromEnv(t, map[string]string{"JWTAUTH_KEY_DIR": dir})
	require.NoError(t, err)
	require.Len(t, ring.Plan(), 1)
	require.Contains(t, names(t, dir), "keys.json")

	pem, err := fixture.KeyFor(t, jwk.EdDSA).PrivatePEM()
	require.NoError(t, err)
	write(t, files, "key.pem", pem)
	ring, err = fromEnv(t, map[string]string{"JWTAUTH_KEY_FILE": filepath.Join(files, "key.pem")})
	require.NoError(t, err)
	require.Equal(t, jwk.EdDSA, ring.Plan()[0].Algorithm)
	_, err = ring.Rotate(t.Context())
	require.Error(t, err, "the key of a file does not rotate")

	// A mounted secret is a link to a file elsewhere.
	link := filepath.Join(t.TempDir(), "link.pem")
	require.NoError(t, os.Symlink(filepath.Join(files, "key.pem"), link))
	_, err = fromEnv(t, map[string]string{"JWTAUTH_KEY_FILE": link})
	require.NoError(t, err)

	secret := "x7Kq2vN9pLr4TzWm8YbHc3JdFg6SsUe1aQoXiVtB5nE="
	kids := make(map[string]bool)
	for _, end := range []string{"", "\n", "\r\n"} {
		write(t, files, "secret", []byte(secret+end))
		ring, err = fromEnv(t, map[string]string{"JWTAUTH_SECRET_FILE": filepath.Join(files, "secret")})
		require.NoError(t, err)
		require.Equal(t, jwk.HS256, ring.Plan()[0].Algorithm)
		kids[ring.Plan()[0].ID] = true
	}
	require.Len(t, kids, 1, "a newline at the end does not belong to the secret")
}

func TestAWrongEnvironmentIsAnErrorThatNamesTheVariableAndNoSecret(t *testing.T) {
	files := t.TempDir()
	path := func(name string) string { return filepath.Join(files, name) }
	write(t, files, "key.pem", []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHRoaW5n\n-----END PRIVATE KEY-----\n"))
	write(t, files, "short", []byte("hunter2"))
	write(t, files, "empty", []byte("\n"))
	write(t, files, "large", make([]byte, 64<<10+1))
	require.NoError(t, syscall.Mkfifo(path("pipe"), 0o600))
	for want, variables := range map[string]map[string]string{
		"set one of the environment variables JWTAUTH_KEY_DIR, JWTAUTH_KEY_FILE and JWTAUTH_SECRET_FILE": {},
		"JWTAUTH_KEY_DIR and JWTAUTH_SECRET_FILE are set: exactly one":                                   {"JWTAUTH_KEY_DIR": files, "JWTAUTH_SECRET_FILE": path("short")},
		"JWTAUTH_KEY_DIR is no path: no such file":                                                       {"JWTAUTH_KEY_DIR": path("none")},
		"JWTAUTH_KEY_FILE is no path: no such file":                                                      {"JWTAUTH_KEY_FILE": path("none")},
		"the directory of the environment variable JWTAUTH_KEY_DIR: ":                                    {"JWTAUTH_KEY_DIR": path("short")},
		"JWTAUTH_SECRET_FILE is no path: ":                                                               {"JWTAUTH_SECRET_FILE": "hunter2"},
		"JWTAUTH_KEY_FILE is no path: ":                                                                  {"JWTAUTH_KEY_FILE": "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"},
		"JWTAUTH_KEY_DIR is no path: ":                                                                   {"JWTAUTH_KEY_DIR": "hunter2" + strings.Repeat("/x", 5000)},
		"the file of the environment variable JWTAUTH_KEY_FILE: jwk: ":                                   {"JWTAUTH_KEY_FILE": path("key.pem")},
		"the file of the environment variable JWTAUTH_SECRET_FILE: jwk: ":                                {"JWTAUTH_SECRET_FILE": path("short")},
		"the file of the environment variable JWTAUTH_SECRET_FILE: it is empty":                          {"JWTAUTH_SECRET_FILE": path("empty")},
		"JWTAUTH_SECRET_FILE: " + path("large") + " has more than 65536 bytes":                           {"JWTAUTH_SECRET_FILE": path("large")},
		"JWTAUTH_SECRET_FILE: " + path("pipe") + " is no regular file":                                   {"JWTAUTH_SECRET_FILE": path("pipe")},
		"JWTAUTH_KEY_FILE: " + files + " is no regular file":                                             {"JWTAUTH_KEY_FILE": files},
	} {
		_, err := fromEnv(t, variables)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "secret thing")
	}
	require.NoError(t, os.Remove(path("pipe")))
}
