package jwtauth_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// remembered makes a World and a token that is in the cache of its verifier.
func remembered(t testing.TB, change ...fixture.Change) (*fixture.World, string) {
	w := fixture.New(t, change...)
	token := w.Sign(w.Claims(map[string]any{"sid": "session-1"}))
	w.RequireAccepted(token)
	w.RequireHit(token, true)
	return w, token
}

func TestATokenThatComesAgainIsTheSame(t *testing.T) {
	w := fixture.New(t)
	token := w.Sign(w.Claims(map[string]any{"scope": "read write", "tenant": "acme", "amr": []string{"pwd", "otp"}, "sid": "s", "aud": []string{"x", fixture.Audience}}))
	first := w.RequireAccepted(token)
	again := w.RequireAccepted(token)
	require.NotZero(t, w.Verifier.CacheStats().Hits)
	for _, got := range []jwtauth.Token{first, again} {
		require.Equal(t, []string{"read", "write"}, got.Scopes())
		require.Equal(t, []string{"pwd", "otp"}, got.AMR())
		require.Equal(t, []string{"x", fixture.Audience}, got.Audiences())
		claims, err := jwtauth.ClaimsAs[map[string]any](got)
		require.NoError(t, err)
		require.Equal(t, "acme", claims["tenant"])
	}
	require.Equal(t, first.String(), again.String())
	require.Equal(t, first.ExpiresAt, again.ExpiresAt)
}

func TestWhatAHandlerDoesToATokenTheNextOneDoesNotSee(t *testing.T) {
	w, token := remembered(t)
	r := fixture.Request(http.MethodGet, "/", "Bearer "+token)
	w.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ := jwtauth.FromContext(r.Context())
		got.Subject, got.SessionID, got.ExpiresAt = "mallory", "other", time.Time{}
		again, _ := jwtauth.FromContext(r.Context())
		require.Equal(t, "alice", again.Subject)
	})).ServeHTTP(httptest.NewRecorder(), r)
	got := w.RequireAccepted(token)
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
			w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
				if c.change != nil {
					c.change(o)
				}
			})
			require.Equal(t, int64(1793534400), w.Clock.Now().Unix())
			token := w.Sign(w.Claims(c.claims))
			got := w.RequireAccepted(token)
			w.RequireHit(token, true)
			within := c.by - time.Nanosecond
			if c.by < 0 {
				within = c.by + time.Second
			}
			w.Clock.Advance(within)
			w.RequireHit(token, true)
			require.NoError(t, w.Verifier.Recheck(t.Context(), got))
			w.Clock.Advance(c.by - within)
			require.ErrorIs(t, w.RequireRefused(token), c.reason)
			require.ErrorIs(t, w.Verifier.Recheck(t.Context(), got), c.reason)
			w.Clock.Advance(-c.by)
			w.RequireHit(token, true)
			require.NoError(t, w.Verifier.Recheck(t.Context(), got))
		})
	}
}

func TestARememberedTokenEndsWithItsKey(t *testing.T) {
	w, token := remembered(t)
	other := fixture.NewKey(t, jwk.ES256)
	require.NoError(t, w.Keys.Replace(other, w.Key.Verification()))
	w.RequireHit(token, true)
	require.NoError(t, w.Keys.Replace(other))
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenKey)
	require.NoError(t, w.Keys.Replace(other.WithID(w.Key.ID())))
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenSignature, "another key under the same kid")
	require.NoError(t, w.Keys.Replace(other, w.Key.Verification()))
	w.RequireHit(token, true)
	again, err := jwk.ParseSigning("", must(w.Key.PrivatePEM())(t))
	require.NoError(t, err)
	require.NoError(t, w.Keys.Replace(other))
	require.NoError(t, w.Keys.Replace(again))
	before := w.Verifier.CacheStats().Hits
	_, err = w.Verifier.Verify(t.Context(), token)
	require.NoError(t, err, "the same key in a new object: good, but not from the cache")
	_, err = w.Verifier.Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, before+2, w.Verifier.CacheStats().Hits, "found twice, believed once")
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// A token without a kid is good only while there is one key of its algorithm.
func TestATokenWithoutKidEndsWhenItsKeyIsNotTheOnlyOne(t *testing.T) {
	w := fixture.New(t)
	token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": nil}), w.Claims(nil))
	got := w.RequireAccepted(token)
	w.RequireHit(token, true)
	require.NoError(t, w.Keys.Replace(w.Key, fixture.NewKey(t, jwk.ES256).Verification()))
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenKey)
	require.ErrorIs(t, w.Verifier.Recheck(t.Context(), got), jwtauth.ErrTokenKey)
	require.NoError(t, w.Keys.Replace(w.Key, fixture.NewKey(t, jwk.EdDSA).Verification()))
	w.RequireHit(token, true)
}

