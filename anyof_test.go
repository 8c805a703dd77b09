package jwtauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// tenants are issuers that come and go.
type tenants struct {
	*world
	mu    sync.Mutex
	of    map[string]*jwtauth.Verifier
	err   error
	asked []string
	known []*jwtauth.Verifier
	all   *jwtauth.Verifier
}

func newTenants(t *testing.T, names ...string) *tenants {
	w := &tenants{world: newWorld(t), of: make(map[string]*jwtauth.Verifier)}
	for _, name := range names {
		w.come(name)
	}
	var err error
	w.all, err = jwtauth.ResolveIssuers(w.resolve, jwtauth.ResolveOptions{Now: w.clock.Now, OnEvent: w.record})
	require.NoError(t, err)
	return w
}

func (w *tenants) resolve(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.known = append(w.asked, issuer), append(w.known, known)
	return w.of[issuer], w.err
}

// come makes one more tenant, whose tokens the world's key signs.
func (w *tenants) come(issuer string) {
	w.t.Helper()
	v := w.foreign(func(o *jwtauth.VerifierOptions) { o.Issuer, o.CacheSize = issuer, 16 })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[issuer] = v
}

func (w *tenants) token(issuer string) string { return w.sign(w.claims(map[string]any{"iss": issuer})) }

// requests are the issuers that were asked for since the last call.
func (w *tenants) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

func TestIssuersThatComeAndGoAreAskedForAndRemembered(t *testing.T) {
	const a, b = "https://a.test", "https://b.test"
	w := newTenants(t, a)
	text := w.token(a)
	for range 3 {
		token, err := w.all.Verify(t.Context(), text)
		require.NoError(t, err)
		require.Equal(t, a, token.Issuer)
		require.NoError(t, w.all.Recheck(t.Context(), token))
	}
	require.Equal(t, []string{a}, w.requests())
	require.Positive(t, w.all.CacheStats().Hits)

	// Unknown, and not asked for again within ten seconds; then it has come.
	for range 3 {
		_, err := w.all.Verify(t.Context(), w.token(b))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	}
	require.Equal(t, []string{b}, w.requests())
	w.come(b)
	w.clock.Advance(10 * time.Second)
	ofB, err := w.all.Verify(t.Context(), w.token(b))
	require.NoError(t, err)
	require.Equal(t, []string{b}, w.requests())

	// After Keep it is asked for again, with what is known, and keeps that.
	w.clock.Advance(time.Minute)
	_, err = w.all.Verify(t.Context(), w.token(a))
	require.NoError(t, err)
	require.Equal(t, []string{a}, w.requests())
	require.Same(t, w.of[a], w.known[len(w.known)-1])

	// Gone: refused at the latest after Keep, on connections that last, too.
	w.mu.Lock()
	delete(w.of, b)
	w.mu.Unlock()
	w.clock.Advance(time.Minute)
	_, err = w.all.Verify(t.Context(), w.token(b))
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	require.ErrorIs(t, w.all.Recheck(t.Context(), ofB), jwtauth.ErrTokenIssuer)
}

func TestAnIssuerThatNobodyKnowsAnythingAboutIsUnavailable(t *testing.T) {
	const a, b = "https://a.test", "https://b.test"
	w := newTenants(t, a, b)
	for name, resolve := range map[string]func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error){
		"an error": func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			return nil, errors.New("down")
		},
		"an error and a value": func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			return w.of[a], errors.New("down")
		},
		"a panic":   func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { panic("oh") },
		"another's": func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return w.of[b], nil },
		"a zero one": func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			return new(jwtauth.Verifier), nil
		},
		"one of many": func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return w.all, nil },
		"no end": func(ctx context.Context, _ string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.kinds()
			all, err := jwtauth.ResolveIssuers(resolve, jwtauth.ResolveOptions{Timeout: 10 * time.Millisecond, OnEvent: w.record})
			require.NoError(t, err)
			_, err = all.Verify(t.Context(), w.token(a))
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			require.Equal(t, []jwtauth.EventKind{jwtauth.Unavailable}, w.kinds())
		})
	}
	t.Run("a caller that goes away", func(t *testing.T) {
		ended, release := make(chan struct{}), make(chan struct{})
		all, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			defer close(ended)
			<-release
			return w.of[issuer], ctx.Err()
		}, jwtauth.ResolveOptions{Now: w.clock.Now})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var one sync.WaitGroup
		one.Go(func() {
			if _, err := all.Verify(ctx, w.token(a)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		cancel()
		one.Wait()
		close(release)
		<-ended
		_, err = all.Verify(t.Context(), w.token(a)) // which was found for it
		require.NoError(t, err)
	})
}

