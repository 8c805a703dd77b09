package jwtauth_test

import (
	"encoding/json"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var encodingAttacks = []attack{
	{"E01", "base64 padding", func(t *testing.T) {
		for _, padding := range []string{"=", "==", "===", "====", "==A="} {
			requireMalformed(t, func(s string) string { return s + padding })
			requireMalformed(t, func(s string) string { return padding + s })
		}
		w := newMACWorld(t, jwtauth.HS256)
		// The padding that the standard encoding has: one for 2 bytes, two for 1.
		for _, last := range []string{"", "a", "ab"} {
			good := w.text(header(w.key, nil), w.claims(map[string]any{"x": last}))
			w.requireAccepted(good)
			if missing := (4 - len(strings.Split(good, ".")[1])%4) % 4; missing > 0 {
				w.requireRefusedBy("claims", w.resign(good, 1, func(s string) string { return s + strings.Repeat("=", missing) }))
			}
			w.requireRefusedBy("signature", good+"=")
		}
	}},
	{"E02", "standard base64 alphabet", func(t *testing.T) {
		w := newMACWorld(t, jwtauth.HS256)
		standard := strings.NewReplacer("-", "+", "_", "/").Replace
		seen := 0
		for n := 0; seen < 20; n++ {
			good := w.text(header(w.key, nil), w.claims(map[string]any{"jti": strconv.Itoa(n)}))
			signature := strings.Split(good, ".")[2]
			if !strings.Contains(signature, "-") || !strings.Contains(signature, "_") {
				continue
			}
			seen++
			w.requireAccepted(good)
			w.requireRefusedBy("signature", w.resign(good, 2, standard))
			w.requireRefusedBy("signature", w.resign(good, 2, func(s string) string { return strings.ReplaceAll(s, "-", "+") }))
			w.requireRefusedBy("signature", w.resign(good, 2, func(s string) string { return strings.ReplaceAll(s, "_", "/") }))
		}
		special := map[string]any{"x": "???>>>~~~", "y": "ÿþý"}
		good := w.text(header(w.key, special), w.claims(special))
		w.requireAccepted(good)
		for segment, check := range segmentChecks[:2] {
			require.NotEqual(t, good, w.resign(good, segment, standard))
			w.requireRefusedBy(check, w.resign(good, segment, standard))
		}
	}},
	{"E03", "blanks", func(t *testing.T) {
		// The standard decoder skips line breaks.
		for _, blank := range []string{" ", "\t", "\n", "\r", "\r\n", "\n\n\n\n", "\v", "\f", "\u00a0", "\u2028", "\ufeff"} {
			requireMalformed(t, func(s string) string { return blank + s })
			requireMalformed(t, func(s string) string { return s + blank })
			requireMalformed(t, func(s string) string { return s[:4] + blank + s[4:] })
			requireMalformed(t, func(s string) string { return s[:len(s)-1] + blank + s[len(s)-1:] })
		}
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			for _, blank := range []string{" ", "\t", "\n", "\r\n"} {
				w.requireRefused(blank + good)
				w.requireRefused(good + blank)
				w.requireRefused(strings.Replace(good, ".", blank+".", 1))
				w.requireRefused(strings.Replace(good, ".", "."+blank, 1))
			}
		}
	}},
	{"E04", "foreign characters", func(t *testing.T) {
		for _, c := range "?#%&!$'()*+,/:;<>@[]^`{|}~\\\"\x7fé€😀" {
			foreign := string(c)
			requireMalformed(t, func(s string) string { return foreign + s })
			requireMalformed(t, func(s string) string { return s + foreign })
			requireMalformed(t, func(s string) string { return s[:5] + foreign + s[5:] })
			requireMalformed(t, func(s string) string { return s[:5] + foreign + s[6:] })
		}
		requireMalformed(t, func(s string) string { return s + "\xff" })
	}},
	{"E07", "non-canonical last character of the signature", func(t *testing.T) {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		tested := 0
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireAccepted(good)
			unused := map[int]int{2: 4, 3: 2}[len(strings.Split(good, ".")[2])%4]
			last := strings.IndexByte(alphabet, good[len(good)-1])
			for bits := 1; bits < 1<<unused; bits++ {
				e := w.requireRefusedBy("signature", good[:len(good)-1]+alphabet[last|bits:last|bits+1])
				require.ErrorIs(t, e, jwtauth.ErrTokenMalformed)
				tested++
			}
		}
		require.Positive(t, tested)

		// The other segments, under a code that is right for their spelling.
		w := newMACWorld(t, jwtauth.HS256)
		for _, filler := range []string{"", "a", "ab"} {
			good := w.text(header(w.key, map[string]any{"x": filler}), w.claims(map[string]any{"x": filler}))
			w.requireAccepted(good)
			for segment, check := range segmentChecks[:2] {
				s := strings.Split(good, ".")[segment]
				last := strings.IndexByte(alphabet, s[len(s)-1])
				unused := map[int]int{2: 4, 3: 2}[len(s)%4]
				for bits := 1; bits < 1<<unused; bits++ {
					e := w.requireRefusedBy(check, w.resign(good, segment, func(s string) string { return s[:len(s)-1] + alphabet[last|bits:last|bits+1] }))
					require.ErrorContains(t, e, "canonical")
				}
			}
		}
	}},
	{"E09", "percent-encoding and quoting", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireAccepted(good)
			w.requireRefusedBy("form", strings.ReplaceAll(good, ".", "%2E"))
			w.requireRefusedBy("form", strings.ReplaceAll(good, ".", "%2e"))
			w.requireRefusedBy("form", strings.Replace(good, ".", "%2E", 1))
			w.requireRefusedBy("header", `"`+good+`"`)
			w.requireRefusedBy("header", `'`+good+`'`)
			w.requireRefusedBy("header", `<`+good+`>`)
			w.requireRefusedBy("header", "%"+strconv.FormatInt(int64(good[0]), 16)+good[1:])
			for _, trailing := range []string{";", ",", `"`, "%00", "%20", "&a=b", "#a", "?a=b", ", " + good, ";" + strings.ReplaceAll(good, ".", "_")} {
				w.requireRefused(good + trailing)
			}
		}
	}},
	{"E11", "NUL bytes", func(t *testing.T) {
		requireMalformed(t, func(s string) string { return "\x00" + s })
		requireMalformed(t, func(s string) string { return s + "\x00" })
		requireMalformed(t, func(s string) string { return s + "\x00\x00\x00\x00" })
		requireMalformed(t, func(s string) string { return s[:4] + "\x00" + s[4:] })
		w := newWorld(t)
		good := w.sign(w.claims(nil))
		w.requireRefusedBy("signature", good+"\x00")
		w.requireRefusedBy("signature", good+"\x00garbage")
		w.requireRefusedBy("header", "\x00"+good)
	}},
	{"E12", "segment count", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := w.sign(w.claims(nil))
			w.requireAccepted(good)
			part := strings.Split(good, ".")
			for _, token := range []string{
				"", "x", ".", "...", "....", ".....", part[0], part[0] + part[1] + part[2], part[0] + "." + part[1], part[1] + "." + part[2],
				good + ".", "." + good, "." + good + ".", good + ".." + part[2], good + "." + part[2], good + "." + part[1] + "." + part[2],
				good + "." + good, strings.Replace(good, ".", "..", 1), strings.Join([]string{part[0], "", part[1], "", part[2]}, "."),
			} {
				w.requireRefusedBy("form", token)
			}
			w.requireRefusedBy("header", "..")
			w.requireRefusedBy("header", "."+part[1]+"."+part[2])
			w.requireRefusedBy("signature", part[0]+".."+part[2])
			w.requireRefusedBy("signature", part[0]+"."+part[1]+".")
			w.requireRefusedBy("signature", part[0]+"..")
			w.requireRefusedBy("claims", signWith(t, w.key, header(w.key, nil), ""))
		}
	}},
	{"E13", "a million dots", func(t *testing.T) {
		w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		dots := strings.Repeat(".", 1<<20)
		e := w.requireRefusedBy("size", dots)
		require.Equal(t, strconv.Itoa(1<<20), e.Got)
		require.Less(t, allocated(func() { _, _ = w.verifier.Verify(t.Context(), dots) }), uint64(4<<10))

		anyOf, err := jwtauth.AnyOf(w.verifier)
		require.NoError(t, err)
		_, err = anyOf.Verify(t.Context(), dots)
		require.ErrorIs(t, err, jwtauth.ErrTokenMalformed)
		require.Less(t, allocated(func() { _, _ = anyOf.Verify(t.Context(), dots) }), uint64(4<<10))

		// Within the limit, the dots are counted without a slice for each.
		few := dots[:8<<10]
		w.requireRefusedBy("form", few)
		require.Less(t, allocated(func() { _, _ = w.verifier.Verify(t.Context(), few) }), uint64(4<<10))
	}},
	{"E14", "oversize token", func(t *testing.T) {
		w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		token := w.sign(w.claims(map[string]any{"x": strings.Repeat("x", 1<<20)}))
		w.requireOnlyRefusedBy("size", token)
		require.Less(t, allocated(func() { _, _ = w.verifier.Verify(t.Context(), token) }), uint64(4<<10))
		w.requireRefusedBy("size", strings.Repeat("?", 8<<10+1))

		_, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{MaxTokenBytes: 1<<20 + 1})
		require.ErrorContains(t, err, "MaxTokenBytes")

		// The limit is 8192 bytes to the byte.
		longest := ""
		for n := 5800; ; n++ {
			token := w.sign(w.claims(map[string]any{"x": strings.Repeat("x", n)}))
			if len(token) > 8<<10 {
				w.requireOnlyRefusedBy("size", token)
				break
			}
			longest = token
		}
		require.Greater(t, len(longest), 8<<10-4)
		w.requireAccepted(longest)
	}},
	{"E16", "deep nesting in claims", func(t *testing.T) {
		w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 1 << 20 })
		nested := func(levels int, open, end string) string {
			claims := text(t, w.claims(nil))
			return claims[:len(claims)-1] + `,"x":` + strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels) + "}"
		}
		deep := make(chan uint64)
		for _, levels := range []int{9000, 11000, 50000} {
			for _, token := range []string{
				w.sign(nested(levels, "[", "]")),
				w.sign(nested(levels, `{"a":`, "}")),
				w.sign(nested(levels, `[{"a":`, "}]")),
				w.sign(nested(levels, "[", "")),
			} {
				e := w.requireRefusedBy("claims", token)
				require.ErrorContains(t, e, "nested too deeply")
				go func() { // on a stack that has not grown yet
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					_, _ = w.verifier.Verify(t.Context(), token)
					runtime.ReadMemStats(&after)
					deep <- max(after.StackInuse, before.StackInuse) - before.StackInuse
				}()
				require.Less(t, <-deep, uint64(1<<20))
			}
			h := text(t, header(w.key, nil))
			h = h[:len(h)-1] + `,"x":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + "}"
			require.ErrorContains(t, w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil))), "nested too deeply")
		}
		// 32 levels, that of the claims themselves included.
		w.requireAccepted(w.sign(nested(31, "[", "]")))
		w.requireRefusedBy("claims", w.sign(nested(32, "[", "]")))
	}},
	{"E19", "exp overflowing float64", func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"exp", "nbf", "iat", "auth_time"} {
			for _, number := range []string{"1e400", "-1e400", "1e309", "1e308", "1e19", "18446744073709551616", "9223372036854775807", "9223372036854775808", "253402300800", "1" + strings.Repeat("0", 400)} {
				w.requireBadClaims(w.claims(map[string]any{name: json.RawMessage(number)}), "out of range")
			}
		}
		// The last second that a date may name is the end of the year 9999.
		w = newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxLifetime = -1 })
		w.requireAccepted(w.sign(w.claims(map[string]any{"exp": 253402300799})))
	}},
	{"E21", "exp as a string", func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"exp", "nbf", "iat", "auth_time"} {
			for _, value := range []string{strconv.FormatInt(w.clock.Now().Unix(), 10), "1999999999", "", "never", w.clock.Now().Format(time.RFC3339)} {
				w.requireBadClaims(w.claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E23", "exp with a fraction", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			now := w.clock.Now().Unix()
			for number, want := range map[string]time.Duration{
				strconv.FormatInt(now+600, 10) + ".5":   500 * time.Millisecond,
				strconv.FormatInt(now+600, 10) + ".500": 500 * time.Millisecond,
				strconv.FormatInt(now+600, 10) + ".0":   0,
				strconv.FormatInt(now+600, 10) + "e0":   0,
			} {
				got := w.requireAccepted(w.sign(w.claims(map[string]any{"exp": json.RawMessage(number)})))
				require.Equal(t, w.clock.Now().Add(600*time.Second+want), got.ExpiresAt.UTC())
			}
			past := strconv.FormatInt(now-31, 10) + ".5"
			w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": json.RawMessage(past)})))
		}
	}},
	{"E24", "exp zero or negative", func(t *testing.T) {
		w := newWorld(t)
		for _, number := range []string{"0", "-0", "0.0", "0e5", "0.5", "1"} {
			e := w.requireRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": json.RawMessage(number)})))
			require.ErrorIs(t, e, jwtauth.ErrTokenExpired)
		}
		for _, number := range []string{"-1", "-1.5", "-0.5", "-1e9", "-9223372036854775808", "-62135596800"} {
			w.requireBadClaims(w.claims(map[string]any{"exp": json.RawMessage(number)}), "out of range")
		}
	}},
	{"E26", "exp null", func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"exp", "nbf", "iat", "auth_time"} {
			w.requireBadClaims(w.claims(map[string]any{name: json.RawMessage("null")}), `"`+name+`"`)
		}
	}},
	{"E27", "exp/nbf/iat as true, [], {}, [n]", func(t *testing.T) {
		w := newWorld(t)
		n := w.clock.Now().Unix() + 600
		for _, name := range []string{"exp", "nbf", "iat", "auth_time"} {
			for _, value := range []any{true, false, []int{}, map[string]int{}, []int64{n}, map[string]int64{name: n}, []string{"1"}} {
				w.requireBadClaims(w.claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E29", "aud empty", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []any{[]string{}, []string{""}, "", nil} {
			e := w.requireOnlyRefusedBy("aud", w.sign(w.claims(map[string]any{"aud": value})))
			require.ErrorIs(t, e, jwtauth.ErrTokenAudience)
		}
		w.requireBadClaims(w.claims(map[string]any{"aud": json.RawMessage("null")}), `"aud" has a value of a wrong JSON type`)
	}},
	{"E30", "aud mixed types", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []any{
			[]any{testAudience, 1}, []any{1, testAudience}, []any{testAudience, nil}, []any{testAudience, []string{}}, []any{[]string{testAudience}},
			map[string]any{"aud": testAudience}, 1, true,
		} {
			w.requireBadClaims(w.claims(map[string]any{"aud": value}), `"aud" has a value of a wrong JSON type`)
		}
		w.requireAccepted(w.sign(w.claims(map[string]any{"aud": []string{"https://other.test", testAudience}})))
	}},
	{"E32", "iss as an array", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range [][]string{{testIssuer, "https://evil.test"}, {"https://evil.test", testIssuer}, {testIssuer}, {}} {
			w.requireBadClaims(w.claims(map[string]any{"iss": value}), `"iss" has a value of a wrong JSON type`)
		}
	}},
	{"E33", "iss as object, number, true", func(t *testing.T) {
		w := newWorld(t)
		for _, value := range []any{map[string]string{"iss": testIssuer}, map[string]string{testIssuer: "iss"}, 1, true, json.RawMessage("null")} {
			w.requireBadClaims(w.claims(map[string]any{"iss": value}), `"iss" has a value of a wrong JSON type`)
		}
	}},
	{"E34", "sub not a string", func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"sub", "jti", "sid", "client_id", "acr"} {
			for _, value := range []any{7, 1.5, true, []string{"alice"}, map[string]string{"sub": "alice"}, json.RawMessage("null")} {
				w.requireBadClaims(w.claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E36", "duplicate exp", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := text(t, w.claims(map[string]any{"exp": nil}))
			good = good[1 : len(good)-1]
			future := strconv.FormatInt(w.clock.Now().Unix()+600, 10)
			w.requireAccepted(w.sign(`{` + good + `,"exp":` + future + `}`))
			for _, claims := range []string{
				`{"exp":1,"exp":F,G}`, `{"exp":F,"exp":1,G}`, `{"exp":F,G,"exp":F}`, `{"exp":F,G,"\u0065xp":1}`, `{"\u0065x\u0070":F,G,"exp":F}`,
				`{"exp":F,G,"sub":"mallory"}`, `{"exp":F,"iss":"https://evil.test",G}`, `{"exp":F,G,"x":1,"x":1}`,
				`{"exp":F,G,"x":{"y":1,"y":2}}`, `{"exp":F,G,"x":[{"y":1,"y":2}]}`, `{"exp":F,G,"":1,"":2}`,
			} {
				claims = strings.NewReplacer("F", future, "G", good).Replace(claims)
				w.requireBadClaims(claims, "appears twice")
			}
		}
	}},
	{"E38", "claim names in another case: EXP", func(t *testing.T) {
		w := newWorld(t)
		good := text(t, w.claims(nil))
		inside := good[1 : len(good)-1]
		for _, beside := range []string{`"EXP":9999999999`, `"Exp":1`, `"ISS":"` + testIssuer + `"`, `"Aud":"x"`, `"SUB":"mallory"`, `"\u017fub":"mallory"`, `"\u0053ub":"mallory"`, `"JTI":"x"`, `"AUTH_TIME":1`} {
			w.requireBadClaims(`{`+inside+`,`+beside+`}`, "appears twice")
			w.requireBadClaims(`{`+beside+`,`+inside+`}`, "another spelling")
		}
		w.requireBadClaims(`{`+inside+`,"role":1,"Role":2}`, "appears twice")
		w.requireBadClaims(`{`+inside+`,"x":{"role":1,"ROLE":2}}`, "appears twice")

		// Instead of the right one, it is refused all the same, and not passed over:
		// encoding/json would take it for the right one in the struct of a handler.
		for _, name := range []string{"exp", "iss", "aud", "sub", "jti", "iat", "auth_time", "nbf", "sid", "scope", "client_id", "acr", "amr", "cnf", "act", "may_act"} {
			spellings := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name[:1] + strings.ToUpper(name[1:])}
			if strings.Contains(name, "s") {
				spellings = append(spellings, strings.Replace(name, "s", "\u017f", 1))
			}
			for _, other := range spellings {
				claims := w.claims(nil)
				claims[other] = claims[name]
				delete(claims, name)
				w.requireBadClaims(claims, "another spelling")
			}
		}
		// Names that nobody folds together with the right one are other names.
		for _, name := range []string{"exp", "iss", "aud", "sub", "jti"} {
			for _, other := range []string{" " + name, name + " ", name + "\x00", "\u200b" + name, name + "2"} {
				claims := w.claims(nil)
				claims[other] = claims[name]
				delete(claims, name)
				w.requireOnlyRefusedBy(name, w.sign(claims))
			}
		}
	}},
	{"E40", "invalid UTF-8 in claims", func(t *testing.T) {
		w := newWorld(t)
		w.requireAccepted(w.sign(strings.Replace(text(t, w.claims(nil)), `"alice"`, `"\u00fc\ud83d\ude00"`, 1)))
		for _, bad := range []string{
			"u\xff1", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "a\x80",
			`\ud800`, `\udc00`, `\ud800x`, `\ud800\u0041`, `\udc00\ud800`, `\udc00\udc00`, `\udfff\udc00`, `\ud800\ud800`,
		} {
			w.requireBadClaims(strings.Replace(text(t, w.claims(nil)), `"alice"`, `"`+bad+`"`, 1), "UTF-8")
			w.requireBadClaims(strings.Replace(text(t, w.claims(nil)), `{`, `{"`+bad+`":1,`, 1), "UTF-8")
			w.requireBadClaims(strings.Replace(text(t, w.claims(nil)), `{`, `{"x":[{"y":"`+bad+`"}],`, 1), "UTF-8")
			h := strings.Replace(text(t, header(w.key, nil)), `{`, `{"x":"`+bad+`",`, 1)
			require.ErrorContains(t, w.requireRefusedBy("header", signWith(t, w.key, h, w.claims(nil))), "UTF-8")
		}
	}},
	{"E43", "payload is not an object", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			good := text(t, w.claims(nil))
			for _, payload := range []string{`[]`, `"x"`, `1`, `null`, `true`, ``, ` `, "\n", `{`, `}`, `[` + good + `]`, strconv.Quote(good)} {
				w.requireBadClaims(payload, "not a JSON object")
			}
			w.requireRefusedBy("iss", w.sign(`{}`))
		}
	}},
	{"E44", "trailing data", func(t *testing.T) {
		w := newWorld(t)
		good := text(t, w.claims(nil))
		for _, payload := range []string{good + good, good + `x`, good + `{}`, good + `,`, good + `]`, good + `}`, good + "\x00", good + ` null`, `{}` + good, `x` + good, "\ufeff" + good, "\x00" + good, good + "\v"} {
			w.requireBadClaims(payload, "not a JSON object")
		}
		w.requireAccepted(w.sign(" \t\r\n" + good + "\n"))
	}},
	{"E45", "JSON dialects", func(t *testing.T) {
		w := newWorld(t)
		good := text(t, w.claims(nil))
		open, inside := good[:len(good)-1], good[1:len(good)-1]
		for _, payload := range []string{
			open + `/* x */}`, open + "// x\n}", `/* x */` + good, "# x\n" + good, open + `,}`, `{,` + inside + `}`, strings.Replace(good, `,`, `,,`, 1), strings.ReplaceAll(good, `,`, ` `),
			strings.ReplaceAll(good, `"`, `'`), strings.Replace(good, `"sub"`, `sub`, 1), strings.Replace(good, `"alice"`, `alice`, 1), strings.Replace(good, `"alice"`, "`alice`", 1),
			strings.ReplaceAll(good, `:`, `=`), `(` + good + `)`, open + `,"x":[1,]}`, open + `,"x":[,1]}`, open + `,"x":{"y":1,}}`, open + `,"x":}`, open + `,"x"}`, open + `,1:2}`,
			open + `,"x":01}`, open + `,"x":+1}`, open + `,"x":.5}`, open + `,"x":5.}`, open + `,"x":0x10}`, open + `,"x":1e}`, open + `,"x":1_000}`, open + `,"x":-}`,
			open + `,"x":NaN}`, open + `,"x":Infinity}`, open + `,"x":-Infinity}`, open + `,"x":undefined}`, open + `,"x":TRUE}`, open + `,"x":nul}`, open + `,"x":truefalse}`,
			open + `,"x":"a` + "\n" + `b"}`, open + `,"x":"a` + "\t" + `b"}`, open + `,"x":"\x41"}`, open + `,"x":"\'"}`, open + `,"x":"\u00"}`, open + `,"x":"\`, open + `,"x":"a}`,
			open + ",\u00a0" + `"x":1}`, strings.Replace(good, `"alice"`, "\u201calice\u201d", 1),
		} {
			w.requireBadClaims(payload, "not a JSON object")
		}
		w.requireAccepted(w.sign(open + `,"x":[-0.5e+3,true,null,{"y":"\"\\\/\b\f\n\r\t\u0041"}]}`))
	}},
}

