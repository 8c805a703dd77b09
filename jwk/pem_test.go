package jwk_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestPEMRoundTripKeepsEveryKey(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm {
		k := fixture.KeyFor(t, alg)
		private, err := k.PrivatePEM()
		public, publicErr := k.Verification().PEM()
		if alg[:2] == "HS" {
			require.ErrorContains(t, err, "an HMAC key has no PEM form")
			require.ErrorContains(t, publicErr, "an HMAC key has no public half")
			require.Nil(t, private)
			require.Nil(t, public)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, publicErr)
		again, err := jwk.ParseSigning(alg, private)
		require.NoError(t, err)
		half, err := jwk.ParseVerification(alg, public)
		require.NoError(t, err)
		requireFits(t, k, again.Verification())
		requireFits(t, again, k.Verification())
		requireFits(t, k, half)
		twice, err := again.PrivatePEM()
		require.NoError(t, err)
		require.Equal(t, string(private), string(twice))
		twice, err = half.PEM()
		require.NoError(t, err)
		require.Equal(t, string(public), string(twice))
		require.True(t, strings.HasPrefix(string(private), "-----BEGIN PRIVATE KEY-----\n"))
		require.True(t, strings.HasPrefix(string(public), "-----BEGIN PUBLIC KEY-----\n"))

		// PEM does not hold the kid.
		renamed, err := k.WithID("x").PrivatePEM()
		require.NoError(t, err)
		require.Equal(t, string(private), string(renamed))
	}
}

// PEM does not name the algorithm of a key.
func TestPEMKeyGetsTheNaturalAlgorithm(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm[3:] {
		want := alg
		if _, ok := fixture.PublicOf(fixture.KeyFor(t, alg).Verification()).(*rsa.PublicKey); ok {
			want = jwk.RS256
		}
		private, err := fixture.KeyFor(t, alg).PrivatePEM()
		require.NoError(t, err)
		k, err := jwk.ParseSigning("", private)
		require.NoError(t, err)
		require.Equal(t, want, k.Algorithm())
		require.Equal(t, fixture.KeyFor(t, alg).ID(), k.ID())
		public, err := k.Verification().PEM()
		require.NoError(t, err)
		v, err := jwk.ParseVerification("", public)
		require.NoError(t, err)
		require.Equal(t, want, v.Algorithm())
		require.Equal(t, k.ID(), v.ID())
	}
}

func TestPEMIsReadInEveryFormOfTheField(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := jwk.NewSigning(jwk.RS256, private)
	require.NoError(t, err)
	ecKey, err := jwk.NewSigning(jwk.ES256, elliptical)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(elliptical)
	require.NoError(t, err)
	parameters, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(elliptical)
	require.NoError(t, err)
	pkix, err := x509.MarshalPKIXPublicKey(elliptical.Public())
	require.NoError(t, err)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ecPEM := block("PRIVATE KEY", pkcs8)
	for _, c := range []struct {
		text string
		want *jwk.SigningKey
	}{
		{block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), rsaKey},
		{block("EC PRIVATE KEY", sec1), ecKey},
		{block("EC PARAMETERS", parameters) + block("EC PRIVATE KEY", sec1), ecKey},
		{ecPEM, ecKey},
		{strings.ReplaceAll(ecPEM, "\n", "\r\n"), ecKey},
		{strings.TrimSpace(ecPEM), ecKey},
		{"\n\n" + ecPEM + "\n\n", ecKey},
		{"Key of the issuer\n" + ecPEM + "end\n", ecKey},
	} {
		k, err := jwk.ParseSigning("", []byte(c.text))
		require.NoError(t, err, c.text)
		requireFits(t, k, c.want.Verification())
	}
	certificate := func(public crypto.PublicKey, signer crypto.Signer) string {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)} // the dates do not count
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
		require.NoError(t, err)
		return block("CERTIFICATE", der)
	}
	for _, c := range []struct {
		text string
		want *jwk.SigningKey
	}{
		{block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&private.PublicKey)), rsaKey},
		{block("PUBLIC KEY", pkix), ecKey},
		{certificate(private.Public(), private), rsaKey},
		{certificate(elliptical.Public(), elliptical), ecKey},
	} {
		k, err := jwk.ParseVerification("", []byte(c.text))
		require.NoError(t, err, c.text)
		requireFits(t, c.want, k)
	}
}

