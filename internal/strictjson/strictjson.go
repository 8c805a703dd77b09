// Package strictjson reads JSON objects (RFC 8259) so that there is one
// reading of them: duplicate names, names that encoding/json would fold
// together, invalid UTF-8, lone surrogates, deep nesting and trailing data are
// errors, at every depth. What it accepts, encoding/json accepts with the same
// values.
package strictjson

import (
	"errors"
	"math/bits"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth is how deep arrays and objects may nest, the outermost included.
const MaxDepth = 32

// The ways in which a text is refused. They hold nothing of the text.
var (
	ErrSyntax    = errors.New("not a JSON object")
	ErrUTF8      = errors.New("invalid UTF-8 or a lone surrogate")
	ErrDuplicate = errors.New("a name appears twice in one object")
	ErrDepth     = errors.New("nested too deeply")
)

// Object checks that text is exactly one JSON object and calls member for each
// member of it, in order, with the name unescaped. Members inside nested values
// are checked, too, but not reported. The strings alias text where they can. An
// error from member ends the reading and is returned as it is; member may have
// been called before an error further on is found, so nothing that it was given
// counts until Object has returned nil.
func Object(text string, member func(name string, v Value) error) error {
	return ObjectAt(1, text, member)
}

// ObjectAt is Object for a text that will stand at that depth of another one.
func ObjectAt(depth int, text string, member func(name string, v Value) error) error {
	pos := next(text, 0)
	if at(text, pos) != '{' {
		return ErrSyntax
	}
	pos, err := object(text, pos, depth, member)
	if err != nil {
		return err
	}
	if next(text, pos) != len(text) {
		return ErrSyntax
	}
	return nil
}

// Index is where in text a name begins that Object has read there, 0 where the name
// is a copy or empty.
func Index(text, name string) int {
	i := uintptr(unsafe.Pointer(unsafe.StringData(name))) - uintptr(unsafe.Pointer(unsafe.StringData(text)))
	if name == "" || i >= uintptr(len(text)) {
		return 0
	}
	return int(i)
}

// at is the byte at a position, 0 at the end. A NUL byte is no JSON outside
// strings, and what reads strings does not ask.
func at(text string, pos int) byte {
	if pos < len(text) {
		return text[pos]
	}
	return 0
}

// next is the position behind white space.
func next(text string, pos int) int {
	if at(text, pos) > ' ' {
		return pos
	}
	return skip(text, pos)
}

func skip(text string, pos int) int {
	for pos < len(text) {
		switch text[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		default:
			return pos
		}
	}
	return pos
}

// value reads the value at pos. As all that reads here, it returns the position
// behind what it has read.
func value(text string, pos, depth int) (int, error) {
	switch at(text, pos) {
	case '"':
		end, _, err := quoted(text, pos)
		return end, err
	case '{':
		return object(text, pos, depth+1, nil)
	case '[':
		return array(text, pos, depth+1)
	case 't':
		return literal(text, pos, "true")
	case 'f':
		return literal(text, pos, "false")
	case 'n':
		return literal(text, pos, "null")
	default:
		return number(text, pos)
	}
}

func object(text string, pos, depth int, member func(string, Value) error) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	var seen names
	defer seen.release()
	pos = next(text, pos+1)
	if at(text, pos) == '}' {
		return pos + 1, nil
	}
	for {
		if at(text, pos) != '"' {
			return 0, ErrSyntax
		}
		var name string
		n, letters := shortName(text, pos+1)
		if n >= 0 {
			name = text[pos+1 : pos+1+n]
			pos += n + 2
		} else {
			end, isPlain, err := quoted(text, pos)
			if err != nil {
				return 0, err
			}
			if name = text[pos+1 : end-1]; isPlain {
				letters = lettersOf(name)
			} else {
				name = unescape(name)
				seen.odd = true
			}
			pos = end
		}
		if !seen.isNew(len(name), letters) && seen.has(name) {
			return 0, ErrDuplicate
		}
		seen.add(name)
		if pos = next(text, pos); at(text, pos) != ':' {
			return 0, ErrSyntax
		}
		pos = next(text, pos+1)
		end, err := value(text, pos, depth)
		if err != nil {
			return 0, err
		}
		if member != nil {
			if err := member(name, Value(text[pos:end])); err != nil {
				return 0, err
			}
		}
		pos = next(text, end)
		switch at(text, pos) {
		case ',':
			pos = next(text, pos+1)
		case '}':
			return pos + 1, nil
		default:
			return 0, ErrSyntax
		}
	}
}

func array(text string, pos, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	pos = next(text, pos+1)
	if at(text, pos) == ']' {
		return pos + 1, nil
	}
	for {
		end, err := value(text, pos, depth)
		if err != nil {
			return 0, err
		}
		pos = next(text, end)
		switch at(text, pos) {
		case ',':
			pos = next(text, pos+1)
		case ']':
			return pos + 1, nil
		default:
			return 0, ErrSyntax
		}
	}
}

