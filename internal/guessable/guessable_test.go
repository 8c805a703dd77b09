package guessable_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/guessable"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func uuid() []byte {
	b := random(16)
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func from(alphabet string, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[mathrand.IntN(len(alphabet))]
	}
	return b
}

func TestRandomSecretsAreNotGuessable(t *testing.T) {
	const draws = 500
	for name, draw := range map[string]func() []byte{
		"32 bytes":                  func() []byte { return random(32) },
		"48 bytes":                  func() []byte { return random(48) },
		"64 bytes":                  func() []byte { return random(64) },
		"32 bytes, hexadecimal":     func() []byte { return hex.AppendEncode(nil, random(32)) },
		"64 bytes, hexadecimal":     func() []byte { return hex.AppendEncode(nil, random(64)) },
		"HEXADECIMAL":               func() []byte { return bytes.ToUpper(hex.AppendEncode(nil, random(32))) },
		"32 bytes, base64":          func() []byte { return base64.StdEncoding.AppendEncode(nil, random(32)) },
		"64 bytes, base64":          func() []byte { return base64.StdEncoding.AppendEncode(nil, random(64)) },
		"32 bytes, base64url":       func() []byte { return base64.RawURLEncoding.AppendEncode(nil, random(32)) },
		"24 bytes, base64":          func() []byte { return base64.StdEncoding.AppendEncode(nil, random(24)) },
		"hexadecimal, a line feed":  func() []byte { return append(hex.AppendEncode(nil, random(32)), '\n') },
		"base64, a line feed":       func() []byte { return append(base64.StdEncoding.AppendEncode(nil, random(64)), '\n') },
		"the 52 characters of Text": func() []byte { return []byte(rand.Text() + rand.Text()) },
		"16 bytes, hexadecimal":     func() []byte { return hex.AppendEncode(nil, random(16)) },
		"a UUID":                    func() []byte { return uuid() },
		"two UUIDs":                 func() []byte { return append(uuid(), uuid()...) },
		"32 bytes, decimal":         func() []byte { return []byte(new(big.Int).SetBytes(append([]byte{1}, random(32)...)).String()) },
		"32 bytes, base32":          func() []byte { return base32.StdEncoding.AppendEncode(nil, random(32)) },
		"32 letters":                func() []byte { return from("abcdefghijklmnopqrstuvwxyz", 32) },
		"32 characters": func() []byte {
			return from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&*+-", 32)
		},
		"256 bytes, base64":      func() []byte { return base64.StdEncoding.AppendEncode(nil, random(256)) },
		"256 bytes, hexadecimal": func() []byte { return hex.AppendEncode(nil, random(256)) },
	} {
		for range draws {
			secret := draw()
			require.NoError(t, guessable.Check(secret), "%s: %q", name, secret)
		}
	}
}

// cycle repeats text until it has n bytes.
func cycle(text string, n int) []byte { return []byte(strings.Repeat(text, n/len(text)+1)[:n]) }

func sequence(from, step byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)*step
	}
	return b
}

func TestGuessableSecretsAreRefused(t *testing.T) {
	rfc7515, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		secret []byte
	}{
		{"nothing", nil},
		{"zeros", make([]byte, 64)},
		{"one letter", cycle("a", 64)},
		{"two letters", cycle("ab", 64)},
		{"digits", cycle("0123456789", 64)},
		{"digits, otherwise", []byte("31415926535897932384626433832795028841971693993751058209749445923")},
		{"secret", cycle("secret", 32)},
		{"password", cycle("password", 64)},
		{"changeme", cycle("changeme", 32)},
		{"many blanks", append(cycle(" ", 60), "abc"...)},

		{"the bytes in order", sequence(0, 1, 32)},
		{"the bytes in order, further on", sequence(200, 1, 64)},
		{"the bytes in reverse", sequence(255, 255, 64)},
		{"every third byte", sequence(1, 3, 64)},
		{"all bytes", sequence(0, 1, 256)},
		{"the alphabet", cycle("abcdefghijklmnopqrstuvwxyz", 32)},
		{"the alphabet and the digits", []byte("abcdefghijklmnopqrstuvwxyz0123456789")},
		{"the alphabet in reverse", cycle("zyxwvutsrqponmlkjihgfedcba", 64)},
		{"both alphabets", []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")},
		{"hexadecimal digits in order", cycle("0123456789abcdef", 64)},

		{"a word of twelve letters, three times", cycle("unforgettably", 39)},
		{"a name and a year, twice", cycle("my-company-name-2024", 40)},
		{"a name and a year, twice and a bit", cycle("my-company-name-2024", 47)},
		{"a word and a tail", []byte(strings.Repeat("Password123!", 5) + "xyz")},
		{"a head and a word", []byte("xyz" + strings.Repeat("Password123!", 5))},
		{"base64 of a word again and again", base64.StdEncoding.AppendEncode(nil, cycle("password", 64))},
		{"base64 of a word and a tail", base64.StdEncoding.AppendEncode(nil, []byte(strings.Repeat("Tr0ub4dor", 5)+"xyz"))},
		{"hexadecimal of a word again and again", hex.AppendEncode(nil, cycle("Tr0ub4dor", 40))},
		{"16 random bytes, twice", bytes.Repeat(random(16), 2)},
		{"24 random bytes in base64, twice", bytes.Repeat(base64.StdEncoding.AppendEncode(nil, random(24)), 2)},

		{"the sample of jwt.io", []byte("your-256-bit-secret-your-256-bit-secret")},
		{"the sample of jwt.io in capitals", []byte("YOUR-256-BIT-SECRET-AND-SOMETHING-MORE-X7")},
		{"the later sample of jwt.io", []byte("a-string-secret-at-least-256-bits-long")},
		{"the later sample of jwt.io for 512 bits", []byte("a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long")},
		{"a tutorial's", []byte("this-is-my-super-secret-key-please-do-not-tell-anybody")},
		{"the secret of RFC 7515, A.1", rfc7515},
		{"a part of it is the secret of RFC 7515, A.1", append(append(random(8), rfc7515...), random(8)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := guessable.Check(c.secret)
			require.ErrorContains(t, err, "generate one instead")
			if len(c.secret) > 8 {
				require.NotContains(t, err.Error(), string(c.secret[:8]), "the error tells of the secret")
			}
		})
	}
}
