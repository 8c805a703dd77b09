package jwk_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestJWKRoundTripKeepsEveryKey(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		for _, kid := range []string{fixture.KeyFor(t, alg).ID(), "2026-11"} {
			k := fixture.KeyFor(t, alg).WithID(kid)
			secret, err := k.PrivateJWK()
			require.NoError(t, err)
			for _, named := range []jwk.Algorithm{"", alg} {
				again, err := jwk.ParseSigning(named, secret)
				require.NoError(t, err)
				requireFits(t, k, again.Verification())
				requireFits(t, again, k.Verification())
				twice, err := again.PrivateJWK()
				require.NoError(t, err)
				require.Equal(t, string(secret), string(twice))
			}
			public, err := k.Verification().JWK()
			if alg[:2] == "HS" {
				require.ErrorContains(t, err, "an HMAC key has no public half")
				require.Nil(t, public)
				continue
			}
			require.NoError(t, err)
			for _, named := range []jwk.Algorithm{"", alg} {
				again, err := jwk.ParseVerification(named, public)
				require.NoError(t, err)
				requireFits(t, k, again)
				twice, err := again.JWK()
				require.NoError(t, err)
				require.Equal(t, string(public), string(twice))
			}
			// The public members are the same in both, and nothing else is public.
			var members, all map[string]string
			require.NoError(t, json.Unmarshal(public, &members))
			require.NoError(t, json.Unmarshal(secret, &all))
			require.Subset(t, all, members)
			require.Equal(t, map[string]string{"kid": kid, "use": "sig", "alg": string(alg)}, map[string]string{"kid": members["kid"], "use": members["use"], "alg": members["alg"]})
			for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				require.NotContains(t, members, name)
			}
		}
	}
}

func TestJWKWithoutKidAndAlgGetsTheNaturalOnes(t *testing.T) {
	natural := map[jwk.Algorithm]jwk.Algorithm{
		jwk.HS256: jwk.HS256, jwk.HS512: jwk.HS256, jwk.RS256: jwk.RS256, jwk.RS512: jwk.RS256, jwk.PS384: jwk.RS256,
		jwk.ES256: jwk.ES256, jwk.ES384: jwk.ES384, jwk.ES512: jwk.ES512, jwk.EdDSA: jwk.EdDSA,
	}
	for alg, want := range natural {
		secret, err := fixture.KeyFor(t, alg).PrivateJWK()
		require.NoError(t, err)
		bare := map[string]any{"kid": nil, "alg": nil, "use": nil}
		k, err := jwk.ParseSigning("", fixture.EditObject(t, secret, bare))
		require.NoError(t, err)
		require.Equal(t, want, k.Algorithm())
		if alg[:2] != "HS" { // whose kid comes from the algorithm, too
			require.Equal(t, fixture.KeyFor(t, alg).ID(), k.ID())
		}
		k, err = jwk.ParseSigning(alg, fixture.EditObject(t, secret, bare))
		require.NoError(t, err)
		require.Equal(t, alg, k.Algorithm())
		require.Equal(t, fixture.KeyFor(t, alg).ID(), k.ID())
	}
}

