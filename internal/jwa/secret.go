package jwa

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// CheckSecret says in an error that teaches why a secret is no key for an HMAC
// algorithm: RFC 7518, section 3.2, wants at least the length of the hash. The
// error holds nothing of the secret.
func (a *Algorithm) CheckSecret(secret []byte) error {
	if a.Family != HMAC {
		return a.wrongKey("a public or private key", secret)
	}
	if need := a.Hash.Size(); len(secret) < need {
		return fmt.Errorf("algorithm %s needs a secret of at least %d random bytes, this one has %d", a.Name, need, len(secret))
	}
	return nil
}

// published are secrets, and beginnings of secrets, that stand in documents,
// where everybody can read them. They are refused, also as a part of a longer
// one.
var published = []string{
	"your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret",
	"a-string-secret-at-least-256-bits-long",
	"a-valid-string-secret-that-is-at-least-",
	"secret-key-change-me", "change-this-secret", "super-secret-key", "my-super-secret",
	"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", // RFC 7515, A.1
	"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",                                            // RFC 7520, 3.5
}

// The least variety of a secret. Of 32 random bytes about 30 differ, of 43
// characters of base64 about 31, of 64 hexadecimal digits 16.
const (
	minValues          = 16
	minValuesPrintable = 12
	minSteps           = 8
)

var errGuessable = errors.New("generate one instead: openssl rand -base64 64")

// CheckGuessable refuses secrets that are long enough and can be guessed all
// the same. The error holds nothing of the secret.
func CheckGuessable(secret []byte) error {
	lowered := bytes.ToLower(secret)
	for _, sample := range published {
		decoded, err := base64.RawURLEncoding.DecodeString(sample)
		if bytes.Contains(lowered, bytes.ToLower([]byte(sample))) || err == nil && bytes.Contains(secret, decoded) {
			return fmt.Errorf("this secret stands in public documents; %w", errGuessable)
		}
	}
	values, steps, printable := variety(secret)
	need := minValues
	if printable {
		need = minValuesPrintable
	}
	if values < need {
		return fmt.Errorf("this secret has only %d different bytes, at least %d are expected; %w", values, need, errGuessable)
	}
	if steps < minSteps || repeats(secret) {
		return fmt.Errorf("the bytes of this secret follow a pattern; %w", errGuessable)
	}
	return nil
}

// repeats says whether a secret is one text again and again, at least twice.
func repeats(secret []byte) bool {
	for period := 1; period <= len(secret)/2; period++ {
		if bytes.HasPrefix(secret, secret[period:]) {
			return true
		}
	}
	return false
}

// variety counts the different bytes of a secret, and the different steps from
// one byte to the next: few of those mean a sequence or a short word again and
// again. The line feed that secrets in files end with is printable.
func variety(secret []byte) (values, steps int, printable bool) {
	var value, step [256]bool
	printable = true
	for i, c := range secret {
		value[c] = true
		if i > 0 {
			step[c-secret[i-1]] = true
		}
		printable = printable && (c >= 0x20 && c < 0x7F || c == '\n' || c == '\r')
	}
	for i := range value {
		if value[i] {
			values++
		}
		if step[i] {
			steps++
		}
	}
	return values, steps, printable
}
