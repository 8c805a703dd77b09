package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// read reads an object and returns its members, in order, as "name value".
func read(text string) (members []string, err error) {
	err = strictjson.Object(text, func(name string, v strictjson.Value) error {
		members = append(members, name+" "+string(v))
		return nil
	})
	return members, err
}

// value returns the one member of an object.
func value(t *testing.T, text string) strictjson.Value {
	t.Helper()
	var got strictjson.Value
	require.NoError(t, strictjson.Object(`{"v":`+text+`}`, func(_ string, v strictjson.Value) error {
		got = v
		return nil
	}), text)
	return got
}

func nested(open, inner, shut string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(shut, depth)
}

func TestObjectRefuses(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"nothing", ``, strictjson.ErrSyntax},
		{"blanks", "  ", strictjson.ErrSyntax},
		{"null", `null`, strictjson.ErrSyntax},
		{"an array", `[]`, strictjson.ErrSyntax},
		{"a string", `"x"`, strictjson.ErrSyntax},
		{"a number", `5`, strictjson.ErrSyntax},
		{"true", `true`, strictjson.ErrSyntax},
		{"an array of an object", `[{}]`, strictjson.ErrSyntax},
		{"a byte order mark", "\ufeff{}", strictjson.ErrSyntax},

		{"no end", `{`, strictjson.ErrSyntax},
		{"no end after a member", `{"a":1`, strictjson.ErrSyntax},
		{"no end of an array", `{"a":[1`, strictjson.ErrSyntax},
		{"no end of a string", `{"a":"b}`, strictjson.ErrSyntax},
		{"no end of a name", `{"a`, strictjson.ErrSyntax},
		{"a high surrogate before what is beyond the surrogates", `{"a":"\ud834\ue000"}`, strictjson.ErrUTF8},
		{"the same in a name", `{"\ud834\uffff":1}`, strictjson.ErrUTF8},
		{"no end of an escape", `{"a":"\`, strictjson.ErrSyntax},
		{"an array that ends as an object", `{"a":[1}}`, strictjson.ErrSyntax},
		{"an object that ends as an array", `{"a":1]`, strictjson.ErrSyntax},
		{"two objects", `{}{}`, strictjson.ErrSyntax},
		{"a letter afterwards", `{}x`, strictjson.ErrSyntax},
		{"a comma afterwards", `{},`, strictjson.ErrSyntax},
		{"NUL afterwards", "{}\x00", strictjson.ErrSyntax},
		{"NUL before", "\x00{}", strictjson.ErrSyntax},

		{"a comma alone", `{,}`, strictjson.ErrSyntax},
		{"a trailing comma", `{"a":1,}`, strictjson.ErrSyntax},
		{"a leading comma", `{,"a":1}`, strictjson.ErrSyntax},
		{"two commas", `{"a":1,,"b":2}`, strictjson.ErrSyntax},
		{"no comma", `{"a":1 "b":2}`, strictjson.ErrSyntax},
		{"a trailing comma in an array", `{"a":[1,]}`, strictjson.ErrSyntax},
		{"no comma in an array", `{"a":[1 2]}`, strictjson.ErrSyntax},
		{"no colon", `{"a" 1}`, strictjson.ErrSyntax},
		{"two colons", `{"a"::1}`, strictjson.ErrSyntax},
		{"no value", `{"a":}`, strictjson.ErrSyntax},
		{"no name", `{:1}`, strictjson.ErrSyntax},
		{"a name without quotes", `{a:1}`, strictjson.ErrSyntax},
		{"a number as name", `{1:1}`, strictjson.ErrSyntax},
		{"single quotes", `{'a':1}`, strictjson.ErrSyntax},
		{"a comment", `{/* a */"a":1}`, strictjson.ErrSyntax},
		{"a comment to the end of the line", "{\"a\":1//\n}", strictjson.ErrSyntax},
		{"another blank", "{\"a\":\v1}", strictjson.ErrSyntax},
		{"a no-break space", "{\"a\":\u00a01}", strictjson.ErrSyntax},

		{"True", `{"a":True}`, strictjson.ErrSyntax},
		{"half a literal", `{"a":tru}`, strictjson.ErrSyntax},
		{"a literal that goes on", `{"a":truex}`, strictjson.ErrSyntax},
		{"undefined", `{"a":undefined}`, strictjson.ErrSyntax},
		{"NaN", `{"a":NaN}`, strictjson.ErrSyntax},
		{"Infinity", `{"a":-Infinity}`, strictjson.ErrSyntax},
		{"a leading zero", `{"a":01}`, strictjson.ErrSyntax},
		{"a leading zero after the sign", `{"a":-01}`, strictjson.ErrSyntax},
		{"a plus sign", `{"a":+1}`, strictjson.ErrSyntax},
		{"a sign alone", `{"a":-}`, strictjson.ErrSyntax},
		{"no digit before the point", `{"a":.5}`, strictjson.ErrSyntax},
		{"no digit after the point", `{"a":5.}`, strictjson.ErrSyntax},
		{"no digit of the exponent", `{"a":5e}`, strictjson.ErrSyntax},
		{"no digit of the signed exponent", `{"a":5e+}`, strictjson.ErrSyntax},
		{"hexadecimal", `{"a":0x10}`, strictjson.ErrSyntax},
		{"an underscore", `{"a":1_000}`, strictjson.ErrSyntax},

		{"a line feed in a string", "{\"a\":\"b\nc\"}", strictjson.ErrSyntax},
		{"a tab in a string", "{\"a\":\"b\tc\"}", strictjson.ErrSyntax},
		{"NUL in a string", "{\"a\":\"b\x00c\"}", strictjson.ErrSyntax},
		{"NUL in a name", "{\"a\x00\":1}", strictjson.ErrSyntax},
		{"an unknown escape", `{"a":"\x41"}`, strictjson.ErrSyntax},
		{"an escaped single quote", `{"a":"\'"}`, strictjson.ErrSyntax},
		{"an escape of three digits", `{"a":"\u041"}`, strictjson.ErrSyntax},
		{"an escape of no digits", `{"a":"\uXYZW"}`, strictjson.ErrSyntax},
		{"a capital U", `{"a":"\U0041"}`, strictjson.ErrSyntax},
		{"a bad escape after a high surrogate", `{"a":"\ud834\u00"}`, strictjson.ErrSyntax},

		{"invalid UTF-8 in a value", "{\"a\":\"u\xff1\"}", strictjson.ErrUTF8},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", strictjson.ErrUTF8},
		{"invalid UTF-8 deep inside", "{\"a\":[{\"b\":\"\xc0\xaf\"}]}", strictjson.ErrUTF8},
		{"invalid UTF-8 after the object", "{}\xff", strictjson.ErrSyntax},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", strictjson.ErrUTF8},
		{"beyond Unicode", "{\"a\":\"\xf4\x90\x80\x80\"}", strictjson.ErrUTF8},
		{"a high surrogate alone", `{"a":"\ud834"}`, strictjson.ErrUTF8},
		{"a high surrogate before text", `{"a":"\ud834x"}`, strictjson.ErrUTF8},
		{"a high surrogate before another escape", `{"a":"\ud834\n"}`, strictjson.ErrUTF8},
		{"two high surrogates", `{"a":"\ud834\ud834"}`, strictjson.ErrUTF8},
		{"a high surrogate before a letter", `{"a":"\ud834\u0041"}`, strictjson.ErrUTF8},
		{"a low surrogate alone", `{"a":"\udd1e"}`, strictjson.ErrUTF8},
		{"two low surrogates", `{"a":"\udd1e\udd1e"}`, strictjson.ErrUTF8},
		{"a surrogate in a name", `{"\uD834":1}`, strictjson.ErrUTF8},
		{"a surrogate deep inside", `{"a":{"b":["\ud834"]}}`, strictjson.ErrUTF8},

		{"a name twice", `{"exp":1,"exp":2}`, strictjson.ErrDuplicate},
		{"a name twice with equal values", `{"exp":1,"exp":1}`, strictjson.ErrDuplicate},
		{"a name twice, far apart", `{"exp":1,"b":{},"c":[],"exp":2}`, strictjson.ErrDuplicate},
		{"a name twice, once escaped", `{"exp":1,"\u0065xp":2}`, strictjson.ErrDuplicate},
		{"a name twice, both escaped", `{"\u0065xp":1,"e\u0078p":2}`, strictjson.ErrDuplicate},
		{"the empty name twice", `{"":1,"":2}`, strictjson.ErrDuplicate},
		{"another case", `{"exp":1,"EXP":2}`, strictjson.ErrDuplicate},
		{"another case, escaped", `{"exp":1,"\u0045xp":2}`, strictjson.ErrDuplicate},
		{"the long s", `{"sub":1,"ſub":2}`, strictjson.ErrDuplicate},
		{"the long s, escaped", `{"iss":1,"is\u017f":2}`, strictjson.ErrDuplicate},
		{"the Kelvin sign", "{\"kid\":1,\"\u212aid\":2}", strictjson.ErrDuplicate},
		{"two letters that fold to a third", "{\"\u212aid\":1,\"Kid\":2}", strictjson.ErrDuplicate},
		{"Greek, final sigma", `{"ς":1,"Σ":2}`, strictjson.ErrDuplicate},
		{"Cyrillic", `{"Ж":1,"ж":2}`, strictjson.ErrDuplicate},
		{"a name twice in an inner object", `{"a":{"b":1,"b":2}}`, strictjson.ErrDuplicate},
		{"another case in an inner object", `{"a":{"b":1,"B":2}}`, strictjson.ErrDuplicate},
		{"a name twice in an object in an array", `{"a":[1,[{"b":1,"b":2}]]}`, strictjson.ErrDuplicate},

		{"33 objects", nested(`{"a":`, `1`, `}`, 33), strictjson.ErrDepth},
		{"an object and 32 arrays", `{"a":` + nested(`[`, ``, `]`, 32) + `}`, strictjson.ErrDepth},
		{"an object and 32 arrays without an end", `{"a":` + nested(`[`, ``, ``, 32), strictjson.ErrDepth},
		{"a million arrays", `{"a":` + strings.Repeat(`[`, 1_000_000), strictjson.ErrDepth},
		{"a million objects", strings.Repeat(`{"a":`, 1_000_000), strictjson.ErrDepth},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.text)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestObjectReads(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{`{}`, nil},
		{" \t\r\n{ \t\r\n} \t\r\n", nil},
		{`{"a":1}`, []string{"a 1"}},
		{` { "a" : 1 , "b" : [ 1 , 2 ] } `, []string{"a 1", "b [ 1 , 2 ]"}},
		{`{"z":true,"a":false,"m":null}`, []string{"z true", "a false", "m null"}},
		{`{"":""}`, []string{` ""`}},
		{`{"a":{"a":{"a":[]}}}`, []string{`a {"a":{"a":[]}}`}},
		{`{"a":-0.5e-10,"b":0,"c":-0,"d":1E+2}`, []string{"a -0.5e-10", "b 0", "c -0", "d 1E+2"}},
		{`{"\u0061\n\/":1}`, []string{"a\n/ 1"}},
		{`{"\ud834\udd1e":"\ud834\udd1e"}`, []string{`𝄞 "\ud834\udd1e"`}},
		{`{"é":1,"e":2}`, []string{"é 1", "e 2"}},
		{`{"ss":1,"ß":2}`, []string{"ss 1", "ß 2"}}, // one folds to the other in no simple way
		{"{\"a\":\"\x7f\"}", []string{"a \"\x7f\""}},
	} {
		got, err := read(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got, c.text)
	}
	for _, text := range []string{
		nested(`{"a":`, `1`, `}`, 32),
		`{"a":` + nested(`[`, ``, `]`, 31) + `}`,
		`{"a":` + nested(`[`, `1`, `]`, 31) + `,"b":` + nested(`[`, `1`, `]`, 31) + `}`,
	} {
		_, err := read(text)
		require.NoError(t, err, "%d levels are allowed", strictjson.MaxDepth)
	}
}

func TestAnErrorOfTheCallerEndsTheReading(t *testing.T) {
	mine := errors.New("mine")
	calls := 0
	err := strictjson.Object(`{"a":1,"b":2,"c":}`, func(name string, _ strictjson.Value) error {
		calls++
		if name == "b" {
			return mine
		}
		return nil
	})
	require.Same(t, mine, err)
	require.Equal(t, 2, calls)
}

func TestInnerMembersAreNotReported(t *testing.T) {
	got, err := read(`{"a":{"iss":"inner"},"b":[{"iss":"inner"}]}`)
	require.NoError(t, err)
	require.Equal(t, []string{`a {"iss":"inner"}`, `b [{"iss":"inner"}]`}, got)
}

// TestTwinsAreFoundAmongManyNames: beyond a number of names another way of
// comparing takes over.
func TestTwinsAreFoundAmongManyNames(t *testing.T) {
	for _, many := range []int{1, 5, 31, 32, 33, 34, 100, 1000} {
		var b strings.Builder
		for n := range many {
			fmt.Fprintf(&b, `"Name-%d":%d,`, n, n)
		}
		list := b.String()
		_, err := read(`{` + list + `"last":0}`)
		require.NoError(t, err, many)
		for _, of := range []int{0, many / 2, many - 1} {
			for _, twin := range []string{
				fmt.Sprintf("Name-%d", of), fmt.Sprintf("NAME-%d", of), fmt.Sprintf(`\u004eame-%d`, of), fmt.Sprintf(`nam\u0045-%d`, of),
			} {
				_, err = read(`{` + list + `"` + twin + `":0}`)
				require.ErrorIs(t, err, strictjson.ErrDuplicate, "%s among %d", twin, many)
			}
		}
		_, err = read(`{"K":0,` + list + "\"\u212a\":0}")
		require.ErrorIs(t, err, strictjson.ErrDuplicate, "the Kelvin sign among %d", many)
	}
}

func TestNamesWithOneHashAreCompared(t *testing.T) {
	const text = `[{ "one" : 1,"\u0054wo":{"inner":[{"x":[]}," \" , "]} , "":"three", "five":5,"one":1}]`
	end := strings.LastIndex(text, `"one"`)
	for name, want := range map[string]bool{
		"one": true, "ONE": true, "two": true, "": true, "five": true, "inner": false, "three": false, "x": false, "six": false,
	} {
		require.Equal(t, want, strictjson.HasEarlier(text, 1, end, name), name)
	}
	require.False(t, strictjson.HasEarlier(text, 1, strings.Index(text, `"five"`), "five"), "only names before the position count")
}

// A name may be longer than what is hashed at once.
func TestLongTwinsAreFoundAmongManyNames(t *testing.T) {
	list := ""
	for n := range 20 {
		list += fmt.Sprintf(`"%d":%d,`, n, n)
	}
	for length := range 80 {
		long := strings.Repeat("\u00c4", length) + "Long"
		_, err := read(`{` + list + `"` + long + `":1,"` + long + `er":1}`)
		require.NoError(t, err)
		_, err = read(`{` + list + `"` + long + `":1,"` + strings.ToLower(long) + `":1}`)
		require.ErrorIs(t, err, strictjson.ErrDuplicate)
	}
}

// A stranger chooses the names. A pool without tables makes at most two allocations for
// each size of a table.
func TestManyNamesCostNoText(t *testing.T) {
	for _, format := range []string{`"%x":1,`, `"%X":1,`, `"Ä%x":1,`} {
		var text strings.Builder
		for n := range 1000 {
			fmt.Fprintf(&text, format, n)
		}
		object := `{` + text.String() + `"last":0}`
		require.LessOrEqual(t, testing.AllocsPerRun(20, func() { _ = strictjson.Object(object, nil) }), 12.0, format)
	}
}

// TestEveryByteAtEveryPlaceOfAString: of names and values of all lengths around
// those that are read in one step, it is taken where it is JSON and UTF-8, and for
// what encoding/json takes it.
func TestEveryByteAtEveryPlaceOfAString(t *testing.T) {
	for length := range 20 {
		for place := range length {
			for c := range 256 {
				inner := []byte(strings.Repeat("x", length))
				inner[place] = byte(c)
				text := fmt.Sprintf(`{"%s":"%s","end":0}`, inner, inner)
				members, err := read(text)
				var want map[string]any
				if wantErr := json.Unmarshal([]byte(text), &want); wantErr != nil || !utf8.ValidString(text) {
					require.Error(t, err, "%q", text)
					continue
				}
				require.NoError(t, err, "%q", text)
				require.Len(t, members, 2, "%q", text)
				for name, value := range want {
					if s, ok := value.(string); ok {
						require.Equal(t, name+` "`+string(inner)+`"`, members[0])
						require.Equal(t, name, s)
					}
				}
			}
		}
	}
}

// TestTwinsAreFoundWhateverTheirLength: also beside names that are odd.
func TestTwinsAreFoundWhateverTheirLength(t *testing.T) {
	for length := 1; length < 20; length++ {
		name := strings.Repeat("abcde_", 4)[:length]
		upper := strings.ToUpper(name)
		for place := range length {
			twin := name[:place] + upper[place:place+1] + name[place+1:]
			odd := fmt.Sprintf(`\u%04x%s`, twin[0], twin[1:])
			for _, text := range []string{
				`{"%s":1,"other":2,"%s":3}`, `{"%s":1,"über":2,"%s":3}`, `{"über":1,"%s":2,"%s":3}`, `{"%[1]sß":1,"%[1]s":2,"%[2]s":3}`,
			} {
				for _, other := range []string{twin, odd} {
					for _, pair := range [][2]string{{name, other}, {other, name}} {
						text := fmt.Sprintf(text, pair[0], pair[1])
						_, err := read(text)
						require.ErrorIs(t, err, strictjson.ErrDuplicate, text)
					}
				}
			}
		}
	}
}

// TestFoldIsWhatEncodingJSONDoes: two names fold to one exactly where
// encoding/json would fill the same struct field from both.
func TestFoldIsWhatEncodingJSONDoes(t *testing.T) {
	var fields struct {
		Sub string `json:"sub"`
		Kid string `json:"kid"`
		Жа  string `json:"жа"`
	}
	for _, c := range []struct {
		name, field string
		same        bool
	}{
		{"sub", "sub", true},
		{"SUB", "sub", true},
		{"ſub", "sub", true},
		{"ſUb", "sub", true},
		{"sub ", "sub", false},
		{"sübb", "sub", false},
		{"kid", "kid", true},
		{"\u212aID", "kid", true},
		{"kıd", "kid", false}, // the dotless i folds to no other letter
		{"kİd", "kid", false},
		{"ЖА", "жа", true},
		{"жa", "жа", false}, // a Latin a
	} {
		fields.Sub, fields.Kid, fields.Жа = "", "", ""
		text, err := json.Marshal(map[string]string{c.name: "set"})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &fields))
		set := map[string]string{"sub": fields.Sub, "kid": fields.Kid, "жа": fields.Жа}[c.field] == "set"
		require.Equal(t, c.same, set, "encoding/json: %s and %s", c.name, c.field)
		require.Equal(t, c.same, strictjson.Fold(c.name) == strictjson.Fold(c.field), "Fold: %s and %s", c.name, c.field)
		_, err = read(fmt.Sprintf(`{%q:1,%q:2}`, c.name, c.field))
		require.Equal(t, c.same, errors.Is(err, strictjson.ErrDuplicate), "Object: %s and %s", c.name, c.field)
	}
}

func TestStrIsForStringsAlone(t *testing.T) {
	for text, want := range map[string]string{
		`""`: "", `"x"`: "x", `"\""`: `"`, `"\\\/\b\f\n\r\t"`: "\\/\b\f\n\r\t",
		`"\u0000"`: "\x00", `"\u00e9é"`: "éé", `"\uD834\uDD1E"`: "𝄞", `"\ufffd"`: "\ufffd", `"\\ud834"`: `\ud834`,
	} {
		got, ok := value(t, text).Str()
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`1`, `true`, `null`, `[]`, `["x"]`, `{}`, `{"x":"x"}`} {
		got, ok := value(t, text).Str()
		require.False(t, ok, text)
		require.Empty(t, got)
	}
	_, ok := strictjson.Value("").Str()
	require.False(t, ok)
}

func TestEachStringIsForArraysOfStringsAlone(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
		ok   bool
	}{
		{`[]`, nil, true},
		{`[ ]`, nil, true},
		{`["a"]`, []string{"a"}, true},
		{`[ "a" , "\u0062" , "" ]`, []string{"a", "b", ""}, true},
		{`[1]`, nil, false},
		{`["a",1]`, []string{"a"}, false},
		{`["a",null]`, []string{"a"}, false},
		{`[["a"]]`, nil, false},
		{`[{"a":"a"}]`, nil, false},
		{`"a"`, nil, false},
		{`{"a":"a"}`, nil, false},
		{`null`, nil, false},
	} {
		v := value(t, c.text)
		var got []string
		require.Equal(t, c.ok, v.EachString(func(s string) bool { got = append(got, s); return true }), c.text)
		require.Equal(t, c.want, got, c.text)
		calls := 0
		require.Equal(t, c.ok, v.EachString(func(string) bool { calls++; return false }), "%s, stopped: the answer is about the whole array", c.text)
		require.Equal(t, min(1, len(c.want)), calls, c.text)
	}
	require.False(t, strictjson.Value("").EachString(func(string) bool { return true }))
}

func TestIntIsForWholeNumbersOf64Bits(t *testing.T) {
	for text, want := range map[string]int64{
		`0`: 0, `-0`: 0, `-1`: -1, `9007199254740993`: 9007199254740993,
		`9223372036854775807`: 1<<63 - 1, `-9223372036854775808`: -1 << 63,
	} {
		got, ok := value(t, text).Int()
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`9223372036854775808`, `-9223372036854775809`, `1.0`, `1e2`, `"1"`, `true`, `null`, `[]`, `{}`} {
		_, ok := value(t, text).Int()
		require.False(t, ok, text)
	}
}

// A stranger chooses the number.
func TestLongNumbersAreNotCopied(t *testing.T) {
	v := value(t, "17."+strings.Repeat("1", 1000))
	require.Zero(t, testing.AllocsPerRun(10, func() { v.Date() }))
}

func TestDateIsForNumbersInRange(t *testing.T) {
	for text, want := range map[string]time.Time{
		`0`:              time.Unix(0, 0),
		`1`:              time.Unix(1, 0),
		`1793534400`:     time.Unix(1793534400, 0),
		`1793534400.5`:   time.Unix(1793534400, 5e8),
		`1793534400.0`:   time.Unix(1793534400, 0),
		`1.7935344e9`:    time.Unix(1793534400, 0),
		`17935344000E-1`: time.Unix(1793534400, 0),
		`253402300799`:   time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		got, ok := value(t, text).Date()
		require.True(t, ok, text)
		require.True(t, want.Equal(got), "%s: %v", text, got)
	}
	for _, text := range []string{
		`-1`, `-0.5`, `-1e3`, `253402300800`, `253402300799.5`, `1e12`, `1e400`, `-1e400`, `9223372036854775808`, `1e18446744073709551616`,
		`"1793534400"`, `"2026-11-01"`, `true`, `false`, `null`, `[]`, `[1793534400]`, `{}`, `""`,
	} {
		got, ok := value(t, text).Date()
		require.False(t, ok, "%s: %v", text, got)
	}
	_, ok := strictjson.Value("").Date()
	require.False(t, ok)
}

func TestWriterWritesWhatIsRead(t *testing.T) {
	var w strictjson.Writer
	require.Equal(t, `{}`, string(w.Object()))

	w = strictjson.Writer{}
	w.Members(`{}`)
	require.Equal(t, `{}`, string(w.Object()))

	w = strictjson.Writer{}
	w.Members(`{"first":1}`)
	w.Str("s", "quote \" backslash \\ line\nfeed \x00 \x1f \x7f é 𝄞 </script>")
	w.Int("i", -1<<63)
	w.Strings("none", nil)
	w.Strings("two", []string{"a", "b\t"})
	w.Raw("raw", `[null]`)
	w.Members(`{}`)
	w.Members(`{"x":{"y":1},"z":2}`)
	w.Str("ſ\n", "")
	text := string(w.Object())
	require.Equal(t, `{"first":1,"s":"quote \" backslash \\ line\u000afeed \u0000 \u001f `+"\x7f"+` é 𝄞 </script>","i":-9223372036854775808,`+
		`"none":[],"two":["a","b\u0009"],"raw":[null],"x":{"y":1},"z":2,"ſ\u000a":""}`, text)
	_, err := read(text)
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(text)))
}

// TestEveryByteAtEveryPlaceIsWritten: of names and strings of all lengths around those
// that are written in one step, and of numbers.
func TestEveryByteAtEveryPlaceIsWritten(t *testing.T) {
	for length := 1; length < 20; length++ {
		for place := range length {
			for c := range 0x80 {
				text := strings.Repeat("x", place) + string(rune(c)) + strings.Repeat("x", length-place-1)
				for _, text := range []string{text, text + "é"} {
					var w strictjson.Writer
					w.Str(text, text)
					var read map[string]any
					require.NoError(t, json.Unmarshal(w.Object(), &read), "%q", text)
					require.Equal(t, map[string]any{text: text}, read)
				}
			}
		}
	}
	for n := int64(1); n < math.MaxInt64/10; n *= 10 {
		for _, n := range []int64{n - 1, n, n + 1, -n} {
			var w strictjson.Writer
			w.Int("n", n)
			require.Equal(t, fmt.Sprintf(`{"n":%d}`, n), string(w.Object()))
		}
	}
}

func TestObjectAtCountsTheDepthAbove(t *testing.T) {
	require.NoError(t, strictjson.ObjectAt(1, nested(`{"a":`, `1`, `}`, 32), nil))
	require.ErrorIs(t, strictjson.ObjectAt(2, nested(`{"a":`, `1`, `}`, 32), nil), strictjson.ErrDepth)
}

func TestEachIsForArraysOfAnything(t *testing.T) {
	var texts []string
	require.True(t, value(t, `[ [1] , {"a":[]},"x" ]`).Each(func(v strictjson.Value) bool {
		texts = append(texts, string(v))
		return true
	}))
	require.Equal(t, []string{`[1]`, `{"a":[]}`, `"x"`}, texts)
	require.False(t, value(t, `{}`).Each(nil))
}

func BenchmarkObject(b *testing.B) {
	const claims = `{"iss":"https://issuer.example.com","sub":"user-0123456789","aud":"https://api.example.com","exp":1795300000,"iat":1795300000,"nbf":1795300000,` +
		`"jti":"0123456789012345678901","scope":"orders:read orders:write","tenant":"acme","roles":["admin","editor","viewer"]}`
	members := 0
	for b.Loop() {
		if err := strictjson.Object(claims, func(string, strictjson.Value) error { members++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// A stranger chooses these names.
func BenchmarkObjectOfManyNames(b *testing.B) {
	for kind, format := range map[string]string{"plain": `"%x":1,`, "capitals": `"%X":1,`, "escapes": `"\/%X":1,`, "not ASCII": `"Ä%x":1,`} {
		b.Run(kind, func(b *testing.B) {
			var text strings.Builder
			for n := 0; text.Len() < 6000; n++ {
				fmt.Fprintf(&text, format, n)
			}
			object := `{` + text.String() + `"last":0}`
			b.ReportAllocs()
			b.SetBytes(int64(len(object)))
			for b.Loop() {
				if err := strictjson.Object(object, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestNumbersAreReadByTheDigit: of all lengths, and with any byte in place of a
// digit.
func TestNumbersAreReadByTheDigit(t *testing.T) {
	const digits = "98765432109876543"
	for length := 1; length <= len(digits); length++ {
		for place := range length {
			for c := range 256 {
				text := digits[:place] + string([]byte{byte(c)}) + digits[place+1:length]
				var got int64
				err := strictjson.Object(`{"n":`+text+`}`, func(_ string, v strictjson.Value) (err error) {
					var ok bool
					if got, ok = v.Int(); !ok {
						err = errors.New("no whole number")
					}
					return err
				})
				var want struct{ N int64 }
				wantErr := json.Unmarshal([]byte(`{"n":`+text+`}`), &want)
				require.Equal(t, wantErr == nil, err == nil, "%q: %v, %v", text, wantErr, err)
				if err == nil {
					require.Equal(t, want.N, got, text)
				}
			}
		}
	}
}

// Users choose names inside a claim; the names of the claims themselves are chosen by the issuer.
func TestNestedNamesOfClaimsMayDifferByCaseOnly(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf(`"Name%d":1,"name%d":2`, i, i)
	}
	crowd := strings.Join(many, ",")
	for text, want := range map[string][2]error{ // of Claims, of Object
		`{"a":1,"b":2}`:                                     {nil, nil},
		`{"a":1,"A":2}`:                                     {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"a":1,"a":2}`:                                     {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":{"Name":"A","name":"a"}}`:                     {nil, strictjson.ErrDuplicate},
		`{"m":[[{"ſ":1,"s":2,"S":3}]]}`:                     {nil, strictjson.ErrDuplicate},
		`{"m":{"n":{"A":1,"a":1}}}`:                         {nil, strictjson.ErrDuplicate},
		`{"m":{"a":1,"a":2}}`:                               {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":{"a":1,"\u0061":2}}`:                          {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":[{"a":1,"A":2,"a":3}]}`:                       {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":{` + crowd + `}}`:                             {nil, strictjson.ErrDuplicate},
		`{"m":{` + crowd + `,"name7":3}}`:                   {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{` + crowd + `}`:                                   {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":{"A":1,"a":2},"M":1}`:                         {strictjson.ErrDuplicate, strictjson.ErrDuplicate},
		`{"m":` + nested(`{"A":1,"a":`, "1", "}", 31) + `}`: {nil, strictjson.ErrDuplicate},
		`{"m":` + nested(`{"A":1,"a":`, "1", "}", 32) + `}`: {strictjson.ErrDepth, strictjson.ErrDuplicate},
	} {
		require.Equal(t, want[0], strictjson.Claims(text, true, func(string, strictjson.Value, int) error { return nil }), text)
		require.Equal(t, want[1], strictjson.Object(text, nil), text)
		require.Equal(t, want[1], strictjson.Claims(text, false, func(string, strictjson.Value, int) error { return nil }), text)
	}
	var inner strictjson.Value
	require.NoError(t, strictjson.Claims(`{"m":[{"A":1,"a":2}]}`, true, func(_ string, v strictjson.Value, _ int) error { inner = v; return nil }))
	require.True(t, inner.Each(func(strictjson.Value) bool { return true }))
}
