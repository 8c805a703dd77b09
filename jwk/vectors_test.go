package jwk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// readVectors decodes a file of the folder of vectors. If the folder is missing, the test is
// skipped. It fails instead if CI or JWTAUTH_VECTORS is set.
func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectorFolder(t), name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into), name)
}

func vectorFolder(t testing.TB) string {
	t.Helper()
	_, err := os.Stat(fixture.Vectors())
	if os.Getenv("JWTAUTH_VECTORS") != "" || os.Getenv("CI") == "true" {
		require.NoError(t, err, "the test vectors must be there: JWTAUTH_VECTORS names their folder")
	}
	if err != nil {
		t.Skipf("no test vectors in %s: JWTAUTH_VECTORS names their folder", fixture.Vectors())
	}
	return fixture.Vectors()
}

// vectorGroup is a group of tests in a Wycheproof file.
type vectorGroup struct {
	Public, Private json.RawMessage
	Tests           []struct {
		ID       int `json:"tcId"`
		Comment  string
		JWS, JWE json.RawMessage
		Result   string
	}
}

// keys returns the JWKs that verify the tests of a group.
func (g *vectorGroup) keys(t testing.TB) (jwks [][]byte) {
	t.Helper()
	text := g.Public
	if text == nil {
		text = g.Private
	}
	var set struct{ Keys []json.RawMessage }
	require.NoError(t, json.Unmarshal(text, &set))
	for _, k := range set.Keys {
		jwks = append(jwks, k)
	}
	if jwks == nil {
		jwks = [][]byte{text}
	}
	return jwks
}

// tokenText returns a token from a file, which holds it as a string or in JSON
// serialization.
func tokenText(t testing.TB, v json.RawMessage) (token string) {
	t.Helper()
	if v[0] != '"' {
		return string(v)
	}
	require.NoError(t, json.Unmarshal(v, &token))
	return token
}

func readGroups(t testing.TB, name string) []vectorGroup {
	t.Helper()
	var file struct {
		NumberOfTests int
		TestGroups    []vectorGroup
	}
	readVectors(t, filepath.Join("wycheproof", name), &file)
	count := 0
	for _, g := range file.TestGroups {
		count += len(g.Tests)
	}
	require.Equal(t, file.NumberOfTests, count, name)
	return file.TestGroups
}

// mislabelled has the tests of json_web_signature_test.json whose labels are wrong, and what
// is right.
var mislabelled = map[int]struct {
	valid  bool
	reason string
}{
	367: {true, "to the letter the valid test 357: the padding that it is about has been lost"},
	370: {true, "to the letter the valid test 357: the padding that it is about has been lost"},
	372: {false, "a question mark in the header segment (RFC 7515, section 2)"},
	373: {false, "a question mark in the payload segment (RFC 7515, section 2)"},
	346: {false, "the key is for PS256, the header says PS384 (RFC 8725, section 3.1)"},
	350: {false, "the key is for PS256, the header says PS384 (RFC 8725, section 3.1)"},
	347: {false, "the key is for ES521, which there is not; the header says ES512"},
	351: {false, "the key is for ES521, which there is not; the header says ES512"},
}

func TestWycheproofSignatures(t *testing.T) {
	agreed, of := 0, 0
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		for _, g := range readGroups(t, file) {
			for _, test := range g.Tests {
				if test.JWS == nil {
					continue
				}
				t.Run(fmt.Sprintf("%s %d %s", file, test.ID, test.Comment), func(t *testing.T) {
					require.Contains(t, []string{"valid", "invalid"}, test.Result)
					valid, why := test.Result == "valid", "the label"
					m, exception := mislabelled[test.ID]
					exception = exception && file == "json_web_signature_test.json"
					if exception {
						require.NotEqual(t, valid, m.valid, "the label is right by now: the exception can go")
						valid, why = m.valid, m.reason
					} else {
						of++
					}
					err := fixture.VerifyJWS(g.keys(t), tokenText(t, test.JWS))
					require.Equal(t, valid, err == nil, "%s: %v", why, err)
					if !exception {
						agreed++
					}
				})
			}
		}
	}
	t.Logf("%d of %d", agreed, of)
	require.Equal(t, 468, agreed)
	require.Equal(t, 468, of)
}

