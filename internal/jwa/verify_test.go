package jwa_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	mathrand "math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

func TestOnlyTheSignatureOfTheTextVerifies(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			a := jwa.Lookup(name)
			require.NotNil(t, a)
			s, v := pair(t, a)
			_, other := pair(t, a)
			if a.Family == jwa.RSA || a.Family == jwa.PSS {
				other = a.NewVerifier(otherRSAKey().Public())
			}
			text := []byte("eyJhbGciOiJ4In0.e30")
			signature := sign(t, s, text)
			require.True(t, v.Verify(text, signature))
			require.True(t, v.Verify(text, signature), "a second time")
			require.False(t, other.Verify(text, signature), "with another key")

			got, err := s.AppendSignature(t.Context(), []byte("was here"), text)
			require.NoError(t, err)
			require.Equal(t, "was here", string(got[:8]))
			require.True(t, v.Verify(text, got[8:]))

			bit := func(b []byte, n int) []byte {
				b = bytes.Clone(b)
				b[n/8] ^= 1 << (n % 8)
				return b
			}
			for range 30 {
				n := mathrand.IntN(8 * len(signature))
				require.False(t, v.Verify(text, bit(signature, n)), "bit %d of the signature", n)
				n = mathrand.IntN(8 * len(text))
				require.False(t, v.Verify(bit(text, n), signature), "bit %d of the text", n)
			}
			half := len(signature) / 2
			for what, wrong := range map[string][]byte{
				"no signature":         nil,
				"an empty signature":   {},
				"one byte":             signature[:1],
				"half":                 signature[:half],
				"one byte less":        signature[:len(signature)-1],
				"without the first":    signature[1:],
				"zero behind":          append(bytes.Clone(signature), 0),
				"zero before":          append([]byte{0}, signature...),
				"zeros":                make([]byte, len(signature)),
				"ones":                 bytes.Repeat([]byte{0xFF}, len(signature)),
				"the first half zero":  append(make([]byte, half), signature[half:]...),
				"the second half zero": append(bytes.Clone(signature[:half]), make([]byte, len(signature)-half)...),
				"twice":                append(bytes.Clone(signature), signature...),
				"the text":             text,
			} {
				require.False(t, v.Verify(text, wrong), what)
			}
			require.False(t, v.Verify(nil, signature), "of no text")
			require.False(t, v.Verify(append(bytes.Clone(text), 0), signature), "of a longer text")
		})
	}
}

func TestKeysAreSafeForConcurrentUse(t *testing.T) {
	for _, name := range names {
		s, v := pair(t, jwa.Lookup(name))
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for n := range 5 {
					text := []byte{byte(g), byte(n)}
					signature, err := s.AppendSignature(context.Background(), nil, text)
					if err != nil || !v.Verify(text, signature) || v.Verify([]byte{byte(g), byte(n + 1)}, signature) {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestPSSTakesASaltAsLongAsTheHashAndNoOther: RFC 7518, section 3.5.
func TestPSSTakesASaltAsLongAsTheHashAndNoOther(t *testing.T) {
	for _, name := range []string{"PS256", "PS384", "PS512"} {
		a := jwa.Lookup(name)
		v := a.NewVerifier(rsaKey().Public())
		h := a.Hash.New()
		h.Write([]byte("text"))
		for _, salt := range []int{0, 1, a.Hash.Size() - 1, a.Hash.Size(), a.Hash.Size() + 1, rsa.PSSSaltLengthAuto} {
			signature, err := rsa.SignPSS(rand.Reader, rsaKey(), a.Hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: salt})
			require.NoError(t, err)
			require.Equal(t, salt == a.Hash.Size(), v.Verify([]byte("text"), signature), "%s with a salt of %d bytes", name, salt)
		}
	}
}

// TestOneRSAKeyHasOneAlgorithm: a signature of the same key under another
// algorithm is none.
func TestOneRSAKeyHasOneAlgorithm(t *testing.T) {
	text := []byte("text")
	for _, signed := range names[3:9] {
		s, err := jwa.Lookup(signed).NewSigner(rsaKey())
		require.NoError(t, err)
		signature := sign(t, s, text)
		for _, checked := range names[3:9] {
			v := jwa.Lookup(checked).NewVerifier(rsaKey().Public())
			require.Equal(t, signed == checked, v.Verify(text, signature), "%s as %s", signed, checked)
		}
	}
}

func TestAnHMACKeyKeepsNoReferenceToTheSecret(t *testing.T) {
	secret := random(32)
	k := jwa.Lookup("HS256").NewHMAC(secret)
	code := sign(t, k, []byte("text"))
	clear(secret)
	require.True(t, k.Verify([]byte("text"), code))
	require.Equal(t, code, sign(t, k, []byte("text")))
}

func BenchmarkVerify(b *testing.B) {
	text := bytes.Repeat([]byte("x"), 500)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			s, v := pair(b, jwa.Lookup(name))
			signature := sign(b, s, text)
			b.ReportAllocs()
			for b.Loop() {
				if !v.Verify(text, signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	text := bytes.Repeat([]byte("x"), 500)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			s, _ := pair(b, jwa.Lookup(name))
			b.ReportAllocs()
			for b.Loop() {
				sign(b, s, text)
			}
		})
	}
}
