package strictjson

import (
	"strconv"
)

// Writer writes one JSON object, member by member. Strings must be valid UTF-8.
// The zero value is an empty object.
type Writer struct{ text []byte }

// Reset clears the text and keeps its memory for the next object.
func (w *Writer) Reset() {
	clear(w.text[:cap(w.text)])
	w.text = w.text[:0]
}

// Object ends the object and returns its text. After Object, the only allowed call is
// Reset, which overwrites the returned text.
func (w *Writer) Object() []byte {
	if len(w.text) == 0 {
		w.text = append(w.text, '{')
	}
	w.text = append(w.text, '}')
	return w.text
}

func (w *Writer) name(name string) {
	if len(w.text) == 0 {
		w.text = append(w.text, '{')
	} else {
		w.text = append(w.text, ',')
	}
	w.text = append(appendString(w.text, name), ':')
}

// Str writes a member with a string.
func (w *Writer) Str(name, value string) {
	w.name(name)
	w.text = appendString(w.text, value)
}

// Words writes a member whose value is one string: the words, separated by blanks.
func (w *Writer) Words(name string, words []string) {
	w.name(name)
	w.text = append(w.text, '"')
	for i, word := range words {
		if i > 0 {
			w.text = append(w.text, ' ')
		}
		w.text = appendInner(w.text, word)
	}
	w.text = append(w.text, '"')
}

// Int writes a member with a number.
func (w *Writer) Int(name string, value int64) {
	w.name(name)
	w.text = strconv.AppendInt(w.text, value, 10)
}

// Strings writes a member with an array of strings.
func (w *Writer) Strings(name string, values []string) {
	w.name(name)
	w.text = append(w.text, '[')
	for i, value := range values {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		w.text = appendString(w.text, value)
	}
	w.text = append(w.text, ']')
}

// Raw writes a member whose value is JSON already.
func (w *Writer) Raw(name, value string) {
	w.name(name)
	w.text = append(w.text, value...)
}

// Members writes the members of object, which is JSON already. The caller makes sure that
// no other written member has one of their names.
func (w *Writer) Members(object string) {
	inner := object[1 : len(object)-1]
	if inner == "" {
		return
	}
	if len(w.text) == 0 {
		w.text = append(w.text, '{')
	} else {
		w.text = append(w.text, ',')
	}
	w.text = append(w.text, inner...)
}

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = appendInner(dst, s)
	return append(dst, '"')
}

// appendInner appends s as the inside of a JSON string, without the quotation marks.
func appendInner(dst []byte, s string) []byte {
	if isPlain(s) {
		return append(dst, s...)
	}
	const hex = "0123456789abcdef"
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[done:i]...)
		if done = i + 1; c < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(dst, s[done:]...)
}
