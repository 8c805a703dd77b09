package strictjson

import (
	"math"
	"strconv"
	"time"
)

// Value is the text of one JSON value that Object has checked.
type Value string

// Str returns the value of a string, unescaped. It returns false for any other value.
func (v Value) Str() (string, bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	return unescape(string(v[1 : len(v)-1])), true
}

// EachString calls f for each element of an array of strings until f returns
// false. It returns false if the value is not an array, or has an element that is not
// a string.
func (v Value) EachString(f func(string) bool) bool {
	areStrings, goOn := true, true
	isArray := v.Each(func(element Value) bool {
		s, ok := element.Str()
		areStrings = ok
		goOn = goOn && ok && f(s)
		return ok
	})
	return isArray && areStrings
}

// Each calls f for each element of an array until f returns false. It
// returns false if the value is not an array.
func (v Value) Each(f func(Value) bool) bool {
	text := string(v)
	if at(text, 0) != '[' {
		return false
	}
	pos := skipSpace(text, 1)
	if at(text, pos) == ']' {
		return true
	}
	for {
		end, err := readValue(text, pos, 1, exactCase)
		if err != nil {
			return false
		}
		if !f(Value(text[pos:end])) {
			return true
		}
		pos = skipSpace(text, end)
		if at(text, pos) != ',' {
			return at(text, pos) == ']'
		}
		pos = skipSpace(text, pos+1)
	}
}

// Int returns the value of a number without fraction or exponent that fits an
// int64. It returns false for any other value.
func (v Value) Int() (int64, bool) {
	if len(v) > 0 && len(v) < 19 { // fast path: at most 18 digits, which cannot overflow
		n, i := int64(0), 0
		if len(v) >= 8 {
			if x := load8(string(v), 0); areDigits(x) {
				n, i = parseDigits(x), 8
			}
		}
		for i < len(v) && isDigit(v[i]) {
			n, i = n*10+int64(v[i]-'0'), i+1
		}
		if i == len(v) {
			return n, true
		}
	}
	if len(v) > len("-9223372036854775808") { // too long; ParseInt would copy the text into its error
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

// latest is the last second of the year 9999, in Unix seconds. It is the latest accepted
// NumericDate.
const latest = 253402300799

// Date returns a NumericDate (RFC 7519, section 2): seconds since the epoch,
// possibly with a fraction, which is rounded to microseconds. It returns false unless the
// value is a number from 0 to the end of the year 9999.
func (v Value) Date() (time.Time, bool) {
	if n, ok := v.Int(); ok {
		return time.Unix(n, 0), n >= 0 && n <= latest
	}
	if v == "" || v[0] != '-' && !isDigit(v[0]) {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < 0 || f > latest {
		return time.Time{}, false
	}
	seconds, fraction := math.Modf(f)
	return time.Unix(int64(seconds), int64(math.Round(fraction*1e6))*1e3), true
}
