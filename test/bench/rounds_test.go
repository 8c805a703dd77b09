package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		require.Equal(t, c.want, median(c.list))
	}
	require.True(t, math.IsNaN(median(nil)))
}

// TestARatioIsTakenWithinARound: if the machine is slower in one round, the ratio
// stays the same.
func TestARatioIsTakenWithinARound(t *testing.T) {
	m := &measured{Nanos: map[string][]float64{raw: {10, 20, 40}, ours: {30, 60, 120}}}
	require.Equal(t, 3.0, m.ratio(ours, raw))
	require.True(t, math.IsNaN(m.ratio("nobody", raw)))
}

func TestEachRoundMeasuresEachCellOnce(t *testing.T) {
	done := 0
	c := func(name string) cell {
		return cell{name: name, opsPerRound: 7, time: func(n int) time.Duration { return time.Duration(n) * 5 }}
	}
	last := c("last")
	last.done = func() error { done++; return nil }
	m := measure(group{name: "g", cells: func() []cell { return []cell{c("a"), c("b"), last} }}, plan{4, time.Millisecond})
	require.Equal(t, []string{"a", "b", "last"}, m.Cells)
	for _, name := range m.Cells {
		require.Equal(t, []float64{5, 5, 5, 5}, m.Nanos[name])
	}
	require.Equal(t, 1, done)
}

func TestCellsThatBelongTogetherStayTogether(t *testing.T) {
	cells := []cell{{name: "a"}, {name: "b", adjacent: "x"}, {name: "c"}, {name: "d", adjacent: "x"}, {name: "e", adjacent: "y"}, {name: "f", adjacent: "y"}}
	seen := map[string]bool{}
	for range 200 {
		var names strings.Builder
		for _, c := range order(cells) {
			names.WriteString(c.name)
		}
		s := names.String()
		require.Len(t, s, len(cells))
		require.True(t, strings.Contains(s, "bd") || strings.Contains(s, "db"), s)
		require.True(t, strings.Contains(s, "ef") || strings.Contains(s, "fe"), s)
		seen[s] = true
	}
	require.Greater(t, len(seen), 10, "order returns too few different orders")
}

func TestCalibrationFillsTheSlot(t *testing.T) {
	c := cell{time: func(n int) time.Duration { return time.Duration(n) * time.Microsecond }}
	require.Equal(t, 1000, calibrate(c, time.Millisecond))
	c.opsPerRound = 3
	require.Equal(t, 3, calibrate(c, time.Millisecond))
}

var kept []byte

func TestAllocationsAreCounted(t *testing.T) {
	count, bytes := allocations(func() { kept = make([]byte, 64) })
	require.InDelta(t, 1, count, slack)
	require.InDelta(t, 64, bytes, 8)
	count, _ = allocations(func() {})
	require.InDelta(t, 0, count, slack)
}

// TestAPauseOfTheMachineIsNoPauseOfTheStore: a long call that happens in only one
// replay does not count.
func TestAPauseOfTheMachineIsNoPauseOfTheStore(t *testing.T) {
	require.Equal(t, 70.0, longestInAll([][]float64{{5, 900, 70}, {800, 6, 75}, {5, 5, 90}}))
}

func TestEachPromiseIsJudged(t *testing.T) {
	cells := func(of map[string]float64) *measured {
		m := &measured{Nanos: map[string][]float64{}, Allocs: map[string]float64{}, Bytes: map[string]float64{}}
		for name, nanos := range of {
			m.Cells = append(m.Cells, name)
			m.Nanos[name] = []float64{nanos}
		}
		return m
	}
	r := &results{groups: map[string]*measured{
		"verify/HS256": cells(map[string]float64{raw: 100, floor: 200, ours: 250, ourStructs: 1000, tink.name: 4000, kataras.name: 2000}),
		"parallel":     cells(map[string]float64{parallelRaw + oneCore: 2, parallelRaw + twoCores: 1, parallelNew + oneCore: 19, parallelNew + twoCores: 10}),
		"loopback":     cells(map[string]float64{bareServer: 96, authServer: 100}),
		"cache":        cells(map[string]float64{raw: 75_000, hotToken: 90, randomTokens: 400}),
	}}
	word := map[string]string{}
	for _, row := range rows {
		word[row.what] = row.judge(r).summary()
	}
	require.Equal(t, "holds", word["verify a new HS256 token / floor"])
	require.Equal(t, "misses by 11 %", word["verify HS256 with custom claims in a struct / raw"])
	require.Equal(t, "holds", word["1 → 2 cores, new ES256 tokens"])
	require.Equal(t, "misses", word["over loopback, repeated tokens: requests per second / bare handler"])
	require.Equal(t, "holds", word["cache hit, one hot token, scaled to a machine whose raw ES256 takes 75 µs"])
	require.Equal(t, "misses by 14 %", word["cache hit, 10,000 tokens in random order, scaled to a machine whose raw ES256 takes 75 µs"])
	require.Equal(t, "not measured", word["issue HS256 / floor"])
	require.Equal(t, "kataras 10.0×", rows[0].judge(r).peer)

	r.groups["verify/HS256"].Allocs[ours] = 2
	require.Equal(t, "misses", rows[0].judge(r).summary(), "two allocations are more than the bound")

	require.Contains(t, r.verdicts(), "misses: "+whyHMAC)
}

func TestTheTokensAreAsLongAsTheirNamesSay(t *testing.T) {
	w := newWork("HS256")
	for _, bad := range rejections {
		if n := len(bad.token(w)); bad.name == longClaims || bad.name == longHeader {
			require.InDelta(t, longestToken, n, 60, bad.name)
			require.LessOrEqual(t, n, longestToken)
		}
	}
}

func TestAChartIsDrawnOfWhatThereIs(t *testing.T) {
	r := &results{groups: map[string]*measured{"verify/HS256": {Cells: []string{raw, ours, tink.name}, Nanos: map[string][]float64{raw: {1}, ours: {2}, tink.name: {40}}}}}
	svg := r.chart()
	require.Contains(t, svg, "40.0×")
	require.NotContains(t, svg, "NaN")
}