// A JWE is refused by its form, before any part of it is read.
func TestWycheproofEncryptedTokensAreRefused(t *testing.T) {
	w := fixture.New(t)
	mac, err := fixture.KeyFor(t, jwk.HS256).PrivateJWK()
	require.NoError(t, err)
	count := 0
	for _, file := range []string{"json_web_encryption_test.json", "json_web_crypto_test.json"} {
		for _, g := range readGroups(t, file) {
			for _, test := range g.Tests {
				if test.JWE == nil {
					continue
				}
				count++
				what := fmt.Sprintf("%s %d %s", file, test.ID, test.Comment)
				token := tokenText(t, test.JWE)
				require.Error(t, fixture.VerifyJWS(g.keys(t), token), what)
				for _, err := range []error{w.VerifyError(token), fixture.VerifyJWS([][]byte{mac}, token)} {
					require.ErrorIs(t, err, jwtauth.ErrTokenMalformed, what)
					if strings.Count(token, ".") == 4 {
						require.Equal(t, "form", checkOf(t, err), what)
					}
				}
			}
		}
	}
	require.Equal(t, 139+34, count)
}

// checkOf returns the name of the check that refused, or "" if err is nil.
func checkOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok, "%v is no *Error", err)
	return e.Check
}

func TestRFCVectors(t *testing.T) {
	var list []struct {
		Name, JWS, Result string
		JWK               json.RawMessage
	}
	readVectors(t, "rfc_vectors.json", &list)
	require.Len(t, list, 13)
	for _, v := range list {
		t.Run(v.Name, func(t *testing.T) {
			err := fixture.VerifyJWS([][]byte{v.JWK}, v.JWS)
			require.Equal(t, v.Result == "valid", err == nil, "%v", err)
		})
	}
}

// TestCookbook runs the examples of the cookbook of the JOSE working group. Only those that
// are signed and in compact form verify.
func TestCookbook(t *testing.T) {
	type example struct {
		Input struct {
			Key json.RawMessage
			Alg any
		}
		Output map[string]json.RawMessage
	}
	folder := filepath.Join(vectorFolder(t), "cookbook")
	refusedCompact := map[string]string{
		"4_5.signature_with_detached_content.json": "signature", // its payload is elsewhere
		"hmac-sha2_b64_false.json":                 "crit",
		"ecdh-es.json":                             "form", // encrypted
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.json"))
	require.NoError(t, err)
	run, verified := 0, 0
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == "jwk" {
			continue
		}
		run++
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var e example
			require.NoError(t, json.Unmarshal(text, &e))
			jwks := [][]byte{e.Input.Key}
			if e.Input.Key[0] == '[' {
				var keys []json.RawMessage
				require.NoError(t, json.Unmarshal(e.Input.Key, &keys))
				jwks = [][]byte{keys[0]}
			}
			if alg, ok := e.Input.Alg.(string); ok {
				jwks[0] = withAlgorithm(t, jwks[0], alg)
			}
			mac, err := fixture.KeyFor(t, jwk.HS256).PrivateJWK()
			require.NoError(t, err)
			for form, token := range e.Output {
				err := fixture.VerifyJWS(jwks, tokenText(t, token))
				want, refused := refusedCompact[filepath.Base(file)]
				switch {
				case form == "compact" && !refused:
					require.NoError(t, err)
					verified++
				case form == "compact" && want == "form":
					require.Equal(t, want, checkOf(t, fixture.VerifyJWS([][]byte{mac}, tokenText(t, token))))
				case form == "compact":
					require.Equal(t, want, checkOf(t, err))
				default:
					require.Equal(t, "form", checkOf(t, fixture.VerifyJWS([][]byte{mac}, tokenText(t, token))), form)
				}
			}
		})
	}
	require.Equal(t, 12, run)
	require.Equal(t, 5, verified)

	t.Run("6.nesting_signatures_and_encryption.json", func(t *testing.T) {
		var nested struct{ Sign, Encrypt example }
		readVectors(t, "cookbook/6.nesting_signatures_and_encryption.json", &nested)
		keyText := withAlgorithm(t, nested.Sign.Input.Key, nested.Sign.Input.Alg.(string))
		require.NoError(t, fixture.VerifyJWS([][]byte{keyText}, tokenText(t, nested.Sign.Output["compact"])))
		require.Equal(t, "form", checkOf(t, fixture.VerifyJWS([][]byte{keyText}, tokenText(t, nested.Encrypt.Output["compact"]))))
	})

	for file, want := range map[string]struct{ verifying, signing bool }{
		"3_1.ec_public_key.json":                 {true, false},
		"3_2.ec_private_key.json":                {false, true},
		"3_3.rsa_public_key.json":                {true, false},
		"3_4.rsa_private_key.json":               {false, true},
		"3_5.symmetric_key_mac_computation.json": {false, false}, // everybody can read it
		"3_6.symmetric_key_encryption.json":      {false, false}, // for encryption
	} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(folder, "jwk", file))
			require.NoError(t, err)
			_, err = jwk.ParseVerification("", text)
			require.Equal(t, want.verifying, err == nil, "%v", err)
			_, err = jwk.ParseSigning("", text)
			require.Equal(t, want.signing, err == nil, "%v", err)
		})
	}
}

