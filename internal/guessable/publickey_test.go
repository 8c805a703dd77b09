package guessable_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/guessable"
)

// sshBlob is what the public key has inside of a line of OpenSSH.
func sshBlob(k *rsa.PublicKey) (blob []byte) {
	for _, field := range [][]byte{[]byte("ssh-rsa"), big.NewInt(int64(k.E)).Bytes(), append([]byte{0}, k.N.Bytes()...)} {
		blob = binary.BigEndian.AppendUint32(blob, uint32(len(field)))
		blob = append(blob, field...)
	}
	return blob
}

func certificate(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

// colons writes bytes as OpenSSL does.
func colons(b []byte) string {
	var pairs []string
	for _, c := range b {
		pairs = append(pairs, fmt.Sprintf("%02x", c))
	}
	return strings.Join(pairs, ":")
}

// A service that verifies HMAC with a public key accepts the tokens of everybody who has
// the public key.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	point, err := ecKey.PublicKey.Bytes()
	require.NoError(t, err)
	n := rsaKey.N.Bytes()
	inBase64 := base64.RawURLEncoding.EncodeToString

	ders := map[string][]byte{"PKCS#1": x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "EC": ecKey, "Ed25519": edKey} {
		ders["PKIX, "+name], err = x509.MarshalPKIXPublicKey(key.Public())
		require.NoError(t, err)
		ders["certificate, "+name] = certificate(t, key)
	}
	jwk := fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"AQAB"}`, inBase64(n))
	ssh := "ssh-rsa " + base64.StdEncoding.EncodeToString(sshBlob(&rsaKey.PublicKey)) + " alice@example.com"
	forms := map[string][]byte{
		"JWK":                              []byte(jwk),
		"JWK, EC":                          fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, inBase64(point[1:33]), inBase64(point[33:])),
		"JWK Set":                          []byte(`{"keys":[` + jwk + `]}`),
		"OpenSSH":                          []byte(ssh),
		"OpenSSH, Ed25519":                 []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + strings.Repeat("x", 43)),
		"OpenSSH, with options":            []byte("no-pty " + ssh),
		"OpenSSH, inside":                  sshBlob(&rsaKey.PublicKey),
		"SSH2":                             []byte("---- BEGIN SSH2 PUBLIC KEY ----\n" + base64.StdEncoding.EncodeToString(sshBlob(&rsaKey.PublicKey))),
		"the modulus":                      n,
		"the modulus, as a signed number":  append([]byte{0}, n...),
		"the modulus, base64url":           []byte(inBase64(n)),
		"the modulus of openssl -modulus":  []byte("Modulus=" + strings.ToUpper(hex.EncodeToString(n)) + "\n"),
		"the modulus, capital hexadecimal": []byte(strings.ToUpper(hex.EncodeToString(n))),
		"the modulus of openssl -text":     []byte("Modulus:\n    00:" + colons(n)),
		"the modulus, 0x":                  []byte("0x" + hex.EncodeToString(n)),
		"the modulus, decimal":             []byte(rsaKey.N.String()),
		"a point of P-256":                 point,
	}
	for name, der := range ders {
		block := "PUBLIC KEY"
		if strings.HasPrefix(name, "certificate") {
			block = "CERTIFICATE"
		}
		text := pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der})
		forms["DER, "+name] = der
		forms["PEM, "+name] = text
		forms["PEM in one line, "+name] = bytes.ReplaceAll(text, []byte("\n"), []byte(`\n`))
		forms["PEM in base64, "+name] = base64.StdEncoding.AppendEncode(nil, text)
		forms["base64 of DER, "+name] = base64.StdEncoding.AppendEncode(nil, der)
		forms["base64url of DER, "+name] = base64.RawURLEncoding.AppendEncode(nil, der)
		forms["hexadecimal of DER, "+name] = hex.AppendEncode(nil, der)
	}
	for name, secret := range forms {
		for around, secret := range map[string][]byte{"": secret, ", a line feed": append(bytes.Clone(secret), '\n')} {
			if around != "" && bytes.ContainsFunc(secret, func(r rune) bool { return r > 0x7F }) {
				continue // bytes, not a text
			}
			err := guessable.Check(secret)
			require.ErrorContains(t, err, "public key", name+around)
			require.NotContains(t, err.Error(), string(secret[:8]))
		}
	}
}

func TestAPrivateKeyIsNoSecret(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, secret := range map[string][]byte{
		"PEM":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"PKCS#8": der,
		"PKCS#1": x509.MarshalPKCS1PrivateKey(key),
		"base64": base64.StdEncoding.AppendEncode(nil, der),
		"JWK":    []byte(`{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString(random(32)) + `"}`),
	} {
		require.ErrorContains(t, guessable.Check(secret), "jwk.ParseSigning", name)
	}
}

// As long as a modulus, and no modulus: an even number, a small one, one with a small
// factor.
func TestSecretsAsLongAsAModulusAreAccepted(t *testing.T) {
	for _, size := range []int{256, 384, 512, 1024} {
		for range 20 {
			b := random(size)
			b[size-1] &^= 1
			require.NoError(t, guessable.Check(b))
			require.NoError(t, guessable.Check(base64.RawURLEncoding.AppendEncode(nil, b)))
			b[0] &= 0x7F
			b[size-1] |= 1
			require.NoError(t, guessable.Check(b))
		}
	}
}
