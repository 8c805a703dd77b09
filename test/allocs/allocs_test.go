//go:build !race

// Package allocs_test tests how much memory verifying, issuing and refusing tokens allocates.
package allocs_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// The race detector drops objects from pools at random, so these tests do not run with it.

// wordy returns a new access token of a session, with custom claims.
func wordy(w *fixture.World) string {
	return w.Sign(w.Claims(map[string]any{"sid": "s", "jti": rand.Text(), "scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
}

// perRun calls f 1,000 times. It returns how many allocations and bytes one call costs.
func perRun(t *testing.T, f func()) (allocs, size float64) {
	t.Helper()
	return perRuns(1000, f)
}

// perRuns does the same as perRun, with the given number of calls.
func perRuns(runs int, f func()) (allocs, size float64) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each processor has its own pools
	old := debug.SetGCPercent(-1)                   // a collection would empty the pools
	defer debug.SetGCPercent(old)
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	n := float64(runs)
	return math.Round(float64(after.Mallocs-before.Mallocs) / n), math.Round(float64(after.TotalAlloc-before.TotalAlloc) / n)
}

// The one buffer holds the claims. A cache that is not full also allocates its entry.
func TestVerifyingAllocatesOneBuffer(t *testing.T) {
	for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.EdDSA} {
		for _, revocations := range []bool{false, true} {
			for size, want := range map[int]float64{-1: 1, 0: 2, 1: 1} {
				w := fixture.NewWith(t, alg, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
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
					if _, err := w.Verifier.Verify(ctx, tokens[n-1]); err != nil {
						t.Fatal(err)
					}
				}
				verify() // fills the cache of size 1
				allocs, _ := perRun(t, verify)
				require.Equal(t, want, allocs, "%s, revocations %v, cache %d", alg, revocations, size)
				require.Zero(t, w.Verifier.CacheStats().Hits)
			}
		}
	}
}

// The one string holds the token and its scope.
func TestIssuingAllocatesOneText(t *testing.T) {
	for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.EdDSA} {
		w := fixture.NewWith(t, alg, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = nil })
		grant, ctx := jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write"}}, t.Context()
		allocs, _ := perRun(t, func() {
			if _, err := w.Issuer.IssueAccess(ctx, grant); err != nil {
				t.Fatal(err)
			}
		})
		require.Equal(t, 1.0, allocs, alg)
	}
}

func TestATokenThatComesAgainAllocatesNothing(t *testing.T) {
	w := fixture.NewWith(t, jwk.ES256)
	token, ctx := wordy(w), t.Context()
	allocs, _ := perRun(t, func() {
		if _, err := w.Verifier.Verify(ctx, token); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, allocs)
}

// The two allocations take 384 bytes at most.
func TestTheMiddlewareAllocatesTheRequestAndTheContext(t *testing.T) {
	w := fixture.New(t)
	h := w.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := jwtauth.FromContext(r.Context()); !ok {
			t.Fatal("no token")
		}
	}))
	r := fixture.Request("GET", "/", "Bearer "+wordy(w))
	allocs, size := perRun(t, func() { h.ServeHTTP(nil, r) })
	require.Equal(t, 2.0, allocs)
	require.LessOrEqual(t, size, 384.0)
}

// A longer token must not cost more memory before its signature has been checked.
func TestARefusalAllocatesNoMoreForALongerToken(t *testing.T) {
	w := fixture.NewWith(t, jwk.HS256, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = nil })
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
				if _, err := w.Verifier.Verify(t.Context(), token); err == nil {
					t.Fatal("accepted")
				}
			})
			return size
		}
		require.Equal(t, cost(of(500)), cost(of(5000)), name)
	}
}

