package attacks_test

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// frozen is the time for both verifiers: 1793534400, in Unix time.
var frozen = fixture.NewClock().Now()

// twoVerifiers are a Verifier without any tolerance and the strictest parser of
// golang-jwt, with the same keys, names and time.
type twoVerifiers struct {
	keys      []*jwk.SigningKey
	verifier  *jwtauth.Verifier
	parser    *jwt.Parser
	theirKeys map[string]any // the keys for golang-jwt, by algorithm
}

// newTwoVerifiers makes two verifiers. Their keys are always the same, since a fuzz target
// runs in several processes. No two keys have the same algorithm.
func newTwoVerifiers(t testing.TB) *twoVerifiers {
	t.Helper()
	secret := sha512.Sum512([]byte("a secret that is always the same"))
	mac, err := jwk.NewHMAC(jwk.HS256, "mac", secret[:])
	require.NoError(t, err)
	v := &twoVerifiers{
		keys: []*jwk.SigningKey{
			mac,
			fixture.RfcSigningKey(t, "RFC 7520, 3.4", jwk.RS256).WithID("rsa"),
			fixture.RfcSigningKey(t, "RFC 7520, 3.4", jwk.PS256).WithID("pss"),
			fixture.RfcSigningKey(t, "RFC 7515, A.3", jwk.ES256).WithID("ec"),
			fixture.RfcSigningKey(t, "RFC 8037, A.1", jwk.EdDSA).WithID("ed"),
		},
		theirKeys: make(map[string]any),
	}
	var public []*jwk.VerificationKey
	for _, k := range v.keys {
		public = append(public, k.Verification())
		v.theirKeys[string(k.Algorithm())] = fixture.PublicOf(k.Verification())
	}
	v.theirKeys["HS256"] = secret[:]
	set, err := jwk.Static(public...)
	require.NoError(t, err)
	clock := func() time.Time { return frozen }
	v.verifier, err = jwtauth.NewVerifier(set, jwtauth.VerifierOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Leeway: -1, Now: clock,
	})
	require.NoError(t, err)
	v.parser = jwt.NewParser(
		jwt.WithValidMethods(slices.Collect(maps.Keys(v.theirKeys))), jwt.WithIssuer(fixture.Issuer), jwt.WithAudience(fixture.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(), jwt.WithLeeway(0),
		jwt.WithTimeFunc(clock), jwt.WithJSONNumber(),
	)
	return v
}

// findKey is the jwt.Keyfunc. It finds a key by the algorithm and, if the header has a
// kid that is not empty, by the kid.
func (v *twoVerifiers) findKey(t *jwt.Token) (any, error) {
	for _, k := range v.keys {
		kid, hasKid := t.Header["kid"]
		if string(k.Algorithm()) == t.Method.Alg() && (!hasKid || kid == "" || kid == k.ID()) {
			return v.theirKeys[t.Method.Alg()], nil
		}
	}
	return nil, errors.New("no such key")
}

// compare lets both verify a token. It returns an error if the Verifier refuses the token;
// then there is nothing to compare.
func (v *twoVerifiers) compare(token string) (ours jwtauth.Token, found []difference, err error) {
	if ours, err = v.verifier.Verify(context.Background(), token); err != nil {
		return ours, nil, err
	}
	theirs, err := v.parser.Parse(token, v.findKey)
	if err != nil {
		d := difference{about: "token", theirs: err}
		if theirs != nil {
			d.ours = theirs.Header["alg"]
		}
		return ours, []difference{d}, nil
	}
	return ours, compareClaims(ours, theirs.Claims.(jwt.MapClaims)), nil
}

// difference is a claim that golang-jwt reads in another way. If golang-jwt refuses the
// token, about is "token", ours is the alg of its header, and theirs is the error.
type difference struct {
	about        string
	ours, theirs any
}

