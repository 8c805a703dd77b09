package migrate_test

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

func TestWrongOptionsAreErrorsThatTeach(t *testing.T) {
	w := newOldWorld(t)
	day := func(year int, month time.Month, day int) migrate.Date {
		return migrate.Date{Year: year, Month: month, Day: day}
	}
	for want, change := range map[string]func(*migrate.Options){
		"Until is missing":                       func(o *migrate.Options) { o.Until = migrate.Date{} },
		"Until is 2026-02-30":                    func(o *migrate.Options) { o.Until = day(2026, time.February, 30) },
		"Until is 2026-00-01":                    func(o *migrate.Options) { o.Until = day(2026, 0, 1) },
		"so at most 2027-01-30":                  func(o *migrate.Options) { o.Until = day(2027, time.January, 31) },
		"Issuer is missing":                      func(o *migrate.Options) { o.Issuer = "" },
		"has a fragment":                         func(o *migrate.Options) { o.Issuer = "https://a.test#refresh" },
		"Audiences: one of":                      func(o *migrate.Options) { o.Audiences = []string{"a", "a"} },
		"is the audience of refresh tokens":      func(o *migrate.Options) { o.Audiences = []string{fixture.Issuer + "#refresh"} },
		`SubjectClaim is "EXP"`:                  func(o *migrate.Options) { o.SubjectClaim = "EXP" },
		`SubjectClaim is "Sub"`:                  func(o *migrate.Options) { o.SubjectClaim = "Sub" },
		"Options.Until is 0026-12-01":            func(o *migrate.Options) { o.Until.Year, o.Until.Day = 26, 1 },
		"Options.NoExpUntil is 0026-12-24":       func(o *migrate.Options) { o.NoExpUntil = o.Until; o.NoExpUntil.Year = 26 },
		`SubjectClaim is "exp"`:                  func(o *migrate.Options) { o.SubjectClaim = "exp" },
		"Options.SubjectClaim":                   func(o *migrate.Options) { o.SubjectClaim = "a\n" },
		"NoExpUntil is 2026-13-01":               func(o *migrate.Options) { o.NoExpUntil = day(2026, 13, 1) },
		"at most Until (2026-12-24) is expected": func(o *migrate.Options) { o.NoExpUntil = day(2026, time.December, 25) },
		"Revocations is missing":                 func(o *migrate.Options) { o.Revocations = nil },
		"contradict each other":                  func(o *migrate.Options) { o.InsecureNoRevocations = true },
	} {
		v, err := migrate.NewVerifier(w.keys, w.options(change))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "migrate: ")
		require.NotErrorIs(t, err, jwtauth.ErrRefused)
		require.Nil(t, v)
	}
	for _, good := range []func(*migrate.Options){
		func(o *migrate.Options) { o.Until = day(2027, time.January, 30) },
		func(o *migrate.Options) { o.Until = day(2026, time.November, 1) }, // the day has begun: a program that starts then must start
		func(o *migrate.Options) { o.NoExpUntil = o.Until },
		func(o *migrate.Options) { o.Revocations, o.InsecureNoRevocations = nil, true },
	} {
		w.verifier(w.keys, good)
	}
	for want, keys := range map[string]jwk.Set{
		"no keys":              nil,
		"signs new tokens":     w.Keys,
		"was not made by":      &jwk.StaticSet{},
		"a jwk.Ring signs new": (*jwk.Ring)(nil),
	} {
		_, err := migrate.NewVerifier(keys, w.options())
		require.ErrorContains(t, err, want)
	}
}

