package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// verdicts returns the table of the promises.
func (r *results) verdicts() string {
	var b strings.Builder
	b.WriteString("| what | bound | measured | absolute, on this machine only | | best peer |\n|---|---|---|---|---|---|\n")
	for _, row := range rows {
		v := row.judge(r)
		word := v.word()
		if v.known && !v.holds && row.why != "" {
			word += ": " + row.why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.what, row.bound, v.figure, v.here, word, v.peer)
	}
	return b.String()
}

// markdown returns the text of RESULTS.md.
func (r *results) markdown(p plan, chart string) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n\n", args...) }
	say("# How fast it is, beside others")
	say("Written by `GOWORK=off go run .` in `test/bench/` on %s: %s, %d cores, %s, %s/%s. %d rounds, %s for each cell in each round.",
		time.Now().UTC().Format("2 January 2006"), processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, p.rounds, p.slot)
	say("![Verifying and middleware, HS256 and ES256, as multiples of the primitive](%s)", chart)
	say("## What was promised")
	say("%s", strings.TrimSpace(r.verdicts()))
	say("The floor is the least that a strict library can do, measured in the same run. For a new token: the primitive, the base64 of the three segments, and one strict scan of header and claims. For a repeated token: a middleware that takes the header and sets one value in the context. For issuing: 16 random bytes, the claims appended to a buffer, base64 and a fresh HMAC. A row that is short says by how much, and why.")
	say("“raw” is the standard library's primitive on the same bytes, with a key that is ready and the signature decoded, and nothing else. " +
		"Ratios are medians over the rounds; the cache's times are scaled by them to the machine that the bound speaks of.")

	say("## How it was measured")
	say("%s", strings.TrimSpace(method))
	say("Built with %s and:", runtime.Version())
	say("%s", strings.TrimSpace(versions()))

	say("## Beside the best peer")
	say("How many times faster than the fastest of the others; below 1, the other one is ahead. Verifying and middleware with new tokens, the cache off, and the repeated token in a row of its own.")
	say("%s", strings.TrimSpace(r.lead()))

	say("## Verify")
	say("A new token, cache and revocations off: ratio to raw · allocations. %s decodes the custom claims into a struct as well.", ourStructs)
	say("%s", r.table("verify/", raw))
	if len(r.v2) > 0 {
		say("### In a build with GOEXPERIMENT=jsonv2")
		other := results{groups: r.v2}
		say("%s", other.table("verify/", raw))
	}
	say("### With cache and revocations on")
	say("No token comes twice; once the cache is full, none of them enters it. The store holds %d revocations.", fewRevoked)
	say("%s", r.table("new/", raw))

	say("## Middleware")
	say("A handler behind each middleware and a writer that does nothing: ratio to raw · allocations. %s has no authentication, %s is the least that a middleware in the manner of net/http can do: it takes the token from the header and sets one value, which its handler reads.", bareHandler, contextValue)
	say("%s", r.table("middleware/", raw, "million"))
	say("### With a million revocations")
	say("The tokens belong to sessions, so that two identifiers are looked up for each request. Ratio to %s · allocations.", contextValue)
	say("%s", r.table("middleware/million", contextValue))

	say("## Issue")
	say("The same claims, a new jti and the time of the call: ratio to the raw signature · allocations. For HS256, that is a fresh HMAC.")
	say("%s", r.table("issue/", raw))

	say("## Refuse")
	say("Ratio to the primitive on the same bytes · allocations. The tokens of 8 kB are 8,192 bytes long as a whole. jwtauth has verified a good token before, as in a service.")
	for _, alg := range []string{"HS256", "ES256"} {
		say("### %s", alg)
		say("%s", r.table("refuse/"+alg+"/", raw))
	}

	say("## On two cores")
	say("How many times more is done by two cores than by one, each task in turns of one process, and how that compares with the primitive.")
	say("%s", r.parallel())

	say("## Cache")
	say("How many times faster than raw ES256, which verified the same token. A look-up hands back the token; no scope is looked for in it.")
	say("%s", r.faster("cache"))

	say("## MemoryStore")
	say("With a million revocations: how many times faster than raw ES256.")
	say("%s", r.faster("store"))
	if len(r.pauses) > 0 {
		say("The longest call, while the store grows, is full, and has had everything end at once:")
		b.WriteString("| call | calls | longest, on this machine only |\n|---|---:|---:|\n")
		for _, p := range r.pauses {
			fmt.Fprintf(&b, "| %s | %d | %s |\n", p.call, p.calls, nanos(p.nanos))
		}
		b.WriteString("\n")
		say("Each sequence of calls was done %d times over, with a new store and with the collector off, by the clock of the thread, which stands while others run. Of each stretch of %d calls, the replay counts whose longest call was the shortest, since an interrupt comes in some replays and what the store does comes in all; the table has the longest of those.", replays, stretch)
	}

	say("## Over loopback")
	say("A server of net/http and a client that writes and reads plain bytes, in one process, over %d connections that are kept alive; each repeats %d tokens. The same requests go to a handler without authentication, to one behind a middleware that only sets a context value, and to one behind this library's, with the cache and revocations on.", connections, tokensEach)
	say("%s", r.requests())

	say("## What each library lets through")
	say("Speed that is bought by not looking is none. Each of these tokens is bad for one reason; **yes** means that the library hands back a subject, set up as its documents say with all checks that it has. Where one accepts tokens without exp, a caller can look at the claim himself, and so on: the table is about the libraries, not about what can be built with them.")
	b.WriteString(conformance())
	return strings.TrimSpace(b.String()) + "\n"
}

