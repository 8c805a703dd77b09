package jwk_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// withAlg returns the same key for another algorithm.
func withAlg(t testing.TB, k *jwk.SigningKey, alg jwk.Algorithm) *jwk.SigningKey {
	t.Helper()
	text, err := k.PrivatePEM()
	require.NoError(t, err)
	other, err := jwk.ParseSigning(alg, text)
	require.NoError(t, err)
	return other.WithID(k.ID())
}

// withoutAlg returns the public JWK of a key, without the member alg.
func withoutAlg(t testing.TB, k *jwk.SigningKey) map[string]any {
	t.Helper()
	text, err := k.Verification().JWK()
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(text, &members))
	delete(members, "alg")
	return members
}

func TestAKeyWithoutAlgStandsForTheAlgorithmsOfTheOptions(t *testing.T) {
	rsa, p256, p384, ed := fixture.KeyFor(t, jwk.RS256), fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.ES384), fixture.KeyFor(t, jwk.EdDSA)
	type algs []jwk.Algorithm
	for _, c := range []struct {
		algorithms, accepted algs
		skipped              int
	}{
		{nil, algs{jwk.RS256, jwk.ES256, jwk.ES384, jwk.EdDSA}, 0},
		{algs{}, algs{jwk.RS256, jwk.ES256, jwk.ES384, jwk.EdDSA}, 0},
		{algs{jwk.PS256}, algs{jwk.PS256}, 3},
		{algs{jwk.RS256, jwk.PS256}, algs{jwk.RS256, jwk.PS256}, 3},
		{algs{jwk.PS256, jwk.RS256, jwk.PS256}, algs{jwk.RS256, jwk.PS256}, 3},
		{algs{jwk.ES384}, algs{jwk.ES384}, 3},
		{algs{jwk.ES256, jwk.ES512, jwk.EdDSA}, algs{jwk.ES256, jwk.EdDSA}, 2},
		{algs{"Ed25519"}, algs{jwk.EdDSA}, 3},
		{algs{jwk.RS384, jwk.RS512, jwk.PS384, jwk.PS512, jwk.ES256, jwk.ES384, jwk.EdDSA}, algs{jwk.RS384, jwk.RS512, jwk.PS384, jwk.PS512, jwk.ES256, jwk.ES384, jwk.EdDSA}, 0},
	} {
		t.Run(fmt.Sprint(c.algorithms), func(t *testing.T) {
			r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = c.algorithms })
			r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, rsa), withoutAlg(t, p256), withoutAlg(t, p384), withoutAlg(t, ed))))
			require.NoError(t, r.Set.Ready(t.Context()))
			require.Equal(t, 4-c.skipped, r.Set.Status().Keys)
			require.Len(t, r.Set.Status().Skipped, c.skipped)
			seeded := r.NewSet(func(o *jwk.RemoteOptions) {
				o.Algorithms, o.Seed, o.Client = c.algorithms, r.Set.Snapshot(), fixture.NewSource(fixture.Status(500)).Client()
			})
			require.Equal(t, 4-c.skipped, seeded.Status().Keys)
			require.JSONEq(t, string(r.Set.Snapshot()), string(seeded.Snapshot()))
			for _, set := range []*jwk.Remote{r.Set, seeded} {
				r.VerifyWith(set, jwtauth.VerifierOptions{})
				for _, key := range []*jwk.SigningKey{rsa, p256, p384, ed} {
					of := algs{key.Algorithm()}
					if key == rsa {
						of = algs{jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512}
					}
					for _, alg := range of {
						k := withAlg(t, key, alg)
						for _, header := range []map[string]any{fixture.Header(k, nil), fixture.Header(k, map[string]any{"kid": nil})} {
							_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, k, header, r.Claims(nil)))
							if slices.Contains(c.accepted, alg) {
								require.NoError(t, err, "%v", header)
							} else {
								require.Error(t, err, "%v", header)
							}
						}
					}
				}
			}
		})
	}
}