func TestOnlyWhatTheOldCodeSignsIsAnOldToken(t *testing.T) {
	w := newOldWorld(t)
	for _, c := range []struct {
		name   string
		header map[string]any
		claims jwt.MapClaims
		check  string
		reason error
	}{
		{"an access token", map[string]any{"typ": "at+jwt"}, nil, "typ", jwtauth.ErrTokenType},
		{"a refresh token", map[string]any{"typ": "rt+jwt"}, nil, "typ", jwtauth.ErrTokenType},
		{"with its media type", map[string]any{"typ": "application/at+jwt"}, nil, "typ", jwtauth.ErrTokenType},
		{"an empty typ", map[string]any{"typ": ""}, nil, "typ", jwtauth.ErrTokenType},
		{"typ 7", map[string]any{"typ": 7}, nil, "header", jwtauth.ErrTokenMalformed},
		{"crit", map[string]any{"crit": []string{"exp"}}, nil, "crit", jwtauth.ErrTokenMalformed},
		{"another algorithm", map[string]any{"alg": "HS512"}, nil, "key", jwtauth.ErrTokenKey},
		{"none", map[string]any{"alg": "none"}, nil, "key", jwtauth.ErrTokenKey},
		{"a kid", map[string]any{"kid": "x"}, nil, "key", jwtauth.ErrTokenKey},
		{"no exp", nil, jwt.MapClaims{"exp": nil}, "exp", jwtauth.ErrTokenClaim},
		{"exp 0", nil, jwt.MapClaims{"exp": 0}, "exp", jwtauth.ErrTokenExpired},
		{"exp as text", nil, jwt.MapClaims{"exp": "1893456000"}, "claims", jwtauth.ErrTokenMalformed},
		{"expired", nil, jwt.MapClaims{"exp": w.Clock.Now().Unix() - 31}, "exp", jwtauth.ErrTokenExpired},
		{"not valid yet", nil, jwt.MapClaims{"nbf": w.Clock.Now().Unix() + 31}, "nbf", jwtauth.ErrTokenNotYetValid},
		{"nbf as text", nil, jwt.MapClaims{"nbf": "x"}, "claims", jwtauth.ErrTokenMalformed},
		{"nbf in milliseconds", nil, jwt.MapClaims{"nbf": w.Clock.Now().UnixMilli()}, "claims", jwtauth.ErrTokenMalformed},
		{"exp in milliseconds", nil, jwt.MapClaims{"exp": w.Clock.Now().UnixMilli()}, "claims", jwtauth.ErrTokenMalformed},
		{"another issuer", nil, jwt.MapClaims{"iss": "https://other.test"}, "iss", jwtauth.ErrTokenIssuer},
		{"iss 7", nil, jwt.MapClaims{"iss": 7}, "claims", jwtauth.ErrTokenMalformed},
		{"an audience that nobody named", nil, jwt.MapClaims{"aud": fixture.Audience}, "aud", jwtauth.ErrTokenAudience},
		{"no subject", nil, jwt.MapClaims{"sub": nil, "user_id": 7}, "sub", jwtauth.ErrTokenClaim},
		{"an empty subject", nil, jwt.MapClaims{"sub": ""}, "sub", jwtauth.ErrTokenClaim},
		{"sub as list", nil, jwt.MapClaims{"sub": []string{"alice"}}, "claims", jwtauth.ErrTokenMalformed},
		{"sub with a fraction", nil, jwt.MapClaims{"sub": 1.5}, "claims", jwtauth.ErrTokenMalformed},
		{"bound to a sender", nil, jwt.MapClaims{"cnf": map[string]any{"jkt": "x"}}, "cnf", jwtauth.ErrTokenBound},
		{"another spelling", nil, jwt.MapClaims{"SUB": "admin"}, "claims", jwtauth.ErrTokenMalformed},
	} {
		token := signOld(t, jwt.SigningMethodHS256, w.secret, c.header, w.alice(c.claims))
		v := w.old
		requireRefused(t, v, token, c.check, c.reason)
		_, err := w.both.Verify(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrRefused, c.name)
	}
	for _, payload := range []string{`{"sub":"a","sub":"b","exp":1793600000}`, `{"sub":"a","exp":1793600000}{}`, `[]`} {
		key, err := jwk.NewHMAC(jwk.HS256, "", w.secret)
		require.NoError(t, err)
		requireRefused(t, w.old, fixture.SignWith(t, key, `{"alg":"HS256"}`, payload), "claims", jwtauth.ErrTokenMalformed)
	}
	good := w.sign(w.alice(nil))
	signed, signature := parts(good)
	other, _ := parts(w.sign(w.alice(jwt.MapClaims{"sub": "admin"})))
	requireAccepted(t, w.old, good)
	requireRefused(t, w.old, other+"."+signature, "signature", jwtauth.ErrTokenSignature)
	requireRefused(t, w.old, signed+".", "signature", jwtauth.ErrTokenSignature)
}

func TestTheAudienceOfAnOldTokenIsCheckedIfItHasOne(t *testing.T) {
	w := newOldWorld(t, func(o *migrate.Options) { o.Audiences = []string{"orders", "mails"} })
	for _, aud := range []any{nil, "orders", []string{"x", "mails"}, "", []string{}} {
		requireAccepted(t, w.old, w.sign(w.alice(jwt.MapClaims{"aud": aud})))
	}
	for _, aud := range []any{"other", []string{"x"}, []string{""}} {
		requireRefused(t, w.old, w.sign(w.alice(jwt.MapClaims{"aud": aud})), "aud", jwtauth.ErrTokenAudience)
	}
}

func TestMapMakesTheClaimsThatHandlersSee(t *testing.T) {
	type profile struct {
		Sub, Iss, Email string
		ID              json.Number `json:"id"`
		Exp             int64
	}
	calls := 0
	w := newOldWorld(t, func(o *migrate.Options) {
		o.SubjectClaim = "id"
		o.Map = func(claims map[string]any) (map[string]any, error) {
			calls++
			switch claims["role"] {
			case "banned":
				return nil, nil
			case "refused":
				return nil, fmt.Errorf("old: %w", jwtauth.ErrGrantRefused)
			case "unknown":
				return nil, errors.New("the database is down")
			case "strange":
				return map[string]any{"id": func() {}}, nil
			case "large":
				return map[string]any{"id": "a", "x": strings.Repeat("x", 1<<15)}, nil
			}
			return map[string]any{
				"id": claims["id"], "scope": "orders:" + fmt.Sprint(claims["role"]), "email": claims["Email"], "auth_time": claims["orig_iat"], "client_id": "old",
				"iss": "https://evil.test", "aud": "x", "exp": 1, "nbf": 1 << 40, "iat": 1 << 40, "cnf": "x", "sub": "admin", "sid": "s", "jti": "j",
			}, nil
		}
	})
	claims := func(role string) jwt.MapClaims {
		return jwt.MapClaims{"id": 9007199254740993, "Email": "a@b.test", "SCOPE": "x", "role": role, "orig_iat": w.Clock.Now().Unix() - 7200, "exp": w.Clock.Now().Unix() + 60}
	}
	token := w.sign(claims("write"))
	for range 3 {
		got := requireAccepted(t, w.both, token)
		require.Equal(t, "9007199254740993", got.Subject)
		require.True(t, got.HasScope("orders:write"))
		require.Equal(t, []string{"old", "", fixture.Issuer}, []string{got.ClientID, got.SessionID, got.Issuer})
		require.Equal(t, w.Clock.Now().Unix()-7200, got.AuthTime.Unix())
		require.Equal(t, w.Clock.Now().Unix()+60, got.ExpiresAt.Unix())
		require.True(t, got.IssuedAt.IsZero() && got.NotBefore.IsZero())
		require.Empty(t, got.Audiences())
		p, err := jwtauth.ClaimsAs[profile](got)
		require.NoError(t, err)
		require.Equal(t, profile{"9007199254740993", fixture.Issuer, "a@b.test", "9007199254740993", w.Clock.Now().Unix() + 60}, p)
	}
	require.Equal(t, 1, calls, "the result is cached with the token")
	for _, role := range []string{"banned", "refused"} {
		requireRefused(t, w.both, w.sign(claims(role)), "map", jwtauth.ErrTokenCheck)
	}
	for _, role := range []string{"unknown", "strange", "large"} {
		_, err := w.both.Verify(t.Context(), w.sign(claims(role)))
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, role)
		require.NotErrorIs(t, err, jwtauth.ErrRefused, role)
	}
	before := calls
	signed, _ := parts(token)
	requireRefused(t, w.both, signed+".AAAA", "signature", jwtauth.ErrTokenSignature)
	require.Equal(t, before, calls, "nothing of the payload is decoded before the signature holds")
}

