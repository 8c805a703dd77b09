// Command stores measures the session and revocation stores in Redis, PostgreSQL, MariaDB and
// SQLite on this machine, and writes RESULTS.md. It starts the engines itself, so redis-server,
// PostgreSQL and MariaDB must be installed. In this folder:
//
//	go run .         # measures everything, in about fifteen minutes
//	go run . -short  # uses few entries: the times mean nothing, and RESULTS.md is not written
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
	short := flag.Bool("short", false, "few entries: the times mean nothing, and RESULTS.md is not written")
	only := flag.String("only", "", "measure one engine: redis, postgres, mariadb or sqlite; RESULTS.md is not written")
	follow := flag.String("follow", "", "used by the command itself: wait for revocations at this engine")
	address := flag.String("at", "", "with -follow: the address of the engine")
	flag.Parse()
	size := full
	if *short {
		size = sizes{few: 200, many: 2000, calls: 200, pushed: 300, rounds: 3}
	}
	if *follow != "" {
		waitForRevocations(*follow, *address, size.pushed)
		return
	}
	var all []*report
	for _, name := range []string{"redis", "postgres", "mariadb", "sqlite"} {
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

// sizes holds the numbers of entries, calls and rounds.
type sizes struct {
	few, many int // the small and the large number of entries in a store
	calls     int // measured calls of each method, with few and with many sessions
	pushed    int // revocations for which another process waits
	rounds    int // a ratio is the median over these rounds
}

var full = sizes{few: 10_000, many: 1_000_000, calls: 3000, pushed: 10_000, rounds: 15}

// line is one figure of an engine. fails is true if the figure has a bound and misses it.
type line struct {
	what, bound, value string
	fails              bool
}

// report holds the figures of one engine.
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
	fmt.Fprintf(&b, "# What shared stores cost\n\nWritten by `go run .` in `test/bench/stores` on %s, on a machine with %d cores (%s/%s, %s), the engines on the same machine and over loopback. ", time.Now().Format("2 January 2006"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
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
