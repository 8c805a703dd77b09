package jwtauth_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestGeneratedKeySignsAndVerifies(t *testing.T) {
	ids := make(map[string]bool)
	for _, alg := range everyAlgorithm {
		k := keyFor(t, alg)
		require.Equal(t, alg, k.Algorithm())
		require.Equal(t, alg, k.VerificationKey().Algorithm())
		require.Equal(t, k.ID(), k.VerificationKey().ID())
		require.Len(t, k.ID(), map[bool]int{true: 22, false: 43}[alg[:2] == "HS"])
		require.False(t, ids[k.ID()])
		ids[k.ID()] = true
		requireFits(t, k, k.VerificationKey())
	}
	for alg, bits := range map[jwtauth.Algorithm]int{jwtauth.RS256: 2048, jwtauth.PS512: 2048} {
		require.Equal(t, bits, jwtauth.PublicOf(keyFor(t, alg).VerificationKey()).(*rsa.PublicKey).N.BitLen())
	}
	k, err := jwtauth.GenerateKey("Ed25519")
	require.NoError(t, err)
	require.Equal(t, jwtauth.EdDSA, k.Algorithm())
}

// RFC 9864 calls EdDSA with Ed25519 by another name, which means the same key.
func TestEd25519KeyGoesByBothNames(t *testing.T) {
	w := newWorldWith(t, jwtauth.EdDSA)
	for _, name := range []string{"EdDSA", "Ed25519"} {
		w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"alg": name}), w.claims(nil)))
		w.requireAccepted(signWith(t, w.key, header(w.key, map[string]any{"alg": name, "kid": nil}), w.claims(nil)))
	}
	w.requireRefusedBy("key", signWith(t, w.key, header(w.key, map[string]any{"alg": "Ed448"}), w.claims(nil)))
	pem, err := w.key.PrivatePEM()
	require.NoError(t, err)
	for _, name := range []jwtauth.Algorithm{"", "EdDSA", "Ed25519"} {
		k, err := jwtauth.ParseSigningKey(name, pem)
		require.NoError(t, err)
		require.Equal(t, jwtauth.EdDSA, k.Algorithm())
		require.Equal(t, w.key.ID(), k.ID())
	}
}

// A kid must be the same in every process that has the secret, and after a
// restart; tell nothing about it; and be another one for another algorithm.
func TestHMACKeyIDComesFromTheSecret(t *testing.T) {
	secret := randomBytes(64)
	seen := make(map[string]bool)
	for _, alg := range everyAlgorithm[:3] {
		first, err := jwtauth.NewHMACKey(alg, "", secret)
		require.NoError(t, err)
		second, err := jwtauth.NewHMACKey(alg, "", bytes.Clone(secret))
		require.NoError(t, err)
		require.Equal(t, first.ID(), second.ID())

		mac := hmac.New(hashOf(alg).New, secret)
		mac.Write([]byte("jwtauth kid 1"))
		require.Equal(t, unpadded(mac.Sum(nil)[:16]), first.ID(), "processes of another version derive another kid")

		sum := digest(hashOf(alg), string(secret))
		require.NotContains(t, unpadded(sum), first.ID(), "a plain digest helps to guess the secret")
		require.NotContains(t, unpadded(secret), first.ID())
		require.False(t, seen[first.ID()])
		seen[first.ID()] = true

		named, err := jwtauth.NewHMACKey(alg, "primary", secret)
		require.NoError(t, err)
		require.Equal(t, "primary", named.ID())
		other, err := jwtauth.NewHMACKey(alg, "", randomBytes(64))
		require.NoError(t, err)
		require.NotEqual(t, first.ID(), other.ID())
	}
}

func TestHMACKeyKeepsACopyOfTheSecret(t *testing.T) {
	secret := randomBytes(32)
	k, err := jwtauth.NewHMACKey(jwtauth.HS256, "kid", secret)
	require.NoError(t, err)
	same, err := jwtauth.NewHMACKey(jwtauth.HS256, "kid", bytes.Clone(secret))
	require.NoError(t, err)
	clear(secret)
	requireFits(t, k, same.VerificationKey())
	jwk, err := k.PrivateJWK()
	require.NoError(t, err)
	want, err := same.PrivateJWK()
	require.NoError(t, err)
	require.Equal(t, string(want), string(jwk))
}

func TestWithIDRenamesACopyOfTheKey(t *testing.T) {
	for _, alg := range everyAlgorithm {
		k := keyFor(t, alg)
		id := k.ID()
		renamed := k.WithID("2026-11")
		require.Equal(t, id, k.ID())
		require.Equal(t, id, k.VerificationKey().ID())
		require.Equal(t, "2026-11", renamed.ID())
		require.Equal(t, "2026-11", renamed.VerificationKey().ID())
		require.Equal(t, alg, renamed.Algorithm())
		require.Equal(t, "x", k.VerificationKey().WithID("x").ID())
		requireFits(t, renamed, renamed.VerificationKey())

		// The tokens that it signs carry the new kid.
		w := newWorld(t)
		w.use(renamed)
		r := w.login("alice")
		w.requireAccepted(r.AccessToken)
		for _, token := range []string{r.AccessToken, r.RefreshToken} {
			var h struct{ Kid string }
			require.NoError(t, json.Unmarshal(decodedPart(t, token, 0), &h))
			require.Equal(t, "2026-11", h.Kid)
		}
		_, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
		require.NoError(t, err)
		w.requireRefusedBy("key", signWith(t, k, header(k, nil), w.claims(nil)))
	}
}