// withAlgorithm returns a JWK with alg.
func withAlgorithm(t testing.TB, keyText []byte, alg string) []byte {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(keyText, &members))
	members["alg"] = alg
	text, err := json.Marshal(members)
	require.NoError(t, err)
	return text
}

// tinkCases has the cases of the tests of tink-go.
type tinkCases struct {
	InvalidClaimsJSON []struct{ Tag, JSON string }
	InvalidJWKSets    []struct{ Test, Tag, JWKSet string }
	InvalidCompact    []struct{ Tag, Token string }
	InvalidHeaders    []struct{ Tag, HeaderSegment, HeaderJSON string }
	ValidatorRejects  []string
	ValidatorAccepts  []string
}

func readTink(t testing.TB) (cases tinkCases) {
	t.Helper()
	readVectors(t, "tink_jwt_cases.json", &cases)
	return cases
}

func TestTinkInvalidClaims(t *testing.T) {
	w := fixture.New(t)
	require.NoError(t, w.VerifyError(w.Sign(w.WithMembers(`{"other":1}`))))
	bytesOf := regexp.MustCompile(`\\x[0-9A-F]{2}`) // of a Go string
	cases := readTink(t).InvalidClaimsJSON
	require.Len(t, cases, 16)
	for _, c := range cases {
		t.Run(c.Tag, func(t *testing.T) {
			object := bytesOf.ReplaceAllStringFunc(c.JSON, func(s string) string {
				var b byte
				_, err := fmt.Sscanf(s, `\x%X`, &b)
				require.NoError(t, err)
				return string([]byte{b})
			})
			want := "claims"
			if c.Tag == "json with empty audience" {
				want = "aud"
			}
			require.Equal(t, want, checkOf(t, w.VerifyError(w.Sign(w.WithMembers(object)))), "%q", object)
		})
	}
}

// tinkKeysTaken has the JWK Sets that tink-go refuses and this library takes.
var tinkKeysTaken = map[string]string{
	"without algorithm": "alg is optional in a JWK (RFC 7517, section 4.4); the curve decides",
	"empty algorithm":   "an empty member is the same as none; the curve decides",
	"multiple key ops":  "key_ops has verify among others (RFC 7517, section 4.3)",
}

func TestTinkInvalidKeys(t *testing.T) {
	cases := readTink(t).InvalidJWKSets
	require.Len(t, cases, 42)
	taken := maps.Clone(tinkKeysTaken)
	for _, c := range cases {
		t.Run(c.Test+" "+c.Tag, func(t *testing.T) {
			var set struct{ Keys []json.RawMessage }
			if json.Unmarshal([]byte(c.JWKSet), &set) != nil || len(set.Keys) == 0 {
				// No set, or one without keys: there is nothing to verify with.
				_, err := jwk.Static()
				require.Error(t, err)
				return
			}
			require.Len(t, set.Keys, 1)
			_, err := jwk.ParseVerification("", set.Keys[0])
			if _, ok := tinkKeysTaken[c.Tag]; ok {
				require.NoError(t, err)
				delete(taken, c.Tag)
				return
			}
			require.Error(t, err)
		})
	}
	require.Empty(t, taken, "exceptions without a case")
}