func TestPEMErrorsTeach(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	ec := fixture.KeyFor(t, jwk.ES256)
	privatePEM, err := ec.PrivatePEM()
	require.NoError(t, err)
	publicPEM, err := ec.Verification().PEM()
	require.NoError(t, err)
	der := func(k any) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(t, err)
		return b
	}
	pkix := func(k any) []byte {
		b, err := x509.MarshalPKIXPublicKey(k)
		require.NoError(t, err)
		return b
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	encrypted := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: fixture.RandomBytes(1200),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00112233445566778899AABBCCDDEEFF"},
	})
	both := func(alg jwk.Algorithm, text []byte) error {
		k, err := jwk.ParseSigning(alg, text)
		require.True(t, k == nil || err == nil)
		v, second := jwk.ParseVerification(alg, text)
		require.True(t, v == nil || second == nil)
		require.Error(t, err)
		require.EqualError(t, second, err.Error())
		return err
	}
	signing := func(alg jwk.Algorithm, text []byte) error {
		k, err := jwk.ParseSigning(alg, text)
		require.True(t, k == nil || err == nil)
		return err
	}
	verifying := func(alg jwk.Algorithm, text []byte) error {
		k, err := jwk.ParseVerification(alg, text)
		require.True(t, k == nil || err == nil)
		return err
	}
	for _, c := range []struct {
		parse func(jwk.Algorithm, []byte) error
		alg   jwk.Algorithm
		text  []byte
		want  string
	}{
		{both, "", nil, "the text is empty; PEM (-----BEGIN …) or a JWK ({…) is expected"},
		{both, "", []byte("  \n"), "the text is empty"},
		{both, "", []byte("secret"), "no key found"},
		{both, "", pkix(private.Public()), "this looks like DER"},
		{both, "", []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 alice"), "format of OpenSSH"},
		{both, "", []byte("---- BEGIN SSH2 PUBLIC KEY ----"), "format of SSH2"},
		{both, "", bytes.Replace(privatePEM, []byte("\n"), []byte(" "), 1), "its line breaks are lost"},
		{both, "", privatePEM[:len(privatePEM)/2], "it is cut off"},
		{both, "", block("EC PARAMETERS", []byte{6}), "it is cut off"},
		{both, "", bytes.Repeat([]byte("x"), 64<<10+1), "a key of 65537 bytes, at most 65536 are read"},
		{both, "", append(bytes.Clone(privatePEM), publicPEM...), "more than one PEM block; give one key at a time"},
		{both, "", append(bytes.Clone(publicPEM), publicPEM...), "more than one PEM block"},
		{both, "", encrypted, "this private key is encrypted; decrypt it first: openssl pkey -in FILE"},

		{signing, "", publicPEM, "this PEM block holds a public key, which cannot sign; give the private key"},
		{signing, "", block("RSA PUBLIC KEY", nil), "this PEM block holds a public key"},
		{signing, "", block("CERTIFICATE", nil), "this PEM block holds a public key"},
		{signing, "", block("ENCRYPTED PRIVATE KEY", nil), "this private key is encrypted; decrypt it first"},
		{signing, "", block("OPENSSH PRIVATE KEY", nil), `unknown PEM block "OPENSSH PRIVATE KEY", expected PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY`},
		{signing, "", block("PRIVATE KEY", fixture.RandomBytes(64)), "the PEM block PRIVATE KEY holds no private key"},
		{signing, "", block("PRIVATE KEY", nil), "holds no private key"},
		{signing, "", block("RSA PRIVATE KEY", der(private)), "the PEM block RSA PRIVATE KEY holds no private key"},
		{signing, "", block("EC PRIVATE KEY", der(private)), "the PEM block EC PRIVATE KEY holds no private key"},
		{signing, "", block("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), "holds no private key"},
		{signing, "", block("PRIVATE KEY", der(x25519)), "holds no private key"},
		{signing, "", block("PRIVATE KEY", der(p224)), "no algorithm fits a P-224 key"},
		{signing, jwk.ES256, block("PRIVATE KEY", der(p224)), "algorithm ES256 needs a P-256 key, this one is P-224"},
		{signing, jwk.RS256, privatePEM, "algorithm RS256 needs an RSA key, this one is a P-256 key"},
		{signing, jwk.HS256, privatePEM, "algorithm HS256 needs a secret, this one is a P-256 key"},
		{signing, "ES257", privatePEM, `unknown algorithm "ES257"`},

		{verifying, "", privatePEM, "this PEM block holds a private key; a service that verifies needs the public one: openssl pkey -in FILE -pubout"},
		{verifying, "", block("RSA PRIVATE KEY", nil), "this PEM block holds a private key"},
		{verifying, "", block("EC PRIVATE KEY", nil), "this PEM block holds a private key"},
		{verifying, "", block("ENCRYPTED PRIVATE KEY", nil), "this PEM block holds a private key"},
		{verifying, "", block("CERTIFICATE REQUEST", nil), `unknown PEM block "CERTIFICATE REQUEST", expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE`},
		{verifying, "", block("PUBLIC KEY", fixture.RandomBytes(64)), "the PEM block PUBLIC KEY holds no public key"},
		{verifying, "", block("CERTIFICATE", fixture.RandomBytes(64)), "the PEM block CERTIFICATE holds no public key"},
		{verifying, "", block("RSA PUBLIC KEY", pkix(private.Public())), "the PEM block RSA PUBLIC KEY holds no public key"},
		{verifying, "", block("PUBLIC KEY", pkix(x25519.Public())), "no algorithm fits a *ecdh.PublicKey"},
		{verifying, "", block("PUBLIC KEY", pkix(p224.Public())), "no algorithm fits a P-224 key"},
		{verifying, jwk.ES384, publicPEM, "algorithm ES384 needs a P-384 key, this one is P-256"},
		{verifying, jwk.HS256, publicPEM, "algorithm HS256 needs a secret, this one is a P-256 key"},
		{verifying, "ES257", publicPEM, `unknown algorithm "ES257"`},
	} {
		err := c.parse(c.alg, c.text)
		require.ErrorContains(t, err, c.want)
		require.True(t, strings.HasPrefix(err.Error(), "jwk: "), "%v", err)
	}
}

// The error about a broken private key holds no part of the key.
func TestPEMErrorsShowNoSecret(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm[3:] {
		text, err := fixture.KeyFor(t, alg).PrivatePEM()
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		body := strings.Join(lines[1:len(lines)-1], "")
		for cut := range 200 {
			broken := bytes.Clone(text)
			if at := len(lines[0]) + 1 + cut%(len(text)-2*len(lines[0])); cut%2 == 0 {
				broken[at] = '!'
			} else {
				broken[at] ^= 1
			}
			_, err := jwk.ParseSigning("", broken)
			_, second := jwk.ParseVerification("", broken)
			for _, err := range []error{err, second} {
				if err == nil {
					continue
				}
				for at := 0; at+16 <= len(body); at += 8 {
					require.NotContains(t, err.Error(), body[at:at+16])
				}
			}
		}
	}
}