// While the keys of another issuer rotate, a cached token without a kid is good exactly as long as its
// own key is in the set.
func TestACachedTokenWithoutKidLivesAsLongAsItsKey(t *testing.T) {
	r := fixture.NewRemote(t)
	keys := []*jwk.SigningKey{r.Key, fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.ES256)}
	tokens := make([]string, len(keys))
	for i, k := range keys {
		tokens[i] = fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), r.Claims(map[string]any{"jti": fmt.Sprint(i)}))
	}
	inUse := func(own ...int) {
		t.Helper()
		var others []*jwk.VerificationKey
		for _, i := range own[1:] {
			others = append(others, keys[i].Verification())
		}
		require.NoError(t, r.Keys.Replace(keys[own[0]], others...))
		r.Clock.Advance(time.Minute)
		unknown := r.Unknown(fmt.Sprint(own)) // has the keys fetched
		require.ErrorIs(t, r.RequireRefused(unknown), jwtauth.ErrTokenKey)
		for i, token := range tokens {
			for range 3 {
				_, err := r.Verifier.Verify(t.Context(), token)
				if slices.Contains(own, i) {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, jwtauth.ErrRefused)
				}
			}
		}
	}
	inUse(0)
	inUse(0, 1)
	inUse(1, 0)
	inUse(1, 2)
	inUse(2)
	inUse(2, 0, 1)
	inUse(1)
}

func TestARememberedTokenEndsWithItsRevocation(t *testing.T) {
	for _, foreign := range []bool{false, true} { // a store that is not a MemoryStore gets ids as texts
		change := func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			if foreign {
				i.Revocations = struct{ jwtauth.RevocationStore }{i.Revocations}
			}
		}
		w, token := remembered(t, change)
		require.NoError(t, w.Verifier.Revoke(t.Context(), w.RequireAccepted(token)))
		require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenRevoked)
		w, token = remembered(t, change)
		require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, "session-1"), w.Clock.Now().Add(time.Hour)))
		require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenRevoked)
	}
}

func TestTheCheckIsAskedEachTime(t *testing.T) {
	var asked int
	var answer error
	w, token := remembered(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(_ context.Context, t jwtauth.Token) (bool, error) { asked++; return true, answer })}
	})
	asked = 0
	w.RequireHit(token, true)
	require.Equal(t, 2, asked)
	answer = jwtauth.ErrUnavailable
	_, err := w.Verifier.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	answer = fmt.Errorf("no: %w", jwtauth.ErrRefused)
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenCheck)
	answer = nil
	w.RequireHit(token, true)
}

// A Check may start a goroutine that reads the token while the verifier caches it.
func TestACheckMayGoOnWithItsToken(t *testing.T) {
	var all sync.WaitGroup
	w := fixture.NewWith(t, jwk.HS256, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(_ context.Context, token jwtauth.Token) (bool, error) {
			all.Go(func() {
				if claims, err := jwtauth.ClaimsAs[counted](token); err != nil || claims.Subject.text != "alice" {
					t.Error(claims, err)
				}
			})
			return true, nil
		})}
	})
	for n := range 200 {
		w.RequireAccepted(w.Sign(w.Claims(map[string]any{"jti": fmt.Sprint(n)})))
	}
	all.Wait()
}

func TestARememberedTokenIsNoAnswerWhereTheContextHasEnded(t *testing.T) {
	w, token := remembered(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Verifier.Verify(ctx, token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOnlyGoodTokensAreRemembered(t *testing.T) {
	w := fixture.New(t)
	for _, changes := range []map[string]any{{"exp": 1}, {"aud": "other"}, {"sub": nil}, {"iss": "other"}, {"cnf": map[string]any{}}} {
		token := w.Sign(w.Claims(changes))
		w.RequireRefused(token)
		w.RequireRefused(token)
	}
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.TokenID(fixture.Issuer, "token-1"), w.Clock.Now().Add(time.Hour)))
	w.RequireRefused(w.Sign(w.Claims(nil)))
	require.Zero(t, w.Verifier.CacheStats().Len)
	require.Zero(t, w.Verifier.CacheStats().Hits)
}

func TestAVerifierWithoutCacheRemembersNothing(t *testing.T) {
	w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize = -1 })
	token := w.Sign(w.Claims(nil))
	for range 3 {
		w.RequireAccepted(token)
	}
	require.Zero(t, w.Verifier.CacheStats())
	_, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{CacheSize: 1<<24 + 1})
	require.ErrorContains(t, err, "CacheSize")
}