// segmentChecks are the checks that decode the three segments of a token.
var segmentChecks = []string{"header", "claims", "signature"}

// requireBadClaims says that claims, correctly signed, are refused because they
// cannot be read, and why.
func (w *world) requireBadClaims(claims any, why string) {
	w.t.Helper()
	e := w.requireRefusedBy("claims", w.sign(claims))
	require.ErrorIs(w.t, e, jwtauth.ErrTokenMalformed)
	require.ErrorContains(w.t, e, why, "%v", claims)
}

// macWorld is a world whose HMAC secret the test knows, so that a token in any
// spelling carries a code that is right for this spelling.
type macWorld struct {
	*world
	secret []byte
}

func newMACWorld(t *testing.T, alg jwtauth.Algorithm) *macWorld {
	t.Helper()
	w := &macWorld{newWorld(t), randomBytes(64)}
	k, err := jwtauth.NewHMACKey(alg, "", w.secret)
	require.NoError(t, err)
	w.use(k)
	return w
}

func (w *macWorld) text(header, claims any) string {
	w.t.Helper()
	return hmacToken(w.t, w.key.Algorithm(), w.secret, header, claims)
}

// resign changes one segment of a token and, unless it is the signature itself,
// signs what came out.
func (w *macWorld) resign(token string, segment int, change func(string) string) string {
	part := strings.Split(token, ".")
	part[segment] = change(part[segment])
	if segment < 2 {
		part[2] = macOf(w.key.Algorithm(), w.secret, part[0]+"."+part[1])
	}
	return strings.Join(part, ".")
}

// requireMalformed says that a good token is refused once a segment is spelled
// otherwise, by what decodes that segment, and whatever the segment's length
// modulo 4.
func requireMalformed(t *testing.T, change func(string) string) {
	t.Helper()
	for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.HS384, jwtauth.HS512} {
		w := newMACWorld(t, alg)
		for _, filler := range []string{"", "a", "ab"} {
			good := w.text(header(w.key, map[string]any{"x": filler}), w.claims(map[string]any{"x": filler}))
			w.requireAccepted(good)
			for segment, check := range segmentChecks {
				token := w.resign(good, segment, change)
				require.NotEqual(t, good, token)
				e := w.requireRefusedBy(check, token)
				require.ErrorIs(t, e, jwtauth.ErrTokenMalformed)
				require.ErrorContains(t, e, "canonical base64url")
			}
		}
	}
}

// allocated is how many bytes one call of f allocates.
func allocated(f func()) uint64 {
	const calls = 200
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / calls
}
