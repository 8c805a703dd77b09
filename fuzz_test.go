package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
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

// A fuzz target runs in several processes, so its keys and tokens must be the same in all of
// them. The secrets are digests of names, and the other keys are examples of RFCs. HMAC, RSA
// and Ed25519 make one signature for each text. ECDSA makes many, and replacing s by n-s
// makes another good one. So for an ECDSA key, the mint keeps the text before the signature
// and not the whole token.

// fuzzKeys returns keys of five algorithms. In the encoded signatures of all of them but
// HS384, the last character has bits that must be zero.
func fuzzKeys(t testing.TB) []*jwk.SigningKey {
	t.Helper()
	return []*jwk.SigningKey{
		fixture.FuzzHMACKey(t, jwk.HS256, "mac"),
		fixture.FuzzHMACKey(t, jwk.HS384, "longer"),
		fixture.RfcSigningKey(t, "RFC 7520, 3.4", jwk.RS256).WithID("rsa"),
		fixture.RfcSigningKey(t, "RFC 8037, A.1", jwk.EdDSA).WithID("ed"),
		fixture.RfcSigningKey(t, "RFC 7515, A.3", jwk.ES256).WithID("ec"),
	}
}

// fuzzWorld makes a World that signs with the first key and accepts all of them.
func fuzzWorld(t testing.TB, keys []*jwk.SigningKey, change ...fixture.Change) *fixture.World {
	t.Helper()
	w := fixture.New(t, change...)
	var accepted []*jwk.VerificationKey
	for _, k := range keys[1:] {
		accepted = append(accepted, k.Verification())
	}
	require.NoError(t, w.Keys.Replace(keys[0], accepted...))
	w.Key = keys[0]
	return w
}

// mint keeps the texts that were signed: the whole token, or, for ECDSA, the text before the
// signature.
type mint map[string]bool

func (m mint) add(k *jwk.SigningKey, token string) string {
	if k.Algorithm() == jwk.ES256 {
		m[token[:strings.LastIndexByte(token, '.')]] = true
	} else {
		m[token] = true
	}
	return token
}

// has reports whether a token may be accepted.
func (m mint) has(token string) bool {
	return m[token] || m[token[:max(0, strings.LastIndexByte(token, '.'))]]
}

// wants reports whether a token must be accepted.
func (m mint) wants(token string) bool { return m[token] && strings.Count(token, ".") == 2 }