func TestTinkInvalidCompact(t *testing.T) {
	w := fixture.New(t)
	cases := readTink(t).InvalidCompact
	require.Len(t, cases, 7)
	for _, c := range cases {
		t.Run(c.Tag, func(t *testing.T) {
			want := "header"
			if strings.Count(c.Token, ".") != 2 {
				want = "form"
			}
			require.Equal(t, want, checkOf(t, w.VerifyError(c.Token)))
		})
	}
}

func TestTinkInvalidHeaders(t *testing.T) {
	key := fixture.KeyFor(t, jwk.HS256).WithID("own")
	keys, err := jwk.NewRing(key)
	require.NoError(t, err)
	w := fixture.New(t)
	claims := w.Claims(nil)
	w.Verifier, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, AcceptNoTyp: true, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	require.NoError(t, w.VerifyError(fixture.SignWith(t, key, `{"alg":"HS256","kid":"own"}`, claims)))

	want := map[string]string{
		"invalid JSON header":           "header",
		"contains line feed":            "header",
		"header contains no fields":     "key",
		"type header not a string":      "header",
		"specyfing custom and tink kid": "key",
		"invalid custom kid":            "key",
		"invalid tink kid":              "key",
		"crit header":                   "crit",
		"no compact serialization":      "form",
		"invalid UTF16 encoding":        "header",
		// The kid is not asked for here where one key alone fits.
		"specify tink kid and token without kig": "",
	}
	cases := readTink(t).InvalidHeaders
	require.Len(t, cases, 12)
	for _, c := range cases {
		t.Run(c.Tag, func(t *testing.T) {
			if c.Tag == "wrong algorithm" { // for a key of another one
				other := fixture.NewWith(t, jwk.HS384)
				require.Equal(t, "key", checkOf(t, other.VerifyError(fixture.SignWith(t, other.Key, fixture.Header(other.Key, map[string]any{"alg": "HS256"}), claims))))
				return
			}
			expected, ok := want[c.Tag]
			require.True(t, ok, "an unknown case")
			token := fixture.SignWith(t, key, c.HeaderJSON, claims)
			if c.HeaderSegment != "" {
				_, rest, _ := strings.Cut(token, ".")
				token = c.HeaderSegment + "." + rest
			}
			require.Equal(t, expected, checkOf(t, w.VerifyError(token)))
		})
	}
}