// compareClaims returns the claims that golang-jwt reads in another way.
func compareClaims(ours jwtauth.Token, theirs jwt.MapClaims) (found []difference) {
	add := func(about string, isSame bool, ours, theirs any) {
		if !isSame {
			found = append(found, difference{about, ours, theirs})
		}
	}
	text := func(name, our string) {
		their, ok := theirs[name]
		add(name, their == our || !ok && our == "", our, their)
	}
	date := func(name string, our time.Time) {
		their, err := jwt.MapClaims{"exp": theirs[name]}.GetExpirationTime()
		if _, ok := theirs[name]; !ok {
			their, err = &jwt.NumericDate{}, nil
		}
		if err != nil {
			add(name, false, our, err)
			return
		}
		add(name, our.Equal(their.Time), our, their.Time)
	}
	list := func(name string, our []string) {
		their, err := jwt.MapClaims{"aud": theirs[name]}.GetAudience()
		if text, ok := theirs[name].(string); ok && name == "scope" {
			their = strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
		}
		add(name, err == nil && slices.Equal(our, their), our, theirs[name])
	}
	text("iss", ours.Issuer)
	text("sub", ours.Subject)
	text("jti", ours.ID)
	text("sid", ours.SessionID)
	text("client_id", ours.ClientID)
	text("acr", ours.ACR)
	date("exp", ours.ExpiresAt)
	date("nbf", ours.NotBefore)
	date("iat", ours.IssuedAt)
	date("auth_time", ours.AuthTime)
	list("aud", ours.Audiences())
	list("amr", ours.AMR())
	list("scope", ours.Scopes())
	all, err := jwtauth.ClaimsAs[map[string]any](ours)
	add("ClaimsAs", err == nil && reflect.DeepEqual(all, map[string]any(theirs)), all, theirs)
	return found
}

// signedToken is what the fuzz target varies: the parts of a token, and an edit of its text.
type signedToken struct {
	key            int
	header, claims string
	edit           string // replaces cut bytes of the text from at on; at may be beyond the end
	at             uint16
	cut            uint8
}

// goodClaims returns the claims of a good token with changes. A nil value removes a claim.
func goodClaims(changes map[string]any) map[string]any {
	return (&fixture.World{Clock: fixture.NewClock()}).Claims(changes)
}

// good returns a good token with changes.
func (v *twoVerifiers) good(t testing.TB, key int, header, claims map[string]any) signedToken {
	t.Helper()
	return signedToken{key: key, header: fixture.Text(t, fixture.Header(v.keys[key], header)), claims: fixture.Text(t, goodClaims(claims))}
}

// complete adds to a JSON object those members of a good one that it does not have.
func complete(t testing.TB, object string, good map[string]any) string {
	t.Helper()
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(object), &members) != nil || members == nil {
		return object
	}
	maps.DeleteFunc(good, func(name string, _ any) bool { _, has := members[name]; return has })
	added := fixture.Text(t, good)
	switch {
	case len(members) == 0:
		return added
	case len(good) == 0:
		return object
	}
	return added[:len(added)-1] + "," + strings.TrimLeft(object, " \t\r\n")[1:]
}

// sign returns the text of a token before and after the edit.
func (v *twoVerifiers) sign(t testing.TB, s signedToken) (original, edited string) {
	t.Helper()
	original = fixture.SignWith(t, v.keys[s.key], s.header, s.claims)
	from := min(int(s.at), len(original))
	return original, original[:from] + s.edit + original[min(from+int(s.cut), len(original)):]
}

// The places of the keys in twoVerifiers.keys.
const (
	keyHS256 = iota
	keyRS256
	keyPS256
	keyES256
	keyEdDSA
)

// knownDifference is one reason for differences, with a token as an example: a good token
// with some changes.
type knownDifference struct {
	name           string
	key            int
	header, claims map[string]any
	explains       func(ours jwtauth.Token, d difference) bool // reports whether this is the reason for d
}

