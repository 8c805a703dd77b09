//go:build !race

package allocs_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
)

// Limits for what a refusal may allocate before the signature is verified.
const (
	// maxAllocs is how many allocations a refusal may need for any token.
	maxAllocs = 50
	// A refusal may need one further allocation for every perAlloc bytes of the token, because
	// each name with an escape is unescaped.
	perAlloc = 9
	// For each byte of the token, a refusal may allocate as many bytes as the constant pooled says,
	// because escapes are unescaped. If the token is too long for the pools of buffers and tables,
	// the limit is the constant unpooled instead.
	pooled, unpooled = 1.0, 4.0
)

// log is an event hook that builds the text of an error, as event.Log does.
func log(_ context.Context, e event.Event) {
	if e.Err != nil {
		_ = e.Err.Error()
	}
}

// cost returns how many allocations and bytes a refusal costs. It fails the test if another check
// than b.at(d) refuses the token.
func cost(t *testing.T, d door, b badToken, token string, runs int) (allocs, size float64) {
	t.Helper()
	require.LessOrEqual(t, len(token), d.max, "%s: %s is too long", d.name, b.name)
	call := d.knock(token)
	err := call()
	check, ok := refusedBy(err)
	require.True(t, ok, "%s: %s, %d bytes: %v", d.name, b.name, len(token), err)
	require.Equal(t, b.at(d), check, "%s: %s, %d bytes: %v", d.name, b.name, len(token), err)
	return perRuns(runs, func() { _ = call() })
}

// requireCheap fails the test if allocs or size is above the limit for a refusal of the token. Both
// limits grow in proportion to the length of the token. size may grow by factor bytes for each
// byte that the door reads.
func requireCheap(t *testing.T, d door, b badToken, token string, factor, allocs, size float64) {
	t.Helper()
	n := float64(d.times * len(token))
	assert.LessOrEqual(t, size, d.base+factor*n, "bytes of %s: %s, %d bytes", d.name, b.name, len(token))
	assert.LessOrEqual(t, allocs, maxAllocs+n/perAlloc, "allocations of %s: %s, %d bytes", d.name, b.name, len(token))
}

// The cost of a refusal before the signature is verified grows at most in proportion to the
// length of the token.
func TestARefusalCostsAtMostInProportionToTheToken(t *testing.T) {
	for name, hook := range map[string]func(context.Context, event.Event){"without a hook": nil, "with a hook": log} {
		t.Run(name, func(t *testing.T) {
			for _, d := range newHall(t, 8<<10, hook).doors {
				for _, b := range badTokens {
					sizes := make(map[int]float64)
					for _, n := range []int{1 << 10, 4 << 10, 8 << 10} {
						token := b.make(d.shape, n)
						allocs, size := cost(t, d, b, token, 5)
						requireCheap(t, d, b, token, pooled, allocs, size)
						sizes[n] = size
					}
					assert.LessOrEqual(t, sizes[8<<10], 10*sizes[1<<10], "%s: %s", d.name, b.name)
				}
			}
		})
	}
}

// These tokens are too long for the pools of buffers and tables.
func TestARefusalOfALongTokenCostsAtMostInProportionToTheToken(t *testing.T) {
	const long = 1 << 20
	for _, d := range newHall(t, long, log).doors {
		switch d.name {
		case "Verifier, HS256", "AnyOf(16)", "ResolveIssuers", "AnyOf with a jwk.Remote, unknown kid", "the second of two extractors, Require":
		default:
			continue // the other doors read no long tokens, or read them like one of these doors
		}
		for _, b := range badTokens {
			token := b.make(d.shape, long)
			allocs, size := cost(t, d, b, token, 1)
			requireCheap(t, d, b, token, unpooled, allocs, size)
		}
	}
}

// A token that is too long is refused without being read.
func TestATokenThatIsTooLongCostsNothing(t *testing.T) {
	tooLong := badToken{name: "too long", check: "size"}
	for _, d := range newHall(t, 8<<10, log).doors {
		for name, token := range map[string]string{
			"a byte":         strings.Repeat("x", d.max+1),
			"a million dots": strings.Repeat(".", 1_000_000),
			"a megabyte":     d.shape.token(d.shape.header(""), d.shape.claims(members[0].text(1<<20))),
		} {
			call := d.knock(token)
			check, _ := refusedBy(call())
			require.Equal(t, tooLong.check, check, "%s: %s", d.name, name)
			allocs, size := perRuns(5, func() { _ = call() })
			assert.LessOrEqual(t, size, d.base, "%s: %s", d.name, name)
			assert.LessOrEqual(t, allocs, float64(maxAllocs), "%s: %s", d.name, name)
		}
	}
}

// BenchmarkRefuse measures refusals that were expensive in the past, and the most expensive ones.
func BenchmarkRefuse(b *testing.B) {
	h := newHall(b, 8<<10, log)
	for _, d := range h.doors {
		for _, bad := range badTokens {
			switch d.name + ": " + bad.name {
			case "Verifier, HS256: a header with many names with escapes and capitals", "Verifier, HS256: a header with names at every depth",
				"AnyOf(16): an iss that is similar", "AnyOf with a jwk.Remote, unknown kid: claims with many names with escapes and capitals",
				"jwk.Remote, unknown kid: an exp of many digits":
			default:
				continue
			}
			b.Run(d.name+": "+bad.name, func(b *testing.B) {
				token := bad.make(d.shape, 8<<10)
				call := d.knock(token)
				b.ReportAllocs()
				b.SetBytes(int64(len(token)))
				for b.Loop() {
					if _, ok := refusedBy(call()); !ok {
						b.Fatal("accepted")
					}
				}
			})
		}
	}
}
