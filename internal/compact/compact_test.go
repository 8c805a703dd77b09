package compact_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/compact"
)

func TestSplitTakesExactlyTwoDots(t *testing.T) {
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{"", false},
		{"a", false},
		{"a.b", false},
		{"a.b.c", true},
		{"..", true},
		{".b.", true},
		{"a.b.c.", false},
		{".a.b.c", false},
		{"...", false},
		{"a.b.c.d", false},
		{"a.b.c.d.e", false},
	} {
		token, err := compact.Split(c.text)
		if !c.ok {
			require.ErrorIs(t, err, compact.ErrForm, "%q", c.text)
			require.Zero(t, token)
			continue
		}
		require.NoError(t, err, "%q", c.text)
		parts := strings.Split(c.text, ".")
		require.Equal(t, parts, []string{token.Header, token.Payload, token.Signature})
		require.Equal(t, parts[0]+"."+parts[1], token.Signed)
	}
}

func TestSplitOfAMillionDotsAllocatesNothing(t *testing.T) {
	dots := strings.Repeat(".", 1<<20)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if _, err := compact.Split(dots); err == nil {
			t.Error("taken")
		}
	}))
}

func TestASegmentHasOneSpelling(t *testing.T) {
	for _, c := range []struct{ name, segment string }{
		{"padding", "Zg=="},
		{"padding that is no part of a group", "Zm9v="},
		{"the standard alphabet, plus", "-_+_"},
		{"the standard alphabet, slash", "-_/_"},
		{"a line feed inside", "Zm\n9v"},
		{"a line feed at the end", "Zm9v\n"},
		{"a carriage return at the end", "Zm9v\r"},
		{"as many line feeds as a group", "Zm9v\n\n\n\n"},
		{"nothing but line feeds", "\r\n\r\n"},
		{"a blank", "Zm 9"},
		{"a tab at the end", "Zm9v\t"},
		{"NUL", "Zm9\x00"},
		{"a character of another alphabet", "Zm9\xe9"},
		{"a dot", "Zm.v"},
		{"unused bits set, of 2 characters", "Zh"},
		{"unused bits set, of 3 characters", "Zm9"},
		{"a length that no bytes have", "Zm9vY"},
		{"one character", "Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			decoded, err := compact.Decode(c.segment)
			require.ErrorIs(t, err, compact.ErrEncoding)
			require.Empty(t, decoded)
		})
	}
	for segment, text := range map[string]string{"": "", "Zg": "f", "Zm8": "fo", "Zm9v": "foo", "-_8": "\xfb\xff"} {
		decoded, err := compact.Decode(segment)
		require.NoError(t, err, "%q", segment)
		require.Equal(t, text, string(decoded))
		require.Equal(t, segment, compact.Encode([]byte(text)))
	}
}

// TestEveryByteAtEveryPlaceIsReadAsTheStandardLibraryReadsIt: of segments of all
// lengths around those that are read in one step.
func TestEveryByteAtEveryPlaceIsReadAsTheStandardLibraryReadsIt(t *testing.T) {
	reference := base64.RawURLEncoding.Strict()
	for length := range 30 {
		text := reference.EncodeToString([]byte("what the segment stands for, of many bytes")[:length])
		for i := range text {
			for c := range 256 {
				other := text[:i] + string([]byte{byte(c)}) + text[i+1:]
				want, err := reference.DecodeString(other)
				got, gotErr := compact.Decode(other)
				if err != nil || c == '\n' || c == '\r' {
					require.ErrorIs(t, gotErr, compact.ErrEncoding, "%q", other)
					continue
				}
				require.NoError(t, gotErr, "%q", other)
				require.Equal(t, want, got, "%q", other)
			}
		}
	}
}

// TestEveryLengthIsWrittenAsTheStandardLibraryWritesIt: of bytes that are all
// there are.
func TestEveryLengthIsWrittenAsTheStandardLibraryWritesIt(t *testing.T) {
	for length := range 600 {
		src := make([]byte, length)
		for i := range src {
			src[i] = byte(i*167 + length)
		}
		require.Equal(t, base64.RawURLEncoding.EncodeToString(src), compact.Encode(src))
	}
}

func TestAppendDecodeLeavesWhatWasThere(t *testing.T) {
	was := []byte("was here")
	got, err := compact.AppendDecode(was, "Zm9v")
	require.NoError(t, err)
	require.Equal(t, "was herefoo", string(got))
	got, err = compact.AppendDecode(was, "Zm9v\n")
	require.ErrorIs(t, err, compact.ErrEncoding)
	require.Equal(t, "was here", string(got))
	require.Equal(t, "was hereZm9v", string(compact.AppendEncode(was, []byte("foo"))))
}

func TestARefusedSegmentLeavesNothing(t *testing.T) {
	for length := 1; length < 60; length++ {
		segment := []byte(compact.Encode(bytes.Repeat([]byte{0xA5}, length)))
		segment[len(segment)-1] = '='
		memory := make([]byte, compact.DecodedLen(len(segment)))
		_, err := compact.AppendDecode(memory[:0], string(segment))
		require.ErrorIs(t, err, compact.ErrEncoding)
		require.Equal(t, make([]byte, len(memory)), memory, length)
	}
}

func FuzzSplit(f *testing.F) {
	for _, text := range []string{"", "a", "a.b", "a.b.c", "..", "...", "a.b.c.d.e"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := compact.Split(text)
		if taken := err == nil; taken != (strings.Count(text, ".") == 2) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		joined := token.Header + "." + token.Payload
		if joined != token.Signed || joined+"."+token.Signature != text {
			t.Fatalf("%q was cut into %q", text, token)
		}
	})
}

// FuzzDecode holds the decoder against its definition: it takes a segment
// exactly where some bytes are encoded as that segment.
func FuzzDecode(f *testing.F) {
	for _, segment := range []string{"", "Z", "Zg", "Zh", "Zg==", "Zm9v", "Zm9v\n", "Zm\r9v", "-_8", "+/8"} {
		f.Add(segment)
	}
	f.Fuzz(func(t *testing.T, segment string) {
		lax, laxErr := base64.RawURLEncoding.DecodeString(segment)
		canonical := laxErr == nil && base64.RawURLEncoding.EncodeToString(lax) == segment
		decoded, err := compact.Decode(segment)
		if taken := err == nil; taken != canonical {
			t.Fatalf("%q: %v, canonical: %v", segment, err, canonical)
		}
		if err == nil && (compact.Encode(decoded) != segment || !bytes.Equal(decoded, lax)) {
			t.Fatalf("%q became %x", segment, decoded)
		}
	})
}