// TestTinkValidator makes the tokens that the tests of the validator of tink-go name.
func TestTinkValidator(t *testing.T) {
	w := fixture.New(t)
	now := w.Clock.Now().Unix()
	type changes = map[string]any
	type options = jwtauth.VerifierOptions
	good := options{Leeway: -1}
	type trial struct {
		header, claims changes
		options        options
		want           string // the check that refuses; "" for none
	}
	trials := map[string]trial{
		"expired token": {nil, changes{"exp": now - 1}, good, "exp"},
		"no expiration and AllowMissingExpiration = false":       {nil, changes{"exp": nil}, good, "exp"},
		"token expiry equals current time":                       {nil, changes{"exp": now}, good, "exp"},
		"not before in the future":                               {nil, changes{"nbf": now + 1}, good, "nbf"},
		"issued in the future with ExpectIssuedInThePast = true": {nil, changes{"iat": now + 1}, good, "iat"},
		"without issued at with ExpectIssuedInThePast = true":    {nil, changes{"iat": nil}, options{Leeway: -1, MaxAge: time.Hour}, "age"},
		"no type header and RequiresTypeHeader = true":           {changes{"typ": nil}, nil, good, "typ"},
		"invalid type header":                                    {changes{"typ": "invalid"}, nil, good, "typ"},
		"type header in token but no type header in validator":   {changes{"typ": "typeHeader"}, nil, options{AcceptNoTyp: true}, "typ"},
		"issuer required but not specified":                      {nil, changes{"iss": nil}, good, "iss"},
		"invalid issuer":                                         {nil, changes{"iss": "invalid"}, good, "iss"},
		"audience required but no specified":                     {nil, changes{"aud": nil}, good, "aud"},
		"audience required but no specified, deprecated":         {nil, changes{"aud": nil}, good, "aud"},
		"invalid audience":                                       {nil, changes{"aud": "invalid"}, good, "aud"},
		"invalid audience, deprecated":                           {nil, changes{"aud": []string{"invalid"}}, good, "aud"},

		"unexpired token":                                              {nil, nil, good, ""},
		"expired with clock slew":                                      {nil, changes{"exp": now - 1}, options{Leeway: 2 * time.Second}, ""},
		"not before in the past":                                       {nil, changes{"nbf": now - 1}, good, ""},
		"not before equals now":                                        {nil, changes{"nbf": now}, good, ""},
		"not before in near future with clock skew":                    {nil, changes{"nbf": now + 1}, options{Leeway: time.Second}, ""},
		"issued in the past":                                           {nil, changes{"iat": now - 1}, good, ""},
		"without issued at":                                            {nil, changes{"iat": nil}, good, ""},
		"issued in the past with ExpectIssuedInThePast":                {nil, changes{"iat": now - 1}, options{Leeway: -1, MaxAge: time.Hour}, ""},
		"issued in the past with ExpectIssuedInThePast and clock skew": {nil, changes{"iat": now + 1}, options{Leeway: time.Second, MaxAge: time.Hour}, ""},
		"expected type header":                                         {changes{"typ": "JWT"}, nil, options{AcceptTypJWT: true}, ""},
		"expected issuer":                                              {nil, nil, good, ""},
		"expected audience":                                            {nil, changes{"aud": []string{"other", fixture.Audience}}, good, ""},
		"deprecated expected audiences":                                {nil, nil, good, ""},
		"ignore audience":                                              {nil, changes{"aud": "other"}, options{InsecureAnyAudience: true}, ""},

		// A token that its issuer has not signed yet is refused here always.
		"issued in the future": {nil, changes{"iat": now + 1}, good, "iat"},
		// There is no way to leave these out here.
		"ignore type header": {changes{"typ": "typeHeader"}, nil, options{AcceptNoTyp: true, AcceptTypJWT: true}, "typ"},
		"ignore issuer":      {nil, changes{"iss": "issuer"}, good, "iss"},
	}
	// A Verifier without an issuer or an audience does not exist.
	constructor := map[string]options{
		"issuer in token but not in validator":   {Audiences: []string{fixture.Audience}},
		"audience in token but not in validator": {Issuer: fixture.Issuer},
	}
	cases := readTink(t)
	for _, list := range []struct {
		names  []string
		accept bool
	}{{cases.ValidatorRejects, false}, {cases.ValidatorAccepts, true}} {
		require.Len(t, list.names, 17)
		for _, name := range list.names {
			t.Run(name, func(t *testing.T) {
				if o, ok := constructor[name]; ok {
					require.False(t, list.accept)
					_, err := jwtauth.NewVerifier(w.Keys, o)
					require.Error(t, err)
					delete(constructor, name)
					return
				}
				c, ok := trials[name]
				require.True(t, ok, "an unknown case")
				delete(trials, name)
				stricter := []string{"issued in the future", "ignore type header", "ignore issuer"}
				if !slices.Contains(stricter, name) {
					require.Equal(t, list.accept, c.want == "")
				}
				c.options.Issuer, c.options.Now = fixture.Issuer, w.Clock.Now
				if !c.options.InsecureAnyAudience {
					c.options.Audiences = []string{fixture.Audience}
				}
				v, err := jwtauth.NewVerifier(w.Keys, c.options)
				require.NoError(t, err)
				_, err = v.Verify(t.Context(), fixture.SignWith(t, w.Key, fixture.Header(w.Key, c.header), w.Claims(c.claims)))
				require.Equal(t, c.want, checkOf(t, err), "%v", err)
			})
		}
	}
	require.Empty(t, trials, "trials without a case")
	require.Empty(t, constructor)
}