const method = `
- All libraries verify the same token, made with the standard library: alg, typ and kid in the header; iss, sub, aud, exp, iat, nbf, jti, scope, a tenant and three roles in the claims. All check alg, signature, iss, aud, exp and nbf, as far as they can, and hand back the subject and whether the scope is there.
- A round measures every cell of a group once, for a fixed time, in an order that is shuffled each time; cells whose distance counts to the percent stand side by side. Ratios are taken within a round; the tables have the medians over the rounds.
- Before each cell the heap is collected, so that a cell pays for its own garbage and for nobody else's, and an untimed run-up fills what that has emptied.
- Allocations are counted apart, on one thread with the collector off.
- What is measured is checked: a wrong answer, or a cache that was hit where it should not have been, stops the run.
- echo-jwt runs behind echo's router; what ships no middleware has the one that people write by hand. go-oidc has no HMAC, tink no EdDSA. auth0, chi-jwtauth and go-oidc issue no tokens of this kind, echo-jwt neither.
`

// column returns the name of a table column: the group's name without the prefix.
func column(group, prefix string) string { return strings.TrimPrefix(group, prefix) }

// table returns a table with one column for each group whose name begins with prefix,
// except for the columns in without.
func (r *results) table(prefix, base string, without ...string) string {
	var columns []*measured
	for _, g := range groups() {
		if m := r.groups[g.name]; m != nil && strings.HasPrefix(g.name, prefix) && !slices.Contains(without, column(g.name, prefix)) {
			columns = append(columns, m)
		}
	}
	if len(columns) == 0 {
		return "Not measured."
	}
	var cells []string
	for _, m := range columns {
		for _, c := range m.Cells {
			if !slices.Contains(cells, c) {
				cells = append(cells, c)
			}
		}
	}
	slices.SortStableFunc(cells, func(a, b string) int { return cmp.Compare(rank(columns[0], a, base), rank(columns[0], b, base)) })
	var b strings.Builder
	b.WriteString("| |")
	for _, m := range columns {
		b.WriteString(" " + cmp.Or(column(m.Group, prefix), "ratio · allocations") + " |")
	}
	fmt.Fprintf(&b, " bytes, %s |\n|---|%s\n", cmp.Or(column(columns[0].Group, prefix), "of each"), strings.Repeat("---:|", len(columns)+1))
	for _, c := range cells {
		fmt.Fprintf(&b, "| %s |", emphasized(c))
		for _, m := range columns {
			if !m.has(c, base) {
				b.WriteString(" — |")
				continue
			}
			fmt.Fprintf(&b, " %s · %s |", times(m.ratio(c, base)), number(m.Allocs[c]))
		}
		if columns[0].has(c) {
			fmt.Fprintf(&b, " %.0f |\n", columns[0].Bytes[c])
		} else {
			b.WriteString(" — |\n")
		}
	}
	return strings.TrimSpace(b.String())
}

