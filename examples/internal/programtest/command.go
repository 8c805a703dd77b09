package programtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exitConfig is the exit code of a command whose flags are wrong.
const exitConfig = 2

// NoEnv is an environment without variables.
func NoEnv(string) string { return "" }

// ErrorLine runs a command with flags that it cannot run with, and returns the one
// line that it writes to standard error.
func ErrorLine(t *testing.T, run Run, env map[string]string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // ends the command if its flags are right
	defer cancel()
	code := run(ctx, args, func(name string) string { return env[name] }, &stdout, &stderr)
	require.Equal(t, exitConfig, code, stderr.String())
	require.Empty(t, stdout.String())
	line, ended := strings.CutSuffix(stderr.String(), "\n")
	require.True(t, ended)
	require.NotContains(t, line, "\n")
	return line
}

// WriteFile writes a file that lives as long as the test, and returns its path.
func WriteFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// Shell runs lines with a POSIX shell, and returns their output.
func Shell(t *testing.T, lines string) string {
	t.Helper()
	shell := exec.Command("sh")
	shell.Stdin = strings.NewReader(lines)
	shell.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()} // neither a proxy nor a .curlrc
	var stderr bytes.Buffer
	shell.Stderr = &stderr
	stdout, err := shell.Output()
	require.NoError(t, err, stderr.String())
	require.Empty(t, stderr.String())
	return string(stdout)
}

// FromRoot returns a go command that runs in the root of the repository, with its
// workspace. The test runs in the folder of a command, examples/NAME.
func FromRoot(args ...string) *exec.Cmd {
	command := exec.Command("go", args...)
	command.Dir = filepath.Join("..", "..")
	command.Env = append(os.Environ(), "GOWORK=")
	return command
}

// RequireBinaryStopsOnASignal builds examples/NAME from the root of the repository,
// runs the program, and requires that SIGTERM ends it in order.
func RequireBinaryStopsOnASignal(t *testing.T, name string, args ...string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	text, err := FromRoot("build", "-o", binary, "./examples/"+name).CombinedOutput()
	require.NoError(t, err, string(text))

	server := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0", "-log", "json"}, args...)...)
	stdout, log, ended := NewOutput(), NewOutput(), make(chan struct{})
	server.Stdout, server.Stderr = stdout, log
	require.NoError(t, server.Start())
	go func() {
		defer close(ended)
		err = server.Wait()
	}()
	t.Cleanup(func() {
		server.Process.Kill()
		<-ended
	})
	log.Await(t, `"msg":"serving"`, ended)
	stdout.Await(t, "Ctrl-C", ended)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	<-ended
	require.NoError(t, err, log.String())
	require.Contains(t, log.String(), `"msg":"stopped"`)
}
