package jwtauth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var signatureAttacks = []attack{
	{"S01", "empty signature", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			w.requireAccepted(w.sign(w.claims(nil)))
			w.requireForged(joined(t, header(w.key, nil), w.claims(nil), nil))
			w.requireForged(joined(t, header(w.key, map[string]any{"kid": nil}), w.claims(nil), nil))
		}
	}},
	{"S02", "truncated signature", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			s := decodedPart(t, good, 2)
			for _, short := range [][]byte{s[:len(s)-1], s[:len(s)/2], s[len(s)/2:], s[:1], s[1:], s[:len(s)-2], bytes.TrimRight(s[:len(s)-1], "\x00")} {
				w.requireForged(withSignature(good, short))
			}
		}
	}},
	{"S03", "lengthened signature", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			s := decodedPart(t, good, 2)
			half := len(s) / 2
			for _, long := range [][]byte{
				slices.Concat([]byte{0}, s), slices.Concat(s, []byte{0}), slices.Concat([]byte{0, 0}, s), slices.Concat(s, []byte{0, 0}),
				slices.Concat([]byte{0}, s[:half], []byte{0}, s[half:]), slices.Concat(s[:half], []byte{0}, s[half:], []byte{0}),
				slices.Concat(s[:half], []byte{0, 0}, s[half:]), slices.Concat(s, s), slices.Concat(s, []byte("x")),
			} {
				w.requireForged(withSignature(good, long))
			}
		}
	}},
	{"S04", "bit flips", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			t.Run(string(alg), func(t *testing.T) {
				w := newWorldWith(t, alg)
				good := w.sign(w.claims(nil))
				w.requireAccepted(good)
				for n := range 500 {
					flipped := []byte(good)
					if n%2 == 0 { // in the text
						flipped[mathrand.IntN(len(flipped))] ^= 1 << mathrand.IntN(8)
					} else { // in what a segment encodes
						part := strings.Split(good, ".")
						segment := mathrand.IntN(3)
						inside := decodedPart(t, good, segment)
						inside[mathrand.IntN(len(inside))] ^= 1 << mathrand.IntN(8)
						part[segment] = unpadded(inside)
						flipped = []byte(strings.Join(part, "."))
					}
					got, err := w.verifier.Verify(t.Context(), string(flipped))
					require.ErrorIs(t, err, jwtauth.ErrRefused, "%q", flipped)
					require.Zero(t, got)
				}
			})
		}
	}},
	{"S05", "ECDSA signature in DER", func(t *testing.T) {
		for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.ES384, jwtauth.ES512} {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireAccepted(good)
			r, s := rs(decodedPart(t, good, 2))
			der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			require.NoError(t, err)
			pub := jwtauth.PublicOf(w.key.VerificationKey()).(*ecdsa.PublicKey)
			signed := good[:strings.LastIndexByte(good, '.')]
			require.True(t, ecdsa.VerifyASN1(pub, digest(hashOf(alg), signed), der))
			w.requireForged(withSignature(good, der))
		}
	}},
	{"S06", "r = s = 0", func(t *testing.T) {
		for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.ES384, jwtauth.ES512} {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			signature := decodedPart(t, good, 2)
			r, s := rs(signature)
			n := jwtauth.PublicOf(w.key.VerificationKey()).(*ecdsa.PublicKey).Params().N
			size := len(signature) / 2
			most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(8*size)), big.NewInt(1))
			numbers := []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), n, new(big.Int).Add(n, big.NewInt(1)), most}
			for _, a := range append(numbers, r) {
				for _, b := range append(numbers, s) {
					forged := slices.Concat(a.FillBytes(make([]byte, size)), b.FillBytes(make([]byte, size)))
					if !bytes.Equal(forged, signature) {
						w.requireForged(withSignature(good, forged))
					}
				}
			}
		}
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireForged(withSignature(good, make([]byte, len(decodedPart(t, good, 2)))))
		}
	}},
	{"S09", "high-S twin of a revoked token", func(t *testing.T) {
		for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.ES384, jwtauth.ES512} {
			w := newWorldWith(t, alg)
			good := w.login("alice").AccessToken
			signature := decodedPart(t, good, 2)
			_, s := rs(signature)
			n := jwtauth.PublicOf(w.key.VerificationKey()).(*ecdsa.PublicKey).Params().N
			size := len(signature) / 2
			twin := withSignature(good, slices.Concat(signature[:size], new(big.Int).Sub(n, s).FillBytes(make([]byte, size))))
			require.NotEqual(t, good, twin)

			// The twin's signature holds as well, which is why a text is no id.
			w.requireAccepted(twin)
			token := w.requireAccepted(good)
			require.NoError(t, w.verifier.Revoke(t.Context(), token))
			w.requireOnlyRefusedBy("revocation", good)
			w.requireOnlyRefusedBy("revocation", twin)
		}
	}},
	{"S10", "EC key on the wrong curve", func(t *testing.T) {
		curves := map[jwtauth.Algorithm]elliptic.Curve{jwtauth.ES256: elliptic.P256(), jwtauth.ES384: elliptic.P384(), jwtauth.ES512: elliptic.P521()}
		for alg, right := range curves {
			for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
				private, err := ecdsa.GenerateKey(curve, rand.Reader)
				require.NoError(t, err)
				_, err = jwtauth.NewSigningKey(alg, private)
				if curve == right {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, "algorithm "+string(alg)+" needs a "+right.Params().Name+" key")
				_, err = jwtauth.NewSigningKey(alg, foreignSigner{private})
				require.ErrorContains(t, err, curve.Params().Name)
				der, err := x509.MarshalPKCS8PrivateKey(private)
				require.NoError(t, err)
				_, err = jwtauth.ParseSigningKey(alg, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
				require.ErrorContains(t, err, curve.Params().Name)
				der, err = x509.MarshalPKIXPublicKey(private.Public())
				require.NoError(t, err)
				_, err = jwtauth.ParseVerificationKey(alg, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
				require.ErrorContains(t, err, curve.Params().Name)
				if curve == elliptic.P224() {
					continue
				}
				public, secret := jwkOf(t, private)
				_, err = jwtauth.ParseVerificationKey(alg, editObject(t, public, map[string]any{"alg": nil}))
				require.ErrorContains(t, err, curve.Params().Name)
				_, err = jwtauth.ParseVerificationKey("", editObject(t, public, map[string]any{"alg": string(alg)}))
				require.ErrorContains(t, err, curve.Params().Name)
				_, err = jwtauth.ParseVerificationKey("", editObject(t, public, map[string]any{"crv": right.Params().Name, "alg": nil}))
				require.Error(t, err)
				_, err = jwtauth.ParseSigningKey("", editObject(t, secret, map[string]any{"alg": string(alg)}))
				require.ErrorContains(t, err, curve.Params().Name)
			}
		}
	}},
	{"S11", "EC point off the curve", func(t *testing.T) {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			private, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			good, secret := jwkOf(t, private)
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
				changes := map[string]any{"x": unpadded(c.x), "y": unpadded(c.y)}
				_, err := jwtauth.ParseVerificationKey("", editObject(t, good, changes))
				require.Error(t, err, "%s %x %x", curve.Params().Name, c.x, c.y)
				_, err = jwtauth.ParseSigningKey("", editObject(t, secret, changes))
				require.Error(t, err, "%s %x %x", curve.Params().Name, c.x, c.y)
			}

			// In PEM: the last byte of a PKIX key is the last one of y.
			der, err := x509.MarshalPKIXPublicKey(private.Public())
			require.NoError(t, err)
			der[len(der)-1] ^= 1
			_, err = jwtauth.ParseVerificationKey("", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			require.Error(t, err)

			// A signer elsewhere that claims such a key, and a private key beside one.
			alg := map[int]jwtauth.Algorithm{32: jwtauth.ES256, 48: jwtauth.ES384, 66: jwtauth.ES512}[size]
			for _, off := range []*ecdsa.PublicKey{
				{Curve: curve, X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(next)}, {Curve: curve, X: new(big.Int), Y: new(big.Int)},
				{Curve: curve, X: big.NewInt(-1), Y: big.NewInt(1)}, {Curve: curve}, {}, nil,
			} {
				_, err = jwtauth.NewSigningKey(alg, foreignSigner{publicOnly{off}})
				require.Error(t, err)
				if off != nil {
					broken := *private
					broken.PublicKey = *off
					_, err = jwtauth.NewSigningKey(alg, &broken)
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
		exponent, modulus := unpadded(big.NewInt(int64(weak.E)).Bytes()), unpadded(weak.N.Bytes())
		public := map[string]any{"kty": "RSA", "e": exponent, "n": modulus}
		secret := map[string]any{
			"kty": "RSA", "e": exponent, "n": modulus, "d": unpadded(weak.D.Bytes()),
			"p": unpadded(weak.Primes[0].Bytes()), "q": unpadded(weak.Primes[1].Bytes()),
		}
		for _, alg := range everyAlgorithm[3:9] {
			_, err := jwtauth.NewSigningKey(alg, weak)
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.NewSigningKey(alg, foreignSigner{weak})
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.ParseSigningKey(alg, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.ParseSigningKey(alg, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.ParseSigningKey(alg, []byte(text(t, secret)))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.ParseVerificationKey(alg, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
			_, err = jwtauth.ParseVerificationKey(alg, []byte(text(t, public)))
			require.ErrorContains(t, err, "at least 2048 bits, this one has 1024")
		}
		// One bit less than enough.
		public["n"] = unpadded(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(1)).Bytes())
		_, err = jwtauth.ParseVerificationKey("", []byte(text(t, public)))
		require.ErrorContains(t, err, "this one has 2047")
	}},
	{"S16", "PKCS#1 v1.5 padding forgeries", func(t *testing.T) {
		private, err := rsaByHand()
		require.NoError(t, err)
		for _, alg := range everyAlgorithm[3:6] {
			w := newWorld(t)
			w.use(rsaKeyFor(t, alg))
			signed := unsigned(t, header(w.key, nil), w.claims(nil))
			sum := digest(hashOf(alg), signed)
			good := signed + "." + unpadded(rawRSA(private, paddedPKCS1(digestInfo(t, hashOf(alg), sum, true))))
			require.Equal(t, w.sign(w.claims(nil)), good)
			w.requireAccepted(good)
			for name, forged := range forgedPKCS1(t, hashOf(alg), sum) {
				require.Len(t, forged, 256, name)
				w.requireForged(signed + "." + unpadded(rawRSA(private, forged)))
			}
			// The same number, not reduced modulo n.
			number := new(big.Int).SetBytes(decodedPart(t, good, 2))
			for range 3 {
				number.Add(number, private.N)
				w.requireForged(withSignature(good, number.FillBytes(make([]byte, max(256, (number.BitLen()+7)/8)))))
			}
			w.requireForged(withSignature(good, new(big.Int).Sub(private.N, new(big.Int).SetBytes(decodedPart(t, good, 2))).FillBytes(make([]byte, 256))))
		}
		for _, v := range wycheproof(t) {
			if slices.Contains(v.Flags, "ModifiedPadding") {
				v.requireInvalid(t)
			}
		}
	}},
	{"S17", "PSS salt length other than the hash length", func(t *testing.T) {
		private, err := rsaByHand()
		require.NoError(t, err)
		for _, alg := range everyAlgorithm[6:9] {
			w := newWorld(t)
			w.use(rsaKeyFor(t, alg))
			hash := hashOf(alg)
			signed := unsigned(t, header(w.key, nil), w.claims(nil))
			longest := 256 - hash.Size() - 2
			for _, salt := range []int{hash.Size(), 1, 8, 20, hash.Size() - 1, hash.Size() + 1, longest, rsa.PSSSaltLengthAuto} {
				signature, err := rsa.SignPSS(rand.Reader, private, hash, digest(hash, signed), &rsa.PSSOptions{SaltLength: salt})
				require.NoError(t, err)
				token := signed + "." + unpadded(signature)
				if salt == hash.Size() {
					w.requireAccepted(token)
					continue
				}
				w.requireForged(token)
			}
			w.requireForged(signed + "." + unpadded(rawRSA(private, paddedPSSWithoutSalt(hash, digest(hash, signed)))))
		}
		for _, v := range wycheproof(t) {
			if v.ID >= 281 && v.ID <= 286 {
				v.requireInvalid(t)
			}
		}
	}},
	{"S21", "Ed25519 key of the wrong length", func(t *testing.T) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		good, secret := jwkOf(t, private)
		for _, n := range []int{0, 1, 16, 31, 33, 57, 64} {
			long := append(bytes.Clone(public), make([]byte, 64)...)[:n]
			for _, text := range [][]byte{
				editObject(t, good, map[string]any{"x": unpadded(long)}),
				editObject(t, good, map[string]any{"x": unpadded(long), "alg": nil}),
			} {
				_, err := jwtauth.ParseVerificationKey("", text)
				require.Error(t, err, "%d bytes", n)
			}
			for _, changes := range []map[string]any{{"x": unpadded(long)}, {"d": unpadded(long)}, {"x": nil}, {"d": nil}} {
				_, err = jwtauth.ParseSigningKey("", editObject(t, secret, changes))
				require.Error(t, err, "%d bytes", n)
			}
			_, err = jwtauth.NewSigningKey(jwtauth.EdDSA, foreignSigner{publicOnly{ed25519.PublicKey(long)}})
			require.ErrorContains(t, err, "32 bytes")
			if n != ed25519.PrivateKeySize {
				_, err = jwtauth.NewSigningKey(jwtauth.EdDSA, ed25519.PrivateKey(long))
				require.ErrorContains(t, err, "64 bytes")
			}
		}
		_, err = jwtauth.NewSigningKey(jwtauth.EdDSA, ed25519.PrivateKey(nil))
		require.Error(t, err)
		_, err = jwtauth.NewSigningKey(jwtauth.EdDSA, slices.Concat(private[:32], make(ed25519.PrivateKey, 32)))
		require.ErrorContains(t, err, "does not fit its public half")
	}},
	{"S22", "empty HMAC key", func(t *testing.T) {
		for _, alg := range everyAlgorithm[:3] {
			for _, secret := range [][]byte{nil, {}, []byte("")} {
				for _, kid := range []string{"", "kid"} {
					k, err := jwtauth.NewHMACKey(alg, kid, secret)
					require.ErrorContains(t, err, "random bytes, this one has 0")
					require.Nil(t, k)
				}
			}
			for _, jwk := range []string{`{"kty":"oct","k":""}`, `{"kty":"oct"}`, `{"kty":"oct","k":null}`, `{"kty":"oct","k":"","kid":"x"}`} {
				k, err := jwtauth.ParseSigningKey(alg, []byte(jwk))
				require.Error(t, err)
				require.Nil(t, k)
			}
		}
		_, err := jwtauth.NewKeyRing(new(jwtauth.SigningKey))
		require.Error(t, err)
	}},
	{"S23", "short HMAC key", func(t *testing.T) { requireLongSecret(t, jwtauth.HS256, 31, 32) }},
	{"S24", "short HMAC keys for the longer hashes", func(t *testing.T) {
		requireLongSecret(t, jwtauth.HS384, 32, 48)
		requireLongSecret(t, jwtauth.HS384, 47, 48)
		requireLongSecret(t, jwtauth.HS512, 32, 64)
		requireLongSecret(t, jwtauth.HS512, 63, 64)
	}},
	{"S26", "signature by another trusted key", func(t *testing.T) {
		for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.RS256, jwtauth.PS256, jwtauth.ES256, jwtauth.ES512, jwtauth.EdDSA} {
			w := newWorldWith(t, alg)
			second := newKey(t, alg, false)
			require.NoError(t, w.keys.Set(w.key, second.VerificationKey()))
			w.requireAccepted(signWith(t, w.key, header(w.key, nil), w.claims(nil)))
			w.requireAccepted(signWith(t, second, header(second, nil), w.claims(nil)))
			w.requireForged(signWith(t, w.key, header(second, nil), w.claims(nil)))
			w.requireForged(signWith(t, second, header(w.key, nil), w.claims(nil)))
			// Without a kid, two keys are not tried in turn.
			w.requireRefusedBy("key", signWith(t, w.key, header(w.key, map[string]any{"kid": nil}), w.claims(nil)))
			w.requireRefusedBy("key", signWith(t, second, header(second, map[string]any{"kid": nil}), w.claims(nil)))
		}
		w := newWorldWith(t, jwtauth.ES256)
		require.NoError(t, w.keys.Set(w.key, keyFor(t, jwtauth.EdDSA).VerificationKey()))
		w.requireForged(signWith(t, keyFor(t, jwtauth.EdDSA), header(w.key, nil), w.claims(nil)))
		w.requireRefusedBy("key", signWith(t, w.key, header(w.key, map[string]any{"kid": keyFor(t, jwtauth.EdDSA).ID()}), w.claims(nil)))
	}},
	{"S27", "published JWKS leaks secrets", func(t *testing.T) {
		allowed := map[string][]string{
			"RSA": {"kty", "kid", "use", "alg", "n", "e"},
			"EC":  {"kty", "kid", "use", "alg", "crv", "x", "y"},
			"OKP": {"kty", "kid", "use", "alg", "crv", "x"},
		}
		for _, signing := range everyAlgorithm {
			var accepted []*jwtauth.VerificationKey
			published := 0
			for _, alg := range everyAlgorithm {
				if alg != signing {
					accepted = append(accepted, keyFor(t, alg).VerificationKey())
				}
				if alg[:2] != "HS" {
					published++
				}
			}
			ring, err := jwtauth.NewKeyRing(keyFor(t, signing), accepted...)
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
			for _, alg := range everyAlgorithm {
				secret, err := keyFor(t, alg).PrivateJWK()
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
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			old, next := w.key, keyFor(t, jwtauth.EdDSA)
			if alg == jwtauth.EdDSA {
				next = keyFor(t, jwtauth.ES256)
			}
			token := w.login("alice").AccessToken
			verified := w.requireAccepted(token)

			// Inside its grace, that is as long as the ring accepts it.
			require.NoError(t, w.keys.Set(next, old.VerificationKey()))
			w.requireAccepted(token)
			require.NoError(t, w.verifier.Recheck(t.Context(), verified))
			w.requireAccepted(w.login("alice").AccessToken)

			require.NoError(t, w.keys.Set(next))
			w.requireRefusedBy("key", token)
			w.requireRefusedBy("key", signWith(t, old, header(old, map[string]any{"kid": nil}), w.claims(nil)))
			require.ErrorIs(t, w.verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)

			// Another key under the old kid does not bring it back.
			require.NoError(t, w.keys.Set(next, newKey(t, jwtauth.ES384, false).VerificationKey().WithID(old.ID())))
			w.requireRefused(token)
			require.ErrorIs(t, w.verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
		}
	}},
	{"S29", "signing with the wrong thing", func(t *testing.T) {
		// A public key.
		for _, alg := range everyAlgorithm[3:] {
			public := keyFor(t, alg).VerificationKey()
			text, err := public.PEM()
			require.NoError(t, err)
			k, err := jwtauth.ParseSigningKey(alg, text)
			require.ErrorContains(t, err, "public key")
			require.Nil(t, k)
			jwk, err := public.JWK()
			require.NoError(t, err)
			k, err = jwtauth.ParseSigningKey(alg, jwk)
			require.ErrorContains(t, err, "public key")
			require.Nil(t, k)
			k, err = jwtauth.NewHMACKey(alg, "", text)
			require.Error(t, err)
			require.Nil(t, k)
		}
		// No key at all.
		for _, alg := range everyAlgorithm {
			for _, none := range []crypto.Signer{nil, (*rsa.PrivateKey)(nil), new(rsa.PrivateKey), (*ecdsa.PrivateKey)(nil), new(ecdsa.PrivateKey), ed25519.PrivateKey(nil)} {
				k, err := jwtauth.NewSigningKey(alg, none)
				require.Error(t, err)
				require.Nil(t, k)
			}
			k, err := jwtauth.ParseSigningKey(alg, nil)
			require.Error(t, err)
			require.Nil(t, k)
		}
		for _, none := range []*jwtauth.SigningKey{nil, new(jwtauth.SigningKey)} {
			ring, err := jwtauth.NewKeyRing(none)
			require.Error(t, err)
			require.Nil(t, ring)
		}
		for _, ring := range []*jwtauth.KeyRing{nil, new(jwtauth.KeyRing)} {
			issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
			require.Error(t, err)
			require.Nil(t, issuer)
		}
		for _, issuer := range []*jwtauth.Issuer{nil, new(jwtauth.Issuer)} {
			r, err := issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Zero(t, r)
		}
		// A key of another family.
		private, err := rsaByHand()
		require.NoError(t, err)
		elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		_, edwards, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		for _, alg := range everyAlgorithm {
			for family, signer := range map[string]crypto.Signer{"RS PS": private, "ES256": elliptical, "EdDSA": edwards} {
				if slices.ContainsFunc(strings.Fields(family), func(f string) bool { return strings.HasPrefix(string(alg), f) }) {
					continue
				}
				k, err := jwtauth.NewSigningKey(alg, signer)
				require.ErrorContains(t, err, "algorithm "+string(alg)+" needs", "%T", signer)
				require.Nil(t, k)
			}
		}
		// An algorithm that is none.
		for _, alg := range []jwtauth.Algorithm{"", "none", "None", "HS1", "HS257", "hs256", "RS1", "ES256K", "ES521", "Ed448", "dir", "RSA-OAEP", "A256GCM", "HS256 "} {
			k, err := jwtauth.GenerateKey(alg)
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			k, err = jwtauth.NewHMACKey(alg, "", randomBytes(64))
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			k, err = jwtauth.NewSigningKey(alg, private)
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
			_, jwk := jwkOf(t, private)
			k, err = jwtauth.ParseSigningKey("", editObject(t, jwk, map[string]any{"alg": string(alg)}))
			require.ErrorContains(t, err, "unknown algorithm")
			require.Nil(t, k)
		}
	}},
	{"S30", "identifier entropy", func(t *testing.T) {
		w := newWorldWith(t, jwtauth.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
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
			r := w.login("alice")
			var access, refresh struct{ JTI, SID string }
			require.NoError(t, json.Unmarshal(decodedPart(t, r.AccessToken, 1), &access))
			require.NoError(t, json.Unmarshal(decodedPart(t, r.RefreshToken, 1), &refresh))
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
		requireNoImport(t, "math/rand", "math/rand/v2")
	}},
	{"S32", "HMAC comparison", func(t *testing.T) {
		constantTime := 0
		for _, path := range sources(t) {
			if dir := filepath.Dir(path); dir != "." && dir != filepath.Join("internal", "jwa") {
				continue
			}
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if of, ok := n.X.(*ast.Ident); ok {
						name := of.Name + "." + n.Sel.Name
						require.NotContains(t, []string{"bytes.Equal", "bytes.Compare", "reflect.DeepEqual"}, name, path)
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
								require.NotContains(t, []string{"mac", "code", "sum", "signature", "secret", "Sum"}, name.Name, "%s compares it with ==", path)
							}
							_, call := n.(*ast.CallExpr)
							return !call // len(secret) < n is no comparison of secrets
						})
					}
				}
				return true
			})
		}
		require.Equal(t, 1, constantTime, "hmac.Equal stands where codes are compared, and nowhere else")
	}},
}

