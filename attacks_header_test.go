package jwtauth_test

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
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var headerAttacks = []attack{
	{"H01", "alg none, signature removed", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			w.requireAccepted(w.sign(w.claims(nil)))
			for _, changes := range []map[string]any{{"alg": "none"}, {"alg": "none", "kid": nil}, {"alg": "none", "kid": ""}} {
				w.requireRefusedBy("key", joined(t, header(w.key, changes), w.claims(nil), nil))
			}
			w.requireRefused(joined(t, `{"alg":"none"}`, w.claims(nil), nil))
		}
	}},
	{"H02", "alg none in other cases", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			signature := decodedPart(t, w.sign(w.claims(nil)), 2)
			for _, none := range []string{"none", "None", "NONE", "nOnE", " none", "none\x00", "\ufeffnone"} {
				for _, s := range [][]byte{nil, signature} {
					w.requireRefusedBy("key", joined(t, header(w.key, map[string]any{"alg": none}), w.claims(nil), s))
					w.requireRefusedBy("key", joined(t, header(w.key, map[string]any{"alg": none, "kid": nil}), w.claims(nil), s))
				}
			}
		}
	}},
	{"H04", "alg absent or empty", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, changes := range []map[string]any{{"alg": nil}, {"alg": ""}, {"alg": nil, "kid": nil}, {"alg": "", "kid": nil}} {
				w.requireRefusedBy("key", signWith(t, w.key, header(w.key, changes), w.claims(nil)))
			}
		}
	}},
	{"H05", "alg of a wrong JSON type", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, value := range []string{`["%s"]`, `{"alg":"%s"}`, `{"%s":1}`, `null`, `256`, `true`, `false`, `[]`, `{}`, `-0`} {
				value = strings.ReplaceAll(value, "%s", string(alg))
				h := header(w.key, map[string]any{"alg": json.RawMessage(value)})
				e := w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil)))
				require.ErrorContains(t, e, "wrong JSON type", "%s", value)
			}
		}
	}},
	{"H06", "RS256 to HS256 confusion, PEM", func(t *testing.T) {
		for _, alg := range everyAlgorithm[3:] {
			w := newWorldWith(t, alg)
			text, err := w.key.VerificationKey().PEM()
			require.NoError(t, err)
			jwk, err := w.key.VerificationKey().JWK()
			require.NoError(t, err)
			block, _ := pem.Decode(text)
			secrets := map[string][]byte{
				"PKIX PEM": text, "PKIX PEM without the final newline": bytes.TrimSpace(text),
				"PKIX DER": block.Bytes, "JWK": jwk,
			}
			switch pub := jwtauth.PublicOf(w.key.VerificationKey()).(type) {
			case *rsa.PublicKey:
				der := x509.MarshalPKCS1PublicKey(pub)
				secrets["PKCS#1 DER"], secrets["modulus"] = der, pub.N.Bytes()
				secrets["PKCS#1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der})
			case *ecdsa.PublicKey:
				secrets["point"], err = pub.Bytes()
				require.NoError(t, err)
			}
			for name, secret := range secrets {
				for _, mac := range everyAlgorithm[:3] {
					for _, kid := range []any{w.key.ID(), nil} {
						h := header(w.key, map[string]any{"alg": string(mac), "kid": kid})
						forged := hmacToken(t, mac, secret, h, w.claims(nil))
						w.requireRefusedBy("key", forged)

						// The code is right: where the secret is the key, the token is good.
						if len(secret) < hashOf(mac).Size() {
							continue
						}
						key, err := jwtauth.NewHMACKey(mac, w.key.ID(), secret)
						require.NoError(t, err, name)
						symmetric := newWorldWith(t, jwtauth.HS256)
						symmetric.use(key)
						symmetric.requireAccepted(forged)
					}
					// The header keeps the algorithm of the key.
					w.requireRefusedBy("signature", hmacToken(t, mac, secret, header(w.key, nil), w.claims(nil)))
				}
			}
		}
	}},
	{"H09", "PS and RS mixed on one RSA key", func(t *testing.T) {
		for _, pinned := range []jwtauth.Algorithm{jwtauth.PS256, jwtauth.PS384, jwtauth.PS512, jwtauth.RS256, jwtauth.RS384, jwtauth.RS512} {
			w := newWorld(t)
			w.use(rsaKeyFor(t, pinned))
			for _, other := range []jwtauth.Algorithm{jwtauth.PS256, jwtauth.PS384, jwtauth.PS512, jwtauth.RS256, jwtauth.RS384, jwtauth.RS512} {
				k := rsaKeyFor(t, other)
				require.Equal(t, w.key.ID(), k.ID(), "one key has one thumbprint")
				token := signWith(t, k, header(k, nil), w.claims(nil))
				if other == pinned {
					w.requireAccepted(token)
					continue
				}
				w.requireRefusedBy("key", token)
				w.requireRefusedBy("key", signWith(t, k, header(k, map[string]any{"kid": nil}), w.claims(nil)))
				w.requireOnlyRefusedBy("signature", signWith(t, k, header(w.key, nil), w.claims(nil)))
			}
		}
	}},
	{"H10", "hash downgrade inside a family", func(t *testing.T) {
		secret := randomBytes(64)
		families := map[string]func(alg jwtauth.Algorithm) *jwtauth.SigningKey{
			"PS": func(alg jwtauth.Algorithm) *jwtauth.SigningKey { return rsaKeyFor(t, alg) },
			"RS": func(alg jwtauth.Algorithm) *jwtauth.SigningKey { return rsaKeyFor(t, alg) },
			"HS": func(alg jwtauth.Algorithm) *jwtauth.SigningKey {
				k, err := jwtauth.NewHMACKey(alg, "shared", secret)
				require.NoError(t, err)
				return k
			},
		}
		for family, key := range families {
			w := newWorld(t)
			w.use(key(jwtauth.Algorithm(family + "512")))
			w.requireAccepted(w.sign(w.claims(nil)))
			for _, bits := range []string{"256", "384"} {
				weaker := key(jwtauth.Algorithm(family + bits))
				w.requireRefusedBy("key", signWith(t, weaker, header(weaker, nil), w.claims(nil)))
				w.requireRefusedBy("key", signWith(t, weaker, header(weaker, map[string]any{"kid": nil}), w.claims(nil)))
				w.requireOnlyRefusedBy("signature", signWith(t, weaker, header(w.key, nil), w.claims(nil)))
			}
		}
	}},
	{"H12", "ES header not fitting the curve", func(t *testing.T) {
		curves := map[jwtauth.Algorithm]elliptic.Curve{jwtauth.ES256: elliptic.P256(), jwtauth.ES384: elliptic.P384(), jwtauth.ES512: elliptic.P521()}
		hashes := map[jwtauth.Algorithm]crypto.Hash{jwtauth.ES256: crypto.SHA256, jwtauth.ES384: crypto.SHA384, jwtauth.ES512: crypto.SHA512}
		for alg, curve := range curves {
			private, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			k, err := jwtauth.NewSigningKey(alg, private)
			require.NoError(t, err)
			w := newWorld(t)
			w.use(k)
			for claimed, hash := range hashes {
				for _, kid := range []any{k.ID(), nil} {
					text := unsigned(t, header(k, map[string]any{"alg": string(claimed), "kid": kid}), w.claims(nil))
					r, s, err := ecdsa.Sign(rand.Reader, private, digest(hash, text))
					require.NoError(t, err)
					size := (curve.Params().BitSize + 7) / 8
					token := text + "." + unpadded(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
					if claimed == alg {
						w.requireAccepted(token)
						continue
					}
					w.requireRefusedBy("key", token)
				}
				if claimed != alg {
					_, err := jwtauth.NewSigningKey(claimed, private)
					require.ErrorContains(t, err, curve.Params().Name)
				}
			}
			for _, unfit := range []string{"ES521", "ES224", "ES256K", "ES", "es256", "RS256", "EdDSA", "HS256", "none", ""} {
				text := editJWK(t, k.VerificationKey(), map[string]any{"alg": unfit})
				_, err := jwtauth.ParseVerificationKey("", text)
				require.Error(t, err, "a %s key for %q", curve.Params().Name, unfit)
			}
		}
	}},
	{"H15", "JWK without alg lets the header choose", func(t *testing.T) {
		text := editJWK(t, rsaKeyFor(t, jwtauth.RS256).VerificationKey(), map[string]any{"alg": nil})
		for _, configured := range []jwtauth.Algorithm{"", jwtauth.RS256} {
			parsed, err := jwtauth.ParseVerificationKey(configured, text)
			require.NoError(t, err)
			require.Equal(t, jwtauth.RS256, parsed.Algorithm())
			w := newWorld(t)
			require.NoError(t, w.keys.Set(w.key, parsed))
			for _, alg := range everyAlgorithm[3:9] {
				for _, kid := range []any{parsed.ID(), nil} {
					k := rsaKeyFor(t, alg)
					token := signWith(t, k, header(k, map[string]any{"kid": kid}), w.claims(nil))
					if alg == jwtauth.RS256 {
						w.requireAccepted(token)
						continue
					}
					w.requireRefusedBy("key", token)
				}
			}
			public, err := parsed.PEM()
			require.NoError(t, err)
			for _, kid := range []any{parsed.ID(), nil} {
				h := header(w.key, map[string]any{"alg": "HS256", "kid": kid})
				w.requireRefusedBy("key", hmacToken(t, jwtauth.HS256, public, h, w.claims(nil)))
				w.requireRefusedBy("key", hmacToken(t, jwtauth.HS256, text, h, w.claims(nil)))
			}
		}
	}},
	{"H16", "embedded jwk", func(t *testing.T) {
		for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.RS256, jwtauth.EdDSA} {
			w := newWorldWith(t, alg)
			attacker := newKey(t, alg, false)
			jwk, err := attacker.VerificationKey().JWK()
			require.NoError(t, err)
			for kid, check := range map[any]string{w.key.ID(): "signature", nil: "signature", attacker.ID(): "key"} {
				h := header(w.key, map[string]any{"jwk": json.RawMessage(jwk), "kid": kid})
				w.requireRefusedBy(check, signWith(t, attacker, h, w.claims(nil)))
			}
			trusted := editJWK(t, attacker.VerificationKey(), map[string]any{"kid": w.key.ID()})
			h := header(w.key, map[string]any{"jwk": json.RawMessage(trusted)})
			w.requireRefusedBy("signature", signWith(t, attacker, h, w.claims(nil)))
		}
	}},
	{"H18", "jku to an attacker's listener", func(t *testing.T) {
		w := newWorld(t)
		attacker := newKey(t, jwtauth.ES256, false)
		jwk, err := attacker.VerificationKey().JWK()
		require.NoError(t, err)
		url, requests := listener(t, []byte(`{"keys":[`+string(jwk)+`]}`))
		for kid, check := range map[any]string{attacker.ID(): "key", w.key.ID(): "signature", nil: "signature"} {
			h := header(w.key, map[string]any{"jku": url, "kid": kid})
			w.requireRefusedBy(check, signWith(t, attacker, h, w.claims(nil)))
			h["crit"] = []string{"jku"}
			w.requireRefusedBy("crit", signWith(t, attacker, h, w.claims(nil)))
		}
		h := header(w.key, map[string]any{"kid": url})
		w.requireRefusedBy("key", signWith(t, attacker, h, w.claims(map[string]any{"iss": url})))
		requireCounts(t, url, requests)
	}},
	{"H20", "x5u", func(t *testing.T) {
		w := newWorld(t)
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		attacker, err := jwtauth.NewSigningKey(jwtauth.ES256, private)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: w.clock.Now().AddDate(1, 0, 0)}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		require.NoError(t, err)
		url, requests := listener(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
		x5c := []string{base64.StdEncoding.EncodeToString(certificate)}
		for kid, check := range map[any]string{attacker.ID(): "key", w.key.ID(): "signature", nil: "signature"} {
			for _, changes := range []map[string]any{{"x5u": url}, {"x5c": x5c}, {"x5u": url, "x5c": x5c}} {
				changes["kid"] = kid
				w.requireRefusedBy(check, signWith(t, attacker, header(w.key, changes), w.claims(nil)))
			}
		}
		requireCounts(t, url, requests)
	}},
	{"H22", "kid path traversal", func(t *testing.T) {
		w := newWorldWith(t, jwtauth.HS256)
		for _, kid := range []string{"../../../../dev/null", "/dev/null", "file:///dev/null", "go.mod", w.key.ID() + "/../../dev/null", w.key.ID() + "\x00", "C:\\nul"} {
			h := header(w.key, map[string]any{"kid": kid})
			w.requireRefusedBy("key", hmacToken(t, jwtauth.HS256, nil, h, w.claims(nil)))
			w.requireRefusedBy("key", signWith(t, w.key, h, w.claims(nil)))
		}
		requireNoImport(t, "os", "io/fs", "os/exec", "syscall", "path/filepath", "embed", "plugin")
	}},
	{"H23", "kid SQL injection", func(t *testing.T) {
		w := newWorldWith(t, jwtauth.HS256)
		for _, kid := range []string{"x' UNION SELECT '1';-- -", "' OR '1'='1", w.key.ID() + "'--", w.key.ID() + " ", "%"} {
			h := header(w.key, map[string]any{"kid": kid})
			w.requireRefusedBy("key", hmacToken(t, jwtauth.HS256, []byte("1"), h, w.claims(nil)))
			w.requireRefusedBy("key", signWith(t, w.key, h, w.claims(nil)))
		}
		requireNoImport(t, "database/sql")
	}},
	{"H25", "unknown kid", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, kid := range []string{"unknown", "", w.key.ID() + "x", w.key.ID()[1:], strings.ToUpper(w.key.ID() + "x"), strings.Repeat("k", 300)} {
				w.requireRefusedBy("key", signWith(t, w.key, header(w.key, map[string]any{"kid": kid}), w.claims(nil)))
			}
		}
	}},
	{"H27", "kid is not a string", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, value := range []any{7, 0, true, json.RawMessage("null"), []string{w.key.ID()}, map[string]any{"kid": w.key.ID()}} {
				e := w.requireRefusedBy("header", signWith(t, w.key, header(w.key, map[string]any{"kid": value}), w.claims(nil)))
				require.ErrorContains(t, e, `"kid" has a value of a wrong JSON type`)
			}
		}
	}},
	{"H29", "crit with an unknown extension", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, changes := range []map[string]any{
				{"crit": []string{"x"}, "x": 1},
				{"crit": []string{"x"}},
				{"crit": []string{"exp"}, "exp": w.clock.Now().Unix() + 600},
				{"crit": []string{"alg", "kid"}},
				{"crit": []string{"x", "x"}, "x": 1},
			} {
				w.requireOnlyRefusedBy("crit", signWith(t, w.key, header(w.key, changes), w.claims(nil)))
			}
			w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"x": 1}), w.claims(nil)))
		}
	}},
	{"H30", "crit empty or not an array", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []string{`[]`, `"fooBar"`, `""`, `null`, `{}`, `true`, `false`, `0`, `[1]`, `[null]`, `[[]]`} {
			h := header(w.key, map[string]any{"crit": json.RawMessage(value)})
			w.requireOnlyRefusedBy("crit", signWith(t, w.key, h, w.claims(nil)))
		}
	}},
	{"H32", "b64=false with crit", func(t *testing.T) {
		// Names without dots, so that a raw payload has none either.
		w := newWorldWith(t, jwtauth.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Issuer, o.Audiences = "issuer", []string{"api"}
		})
		secret := randomBytes(32)
		k, err := jwtauth.NewHMACKey(jwtauth.HS256, "", secret)
		require.NoError(t, err)
		w.use(k)
		claims := text(t, w.claims(map[string]any{"iss": "issuer", "aud": "api"}))
		w.requireAccepted(w.sign(claims))
		b64 := header(k, map[string]any{"b64": false, "crit": []string{"b64"}})
		head := unpadded([]byte(text(t, b64)))
		raw := macOf(jwtauth.HS256, secret, head+"."+claims)
		w.requireRefusedBy("crit", head+"."+claims+"."+raw)
		w.requireRefusedBy("crit", head+"."+unpadded([]byte(claims))+"."+raw)
		w.requireRefusedBy("crit", head+".."+raw)
		w.requireRefusedBy("crit", head+".."+macOf(jwtauth.HS256, secret, head+"."+unpadded([]byte(claims))))
		w.requireRefusedBy("form", head+".$.02."+macOf(jwtauth.HS256, secret, head+".$.02"))
		w.requireOnlyRefusedBy("crit", signWith(t, k, b64, claims))
		for _, changes := range []map[string]any{{"b64": false}, {"b64": true}, {"b64": true, "crit": []string{"b64"}}, {"b64": "false"}} {
			w.requireOnlyRefusedBy("crit", signWith(t, k, header(k, changes), claims))
		}
	}},
	{"H34", "typ confusion: ID token as access token", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			id := map[string]any{"nonce": "n-0S6_WzA2Mj", "azp": "client", "at_hash": "x"}
			for _, audience := range []any{testAudience, []string{testAudience, "client"}} {
				id["aud"] = audience
				w.requireOnlyRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": "JWT"}), w.claims(id)))
			}
			id["aud"] = "client"
			w.requireRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": "JWT"}), w.claims(id)))
			w.requireRefusedBy("aud", signWith(t, w.key, header(w.key, nil), w.claims(id)))
		}
	}},
	{"H35", "typ of other token kinds", func(t *testing.T) {
		w := newWorld(t)
		for _, typ := range []string{
			"logout+jwt", "secevent+jwt", "dpop+jwt", "rt+jwt", "application/rt+jwt", "RT+JWT", "entity-statement+jwt", "token-introspection+jwt",
			"jwt", "JWT", "JOSE", "JOSE+JSON", "at", "at+jwt2", "xat+jwt", "at+jwt ", " at+jwt", "application/", "application/application/at+jwt",
			"text/at+jwt", "at+jwt;v=1", "at+jwt\x00", "at\u200b+jwt", "",
		} {
			w.requireOnlyRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": typ}), w.claims(nil)))
		}
		w.requireRefusedBy("typ", w.login("alice").RefreshToken)
		for _, typ := range []string{"at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "APPLICATION/AT+JWT"} {
			w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"typ": typ}), w.claims(nil)))
		}
	}},
	{"H36", "typ missing when a type is required", func(t *testing.T) {
		w := newWorld(t)
		w.requireOnlyRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": nil}), w.claims(nil)))
		w.requireOnlyRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": nil, "cty": "at+jwt"}), w.claims(map[string]any{"typ": "at+jwt"})))
	}},
	{"H38", "typ of a wrong JSON type", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []string{`5`, `null`, `["at+jwt"]`, `{"typ":"at+jwt"}`, `true`, `[]`, `{}`} {
			h := header(w.key, map[string]any{"typ": json.RawMessage(value)})
			e := w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil)))
			require.ErrorContains(t, e, `"typ" has a value of a wrong JSON type`)
		}
	}},
	{"H40", "JWE offered as a token", func(t *testing.T) {
		secret := randomBytes(32)
		k, err := jwtauth.NewHMACKey(jwtauth.HS256, "", secret)
		require.NoError(t, err)
		w := newWorld(t)
		w.use(k)
		block, err := aes.NewCipher(secret)
		require.NoError(t, err)
		seal, err := cipher.NewGCM(block)
		require.NoError(t, err)
		h := header(k, map[string]any{"alg": "dir", "enc": "A256GCM"})
		head, nonce := unpadded([]byte(text(t, h))), randomBytes(seal.NonceSize())
		for _, inside := range []string{text(t, w.claims(nil)), w.sign(w.claims(nil))} {
			sealed := seal.Seal(nil, nonce, []byte(inside), []byte(head))
			tag := len(sealed) - seal.Overhead()
			token := strings.Join([]string{head, "", unpadded(nonce), unpadded(sealed[:tag]), unpadded(sealed[tag:])}, ".")
			w.requireRefusedBy("form", token)
		}
		w.requireRefusedBy("key", signWith(t, k, h, w.claims(nil)))
		w.requireRefusedBy("key", signWith(t, k, header(k, map[string]any{"alg": "A256GCM"}), w.claims(nil)))
	}},
	{"H42", "zip in a JWS", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			h := header(w.key, map[string]any{"zip": "DEF"})
			deflated := deflate(t, text(t, w.claims(nil)))
			w.requireRefusedBy("claims", signWith(t, w.key, h, deflated))
			w.requireRefusedBy("claims", signWith(t, w.key, header(w.key, nil), deflated))
		}
		w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		bomb := deflate(t, text(t, w.claims(nil))+strings.Repeat(" ", 4<<20))
		token := signWith(t, w.key, header(w.key, map[string]any{"zip": "DEF"}), bomb)
		require.Less(t, len(token), 8<<10)
		w.requireRefusedBy("claims", token)
		require.Less(t, allocated(func() { _, _ = w.verifier.Verify(t.Context(), token) }), uint64(64<<10))
	}},
	{"H43", "duplicate alg in the header", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			rest := `"typ":"at+jwt","kid":` + strconv.Quote(w.key.ID())
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
				e := w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil)))
				require.ErrorContains(t, e, "appears twice", "%s", h)
			}
			w.requireAccepted(signWith(t, w.key, `{"alg":"`+string(alg)+`",`+rest+`}`, w.claims(nil)))
		}
	}},
	{"H45", "header names in another case", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, beside := range []map[string]any{
				{"ALG": "none"}, {"Alg": string(alg)}, {"Kid": "x"}, {"KID": w.key.ID()}, {"\u212Aid": "x"}, {"TYP": "JWT"}, {"Typ": "at+jwt"},
			} {
				e := w.requireRefusedBy("header", signWith(t, w.key, header(w.key, beside), w.claims(nil)))
				require.ErrorContains(t, e, "appears twice", "%v", beside)
			}
			w.requireRefusedBy("key", signWith(t, w.key, header(w.key, map[string]any{"alg": nil, "ALG": string(alg)}), w.claims(nil)))
			w.requireOnlyRefusedBy("typ", signWith(t, w.key, header(w.key, map[string]any{"typ": nil, "TYP": "at+jwt"}), w.claims(nil)))

			// Instead of kid, it is as if there were no kid: one key of the algorithm
			// is found, and of two keys none, whatever the other name holds.
			w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"kid": nil, "Kid": "x"}), w.claims(nil)))
			w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"kid": nil, "\u212Aid": 7}), w.claims(nil)))
			require.NoError(t, w.keys.Set(w.key, w.key.VerificationKey().WithID("second")))
			for _, name := range []string{"Kid", "KID", "\u212Aid"} {
				for _, kid := range []string{w.key.ID(), "second"} {
					h := header(w.key, map[string]any{"kid": nil, name: kid})
					w.requireRefusedBy("key", signWith(t, w.key, h, w.claims(nil)))
				}
			}
		}
	}},
	{"H46", "header is not an object", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			inside := text(t, header(w.key, nil))
			for _, h := range []string{`null`, `[]`, `"x"`, `5`, `true`, ``, ` `, `{`, `}`, "\x00", `[` + inside + `]`, strconv.Quote(inside), inside + inside, inside + `x`, "\ufeff" + inside} {
				w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil)))
			}
			w.requireRefusedBy("key", signWith(t, w.key, `{"typ":"at+jwt"}`, w.claims(nil)))
			w.requireRefusedBy("typ", signWith(t, w.key, `{}`, w.claims(nil)))
		}
	}},
	{"H48", "JSON serialization", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireAccepted(good)
			part := strings.Split(good, ".")
			signature := map[string]any{"protected": part[0], "signature": part[2]}
			for _, form := range []map[string]any{
				{"payload": part[1], "protected": part[0], "signature": part[2]},
				{"payload": part[1], "protected": part[0], "header": map[string]any{"kid": w.key.ID()}, "signature": part[2]},
				{"payload": part[1], "header": header(w.key, nil), "signature": part[2]},
				{"payload": part[1], "signatures": []any{signature}},
				{"payload": part[1], "signatures": []any{signature, signature}},
				{"payload": part[1], "signatures": []any{}},
			} {
				w.requireRefusedBy("form", text(t, form))
				w.requireRefusedBy("form", unpadded([]byte(text(t, form))))
				// As many dots as a compact form has do not help.
				form["x"] = ".."
				w.requireRefusedBy("header", text(t, form))
			}
			w.requireRefused(`["` + good + `"]`)
			w.requireRefused(strconv.Quote(good))
		}
	}},
}

