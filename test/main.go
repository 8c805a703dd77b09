// Command test runs the tests of all modules of go.work, which are all modules of this repository
// except test/bench. Run it in the root of the repository:
//
//	go run ./test
//
// It runs "go test work", and shows its progress. At the end, it lists the skipped tests with the
// reasons. It passes its arguments on to go test, such as -race or -run Refresh. A package may take
// 20 minutes, unless an argument -timeout says otherwise.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func run(args []string, out io.Writer) error {
	fmt.Fprintf(out, "The tests of all modules of go.work, with %s. On an empty build cache this takes several minutes.\n", runtime.Version())
	cmd := exec.Command("go", slices.Concat([]string{"test", "-json", "-timeout=20m"}, args, []string{"work"})...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	go forwardTerminate(signals, cmd.Process)
	r := newReport(out)
	stop := r.startProgress(10 * time.Second)
	readErr := r.readEvents(events)
	waitErr := cmd.Wait()
	stop()
	r.printSummary()
	if waitErr != nil {
		return fmt.Errorf("go test has failed: %w", waitErr)
	}
	return readErr
}

// forwardTerminate sends SIGTERM on to go test. It does not send an interrupt on, because a
// terminal sends that to go test, too. When go test has ended, run prints the summary.
func forwardTerminate(signals <-chan os.Signal, goTest *os.Process) {
	for s := range signals {
		if s == syscall.SIGTERM {
			_ = goTest.Signal(s)
		}
	}
}

// report collects the results.
type report struct {
	out   io.Writer
	began time.Time

	mu       sync.Mutex      // guards the following fields
	running  map[string]bool // the packages whose tests are running
	finished int             // packages
	passed   int             // tests
	failed   []string
	output   map[string][]string        // the lines of each running test, by package and test
	skipped  map[string]map[string]bool // the skipped tests, by reason
}

func newReport(out io.Writer) *report {
	return &report{
		out: out, began: time.Now(), running: make(map[string]bool),
		output: make(map[string][]string), skipped: make(map[string]map[string]bool),
	}
}

// startProgress prints a line at each interval, until stop is called.
func (r *report) startProgress(interval time.Duration) (stop func()) {
	ticker, done := time.NewTicker(interval), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				r.printProgress()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

func (r *report) printProgress() {
	r.mu.Lock()
	defer r.mu.Unlock()
	doing := "building"
	if len(r.running) > 0 {
		doing = "running " + strings.Join(slices.Sorted(maps.Keys(r.running)), ", ")
	}
	fmt.Fprintf(r.out, "… %v: %s\n", time.Since(r.began).Round(time.Second), doing)
}

func (r *report) readEvents(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.out, "%s", line) // not an event
			} else {
				r.add(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := strings.TrimPrefix(e.Package, "github.com/jwtauth-go/")
	id := e.Package + " " + e.Test
	switch e.Action {
	case "start":
		r.running[name] = true
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[id] = append(r.output[id], e.Output)
	case "pass", "skip", "fail":
		switch {
		case e.Test != "" && e.Action == "skip":
			r.addSkip(id, r.output[id])
		case e.Test != "" && e.Action == "pass":
			r.passed++
		case e.Test != "":
			r.failed = append(r.failed, name+" "+e.Test)
			fmt.Fprint(r.out, strings.Join(r.output[id], ""))
		default:
			r.finishPackage(name, id, e)
		}
		delete(r.output, id)
	}
}

// addSkip notes the reason of a skipped test: the last message that the test logged.
func (r *report) addSkip(id string, output []string) {
	reason := "no reason given"
	for _, line := range output {
		line = strings.TrimSpace(line)
		if _, text, ok := strings.Cut(line, ".go:"); ok && !strings.HasPrefix(line, "---") {
			if _, after, ok := strings.Cut(text, ": "); ok {
				reason = after
			}
		}
	}
	if r.skipped[reason] == nil {
		r.skipped[reason] = make(map[string]bool)
	}
	r.skipped[reason][id] = true
}

func (r *report) finishPackage(name, id string, e event) {
	delete(r.running, name)
	switch e.Action {
	case "pass":
		r.finished++
		fmt.Fprintf(r.out, "ok    %-45s %6.1f s\n", name, e.Elapsed)
	case "fail":
		r.finished++
		fmt.Fprint(r.out, strings.Join(r.output[id], ""))
		fmt.Fprintf(r.out, "FAIL  %-45s %6.1f s\n", name, e.Elapsed)
	}
}

func (r *report) printSummary() {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "\n%d tests in %d packages passed, %d failed, in %v.\n", r.passed, r.finished, len(r.failed), time.Since(r.began).Round(time.Second))
	for _, name := range r.failed {
		fmt.Fprintf(r.out, "FAILED: %s\n", name)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.skipped)) {
		fmt.Fprintf(r.out, "SKIPPED %d tests: %s\n", len(r.skipped[reason]), reason)
	}
}