// requireForged says that the token is refused because of its signature alone.
func (w *world) requireForged(token string) {
	w.t.Helper()
	e := w.requireOnlyRefusedBy("signature", token)
	require.ErrorIs(w.t, e, jwtauth.ErrTokenSignature)
}

// withSignature is a token with another signature.
func withSignature(token string, signature []byte) string {
	return token[:strings.LastIndexByte(token, '.')+1] + unpadded(signature)
}

// rs are the two numbers of an ECDSA signature.
func rs(signature []byte) (r, s *big.Int) {
	half := len(signature) / 2
	return new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
}

// requireLongSecret says that for an algorithm one length of a secret is too
// short and the other one is enough.
func requireLongSecret(t *testing.T, alg jwtauth.Algorithm, short, enough int) {
	t.Helper()
	for _, kid := range []string{"", "kid"} {
		k, err := jwtauth.NewHMACKey(alg, kid, randomBytes(short))
		require.ErrorContains(t, err, "algorithm "+string(alg)+" needs a secret of at least")
		require.Nil(t, k)
		_, err = jwtauth.NewHMACKey(alg, kid, randomBytes(enough))
		require.NoError(t, err)
	}
	jwk := func(n int) []byte {
		return []byte(text(t, map[string]string{"kty": "oct", "alg": string(alg), "k": unpadded(randomBytes(n))}))
	}
	_, err := jwtauth.ParseSigningKey("", jwk(short))
	require.ErrorContains(t, err, "at least")
	_, err = jwtauth.ParseSigningKey(alg, jwk(short))
	require.ErrorContains(t, err, "at least")
	_, err = jwtauth.ParseSigningKey("", jwk(enough))
	require.NoError(t, err)
}