func TestUnusableKeyIDIsRefusedByTheRing(t *testing.T) {
	k := keyFor(t, jwtauth.ES256)
	for _, kid := range []string{"", strings.Repeat("k", 257), "\xff", "kid\xc3"} {
		_, err := jwtauth.NewKeyRing(k.WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 256 bytes of UTF-8", "%q", kid)
		_, err = jwtauth.NewKeyRing(k, k.VerificationKey().WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 256 bytes of UTF-8", "%q", kid)
		_, err = jwtauth.StaticKeys(k.VerificationKey().WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 256 bytes of UTF-8", "%q", kid)
		_, err = k.WithID(kid).PrivateJWK()
		require.Error(t, err)
		_, err = k.WithID(kid).PrivatePEM()
		require.Error(t, err)
		_, err = k.VerificationKey().WithID(kid).JWK()
		require.Error(t, err)
	}
	for _, kid := range []string{"k", strings.Repeat("k", 256), `"quoted" \ <b>&`, "\x00\n\x7f", "ключ 😀", "https://issuer.test/keys/1"} {
		w := newWorld(t)
		w.use(k.WithID(kid))
		w.requireAccepted(w.sign(w.claims(nil)))
		w.requireAccepted(w.login("alice").AccessToken)
		jwk, err := w.key.PrivateJWK()
		require.NoError(t, err)
		again, err := jwtauth.ParseSigningKey("", jwk)
		require.NoError(t, err)
		require.Equal(t, kid, again.ID())
	}
}

// Whoever gets one of these errors should know what to do next.
func TestKeyErrorsTeach(t *testing.T) {
	private, err := rsaByHand()
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	hmacKey := func(alg jwtauth.Algorithm, secret string) func() error {
		return func() error { _, err := jwtauth.NewHMACKey(alg, "", []byte(secret)); return err }
	}
	signer := func(alg jwtauth.Algorithm, s crypto.Signer) func() error {
		return func() error { _, err := jwtauth.NewSigningKey(alg, s); return err }
	}
	rsaWith := func(change func(*rsa.PublicKey)) crypto.Signer {
		pub := private.PublicKey
		pub.N = new(big.Int).Set(pub.N)
		change(&pub)
		return foreignSigner{publicOnly{&pub}}
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	swapped := *p256
	swapped.PublicKey = another.PublicKey
	for _, c := range []struct {
		name, want string
		try        func() error
	}{
		{"unknown algorithm", `unknown algorithm "HS257", expected one of HS256 to HS512`, hmacKey("HS257", "")},
		{"no algorithm", `unknown algorithm ""`, signer("", p256)},
		{"short secret", "algorithm HS256 needs a secret of at least 32 random bytes, this one has 31", hmacKey(jwtauth.HS256, string(randomBytes(31)))},
		{"short secret for HS512", "algorithm HS512 needs a secret of at least 64 random bytes, this one has 63", hmacKey(jwtauth.HS512, string(randomBytes(63)))},
		{"secret for RS256", "algorithm RS256 needs a public or private key, this one is a secret", hmacKey(jwtauth.RS256, string(randomBytes(64)))},
		{"one byte again and again", "this secret has only 1 different bytes, at least 12 are expected; generate one instead: openssl rand -base64 64", hmacKey(jwtauth.HS256, strings.Repeat("x", 64))},
		{"zeros", "this secret has only 1 different bytes, at least 16 are expected", hmacKey(jwtauth.HS256, string(make([]byte, 64)))},
		{"sequence", "follow a pattern; generate one instead", hmacKey(jwtauth.HS256, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz")},
		{"from the documents", "stands in public documents; generate one instead", hmacKey(jwtauth.HS256, "Your-256-Bit-Secret, but longer than that is")},
		{"no signer", "no key: the signer is nil", signer(jwtauth.ES256, nil)},
		{"empty RSA key", "no key: the RSA private key is empty", signer(jwtauth.RS256, new(rsa.PrivateKey))},
		{"empty EC key", "no key: the EC private key is empty", signer(jwtauth.ES256, (*ecdsa.PrivateKey)(nil))},
		{"empty Ed25519 key", "an Ed25519 private key has 64 bytes, this one has 0", signer(jwtauth.EdDSA, ed25519.PrivateKey{})},
		{"RSA key for ES256", "algorithm ES256 needs a P-256 key, this one is a 2048-bit RSA key", signer(jwtauth.ES256, private)},
		{"EC key for RS256", "algorithm RS256 needs an RSA key, this one is a P-256 key", signer(jwtauth.RS256, p256)},
		{"EC key for EdDSA", "algorithm EdDSA needs an Ed25519 key, this one is a P-384 key", signer(jwtauth.EdDSA, p384)},
		{"P-384 for ES256", "algorithm ES256 needs a P-256 key, this one is P-384", signer(jwtauth.ES256, p384)},
		{"Ed25519 for PS256", "algorithm PS256 needs an RSA key, this one is an Ed25519 key", signer(jwtauth.PS256, edwards)},
		{"private key for HS256", "algorithm HS256 needs a secret, this one is a 2048-bit RSA key", signer(jwtauth.HS256, private)},
		{"signer without a public key", "algorithm ES256 needs a P-256 key, this one is no key", signer(jwtauth.ES256, publicOnly{nil})},
		{"signer with an unknown key", "this one is a string", signer(jwtauth.ES256, publicOnly{"key"})},
		{"halves that differ", "the private half of this key does not fit its public half", signer(jwtauth.ES256, &swapped)},
		{"even modulus", "the modulus of this RSA key is even", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.N.SetBit(k.N, 0, 0) }))},
		{"exponent 1", "the exponent of an RSA key is odd, from 3 to 2^31-1, this one is 1", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 1 }))},
		{"exponent 2", "this one is 2", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 2 }))},
		{"exponent 0", "this one is 0", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 0 }))},
		{"8193 bits", "an RSA key may have at most 8192 bits, this one has 8193", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.N.SetBit(k.N, 8192, 1) }))},
		{"no modulus", "needs an RSA key, this one is an empty RSA key", signer(jwtauth.RS256, foreignSigner{publicOnly{new(rsa.PublicKey)}})},
		{"ROCA", "CVE-2017-15361", signer(jwtauth.RS256, rsaWith(func(k *rsa.PublicKey) { k.N = rocaModulus() }))},
		{"no keys", "no keys: StaticKeys needs at least one", func() error { _, err := jwtauth.StaticKeys(); return err }},
		{"no key set", "no keys: NewVerifier needs a KeyRing or StaticKeys", func() error { _, err := jwtauth.NewVerifier(nil, jwtauth.VerifierOptions{}); return err }},
		{"nil key", "no key: it is nil or was not made by this package", func() error { _, err := jwtauth.NewKeyRing(nil); return err }},
		{"zero key", "no key: it is nil or was not made by this package", func() error { _, err := jwtauth.NewKeyRing(new(jwtauth.SigningKey)); return err }},
		{"zero ring", "this KeyRing was not made by NewKeyRing", func() error { _, err := jwtauth.NewIssuer(new(jwtauth.KeyRing), jwtauth.IssuerOptions{}); return err }},
	} {
		err := c.try()
		require.ErrorContains(t, err, c.want, c.name)
		require.True(t, strings.HasPrefix(err.Error(), "jwtauth: "), "%s: %v", c.name, err)
	}
}

