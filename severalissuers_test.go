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
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestAnyOfLetsTheIssuerOfTheTokenDecide(t *testing.T) {
	const second = "https://second.test"
	a, b := fixture.New(t), fixture.NewWith(t, jwk.EdDSA, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Issuer = second })
	either, err := jwtauth.AnyOf(a.Verifier, b.Verifier)
	require.NoError(t, err)
	ofA, ofB := a.Login("alice"), b.Login("bob")
	tokenA, err := either.Verify(t.Context(), ofA.AccessToken)
	require.NoError(t, err)
	require.Equal(t, fixture.Issuer+" alice", tokenA.Issuer+" "+tokenA.Subject)
	tokenB, err := either.Verify(t.Context(), ofB.AccessToken)
	require.NoError(t, err)
	require.Equal(t, second+" bob", tokenB.Issuer+" "+tokenB.Subject)

	a.Heard()
	b.Heard()
	for _, test := range []struct {
		name, token string
		check       string
		reason      error
		hears       *fixture.World
	}{
		{"the key of one in the name of the other", fixture.SignWith(t, b.Key, fixture.Header(b.Key, nil), a.Claims(nil)), "key", jwtauth.ErrTokenKey, a},
		{"with its kid, too", fixture.SignWith(t, b.Key, fixture.Header(b.Key, map[string]any{"kid": a.Key.ID()}), a.Claims(nil)), "key", jwtauth.ErrTokenKey, a},
		{"with its alg and kid, too", fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(a.Key, nil), a.Claims(nil)), "signature", jwtauth.ErrTokenSignature, a},
		{"the other way round", fixture.SignWith(t, a.Key, fixture.Header(a.Key, nil), a.Claims(map[string]any{"iss": second})), "key", jwtauth.ErrTokenKey, b},
		{"an unknown issuer", a.Sign(a.Claims(map[string]any{"iss": "https://other.test"})), "iss", jwtauth.ErrTokenIssuer, a},
		{"no issuer", a.Sign(a.Claims(map[string]any{"iss": nil})), "iss", jwtauth.ErrTokenIssuer, a},
		{"an issuer that is no text", a.Sign(a.Claims(map[string]any{"iss": 7})), "claims", jwtauth.ErrTokenMalformed, a},
		{"two issuers", fixture.SignWith(t, a.Key, fixture.Header(a.Key, nil), `{"iss":"`+fixture.Issuer+`","iss":"`+second+`"}`), "claims", jwtauth.ErrTokenMalformed, a},
		{"garbage", "garbage", "form", jwtauth.ErrTokenMalformed, a},
		{"nothing", "", "form", jwtauth.ErrTokenMalformed, a},
		{"too long", strings.Repeat("x", 16<<10+1), "size", jwtauth.ErrTokenMalformed, a},
		{"expired", b.Sign(b.Claims(map[string]any{"iss": second, "exp": 1})), "exp", jwtauth.ErrTokenExpired, b},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := either.Verify(t.Context(), test.token)
			require.Zero(t, got)
			requireFound(t, test.check, err)
			require.ErrorIs(t, err, test.reason)
			require.Equal(t, []string{"token_refused " + test.check}, test.hears.Heard())
			require.Empty(t, append(a.Heard(), b.Heard()...))
		})
	}

	// Rechecking and revoking go to the one that decided.
	require.NoError(t, either.Recheck(t.Context(), tokenA))
	require.NoError(t, either.Recheck(t.Context(), tokenB))
	require.NoError(t, b.Issuer.Logout(t.Context(), ofB.AccessToken))
	require.ErrorIs(t, either.Recheck(t.Context(), tokenB), jwtauth.ErrTokenRevoked)
	require.NoError(t, either.Revoke(t.Context(), tokenA))
	require.ErrorIs(t, a.RequireRefused(ofA.AccessToken), jwtauth.ErrTokenRevoked)
	third := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Issuer = "https://third.test" })
	stranger := third.RequireAccepted(third.Login("carol").AccessToken)
	require.ErrorIs(t, either.Recheck(t.Context(), stranger), jwtauth.ErrTokenIssuer)
	require.ErrorIs(t, either.Revoke(t.Context(), stranger), jwtauth.ErrTokenIssuer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = either.Verify(ctx, ofA.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestAnyOfSaysInTheLogWhatAnIssuerResembles(t *testing.T) {
	w := fixture.New(t)
	either, err := jwtauth.AnyOf(w.Verifier)
	require.NoError(t, err)
	for issuer, hint := range map[string]string{
		fixture.Issuer + "/": `which differs by a slash at its end, from "https://issuer.test"`, "https://ISSUER.test": "by the case of letters", fixture.Issuer + ":443": "by its port", "https://other.test": `got "https://other.test")`,
	} {
		_, err := either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.ErrorContains(t, err, hint)
	}
}

// Nothing is compared for a log that nobody reads.
func TestAnyOfComparesNoIssuersWithoutAHook(t *testing.T) {
	w := fixture.New(t, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = nil })
	either, err := jwtauth.AnyOf(w.Verifier)
	require.NoError(t, err)
	_, err = either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": fixture.Issuer + "/"})))
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	require.NotContains(t, err.Error(), "differs")
}

func TestAnyOfKeepsTheLimitOfEach(t *testing.T) {
	const second = "https://second.test"
	w := fixture.New(t)
	small := w.Foreign(func(o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 1000 })
	large := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer, o.MaxTokenBytes = second, 20000 })
	for _, order := range [][]*jwtauth.Verifier{{small, large}, {large, small}} {
		either, err := jwtauth.AnyOf(order...)
		require.NoError(t, err)
		long := map[string]any{"long": strings.Repeat("x", 10000)}
		_, err = either.Verify(t.Context(), w.Sign(w.Claims(long)))
		requireFound(t, "size", err)
		long["iss"] = second
		_, err = either.Verify(t.Context(), w.Sign(w.Claims(long)))
		require.NoError(t, err)
		long["long"] = strings.Repeat("x", 20000)
		_, err = either.Verify(t.Context(), w.Sign(w.Claims(long)))
		requireFound(t, "size", err)
	}
}

