package jwk_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestGeneratedKeySignsAndVerifies(t *testing.T) {
	ids := make(map[string]bool)
	for _, alg := range fixture.EveryAlgorithm {
		k := fixture.KeyFor(t, alg)
		require.Equal(t, alg, k.Algorithm())
		require.Equal(t, alg, k.Verification().Algorithm())
		require.Equal(t, k.ID(), k.Verification().ID())
		require.Len(t, k.ID(), map[bool]int{true: 22, false: 43}[alg[:2] == "HS"])
		require.False(t, ids[k.ID()])
		ids[k.ID()] = true
		requireFits(t, k, k.Verification())
	}
	for alg, bits := range map[jwk.Algorithm]int{jwk.RS256: 2048, jwk.PS512: 2048} {
		require.Equal(t, bits, fixture.PublicOf(fixture.KeyFor(t, alg).Verification()).(*rsa.PublicKey).N.BitLen())
	}
	k, err := jwk.Generate("Ed25519")
	require.NoError(t, err)
	require.Equal(t, jwk.EdDSA, k.Algorithm())
}

// RFC 9864 gives EdDSA with Ed25519 a second name, for the same keys.
func TestEd25519KeyGoesByBothNames(t *testing.T) {
	w := fixture.NewWith(t, jwk.EdDSA)
	for _, name := range []string{"EdDSA", "Ed25519"} {
		w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"alg": name}), w.Claims(nil)))
		w.RequireAccepted(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"alg": name, "kid": nil}), w.Claims(nil)))
	}
	w.RequireRefusedBy("key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"alg": "Ed448"}), w.Claims(nil)))
	pem, err := w.Key.PrivatePEM()
	require.NoError(t, err)
	for _, name := range []jwk.Algorithm{"", "EdDSA", "Ed25519"} {
		k, err := jwk.ParseSigning(name, pem)
		require.NoError(t, err)
		require.Equal(t, jwk.EdDSA, k.Algorithm())
		require.Equal(t, w.Key.ID(), k.ID())
	}
}

// The kid is the same in every process that has the secret. It says nothing about the
// secret. Another algorithm has another kid.
func TestHMACKeyIDComesFromTheSecret(t *testing.T) {
	secret := fixture.RandomBytes(64)
	seen := make(map[string]bool)
	for _, alg := range fixture.EveryAlgorithm[:3] {
		first, err := jwk.NewHMAC(alg, "", secret)
		require.NoError(t, err)
		second, err := jwk.NewHMAC(alg, "", bytes.Clone(secret))
		require.NoError(t, err)
		require.Equal(t, first.ID(), second.ID())

		mac := hmac.New(fixture.HashOf(alg).New, secret)
		mac.Write([]byte("jwtauth kid 1"))
		require.Equal(t, fixture.Unpadded(mac.Sum(nil)[:16]), first.ID(), "processes of another version derive another kid")

		sum := fixture.Digest(fixture.HashOf(alg), string(secret))
		require.NotContains(t, fixture.Unpadded(sum), first.ID(), "a plain digest helps to guess the secret")
		require.NotContains(t, fixture.Unpadded(secret), first.ID())
		require.False(t, seen[first.ID()])
		seen[first.ID()] = true

		named, err := jwk.NewHMAC(alg, "primary", secret)
		require.NoError(t, err)
		require.Equal(t, "primary", named.ID())
		other, err := jwk.NewHMAC(alg, "", fixture.RandomBytes(64))
		require.NoError(t, err)
		require.NotEqual(t, first.ID(), other.ID())
	}
}

func TestHMACKeyKeepsACopyOfTheSecret(t *testing.T) {
	secret := fixture.RandomBytes(32)
	k, err := jwk.NewHMAC(jwk.HS256, "kid", secret)
	require.NoError(t, err)
	same, err := jwk.NewHMAC(jwk.HS256, "kid", bytes.Clone(secret))
	require.NoError(t, err)
	clear(secret)
	requireFits(t, k, same.Verification())
	keyText, err := k.PrivateJWK()
	require.NoError(t, err)
	want, err := same.PrivateJWK()
	require.NoError(t, err)
	require.Equal(t, string(want), string(keyText))
}

