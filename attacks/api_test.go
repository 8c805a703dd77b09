package attacks_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var apiAttacks = []attack{
	{"A01", "zero values", attackZeroValues},
	{"A02", "empty or unsafe allow-list", attackUnsafeAlgorithms},
	{"A04", "result on error", attackResultOnError},
	{"A06", "no built-in secrets", attackBuiltInSecrets},
	{"A07", "escape hatches", attackEscapeHatches},
}

func attackUnsafeAlgorithms(t *testing.T) {
	secret := []byte(rand32(t))
	elliptic := fixture.KeyFor(t, jwk.ES256)
	pem, err := elliptic.PrivatePEM()
	require.NoError(t, err)
	public, err := elliptic.Verification().PEM()
	require.NoError(t, err)
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, alg := range []jwk.Algorithm{"none", "None", "NONE", "nOnE", "null", " HS256", "HS256 ", "hs256", "HS1", "RS1", "HS256,none", "HS256 none", "A256GCM", "dir", "ES256K", "\x00"} {
		_, err := jwk.Generate(alg)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwk.NewHMAC(alg, "", secret)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwk.NewSigning(alg, signer)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwk.ParseSigning(alg, pem)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwk.ParseVerification(alg, public)
		require.ErrorContains(t, err, "unknown algorithm")
		_, err = jwk.ParseVerification("", []byte(`{"kty":"OKP","crv":"Ed25519","alg":`+strconv.Quote(string(alg))+`,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
		require.Error(t, err)
	}
	// No value means any key or any algorithm.
	_, err = jwk.Static()
	require.ErrorContains(t, err, "no keys")
	for _, keys := range []jwk.Set{nil, (*jwk.Ring)(nil), &jwk.Ring{}} {
		_, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.Error(t, err)
	}
	_, err = jwk.NewRing(nil)
	require.Error(t, err)
	_, err = jwtauth.NewIssuer(nil, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
	require.Error(t, err)
	for _, names := range [][]string{nil, {}, {""}, {fixture.Audience, ""}, {" "}} {
		_, err = jwtauth.NewVerifier(fixture.New(t).Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: names})
		require.ErrorContains(t, err, "Audiences")
	}
}

func attackResultOnError(t *testing.T) {
	for _, r := range fixture.Refusals {
		w := fixture.NewStrictWorld(t)
		token := r.Token(w)
		got, err := w.Verifier.Verify(t.Context(), token)
		require.ErrorIs(t, err, r.Reason, r.Name)
		require.Equal(t, jwtauth.Token{}, got, r.Name)
		got, err = w.Auth.Authenticate(fixture.Request("GET", "/", "Bearer "+token))
		require.Error(t, err, r.Name)
		require.Equal(t, jwtauth.Token{}, got, r.Name)
		answer, ran := w.Get(token)
		require.False(t, ran, r.Name)
		require.Equal(t, http.StatusUnauthorized, answer.Code, r.Name)
		tokens, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: token})
		require.Error(t, err, r.Name)
		require.Zero(t, tokens, r.Name)
	}
	w, store := fixture.NewHooked(t)
	token := w.Login("alice").AccessToken
	store.Before = fixture.Failing
	w.RequireUnavailable(token)
	for _, issue := range []func() (jwtauth.TokenResponse, error){
		func() (jwtauth.TokenResponse, error) {
			return w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		},
		func() (jwtauth.TokenResponse, error) { return w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: ""}) },
		func() (jwtauth.TokenResponse, error) {
			return w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "a", Scopes: []string{""}})
		},
		func() (jwtauth.TokenResponse, error) {
			return w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: token})
		},
	} {
		got, err := issue()
		require.Error(t, err)
		require.Zero(t, got)
	}
	claims, err := jwtauth.ClaimsAs[struct{ Sub int }](fixture.AliceToken(t))
	require.Error(t, err)
	require.Zero(t, claims)
}
