package jwtauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// segments returns the decoded header and payload of a token.
func segments(t testing.TB, token string) (header, payload string) {
	t.Helper()
	require.Equal(t, 2, strings.Count(token, "."))
	return string(fixture.DecodedPart(t, token, 0)), string(fixture.DecodedPart(t, token, 1))
}

func TestAnAccessTokenIsWhatRFC9068Says(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
	})
	now := w.Clock.Now().Unix()
	for _, test := range []struct {
		name  string
		grant jwtauth.Grant
		want  string
	}{
		{"the least", jwtauth.Grant{Subject: "alice"},
			`{"iss":"https://issuer.test","sub":"alice","aud":["https://api.test","https://files.test"],"exp":%d,"iat":%d,"jti":"%s","auth_time":%d}`},
		{"all", jwtauth.Grant{
			Subject: "alice \"\\\u2028\x01", Scopes: []string{"read", "write:all"}, Audiences: []string{fixture.Audience}, ClientID: "web",
			ACR: "2", AMR: []string{"pwd", "otp"}, Claims: map[string]any{"roles": []string{"<admin>"}},
		},
			`{"iss":"https://issuer.test","sub":"alice \"\\` + "\u2028" + `\u0001","aud":"https://api.test","exp":%d,"iat":%d,"jti":"%s",` +
				`"client_id":"web","scope":"read write:all","auth_time":%d,"acr":"2","amr":["pwd","otp"],"roles":["<admin>"]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := w.Issuer.IssueAccess(t.Context(), test.grant)
			require.NoError(t, err)
			header, claims := segments(t, r.AccessToken)
			require.Equal(t, fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"%s"}`, w.Key.ID()), header)
			jti := fixture.Payload[struct{ Jti string }](t, r.AccessToken).Jti
			require.Equal(t, fmt.Sprintf(test.want, now+900, now, jti, now), claims)
			w.RequireAccepted(r.AccessToken)
		})
	}
}