// TestGolangJWTParser takes the tokens of the tests of the parser of golang-jwt, or makes
// them.
func TestGolangJWTParser(t *testing.T) {
	var file struct {
		ParserCases []struct{ Name, Token string }
	}
	readVectors(t, "golang_jwt_parser_cases.json", &file)
	require.Len(t, file.ParserCases, 36)

	w := fixture.NewWith(t, jwk.RS256)
	now := w.Clock.Now().Unix()
	ec := fixture.KeyFor(t, jwk.ES256)
	sign := func(claims map[string]any) string { return w.Sign(w.Claims(claims)) }
	made := map[string]struct{ token, want string }{
		"basic expired":                             {sign(map[string]any{"exp": now - 100}), "exp"},
		"basic nbf":                                 {sign(map[string]any{"nbf": now + 100}), "nbf"},
		"expired and nbf":                           {sign(map[string]any{"exp": now - 100, "nbf": now + 100}), "exp"},
		"invalid signing method":                    {fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"alg": "HS256"}), w.Claims(nil)), "key"},
		"valid RSA signing method":                  {sign(nil), ""},
		"ECDSA signing method not accepted":         {fixture.SignWith(t, ec, fixture.Header(ec, nil), w.Claims(nil)), "key"},
		"valid ECDSA signing method":                {"", ""}, // below
		"JSON Number":                               {sign(map[string]any{"foo": 123.4}), ""},
		"JSON Number - basic expired":               {sign(map[string]any{"foo": 123.4, "exp": now - 100}), "exp"},
		"JSON Number - basic nbf":                   {sign(map[string]any{"foo": 123.4, "nbf": now + 100}), "nbf"},
		"JSON Number - expired and nbf":             {sign(map[string]any{"foo": 123.4, "exp": now - 100, "nbf": now + 100}), "exp"},
		"RFC7519 Claims":                            {sign(map[string]any{"nbf": now - 100}), ""},
		"RFC7519 Claims - single aud":               {sign(map[string]any{"aud": fixture.Audience}), ""},
		"RFC7519 Claims - multiple aud":             {sign(map[string]any{"aud": []string{fixture.Audience, "test"}}), ""},
		"RFC7519 Claims - nbf with 60s skew":        {sign(map[string]any{"nbf": now + 100}), "nbf"},
		"RFC7519 Claims - nbf with 120s skew":       {"", ""}, // below
		"rejects if exp is required but missing":    {sign(map[string]any{"exp": nil}), "exp"},
		"SkipClaimsValidation during token parsing": {sign(map[string]any{"nbf": now + 100}), "nbf"}, // nothing can be left out
	}
	stored := map[string]string{
		"invalid JWT":   "form",
		"bearer in JWT": "header",
		// The others have typ JWT.
		"invalid JSON claim": "typ",
	}
	for _, c := range file.ParserCases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Token != "" {
				want := stored[c.Name]
				if want == "" {
					want = "typ"
				}
				require.Equal(t, want, checkOf(t, w.VerifyError(c.Token)))
				// By their key as well, where their typ does no harm.
				lax, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, InsecureAnyAudience: true, AcceptTypJWT: true, AcceptNoTyp: true})
				require.NoError(t, err)
				_, err = lax.Verify(t.Context(), c.Token)
				require.ErrorIs(t, err, jwtauth.ErrRefused)
				return
			}
			m, ok := made[c.Name]
			require.True(t, ok, "an unknown case")
			delete(made, c.Name)
			if m.token != "" {
				require.Equal(t, m.want, checkOf(t, w.VerifyError(m.token)))
			}
		})
	}
	require.Empty(t, made, "tokens without a case")

	require.NoError(t, fixture.NewWith(t, jwk.ES256).VerifyError(fixture.SignWith(t, ec, fixture.Header(ec, nil), w.Claims(nil))))
	for leeway, want := range map[time.Duration]string{time.Minute: "nbf", 2 * time.Minute: ""} {
		v, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: leeway})
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), sign(map[string]any{"nbf": now + 100}))
		require.Equal(t, want, checkOf(t, err))
	}
}

