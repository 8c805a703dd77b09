//go:build linux

package faults_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// smallDisk mounts a file system of the given size. It skips the test if this process may not
// mount one.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "jwtauth-disk")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.Remove(folder)) })
	if err := syscall.Mount("jwtauth", folder, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		engines.Skip(t, fmt.Errorf("a small disk cannot be mounted (run the tests as root): %w", err))
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(folder, syscall.MNT_DETACH)) })
	return folder
}

// fill fills a disk with a file, which free removes.
func fill(t *testing.T, folder string) (free func()) {
	t.Helper()
	name := filepath.Join(folder, "fill")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	_, err = io.Copy(f, endless{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	return func() { require.NoError(t, os.Remove(name)) }
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAFullDiskLosesNothingAndLetsNobodyIn(t *testing.T) {
	for _, test := range []struct {
		name, engine, size string
		start              func(t testing.TB, settings ...string) *engines.Server
		restart            bool // kill the server and start it again, when the disk has room again
		set                []string
	}{
		{"Redis, appendfsync always", "redis", "4m", engines.Redis, true, []string{"--appendonly", "yes", "--appendfsync", "always"}},
		// A kill would lose writes that Redis has confirmed before it noticed the full disk.
		{"Redis, appendfsync everysec", "redis", "4m", engines.Redis, false, []string{"--appendonly", "yes", "--appendfsync", "everysec"}},
		{"PostgreSQL", "postgres", "160m", engines.Postgres, true, []string{"max_wal_size=32MB", "min_wal_size=32MB"}},
		{"SQLite", "sqlite", "4m", nil, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := smallDisk(t, test.size)
			t.Setenv("TMPDIR", disk)
			var p place
			restart := func() {}
			if test.start == nil {
				p = place{Engine: test.engine, URL: "file:" + filepath.Join(disk, "sessions.db") + "?_pragma=journal_mode(wal)"}.prepare(t)
			} else {
				s := test.start(t, test.set...)
				p = on(t, test.engine, s)
				if test.restart {
					restart = func() { // the server may have ended by itself
						s.Kill()
						require.NoError(t, s.Start())
					}
				}
			}
			n := startNode(t, p)
			alice, bob := n.login(t, "alice"), n.login(t, "bob")
			n.logout(t, bob.RefreshToken)

			free := fill(t, disk)
			clients := make([]fullClient, 16)
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() { clients[i].run(t, n, fmt.Sprint("client ", i)) })
			}
			all.Wait()
			free()
			restart()

			refused, in, out := 0, 0, 0
			for i, c := range clients {
				refused += c.refused
				for _, r := range c.in {
					require.Equal(t, http.StatusOK, n.refresh(t, r.RefreshToken).status, "client %d", i)
				}
				for _, r := range c.out {
					require.Equal(t, http.StatusBadRequest, n.refresh(t, r.RefreshToken).status, "client %d", i)
					require.Equal(t, http.StatusUnauthorized, answered(t, func() answer { return n.me(t, r.AccessToken) }).status)
				}
				in, out = in+len(c.in)+len(c.out), out+len(c.out)
			}
			t.Logf("while the disk was full: %d logins and %d logouts were acknowledged, %d answers were 503", in, out, refused)
			require.Positive(t, refused, "the disk was not full: the test proves nothing")
			require.Equal(t, http.StatusOK, n.refresh(t, alice.RefreshToken).status)
			require.Equal(t, http.StatusBadRequest, n.refresh(t, bob.RefreshToken).status)
			require.Equal(t, http.StatusUnauthorized, n.me(t, bob.AccessToken).status)
		})
	}
}

// fullClient is a client that logs in and out while the disk is full.
type fullClient struct {
	in      []jwtauth.TokenResponse // sessions whose login was confirmed
	out     []jwtauth.TokenResponse // sessions whose login and logout were confirmed
	refused int                     // how many answers were not the expected one
}

// run logs in and out until three requests have been refused, for at most 10 s.
func (c *fullClient) run(t *testing.T, n *node, name string) {
	ask := func(want int, path string, form ...string) (answer, bool) {
		a := n.post(t, path, form...)
		if a.status != want {
			c.refused++
			if a.status != http.StatusServiceUnavailable {
				t.Errorf("%s was answered with %d", path, a.status)
			}
		}
		return a, a.status == want
	}
	for deadline := time.Now().Add(10 * time.Second); c.refused < 3 && time.Now().Before(deadline); {
		a, ok := ask(http.StatusOK, "/login", "subject", name)
		if !ok {
			continue
		}
		if len(c.in)%2 == 0 {
			c.in = append(c.in, a.tokens)
		} else if _, ok := ask(http.StatusNoContent, "/logout", "token", a.tokens.RefreshToken); ok {
			c.out = append(c.out, a.tokens)
		}
	}
}