func TestATokenResponseIsTheAnswerOfRFC6749(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice", "read", "write")
	require.JSONEq(t, fmt.Sprintf(`{"access_token":"%s","token_type":"Bearer","expires_in":900,"refresh_token":"%s","scope":"read write","refresh_token_timeout":604800,"authorization_expires_in":2592000}`, r.AccessToken, r.RefreshToken), fixture.Text(t, r))
	require.Equal(t, w.Clock.Now().Add(15*time.Minute), r.ExpiresAt)
	alone, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"access_token":"%s","token_type":"Bearer","expires_in":900}`, alone.AccessToken), fixture.Text(t, alone))
	require.Zero(t, alone.IdleEnd)
	require.Zero(t, alone.EndsAt)
}

func TestTimesOnTheWireAreWholeSeconds(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.AccessTTL = 1500 * time.Millisecond })
	w.Clock.Advance(700 * time.Millisecond)
	r := w.Login("alice")
	for _, token := range []string{r.AccessToken, r.RefreshToken} {
		_, claims := segments(t, token)
		require.NotContains(t, claims, ".7")
		require.NotContains(t, claims, "e+")
	}
	got := fixture.Payload[struct{ Exp, Iat int64 }](t, r.AccessToken)
	require.EqualValues(t, r.ExpiresIn, got.Exp-got.Iat)
	require.Equal(t, r.ExpiresAt.Unix(), got.Exp)
	require.Equal(t, 1, r.ExpiresIn)
}

func TestEveryTokenHasAnIDOf128RandomBits(t *testing.T) {
	w := fixture.NewWith(t, jwk.HS256)
	seen := make(map[string]bool)
	var ones [128]int
	for range 500 {
		r := w.Login("alice")
		for _, token := range []string{r.AccessToken, r.RefreshToken} {
			jti := fixture.Payload[struct{ Jti string }](t, token).Jti
			b, err := base64.RawURLEncoding.DecodeString(jti)
			require.NoError(t, err)
			require.Len(t, b, 16)
			require.False(t, seen[jti])
			seen[jti] = true
			for bit := range ones {
				ones[bit] += int(b[bit/8] >> (bit % 8) & 1)
			}
		}
	}
	for bit, n := range ones {
		require.InDelta(t, 500, n, 150, "bit %d of 1000 identifiers", bit) // 150 are more than nine standard deviations
	}
}

func TestIntegersSurviveExactly(t *testing.T) {
	type numbers struct {
		Largest  int64  `json:"largest"`
		Smallest int64  `json:"smallest"`
		Unsigned uint64 `json:"unsigned"`
		Odd      int64  `json:"odd"`
	}
	want := numbers{math.MaxInt64, math.MinInt64, math.MaxUint64, 1<<53 + 1}
	w := fixture.New(t)
	for name, claims := range map[string]any{
		"a struct":  want,
		"a pointer": &want,
		"a map":     map[string]any{"largest": int64(math.MaxInt64), "smallest": int64(math.MinInt64), "unsigned": uint64(math.MaxUint64), "odd": 1<<53 + 1},
		"numbers":   map[string]json.Number{"largest": "9223372036854775807", "smallest": "-9223372036854775808", "unsigned": "18446744073709551615", "odd": "9007199254740993"},
		"text":      json.RawMessage(`{"largest":9223372036854775807,"smallest":-9223372036854775808,"unsigned":18446744073709551615,"odd":9007199254740993}`),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Claims: claims})
			require.NoError(t, err)
			for range 2 {
				token := w.RequireAccepted(r.AccessToken)
				got, err := jwtauth.ClaimsAs[numbers](token)
				require.NoError(t, err)
				require.Equal(t, want, got)
				loose, err := jwtauth.ClaimsAs[map[string]any](token)
				require.NoError(t, err)
				require.Equal(t, json.Number("9223372036854775807"), loose["largest"])
				_, claims := segments(t, r.AccessToken)
				require.Contains(t, claims, "18446744073709551615")
				r = w.Refresh(r.RefreshToken)
			}
		})
	}
}

func TestReservedNamesAreErrorsInAnySpelling(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t)
	store.Before = noted(&calls)
	refuses := func(claims any) {
		t.Helper()
		for _, issue := range []func(context.Context, jwtauth.Grant) (jwtauth.TokenResponse, error){w.Issuer.Issue, w.Issuer.IssueAccess} {
			r, err := issue(t.Context(), jwtauth.Grant{Subject: "alice", Claims: claims})
			require.Zero(t, r)
			require.ErrorContains(t, err, "is a reserved name", "%v", claims)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
		}
	}
	reserved := []string{"iss", "aud", "exp", "iat", "nbf", "jti", "sub", "sid", "typ", "scope", "client_id", "auth_time", "acr", "amr", "cnf", "act", "may_act"}
	for _, name := range reserved {
		spellings := []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name[:1] + strings.ToUpper(name[1:])}
		if strings.Contains(name, "s") {
			spellings = append(spellings, strings.ReplaceAll(name, "s", "ſ")) // U+017F, which encoding/json takes for an s
		}
		for _, spelling := range spellings {
			refuses(map[string]any{spelling: "x", "fine": 1})
			runes := []rune(spelling)
			refuses(json.RawMessage(fmt.Sprintf(`{"fine":1,"\u%04x%s":null}`, runes[0], string(runes[1:]))))
		}
	}
	refuses(struct {
		Subject string `json:"ſub"`
	}{"bob"})
	refuses(struct{ Exp int64 }{1 << 40})
	require.Empty(t, calls, "nothing is stored")

	w.Login("alice")
	for _, name := range []string{"name", "roles", "subject", "subs", "ſubject", "iss ", "client-id", "nonce", "azp", "email", "ext", "gen"} {
		r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Claims: map[string]any{name: "x"}})
		require.NoError(t, err, name)
		require.Equal(t, "x", fixture.Payload[map[string]any](t, w.Refresh(r.RefreshToken).AccessToken)[name])
	}
}

func TestCustomClaimsAreOneStrictObject(t *testing.T) {
	w := fixture.New(t)
	deep := func(n int) json.RawMessage {
		return json.RawMessage(`{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}")
	}
	var none *struct{ A int }
	for _, test := range []struct {
		name   string
		claims any
		why    string // empty: fine
	}{
		{"none", nil, ""},
		{"a nil pointer", none, ""},
		{"an empty map", map[string]any{}, ""},
		{"an empty struct", struct{}{}, ""},
		{"deep", deep(30), ""}, // a refresh token has it one level deeper
		{"a text", "text", "not a JSON object"},
		{"a number", 7, "not a JSON object"},
		{"a list", []string{"a"}, "not a JSON object"},
		{"a channel", make(chan int), "encoding the custom claims"},
		{"a name twice", json.RawMessage(`{"a":1,"a":2}`), "a name appears twice"},
		{"a name twice, folded", json.RawMessage(`{"role":1,"Role":2}`), "a name appears twice"},
		{"a name twice, further in", json.RawMessage(`{"x":{"role":1,"ROLE":2}}`), "a name appears twice"},
		{"a name twice, in a map", map[string]any{"k": 1, "\u212a": 2}, "a name appears twice"},
		{"too deep", deep(31), "nested too deeply"},
		{"no text", json.RawMessage("{\"a\":\"\xff\"}"), "invalid UTF-8"},
		{"no text, in a map", map[string]any{"a": "\xff"}, ""}, // of which encoding/json makes U+FFFD
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Claims: test.claims})
			if test.why != "" {
				require.Zero(t, r)
				require.ErrorContains(t, err, test.why)
				require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
				return
			}
			require.NoError(t, err)
			w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
		})
	}
}