// The examples are from RFC 7638, section 3.1, and RFC 8037, appendix A.3.
func TestJWKThumbprintIsThatOfTheRFC(t *testing.T) {
	const modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" +
		"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt" +
		"-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	const rsaKey = `{"kty":"RSA","n":"` + modulus + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	k, err := jwk.ParseVerification("", []byte(rsaKey))
	require.NoError(t, err)
	require.Equal(t, "2011-04-29", k.ID())
	k, err = jwk.ParseVerification("", fixture.EditObject(t, []byte(rsaKey), map[string]any{"kid": nil}))
	require.NoError(t, err)
	require.Equal(t, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", k.ID())

	// Neither other members nor a leading zero of n make another key of it.
	k, err = jwk.ParseVerification("", fixture.EditObject(t, []byte(rsaKey), map[string]any{
		"kid": nil, "alg": "PS512", "use": "sig", "key_ops": []string{"verify"}, "x5t": "x", "x5c": []string{"x"},
		"n": fixture.Unpadded(append([]byte{0}, fixture.DecodedPart(t, modulus, 0)...)),
	}))
	require.NoError(t, err)
	require.Equal(t, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", k.ID())
	require.Equal(t, jwk.PS512, k.Algorithm())

	k, err = jwk.ParseVerification("", []byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	require.NoError(t, err)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", k.ID())
}

// RFC 7518, section 6.2, requires the leading zeros.
func TestJWKKeepsLeadingZerosOfECKeys(t *testing.T) {
	for alg, curve := range map[jwk.Algorithm]elliptic.Curve{jwk.ES256: elliptic.P256(), jwk.ES384: elliptic.P384(), jwk.ES512: elliptic.P521()} {
		size := (curve.Params().BitSize + 7) / 8
		short := 0
		for d := int64(1); short < 3 && d < 10_000; d++ {
			private, err := ecdsa.ParseRawPrivateKey(curve, big.NewInt(d).FillBytes(make([]byte, size)))
			require.NoError(t, err)
			point, err := private.PublicKey.Bytes()
			require.NoError(t, err)
			if d > 1 && point[1] != 0 && point[1+size] != 0 {
				continue
			}
			short++
			public, secret := fixture.JWKOf(t, private)
			var members map[string]string
			require.NoError(t, json.Unmarshal(secret, &members))
			for _, name := range []string{"x", "y", "d"} {
				require.Len(t, members[name], (8*size+5)/6)
			}
			k, err := jwk.ParseSigning(alg, secret)
			require.NoError(t, err)
			requireSameID(t, private.Public(), k)
			v, err := jwk.ParseVerification(alg, public)
			require.NoError(t, err)
			requireFits(t, k, v)
		}
		require.Equal(t, 3, short)
	}
}

func TestJWKOfAnEd25519KeyHoldsTheSeed(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, secret := fixture.JWKOf(t, private)
	var members map[string]string
	require.NoError(t, json.Unmarshal(secret, &members))
	require.Equal(t, fixture.Unpadded(private.Seed()), members["d"])
	require.Equal(t, fixture.Unpadded(public), members["x"])
}

func TestJWKOfAnRSAKeyHoldsItsPrecomputedNumbers(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	_, secret := fixture.JWKOf(t, private)
	var members map[string]string
	require.NoError(t, json.Unmarshal(secret, &members))
	number := func(name string) *big.Int { return new(big.Int).SetBytes(fixture.DecodedPart(t, members[name], 0)) }
	one, p, q := big.NewInt(1), number("p"), number("q")
	require.Equal(t, private.N, new(big.Int).Mul(p, q))
	require.Equal(t, private.D, number("d"))
	require.Equal(t, new(big.Int).Mod(private.D, new(big.Int).Sub(p, one)), number("dp"))
	require.Equal(t, new(big.Int).Mod(private.D, new(big.Int).Sub(q, one)), number("dq"))
	require.Equal(t, new(big.Int).ModInverse(q, p), number("qi"))
}

func TestJWKErrorsTeach(t *testing.T) {
	public := func(alg jwk.Algorithm) []byte { return fixture.EditJWK(t, fixture.KeyFor(t, alg).Verification(), nil) }
	secret := func(alg jwk.Algorithm) []byte {
		keyText, err := fixture.KeyFor(t, alg).PrivateJWK()
		require.NoError(t, err)
		return keyText
	}
	ec, rsaKey, ed, oct := public(jwk.ES256), public(jwk.RS256), public(jwk.EdDSA), secret(jwk.HS256)
	ecSecret, rsaSecret, edSecret := secret(jwk.ES256), secret(jwk.RS256), secret(jwk.EdDSA)
	otherEC, err := fixture.NewKey(t, jwk.ES256).PrivateJWK()
	require.NoError(t, err)
	var stranger map[string]string
	require.NoError(t, json.Unmarshal(otherEC, &stranger))
	with := func(keyText []byte, changes ...any) []byte {
		edits := make(map[string]any)
		for i := 0; i < len(changes); i += 2 {
			edits[changes[i].(string)] = changes[i+1]
		}
		return fixture.EditObject(t, keyText, edits)
	}
	verifying := func(alg jwk.Algorithm, text []byte) error {
		k, err := jwk.ParseVerification(alg, text)
		require.True(t, k == nil || err == nil)
		return err
	}
	signing := func(alg jwk.Algorithm, text []byte) error {
		k, err := jwk.ParseSigning(alg, text)
		require.True(t, k == nil || err == nil)
		return err
	}
	long := fixture.Unpadded(append([]byte{1}, make([]byte, 1025)...))
	for _, c := range []struct {
		parse func(jwk.Algorithm, []byte) error
		alg   jwk.Algorithm
		text  []byte
		want  string
	}{
		{verifying, "", []byte(`{}`), `unknown kty "", expected RSA, EC, OKP or oct`},
		{verifying, "", with(ec, "kty", "EC2"), `unknown kty "EC2"`},
		{verifying, "", with(ec, "kty", "ec"), `unknown kty "ec"`},
		{verifying, "", with(ec, "kty", 5), "the member kty is not a string"},
		{verifying, "", with(ec, "kid", 5), "the member kid is not a string"},
		{verifying, "", with(ec, "kid", strings.Repeat("k", 1025)), "a kid has 1 to 1024 bytes of UTF-8"},
		{verifying, "", with(ec, "x", []string{"x"}), "the member x is not a string"},
		{verifying, "", []byte(`{"kty":"EC","kty":"EC"}`), "appears twice"},
		{verifying, "", []byte(`{"kty":"EC","KTY":"EC"}`), "appears twice"},
		{verifying, "", append(bytes.Clone(ec), "x"...), "not a JSON object"},
		{verifying, "", append(bytes.Clone(ec), ec...), "not a JSON object"},
		{verifying, "", []byte(`{"kty":"EC"`), "not a JSON object"},
		{verifying, "", []byte(`{"kty":"` + "\xff" + `"}`), "invalid UTF-8"},
		{verifying, "", []byte(`{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), "nested too deeply"},
		{verifying, "", []byte(`[` + string(ec) + `]`), "no key found: PEM (-----BEGIN …) or a JWK ({…) is expected"},
		{verifying, "", []byte(`null`), "no key found"},
		{verifying, "", with(ec, "pad", strings.Repeat("x", 64<<10)), "at most 65536 are read"},
		{verifying, "", with(ec, "use", "enc"), `use is "enc", a key for signatures has sig`},
		{verifying, "", with(ec, "key_ops", []string{"encrypt"}), "key_ops has no verify"},
		{verifying, "", with(ec, "key_ops", []string{"sign"}), "key_ops has no verify"},
		{verifying, "", with(ec, "key_ops", "verify"), "key_ops is not an array of different strings"},
		{verifying, "", with(ec, "key_ops", []any{"verify", 1}), "key_ops is not an array of different strings"},
		{verifying, "", with(ec, "key_ops", []string{"verify", "verify"}), "key_ops is not an array of different strings"},
		{verifying, jwk.ES384, ec, `this key is for algorithm "ES256", not ES384`},
		{verifying, jwk.PS256, rsaKey, `this key is for algorithm "RS256", not PS256`},
		{verifying, "", with(ec, "alg", "ES384"), "algorithm ES384 needs a P-384 key, this one is P-256"},
		{verifying, "", with(ec, "alg", "none"), `unknown algorithm "none"`},
		{verifying, "", with(rsaKey, "alg", "RSA-OAEP"), `unknown algorithm "RSA-OAEP"`},
		{verifying, "", with(rsaKey, "alg", "HS256"), "algorithm HS256 needs a secret, this one is a 2048-bit RSA key"},
		{verifying, "", with(ec, "x", nil), "the member x is missing or empty"},
		{verifying, "", with(ec, "y", ""), "the member y is missing or empty"},
		{verifying, "", with(ec, "x", "a+/="), "the member x is not canonical base64url without padding"},
		{verifying, "", with(ec, "x", fixture.Unpadded(make([]byte, 31))), "the member x has 31 bytes, on this curve it has 32"},
		{verifying, "", with(ec, "x", stranger["x"]), "the point of this EC key is not on its curve"},
		{verifying, "", with(ec, "crv", "secp256k1"), `unknown curve "secp256k1", expected P-256, P-384 or P-521`},
		{verifying, "", with(ec, "crv", nil), `unknown curve ""`},
		{verifying, "", with(ed, "crv", "X25519"), `unknown curve "X25519", expected Ed25519`},
		{verifying, "", with(ed, "x", fixture.Unpadded(make([]byte, 31))), "an Ed25519 public key has 32 bytes, this one has 31"},
		{verifying, "", with(rsaKey, "n", nil), "the member n is missing or empty"},
		{verifying, "", with(rsaKey, "n", long), "the member n has 1026 bytes, at most 1024 are expected"},
		{verifying, "", with(rsaKey, "e", "AQ"), "the exponent of an RSA key is odd, from 3 to 2^31-1, this one is 1"},
		{verifying, "", with(rsaKey, "e", "gAAAAQ"), "the exponent of this RSA key is larger than 2^31-1"},
		{verifying, "", with(rsaKey, "oth", []any{}), "RSA keys of more than two primes are not supported"},
		{verifying, "", oct, "this JWK holds a private or symmetric key; a key to verify with has none"},
		{verifying, "", ecSecret, "this JWK holds a private or symmetric key"},
		{verifying, "", with(rsaKey, "d", "AQ"), "this JWK holds a private or symmetric key"},
		{verifying, "", with(rsaKey, "p", "AQ"), "this JWK holds a private or symmetric key"},
		{verifying, "", with(rsaKey, "qi", "AQ"), "this JWK holds a private or symmetric key"},
		{verifying, "", with(ec, "k", "AQ"), "this JWK holds a private or symmetric key"},

		{signing, "", ec, "this JWK holds no private key; a public key cannot sign"},
		{signing, "", rsaKey, "a public key cannot sign"},
		{signing, "", with(oct, "k", nil), "a public key cannot sign"},
		{signing, "", with(oct, "k", ""), "a public key cannot sign"},
		{signing, "", with(oct, "k", "A"), "the member k is not canonical base64url without padding"},
		{signing, "", with(oct, "k", fixture.Unpadded(fixture.RandomBytes(31))), "algorithm HS256 needs a secret of at least 32 random bytes, this one has 31"},
		{signing, "", with(oct, "k", fixture.Unpadded(make([]byte, 32))), "appears in public documents"},
		{signing, "", with(oct, "alg", "A256GCM"), `unknown algorithm "A256GCM"`},
		{signing, "", with(oct, "alg", "ES256"), "algorithm ES256 needs a public or private key, this one is a secret"},
		{signing, jwk.HS512, oct, `this key is for algorithm "HS256", not HS512`},
		{signing, "", with(ecSecret, "key_ops", []string{"verify"}), "key_ops has no sign"},
		{signing, "", with(ecSecret, "key_ops", []string{"deriveKey"}), "key_ops has no verify"},
		{signing, "", with(ecSecret, "d", fixture.Unpadded(make([]byte, 32))), "the member d is not a private key of this curve"},
		{signing, "", with(ecSecret, "d", fixture.Unpadded(bytes.Repeat([]byte{0xFF}, 32))), "the member d is not a private key of this curve"},
		{signing, "", with(ecSecret, "d", fixture.Unpadded(make([]byte, 31))), "the member d is not a private key of this curve"},
		{signing, "", with(ecSecret, "d", stranger["d"]), "the private half of this key does not fit its public half"},
		{signing, "", with(edSecret, "d", fixture.Unpadded(make([]byte, 31))), "the member d has 31 bytes, for Ed25519 it has 32"},
		{signing, "", with(edSecret, "d", fixture.Unpadded(make([]byte, 32))), "the private half of this key does not fit its public half"},
		{signing, "", with(rsaSecret, "p", nil), "the member p is missing or empty"},
		{signing, "", with(rsaSecret, "q", "AQ"), "the members of this RSA key do not fit each other"},
		{signing, "", with(rsaSecret, "d", "AQ"), "the members of this RSA key do not fit each other"},
		{signing, "", with(rsaSecret, "p", long), "the member p has 1026 bytes"},
		{signing, "", with(rsaSecret, "oth", []any{}), "RSA keys of more than two primes are not supported"},
		{signing, "", with(rsaSecret, "alg", "ES256"), "algorithm ES256 needs a P-256 key, this one is a 2048-bit RSA key"},
	} {
		err := c.parse(c.alg, c.text)
		require.ErrorContains(t, err, c.want, "%.200s", c.text)
		require.True(t, strings.HasPrefix(err.Error(), "jwk: "), "%v", err)
	}

	// What a key need not have, and other people's members, are passed over.
	for _, changes := range [][]any{
		{"use", "sig"}, {"key_ops", []string{"verify"}}, {"key_ops", []string{"sign", "verify", "x"}}, {"use", nil}, {"x5u", "https://attacker.test"}, {"x5c", []string{"x"}},
		{"iat", 1}, {"exp", 1}, {"x", nil, "x", stranger["x"], "y", stranger["y"]},
	} {
		require.NoError(t, verifying("", with(ec, changes...)))
	}
	for _, ops := range [][]string{{"sign"}, {"sign", "verify"}} {
		require.NoError(t, signing("", with(ecSecret, "key_ops", ops)))
		require.NoError(t, signing("", with(oct, "key_ops", ops)))
	}
}