// foreignSigner hides that a key is one of the standard library's.
type foreignSigner struct{ crypto.Signer }

// publicOnly is a signer that has any public key and cannot sign.
type publicOnly struct{ key crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.key }

func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("cannot sign")
}

// jwkOf writes both halves of a private key as JWK.
func jwkOf(t testing.TB, private crypto.Signer) (public, secret []byte) {
	t.Helper()
	alg := jwtauth.EdDSA
	switch private := private.(type) {
	case *rsa.PrivateKey:
		alg = jwtauth.RS256
	case *ecdsa.PrivateKey:
		alg = map[elliptic.Curve]jwtauth.Algorithm{elliptic.P256(): jwtauth.ES256, elliptic.P384(): jwtauth.ES384, elliptic.P521(): jwtauth.ES512}[private.Curve]
	}
	k, err := jwtauth.NewSigningKey(alg, private)
	require.NoError(t, err)
	public, err = k.VerificationKey().JWK()
	require.NoError(t, err)
	secret, err = k.PrivateJWK()
	require.NoError(t, err)
	return public, secret
}

// rawRSA is the bare operation of a private key on a padded message.
func rawRSA(private *rsa.PrivateKey, padded []byte) []byte {
	s := new(big.Int).Exp(new(big.Int).SetBytes(padded), private.D, private.N)
	return s.FillBytes(make([]byte, private.Size()))
}

