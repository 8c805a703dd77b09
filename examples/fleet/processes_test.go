//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

const (
	maxLag = 2 * time.Second // the default of a replica
	margin = 2 * time.Second // for a machine that is busy
)

// process is a process of the operating system.
type process struct {
	t              testing.TB
	command        *exec.Cmd
	log            bytes.Buffer
	base, password string
}

func build(t testing.TB) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "fleet")
	text, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(text))
	return binary
}

// start starts a process and waits until it is ready.
func start(t testing.TB, binary, store, dir string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(binary, "-store", store, "-key", dir, "-listen", "127.0.0.1:0")}
	out, err := p.command.StdoutPipe()
	require.NoError(t, err)
	p.command.Stderr = &p.log
	require.NoError(t, p.command.Start())
	t.Cleanup(func() {
		p.command.Process.Kill()
		p.command.Wait() // killed, unless the test has stopped it
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	words := strings.Fields(line)
	require.Len(t, words, 4, "the process has ended")
	p.password = strings.TrimPrefix(words[2], "password=")
	p.base = strings.TrimSuffix(words[3], "/login")
	p.await(http.StatusOK, "GET", "/readyz", "")
	return p
}

// stop ends the process with SIGTERM.
func (p *process) stop() error {
	http.DefaultClient.CloseIdleConnections()
	require.NoError(p.t, p.command.Process.Signal(syscall.SIGTERM))
	return p.command.Wait()
}

// send sends a request with a token and a form, and returns the status and the body of
// the answer.
func (p *process) send(method, path, token string, form url.Values) (status int, body string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(p.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, answer.StatusCode == http.StatusServiceUnavailable, answer.Header.Get("Retry-After") != "")
	return answer.StatusCode, string(text)
}

// await sends a request until it is answered with a status. It fails the test if that
// takes longer than maxLag, and returns the other statuses that came before.
func (p *process) await(status int, method, path, token string) (before map[int]bool) {
	p.t.Helper()
	before = map[int]bool{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		asked := time.Now()
		got, body := p.send(method, path, token, nil)
		if got == status {
			return before
		}
		require.Less(p.t, asked.Sub(began), maxLag+margin, "%s %s is still %d: %s", method, path, got, body)
		before[got] = true
	}
}

func (p *process) tokens(path string, form url.Values) (tokens jwtauth.TokenResponse) {
	p.t.Helper()
	status, body := p.send("POST", path, "", form)
	require.Equal(p.t, http.StatusOK, status, body)
	require.NoError(p.t, json.Unmarshal([]byte(body), &tokens))
	return tokens
}

func (p *process) login() jwtauth.TokenResponse {
	p.t.Helper()
	return p.tokens("/login", url.Values{"password": {p.password}})
}

func (p *process) refresh(tokens jwtauth.TokenResponse) jwtauth.TokenResponse {
	p.t.Helper()
	return p.tokens("/refresh", url.Values{"refresh_token": {tokens.RefreshToken}})
}

// require requires a status of GET /me.
func (p *process) require(status int, tokens jwtauth.TokenResponse) {
	p.t.Helper()
	got, body := p.send("GET", "/me", tokens.AccessToken, nil)
	require.Equal(p.t, status, got, body)
}

// requireLoggedOut requires that the process refuses both tokens.
func (p *process) requireLoggedOut(tokens jwtauth.TokenResponse) {
	p.t.Helper()
	p.require(http.StatusUnauthorized, tokens)
	status, body := p.send("POST", "/refresh", "", url.Values{"refresh_token": {tokens.RefreshToken}})
	require.Equal(p.t, http.StatusBadRequest, status, body)
}

func TestTwoProcessesAreOneService(t *testing.T) {
	binary := build(t)
	for _, c := range []struct {
		name  string
		start func(t testing.TB) *engines.Server
	}{
		{"Redis", func(t testing.TB) *engines.Server { return engines.Redis(t, "--appendonly", "yes") }},
		{"PostgreSQL", func(t testing.TB) *engines.Server { return engines.Postgres(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			engine, dir := c.start(t), t.TempDir()
			one, two := start(t, binary, engine.URL(), dir), start(t, binary, engine.URL(), dir)

			// Each process accepts and refreshes the tokens of the other one.
			tokens := one.login()
			one.require(http.StatusOK, tokens)
			two.require(http.StatusOK, tokens)
			tokens = two.refresh(tokens)
			one.require(http.StatusOK, tokens)
			tokens = one.refresh(tokens)
			other := two.login()

			// A logout takes effect at its process at once, and at the other one within
			// maxLag.
			one.require(http.StatusOK, tokens)
			status, body := two.send("POST", "/logout", tokens.AccessToken, nil)
			require.Equal(t, http.StatusOK, status, body)
			two.requireLoggedOut(tokens)
			require.Subset(t, map[int]bool{http.StatusOK: true}, one.await(http.StatusUnauthorized, "GET", "/me", tokens.AccessToken))
			one.requireLoggedOut(tokens)
			one.require(http.StatusOK, other)

			// While the engine does not answer, tokens are answered with 503, since a logout
			// may have been missed. No session ends.
			require.NoError(t, engine.Pause())
			for _, p := range []*process{one, two} {
				require.Subset(t, map[int]bool{http.StatusOK: true}, p.await(http.StatusServiceUnavailable, "GET", "/me", other.AccessToken))
				p.await(http.StatusServiceUnavailable, "GET", "/readyz", "")
				p.require(http.StatusUnauthorized, tokens)
			}
			status, _ = one.send("POST", "/login", "", url.Values{"password": {one.password}})
			require.Equal(t, http.StatusServiceUnavailable, status)
			status, _ = one.send("POST", "/refresh", "", url.Values{"refresh_token": {other.RefreshToken}})
			require.Equal(t, http.StatusServiceUnavailable, status)

			// A logout that does not reach the engine takes effect at its process, and at the
			// other one when the engine is back.
			status, _ = two.send("POST", "/logout", other.AccessToken, nil)
			require.Equal(t, http.StatusServiceUnavailable, status)
			two.require(http.StatusUnauthorized, other)
			engine.Resume()
			for _, p := range []*process{one, two} {
				p.await(http.StatusOK, "GET", "/readyz", "")
			}
			one.await(http.StatusUnauthorized, "GET", "/me", other.AccessToken)
			two.require(http.StatusUnauthorized, other)

			// A new process knows of the logout, and sessions outlive their process.
			last := two.login()
			require.NoError(t, two.stop())
			three := start(t, binary, engine.URL(), dir)
			three.require(http.StatusUnauthorized, tokens)
			three.require(http.StatusUnauthorized, other)
			three.require(http.StatusOK, three.refresh(last))
			require.NoError(t, one.stop())
		})
	}
}

func TestAnEngineThatDropsKeysIsRefused(t *testing.T) {
	engine := engines.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	err := run(t.Context(), "127.0.0.1:0", engine.URL(), t.TempDir(), io.Discard)
	require.ErrorContains(t, err, "noeviction")
}
