package jwa_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

var sizes = map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}

// der is the ASN.1 form of a signature by the standard library's encoder.
func der(t testing.TB, r, s []byte) []byte {
	t.Helper()
	b, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	require.NoError(t, err)
	return b
}

func TestTheASN1FormIsThatOfTheStandardLibrary(t *testing.T) {
	for name, size := range sizes {
		pad := func(end ...byte) []byte { return append(make([]byte, size-len(end)), end...) }
		full := bytes.Repeat([]byte{0xFF}, size)
		values := [][]byte{
			pad(0), pad(1), pad(0x7F), pad(0x80), pad(0xFF), pad(1, 0), pad(0x80, 0), pad(0xFF, 0xFF),
			full, append([]byte{0}, full[1:]...), append([]byte{0x7F}, full[1:]...), append([]byte{0x80}, make([]byte, size-1)...),
			append([]byte{0, 0x7F}, full[2:]...), append([]byte{0, 0x80}, full[2:]...), append([]byte{0, 0, 0}, full[3:]...),
		}
		for range 50 {
			v := random(size)
			clear(v[:mathrand.IntN(size)])
			values = append(values, v)
		}
		for _, r := range values {
			for _, s := range values {
				got := jwa.AppendASN1(nil, r, s)
				if want := der(t, r, s); !bytes.Equal(want, got) {
					t.Fatalf("%s: %x and %x became %x, not %x", name, r, s, got, want)
				}
				if len(got) > jwa.MaxASN1 {
					t.Fatalf("%s: %d bytes", name, len(got))
				}
				raw, ok := jwa.AppendRaw([]byte("was here"), got, size)
				if !ok || string(raw[:8]) != "was here" || !bytes.Equal(raw[8:8+size], r) || !bytes.Equal(raw[8+size:], s) {
					t.Fatalf("%s: %x and %x came back as %x", name, r, s, raw)
				}
			}
		}
	}
	ones := bytes.Repeat([]byte{0xFF}, 66)
	require.Len(t, jwa.AppendASN1(nil, ones, ones), jwa.MaxASN1, "the longest")
}

// TestSignaturesWithLeadingZerosVerify signs until r and s have begun with a
// zero byte: about one in 256 does, on P-521 every second one.
func TestSignaturesWithLeadingZerosVerify(t *testing.T) {
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			a := jwa.Lookup(name)
			private := ecKey(t, a.Curve)
			s, err := a.NewSigner(private)
			require.NoError(t, err)
			v := a.NewVerifier(private.Public())
			text := []byte{0, 0}
			for seenR, seenS := false, false; !seenR || !seenS; {
				text[0]++
				if text[0] == 0 {
					text[1]++
				}
				signature := sign(t, s, text)
				require.Len(t, signature, 2*size)
				r0, s0 := signature[0] == 0, signature[size] == 0
				if !r0 && !s0 {
					continue
				}
				seenR, seenS = seenR || r0, seenS || s0
				require.True(t, v.Verify(text, signature), "%x", signature)
				h := a.Hash.New()
				h.Write(text)
				require.True(t, ecdsa.Verify(&private.PublicKey, h.Sum(nil),
					new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])))
			}
		})
	}
}

// TestNumbersOutOfRangeVerifyNothing: r and s from 1 to n-1 (SEC 1, section
// 4.1.4), not reduced.
func TestNumbersOutOfRangeVerifyNothing(t *testing.T) {
	for name, size := range sizes {
		a := jwa.Lookup(name)
		private := ecKey(t, a.Curve)
		signer, err := a.NewSigner(private)
		require.NoError(t, err)
		v := a.NewVerifier(private.Public())
		text := []byte("text")
		signature := sign(t, signer, text)
		r, s := signature[:size], signature[size:]
		n := a.Curve.Params().N
		zero, order, ones := make([]byte, size), n.FillBytes(make([]byte, size)), bytes.Repeat([]byte{0xFF}, size)
		for _, wrong := range [][2][]byte{
			{zero, zero}, {zero, s}, {r, zero}, {order, s}, {r, order}, {order, order}, {ones, ones}, {zero, ones}, {order, zero}, {s, r},
		} {
			require.False(t, v.Verify(text, append(bytes.Clone(wrong[0]), wrong[1]...)), "%s %x", name, wrong)
		}
		for _, at := range []struct {
			value []byte
			half  int
		}{{r, 0}, {s, 1}} {
			more := new(big.Int).Add(new(big.Int).SetBytes(at.value), n)
			if more.BitLen() > 8*size {
				continue
			}
			both := [2][]byte{r, s}
			both[at.half] = more.FillBytes(make([]byte, size))
			require.False(t, v.Verify(text, append(bytes.Clone(both[0]), both[1]...)), "%s: a number plus n", name)
		}
		// What is known of ECDSA: n-s verifies, too. It is the same text all the
		// same, and revocation goes by jti and not by the token's bytes.
		twin := new(big.Int).Sub(n, new(big.Int).SetBytes(s)).FillBytes(make([]byte, size))
		require.True(t, v.Verify(text, append(bytes.Clone(r), twin...)))
	}
}

