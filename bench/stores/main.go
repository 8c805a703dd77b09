// Command stores measures the stores that many machines share, with real engines on
// loopback, and writes RESULTS.md. It needs redis-server and
// PostgreSQL on the machine, and starts its own:
//
//	go run .         # all of it, about ten minutes
//	go run . -short  # few entries, writes nothing, proves nothing about time
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

const resultsFile = "RESULTS.md"

func main() {
	short := flag.Bool("short", false, "few entries, which prove nothing about time")
	only := flag.String("only", "", "one engine: redis, postgres, sqlite; writes nothing")
	follow := flag.String("follow", "", "be the other process that waits for revocations, at this engine")
	where := flag.String("at", "", "with -follow: where the engine is")
	flag.Parse()
	size := full
	if *short {
		size = sizes{few: 200, many: 2000, calls: 200, pushed: 300, rounds: 3}
	}
	if *follow != "" {
		waitForRevocations(*follow, *where, size.pushed)
		return
	}
	var all []*report
	for _, name := range []string{"redis", "postgres", "sqlite"} {
		if *only != "" && *only != name {
			continue
		}
		e, err := start(name)
		must(err)
		r := measure(e, size, *short)
		e.stop()
		all = append(all, r)
	}
	text := markdown(all, size)
	fmt.Print(text)
	if !*short && *only == "" {
		must(os.WriteFile(resultsFile, []byte(text), 0o644))
		fmt.Println("written:", resultsFile)
	}
}

// sizes are how much there is of everything.
type sizes struct {
	few, many int // sessions
	calls     int // of each kind, at each size
	pushed    int // revocations that another process waits for
	rounds    int
}

var full = sizes{few: 10_000, many: 1_000_000, calls: 3000, pushed: 10_000, rounds: 15}

// line is one figure of an engine. Where there is a bound, it is judged.
type line struct {
	what, bound, value string
	fails              bool
}

// report is what was measured at one engine.
type report struct {
	engine string
	lines  []line
}

func (r *report) add(what, bound string, holds bool, format string, args ...any) {
	l := line{what, bound, fmt.Sprintf(format, args...), bound != "" && !holds}
	r.lines = append(r.lines, l)
	fmt.Fprintf(os.Stderr, "%s: %s: %s\n", r.engine, what, l.value)
}

func markdown(all []*report, size sizes) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What shared stores cost\n\nWritten by `go run .` in `bench/stores` on %s, on a machine with %d cores (%s/%s, %s), the engines on the same machine and over loopback. ", time.Now().Format("2 January 2006"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Fprintf(&b, "Ratios are medians of %d rounds within one run; times are this machine's alone.\n", size.rounds)
	for _, r := range all {
		fmt.Fprintf(&b, "\n## %s\n\n| what | bound | measured | |\n|---|---|---|---|\n", r.engine)
		for _, l := range r.lines {
			word := ""
			if l.bound != "" {
				word = "holds"
			}
			if l.fails {
				word = "FALLS SHORT"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.what, l.bound, l.value, word)
		}
	}
	return b.String()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
