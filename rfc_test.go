package jwtauth_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// rfcJWS is an example of a signed text in an RFC. The name says where it
// stands, RefusedBy which check refuses it here.
type rfcJWS struct {
	Name      string
	JWK       json.RawMessage
	JWS       string
	RefusedBy string `json:"refused_by"`
}

// rfcKey is an example of a key in an RFC. Refused is a part of the error of a
// key that is none here.
type rfcKey struct {
	Name                string
	JWK                 json.RawMessage
	Thumbprint, Refused string
}

func readRFC(t testing.TB, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "rfc", file))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func rfcExample(t testing.TB, name string) rfcJWS {
	t.Helper()
	var examples []rfcJWS
	readRFC(t, "jws.json", &examples)
	for _, e := range examples {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("testdata/rfc/jws.json has no %s", name)
	return rfcJWS{}
}

func rfcSigningKey(t testing.TB, name string, alg jwtauth.Algorithm) *jwtauth.SigningKey {
	t.Helper()
	var keys []rfcKey
	readRFC(t, "jwk.json", &keys)
	for _, k := range keys {
		if k.Name == name {
			key, err := jwtauth.ParseSigningKey(alg, k.JWK)
			require.NoError(t, err)
			return key
		}
	}
	t.Fatalf("testdata/rfc/jwk.json has no %s", name)
	return nil
}

// member is a member of a JWK that is a string.
func member(t testing.TB, jwk []byte, name string) string {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(jwk, &members))
	s, _ := members[name].(string)
	return s
}

func TestSignedExamplesOfTheRFCs(t *testing.T) {
	var examples []rfcJWS
	readRFC(t, "jws.json", &examples)
	require.Len(t, examples, 16)
	for _, e := range examples {
		t.Run(e.Name, func(t *testing.T) {
			err := jwtauth.VerifyJWS([][]byte{e.JWK}, e.JWS)
			if e.RefusedBy == "" {
				require.NoError(t, err)
				return
			}
			var refusal *jwtauth.Error
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, e.RefusedBy, refusal.Check)
		})
	}
}

// TestTheJSONSerializationsOfTheRFCsAreRefused: RFC 7515, A.6 and A.7. Only the
// compact form is a token (RFC 7519, section 1).
func TestTheJSONSerializationsOfTheRFCsAreRefused(t *testing.T) {
	e := rfcExample(t, "RFC 7515, A.3")
	require.NoError(t, jwtauth.VerifyJWS([][]byte{e.JWK}, e.JWS))
	parts := strings.Split(e.JWS, ".")
	signature := `"protected":"` + parts[0] + `","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + parts[2] + `"`
	for name, text := range map[string]string{
		"general":   `{"payload":"` + parts[1] + `","signatures":[{` + signature + `}]}`,
		"flattened": `{"payload":"` + parts[1] + `",` + signature + `}`,
	} {
		require.True(t, json.Valid([]byte(text)))
		var refusal *jwtauth.Error
		require.ErrorAs(t, jwtauth.VerifyJWS([][]byte{e.JWK}, text), &refusal, name)
		require.Equal(t, "form", refusal.Check, name)
	}
}

// TestADetachedPayloadIsPartOfNoToken: RFC 7520, 4.5 verifies once its payload
// is back, and not before.
func TestADetachedPayloadIsPartOfNoToken(t *testing.T) {
	var detached rfcJWS
	var all []rfcJWS
	readRFC(t, "jws.json", &all)
	for _, e := range all {
		if strings.HasPrefix(e.Name, "RFC 7520, 4.5") {
			detached = e
		}
	}
	whole := rfcExample(t, "RFC 7520, 4.4")
	payload := strings.Split(whole.JWS, ".")[1]
	require.Contains(t, detached.JWS, "..")
	require.NoError(t, jwtauth.VerifyJWS([][]byte{detached.JWK}, strings.Replace(detached.JWS, "..", "."+payload+".", 1)))
	require.Error(t, jwtauth.VerifyJWS([][]byte{detached.JWK}, detached.JWS))
}

