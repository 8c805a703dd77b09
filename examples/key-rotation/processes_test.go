package main

import (
	"bufio"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// process is a process of the operating system.
type process struct {
	t              testing.TB
	command        *exec.Cmd
	lines          *bufio.Scanner
	log            []string
	base, password string
}

// startProcess starts a process, and does not wait until it serves.
func startProcess(t testing.TB, binary, dir string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(binary, "-key", dir, "-listen", "127.0.0.1:0")}
	out, err := p.command.StdoutPipe()
	require.NoError(t, err)
	p.lines, p.command.Stderr = bufio.NewScanner(out), p.command.Stdout
	require.NoError(t, p.command.Start())
	t.Cleanup(func() {
		p.command.Process.Kill()
		p.command.Wait() // killed
		if t.Failed() {
			t.Log(strings.Join(p.log, "\n"))
		}
	})
	return p
}

// line returns the next line of the output that is not a line of the log.
func (p *process) line() string {
	p.t.Helper()
	for p.lines.Scan() {
		line := p.lines.Text()
		if !strings.Contains(line, " INFO ") && !strings.Contains(line, " ERROR ") {
			return line
		}
		p.log = append(p.log, line)
		require.NotContains(p.t, line, " ERROR ")
	}
	p.t.Fatal("the process has ended")
	return ""
}

// await waits until the process serves.
func (p *process) await() {
	p.t.Helper()
	words := strings.Fields(p.line())
	require.Len(p.t, words, 4)
	p.password = strings.TrimPrefix(words[2], "password=")
	p.base = strings.TrimSuffix(words[3], "/login")
}

// hangUp sends SIGHUP, and returns the plan that the process prints.
func (p *process) hangUp() (plan []string) {
	p.t.Helper()
	require.NoError(p.t, p.command.Process.Signal(syscall.SIGHUP))
	for {
		line := p.line()
		if line == "" {
			return plan
		}
		plan = append(plan, line)
	}
}

// requirePlan requires a plan with keys in these states, and returns their kids.
func requirePlan(t testing.TB, plan []string, states ...string) (kids []string) {
	t.Helper()
	var got []string
	for _, line := range plan[1:] {
		kids, got = append(kids, strings.Fields(line)[0]), append(got, strings.Fields(line)[1])
	}
	require.Equal(t, states, got)
	return kids
}

func (p *process) login() (access string) {
	p.t.Helper()
	tokens, err := login(p.base, p.password)
	require.NoError(p.t, err)
	return tokens.AccessToken
}

func (p *process) status(token string) int {
	p.t.Helper()
	status, err := me(p.base, token)
	require.NoError(p.t, err)
	return status
}

func TestTwoProcessesMakeOneKeyAndFollowEachOther(t *testing.T) {
	binary, dir := filepath.Join(t.TempDir(), "key-rotation"), t.TempDir()
	text, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(text))
	one, two := startProcess(t, binary, dir), startProcess(t, binary, dir)
	one.await()
	two.await()

	first := published(t, one.base)
	require.Len(t, first, 1)
	require.Equal(t, first, published(t, two.base))
	ofOne, ofTwo := one.login(), two.login()
	require.Equal(t, first, []string{keyOf(t, ofOne)})
	require.Equal(t, first, []string{keyOf(t, ofTwo)})
	require.Equal(t, http.StatusOK, one.status(ofTwo))
	require.Equal(t, http.StatusOK, two.status(ofOne))

	// A third process drops the key. The first one learns of it by a SIGHUP. The second
	// one reads the directory when it gets a token with an unknown kid.
	command := func(args ...string) []string {
		t.Helper()
		text, err := exec.Command(binary, append(args, "-key", dir)...).Output()
		require.NoError(t, err)
		return strings.Split(strings.TrimSuffix(string(text), "\n\n"), "\n")
	}
	dropped := requirePlan(t, command("-revoke", first[0]), "revoked", "active")
	plan := one.hangUp()
	kids := requirePlan(t, plan, "revoked", "active", "next")
	require.Equal(t, dropped, kids[:2])
	require.Equal(t, http.StatusUnauthorized, one.status(ofOne))
	access := one.login()
	require.Equal(t, kids[1], keyOf(t, access))
	require.Equal(t, http.StatusOK, two.status(access))
	require.Equal(t, http.StatusUnauthorized, two.status(ofTwo))
	require.Equal(t, kids[1], keyOf(t, two.login()))
	require.Equal(t, kids[1:], published(t, two.base))

	// A next key is waiting: further rotations make none.
	require.Equal(t, plan, two.hangUp())
	require.Equal(t, plan, command("-rotate"))
	require.Equal(t, kids[1:], published(t, one.base))
}