// rocaModulus is a modulus that the generator of CVE-2017-15361 might have
// made: a power of 65537 modulo every small prime.
func rocaModulus() *big.Int {
	product := big.NewInt(1)
	for _, p := range []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		product.Mul(product, big.NewInt(p))
	}
	power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(1234567), product)
	step := new(big.Int).Lsh(product, 1) // even, so that the sum stays odd
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	n.Sub(n, new(big.Int).Mod(n, step)).Add(n, step).Add(n, power)
	if n.Bit(0) == 0 {
		n.Add(n, product)
	}
	return n
}

// Nothing that prints, logs or encodes a key shows what must stay secret.
func TestKeyPrintsAsItsNameAlone(t *testing.T) {
	for _, alg := range everyAlgorithm {
		k := keyFor(t, alg)
		text, err := k.PrivateJWK()
		require.NoError(t, err)
		var members map[string]string
		require.NoError(t, json.Unmarshal(text, &members))
		var secrets []string
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if members[name] == "" {
				continue
			}
			secret, err := base64.RawURLEncoding.DecodeString(members[name])
			require.NoError(t, err)
			secrets = append(secrets,
				string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), hex.EncodeToString([]byte(members[name])),
				members[name], base64.StdEncoding.EncodeToString(secret), new(big.Int).SetBytes(secret).String(),
				strings.Trim(fmt.Sprint(secret[:8]), "[]"), strings.Trim(fmt.Sprintf("%#v", secret[:8]), "[]byte{}"), strings.Trim(fmt.Sprintf("%x", secret[:8]), "[]"),
			)
		}
		require.NotEmpty(t, secrets)

		type holder struct {
			Key   *jwtauth.SigningKey
			Value jwtauth.SigningKey
			Half  *jwtauth.VerificationKey
		}
		h := holder{k, *k, k.VerificationKey()}
		ring, err := jwtauth.NewKeyRing(k)
		require.NoError(t, err)
		issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
		require.NoError(t, err)
		values := []any{
			k, *k, &k, k.VerificationKey(), *k.VerificationKey(), h, &h, []any{k, *k}, map[string]any{"key": k}, [1]jwtauth.SigningKey{*k},
			ring, issuer, fmt.Errorf("with %v", k),
		}
		var logs bytes.Buffer
		for _, value := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%t", "%e", "%c", "%U", "% x", "%#x", "%40v", "%.3v"} {
				fmt.Fprintf(&logs, verb+"\n", value)
			}
			fmt.Fprintln(&logs, value)
			for _, handler := range []slog.Handler{slog.NewTextHandler(&logs, nil), slog.NewJSONHandler(&logs, nil)} {
				slog.New(handler).Info("key", "value", value)
				slog.New(handler).With("value", value).WithGroup("g").Info("key", slog.Group("h", "value", value))
			}
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			logs.Write(encoded)
		}
		for _, secret := range secrets {
			require.NotContains(t, logs.String(), secret, "%s", alg)
		}

		// What it does print is of use.
		name := fmt.Sprintf("SigningKey(%s %q)", alg, k.ID())
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			require.Equal(t, name, fmt.Sprintf(verb, k))
			require.Equal(t, name, fmt.Sprintf(verb, *k))
			require.Equal(t, "Verification"+strings.TrimPrefix(name, "Signing"), fmt.Sprintf(verb, k.VerificationKey()))
		}
		require.Equal(t, name, k.String())
		require.Equal(t, name, k.LogValue().String())
	}
}

