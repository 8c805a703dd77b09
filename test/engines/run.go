package engines

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run runs the tests of a package and returns the exit code for os.Exit. After the tests
// it removes the shared servers. If tests were skipped by [Skip], or because an engine is
// not installed, it says so in one line on standard error. go test hides that line if the
// package passes, so Run also writes the line to the terminal, if there is one.
//
// variables are the environment variables, such as JWTAUTH_REDIS_URL, in which these
// tests accept a server. Run mentions them in the line.
func Run(m *testing.M, variables ...string) int {
	code := m.Run()
	if err := removeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	skips.mu.Lock()
	defer skips.mu.Unlock()
	if len(skips.counts) > 0 {
		name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
		report(name + ": " + skipLine(skips.counts, variables))
	}
	return code
}

// skipLine says how many tests were skipped, why, and how to run them.
func skipLine(counts []skipCount, variables []string) string {
	var reasons []string
	for _, c := range counts {
		tests, were := "tests", "were"
		if c.tests == 1 {
			tests, were = "test", "was"
		}
		text := fmt.Sprintf("%d %s %s skipped because ", c.tests, tests, were)
		var missing *MissingError
		if errors.As(c.reason, &missing) {
			text += missing.Engine + " is not installed; to run them, apt-get install " + missing.Package + " (Debian)"
			if slices.Contains(variables, missing.Variable) && os.Getenv(missing.Variable) == "" {
				text += ", or name a server in " + missing.Variable
			}
			text += ", then go test -count=1"
		} else {
			text += c.reason.Error()
		}
		reasons = append(reasons, text)
	}
	return strings.Join(reasons, "; ")
}

// report writes a line to standard error, and to the terminal if that is another file.
func report(line string) {
	fmt.Fprintln(os.Stderr, line)
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return // standard error is the terminal
	}
	terminal, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer terminal.Close()
	fmt.Fprintln(terminal, line)
}
