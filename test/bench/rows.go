package main

import (
	"fmt"
	"math"
	"strings"
)

// results holds the measurements. The keys of the maps are names of groups.
type results struct {
	groups map[string]*measured
	v2     map[string]*measured // from the build with GOEXPERIMENT=jsonv2
	pauses []pause
}

// row is one promise about this library: a bound on a time, a ratio, a rate or allocations.
type row struct {
	what, bound string
	judge       func(r *results) verdict
	why         string // why the measurement may miss the bound; may be empty
}

// verdict is the result for a row.
type verdict struct {
	known    bool    // it was measured
	holds    bool    // the measurement is within the bound
	over     float64 // excess over the bound, as a fraction of the bound; 0 if not computed
	figure   string  // what was measured
	unscaled string  // the time on this machine, if figure has the scaled time of a cache hit
	peer     string  // the best peer and its result
}

// summary returns the verdict as a short text.
func (v verdict) summary() string {
	switch {
	case !v.known:
		return "not measured"
	case v.holds:
		return "holds"
	}
	if v.over >= 0.005 {
		return fmt.Sprintf("misses by %.0f %%", 100*v.over)
	}
	return "misses"
}

// referenceNanos is the time of raw ES256, in nanoseconds, on the machine for which the bounds of
// cache hits were set.
const referenceNanos = 75_000

// rows lists all promises, in the order of the table.
var rows = []row{
	{"verify a new HS256 token / floor", "1.3×, 1 allocation over the floor", nearFloor("verify/HS256", ours, 1.3, 1), whyHMAC},
	{"the same, RS256", "1.02×, 1 allocation over the floor", nearFloor("verify/RS256", ours, 1.02, 1), whyPublic},
	{"the same, PS256", "1.02×, 1 allocation over the floor", nearFloor("verify/PS256", ours, 1.02, 1), whyPublic},
	{"the same, ES256", "1.02×, 1 allocation over the floor", nearFloor("verify/ES256", ours, 1.02, 1), whyPublic},
	{"the same, EdDSA", "1.02×, 1 allocation over the floor", nearFloor("verify/EdDSA", ours, 1.02, 1), whyPublic},
	{"verify a new HS256 token with cache and revocations on / raw", "3.8×, 2 allocations", nearRaw("new/HS256", withAll, 3.8, 2), "the token also enters the cache, which is the second allocation, and its id is hashed and looked up in the revocations"},
	{"verify HS256 with custom claims in a struct / raw", "9×", nearRaw("verify/HS256", ourStructs, 9, math.Inf(1)), whyJSON},
	{"verify HS256 with custom claims in a struct, built with GOEXPERIMENT=jsonv2 / raw", "5×", structV2, whyJSON},
	{"middleware, repeated token / a middleware that only sets one context value", "1.4×, 2 allocations, 384 bytes", nearContextValue("middleware/ES256", 1.4, 384), "each request reads the clock, looks up the key and looks into the cache; reading the clock is a fifth of the time"},
	{"the same with a million revocations", "2.2×, 2 allocations", nearContextValue("middleware/million", 2.2, math.Inf(1)), ""},
	{"cache hit, one hot token, scaled to a machine whose raw ES256 takes 75 µs", "100 ns, 0 allocations", hit(hotToken, 100), "a hit hashes and compares the whole token, counts itself, reads the clock, and checks the key and the dates"},
	{"cache hit, 10,000 tokens in random order, scaled to a machine whose raw ES256 takes 75 µs", "350 ns, 0 allocations", hit(randomTokens, 350), "in addition, a hit waits for memory that is in no cache of the processor"},
	{"1 → 2 cores, new ES256 tokens", "at least 1.9×", speedUp(parallelNew, "golang-jwt, ES256"), ""},
	{"1 → 2 cores, cache hits, one hot token", "at least 1.9×", speedUp(parallelHot, ""), ""},
	{"issue HS256 / floor", "1.4×, 1 allocation over the floor", nearFloor("issue/HS256", ours, 1.4, 1), "the clock is read, and the claims are encoded one by one"},
	{"issue ES256 / raw", "1.05×, 1 allocation over raw", nearRaw("issue/ES256", ours, 1.05, 1), ""},
	{"issue EdDSA / raw", "1.05×, 1 allocation over raw", nearRaw("issue/EdDSA", ours, 1.05, 1), ""},
	{"refuse an HS256 token with an unexpected alg, typ and kid", "2 µs", within("refuse/HS256/"+foreignHeader, ours, 2000), ""},
	{"refuse a bad HS256 signature / raw", "1.3×", nearRaw("refuse/HS256/"+badSignature, ours, 1.3, math.Inf(1)), "splitting the token, decoding its signature, the pool of HMAC states and the error take a little longer than the hash"},
	{"refuse an HS256 token of 8 kB with a bad signature", "6 µs", within("refuse/HS256/"+longClaims, ours, 6000), "almost all of the time is the hash"},
	{"allocations of a refusal, tokens of 1 kB → 8 kB, most of it claims", "no more for the longer token", noGrowth("refuse/HS256/"+shortClaims, "refuse/HS256/"+longClaims), ""},
	{"allocations of a refusal, tokens of 1.8 kB → 8 kB, most of it header", "no more for the longer token", noGrowth("refuse/HS256/"+shortHeader, "refuse/HS256/"+longHeader), ""},
	{"MemoryStore, a million entries: IsRevoked, two ids", "150 ns", within("store", isRevokedAbsent, 150), whyMemory},
	{"MemoryStore, a million entries: Revoke", "400 ns", within("store", revokeNew, 400), whyMemory},
	{"MemoryStore, a million entries: the longest call", "200 µs", noPause(false, 200_000), "a full store first removes entries that have ended, a few at a time"},
	{"MemoryStore, a million sessions of one subject: the longest call", "50 ms", noPause(true, 50_000_000), ""},
	{"over loopback, repeated tokens: requests per second / bare handler", "at least 0.97", loopback(0.97), "half of the loss is that of a middleware that sets one context value"},
}