// knownDifferences lists the ways in which golang-jwt differs about tokens that we accept
// with good reason.
var knownDifferences = []knownDifference{
	// RFC 9864 calls this algorithm Ed25519 and deprecates its old name, EdDSA. golang-jwt
	// knows only the old name.
	{
		"the algorithm Ed25519", keyEdDSA, map[string]any{"alg": "Ed25519"}, nil,
		func(_ jwtauth.Token, d difference) bool {
			return d.ours == "Ed25519" && refusedFor(d, "token is unverifiable: signing method (alg) is unavailable")
		},
	},
	// The header may have members that neither reads. golang-jwt decodes their numbers to
	// float64: WithJSONNumber is for the claims only.
	{
		"a number in the header beyond float64", keyHS256, map[string]any{"x": json.Number("1e400")}, nil,
		func(_ jwtauth.Token, d difference) bool {
			err, _ := d.theirs.(error)
			wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
			return ok && errors.Is(err, jwt.ErrTokenMalformed) && strings.HasPrefix(wrong.Value, "number ") && wrong.Type.Kind() == reflect.Float64
		},
	},
	// A date may have a fraction (RFC 7519, section 2). golang-jwt cuts the fraction off.
	{
		"a fraction of a second", keyHS256, nil, map[string]any{"exp": json.Number("1793534460.5"), "nbf": json.Number("1793534399.75"), "iat": json.Number("1793534398.999999")},
		func(_ jwtauth.Token, d difference) bool {
			our, their, ok := dates(d)
			return ok && our.Nanosecond() != 0 && their.Equal(our.Truncate(time.Second))
		},
	},
	// For the same reason, golang-jwt refuses a token in its last second, unless exp is a
	// whole second.
	{
		"the last fraction of a second", keyHS256, nil, map[string]any{"exp": json.Number("1793534400.5")},
		func(ours jwtauth.Token, d difference) bool {
			whole, fraction := math.Modf(number(ours, "exp"))
			return whole == 1793534400 && fraction > 0 && refusedFor(d, "token has invalid claims: token is expired")
		},
	},
	// We round a date to the nearest microsecond, which may be the next second.
	{
		"a fraction that is rounded up", keyHS256, nil, map[string]any{"exp": json.Number("1793534459.9999997")},
		func(ours jwtauth.Token, d difference) bool {
			our, their, ok := dates(d)
			_, fraction := math.Modf(number(ours, d.about))
			return ok && fraction >= 0.9999995 && our.Equal(their.Add(time.Second)) && our.Nanosecond() == 0
		},
	},
	// No check uses these claims. If the JSON type is wrong, we leave the field of the Token
	// empty.
	{
		"a claim of the wrong type", keyHS256, nil, map[string]any{"client_id": 7},
		func(ours jwtauth.Token, d difference) bool {
			all, _ := jwtauth.ClaimsAs[map[string]any](ours)
			value, has := all[d.about]
			_, isText := value.(string)
			switch our := d.ours.(type) {
			case string:
				return our == "" && has && !isText && slices.Contains([]string{"jti", "sid", "client_id", "acr"}, d.about)
			case []string:
				return len(our) == 0 && has && !isText && d.about == "amr"
			case time.Time:
				return our.IsZero() && has && d.about == "auth_time"
			}
			return false
		},
	},
	// For us, a date that is null is absent.
	{
		"null for a date", keyHS256, nil, map[string]any{"iat": json.RawMessage("null")},
		func(ours jwtauth.Token, d difference) bool {
			our, isOurs := d.ours.(time.Time)
			all, _ := jwtauth.ClaimsAs[map[string]any](ours)
			isNull := func(name string) bool { v, has := all[name]; return has && v == nil }
			switch d.about {
			case "iat", "nbf":
				return isOurs && our.IsZero() && isNull(d.about)
			case "token":
				return (isNull("iat") || isNull("nbf")) && strings.Contains(fmt.Sprint(d.theirs), "is invalid")
			}
			return false
		},
	},
}

// number returns the value of a claim that is a number.
func number(t jwtauth.Token, claim string) float64 {
	all, _ := jwtauth.ClaimsAs[map[string]any](t)
	text, _ := all[claim].(json.Number)
	n, _ := text.Float64()
	return n
}

// dates returns the two dates of a difference; ok is false if it is not about dates.
func dates(d difference) (our, their time.Time, ok bool) {
	our, isOurs := d.ours.(time.Time)
	their, isTheirs := d.theirs.(time.Time)
	return our, their, isOurs && isTheirs
}

// refusedFor reports whether golang-jwt refuses a token for exactly one reason.
func refusedFor(d difference, reason string) bool {
	err, ok := d.theirs.(error)
	return ok && d.about == "token" && err.Error() == reason
}

// unexplained returns the differences that no known one explains.
func unexplained(ours jwtauth.Token, found []difference) []difference {
	return slices.DeleteFunc(slices.Clone(found), func(d difference) bool {
		return slices.ContainsFunc(knownDifferences, func(k knownDifference) bool { return k.explains(ours, d) })
	})
}