// rank returns the value by which table sorts its lines: the ratio in the first
// column. Cells that are missing in that column come last.
func rank(m *measured, cell, base string) float64 {
	if !m.has(cell, base) {
		return math.Inf(1)
	}
	return m.ratio(cell, base)
}

func emphasized(cell string) string {
	if strings.HasPrefix(cell, ours) {
		return "**" + cell + "**"
	}
	return cell
}

// lead returns a table that compares this library with the fastest peer.
func (r *results) lead() string {
	var b strings.Builder
	b.WriteString("| | " + strings.Join(algorithms, " | ") + " |\n|---|" + strings.Repeat("---|", len(algorithms)) + "\n")
	for _, l := range []struct{ name, prefix, cell string }{
		{"verify", "verify/", ours}, {"verify with custom claims in a struct", "verify/", ourStructs},
		{"middleware, new token", "middleware/", ours}, {"middleware, repeated token", "middleware/", repeated}, {"issue", "issue/", ours},
	} {
		b.WriteString("| " + l.name + " |")
		for _, alg := range algorithms {
			m := r.groups[l.prefix+alg]
			best := ""
			if m.has(l.cell) {
				for _, c := range m.Cells {
					if isPeer(c) && (best == "" || m.ratio(c, l.cell) < m.ratio(best, l.cell)) {
						best = c
					}
				}
			}
			if best == "" {
				b.WriteString(" — |")
				continue
			}
			fmt.Fprintf(&b, " %s (%s) |", times(m.ratio(best, l.cell)), best)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r *results) parallel() string {
	m := r.groups["parallel"]
	if m == nil {
		return "Not measured."
	}
	var b strings.Builder
	b.WriteString("| | 1 → 2 cores |\n|---|---:|\n")
	for _, c := range m.Cells {
		if task, ok := strings.CutSuffix(c, oneCore); ok {
			fmt.Fprintf(&b, "| %s | %s |\n", emphasized(task), times(m.ratio(c, task+twoCores)))
		}
	}
	return strings.TrimSpace(b.String())
}

// faster returns a table of how many times faster than the primitive each cell is.
func (r *results) faster(group string) string {
	m := r.groups[group]
	if m == nil {
		return "Not measured."
	}
	var b strings.Builder
	b.WriteString("| | times faster | allocations |\n|---|---:|---:|\n")
	for _, c := range m.Cells[1:] {
		fmt.Fprintf(&b, "| %s | %.0f | %s |\n", c, m.ratio(raw, c), number(m.Allocs[c]))
	}
	return strings.TrimSpace(b.String())
}

func (r *results) requests() string {
	m := r.groups["loopback"]
	if m == nil {
		return "Not measured."
	}
	var b strings.Builder
	b.WriteString("| | requests per second, of those of the bare handler |\n|---|---:|\n")
	for _, c := range m.Cells[1:] {
		fmt.Fprintf(&b, "| %s | %.3f |\n", c, m.ratio(bareServer, c))
	}
	return strings.TrimSpace(b.String())
}

// versions lists the modules of the peers and their versions.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "versions unknown"
	}
	var b strings.Builder
	for _, d := range info.Deps {
		if slices.ContainsFunc(peers, func(p peer) bool { return p.module == d.Path }) {
			fmt.Fprintf(&b, "- %s %s\n", d.Path, d.Version)
		}
	}
	return b.String()
}

// processor returns the name of the CPU or, if it is unknown, its architecture.
func processor() string {
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	if out, err := exec.Command("sysctl", "-n", "machdep.cpu.brand_string").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return runtime.GOARCH
}
