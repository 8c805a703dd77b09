package jwk_test

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
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// A door is a way by which a public key enters. Each returns why the key is refused.
var publicDoors = map[string]func(t *testing.T, pub crypto.PublicKey) error{
	"PEM": func(t *testing.T, pub crypto.PublicKey) error {
		return parsed(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, pub)}))
	},
	"PEM of an environment variable": func(t *testing.T, pub crypto.PublicKey) error {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, pub)}))
		return parsed([]byte(strings.ReplaceAll(text, "\n", `\n`)))
	},
	"PEM with carriage returns": func(t *testing.T, pub crypto.PublicKey) error {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, pub)}))
		return parsed([]byte("Bag Attributes\r\n  localKeyID: 01\r\n" + strings.ReplaceAll(text, "\n", "\r\n")))
	},
	"certificate": func(t *testing.T, pub crypto.PublicKey) error {
		return parsed(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t, pub)}))
	},
	"JWK": func(t *testing.T, pub crypto.PublicKey) error { return parsed(publicJWK(t, pub)) },
	"JWK Set": func(t *testing.T, pub crypto.PublicKey) error {
		r := fixture.NewRemote(t)
		good := fixture.NewKey(t, jwk.ES384)
		r.Source.Serve(fixture.Document(`{"keys":[` + string(publicJWK(t, pub)) + `,` + string(goodJWK(t, good)) + `]}`))
		require.NoError(t, r.Set.Ready(t.Context()), "one bad key spoils the set")
		if r.Set.Status().Keys == 2 {
			return nil
		}
		return io.EOF
	},
	"crypto.Signer": func(t *testing.T, pub crypto.PublicKey) error {
		alg := map[bool]jwk.Algorithm{true: jwk.RS256}[isRSA(pub)]
		switch pub := pub.(type) {
		case ed25519.PublicKey:
			alg = jwk.EdDSA
		case *ecdsa.PublicKey:
			alg = map[int]jwk.Algorithm{256: jwk.ES256, 384: jwk.ES384, 521: jwk.ES512}[pub.Curve.Params().BitSize]
		}
		_, err := jwk.NewSigning(alg, elsewhere{pub})
		return err
	},
}

func isRSA(pub crypto.PublicKey) bool {
	_, ok := pub.(*rsa.PublicKey)
	return ok
}

// elsewhere is a signer whose private key lies elsewhere, such as in a KMS.
type elsewhere struct{ pub crypto.PublicKey }

func (e elsewhere) Public() crypto.PublicKey { return e.pub }
func (elsewhere) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

func parsed(data []byte) error {
	_, err := jwk.ParseVerification("", data)
	return err
}

func spki(t *testing.T, pub crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(pub)
	require.NoError(t, err)
	return der
}

func certificate(t *testing.T, pub crypto.PublicKey) []byte {
	ca := fixture.NewKey(t, jwk.ES256)
	text, err := ca.PrivatePEM()
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, private)
	require.NoError(t, err)
	return der
}

func publicJWK(t *testing.T, pub crypto.PublicKey) []byte {
	encode := base64.RawURLEncoding.EncodeToString
	members := map[string]any{"kid": "k", "use": "sig", "x5t": "", "ext": true, "issued_by": map[string]any{"ca": nil}}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		members["kty"], members["n"], members["e"] = "RSA", encode(pub.N.Bytes()), encode(big.NewInt(int64(pub.E)).Bytes())
	case ed25519.PublicKey:
		members["kty"], members["crv"], members["x"] = "OKP", "Ed25519", encode(pub)
	case *ecdsa.PublicKey:
		size := (pub.Curve.Params().BitSize + 7) / 8
		members["kty"], members["crv"] = "EC", pub.Curve.Params().Name
		point, err := pub.Bytes()
		require.NoError(t, err)
		members["x"], members["y"] = encode(point[1:1+size]), encode(point[1+size:])
	}
	text, err := json.Marshal(members)
	require.NoError(t, err)
	return text
}

func goodJWK(t *testing.T, k *jwk.SigningKey) []byte {
	text, err := k.Verification().JWK()
	require.NoError(t, err)
	return text
}