// sample is a token of the corpus.
type sample struct {
	name     string
	accepted bool // by us
	token    signedToken
}

// samples returns good tokens of each key, an example of each known difference, and tokens
// that are almost good.
func (v *twoVerifiers) samples(t testing.TB) (list []sample) {
	t.Helper()
	type members = map[string]any
	nullText := json.RawMessage("null")
	everything := members{
		"nbf": 1793534400, "sid": "s", "client_id": "c", "acr": "1", "amr": []string{"pwd", "otp"}, "scope": "read  write ",
		"aud": []string{"https://other.test", fixture.Audience}, "account": json.Number("9007199254740993"), "roles": []any{"a", nil, true},
	}
	for key, k := range v.keys {
		alg, other := string(k.Algorithm()), v.keys[(key+1)%len(v.keys)]
		list = append(list,
			sample{alg, true, v.good(t, key, nil, nil)},
			sample{alg + " without a kid", true, v.good(t, key, members{"kid": nil}, nil)},
			sample{alg + " with many claims", true, v.good(t, key, nil, everything)},
			sample{alg + ", another kid", false, v.good(t, key, members{"kid": other.ID()}, nil)},
			sample{alg + ", another algorithm", false, v.good(t, key, members{"alg": string(other.Algorithm())}, nil)},
			sample{alg + ", another key", false, v.good(t, key, members{"alg": string(other.Algorithm()), "kid": other.ID()}, nil)},
			sample{alg + ", the algorithm none", false, v.good(t, key, members{"alg": "none"}, nil)},
		)
	}
	for _, k := range knownDifferences {
		list = append(list, sample{k.name, true, v.good(t, k.key, k.header, k.claims)})
	}
	for _, c := range []struct {
		name     string
		accepted bool
		header   members
	}{
		{"typ with application", true, members{"typ": "application/AT+JWT"}},
		{"unknown members", true, members{"x5u": "https://other.test", "n": 1.5}},
		{"typ JWT", false, members{"typ": "JWT"}},
		{"no typ", false, members{"typ": nil}},
		{"crit", false, members{"crit": []string{"exp"}}},
		{"b64", false, members{"b64": true}},
		{"kid 7", false, members{"kid": 7}},
		{"empty kid", true, members{"kid": ""}},
		{"no alg", false, members{"alg": nil}},
		{"alg in a list", false, members{"alg": []string{"HS256"}}},
		{"alg in lower case", false, members{"alg": "hs256"}},
	} {
		list = append(list, sample{c.name, c.accepted, v.good(t, keyHS256, c.header, nil)})
	}
	for _, c := range []struct {
		name     string
		accepted bool
		claims   members
	}{
		{"expires in a second", true, members{"exp": 1793534401}},
		{"valid from now on", true, members{"nbf": 1793534400, "iat": 1793534400}},
		{"valid since 1970", true, members{"nbf": json.Number("-0")}},
		{"dates with exponents", true, members{"exp": json.Number("1793.53446e6"), "nbf": json.Number("1793534300e0"), "iat": json.Number("17935343E2")}},
		{"required claims only", true, members{"iat": nil, "jti": nil, "auth_time": nil}},
		{"a list of scopes", true, members{"scope": []string{"read", "a b", ""}}},
		{"empty claims", true, members{"jti": "", "sid": "", "client_id": "", "acr": "", "scope": "", "amr": []string{}}},
		{"numbers beyond float64", true, members{"n": json.Number("1e400"), "m": json.Number("-0.1e-400")}},
		{"escapes", true, members{"sub": "<\u2028\\\"\x00", "é": "𝄞"}},
		{"claims in claims", true, members{"x": members{"iss": "other", "exp": 1, "y": []any{members{}, []any{}}}}},
		{"no iss", false, members{"iss": nil}},
		{"iss with a slash", false, members{"iss": fixture.Issuer + "/"}},
		{"iss in a list", false, members{"iss": []string{fixture.Issuer}}},
		{"no aud", false, members{"aud": nil}},
		{"another aud", false, members{"aud": fixture.Audience + "/"}},
		{"an empty list of aud", false, members{"aud": []string{}}},
		{"aud and a number", false, members{"aud": []any{fixture.Audience, 1}}},
		{"no sub", false, members{"sub": nil}},
		{"empty sub", false, members{"sub": ""}},
		{"sub 7", false, members{"sub": 7}},
		{"jti 7", true, members{"jti": 7}},
		{"sid 7", true, members{"sid": 7}},
		{"client_id 7", true, members{"client_id": 7}},
		{"acr, amr and auth_time of the wrong type", true, members{"acr": 1, "amr": []any{members{"method": "pwd"}}, "auth_time": "today"}},
		{"null for everything optional", true, members{"jti": nullText, "sid": nullText, "client_id": nullText, "acr": nullText, "amr": nullText, "auth_time": nullText, "scope": nullText, "cnf": nullText}},
		{"scope 7", false, members{"scope": 7}},
		{"no exp", false, members{"exp": nil}},
		{"exp null", false, members{"exp": nullText}},
		{"exp as text", false, members{"exp": "1793535000"}},
		{"exp now", false, members{"exp": 1793534400}},
		{"exp a moment ago", false, members{"exp": json.Number("1793534399.999999")}},
		{"exp negative", false, members{"exp": -1793535000}},
		{"exp in two days", false, members{"exp": 1793707200}},
		{"exp beyond float64", false, members{"exp": json.Number("1e400")}},
		{"nbf in a second", false, members{"nbf": 1793534401}},
		{"nbf in a moment", false, members{"nbf": json.Number("1793534400.000001")}},
		{"nbf as text", false, members{"nbf": "1793534400"}},
		{"iat in a second", false, members{"iat": 1793534401}},
		{"iat in a moment", false, members{"iat": json.Number("1793534400.000001")}},
		{"iat true", false, members{"iat": true}},
		{"cnf", false, members{"cnf": members{}}},
		{"exp in another case", false, members{"EXP": 1}},
	} {
		list = append(list, sample{c.name, c.accepted, v.good(t, keyHS256, nil, c.claims)})
	}
	whole := v.good(t, keyHS256, nil, everything)
	for _, c := range []struct {
		name           string
		accepted       bool
		header, claims string
	}{
		{"blanks", true, " " + whole.header + "\n", strings.ReplaceAll(whole.claims, ",", " ,\r\n\t")},
		{"escapes in names", true, strings.Replace(whole.header, "alg", `\u0061lg`, 1), strings.Replace(whole.claims, "exp", `\u0065xp`, 1)},
		{"a name twice in the header", false, strings.Replace(whole.header, "{", `{"alg":"none",`, 1), whole.claims},
		{"a name twice", false, whole.header, strings.Replace(whole.claims, "{", `{"sub":"bob",`, 1)},
		{"two objects", false, whole.header, whole.claims + "{}"},
		{"half a surrogate pair", false, whole.header, strings.Replace(whole.claims, "alice", `\ud834`, 1)},
		{"not UTF-8", false, whole.header, strings.Replace(whole.claims, "alice", "\xff", 1)},
		{"null", false, whole.header, "null"},
		{"no claims", false, whole.header, ""},
		{"no header", false, "", whole.claims},
	} {
		list = append(list, sample{c.name, c.accepted, signedToken{header: c.header, claims: c.claims}})
	}
	const end = math.MaxUint16
	for _, c := range []struct {
		name, edit string
		at         uint16
		cut        uint8
	}{
		{"padding", "=", end, 0},
		{"a line break at the end", "\n", end, 0},
		{"a line break inside", "\r\n", 8, 0},
		{"a blank", " ", 0, 0},
		{"NUL", "\x00", end, 0},
		{"a scheme", "Bearer ", 0, 0},
		{"a dot before", ".", 0, 0},
		{"a dot inside", ".", 8, 0},
		{"a dot at the end", ".", end, 0},
		{"one character more", "A", end, 0},
		{"one character less", "", 0, 1},
		{"the alphabet of base64", "+", 8, 1},
	} {
		list = append(list, sample{c.name, false, signedToken{keyHS256, whole.header, whole.claims, c.edit, c.at, c.cut}})
	}
	return list
}

