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

// asymmetric has the algorithms whose keys a JWK Set publishes.
var asymmetric = []jwk.Algorithm{
	jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512,
	jwk.ES256, jwk.ES384, jwk.ES512, jwk.EdDSA,
}

// every has all algorithms.
var every = append([]jwk.Algorithm{jwk.HS256, jwk.HS384, jwk.HS512}, asymmetric...)

// keys holds one key for each algorithm. The tests share the keys, because generating an RSA
// key takes long.
var keys sync.Map

func keyFor(t *testing.T, alg jwk.Algorithm) *jwk.SigningKey {
	t.Helper()
	if k, ok := keys.Load(alg); ok {
		return k.(*jwk.SigningKey)
	}
	k, err := jwk.Generate(alg)
	require.NoError(t, err)
	first, _ := keys.LoadOrStore(alg, k) // another test may have been faster
	return first.(*jwk.SigningKey)
}

// service has an issuer with one key, and a verifier of its tokens.
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

// grant is the grant for which these tests issue tokens.
var grant = jwtauth.Grant{
	Subject: "alice \u2028 \"\\ \U0001F511", Scopes: []string{"read", "write"}, ClientID: "web", ACR: "2", AMR: []string{"pwd", "otp"},
	Claims: map[string]any{"n": int64(1<<53 + 1), "nested": map[string]any{"list": []string{"<a>", "b"}}},
}

// issue opens a session and returns its tokens.
func (s *service) issue(t *testing.T) jwtauth.TokenResponse {
	t.Helper()
	r, err := s.issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
	return r
}

// private writes a private key or a secret as a JWK, and returns the result of parse for this
// JWK. The result is a key of a type of the standard library, or a []byte for a secret.
func private(t *testing.T, k *jwk.SigningKey, parse func(jwk []byte) (any, error)) any {
	t.Helper()
	text, err := k.PrivateJWK()
	require.NoError(t, err)
	key, err := parse(text)
	require.NoError(t, err)
	return key
}

// public returns the public half of a private key. If key is a secret, public returns the
// secret itself.
func public(key any) any {
	if signer, ok := key.(crypto.Signer); ok {
		return signer.Public()
	}
	return key
}

// object decodes a JSON object.
func object(t *testing.T, text []byte) (m map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &m))
	return m
}
