package jwtauth_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/compact"
)

// requireHit wants a token to come from the cache, or not to.
func (w *world) requireHit(token string, want bool) {
	w.t.Helper()
	before := w.verifier.CacheStats().Hits
	w.requireAccepted(token)
	if want {
		require.Equal(w.t, before+2, w.verifier.CacheStats().Hits, "requireAccepted verifies twice")
	} else {
		require.Equal(w.t, before, w.verifier.CacheStats().Hits)
	}
}

// remembered makes a world and a token that its verifier remembers.
func remembered(t testing.TB, change ...func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions)) (*world, string) {
	w := newWorld(t, change...)
	token := w.sign(w.claims(map[string]any{"sid": "session-1"}))
	w.requireAccepted(token)
	w.requireHit(token, true)
	return w, token
}

func withDigests(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheDigests = true }

func TestATokenThatComesAgainIsTheSame(t *testing.T) {
	for _, change := range []func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions){
		func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions) {}, withDigests,
	} {
		w := newWorld(t, change)
		token := w.sign(w.claims(map[string]any{"scope": "read write", "tenant": "acme", "amr": []string{"pwd", "otp"}, "sid": "s", "aud": []string{"x", testAudience}}))
		first := w.requireAccepted(token)
		again := w.requireAccepted(token)
		require.NotZero(t, w.verifier.CacheStats().Hits)
		for _, got := range []jwtauth.Token{first, again} {
			require.Equal(t, []string{"read", "write"}, got.Scopes())
			require.Equal(t, []string{"pwd", "otp"}, got.AMR())
			require.Equal(t, []string{"x", testAudience}, got.Audiences())
			claims, err := jwtauth.ClaimsAs[map[string]any](got)
			require.NoError(t, err)
			require.Equal(t, "acme", claims["tenant"])
		}
		require.Equal(t, first.String(), again.String())
		require.Equal(t, first.ExpiresAt, again.ExpiresAt)
	}
}

func TestWhatAHandlerDoesToATokenTheNextOneDoesNotSee(t *testing.T) {
	w, token := remembered(t)
	r := request(http.MethodGet, "/", "Bearer "+token)
	w.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ := jwtauth.FromContext(r.Context())
		got.Subject, got.SessionID, got.ExpiresAt = "mallory", "other", time.Time{}
		again, _ := jwtauth.FromContext(r.Context())
		require.Equal(t, "alice", again.Subject)
	})).ServeHTTP(httptest.NewRecorder(), r)
	got := w.requireAccepted(token)
	require.Equal(t, "alice", got.Subject)
	require.Equal(t, "session-1", got.SessionID)
}

func TestARememberedTokenEndsWithItsClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*jwtauth.VerifierOptions)
		claims map[string]any
		by     time.Duration
		reason error
	}{
		"exp":     {by: 600*time.Second + 30*time.Second, reason: jwtauth.ErrTokenExpired},
		"max age": {change: func(o *jwtauth.VerifierOptions) { o.MaxAge = time.Minute }, by: 90*time.Second + 1, reason: jwtauth.ErrTokenTooLong},
		"nbf":     {claims: map[string]any{"nbf": 1793534400, "iat": nil}, by: -31 * time.Second, reason: jwtauth.ErrTokenNotYetValid},
		"iat":     {by: -31 * time.Second, reason: jwtauth.ErrTokenNotYetValid},
		"lifetime without iat": {
			change: func(o *jwtauth.VerifierOptions) { o.MaxLifetime = 20 * time.Minute }, claims: map[string]any{"iat": nil},
			by: -10*time.Minute - 1, reason: jwtauth.ErrTokenTooLong,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
				if c.change != nil {
					c.change(o)
				}
			})
			require.Equal(t, int64(1793534400), w.clock.Now().Unix())
			token := w.sign(w.claims(c.claims))
			got := w.requireAccepted(token)
			w.requireHit(token, true)
			within := c.by - time.Nanosecond
			if c.by < 0 {
				within = c.by + time.Second
			}
			w.clock.Advance(within)
			w.requireHit(token, true)
			require.NoError(t, w.verifier.Recheck(t.Context(), got))
			w.clock.Advance(c.by - within)
			require.ErrorIs(t, w.requireRefused(token), c.reason)
			require.ErrorIs(t, w.verifier.Recheck(t.Context(), got), c.reason)
			w.clock.Advance(-c.by)
			w.requireHit(token, true)
			require.NoError(t, w.verifier.Recheck(t.Context(), got))
		})
	}
}

