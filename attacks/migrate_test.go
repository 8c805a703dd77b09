package attacks_test

import (
	"crypto/elliptic"
	"encoding/base64"
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
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// move is a service that moves over. Its old code has signed with oldKey.
type move struct {
	*fixture.World
	oldKey  *jwk.SigningKey
	options migrate.Options
	old     *jwtauth.Verifier
	both    *jwtauth.Verifier // AnyOf old and the verifier of the issuer
}

// moveEnd is the end of the date of a move.
var moveEnd = time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)

func newMove(t *testing.T, change ...func(*migrate.Options)) *move {
	t.Helper()
	m := &move{World: fixture.New(t), oldKey: fixture.NewKey(t, jwk.ES256)}
	m.options = migrate.Options{Until: migrate.Date{Year: 2026, Month: time.December, Day: 1}, Issuer: fixture.Issuer, Revocations: m.Store, Now: m.Clock.Now, OnEvent: m.Record}
	for _, c := range change {
		c(&m.options)
	}
	m.old = m.verifier(m.oldKey.Verification())
	var err error
	m.both, err = jwtauth.AnyOf(m.Verifier, m.old)
	require.NoError(t, err)
	return m
}

func (m *move) verifier(keys ...*jwk.VerificationKey) *jwtauth.Verifier {
	m.T.Helper()
	set, err := jwk.Static(keys...)
	require.NoError(m.T, err)
	v, err := migrate.NewVerifier(set, m.options)
	require.NoError(m.T, err)
	return v
}

// signOld signs an old token. A nil value in changes removes a claim.
func (m *move) signOld(changes map[string]any) string {
	m.T.Helper()
	claims := m.Claims(map[string]any{"iss": nil, "aud": nil, "jti": nil, "auth_time": nil, "exp": m.Clock.Now().Unix() + 1<<24})
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return fixture.SignWith(m.T, m.oldKey, map[string]any{"alg": "ES256", "typ": "JWT"}, claims)
}

func (m *move) accept(v *jwtauth.Verifier, token string) jwtauth.Token {
	m.T.Helper()
	got, err := v.Verify(m.T.Context(), token)
	require.NoError(m.T, err)
	return got
}

func (m *move) refuse(v *jwtauth.Verifier, token string, reason error) {
	m.T.Helper()
	got, err := v.Verify(m.T.Context(), token)
	require.ErrorIs(m.T, err, reason)
	require.ErrorIs(m.T, err, jwtauth.ErrRefused)
	require.Zero(m.T, got)
}

