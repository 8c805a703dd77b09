package strictjson_test

import (
	"encoding/json"
	"io"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// FuzzObject holds Object against encoding/json: it takes exactly the objects
// that encoding/json takes and that have one reading, and reads the same.
func FuzzObject(f *testing.F) {
	for _, text := range []string{
		``, `null`, `[]`, `{}`, ` { } `, `{}{}`, `{}x`, `{"a":1,}`, "{\"a\":\"\xff\"}",
		`{"iss":"https://issuer.test","sub":"alice","aud":["a","b"],"exp":1793535000,"iat":1793534400.5,"cnf":{"jkt":"x"}}`,
		`{"exp":1,"EXP":2}`, `{"kid":1,"\u212aid":2}`, `{"sub":1,"ſub":2}`, `{"a":{"b":[{"c":1,"\u0063":2}]}}`,
		`{"a":"\ud834\udd1e"}`, `{"a":"\ud834"}`, `{"a":"\udd1e\ud834"}`, `{"a":"\\ud834"}`, `{"a":"\uFFFD\/\b"}`,
		`{"a":-0,"b":1e400,"c":-1.5E+3,"d":01}`, `{"a":9223372036854775808,"b":-1e-400,"c":253402300799.5}`,
		nested(`{"a":`, `[]`, `}`, 31), nested(`{"a":`, `[]`, `}`, 32), `{"a":` + nested(`[`, `{}`, `]`, 30) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		members := make(map[string]strictjson.Value)
		count := 0
		err := strictjson.Object(text, func(name string, v strictjson.Value) error {
			members[name] = v
			count++
			return nil
		})
		if taken := err == nil; taken != hasOneReading(text) {
			t.Fatalf("%q: %v", text, err)
		}
		// With blanks behind it, the end of a text is read by words, too.
		if longer := strictjson.Object(text+"        ", nil); longer != err {
			t.Fatalf("%q: %v, with blanks behind it: %v", text, err, longer)
		}
		if err != nil {
			return
		}
		known, ok := decode(t, text).(map[string]any)
		if !ok || len(known) != len(members) || count != len(members) {
			t.Fatalf("%q: %d members, encoding/json has %d", text, count, len(known))
		}
		for name, want := range known {
			v, ok := members[name]
			if !ok || !reflect.DeepEqual(decode(t, string(v)), want) {
				t.Fatalf("%q: the member %q is %q, encoding/json has %v", text, name, v, want)
			}
			compareValue(t, v, want)
		}
	})
}

// decode is the judgement of encoding/json.
func decode(t *testing.T, text string) (v any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", text, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("%q goes on after the value: %v", text, err)
	}
	return v
}

var escapes = regexp.MustCompile(`(?s)\\(u([0-9a-fA-F]{4})|.)`)

// hasOneReading says, by other means than the package, whether a text is what
// Object should take.
func hasOneReading(text string) bool {
	if !json.Valid([]byte(text)) || !utf8.ValidString(text) || !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		return false
	}
	// In valid JSON, a backslash stands in strings alone.
	high := -1 // where a low surrogate must follow
	for _, at := range escapes.FindAllStringSubmatchIndex(text, -1) {
		code := uint64(0)
		if at[4] >= 0 {
			n, _ := new(big.Int).SetString(text[at[4]:at[5]], 16)
			code = n.Uint64()
		}
		low := code >= 0xDC00 && code <= 0xDFFF
		if low != (high == at[0]) || high >= 0 && high != at[0] {
			return false
		}
		high = -1
		if code >= 0xD800 && code <= 0xDBFF {
			high = at[1]
		}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return high < 0 && noTwins(d, 1)
}

// noTwins reads one value and says whether no object in it has two names that
// are equal after folding, and nothing lies too deep.
func noTwins(d *json.Decoder, depth int) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	open, ok := token.(json.Delim)
	if !ok {
		return true
	}
	if depth > strictjson.MaxDepth {
		return false
	}
	var names []string
	for d.More() {
		if open == '{' {
			token, err := d.Token()
			name, ok := token.(string)
			if err != nil || !ok {
				return false
			}
			for _, other := range names {
				if strings.EqualFold(name, other) {
					return false
				}
			}
			names = append(names, name)
		}
		if !noTwins(d, depth+1) {
			return false
		}
	}
	_, err = d.Token()
	return err == nil
}