func TestWithIDRenamesACopyOfTheKey(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		k := fixture.KeyFor(t, alg)
		id := k.ID()
		renamed := k.WithID("2026-11")
		require.Equal(t, id, k.ID())
		require.Equal(t, id, k.Verification().ID())
		require.Equal(t, "2026-11", renamed.ID())
		require.Equal(t, "2026-11", renamed.Verification().ID())
		require.Equal(t, alg, renamed.Algorithm())
		require.Equal(t, "x", k.Verification().WithID("x").ID())
		requireFits(t, renamed, renamed.Verification())

		// The tokens that it signs carry the new kid.
		w := fixture.New(t)
		w.Use(renamed)
		r := w.Login("alice")
		w.RequireAccepted(r.AccessToken)
		for _, token := range []string{r.AccessToken, r.RefreshToken} {
			var h struct{ Kid string }
			require.NoError(t, json.Unmarshal(fixture.DecodedPart(t, token, 0), &h))
			require.Equal(t, "2026-11", h.Kid)
		}
		_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.NoError(t, err)
		w.RequireRefusedBy("key", fixture.SignWith(t, k, fixture.Header(k, nil), w.Claims(nil)))
	}
}

func TestUnusableKeyIDIsRefusedByTheRing(t *testing.T) {
	k := fixture.KeyFor(t, jwk.ES256)
	for _, kid := range []string{"", strings.Repeat("k", 1025), "\xff", "kid\xc3"} {
		_, err := jwk.NewRing(k.WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 1024 bytes of UTF-8", "%q", kid)
		_, err = jwk.NewRing(k, k.Verification().WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 1024 bytes of UTF-8", "%q", kid)
		_, err = jwk.Static(k.Verification().WithID(kid))
		require.ErrorContains(t, err, "a kid has 1 to 1024 bytes of UTF-8", "%q", kid)
		_, err = k.WithID(kid).PrivateJWK()
		require.Error(t, err)
		_, err = k.WithID(kid).PrivatePEM()
		require.Error(t, err)
		_, err = k.Verification().WithID(kid).JWK()
		require.Error(t, err)
	}
	for _, kid := range []string{"k", strings.Repeat("k", 256), `"quoted" \ <b>&`, "\x00\n\x7f", "ключ 😀", "https://issuer.test/keys/1"} {
		w := fixture.New(t)
		w.Use(k.WithID(kid))
		w.RequireAccepted(w.Sign(w.Claims(nil)))
		w.RequireAccepted(w.Login("alice").AccessToken)
		keyText, err := w.Key.PrivateJWK()
		require.NoError(t, err)
		again, err := jwk.ParseSigning("", keyText)
		require.NoError(t, err)
		require.Equal(t, kid, again.ID())
	}
}

// Each error tells its reader what to do next.
func TestKeyErrorsTeach(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	hmacKey := func(alg jwk.Algorithm, secret string) func() error {
		return func() error { _, err := jwk.NewHMAC(alg, "", []byte(secret)); return err }
	}
	signer := func(alg jwk.Algorithm, s crypto.Signer) func() error {
		return func() error { _, err := jwk.NewSigning(alg, s); return err }
	}
	rsaWith := func(change func(*rsa.PublicKey)) crypto.Signer {
		pub := private.PublicKey
		pub.N = new(big.Int).Set(pub.N)
		change(&pub)
		return fixture.ForeignSigner{Signer: fixture.PublicOnly{Key: &pub}}
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
		{"short secret", "algorithm HS256 needs a secret of at least 32 random bytes, this one has 31", hmacKey(jwk.HS256, string(fixture.RandomBytes(31)))},
		{"short secret for HS512", "algorithm HS512 needs a secret of at least 64 random bytes, this one has 63", hmacKey(jwk.HS512, string(fixture.RandomBytes(63)))},
		{"secret for RS256", "algorithm RS256 needs a public or private key, this one is a secret", hmacKey(jwk.RS256, string(fixture.RandomBytes(64)))},
		{"one byte again and again", "the bytes of this secret follow a pattern; generate one instead: openssl rand -base64 64", hmacKey(jwk.HS256, strings.Repeat("x", 64))},
		{"zeros", "this secret appears in public documents", hmacKey(jwk.HS256, string(make([]byte, 64)))},
		{"sequence", "appears in public documents; generate one instead", hmacKey(jwk.HS256, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz")},
		{"from the documents", "appears in public documents; generate one instead", hmacKey(jwk.HS256, "Your-256-Bit-Secret, but longer than that is")},
		{"no signer", "no key: the signer is nil", signer(jwk.ES256, nil)},
		{"empty RSA key", "no key: the RSA private key is empty", signer(jwk.RS256, new(rsa.PrivateKey))},
		{"empty EC key", "no key: the EC private key is empty", signer(jwk.ES256, (*ecdsa.PrivateKey)(nil))},
		{"empty Ed25519 key", "an Ed25519 private key has 64 bytes, this one has 0", signer(jwk.EdDSA, ed25519.PrivateKey{})},
		{"RSA key for ES256", "algorithm ES256 needs a P-256 key, this one is a 2048-bit RSA key", signer(jwk.ES256, private)},
		{"EC key for RS256", "algorithm RS256 needs an RSA key, this one is a P-256 key", signer(jwk.RS256, p256)},
		{"EC key for EdDSA", "algorithm EdDSA needs an Ed25519 key, this one is a P-384 key", signer(jwk.EdDSA, p384)},
		{"P-384 for ES256", "algorithm ES256 needs a P-256 key, this one is P-384", signer(jwk.ES256, p384)},
		{"Ed25519 for PS256", "algorithm PS256 needs an RSA key, this one is an Ed25519 key", signer(jwk.PS256, edwards)},
		{"private key for HS256", "algorithm HS256 needs a secret, this one is a 2048-bit RSA key", signer(jwk.HS256, private)},
		{"signer without a public key", "algorithm ES256 needs a P-256 key, this one is no key", signer(jwk.ES256, fixture.PublicOnly{Key: nil})},
		{"signer with an unknown key", "this one is a string", signer(jwk.ES256, fixture.PublicOnly{Key: "key"})},
		{"halves that differ", "the private half of this key does not fit its public half", signer(jwk.ES256, &swapped)},
		{"even modulus", "the modulus of this RSA key is even", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.N.SetBit(k.N, 0, 0) }))},
		{"exponent 1", "the exponent of an RSA key is odd, from 3 to 2^31-1, this one is 1", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 1 }))},
		{"exponent 2", "this one is 2", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 2 }))},
		{"exponent 0", "this one is 0", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.E = 0 }))},
		{"8193 bits", "an RSA key may have at most 8192 bits, this one has 8193", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.N.SetBit(k.N, 8192, 1) }))},
		{"no modulus", "needs an RSA key, this one is an empty RSA key", signer(jwk.RS256, fixture.ForeignSigner{Signer: fixture.PublicOnly{Key: new(rsa.PublicKey)}})},
		{"ROCA", "CVE-2017-15361", signer(jwk.RS256, rsaWith(func(k *rsa.PublicKey) { k.N = rocaModulus() }))},
		{"no keys", "no keys: Static needs at least one", func() error { _, err := jwk.Static(); return err }},
		{"nil key", "no key: it is nil or was not made by this package", func() error { _, err := jwk.NewRing(nil); return err }},
		{"zero key", "no key: it is nil or was not made by this package", func() error { _, err := jwk.NewRing(new(jwk.SigningKey)); return err }},
		{"zero ring", "this Ring was not made by NewRing or OpenRing", func() error { _, err := jwtauth.NewIssuer(new(jwk.Ring), jwtauth.IssuerOptions{}); return err }},
	} {
		err := c.try()
		require.ErrorContains(t, err, c.want, c.name)
		require.True(t, strings.HasPrefix(err.Error(), "jwk: "), "%s: %v", c.name, err)
	}
	_, err = jwtauth.NewVerifier(nil, jwtauth.VerifierOptions{})
	require.EqualError(t, err, "jwtauth: no keys: NewVerifier needs a jwk.Ring, a jwk.Remote or a jwk.StaticSet")
}