// While fetched keys are fresh, they need no more allocations than static keys.
func TestKeysThatAreFetchedAllocateNoMoreThanStaticOnes(t *testing.T) {
	for _, size := range []int{-1, 0} {
		r := fixture.NewRemote(t)
		ctx, tokens := t.Context(), []string{wordy(r.World), wordy(r.World)}
		cost := func(keys jwk.Set) float64 {
			v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: r.Clock.Now, CacheSize: size})
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
		static, err := jwk.Static(r.Key.Verification())
		require.NoError(t, err)
		require.NoError(t, r.Set.Ready(ctx))
		require.Equal(t, cost(static), cost(r.Set), "cache %d", size)
		require.Equal(t, 1, r.Source.Asked())
	}
}

// 1,000 unknown kids a second cause one fetch every 10 seconds.
func TestAMillionUnknownKidsTakeNoMemory(t *testing.T) {
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.OnEvent = nil })
	verifier, err := jwtauth.NewVerifier(r.Set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: r.Clock.Now})
	require.NoError(t, err)
	good := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3600}))
	_, err = verifier.Verify(t.Context(), good)
	require.NoError(t, err)
	f, ctx := fixture.NewForger(t, good), t.Context()
	forge := func(n int) {
		for i := range n {
			if i%10_000 == 0 {
				r.Clock.Advance(10 * time.Second)
			}
			if _, err := verifier.Verify(ctx, f.Forge()); !errors.Is(err, jwtauth.ErrTokenKey) {
				t.Fatal(err)
			}
		}
	}
	forge(20_000)
	r.Source.Forget()
	before := fixture.Heap()
	forge(1_000_000)
	require.GreaterOrEqual(t, r.Source.Asked(), 100)
	require.LessOrEqual(t, r.Source.Asked(), 100+5)
	r.Source.Forget()
	require.InDelta(t, before, fixture.Heap(), 1<<20)
	_, err = verifier.Verify(ctx, good)
	require.NoError(t, err)
	runtime.KeepAlive(r)
}

func TestResolvingAnIssuerThatIsKnownAllocatesNothing(t *testing.T) {
	w := fixture.New(t)
	all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return w.Verifier, nil }, jwtauth.ResolveOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	token := wordy(w)
	_, err = all.Verify(t.Context(), token)
	require.NoError(t, err)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = all.Verify(ctx, token) }))
}

func TestVerifyingWithARingThatHasASourceAllocatesNothingMore(t *testing.T) {
	w, plain := fixture.NewRingWorld(t, fixture.NewRingSource()), fixture.New(t)
	count := func(w *fixture.World) float64 {
		verifier, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{CacheSize: -1})
		require.NoError(t, err)
		token := w.Login("alice").AccessToken
		return testing.AllocsPerRun(100, func() {
			if _, err := verifier.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		})
	}
	require.Equal(t, count(plain), count(w))
}

func TestVerifyingWithAReplicaAllocatesNothingMore(t *testing.T) {
	r := fixture.NewReplica(t, &fixture.Engine{})
	require.NoError(t, r.Ready(t.Context()))
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations, o.Now = r, time.Now })
	token := w.Login("alice").AccessToken
	w.RequireAccepted(token)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := w.Verifier.Verify(ctx, token); err != nil {
			t.Fatal(err)
		}
	}))
}

func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{-1, 0} {
		for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.ES256} {
			w := fixture.NewWith(b, alg, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
				o.CacheSize = size
				o.Now, i.Now = time.Now, time.Now
			})
			now := time.Now().Unix()
			token := w.Sign(w.Claims(map[string]any{"sid": "s", "iat": now, "nbf": now, "exp": now + 900, "scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
			name := "new"
			if size == 0 {
				name = "again"
			}
			b.Run(string(alg)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				ctx := b.Context()
				for b.Loop() {
					if _, err := w.Verifier.Verify(ctx, token); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(string(alg)+"/middleware/"+name, func(b *testing.B) {
				b.ReportAllocs()
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				h := w.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { jwtauth.FromContext(r.Context()) }))
				for b.Loop() {
					h.ServeHTTP(nil, r)
				}
			})
		}
	}
}
