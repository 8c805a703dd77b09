package jwk_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// naming returns how the tokens and the JWK Set of an issuer name its keys.
type naming struct {
	name string
	kid  func(k *jwk.SigningKey) *jwk.SigningKey                                                 // the kid in the JWK Set
	sign func(t testing.TB, r *fixture.Remote, k *jwk.SigningKey, changes map[string]any) string // a token of the key
}

var namings = []naming{
	{"the same kid", func(k *jwk.SigningKey) *jwk.SigningKey { return k.WithID("1") }, func(t testing.TB, r *fixture.Remote, k *jwk.SigningKey, changes map[string]any) string {
		return fixture.SignWith(t, k, fixture.Header(k.WithID("1"), nil), r.Claims(changes))
	}},
	{"no kid", func(k *jwk.SigningKey) *jwk.SigningKey { return k }, func(t testing.TB, r *fixture.Remote, k *jwk.SigningKey, changes map[string]any) string {
		return fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), r.Claims(changes))
	}},
}

// replacing makes a Remote whose source has one key, which its tokens name in one of two ways.
// The keys are fresh for an hour. use makes the source have other keys.
func replacing(t testing.TB, n naming, change ...func(*jwk.RemoteOptions)) (r *fixture.Remote, first *jwk.SigningKey, use func(keys ...*jwk.SigningKey)) {
	r = fixture.NewRemote(t, change...)
	use = func(keys ...*jwk.SigningKey) {
		var published []any
		for _, k := range keys {
			published = append(published, n.kid(k))
		}
		r.Source.Serve(fixture.Document(fixture.JWKS(t, published...), "Cache-Control", "max-age=3600"))
	}
	first = fixture.NewKey(t, jwk.ES256)
	use(first)
	r.RequireAccepted(n.sign(t, r, first, nil))
	require.Equal(t, 1, r.Source.Asked())
	return r, first, use
}

func TestAKeyThatIsReplacedUnderItsKidIsFoundWithinTheRequest(t *testing.T) {
	for _, n := range namings {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.EdDSA} {
			t.Run(n.name+" "+string(alg), func(t *testing.T) {
				r, first, use := replacing(t, n)
				old := n.sign(t, r, first, nil)
				r.RequireAccepted(old) // also from the cache of tokens, and by the cache of headers
				second := fixture.NewKey(t, alg)
				use(second)
				token := n.sign(t, r, second, nil)
				r.RequireAccepted(token)
				require.Equal(t, 2, r.Source.Asked())
				r.RequireAccepted(token)
				r.RequireAccepted(n.sign(t, r, second, map[string]any{"jti": rand.Text()}))
				r.RequireRefused(old)
				require.Equal(t, 2, r.Source.Asked())
				// The next one is found, too, since it is another key that was doubted.
				r.Clock.Advance(10 * time.Second)
				third := fixture.NewKey(t, alg)
				use(third)
				r.RequireAccepted(n.sign(t, r, third, nil))
				require.Equal(t, 3, r.Source.Asked())
				require.Equal(t, 1, r.Set.Status().Keys)
			})
		}
	}
}

func TestSeveralKeysWithoutKidMayBeReplaced(t *testing.T) {
	n := namings[1]
	r, first, use := replacing(t, n)
	others := []*jwk.SigningKey{fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.ES256)}
	use(first, others[0], others[1])
	r.RequireAccepted(n.sign(t, r, others[1], nil))
	require.Equal(t, 2, r.Source.Asked())
	r.Clock.Advance(10 * time.Second)
	use(others...)
	r.RequireAccepted(n.sign(t, r, others[2], nil))
	r.RequireAccepted(n.sign(t, r, others[0], nil))
	require.Equal(t, 3, r.Source.Asked())
	require.ErrorIs(t, r.RequireRefused(n.sign(t, r, first, nil)), jwtauth.ErrTokenSignature)
	require.Equal(t, 3, r.Source.Asked(), "within 10 seconds of the last one")
}