func TestAnyOfFetchesTheKeysOfTheTokensIssuerAlone(t *testing.T) {
	w := fixture.New(t)
	issuers := []string{"https://a.test", "https://b.test", "https://c.test"}
	sources, members := make(map[string]*fixture.Source), []*jwtauth.Verifier{}
	for _, issuer := range issuers {
		s := fixture.NewSource(w.Keys) // the same key, which may sign for each of them
		sources[issuer] = s
		set, err := jwk.NewRemote(issuer+"/jwks", jwk.RemoteOptions{Client: s.Client(), Now: w.Clock.Now})
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
		require.NoError(t, err)
		members = append(members, v)
	}
	either, err := jwtauth.AnyOf(members...)
	require.NoError(t, err)
	asked := func() (counts []int) {
		for _, issuer := range issuers {
			counts = append(counts, sources[issuer].Asked())
		}
		return counts
	}
	for _, issuer := range []string{"https://d.test", "https://a.test/", "https://A.test", "https://a.test:443", "http://a.test", "", "https://a.test\x00"} {
		_, err := either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, issuer)
		require.Equal(t, []int{0, 0, 0}, asked(), issuer)
	}
	for i, issuer := range issuers[:2] {
		_, err := either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
		require.NoError(t, err)
		require.Equal(t, []int{1, i, 0}, asked())
	}
	sources["https://c.test"].Serve(fixture.Status(500))
	_, err = either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": "https://c.test"})))
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	_, err = either.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": "https://a.test"})))
	require.NoError(t, err, "the outage of another issuer")
	require.Equal(t, []int{1, 1, 1}, asked())
}