// respelled returns texts that look like a token and must be refused.
func respelled(token string) []string {
	parts := strings.Split(token, ".")
	return []string{
		token + "=", token + "\n", token + " ", " " + token, token + ".", "." + token, token + "\x00", token[:len(token)-1], token + "A",
		parts[0] + "." + parts[1] + ".", parts[0] + ".." + parts[2], "." + parts[1] + "." + parts[2], parts[0] + "." + parts[1],
		parts[0] + "=." + parts[1] + "." + parts[2], parts[0] + "\n." + parts[1] + "." + parts[2], parts[0] + "." + parts[1] + "\r\n." + parts[2],
		strings.ToUpper(token), strings.ReplaceAll(token, "-", "+"), strings.ReplaceAll(token, ".", "%2E"), `"` + token + `"`, token + "," + token,
		`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		parts[0] + "." + parts[1] + ".." + parts[2] + ".", // as many segments as a JWE has
	}
}

// attackHeaders has headers that have fooled verifiers.
var attackHeaders = []string{
	`{"alg":"none","typ":"at+jwt"}`, `{"alg":"None","typ":"at+jwt","kid":"mac"}`, `{"typ":"at+jwt","kid":"mac"}`,
	`{"alg":"HS256","typ":"at+jwt","kid":"rsa"}`, `{"alg":"HS256","typ":"at+jwt","kid":"mac","crit":["x"],"x":1}`,
	`{"alg":"HS256","typ":"at+jwt","kid":"mac","b64":false,"crit":["b64"]}`, `{"alg":"HS256","typ":"at+jwt","kid":"mac","b64":false}`,
	`{"alg":"HS256","typ":"at+jwt","kid":"mac","b64":true}`, `{"alg":"HS256","ALG":"none","typ":"at+jwt","kid":"mac"}`,
	`{"alg":"none","alg":"HS256","typ":"at+jwt"}`, `{"alg":["HS256"],"typ":"at+jwt"}`, `{"alg":"HS256","typ":"JWT","kid":"mac"}`,
	`{"alg":"HS256","typ":"rt+jwt","kid":"mac"}`, `{"alg":"HS256","typ":"application/at+jwt","kid":"mac"}`, `{"alg":"HS256","typ":"AT+JWT"}`,
	`{"alg":"HS256","typ":"at+jwt","kid":7}`, `{"alg":"HS256","typ":"at+jwt","kid":"../../dev/null"}`, `{"alg":"HS256","kid":"mac"}`,
	`{"\u0061lg":"HS256","typ":"at\u002bjwt","kid":"mac"}`, `{"alg":"HS256","typ":"at+jwt","\u212aid":"rsa"}`, `{"alg":"HS256","typ":"at+jwt","zip":"DEF"}`,
	` { "alg" : "HS256" , "typ" : "at+jwt" } `, `{}`, `[]`, `null`, ``, `{"alg":"HS256","typ":"at+jwt"}{}`, "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"x\":\"\xff\"}",
	`{"alg":"HS256","typ":"at+jwt","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://attacker.test","x5u":"https://attacker.test","x5c":["AA=="]}`,
}

// FuzzVerify verifies any text. Only a text that was signed, to the letter, is accepted.
func FuzzVerify(f *testing.F) {
	keys := fuzzKeys(f)
	w := fuzzWorld(f, keys)
	minted := mint{}
	for _, k := range keys {
		good := minted.add(k, fixture.SignWith(f, k, fixture.Header(k, nil), w.Claims(nil)))
		if err := w.VerifyError(good); err != nil {
			f.Fatal(err)
		}
		f.Add(good)
		for _, text := range respelled(good) {
			f.Add(text)
		}
		f.Add(minted.add(k, fixture.SignWith(f, k, fixture.Header(k, map[string]any{"kid": nil}), w.Claims(map[string]any{"aud": []string{"other", fixture.Audience}}))))
		// Signed, and to be refused.
		f.Add(fixture.SignWith(f, k, fixture.Header(k, nil), w.Claims(map[string]any{"exp": 1})))
		f.Add(fixture.SignWith(f, k, fixture.Header(k, nil), `{"iss":"https://issuer.test"}`))
		f.Add(fixture.SignWith(f, k, fixture.Header(k, map[string]any{"typ": "rt+jwt"}), w.Claims(nil)))
	}
	for _, h := range attackHeaders {
		f.Add(fixture.SignWith(f, keys[0], h, w.Claims(map[string]any{"aud": "other"})))
	}
	for _, text := range []string{"", ".", "..", "...", strings.Repeat(".", 9000), "eyJhbGciOiJub25lIn0.e30.", strings.Repeat("A", 8192) + ".."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, token string) {
		got, err := w.Verifier.Verify(context.Background(), token)
		if err == nil {
			if !minted.has(token) {
				t.Fatalf("accepted, and nobody has signed it: %q", token)
			}
			if got.Subject != "alice" || got.Issuer != fixture.Issuer {
				t.Fatalf("%q became %v", token, got)
			}
			return
		}
		if minted.wants(token) {
			t.Fatalf("a good token is refused: %v", err)
		}
		if !errors.Is(err, jwtauth.ErrRefused) || errors.Is(err, jwtauth.ErrUnavailable) {
			t.Fatalf("%q: no refusal: %v", token, err)
		}
		if !reflect.DeepEqual(got, jwtauth.Token{}) {
			t.Fatalf("%q: a token beside an error: %v", token, got)
		}
	})
}

// countedSessions counts the calls that change or read a session.
type countedSessions struct {
	jwtauth.SessionStore
	calls int
}

func (c *countedSessions) Create(ctx context.Context, r jwtauth.SessionRecord, limit int) error {
	c.calls++
	return c.SessionStore.Create(ctx, r, limit)
}

func (c *countedSessions) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	c.calls++
	return c.SessionStore.Advance(ctx, k, r)
}

func (c *countedSessions) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	c.calls++
	return c.SessionStore.Delete(ctx, k)
}

func (c *countedSessions) List(ctx context.Context, issuer, subject, after string, limit int) ([]jwtauth.SessionRecord, error) {
	c.calls++
	return c.SessionStore.List(ctx, issuer, subject, after, limit)
}

// FuzzRefresh redeems any text. Only a text that was signed, to the letter, is redeemed. A
// text that is refused causes no call of the store. The clock stands still, so that each
// good token can be redeemed again and again.
func FuzzRefresh(f *testing.F) {
	keys := fuzzKeys(f)
	counted := &countedSessions{}
	w := fuzzWorld(f, keys, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		counted.SessionStore = o.Sessions
		o.Sessions = counted
	})
	now := w.Clock.Now()
	minted := mint{}
	refreshClaims := map[string]any{
		"aud": fixture.Issuer + "#refresh", "exp": now.Add(time.Hour).Unix(), "gen": 1,
		"beg": now.Unix(), "end": now.Add(24 * time.Hour).Unix(), "res": []string{fixture.Audience},
	}
	for _, k := range keys {
		refreshClaims["sid"] = "session of " + k.ID()
		require.NoError(f, w.Store.Create(f.Context(), jwtauth.SessionRecord{
			Key:        jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: "session of " + k.ID()},
			Generation: 1, RotatedAt: now, ExpiresAt: now.Add(time.Hour), Data: []byte("{}"),
		}, 0))
		good := minted.add(k, fixture.SignWith(f, k, fixture.Header(k, map[string]any{"typ": "rt+jwt"}), w.Claims(refreshClaims)))
		if _, err := w.Issuer.Refresh(f.Context(), jwtauth.RefreshRequest{Token: good}); err != nil {
			f.Fatal(err)
		}
		f.Add(good)
		for _, text := range respelled(good) {
			f.Add(text)
		}
		// Signed, and to be refused.
		f.Add(fixture.SignWith(f, k, fixture.Header(k, nil), w.Claims(nil)))
		f.Add(fixture.SignWith(f, k, fixture.Header(k, nil), w.Claims(refreshClaims)))
		f.Add(fixture.SignWith(f, k, fixture.Header(k, map[string]any{"typ": "rt+jwt"}), w.Claims(nil)))
	}
	f.Fuzz(func(t *testing.T, token string) {
		calls := counted.calls
		got, err := w.Issuer.Refresh(context.Background(), jwtauth.RefreshRequest{Token: token})
		if err == nil {
			if !minted.has(token) {
				t.Fatalf("redeemed, and nobody has signed it: %q", token)
			}
			if got.AccessToken == "" || got.RefreshToken == "" {
				t.Fatalf("%q was redeemed for nothing", token)
			}
			return
		}
		if minted.wants(token) {
			t.Fatalf("a good token is refused: %v", err)
		}
		e, ok := errors.AsType[*jwtauth.Error](err)
		if got != (jwtauth.TokenResponse{}) || !ok || !errors.Is(err, jwtauth.ErrRefused) || e.Code != "invalid_grant" || e.Status != http.StatusBadRequest {
			t.Fatalf("%q: %v, %v", token, got, err)
		}
		if counted.calls != calls {
			t.Fatalf("%q has cost %d calls to the store", token, counted.calls-calls)
		}
	})
}

// FuzzHeader signs any header. If the token is accepted, encoding/json finds in the header
// the right alg, typ and kid, and neither crit nor b64.
func FuzzHeader(f *testing.F) {
	k := fixture.FuzzHMACKey(f, jwk.HS256, "mac")
	w := fuzzWorld(f, []*jwk.SigningKey{k})
	for _, h := range attackHeaders {
		f.Add(h)
	}
	f.Add(fixture.Text(f, fixture.Header(k, nil)))
	f.Add(fixture.Text(f, fixture.Header(k, map[string]any{"kid": nil})))
	claims := fixture.Text(f, w.Claims(nil))
	f.Fuzz(func(t *testing.T, header string) {
		token, err := fixture.SignRaw(k, header, claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Verifier.Verify(context.Background(), token); err != nil {
			if !errors.Is(err, jwtauth.ErrRefused) {
				t.Fatalf("%q: no refusal: %v", header, err)
			}
			return
		}
		var members map[string]any
		var fields struct{ Alg, Typ string }
		decoder := json.NewDecoder(strings.NewReader(header))
		decoder.UseNumber() // a float64 cannot hold every number that JSON can
		if err := errors.Join(decoder.Decode(&members), json.Unmarshal([]byte(header), &fields)); err != nil {
			t.Fatalf("accepted, and encoding/json refuses it: %q: %v", header, err)
		}
		kid, hasKid := members["kid"]
		_, hasCrit := members["crit"]
		_, hasB64 := members["b64"]
		typ := strings.ToLower(fields.Typ)
		switch {
		case members["alg"] != "HS256" || fields.Alg != "HS256":
			t.Fatalf("accepted with another alg: %q", header)
		case members["typ"] != fields.Typ || typ != "at+jwt" && typ != "application/at+jwt":
			t.Fatalf("accepted with another typ: %q", header)
		case hasKid && kid != k.ID():
			t.Fatalf("accepted with another kid: %q", header)
		case hasCrit || hasB64:
			t.Fatalf("accepted with crit or b64: %q", header)
		}
	})
}

// FuzzFastAndSlow compares a verifier that remembers headers and tokens with a new one. Both
// return the same token or the same error, for any text, keys and time. The first verifier
// gets each text three times, so that the second and third answer come from its caches.
func FuzzFastAndSlow(f *testing.F) {
	keys := fuzzKeys(f)[:2]
	w := fuzzWorld(f, keys, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
		i.OnEvent, o.CacheSize, o.MaxAge = nil, 64, 500*time.Second
	})
	start := w.Clock.Now()
	good, other := fixture.Text(f, fixture.Header(keys[0], nil)), fixture.Text(f, fixture.Header(keys[1], nil))
	noKid := fixture.Text(f, fixture.Header(keys[0], map[string]any{"kid": nil}))
	claims := fixture.Text(f, w.Claims(map[string]any{"sid": "s", "scope": "a b", "x": []string{"y"}}))
	minted := fixture.SignWith(f, keys[0], good, claims)
	sibling := fixture.FuzzHMACKey(f, jwk.HS256, "sibling")
	rings := [][]*jwk.SigningKey{{keys[0]}, {keys[0], keys[1]}, {keys[1]}, {keys[1], keys[0]}, {keys[1], keys[0].WithID("renamed")}, {keys[0], sibling}}
	for _, at := range []int16{0, -31, 400, 530, 531, 629, 630} {
		f.Add(good, claims, "", at, byte(0))
		f.Add(noKid, claims, "", at, byte(1))
		f.Add(other, fixture.Text(f, w.Claims(map[string]any{"iat": nil, "nbf": start.Unix() + 20})), "", at, byte(2))
	}
	for ring := range len(rings) {
		f.Add(good, claims, minted, int16(0), byte(ring))
		f.Add(noKid, claims, fixture.SignWith(f, keys[0], noKid, claims), int16(0), byte(ring))
	}
	for _, respelled := range respelled(minted) {
		f.Add(good, claims, respelled, int16(0), byte(0))
	}
	for _, h := range attackHeaders {
		f.Add(h, claims, "", int16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, header, claims, raw string, at int16, change byte) {
		token := raw
		if token == "" {
			var err error
			if token, err = fixture.SignRaw(keys[int(change)%2], header, claims); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(v *jwtauth.Verifier) (string, error) {
			got, err := v.Verify(context.Background(), token)
			if err != nil {
				return "", err
			}
			all, err := jwtauth.ClaimsAs[map[string]any](got)
			if err != nil {
				t.Fatalf("%q: %v", token, err)
			}
			return fmt.Sprint(all, got.ID, got.Issuer, got.Subject, got.SessionID, got.ClientID, got.ACR, got.Audiences(), got.Scopes(), got.AMR(),
				got.IssuedAt, got.NotBefore, got.ExpiresAt, got.AuthTime), nil
		}
		// The state of the World changes, and changes back.
		for state := range 3 {
			ring, seconds := rings[0], time.Duration(0)
			if state == 1 {
				ring, seconds = rings[int(change)%len(rings)], time.Duration(at)*time.Second
			}
			var accepted []*jwk.VerificationKey
			for _, k := range ring[1:] {
				accepted = append(accepted, k.Verification())
			}
			if err := w.Keys.Replace(ring[0], accepted...); err != nil {
				t.Fatal(err)
			}
			w.Clock.Advance(start.Add(seconds).Sub(w.Clock.Now()))
			slow, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{MaxAge: 500 * time.Second, CacheSize: -1})
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := ask(slow)
			for range 3 {
				got, err := ask(w.Verifier)
				if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
					t.Fatalf("%q at %v with %d keys:\nslow %s %v\nfast %s %v", token, seconds, len(ring), want, wantErr, got, err)
				}
			}
		}
	})
}

// stringOrList decodes the aud claim with encoding/json.
type stringOrList []string

func (l *stringOrList) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = stringOrList{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// readClaims has the claims that decide, as encoding/json reads them.
type readClaims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audiences stringOrList `json:"aud"`
	ExpiresAt float64      `json:"exp"`
	ID        string       `json:"jti"`
}

// FuzzClaims signs any payload. If the token is accepted, encoding/json and ClaimsAs find in
// the payload the same issuer, subject, audiences and end.
func FuzzClaims(f *testing.F) {
	k := fixture.FuzzHMACKey(f, jwk.HS256, "mac")
	w := fuzzWorld(f, []*jwk.SigningKey{k})
	now := w.Clock.Now()
	good := fixture.Text(f, w.Claims(nil))
	begin := good[:len(good)-1]
	for _, payload := range []string{
		good, " " + good + "\n", good + good, good + "x", `{}`, `[]`, `null`, `"x"`, ``,
		begin + `,"exp":1}`, begin + `,"EXP":1}`, begin + `,"\u0065xp":1}`, begin + `,"ſub":"bob"}`, begin + `,"cnf":{}}`, begin + `,}`,
		begin + `,"scope":"a b","amr":["pwd"],"acr":"1","sid":"s","client_id":"c","nbf":1}`, begin + `,"scope":5}`,
		begin + `,"x":{"a":1,"A":2}}`, begin + `,"x":[[[[{}]]]],"n":9007199254740993,"e":1e400}`,
		strings.Replace(good, `"alice"`, `"\u0061lice"`, 1), strings.Replace(good, `"alice"`, `"\ud834"`, 1), strings.Replace(good, `"alice"`, "\"\xff\"", 1),
		strings.Replace(good, `"alice"`, `7`, 1), strings.Replace(good, `"alice"`, `""`, 1),
		fixture.Text(f, w.Claims(map[string]any{"exp": now.Unix() + 600, "aud": []string{"a", fixture.Audience}})),
		fixture.Text(f, w.Claims(map[string]any{"aud": []any{fixture.Audience, 1}})), fixture.Text(f, w.Claims(map[string]any{"aud": []string{}})),
		fixture.Text(f, w.Claims(map[string]any{"exp": float64(now.Unix()) + 600.5})), fixture.Text(f, w.Claims(map[string]any{"exp": "1793535000"})),
		fixture.Text(f, w.Claims(map[string]any{"exp": -1})), fixture.Text(f, w.Claims(map[string]any{"iss": []string{fixture.Issuer}})),
	} {
		f.Add(payload)
	}
	head := fixture.Text(f, fixture.Header(k, nil))
	f.Fuzz(func(t *testing.T, payload string) {
		token, err := fixture.SignRaw(k, head, payload)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Verifier.Verify(context.Background(), token)
		if err != nil {
			if !errors.Is(err, jwtauth.ErrRefused) {
				t.Fatalf("%q: no refusal: %v", payload, err)
			}
			return
		}
		var read readClaims
		if err := json.Unmarshal([]byte(payload), &read); err != nil {
			t.Fatalf("accepted, and encoding/json refuses it: %q: %v", payload, err)
		}
		ends := time.UnixMicro(int64(read.ExpiresAt * 1e6))
		switch {
		case read.Issuer != fixture.Issuer || got.Issuer != fixture.Issuer:
			t.Fatalf("another issuer: %q", payload)
		case read.Subject == "" || read.Subject != got.Subject:
			t.Fatalf("another subject: %q", payload)
		case !slices.Contains(read.Audiences, fixture.Audience) || !slices.Equal(read.Audiences, got.Audiences()):
			t.Fatalf("other audiences: %q", payload)
		case read.ID == "" || read.ID != got.ID:
			t.Fatalf("another id: %q", payload)
		case got.ExpiresAt.Sub(ends).Abs() > time.Millisecond || !now.Before(ends.Add(30*time.Second)):
			t.Fatalf("another end: %q", payload)
		}
		typed, err := jwtauth.ClaimsAs[readClaims](got)
		if err != nil || !reflect.DeepEqual(typed, read) {
			t.Fatalf("ClaimsAs reads %q as %v: %v", payload, typed, err)
		}
		all, err := jwtauth.ClaimsAs[map[string]any](got)
		if err != nil || all["iss"] != read.Issuer || all["sub"] != read.Subject || all["jti"] != read.ID {
			t.Fatalf("ClaimsAs reads %q as %v: %v", payload, all, err)
		}
		if _, bound := all["cnf"]; bound {
			t.Fatalf("accepted with cnf: %q", payload)
		}
	})
}

// FuzzExtract sends requests with any values of the two headers in which tokens are looked
// for. The handler runs only if the request has exactly one good token in one place. It
// never sees the subprotocol that held the token.
func FuzzExtract(f *testing.F) {
	const prefix = "jwt.bearer."
	k := fixture.FuzzHMACKey(f, jwk.HS256, "mac")
	w := fuzzWorld(f, []*jwk.SigningKey{k})
	good := w.Sign(w.Claims(nil))
	auth, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{
		Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol(prefix)},
	})
	require.NoError(f, err)
	for _, c := range [][2]string{
		{"", ""}, {"Bearer " + good, ""}, {"bearer " + good, ""}, {"", prefix + good}, {"", "chat, " + prefix + good}, {"Bearer " + good, prefix + good},
		{"", prefix + good + ", " + prefix + good}, {"", prefix}, {"", prefix + "x, " + prefix + good}, {"Bearer", ""}, {"Bearer ", ""}, {"Bearer  " + good, ""},
		{"Bearer\t" + good, ""}, {"Basic " + good, ""}, {"Bearer" + good, ""}, {"BearerX " + good, prefix + good}, {"Bearer " + good + " ", ""},
		{"Bearer " + good + ", Bearer " + good, ""}, {" Bearer " + good, ""}, {"DPoP " + good, "chat"}, {good, good}, {"Bearer " + good, "chat"},
		{"", "JWT.BEARER." + good}, {"", "x" + prefix + good}, {"", prefix + good + "\x00"}, {"Bearer " + good[1:], ""}, {"", ",,\t," + prefix + good + "\t,"},
	} {
		f.Add(c[0], c[1], false, byte(0))
		f.Add(c[0], c[1], true, byte(1))
	}
	f.Fuzz(func(t *testing.T, authorization, protocol string, optional bool, twice byte) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if authorization != "" || twice&1 != 0 {
			r.Header["Authorization"] = []string{authorization}
		}
		if twice&2 != 0 {
			r.Header["Authorization"] = append(r.Header["Authorization"], authorization)
		}
		if protocol != "" {
			r.Header["Sec-Websocket-Protocol"] = []string{protocol}
		}
		if twice&4 != 0 {
			r.Header["Sec-Websocket-Protocol"] = append(r.Header["Sec-Websocket-Protocol"], protocol)
		}
		sent := r.Header.Clone()

		// This test reads by hand which tokens the request has.
		inHeader, bearer := 0, len(sent["Authorization"]) > 1
		for _, v := range sent["Authorization"] {
			if len(v) >= 7 && strings.EqualFold(v[:7], "bearer ") && v[7:] == good {
				inHeader++
			}
			bearer = bearer || v == "" || strings.HasPrefix(strings.ToLower(v), "bearer")
		}
		inProtocol, protocols := 0, 0
		for _, v := range sent["Sec-Websocket-Protocol"] {
			for element := range strings.SplitSeq(v, ",") {
				if token, ok := strings.CutPrefix(strings.Trim(element, " \t"), prefix); ok {
					protocols++
					if token == good {
						inProtocol++
					}
				}
			}
		}
		wellOffered := inHeader == 1 && len(sent["Authorization"]) == 1 && protocols == 0 ||
			inProtocol == 1 && protocols == 1 && inHeader == 0 && len(sent["Authorization"]) <= 1

		ran := false
		handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ran = true
			token, ok := jwtauth.FromContext(r.Context())
			switch {
			case ok && (!wellOffered || token.Subject != "alice"):
				t.Fatalf("%q: the handler has the token %v", sent, token)
			case !ok && (!optional || bearer && !isOtherScheme(sent) || protocols > 0):
				t.Fatalf("%q: the handler ran without a token", sent)
			}
			for _, v := range r.Header["Sec-Websocket-Protocol"] {
				for element := range strings.SplitSeq(v, ",") {
					if strings.HasPrefix(strings.Trim(element, " \t"), prefix) {
						t.Fatalf("%q: the handler sees the token in %q", sent, v)
					}
				}
			}
		})
		guard := auth.Require
		if optional {
			guard = auth.Optional
		}
		answer := httptest.NewRecorder()
		guard(handler).ServeHTTP(answer, r)
		if !reflect.DeepEqual(r.Header, sent) {
			t.Fatalf("%q: the header of the request outside became %q", sent, r.Header)
		}
		if ran {
			return
		}
		challenge := answer.Header().Get("WWW-Authenticate")
		if answer.Code != http.StatusUnauthorized && answer.Code != http.StatusBadRequest || !strings.HasPrefix(challenge, "Bearer") {
			t.Fatalf("%q: %d, %q", sent, answer.Code, challenge)
		}
		if wellOffered && inProtocol == 0 {
			t.Fatalf("%q: a good token is refused: %d", sent, answer.Code)
		}
	})
}

// isOtherScheme reports whether the only Authorization header has a scheme whose name begins
// with Bearer and goes on.
func isOtherScheme(h http.Header) bool {
	values := h["Authorization"]
	if len(values) != 1 || len(values[0]) < 7 || !strings.EqualFold(values[0][:6], "bearer") {
		return false
	}
	return strings.ContainsRune("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", rune(values[0][6]))
}

// The bits of an input of FuzzTolerance. Each is an option that accepts more.
const (
	allowsNoSubject = 1 << iota
	takesIntegers
	hasAudienceClaim
	hasNoAudience
	hasRevocations
	toleranceBits
)

var integerSubject = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})$`)

