package jwk

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// maxKeyText is the maximum length of the text of a key, in bytes.
const maxKeyText = 64 << 10

// ParseSigning parses a private key in PEM (PKCS#8, PKCS#1 or SEC 1, not encrypted) or a
// JWK (RFC 7517). The text must hold exactly one key. Line breaks of PEM may be written
// as \n, as in environment variables. For the meaning of alg "" see [Algorithm]. An alg
// that does not fit the key is an error. The kid is the kid of the JWK, if it has one, or
// else the RFC 7638 thumbprint. Errors contain no private data.
func ParseSigning(alg Algorithm, data []byte) (*SigningKey, error) {
	return prefixed(parseSigning(alg, data))
}

func parseSigning(alg Algorithm, data []byte) (*SigningKey, error) {
	if text, ok := trimJWK(data); ok {
		return parseWith(text, alg, (*jwkText).signingKey)
	}
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errors.New("this PEM block holds a public key, which cannot sign; give the private key")
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncrypted
	default:
		return nil, fmt.Errorf("unknown PEM block %s, expected PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY", errtext.Quote(block.Type))
	}
	signer, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("the PEM block %s holds no private key that is known here: RSA (not RSA-PSS alone), EC on P-256, P-384 or P-521, or Ed25519", block.Type)
	}
	if alg == "" {
		natural, err := jwa.DefaultFor(signer.Public())
		if err != nil {
			return nil, err
		}
		alg = Algorithm(natural.Name)
	}
	return newSigning(alg, signer)
}

// ParseVerification parses a public key in PEM (PKIX, PKCS#1 or a certificate) or a JWK
// (RFC 7517). The text must hold exactly one key. A private key is an error. The dates and
// the chain of a certificate are not checked. For alg and the kid see [ParseSigning].
func ParseVerification(alg Algorithm, data []byte) (*VerificationKey, error) {
	return prefixed(parseVerification(alg, data))
}

func parseVerification(alg Algorithm, data []byte) (*VerificationKey, error) {
	if text, ok := trimJWK(data); ok {
		return parseWith(text, alg, (*jwkText).verificationKey)
	}
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	var pub any
	switch block.Type {
	case "PUBLIC KEY":
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			pub = certificate.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("this PEM block holds a private key; a service that verifies needs the public one: openssl pkey -in FILE -pubout")
	default:
		return nil, fmt.Errorf("unknown PEM block %s, expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", errtext.Quote(block.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("the PEM block %s holds no public key", block.Type)
	}
	natural, err := jwa.DefaultFor(pub)
	if err == nil && alg != "" {
		natural, err = alg.lookup()
	}
	if err != nil {
		return nil, err
	}
	return newVerification(natural, pub)
}

var errEncrypted = errors.New("this private key is encrypted; decrypt it first: openssl pkey -in FILE")

// trimJWK returns data without surrounding space, and reports whether it may be a JWK,
// which begins with a brace.
func trimJWK(data []byte) ([]byte, bool) {
	text := bytes.TrimSpace(data)
	return text, len(text) <= maxKeyText && bytes.HasPrefix(text, []byte("{"))
}

func parseWith[K any](text []byte, alg Algorithm, build func(*jwkText, Algorithm) (*K, error)) (*K, error) {
	j, err := parseJWK(text)
	if err != nil {
		return nil, fmt.Errorf("parsing a JWK: %w", err)
	}
	k, err := build(j, alg)
	if err != nil {
		return nil, fmt.Errorf("parsing a JWK: %w", err)
	}
	return k, nil
}

// onlyBlock decodes the only PEM block of a text. It skips the EC PARAMETERS block that
// OpenSSL writes before an EC key.
func onlyBlock(data []byte) (*pem.Block, error) {
	if len(data) > maxKeyText {
		return nil, fmt.Errorf("a key of %d bytes, at most %d are read", len(data), maxKeyText)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		// A text from an environment variable may have its line breaks as \n and \r.
		text := strings.Trim(strings.TrimSpace(string(data)), `"'`)
		data = []byte(strings.NewReplacer(`\n`, "\n", `\r`, "").Replace(text))
		block, rest = pem.Decode(data)
	}
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, whyNoBlock(data)
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errEncrypted
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block; give one key at a time")
	}
	return block, nil
}

// whyNoBlock returns an error about a text that is neither PEM nor a JWK. The error names
// the format of the text, if it is a common one.
func whyNoBlock(data []byte) error {
	const expected = "PEM (-----BEGIN …) or a JWK ({…) is expected"
	switch text := string(bytes.TrimSpace(data)); {
	case text == "":
		return errors.New("the text is empty; " + expected)
	case strings.Contains(text, "-----BEGIN"):
		return errors.New("this PEM block cannot be read: it is cut off, or its line breaks are lost; each line stands by itself, or line breaks are written as \\n")
	case strings.HasPrefix(text, "ssh-"), strings.HasPrefix(text, "ecdsa-sha2-"), strings.HasPrefix(text, "sk-"):
		return errors.New("this is a public key in the format of OpenSSH; " + expected + ": ssh-keygen -e -m PKCS8 -f FILE")
	case strings.HasPrefix(text, "---- BEGIN SSH2"):
		return errors.New("this is a public key in the format of SSH2; " + expected + ": ssh-keygen -i -f FILE")
	case len(data) > 2 && data[0] == 0x30 && data[1] >= 0x20: // a SEQUENCE of at least 32 bytes
		return errors.New("this looks like DER; " + expected + ": openssl pkey -inform DER -in FILE, with -pubin for a public key")
	}
	return errors.New("no key found: " + expected)
}