func TestABadSignatureCausesOneFetchUntilTheNextPlannedOne(t *testing.T) {
	for _, n := range namings {
		t.Run(n.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, first, _ := replacing(t, n)
				stranger := fixture.NewKey(t, jwk.ES256)
				forge := func() {
					require.ErrorIs(t, r.RequireRefused(n.sign(t, r, stranger, map[string]any{"jti": rand.Text()})), jwtauth.ErrTokenSignature)
				}
				for planned := range 3 {
					for range 40 { // 40 minutes, and the next planned fetch is due after 43.2 to 48
						forge()
						r.Clock.Advance(time.Minute)
					}
					require.Equal(t, 2*planned+2, r.Source.Asked())
					r.Clock.Advance(10 * time.Minute)
					r.RequireAccepted(n.sign(t, r, first, map[string]any{"jti": rand.Text()}))
					synctest.Wait() // for the planned fetch
					require.Equal(t, 2*planned+3, r.Source.Asked())
					r.Clock.Advance(time.Minute)
				}
				require.Equal(t, []event.Kind{event.KeysChanged}, r.KeyKinds())
			})
		})
	}
}

// While the source is down, every forged token would be "not known" otherwise.
func TestABadSignatureStaysRefusedIfTheFetchFails(t *testing.T) {
	for _, n := range namings {
		r, first, use := replacing(t, n)
		second := fixture.NewKey(t, jwk.ES256)
		r.Source.Serve(fixture.Status(500))
		good := n.sign(t, r, second, nil)
		for range 3 {
			require.ErrorIs(t, r.RequireRefused(good), jwtauth.ErrTokenSignature)
			require.Equal(t, 2, r.Source.Asked(), "within the pause after a failure, and 10 seconds")
			r.RequireAccepted(n.sign(t, r, first, map[string]any{"jti": rand.Text()}))
		}
		require.ErrorContains(t, r.Set.Status().LastError, "500")
		// The key did not come back, so it may be doubted again.
		use(second)
		r.Clock.Advance(10 * time.Second)
		r.RequireAccepted(good)
		require.Equal(t, 3, r.Source.Asked())
	}
}

func TestBadSignaturesAndUnknownKidsShareOneBudget(t *testing.T) {
	n := namings[0]
	r, _, use := replacing(t, n)
	stranger, second := fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.ES256)
	forged, good := n.sign(t, r, stranger, nil), n.sign(t, r, second, nil)
	r.RequireUnknown(r.Unknown("a"))
	require.Equal(t, 2, r.Source.Asked())
	use(second)
	require.ErrorIs(t, r.RequireRefused(good), jwtauth.ErrTokenSignature)
	require.Equal(t, 2, r.Source.Asked(), "an unknown kid has just caused a fetch")
	r.Clock.Advance(10 * time.Second)
	require.ErrorIs(t, r.RequireRefused(forged), jwtauth.ErrTokenSignature) // and brings the new key
	require.Equal(t, 3, r.Source.Asked())
	r.RequireAccepted(good)
	r.RequireUnknown(r.Unknown("b"))
	require.Equal(t, 3, r.Source.Asked(), "a bad signature has just caused a fetch")
	r.Clock.Advance(10 * time.Second)
	r.RequireUnknown(r.Unknown("b"))
	require.Equal(t, 4, r.Source.Asked())
}

func TestAnotherAlgorithmUnderAKnownKidCausesOneFetch(t *testing.T) {
	n := namings[0]
	r, _, use := replacing(t, n)
	other := fixture.KeyFor(t, jwk.EdDSA)
	token := n.sign(t, r, other, nil)
	for range 10 {
		r.RequireUnknown(token)
		r.Clock.Advance(20 * time.Second)
	}
	require.Equal(t, 2, r.Source.Asked())
	use(other)
	require.NoError(t, r.Set.Refetch(t.Context()))
	r.RequireAccepted(token)
}