func TestTheVerifiersOfAnyOfRememberEachItsOwn(t *testing.T) {
	w := fixture.New(t)
	other, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: "https://other.test", Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.Verifier, other)
	require.NoError(t, err)
	for range 2 {
		for _, issuer := range []string{fixture.Issuer, "https://other.test"} {
			got, err := either.Verify(t.Context(), w.Sign(`{"iss":"`+issuer+`","sub":"a","aud":"`+fixture.Audience+`","exp":1793535000,"jti":"1"}`))
			require.NoError(t, err)
			require.Equal(t, issuer, got.Issuer)
		}
	}
	require.EqualValues(t, 4, either.CacheStats().Len, "ECDSA signatures are random, so each was another token")
}

func TestClaimsAreDecodedOnceForATokenThatComesAgain(t *testing.T) {
	w, token := remembered(t)
	before := w.Verifier.CacheStats().Bytes
	decodings.Store(0)
	for range 3 {
		got := w.RequireAccepted(token)
		claims, err := jwtauth.ClaimsAs[counted](got)
		require.NoError(t, err)
		require.Equal(t, "alice", claims.Subject.text)
	}
	require.EqualValues(t, 1, decodings.Load())
	grown := w.Verifier.CacheStats().Bytes - before
	require.Greater(t, grown, int64(len("alice")))
	require.Less(t, grown, int64(300))
}

// More types than four are decoded each time.
func TestTheClaimsOfATokenAreRememberedForFourTypes(t *testing.T) {
	w, token := remembered(t)
	got := w.RequireAccepted(token)
	decode := func() (times []int64) {
		for _, as := range []func() error{decodeAs[struct{ A, Sub countedText }](got), decodeAs[struct{ B, Sub countedText }](got), decodeAs[struct{ C, Sub countedText }](got), decodeAs[struct{ D, Sub countedText }](got), decodeAs[struct{ E, Sub countedText }](got)} {
			decodings.Store(0)
			require.NoError(t, as())
			times = append(times, decodings.Load())
		}
		return times
	}
	require.Equal(t, []int64{1, 1, 1, 1, 1}, decode())
	require.Equal(t, []int64{0, 0, 0, 0, 1}, decode())
}

func decodeAs[T any](token jwtauth.Token) func() error {
	return func() error { _, err := jwtauth.ClaimsAs[T](token); return err }
}

type counted struct {
	Subject countedText `json:"sub"`
}

// countedText counts its decodings.
type countedText struct{ text string }

var decodings atomic.Int64

func (c *countedText) UnmarshalText(b []byte) error {
	decodings.Add(1)
	c.text = string(b)
	return nil
}

// Many goroutines verify the same tokens again and again, while these are revoked, expire or
// lose their keys. A call that begins after that refuses the token.
func TestNoStaleYes(t *testing.T) {
	w := fixture.NewWith(t, jwk.EdDSA)
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
				_, err := w.Verifier.Verify(context.Background(), s.token)
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
		key := fixture.NewKey(t, jwk.EdDSA)
		require.NoError(t, w.Keys.Replace(key))
		var list []*subject
		for n := range each {
			id := fmt.Sprintf("%d-%d", round, n)
			life := int64(600)
			if n%4 == 0 {
				life = 60
			}
			list = append(list, &subject{token: fixture.SignWith(t, key, fixture.Header(key, nil), w.Claims(map[string]any{"jti": id, "sid": "s" + id, "exp": w.Clock.Now().Unix() + life}))})
		}
		live.Store(&list)
		wait(&yes) // they go into the cache
		until := w.Clock.Now().Add(time.Hour)
		for n, s := range list {
			id := fmt.Sprintf("%d-%d", round, n)
			switch n % 4 {
			case 1:
				require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.TokenID(fixture.Issuer, id), until))
				s.ended.Store(1)
			case 2:
				require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, "s"+id), until))
				s.ended.Store(1)
			}
		}
		wait(&no)
		w.Clock.Advance(91 * time.Second)
		for n, s := range list {
			if n%4 == 0 {
				s.ended.Store(1)
			}
		}
		wait(&no)
		require.NoError(t, w.Keys.Replace(fixture.NewKey(t, jwk.EdDSA)))
		for _, s := range list {
			s.ended.Store(1)
		}
		wait(&no)
	}
	close(done)
	all.Wait()
	require.NotZero(t, w.Verifier.CacheStats().Hits)
}