func TestAGrantHasBounds(t *testing.T) {
	long := strings.Repeat("x", 1024)
	w := fixture.New(t)
	now := w.Clock.Now()
	for _, test := range []struct {
		name  string
		grant jwtauth.Grant
		why   string // empty: fine
	}{
		{"the least", jwtauth.Grant{Subject: "a"}, ""},
		{"the longest", jwtauth.Grant{Subject: long, ClientID: long, ACR: long, Details: map[string]string{"x": strings.Repeat("a", 1024-8)}}, ""},
		{"no subject", jwtauth.Grant{}, `jwtauth: Grant.Subject is "": 1 to 1024 bytes of UTF-8 are expected`},
		{"a long subject", jwtauth.Grant{Subject: long + "x"}, `jwtauth: Grant.Subject is "` + long[:64] + `"…: 1 to 1024 bytes of UTF-8 are expected`},
		{"a subject that is no text", jwtauth.Grant{Subject: "\xff"}, `jwtauth: Grant.Subject is "\xff": 1 to 1024 bytes of UTF-8 are expected`},
		{"a long client", jwtauth.Grant{Subject: "a", ClientID: long + "x"}, `jwtauth: Grant.ClientID is "` + long[:64] + `"…: 0 to 1024 bytes of UTF-8 are expected`},
		{"a client that is no text", jwtauth.Grant{Subject: "a", ClientID: "\xff"}, `jwtauth: Grant.ClientID is "\xff": 0 to 1024 bytes of UTF-8 are expected`},
		{"a long acr", jwtauth.Grant{Subject: "a", ACR: long + "x"}, `jwtauth: Grant.ACR is "` + long[:64] + `"…: 0 to 1024 bytes of UTF-8 are expected`},
		{"long details", jwtauth.Grant{Subject: "a", Details: map[string]string{"x": strings.Repeat("a", 1024-7)}}, "jwtauth: Details take 1025 bytes as JSON, at most 1024 are expected"},
		{"a lifetime beyond the bound", jwtauth.Grant{Subject: "a", IdleTTL: 7*24*time.Hour + 1}, "jwtauth: Grant.IdleTTL is 168h0m0.000000001s: 1s to 168h0m0s (MaxIdleTTL of IssuerOptions) is expected"},
		{"a session beyond the bound", jwtauth.Grant{Subject: "a", SessionTTL: 31 * 24 * time.Hour}, "jwtauth: Grant.SessionTTL is 744h0m0s: 1s to 720h0m0s (MaxSessionTTL of IssuerOptions) is expected"},
		{"a negative lifetime", jwtauth.Grant{Subject: "a", IdleTTL: -1}, "jwtauth: Grant.IdleTTL is -1ns: 1s to 168h0m0s (MaxIdleTTL of IssuerOptions) is expected"},
		{"an empty scope", jwtauth.Grant{Subject: "a", Scopes: []string{""}}, `jwtauth: Grant.Scopes: "" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"two scopes in one", jwtauth.Grant{Subject: "a", Scopes: []string{"read write"}}, `jwtauth: Grant.Scopes: "read write" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"a scope with a quote", jwtauth.Grant{Subject: "a", Scopes: []string{`a"b`}}, `jwtauth: Grant.Scopes: "a\"b" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"a scope with a backslash", jwtauth.Grant{Subject: "a", Scopes: []string{`a\b`}}, `jwtauth: Grant.Scopes: "a\\b" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"a scope of other letters", jwtauth.Grant{Subject: "a", Scopes: []string{"é"}}, `jwtauth: Grant.Scopes: "é" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"a scope twice", jwtauth.Grant{Subject: "a", Scopes: []string{"r", "w", "r"}}, `jwtauth: Grant.Scopes: "r" is there twice or is not a scope (RFC 6749, section 3.3)`},
		{"every character of a scope", jwtauth.Grant{Subject: "a", Scopes: []string{"!#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~"}}, ""},
		{"an empty method", jwtauth.Grant{Subject: "a", AMR: []string{"pwd", ""}}, `jwtauth: Grant.AMR: "" is not a method`},
		{"a method that is no text", jwtauth.Grant{Subject: "a", AMR: []string{"\xff"}}, `jwtauth: Grant.AMR: "\xff" is not a method`},
		{"another audience", jwtauth.Grant{Subject: "a", Audiences: []string{"https://other.test"}}, `jwtauth: Grant.Audiences: "https://other.test" is there twice or is not one of the issuer's`},
		{"no audiences", jwtauth.Grant{Subject: "a", Audiences: []string{}}, "jwtauth: Grant.Audiences is empty: nil means all of the issuer's, and a token is for at least one"},
		{"an audience twice", jwtauth.Grant{Subject: "a", Audiences: []string{fixture.Audience, fixture.Audience}}, `jwtauth: Grant.Audiences: "https://api.test" is there twice or is not one of the issuer's`},
		{"a login ahead, within the skew", jwtauth.Grant{Subject: "a", AuthTime: now.Add(time.Minute)}, ""},
		{"a login ahead", jwtauth.Grant{Subject: "a", AuthTime: now.Add(time.Minute + time.Second)}, "jwtauth: Grant.AuthTime is 2026-11-01T12:01:01Z, which lies ahead or before 1970"},
		{"a login long ago", jwtauth.Grant{Subject: "a", AuthTime: time.Unix(0, 0)}, ""},
		{"a login before that", jwtauth.Grant{Subject: "a", AuthTime: time.Unix(-1, 0)}, "jwtauth: Grant.AuthTime is 1969-12-31T23:59:59Z, which lies ahead or before 1970"},
		{"claims of 2 KiB", jwtauth.Grant{Subject: "a", Claims: map[string]string{"k": strings.Repeat("x", 2048-8)}}, ""},
		{"claims of 2 KiB and a byte", jwtauth.Grant{Subject: "a", Claims: map[string]string{"k": strings.Repeat("x", 2048-7)}}, "jwtauth: Grant.Claims has 2049 bytes, a session takes at most 2048; look the rest up in Reload"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.Heard()
			r, err := w.Issuer.Issue(t.Context(), test.grant)
			if test.why != "" {
				require.Zero(t, r)
				require.EqualError(t, err, test.why)
				require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
				require.NotErrorIs(t, err, jwtauth.ErrRefused)
				require.Empty(t, w.Heard(), "a mistake of the program is nothing that happened")
				return
			}
			require.NoError(t, err)
			r = w.Refresh(r.RefreshToken)
			require.Equal(t, test.grant.Subject, w.RequireAccepted(r.AccessToken).Subject)
		})
	}
}

