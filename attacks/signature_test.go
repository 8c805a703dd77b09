package attacks_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"go/ast"
	"go/token"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var signatureAttacks = []attack{
	{"S01", "empty signature", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			w.RequireAccepted(w.Sign(w.Claims(nil)))
			w.RequireForged(joined(t, fixture.Header(w.Key, nil), w.Claims(nil), nil))
			w.RequireForged(joined(t, fixture.Header(w.Key, map[string]any{"kid": nil}), w.Claims(nil), nil))
		}
	}},
	{"S02", "truncated signature", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			s := fixture.DecodedPart(t, good, 2)
			for _, short := range [][]byte{s[:len(s)-1], s[:len(s)/2], s[len(s)/2:], s[:1], s[1:], s[:len(s)-2], bytes.TrimRight(s[:len(s)-1], "\x00")} {
				w.RequireForged(withSignature(good, short))
			}
		}
	}},
	{"S03", "lengthened signature", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			s := fixture.DecodedPart(t, good, 2)
			half := len(s) / 2
			for _, long := range [][]byte{
				slices.Concat([]byte{0}, s), slices.Concat(s, []byte{0}), slices.Concat([]byte{0, 0}, s), slices.Concat(s, []byte{0, 0}),
				slices.Concat([]byte{0}, s[:half], []byte{0}, s[half:]), slices.Concat(s[:half], []byte{0}, s[half:], []byte{0}),
				slices.Concat(s[:half], []byte{0, 0}, s[half:]), slices.Concat(s, s), slices.Concat(s, []byte("x")),
			} {
				w.RequireForged(withSignature(good, long))
			}
		}
	}},
	{"S04", "bit flips", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			t.Run(string(alg), func(t *testing.T) {
				w := fixture.NewWith(t, alg)
				good := w.Sign(w.Claims(nil))
				w.RequireAccepted(good)
				for n := range 500 {
					flipped := []byte(good)
					if n%2 == 0 { // in the text
						flipped[mathrand.IntN(len(flipped))] ^= 1 << mathrand.IntN(8)
					} else { // in what a segment encodes
						part := strings.Split(good, ".")
						segment := mathrand.IntN(3)
						inside := fixture.DecodedPart(t, good, segment)
						inside[mathrand.IntN(len(inside))] ^= 1 << mathrand.IntN(8)
						part[segment] = fixture.Unpadded(inside)
						flipped = []byte(strings.Join(part, "."))
					}
					got, err := w.Verifier.Verify(t.Context(), string(flipped))
					require.ErrorIs(t, err, jwtauth.ErrRefused, "%q", flipped)
					require.Zero(t, got)
				}
			})
		}
	}},
	{"S05", "ECDSA signature in DER", func(t *testing.T) {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.ES384, jwk.ES512} {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireAccepted(good)
			r, s := rs(fixture.DecodedPart(t, good, 2))
			der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			require.NoError(t, err)
			pub := fixture.PublicOf(w.Key.Verification()).(*ecdsa.PublicKey)
			signed := good[:strings.LastIndexByte(good, '.')]
			require.True(t, ecdsa.VerifyASN1(pub, fixture.Digest(fixture.HashOf(alg), signed), der))
			w.RequireForged(withSignature(good, der))
		}
	}},
	{"S06", "r = s = 0", func(t *testing.T) {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.ES384, jwk.ES512} {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			signature := fixture.DecodedPart(t, good, 2)
			r, s := rs(signature)
			n := fixture.PublicOf(w.Key.Verification()).(*ecdsa.PublicKey).Params().N
			size := len(signature) / 2
			most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(8*size)), big.NewInt(1))
			numbers := []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), n, new(big.Int).Add(n, big.NewInt(1)), most}
			for _, a := range append(numbers, r) {
				for _, b := range append(numbers, s) {
					forged := slices.Concat(a.FillBytes(make([]byte, size)), b.FillBytes(make([]byte, size)))
					if !bytes.Equal(forged, signature) {
						w.RequireForged(withSignature(good, forged))
					}
				}
			}
		}
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireForged(withSignature(good, make([]byte, len(fixture.DecodedPart(t, good, 2)))))
		}
	}},
	{"S09", "high-S twin of a revoked token", func(t *testing.T) {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.ES384, jwk.ES512} {
			w := fixture.NewWith(t, alg)
			good := w.Login("alice").AccessToken
			signature := fixture.DecodedPart(t, good, 2)
			_, s := rs(signature)
			n := fixture.PublicOf(w.Key.Verification()).(*ecdsa.PublicKey).Params().N
			size := len(signature) / 2
			twin := withSignature(good, slices.Concat(signature[:size], new(big.Int).Sub(n, s).FillBytes(make([]byte, size))))
			require.NotEqual(t, good, twin)

			// The signature of the twin is good, too. So a token is not known by its text.
			w.RequireAccepted(twin)
			token := w.RequireAccepted(good)
			require.NoError(t, w.Verifier.Revoke(t.Context(), token))
			w.RequireOnlyRefusedBy("revocation", good)
			w.RequireOnlyRefusedBy("revocation", twin)
		}
	}},
	{"S10", "EC key on the wrong curve", func(t *testing.T) {
		curves := map[jwk.Algorithm]elliptic.Curve{jwk.ES256: elliptic.P256(), jwk.ES384: elliptic.P384(), jwk.ES512: elliptic.P521()}
		for alg, right := range curves {
			for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
				private, err := ecdsa.GenerateKey(curve, rand.Reader)
				require.NoError(t, err)
				_, err = jwk.NewSigning(alg, private)
				if curve == right {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, "algorithm "+string(alg)+" needs a "+right.Params().Name+" key")
				_, err = jwk.NewSigning(alg, fixture.ForeignSigner{Signer: private})
				require.ErrorContains(t, err, curve.Params().Name)
				der, err := x509.MarshalPKCS8PrivateKey(private)
				require.NoError(t, err)
				_, err = jwk.ParseSigning(alg, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
				require.ErrorContains(t, err, curve.Params().Name)
				der, err = x509.MarshalPKIXPublicKey(private.Public())
				require.NoError(t, err)
				_, err = jwk.ParseVerification(alg, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
				require.ErrorContains(t, err, curve.Params().Name)
				if curve == elliptic.P224() {
					continue
				}
				public, secret := fixture.JWKOf(t, private)
				_, err = jwk.ParseVerification(alg, fixture.EditObject(t, public, map[string]any{"alg": nil}))
				require.ErrorContains(t, err, curve.Params().Name)
				_, err = jwk.ParseVerification("", fixture.EditObject(t, public, map[string]any{"alg": string(alg)}))
				require.ErrorContains(t, err, curve.Params().Name)
				_, err = jwk.ParseVerification("", fixture.EditObject(t, public, map[string]any{"crv": right.Params().Name, "alg": nil}))
				require.Error(t, err)
				_, err = jwk.ParseSigning("", fixture.EditObject(t, secret, map[string]any{"alg": string(alg)}))
				require.ErrorContains(t, err, curve.Params().Name)
			}
		}
	}},
	{"S11", "EC point off the curve", func(t *testing.T) {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			private, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			good, secret := fixture.JWKOf(t, private)
			point, err := private.PublicKey.Bytes()
			require.NoError(t, err)
			size := len(point) / 2
			x, y := point[1:1+size], point[1+size:]
			next, field := bytes.Clone(y), curve.Params().P.FillBytes(make([]byte, size))
			next[size-1] ^= 1
			zero, most := make([]byte, size), bytes.Repeat([]byte{0xFF}, size)
			for _, c := range []struct{ x, y []byte }{
				{x, next}, {x, x}, {y, x}, {zero, zero}, {x, zero}, {zero, y}, {field, field}, {x, field}, {most, most},
				{x[1:], y}, {x, y[1:]}, {x[:size-1], y}, {x, y[:size-1]}, {append([]byte{0}, x...), y}, {x, append([]byte{0}, y...)}, {append(bytes.Clone(x), 0), y},
				{nil, y}, {x, nil}, {append(bytes.Clone(x), y...), nil}, {point, y}, {x[:1], y[:1]},
			} {
				changes := map[string]any{"x": fixture.Unpadded(c.x), "y": fixture.Unpadded(c.y)}
				_, err := jwk.ParseVerification("", fixture.EditObject(t, good, changes))
				require.Error(t, err, "%s %x %x", curve.Params().Name, c.x, c.y)
				_, err = jwk.ParseSigning("", fixture.EditObject(t, secret, changes))
				require.Error(t, err, "%s %x %x", curve.Params().Name, c.x, c.y)
			}

			// In PEM. The last byte of a PKIX key is the last byte of y.
			der, err := x509.MarshalPKIXPublicKey(private.Public())
			require.NoError(t, err)
			der[len(der)-1] ^= 1
			_, err = jwk.ParseVerification("", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			require.Error(t, err)

			// A signer with such a public key, and a private key with such a public half.
			alg := map[int]jwk.Algorithm{32: jwk.ES256, 48: jwk.ES384, 66: jwk.ES512}[size]
			for _, off := range []*ecdsa.PublicKey{
				{Curve: curve, X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(next)}, {Curve: curve, X: new(big.Int), Y: new(big.Int)},
				{Curve: curve, X: big.NewInt(-1), Y: big.NewInt(1)}, {Curve: curve}, {}, nil,
			} {
				_, err = jwk.NewSigning(alg, fixture.ForeignSigner{Signer: fixture.PublicOnly{Key: off}})
				require.Error(t, err)
				if off != nil {
					broken := *private
					broken.PublicKey = *off
					_, err = jwk.NewSigning(alg, &broken)
					require.Error(t, err)
				}
			}
		}
	}},
	{"S12", "RSA 1024-bit key", func(t *testing.T) {
		t.Setenv("GODEBUG", "rsa1024min=0") // the standard library refuses to make one
		weak, err := rsa.GenerateKey(rand.Reader, 1024)
		require.NoError(t, err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(weak)
		require.NoError(t, err)
		pkix, err := x509.MarshalPKIXPublicKey(weak.Public())
		require.NoError(t, err)
		exponent, modulus := fixture.Unpadded(big.NewInt(int64(weak.E)).Bytes()), fixture.Unpadded(weak.N.Bytes())
		public := map[string]any{"kty": "RSA", "e": exponent, "n": modulus}
		secret := map[string]any{
			"kty": "RSA", "e": exponent, "n": modulus, "d": fixture.Unpadded(weak.D.Bytes()),
			"p": fixture.Unpadded(weak.Primes[0].Bytes()), "q": fixture.Unpadded(weak.Primes[1].Bytes()),
		}
		for _, alg := range fixture.EveryAlgorithm[3:9] {
			_, err := jwk.NewSigning(alg, weak)
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.NewSigning(alg, fixture.ForeignSigner{Signer: weak})
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.ParseSigning(alg, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.ParseSigning(alg, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.ParseSigning(alg, []byte(fixture.Text(t, secret)))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.ParseVerification(alg, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwk.ParseVerification(alg, []byte(fixture.Text(t, public)))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
		}
		// A modulus of 2047 bits.
		public["n"] = fixture.Unpadded(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(1)).Bytes())
		_, err = jwk.ParseVerification("", []byte(fixture.Text(t, public)))
		require.ErrorContains(t, err, "this one has 2047")
	}},
	{"S16", "PKCS#1 v1.5 padding forgeries", attackPKCS1Padding},
	{"S17", "PSS salt length other than the hash length", attackPSSSalt},
	{"S21", "Ed25519 key of the wrong length", func(t *testing.T) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		good, secret := fixture.JWKOf(t, private)
		for _, n := range []int{0, 1, 16, 31, 33, 57, 64} {
			long := append(bytes.Clone(public), make([]byte, 64)...)[:n]
			for _, text := range [][]byte{
				fixture.EditObject(t, good, map[string]any{"x": fixture.Unpadded(long)}),
				fixture.EditObject(t, good, map[string]any{"x": fixture.Unpadded(long), "alg": nil}),
			} {
				_, err := jwk.ParseVerification("", text)
				require.Error(t, err, "%d bytes", n)
			}
			for _, changes := range []map[string]any{{"x": fixture.Unpadded(long)}, {"d": fixture.Unpadded(long)}, {"x": nil}, {"d": nil}} {
				_, err = jwk.ParseSigning("", fixture.EditObject(t, secret, changes))
				require.Error(t, err, "%d bytes", n)
			}
			_, err = jwk.NewSigning(jwk.EdDSA, fixture.ForeignSigner{Signer: fixture.PublicOnly{Key: ed25519.PublicKey(long)}})
			require.ErrorContains(t, err, "32 bytes")
			if n != ed25519.PrivateKeySize {
				_, err = jwk.NewSigning(jwk.EdDSA, ed25519.PrivateKey(long))
				require.ErrorContains(t, err, "64 bytes")
			}
		}
		_, err = jwk.NewSigning(jwk.EdDSA, ed25519.PrivateKey(nil))
		require.Error(t, err)
		_, err = jwk.NewSigning(jwk.EdDSA, slices.Concat(private[:32], make(ed25519.PrivateKey, 32)))
		require.ErrorContains(t, err, "small order")
		another, _, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		_, err = jwk.NewSigning(jwk.EdDSA, slices.Concat(private[:32], ed25519.PrivateKey(another)))
		require.ErrorContains(t, err, "does not fit its public half")
	}},
	{"S22", "empty HMAC key", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm[:3] {
			for _, secret := range [][]byte{nil, {}, []byte("")} {
				for _, kid := range []string{"", "kid"} {
					k, err := jwk.NewHMAC(alg, kid, secret)
					require.ErrorContains(t, err, "random bytes, this one has 0")
					require.Nil(t, k)
				}
			}
			for _, keyText := range []string{`{"kty":"oct","k":""}`, `{"kty":"oct"}`, `{"kty":"oct","k":null}`, `{"kty":"oct","k":"","kid":"x"}`} {
				k, err := jwk.ParseSigning(alg, []byte(keyText))
				require.Error(t, err)
				require.Nil(t, k)
			}
		}
		_, err := jwk.NewRing(new(jwk.SigningKey))
		require.Error(t, err)
	}},
	{"S23", "short HMAC key", func(t *testing.T) { requireLongSecret(t, jwk.HS256, 31, 32) }},
	{"S24", "short HMAC keys for the longer hashes", func(t *testing.T) {
		requireLongSecret(t, jwk.HS384, 32, 48)
		requireLongSecret(t, jwk.HS384, 47, 48)
		requireLongSecret(t, jwk.HS512, 32, 64)
		requireLongSecret(t, jwk.HS512, 63, 64)
	}},
	{"S26", "signature by another trusted key", func(t *testing.T) {
		for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.RS256, jwk.PS256, jwk.ES256, jwk.ES512, jwk.EdDSA} {
			w := fixture.NewWith(t, alg)
			second := fixture.NewKey(t, alg)
			require.NoError(t, w.Keys.Replace(w.Key, second.Verification()))
			w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, nil), w.Claims(nil)))
			w.RequireAccepted(fixture.SignWith(t, second, fixture.Header(second, nil), w.Claims(nil)))
			w.RequireForged(fixture.SignWith(t, w.Key, fixture.Header(second, nil), w.Claims(nil)))
			w.RequireForged(fixture.SignWith(t, second, fixture.Header(w.Key, nil), w.Claims(nil)))
			// Without a kid, two keys are not tried one after the other.
			w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": nil}), w.Claims(nil)))
			w.RequireRefusedBy("key", fixture.SignWith(t, second, fixture.Header(second, map[string]any{"kid": nil}), w.Claims(nil)))
		}
		w := fixture.NewWith(t, jwk.ES256)
		require.NoError(t, w.Keys.Replace(w.Key, fixture.KeyFor(t, jwk.EdDSA).Verification()))
		w.RequireForged(fixture.SignWith(t, fixture.KeyFor(t, jwk.EdDSA), fixture.Header(w.Key, nil), w.Claims(nil)))
		w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": fixture.KeyFor(t, jwk.EdDSA).ID()}), w.Claims(nil)))
	}},
	{"S27", "published JWKS leaks secrets", func(t *testing.T) {
		allowed := map[string][]string{
			"RSA": {"kty", "kid", "use", "alg", "n", "e"},
			"EC":  {"kty", "kid", "use", "alg", "crv", "x", "y"},
			"OKP": {"kty", "kid", "use", "alg", "crv", "x"},
		}
		for _, signing := range fixture.EveryAlgorithm {
			var accepted []*jwk.VerificationKey
			published := 0
			for _, alg := range fixture.EveryAlgorithm {
				if alg != signing {
					accepted = append(accepted, fixture.KeyFor(t, alg).Verification())
				}
				if alg[:2] != "HS" {
					published++
				}
			}
			ring, err := jwk.NewRing(fixture.KeyFor(t, signing), accepted...)
			require.NoError(t, err)
			answer := httptest.NewRecorder()
			ring.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/jwks.json", nil))
			require.Equal(t, http.StatusOK, answer.Code)
			var set struct{ Keys []map[string]string }
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &set))
			require.Len(t, set.Keys, published)
			for _, k := range set.Keys {
				require.Contains(t, allowed, k["kty"])
				for name := range k {
					require.Contains(t, allowed[k["kty"]], name)
				}
			}
			for _, alg := range fixture.EveryAlgorithm {
				secret, err := fixture.KeyFor(t, alg).PrivateJWK()
				require.NoError(t, err)
				var members map[string]string
				require.NoError(t, json.Unmarshal(secret, &members))
				for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
					if members[name] != "" {
						require.NotContains(t, answer.Body.String(), members[name])
					}
				}
				if alg[:2] == "HS" {
					require.NotContains(t, answer.Body.String(), members["kid"])
				}
			}
		}
	}},
	{"S28", "retired key", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			old, next := w.Key, fixture.KeyFor(t, jwk.EdDSA)
			if alg == jwk.EdDSA {
				next = fixture.KeyFor(t, jwk.ES256)
			}
			token := w.Login("alice").AccessToken
			verified := w.RequireAccepted(token)

			// While the ring still accepts it.
			require.NoError(t, w.Keys.Replace(next, old.Verification()))
			w.RequireAccepted(token)
			require.NoError(t, w.Verifier.Recheck(t.Context(), verified))
			w.RequireAccepted(w.Login("alice").AccessToken)

			require.NoError(t, w.Keys.Replace(next))
			w.RequireRefusedBy("key", token)
			w.RequireRefusedBy("key", fixture.SignWith(t, old, fixture.Header(old, map[string]any{"kid": nil}), w.Claims(nil)))
			require.ErrorIs(t, w.Verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)

			// Another key under the old kid does not bring it back.
			require.NoError(t, w.Keys.Replace(next, fixture.NewKey(t, jwk.ES384).Verification().WithID(old.ID())))
			w.RequireRefused(token)
			require.ErrorIs(t, w.Verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
		}
	}},
	{"S29", "signing with the wrong thing", func(t *testing.T) {
		// A public key.
		for _, alg := range fixture.EveryAlgorithm[3:] {
			public := fixture.KeyFor(t, alg).Verification()
			text, err := public.PEM()
			require.NoError(t, err)
			k, err := jwk.ParseSigning(alg, text)
			require.ErrorContains(t, err, "public key")
			require.Nil(t, k)
			keyText, err := public.JWK()
			require.NoError(t, err)
			k, err = jwk.ParseSigning(alg, keyText)
			require.ErrorContains(t, err, "public key")
			require.Nil(t, k)
			k, err = jwk.NewHMAC(alg, "", text)
			require.Error(t, err)
			require.Nil(t, k)
		}
		// No key at all.
		for _, alg := range fixture.EveryAlgorithm {
			for _, none := range []crypto.Signer{nil, (*rsa.PrivateKey)(nil), new(rsa.PrivateKey), (*ecdsa.PrivateKey)(nil), new(ecdsa.PrivateKey), ed25519.PrivateKey(nil)} {
				k, err := jwk.NewSigning(alg, none)
				require.Error(t, err)
				require.Nil(t, k)
			}
			k, err := jwk.ParseSigning(alg, nil)
			require.Error(t, err)
			require.Nil(t, k)
		}
		for _, none := range []*jwk.SigningKey{nil, new(jwk.SigningKey)} {
			ring, err := jwk.NewRing(none)
			require.Error(t, err)
			require.Nil(t, ring)
		}
		for _, ring := range []*jwk.Ring{nil, new(jwk.Ring)} {
			issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.Error(t, err)
			require.Nil(t, issuer)
		}
		for _, issuer := range []*jwtauth.Issuer{nil, new(jwtauth.Issuer)} {
			r, err := issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Zero(t, r)
		}
		// A key of another family.
		private, err := fixture.RSAByHand()
		require.NoError(t, err)
		elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		_, edwards, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		for _, alg := range fixture.EveryAlgorithm {
			for family, signer := range map[string]crypto.Signer{"RS PS": private, "ES256": elliptical, "EdDSA": edwards} {
				if slices.ContainsFunc(strings.Fields(family), func(f string) bool { return strings.HasPrefix(string(alg), f) }) {
					continue
				}
				k, err := jwk.NewSigning(alg, signer)
				require.ErrorContains(t, err, "algorithm "+string(alg)+" needs", "%T", signer)
				require.Nil(t, k)
			}
		}
		// An algorithm that does not exist.
		for _, alg := range []jwk.Algorithm{"", "none", "None", "HS1", "HS257", "hs256", "RS1", "ES256K", "ES521", "Ed448", "dir", "RSA-OAEP", "A256GCM", "HS256 "} {
			k, err := jwk.Generate(alg)
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			k, err = jwk.NewHMAC(alg, "", fixture.RandomBytes(64))
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			k, err = jwk.NewSigning(alg, private)
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			if alg == "" {
				continue // in a JWK, an empty alg is the same as none, and the type of the key decides
			}
			_, keyText := fixture.JWKOf(t, private)
			k, err = jwk.ParseSigning("", fixture.EditObject(t, keyText, map[string]any{"alg": string(alg)}))
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
		}
	}},
	{"S30", "identifier entropy", func(t *testing.T) {
		w := fixture.NewWith(t, jwk.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		seen := make(map[string]bool)
		var ones [128]int
		const sessions = 10_000
		add := func(id string) {
			b, err := base64.RawURLEncoding.DecodeString(id)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(b), 16)
			require.False(t, seen[string(b[:16])], "an identifier came twice")
			seen[string(b[:16])] = true
			for bit := range ones {
				ones[bit] += int(b[bit/8] >> (bit % 8) & 1)
			}
		}
		for range sessions {
			r := w.Login("alice")
			var access, refresh struct{ JTI, SID string }
			require.NoError(t, json.Unmarshal(fixture.DecodedPart(t, r.AccessToken, 1), &access))
			require.NoError(t, json.Unmarshal(fixture.DecodedPart(t, r.RefreshToken, 1), &refresh))
			require.Equal(t, access.SID, refresh.SID)
			add(access.JTI)
			add(refresh.JTI)
			add(access.SID)
		}
		require.Len(t, seen, 3*sessions)
		// Each bit is 1 in half of them; 8 standard deviations are 693.
		for bit, n := range ones {
			require.InDelta(t, 3*sessions/2, n, 693, "bit %d", bit)
		}
		requireNoImport(t, librarySources(t), "math/rand", "math/rand/v2")
	}},
	{"S32", "HMAC comparison", func(t *testing.T) {
		constantTime := 0
		for _, f := range librarySources(t) {
			forbidden := []string{"bytes.Equal", "bytes.Compare", "reflect.DeepEqual"}
			if f.folder == "jwk/keydir" {
				forbidden = forbidden[1:] // it compares manifests, which are not secret
			}
			ast.Inspect(f.File, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if of, ok := n.X.(*ast.Ident); ok {
						name := of.Name + "." + n.Sel.Name
						require.NotContains(t, forbidden, name, f.path)
						if name == "hmac.Equal" {
							constantTime++
						}
					}
				case *ast.BinaryExpr:
					if n.Op != token.EQL && n.Op != token.NEQ {
						return true
					}
					for _, side := range []ast.Expr{n.X, n.Y} {
						ast.Inspect(side, func(n ast.Node) bool {
							if name, ok := n.(*ast.Ident); ok {
								require.NotContains(t, []string{"mac", "code", "sum", "signature", "secret", "Sum"}, name.Name, "%s compares it with ==", f.path)
							}
							_, call := n.(*ast.CallExpr)
							return !call // len(secret) < n does not compare secrets
						})
					}
				}
				return true
			})
		}
		require.Equal(t, 1, constantTime, "hmac.Equal stands where codes are compared, and nowhere else")
	}},
}

