package guessable

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

var (
	errPublic  = errors.New("this secret is a public key, which everybody can know; to verify tokens that the owner of the key signs, read the key with jwk.ParseVerification")
	errPrivate = errors.New("this secret is a private key; read it with jwk.ParseSigning")
)

// publicKey returns an error if a secret is a key of another kind: PEM, DER, JWK, JWK Set,
// SSH or a bare RSA modulus. If a service verifies HMAC with a public key as the secret,
// everybody who has the public key can sign tokens.
//
// A modulus looks like a random number. publicKey therefore refuses one in forty random
// secrets that are as long as a modulus (256, 384, 512 or 1024 bytes) and are given as
// bytes, as base64url without padding, as capital hexadecimal digits, or as decimal digits.
func publicKey(secret []byte) error {
	if err := keyText(bytes.TrimSpace(secret)); err != nil {
		return err
	}
	text := strings.Join(strings.Fields(string(secret)), "")
	forms := [][]byte{secret}
	if b, err := hex.DecodeString(strings.TrimPrefix(strings.ReplaceAll(text, ":", ""), "0x")); err == nil {
		forms = append(forms, b)
	}
	text = strings.TrimRight(text, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := encoding.DecodeString(text); err == nil {
			forms = append(forms, b)
		}
	}
	for _, b := range forms {
		if err := keyText(bytes.TrimSpace(b)); err != nil {
			return err
		}
		if err := keyBytes(b); err != nil {
			return err
		}
	}
	if isModulus(secret) || isModulusText(string(secret)) {
		return errPublic
	}
	return nil
}

// sshKeys are the prefixes of public keys in the format of OpenSSH (RFC 4253, section 6.6).
var sshKeys = []string{"ssh-rsa ", "ssh-dss ", "ssh-ed25519 ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"}

// keyText returns an error if text is or contains a key in a text format.
func keyText(text []byte) error {
	switch {
	case bytes.Contains(text, []byte("-----BEGIN")) || bytes.Contains(text, []byte("---- BEGIN")):
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			return errPrivate
		}
		return errPublic
	case bytes.HasPrefix(text, []byte("{")):
		var err error
		strictjson.Object(string(text), func(name string, _ strictjson.Value) error {
			switch name {
			case "kty", "keys":
				err = errPublic
			case "k", "d":
				err = errors.New("this secret is a whole JWK; read it with jwk.ParseSigning")
				return err
			}
			return nil
		})
		return err
	}
	for _, prefix := range sshKeys {
		if bytes.HasPrefix(text, []byte(prefix)) || bytes.Contains(text, []byte(" "+prefix)) {
			return errPublic
		}
	}
	return nil
}

// keyBytes returns an error if b is a key in a binary format: DER, an EC point, or the
// decoded base64 part of an SSH key.
func keyBytes(b []byte) error {
	if len(b) < 32 {
		return nil
	}
	for _, prefix := range sshKeys {
		name := strings.TrimSpace(prefix)
		if bytes.HasPrefix(b, []byte{0, 0, 0}) && bytes.HasPrefix(b[4:], []byte(name)) {
			return errPublic
		}
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if _, err := ecdsa.ParseUncompressedPublicKey(curve, b); err == nil {
			return errPublic
		}
	}
	if b[0] != 0x30 { // not a DER SEQUENCE, so not a key in DER
		return nil
	}
	_, err := x509.ParsePKIXPublicKey(b)
	isPublic := err == nil
	_, err = x509.ParsePKCS1PublicKey(b)
	isPublic = isPublic || err == nil
	_, err = x509.ParseCertificate(b)
	isPublic = isPublic || err == nil
	if isPublic {
		return errPublic
	}
	_, err = x509.ParsePKCS8PrivateKey(b)
	isPrivate := err == nil
	_, err = x509.ParsePKCS1PrivateKey(b)
	isPrivate = isPrivate || err == nil
	_, err = x509.ParseECPrivateKey(b)
	if isPrivate || err == nil {
		return errPrivate
	}
	return nil
}

// isModulus reports whether b has the form of an RSA modulus.
func isModulus(b []byte) bool {
	if len(b) > 1 && b[0] == 0 && b[1] >= 0x80 {
		b = b[1:] // some languages write a zero byte before a positive number
	}
	switch len(b) {
	case 256, 384, 512, 1024:
		return b[0] >= 0x80 && jwa.CheckModulus(new(big.Int).SetBytes(b)) == nil && b[len(b)-1]&1 == 1
	}
	return false
}

// isModulusText reports whether text is an RSA modulus as text: base64url as in a JWK, or
// digits as tools such as openssl print it. It ignores lower-case hexadecimal digits
// without a mark such as "0x", since they are more likely a random secret.
func isModulusText(text string) bool {
	text = strings.TrimSpace(text)
	digits := strings.Join(strings.Fields(strings.ReplaceAll(text, ":", "")), "")
	for _, mark := range []string{"Modulus=", "Modulus", "modulus", "0x"} {
		digits = strings.TrimPrefix(digits, mark)
	}
	isMarked := len(digits) < len(text) || digits == strings.ToUpper(digits)
	if b, err := hex.DecodeString(digits); err == nil {
		if isMarked && isModulus(b) {
			return true
		}
	} else if b, err := base64.RawURLEncoding.DecodeString(text); err == nil && isModulus(b) {
		return true
	}
	n, ok := new(big.Int).SetString(text[:min(len(text), maxDecimal)], 10)
	return ok && isModulus(n.Bytes())
}

// maxDecimal bounds the decimal digits that are parsed. The longest modulus has fewer.
const maxDecimal = 2500
