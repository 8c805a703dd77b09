// Package strictjson is a strict JSON parser and writer for objects (RFC 8259).
// Parsers disagree about some texts. This package refuses such texts at every depth:
// duplicate names, names that differ only by case folding, invalid UTF-8, lone surrogates,
// nesting deeper than MaxDepth, and trailing data. If this package accepts a text,
// encoding/json accepts it, too, and finds the same values. Claims makes one exception.
package strictjson

import (
	"errors"
	"strings"
)

// MaxDepth is the deepest allowed nesting of arrays and objects. The outermost object has
// depth 1.
const MaxDepth = 32

// The errors for a refused text. They repeat no part of the text.
var (
	ErrSyntax    = errors.New("not a JSON object")
	ErrUTF8      = errors.New("invalid UTF-8 or a lone surrogate")
	ErrDuplicate = errors.New("a name appears twice in one object")
	ErrDepth     = errors.New("nested too deeply")
)

// Object checks that text is exactly one JSON object and calls member for each member of
// it, in order, with the name unescaped. It also checks the members of nested values, but
// does not call member for them. Names and values share the memory of text, except names
// with escape sequences. If member returns an error, Object stops and returns it. Object
// may call member before it finds an error later in text, so the caller must not use the
// members until Object has returned nil. member may be nil.
func Object(text string, member func(name string, v Value) error) error {
	return ObjectAt(1, text, member)
}

// ObjectAt is Object for an object that will be embedded in another JSON text at the given
// depth.
func ObjectAt(depth int, text string, member func(name string, v Value) error) error {
	if member == nil {
		return readText(depth, ignoreCase, text, nil)
	}
	return readText(depth, ignoreCase, text, func(name string, v Value, _ int) error { return member(name, v) })
}

// Claims is Object for the claims of a token, and passes the position of the quotation mark before
// each name. If isForeign is set, names of nested objects may differ only by case, since users of
// another issuer choose such names.
func Claims(text string, isForeign bool, member func(name string, v Value, pos int) error) error {
	return readText(1, nestedNames(isForeign), text, member)
}

// nestedNames says when two names of a nested object are the same. The names of the outermost object
// always ignore case.
type nestedNames bool

const (
	ignoreCase nestedNames = false
	exactCase  nestedNames = true
)

func readText(depth int, nested nestedNames, text string, member func(string, Value, int) error) error {
	pos := skipSpace(text, 0)
	if at(text, pos) != '{' {
		return ErrSyntax
	}
	pos, err := readObject(text, pos, depth, ignoreCase, nested, member)
	if err != nil {
		return err
	}
	if skipSpace(text, pos) != len(text) {
		return ErrSyntax
	}
	return nil
}

// at returns the byte at a position, or 0 at the end of text. A NUL byte in text looks like
// the end of text. That is safe, since outside of strings both are errors where a byte is
// expected. The functions that read strings do not use at.
func at(text string, pos int) byte {
	if pos < len(text) {
		return text[pos]
	}
	return 0
}

// skipSpace returns the first position, from pos on, that is not white space.
func skipSpace(text string, pos int) int {
	if at(text, pos) > ' ' {
		return pos
	}
	return skipSpaceSlow(text, pos)
}

func skipSpaceSlow(text string, pos int) int {
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

// readValue reads the value at pos. Like every read function, it returns the position after
// the last byte that it has read.
func readValue(text string, pos, depth int, nested nestedNames) (int, error) {
	switch at(text, pos) {
	case '"':
		end, _, err := readString(text, pos)
		return end, err
	case '{':
		return readObject(text, pos, depth+1, nested, nested, nil)
	case '[':
		return readArray(text, pos, depth+1, nested)
	case 't':
		return readLiteral(text, pos, "true")
	case 'f':
		return readLiteral(text, pos, "false")
	case 'n':
		return readLiteral(text, pos, "null")
	default:
		return readNumber(text, pos)
	}
}

// readObject reads the object at pos. own says when two of its names are the same, nested when two
// names of an object in it are.
func readObject(text string, pos, depth int, own, nested nestedNames, member func(string, Value, int) error) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	seen := names{exact: own}
	defer seen.release()
	open := pos
	pos = skipSpace(text, pos+1)
	if at(text, pos) == '}' {
		return pos + 1, nil
	}
	for {
		if at(text, pos) != '"' {
			return 0, ErrSyntax
		}
		var name string
		start := pos
		n, packed := readShortName(text, pos+1)
		if n >= 0 {
			name = text[pos+1 : pos+1+n]
			pos += n + 2
		} else {
			end, isPlain, err := readString(text, pos)
			if err != nil {
				return 0, err
			}
			if name = text[pos+1 : end-1]; isPlain {
				packed = packName(name)
			} else {
				name = unescape(name)
				seen.hasNonPlain = true
			}
			pos = end
		}
		if !seen.isSurelyNew(len(name), packed) && seen.listHas(name) {
			return 0, ErrDuplicate
		}
		if !seen.add(name) && hasEarlier(text, open, start, name, own) {
			return 0, ErrDuplicate
		}
		if pos = skipSpace(text, pos); at(text, pos) != ':' {
			return 0, ErrSyntax
		}
		pos = skipSpace(text, pos+1)
		end, err := readValue(text, pos, depth, nested)
		if err != nil {
			return 0, err
		}
		if member != nil {
			if err := member(name, Value(text[pos:end]), start); err != nil {
				return 0, err
			}
		}
		pos = skipSpace(text, end)
		switch at(text, pos) {
		case ',':
			pos = skipSpace(text, pos+1)
		case '}':
			return pos + 1, nil
		default:
			return 0, ErrSyntax
		}
	}
}

func readArray(text string, pos, depth int, nested nestedNames) (int, error) {
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	pos = skipSpace(text, pos+1)
	if at(text, pos) == ']' {
		return pos + 1, nil
	}
	for {
		end, err := readValue(text, pos, depth, nested)
		if err != nil {
			return 0, err
		}
		pos = skipSpace(text, end)
		switch at(text, pos) {
		case ',':
			pos = skipSpace(text, pos+1)
		case ']':
			return pos + 1, nil
		default:
			return 0, ErrSyntax
		}
	}
}

func readLiteral(text string, pos int, word string) (int, error) {
	if !strings.HasPrefix(text[pos:], word) {
		return 0, ErrSyntax
	}
	return pos + len(word), nil
}

func readNumber(text string, pos int) (int, error) {
	if at(text, pos) == '-' {
		pos++
	}
	switch c := at(text, pos); {
	case c == '0':
		pos++
	case isDigit(c):
		pos = skipDigits(text, pos)
	default:
		return 0, ErrSyntax
	}
	if at(text, pos) == '.' {
		start := pos + 1
		if pos = skipDigits(text, start); pos == start {
			return 0, ErrSyntax
		}
	}
	if c := at(text, pos); c == 'e' || c == 'E' {
		start := pos + 1
		if c := at(text, start); c == '+' || c == '-' {
			start++
		}
		if pos = skipDigits(text, start); pos == start {
			return 0, ErrSyntax
		}
	}
	return pos, nil
}

// skipDigits returns the first position, from pos on, that is not a digit.
func skipDigits(text string, pos int) int {
	for pos >= 0 && pos <= len(text)-8 && areDigits(load8(text, pos)) {
		pos += 8
	}
	for pos < len(text) && isDigit(text[pos]) {
		pos++
	}
	return pos
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