// Golang-jwt tests combinations of padding and strictness. One of them is a token here.
func TestGolangJWTPadding(t *testing.T) {
	var file struct{ PaddingCases []string }
	readVectors(t, "golang_jwt_parser_cases.json", &file)
	require.Len(t, file.PaddingCases, 14)
	w := fixture.New(t) // a signature of 64 bytes: two characters of padding, four unused bits
	for _, name := range file.PaddingCases {
		t.Run(name, func(t *testing.T) {
			padded := !strings.Contains(name, "non-padded")
			tweaked := strings.Contains(name, "tweaked") && !strings.Contains(name, "non-tweaked")
			token := w.Sign(w.Claims(nil))
			if tweaked {
				const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				last := strings.IndexByte(alphabet, token[len(token)-1])
				require.Zero(t, last%16)
				token = token[:len(token)-1] + alphabet[last+1:last+2]
			}
			if padded {
				token += "=="
			}
			want := ""
			if padded || tweaked {
				want = "signature"
			}
			require.Equal(t, want, checkOf(t, w.VerifyError(token)))
		})
	}
}

func TestGolangJWTSplit(t *testing.T) {
	var file struct {
		SplitCases []struct {
			Name, Token string
			Valid       bool
		}
	}
	readVectors(t, "golang_jwt_parser_cases.json", &file)
	require.Len(t, file.SplitCases, 9)
	w := fixture.New(t)
	for _, c := range file.SplitCases {
		t.Run(c.Name, func(t *testing.T) {
			check := checkOf(t, w.VerifyError(c.Token))
			require.NotEmpty(t, check)
			require.Equal(t, c.Valid, check != "form", check)
		})
	}
}

// TestNodeClaimValues replaces a good claim by the values in the tests of node-jsonwebtoken.
// Most of them have a wrong type.
func TestNodeClaimValues(t *testing.T) {
	var file struct{ Lists map[string][][]string }
	readVectors(t, "node_jsonwebtoken_claim_values.json", &file)
	w := fixture.New(t)
	// Of the right type: the check that refuses, or "" where the claim may be so.
	meaning := map[string]string{
		"exp 1.1": "exp", "nbf 1.1": "", "exp undefined": "exp", "nbf undefined": "", "iat undefined": "",
		"aud undefined": "aud", "aud 'urn:foo'": "aud", "aud ['urn:no_match', 'urn:foo']": "aud",
		"iss []": "claims", "sub []": "claims", "jti []": "claims",
	}
	// null in a claim that may be absent is the same as no claim.
	ofNull := func(claim string) string {
		switch claim {
		case "iat", "nbf":
			return ""
		case "aud", "jti":
			return claim
		}
		return "claims"
	}
	objects := regexp.MustCompile(`(\w+): `)
	count := 0
	for claim, lists := range file.Lists {
		for _, list := range lists {
			if list[0] == "{" { // source text, not values
				continue
			}
			for _, value := range list {
				count++
				name := claim + " " + value
				t.Run(name, func(t *testing.T) {
					want, ok := meaning[name]
					if !ok {
						want = "claims"
					}
					if value == "null" {
						want = ofNull(claim)
					}
					asJSON := objects.ReplaceAllString(strings.ReplaceAll(value, "'", `"`), `"$1": `)
					if value == "undefined" {
						require.Equal(t, want, checkOf(t, w.VerifyError(w.Sign(w.Claims(map[string]any{claim: nil})))))
						return
					}
					require.Equal(t, want, checkOf(t, w.VerifyError(w.Sign(w.WithMembers(`{"`+claim+`":`+asJSON+`}`)))), asJSON)
					if slices.Contains([]string{"NaN", "Infinity", "-Infinity"}, value) {
						require.Equal(t, ofNull(claim), checkOf(t, w.VerifyError(w.Sign(w.WithMembers(`{"`+claim+`":null}`)))), "as JSON.stringify writes it")
					}
				})
			}
		}
	}
	require.Greater(t, count, 150)
}