// The error about a broken private JWK holds no part of the key.
func TestJWKErrorsShowNoSecret(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		text, err := fixture.KeyFor(t, alg).PrivateJWK()
		require.NoError(t, err)
		var members map[string]string
		require.NoError(t, json.Unmarshal(text, &members))
		broken := [][]byte{text[:len(text)-1], append(bytes.Clone(text), '}'), text[1:]}
		for name, value := range members {
			for _, other := range []any{nil, "", "A", "AQ", 5, value + "=", value + "A", value[1:], value[:len(value)-1], []string{value}} {
				broken = append(broken, fixture.EditObject(t, text, map[string]any{name: other}))
			}
		}
		for _, b := range broken {
			for _, parse := range []func(jwk.Algorithm, []byte) error{
				func(alg jwk.Algorithm, b []byte) error { _, err := jwk.ParseSigning(alg, b); return err },
				func(alg jwk.Algorithm, b []byte) error {
					_, err := jwk.ParseVerification(alg, b)
					return err
				},
			} {
				for _, alg := range []jwk.Algorithm{"", alg, jwk.ES384} {
					err := parse(alg, b)
					if err == nil {
						continue
					}
					for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
						if value := members[name]; value != "" {
							require.NotContains(t, err.Error(), value[2:18])
						}
					}
				}
			}
		}
	}
}