// FuzzGolangJWTAgrees signs any header and any claims, and edits the text of the token. If
// we accept a token, golang-jwt accepts it too and reads the same claims, except for the
// known differences. If we refuse the token, the target compares a second one, which has no
// edit and has all members of a good token.
func FuzzGolangJWTAgrees(f *testing.F) {
	v := newTwoVerifiers(f)
	for _, s := range v.samples(f) {
		f.Add(byte(s.token.key), s.token.header, s.token.claims, s.token.edit, s.token.at, s.token.cut)
	}
	for _, claims := range []string{
		`{}`, `{"exp":1793534400.5}`, `{"exp":1793534459.9999997,"nbf":17935344e2}`, `{"iat":1793534399.5}`, `{"auth_time":1.5}`, `{"jti":"\u0061"}`,
		`{"aud":["https://api.test","a"]}`, `{"amr":["pwd"],"acr":"1"}`, `{"scope":"a  b"}`, `{"scope":["a b"]}`, `{"sid":"s","client_id":"c"}`,
		`{"n":[1e400,{"a":-0.1}],"x":null}`,
	} {
		f.Add(byte(keyHS256), `{}`, claims, "", uint16(0), uint8(0))
	}
	for _, header := range []string{`{"x":1e400}`, `{"alg":"Ed25519"}`, `{"typ":"application/at+jwt"}`, `{"kid":"mac"}`, `{"x":["y"]}`} {
		f.Add(byte(keyEdDSA), header, `{}`, "", uint16(0), uint8(0))
	}
	f.Fuzz(func(t *testing.T, key byte, header, claims, edit string, at uint16, cut uint8) {
		k := int(key) % len(v.keys)
		second := signedToken{key: k, header: complete(t, header, fixture.Header(v.keys[k], nil)), claims: complete(t, claims, goodClaims(nil))}
		for _, s := range []signedToken{{k, header, claims, edit, at, cut}, second} {
			original, token := v.sign(t, s)
			ours, found, err := v.compare(token)
			if err != nil {
				continue
			}
			if token != original {
				t.Fatalf("accepted after %q became %q", original, token)
			}
			for _, d := range unexplained(ours, found) {
				t.Errorf("%s and %s: %s is %v, for golang-jwt %v", s.header, s.claims, d.about, d.ours, d.theirs)
			}
			return
		}
	})
}