func TestARememberedTokenEndsWithItsKey(t *testing.T) {
	w, token := remembered(t)
	other := newKey(t, jwtauth.ES256, false)
	require.NoError(t, w.keys.Set(other, w.key.VerificationKey()))
	w.requireHit(token, true)
	require.NoError(t, w.keys.Set(other))
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenKey)
	require.NoError(t, w.keys.Set(other.WithID(w.key.ID())))
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenSignature, "another key under the same kid")
	require.NoError(t, w.keys.Set(other, w.key.VerificationKey()))
	w.requireHit(token, true)
	again, err := jwtauth.ParseSigningKey("", must(w.key.PrivatePEM())(t))
	require.NoError(t, err)
	require.NoError(t, w.keys.Set(other))
	require.NoError(t, w.keys.Set(again))
	before := w.verifier.CacheStats().Hits
	_, err = w.verifier.Verify(t.Context(), token)
	require.NoError(t, err, "the same key in a new object: good, but not from the cache")
	_, err = w.verifier.Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, before+2, w.verifier.CacheStats().Hits, "found twice, believed once")
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// TestATokenWithoutKidEndsWhenItsKeyIsNotTheOnlyOne: as it is when it is read.
func TestATokenWithoutKidEndsWhenItsKeyIsNotTheOnlyOne(t *testing.T) {
	w := newWorld(t)
	token := signWith(t, w.key, header(w.key, map[string]any{"kid": nil}), w.claims(nil))
	got := w.requireAccepted(token)
	w.requireHit(token, true)
	require.NoError(t, w.keys.Set(w.key, newKey(t, jwtauth.ES256, false).VerificationKey()))
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenKey)
	require.ErrorIs(t, w.verifier.Recheck(t.Context(), got), jwtauth.ErrTokenKey)
	require.NoError(t, w.keys.Set(w.key, newKey(t, jwtauth.EdDSA, false).VerificationKey()))
	w.requireHit(token, true)
}

func TestARememberedTokenEndsWithItsRevocation(t *testing.T) {
	for _, digests := range []bool{false, true} {
		for _, foreign := range []bool{false, true} { // a store that is asked with the texts of ids
			change := func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
				o.CacheDigests = digests
				if foreign {
					i.Revocations = struct{ jwtauth.RevocationStore }{i.Revocations}
				}
			}
			w, token := remembered(t, change)
			require.NoError(t, w.verifier.Revoke(t.Context(), w.requireAccepted(token)))
			require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenRevoked)
			w, token = remembered(t, change)
			require.NoError(t, w.store.Revoke(t.Context(), jwtauth.SessionID(testIssuer, "session-1"), w.clock.Now().Add(time.Hour)))
			require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenRevoked)
		}
	}
}

func TestTheCheckIsAskedEachTime(t *testing.T) {
	var asked int
	var answer error
	w, token := remembered(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.Check = func(_ context.Context, t jwtauth.Token) error { asked++; return answer }
	})
	asked = 0
	w.requireHit(token, true)
	require.Equal(t, 2, asked)
	answer = jwtauth.ErrUnavailable
	_, err := w.verifier.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	answer = fmt.Errorf("no")
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenCheck)
	answer = nil
	w.requireHit(token, true)
}

// TestACheckMayGoOnWithItsToken: what it started works with the token while that
// goes into the cache.
func TestACheckMayGoOnWithItsToken(t *testing.T) {
	var all sync.WaitGroup
	w := newWorldWith(t, jwtauth.HS256, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.Check = func(_ context.Context, token jwtauth.Token) error {
			all.Go(func() {
				if claims, err := jwtauth.ClaimsAs[counted](token); err != nil || claims.Subject.text != "alice" {
					t.Error(claims, err)
				}
			})
			return nil
		}
	})
	for n := range 200 {
		w.requireAccepted(w.sign(w.claims(map[string]any{"jti": fmt.Sprint(n)})))
	}
	all.Wait()
}