// digestInfo is the DigestInfo of RFC 8017, section 9.2, with or without the
// NULL that belongs into it.
func digestInfo(t testing.TB, hash crypto.Hash, sum []byte, null bool) []byte {
	t.Helper()
	type identifier struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	last := map[crypto.Hash]int{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[hash]
	i := identifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, last}}
	if null {
		i.Parameters = asn1.NullRawValue
	}
	der, err := asn1.Marshal(struct {
		Identifier identifier
		Digest     []byte
	}{i, sum})
	require.NoError(t, err)
	return der
}

// paddedPKCS1 pads for a key of 2048 bits.
func paddedPKCS1(info []byte) []byte {
	return slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, 256-3-len(info)), []byte{0}, info)
}

// forgedPKCS1 are paddings that lax verifiers take for the right one.
func forgedPKCS1(t testing.TB, hash crypto.Hash, sum []byte) map[string][]byte {
	info := digestInfo(t, hash, sum, true)
	ones := func(n int) []byte { return bytes.Repeat([]byte{0xFF}, n) }
	fill := func(front []byte, with byte) []byte {
		return append(front, bytes.Repeat([]byte{with}, 256-len(front))...)
	}
	edit := func(f func(padded []byte)) []byte {
		padded := paddedPKCS1(info)
		f(padded)
		return padded
	}
	start := 256 - len(info)
	others := map[crypto.Hash]crypto.Hash{crypto.SHA256: crypto.SHA384, crypto.SHA384: crypto.SHA512, crypto.SHA512: crypto.SHA256}
	sha1Sum := sha1.Sum(sum)
	long := slices.Concat([]byte{0x30, 0x81, info[1]}, info[2:])
	trailing := slices.Concat([]byte{0x30, info[1] + 2}, info[2:], []byte{5, 0})
	parameters := slices.Clone(info)
	i := bytes.Index(parameters, []byte{5, 0, 4})
	garbage := slices.Concat(parameters[:i], []byte{4, 16}, randomBytes(16), parameters[i+2:])
	garbage[1] += 16
	garbage[3] += 16
	return map[string][]byte{
		"short padding, zeros behind the digest":   fill(slices.Concat([]byte{0, 1}, ones(8), []byte{0}, info), 0),
		"short padding, garbage behind the digest": slices.Concat([]byte{0, 1}, ones(8), []byte{0}, info, randomBytes(256-11-len(info))),
		"no padding, garbage behind the digest":    fill(slices.Concat([]byte{0, 1, 0}, info), 0xA5),
		"one byte behind the digest":               slices.Concat([]byte{0, 1}, ones(256-4-len(info)), []byte{0}, info, []byte{0}),
		"garbage before the separator":             edit(func(b []byte) { copy(b[2:start-1], randomBytes(start-3)) }),
		"padding of zeros":                         edit(func(b []byte) { clear(b[2 : start-1]) }),
		"one zero in the padding":                  edit(func(b []byte) { b[100] = 0 }),
		"one byte of the padding differs":          edit(func(b []byte) { b[2] = 0xFE }),
		"the last byte of the padding differs":     edit(func(b []byte) { b[start-2] = 0x7F }),
		"no separator":                             edit(func(b []byte) { b[start-1] = 0xFF }),
		"another separator":                        edit(func(b []byte) { b[start-1] = 1 }),
		"block type 2":                             edit(func(b []byte) { b[1] = 2 }),
		"block type 0":                             edit(func(b []byte) { b[1] = 0 }),
		"the first byte is 1":                      edit(func(b []byte) { b[0] = 1 }),
		"no NULL in the DigestInfo":                paddedPKCS1(digestInfo(t, hash, sum, false)),
		"garbage in place of the NULL":             paddedPKCS1(garbage),
		"garbage at the end of the DigestInfo":     paddedPKCS1(trailing),
		"long form of a length":                    paddedPKCS1(long),
		"no DigestInfo":                            paddedPKCS1(sum),
		"no tag of the digest":                     paddedPKCS1(info[2:]),
		"another hash in the DigestInfo":           paddedPKCS1(digestInfo(t, others[hash], sum, true)),
		"a digest one byte short":                  paddedPKCS1(digestInfo(t, hash, sum[:len(sum)-1], true)),
		"a digest one byte long":                   paddedPKCS1(digestInfo(t, hash, append(slices.Clone(sum), 0), true)),
		"an empty digest":                          paddedPKCS1(digestInfo(t, hash, nil, true)),
		"another digest":                           paddedPKCS1(digestInfo(t, hash, sha1Sum[:], true)),
		"one bit of the digest differs":            edit(func(b []byte) { b[255] ^= 1 }),
		"the number 0":                             make([]byte, 256),
		"the number 1":                             append(make([]byte, 255), 1),
		"all zeros before the digest":              append(make([]byte, 256-len(sum)), sum...),
	}
}