// everyAlgorithm are all algorithms, those of HMAC first, then those of RSA.
var everyAlgorithm = []jwtauth.Algorithm{
	jwtauth.HS256, jwtauth.HS384, jwtauth.HS512,
	jwtauth.RS256, jwtauth.RS384, jwtauth.RS512, jwtauth.PS256, jwtauth.PS384, jwtauth.PS512,
	jwtauth.ES256, jwtauth.ES384, jwtauth.ES512, jwtauth.EdDSA,
}

// requireRefusedBy is requireRefused, by the check that the case is about.
func (w *world) requireRefusedBy(check, token string) *jwtauth.Error {
	w.t.Helper()
	e := w.requireRefused(token)
	require.Equal(w.t, check, e.Check, "%v", e)
	return e
}

// requireOnlyRefusedBy also says that nothing else than that check refuses the
// token.
func (w *world) requireOnlyRefusedBy(check, token string) *jwtauth.Error {
	w.t.Helper()
	e := w.requireRefusedBy(check, token)
	_, err := w.verifier.Without(check).Verify(w.t.Context(), token)
	require.NoError(w.t, err, "it is not %s alone that refuses the token", check)
	return e
}

// use makes k the only key of the world.
func (w *world) use(k *jwtauth.SigningKey) {
	w.t.Helper()
	require.NoError(w.t, w.keys.Set(k))
	w.key = k
}