// A user who gets any number of tokens does not evict the tokens of the other users.
func TestOneSubjectsTokensLeaveRoomForTheOthers(t *testing.T) {
	const size, users = 512, 200
	w := fixture.NewWith(t, jwk.HS256, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		o.CacheSize, i.OnEvent = size, nil
	})
	var tokens []string
	for n := range users {
		tokens = append(tokens, w.Sign(w.Claims(map[string]any{"sub": fmt.Sprint("user ", n), "jti": fmt.Sprint(n)})))
	}
	visit := func(token string) (hit bool) {
		before := w.Verifier.CacheStats().Hits
		_, err := w.Verifier.Verify(t.Context(), token)
		require.NoError(t, err)
		return w.Verifier.CacheStats().Hits > before
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
		visit(w.Sign(w.Claims(map[string]any{"sub": "mallory", "jti": fmt.Sprint("m", n)})))
		if n%size == size-1 {
			sum, rounds = sum+hits(), rounds+1
		}
	}
	t.Logf("%d %% of the others' requests hit", 100*sum/(rounds*users))
	require.Greater(t, sum, rounds*users/2)
	s := w.Verifier.CacheStats()
	require.LessOrEqual(t, s.Len, int64(size))
	require.LessOrEqual(t, s.Bytes, int64(size*2048))
}

// The tokens of one user do not either, while the cache is full.
func TestRefusedTokensKeepNobodyOutOfTheCache(t *testing.T) {
	for _, attack := range []string{"none", "another audience", "expired", "one user"} {
		w := fixture.NewWith(t, jwk.EdDSA, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize, i.OnEvent = 256, nil })
		verify := func(token string) error {
			_, err := w.Verifier.Verify(t.Context(), token)
			return err
		}
		mint := func(subject string, n int, changes map[string]any) string {
			c := w.Claims(map[string]any{"sub": subject, "jti": fmt.Sprint(subject, n)})
			maps.Copy(c, changes)
			return w.Sign(c)
		}
		for n := range 1000 {
			require.NoError(t, verify(mint(fmt.Sprint("user ", n), n, nil)))
		}
		changes := map[string]any{}
		switch now := w.Clock.Now().Unix(); attack {
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
			before := w.Verifier.CacheStats().Hits
			require.NoError(t, verify(good[i%len(good)]))
			hits += w.Verifier.CacheStats().Hits - before
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

// The size of the tokens decides when the cache is full.
func TestTokensThatComeOnceEvictNothing(t *testing.T) {
	for pad := 0; pad <= 2000; pad += 100 {
		w := fixture.NewWith(t, jwk.EdDSA, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize, i.OnEvent = 64, nil })
		n := 0
		next := func() {
			n++
			_, err := w.Verifier.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"sub": fmt.Sprintf("user %05d", n), "jti": fmt.Sprintf("%05d", n), "x": strings.Repeat("x", pad)})))
			require.NoError(t, err)
		}
		for range 200 {
			next()
		}
		before := w.Verifier.CacheStats().Evictions
		for range 100 {
			next()
		}
		require.Equal(t, before, w.Verifier.CacheStats().Evictions, pad)
	}
}

// It is good also if it comes first.
func TestATokenThatIsLargerThanTheWholeCacheIsGood(t *testing.T) {
	w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.CacheSize = 1 })
	large := w.Sign(w.Claims(map[string]any{"tenant": strings.Repeat("x", 3000)}))
	for range 3 {
		w.RequireHit(large, false)
	}
	small := w.Sign(w.Claims(nil))
	w.RequireAccepted(small)
	w.RequireHit(small, true)
	w.RequireHit(large, false)
}

// An entry counts for the bytes of the token, of its claims, and of the structures around
// them.
func TestWhatIsRememberedIsPaidFor(t *testing.T) {
	for _, long := range []int{0, 2000} {
		w := fixture.New(t)
		token := w.Sign(w.Claims(map[string]any{"tenant": strings.Repeat("x", long)}))
		w.RequireAccepted(token)
		claims, err := compact.Decode(strings.Split(token, ".")[1])
		require.NoError(t, err)
		require.GreaterOrEqual(t, w.Verifier.CacheStats().Bytes, int64(len(token)+2*len(claims)+400))
	}
}

// The tests of known headers verify each token more than once. Only the first time is its
// header read.