func TestTokensWithoutExpNeedADateOfTheirOwn(t *testing.T) {
	cut := migrate.Date{Year: 2026, Month: time.November, Day: 10}
	w := newOldWorld(t, func(o *migrate.Options) { o.NoExpUntil = cut })
	endless, ending := w.sign(w.alice(jwt.MapClaims{"exp": nil})), w.sign(w.alice(jwt.MapClaims{"exp": w.Clock.Now().Add(300 * 24 * time.Hour).Unix()}))
	null := signOld(t, jwt.SigningMethodHS256, w.secret, nil, rawOf(json.RawMessage(`{"sub":"alice","exp":null}`)))
	got := requireAccepted(t, w.both, endless)
	requireAccepted(t, w.both, null)
	require.True(t, got.ExpiresAt.Equal(time.Date(2026, time.November, 10, 0, 0, 0, 0, time.UTC)))
	w.Clock.Set(got.ExpiresAt.Add(-time.Second))
	requireAccepted(t, w.both, endless)
	w.Clock.Set(got.ExpiresAt)
	requireRefused(t, w.both, endless, "until", jwtauth.ErrTokenExpired)
	require.ErrorIs(t, w.both.Recheck(t.Context(), got), jwtauth.ErrTokenExpired)
	requireAccepted(t, w.both, ending)
}