// TestExamplesAreSignedAgainByteForByte: the algorithms that make one signature
// for one text.
func TestExamplesAreSignedAgainByteForByte(t *testing.T) {
	for _, c := range []struct {
		example, key string
		alg          jwtauth.Algorithm
	}{
		{"RFC 7520, 4.1", "RFC 7520, 3.4", jwtauth.RS256},
		{"RFC 8037, A.4", "RFC 8037, A.1", jwtauth.EdDSA},
	} {
		e := rfcExample(t, c.example)
		parts := strings.Split(e.JWS, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		got, err := jwtauth.SignRaw(rfcSigningKey(t, c.key, c.alg), string(header), string(payload))
		require.NoError(t, err)
		require.Equal(t, e.JWS, got, c.example)
	}
}

// TestExamplesAreSignedAgain: the algorithms that make another signature each
// time.
func TestExamplesAreSignedAgain(t *testing.T) {
	for _, c := range []struct {
		example, key string
		alg          jwtauth.Algorithm
	}{
		{"RFC 7515, A.3", "RFC 7515, A.3", jwtauth.ES256},
		{"RFC 7515, A.4", "RFC 7515, A.4", jwtauth.ES512},
		{"RFC 7520, 4.2", "RFC 7520, 3.4", jwtauth.PS384},
		{"RFC 7520, 4.3", "RFC 7520, 3.2", jwtauth.ES512},
	} {
		e := rfcExample(t, c.example)
		parts := strings.Split(e.JWS, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		got, err := jwtauth.SignRaw(rfcSigningKey(t, c.key, c.alg), string(header), string(payload))
		require.NoError(t, err)
		require.NotEqual(t, e.JWS, got, c.example)
		require.NoError(t, jwtauth.VerifyJWS([][]byte{e.JWK}, got), c.example)
	}
}

func TestKeysOfTheRFCs(t *testing.T) {
	var keys []rfcKey
	readRFC(t, "jwk.json", &keys)
	require.Len(t, keys, 11)
	for _, k := range keys {
		t.Run(k.Name, func(t *testing.T) {
			private := member(t, k.JWK, "d") != "" || member(t, k.JWK, "k") != ""
			public, err := jwtauth.ParseVerificationKey("", k.JWK)
			signing, signingErr := jwtauth.ParseSigningKey("", k.JWK)
			switch {
			case k.Refused != "":
				require.Error(t, err)
				require.ErrorContains(t, signingErr, k.Refused)
				return
			case private:
				require.Error(t, err, "a private key is no key to verify with")
				require.NoError(t, signingErr)
				public = signing.VerificationKey()
			default:
				require.Error(t, signingErr, "a public key cannot sign")
				require.NoError(t, err)
			}
			if kid := member(t, k.JWK, "kid"); kid != "" {
				require.Equal(t, kid, public.ID())
			}
			if k.Thumbprint != "" {
				require.Equal(t, k.Thumbprint, jwkWithout(t, public, "kid").ID(), "RFC 7638, section 3")
			}

			// What is encoded is what was read.
			again, err := public.JWK()
			require.NoError(t, err)
			for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
				require.Equal(t, member(t, k.JWK, name), member(t, again, name), name)
			}
			if !private {
				return
			}
			again, err = signing.PrivateJWK()
			require.NoError(t, err)
			for _, name := range []string{"kty", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi"} {
				if want := member(t, k.JWK, name); want != "" {
					require.Equal(t, want, member(t, again, name), name)
				}
			}
		})
	}
}

// TestTheHalvesOfAJWKMustFit: a JWK names its public half beside the private
// one, which could be another key's.
func TestTheHalvesOfAJWKMustFit(t *testing.T) {
	var keys []rfcKey
	readRFC(t, "jwk.json", &keys)
	jwk := func(name string) (members map[string]any) {
		for _, k := range keys {
			if k.Name == name {
				require.NoError(t, json.Unmarshal(k.JWK, &members))
			}
		}
		require.NotNil(t, members, name)
		return members
	}
	for name, other := range map[string]string{
		"RFC 7520, 3.2": jwk("RFC 7515, A.4")["d"].(string),
		"RFC 7520, 3.4": jwk("RFC 7520, 3.4")["p"].(string),
		"RFC 8037, A.1": jwk("RFC 7515, A.3")["d"].(string), // any 32 bytes are a seed
	} {
		members := jwk(name)
		_, err := jwtauth.ParseSigningKey("", []byte(text(t, members)))
		require.NoError(t, err, name)
		members["d"] = other
		_, err = jwtauth.ParseSigningKey("", []byte(text(t, members)))
		require.ErrorContains(t, err, "not fit", name)
	}
}

// jwkWithout is the same key, parsed from a JWK without one of its members.
func jwkWithout(t testing.TB, k *jwtauth.VerificationKey, name string) *jwtauth.VerificationKey {
	t.Helper()
	text, err := k.JWK()
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(text, &members))
	delete(members, name)
	text, err = json.Marshal(members)
	require.NoError(t, err)
	key, err := jwtauth.ParseVerificationKey("", text)
	require.NoError(t, err)
	return key
}

