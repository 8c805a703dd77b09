package migrate_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// standardClaims are those of dgrijalva/jwt-go and golang-jwt v3.
type standardClaims struct {
	Audience  string `json:"aud,omitempty"`
	ExpiresAt int64  `json:"exp,omitempty"`
	ID        string `json:"jti,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	Subject   string `json:"sub,omitempty"`
}

// echoClaims are those of the cookbook of echo.
type echoClaims struct {
	Name  string `json:"name"`
	Admin bool   `json:"admin"`
	jwt.RegisteredClaims
}

// untagged are claims of a struct without tags.
type untagged struct {
	Username string
	Role     string
	jwt.RegisteredClaims
}

// raw is a payload as another language writes it.
type raw struct {
	json.RawMessage
	jwt.Claims
}

func (r raw) MarshalJSON() ([]byte, error) { return r.RawMessage, nil }

// forms has a token of each library as its users usually make it. In claims, the times are those of
// the World.
var forms = []struct {
	name    string
	header  map[string]any // changes of {"alg": …, "typ": "JWT"}
	claims  func(now time.Time) jwt.Claims
	options func(o *migrate.Options)
	subject string
	scopes  []string
}{
	{"golang-jwt, RegisteredClaims", nil, func(now time.Time) jwt.Claims {
		return jwt.RegisteredClaims{Issuer: fixture.Issuer, Subject: "alice", Audience: jwt.ClaimStrings{fixture.Audience}, ExpiresAt: jwt.NewNumericDate(now.Add(24 * time.Hour)), IssuedAt: jwt.NewNumericDate(now), ID: "1"}
	}, func(o *migrate.Options) { o.Audiences = []string{fixture.Audience} }, "alice", nil},
	{"golang-jwt, MapClaims", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"user_id": 7, "exp": now.Add(72 * time.Hour).Unix()}
	}, func(o *migrate.Options) { o.SubjectClaim = "user_id" }, "7", nil},
	{"golang-jwt, a time of the day as float", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"user_id": "7", "iat": float64(now.UnixMilli()) / 1000, "exp": float64(now.Add(time.Hour).UnixMicro())/1e6 + 0.25}
	}, func(o *migrate.Options) { o.SubjectClaim = "user_id" }, "7", nil},
	{"golang-jwt, a struct without tags", nil, func(now time.Time) jwt.Claims {
		return untagged{"alice", "admin", jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))}}
	}, func(o *migrate.Options) { o.SubjectClaim = "Username" }, "alice", nil},
	{"golang-jwt with a kid", map[string]any{"kid": "2019"}, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix()}
	}, nil, "alice", nil},
	{"dgrijalva/jwt-go, StandardClaims", nil, func(now time.Time) jwt.Claims {
		return rawOf(standardClaims{Audience: fixture.Audience, ExpiresAt: now.Add(time.Hour).Unix(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Subject: "alice", ID: "x", Issuer: fixture.Issuer})
	}, func(o *migrate.Options) { o.Audiences = []string{fixture.Audience} }, "alice", nil},
	{"gin-jwt", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"identity": 7, "exp": now.Add(time.Hour).Unix(), "orig_iat": now.Unix()}
	}, func(o *migrate.Options) { o.SubjectClaim = "identity" }, "7", nil},
	{"go-chi/jwtauth", nil, func(now time.Time) jwt.Claims {
		return rawOf(json.RawMessage(`{"exp":` + text(now.Add(time.Hour).Unix()) + `,"iat":` + text(now.Unix()) + `,"user_id":123}`))
	}, func(o *migrate.Options) { o.SubjectClaim = "user_id" }, "123", nil},
	{"echo-jwt", nil, func(now time.Time) jwt.Claims {
		return echoClaims{"Jon Snow", true, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(now.Add(72 * time.Hour))}}
	}, func(o *migrate.Options) { o.SubjectClaim = "name" }, "Jon Snow", nil},
	{"auth0", map[string]any{"kid": "2019"}, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"iss": fixture.Issuer, "sub": "auth0|5f7c", "aud": []string{fixture.Audience, "https://tenant.auth0.test/userinfo"}, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(), "azp": "client", "scope": "openid read:orders"}
	}, func(o *migrate.Options) { o.Audiences = []string{fixture.Audience} }, "auth0|5f7c", []string{"openid", "read:orders"}},
	{"jsonwebtoken of node", nil, func(now time.Time) jwt.Claims {
		return rawOf(json.RawMessage(`{"id":"64b0c1","role":"admin","iat":` + text(now.Unix()) + `,"exp":` + text(now.Add(7*24*time.Hour).Unix()) + `}`))
	}, func(o *migrate.Options) {
		o.SubjectClaim = "id"
		o.Map = func(claims map[string]any) (map[string]any, error) {
			if claims["role"] == "admin" {
				claims["scope"] = []string{"read", "write"}
			}
			return claims, nil
		}
	}, "64b0c1", []string{"read", "write"}},
	{"jsonwebtoken of node, nested", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"user": map[string]any{"id": 7}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	}, func(o *migrate.Options) {
		o.Map = func(claims map[string]any) (map[string]any, error) {
			user, _ := claims["user"].(map[string]any)
			claims["sub"] = user["id"]
			return claims, nil
		}
	}, "7", nil},
	{"without typ", map[string]any{"typ": nil}, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix(), "iss": nil, "aud": nil, "nbf": nil}
	}, nil, "alice", nil},
	{"typ in lower case", map[string]any{"typ": "jwt"}, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": 7, "exp": now.Add(time.Hour).Unix(), "iss": ""}
	}, nil, "7", nil},
	{"dates that golang-jwt ignores", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix() + 3600, "nbf": time.Time{}.Unix()}
	}, nil, "alice", nil},
	{"iat in milliseconds", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix(), "iat": now.UnixMilli()}
	}, nil, "alice", nil},
	{"iat as text", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix(), "iat": now.String(), "nbf": nil}
	}, nil, "alice", nil},
	{"exp 0", nil, func(time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": 0}
	}, func(o *migrate.Options) { o.NoExpUntil = o.Until }, "alice", nil},
	{"exp in milliseconds", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).UnixMilli()}
	}, func(o *migrate.Options) { o.NoExpUntil = o.Until }, "alice", nil},
	{"jti and sid of any type", nil, func(now time.Time) jwt.Claims {
		return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix(), "jti": 1, "sid": 2, "sid_epoch": "x", "act": 3}
	}, nil, "alice", nil},
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

// rawOf returns claims with the JSON of v.
func rawOf(v any) jwt.Claims {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw{RawMessage: text}
}

func TestOldTokensOfEachLibraryAreAcceptedUntilTheDate(t *testing.T) {
	rsaKey, ecKey, edKey := fixture.NewKey(t, jwk.RS256), fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.EdDSA)
	secret := []byte("0f6c1b2ad9e84c57a1f03b7d5e92c846b1d7f0a3")
	mac, err := jwk.NewHMAC(jwk.HS256, "", secret)
	require.NoError(t, err)
	for _, key := range []struct {
		method  jwt.SigningMethod
		private any
		public  *jwk.VerificationKey
	}{
		{jwt.SigningMethodHS256, secret, mac.Verification()},
		{jwt.SigningMethodRS256, privateOf(t, rsaKey), rsaKey.Verification()},
		{jwt.SigningMethodES256, privateOf(t, ecKey), ecKey.Verification()},
		{jwt.SigningMethodEdDSA, privateOf(t, edKey), edKey.Verification()},
	} {
		keys, err := jwk.Static(key.public.WithID("2019"))
		require.NoError(t, err)
		for _, f := range forms {
			t.Run(key.method.Alg()+" "+f.name, func(t *testing.T) {
				w := newOldWorld(t)
				change := func(o *migrate.Options) {}
				if f.options != nil {
					change = f.options
				}
				w.old = w.verifier(keys, change)
				both, err := jwtauth.AnyOf(w.Verifier, w.old)
				require.NoError(t, err)
				end := time.Date(until.Year, until.Month, until.Day, 0, 0, 0, 0, time.UTC)
				w.Clock.Set(end.Add(-30 * time.Minute))
				token := signOld(t, key.method, key.private, f.header, f.claims(w.Clock.Now()))
				for _, v := range []*jwtauth.Verifier{w.old, both} {
					for range 3 { // the last ones come from the cache
						got := requireAccepted(t, v, token)
						require.Equal(t, f.subject, got.Subject)
						require.Equal(t, fixture.Issuer, got.Issuer)
						require.Equal(t, f.scopes, got.Scopes())
						require.Len(t, got.ID, 43)
						require.Empty(t, got.SessionID+got.Actor)
						require.NoError(t, v.Recheck(t.Context(), got))
					}
				}
				got := requireAccepted(t, w.old, token)
				require.Positive(t, w.old.CacheStats().Hits)
				w.Clock.Set(end.Add(-time.Second))
				requireAccepted(t, both, token)
				w.Clock.Set(end)
				for _, v := range []*jwtauth.Verifier{w.old, both} {
					requireRefused(t, v, token, "until", jwtauth.ErrTokenExpired)
					require.ErrorIs(t, v.Recheck(t.Context(), got), jwtauth.ErrTokenExpired)
				}
				fresh := signOld(t, key.method, key.private, f.header, f.claims(w.Clock.Now()))
				requireRefused(t, w.verifier(keys, change), fresh, "until", jwtauth.ErrTokenExpired)
				requireAccepted(t, fixture.Without(w.old, "until"), fresh)
				_, err = w.Verifier.Verify(t.Context(), token)
				require.ErrorIs(t, err, jwtauth.ErrRefused, "the new verifier never accepts an old token")
			})
		}
	}
}

// privateOf returns the private key for golang-jwt.
func privateOf(t testing.TB, key *jwk.SigningKey) any {
	t.Helper()
	pem, err := key.PrivatePEM()
	require.NoError(t, err)
	if k, err := jwt.ParseRSAPrivateKeyFromPEM(pem); err == nil {
		return k
	}
	if k, err := jwt.ParseECPrivateKeyFromPEM(pem); err == nil {
		return k
	}
	k, err := jwt.ParseEdPrivateKeyFromPEM(pem)
	require.NoError(t, err)
	return k
}