var migrateAttacks = []attack{
	{"M01", "old token after the date", func(t *testing.T) {
		m := newMove(t)
		token := m.signOld(nil)
		got := m.accept(m.both, token)
		m.Clock.Set(moveEnd.Add(-1))
		m.accept(m.both, token) // from the cache
		m.Clock.Set(moveEnd)
		m.refuse(m.both, token, jwtauth.ErrTokenExpired)
		m.refuse(m.verifier(m.oldKey.Verification()), token, jwtauth.ErrTokenExpired)
		require.ErrorIs(t, m.both.Recheck(t.Context(), got), jwtauth.ErrTokenExpired)
		_, err := fixture.TradeIn(t.Context(), m.Issuer, got, jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
		m.options.Until = migrate.Date{Year: 2027, Month: time.December, Day: 1}
		_, err = migrate.NewVerifier(m.Keys, m.options)
		require.Error(t, err)
	}},
	{"M02", "new access token as an old token", func(t *testing.T) {
		m := newMove(t, func(o *migrate.Options) { o.AllowIssuerKeys, o.Audiences = true, []string{fixture.Audience} })
		v := m.verifier(m.Key.Verification())
		m.refuse(v, m.Login("alice").AccessToken, jwtauth.ErrTokenType)
		m.refuse(v, fixture.SignWith(t, m.Key, fixture.Header(m.Key, map[string]any{"typ": nil}), m.Claims(nil)), jwtauth.ErrTokenType)
		m.accept(v, fixture.SignWith(t, m.Key, fixture.Header(m.Key, map[string]any{"typ": "JWT"}), m.Claims(nil)))
	}},
	{"M03", "refresh token as an old token", func(t *testing.T) {
		m := newMove(t, func(o *migrate.Options) { o.AllowIssuerKeys = true })
		refresh := m.Login("alice").RefreshToken
		m.refuse(m.verifier(m.Key.Verification()), refresh, jwtauth.ErrTokenType)
		m.refuse(m.both, refresh, jwtauth.ErrTokenType)
	}},
	{"M04", "old token as a new one", func(t *testing.T) {
		m := newMove(t)
		full := map[string]any{"iss": fixture.Issuer, "aud": fixture.Audience, "jti": "1"}
		m.refuse(m.Verifier, m.signOld(full), jwtauth.ErrTokenType)
		for _, kid := range []any{nil, m.Key.ID(), m.oldKey.ID()} {
			header := fixture.Header(m.oldKey, map[string]any{"kid": kid})
			for _, v := range []*jwtauth.Verifier{m.Verifier, m.both} {
				_, err := v.Verify(t.Context(), fixture.SignWith(t, m.oldKey, header, m.Claims(nil)))
				require.ErrorIs(t, err, jwtauth.ErrRefused)
			}
		}
	}},
	{"M05", "old token as a refresh token", func(t *testing.T) {
		m := newMove(t)
		for _, typ := range []any{"JWT", "rt+jwt", nil} {
			token := fixture.SignWith(t, m.oldKey, fixture.Header(m.oldKey, map[string]any{"typ": typ}), m.Claims(map[string]any{"aud": fixture.Issuer + "#refresh", "sid": m.Login("alice").SessionID, "gen": 1}))
			_, err := m.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: token})
			require.ErrorIs(t, err, jwtauth.ErrRefused)
		}
	}},
	{"M06", "two verifiers asked about one token", func(t *testing.T) {
		m := newMove(t)
		for _, token := range []string{ // each would be good at the verifier that its typ does not select
			fixture.SignWith(t, m.oldKey, map[string]any{"alg": "ES256", "typ": "at+jwt"}, m.Claims(map[string]any{"aud": nil})),
			fixture.SignWith(t, m.Key, fixture.Header(m.Key, map[string]any{"typ": "JWT"}), m.Claims(nil)),
			fixture.SignWith(t, m.Key, fixture.Header(m.Key, map[string]any{"typ": nil}), m.Claims(nil)),
		} {
			m.refuse(m.both, token, jwtauth.ErrRefused)
		}
		m.refuse(m.both, fixture.SignWith(t, m.Key, `{"alg":"ES256","typ":"JWT","typ":"at+jwt"}`, m.Claims(nil)), jwtauth.ErrTokenMalformed)
		m.refuse(m.both, fixture.SignWith(t, m.Key, `{"alg":"ES256","typ":"at+jwt"}`, `{"iss":null,"iss":"`+fixture.Issuer+`"}`), jwtauth.ErrTokenMalformed)
	}},
	{"M07", "key of a ring as the key of old tokens", func(t *testing.T) {
		m := newMove(t)
		_, err := jwtauth.AnyOf(m.Verifier, m.verifier(m.Key.Verification().WithID("other")))
		require.ErrorContains(t, err, "also in a ring")
		_, err = migrate.NewVerifier(m.Keys, m.options)
		require.ErrorContains(t, err, "a jwk.Ring signs new tokens")
	}},
	{"M08", "guessable secret beyond old tokens", func(t *testing.T) {
		m := newMove(t)
		secret := []byte("secret")
		keys, err := migrate.InsecureSecret(jwk.HS256, "", secret)
		require.NoError(t, err)
		_, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.ErrorContains(t, err, "only for migrate.NewVerifier")
		v, err := migrate.NewVerifier(keys, m.options)
		require.NoError(t, err)
		forge := func(typ string) string {
			token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": fixture.Issuer, "aud": fixture.Audience, "sub": "admin", "jti": "1", "exp": m.Clock.Now().Unix() + 60})
			token.Header["typ"] = typ
			text, err := token.SignedString(secret)
			require.NoError(t, err)
			return text
		}
		for _, typ := range []string{"at+jwt", "rt+jwt"} {
			m.refuse(v, forge(typ), jwtauth.ErrTokenType)
			m.refuse(m.Verifier, forge(typ), jwtauth.ErrRefused)
		}
		_, err = migrate.InsecureSecret(jwk.HS256, "", nil)
		require.ErrorContains(t, err, "is empty")
	}},
	{"M09", "old token after its logout", func(t *testing.T) {
		m := newMove(t)
		token := m.signOld(map[string]any{"jti": "7"})
		i := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
		require.NoError(t, err)
		s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(signature[32:]))
		twin := withSignature(token, slices.Concat(signature[:32], s.FillBytes(make([]byte, 32))))
		m.accept(m.both, token)
		m.accept(m.both, twin)
		require.NoError(t, m.Issuer.Logout(t.Context(), token))
		m.refuse(m.both, token, jwtauth.ErrTokenRevoked)
		m.refuse(m.both, twin, jwtauth.ErrTokenRevoked)
		m.accept(m.both, m.signOld(map[string]any{"jti": "7", "n": 1})) // jti of old code need not be unique
	}},
	{"M10", "revoked old token under a later date", func(t *testing.T) {
		m := newMove(t)
		token := m.signOld(nil)
		require.NoError(t, m.Issuer.Logout(t.Context(), token))
		m.Clock.Set(moveEnd.Add(24 * time.Hour))
		m.options.Until = migrate.Date{Year: 2027, Month: time.February, Day: 1}
		m.refuse(m.verifier(m.oldKey.Verification()), token, jwtauth.ErrTokenRevoked)
	}},
	{"M11", "old token that never expires", func(t *testing.T) {
		m := newMove(t)
		m.refuse(m.both, m.signOld(map[string]any{"exp": nil}), jwtauth.ErrTokenClaim)
		m.refuse(m.both, m.signOld(map[string]any{"exp": 0}), jwtauth.ErrTokenExpired)
		m.options.NoExpUntil = m.options.Until
		v := m.verifier(m.oldKey.Verification())
		m.accept(v, m.signOld(map[string]any{"exp": nil}))
		m.accept(v, m.signOld(map[string]any{"exp": 0})) // which golang-jwt reads as no exp
		m.refuse(v, m.signOld(map[string]any{"exp": 1}), jwtauth.ErrTokenExpired)
		m.refuse(v, m.signOld(map[string]any{"exp": -1}), jwtauth.ErrTokenMalformed)
	}},
	{"M12", "old token with the session of somebody", func(t *testing.T) {
		m := newMove(t, func(o *migrate.Options) { o.Audiences = []string{fixture.Audience} })
		login := m.Login("alice")
		token := m.signOld(map[string]any{"iss": fixture.Issuer, "aud": fixture.Audience, "sid": login.SessionID, "act": map[string]any{"sub": "svc"}})
		got := m.accept(m.both, token)
		require.Empty(t, got.SessionID+got.Actor)
		h, err := endpoints.New(m.Issuer, endpoints.Options{Verifier: m.both})
		require.NoError(t, err)
		for _, path := range []string{"sessions/end-all", "sessions/end-others"} {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, fixture.Request("POST", "/auth/"+path, "Bearer "+token))
			require.Equal(t, http.StatusForbidden, answer.Code)
		}
		require.NoError(t, m.Issuer.Logout(t.Context(), token))
		m.accept(m.both, login.AccessToken) // the logout of the old token did not end the session
		m.Refresh(login.RefreshToken)
	}},
	{"M13", "old token traded in for a second session", func(t *testing.T) {
		m := newMove(t)
		old := m.accept(m.both, m.signOld(nil))
		tokens, err := fixture.TradeIn(t.Context(), m.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err)
		again, err := fixture.TradeIn(t.Context(), m.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err)
		require.Equal(t, tokens.SessionID, again.SessionID)
		m.Clock.Advance(15 * time.Second)
		for _, change := range []func(){func() { m.Refresh(tokens.RefreshToken) }, func() { require.NoError(t, m.Issuer.Logout(t.Context(), tokens.AccessToken)) }, func() { m.Clock.Advance(20 * 24 * time.Hour) }} {
			change()
			_, err = fixture.TradeIn(t.Context(), m.Issuer, old, jwtauth.Grant{})
			require.ErrorIs(t, err, jwtauth.ErrRefused)
		}
	}},
	{"M14", "forged token of a guessable secret traded in", func(t *testing.T) {
		m := newMove(t)
		keys, err := migrate.InsecureSecret(jwk.HS256, "", []byte("secret"))
		require.NoError(t, err)
		v, err := migrate.NewVerifier(keys, m.options)
		require.NoError(t, err)
		forged, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "admin", "exp": m.Clock.Now().Unix() + 60}).SignedString([]byte("secret"))
		require.NoError(t, err)
		_, err = fixture.TradeIn(t.Context(), m.Issuer, m.accept(v, forged), jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
	}},
	{"M15", "session of another user, or a fresh login, for an old token", func(t *testing.T) {
		m := newMove(t)
		old := m.accept(m.both, m.signOld(nil))
		m.Clock.Advance(10 * time.Minute)
		old.Subject, old.IssuedAt, old.AuthTime = "admin", m.Clock.Now(), m.Clock.Now() // a handler can change its copy
		_, err := fixture.TradeIn(t.Context(), m.Issuer, old, jwtauth.Grant{Subject: "admin"})
		require.ErrorContains(t, err, "Grant.Subject")
		tokens, err := fixture.TradeIn(t.Context(), m.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err)
		fresh := m.accept(m.Verifier, tokens.AccessToken)
		require.Equal(t, "alice", fresh.Subject)
		require.Error(t, jwtauth.LoginWithin(5*time.Minute).Check(t.Context(), fresh))
	}},
	{"M16", "refresh token at golang-jwt", func(t *testing.T) {
		m := newMove(t)
		m.Clock.Set(time.Now())
		refresh := m.Login("alice").RefreshToken
		_, err := jwt.Parse(refresh, migrate.Keyfunc(m.Keys))
		require.ErrorIs(t, err, jwtauth.ErrTokenType)
		_, err = jwt.Parse(fixture.SignWith(t, m.Key, fixture.Header(m.Key, map[string]any{"typ": "application/RT+jwt"}), m.Claims(nil)), migrate.Keyfunc(m.Keys))
		require.ErrorIs(t, err, jwtauth.ErrTokenType)
	}},
	{"M17", "another algorithm at golang-jwt", func(t *testing.T) {
		m := newMove(t)
		m.Clock.Set(time.Now())
		key := fixture.KeyFor(t, jwk.RS256)
		set, err := jwk.Static(key.Verification())
		require.NoError(t, err)
		pem, err := key.Verification().PEM()
		require.NoError(t, err)
		for _, kid := range []any{key.ID(), nil} {
			token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(m.Claims(nil)))
			if kid != nil {
				token.Header["kid"] = kid
			}
			text, err := token.SignedString(pem)
			require.NoError(t, err)
			_, err = jwt.Parse(text, migrate.Keyfunc(set))
			require.ErrorIs(t, err, jwtauth.ErrTokenKey)
			none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(m.Claims(nil))).SignedString(jwt.UnsafeAllowNoneSignatureType)
			require.NoError(t, err)
			_, err = jwt.Parse(none, migrate.Keyfunc(set))
			require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		}
	}},
	{"M18", "Token of claims that nobody verified", func(t *testing.T) {
		m := newMove(t)
		token, err := jwtauth.NewToken(m.Claims(map[string]any{"sub": "admin"}))
		require.NoError(t, err)
		for _, v := range []*jwtauth.Verifier{m.Verifier, m.old, m.both} {
			require.ErrorIs(t, v.Recheck(t.Context(), token), jwtauth.ErrNoToken)
			require.ErrorIs(t, v.Revoke(t.Context(), token), jwtauth.ErrNoToken)
		}
		r := fixture.Request("GET", "/")
		m.RequireNone(r.WithContext(jwtauth.NewContext(r.Context(), token)))
		_, err = fixture.TradeIn(t.Context(), m.Issuer, token, jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
	}},
	{"M19", "public key as the secret of old tokens", func(t *testing.T) {
		m := newMove(t)
		pem, err := m.oldKey.Verification().PEM()
		require.NoError(t, err)
		forged, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "admin", "exp": m.Clock.Now().Unix() + 60}).SignedString(pem)
		require.NoError(t, err)
		m.refuse(m.both, forged, jwtauth.ErrTokenKey)
		_, err = migrate.InsecureSecret(jwk.HS256, "", pem)
		require.ErrorContains(t, err, "public key")
	}},
	{"M20", "claims of Map that change a check", func(t *testing.T) {
		m := newMove(t, func(o *migrate.Options) {
			o.Map = func(claims map[string]any) (map[string]any, error) {
				claims["exp"], claims["nbf"], claims["iss"], claims["aud"] = 1<<33, 0, fixture.Issuer, nil
				delete(claims, "cnf")
				return claims, nil
			}
		})
		now := m.Clock.Now().Unix()
		m.accept(m.both, m.signOld(nil))
		for _, c := range []struct {
			claims map[string]any
			reason error
		}{
			{map[string]any{"exp": now - 60}, jwtauth.ErrTokenExpired},
			{map[string]any{"exp": nil}, jwtauth.ErrTokenClaim},
			{map[string]any{"nbf": now + 60}, jwtauth.ErrTokenNotYetValid},
			{map[string]any{"iss": "https://other.test"}, jwtauth.ErrTokenIssuer},
			{map[string]any{"aud": "https://other.test"}, jwtauth.ErrTokenAudience},
			{map[string]any{"cnf": map[string]any{"jkt": "x"}}, jwtauth.ErrTokenBound},
		} {
			m.refuse(m.old, m.signOld(c.claims), c.reason)
		}
	}},
}