// rocaModulus returns a modulus that the generator of CVE-2017-15361 might have made: modulo
// every small prime, it is a power of 65537.
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

// No way to print, log or encode a key shows the secret.
func TestKeyPrintsAsItsNameAlone(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		k := fixture.KeyFor(t, alg)
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
			Key   *jwk.SigningKey
			Value jwk.SigningKey
			Half  *jwk.VerificationKey
		}
		h := holder{k, *k, k.Verification()}
		ring, err := jwk.NewRing(k)
		require.NoError(t, err)
		issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.NoError(t, err)
		values := []any{
			k, *k, &k, k.Verification(), *k.Verification(), h, &h, []any{k, *k}, map[string]any{"key": k}, [1]jwk.SigningKey{*k},
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

		// The printed name is useful.
		name := fmt.Sprintf("SigningKey(%s %q)", alg, k.ID())
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			require.Equal(t, name, fmt.Sprintf(verb, k))
			require.Equal(t, name, fmt.Sprintf(verb, *k))
			require.Equal(t, "Verification"+strings.TrimPrefix(name, "Signing"), fmt.Sprintf(verb, k.Verification()))
		}
		require.Equal(t, name, k.String())
		require.Equal(t, name, k.LogValue().String())
	}
}

func TestZeroAndNilKeysDoNothing(t *testing.T) {
	good := fixture.KeyFor(t, jwk.ES256)
	for _, k := range []*jwk.SigningKey{nil, {}} {
		require.Empty(t, k.ID())
		require.Empty(t, k.Algorithm())
		require.Nil(t, k.Verification())
		require.Empty(t, k.WithID("x").ID())
		_, err := k.PrivatePEM()
		require.Error(t, err)
		_, err = k.PrivateJWK()
		require.Error(t, err)
		ring, err := jwk.NewRing(k)
		require.Error(t, err)
		require.Nil(t, ring)
	}
	for _, k := range []*jwk.VerificationKey{nil, {}, new(jwk.VerificationKey).WithID("x")} {
		require.Empty(t, k.Algorithm())
		_, err := k.PEM()
		require.Error(t, err)
		_, err = k.JWK()
		require.Error(t, err)
		_, err = jwk.Static(k)
		require.Error(t, err)
		_, err = jwk.Static(good.Verification(), k)
		require.Error(t, err)
		_, err = jwk.NewRing(good, k)
		require.Error(t, err)
	}
	require.Nil(t, (*jwk.VerificationKey)(nil).WithID("x"))
	for _, ring := range []*jwk.Ring{nil, {}} {
		v, err := jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.Error(t, err)
		require.Nil(t, v)
	}
	require.Error(t, (*jwk.Ring)(nil).Replace(good))

	// A zero ring that is set is a ring.
	ring := new(jwk.Ring)
	require.NoError(t, ring.Replace(good))
	_, err := jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
	require.NoError(t, err)

	// Printing and logging them is no panic.
	values := []any{(*jwk.SigningKey)(nil), new(jwk.SigningKey), (*jwk.VerificationKey)(nil), new(jwk.VerificationKey), (*jwk.Ring)(nil), new(jwk.Ring)}
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			require.NotContains(t, fmt.Sprintf(verb, value), "PANIC")
		}
		require.NotPanics(t, func() { slog.New(slog.NewTextHandler(io.Discard, nil)).Info("key", "value", value) })
		require.NotPanics(t, func() { _, _ = json.Marshal(value) })
	}
}