func TestForeignKeyGetsTheDigest(t *testing.T) {
	for _, alg := range everyAlgorithm[3:] {
		w := newWorldWith(t, alg)
		service := newKMS(t, alg)
		for _, signer := range []crypto.Signer{service, cancellable{service}} {
			service.forget()
			k, err := jwtauth.NewSigningKey(alg, signer)
			require.NoError(t, err)
			require.Zero(t, service.calls, "the signer was called before there was anything to sign")
			require.Equal(t, alg, k.Algorithm())
			requireSameID(t, service.key.Public(), k)
			w.use(k)
			r := w.login("alice")
			w.requireAccepted(r.AccessToken)
			_, err = w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.NoError(t, err)

			require.Equal(t, 4, service.calls)
			signed := r.RefreshToken[:strings.LastIndexByte(r.RefreshToken, '.')]
			if alg == jwtauth.EdDSA {
				require.Equal(t, signed, string(service.digests[1]))
				require.Zero(t, service.opts.HashFunc())
			} else {
				require.Equal(t, digest(hashOf(alg), signed), service.digests[1])
				require.Equal(t, hashOf(alg), service.opts.HashFunc())
			}
			pss, ok := service.opts.(*rsa.PSSOptions)
			require.Equal(t, alg[:2] == "PS", ok)
			if ok {
				require.Equal(t, rsa.PSSSaltLengthEqualsHash, pss.SaltLength)
			}

			// It is published, and cannot be taken out of where it lives.
			_, err = k.VerificationKey().JWK()
			require.NoError(t, err)
			_, err = k.PrivateJWK()
			require.ErrorContains(t, err, "lives outside the process")
			_, err = k.PrivatePEM()
			require.ErrorContains(t, err, "lives outside the process")
			require.Equal(t, fmt.Sprintf("SigningKey(%s %q)", alg, k.ID()), fmt.Sprintf("%+v", k))
		}
	}
}

func TestForeignKeyMayReturnECDSAInBothForms(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{jwtauth.ES256, jwtauth.ES384, jwtauth.ES512} {
		w := newWorld(t)
		service := newKMS(t, alg)
		size := map[jwtauth.Algorithm]int{jwtauth.ES256: 32, jwtauth.ES384: 48, jwtauth.ES512: 66}[alg]
		k, err := jwtauth.NewSigningKey(alg, service)
		require.NoError(t, err)
		w.use(k)
		raw := func(der []byte) []byte {
			var numbers struct{ R, S *big.Int }
			_, err := asn1.Unmarshal(der, &numbers)
			require.NoError(t, err)
			return append(numbers.R.FillBytes(make([]byte, size)), numbers.S.FillBytes(make([]byte, size))...)
		}
		for _, form := range []func([]byte) []byte{nil, raw} {
			service.change = form
			for range 20 { // numbers with leading zeros and with a sign byte come up
				require.Len(t, decodedPart(t, w.login("alice").AccessToken, 2), 2*size)
				w.requireAccepted(w.login("alice").AccessToken)
			}
		}
	}
}

