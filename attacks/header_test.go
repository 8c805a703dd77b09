package attacks_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var headerAttacks = []attack{
	{"H01", "alg none, signature removed", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			w.RequireAccepted(w.Sign(w.Claims(nil)))
			for _, changes := range []map[string]any{{"alg": "none"}, {"alg": "none", "kid": nil}, {"alg": "none", "kid": ""}} {
				w.RequireRefusedBy("key", joined(t, fixture.Header(w.Key, changes), w.Claims(nil), nil))
			}
			w.RequireRefused(joined(t, `{"alg":"none"}`, w.Claims(nil), nil))
		}
	}},
	{"H02", "alg none in other cases", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			signature := fixture.DecodedPart(t, w.Sign(w.Claims(nil)), 2)
			for _, none := range []string{"none", "None", "NONE", "nOnE", " none", "none\x00", "\ufeffnone"} {
				for _, s := range [][]byte{nil, signature} {
					w.RequireRefusedBy("key", joined(t, fixture.Header(w.Key, map[string]any{"alg": none}), w.Claims(nil), s))
					w.RequireRefusedBy("key", joined(t, fixture.Header(w.Key, map[string]any{"alg": none, "kid": nil}), w.Claims(nil), s))
				}
			}
		}
	}},
	{"H04", "alg absent or empty", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, changes := range []map[string]any{{"alg": nil}, {"alg": ""}, {"alg": nil, "kid": nil}, {"alg": "", "kid": nil}} {
				w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, changes), w.Claims(nil)))
			}
		}
	}},
	{"H05", "alg of a wrong JSON type", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, value := range []string{`["%s"]`, `{"alg":"%s"}`, `{"%s":1}`, `null`, `256`, `true`, `false`, `[]`, `{}`, `-0`} {
				value = strings.ReplaceAll(value, "%s", string(alg))
				h := fixture.Header(w.Key, map[string]any{"alg": json.RawMessage(value)})
				e := w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
				require.ErrorContains(t, e, "wrong JSON type", "%s", value)
			}
		}
	}},
	{"H06", "RS256 to HS256 confusion, PEM", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm[3:] {
			w := fixture.NewWith(t, alg)
			text, err := w.Key.Verification().PEM()
			require.NoError(t, err)
			keyText, err := w.Key.Verification().JWK()
			require.NoError(t, err)
			block, _ := pem.Decode(text)
			secrets := map[string][]byte{
				"PKIX PEM": text, "PKIX PEM without the final newline": bytes.TrimSpace(text),
				"PKIX DER": block.Bytes, "JWK": keyText,
			}
			switch pub := fixture.PublicOf(w.Key.Verification()).(type) {
			case *rsa.PublicKey:
				der := x509.MarshalPKCS1PublicKey(pub)
				secrets["PKCS#1 DER"], secrets["modulus"] = der, pub.N.Bytes()
				secrets["PKCS#1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der})
			case *ecdsa.PublicKey:
				secrets["point"], err = pub.Bytes()
				require.NoError(t, err)
			}
			for name, secret := range secrets {
				for _, mac := range fixture.EveryAlgorithm[:3] {
					for _, kid := range []any{w.Key.ID(), nil} {
						h := fixture.Header(w.Key, map[string]any{"alg": string(mac), "kid": kid})
						forged := hmacToken(t, mac, secret, h, w.Claims(nil))
						w.RequireRefusedBy("key", forged)

						if len(secret) < fixture.HashOf(mac).Size() {
							continue
						}
						// The code itself is right, so the token would be good if the secret was a
						// key. But NewHMAC refuses it.
						symmetric := map[string]any{"kty": "oct", "kid": w.Key.ID(), "alg": string(mac), "k": fixture.Unpadded(secret)}
						require.NoError(t, fixture.VerifyJWS([][]byte{[]byte(fixture.Text(t, symmetric))}, forged), name)
						_, err = jwk.NewHMAC(mac, w.Key.ID(), secret)
						require.ErrorContains(t, err, "public key", name)
					}
					// The same code, with the algorithm of the key in the header.
					w.RequireRefusedBy("signature", hmacToken(t, mac, secret, fixture.Header(w.Key, nil), w.Claims(nil)))
				}
			}
		}
	}},
	{"H09", "PS and RS mixed on one RSA key", func(t *testing.T) {
		for _, pinned := range []jwk.Algorithm{jwk.PS256, jwk.PS384, jwk.PS512, jwk.RS256, jwk.RS384, jwk.RS512} {
			w := fixture.New(t)
			w.Use(rsaKeyFor(t, pinned))
			for _, other := range []jwk.Algorithm{jwk.PS256, jwk.PS384, jwk.PS512, jwk.RS256, jwk.RS384, jwk.RS512} {
				k := rsaKeyFor(t, other)
				require.Equal(t, w.Key.ID(), k.ID(), "one key has one thumbprint")
				token := fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil))
				if other == pinned {
					w.RequireAccepted(token)
					continue
				}
				w.RequireRefusedBy("key", token)
				w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), w.Claims(nil)))
				w.RequireOnlyRefusedBy("signature", fixture.SignWith(t, k, fixture.Header(w.Key, nil), w.Claims(nil)))
			}
		}
	}},
	{"H10", "hash downgrade inside a family", func(t *testing.T) {
		secret := fixture.RandomBytes(64)
		families := map[string]func(alg jwk.Algorithm) *jwk.SigningKey{
			"PS": func(alg jwk.Algorithm) *jwk.SigningKey { return rsaKeyFor(t, alg) },
			"RS": func(alg jwk.Algorithm) *jwk.SigningKey { return rsaKeyFor(t, alg) },
			"HS": func(alg jwk.Algorithm) *jwk.SigningKey {
				k, err := jwk.NewHMAC(alg, "shared", secret)
				require.NoError(t, err)
				return k
			},
		}
		for family, key := range families {
			w := fixture.New(t)
			w.Use(key(jwk.Algorithm(family + "512")))
			w.RequireAccepted(w.Sign(w.Claims(nil)))
			for _, bits := range []string{"256", "384"} {
				weaker := key(jwk.Algorithm(family + bits))
				w.RequireRefusedBy("key", fixture.SignWith(t, weaker, fixture.Header(weaker, nil), w.Claims(nil)))
				w.RequireRefusedBy("key", fixture.SignWith(t, weaker, fixture.Header(weaker, map[string]any{"kid": nil}), w.Claims(nil)))
				w.RequireOnlyRefusedBy("signature", fixture.SignWith(t, weaker, fixture.Header(w.Key, nil), w.Claims(nil)))
			}
		}
	}},
	{"H12", "ES header not fitting the curve", func(t *testing.T) {
		curves := map[jwk.Algorithm]elliptic.Curve{jwk.ES256: elliptic.P256(), jwk.ES384: elliptic.P384(), jwk.ES512: elliptic.P521()}
		hashes := map[jwk.Algorithm]crypto.Hash{jwk.ES256: crypto.SHA256, jwk.ES384: crypto.SHA384, jwk.ES512: crypto.SHA512}
		for alg, curve := range curves {
			private, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			k, err := jwk.NewSigning(alg, private)
			require.NoError(t, err)
			w := fixture.New(t)
			w.Use(k)
			for claimed, hash := range hashes {
				for _, kid := range []any{k.ID(), nil} {
					text := unsigned(t, fixture.Header(k, map[string]any{"alg": string(claimed), "kid": kid}), w.Claims(nil))
					r, s, err := ecdsa.Sign(rand.Reader, private, fixture.Digest(hash, text))
					require.NoError(t, err)
					size := (curve.Params().BitSize + 7) / 8
					token := text + "." + fixture.Unpadded(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
					if claimed == alg {
						w.RequireAccepted(token)
						continue
					}
					w.RequireRefusedBy("key", token)
				}
				if claimed != alg {
					_, err := jwk.NewSigning(claimed, private)
					require.ErrorContains(t, err, curve.Params().Name)
				}
			}
			for _, unfit := range []string{"ES521", "ES224", "ES256K", "ES", "es256", "RS256", "EdDSA", "HS256", "none", " "} {
				text := fixture.EditJWK(t, k.Verification(), map[string]any{"alg": unfit})
				_, err := jwk.ParseVerification("", text)
				require.Error(t, err, "a %s key for %q", curve.Params().Name, unfit)
			}
		}
	}},
	{"H15", "JWK without alg lets the header choose", func(t *testing.T) {
		text := fixture.EditJWK(t, rsaKeyFor(t, jwk.RS256).Verification(), map[string]any{"alg": nil})
		for _, configured := range []jwk.Algorithm{"", jwk.RS256} {
			parsed, err := jwk.ParseVerification(configured, text)
			require.NoError(t, err)
			require.Equal(t, jwk.RS256, parsed.Algorithm())
			w := fixture.New(t)
			require.NoError(t, w.Keys.Replace(w.Key, parsed))
			for _, alg := range fixture.EveryAlgorithm[3:9] {
				for _, kid := range []any{parsed.ID(), nil} {
					k := rsaKeyFor(t, alg)
					token := fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": kid}), w.Claims(nil))
					if alg == jwk.RS256 {
						w.RequireAccepted(token)
						continue
					}
					w.RequireRefusedBy("key", token)
				}
			}
			public, err := parsed.PEM()
			require.NoError(t, err)
			for _, kid := range []any{parsed.ID(), nil} {
				h := fixture.Header(w.Key, map[string]any{"alg": "HS256", "kid": kid})
				w.RequireRefusedBy("key", hmacToken(t, jwk.HS256, public, h, w.Claims(nil)))
				w.RequireRefusedBy("key", hmacToken(t, jwk.HS256, text, h, w.Claims(nil)))
			}
		}
	}},
	{"H16", "embedded jwk", func(t *testing.T) {
		for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.RS256, jwk.EdDSA} {
			w := fixture.NewWith(t, alg)
			attacker := fixture.NewKey(t, alg)
			keyText, err := attacker.Verification().JWK()
			require.NoError(t, err)
			for kid, check := range map[any]string{w.Key.ID(): "signature", nil: "signature", attacker.ID(): "key"} {
				h := fixture.Header(w.Key, map[string]any{"jwk": json.RawMessage(keyText), "kid": kid})
				w.RequireRefusedBy(check, fixture.SignWith(t, attacker, h, w.Claims(nil)))
			}
			trusted := fixture.EditJWK(t, attacker.Verification(), map[string]any{"kid": w.Key.ID()})
			h := fixture.Header(w.Key, map[string]any{"jwk": json.RawMessage(trusted)})
			w.RequireRefusedBy("signature", fixture.SignWith(t, attacker, h, w.Claims(nil)))
		}
	}},
	{"H18", "jku to an attacker's listener", func(t *testing.T) {
		w := fixture.New(t)
		attacker := fixture.NewKey(t, jwk.ES256)
		keyText, err := attacker.Verification().JWK()
		require.NoError(t, err)
		url, requests := listener(t, []byte(`{"keys":[`+string(keyText)+`]}`))
		for kid, check := range map[any]string{attacker.ID(): "key", w.Key.ID(): "signature", nil: "signature"} {
			h := fixture.Header(w.Key, map[string]any{"jku": url, "kid": kid})
			w.RequireRefusedBy(check, fixture.SignWith(t, attacker, h, w.Claims(nil)))
			h["crit"] = []string{"jku"}
			w.RequireRefusedBy("crit", fixture.SignWith(t, attacker, h, w.Claims(nil)))
		}
		h := fixture.Header(w.Key, map[string]any{"kid": url})
		w.RequireRefusedBy("key", fixture.SignWith(t, attacker, h, w.Claims(map[string]any{"iss": url})))
		requireCounts(t, url, requests)
	}},
	{"H20", "x5u", func(t *testing.T) {
		w := fixture.New(t)
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		attacker, err := jwk.NewSigning(jwk.ES256, private)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: w.Clock.Now().AddDate(1, 0, 0)}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		require.NoError(t, err)
		url, requests := listener(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
		x5c := []string{base64.StdEncoding.EncodeToString(certificate)}
		for kid, check := range map[any]string{attacker.ID(): "key", w.Key.ID(): "signature", nil: "signature"} {
			for _, changes := range []map[string]any{{"x5u": url}, {"x5c": x5c}, {"x5u": url, "x5c": x5c}} {
				changes["kid"] = kid
				w.RequireRefusedBy(check, fixture.SignWith(t, attacker, fixture.Header(w.Key, changes), w.Claims(nil)))
			}
		}
		requireCounts(t, url, requests)
	}},
	{"H22", "kid path traversal", func(t *testing.T) {
		w := fixture.NewWith(t, jwk.HS256)
		for _, kid := range []string{"../../../../dev/null", "/dev/null", "file:///dev/null", "go.mod", w.Key.ID() + "/../../dev/null", w.Key.ID() + "\x00", "C:\\nul"} {
			h := fixture.Header(w.Key, map[string]any{"kid": kid})
			w.RequireRefusedBy("key", hmacToken(t, jwk.HS256, nil, h, w.Claims(nil)))
			w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
		}
		// Package keydir reads files, and no package that verifies imports it.
		verifying := slices.DeleteFunc(librarySources(t), func(f goFile) bool { return f.folder == "jwk/keydir" })
		reading := []string{"os", "io/fs", "os/exec", "path/filepath", "embed", "plugin", "github.com/jwtauth-go/jwtauth/jwk/keydir"}
		// Package env reads environment variables, and nothing else of os.
		requireOnly(t, verifying, "internal/env/env.go", "os", "Getenv")
		withoutEnv := slices.DeleteFunc(slices.Clone(verifying), func(f goFile) bool { return f.path == "internal/env/env.go" })
		requireNoImport(t, withoutEnv, reading...)
		// A function for net.Dialer.Control must name the type syscall.RawConn, and uses no more of syscall.
		const control = "jwk/remote_public.go"
		requireOnly(t, verifying, control, "syscall", "RawConn")
		requireNoImport(t, slices.DeleteFunc(verifying, func(f goFile) bool { return f.path == control }), "syscall")
	}},
	{"H23", "kid SQL injection", func(t *testing.T) {
		w := fixture.NewWith(t, jwk.HS256)
		for _, kid := range []string{"x' UNION SELECT '1';-- -", "' OR '1'='1", w.Key.ID() + "'--", w.Key.ID() + " ", "%"} {
			h := fixture.Header(w.Key, map[string]any{"kid": kid})
			w.RequireRefusedBy("key", hmacToken(t, jwk.HS256, []byte("1"), h, w.Claims(nil)))
			w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
		}
		requireNoImport(t, librarySources(t), "database/sql")
	}},
	{"H25", "unknown kid", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, kid := range []string{"unknown", "", w.Key.ID() + "x", w.Key.ID()[1:], strings.ToUpper(w.Key.ID() + "x"), strings.Repeat("k", 300)} {
				w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": kid}), w.Claims(nil)))
			}
		}
	}},
	{"H27", "kid is not a string", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, value := range []any{7, 0, true, json.RawMessage("null"), []string{w.Key.ID()}, map[string]any{"kid": w.Key.ID()}} {
				e := w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": value}), w.Claims(nil)))
				require.ErrorContains(t, e, `"kid" has a value of a wrong JSON type`)
			}
		}
	}},
	{"H29", "crit with an unknown extension", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, changes := range []map[string]any{
				{"crit": []string{"x"}, "x": 1},
				{"crit": []string{"x"}},
				{"crit": []string{"exp"}, "exp": w.Clock.Now().Unix() + 600},
				{"crit": []string{"alg", "kid"}},
				{"crit": []string{"x", "x"}, "x": 1},
			} {
				w.RequireOnlyRefusedBy("crit", fixture.SignWith(t, w.Key, fixture.Header(w.Key, changes), w.Claims(nil)))
			}
			w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"x": 1}), w.Claims(nil)))
		}
	}},
	{"H30", "crit empty or not an array", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range []string{`[]`, `"fooBar"`, `""`, `null`, `{}`, `true`, `false`, `0`, `[1]`, `[null]`, `[[]]`} {
			h := fixture.Header(w.Key, map[string]any{"crit": json.RawMessage(value)})
			w.RequireOnlyRefusedBy("crit", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
		}
	}},
	{"H32", "b64=false with crit", func(t *testing.T) {
		// The names have no dots, so a payload that is not encoded has none either.
		w := fixture.NewWith(t, jwk.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Issuer, o.Audiences = "issuer", []string{"api"}
		})
		secret := fixture.RandomBytes(32)
		k, err := jwk.NewHMAC(jwk.HS256, "", secret)
		require.NoError(t, err)
		w.Use(k)
		claims := fixture.Text(t, w.Claims(map[string]any{"iss": "issuer", "aud": "api"}))
		w.RequireAccepted(w.Sign(claims))
		b64 := fixture.Header(k, map[string]any{"b64": false, "crit": []string{"b64"}})
		head := fixture.Unpadded([]byte(fixture.Text(t, b64)))
		raw := macOf(jwk.HS256, secret, head+"."+claims)
		w.RequireRefusedBy("crit", head+"."+claims+"."+raw)
		w.RequireRefusedBy("crit", head+"."+fixture.Unpadded([]byte(claims))+"."+raw)
		w.RequireRefusedBy("crit", head+".."+raw)
		w.RequireRefusedBy("crit", head+".."+macOf(jwk.HS256, secret, head+"."+fixture.Unpadded([]byte(claims))))
		w.RequireRefusedBy("form", head+".$.02."+macOf(jwk.HS256, secret, head+".$.02"))
		w.RequireOnlyRefusedBy("crit", fixture.SignWith(t, k, b64, claims))
		for _, changes := range []map[string]any{{"b64": false}, {"b64": true}, {"b64": true, "crit": []string{"b64"}}, {"b64": "false"}} {
			w.RequireOnlyRefusedBy("crit", fixture.SignWith(t, k, fixture.Header(k, changes), claims))
		}
	}},
	{"H34", "typ confusion: ID token as access token", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			id := map[string]any{"nonce": "n-0S6_WzA2Mj", "azp": "client", "at_hash": "x"}
			for _, audience := range []any{fixture.Audience, []string{fixture.Audience, "client"}} {
				id["aud"] = audience
				w.RequireOnlyRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), w.Claims(id)))
			}
			id["aud"] = "client"
			w.RequireRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), w.Claims(id)))
			w.RequireRefusedBy("aud", fixture.SignWith(t, w.Key, fixture.Header(w.Key, nil), w.Claims(id)))
		}
	}},
	{"H35", "typ of other token kinds", func(t *testing.T) {
		w := fixture.New(t)
		for _, typ := range []string{
			"logout+jwt", "secevent+jwt", "dpop+jwt", "rt+jwt", "application/rt+jwt", "RT+JWT", "entity-statement+jwt", "token-introspection+jwt",
			"jwt", "JWT", "JOSE", "JOSE+JSON", "at", "at+jwt2", "xat+jwt", "at+jwt ", " at+jwt", "application/", "application/application/at+jwt",
			"text/at+jwt", "at+jwt;v=1", "at+jwt\x00", "at\u200b+jwt", "",
		} {
			w.RequireOnlyRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": typ}), w.Claims(nil)))
		}
		w.RequireRefusedBy("typ", w.Login("alice").RefreshToken)
		for _, typ := range []string{"at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "APPLICATION/AT+JWT"} {
			w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": typ}), w.Claims(nil)))
		}
	}},
	{"H36", "typ missing when a type is required", func(t *testing.T) {
		w := fixture.New(t)
		w.RequireOnlyRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": nil}), w.Claims(nil)))
		w.RequireOnlyRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": nil, "cty": "at+jwt"}), w.Claims(map[string]any{"typ": "at+jwt"})))
	}},
	{"H38", "typ of a wrong JSON type", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range []string{`5`, `null`, `["at+jwt"]`, `{"typ":"at+jwt"}`, `true`, `[]`, `{}`} {
			h := fixture.Header(w.Key, map[string]any{"typ": json.RawMessage(value)})
			e := w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
			require.ErrorContains(t, e, `"typ" has a value of a wrong JSON type`)
		}
	}},
	{"H40", "JWE offered as a token", func(t *testing.T) {
		secret := fixture.RandomBytes(32)
		k, err := jwk.NewHMAC(jwk.HS256, "", secret)
		require.NoError(t, err)
		w := fixture.New(t)
		w.Use(k)
		block, err := aes.NewCipher(secret)
		require.NoError(t, err)
		seal, err := cipher.NewGCM(block)
		require.NoError(t, err)
		h := fixture.Header(k, map[string]any{"alg": "dir", "enc": "A256GCM"})
		head, nonce := fixture.Unpadded([]byte(fixture.Text(t, h))), fixture.RandomBytes(seal.NonceSize())
		for _, inside := range []string{fixture.Text(t, w.Claims(nil)), w.Sign(w.Claims(nil))} {
			sealed := seal.Seal(nil, nonce, []byte(inside), []byte(head))
			tag := len(sealed) - seal.Overhead()
			token := strings.Join([]string{head, "", fixture.Unpadded(nonce), fixture.Unpadded(sealed[:tag]), fixture.Unpadded(sealed[tag:])}, ".")
			w.RequireRefusedBy("form", token)
		}
		w.RequireRefusedBy("key", fixture.SignWith(t, k, h, w.Claims(nil)))
		w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, map[string]any{"alg": "A256GCM"}), w.Claims(nil)))
	}},
	{"H42", "zip in a JWS", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			h := fixture.Header(w.Key, map[string]any{"zip": "DEF"})
			deflated := deflate(t, fixture.Text(t, w.Claims(nil)))
			w.RequireRefusedBy("claims", fixture.SignWith(t, w.Key, h, deflated))
			w.RequireRefusedBy("claims", fixture.SignWith(t, w.Key, fixture.Header(w.Key, nil), deflated))
		}
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		bomb := deflate(t, fixture.Text(t, w.Claims(nil))+strings.Repeat(" ", 4<<20))
		token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"zip": "DEF"}), bomb)
		require.Less(t, len(token), 8<<10)
		w.RequireRefusedBy("claims", token)
		require.Less(t, allocated(func() { _, _ = w.Verifier.Verify(t.Context(), token) }), uint64(64<<10))
	}},
	{"H43", "duplicate alg in the header", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			rest := `"typ":"at+jwt","kid":` + strconv.Quote(w.Key.ID())
			for _, h := range []string{
				`{"alg":"none","alg":"%s",` + rest + `}`,
				`{"alg":"%s","alg":"none",` + rest + `}`,
				`{"alg":"%s",` + rest + `,"alg":"%s"}`,
				`{"alg":"%s",` + rest + `,"\u0061lg":"none"}`,
				`{"\u0061\u006c\u0067":"none",` + rest + `,"alg":"%s"}`,
				`{"alg":"%s",` + rest + `,"typ":"at+jwt"}`,
				`{"alg":"%s","kid":"x",` + rest + `}`,
				`{"alg":"%s",` + rest + `,"x":{"y":1,"y":2}}`,
			} {
				h = strings.ReplaceAll(h, "%s", string(alg))
				e := w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
				require.ErrorContains(t, e, "appears twice", "%s", h)
			}
			w.RequireAccepted(fixture.SignWith(t, w.Key, `{"alg":"`+string(alg)+`",`+rest+`}`, w.Claims(nil)))
		}
	}},
	{"H45", "header names in another case", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, beside := range []map[string]any{
				{"ALG": "none"}, {"Alg": string(alg)}, {"Kid": "x"}, {"KID": w.Key.ID()}, {"\u212Aid": "x"}, {"TYP": "JWT"}, {"Typ": "at+jwt"},
			} {
				e := w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, fixture.Header(w.Key, beside), w.Claims(nil)))
				require.ErrorContains(t, e, "appears twice", "%v", beside)
			}
			w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"alg": nil, "ALG": string(alg)}), w.Claims(nil)))
			w.RequireOnlyRefusedBy("typ", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": nil, "TYP": "at+jwt"}), w.Claims(nil)))

			// Without kid itself, a header has no kid, whatever a member in another case
			// says: the only key of the algorithm is found, and none of two keys.
			w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": nil, "Kid": "x"}), w.Claims(nil)))
			w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": nil, "\u212Aid": 7}), w.Claims(nil)))
			require.NoError(t, w.Keys.Replace(w.Key, w.Key.Verification().WithID("second")))
			for _, name := range []string{"Kid", "KID", "\u212Aid"} {
				for _, kid := range []string{w.Key.ID(), "second"} {
					h := fixture.Header(w.Key, map[string]any{"kid": nil, name: kid})
					w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
				}
			}
		}
	}},
	{"H46", "header is not an object", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			inside := fixture.Text(t, fixture.Header(w.Key, nil))
			for _, h := range []string{`null`, `[]`, `"x"`, `5`, `true`, ``, ` `, `{`, `}`, "\x00", `[` + inside + `]`, strconv.Quote(inside), inside + inside, inside + `x`, "\ufeff" + inside} {
				w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil)))
			}
			w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, `{"typ":"at+jwt"}`, w.Claims(nil)))
			w.RequireRefusedBy("typ", fixture.SignWith(t, w.Key, `{}`, w.Claims(nil)))
		}
	}},
	{"H48", "JSON serialization", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireAccepted(good)
			part := strings.Split(good, ".")
			signature := map[string]any{"protected": part[0], "signature": part[2]}
			for _, form := range []map[string]any{
				{"payload": part[1], "protected": part[0], "signature": part[2]},
				{"payload": part[1], "protected": part[0], "header": map[string]any{"kid": w.Key.ID()}, "signature": part[2]},
				{"payload": part[1], "header": fixture.Header(w.Key, nil), "signature": part[2]},
				{"payload": part[1], "signatures": []any{signature}},
				{"payload": part[1], "signatures": []any{signature, signature}},
				{"payload": part[1], "signatures": []any{}},
			} {
				w.RequireRefusedBy("form", fixture.Text(t, form))
				w.RequireRefusedBy("form", fixture.Unpadded([]byte(fixture.Text(t, form))))
				// The two dots of a compact form do not help.
				form["x"] = ".."
				w.RequireRefusedBy("header", fixture.Text(t, form))
			}
			w.RequireRefused(`["` + good + `"]`)
			w.RequireRefused(strconv.Quote(good))
		}
	}},
}

