package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// scaleTable returns a table of the memory and time that a cached token, a session and
// a revocation cost if there are 1,000 to 1,000,000 of them. The algorithm is HS256,
// because its signatures take the least time.
func scaleTable() string {
	sizes := []int{1_000, 10_000, 100_000, 1_000_000}
	lines := []string{"| |", "|---|"}
	add := func(i int, name, value string) {
		for len(lines) <= i {
			lines = append(lines, "| "+name+" |")
		}
		lines[i] += " " + value + " |"
	}
	for _, n := range sizes {
		lines[0] += fmt.Sprintf(" %d |", n)
		lines[1] += "---:|"
		i := 2
		for _, part := range []func(n int) []cost{tokensCost, sessionsCost, revocationsCost} {
			for _, c := range part(n) {
				add(i, c.what, c.value)
				i++
			}
			runtime.GC()
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// cost is the value in one line of the table, for one size.
type cost struct{ what, value string }

// sampled is how many of the tokens are kept, to measure times with them. All tokens would fill
// the memory.
const sampled = 100_000

func tokensCost(n int) []cost {
	w := newWork("HS256")
	v := w.verifier(func(o *jwtauth.VerifierOptions) { o.CacheSize = 2 * n })
	ctx := context.Background()
	var sample []string
	step := max(1, n/sampled)
	before := heap()
	var tokens int
	for i := range n {
		token := w.sign(w.header(), w.claims().with("sub", user(i)))
		if _, err := v.Verify(ctx, token); err != nil {
			panic(err)
		}
		if i%step == 0 {
			sample = append(sample, token)
			tokens += len(token)
		}
	}
	kept := float64(heap()-before-uint64(tokens)-uint64(cap(sample))*16) / float64(v.CacheStats().Len)
	took := timeOf(verifying(ours, ourVerify(v), shuffled(sample)...))
	s := v.CacheStats()
	return []cost{
		{"tokens: bytes for each cached token", fmt.Sprintf("%.0f", kept)},
		{"tokens: bytes as CacheStats counts them", fmt.Sprintf("%.0f", float64(s.Bytes)/float64(s.Len))},
		{"Verify, cached tokens in random order", nanos(took)},
	}
}

func sessionsCost(n int) []cost {
	w, ctx := newWork("HS256"), context.Background()
	before := heap()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	i := w.issuer(func(o *jwtauth.IssuerOptions) { o.Sessions, o.Revocations, o.AccessTTL = store, store, time.Hour })
	var sample []string
	step := max(1, n/sampled)
	var tokens int
	start := time.Now()
	for k := range n {
		r, err := i.Issue(ctx, jwtauth.Grant{Subject: user(k), Scopes: scopes, Claims: custom{tenant, roles}})
		must(err)
		if k%step == 0 {
			sample = append(sample, r.RefreshToken)
			tokens += len(r.RefreshToken)
		}
	}
	issue := float64(time.Since(start)) / float64(n)
	kept := float64(heap()-before-uint64(tokens)-uint64(cap(sample))*16) / float64(n)
	rand.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	next := 0
	refresh := timeOf(func() {
		r, err := i.Refresh(ctx, jwtauth.RefreshRequest{Token: sample[next]})
		if err != nil {
			panic(err)
		}
		sample[next] = r.RefreshToken
		next = (next + 1) % len(sample)
	})
	runtime.KeepAlive(store)
	return []cost{
		{"sessions: bytes for each session", fmt.Sprintf("%.0f", kept)},
		{"Issue, with two signatures", nanos(issue)},
		{"Refresh, with a signature check and two signatures", nanos(refresh)},
		{"the longest call of Create and Advance", nanos(longestOf(n, "Create", "Advance"))},
	}
}

func revocationsCost(n int) []cost {
	ctx, until := context.Background(), time.Now().Add(lifetime)
	ids := newIDs(n)
	before := heap()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	start := time.Now()
	for _, id := range ids {
		must(store.Revoke(ctx, id, until))
	}
	revoke := float64(time.Since(start)) / float64(n)
	after := heap()
	runtime.KeepAlive(ids)
	kept := float64(after-before) / float64(n)
	absent := newIDs(1 << 16)
	next := 0
	lookUp := timeOf(func() {
		if found, err := store.IsRevoked(ctx, absent[next:next+2]...); found || err != nil {
			panic("IsRevoked reports an id that was not revoked")
		}
		next = (next + 2) % len(absent)
	})
	return []cost{
		{"revocations: bytes for each revocation", fmt.Sprintf("%.0f", kept)},
		{"Revoke, while the store grows to this size", nanos(revoke)},
		{"IsRevoked, two ids that are not there", nanos(lookUp)},
		{"the longest call of Revoke and IsRevoked", nanos(longestOf(n, "Revoke", "IsRevoked"))},
	}
}

// longestOf returns the time of the longest call of these methods of a store with n entries, in
// nanoseconds.
func longestOf(n int, methods ...string) (longest float64) {
	for _, p := range longestCalls(n, methods...) {
		longest = max(longest, p.nanos)
	}
	return longest
}

// timeOf returns the median time of an operation, in nanoseconds.
func timeOf(op func()) float64 {
	c := sequential("", op)
	n := calibrate(c, 50*time.Millisecond)
	var each []float64
	for range 7 {
		each = append(each, float64(c.time(n))/float64(n))
	}
	return median(each)
}

// heap returns the bytes of the heap in use after a garbage collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