// rsaByHand is the one RSA key of the cases that make RSA signatures themselves.
var rsaByHand = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// rsaKeyFor is rsaByHand for one algorithm.
func rsaKeyFor(t testing.TB, alg jwtauth.Algorithm) *jwtauth.SigningKey {
	t.Helper()
	private, err := rsaByHand()
	require.NoError(t, err)
	k, err := jwtauth.NewSigningKey(alg, private)
	require.NoError(t, err)
	return k
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// unpadded is the encoding of a segment.
func unpadded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decodedPart decodes one of the segments of a token.
func decodedPart(t testing.TB, token string, n int) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	require.NoError(t, err)
	return b
}

// unsigned is what the signature of a token is over; see signWith.
func unsigned(t testing.TB, header, claims any) string {
	t.Helper()
	return unpadded([]byte(text(t, header))) + "." + unpadded([]byte(text(t, claims)))
}

// joined is a token with any signature.
func joined(t testing.TB, header, claims any, signature []byte) string {
	t.Helper()
	return unsigned(t, header, claims) + "." + unpadded(signature)
}

func digest(hash crypto.Hash, text string) []byte {
	h := hash.New()
	h.Write([]byte(text))
	return h.Sum(nil)
}

// hashOf is the hash of an algorithm that has one.
func hashOf(alg jwtauth.Algorithm) crypto.Hash {
	return map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(alg)[2:]]
}

