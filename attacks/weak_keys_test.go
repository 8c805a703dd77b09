package attacks_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// requireLeftOut fails if the remote set takes the weak key of a document, or loses the
// good one beside it, or if a verifier of the set accepts token.
func requireLeftOut(t *testing.T, weak, token string) {
	t.Helper()
	_, err := jwk.ParseVerification("", []byte(weak))
	require.Error(t, err)
	good, err := fixture.NewKey(t, jwk.ES256).Verification().JWK()
	require.NoError(t, err)
	r := fixture.NewRemote(t)
	r.Source.Serve(fixture.Document(fmt.Sprintf(`{"keys":[%s,%s]}`, weak, good)))
	require.NoError(t, r.Set.Ready(t.Context()))
	require.Equal(t, 1, r.Set.Status().Keys)
	v, err := jwtauth.NewVerifier(r.Set, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: r.Clock.Now})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), token)
	require.Error(t, err)
}

// signingInput returns the first two segments of a token.
func signingInput(t *testing.T, alg string) string {
	t.Helper()
	claims, err := json.Marshal(fixture.New(t).Claims(nil))
	require.NoError(t, err)
	return fixture.Unpadded([]byte(`{"typ":"at+jwt","kid":"weak","alg":"`+alg+`"}`)) + "." + fixture.Unpadded(claims)
}

var weakKeyAttacks = []attack{
	{"S33", "Ed25519 key of small order", func(t *testing.T) {
		identity := append([]byte{1}, make([]byte, 31)...)
		text := signingInput(t, "EdDSA")
		forged := append(identity[:32:32], make([]byte, 32)...) // R is the identity, S is 0
		require.True(t, ed25519.Verify(identity, []byte(text), forged), "the signature holds for every text")
		requireLeftOut(t, `{"kty":"OKP","kid":"weak","crv":"Ed25519","x":"`+fixture.Unpadded(identity)+`"}`, text+"."+fixture.Unpadded(forged))
	}},
	{"S34", "RSA modulus that anybody can factor", func(t *testing.T) {
		prime := func(bits int) *big.Int {
			for {
				p, err := rand.Prime(rand.Reader, bits)
				require.NoError(t, err)
				if new(big.Int).Mod(p, big.NewInt(65537)).Cmp(big.NewInt(1)) > 0 { // or e has no inverse
					return p
				}
			}
		}
		one, e := big.NewInt(1), big.NewInt(65537)
		p, q := prime(1024), prime(2048)
		for name, weak := range map[string]struct{ n, order *big.Int }{ // the order tells the private exponent
			"a prime":  {q, new(big.Int).Sub(q, one)},
			"a square": {new(big.Int).Mul(p, p), new(big.Int).Mul(p, new(big.Int).Sub(p, one))},
			"3q":       {new(big.Int).Mul(big.NewInt(3), q), new(big.Int).Mul(big.NewInt(2), new(big.Int).Sub(q, one))},
		} {
			t.Run(name, func(t *testing.T) {
				text := signingInput(t, "RS256")
				digest := sha256.Sum256([]byte(text))
				d := new(big.Int).ModInverse(e, weak.order)
				require.NotNil(t, d)
				// The encoding of PKCS #1 v1.5, by hand.
				size := (weak.n.BitLen() + 7) / 8
				info := append([]byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"), digest[:]...)
				encoded := append([]byte{0, 1}, make([]byte, size-2)...)
				for i := 2; i < size-len(info)-1; i++ {
					encoded[i] = 0xFF
				}
				copy(encoded[size-len(info):], info)
				forged := new(big.Int).Exp(new(big.Int).SetBytes(encoded), d, weak.n).FillBytes(make([]byte, size))
				require.NoError(t, rsa.VerifyPKCS1v15(&rsa.PublicKey{N: weak.n, E: 65537}, crypto.SHA256, digest[:], forged), "forged from the public key alone")
				requireLeftOut(t, `{"kty":"RSA","kid":"weak","e":"AQAB","n":"`+fixture.Unpadded(weak.n.Bytes())+`"}`, text+"."+fixture.Unpadded(forged))
			})
		}
	}},
	{"S35", "public key as HMAC secret", func(t *testing.T) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		require.NoError(t, err)
		for _, public := range [][]byte{
			pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), der, key.N.Bytes(),
			base64.StdEncoding.AppendEncode(nil, der),
			[]byte(`{"kty":"RSA","e":"AQAB","n":"` + fixture.Unpadded(key.N.Bytes()) + `"}`),
		} {
			_, err := jwk.NewHMAC(jwk.HS256, "", public)
			require.ErrorContains(t, err, "public key")
			_, err = jwk.ParseSigning("", []byte(`{"kty":"oct","k":"`+fixture.Unpadded(public)+`"}`))
			require.ErrorContains(t, err, "public key")
		}
	}},
	{"S36", "published HMAC secret", func(t *testing.T) {
		const published = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7" // of a tutorial
		mac := hmac.New(sha256.New, []byte(published))
		mac.Write([]byte(signingInput(t, "HS256")))
		require.Len(t, mac.Sum(nil), 32, "anybody can sign with it")
		for _, secret := range []string{published, "your-super-secret-jwt-token-with-at-least-32-characters-long", "change-this-secret-in-production-please"} {
			_, err := jwk.NewHMAC(jwk.HS256, "", []byte(secret))
			require.ErrorContains(t, err, "generate one instead")
		}
	}},
}