// A signature that the public key does not verify is never handed out: a broken
// service gives errors, not tokens.
func TestForeignKeyThatReturnsAnotherSignatureGivesNoToken(t *testing.T) {
	for _, alg := range everyAlgorithm[3:] {
		w := newWorldWith(t, alg)
		service, stranger := newKMS(t, alg), newKMS(t, alg)
		if alg[1] == 'S' && alg[0] != 'E' {
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			require.NoError(t, err)
			stranger.key = private
		}
		changes := map[string]func(made []byte) []byte{
			"nothing":          func([]byte) []byte { return nil },
			"zeros":            func(made []byte) []byte { return make([]byte, len(made)) },
			"one bit":          func(made []byte) []byte { made[len(made)-1] ^= 1; return made },
			"one byte less":    func(made []byte) []byte { return made[:len(made)-1] },
			"one byte more":    func(made []byte) []byte { return append(made, 0) },
			"the digest":       func([]byte) []byte { return service.digests[len(service.digests)-1] },
			"twice":            func(made []byte) []byte { return append(made, made...) },
			"a text":           func([]byte) []byte { return []byte("not authorized") },
			"of another text":  func([]byte) []byte { return stranger.mustSign(service.key, make([]byte, 64), service.opts) },
			"of a stranger":    func([]byte) []byte { return stranger.mustSign(stranger.key, service.last(), service.opts) },
			"in base64":        func(made []byte) []byte { return []byte(unpadded(made)) },
			"a large sequence": func([]byte) []byte { return append([]byte{0x30, 0x82, 0xFF, 0xFF}, make([]byte, 1<<16)...) },
		}
		for name, change := range changes {
			for _, signer := range []crypto.Signer{service, cancellable{service}} {
				service.forget()
				k, err := jwtauth.NewSigningKey(alg, signer)
				require.NoError(t, err)
				w.use(k)
				r := w.login("alice")
				service.change = change
				w.requireNoTokens("does not verify", r.RefreshToken, name)
				service.change = nil
				_, err = w.issuer.Refresh(t.Context(), r.RefreshToken)
				require.NoError(t, err, "%s %s: the refresh token was still good", alg, name)
			}
		}
	}
}

// requireNoTokens says that neither Issue nor Refresh hands out anything, that
// the answer is unavailable, and that a session was neither opened nor changed.
func (w *world) requireNoTokens(why, refreshToken, name string) {
	w.t.Helper()
	before, err := w.issuer.Sessions(w.t.Context(), "alice")
	require.NoError(w.t, err)
	w.kinds()
	for _, try := range []func(context.Context) (jwtauth.TokenResponse, error){
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		},
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
		},
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.issuer.Refresh(ctx, refreshToken)
		},
	} {
		r, err := try(w.t.Context())
		require.Zero(w.t, r, name)
		require.ErrorIs(w.t, err, jwtauth.ErrUnavailable, name)
		require.NotErrorIs(w.t, err, jwtauth.ErrRefused, name)
		require.ErrorContains(w.t, err, why, name)
		require.Equal(w.t, []jwtauth.EventKind{jwtauth.Unavailable}, w.kinds(), name)
	}
	after, err := w.issuer.Sessions(w.t.Context(), "alice")
	require.NoError(w.t, err)
	require.Equal(w.t, before, after, name)
}

func TestForeignKeyThatFailsGivesNoToken(t *testing.T) {
	errDown := errors.New("the key service is down")
	for _, alg := range []jwtauth.Algorithm{jwtauth.RS256, jwtauth.ES256, jwtauth.EdDSA} {
		w := newWorldWith(t, alg)
		service := newKMS(t, alg)
		for _, signer := range []crypto.Signer{service, cancellable{service}} {
			service.forget()
			k, err := jwtauth.NewSigningKey(alg, signer)
			require.NoError(t, err)
			w.use(k)
			r := w.login("alice")
			service.err = errDown
			w.requireNoTokens(errDown.Error(), r.RefreshToken, "down")
			_, err = w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, errDown)
			w.requireAccepted(r.AccessToken) // verifying needs no signer

			// It fails at the second of the two signatures.
			service.err, service.failAt = nil, service.calls+2
			got, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Zero(t, got)
			_, err = w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.NoError(t, err)
		}
	}
}

func TestForeignKeyIsCancelledWithTheContext(t *testing.T) {
	w := newWorld(t)
	service := newKMS(t, jwtauth.ES256)
	k, err := jwtauth.NewSigningKey(jwtauth.ES256, cancellable{service})
	require.NoError(t, err)
	w.use(k)
	r := w.login("alice")

	// It is cancelled while it signs.
	calls := service.calls
	for _, try := range []func(context.Context) (jwtauth.TokenResponse, error){
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		},
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.issuer.Refresh(ctx, r.RefreshToken)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		service.wait = func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		got, err := try(ctx)
		require.Zero(t, got)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, calls+2, service.calls)

	// Neither kind of signer is called with a context that has ended.
	service.wait = nil
	for _, signer := range []crypto.Signer{service, cancellable{service}} {
		k, err := jwtauth.NewSigningKey(jwtauth.ES256, signer)
		require.NoError(t, err)
		w.use(k)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		calls := service.calls
		got, err := w.issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
		require.Zero(t, got)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, calls, service.calls)
	}
}

func TestSlowForeignKeyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		service := newKMS(t, jwtauth.ES256)
		k, err := jwtauth.NewSigningKey(jwtauth.ES256, cancellable{service})
		require.NoError(t, err)
		w.use(k)
		service.wait = func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		began := time.Now()
		w.requireAccepted(w.login("alice").AccessToken)
		require.Equal(t, 40*time.Second, time.Since(began))

		// The caller's own deadline counts.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got, err := w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		require.Zero(t, got)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 70*time.Second, time.Since(began))
	})
}