func TestStrangersCannotFillTheMemoryOfIssuers(t *testing.T) {
	var asked, atOnce, most atomic.Int64
	w := newWorld(t)
	v := w.foreign(func(o *jwtauth.VerifierOptions) { o.Issuer, o.CacheSize = "https://real.test", -1 })
	all, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		asked.Add(1)
		most.Store(max(most.Load(), atOnce.Add(1)))
		defer atOnce.Add(-1)
		if issuer == "https://real.test" {
			return v, nil
		}
		return nil, nil
	}, jwtauth.ResolveOptions{Now: w.clock.Now})
	require.NoError(t, err)
	real := w.sign(w.claims(map[string]any{"iss": "https://real.test"}))
	_, err = all.Verify(t.Context(), real)
	require.NoError(t, err)

	// What nobody could be called is not asked for.
	before := asked.Load()
	for _, issuer := range []string{"", "a\x00b", " a", strings.Repeat("x", 1025), "https://a.test#x"} {
		_, err := all.Verify(t.Context(), w.sign(w.claims(map[string]any{"iss": issuer})))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	}
	require.Equal(t, before, asked.Load())

	var many sync.WaitGroup
	for n := range 8 {
		many.Go(func() {
			for i := range 2000 {
				_, err := all.Verify(context.Background(), fmt.Sprintf("e30.%s.AA", base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://%d-%d.test"}`, n, i))))
				if !errors.Is(err, jwtauth.ErrTokenIssuer) && !errors.Is(err, jwtauth.ErrUnavailable) {
					t.Error(err)
				}
				if _, err := all.Verify(context.Background(), real); err != nil {
					t.Error(err)
				}
			}
		})
	}
	many.Wait()
	require.LessOrEqual(t, most.Load(), int64(100))
	require.Equal(t, 1, jwtauth.ResolvedIssuers(all))
}

func TestTheIssuersThatWereUsedLastAreKept(t *testing.T) {
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("https://%d.test", i)
	}
	w := newTenants(t, names...)
	var err error
	w.all, err = jwtauth.ResolveIssuers(w.resolve, jwtauth.ResolveOptions{Max: 20, Keep: time.Hour, Now: w.clock.Now})
	require.NoError(t, err)
	for _, name := range names {
		_, err := w.all.Verify(t.Context(), w.token(name))
		require.NoError(t, err)
		_, err = w.all.Verify(t.Context(), w.token(names[0])) // which is used all the time
		require.NoError(t, err)
		w.clock.Advance(time.Second)
		require.LessOrEqual(t, jwtauth.ResolvedIssuers(w.all), 20)
	}
	require.Equal(t, names, w.requests(), "one that was in use was asked for again")
}