// macOf is the third segment of a token, for any secret and any text.
func macOf(alg jwtauth.Algorithm, secret []byte, text string) string {
	h := hmac.New(hashOf(alg).New, secret)
	h.Write([]byte(text))
	return unpadded(h.Sum(nil))
}

// hmacToken signs with a secret that need not be a key of this library.
func hmacToken(t testing.TB, alg jwtauth.Algorithm, secret []byte, header, claims any) string {
	t.Helper()
	text := unsigned(t, header, claims)
	return text + "." + macOf(alg, secret, text)
}

// editJWK is the JWK of a key with changes; a nil value takes a member away.
func editJWK(t testing.TB, k *jwtauth.VerificationKey, changes map[string]any) []byte {
	t.Helper()
	jwk, err := k.JWK()
	require.NoError(t, err)
	return editObject(t, jwk, changes)
}

func editObject(t testing.TB, object []byte, changes map[string]any) []byte {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(object, &members))
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	edited, err := json.Marshal(members)
	require.NoError(t, err)
	return edited
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

// listener is a server that hands out what an attacker wants to be fetched.
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

// requireCounts says that nothing was asked of a listener, and that it would
// have been seen.
func requireCounts(t testing.TB, url string, requests *atomic.Int64) {
	t.Helper()
	require.Zero(t, requests.Load(), "something was fetched")
	r, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.EqualValues(t, 1, requests.Load())
}

// sources are the files of the root package and of the internal ones, without
// tests.
func sources(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	err = filepath.WalkDir("internal", func(path string, _ fs.DirEntry, err error) error {
		files = append(files, path)
		return err
	})
	require.NoError(t, err)
	var left []string
	for _, path := range files {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			left = append(left, path)
		}
	}
	require.Greater(t, len(left), 20)
	return left
}

// requireNoImport fails where the library imports one of the packages.
func requireNoImport(t testing.TB, packages ...string) {
	t.Helper()
	for _, path := range sources(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range file.Imports {
			for _, p := range packages {
				require.NotEqual(t, strconv.Quote(p), i.Path.Value, "%s imports %s", path, p)
			}
		}
	}
}