func TestAKeyWithAlgKeepsIt(t *testing.T) {
	key := fixture.KeyFor(t, jwk.RS256)
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = []jwk.Algorithm{jwk.PS256, jwk.ES256} })
	r.Source.Serve(fixture.Document(fixture.JWKS(t, key)))
	r.RequireAccepted(fixture.SignWith(t, key, fixture.Header(key, nil), r.Claims(nil)))
	ps := withAlg(t, key, jwk.PS256)
	r.RequireUnknown(fixture.SignWith(t, ps, fixture.Header(ps, nil), r.Claims(nil)))
	require.Empty(t, r.Set.Status().Skipped)
	// The same key without alg stands beside it for the algorithms of the options.
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, key), key)))
	require.NoError(t, r.Set.Refetch(t.Context()))
	for _, k := range []*jwk.SigningKey{key, ps} {
		r.RequireAccepted(fixture.SignWith(t, k, fixture.Header(k, nil), r.Claims(nil)))
	}
	require.Empty(t, r.Set.Status().Skipped)
}

func TestAKeyThatNoAlgorithmFitsIsLeftOutWithTheReason(t *testing.T) {
	key := fixture.KeyFor(t, jwk.ES256)
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = []jwk.Algorithm{jwk.ES384} })
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, key), fixture.KeyFor(t, jwk.ES384))))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Equal(t, []string{"jwk: key 1 of the JWK Set: it has no alg, and none of RemoteOptions.Algorithms fits a P-256 key"}, r.Set.Status().Skipped)
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, key))))
	require.ErrorContains(t, r.Set.Refetch(t.Context()), "none of its keys can be used (1 left out)")
}

func TestAlgorithmsThatNoJWKSetHasAreErrors(t *testing.T) {
	for want, algorithms := range map[string][]jwk.Algorithm{
		"RemoteOptions.Algorithms has HS256":                            {jwk.RS256, jwk.HS256},
		"RemoteOptions.Algorithms has HS512":                            {jwk.HS512},
		`RemoteOptions.Algorithms: unknown algorithm "none"`:            {"none"},
		`RemoteOptions.Algorithms: unknown algorithm ""`:                {""},
		`RemoteOptions.Algorithms: unknown algorithm "rs256", expected`: {"rs256"},
	} {
		_, err := jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{Algorithms: algorithms})
		require.ErrorContains(t, err, want)
		_, err = jwk.Discover(fixture.Issuer, jwk.RemoteOptions{Algorithms: algorithms})
		require.ErrorContains(t, err, want)
	}
}

// The options are copied.
func TestAlgorithmsAreNotChangedLater(t *testing.T) {
	algorithms := []jwk.Algorithm{jwk.PS256}
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = algorithms })
	algorithms[0] = jwk.RS256
	key := fixture.KeyFor(t, jwk.RS256)
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, key))))
	ps := withAlg(t, key, jwk.PS256)
	r.RequireAccepted(fixture.SignWith(t, ps, fixture.Header(ps, nil), r.Claims(nil)))
	r.RequireUnknown(fixture.SignWith(t, key, fixture.Header(key, nil), r.Claims(nil)))
}

