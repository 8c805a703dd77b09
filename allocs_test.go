//go:build !race

package jwtauth_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// The race detector takes things out of pools at random, so allocations are
// counted without it.

// wordy is a token with custom claims, of a session.
func wordy(w *world) string {
	return w.sign(w.claims(map[string]any{"sid": "s", "jti": rand.Text(), "scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
}

// perRun is how many allocations and bytes a call costs.
func perRun(t *testing.T, f func()) (allocs, size float64) {
	const runs = 1000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each processor has pools of its own
	f()
	old := debug.SetGCPercent(-1) // which would empty the pools
	defer debug.SetGCPercent(old)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return math.Round(float64(after.Mallocs-before.Mallocs) / runs), math.Round(float64(after.TotalAlloc-before.TotalAlloc) / runs)
}

// TestVerifyingAllocatesOneBuffer: the claims, and nothing else, with
// revocations and without; and what the cache keeps, where it has room.
func TestVerifyingAllocatesOneBuffer(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.EdDSA} {
		for _, revocations := range []bool{false, true} {
			for size, want := range map[int]float64{-1: 1, 0: 2, 1: 1} {
				w := newWorldWith(t, alg, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
					o.CacheSize = size
					if !revocations {
						i.Sessions, i.Revocations = nil, nil
					}
				})
				var tokens []string
				for range 1002 {
					tokens = append(tokens, wordy(w))
				}
				n, ctx := 0, t.Context()
				verify := func() {
					n++
					if _, err := w.verifier.Verify(ctx, tokens[n-1]); err != nil {
						t.Fatal(err)
					}
				}
				verify() // fills the cache that has room for one
				allocs, _ := perRun(t, verify)
				require.Equal(t, want, allocs, "%s, revocations %v, cache %d", alg, revocations, size)
				require.Zero(t, w.verifier.CacheStats().Hits)
			}
		}
	}
}

// TestIssuingAllocatesOneText: of the token and its scope.
func TestIssuingAllocatesOneText(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.EdDSA} {
		w := newWorldWith(t, alg, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = nil })
		grant, ctx := jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write"}}, t.Context()
		allocs, _ := perRun(t, func() {
			if _, err := w.issuer.IssueAccess(ctx, grant); err != nil {
				t.Fatal(err)
			}
		})
		require.Equal(t, 1.0, allocs, alg)
	}
}

func TestATokenThatComesAgainAllocatesNothing(t *testing.T) {
	for _, digests := range []bool{false, true} {
		w := newWorldWith(t, jwtauth.ES256, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheDigests = digests })
		token, ctx := wordy(w), t.Context()
		allocs, _ := perRun(t, func() {
			if _, err := w.verifier.Verify(ctx, token); err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, allocs)
	}
}

// TestTheMiddlewareAllocatesTheRequestAndTheContext: 384 bytes, and nothing else.
func TestTheMiddlewareAllocatesTheRequestAndTheContext(t *testing.T) {
	w := newWorld(t)
	h := w.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := jwtauth.FromContext(r.Context()); !ok {
			t.Fatal("no token")
		}
	}))
	r := request("GET", "/", "Bearer "+wordy(w))
	allocs, size := perRun(t, func() { h.ServeHTTP(nil, r) })
	require.Equal(t, 2.0, allocs)
	require.LessOrEqual(t, size, 384.0)
}

// TestARefusalAllocatesNoMoreForALongerToken: what a stranger writes costs memory
// only once its signature holds.
func TestARefusalAllocatesNoMoreForALongerToken(t *testing.T) {
	w := newWorldWith(t, jwtauth.HS256, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = nil })
	forged := func(claims string) string {
		head, _, _ := strings.Cut(wordy(w), ".")
		return head + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + strings.Repeat("A", 43)
	}
	for name, of := range map[string]func(n int) string{
		"claims": func(n int) string { return forged(`{"a":"` + strings.Repeat("x", n) + `"}`) },
		"header": func(n int) string { return strings.Repeat("A", n) + ".e30." + strings.Repeat("A", 43) },
		"members of the header": func(n int) string {
			h := `{"alg":"RS512"`
			for len(h) < n {
				h += fmt.Sprintf(`,"member%d":%d`, len(h), n)
			}
			return base64.RawURLEncoding.EncodeToString([]byte(h+"}")) + ".e30." + strings.Repeat("A", 43)
		},
	} {
		cost := func(token string) float64 {
			_, size := perRun(t, func() {
				if _, err := w.verifier.Verify(t.Context(), token); err == nil {
					t.Fatal("accepted")
				}
			})
			return size
		}
		require.Equal(t, cost(of(500)), cost(of(5000)), name)
	}
}