func TestARememberedTokenIsNoAnswerWhereTheContextHasEnded(t *testing.T) {
	w, token := remembered(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.verifier.Verify(ctx, token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOnlyGoodTokensAreRemembered(t *testing.T) {
	w := newWorld(t)
	for _, changes := range []map[string]any{{"exp": 1}, {"aud": "other"}, {"sub": nil}, {"iss": "other"}, {"cnf": map[string]any{}}} {
		token := w.sign(w.claims(changes))
		w.requireRefused(token)
		w.requireRefused(token)
	}
	require.NoError(t, w.store.Revoke(t.Context(), jwtauth.TokenID(testIssuer, "token-1"), w.clock.Now().Add(time.Hour)))
	w.requireRefused(w.sign(w.claims(nil)))
	require.Zero(t, w.verifier.CacheStats().Len)
	require.Zero(t, w.verifier.CacheStats().Hits)
}

func TestAVerifierWithoutCacheRemembersNothing(t *testing.T) {
	w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize = -1 })
	token := w.sign(w.claims(nil))
	for range 3 {
		w.requireAccepted(token)
	}
	require.Zero(t, w.verifier.CacheStats())
	_, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{CacheSize: 1<<24 + 1})
	require.ErrorContains(t, err, "CacheSize")
}

func TestTheVerifiersOfAnyOfRememberEachItsOwn(t *testing.T) {
	w := newWorld(t)
	other, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: "https://other.test", Audiences: []string{testAudience}, Now: w.clock.Now})
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.verifier, other)
	require.NoError(t, err)
	for range 2 {
		for _, issuer := range []string{testIssuer, "https://other.test"} {
			got, err := either.Verify(t.Context(), w.sign(`{"iss":"`+issuer+`","sub":"a","aud":"`+testAudience+`","exp":1793535000,"jti":"1"}`))
			require.NoError(t, err)
			require.Equal(t, issuer, got.Issuer)
		}
	}
	require.EqualValues(t, 4, either.CacheStats().Len, "ECDSA signatures are random, so each was another token")
}

func TestClaimsAreDecodedOnceForATokenThatComesAgain(t *testing.T) {
	w, token := remembered(t)
	before := w.verifier.CacheStats().Bytes
	decodings.Store(0)
	for range 3 {
		got := w.requireAccepted(token)
		claims, err := jwtauth.ClaimsAs[counted](got)
		require.NoError(t, err)
		require.Equal(t, "alice", claims.Subject.text)
	}
	require.EqualValues(t, 1, decodings.Load())
	grown := w.verifier.CacheStats().Bytes - before
	require.Greater(t, grown, int64(len("alice")))
	require.Less(t, grown, int64(300))
}

type counted struct {
	Subject countedText `json:"sub"`
}

// countedText counts how often it was decoded.
type countedText struct{ text string }

var decodings atomic.Int64

func (c *countedText) UnmarshalText(b []byte) error {
	decodings.Add(1)
	c.text = string(b)
	return nil
}

// TestNoStaleYes: while tokens come again and again, from many goroutines, they
// are revoked, their keys go and their time ends; whatever began after that says
// no.
func TestNoStaleYes(t *testing.T) {
	w := newWorldWith(t, jwtauth.EdDSA)
	type subject struct {
		token string
		ended atomic.Int32 // since when it must be refused
	}
	const rounds, each, workers = 20, 8, 4
	var live atomic.Pointer[[]*subject]
	live.Store(&[]*subject{})
	var all sync.WaitGroup
	done := make(chan struct{})
	var yes, no atomic.Int64
	for worker := range workers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for {
				select {
				case <-done:
					return
				default:
				}
				list := *live.Load()
				if len(list) == 0 {
					runtime.Gosched()
					continue
				}
				s := list[random.IntN(len(list))]
				ended := s.ended.Load() != 0 // before the question
				_, err := w.verifier.Verify(context.Background(), s.token)
				switch {
				case err == nil && ended:
					t.Error("a yes for a token that had ended before it was asked for")
					return
				case err == nil:
					yes.Add(1)
				default:
					no.Add(1)
				}
			}
		})
	}
	wait := func(count *atomic.Int64) {
		for until := count.Load() + 200; count.Load() < until && !t.Failed(); {
			runtime.Gosched()
		}
	}
	for round := range rounds {
		key := newKey(t, jwtauth.EdDSA, false)
		require.NoError(t, w.keys.Set(key))
		var list []*subject
		for n := range each {
			id := fmt.Sprintf("%d-%d", round, n)
			life := int64(600)
			if n%4 == 0 {
				life = 60
			}
			list = append(list, &subject{token: signWith(t, key, header(key, nil), w.claims(map[string]any{"jti": id, "sid": "s" + id, "exp": w.clock.Now().Unix() + life}))})
		}
		live.Store(&list)
		wait(&yes) // let them be remembered
		until := w.clock.Now().Add(time.Hour)
		for n, s := range list {
			id := fmt.Sprintf("%d-%d", round, n)
			switch n % 4 {
			case 1:
				require.NoError(t, w.store.Revoke(t.Context(), jwtauth.TokenID(testIssuer, id), until))
				s.ended.Store(1)
			case 2:
				require.NoError(t, w.store.Revoke(t.Context(), jwtauth.SessionID(testIssuer, "s"+id), until))
				s.ended.Store(1)
			}
		}
		wait(&no)
		w.clock.Advance(91 * time.Second)
		for n, s := range list {
			if n%4 == 0 {
				s.ended.Store(1)
			}
		}
		wait(&no)
		require.NoError(t, w.keys.Set(newKey(t, jwtauth.EdDSA, false)))
		for _, s := range list {
			s.ended.Store(1)
		}
		wait(&no)
	}
	close(done)
	all.Wait()
	require.NotZero(t, w.verifier.CacheStats().Hits)
}

