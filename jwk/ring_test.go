package jwk_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestReplaceExchangesAllKeysOfARingOrNone(t *testing.T) {
	a, b, c := fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.EdDSA), fixture.KeyFor(t, jwk.HS256)
	w := fixture.New(t)
	w.Use(a)
	tokenOf := func(k *jwk.SigningKey) string { return fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil)) }
	signs := func() string {
		var h struct{ Kid string }
		require.NoError(t, json.Unmarshal(fixture.DecodedPart(t, w.Login("alice").AccessToken, 0), &h))
		return h.Kid
	}
	w.RequireAccepted(tokenOf(a))
	w.RequireRefusedBy("key", tokenOf(b))

	// The new key is known before it signs, and the old one after it did.
	require.NoError(t, w.Keys.Replace(a, b.Verification()))
	require.Equal(t, a.ID(), signs())
	w.RequireAccepted(tokenOf(a))
	w.RequireAccepted(tokenOf(b))
	require.NoError(t, w.Keys.Replace(b, a.Verification()))
	require.Equal(t, b.ID(), signs())
	w.RequireAccepted(tokenOf(a))
	w.RequireAccepted(tokenOf(b))
	require.NoError(t, w.Keys.Replace(b))
	w.RequireRefusedBy("key", tokenOf(a))
	w.RequireAccepted(tokenOf(b))

	// An error leaves everything as it was.
	served := w.JWKS()
	for _, wrong := range []struct {
		signing  *jwk.SigningKey
		accepted []*jwk.VerificationKey
		want     string
	}{
		{nil, nil, "no key"},
		{nil, []*jwk.VerificationKey{a.Verification()}, "no key"},
		{c, []*jwk.VerificationKey{nil}, "no key"},
		{c, []*jwk.VerificationKey{a.Verification(), new(jwk.VerificationKey)}, "no key"},
		{c, []*jwk.VerificationKey{c.Verification()}, "two keys have the kid"},
		{c, []*jwk.VerificationKey{a.Verification(), a.Verification()}, "two keys have the kid"},
		{c, []*jwk.VerificationKey{a.Verification().WithID(c.ID())}, "two keys have the kid"},
		{c.WithID(""), nil, "a kid has"},
	} {
		require.ErrorContains(t, w.Keys.Replace(wrong.signing, wrong.accepted...), wrong.want)
		_, err := jwk.NewRing(wrong.signing, wrong.accepted...)
		require.ErrorContains(t, err, wrong.want)
		require.Equal(t, b.ID(), signs())
		w.RequireAccepted(tokenOf(b))
		w.RequireRefusedBy("key", tokenOf(a))
		w.RequireRefusedBy("key", tokenOf(c))
		require.Equal(t, served, w.JWKS())
	}

	// The ring keeps no slice of the caller's.
	accepted := []*jwk.VerificationKey{a.Verification()}
	require.NoError(t, w.Keys.Replace(b, accepted...))
	accepted[0] = c.Verification()
	w.RequireAccepted(tokenOf(a))
	w.RequireRefusedBy("key", tokenOf(c))
}

// A program that reads its keys again, for example on a signal, replaces a key by an equal
// one. Tokens that the key has verified stay good. Another key with the same kid is another
// key.
func TestReplaceKnowsTheSameKeyAgain(t *testing.T) {
	reread := func(k *jwk.SigningKey) *jwk.SigningKey {
		text, err := k.PrivateJWK()
		require.NoError(t, err)
		again, err := jwk.ParseSigning("", text)
		require.NoError(t, err)
		return again
	}
	for _, alg := range fixture.EveryAlgorithm {
		for _, kid := range []string{fixture.KeyFor(t, alg).ID(), "2026-11"} {
			k := fixture.KeyFor(t, alg).WithID(kid)
			w := fixture.New(t)
			w.Use(k)
			token := w.Sign(w.Claims(nil))
			verified := w.RequireAccepted(token)
			served := w.JWKS()

			require.NoError(t, w.Keys.Replace(reread(k)))
			w.RequireAccepted(token)
			require.NoError(t, w.Verifier.Recheck(t.Context(), verified))
			require.Equal(t, served, w.JWKS())
			require.NoError(t, w.Keys.Replace(fixture.KeyFor(t, jwk.ES256).WithID("other"), reread(k).Verification()))
			w.RequireAccepted(token)
			require.NoError(t, w.Verifier.Recheck(t.Context(), verified))

			others := []*jwk.SigningKey{fixture.OtherKeyFor(t, alg).WithID(kid), fixture.KeyFor(t, alg).WithID("renamed")}
			if alg == jwk.RS256 { // one RSA key for two algorithms
				private, err := fixture.KeyFor(t, alg).PrivatePEM()
				require.NoError(t, err)
				pss, err := jwk.ParseSigning(jwk.PS256, private)
				require.NoError(t, err)
				others = append(others, pss.WithID(kid))
			}
			for _, other := range others {
				require.NoError(t, w.Keys.Replace(other))
				w.RequireRefused(token)
				require.ErrorIs(t, w.Verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
			}
		}
	}
}

func TestTheKeysOfARingAreReplacedWhileItServes(t *testing.T) {
	a, b := fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.EdDSA)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
	require.NoError(t, w.Keys.Replace(a, b.Verification()))
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 100 {
				r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					_, err = w.Verifier.Verify(t.Context(), r.AccessToken)
				}
				if err != nil {
					t.Error(err)
					return
				}
				_ = w.JWKS()
			}
		})
	}
	for range 200 {
		require.NoError(t, w.Keys.Replace(b, a.Verification()))
		require.NoError(t, w.Keys.Replace(a, b.Verification()))
	}
	users.Wait()
}

func TestAStaticSetKeepsNoSliceOfTheCaller(t *testing.T) {
	a, b := fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.EdDSA)
	keys := []*jwk.VerificationKey{a.Verification()}
	set, err := jwk.Static(keys...)
	require.NoError(t, err)
	keys[0] = b.Verification()
	w := fixture.New(t)
	v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), fixture.SignWith(t, a, fixture.Header(a, nil), w.Claims(nil)))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), fixture.SignWith(t, a, fixture.Header(a, map[string]any{"kid": nil}), w.Claims(nil)))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), fixture.SignWith(t, b, fixture.Header(b, map[string]any{"kid": nil}), w.Claims(nil)))
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)
	_, err = jwk.Static(a.Verification(), b.Verification().WithID(a.ID()))
	require.ErrorContains(t, err, "two keys have the kid")
}

// If there are two keys of its algorithm, a token without a kid is refused.
func TestTokenWithoutKidNeedsTheOnlyKeyOfItsAlgorithm(t *testing.T) {
	a, b, other := fixture.KeyFor(t, jwk.ES256), fixture.NewKey(t, jwk.ES256), fixture.KeyFor(t, jwk.ES384)
	w := fixture.New(t)
	require.NoError(t, w.Keys.Replace(a, other.Verification()))
	for _, k := range []*jwk.SigningKey{a, other} {
		w.RequireAccepted(fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), w.Claims(nil)))
	}
	require.NoError(t, w.Keys.Replace(a, other.Verification(), b.Verification()))
	for _, k := range []*jwk.SigningKey{a, b} {
		w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), w.Claims(nil)))
		w.RequireAccepted(fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil)))
	}
	w.RequireAccepted(fixture.SignWith(t, other, fixture.Header(other, map[string]any{"kid": nil}), w.Claims(nil)))
}