// paddedPSSWithoutSalt is the encoding of RFC 8017, section 9.1.1, with an empty
// salt, for a key of 2048 bits.
func paddedPSSWithoutSalt(hash crypto.Hash, sum []byte) []byte {
	h := digest(hash, strings.Repeat("\x00", 8)+string(sum))
	db := append(make([]byte, 256-len(h)-2), 1)
	for n := 0; n*hash.Size() < len(db); n++ {
		mask := digest(hash, string(h)+string([]byte{0, 0, 0, byte(n)}))
		for i, c := range mask {
			if at := n*hash.Size() + i; at < len(db) {
				db[at] ^= c
			}
		}
	}
	db[0] &= 0x7F
	return slices.Concat(db, h, []byte{0xBC})
}

// vector is one test of the Wycheproof project.
type vector struct {
	ID     int `json:"tcId"`
	JWS    string
	Result string
	Flags  []string
	key    json.RawMessage
}

// wycheproof are the vectors about signatures, where the folder of vectors is
// there.
func wycheproof(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectors(), "wycheproof", "json_web_signature_test.json"))
	if errors.Is(err, os.ErrNotExist) {
		t.Logf("no Wycheproof vectors in %s; the cases made here have run", vectors())
		return nil
	}
	require.NoError(t, err)
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Public, Private json.RawMessage
			Tests           []vector
		}
	}
	require.NoError(t, json.Unmarshal(text, &file))
	var all []vector
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			if v.key = g.Public; v.key == nil {
				v.key = g.Private
			}
			all = append(all, v)
		}
	}
	require.Len(t, all, file.NumberOfTests)
	return all
}

func (v vector) requireInvalid(t testing.TB) {
	t.Helper()
	require.Equal(t, "invalid", v.Result)
	var e *jwtauth.Error
	require.ErrorAs(t, jwtauth.VerifyJWS([][]byte{v.key}, v.JWS), &e, "tcId %d", v.ID)
	require.Equal(t, "signature", e.Check, "tcId %d", v.ID)
}
