package engines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// MissingError means that the programs of an engine are not installed. It wraps
// [exec.ErrNotFound].
type MissingError struct {
	Engine   string // such as redis-server
	Package  string // the Debian package of the engine
	Variable string // the environment variable that names a server to use instead
}

// Error says what is missing, and which Debian package has it.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed (Debian: apt-get install %s)", e.Engine, e.Package)
}

// Unwrap returns [exec.ErrNotFound].
func (e *MissingError) Unwrap() error { return exec.ErrNotFound }

// skips holds, for each reason of Skip, how many tests were skipped.
var skips struct {
	mu     sync.Mutex
	counts []skipCount
}

type skipCount struct {
	reason error
	tests  int
}

// Skip skips a test, and counts it for the report of [Run].
func Skip(t testing.TB, reason error) {
	t.Helper()
	countSkip(reason)
	t.Skip("SKIPPED: ", reason)
}

func countSkip(reason error) {
	skips.mu.Lock()
	defer skips.mu.Unlock()
	for i := range skips.counts {
		if skips.counts[i].reason.Error() == reason.Error() {
			skips.counts[i].tests++
			return
		}
	}
	skips.counts = append(skips.counts, skipCount{reason, 1})
}

// requireStarted ends a test if err is why its server could not be started. If programs
// are missing, it skips the test, or fails it if CI is set.
func requireStarted(t testing.TB, err error) {
	t.Helper()
	var missing *MissingError
	switch {
	case err == nil:
	case !errors.As(err, &missing):
		t.Fatal(err)
	case os.Getenv("CI") != "":
		t.Fatalf("CI is set, so this test must not be skipped: %v", err)
	default:
		Skip(t, missing)
	}
}
