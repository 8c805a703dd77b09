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
	b.WriteString("| what | bound | measured | not scaled | | best peer |\n|---|---|---|---|---|---|\n")
	for _, row := range rows {
		v := row.judge(r)
		word := v.summary()
		if v.known && !v.holds && row.why != "" {
			word += ": " + row.why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.what, row.bound, v.figure, v.unscaled, word, v.peer)
	}
	return b.String()
}

// markdown returns the text of RESULTS.md.
func (r *results) markdown(p plan, chart string) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n\n", args...) }
	say("# How fast jwtauth is, compared with other libraries")
	say("Written by `GOWORK=off go run .` in `test/bench/` on %s: %s, %d cores, %s, %s/%s. %d rounds, %s for each cell in each round.",
		time.Now().UTC().Format("2 January 2006"), processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, p.rounds, p.slot)
	say("![Verifying and middleware, HS256 and ES256, as multiples of the primitive](%s)", chart)
	say("## What was promised")
	say("A promise is a bound on a time, a ratio, a rate or allocations. “A / B” is the time of A divided by the time of B, as the median over the rounds.")
	say("“raw” is only the signature function of the standard library, on the same bytes. The key is prepared, and the signature decoded, before the measurement. " +
		"“floor” is the least work that a strict library must do. To verify a token, this is raw, the base64 of the three segments, and one strict scan of header and claims. To issue an HS256 token, it is 16 random bytes, a buffer with the claims, the base64 of both segments, an HMAC with a new hash, and a string.")
	say("All times are times of this machine, except those of cache hits. These are scaled to a machine on which raw ES256 takes 75 µs; the times that are not scaled have a column of their own. If a row misses its bound, it says by how much if the bound is a ratio or a time, and why if the reason is known.")
	say("%s", strings.TrimSpace(r.verdicts()))

	say("## How it was measured")
	say("%s", strings.TrimSpace(method))
	say("Built with %s and:", runtime.Version())
	say("%s", strings.TrimSpace(versions()))

	say("## Compared with the best peer")
	say("The table shows how many times faster this library is than the fastest peer. Below 1, the peer is faster. The cache is off, except in the row of the repeated token.")
	say("%s", strings.TrimSpace(r.lead()))

	say("## Verify")
	say("Cache and revocations are off. A cell is: ratio to raw · allocations. “%s” also decodes the custom claims into a struct. “%s” decodes all claims into a struct, and “%s” into a map.", ourStructs, golangJWT.name, golangJWTMap.name)
	say("%s", r.table("verify/", raw))
	if len(r.v2) > 0 {
		say("### In a build with GOEXPERIMENT=jsonv2")
		other := results{groups: r.v2}
		say("%s", other.table("verify/", raw))
	}
	say("### With cache and revocations on")
	say("Each token is presented once. When the cache is full, new tokens do not enter it. The store holds %d revocations.", fewRevoked)
	say("%s", r.table("new/", raw))

	say("## Middleware")
	say("Each middleware wraps one handler, with a ResponseWriter that does nothing. A cell is: ratio to raw · allocations. “%s” is a handler without a middleware. “%s” is the least work of a middleware: it takes the token from the header and sets one context value, which the handler reads.", bareHandler, contextValue)
	say("%s", r.table("middleware/", raw, "million"))
	say("### With a million revocations")
	say("The tokens belong to sessions, so each request looks up two identifiers. A cell is: ratio to “%s” · allocations.", contextValue)
	say("%s", r.table("middleware/million", contextValue))

	say("## Issue")
	say("Each token has the same claims, a new jti and the current time. A cell is: ratio to the raw signature · allocations. For HS256, the raw signature is a fresh HMAC.")
	say("%s", r.table("issue/", raw))

	say("## Refuse")
	say("A cell is: ratio to raw on the same bytes · allocations. The sizes are those of whole tokens; 8 kB are 8,192 bytes. Before the measurement, jwtauth has verified a good token, as in a running service.")
	for _, alg := range []string{"HS256", "ES256"} {
		say("### %s", alg)
		say("%s", r.table("refuse/"+alg+"/", raw))
	}

	say("## On two cores")
	say("The table shows how many times more work two cores do than one. One process runs one task after the other, each once on one core and once on two.")
	say("%s", r.parallel())

	say("## Cache")
	say("The table shows how many times faster a cache hit is than raw ES256 on the same token. A cache hit returns the token. It does not check a scope.")
	say("%s", r.faster("cache"))

	say("## MemoryStore")
	say("The table shows how many times faster a call is than raw ES256, with a million revocations.")
	say("%s", r.faster("store"))
	if len(r.pauses) > 0 {
		say("The longest call: while the store grows, when it is full, and after all its entries have ended at once.")
		b.WriteString("| call | calls | longest, on this machine only |\n|---|---:|---:|\n")
		for _, p := range r.pauses {
			fmt.Fprintf(&b, "| %s | %d | %s |\n", p.call, p.calls, nanos(p.nanos))
		}
		b.WriteString("\n")
		say("Each sequence of calls ran %d times, each time with a new store and without garbage collection. Times are CPU times of the thread. Work of the store makes a call long in every repetition, an interrupt only in some. So the calls are divided into stretches of %d. The time of a stretch is the time of its longest call, in the repetition in which this time is shortest. The table shows the longest time of all stretches.", replays, stretch)
	}

	say("## Over loopback")
	say("A net/http server and a client that writes and reads plain bytes run in one process. They use %d kept-alive connections; each connection repeats %d tokens. The same requests go to three handlers: one without authentication, one behind a middleware that only sets a context value, and one behind this library's middleware with cache and revocations on.", connections, tokensEach)
	say("%s", r.requests())

	say("## What each library lets through")
	say("A library that skips a check is faster. Each of these tokens is bad for one reason. **yes** means that the library accepts the token and returns its subject, although it is set up as its documents say, with every check that it offers. A caller can add some of the missing checks; the table shows the libraries alone.")
	b.WriteString(conformance())
	return strings.TrimSpace(b.String()) + "\n"
}