func TestATokenWithABadSignatureThatCannotBeGoodCausesNoFetch(t *testing.T) {
	for _, n := range namings {
		r, _, use := replacing(t, n)
		second := fixture.NewKey(t, jwk.ES256)
		use(second)
		now := r.Clock.Now().Unix()
		for _, changes := range []map[string]any{
			{"iss": "https://other.test"}, {"iss": fixture.Issuer + "/"}, {"iss": nil}, {"iss": 7}, {"exp": now - 31}, {"exp": nil}, {"exp": fmt.Sprint(now + 600)}, {"nbf": now + 31}, {"iat": now + 31}, {"exp": now + 10*365*24*3600},
		} {
			require.ErrorIs(t, r.RequireRefused(n.sign(t, r, second, changes)), jwtauth.ErrTokenSignature, "%v", changes)
		}
		require.Equal(t, 1, r.Source.Asked())
		r.RequireAccepted(n.sign(t, r, second, nil))
		require.Equal(t, 2, r.Source.Asked())
	}
}

// Many requests meet the replaced key at once. They share one fetch, and all are accepted.
func TestRequestsWithAReplacedKeyShareOneFetch(t *testing.T) {
	for _, n := range namings {
		synctest.Test(t, func(t *testing.T) {
			r, _, use := replacing(t, n)
			second := fixture.NewKey(t, jwk.ES256)
			use(second)
			var all sync.WaitGroup
			for range 100 {
				token := n.sign(t, r, second, map[string]any{"jti": rand.Text()})
				all.Go(func() {
					if _, err := r.Verifier.Verify(t.Context(), token); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			require.Equal(t, 2, r.Source.Asked())
		})
	}
}

// A request that read the clock and the keys before another request has brought the new keys
// uses them without a fetch.
func TestALateRequestUsesTheKeysThatAnotherOneHasBrought(t *testing.T) {
	n := namings[0]
	r, _, use := replacing(t, n)
	second := fixture.NewKey(t, jwk.ES256)
	seam, err := r.Set.VerifierSeam()
	require.NoError(t, err)
	old, err := seam.Current(t.Context(), r.Clock.Now())
	require.NoError(t, err)
	use(second)
	r.RequireAccepted(n.sign(t, r, second, nil))
	r.Clock.Advance(time.Minute)
	table, err := seam.(keyset.Replacing).AskForReplacement(t.Context(), r.Clock.Now(), old.All())
	require.NoError(t, err)
	require.NotEqual(t, old.All(), table.All())
	require.Equal(t, 2, r.Source.Asked())
}

// A ring has its own rules for its keys, and a StaticSet has no source.
func TestABadSignatureUnderAKeyOfARingReadsNoSource(t *testing.T) {
	w := fixture.NewRingWorld(t, jwk.NewMemorySource())
	seam, err := w.Keys.VerifierSeam()
	require.NoError(t, err)
	_, ok := seam.(keyset.Replacing)
	require.False(t, ok)
	static, err := jwk.Static(fixture.KeyFor(t, jwk.ES256).Verification())
	require.NoError(t, err)
	seam, err = static.VerifierSeam()
	require.NoError(t, err)
	_, ok = seam.(keyset.Replacing)
	require.False(t, ok)
}

// A request that read the clock before a fetch began, and asks after it has ended, does not
// cause another one.
func TestABadSignatureThatCameBeforeTheKeysCausesNoFetch(t *testing.T) {
	n := namings[0]
	r, _, _ := replacing(t, n)
	late := time.Duration(0)
	r.VerifyWith(r.Set, jwtauth.VerifierOptions{Now: func() time.Time { return r.Clock.Now().Add(-late) }})
	stranger := fixture.NewKey(t, jwk.ES256)
	for _, late = range []time.Duration{1, time.Millisecond, 9 * time.Second} {
		r.RequireRefused(n.sign(t, r, stranger, nil))
	}
	require.Equal(t, 1, r.Source.Asked())
	late = 0
	r.RequireRefused(n.sign(t, r, stranger, nil))
	require.Equal(t, 2, r.Source.Asked())
}