// slack is the tolerance for numbers of allocations, since pools and tables that grow make the
// averages differ a little from whole numbers. noGrowth also uses it as a fraction, for the
// allocated bytes.
const slack = 0.05

// nearRaw bounds the ratio to raw, and the number of allocations that raw does not make.
func nearRaw(group, cell string, limit, allocations float64) func(*results) verdict {
	return func(r *results) verdict {
		v := ratioTo(r.groups[group], cell, raw, limit, allocations)
		if alg, ok := strings.CutPrefix(group, "new/"); ok { // peers have no cache, so every token is new to them
			v.peer = bestPeer(r.groups["verify/"+alg], raw)
		}
		return v
	}
}

// nearFloor bounds the ratio to floor, and the number of allocations that floor does not make.
func nearFloor(group, cell string, limit, allocations float64) func(*results) verdict {
	return func(r *results) verdict { return ratioTo(r.groups[group], cell, floor, limit, allocations) }
}

const (
	whyHMAC   = "the checks of the claims, the pool of HMAC states, and one allocation for the claims"
	whyJSON   = "encoding/json reads the claims a second time, and finds the fields by reflection"
	whyMemory = "each id waits for memory that is in no cache of the processor"
	whyPublic = "the checks of the claims and one allocation take about a microsecond"
)

func structV2(r *results) verdict {
	return ratioTo(r.v2["verify/HS256"], ourStructs, raw, 5, math.Inf(1))
}

func ratioTo(m *measured, cell, base string, limit, allocations float64) verdict {
	if !m.has(cell, base) {
		return verdict{}
	}
	ratio, extra := m.ratio(cell, base), m.extra(cell, base)
	v := verdict{
		known: true, holds: ratio <= limit && extra <= allocations+slack, over: ratio/limit - 1,
		figure: exactly(ratio), peer: bestPeer(m, base),
	}
	if !math.IsInf(allocations, 1) {
		v.figure += ", " + plus(extra)
	}
	return v
}

// nearContextValue bounds the ratio of the middleware with a repeated token to contextOnly. It
// also bounds the allocations, to 2, and their bytes.
func nearContextValue(group string, limit, bytes float64) func(*results) verdict {
	return func(r *results) verdict {
		m := r.groups[group]
		if !m.has(repeated, contextValue) {
			return verdict{}
		}
		ratio, count, size := m.ratio(repeated, contextValue), m.Allocs[repeated], m.Bytes[repeated]
		return verdict{
			known: true, holds: ratio <= limit && count <= 2+slack && size <= bytes+slack, over: ratio/limit - 1,
			figure: fmt.Sprintf("%s, %s allocations, %.0f bytes", exactly(ratio), number(count), size),
			peer:   bestPeer(r.groups["middleware/ES256"], contextValue),
		}
	}
}

// hit bounds the time of a cache hit, scaled to a machine on which raw ES256 takes referenceNanos.
func hit(cell string, limit float64) func(*results) verdict {
	return func(r *results) verdict {
		m := r.groups["cache"]
		if !m.has(cell, raw) {
			return verdict{}
		}
		ratio := m.ratio(cell, raw)
		return verdict{
			known: true, holds: ratio*referenceNanos <= limit && m.Allocs[cell] <= slack, over: ratio*referenceNanos/limit - 1,
			figure:   fmt.Sprintf("%.0f ns: %.0f times faster than raw ES256, %s allocations", ratio*referenceNanos, 1/ratio, number(m.Allocs[cell])),
			unscaled: nanos(m.median(cell)), peer: "none has a cache",
		}
	}
}

func speedUp(task, peer string) func(*results) verdict {
	return func(r *results) verdict {
		m := r.groups["parallel"]
		if !m.has(task+oneCore, task+twoCores) {
			return verdict{}
		}
		ratio := m.ratio(task+oneCore, task+twoCores)
		v := verdict{
			known: true, holds: ratio >= 1.9, peer: "none has a cache",
			figure: fmt.Sprintf("%s (the primitive: %s)", times(ratio), times(m.ratio(parallelRaw+oneCore, parallelRaw+twoCores))),
		}
		if peer != "" {
			v.peer = fmt.Sprintf("%s %s", peer, times(m.ratio(peer+oneCore, peer+twoCores)))
		}
		return v
	}
}

