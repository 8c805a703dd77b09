// Command bench measures this library, other JWT libraries (the peers) and the signature functions
// of the standard library (the primitives). All of them get the same tokens. The libraries make
// the same checks, as far as they can. The command is a separate module and needs GOWORK=off:
//
//	GOWORK=off go run .                  # measures everything in some minutes, prints the promises, writes RESULTS.md and chart.svg
//	GOWORK=off go run . -run '^verify/'  # measures the groups whose names match, writes no file
//	GOWORK=off go run . -short           # runs a few short rounds, for CI; fails on wrong answers, never because of times
//	GOWORK=off go run . -scale           # measures this library with a thousand to a million entries, for SCALE.md
//	GOWORK=off go test .                 # tests which bad tokens each library accepts
//
// A promise is a bound on a time, a ratio, a rate or allocations. A promise that is not kept does
// not change the exit code. While the command runs, run nothing else on the machine. Each ratio
// compares times of the same round, so it changes little if the machine is slower in some rounds.
// But if another process occupies a core, the ratios are wrong.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

const (
	resultsFile = "RESULTS.md"
	chartFile   = "chart.svg"
)

func main() {
	var (
		rounds = flag.Int("rounds", 15, "number of rounds; use at least 7 for figures that are published")
		slot   = flag.Duration("time", 50*time.Millisecond, "time for each cell in each round")
		run    = flag.String("run", "", "measure only the groups whose names match")
		short  = flag.Bool("short", false, "run a few short rounds, for CI; their times mean nothing")
		scale  = flag.Bool("scale", false, "measure only how cost grows with the number of entries")
		asJSON = flag.Bool("json", false, "print the measurements as JSON, without verdicts")
	)
	flag.Parse()
	chosen, err := regexp.Compile(*run)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: go run . [-short] [-run regexp] [-rounds n] [-time d] [-scale]", err)
		os.Exit(2)
	}
	p := plan{*rounds, *slot}
	if *short {
		p, largeSize = plan{2, 2 * time.Millisecond}, 50_000
	}
	if *scale {
		fmt.Print(scaleTable())
		return
	}
	r := &results{groups: map[string]*measured{}}
	var list []*measured
	for _, g := range groups() {
		if chosen.MatchString(g.name) {
			progress(g.name)
			m := measure(g, p)
			r.groups[g.name] = m
			list = append(list, m)
		}
	}
	if *asJSON {
		must(printReport(list))
		return
	}
	if chosen.MatchString("pauses") {
		progress("pauses")
		r.pauses = longestCalls(largeSize)
	}
	if chosen.MatchString("jsonv2") && !*short {
		progress("jsonv2")
		if r.v2, err = underJSONv2(p); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	progress("")
	r.print()
	if *short {
		fmt.Println("These rounds were too short: their times mean nothing.")
		return
	}
	if *run == "" {
		must(os.WriteFile(chartFile, []byte(r.chart()), 0o644))
		must(os.WriteFile(resultsFile, []byte(r.markdown(p, chartFile)), 0o644))
		fmt.Println("written:", resultsFile, chartFile)
	}
}

// groups returns all groups, in the order in which they are measured.
func groups() []group {
	var list []group
	for _, alg := range algorithms {
		list = append(list, verifyGroup(alg))
	}
	list = append(list, newTokensGroup("HS256"), newTokensGroup("ES256"))
	for _, alg := range algorithms {
		list = append(list, middlewareGroup(alg))
	}
	list = append(list, revocationsGroup())
	for _, alg := range algorithms {
		list = append(list, issueGroup(alg))
	}
	for _, alg := range []string{"HS256", "ES256"} {
		for _, bad := range rejections {
			list = append(list, refuseGroup(alg, bad))
		}
	}
	return append(list, parallelGroup(), cacheGroup(), storeGroup(), endToEndGroup())
}

// print prints what was measured and whether each promise is kept.
func (r *results) print() {
	for _, g := range groups() {
		m := r.groups[g.name]
		if m == nil {
			continue
		}
		fmt.Printf("\n%s\n", m.Group)
		for _, c := range m.Cells {
			base := m.Cells[0]
			if m.has(raw) {
				base = raw
			}
			fmt.Printf("  %-52s %10s  %s", c, times(m.ratio(c, base)), nanos(m.median(c)))
			if allocs, ok := m.Allocs[c]; ok {
				fmt.Printf("  %s allocations, %.0f bytes", number(allocs), m.Bytes[c])
			}
			fmt.Println()
		}
	}
	if m := r.groups["parallel"]; m != nil && m.ratio(parallelRaw+oneCore, parallelRaw+twoCores) < 1.9 {
		fmt.Println("\nThe primitive itself does not do twice as much on two cores: during the run, this machine did not have two free cores.")
	}
	for _, p := range r.pauses {
		fmt.Printf("  longest call: %-40s %s\n", p.call, nanos(p.nanos))
	}
	fmt.Println()
	for _, row := range rows {
		v := row.judge(r)
		if !v.known {
			continue
		}
		fmt.Printf("%-12s %s: %s", v.summary(), row.what, v.figure)
		if v.unscaled != "" {
			fmt.Printf(" (not scaled: %s)", v.unscaled)
		}
		fmt.Printf("; bound: %s; best peer: %s\n", row.bound, v.peer)
	}
}

// progress shows what is being measured, if stderr is a terminal.
func progress(what string) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", what)
	}
}
