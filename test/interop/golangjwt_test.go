package interop_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// theirKey returns the private key or the secret in the Go type that golang-jwt expects.
func theirKey(t *testing.T, k *jwk.SigningKey) any {
	t.Helper()
	return private(t, k, func(jwk []byte) (any, error) { return joseKey(t, jwk).Key, nil })
}

func strictParser(alg jwk.Algorithm) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{string(alg)}), jwt.WithIssuer(issuerName), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
	)
}

func TestGolangJWTVerifiesOurTokens(t *testing.T) {
	for _, alg := range every {
		t.Run(string(alg), func(t *testing.T) {
			s := newService(t, alg)
			key := public(theirKey(t, s.key))
			find := func(token *jwt.Token) (any, error) {
				if token.Header["kid"] != s.key.ID() || token.Header["typ"] != "at+jwt" {
					return nil, errors.New("another header")
				}
				return key, nil
			}
			r := s.issue(t)
			token, err := strictParser(alg).Parse(r.AccessToken, find)
			require.NoError(t, err)
			require.True(t, token.Valid)
			claims := token.Claims.(jwt.MapClaims)
			require.Equal(t, grant.Subject, claims["sub"])
			require.Equal(t, "9007199254740993", claims["n"].(interface{ String() string }).String())
			require.Equal(t, r.SessionID, claims["sid"])

			_, err = strictParser(alg).Parse(r.RefreshToken, func(*jwt.Token) (any, error) { return key, nil })
			require.ErrorIs(t, err, jwt.ErrTokenInvalidAudience, "a refresh token must not pass as an access token, even if the API ignores typ")
			_, err = strictParser(alg).Parse(r.AccessToken[:strings.LastIndexByte(r.AccessToken, '.')+1]+"AAAA", find)
			require.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid, "golang-jwt must refuse a wrong signature")
		})
	}
}

func TestWeVerifyTokensOfGolangJWT(t *testing.T) {
	for _, alg := range every {
		t.Run(string(alg), func(t *testing.T) {
			s := newService(t, alg)
			key := theirKey(t, s.key)
			sign := func(change func(claims jwt.MapClaims)) string {
				claims := jwt.MapClaims(claimsNow())
				change(claims)
				token := jwt.NewWithClaims(jwt.GetSigningMethod(string(alg)), claims)
				token.Header["kid"], token.Header["typ"] = s.key.ID(), "at+jwt"
				text, err := token.SignedString(key)
				require.NoError(t, err)
				return text
			}
			got, err := s.verifier.Verify(t.Context(), sign(func(jwt.MapClaims) {}))
			require.NoError(t, err)
			require.Equal(t, "alice", got.Subject)

			// For each token, the errors of both libraries match the same error value of
			// golang-jwt.
			now := time.Now().Unix()
			for _, test := range []struct {
				reason error
				change func(claims jwt.MapClaims)
			}{
				{jwt.ErrTokenExpired, func(c jwt.MapClaims) { c["exp"] = now - 60 }},
				{jwt.ErrTokenNotValidYet, func(c jwt.MapClaims) { c["nbf"] = now + 60 }},
				{jwt.ErrTokenInvalidAudience, func(c jwt.MapClaims) { c["aud"] = "https://other.test" }},
				{jwt.ErrTokenInvalidIssuer, func(c jwt.MapClaims) { c["iss"] = "https://other.test" }},
				{jwt.ErrTokenRequiredClaimMissing, func(c jwt.MapClaims) { delete(c, "exp") }},
			} {
				text := sign(test.change)
				_, err := s.verifier.Verify(t.Context(), text)
				require.ErrorIs(t, err, test.reason)
				_, err = strictParser(alg).Parse(text, func(*jwt.Token) (any, error) { return public(key), nil })
				require.ErrorIs(t, err, test.reason)
			}
		})
	}
}
