package interop_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// verifyFunc verifies a token of a provider with a library.
type verifyFunc func(token string) error

// golangJWT returns the verification of golang-jwt with the options that its documentation
// recommends: the algorithm, the issuer, the audience, and exp. The keys are found by kid.
func golangJWT(t *testing.T, s *fixture.ProviderSample, now time.Time) verifyFunc {
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{s.Header["alg"].(string)}), jwt.WithIssuer(s.Claims["iss"].(string)),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(30 * time.Second), jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if s.Aud == "aud" {
		options = append(options, jwt.WithAudience(audienceOf(s)))
	}
	parser, keys := jwt.NewParser(options...), keysOf(t, s)
	return func(token string) error {
		_, err := parser.Parse(token, func(token *jwt.Token) (any, error) {
			if s.Secret != "" {
				return []byte(s.Secret), nil
			}
			kid, _ := token.Header["kid"].(string)
			if found := keys.Key(kid); len(found) == 1 {
				return found[0].Key, nil
			}
			return nil, errors.New("no key")
		})
		return err
	}
}

// goOIDC returns the verification of go-oidc, which is made for ID tokens, with the issuer, the
// audience and the algorithm.
func goOIDC(t *testing.T, s *fixture.ProviderSample, now time.Time) verifyFunc {
	if s.Secret != "" {
		return func(string) error { return errors.New("go-oidc has no HMAC") }
	}
	config := &oidc.Config{SupportedSigningAlgs: []string{s.Header["alg"].(string)}, Now: func() time.Time { return now }, SkipClientIDCheck: s.Aud != "aud"}
	if s.Aud == "aud" {
		config.ClientID = audienceOf(s)
	}
	public := &oidc.StaticKeySet{}
	for _, k := range keysOf(t, s).Keys {
		public.PublicKeys = append(public.PublicKeys, k.Key.(crypto.PublicKey))
	}
	v := oidc.NewVerifier(s.Claims["iss"].(string), public, config)
	return func(token string) error {
		_, err := v.Verify(context.Background(), token)
		return err
	}
}

// audienceOf returns the audience of the service: the first one of the token.
func audienceOf(s *fixture.ProviderSample) string {
	if list, ok := s.Claims["aud"].([]any); ok {
		return list[0].(string)
	}
	return s.Claims["aud"].(string)
}

func keysOf(t *testing.T, s *fixture.ProviderSample) (set jose.JSONWebKeySet) {
	t.Helper()
	if s.JWKS == nil {
		return set
	}
	for _, k := range s.JWKS.Keys {
		one := *s.JWKS
		one.Keys = one.Keys[:0:0]
		for _, placeholder := range []string{"x5c", "x5t", "x5t#S256"} { // go-jose refuses them
			delete(k.Members, placeholder)
		}
		one.Keys = append(one.Keys, k)
		sample := *s
		sample.JWKS = &one
		var parsed jose.JSONWebKeySet
		require.NoError(t, json.Unmarshal([]byte(sample.Set(t)), &parsed))
		set.Keys = append(set.Keys, parsed.Keys...)
	}
	return set
}

// TestOtherLibrariesWithTheTokensOfProviders counts what two libraries do with the samples of package
// provider. docs/providers.md has the figures.
func TestOtherLibrariesWithTheTokensOfProviders(t *testing.T) {
	now := fixture.NewClock().Now()
	page, err := os.ReadFile("../../docs/providers.md")
	require.NoError(t, err)
	for name, library := range map[string]func(*testing.T, *fixture.ProviderSample, time.Time) verifyFunc{"golang-jwt": golangJWT, "go-oidc": goOIDC} {
		t.Run(name, func(t *testing.T) {
			good, accepted, bad, refused := 0, 0, 0, 0
			for _, s := range fixture.ProviderSamples(t, "providers.json") {
				if len(s.Accept) == 0 {
					continue
				}
				verify := library(t, &s, now)
				for _, v := range s.Accept {
					if good++; verify(s.Sign(t, v, now)) == nil {
						accepted++
					}
				}
				for _, token := range s.Bad(t, now) {
					if bad++; verify(token) != nil {
						refused++
					}
				}
				for _, v := range s.Refuse {
					if bad++; verify(s.Sign(t, v, now)) != nil {
						refused++
					} else {
						t.Logf("%s accepts: %s, %s", name, s.ID, v.Name)
					}
				}
			}
			row := fmt.Sprintf("| %s | %d of %d | %d of %d |", name, accepted, good, refused, bad)
			t.Log(row)
			require.True(t, strings.Contains(string(page), row), "docs/providers.md has other figures")
		})
	}
}
