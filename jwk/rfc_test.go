package jwk_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// rfcJWS is an example of a signed text in an RFC. Name is the RFC and the section.
// RefusedBy is the check that refuses the text here, if one does.
type rfcJWS struct {
	Name      string
	JWK       json.RawMessage
	JWS       string
	RefusedBy string `json:"refused_by"`
}

func rfcExample(t testing.TB, name string) rfcJWS {
	t.Helper()
	var examples []rfcJWS
	fixture.ReadRFC(t, "jws.json", &examples)
	for _, e := range examples {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("testdata/rfc/jws.json has no %s", name)
	return rfcJWS{}
}

// member returns a member of a JWK, or "" if it is not a string.
func member(t testing.TB, keyText []byte, name string) string {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(keyText, &members))
	s, _ := members[name].(string)
	return s
}

func TestSignedExamplesOfTheRFCs(t *testing.T) {
	var examples []rfcJWS
	fixture.ReadRFC(t, "jws.json", &examples)
	require.Len(t, examples, 16)
	for _, e := range examples {
		t.Run(e.Name, func(t *testing.T) {
			err := fixture.VerifyJWS([][]byte{e.JWK}, e.JWS)
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

// The examples are from RFC 7515, A.6 and A.7. Only the compact serialization is a JWT (RFC
// 7519, section 1).
func TestTheJSONSerializationsOfTheRFCsAreRefused(t *testing.T) {
	e := rfcExample(t, "RFC 7515, A.3")
	require.NoError(t, fixture.VerifyJWS([][]byte{e.JWK}, e.JWS))
	parts := strings.Split(e.JWS, ".")
	signature := `"protected":"` + parts[0] + `","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + parts[2] + `"`
	for name, text := range map[string]string{
		"general":   `{"payload":"` + parts[1] + `","signatures":[{` + signature + `}]}`,
		"flattened": `{"payload":"` + parts[1] + `",` + signature + `}`,
	} {
		require.True(t, json.Valid([]byte(text)))
		var refusal *jwtauth.Error
		require.ErrorAs(t, fixture.VerifyJWS([][]byte{e.JWK}, text), &refusal, name)
		require.Equal(t, "form", refusal.Check, name)
	}
}

// The example is RFC 7520, 4.5. It verifies only with its payload.
func TestADetachedPayloadIsPartOfNoToken(t *testing.T) {
	var detached rfcJWS
	var all []rfcJWS
	fixture.ReadRFC(t, "jws.json", &all)
	for _, e := range all {
		if strings.HasPrefix(e.Name, "RFC 7520, 4.5") {
			detached = e
		}
	}
	whole := rfcExample(t, "RFC 7520, 4.4")
	payload := strings.Split(whole.JWS, ".")[1]
	require.Contains(t, detached.JWS, "..")
	require.NoError(t, fixture.VerifyJWS([][]byte{detached.JWK}, strings.Replace(detached.JWS, "..", "."+payload+".", 1)))
	require.Error(t, fixture.VerifyJWS([][]byte{detached.JWK}, detached.JWS))
}

// These algorithms are deterministic.
func TestExamplesAreSignedAgainByteForByte(t *testing.T) {
	for _, c := range []struct {
		example, key string
		alg          jwk.Algorithm
	}{
		{"RFC 7520, 4.1", "RFC 7520, 3.4", jwk.RS256},
		{"RFC 8037, A.4", "RFC 8037, A.1", jwk.EdDSA},
	} {
		e := rfcExample(t, c.example)
		parts := strings.Split(e.JWS, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		got, err := fixture.SignRaw(fixture.RfcSigningKey(t, c.key, c.alg), string(header), string(payload))
		require.NoError(t, err)
		require.Equal(t, e.JWS, got, c.example)
	}
}

// These algorithms make a new signature each time.
func TestExamplesAreSignedAgain(t *testing.T) {
	for _, c := range []struct {
		example, key string
		alg          jwk.Algorithm
	}{
		{"RFC 7515, A.3", "RFC 7515, A.3", jwk.ES256},
		{"RFC 7515, A.4", "RFC 7515, A.4", jwk.ES512},
		{"RFC 7520, 4.2", "RFC 7520, 3.4", jwk.PS384},
		{"RFC 7520, 4.3", "RFC 7520, 3.2", jwk.ES512},
	} {
		e := rfcExample(t, c.example)
		parts := strings.Split(e.JWS, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		got, err := fixture.SignRaw(fixture.RfcSigningKey(t, c.key, c.alg), string(header), string(payload))
		require.NoError(t, err)
		require.NotEqual(t, e.JWS, got, c.example)
		require.NoError(t, fixture.VerifyJWS([][]byte{e.JWK}, got), c.example)
	}
}

func TestKeysOfTheRFCs(t *testing.T) {
	var keys []fixture.RfcKey
	fixture.ReadRFC(t, "jwk.json", &keys)
	require.Len(t, keys, 11)
	for _, k := range keys {
		t.Run(k.Name, func(t *testing.T) {
			private := member(t, k.JWK, "d") != "" || member(t, k.JWK, "k") != ""
			public, err := jwk.ParseVerification("", k.JWK)
			signing, signingErr := jwk.ParseSigning("", k.JWK)
			switch {
			case k.Refused != "":
				require.Error(t, err)
				require.ErrorContains(t, signingErr, k.Refused)
				return
			case private:
				require.Error(t, err, "a private key is no key to verify with")
				require.NoError(t, signingErr)
				public = signing.Verification()
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

			// The members are the same after parsing and encoding.
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

// A private JWK also holds a public key, which could belong to another one.
func TestTheHalvesOfAJWKMustFit(t *testing.T) {
	var keys []fixture.RfcKey
	fixture.ReadRFC(t, "jwk.json", &keys)
	keyText := func(name string) (members map[string]any) {
		for _, k := range keys {
			if k.Name == name {
				require.NoError(t, json.Unmarshal(k.JWK, &members))
			}
		}
		require.NotNil(t, members, name)
		return members
	}
	for name, other := range map[string]string{
		"RFC 7520, 3.2": keyText("RFC 7515, A.4")["d"].(string),
		"RFC 7520, 3.4": keyText("RFC 7520, 3.4")["p"].(string),
		"RFC 8037, A.1": keyText("RFC 7515, A.3")["d"].(string), // any 32 bytes are a seed
	} {
		members := keyText(name)
		_, err := jwk.ParseSigning("", []byte(fixture.Text(t, members)))
		require.NoError(t, err, name)
		members["d"] = other
		_, err = jwk.ParseSigning("", []byte(fixture.Text(t, members)))
		require.ErrorContains(t, err, "not fit", name)
	}
}

// jwkWithout returns the key parsed from its JWK without one of the members.
func jwkWithout(t testing.TB, k *jwk.VerificationKey, name string) *jwk.VerificationKey {
	t.Helper()
	text, err := k.JWK()
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(text, &members))
	delete(members, name)
	text, err = json.Marshal(members)
	require.NoError(t, err)
	key, err := jwk.ParseVerification("", text)
	require.NoError(t, err)
	return key
}

// The tests above mean nothing if a key is parsed as another kind of key.
func TestTheTypesOfParsedKeys(t *testing.T) {
	require.IsType(t, &rsa.PublicKey{}, fixture.PublicOf(fixture.RfcSigningKey(t, "RFC 7520, 3.4", "").Verification()))
	require.IsType(t, ed25519.PublicKey{}, fixture.PublicOf(fixture.RfcSigningKey(t, "RFC 8037, A.1", "").Verification()))
	require.Equal(t, jwk.ES512, fixture.RfcSigningKey(t, "RFC 7520, 3.2", "").Algorithm())
	require.Equal(t, jwk.RS256, fixture.RfcSigningKey(t, "RFC 7520, 3.4", "").Algorithm())
	require.Equal(t, jwk.PS384, fixture.RfcSigningKey(t, "RFC 7520, 3.4", jwk.PS384).Algorithm())
	require.Equal(t, jwk.EdDSA, fixture.RfcSigningKey(t, "RFC 8037, A.1", "Ed25519").Algorithm())
}

// The token of A.2 has claims. It has neither typ nor sub, and has expired.
func TestTheTokenOfRFC7515IsReadAsAToken(t *testing.T) {
	e := rfcExample(t, "RFC 7515, A.2")
	key, err := jwk.ParseVerification("", e.JWK)
	require.NoError(t, err)
	keys, err := jwk.Static(key)
	require.NoError(t, err)
	exp := time.Unix(1300819380, 0)
	clock := fixture.NewClock()
	clock.Set(exp.Add(-time.Second))
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: "joe", InsecureAnyAudience: true, AcceptNoTyp: true, Leeway: -1, Now: clock.Now,
	})
	require.NoError(t, err)

	_, err = verifier.Verify(t.Context(), e.JWS)
	var refusal *jwtauth.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "sub", refusal.Check)

	lax := fixture.Without(verifier, "sub")
	token, err := lax.Verify(t.Context(), e.JWS)
	require.NoError(t, err)
	require.Equal(t, "joe", token.Issuer)
	require.True(t, exp.Equal(token.ExpiresAt))
	claims, err := jwtauth.ClaimsAs[struct {
		Root bool `json:"http://example.com/is_root"`
	}](token)
	require.NoError(t, err)
	require.True(t, claims.Root)

	clock.Set(exp)
	_, err = lax.Verify(t.Context(), e.JWS)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}