// Half of the grace is all the time there is between reading the clock and the
// step that changes the session.
func TestForeignKeySlowerThanTheGraceLeavesTheRefreshTokenGood(t *testing.T) {
	w := newWorld(t)
	service := newKMS(t, jwtauth.ES256)
	k, err := jwtauth.NewSigningKey(jwtauth.ES256, service)
	require.NoError(t, err)
	w.use(k)
	r := w.login("alice")
	service.wait = func(context.Context) error { w.clock.Advance(3 * time.Second); return nil }
	got, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
	require.Zero(t, got)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorContains(t, err, "signing took 6s")
	service.wait = func(context.Context) error { w.clock.Advance(2 * time.Second); return nil }
	_, err = w.issuer.Refresh(t.Context(), r.RefreshToken)
	require.NoError(t, err)
}

func TestZeroAndNilKeysDoNothing(t *testing.T) {
	good := keyFor(t, jwtauth.ES256)
	for _, k := range []*jwtauth.SigningKey{nil, {}} {
		require.Empty(t, k.ID())
		require.Empty(t, k.Algorithm())
		require.Nil(t, k.VerificationKey())
		require.Empty(t, k.WithID("x").ID())
		_, err := k.PrivatePEM()
		require.Error(t, err)
		_, err = k.PrivateJWK()
		require.Error(t, err)
		ring, err := jwtauth.NewKeyRing(k)
		require.Error(t, err)
		require.Nil(t, ring)
	}
	for _, k := range []*jwtauth.VerificationKey{nil, {}, new(jwtauth.VerificationKey).WithID("x")} {
		require.Empty(t, k.Algorithm())
		_, err := k.PEM()
		require.Error(t, err)
		_, err = k.JWK()
		require.Error(t, err)
		_, err = jwtauth.StaticKeys(k)
		require.Error(t, err)
		_, err = jwtauth.StaticKeys(good.VerificationKey(), k)
		require.Error(t, err)
		_, err = jwtauth.NewKeyRing(good, k)
		require.Error(t, err)
	}
	require.Nil(t, (*jwtauth.VerificationKey)(nil).WithID("x"))
	for _, ring := range []*jwtauth.KeyRing{nil, {}} {
		v, err := jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
		require.Error(t, err)
		require.Nil(t, v)
	}
	require.Error(t, (*jwtauth.KeyRing)(nil).Set(good))

	// A zero ring that is set is a ring.
	ring := new(jwtauth.KeyRing)
	require.NoError(t, ring.Set(good))
	_, err := jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}})
	require.NoError(t, err)

	// Printing and logging them is no panic.
	values := []any{(*jwtauth.SigningKey)(nil), new(jwtauth.SigningKey), (*jwtauth.VerificationKey)(nil), new(jwtauth.VerificationKey), (*jwtauth.KeyRing)(nil), new(jwtauth.KeyRing)}
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			require.NotContains(t, fmt.Sprintf(verb, value), "PANIC")
		}
		require.NotPanics(t, func() { slog.New(slog.NewTextHandler(io.Discard, nil)).Info("key", "value", value) })
		require.NotPanics(t, func() { _, _ = json.Marshal(value) })
	}
}