func TestIssAndTypSelectTheVerifierAndThatOneDecidesAlone(t *testing.T) {
	w := newOldWorld(t)
	oldToken, newToken := w.sign(w.alice(nil)), w.Login("alice").AccessToken
	requireAccepted(t, w.both, oldToken)
	requireAccepted(t, w.both, newToken)
	requireAccepted(t, w.both, w.sign(w.alice(jwt.MapClaims{"iss": fixture.Issuer})))
	requireAccepted(t, w.both, signOld(t, jwt.SigningMethodHS256, w.secret, map[string]any{"typ": nil}, w.alice(jwt.MapClaims{"iss": fixture.Issuer})))
	requireRefused(t, w.old, newToken, "typ", jwtauth.ErrTokenType)
	requireRefused(t, w.Verifier, oldToken, "typ", jwtauth.ErrTokenType)

	iss := jwt.MapClaims{"iss": fixture.Issuer, "aud": fixture.Audience, "jti": "1"}
	for _, c := range []struct {
		name, token, check string
		reason             error
	}{
		{"the new typ, signed by the old key", signOld(t, jwt.SigningMethodHS256, w.secret, map[string]any{"typ": "at+jwt"}, w.alice(iss)), "key", jwtauth.ErrTokenKey},
		{"the same with the new kid", signOld(t, jwt.SigningMethodHS256, w.secret, map[string]any{"typ": "at+jwt", "kid": w.Key.ID()}, w.alice(iss)), "key", jwtauth.ErrTokenKey},
		{"the old typ, signed by the new key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), w.Claims(nil)), "key", jwtauth.ErrTokenKey},
		{"no typ, signed by the new key", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": nil, "kid": nil}), w.Claims(nil)), "key", jwtauth.ErrTokenKey},
		{"no iss, signed by the new key", w.Sign(w.Claims(map[string]any{"iss": nil})), "typ", jwtauth.ErrTokenType},
		{"a refresh token", w.Login("alice").RefreshToken, "typ", jwtauth.ErrTokenType},
		{"typ of a wrong JSON type", fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": 7}), w.Claims(nil)), "header", jwtauth.ErrTokenMalformed},
		{"typ twice", fixture.SignWith(t, w.Key, `{"alg":"ES256","typ":"JWT","typ":"at+jwt"}`, w.Claims(nil)), "header", jwtauth.ErrTokenMalformed},
		{"an issuer that nobody knows", w.sign(w.alice(jwt.MapClaims{"iss": "https://other.test"})), "iss", jwtauth.ErrTokenIssuer},
		{"a header that is none", "x." + strings.Split(newToken, ".")[1] + ".x", "header", jwtauth.ErrTokenMalformed},
	} {
		t.Run(c.name, func(t *testing.T) { requireRefused(t, w.both, c.token, c.check, c.reason) })
	}

	// If the old name is another one, iss alone selects the verifier.
	other := w.verifier(w.keys, func(o *migrate.Options) { o.Issuer = "old" })
	apart, err := jwtauth.AnyOf(other, w.Verifier)
	require.NoError(t, err)
	require.Equal(t, "old", requireAccepted(t, apart, oldToken).Issuer)
	requireAccepted(t, apart, w.sign(w.alice(jwt.MapClaims{"iss": "old"})))
	requireAccepted(t, apart, newToken)
	requireRefused(t, apart, w.sign(w.alice(jwt.MapClaims{"iss": fixture.Issuer})), "typ", jwtauth.ErrTokenType)
	requireRefused(t, apart, signOld(t, jwt.SigningMethodHS256, w.secret, map[string]any{"typ": "at+jwt"}, w.alice(jwt.MapClaims{"iss": "old"})), "typ", jwtauth.ErrTokenType)
	alone, err := jwtauth.AnyOf(other)
	require.NoError(t, err)
	requireAccepted(t, alone, oldToken)
	require.NoError(t, apart.Ready(t.Context()))

	_, err = jwtauth.AnyOf(w.old, other)
	require.ErrorContains(t, err, "two Verifiers of package migrate")
	_, err = jwtauth.AnyOf(w.Verifier, w.Verifier)
	require.ErrorContains(t, err, "two Verifiers of the issuer")
}

func TestATokenOfOneVerifierIsGoodAtThatOneAlone(t *testing.T) {
	w := newOldWorld(t)
	oldToken, newToken := requireAccepted(t, w.both, w.sign(w.alice(nil))), requireAccepted(t, w.both, w.Login("alice").AccessToken)
	for _, token := range []jwtauth.Token{oldToken, newToken} {
		require.NoError(t, w.both.Recheck(t.Context(), token))
	}
	require.NoError(t, w.old.Recheck(t.Context(), oldToken))
	require.ErrorIs(t, w.Verifier.Recheck(t.Context(), oldToken), jwtauth.ErrNoToken)
	require.ErrorIs(t, w.old.Recheck(t.Context(), newToken), jwtauth.ErrNoToken)
	require.ErrorIs(t, w.verifier(w.keys).Recheck(t.Context(), oldToken), jwtauth.ErrNoToken)
	require.ErrorIs(t, w.Verifier.Revoke(t.Context(), oldToken), jwtauth.ErrNoToken)

	_, err := w.Issuer.Exchange(t.Context(), oldToken, jwtauth.ExchangeRequest{Audiences: []string{fixture.Audience}, Actor: "a"})
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
	_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: w.sign(w.alice(jwt.MapClaims{"iss": fixture.Issuer, "aud": fixture.Issuer + "#refresh"}))})
	require.ErrorIs(t, err, jwtauth.ErrTokenType, "never for refresh")
}

func TestKeysOfAnIssuerNeedATypThatTellsTheTokensApart(t *testing.T) {
	w := newOldWorld(t)
	shared, err := jwk.Static(fixture.KeyFor(t, jwk.EdDSA).Verification(), w.Key.Verification().WithID("old"))
	require.NoError(t, err)
	_, err = jwtauth.AnyOf(w.Verifier, w.verifier(shared))
	require.ErrorContains(t, err, `the key "old" of old tokens is also in a ring of the Issuer`)
	require.ErrorContains(t, err, "AllowIssuerKeys")

	// Equal secrets with two algorithms are one key, and so are the keys of refresh tokens.
	secret := []byte(rand.Text() + rand.Text() + rand.Text())
	hs256, err := jwk.NewHMAC(jwk.HS256, "", secret)
	require.NoError(t, err)
	hs512, err := jwk.NewHMAC(jwk.HS512, "", secret)
	require.NoError(t, err)
	refreshKeys, err := jwk.NewRing(hs512)
	require.NoError(t, err)
	x := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshKeys = refreshKeys })
	keys, err := jwk.Static(hs256.Verification())
	require.NoError(t, err)
	_, err = jwtauth.AnyOf(w.verifier(keys), x.Verifier)
	require.ErrorContains(t, err, "is also in a ring")
	insecure, err := migrate.InsecureSecret(jwk.HS256, "", secret)
	require.NoError(t, err)
	_, err = jwtauth.AnyOf(w.verifier(insecure), x.Verifier)
	require.ErrorContains(t, err, "is also in a ring")

	allowed := w.verifier(shared, func(o *migrate.Options) { o.AllowIssuerKeys = true })
	both, err := jwtauth.AnyOf(w.Verifier, allowed)
	require.NoError(t, err)
	header := func(typ any) map[string]any { return fixture.Header(w.Key, map[string]any{"typ": typ, "kid": nil}) }
	claims := w.alice(jwt.MapClaims{"iss": fixture.Issuer})
	requireAccepted(t, both, fixture.SignWith(t, w.Key, header("JWT"), claims))
	requireRefused(t, both, fixture.SignWith(t, w.Key, header(nil), claims), "typ", jwtauth.ErrTokenType)
	requireRefused(t, allowed, w.Login("alice").AccessToken, "typ", jwtauth.ErrTokenType)
	requireRefused(t, allowed, w.Login("alice").RefreshToken, "typ", jwtauth.ErrTokenType)
	requireRefused(t, both, w.Login("alice").RefreshToken, "typ", jwtauth.ErrTokenType)
	requireAccepted(t, both, w.Login("alice").AccessToken)
}