// Keys without a kid are tried if those of the algorithm of the token are at most four. A key
// with two algorithms is one of each.
func TestTheKeysOfEachAlgorithmAreCounted(t *testing.T) {
	var keys []*jwk.SigningKey
	var published []any
	for range 5 {
		k := fixture.NewKey(t, jwk.RS256)
		keys = append(keys, k)
		jwkOf := withoutAlg(t, k)
		delete(jwkOf, "kid")
		published = append(published, jwkOf)
	}
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = []jwk.Algorithm{jwk.RS256, jwk.PS256} })
	serve := func(n int) { r.Source.Serve(fixture.Document(fixture.JWKS(t, published[:n]...))) }
	verify := func(k *jwk.SigningKey) error {
		_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), r.Claims(map[string]any{"jti": rand.Text()})))
		return err
	}
	serve(4)
	for _, k := range keys[:4] {
		require.NoError(t, verify(k))
		require.NoError(t, verify(withAlg(t, k, jwk.PS256)))
	}
	require.Equal(t, 4, r.Set.Status().Keys)
	serve(5)
	require.NoError(t, r.Set.Refetch(t.Context()))
	require.Equal(t, 5, r.Set.Status().Keys)
	for _, k := range keys {
		require.ErrorIs(t, verify(k), jwtauth.ErrTokenKey)
		require.ErrorIs(t, verify(withAlg(t, k, jwk.PS256)), jwtauth.ErrTokenKey)
	}
}

// A seed is read with the Algorithms of the process that has it, not of the one that made it.
func TestASeedHasTheAlgorithmsOfItsReader(t *testing.T) {
	key := fixture.KeyFor(t, jwk.RS256)
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = []jwk.Algorithm{jwk.RS256, jwk.PS256} })
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, key))))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.NotContains(t, string(r.Set.Snapshot()), `"alg"`)
	narrow := r.NewSet(func(o *jwk.RemoteOptions) {
		o.Algorithms, o.Seed, o.Client = []jwk.Algorithm{jwk.PS256}, r.Set.Snapshot(), fixture.NewSource(fixture.Status(500)).Client()
	})
	r.VerifyWith(narrow, jwtauth.VerifierOptions{})
	ps := withAlg(t, key, jwk.PS256)
	r.RequireAccepted(fixture.SignWith(t, ps, fixture.Header(ps, nil), r.Claims(nil)))
	_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, key, fixture.Header(key, nil), r.Claims(nil)))
	require.Error(t, err)
}

// A hundred keys with all algorithms of RSA are still a hundred keys.
func TestASnapshotOfManyKeysWithSeveralAlgorithmsIsWhole(t *testing.T) {
	var published []any
	key := withoutAlg(t, fixture.KeyFor(t, jwk.RS256))
	for i := range 101 {
		k := maps.Clone(key)
		k["kid"] = fmt.Sprint(i)
		published = append(published, k)
	}
	all := []jwk.Algorithm{jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512}
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = all })
	r.Source.Serve(fixture.Document(fixture.JWKS(t, published...)))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Equal(t, 100, r.Set.Status().Keys)
	seeded := r.NewSet(func(o *jwk.RemoteOptions) { o.Algorithms, o.Seed = all, r.Set.Snapshot() })
	require.Equal(t, 100, seeded.Status().Keys)
}

// Different keys under one kid are reported once each, not once for each algorithm.
func TestAmbiguousKeysWithSeveralAlgorithmsAreReportedOnce(t *testing.T) {
	a, b := fixture.KeyFor(t, jwk.RS256).WithID("1"), fixture.OtherKeyFor(t, jwk.RS256).WithID("1")
	r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Algorithms = []jwk.Algorithm{jwk.RS256, jwk.PS256, jwk.RS512} })
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, a), withoutAlg(t, b), fixture.KeyFor(t, jwk.EdDSA))))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Len(t, r.Set.Status().Skipped, 2)
	require.Equal(t, 1, r.Set.Status().Keys)
	// Only the algorithm that both have is ambiguous.
	r.Source.Serve(fixture.Document(fixture.JWKS(t, withoutAlg(t, a), b)))
	require.NoError(t, r.Set.Refetch(t.Context()))
	ps := withAlg(t, a, jwk.PS256)
	r.RequireAccepted(fixture.SignWith(t, ps, fixture.Header(ps, nil), r.Claims(nil)))
	require.Error(t, r.VerifyError(fixture.SignWith(t, a, fixture.Header(a, nil), r.Claims(nil))))
	require.Len(t, r.Set.Status().Skipped, 2)
}