func compareValue(t *testing.T, v strictjson.Value, want any) {
	s, isString := v.Str()
	if w, ok := want.(string); ok != isString || s != w {
		t.Fatalf("Str of %q is %q, %v", v, s, isString)
	}

	var list []any
	allStrings := v.EachString(func(s string) bool {
		list = append(list, s)
		return true
	})
	elements, isArray := want.([]any)
	for _, e := range elements {
		if _, ok := e.(string); !ok {
			isArray = false
		}
	}
	if allStrings != isArray || isArray && len(elements) > 0 && !reflect.DeepEqual(list, elements) {
		t.Fatalf("EachString of %q is %v, %q", v, allStrings, list)
	}

	number, isNumber := want.(json.Number)
	n, isInt := v.Int()
	if w, err := number.Int64(); isInt != (isNumber && err == nil) || isInt && n != w {
		t.Fatalf("Int of %q is %d, %v", v, n, isInt)
	}
	at, isDate := v.Date()
	seconds, err := number.Float64()
	inRange := isNumber && err == nil && seconds >= 0 && seconds <= 253402300799
	if isDate != inRange {
		t.Fatalf("Date of %q is %v, %v", v, at, isDate)
	}
	if got := float64(at.UnixMicro()) / 1e6; isDate && math.Abs(got-seconds) > 1e-6+seconds*1e-15 {
		t.Fatalf("Date of %q is %v, which is %v and not %v", v, at, got, seconds)
	}
}

func FuzzFold(f *testing.F) {
	f.Add("sub", "ſUB")
	f.Add("kid", "\u212aid")
	f.Add("Σ", "ς")
	f.Add("İ", "i")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		same := strings.EqualFold(a, b)
		if (strictjson.Fold(a) == strictjson.Fold(b)) != same {
			t.Fatalf("Fold: %q and %q: %q, %q", a, b, strictjson.Fold(a), strictjson.Fold(b))
		}
		var w strictjson.Writer
		w.Int(a, 1)
		w.Int(b, 2)
		if err := strictjson.Object(string(w.Object()), nil); (err == strictjson.ErrDuplicate) != same {
			t.Fatalf("Object: %q and %q: %v", a, b, err)
		}
	})
}

// FuzzWriter: what the Writer writes is read as it was written, by Object and by
// encoding/json.
func FuzzWriter(f *testing.F) {
	f.Add("iss", "https://issuer.test", int64(1793534400), "alice")
	f.Add("\x00\"\\", "\u2028</script>\x7f", int64(math.MinInt64), "𝄞\t")
	f.Fuzz(func(t *testing.T, name, value string, n int64, element string) {
		for _, s := range []string{name, value, element} {
			if !utf8.ValidString(s) {
				return
			}
		}
		var inner, w strictjson.Writer
		inner.Str("s"+name, value)
		w.Str("a"+name, value)
		w.Int("b"+name, n)
		w.Strings("c"+name, []string{element, value})
		w.Raw("d"+name, string(inner.Object()))
		w.Members(`{"e":[]}`)
		text := string(w.Object())

		var known map[string]any
		if m, ok := decode(t, text).(map[string]any); ok {
			known = m
		}
		read := make(map[string]strictjson.Value)
		err := strictjson.Object(text, func(name string, v strictjson.Value) error {
			read[name] = v
			return nil
		})
		if err != nil || len(known) != 5 || len(read) != 5 {
			t.Fatalf("%s: %v", text, err)
		}
		s, _ := read["a"+name].Str()
		i, _ := read["b"+name].Int()
		var list []string
		read["c"+name].EachString(func(s string) bool { list = append(list, s); return true })
		if s != value || i != n || !reflect.DeepEqual(list, []string{element, value}) {
			t.Fatalf("%s was read as %q, %d, %q", text, s, i, list)
		}
		if known["a"+name] != value || !reflect.DeepEqual(known["c"+name], []any{element, value}) ||
			!reflect.DeepEqual(known["d"+name], map[string]any{"s" + name: value}) {
			t.Fatalf("encoding/json reads %s as %v", text, known)
		}
	})
}