func TestATokenThatNoVerifierTakesIsNotIssued(t *testing.T) {
	w := fixture.New(t)
	issue := func(n int) (jwtauth.TokenResponse, error) {
		return w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Claims: map[string]string{"k": strings.Repeat("x", n)}})
	}
	longest := 0
	for n := 5000; n < 6500; n++ {
		r, err := issue(n)
		if err != nil {
			require.ErrorContains(t, err, "may have at most 8192: the grant has too many or too large claims")
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
			break
		}
		longest = len(r.AccessToken)
		require.LessOrEqual(t, longest, 8192)
	}
	require.Greater(t, longest, 8192-3)

	// Nor is a session opened whose refresh token would be too long.
	var scopes []string
	for n := range 400 {
		scopes = append(scopes, fmt.Sprintf("scope-number-%d", n))
	}
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: scopes})
	require.Zero(t, r)
	require.ErrorContains(t, err, "too many or too large claims")
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestIssueIsUnavailableWhereTheStoreFails(t *testing.T) {
	w, store := fixture.NewHooked(t)
	for _, after := range []bool{false, true} {
		store.Before, store.After = fixture.FailingAt("Create"), nil
		if after {
			store.Before, store.After = nil, store.Before
		}
		w.Heard()
		r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.Zero(t, r)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, fixture.ErrStoreDown)
		require.Equal(t, []string{"unavailable session"}, w.Heard())
	}
}