func TestALogoutRevokesAnOldTokenByWhatIsSigned(t *testing.T) {
	for name, logout := range map[string]func(w *world, token string) error{
		"Issuer.Logout": func(w *world, token string) error { return w.Issuer.Logout(t.Context(), token) },
		"Verifier.Revoke": func(w *world, token string) error {
			got, err := w.both.Verify(t.Context(), token)
			if err != nil {
				return err
			}
			got.ID, got.Subject, got.ExpiresAt = "x", "x", w.Clock.Now() // a handler can change its copy
			return w.both.Revoke(t.Context(), got)
		},
		"endpoints": func(w *world, token string) error { return logoutRoute(t, w, endpoints.Options{}, token) },
		"endpoints with cookies": func(w *world, token string) error {
			return logoutRoute(t, w, endpoints.Options{RefreshCookie: &endpoints.Cookie{}}, token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOldWorld(t)
			token, sibling := w.sign(w.alice(jwt.MapClaims{"jti": "1"})), w.sign(w.alice(jwt.MapClaims{"jti": "1", "n": 2}))
			fresh := w.Login("alice").AccessToken
			got := requireAccepted(t, w.both, token)
			requireAccepted(t, w.both, sibling)
			require.NoError(t, logout(w, token))
			for _, v := range []*jwtauth.Verifier{w.old, w.both, w.verifier(w.keys)} {
				requireRefused(t, v, token, "revocation", jwtauth.ErrTokenRevoked)
			}
			require.ErrorIs(t, w.both.Recheck(t.Context(), got), jwtauth.ErrTokenRevoked)
			requireAccepted(t, w.both, sibling)
			requireAccepted(t, w.both, fresh)
			require.NoError(t, w.Issuer.Logout(t.Context(), fresh))
			requireRefused(t, w.both, fresh, "revocation", jwtauth.ErrTokenRevoked)
			revoked := w.sent(event.TokenRevoked)
			require.Len(t, revoked, 1)
			if name != "Verifier.Revoke" {
				require.Equal(t, got.ID, revoked[0].TokenID)
			}
			w.Clock.Advance(time.Hour)
			requireRefused(t, w.both, token, "revocation", jwtauth.ErrTokenRevoked)
		})
	}
}

func logoutRoute(t *testing.T, w *world, o endpoints.Options, token string) error {
	o.Verifier = w.both
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "/auth/logout", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-CSRF", "1")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	if answer.Code != http.StatusNoContent {
		return fmt.Errorf("%d %s", answer.Code, answer.Body)
	}
	return nil
}

func TestALogoutTakesEveryOldTokenThatItsVerifierKnows(t *testing.T) {
	w := newOldWorld(t)
	expired := w.sign(w.alice(jwt.MapClaims{"exp": w.Clock.Now().Unix() - 60}))
	require.NoError(t, w.Issuer.Logout(t.Context(), expired), "there is nothing to revoke")
	require.Empty(t, w.sent(event.TokenRevoked))
	token := w.sign(w.alice(nil))
	require.NoError(t, w.Issuer.Logout(t.Context(), token))
	require.NoError(t, w.Issuer.Logout(t.Context(), token), "again")
	for _, bad := range []string{token[:len(token)-5] + "AAAAA", "x.y.z", w.sign(w.alice(jwt.MapClaims{"iss": "https://other.test"}))} {
		require.ErrorIs(t, w.Issuer.Logout(t.Context(), bad), jwtauth.ErrRefused)
	}
	require.ErrorIs(t, fixture.New(t).Issuer.Logout(t.Context(), token), jwtauth.ErrTokenType, "another issuer knows no old tokens")

	// Without Revocations, a logout is no silent success.
	w.old = w.verifier(w.keys, func(o *migrate.Options) { o.Revocations, o.InsecureNoRevocations = nil, true })
	_, err := jwtauth.AnyOf(w.old, w.Verifier)
	require.NoError(t, err)
	require.ErrorContains(t, w.Issuer.Logout(t.Context(), token), "no Revocations")
	require.ErrorContains(t, w.old.Revoke(t.Context(), requireAccepted(t, w.old, token)), "no Revocations")
}

func TestTheTwinOfAnECDSASignatureIsRevokedToo(t *testing.T) {
	w := newOldWorld(t)
	key := fixture.NewKey(t, jwk.ES256)
	keys, err := jwk.Static(key.Verification())
	require.NoError(t, err)
	v := w.verifier(keys)
	token := signOld(t, jwt.SigningMethodES256, privateOf(t, key), nil, w.alice(nil))
	signed, text := parts(token)
	signature, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(signature[32:]))
	twin := signed + "." + base64.RawURLEncoding.EncodeToString(slices.Concat(signature[:32], s.FillBytes(make([]byte, 32))))
	require.Equal(t, requireAccepted(t, v, token).ID, requireAccepted(t, v, twin).ID)
	require.NoError(t, v.Revoke(t.Context(), requireAccepted(t, v, twin)))
	requireRefused(t, v, token, "revocation", jwtauth.ErrTokenRevoked)
	requireRefused(t, v, twin, "revocation", jwtauth.ErrTokenRevoked)
}