func TestKeyRingSetReplacesAllKeysOrNone(t *testing.T) {
	a, b, c := keyFor(t, jwtauth.ES256), keyFor(t, jwtauth.EdDSA), keyFor(t, jwtauth.HS256)
	w := newWorld(t)
	w.use(a)
	tokenOf := func(k *jwtauth.SigningKey) string { return signWith(t, k, header(k, nil), w.claims(nil)) }
	signs := func() string {
		var h struct{ Kid string }
		require.NoError(t, json.Unmarshal(decodedPart(t, w.login("alice").AccessToken, 0), &h))
		return h.Kid
	}
	w.requireAccepted(tokenOf(a))
	w.requireRefusedBy("key", tokenOf(b))

	// The new key is known before it signs, and the old one after it did.
	require.NoError(t, w.keys.Set(a, b.VerificationKey()))
	require.Equal(t, a.ID(), signs())
	w.requireAccepted(tokenOf(a))
	w.requireAccepted(tokenOf(b))
	require.NoError(t, w.keys.Set(b, a.VerificationKey()))
	require.Equal(t, b.ID(), signs())
	w.requireAccepted(tokenOf(a))
	w.requireAccepted(tokenOf(b))
	require.NoError(t, w.keys.Set(b))
	w.requireRefusedBy("key", tokenOf(a))
	w.requireAccepted(tokenOf(b))

	// An error leaves everything as it was.
	served := w.jwks(t)
	for _, wrong := range []struct {
		signing  *jwtauth.SigningKey
		accepted []*jwtauth.VerificationKey
		want     string
	}{
		{nil, nil, "no key"},
		{nil, []*jwtauth.VerificationKey{a.VerificationKey()}, "no key"},
		{c, []*jwtauth.VerificationKey{nil}, "no key"},
		{c, []*jwtauth.VerificationKey{a.VerificationKey(), new(jwtauth.VerificationKey)}, "no key"},
		{c, []*jwtauth.VerificationKey{c.VerificationKey()}, "two keys have the kid"},
		{c, []*jwtauth.VerificationKey{a.VerificationKey(), a.VerificationKey()}, "two keys have the kid"},
		{c, []*jwtauth.VerificationKey{a.VerificationKey().WithID(c.ID())}, "two keys have the kid"},
		{c.WithID(""), nil, "a kid has"},
	} {
		require.ErrorContains(t, w.keys.Set(wrong.signing, wrong.accepted...), wrong.want)
		_, err := jwtauth.NewKeyRing(wrong.signing, wrong.accepted...)
		require.ErrorContains(t, err, wrong.want)
		require.Equal(t, b.ID(), signs())
		w.requireAccepted(tokenOf(b))
		w.requireRefusedBy("key", tokenOf(a))
		w.requireRefusedBy("key", tokenOf(c))
		require.Equal(t, served, w.jwks(t))
	}

	// The ring keeps no slice of the caller's.
	accepted := []*jwtauth.VerificationKey{a.VerificationKey()}
	require.NoError(t, w.keys.Set(b, accepted...))
	accepted[0] = c.VerificationKey()
	w.requireAccepted(tokenOf(a))
	w.requireRefusedBy("key", tokenOf(c))
}

// Keys that are read from their texts anew, as on a signal, are the same keys:
// what they have verified stays good. Whatever else has the same kid is another
// key.
func TestKeyRingSetKnowsTheSameKeyAgain(t *testing.T) {
	reread := func(k *jwtauth.SigningKey) *jwtauth.SigningKey {
		text, err := k.PrivateJWK()
		require.NoError(t, err)
		again, err := jwtauth.ParseSigningKey("", text)
		require.NoError(t, err)
		return again
	}
	for _, alg := range everyAlgorithm {
		for _, kid := range []string{keyFor(t, alg).ID(), "2026-11"} {
			k := keyFor(t, alg).WithID(kid)
			w := newWorld(t)
			w.use(k)
			token := w.sign(w.claims(nil))
			verified := w.requireAccepted(token)
			served := w.jwks(t)

			require.NoError(t, w.keys.Set(reread(k)))
			w.requireAccepted(token)
			require.NoError(t, w.verifier.Recheck(t.Context(), verified))
			require.Equal(t, served, w.jwks(t))
			require.NoError(t, w.keys.Set(keyFor(t, jwtauth.ES256).WithID("other"), reread(k).VerificationKey()))
			w.requireAccepted(token)
			require.NoError(t, w.verifier.Recheck(t.Context(), verified))

			others := []*jwtauth.SigningKey{newKeyOf(t, alg).WithID(kid), keyFor(t, alg).WithID("renamed")}
			if alg == jwtauth.RS256 { // one RSA key for two algorithms
				private, err := keyFor(t, alg).PrivatePEM()
				require.NoError(t, err)
				pss, err := jwtauth.ParseSigningKey(jwtauth.PS256, private)
				require.NoError(t, err)
				others = append(others, pss.WithID(kid))
			}
			for _, other := range others {
				require.NoError(t, w.keys.Set(other))
				w.requireRefused(token)
				require.ErrorIs(t, w.verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenKey)
			}
		}
	}
}

func TestStaticKeysKeepNoSliceOfTheCaller(t *testing.T) {
	a, b := keyFor(t, jwtauth.ES256), keyFor(t, jwtauth.EdDSA)
	keys := []*jwtauth.VerificationKey{a.VerificationKey()}
	set, err := jwtauth.StaticKeys(keys...)
	require.NoError(t, err)
	keys[0] = b.VerificationKey()
	w := newWorld(t)
	v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), signWith(t, a, header(a, nil), w.claims(nil)))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), signWith(t, a, header(a, map[string]any{"kid": nil}), w.claims(nil)))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), signWith(t, b, header(b, map[string]any{"kid": nil}), w.claims(nil)))
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)
	_, err = jwtauth.StaticKeys(a.VerificationKey(), b.VerificationKey().WithID(a.ID()))
	require.ErrorContains(t, err, "two keys have the kid")
}

// Without a kid, the only key of the algorithm is taken, and of two keys none.
func TestTokenWithoutKidNeedsTheOnlyKeyOfItsAlgorithm(t *testing.T) {
	a, b, other := keyFor(t, jwtauth.ES256), newKey(t, jwtauth.ES256, false), keyFor(t, jwtauth.ES384)
	w := newWorld(t)
	require.NoError(t, w.keys.Set(a, other.VerificationKey()))
	for _, k := range []*jwtauth.SigningKey{a, other} {
		w.requireAccepted(signWith(t, k, header(k, map[string]any{"kid": nil}), w.claims(nil)))
	}
	require.NoError(t, w.keys.Set(a, other.VerificationKey(), b.VerificationKey()))
	for _, k := range []*jwtauth.SigningKey{a, b} {
		w.requireRefusedBy("key", signWith(t, k, header(k, map[string]any{"kid": nil}), w.claims(nil)))
		w.requireAccepted(signWith(t, k, header(k, nil), w.claims(nil)))
	}
	w.requireAccepted(signWith(t, other, header(other, map[string]any{"kid": nil}), w.claims(nil)))
}