// TestOneSubjectsTokensLeaveRoomForTheOthers: somebody who can get as many tokens
// as he likes does not push the other users' tokens out of the cache.
func TestOneSubjectsTokensLeaveRoomForTheOthers(t *testing.T) {
	const size, users = 512, 200
	w := newWorldWith(t, jwtauth.HS256, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.CacheSize, i.OnEvent = size, nil
	})
	var tokens []string
	for n := range users {
		tokens = append(tokens, w.sign(w.claims(map[string]any{"sub": fmt.Sprint("user ", n), "jti": fmt.Sprint(n)})))
	}
	visit := func(token string) (hit bool) {
		before := w.verifier.CacheStats().Hits
		_, err := w.verifier.Verify(t.Context(), token)
		require.NoError(t, err)
		return w.verifier.CacheStats().Hits > before
	}
	hits := func() (n int) {
		for _, token := range tokens {
			if visit(token) {
				n++
			}
		}
		return n
	}
	hits()
	require.Greater(t, hits(), users*9/10)
	sum, rounds := 0, 0
	for n := range 20 * size {
		visit(w.sign(w.claims(map[string]any{"sub": "mallory", "jti": fmt.Sprint("m", n)})))
		if n%size == size-1 {
			sum, rounds = sum+hits(), rounds+1
		}
	}
	t.Logf("%d %% of the others' requests hit", 100*sum/(rounds*users))
	require.Greater(t, sum, rounds*users/2)
	s := w.verifier.CacheStats()
	require.LessOrEqual(t, s.Len, int64(size))
	require.LessOrEqual(t, s.Bytes, int64(size*2048))
}

// TestRefusedTokensKeepNobodyOutOfTheCache: nor do those of one user, while it is full.
func TestRefusedTokensKeepNobodyOutOfTheCache(t *testing.T) {
	for _, attack := range []string{"none", "another audience", "expired", "one user"} {
		w := newWorldWith(t, jwtauth.EdDSA, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize, i.OnEvent = 256, nil })
		verify := func(token string) error {
			_, err := w.verifier.Verify(t.Context(), token)
			return err
		}
		mint := func(subject string, n int, changes map[string]any) string {
			c := w.claims(map[string]any{"sub": subject, "jti": fmt.Sprint(subject, n)})
			maps.Copy(c, changes)
			return w.sign(c)
		}
		for n := range 1000 {
			require.NoError(t, verify(mint(fmt.Sprint("user ", n), n, nil)))
		}
		changes := map[string]any{}
		switch now := w.clock.Now().Unix(); attack {
		case "another audience":
			changes["aud"] = "https://other.test"
		case "expired":
			changes["exp"], changes["iat"] = now-3600, now-7200
		}
		var bad, good []string
		for n := range 3000 {
			bad = append(bad, mint("mallory", n, changes))
		}
		for n := range 50 {
			good = append(good, mint(fmt.Sprint("victim ", n), n, nil))
		}
		hits, next := uint64(0), 0
		for i := range 200 {
			before := w.verifier.CacheStats().Hits
			require.NoError(t, verify(good[i%len(good)]))
			hits += w.verifier.CacheStats().Hits - before
			for range 20 {
				if attack != "none" {
					_ = verify(bad[next%len(bad)])
					next++
				}
			}
		}
		t.Logf("%s: %d of 200 hit", attack, hits)
		require.Greater(t, hits, uint64(30), attack)
	}
}