func TestARevokedTokenDoesNotComeBackWithALaterDate(t *testing.T) {
	noExp := func(o *migrate.Options) { o.NoExpUntil = o.Until }
	w := newOldWorld(t, noExp)
	year := w.Clock.Now().Add(365 * 24 * time.Hour).Unix()
	tokens := []string{w.sign(w.alice(jwt.MapClaims{"exp": year})), w.sign(w.alice(jwt.MapClaims{"exp": nil}))}
	for _, token := range tokens {
		require.NoError(t, w.Issuer.Logout(t.Context(), token))
	}
	w.Clock.Set(time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)) // the old entries of the store are swept
	for range 100 {
		require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.TokenID("x", fmt.Sprint(time.Now())), w.Clock.Now().Add(time.Hour)))
	}
	later := w.verifier(w.keys, func(o *migrate.Options) { o.Until = migrate.Date{Year: 2027, Month: time.May, Day: 1} }, noExp)
	for _, token := range tokens {
		requireRefused(t, later, token, "revocation", jwtauth.ErrTokenRevoked)
	}
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	world, store := fixture.NewHooked(t)
	w := newOldWorld(t)
	w.World = world
	v, err := migrate.NewVerifier(w.keys, migrate.Options{Until: until, Issuer: fixture.Issuer, Revocations: store, Now: w.Clock.Now})
	require.NoError(t, err)
	token := w.sign(w.alice(nil))
	got := requireAccepted(t, v, token)
	store.Before = fixture.Failing
	for _, err := range []error{second(v.Verify(t.Context(), token)), v.Recheck(t.Context(), got), v.Revoke(t.Context(), got), v.Ready(t.Context())} {
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.NotErrorIs(t, err, jwtauth.ErrRefused)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEventsTellOfTheEnd(t *testing.T) {
	w := newOldWorld(t)
	token := w.sign(w.alice(jwt.MapClaims{"exp": w.Clock.Now().Add(300 * 24 * time.Hour).Unix()}))
	days := func() (reasons []string) {
		for _, e := range w.sent(event.OldTokenAccepted) {
			require.Equal(t, "alice", e.Subject)
			require.Len(t, e.TokenID, 43)
			require.True(t, e.Until.Equal(time.Date(2026, time.December, 24, 0, 0, 0, 0, time.UTC)))
			reasons = append(reasons, e.Reason)
		}
		return reasons
	}
	for range 3 {
		requireAccepted(t, w.both, token)
	}
	require.Equal(t, []string{""}, days(), "once a day")
	w.Clock.Advance(24 * time.Hour)
	requireAccepted(t, w.both, token)
	requireAccepted(t, w.both, token)
	require.Equal(t, []string{"", ""}, days())
	requireAccepted(t, w.both, w.Login("alice").AccessToken)
	_, _ = w.both.Verify(t.Context(), token+"x")
	require.Len(t, days(), 2)
	w.Clock.Set(time.Date(2026, time.December, 17, 0, 0, 0, 0, time.UTC))
	requireAccepted(t, w.both, token)
	require.Equal(t, []string{"", "", "last_week"}, days())
	w.Clock.Set(time.Date(2026, time.December, 24, 0, 0, 0, 0, time.UTC))
	_, err := w.both.Verify(t.Context(), token)
	e, _ := errors.AsType[*jwtauth.Error](err)
	require.Equal(t, "login", e.Next)
	last := w.Sent()[len(w.Sent())-1]
	require.Equal(t, []any{event.TokenRefused, "until", "alice"}, []any{last.Kind, last.Reason, last.Subject})
}

func TestADayHasALimitOfAnnouncements(t *testing.T) {
	if testing.Short() {
		t.Skip("signs 65,000 tokens")
	}
	sent := 0
	w := newOldWorld(t, func(o *migrate.Options) {
		o.OnEvent = func(_ context.Context, e event.Event) {
			if e.Kind == event.OldTokenAccepted {
				sent++
			}
		}
	})
	for n := range 1<<16 + 10 {
		requireAccepted(t, w.old, w.sign(w.alice(jwt.MapClaims{"n": n})))
	}
	require.Equal(t, 1<<16, sent)
	w.Clock.Advance(24 * time.Hour)
	requireAccepted(t, w.old, w.sign(w.alice(jwt.MapClaims{"n": -1})))
	require.Equal(t, 1<<16+1, sent)
}

func TestAnInsecureSecretIsForOldTokensAlone(t *testing.T) {
	for want, c := range map[string]struct {
		alg    jwk.Algorithm
		kid    string
		secret string
	}{
		"one of HS256":            {jwk.RS256, "", "secret"},
		"the secret is empty":     {jwk.HS256, "", ""},
		"this secret is a public": {jwk.HS256, "", publicPEM(t)},
		"1024 bytes":              {jwk.HS256, strings.Repeat("x", 1025), "secret"},
		`the algorithm is "none"`: {"none", "", "secret"},
	} {
		keys, err := migrate.InsecureSecret(c.alg, c.kid, []byte(c.secret))
		require.ErrorContains(t, err, want)
		require.Nil(t, keys)
	}
	w := newOldWorld(t)
	secret := []byte("my-secret-key")
	_, err := jwk.NewHMAC(jwk.HS256, "", secret)
	require.Error(t, err)
	keys, err := migrate.InsecureSecret(jwk.HS256, "", secret)
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		require.Equal(t, "InsecureSecret()", fmt.Sprintf(format, keys), "a digest helps to guess the secret")
	}
	token := signOld(t, jwt.SigningMethodHS256, secret, nil, w.alice(nil))
	requireAccepted(t, w.verifier(keys), token)
	secret[0] = 'x'
	requireAccepted(t, w.verifier(keys), token)
	named, err := migrate.InsecureSecret(jwk.HS256, "2019", []byte("my-secret-key"))
	require.NoError(t, err)
	requireAccepted(t, w.verifier(named), signOld(t, jwt.SigningMethodHS256, []byte("my-secret-key"), map[string]any{"kid": "2019"}, w.alice(nil)))

	_, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, AcceptTypJWT: true})
	require.ErrorContains(t, err, "only for migrate.NewVerifier")
	_, err = parse(keys, token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	_, isRing := keys.(interface{ IssuerSeam() (any, error) })
	require.False(t, isRing)
	for _, e := range w.Sent() {
		require.NotContains(t, fmt.Sprintf("%+v", e), "my-secret")
	}
}