// within bounds the time on this machine, in nanoseconds.
func within(group, cell string, limit float64) func(*results) verdict {
	return func(r *results) verdict {
		m := r.groups[group]
		if !m.has(cell, raw) {
			return verdict{}
		}
		took := m.median(cell)
		of, peer := "raw", bestPeer(m, raw)
		if group == "store" {
			of, peer = "raw ES256", "none has one like it"
		}
		return verdict{
			known: true, holds: took <= limit, over: took/limit - 1, peer: peer,
			figure: fmt.Sprintf("%s, %s of %s", nanos(took), times(m.ratio(cell, raw)), of),
		}
	}
}

// noGrowth requires that a large bad token causes no more allocations than a small
// one, and at most 5 % more allocated bytes.
func noGrowth(small, large string) func(*results) verdict {
	return func(r *results) verdict {
		a, b := r.groups[small], r.groups[large]
		if !a.has(ours) || !b.has(ours) {
			return verdict{}
		}
		var best string
		least := math.Inf(1)
		for _, c := range b.Cells {
			if isPeer(c) && b.Bytes[c]-a.Bytes[c] < least {
				best, least = c, b.Bytes[c]-a.Bytes[c]
			}
		}
		return verdict{
			known: true, holds: b.Allocs[ours] <= a.Allocs[ours]+slack && b.Bytes[ours] <= a.Bytes[ours]*(1+slack),
			figure: fmt.Sprintf("%s → %s, %.0f → %.0f bytes", number(a.Allocs[ours]), number(b.Allocs[ours]), a.Bytes[ours], b.Bytes[ours]),
			peer:   fmt.Sprintf("%s %.0f → %.0f bytes", best, a.Bytes[best], b.Bytes[best]),
		}
	}
}

// noPause bounds the longest call to a MemoryStore. If forOne is true, all sessions belong to one
// subject.
func noPause(forOne bool, limit float64) func(*results) verdict {
	return func(r *results) verdict {
		var longest pause
		for _, p := range r.pauses {
			if strings.HasPrefix(p.call, oneSubject) == forOne && p.nanos > longest.nanos {
				longest = p
			}
		}
		if longest.call == "" {
			return verdict{}
		}
		return verdict{known: true, holds: longest.nanos <= limit, figure: fmt.Sprintf("%s (%s)", nanos(longest.nanos), longest.call), peer: "none has one like it"}
	}
}

func loopback(least float64) func(*results) verdict {
	return func(r *results) verdict {
		m := r.groups["loopback"]
		if !m.has(bareServer, authServer) {
			return verdict{}
		}
		ratio := m.ratio(bareServer, authServer)
		return verdict{
			known: true, holds: ratio >= least, peer: "not measured",
			figure: fmt.Sprintf("%.3f (a middleware that sets one context value: %.3f)", ratio, m.ratio(bareServer, contextValue)),
		}
	}
}

// isPeer reports whether a cell belongs to a peer.
func isPeer(cell string) bool {
	for _, p := range peers {
		if strings.TrimSuffix(cell, byHand) == p.name {
			return true
		}
	}
	return false
}

// bestPeer returns the name of the fastest peer in a group, and its ratio to the base.
func bestPeer(m *measured, base string) string {
	best, least := "", math.Inf(1)
	if m == nil {
		return "not measured"
	}
	for _, c := range m.Cells {
		if isPeer(c) && m.ratio(c, base) < least {
			best, least = c, m.ratio(c, base)
		}
	}
	if best == "" {
		return "—"
	}
	return best + " " + times(least)
}

// times formats a ratio. Small ratios get more decimals.
func times(ratio float64) string {
	switch {
	case math.IsNaN(ratio):
		return "—"
	case ratio < 0.01:
		return fmt.Sprintf("%.4f×", ratio)
	case ratio < 0.1:
		return fmt.Sprintf("%.3f×", ratio)
	case ratio < 10:
		return fmt.Sprintf("%.2f×", ratio)
	}
	return fmt.Sprintf("%.1f×", ratio)
}

// exactly formats a ratio that is compared with a bound. Below 2, it prints three
// decimals.
func exactly(ratio float64) string {
	if ratio < 2 {
		return fmt.Sprintf("%.3f×", ratio)
	}
	return times(ratio)
}

// number formats a count. It rounds a count that is almost whole.
func number(n float64) string {
	if math.Abs(n-math.Round(n)) < slack {
		return fmt.Sprintf("%.0f", math.Abs(math.Round(n)))
	}
	return fmt.Sprintf("%.1f", n)
}

func plus(n float64) string {
	if n < -slack {
		return "−" + number(-n)
	}
	return "+" + number(n)
}

func nanos(n float64) string {
	if n >= 10_000 {
		return fmt.Sprintf("%.0f µs", n/1000)
	}
	if n >= 1000 {
		return fmt.Sprintf("%.1f µs", n/1000)
	}
	return fmt.Sprintf("%.0f ns", n)
}