// quoted reads the string that begins at pos. It is plain where it is ASCII
// without escapes.
func quoted(text string, pos int) (end int, isPlain bool, err error) {
	start := pos + 1
	for pos = start; pos >= 0 && pos <= len(text)-8; pos += 8 {
		if stops := notPlain(load(text, pos)); stops != 0 {
			pos += bits.TrailingZeros64(stops) / 8
			if text[pos] == '"' {
				return pos + 1, true, nil
			}
			break
		}
	}
	return anyQuoted(text, start, pos)
}

// shortName is the length of a plain name of up to 7 letters that begins at pos,
// and the letters, the first one lowest; -1 for other names.
func shortName(text string, pos int) (n int, letters uint64) {
	if pos >= 0 && pos <= len(text)-8 {
		x := load(text, pos)
		if stops := notPlain(x); stops != 0 {
			n := bits.TrailingZeros64(stops) &^ 7
			if x>>n&0xff == '"' {
				return n / 8, x & (1<<n - 1)
			}
		}
	}
	return -1, 0
}

// notPlain has bit 7 of each of 8 bytes that is no ASCII, a control character, a
// quotation mark or a backslash; where there is one, the bits above its own say
// nothing.
func notPlain(x uint64) uint64 {
	const each = 0x0101_0101_0101_0101
	// '"' with another bit 1 is a blank, and no byte above that becomes less.
	aboveBlank := (x ^ 2*each) + (0x7F-' ')*each
	noBackslash := (x ^ '\\'*each) + 0x7F*each
	return (^(aboveBlank & noBackslash) | x) & (0x80 * each)
}

// load is 8 bytes of a text, the first one lowest.
func load(t string, i int) uint64 {
	return uint64(t[i]) | uint64(t[i+1])<<8 | uint64(t[i+2])<<16 | uint64(t[i+3])<<24 |
		uint64(t[i+4])<<32 | uint64(t[i+5])<<40 | uint64(t[i+6])<<48 | uint64(t[i+7])<<56
}

// anyQuoted is quoted from pos on, for a string that began at start.
func anyQuoted(text string, start, pos int) (end int, isPlain bool, err error) {
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
			n, _, err := escape(text[pos:])
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

// escape reads the escape sequence that text begins with: how long it is and
// the character that it stands for. A pair of surrogates is one sequence.
func escape(text string) (n int, r rune, err error) {
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

// unescape resolves the escapes of a string that quoted has accepted.
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
		n, r, err := escape(inner[i:])
		if err != nil { // cannot be: quoted has read it
			return ""
		}
		b.WriteRune(r)
		i += n
	}
	return b.String()
}

func literal(text string, pos int, word string) (int, error) {
	if !strings.HasPrefix(text[pos:], word) {
		return 0, ErrSyntax
	}
	return pos + len(word), nil
}

func number(text string, pos int) (int, error) {
	if at(text, pos) == '-' {
		pos++
	}
	switch c := at(text, pos); {
	case c == '0':
		pos++
	case isDigit(c):
		pos = digits(text, pos)
	default:
		return 0, ErrSyntax
	}
	if at(text, pos) == '.' {
		start := pos + 1
		if pos = digits(text, start); pos == start {
			return 0, ErrSyntax
		}
	}
	if c := at(text, pos); c == 'e' || c == 'E' {
		start := pos + 1
		if c := at(text, start); c == '+' || c == '-' {
			start++
		}
		if pos = digits(text, start); pos == start {
			return 0, ErrSyntax
		}
	}
	return pos, nil
}

// digits is the position behind digits.
func digits(text string, pos int) int {
	for pos >= 0 && pos <= len(text)-8 && areDigits(load(text, pos)) {
		pos += 8
	}
	for pos < len(text) && isDigit(text[pos]) {
		pos++
	}
	return pos
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// areDigits says whether all of 8 bytes are digits: '0' is 0x30, and 6 more than '9'
// is 0x3F.
func areDigits(x uint64) bool {
	const each = 0x0101_0101_0101_0101
	return (x&(0xF0*each))|((x+0x06*each)&(0xF0*each))>>4 == 0x33*each
}

// numberOf is the number of 8 digits, the first one lowest: their pairs, then the
// pairs of those, then both halves.
func numberOf(x uint64) int64 {
	x = x & 0x0F0F_0F0F_0F0F_0F0F * (10<<8 + 1) >> 8
	x = x & 0x00FF_00FF_00FF_00FF * (100<<16 + 1) >> 16
	return int64(x & 0x0000_FFFF_0000_FFFF * (10000<<32 + 1) >> 32)
}