// TestTheTypesOfParsedKeys guards the tests above against a key that is parsed
// as something else.
func TestTheTypesOfParsedKeys(t *testing.T) {
	require.IsType(t, &rsa.PublicKey{}, jwtauth.PublicOf(rfcSigningKey(t, "RFC 7520, 3.4", "").VerificationKey()))
	require.IsType(t, ed25519.PublicKey{}, jwtauth.PublicOf(rfcSigningKey(t, "RFC 8037, A.1", "").VerificationKey()))
	require.Equal(t, jwtauth.ES512, rfcSigningKey(t, "RFC 7520, 3.2", "").Algorithm())
	require.Equal(t, jwtauth.RS256, rfcSigningKey(t, "RFC 7520, 3.4", "").Algorithm())
	require.Equal(t, jwtauth.PS384, rfcSigningKey(t, "RFC 7520, 3.4", jwtauth.PS384).Algorithm())
	require.Equal(t, jwtauth.EdDSA, rfcSigningKey(t, "RFC 8037, A.1", "Ed25519").Algorithm())
}

// TestTheTokenOfRFC7515IsReadAsAToken: A.2 has claims. It has neither typ nor
// sub, and has expired.
func TestTheTokenOfRFC7515IsReadAsAToken(t *testing.T) {
	e := rfcExample(t, "RFC 7515, A.2")
	key, err := jwtauth.ParseVerificationKey("", e.JWK)
	require.NoError(t, err)
	keys, err := jwtauth.StaticKeys(key)
	require.NoError(t, err)
	exp := time.Unix(1300819380, 0)
	now := exp.Add(-time.Second)
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: "joe", InsecureAnyAudience: true, AcceptNoTyp: true, Leeway: -1, Now: func() time.Time { return now },
	})
	require.NoError(t, err)

	_, err = verifier.Verify(t.Context(), e.JWS)
	var refusal *jwtauth.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "sub", refusal.Check)

	lax := verifier.Without("sub")
	token, err := lax.Verify(t.Context(), e.JWS)
	require.NoError(t, err)
	require.Equal(t, "joe", token.Issuer)
	require.True(t, exp.Equal(token.ExpiresAt))
	claims, err := jwtauth.ClaimsAs[struct {
		Root bool `json:"http://example.com/is_root"`
	}](token)
	require.NoError(t, err)
	require.True(t, claims.Root)

	now = exp
	_, err = lax.Verify(t.Context(), e.JWS)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}