func TestManyTokensOfOneIssuerAskForItOnce(t *testing.T) {
	w := newTenants(t, "https://a.test")
	token := w.token("https://a.test")
	var many sync.WaitGroup
	for range 500 {
		many.Go(func() {
			if _, err := w.all.Verify(context.Background(), token); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
	require.Equal(t, []string{"https://a.test"}, w.requests())
}

func TestResolveIssuersRefusesWhatCannotBeRight(t *testing.T) {
	good := func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return nil, nil }
	_, err := jwtauth.ResolveIssuers(nil, jwtauth.ResolveOptions{})
	require.EqualError(t, err, "jwtauth: ResolveIssuers needs a function")
	for text, o := range map[string]jwtauth.ResolveOptions{
		"ResolveOptions.Keep is 1ms, 1s to 1h0m0s is expected":         {Keep: time.Millisecond},
		"ResolveOptions.Keep is 0s":                                    {Keep: -1},
		"ResolveOptions.Timeout is 1h0m0s, up to 1m0s is expected":     {Timeout: time.Hour},
		"ResolveOptions.Max is -1, 1 to 100000 is expected":            {Max: -1},
		"ResolveOptions.MaxTokenBytes is 2097152, 1 to 1048576 is exp": {MaxTokenBytes: 2 << 20},
	} {
		_, err := jwtauth.ResolveIssuers(good, o)
		require.ErrorContains(t, err, text)
	}
	all, err := jwtauth.ResolveIssuers(good, jwtauth.ResolveOptions{})
	require.NoError(t, err)
	_, err = jwtauth.AnyOf(newWorld(t).verifier, all)
	require.ErrorContains(t, err, "AnyOf of a Verifier")
}

func TestKnownTenantsDoNotUseUpTheBudgetOfNewOnes(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("https://%d.test", i))
	}
	w := newTenants(t, append(names, "https://new.test")...)
	block := make(chan struct{})
	var mu sync.Mutex
	blocked, entered := false, 0
	all, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		mu.Lock()
		b := blocked
		if b {
			entered++
		}
		mu.Unlock()
		if b && known != nil {
			<-block
		}
		return w.resolve(ctx, issuer, known)
	}, jwtauth.ResolveOptions{Now: w.clock.Now, Timeout: time.Minute})
	require.NoError(t, err)
	for _, name := range names {
		_, err := all.Verify(t.Context(), w.token(name))
		require.NoError(t, err)
	}
	w.clock.Advance(time.Minute)
	mu.Lock()
	blocked = true
	mu.Unlock()
	var many sync.WaitGroup
	for _, name := range names {
		token := w.token(name)
		many.Go(func() { _, _ = all.Verify(context.Background(), token) })
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return entered == 100 }, 5*time.Second, time.Millisecond)
	_, err = all.Verify(t.Context(), w.token("https://new.test"))
	close(block)
	many.Wait()
	require.NoError(t, err)
}

func TestAFunctionThatIgnoresItsContextHangsNobody(t *testing.T) {
	w := newTenants(t, "https://a.test")
	leave := make(chan struct{})
	defer close(leave)
	all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		<-leave
		return nil, nil
	}, jwtauth.ResolveOptions{Timeout: 10 * time.Millisecond})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { _, err := all.Verify(context.Background(), w.token("https://a.test")); done <- err }()
	select {
	case err := <-done:
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	case <-time.After(2 * time.Second):
		t.Fatal("Timeout is 10ms, and nobody has answered for 2s")
	}
}

func TestATenantThatIsGoneIsRefusedAfterKeep(t *testing.T) {
	const a = "https://a.test"
	w := newTenants(t, a)
	var gone time.Time
	all, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		v := w.of[issuer]
		if gone.IsZero() {
			w.clock.Advance(10 * time.Second) // the answer takes long on its way
			gone = w.clock.Now().Add(-9 * time.Second)
			w.of[issuer] = nil
		}
		return v, nil
	}, jwtauth.ResolveOptions{Now: w.clock.Now, Timeout: time.Minute})
	require.NoError(t, err)
	token := w.token(a)
	_, err = all.Verify(t.Context(), token)
	require.NoError(t, err)
	w.clock.Advance(gone.Add(time.Minute).Sub(w.clock.Now()))
	_, err = all.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, "gone for a minute")
}

func TestATokenSurvivesThatItsVerifierIsMadeAnew(t *testing.T) {
	const a = "https://a.test"
	w := newTenants(t)
	jwk, err := w.key.VerificationKey().JWK()
	require.NoError(t, err)
	all, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		k, err := jwtauth.ParseVerificationKey("", jwk)
		if err != nil {
			return nil, err
		}
		keys, err := jwtauth.StaticKeys(k)
		if err != nil {
			return nil, err
		}
		return jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{testAudience}, Now: w.clock.Now})
	}, jwtauth.ResolveOptions{Now: w.clock.Now, Max: 1})
	require.NoError(t, err)
	token, err := all.Verify(t.Context(), w.token(a))
	require.NoError(t, err)
	_, err = all.Verify(t.Context(), w.token("https://b.test")) // which takes its place
	require.NoError(t, err)
	require.NoError(t, all.Recheck(t.Context(), token), "a good token of a connection that lasts")
}

// Strangers

// A process that cannot read its source goes on to sign with a key that is at its end elsewhere.
func TestAFunctionThatEndsItsGoroutineHangsNobody(t *testing.T) {
	w := newTenants(t, "https://a.test")
	all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		runtime.Goexit()
		return nil, nil
	}, jwtauth.ResolveOptions{Timeout: 10 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = all.Verify(ctx, w.token("https://a.test"))
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// Random rotations, revocations, failing sources and clocks.