// TestTokensThatComeOnceEvictNothing: whatever their size, which decides on when
// the cache is full.
func TestTokensThatComeOnceEvictNothing(t *testing.T) {
	for pad := 0; pad <= 2000; pad += 100 {
		w := newWorldWith(t, jwtauth.EdDSA, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize, i.OnEvent = 64, nil })
		n := 0
		next := func() {
			n++
			_, err := w.verifier.Verify(t.Context(), w.sign(w.claims(map[string]any{"sub": fmt.Sprintf("user %05d", n), "jti": fmt.Sprintf("%05d", n), "x": strings.Repeat("x", pad)})))
			require.NoError(t, err)
		}
		for range 200 {
			next()
		}
		before := w.verifier.CacheStats().Evictions
		for range 100 {
			next()
		}
		require.Equal(t, before, w.verifier.CacheStats().Evictions, pad)
	}
}

// TestATokenThatIsLargerThanTheWholeCacheIsGood, also as the first one.
func TestATokenThatIsLargerThanTheWholeCacheIsGood(t *testing.T) {
	w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize = 1 })
	large := w.sign(w.claims(map[string]any{"tenant": strings.Repeat("x", 3000)}))
	for range 3 {
		w.requireHit(large, false)
	}
	small := w.sign(w.claims(nil))
	w.requireAccepted(small)
	w.requireHit(small, true)
	w.requireHit(large, false)
}

// TestWhatIsRememberedIsPaidFor: the token, its claims, and what lies around them.
func TestWhatIsRememberedIsPaidFor(t *testing.T) {
	for _, long := range []int{0, 2000} {
		w := newWorld(t)
		token := w.sign(w.claims(map[string]any{"tenant": strings.Repeat("x", long)}))
		w.requireAccepted(token)
		claims, err := compact.Decode(strings.Split(token, ".")[1])
		require.NoError(t, err)
		require.GreaterOrEqual(t, w.verifier.CacheStats().Bytes, int64(len(token)+2*len(claims)+400))
	}
}

// TestWhatAKnownHeaderSaysOfItsKeyStays: a token that names its key outlives a
// second one of its algorithm, and one that does not is refused then.
func TestWhatAKnownHeaderSaysOfItsKeyStays(t *testing.T) {
	for _, named := range []bool{true, false} {
		w := newWorld(t)
		changes := map[string]any{}
		if !named {
			changes["kid"] = nil
		}
		w.requireAccepted(signWith(t, w.key, header(w.key, changes), w.claims(map[string]any{"jti": "1"})))
		second := signWith(t, w.key, header(w.key, changes), w.claims(map[string]any{"jti": "2"}))
		token, err := w.verifier.Verify(t.Context(), second) // its header is known
		require.NoError(t, err)
		require.NoError(t, w.keys.Set(w.key, newKey(t, w.key.Algorithm(), false).VerificationKey()))
		err = w.verifier.Recheck(t.Context(), token)
		_, again := w.verifier.Verify(t.Context(), second)
		if named {
			require.NoError(t, err)
			require.NoError(t, again)
			continue
		}
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		require.ErrorIs(t, again, jwtauth.ErrTokenKey)
	}
}

// TestNothingOfATokenStaysBehind: neither its text with a header that is known, nor a
// part of it in a buffer that the next token gets.
func TestNothingOfATokenStaysBehind(t *testing.T) {
	w := newWorld(t)
	token := w.sign(w.claims(nil))
	w.requireAccepted(token)
	require.NotEmpty(t, w.verifier.KnownHeaders())
	for _, segment := range w.verifier.KnownHeaders() {
		require.True(t, strings.HasPrefix(token, segment+"."))
		require.NotSame(t, unsafe.StringData(token), unsafe.StringData(segment))
	}
	long := strings.Repeat("abcd", 25_000)
	for _, token := range []string{token, "e30." + long[:4_000] + ".abcd", "e30." + long + ".abcd", long + "." + long[:50_000] + ".abcd"} {
		left := jwtauth.Left(token)
		require.Empty(t, strings.Trim(string(left), "\x00"))
		require.LessOrEqual(t, len(left), 16<<10)
	}
}