// TestGolangJWTAgreesAboutSamples makes sure that the fuzz target compares something.
func TestGolangJWTAgreesAboutSamples(t *testing.T) {
	v := newTwoVerifiers(t)
	compared := 0
	for _, s := range v.samples(t) {
		_, token := v.sign(t, s.token)
		ours, found, err := v.compare(token)
		require.Equal(t, s.accepted, err == nil, "%s: %v", s.name, err)
		require.Empty(t, unexplained(ours, found), s.name)
		if err == nil {
			compared++
		}
	}
	require.Greater(t, compared, 3*len(v.keys))
}

// TestKnownDifferencesOfGolangJWT fails if a difference no longer exists, and if two
// entries explain one difference.
func TestKnownDifferencesOfGolangJWT(t *testing.T) {
	v := newTwoVerifiers(t)
	for _, k := range knownDifferences {
		_, token := v.sign(t, v.good(t, k.key, k.header, k.claims))
		ours, found, err := v.compare(token)
		require.NoError(t, err, k.name)
		require.NotEmpty(t, found, "%s: golang-jwt agrees", k.name)
		for _, d := range found {
			for _, other := range knownDifferences {
				require.Equal(t, other.name == k.name, other.explains(ours, d), "%s is explained by %s", k.name, other.name)
			}
		}
	}
}

