package interop_test

import (
	"crypto"
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

const (
	issuerName = "https://issuer.test"
	audience   = "https://api.test"
)

// asymmetric are the algorithms whose keys are published.
var asymmetric = []jwk.Algorithm{
	jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512,
	jwk.ES256, jwk.ES384, jwk.ES512, jwk.EdDSA,
}

// every are all algorithms.
var every = append([]jwk.Algorithm{jwk.HS256, jwk.HS384, jwk.HS512}, asymmetric...)

// keys holds one key for each algorithm: RSA keys take long to make.
var keys sync.Map

func keyFor(t *testing.T, alg jwk.Algorithm) *jwk.SigningKey {
	t.Helper()
	if k, ok := keys.Load(alg); ok {
		return k.(*jwk.SigningKey)
	}
	k, err := jwk.Generate(alg)
	require.NoError(t, err)
	keys.Store(alg, k)
	return k
}

// service is an issuer with one key and the verifier of its tokens.
type service struct {
	key      *jwk.SigningKey
	keys     *jwk.Ring
	issuer   *jwtauth.Issuer
	verifier *jwtauth.Verifier
}

func newService(t *testing.T, alg jwk.Algorithm) *service {
	t.Helper()
	s := &service{key: keyFor(t, alg)}
	var err error
	s.keys, err = jwk.NewRing(s.key)
	require.NoError(t, err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	s.issuer, err = jwtauth.NewIssuer(s.keys, jwtauth.IssuerOptions{
		Issuer: issuerName, Audiences: []string{audience}, Sessions: store, Revocations: store,
	})
	require.NoError(t, err)
	s.verifier, err = s.issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	return s
}

// grant is what the tokens of these tests say.
var grant = jwtauth.Grant{
	Subject: "alice \u2028 \"\\ \U0001F511", Scopes: []string{"read", "write"}, ClientID: "web", ACR: "2", AMR: []string{"pwd", "otp"},
	Claims: map[string]any{"n": int64(1<<53 + 1), "nested": map[string]any{"list": []string{"<a>", "b"}}},
}

// issue opens a session.
func (s *service) issue(t *testing.T) jwtauth.TokenResponse {
	t.Helper()
	r, err := s.issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
	return r
}

// private is the private key, or the secret, as the standard library has it, by
// way of a JWK.
func private(t *testing.T, k *jwk.SigningKey, parse func(jwk []byte) (any, error)) any {
	t.Helper()
	text, err := k.PrivateJWK()
	require.NoError(t, err)
	key, err := parse(text)
	require.NoError(t, err)
	return key
}

// public is the public half of a private key; a secret is its own.
func public(key any) any {
	if signer, ok := key.(crypto.Signer); ok {
		return signer.Public()
	}
	return key
}

// object decodes JSON.
func object(t *testing.T, text []byte) (m map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &m))
	return m
}