// rsaKeyFor returns the key of fixture.RSAByHand for one algorithm.
func rsaKeyFor(t testing.TB, alg jwk.Algorithm) *jwk.SigningKey {
	t.Helper()
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	k, err := jwk.NewSigning(alg, private)
	require.NoError(t, err)
	return k
}

// unsigned returns the part of a token that its signature is made of.
func unsigned(t testing.TB, header, claims any) string {
	t.Helper()
	return fixture.Unpadded([]byte(fixture.Text(t, header))) + "." + fixture.Unpadded([]byte(fixture.Text(t, claims)))
}

// joined returns a token with any signature.
func joined(t testing.TB, header, claims any, signature []byte) string {
	t.Helper()
	return unsigned(t, header, claims) + "." + fixture.Unpadded(signature)
}

// macOf returns the third segment of a token, for any secret and any text.
func macOf(alg jwk.Algorithm, secret []byte, text string) string {
	h := hmac.New(fixture.HashOf(alg).New, secret)
	h.Write([]byte(text))
	return fixture.Unpadded(h.Sum(nil))
}

// hmacToken signs with any secret, also one that jwk.NewHMAC refuses.
func hmacToken(t testing.TB, alg jwk.Algorithm, secret []byte, header, claims any) string {
	t.Helper()
	text := unsigned(t, header, claims)
	return text + "." + macOf(alg, secret, text)
}

func deflate(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// listener starts a server with a document that an attacker wants to be fetched.
func listener(t testing.TB, body []byte) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

// requireCounts fails the test if a listener got a request, or does not count requests.
func requireCounts(t testing.TB, url string, requests *atomic.Int64) {
	t.Helper()
	require.Zero(t, requests.Load(), "something was fetched")
	r, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.EqualValues(t, 1, requests.Load())
}