// TestKeysThatAreFetchedAllocateNoMoreThanStaticOnes while they are fresh.
func TestKeysThatAreFetchedAllocateNoMoreThanStaticOnes(t *testing.T) {
	for _, size := range []int{-1, 0} {
		r := newRemote(t)
		ctx, tokens := t.Context(), []string{wordy(r.world), wordy(r.world)}
		cost := func(keys jwtauth.KeySet) float64 {
			v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: r.clock.Now, CacheSize: size})
			require.NoError(t, err)
			n := 0
			allocs, _ := perRun(t, func() {
				n++
				if _, err := v.Verify(ctx, tokens[n%2]); err != nil {
					t.Fatal(err)
				}
			})
			return allocs
		}
		static, err := jwtauth.StaticKeys(r.key.VerificationKey())
		require.NoError(t, err)
		require.NoError(t, r.set.Ready(ctx))
		require.Equal(t, cost(static), cost(r.set), "cache %d", size)
		require.Equal(t, 1, r.source.asked())
	}
}

// TestAMillionUnknownKidsTakeNoMemory: 1,000 a second, which cause a fetch in 10
// seconds.
func TestAMillionUnknownKidsTakeNoMemory(t *testing.T) {
	r := newRemote(t, func(o *jwtauth.RemoteKeySetOptions) { o.OnEvent = nil })
	verifier, err := jwtauth.NewVerifier(r.set, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: r.clock.Now})
	require.NoError(t, err)
	good := r.sign(r.claims(map[string]any{"exp": r.clock.Now().Unix() + 3600}))
	_, err = verifier.Verify(t.Context(), good)
	require.NoError(t, err)
	f, ctx := newForger(t, good), t.Context()
	forge := func(n int) {
		for i := range n {
			if i%10_000 == 0 {
				r.clock.Advance(10 * time.Second)
			}
			if _, err := verifier.Verify(ctx, f.forge()); !errors.Is(err, jwtauth.ErrTokenKey) {
				t.Fatal(err)
			}
		}
	}
	forge(20_000)
	r.source.forget()
	before := heap()
	forge(1_000_000)
	require.GreaterOrEqual(t, r.source.asked(), 100)
	require.LessOrEqual(t, r.source.asked(), 100+5)
	r.source.forget()
	require.InDelta(t, before, heap(), 1<<20)
	_, err = verifier.Verify(ctx, good)
	require.NoError(t, err)
	runtime.KeepAlive(r)
}

func TestResolvingAnIssuerThatIsKnownAllocatesNothing(t *testing.T) {
	w := newTenants(t, "https://a.test")
	token := w.token("https://a.test")
	_, err := w.all.Verify(t.Context(), token)
	require.NoError(t, err)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = w.all.Verify(ctx, token) }))
}

func TestVerifyingWithALifeCycleAllocatesNothingMore(t *testing.T) {
	w, plain := newRingWorld(t, newKeySource()), newWorld(t)
	count := func(w *world) float64 {
		verifier, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{CacheSize: -1})
		require.NoError(t, err)
		token := w.login("alice").AccessToken
		return testing.AllocsPerRun(100, func() {
			if _, err := verifier.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		})
	}
	require.Equal(t, count(plain), count(w))
}

func TestVerifyingWithAReplicaAllocatesNothingMore(t *testing.T) {
	r := newReplica(t, &engine{})
	require.NoError(t, r.Ready(t.Context()))
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations, o.Now = r, time.Now })
	token := w.login("alice").AccessToken
	w.requireAccepted(token)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := w.verifier.Verify(ctx, token); err != nil {
			t.Fatal(err)
		}
	}))
}