func TestAHeaderIsKnownOnlyAsLongAsItsKeys(t *testing.T) {
	w := fixture.New(t)
	token := w.Sign(w.Claims(nil))
	for range 3 {
		w.RequireAccepted(token)
	}
	other := fixture.NewKey(t, jwk.ES256)
	require.NoError(t, w.Keys.Replace(other))
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenKey)
	require.NoError(t, w.Keys.Replace(other.WithID(w.Key.ID())))
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenSignature, "another key under the same kid, and so the same header")
	require.NoError(t, w.Keys.Replace(other, w.Key.Verification()))
	for range 3 {
		w.RequireAccepted(token)
	}
}

func TestAKnownHeaderSettlesNothingButItself(t *testing.T) {
	w := fixture.New(t)
	w.RequireAccepted(w.Sign(w.Claims(nil)))
	forged := fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(w.Key, nil), w.Claims(nil))
	expired := w.Sign(w.Claims(map[string]any{"exp": w.Clock.Now().Unix() - 600}))
	critical := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"crit": []string{"x"}, "x": 1}), w.Claims(nil))
	refresh := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), w.Claims(nil))
	for range 3 {
		require.ErrorIs(t, w.RequireRefused(forged), jwtauth.ErrTokenSignature)
		require.ErrorIs(t, w.RequireRefused(expired), jwtauth.ErrTokenExpired)
		require.Equal(t, "crit", w.RequireRefused(critical).Check)
		require.ErrorIs(t, w.RequireRefused(refresh), jwtauth.ErrTokenType)
	}
}

func TestWhatOneVerifierKnowsAnotherDoesNot(t *testing.T) {
	w := fixture.New(t)
	options := jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now}
	strict, err := jwtauth.NewVerifier(w.Keys, options)
	require.NoError(t, err)
	options.AcceptTypJWT = true
	lax, err := jwtauth.NewVerifier(w.Keys, options)
	require.NoError(t, err)
	token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), w.Claims(nil))
	for range 3 {
		_, err = lax.Verify(t.Context(), token)
		require.NoError(t, err)
		_, err = strict.Verify(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrTokenType)
		_, err = fixture.Without(lax, "typ").Verify(t.Context(), token)
		require.NoError(t, err)
	}
}

func TestMoreHeadersThanCanBeKnownAreAllGood(t *testing.T) {
	w := fixture.New(t)
	var tokens []string
	for n := range 40 {
		tokens = append(tokens, fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"x": n}), w.Claims(nil)))
	}
	long := fixture.Header(w.Key, map[string]any{"x5c": strings.Repeat("x", 1500)})
	tokens = append(tokens, fixture.SignWith(t, w.Key, long, w.Claims(nil)))
	for range 3 {
		for _, token := range tokens {
			w.RequireAccepted(token)
		}
	}
}

// With a second key of the same algorithm, a token with a kid stays good, and a token
// without one is refused.
func TestWhatAKnownHeaderSaysOfItsKeyStays(t *testing.T) {
	for _, named := range []bool{true, false} {
		w := fixture.New(t)
		changes := map[string]any{}
		if !named {
			changes["kid"] = nil
		}
		w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, changes), w.Claims(map[string]any{"jti": "1"})))
		second := fixture.SignWith(t, w.Key, fixture.Header(w.Key, changes), w.Claims(map[string]any{"jti": "2"}))
		token, err := w.Verifier.Verify(t.Context(), second) // its header is known
		require.NoError(t, err)
		require.NoError(t, w.Keys.Replace(w.Key, fixture.NewKey(t, w.Key.Algorithm()).Verification()))
		err = w.Verifier.Recheck(t.Context(), token)
		_, again := w.Verifier.Verify(t.Context(), second)
		if named {
			require.NoError(t, err)
			require.NoError(t, again)
			continue
		}
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		require.ErrorIs(t, again, jwtauth.ErrTokenKey)
	}
}

// A known header does not keep the text of the whole token alive. A buffer that the next
// token gets holds no byte of the last one.
func TestNothingOfATokenStaysBehind(t *testing.T) {
	w := fixture.New(t)
	token := w.Sign(w.Claims(nil))
	w.RequireAccepted(token)
	require.NotEmpty(t, w.Verifier.KnownHeaders())
	for _, segment := range w.Verifier.KnownHeaders() {
		require.True(t, strings.HasPrefix(token, segment+"."))
		require.NotSame(t, unsafe.StringData(token), unsafe.StringData(segment))
	}
	long := strings.Repeat("abcd", 25_000)
	for _, token := range []string{token, "e30." + long[:4_000] + ".abcd", "e30." + long + ".abcd", long + "." + long[:50_000] + ".abcd"} {
		for _, left := range jwtauth.Left(token) {
			require.Empty(t, strings.Trim(string(left), "\x00"))
			require.LessOrEqual(t, len(left), 16<<10)
		}
	}
}