func TestNewIssuerRefusesWhatCannotBeRight(t *testing.T) {
	w := fixture.New(t)
	long := strings.Repeat("x", 1025)
	for _, test := range []struct {
		name   string
		change func(o *jwtauth.IssuerOptions)
		why    string
	}{
		{"no issuer", func(o *jwtauth.IssuerOptions) { o.Issuer = "" }, "jwtauth: Issuer is missing; it is the value of the iss claim, e.g. https://api.example.com"},
		{"an issuer with a fragment", func(o *jwtauth.IssuerOptions) { o.Issuer += "#refresh" }, `jwtauth: Issuer "https://issuer.test#refresh" has a fragment, which the name of an issuer cannot have (RFC 8414, section 2)`},
		{"an issuer with a blank", func(o *jwtauth.IssuerOptions) { o.Issuer += " " }, `jwtauth: Issuer "https://issuer.test " has a control character, or begins or ends with white space`},
		{"an issuer with a control character", func(o *jwtauth.IssuerOptions) { o.Issuer += "\x7f" }, `jwtauth: Issuer "https://issuer.test\x7f" has a control character, or begins or ends with white space`},
		{"a long issuer", func(o *jwtauth.IssuerOptions) { o.Issuer = long }, `jwtauth: Issuer "` + long[:64] + `"…: 1 to 1024 bytes of UTF-8 are expected`},
		{"an issuer that is no text", func(o *jwtauth.IssuerOptions) { o.Issuer = "\xff" }, `jwtauth: Issuer "\xff": 1 to 1024 bytes of UTF-8 are expected`},
		{"no audiences", func(o *jwtauth.IssuerOptions) { o.Audiences = nil }, "jwtauth: Audiences are missing: the services that the tokens are for, e.g. https://api.example.com"},
		{"an empty audience", func(o *jwtauth.IssuerOptions) { o.Audiences = []string{fixture.Audience, ""} }, `jwtauth: Audiences "": 1 to 1024 bytes of UTF-8 are expected`},
		{"an audience with a line break", func(o *jwtauth.IssuerOptions) { o.Audiences = []string{"a\nb"} }, `jwtauth: Audiences "a\nb" has a control character, or begins or ends with white space`},
		{"an audience twice", func(o *jwtauth.IssuerOptions) { o.Audiences = []string{"a", "b", "a"} }, `jwtauth: Audiences: one of "a" "b" "a" is there twice`},
		{"the audience of refresh tokens", func(o *jwtauth.IssuerOptions) { o.Audiences = []string{fixture.Issuer + "#refresh"} }, `jwtauth: Audiences: "https://issuer.test#refresh" is the audience of refresh tokens, which are for no API`},
		{"sessions without revocations", func(o *jwtauth.IssuerOptions) { o.Revocations = nil }, "jwtauth: IssuerOptions.Revocations is missing: without it, a logout leaves access tokens good for up to AccessTTL; set it, or InsecureAccessOutlivesSession"},
		{"revocations that are not to be", func(o *jwtauth.IssuerOptions) { o.InsecureAccessOutlivesSession = true }, "jwtauth: IssuerOptions has Revocations and InsecureAccessOutlivesSession, which contradict each other"},
		{"a negative AccessTTL", func(o *jwtauth.IssuerOptions) { o.AccessTTL = -1 }, "jwtauth: IssuerOptions.AccessTTL is -1ns, 1s to 87600h0m0s is expected"},
		{"a short AccessTTL", func(o *jwtauth.IssuerOptions) { o.AccessTTL = 900 }, "jwtauth: IssuerOptions.AccessTTL is 900ns, 1s to 87600h0m0s is expected"},
		{"a short IdleTTL", func(o *jwtauth.IssuerOptions) { o.IdleTTL = time.Second - 1 }, "jwtauth: IssuerOptions.IdleTTL is 999.999999ms, 1s to 87600h0m0s is expected"},
		{"a negative IdleTTL", func(o *jwtauth.IssuerOptions) { o.IdleTTL = -time.Hour }, "jwtauth: IssuerOptions.IdleTTL is -1h0m0s, 1s to 87600h0m0s is expected"},
		{"a short SessionTTL", func(o *jwtauth.IssuerOptions) { o.SessionTTL = 30 }, "jwtauth: IssuerOptions.SessionTTL is 30ns, 1s to 87600h0m0s is expected"},
		{"a negative LongestAccessTTL", func(o *jwtauth.IssuerOptions) { o.LongestAccessTTL = -1 }, "jwtauth: IssuerOptions.LongestAccessTTL is -1ns, 1s to 87600h0m0s is expected"},
		{"a long AccessTTL", func(o *jwtauth.IssuerOptions) { o.AccessTTL = math.MaxInt64 }, "jwtauth: IssuerOptions.AccessTTL is 2562047h47m16.854775807s, 1s to 87600h0m0s is expected"},
		{"a long SessionTTL", func(o *jwtauth.IssuerOptions) { o.SessionTTL = 87600*time.Hour + 1 }, "jwtauth: IssuerOptions.SessionTTL is 87600h0m0.000000001s, 1s to 87600h0m0s is expected"},
		{"a long grace", func(o *jwtauth.IssuerOptions) { o.RefreshGrace = time.Minute + 1 }, "jwtauth: IssuerOptions.RefreshGrace is 1m0.000000001s, 4s to 1m0s is expected, or a negative one for none"},
		{"a short grace", func(o *jwtauth.IssuerOptions) { o.RefreshGrace = 4*time.Second - 1 }, "jwtauth: IssuerOptions.RefreshGrace is 3.999999999s, 4s to 1m0s is expected, or a negative one for none"},
		{"a ring without keys", func(o *jwtauth.IssuerOptions) { o.RefreshKeys = new(jwk.Ring) }, "jwk: this Ring was not made by NewRing or OpenRing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store, Revocations: w.Store}
			test.change(&o)
			i, err := jwtauth.NewIssuer(w.Keys, o)
			require.EqualError(t, err, test.why)
			require.Nil(t, i)
		})
	}
	for _, keys := range []*jwk.Ring{nil, {}} {
		i, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.EqualError(t, err, "jwk: this Ring was not made by NewRing or OpenRing")
		require.Nil(t, i)
	}
}

func TestOptionsAreCopied(t *testing.T) {
	w := fixture.New(t)
	audiences := []string{fixture.Audience}
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Audiences = audiences })
	own, required := []string{fixture.Audience}, []string{"client_id"}
	v, err := i.NewVerifier(jwtauth.VerifierOptions{Audiences: own, RequiredClaims: required})
	require.NoError(t, err)
	audiences[0], own[0], required[0] = "https://other.test", "https://other.test", "nonsense"
	r, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice", ClientID: "web"})
	require.NoError(t, err)
	token, err := v.Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
	require.Equal(t, []string{fixture.Audience}, token.Audiences())
	r, err = i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), r.AccessToken)
	require.ErrorContains(t, err, `expected "client_id"`)
}