func TestAnyOfRefusesWhatCannotBeRight(t *testing.T) {
	w := fixture.New(t)
	other := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer = "https://other.test" })
	nested, err := jwtauth.AnyOf(other)
	require.NoError(t, err)
	for _, test := range []struct {
		name string
		list []*jwtauth.Verifier
		why  string
	}{
		{"none", nil, "jwtauth: AnyOf needs at least one Verifier"},
		{"nil", []*jwtauth.Verifier{w.Verifier, nil}, "jwtauth: AnyOf: this Verifier was not made by NewVerifier, Issuer.NewVerifier, AnyOf or ResolveIssuers"},
		{"zero", []*jwtauth.Verifier{{}}, "jwtauth: AnyOf: this Verifier was not made by NewVerifier, Issuer.NewVerifier, AnyOf or ResolveIssuers"},
		{"one of AnyOf's", []*jwtauth.Verifier{w.Verifier, nested}, "jwtauth: AnyOf cannot take a Verifier that AnyOf or ResolveIssuers made"},
		{"the same twice", []*jwtauth.Verifier{w.Verifier, w.Verifier}, `jwtauth: AnyOf: two Verifiers of the issuer "https://issuer.test"`},
		{"two of one issuer", []*jwtauth.Verifier{w.Verifier, other, w.Foreign(func(*jwtauth.VerifierOptions) {})}, `jwtauth: AnyOf: two Verifiers of the issuer "https://issuer.test"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := jwtauth.AnyOf(test.list...)
			require.EqualError(t, err, test.why)
			require.Nil(t, v)
		})
	}
}

// tenants is a World with many issuers, which come and go. The key of the World signs the
// tokens of all of them.
type tenants struct {
	*fixture.World
	mu    sync.Mutex
	of    map[string]*jwtauth.Verifier
	err   error
	asked []string
	known []*jwtauth.Verifier
	all   *jwtauth.Verifier
}

func newTenants(t *testing.T, names ...string) *tenants {
	w := &tenants{World: fixture.New(t), of: make(map[string]*jwtauth.Verifier)}
	for _, name := range names {
		w.come(name)
	}
	var err error
	w.all, err = jwtauth.ResolveIssuers(w.resolve, jwtauth.ResolveOptions{Now: w.Clock.Now, OnEvent: w.Record})
	require.NoError(t, err)
	return w
}

func (w *tenants) resolve(_ context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.known = append(w.asked, issuer), append(w.known, known)
	return w.of[issuer], w.err
}

// come adds an issuer.
func (w *tenants) come(issuer string) {
	w.T.Helper()
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer, o.CacheSize = issuer, 16 })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[issuer] = v
}

func (w *tenants) token(issuer string) string { return w.Sign(w.Claims(map[string]any{"iss": issuer})) }

// requests returns the issuers that were resolved since the last call.
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
	w.Clock.Advance(10 * time.Second)
	ofB, err := w.all.Verify(t.Context(), w.token(b))
	require.NoError(t, err)
	require.Equal(t, []string{b}, w.requests())

	// After Keep it is asked for again, with what is known, and keeps that.
	w.Clock.Advance(time.Minute)
	_, err = w.all.Verify(t.Context(), w.token(a))
	require.NoError(t, err)
	require.Equal(t, []string{a}, w.requests())
	require.Same(t, w.of[a], w.known[len(w.known)-1])

	// Gone: refused at the latest after Keep, on connections that last, too.
	w.mu.Lock()
	delete(w.of, b)
	w.mu.Unlock()
	w.Clock.Advance(time.Minute)
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
			w.Kinds()
			all, err := jwtauth.ResolveIssuers(resolve, jwtauth.ResolveOptions{Timeout: 10 * time.Millisecond, OnEvent: w.Record})
			require.NoError(t, err)
			_, err = all.Verify(t.Context(), w.token(a))
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			require.Equal(t, []event.Kind{event.Unavailable}, w.Kinds())
		})
	}
	t.Run("a caller that goes away", func(t *testing.T) {
		ended, release := make(chan struct{}), make(chan struct{})
		all, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
			defer close(ended)
			<-release
			return w.of[issuer], ctx.Err()
		}, jwtauth.ResolveOptions{Now: w.Clock.Now})
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
		_, err = all.Verify(t.Context(), w.token(a)) // the first call has resolved it
		require.NoError(t, err)
	})
}

func TestStrangersCannotFillTheMemoryOfIssuers(t *testing.T) {
	var asked, atOnce, most atomic.Int64
	w := fixture.New(t)
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer, o.CacheSize = "https://real.test", -1 })
	all, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		asked.Add(1)
		most.Store(max(most.Load(), atOnce.Add(1)))
		defer atOnce.Add(-1)
		if issuer == "https://real.test" {
			return v, nil
		}
		return nil, nil
	}, jwtauth.ResolveOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	real := w.Sign(w.Claims(map[string]any{"iss": "https://real.test"}))
	_, err = all.Verify(t.Context(), real)
	require.NoError(t, err)

	// A text that cannot be the name of an issuer is not resolved.
	before := asked.Load()
	for _, issuer := range []string{"", "a\x00b", " a", strings.Repeat("x", 1025), "https://a.test#x"} {
		_, err := all.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"iss": issuer})))
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
	w.all, err = jwtauth.ResolveIssuers(w.resolve, jwtauth.ResolveOptions{Max: 20, Keep: time.Hour, Now: w.Clock.Now})
	require.NoError(t, err)
	for _, name := range names {
		_, err := w.all.Verify(t.Context(), w.token(name))
		require.NoError(t, err)
		_, err = w.all.Verify(t.Context(), w.token(names[0])) // which is used all the time
		require.NoError(t, err)
		w.Clock.Advance(time.Second)
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
	_, err = jwtauth.AnyOf(fixture.New(t).Verifier, all)
	require.ErrorContains(t, err, "AnyOf cannot take a Verifier")
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
	}, jwtauth.ResolveOptions{Now: w.Clock.Now, Timeout: time.Minute})
	require.NoError(t, err)
	for _, name := range names {
		_, err := all.Verify(t.Context(), w.token(name))
		require.NoError(t, err)
	}
	w.Clock.Advance(time.Minute)
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

func TestATenantThatIsGoneIsRefusedAfterKeep(t *testing.T) {
	const a = "https://a.test"
	w := newTenants(t, a)
	var gone time.Time
	all, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		v := w.of[issuer]
		if gone.IsZero() {
			w.Clock.Advance(10 * time.Second) // the answer takes long on its way
			gone = w.Clock.Now().Add(-9 * time.Second)
			w.of[issuer] = nil
		}
		return v, nil
	}, jwtauth.ResolveOptions{Now: w.Clock.Now, Timeout: time.Minute})
	require.NoError(t, err)
	token := w.token(a)
	_, err = all.Verify(t.Context(), token)
	require.NoError(t, err)
	w.Clock.Advance(gone.Add(time.Minute).Sub(w.Clock.Now()))
	_, err = all.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, "gone for a minute")
}

func TestATokenSurvivesThatItsVerifierIsMadeAnew(t *testing.T) {
	const a = "https://a.test"
	w := newTenants(t)
	keyText, err := w.Key.Verification().JWK()
	require.NoError(t, err)
	all, err := jwtauth.ResolveIssuers(func(_ context.Context, issuer string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		k, err := jwk.ParseVerification("", keyText)
		if err != nil {
			return nil, err
		}
		keys, err := jwk.Static(k)
		if err != nil {
			return nil, err
		}
		return jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	}, jwtauth.ResolveOptions{Now: w.Clock.Now, Max: 1})
	require.NoError(t, err)
	token, err := all.Verify(t.Context(), w.token(a))
	require.NoError(t, err)
	_, err = all.Verify(t.Context(), w.token("https://b.test")) // evicts the first one
	require.NoError(t, err)
	require.NoError(t, all.Recheck(t.Context(), token), "a good token of a connection that lasts")
}