// FuzzTolerance signs any payload and verifies it with options that accept more. If the token is
// accepted, a strict reading of the claims that decide agrees: iss, aud or what stands for it, exp,
// nbf, sub, cnf and, with revocations, jti and sid.
func FuzzTolerance(f *testing.F) {
	k := fixture.FuzzHMACKey(f, jwk.HS256, "mac")
	w := fuzzWorld(f, []*jwk.SigningKey{k})
	now := w.Clock.Now()
	verifiers := make([]*jwtauth.Verifier, toleranceBits)
	for bits := range verifiers {
		verifiers[bits] = w.Foreign(func(o *jwtauth.VerifierOptions) {
			o.AllowNoSubject, o.IntegerSubject = bits&allowsNoSubject != 0, bits&takesIntegers != 0
			switch {
			case bits&hasAudienceClaim != 0:
				o.AudienceClaim, o.AudienceClaimValues = "azp", []string{"app", "job"}
			case bits&hasNoAudience != 0:
				o.InsecureNoAudience = true
			}
			if bits&hasRevocations != 0 {
				o.Revocations = w.Store
			}
		})
	}
	good := fixture.Text(f, w.Claims(nil))
	for _, payload := range []string{good, `{}`, `[]`} {
		for bits := range verifiers {
			f.Add(payload, bits)
		}
	}
	for _, change := range []map[string]any{
		{"sub": nil}, {"sub": ""}, {"sub": json.RawMessage("null")}, {"sub": 7}, {"sub": json.RawMessage("-0")}, {"sub": json.RawMessage("7.0")},
		{"sub": json.RawMessage("12345678901234567890")}, {"sub": []string{"alice"}}, {"aud": nil}, {"aud": nil, "azp": "app"}, {"aud": nil, "azp": []string{"app"}},
		{"aud": "", "azp": "app"}, {"aud": []string{""}, "azp": "app"}, {"aud": []any{nil}}, {"aud": "https://other.test", "azp": "app"}, {"azp": "other"},
		{"cnf": json.RawMessage("null")}, {"cnf": map[string]any{}}, {"jti": 7}, {"sid": 7}, {"jti": nil}, {"nbf": json.RawMessage("null")},
		{"nbf": now.Unix() + 3600}, {"exp": now.Unix() - 60}, {"exp": nil}, {"iat": json.RawMessage("null")}, {"scope": json.RawMessage("null")},
		{"amr": 7, "acr": 1, "auth_time": "2026", "client_id": []any{}}, {"iss": "https://other.test"}, {"scope": 7},
	} {
		for bits := range verifiers {
			f.Add(fixture.Text(f, w.Claims(change)), bits)
		}
	}
	head := fixture.Text(f, fixture.Header(k, nil))
	f.Fuzz(func(t *testing.T, payload string, bits int) {
		bits &= toleranceBits - 1
		token, err := fixture.SignRaw(k, head, payload)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifiers[bits].Verify(context.Background(), token)
		if err != nil {
			if !errors.Is(err, jwtauth.ErrRefused) {
				t.Fatalf("%q: no refusal: %v", payload, err)
			}
			return
		}
		claims := make(map[string]any)
		d := json.NewDecoder(strings.NewReader(payload))
		d.UseNumber()
		if err := d.Decode(&claims); err != nil {
			t.Fatalf("accepted, and encoding/json refuses it: %q: %v", payload, err)
		}
		if why := strictly(claims, got, bits, now); why != "" {
			t.Fatalf("%s, options %b: %q", why, bits, payload)
		}
	})
}