const method = `
- All libraries verify the same token, which the standard library made. Its header has alg, typ and kid; its claims are iss, sub, aud, exp, iat, nbf, jti, scope, a tenant and three roles. Each library checks alg, signature, iss, aud, exp and nbf, if it can. It returns the subject, and whether the token has the scope.
- A round measures every cell of a group once, for a fixed time, in a random order. Cells whose ratio must be exact to one percent are measured directly after each other. A ratio compares two times of one round; the tables show medians over the rounds.
- The garbage collector runs before each cell, so a cell pays only for its own garbage. Then the cell runs for a moment without being timed, to fill its pools again.
- Allocations are counted in a separate run, on one thread without garbage collection.
- A wrong answer stops the run, and so does a cache hit in a cell that measures new tokens.
- echo-jwt runs behind echo's router. golang-jwt has no middleware, so it gets a handwritten one; the other libraries without a middleware are not measured there. go-oidc has no HMAC, and tink no EdDSA. auth0, chi-jwtauth, echo-jwt and go-oidc do not issue such tokens.
`

// column returns the name of a table column: the group's name without the prefix.
func column(group, prefix string) string { return strings.TrimPrefix(group, prefix) }

// table returns a table with one column for each group whose name begins with prefix, except for
// the columns in without. Its last column has the allocated bytes of the first group.
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
	fmt.Fprintf(&b, " bytes for %s |\n|---|%s\n", cmp.Or(column(columns[0].Group, prefix), "each request"), strings.Repeat("---:|", len(columns)+1))
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

// rank returns the value by which table sorts its lines: the ratio in the first column. A cell
// that is not in that column comes last.
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

// faster returns a table of how many times faster than raw each cell is.
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
	b.WriteString("| | requests per second, divided by those of the bare handler |\n|---|---:|\n")
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