func TestAVerifierCannotDisagreeWithItsIssuer(t *testing.T) {
	w := fixture.New(t)
	i := w.Another(func(o *jwtauth.IssuerOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
		o.AccessTTL = 36 * time.Hour
	})
	for _, test := range []struct {
		name    string
		options jwtauth.VerifierOptions
		why     string // empty: fine
	}{
		{"nothing", jwtauth.VerifierOptions{}, ""},
		{"the same", jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{"https://files.test", fixture.Audience}, ScopeClaim: "scope", MaxLifetime: 36 * time.Hour}, ""},
		{"a part of the audiences", jwtauth.VerifierOptions{Audiences: []string{fixture.Audience}}, ""},
		{"no limit", jwtauth.VerifierOptions{MaxLifetime: -1}, ""},
		{"another issuer", jwtauth.VerifierOptions{Issuer: fixture.Issuer + "/"}, `jwtauth: VerifierOptions.Issuer is "https://issuer.test/", this issuer is "https://issuer.test"`},
		{"another audience", jwtauth.VerifierOptions{Audiences: []string{fixture.Audience, "https://other.test"}}, `jwtauth: VerifierOptions.Audiences: "https://other.test" is not one of the issuer's`},
		{"no audiences", jwtauth.VerifierOptions{Audiences: []string{}}, "jwtauth: Audiences are missing: the services that the tokens are for, e.g. https://api.example.com"},
		{"any audience", jwtauth.VerifierOptions{InsecureAnyAudience: true}, "jwtauth: InsecureAnyAudience, InsecureNoAudience and AudienceClaim are for other issuers: this one writes its Audiences"},
		{"no audience", jwtauth.VerifierOptions{InsecureNoAudience: true}, "jwtauth: InsecureAnyAudience, InsecureNoAudience and AudienceClaim are for other issuers: this one writes its Audiences"},
		{"another claim for aud", jwtauth.VerifierOptions{AudienceClaim: "azp", AudienceClaimValues: []string{"app"}}, "jwtauth: InsecureAnyAudience, InsecureNoAudience and AudienceClaim are for other issuers: this one writes its Audiences"},
		{"no sub", jwtauth.VerifierOptions{AllowNoSubject: true}, "jwtauth: AllowNoSubject and IntegerSubject are for other issuers: this one writes sub as a string"},
		{"an integer as sub", jwtauth.VerifierOptions{IntegerSubject: true}, "jwtauth: AllowNoSubject and IntegerSubject are for other issuers: this one writes sub as a string"},
		{"typ JWT", jwtauth.VerifierOptions{AcceptTypJWT: true}, "jwtauth: AcceptTypJWT and AcceptNoTyp are for other issuers: this one writes at+jwt"},
		{"no typ", jwtauth.VerifierOptions{AcceptNoTyp: true}, "jwtauth: AcceptTypJWT and AcceptNoTyp are for other issuers: this one writes at+jwt"},
		{"another scope claim", jwtauth.VerifierOptions{ScopeClaim: "scp"}, `jwtauth: VerifierOptions.ScopeClaim is "scp", this issuer writes scope`},
		{"a shorter lifetime", jwtauth.VerifierOptions{MaxLifetime: 36*time.Hour - 1}, "jwtauth: VerifierOptions.MaxLifetime is 35h59m59.999999999s, this issuer's tokens live up to 36h0m0s"},
		{"a wrong leeway", jwtauth.VerifierOptions{Leeway: time.Hour}, "jwtauth: VerifierOptions.Leeway is 1h0m0s, at most 5m0s is expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := i.NewVerifier(test.options)
			if test.why != "" {
				require.EqualError(t, err, test.why)
				require.Nil(t, v)
				return
			}
			require.NoError(t, err)
			r, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.NoError(t, err)
			_, err = v.Verify(t.Context(), r.AccessToken)
			require.NoError(t, err)
			require.NoError(t, i.Logout(t.Context(), r.RefreshToken))
			_, err = v.Verify(t.Context(), r.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked, "the revocations are the issuer's")
		})
	}
}

func TestAVerifierTakesWhatItsIssuerHas(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	w.Heard()
	w.Clock.Advance(15*time.Minute + 30*time.Second)
	_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired, "the clock")
	require.Equal(t, []string{"token_refused exp"}, w.Heard(), "the hook")

	// What is set stays.
	var own []event.Kind
	_, err = w.Issuer.NewVerifier(jwtauth.VerifierOptions{Revocations: jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})})
	require.ErrorContains(t, err, "would not see its logouts", "logouts would be void")
	late := fixture.NewClock()
	late.Set(w.Clock.Now().Add(time.Hour))
	v, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{
		Revocations: w.Store, Now: late.Now,
		OnEvent: func(_ context.Context, e event.Event) { own = append(own, e.Kind) },
	})
	require.NoError(t, err)
	r = w.Login("alice")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	w.Heard()
	_, err = v.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	late.Set(w.Clock.Now())
	_, err = v.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	require.Equal(t, []event.Kind{event.TokenRefused, event.TokenRefused}, own)
	require.Empty(t, w.Heard())
}

