//go:build linux

package faults_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func (s *storm) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

func (s *storm) took(what string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[what] = append(s.times[what], d)
}

// violation fails the test. The first ten times, it says why.
func (s *storm) violation(format string, args ...any) {
	s.mu.Lock()
	s.violations++
	n := s.violations
	s.mu.Unlock()
	if n <= 10 {
		s.t.Errorf(format, args...)
	} else {
		s.t.Fail()
	}
}

// lost counts an effect of a lost write. If the engine must not lose confirmed writes, that
// is a violation.
func (s *storm) lost(what, format string, args ...any) {
	if s.durable {
		s.violation(what+": "+format, args...)
	}
	s.count("lost writes: " + what)
}

// settled expects that, after the storm, every node refuses every access token of an ended
// session, whatever the engine has lost.
func (s *storm) settled() {
	limit := time.After(2*maxLag + 5*time.Second)
	var left int
	for {
		left = 0
		for _, e := range s.ended {
			for _, n := range s.nodes {
				if n.me(s.t, e.access).status != http.StatusUnauthorized {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-limit:
			s.violation("after the storm %d revoked access tokens are not refused", left)
			return
		}
	}
}

// noForks expects that no session was split. If a client has presented the generation X and has
// received the generation T, then later only X, T and generations after T can be redeemed. The
// same answer comes again only within the grace.
func (s *storm) noForks() {
	for session, generations := range s.redeemed {
		for from, answers := range generations {
			for _, a := range answers {
				s.noForksAfter(session, from, a)
			}
		}
	}
}

func (s *storm) noForksAfter(session string, from int64, a answer) {
	for other, later := range s.redeemed[session] {
		for _, b := range later {
			switch {
			case !b.began.After(a.ended):
			case other != from && other < a.refresh.Generation:
				s.lost("a rotation", "generation %d of %s was answered after generation %d was answered with %d", other, session, from, a.refresh.Generation)
			case other == from && b.refresh.Generation == a.refresh.Generation && b.began.Sub(a.ended) > stormGrace:
				s.lost("a rotation", "generation %d of %s was answered twice with %d, %v apart", from, session, a.refresh.Generation, b.began.Sub(a.ended))
			}
		}
	}
}

// table logs the results.
func (s *storm) table(before []nodeStats) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(w, "%s\t%d\n", what, s.counts[what])
	}
	for _, what := range slices.Sorted(maps.Keys(s.times)) {
		took := s.times[what]
		slices.Sort(took)
		fmt.Fprintf(w, "time of %s\tmedian %v\t99%% %v\tmost %v\n", what,
			took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	}
	fmt.Fprintf(w, "sessions that were refreshed\t%d\n", len(s.redeemed))
	for i, n := range s.nodes {
		now := s.calm(n, before[i].Goroutines)
		for _, kind := range slices.Sorted(maps.Keys(now.Events)) {
			fmt.Fprintf(w, "event of node %d: %s\t%d\n", i, kind, now.Events[kind])
		}
		fmt.Fprintf(w, "goroutines of node %d\t%d, before %d\n", i, now.Goroutines, before[i].Goroutines)
		fmt.Fprintf(w, "heap of node %d\t%d KiB, before %d KiB\n", i, now.Heap>>10, before[i].Heap>>10)
		fmt.Fprintf(w, "revocations in node %d\t%d\n", i, now.Revoked)
	}
	w.Flush()
	s.t.Logf("%d violations\n%s", s.violations, b.String())
}

// calm waits until a node has at most 10 goroutines more than before.
func (s *storm) calm(n *node, before int) (now nodeStats) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		web.CloseIdleConnections()
		if now = n.stats(s.t); now.Goroutines <= before+10 {
			return now
		}
		if time.Now().After(deadline) {
			s.violation("a node has %d goroutines, before the storm it had %d", now.Goroutines, before)
			return now
		}
	}
}