func publicPEM(t *testing.T) string {
	pem, err := fixture.KeyFor(t, jwk.RS256).Verification().PEM()
	require.NoError(t, err)
	return string(pem)
}

// recorder is a RevocationStore that keeps the ends of its entries.
type recorder struct {
	jwtauth.RevocationStore
	ends []time.Time
}

func (r *recorder) Revoke(ctx context.Context, id string, until time.Time) error {
	r.ends = append(r.ends, until)
	return r.RevocationStore.Revoke(ctx, id, until)
}

func TestRevocationsEndAtTheirDates(t *testing.T) {
	w := newOldWorld(t)
	now := w.Clock.Now()
	secret := []byte("secret")
	insecure, err := migrate.InsecureSecret(jwk.HS256, "", secret)
	require.NoError(t, err)
	for _, c := range []struct {
		keys jwk.Set
		exp  any
		want time.Time
	}{
		{w.keys, now.Add(time.Hour).Unix(), now.Add(time.Hour)},
		{w.keys, now.Add(300 * 24 * time.Hour).Unix(), now.Add(300 * 24 * time.Hour)},
		{w.keys, now.Add(200 * 365 * 24 * time.Hour).Unix(), now.Add(365 * 24 * time.Hour)},
		{w.keys, nil, now.Add(365 * 24 * time.Hour)},
		{insecure, now.Add(time.Hour).Unix(), now.Add(time.Hour)},
		{insecure, now.Add(300 * 24 * time.Hour).Unix(), now.Add(90 * 24 * time.Hour)}, // the latest Until of another process
		{insecure, nil, now.Add(90 * 24 * time.Hour)},
	} {
		store := &recorder{RevocationStore: w.Store}
		v := w.verifier(c.keys, func(o *migrate.Options) { o.Revocations, o.NoExpUntil = store, o.Until })
		token := w.sign(w.alice(jwt.MapClaims{"exp": c.exp, "n": 1}))
		if c.keys == insecure {
			token = signOld(t, jwt.SigningMethodHS256, secret, nil, w.alice(jwt.MapClaims{"exp": c.exp}))
		}
		require.NoError(t, v.Revoke(t.Context(), requireAccepted(t, v, token)))
		require.Len(t, store.ends, 1)
		require.True(t, store.ends[0].Equal(c.want.Add(6*time.Minute)), "%v, want %v", store.ends[0], c.want)
	}
}

func TestNoSpellingMakesAnyOfAndItsVerifiersReadATokenDifferently(t *testing.T) {
	w := newOldWorld(t)
	shared, err := jwk.Static(w.Key.Verification())
	require.NoError(t, err)
	allowed := w.verifier(shared, func(o *migrate.Options) { o.AllowIssuerKeys, o.Audiences = true, []string{fixture.Audience} })
	both, err := jwtauth.AnyOf(w.Verifier, allowed)
	require.NoError(t, err)
	kid := `"kid":"` + w.Key.ID() + `"`
	good := fixture.Text(t, w.Claims(nil))
	for _, c := range []struct{ header, claims string }{
		{`{"alg":"ES256","TYP":"JWT",` + kid + `}`, good},
		{`{"alg":"ES256","typ":"JWT","TYP":"at+jwt",` + kid + `}`, good},
		{`{"alg":"ES256","typ":"at+jwt","Typ":"JWT",` + kid + `}`, good},
		{`{"alg":"ES256","typ":"JWT","t\u0079p":"at+jwt",` + kid + `}`, good},
		{`{"alg":"ES256","typ":null,` + kid + `}`, good},
		{`{"alg":"ES256","typ":"JWT ",` + kid + `}`, good},
		{`{"alg":"ES256","typ":"at+JWT, JWT",` + kid + `}`, good},
		{`{"alg":"ES256","typ":"at+jwt",` + kid + `}`, strings.Replace(good, `"iss"`, `"iss":null,"\u0069ss"`, 1)},
		{`{"alg":"ES256","typ":"JWT",` + kid + `}`, strings.Replace(good, `"iss"`, `"Iss":"","iss"`, 1)},
		{`{"alg":"ES256","typ":"at+jwt",` + kid + `}`, strings.Replace(good, `"iss":"`+fixture.Issuer+`"`, `"iss":""`, 1)},
	} {
		token := fixture.SignWith(t, w.Key, c.header, c.claims)
		for _, v := range []*jwtauth.Verifier{both, allowed, w.Verifier} {
			_, err := v.Verify(t.Context(), token)
			require.ErrorIs(t, err, jwtauth.ErrRefused, "%s %s", c.header, c.claims)
		}
	}
	// Escapes are no other spelling: both read the same.
	escaped := fixture.SignWith(t, w.Key, `{"alg":"ES256","t\u0079p":"\u004aWT",`+kid+`}`, strings.Replace(good, `"iss"`, `"\u0069ss"`, 1))
	require.Len(t, requireAccepted(t, both, escaped).ID, 43)
	_, err = w.Verifier.Verify(t.Context(), escaped)
	require.ErrorIs(t, err, jwtauth.ErrTokenType)
}

