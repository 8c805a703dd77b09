package attacks_test

import (
	"encoding/json"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var encodingAttacks = []attack{
	{"E01", "base64 padding", func(t *testing.T) {
		for _, padding := range []string{"=", "==", "===", "====", "==A="} {
			requireMalformed(t, func(s string) string { return s + padding })
			requireMalformed(t, func(s string) string { return padding + s })
		}
		w := newMACWorld(t, jwk.HS256)
		// With exactly the padding of the standard encoding.
		for _, last := range []string{"", "a", "ab"} {
			good := w.text(fixture.Header(w.Key, nil), w.Claims(map[string]any{"x": last}))
			w.RequireAccepted(good)
			if missing := (4 - len(strings.Split(good, ".")[1])%4) % 4; missing > 0 {
				w.RequireRefusedBy("claims", w.resign(good, 1, func(s string) string { return s + strings.Repeat("=", missing) }))
			}
			w.RequireRefusedBy("signature", good+"=")
		}
	}},
	{"E02", "standard base64 alphabet", func(t *testing.T) {
		w := newMACWorld(t, jwk.HS256)
		standard := strings.NewReplacer("-", "+", "_", "/").Replace
		seen := 0
		for n := 0; seen < 20; n++ {
			good := w.text(fixture.Header(w.Key, nil), w.Claims(map[string]any{"jti": strconv.Itoa(n)}))
			signature := strings.Split(good, ".")[2]
			if !strings.Contains(signature, "-") || !strings.Contains(signature, "_") {
				continue
			}
			seen++
			w.RequireAccepted(good)
			w.RequireRefusedBy("signature", w.resign(good, 2, standard))
			w.RequireRefusedBy("signature", w.resign(good, 2, func(s string) string { return strings.ReplaceAll(s, "-", "+") }))
			w.RequireRefusedBy("signature", w.resign(good, 2, func(s string) string { return strings.ReplaceAll(s, "_", "/") }))
		}
		special := map[string]any{"x": "???>>>~~~", "y": "ÿþý"}
		good := w.text(fixture.Header(w.Key, special), w.Claims(special))
		w.RequireAccepted(good)
		for segment, check := range segmentChecks[:2] {
			require.NotEqual(t, good, w.resign(good, segment, standard))
			w.RequireRefusedBy(check, w.resign(good, segment, standard))
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
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			for _, blank := range []string{" ", "\t", "\n", "\r\n"} {
				w.RequireRefused(blank + good)
				w.RequireRefused(good + blank)
				w.RequireRefused(strings.Replace(good, ".", blank+".", 1))
				w.RequireRefused(strings.Replace(good, ".", "."+blank, 1))
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
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireAccepted(good)
			unused := map[int]int{2: 4, 3: 2}[len(strings.Split(good, ".")[2])%4]
			last := strings.IndexByte(alphabet, good[len(good)-1])
			for bits := 1; bits < 1<<unused; bits++ {
				e := w.RequireRefusedBy("signature", good[:len(good)-1]+alphabet[last|bits:last|bits+1])
				require.ErrorIs(t, e, jwtauth.ErrTokenMalformed)
				tested++
			}
		}
		require.Positive(t, tested)

		// The other segments, with a code that is right for their spelling.
		w := newMACWorld(t, jwk.HS256)
		for _, filler := range []string{"", "a", "ab"} {
			good := w.text(fixture.Header(w.Key, map[string]any{"x": filler}), w.Claims(map[string]any{"x": filler}))
			w.RequireAccepted(good)
			for segment, check := range segmentChecks[:2] {
				s := strings.Split(good, ".")[segment]
				last := strings.IndexByte(alphabet, s[len(s)-1])
				unused := map[int]int{2: 4, 3: 2}[len(s)%4]
				for bits := 1; bits < 1<<unused; bits++ {
					e := w.RequireRefusedBy(check, w.resign(good, segment, func(s string) string { return s[:len(s)-1] + alphabet[last|bits:last|bits+1] }))
					require.ErrorContains(t, e, "canonical")
				}
			}
		}
	}},
	{"E09", "percent-encoding and quoting", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireAccepted(good)
			w.RequireRefusedBy("form", strings.ReplaceAll(good, ".", "%2E"))
			w.RequireRefusedBy("form", strings.ReplaceAll(good, ".", "%2e"))
			w.RequireRefusedBy("form", strings.Replace(good, ".", "%2E", 1))
			w.RequireRefusedBy("header", `"`+good+`"`)
			w.RequireRefusedBy("header", `'`+good+`'`)
			w.RequireRefusedBy("header", `<`+good+`>`)
			w.RequireRefusedBy("header", "%"+strconv.FormatInt(int64(good[0]), 16)+good[1:])
			for _, trailing := range []string{";", ",", `"`, "%00", "%20", "&a=b", "#a", "?a=b", ", " + good, ";" + strings.ReplaceAll(good, ".", "_")} {
				w.RequireRefused(good + trailing)
			}
		}
	}},
	{"E11", "NUL bytes", func(t *testing.T) {
		requireMalformed(t, func(s string) string { return "\x00" + s })
		requireMalformed(t, func(s string) string { return s + "\x00" })
		requireMalformed(t, func(s string) string { return s + "\x00\x00\x00\x00" })
		requireMalformed(t, func(s string) string { return s[:4] + "\x00" + s[4:] })
		w := fixture.New(t)
		good := w.Sign(w.Claims(nil))
		w.RequireRefusedBy("signature", good+"\x00")
		w.RequireRefusedBy("signature", good+"\x00garbage")
		w.RequireRefusedBy("header", "\x00"+good)
	}},
	{"E12", "segment count", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := w.Sign(w.Claims(nil))
			w.RequireAccepted(good)
			part := strings.Split(good, ".")
			for _, token := range []string{
				"", "x", ".", "...", "....", ".....", part[0], part[0] + part[1] + part[2], part[0] + "." + part[1], part[1] + "." + part[2],
				good + ".", "." + good, "." + good + ".", good + ".." + part[2], good + "." + part[2], good + "." + part[1] + "." + part[2],
				good + "." + good, strings.Replace(good, ".", "..", 1), strings.Join([]string{part[0], "", part[1], "", part[2]}, "."),
			} {
				w.RequireRefusedBy("form", token)
			}
			w.RequireRefusedBy("header", "..")
			w.RequireRefusedBy("header", "."+part[1]+"."+part[2])
			w.RequireRefusedBy("signature", part[0]+".."+part[2])
			w.RequireRefusedBy("signature", part[0]+"."+part[1]+".")
			w.RequireRefusedBy("signature", part[0]+"..")
			w.RequireRefusedBy("claims", fixture.SignWith(t, w.Key, fixture.Header(w.Key, nil), ""))
		}
	}},
	{"E13", "a million dots", func(t *testing.T) {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		dots := strings.Repeat(".", 1<<20)
		e := w.RequireRefusedBy("size", dots)
		require.Equal(t, strconv.Itoa(1<<20), e.Got)
		require.Less(t, allocated(func() { _, _ = w.Verifier.Verify(t.Context(), dots) }), uint64(4<<10))

		anyOf, err := jwtauth.AnyOf(w.Verifier)
		require.NoError(t, err)
		_, err = anyOf.Verify(t.Context(), dots)
		require.ErrorIs(t, err, jwtauth.ErrTokenMalformed)
		require.Less(t, allocated(func() { _, _ = anyOf.Verify(t.Context(), dots) }), uint64(4<<10))

		// Within the limit of the size, nothing is allocated for each dot.
		few := dots[:8<<10]
		w.RequireRefusedBy("form", few)
		require.Less(t, allocated(func() { _, _ = w.Verifier.Verify(t.Context(), few) }), uint64(4<<10))
	}},
	{"E14", "oversize token", func(t *testing.T) {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
		token := w.Sign(w.Claims(map[string]any{"x": strings.Repeat("x", 1<<20)}))
		w.RequireOnlyRefusedBy("size", token)
		require.Less(t, allocated(func() { _, _ = w.Verifier.Verify(t.Context(), token) }), uint64(4<<10))
		w.RequireRefusedBy("size", strings.Repeat("?", 16<<10+1))

		_, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{MaxTokenBytes: 1<<20 + 1})
		require.ErrorContains(t, err, "MaxTokenBytes")

		// The limit is exactly 16384 bytes.
		longest := ""
		for n := 11800; ; n++ {
			token := w.Sign(w.Claims(map[string]any{"x": strings.Repeat("x", n)}))
			if len(token) > 16<<10 {
				w.RequireOnlyRefusedBy("size", token)
				break
			}
			longest = token
		}
		require.Greater(t, len(longest), 16<<10-4)
		w.RequireAccepted(longest)
	}},
	{"E16", "deep nesting in claims", func(t *testing.T) {
		w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxTokenBytes = 1 << 20 })
		nested := func(levels int, open, end string) string {
			claims := fixture.Text(t, w.Claims(nil))
			return claims[:len(claims)-1] + `,"x":` + strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels) + "}"
		}
		deep := make(chan uint64)
		for _, levels := range []int{9000, 11000, 50000} {
			for _, token := range []string{
				w.Sign(nested(levels, "[", "]")),
				w.Sign(nested(levels, `{"a":`, "}")),
				w.Sign(nested(levels, `[{"a":`, "}]")),
				w.Sign(nested(levels, "[", "")),
			} {
				e := w.RequireRefusedBy("claims", token)
				require.ErrorContains(t, e, "nested too deeply")
				go func() { // whose stack has not grown yet
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					_, _ = w.Verifier.Verify(t.Context(), token)
					runtime.ReadMemStats(&after)
					deep <- max(after.StackInuse, before.StackInuse) - before.StackInuse
				}()
				require.Less(t, <-deep, uint64(1<<20))
			}
			h := fixture.Text(t, fixture.Header(w.Key, nil))
			h = h[:len(h)-1] + `,"x":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + "}"
			require.ErrorContains(t, w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil))), "nested too deeply")
		}
		// There may be 32 levels, including the object of the claims.
		w.RequireAccepted(w.Sign(nested(31, "[", "]")))
		w.RequireRefusedBy("claims", w.Sign(nested(32, "[", "]")))
	}},
	{"E19", "exp overflowing float64", func(t *testing.T) {
		w := fixture.New(t)
		for _, name := range []string{"exp", "nbf", "iat"} {
			for _, number := range []string{"1e400", "-1e400", "1e309", "1e308", "1e19", "18446744073709551616", "9223372036854775807", "9223372036854775808", "253402300800", "1" + strings.Repeat("0", 400)} {
				w.RequireBadClaims(w.Claims(map[string]any{name: json.RawMessage(number)}), "out of range")
			}
		}
		// The latest date is the last second of the year 9999.
		w = fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxLifetime = -1 })
		w.RequireAccepted(w.Sign(w.Claims(map[string]any{"exp": 253402300799})))
	}},
	{"E21", "exp as a string", func(t *testing.T) {
		w := fixture.New(t)
		for _, name := range []string{"exp", "nbf", "iat"} {
			for _, value := range []string{strconv.FormatInt(w.Clock.Now().Unix(), 10), "1999999999", "", "never", w.Clock.Now().Format(time.RFC3339)} {
				w.RequireBadClaims(w.Claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E23", "exp with a fraction", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			now := w.Clock.Now().Unix()
			for number, want := range map[string]time.Duration{
				strconv.FormatInt(now+600, 10) + ".5":   500 * time.Millisecond,
				strconv.FormatInt(now+600, 10) + ".500": 500 * time.Millisecond,
				strconv.FormatInt(now+600, 10) + ".0":   0,
				strconv.FormatInt(now+600, 10) + "e0":   0,
			} {
				got := w.RequireAccepted(w.Sign(w.Claims(map[string]any{"exp": json.RawMessage(number)})))
				require.Equal(t, w.Clock.Now().Add(600*time.Second+want), got.ExpiresAt.UTC())
			}
			past := strconv.FormatInt(now-31, 10) + ".5"
			w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": json.RawMessage(past)})))
		}
	}},
	{"E24", "exp zero or negative", func(t *testing.T) {
		w := fixture.New(t)
		for _, number := range []string{"0", "-0", "0.0", "0e5", "0.5", "1"} {
			e := w.RequireRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": json.RawMessage(number)})))
			require.ErrorIs(t, e, jwtauth.ErrTokenExpired)
		}
		for _, number := range []string{"-1", "-1.5", "-0.5", "-1e9", "-9223372036854775808", "-62135596800"} {
			w.RequireBadClaims(w.Claims(map[string]any{"exp": json.RawMessage(number)}), "out of range")
		}
	}},
	{"E26", "exp null", func(t *testing.T) {
		w := fixture.New(t)
		w.RequireBadClaims(w.Claims(map[string]any{"exp": json.RawMessage("null")}), `"exp"`)
	}},
	{"E27", "exp/nbf/iat as true, [], {}, [n]", func(t *testing.T) {
		w := fixture.New(t)
		n := w.Clock.Now().Unix() + 600
		for _, name := range []string{"exp", "nbf", "iat"} {
			for _, value := range []any{true, false, []int{}, map[string]int{}, []int64{n}, map[string]int64{name: n}, []string{"1"}} {
				w.RequireBadClaims(w.Claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E29", "aud empty", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range []any{[]string{}, []string{""}, "", nil, json.RawMessage("null")} {
			e := w.RequireOnlyRefusedBy("aud", w.Sign(w.Claims(map[string]any{"aud": value})))
			require.ErrorIs(t, e, jwtauth.ErrTokenAudience)
		}
	}},
	{"E30", "aud mixed types", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range []any{
			[]any{fixture.Audience, 1}, []any{1, fixture.Audience}, []any{fixture.Audience, nil}, []any{fixture.Audience, []string{}}, []any{[]string{fixture.Audience}},
			map[string]any{"aud": fixture.Audience}, 1, true,
		} {
			w.RequireBadClaims(w.Claims(map[string]any{"aud": value}), `"aud" has a value of a wrong JSON type`)
		}
		w.RequireAccepted(w.Sign(w.Claims(map[string]any{"aud": []string{"https://other.test", fixture.Audience}})))
	}},
	{"E32", "iss as an array", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range [][]string{{fixture.Issuer, "https://evil.test"}, {"https://evil.test", fixture.Issuer}, {fixture.Issuer}, {}} {
			w.RequireBadClaims(w.Claims(map[string]any{"iss": value}), `"iss" has a value of a wrong JSON type`)
		}
	}},
	{"E33", "iss as object, number, true", func(t *testing.T) {
		w := fixture.New(t)
		for _, value := range []any{map[string]string{"iss": fixture.Issuer}, map[string]string{fixture.Issuer: "iss"}, 1, true, json.RawMessage("null")} {
			w.RequireBadClaims(w.Claims(map[string]any{"iss": value}), `"iss" has a value of a wrong JSON type`)
		}
	}},
	{"E34", "sub not a string", func(t *testing.T) {
		w := fixture.New(t)
		for _, name := range []string{"sub", "jti", "sid"} { // jti and sid, since w has Revocations
			for _, value := range []any{7, 1.5, true, []string{"alice"}, map[string]string{"sub": "alice"}} {
				w.RequireBadClaims(w.Claims(map[string]any{name: value}), `"`+name+`" has a value of a wrong JSON type`)
			}
		}
	}},
	{"E36", "duplicate exp", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := fixture.Text(t, w.Claims(map[string]any{"exp": nil}))
			good = good[1 : len(good)-1]
			future := strconv.FormatInt(w.Clock.Now().Unix()+600, 10)
			w.RequireAccepted(w.Sign(`{` + good + `,"exp":` + future + `}`))
			for _, claims := range []string{
				`{"exp":1,"exp":F,G}`, `{"exp":F,"exp":1,G}`, `{"exp":F,G,"exp":F}`, `{"exp":F,G,"\u0065xp":1}`, `{"\u0065x\u0070":F,G,"exp":F}`,
				`{"exp":F,G,"sub":"mallory"}`, `{"exp":F,"iss":"https://evil.test",G}`, `{"exp":F,G,"x":1,"x":1}`,
				`{"exp":F,G,"x":{"y":1,"y":2}}`, `{"exp":F,G,"x":[{"y":1,"y":2}]}`, `{"exp":F,G,"":1,"":2}`,
			} {
				claims = strings.NewReplacer("F", future, "G", good).Replace(claims)
				w.RequireBadClaims(claims, "appears twice")
			}
		}
	}},
	{"E38", "claim names in another case: EXP", func(t *testing.T) {
		w := fixture.New(t)
		good := fixture.Text(t, w.Claims(nil))
		inside := good[1 : len(good)-1]
		for _, beside := range []string{`"EXP":9999999999`, `"Exp":1`, `"ISS":"` + fixture.Issuer + `"`, `"Aud":"x"`, `"SUB":"mallory"`, `"\u017fub":"mallory"`, `"\u0053ub":"mallory"`, `"JTI":"x"`, `"AUTH_TIME":1`} {
			w.RequireBadClaims(`{`+inside+`,`+beside+`}`, "appears twice")
			w.RequireBadClaims(`{`+beside+`,`+inside+`}`, "another spelling")
		}
		w.RequireBadClaims(`{`+inside+`,"role":1,"Role":2}`, "appears twice")
		w.RequireBadClaims(`{`+inside+`,"x":{"role":1,"ROLE":2}}`, "appears twice")

		// Such a name is refused also if the right name is missing: encoding/json would
		// take it for the right name in the struct of a handler.
		for _, name := range []string{"exp", "iss", "aud", "sub", "jti", "iat", "auth_time", "nbf", "sid", "scope", "client_id", "acr", "amr", "cnf", "act", "may_act"} {
			spellings := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name[:1] + strings.ToUpper(name[1:])}
			if strings.Contains(name, "s") {
				spellings = append(spellings, strings.Replace(name, "s", "\u017f", 1))
			}
			for _, other := range spellings {
				claims := w.Claims(nil)
				claims[other] = claims[name]
				delete(claims, name)
				w.RequireBadClaims(claims, "another spelling")
			}
		}
		// A name that is not equal to the right one in any folding of case is another name.
		for _, name := range []string{"exp", "iss", "aud", "sub", "jti"} {
			for _, other := range []string{" " + name, name + " ", name + "\x00", "\u200b" + name, name + "2"} {
				claims := w.Claims(nil)
				claims[other] = claims[name]
				delete(claims, name)
				w.RequireOnlyRefusedBy(name, w.Sign(claims))
			}
		}
	}},
	{"E40", "invalid UTF-8 in claims", func(t *testing.T) {
		w := fixture.New(t)
		w.RequireAccepted(w.Sign(strings.Replace(fixture.Text(t, w.Claims(nil)), `"alice"`, `"\u00fc\ud83d\ude00"`, 1)))
		for _, bad := range []string{
			"u\xff1", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "a\x80",
			`\ud800`, `\udc00`, `\ud800x`, `\ud800\u0041`, `\udc00\ud800`, `\udc00\udc00`, `\udfff\udc00`, `\ud800\ud800`,
		} {
			w.RequireBadClaims(strings.Replace(fixture.Text(t, w.Claims(nil)), `"alice"`, `"`+bad+`"`, 1), "UTF-8")
			w.RequireBadClaims(strings.Replace(fixture.Text(t, w.Claims(nil)), `{`, `{"`+bad+`":1,`, 1), "UTF-8")
			w.RequireBadClaims(strings.Replace(fixture.Text(t, w.Claims(nil)), `{`, `{"x":[{"y":"`+bad+`"}],`, 1), "UTF-8")
			h := strings.Replace(fixture.Text(t, fixture.Header(w.Key, nil)), `{`, `{"x":"`+bad+`",`, 1)
			require.ErrorContains(t, w.RequireRefusedBy("header", fixture.SignWith(t, w.Key, h, w.Claims(nil))), "UTF-8")
		}
	}},
	{"E43", "payload is not an object", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			good := fixture.Text(t, w.Claims(nil))
			for _, payload := range []string{`[]`, `"x"`, `1`, `null`, `true`, ``, ` `, "\n", `{`, `}`, `[` + good + `]`, strconv.Quote(good)} {
				w.RequireBadClaims(payload, "not a JSON object")
			}
			w.RequireRefusedBy("iss", w.Sign(`{}`))
		}
	}},
	{"E44", "trailing data", func(t *testing.T) {
		w := fixture.New(t)
		good := fixture.Text(t, w.Claims(nil))
		for _, payload := range []string{good + good, good + `x`, good + `{}`, good + `,`, good + `]`, good + `}`, good + "\x00", good + ` null`, `{}` + good, `x` + good, "\ufeff" + good, "\x00" + good, good + "\v"} {
			w.RequireBadClaims(payload, "not a JSON object")
		}
		w.RequireAccepted(w.Sign(" \t\r\n" + good + "\n"))
	}},
	{"E45", "JSON dialects", func(t *testing.T) {
		w := fixture.New(t)
		good := fixture.Text(t, w.Claims(nil))
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
			w.RequireBadClaims(payload, "not a JSON object")
		}
		w.RequireAccepted(w.Sign(open + `,"x":[-0.5e+3,true,null,{"y":"\"\\\/\b\f\n\r\t\u0041"}]}`))
	}},
}

// segmentChecks are the checks that decode the three segments of a token.
var segmentChecks = []string{"header", "claims", "signature"}

// macWorld is a World whose HMAC secret the test knows, so that it can sign a token in
// any spelling.
type macWorld struct {
	*fixture.World
	secret []byte
}

func newMACWorld(t *testing.T, alg jwk.Algorithm) *macWorld {
	t.Helper()
	w := &macWorld{fixture.New(t), fixture.RandomBytes(64)}
	k, err := jwk.NewHMAC(alg, "", w.secret)
	require.NoError(t, err)
	w.Use(k)
	return w
}

func (w *macWorld) text(header, claims any) string {
	w.T.Helper()
	return hmacToken(w.T, w.Key.Algorithm(), w.secret, header, claims)
}

// resign changes one segment of a token. Unless the segment is the signature, it signs
// the changed token.
func (w *macWorld) resign(token string, segment int, change func(string) string) string {
	part := strings.Split(token, ".")
	part[segment] = change(part[segment])
	if segment < 2 {
		part[2] = macOf(w.Key.Algorithm(), w.secret, part[0]+"."+part[1])
	}
	return strings.Join(part, ".")
}

// requireMalformed fails the test unless a good token is refused if change has changed one
// of its segments, by the check that decodes the segment. It tries segments of every
// length modulo 4.
func requireMalformed(t *testing.T, change func(string) string) {
	t.Helper()
	for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.HS384, jwk.HS512} {
		w := newMACWorld(t, alg)
		for _, filler := range []string{"", "a", "ab"} {
			good := w.text(fixture.Header(w.Key, map[string]any{"x": filler}), w.Claims(map[string]any{"x": filler}))
			w.RequireAccepted(good)
			for segment, check := range segmentChecks {
				token := w.resign(good, segment, change)
				require.NotEqual(t, good, token)
				e := w.RequireRefusedBy(check, token)
				require.ErrorIs(t, e, jwtauth.ErrTokenMalformed)
				require.ErrorContains(t, e, "canonical base64url")
			}
		}
	}
}

// allocated returns how many bytes one call of f allocates.
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