// withSignature returns a token with another signature.
func withSignature(token string, signature []byte) string {
	return token[:strings.LastIndexByte(token, '.')+1] + fixture.Unpadded(signature)
}

// rs returns the two numbers of an ECDSA signature.
func rs(signature []byte) (r, s *big.Int) {
	half := len(signature) / 2
	return new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
}

// requireLongSecret fails the test unless a secret of one length is too short for an
// algorithm, and one of the other length is long enough.
func requireLongSecret(t *testing.T, alg jwk.Algorithm, short, enough int) {
	t.Helper()
	for _, kid := range []string{"", "kid"} {
		k, err := jwk.NewHMAC(alg, kid, fixture.RandomBytes(short))
		require.ErrorContains(t, err, "algorithm "+string(alg)+" needs a secret of at least")
		require.Nil(t, k)
		_, err = jwk.NewHMAC(alg, kid, fixture.RandomBytes(enough))
		require.NoError(t, err)
	}
	keyText := func(n int) []byte {
		return []byte(fixture.Text(t, map[string]string{"kty": "oct", "alg": string(alg), "k": fixture.Unpadded(fixture.RandomBytes(n))}))
	}
	_, err := jwk.ParseSigning("", keyText(short))
	require.ErrorContains(t, err, "at least")
	_, err = jwk.ParseSigning(alg, keyText(short))
	require.ErrorContains(t, err, "at least")
	_, err = jwk.ParseSigning("", keyText(enough))
	require.NoError(t, err)
}
