package strictjson

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// readString reads the string that begins at pos, and returns the position after it.
// A string is plain if it is ASCII without escape sequences.
func readString(text string, pos int) (end int, isPlain bool, err error) {
	start := pos + 1
	for pos = start; pos >= 0 && pos <= len(text)-8; pos += 8 {
		if stops := nonPlainBytes(load8(text, pos)); stops != 0 {
			pos += bits.TrailingZeros64(stops) / 8
			if text[pos] == '"' {
				return pos + 1, true, nil
			}
			break
		}
	}
	return readStringSlow(text, start, pos)
}

// readShortName reads a plain name of at most 7 bytes whose first byte is at pos. It
// returns the length of the name and its bytes in one word, the first byte lowest. It
// returns -1 if the string is longer, is not plain, or ends too close to the end of text.
func readShortName(text string, pos int) (n int, packed uint64) {
	if pos >= 0 && pos <= len(text)-8 {
		x := load8(text, pos)
		if stops := nonPlainBytes(x); stops != 0 {
			n := bits.TrailingZeros64(stops) &^ 7
			if x>>n&0xff == '"' {
				return n / 8, x & (1<<n - 1)
			}
		}
	}
	return -1, 0
}

// readStringSlow is the slow path of readString. It reads byte by byte from pos on. The
// bytes from start to pos are plain.
func readStringSlow(text string, start, pos int) (end int, isPlain bool, err error) {
	isPlain = true
	for pos < len(text) {
		switch c := text[pos]; {
		case c == '"':
			if !isPlain && !utf8.ValidString(text[start:pos]) {
				return 0, false, ErrUTF8
			}
			return pos + 1, isPlain, nil
		case c == '\\':
			isPlain = false
			n, _, err := readEscape(text[pos:])
			if err != nil {
				return 0, false, err
			}
			pos += n
		case c < 0x20:
			return 0, false, ErrSyntax
		default:
			isPlain = isPlain && c < utf8.RuneSelf
			pos++
		}
	}
	return 0, false, ErrSyntax
}

// readEscape returns the length of the escape sequence at the beginning of text, and the
// character that it encodes. A surrogate pair is one sequence.
func readEscape(text string) (n int, r rune, err error) {
	if len(text) < 2 {
		return 0, 0, ErrSyntax
	}
	switch c := text[1]; c {
	case '"', '\\', '/':
		return 2, rune(c), nil
	case 'b':
		return 2, '\b', nil
	case 'f':
		return 2, '\f', nil
	case 'n':
		return 2, '\n', nil
	case 'r':
		return 2, '\r', nil
	case 't':
		return 2, '\t', nil
	case 'u':
	default:
		return 0, 0, ErrSyntax
	}
	high, ok := hex4(text[2:])
	if !ok {
		return 0, 0, ErrSyntax
	}
	switch {
	case high < 0xD800 || high > 0xDFFF:
		return 6, high, nil
	case high >= 0xDC00 || !strings.HasPrefix(text[6:], `\u`):
		return 0, 0, ErrUTF8
	}
	low, ok := hex4(text[8:])
	if !ok {
		return 0, 0, ErrSyntax
	}
	if low < 0xDC00 || low > 0xDFFF {
		return 0, 0, ErrUTF8
	}
	return 12, (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
}

func hex4(text string) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		c := text[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape decodes the escape sequences of a string that readString has accepted.
func unescape(inner string) string {
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var b strings.Builder
	b.Grow(len(inner))
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			b.WriteByte(inner[i])
			i++
			continue
		}
		n, r, err := readEscape(inner[i:])
		if err != nil { // unreachable, since readString has accepted the string
			return ""
		}
		b.WriteRune(r)
		i += n
	}
	return b.String()
}

// isPlain reports whether s needs no escape sequence in JSON and is ASCII.
func isPlain(s string) bool {
	i := 0
	for ; i <= len(s)-8; i += 8 {
		if nonPlainBytes(load8(s, i)) != 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