func TestOtherFormsOfASignatureAreNoASN1(t *testing.T) {
	const size = 32
	r, s := random(size), random(size)
	r[0], s[0] = 0x11, 0x91
	good := der(t, r, s)
	_, ok := jwa.AppendRaw(nil, good, size)
	require.True(t, ok)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"an empty sequence":       {0x30, 0},
		"one number":              {0x30, 3, 2, 1, 1},
		"three numbers":           {0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1},
		"a set":                   edit(func(b []byte) []byte { b[0] = 0x31; return b }),
		"a byte behind":           append(bytes.Clone(good), 0),
		"a byte less":             good[:len(good)-1],
		"a byte in the sequence":  edit(func(b []byte) []byte { b[1]++; return append(b, 0) }),
		"a negative number":       {0x30, 6, 2, 1, 0x81, 2, 1, 1},
		"a leading zero too much": {0x30, 7, 2, 2, 0, 1, 2, 1, 1},
		"an empty number":         {0x30, 5, 2, 0, 2, 1, 1},
		"a string":                {0x30, 6, 4, 1, 1, 2, 1, 1},
		"a length in long form":   {0x30, 0x81, 6, 2, 1, 1, 2, 1, 1},
		"an indefinite length":    {0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0},
		"raw":                     append(bytes.Clone(r), s...),
		"33 bytes of r":           der(t, append([]byte{1}, r...), s),
		"33 bytes of s":           der(t, r, append([]byte{1}, s...)),
	} {
		got, ok := jwa.AppendRaw([]byte("was here"), b, size)
		require.False(t, ok, name)
		require.Equal(t, "was here", string(got), name)
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		private := ecKey(t, curve)
		a, err := jwa.DefaultFor(private.Public())
		require.NoError(t, err)
		h := a.Hash.New()
		h.Write([]byte("text"))
		inASN1, err := private.Sign(nil, h.Sum(nil), a.Hash)
		require.NoError(t, err)
		require.False(t, a.NewVerifier(private.Public()).Verify([]byte("text"), inASN1), "ASN.1 is no signature of a JWS")
		raw, ok := jwa.AppendRaw(nil, inASN1, sizes[a.Name])
		require.True(t, ok)
		require.True(t, a.NewVerifier(private.Public()).Verify([]byte("text"), raw))
	}
}

// FuzzAppendRaw: what is read as ASN.1 is the one encoding of its two numbers.
func FuzzAppendRaw(f *testing.F) {
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1}, 32)
	f.Add([]byte{0x30, 8, 2, 2, 0, 0x80, 2, 2, 0, 1}, 32)
	f.Add(jwa.AppendASN1(nil, bytes.Repeat([]byte{0xFF}, 66), bytes.Repeat([]byte{0xFF}, 66)), 66)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 || size > 66 {
			return
		}
		raw, ok := jwa.AppendRaw(nil, b, size)
		if !ok {
			if len(raw) != 0 {
				t.Fatalf("%x left %x behind", b, raw)
			}
			return
		}
		if len(raw) != 2*size {
			t.Fatalf("%x became %x", b, raw)
		}
		if again := jwa.AppendASN1(nil, raw[:size], raw[size:]); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x and that %x", b, raw, again)
		}
	})
}