func TestAnIssuerWithoutRevocationsMakesVerifiersWithoutThem(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Sessions, o.Revocations = nil, nil })
	r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	token := w.RequireAccepted(r.AccessToken)
	require.EqualError(t, w.Verifier.Revoke(t.Context(), token), "jwtauth: this Verifier has no Revocations to revoke a token in")
	require.EqualError(t, w.Issuer.Logout(t.Context(), r.AccessToken), "jwtauth: this Issuer has no Revocations to revoke a token in")
}

func TestIssueUsesTheSigningKeyOfTheMoment(t *testing.T) {
	w := fixture.New(t)
	before := w.Login("alice").AccessToken
	next := fixture.NewKey(t, jwk.EdDSA)
	require.NoError(t, w.Keys.Replace(next, w.Key.Verification()))
	after := w.Login("alice").AccessToken
	require.Equal(t, fixture.TokenHeader{Alg: "ES256", Typ: "at+jwt", Kid: w.Key.ID()}, fixture.HeaderOf(t, before))
	require.Equal(t, fixture.TokenHeader{Alg: "EdDSA", Typ: "at+jwt", Kid: next.ID()}, fixture.HeaderOf(t, after))
	w.RequireAccepted(before)
	w.RequireAccepted(after)
	require.NoError(t, w.Keys.Replace(next))
	require.ErrorIs(t, w.RequireRefused(before), jwtauth.ErrTokenKey)
	w.RequireAccepted(after)
}

func TestIssueTellsACancelledContext(t *testing.T) {
	w := fixture.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	require.Zero(t, r)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	require.Equal(t, 503, e.Status)
}

func TestTheZeroIssuerKnowsNothing(t *testing.T) {
	for _, i := range []*jwtauth.Issuer{nil, {}} {
		ctx := t.Context()
		_, issue := i.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		_, access := i.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
		_, refresh := i.Refresh(ctx, jwtauth.RefreshRequest{Token: "token"})
		_, _, sessions := i.Sessions(ctx, "alice", "")
		_, verifier := i.NewVerifier(jwtauth.VerifierOptions{})
		for _, err := range []error{
			issue, access, refresh, sessions, verifier,
			i.Logout(ctx, "token"), i.EndSession(ctx, "alice", "sid"), i.EndAllSessions(ctx, "alice"), i.EndOtherSessions(ctx, "alice", "sid"),
		} {
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorContains(t, err, "not made by NewIssuer")
		}
	}
}

const billing = "https://billing.test"

// newExchange makes a World whose issuer exchanges tokens for the service billing, and the
// verifier of that service.
func newExchange(t *testing.T) (w *fixture.World, service *jwtauth.Verifier) {
	t.Helper()
	w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.ExchangeAudiences = []string{billing, "https://mail.test"}
	})
	service, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{
		Issuer: fixture.Issuer, Audiences: []string{billing}, Revocations: w.Store, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	return w, service
}

func TestAnExchangedTokenIsShorterAndNarrowerAndNamesItsActor(t *testing.T) {
	w, service := newExchange(t)
	login, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, ClientID: "web", ACR: "2", AMR: []string{"pwd"}, Claims: map[string]any{"role": "admin"},
	})
	require.NoError(t, err)
	parent := w.RequireAccepted(login.AccessToken)
	r, err := w.Issuer.Exchange(t.Context(), parent, jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", Scopes: []string{"read"}})
	require.NoError(t, err)
	require.Equal(t, 60, r.ExpiresIn)
	require.Equal(t, "read", r.Scope)
	require.Empty(t, r.RefreshToken)
	got, err := service.Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice web orders 2", got.Subject+" "+got.ClientID+" "+got.Actor+" "+got.ACR)
	require.Equal(t, []string{billing}, got.Audiences())
	require.Equal(t, []string{"read"}, got.Scopes())
	require.Equal(t, parent.AuthTime, got.AuthTime)
	require.Equal(t, parent.SessionID, got.SessionID)
	require.NotEqual(t, parent.ID, got.ID)
	claims := fixture.Payload[map[string]any](t, r.AccessToken)
	require.Equal(t, map[string]any{"sub": "orders"}, claims["act"])
	require.NotContains(t, claims, "role")

	// The issuer's own services refuse it, and it cannot be exchanged again.
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenAudience)
	_, err = w.Issuer.Exchange(t.Context(), got, jwtauth.ExchangeRequest{Audiences: []string{"https://mail.test"}, Actor: "billing"})
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	// The token of a login is not good at the other service.
	_, err = service.Verify(t.Context(), login.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	// The other service cannot log the user out with it.
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrTokenAudience)
	w.RequireAccepted(login.AccessToken)
}