func TestACopyWithOtherFieldsOpensNothing(t *testing.T) {
	w := newOldWorld(t)
	token := requireAccepted(t, w.both, w.sign(w.alice(nil)))
	for name, change := range map[string]func(*jwtauth.Token){
		"the issuer of another verifier": func(t *jwtauth.Token) { t.Issuer = "https://other.test" },
		"an end after the date": func(t *jwtauth.Token) {
			t.ExpiresAt = t.ExpiresAt.Add(1 << 60)
			w.Clock.Set(time.Date(2026, time.December, 24, 0, 0, 0, 0, time.UTC))
		},
	} {
		copied := token
		change(&copied)
		require.ErrorIs(t, w.both.Recheck(t.Context(), copied), jwtauth.ErrRefused, name)
		_, err := fixture.TradeIn(t.Context(), w.Issuer, copied, jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrRefused, name)
	}
	w = newOldWorld(t)
	token = requireAccepted(t, w.both, w.sign(w.alice(nil)))
	copied := token
	copied.ID, copied.SessionID = "x", w.Login("bob").SessionID
	require.NoError(t, w.both.Revoke(t.Context(), copied))
	require.ErrorIs(t, w.both.Recheck(t.Context(), token), jwtauth.ErrTokenRevoked)
	require.ErrorIs(t, w.both.Recheck(t.Context(), copied), jwtauth.ErrTokenRevoked)
}

func TestAKeySourceIsAskedOnlyForAnOldTokenThatCouldBeGood(t *testing.T) {
	w := newOldWorld(t, func(o *migrate.Options) { o.NoExpUntil = o.Until })
	seam, err := w.keys.VerifierSeam()
	require.NoError(t, err)
	full, err := seam.Current(t.Context(), time.Now())
	require.NoError(t, err)
	empty, err := keyset.NewTable(nil, nil)
	require.NoError(t, err)
	header := map[string]any{"kid": full.All()[0].ID}
	set := &growing{empty: empty, full: full, facts: keyset.Facts{AsksForKid: true, TriesKeys: true}}
	v := w.verifier(set, func(o *migrate.Options) { o.NoExpUntil = o.Until })
	for n, claims := range []jwt.MapClaims{nil, {"exp": nil}, {"iss": fixture.Issuer}} {
		for _, token := range []string{signOld(t, jwt.SigningMethodHS256, w.secret, header, w.alice(claims)), signOld(t, jwt.SigningMethodHS256, w.secret, header, rawOf(json.RawMessage(`{"sub":"a","iss":null,"exp":null,"n":`+fmt.Sprint(n)+`}`)))} {
			before := set.asked
			got, err := v.Verify(t.Context(), token)
			require.Equal(t, before+1, set.asked)
			require.NoError(t, err)
			require.Equal(t, fixture.Issuer, got.Issuer)
		}
	}
	before := set.asked
	for _, claims := range []jwt.MapClaims{{"iss": "https://other.test"}, {"exp": w.Clock.Now().Unix() - 60}, {"nbf": w.Clock.Now().Unix() + 60}} {
		_, err := v.Verify(t.Context(), signOld(t, jwt.SigningMethodHS256, w.secret, header, w.alice(claims)))
		require.ErrorIs(t, err, jwtauth.ErrRefused)
	}
	w.Clock.Set(time.Date(2026, time.December, 24, 0, 0, 0, 0, time.UTC))
	_, err = v.Verify(t.Context(), signOld(t, jwt.SigningMethodHS256, w.secret, header, w.alice(nil)))
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)
	require.Equal(t, before, set.asked, "after the date, no old token is good")
}

func TestARevokedTokenStaysRevokedForAsLongAsTheOldCodeExchangesIt(t *testing.T) {
	w := newOldWorld(t, func(o *migrate.Options) { o.RefreshableFor = 24 * time.Hour })
	text, other := w.sign(w.alice(nil)), w.sign(w.alice(jwt.MapClaims{"n": 1}))
	expiry := requireAccepted(t, w.both, text).ExpiresAt
	w.Clock.Set(expiry.Add(time.Hour)) // the token has expired when the user logs out
	require.NoError(t, w.Issuer.Logout(t.Context(), text))
	for _, at := range []time.Duration{time.Hour, 24*time.Hour - time.Second} {
		w.Clock.Set(expiry.Add(at))
		requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
		requireRefused(t, w.both, other, "exp", jwtauth.ErrTokenExpired)
	}
	w.Clock.Set(expiry.Add(24 * time.Hour))
	requireRefused(t, w.both, text, "exp", jwtauth.ErrTokenExpired)
	for _, wrong := range []time.Duration{-1, 366 * 24 * time.Hour} {
		_, err := migrate.NewVerifier(w.keys, w.options(func(o *migrate.Options) { o.RefreshableFor = wrong }))
		require.ErrorContains(t, err, "RefreshableFor")
	}

	down, store := newHookedWorld(t)
	down.old = down.verifier(down.keys, func(o *migrate.Options) { o.RefreshableFor, o.Revocations = 24*time.Hour, store })
	expired := down.sign(down.alice(jwt.MapClaims{"exp": down.Clock.Now().Add(-time.Hour).Unix()}))
	store.Before = func(context.Context, string) error { return fixture.ErrStoreDown }
	_, err := down.old.Verify(t.Context(), expired)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}
