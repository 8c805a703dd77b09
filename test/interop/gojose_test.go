package interop_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// joseKey reads a JWK with go-jose.
func joseKey(t *testing.T, text []byte) jose.JSONWebKey {
	t.Helper()
	var key jose.JSONWebKey
	require.NoError(t, key.UnmarshalJSON(text))
	_, secret := key.Key.([]byte) // Valid returns false for a secret
	require.True(t, key.Valid() || secret)
	return key
}

// fetched serves the JWK Set of a ring over HTTP, and returns the set that go-jose decodes.
func fetched(t *testing.T, ring *jwk.Ring) jose.JSONWebKeySet {
	t.Helper()
	server := httptest.NewServer(ring)
	defer server.Close()
	answer, err := server.Client().Get(server.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, 200, answer.StatusCode)
	require.Equal(t, "application/jwk-set+json", answer.Header.Get("Content-Type"))
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(text, &set))
	return set
}

func TestGoJoseReadsOurKeySet(t *testing.T) {
	for _, alg := range asymmetric {
		t.Run(string(alg), func(t *testing.T) {
			s := newService(t, alg)
			set := fetched(t, s.keys)
			require.Len(t, set.Keys, 1)
			key := set.Keys[0]
			require.True(t, key.Valid() && key.IsPublic())
			require.Equal(t, string(alg)+" "+s.key.ID()+" sig", key.Algorithm+" "+key.KeyID+" "+key.Use)
			thumbprint, err := key.Thumbprint(crypto.SHA256)
			require.NoError(t, err)
			require.Equal(t, s.key.ID(), base64.RawURLEncoding.EncodeToString(thumbprint))
		})
	}
	t.Run("all in one", func(t *testing.T) {
		var accepted []*jwk.VerificationKey
		for _, alg := range every {
			accepted = append(accepted, keyFor(t, alg).WithID("key of "+string(alg)).Verification())
		}
		ring, err := jwk.NewRing(keyFor(t, jwk.ES256), accepted...)
		require.NoError(t, err)
		set := fetched(t, ring)
		require.Len(t, set.Keys, 1+len(asymmetric), "no secrets")
		for _, alg := range asymmetric {
			require.Len(t, set.Key("key of "+string(alg)), 1)
		}
	})
}

func TestGoJoseVerifiesOurTokens(t *testing.T) {
	for _, alg := range asymmetric {
		t.Run(string(alg), func(t *testing.T) {
			s := newService(t, alg)
			set := fetched(t, s.keys)
			r := s.issue(t)
			token, err := josejwt.ParseSigned(r.AccessToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			require.NoError(t, err)
			require.Equal(t, "at+jwt", token.Headers[0].ExtraHeaders[jose.HeaderType])
			var claims josejwt.Claims
			var own struct {
				Scope    string   `json:"scope"`
				ClientID string   `json:"client_id"`
				AMR      []string `json:"amr"`
				N        int64    `json:"n"`
				Nested   struct {
					List []string `json:"list"`
				} `json:"nested"`
			}
			require.NoError(t, token.Claims(set, &claims, &own))
			require.NoError(t, claims.ValidateWithLeeway(josejwt.Expected{Issuer: issuerName, AnyAudience: []string{audience}, Subject: grant.Subject, Time: time.Now()}, 0))
			require.Equal(t, "read write web", own.Scope+" "+own.ClientID)
			require.Equal(t, []string{"pwd", "otp"}, own.AMR)
			require.EqualValues(t, 1<<53+1, own.N)
			require.Equal(t, []string{"<a>", "b"}, own.Nested.List)

			stranger, err := jwk.Generate(jwk.ES256)
			require.NoError(t, err)
			ring, err := jwk.NewRing(stranger.WithID(s.key.ID()))
			require.NoError(t, err)
			require.Error(t, token.Claims(fetched(t, ring), &claims), "go-jose must refuse a wrong key")
		})
	}
}

// joseSigned signs claims with go-jose.
func joseSigned(t *testing.T, alg jwk.Algorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("at+jwt"),
	)
	require.NoError(t, err)
	token, err := josejwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return token
}

// claimsNow returns the claims of a valid access token.
func claimsNow() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": issuerName, "sub": "alice", "aud": []string{audience}, "jti": "x", "exp": now + 600, "iat": now, "scope": "read write"}
}

func TestWeVerifyTokensOfGoJose(t *testing.T) {
	for _, alg := range every {
		t.Run(string(alg), func(t *testing.T) {
			s := newService(t, alg)
			key := private(t, s.key, func(jwk []byte) (any, error) { return joseKey(t, jwk).Key, nil })
			got, err := s.verifier.Verify(t.Context(), joseSigned(t, alg, key, s.key.ID(), claimsNow()))
			require.NoError(t, err)
			require.Equal(t, "alice", got.Subject)
			require.True(t, got.HasScope("write"))
			_, err = s.verifier.Verify(t.Context(), joseSigned(t, alg, key, "", claimsNow()))
			require.NoError(t, err, "a token without a kid is accepted if exactly one key fits")

			good := joseSigned(t, alg, key, s.key.ID(), claimsNow())
			other := joseSigned(t, alg, key, s.key.ID(), map[string]any{"sub": "mallory"})
			mixed := other[:strings.LastIndexByte(other, '.')] + good[strings.LastIndexByte(good, '.'):]
			_, err = s.verifier.Verify(t.Context(), mixed)
			require.ErrorIs(t, err, jwtauth.ErrTokenSignature)
		})
	}
}

func TestKeysTravelAsJWKsBothWays(t *testing.T) {
	for _, alg := range every {
		t.Run(string(alg), func(t *testing.T) {
			key := keyFor(t, alg)
			text, err := key.PrivateJWK()
			require.NoError(t, err)
			theirs := joseKey(t, text)
			require.Equal(t, key.ID()+" "+string(alg), theirs.KeyID+" "+theirs.Algorithm)

			// The JWK that go-jose writes is read as the same key.
			text, err = theirs.MarshalJSON()
			require.NoError(t, err)
			again, err := jwk.ParseSigning("", text)
			require.NoError(t, err)
			require.Equal(t, key.ID(), again.ID())
			require.Equal(t, alg, again.Algorithm())
			rewritten, err := again.PrivateJWK()
			require.NoError(t, err)
			require.Equal(t, object(t, mustPrivateJWK(t, key)), object(t, rewritten))
			if theirs.Public().Key == nil {
				return // the key is a secret, which has no public half
			}
			text, err = theirs.Public().MarshalJSON()
			require.NoError(t, err)
			half, err := jwk.ParseVerification(alg, text)
			require.NoError(t, err)
			ours, err := half.JWK()
			require.NoError(t, err)
			same, err := key.Verification().JWK()
			require.NoError(t, err)
			require.Equal(t, object(t, same), object(t, ours))
		})
	}
}

func mustPrivateJWK(t *testing.T, k *jwk.SigningKey) []byte {
	t.Helper()
	text, err := k.PrivateJWK()
	require.NoError(t, err)
	return text
}