func TestKeyRingIsReplacedWhileItServes(t *testing.T) {
	a, b := keyFor(t, jwtauth.ES256), keyFor(t, jwtauth.EdDSA)
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
	require.NoError(t, w.keys.Set(a, b.VerificationKey()))
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 100 {
				r, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					_, err = w.verifier.Verify(t.Context(), r.AccessToken)
				}
				if err != nil {
					t.Error(err)
					return
				}
				_ = w.jwks(t)
			}
		})
	}
	for range 200 {
		require.NoError(t, w.keys.Set(b, a.VerificationKey()))
		require.NoError(t, w.keys.Set(a, b.VerificationKey()))
	}
	users.Wait()
}

// requireFits says that what one key signs the other one verifies, under its own
// kid and algorithm.
func requireFits(t testing.TB, signing *jwtauth.SigningKey, verifying *jwtauth.VerificationKey) {
	t.Helper()
	require.Equal(t, signing.ID(), verifying.ID())
	require.Equal(t, signing.Algorithm(), verifying.Algorithm())
	w := newWorld(t)
	set, err := jwtauth.StaticKeys(verifying)
	require.NoError(t, err)
	v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), signWith(t, signing, header(signing, nil), w.claims(nil)))
	require.NoError(t, err)
	w.use(signing)
	_, err = v.Verify(t.Context(), w.login("alice").AccessToken)
	require.NoError(t, err)
}

// requireSameID says that the kid of a key is the thumbprint of a public key, as
// RFC 7638 makes it.
func requireSameID(t testing.TB, public crypto.PublicKey, k *jwtauth.SigningKey) {
	t.Helper()
	members := make(map[string]string) // encoding/json sorts them, as the RFC wants it
	switch pub := public.(type) {
	case *rsa.PublicKey:
		members = map[string]string{"kty": "RSA", "n": unpadded(pub.N.Bytes()), "e": unpadded(big.NewInt(int64(pub.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		require.NoError(t, err)
		size := len(point) / 2
		members = map[string]string{"kty": "EC", "crv": pub.Params().Name, "x": unpadded(point[1 : 1+size]), "y": unpadded(point[1+size:])}
	case ed25519.PublicKey:
		members = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": unpadded(pub)}
	}
	sum := sha256.Sum256([]byte(text(t, members)))
	require.Equal(t, unpadded(sum[:]), k.ID())
}

// kms is a signer that lives elsewhere.
type kms struct {
	key     crypto.Signer
	calls   int
	digests [][]byte
	opts    crypto.SignerOpts

	err    error
	failAt int                         // the number of the call that fails
	wait   func(context.Context) error // before it signs
	change func(made []byte) []byte    // what it returns in place of the signature
}

func newKMS(t testing.TB, alg jwtauth.Algorithm) *kms {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jwtauth.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwtauth.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jwtauth.ES512:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jwtauth.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsaByHand()
	}
	require.NoError(t, err)
	return &kms{key: key}
}

func (k *kms) forget() { *k = kms{key: k.key} }

func (k *kms) last() []byte { return k.digests[len(k.digests)-1] }

func (k *kms) Public() crypto.PublicKey { return k.key.Public() }

func (k *kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.sign(context.Background(), random, digest, opts)
}

func (k *kms) sign(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.calls++
	k.digests, k.opts = append(k.digests, bytes.Clone(digest)), opts
	if k.wait != nil {
		if err := k.wait(ctx); err != nil {
			return nil, err
		}
	}
	if k.err != nil || k.calls == k.failAt {
		return nil, cmp.Or(k.err, errors.New("no"))
	}
	made, err := k.key.Sign(random, digest, opts)
	if err == nil && k.change != nil {
		made = k.change(made)
	}
	return made, err
}

// mustSign signs with any key; a digest of a wrong length is cut.
func (k *kms) mustSign(key crypto.Signer, digest []byte, opts crypto.SignerOpts) []byte {
	if hash := opts.HashFunc(); hash != 0 {
		digest = digest[:hash.Size()]
	}
	made, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		panic(err)
	}
	return made
}

// cancellable is a kms with SignContext, which is then the one that is called.
type cancellable struct{ service *kms }

var _ jwtauth.ContextSigner = cancellable{}

func (c cancellable) Public() crypto.PublicKey { return c.service.Public() }

func (c cancellable) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("Sign was called in place of SignContext")
}

func (c cancellable) SignContext(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.service.sign(ctx, random, digest, opts)
}