// strictly returns why claims should not have been accepted with some options as got; "" if they should.
func strictly(claims map[string]any, got jwtauth.Token, bits int, now time.Time) string {
	if claims["iss"] != fixture.Issuer || got.Issuer != fixture.Issuer {
		return "another issuer"
	}
	switch audiences, ok := audienceList(claims["aud"]); {
	case !ok:
		return "aud is of another type"
	case bits&hasAudienceClaim != 0 && claims["azp"] != "app" && claims["azp"] != "job":
		return "another azp"
	case len(audiences) == 0 && bits&(hasAudienceClaim|hasNoAudience) == 0:
		return "no audience"
	case len(audiences) > 0 && !slices.Contains(audiences, fixture.Audience):
		return "another audience"
	}
	switch sub := claims["sub"].(type) {
	case nil:
		if bits&allowsNoSubject == 0 || got.Subject != "" {
			return "no subject"
		}
	case string:
		if sub == "" && bits&allowsNoSubject == 0 || sub != got.Subject {
			return "another subject"
		}
	case json.Number:
		if bits&takesIntegers == 0 || !integerSubject.MatchString(string(sub)) || sub == "-0" || string(sub) != got.Subject {
			return "another integer"
		}
	default:
		return "a subject of another type"
	}
	if end, ok := dateOf(claims["exp"]); !ok || !now.Before(end.Add(30*time.Second)) {
		return "expired, or without an end"
	}
	if begin, ok := dateOf(claims["nbf"]); claims["nbf"] != nil && (!ok || now.Before(begin.Add(-30*time.Second))) {
		return "not valid yet"
	}
	if claims["cnf"] != nil {
		return "bound to a sender"
	}
	if bits&hasRevocations != 0 {
		id, ok := claims["jti"].(string)
		if !ok || id == "" || id != got.ID {
			return "it cannot be revoked"
		}
		if sid, ok := claims["sid"].(string); claims["sid"] != nil && (!ok || sid != got.SessionID) {
			return "its session cannot be revoked"
		}
	}
	return ""
}

// audienceList returns aud as a list without empty strings alone; ok is false if it is neither a string nor an
// array of strings.
func audienceList(v any) (list []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		if v == "" {
			return nil, true
		}
		return []string{v}, true
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}

// dateOf returns a NumericDate (RFC 7519, section 2).
func dateOf(v any) (date time.Time, ok bool) {
	n, ok := v.(json.Number)
	if !ok {
		return date, false
	}
	seconds, err := n.Float64()
	return time.UnixMicro(int64(seconds * 1e6)), err == nil
}