// requireFits fails the test unless verifying has the kid and algorithm of signing, and
// verifies its tokens.
func requireFits(t testing.TB, signing *jwk.SigningKey, verifying *jwk.VerificationKey) {
	t.Helper()
	require.Equal(t, signing.ID(), verifying.ID())
	require.Equal(t, signing.Algorithm(), verifying.Algorithm())
	w := fixture.New(t)
	set, err := jwk.Static(verifying)
	require.NoError(t, err)
	v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), fixture.SignWith(t, signing, fixture.Header(signing, nil), w.Claims(nil)))
	require.NoError(t, err)
	w.Use(signing)
	_, err = v.Verify(t.Context(), w.Login("alice").AccessToken)
	require.NoError(t, err)
}

// requireSameID fails the test unless the kid of k is the thumbprint (RFC 7638) of a public
// key.
func requireSameID(t testing.TB, public crypto.PublicKey, k *jwk.SigningKey) {
	t.Helper()
	members := make(map[string]string) // encoding/json sorts them, as the RFC requires
	switch pub := public.(type) {
	case *rsa.PublicKey:
		members = map[string]string{"kty": "RSA", "n": fixture.Unpadded(pub.N.Bytes()), "e": fixture.Unpadded(big.NewInt(int64(pub.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		require.NoError(t, err)
		size := len(point) / 2
		members = map[string]string{"kty": "EC", "crv": pub.Params().Name, "x": fixture.Unpadded(point[1 : 1+size]), "y": fixture.Unpadded(point[1+size:])}
	case ed25519.PublicKey:
		members = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": fixture.Unpadded(pub)}
	}
	sum := sha256.Sum256([]byte(fixture.Text(t, members)))
	require.Equal(t, fixture.Unpadded(sum[:]), k.ID())
}
