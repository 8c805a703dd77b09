// Package strictjson reads JSON objects (RFC 8259) so that there is one
// reading of them: duplicate names, names that encoding/json would fold
// together, invalid UTF-8, lone surrogates, deep nesting and trailing data are
// errors, at every depth. What it accepts, encoding/json accepts with the same
// values.
package strictjson

import (
	"errors"
	"strings"
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

// Object checks that text is exactly one JSON object and calls member for each member of
// it, in order, with the name unescaped. It also checks the members of nested values, but
// does not report them. The strings are parts of text if they can be. If member returns an
// error, Object stops and returns it. Object may call member before it finds an error
// further on, so nothing counts until Object has returned nil. member may be nil.
func Object(text string, member func(name string, v Value) error) error {
	return ObjectAt(1, text, member)
}

// ObjectAt is Object for a text that will be at that depth of another one.
func ObjectAt(depth int, text string, member func(name string, v Value) error) error {
	if member == nil {
		return read(depth, text, nil)
	}
	return read(depth, text, func(name string, v Value, _ int) error { return member(name, v) })
}

// ObjectWithPositions is Object, and passes the position of the quotation mark before each
// name.
func ObjectWithPositions(text string, member func(name string, v Value, pos int) error) error {
	return read(1, text, member)
}

func read(depth int, text string, member func(string, Value, int) error) error {
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

func object(text string, pos, depth int, member func(string, Value, int) error) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	var seen names
	defer seen.release()
	open := pos
	pos = next(text, pos+1)
	if at(text, pos) == '}' {
		return pos + 1, nil
	}
	for {
		if at(text, pos) != '"' {
			return 0, ErrSyntax
		}
		var name string
		start := pos
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
		if !seen.add(name) && isTwice(text, open, start, name) {
			return 0, ErrDuplicate
		}
		if pos = next(text, pos); at(text, pos) != ':' {
			return 0, ErrSyntax
		}
		pos = next(text, pos+1)
		end, err := value(text, pos, depth)
		if err != nil {
			return 0, err
		}
		if member != nil {
			if err := member(name, Value(text[pos:end]), start); err != nil {
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
