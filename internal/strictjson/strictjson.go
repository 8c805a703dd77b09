// Package strictjson reads JSON objects (RFC 8259) so that there is one
// reading of them: duplicate names, names that encoding/json would fold
// together, invalid UTF-8, lone surrogates, deep nesting and trailing data are
// errors, at every depth. What it accepts, encoding/json accepts with the same
// values.
package strictjson

import (
	"errors"
	"strings"
	"unicode/utf8"
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
	p := parser{text: text, plain: isPlain(text)}
	if !p.plain && !utf8.ValidString(text) {
		return ErrUTF8
	}
	p.space()
	if p.peek() != '{' {
		return ErrSyntax
	}
	if err := p.object(depth, member); err != nil {
		return err
	}
	p.space()
	if p.pos != len(text) {
		return ErrSyntax
	}
	return nil
}

type parser struct {
	text  string
	pos   int
	plain bool // isPlain(text)
}

// isPlain says whether a text is printable ASCII without backslashes, as most
// claims are: strings in it end at the next quotation mark.
func isPlain(text string) bool {
	const each, high = 0x0101_0101_0101_0101, 0x8080_8080_8080_8080
	odd := uint64(0) // bit 7 of each byte
	i := 0
	for ; i+8 <= len(text); i += 8 {
		t := text[i : i+8]
		x := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
			uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		backslash := x ^ '\\'*each
		// Bytes from 0x80 on; those below 0x20; those that are a backslash.
		odd |= x | (x-0x20*each)&^x | (backslash-each)&^backslash
	}
	if odd&high != 0 {
		return false
	}
	for ; i < len(text); i++ {
		if c := text[i]; c >= utf8.RuneSelf || c < 0x20 || c == '\\' {
			return false
		}
	}
	return true
}

// peek returns the byte at the position, 0 at the end. A NUL byte in the text
// is no JSON outside strings, and strings do not use peek.
func (p *parser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *parser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) error {
	switch c := p.peek(); c {
	case '"':
		_, _, err := p.quoted()
		return err
	case '{':
		return p.object(depth+1, nil)
	case '[':
		return p.array(depth + 1)
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	default:
		if c == '-' || isDigit(c) {
			return p.number()
		}
		return ErrSyntax
	}
}

func (p *parser) object(depth int, member func(string, Value) error) error {
	if depth > MaxDepth {
		return ErrDepth
	}
	var seen names
	defer seen.release()
	p.pos++ // {
	p.space()
	if p.peek() == '}' {
		p.pos++
		return nil
	}
	for {
		if p.peek() != '"' {
			return ErrSyntax
		}
		name, escaped, err := p.quoted()
		if err != nil {
			return err
		}
		if escaped {
			name = unescape(name)
		}
		if seen.has(name, p.plain) {
			return ErrDuplicate
		}
		seen.add(name)
		p.space()
		if p.peek() != ':' {
			return ErrSyntax
		}
		p.pos++
		p.space()
		start := p.pos
		if err := p.value(depth); err != nil {
			return err
		}
		if member != nil {
			if err := member(name, Value(p.text[start:p.pos])); err != nil {
				return err
			}
		}
		more, err := p.more('}')
		if !more {
			return err
		}
	}
}

func (p *parser) array(depth int) error {
	if depth > MaxDepth {
		return ErrDepth
	}
	p.pos++ // [
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil
	}
	for {
		if err := p.value(depth); err != nil {
			return err
		}
		more, err := p.more(']')
		if !more {
			return err
		}
	}
}

// more reads what stands after a member or element: a comma, and then there is
// another one, or the end.
func (p *parser) more(end byte) (bool, error) {
	p.space()
	switch p.peek() {
	case ',':
		p.pos++
		p.space()
		return true, nil
	case end:
		p.pos++
		return false, nil
	}
	return false, ErrSyntax
}

// quoted reads a string and returns what stands between its quotes, still
// escaped.
func (p *parser) quoted() (inner string, escaped bool, err error) {
	p.pos++ // "
	start := p.pos
	if p.plain {
		n := strings.IndexByte(p.text[start:], '"')
		if n < 0 {
			return "", false, ErrSyntax
		}
		p.pos = start + n + 1
		return p.text[start : start+n], false, nil
	}
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			inner = p.text[start:p.pos]
			p.pos++
			return inner, escaped, nil
		case c == '\\':
			escaped = true
			n, _, err := escape(p.text[p.pos:])
			if err != nil {
				return "", false, err
			}
			p.pos += n
		case c < 0x20:
			return "", false, ErrSyntax
		default:
			p.pos++
		}
	}
	return "", false, ErrSyntax
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

func (p *parser) literal(word string) error {
	if !strings.HasPrefix(p.text[p.pos:], word) {
		return ErrSyntax
	}
	p.pos += len(word)
	return nil
}

func (p *parser) number() error {
	if p.peek() == '-' {
		p.pos++
	}
	switch c := p.peek(); {
	case c == '0':
		p.pos++
	case isDigit(c):
		p.digits()
	default:
		return ErrSyntax
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return ErrSyntax
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return ErrSyntax
		}
	}
	return nil
}

// digits skips digits and says whether there was one.
func (p *parser) digits() bool {
	start := p.pos
	for p.pos < len(p.text) && isDigit(p.text[p.pos]) {
		p.pos++
	}
	return p.pos > start
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