func TestAnExchangedTokenDoesNotOutliveItsParent(t *testing.T) {
	w, service := newExchange(t)
	login := w.Login("alice")
	parent := w.RequireAccepted(login.AccessToken)
	request := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", TTL: time.Hour}
	r, err := w.Issuer.Exchange(t.Context(), parent, request)
	require.NoError(t, err)
	require.Equal(t, parent.ExpiresAt.UTC(), r.ExpiresAt.UTC())
	w.Clock.Advance(15*time.Minute - 10*time.Second)
	request.TTL = 0
	r, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.NoError(t, err)
	require.Equal(t, 10, r.ExpiresIn)
	w.Clock.Advance(10 * time.Second) // the parent is accepted for the leeway, but gives no token any more
	require.NoError(t, w.Verifier.Recheck(t.Context(), parent))
	_, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	w.Clock.Advance(time.Minute)
	_, err = w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	_, err = service.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestAnExchangedTokenEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(w *fixture.World, r jwtauth.TokenResponse) error{
		"a logout": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.RefreshToken)
		},
		"a forced refresh": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, service := newExchange(t)
			login := w.Login("alice")
			parent := w.RequireAccepted(login.AccessToken)
			request := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders"}
			r, err := w.Issuer.Exchange(t.Context(), parent, request)
			require.NoError(t, err)
			require.NoError(t, end(w, login))
			_, err = service.Verify(t.Context(), r.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			_, err = w.Issuer.Exchange(t.Context(), parent, request)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		})
	}
}

func TestExchangeRefusesWhatItMustNotIssue(t *testing.T) {
	w, _ := newExchange(t)
	parent := w.RequireAccepted(w.Login("alice", "read").AccessToken)
	good := jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders", Scopes: []string{"read"}}
	for _, test := range []struct {
		name   string
		change func(r *jwtauth.ExchangeRequest)
		why    string
	}{
		{"no audience", func(r *jwtauth.ExchangeRequest) { r.Audiences = nil }, "ExchangeRequest.Audiences is empty or has one twice: some of IssuerOptions.ExchangeAudiences are expected"},
		{"an audience of logins", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{fixture.Audience} }, "is not one of IssuerOptions.ExchangeAudiences"},
		{"an unknown audience", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{billing, "https://x.test"} }, "is not one of IssuerOptions.ExchangeAudiences"},
		{"an audience twice", func(r *jwtauth.ExchangeRequest) { r.Audiences = []string{billing, billing} }, "is empty or has one twice"},
		{"no actor", func(r *jwtauth.ExchangeRequest) { r.Actor = "" }, "ExchangeRequest.Actor is \"\": 1 to 1024 bytes of UTF-8 are expected"},
		{"an actor that is not UTF-8", func(r *jwtauth.ExchangeRequest) { r.Actor = "\xff" }, "of UTF-8 are expected"},
		{"a scope twice", func(r *jwtauth.ExchangeRequest) { r.Scopes = []string{"read", "read"} }, "is there twice"},
		{"a lifetime of nothing", func(r *jwtauth.ExchangeRequest) { r.TTL = time.Millisecond }, "ExchangeRequest.TTL is 1ms, at least 1s is expected"},
		{"a negative lifetime", func(r *jwtauth.ExchangeRequest) { r.TTL = -1 }, "at least 1s is expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := good
			test.change(&request)
			r, err := w.Issuer.Exchange(t.Context(), parent, request)
			require.Zero(t, r)
			require.ErrorContains(t, err, test.why)
			require.NotErrorIs(t, err, jwtauth.ErrRefused, "it is a mistake of the program")
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
		})
	}
	request := good
	request.Scopes = []string{"read", "admin"}
	_, err := w.Issuer.Exchange(t.Context(), parent, request)
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	requireCode(t, err, 400, "invalid_scope")

	// A token of somebody else's verifier, or of nobody's, is not exchanged.
	foreign := fixture.NewWith(t, jwk.HS256)
	for _, token := range []jwtauth.Token{{}, {Issuer: fixture.Issuer, Subject: "alice"}, foreign.RequireAccepted(foreign.Login("alice").AccessToken)} {
		_, err := w.Issuer.Exchange(t.Context(), token, good)
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
	}
	_, err = w.Issuer.Exchange(t.Context(), parent, good)
	require.NoError(t, err)
}

func TestExchangeAudiencesAreNotThoseOfLogins(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	for why, audiences := range map[string][]string{
		"is also one of Audiences":          {billing, fixture.Audience},
		"is there twice":                    {billing, billing},
		"1 to 1024 bytes of UTF-8":          {""},
		"is the audience of refresh tokens": {"https://x.test#refresh"},
	} {
		_, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, ExchangeAudiences: audiences})
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, "ExchangeAudiences")
	}
}
