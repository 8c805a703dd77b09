package jwk_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// Environment variables and files of settings hold PEM in one line.
func TestPEMWithWrittenLineBreaksIsRead(t *testing.T) {
	key, err := jwk.Generate(jwk.ES256)
	require.NoError(t, err)
	text, err := key.PrivatePEM()
	require.NoError(t, err)
	for name, lineBreak := range map[string]string{`\n`: `\n`, `\r\n`: `\r\n`} {
		for around, quote := range map[string]string{"": "", " in quotes": `"`, " in single quotes": "'"} {
			oneLine := quote + strings.ReplaceAll(string(text), "\n", lineBreak) + quote
			got, err := jwk.ParseSigning("", []byte(oneLine))
			require.NoError(t, err, name+around)
			require.Equal(t, key.ID(), got.ID())
		}
	}
	two := strings.ReplaceAll(string(text)+string(text), "\n", `\n`)
	_, err = jwk.ParseSigning("", []byte(two))
	require.ErrorContains(t, err, "more than one PEM block")
}

func TestNumbersOfAJWKHaveOneSpelling(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	inBase64 := base64.RawURLEncoding.EncodeToString
	parse := func(n, e []byte) error {
		_, err := jwk.ParseVerification("", fmt.Appendf(nil, `{"kty":"RSA","n":"%s","e":"%s"}`, inBase64(n), inBase64(e)))
		return err
	}
	n, e := key.N.Bytes(), []byte{1, 0, 1}
	require.NoError(t, parse(n, e))
	require.NoError(t, parse(append([]byte{0}, n...), e), "what old programs write before a high bit")
	require.ErrorContains(t, parse(append([]byte{0, 0}, n...), e), "the member n begins with a zero octet")
	require.ErrorContains(t, parse(n, append([]byte{0}, e...)), "the member e begins with a zero octet")
	require.ErrorContains(t, parse(n, append(make([]byte, 200), e...)), "the member e begins with a zero octet")
	require.ErrorContains(t, parse(n, []byte{0}), "the member e begins with a zero octet")
	require.Error(t, parse([]byte{0}, e))
}

// Every door by which a public key comes in refuses a key under which everybody can
// sign, and leaves the others of a set alone.
func TestKeysUnderWhichEverybodyCanSignAreRefusedAtEveryDoor(t *testing.T) {
	prime, err := rand.Prime(rand.Reader, 2048)
	require.NoError(t, err)
	weakRSA := &rsa.PublicKey{N: prime, E: 65537}
	pkixRSA, err := x509.MarshalPKIXPublicKey(weakRSA)
	require.NoError(t, err)
	identity := append([]byte{1}, make([]byte, 31)...)
	pkixEd := append([]byte("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"), identity...)
	jwks := map[string]string{
		"a prime":      fmt.Sprintf(`{"kty":"RSA","kid":"weak","n":"%s","e":"AQAB"}`, base64.RawURLEncoding.EncodeToString(prime.Bytes())),
		"the identity": fmt.Sprintf(`{"kty":"OKP","kid":"weak","crv":"Ed25519","x":"%s"}`, base64.RawURLEncoding.EncodeToString(identity)),
	}
	texts := [][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkixRSA}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(weakRSA)}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkixEd}),
	}
	for _, text := range jwks {
		texts = append(texts, []byte(text))
	}
	for _, text := range texts {
		_, err := jwk.ParseVerification("", text)
		require.ErrorContains(t, err, "key", string(text))
	}
	good, err := jwk.Generate(jwk.EdDSA)
	require.NoError(t, err)
	for name, weak := range jwks {
		var document bytes.Buffer
		text, err := good.Verification().JWK()
		require.NoError(t, err)
		fmt.Fprintf(&document, `{"keys":[%s,%s]}`, weak, text)
		r := fixture.NewRemote(t)
		r.Source.Serve(fixture.Document(document.String()))
		require.NoError(t, r.Set.Ready(t.Context()))
		require.Equal(t, 1, r.Set.Status().Keys, name)
	}
}