// TestADisagreementIsFound changes what golang-jwt has read of a registered claim. The comparison must find each
// change, and no known difference may explain it.
func TestADisagreementIsFound(t *testing.T) {
	v := newTwoVerifiers(t)
	full := map[string]any{
		"nbf": json.Number("1793534399.5"), "sid": "s", "client_id": "c", "acr": "1", "amr": []string{"pwd", "otp"},
		"scope": "read write", "aud": []string{"https://other.test", fixture.Audience}, "account": json.Number("9007199254740993"),
	}
	few := map[string]any{"iat": nil, "jti": nil, "auth_time": nil}
	for _, c := range []struct {
		name   string
		claims map[string]any
		wrong  []any // values that golang-jwt may have read instead; nil means no value
	}{
		{"iss", full, []any{nil, "", fixture.Issuer + "/", json.Number("7")}},
		{"sub", full, []any{nil, "", "Alice", json.Number("7")}},
		{"jti", full, []any{nil, "", "token-2", json.Number("7")}},
		{"jti", few, []any{"token-1", json.Number("7")}},
		{"sid", full, []any{nil, "", "S", json.Number("7")}},
		{"sid", few, []any{"s", json.Number("7")}},
		{"client_id", full, []any{nil, "", "C", json.Number("7")}},
		{"client_id", few, []any{"c", json.Number("7")}},
		{"acr", full, []any{nil, "", "2", json.Number("1")}},
		{"acr", few, []any{"1", json.Number("1")}},
		{"exp", full, []any{nil, json.Number("1793534999"), json.Number("1793535001"), json.Number("0"), "1793535000"}},
		{"nbf", full, []any{nil, json.Number("1793534398"), json.Number("1793534400"), json.Number("0"), "1793534399.5"}},
		{"nbf", few, []any{json.Number("1793534400"), json.Number("0")}},
		{"iat", full, []any{nil, json.Number("1793534399"), json.Number("1793534401"), json.Number("0"), true}},
		{"iat", few, []any{json.Number("1793534400"), json.Number("0")}},
		{"auth_time", full, []any{nil, json.Number("1793534399"), json.Number("1793534401"), json.Number("0")}},
		{"auth_time", few, []any{json.Number("1793534400"), json.Number("0")}},
		{"aud", full, []any{nil, fixture.Audience, []any{}, []any{fixture.Audience}, []any{fixture.Audience, "https://other.test"}, []any{"https://other.test", fixture.Audience, json.Number("7")}}},
		{"aud", few, []any{nil, fixture.Audience + "/", []any{fixture.Audience, ""}}},
		{"amr", full, []any{nil, "pwd", "pwd otp", []any{"otp", "pwd"}}},
		{"amr", few, []any{"pwd"}},
		{"scope", full, []any{nil, "", "read", "read write x", "read\twrite", []any{"read write"}, []any{"write", "read"}}},
		{"scope", few, []any{"read", []any{"read"}}},
	} {
		_, token := v.sign(t, v.good(t, keyHS256, nil, c.claims))
		ours, found, err := v.compare(token)
		require.NoError(t, err)
		require.Empty(t, unexplained(ours, found))
		for _, wrong := range c.wrong {
			theirs, err := jwtauth.ClaimsAs[map[string]any](ours)
			require.NoError(t, err)
			theirs[c.name] = wrong
			if wrong == nil {
				delete(theirs, c.name)
			}
			var about []string
			for _, d := range unexplained(ours, compareClaims(ours, theirs)) {
				about = append(about, d.about)
			}
			require.Equal(t, []string{c.name, "ClaimsAs"}, about, "%s %v", c.name, wrong)
		}
	}
}

func TestADisagreementAboutAnotherClaimIsFound(t *testing.T) {
	v := newTwoVerifiers(t)
	_, token := v.sign(t, v.good(t, keyHS256, nil, map[string]any{"account": json.Number("9007199254740993")}))
	ours, found, err := v.compare(token)
	require.NoError(t, err)
	require.Empty(t, found)
	for name, wrong := range map[string]any{"account": json.Number("9007199254740992"), "other": "x"} {
		theirs, err := jwtauth.ClaimsAs[map[string]any](ours)
		require.NoError(t, err)
		theirs[name] = wrong
		require.Len(t, unexplained(ours, compareClaims(ours, theirs)), 1, name)
	}
}

func TestARefusalByGolangJWTIsFound(t *testing.T) {
	v := newTwoVerifiers(t)
	v.theirKeys["HS256"] = []byte("another secret")
	_, token := v.sign(t, v.good(t, keyHS256, nil, nil))
	ours, found, err := v.compare(token)
	require.NoError(t, err)
	require.Len(t, unexplained(ours, found), 1)
	require.ErrorIs(t, found[0].theirs.(error), jwt.ErrTokenSignatureInvalid)
}