func TestAWeakPublicKeyEntersByNoDoor(t *testing.T) {
	prime := func(bits int) *big.Int {
		p, err := rand.Prime(rand.Reader, bits)
		require.NoError(t, err)
		return p
	}
	rsaKey := func(n *big.Int, e int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: e} }
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p := prime(1024)
	next := new(big.Int).Add(p, big.NewInt(2))
	for ; !next.ProbablyPrime(20); next.Add(next, big.NewInt(2)) {
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	weak := map[string]crypto.PublicKey{
		"RSA of 1024 bits":         &small.PublicKey,
		"RSA, a prime":             rsaKey(prime(2048), 65537),
		"RSA, three times a prime": rsaKey(new(big.Int).Mul(big.NewInt(3), prime(2047)), 65537),
		"RSA, a square":            rsaKey(new(big.Int).Mul(p, p), 65537),
		"RSA, two close primes":    rsaKey(new(big.Int).Mul(p, next), 65537),
		"RSA, an even modulus":     rsaKey(new(big.Int).Lsh(prime(2047), 1), 65537),
		"RSA, exponent 1":          rsaKey(good.N, 1),
		"RSA, an even exponent":    rsaKey(good.N, 65536),
		"P-224":                    &p224.PublicKey,
	}
	for i, x := range smallOrder {
		weak["Ed25519 of small order "+string(rune('a'+i))] = ed25519.PublicKey(x)
	}
	for name, pub := range weak {
		for door, enter := range publicDoors {
			t.Run(name+", "+door, func(t *testing.T) { require.Error(t, enter(t, pub)) })
		}
	}
}

// smallOrder are encodings of the points of small order on edwards25519, and two that are
// not canonical.
var smallOrder = func() (list [][]byte) {
	for _, hex := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		n, _ := new(big.Int).SetString(hex, 16)
		list = append(list, n.FillBytes(make([]byte, 32)))
	}
	return list
}()

func TestAGoodKeyEntersByEveryDoor(t *testing.T) {
	for name, alg := range map[string]jwk.Algorithm{"P-256": jwk.ES256, "P-384": jwk.ES384, "P-521": jwk.ES512, "Ed25519": jwk.EdDSA, "RSA": jwk.RS256} {
		text, err := fixture.NewKey(t, alg).Verification().PEM()
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		require.NoError(t, err)
		for door, enter := range publicDoors {
			t.Run(name+", "+door, func(t *testing.T) { require.NoError(t, enter(t, pub)) })
		}
	}
	three, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	odd := rsa.PublicKey{N: three.N, E: 3}
	for door, enter := range publicDoors {
		t.Run("RSA with exponent 3, "+door, func(t *testing.T) { require.NoError(t, enter(t, &odd)) })
	}
}

// secretDoors are the ways by which a secret enters.
var secretDoors = map[string]func(t *testing.T, secret []byte) error{
	"NewHMAC": func(t *testing.T, secret []byte) error {
		_, err := jwk.NewHMAC(jwk.HS256, "", secret)
		return err
	},
	"JWK": func(t *testing.T, secret []byte) error {
		_, err := jwk.ParseSigning("", octJWK(t, secret))
		return err
	},
	"keydir": func(t *testing.T, secret []byte) error {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "k.jwk"), octJWK(t, secret), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte(`{"keys":[{"file":"k.jwk"}]}`), 0o600))
		_, err := jwk.OpenRing(t.Context(), keydir.New(dir), jwk.RingOptions{})
		return err
	},
}

func octJWK(t *testing.T, secret []byte) []byte {
	text, err := json.Marshal(map[string]string{"kty": "oct", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString(secret)})
	require.NoError(t, err)
	return text
}

func TestASecretThatCanBeGuessedEntersByNoDoor(t *testing.T) {
	public, err := fixture.NewKey(t, jwk.ES256).Verification().PEM()
	require.NoError(t, err)
	for name, secret := range map[string][]byte{
		"short":        []byte("0123456789abcdef0123456789abcde"),
		"zeros":        make([]byte, 32),
		"one letter":   bytes.Repeat([]byte("a"), 64),
		"repeated":     bytes.Repeat([]byte("Password123!"), 5),
		"sentence":     []byte("please-change-this-secret-in-production-0001"),
		"a public key": public,
	} {
		for door, enter := range secretDoors {
			t.Run(name+", "+door, func(t *testing.T) { require.Error(t, enter(t, secret)) })
		}
	}
	random := make([]byte, 32)
	rand.Read(random)
	for name, secret := range map[string][]byte{
		"random bytes": random, "base64": []byte(base64.StdEncoding.EncodeToString(random)), "base64url": []byte(base64.RawURLEncoding.EncodeToString(random)),
	} {
		for door, enter := range secretDoors {
			t.Run(name+", "+door, func(t *testing.T) { require.NoError(t, enter(t, secret)) })
		}
	}
}
