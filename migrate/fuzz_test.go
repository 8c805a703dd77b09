package migrate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// FuzzNoTokenIsOldAndNew signs any header and any claims with the key of the new tokens, and with
// those of old tokens, one of which is the same key. No token is good at both verifiers. AnyOf
// accepts what one of them accepts, and reads the same. After a logout, nobody accepts it.
func FuzzNoTokenIsOldAndNew(f *testing.F) {
	w := newOldWorld(f)
	mac, err := jwk.NewHMAC(jwk.HS256, "", w.secret)
	require.NoError(f, err)
	shared, err := jwk.Static(mac.Verification(), w.Key.Verification())
	require.NoError(f, err)
	w.old = w.verifier(shared, func(o *migrate.Options) { o.AllowIssuerKeys, o.Audiences = true, []string{fixture.Audience} })
	lax := w.verifier(shared, func(o *migrate.Options) { o.Audiences = []string{fixture.Audience} }) // also takes tokens without typ
	both, err := jwtauth.AnyOf(w.Verifier, w.old)
	require.NoError(f, err)
	keys := []*jwk.SigningKey{w.Key, mac}

	claims := []string{fixture.Text(f, w.Claims(nil)), fixture.Text(f, w.alice(nil)), fixture.Text(f, w.alice(jwt.MapClaims{"iss": fixture.Issuer, "aud": fixture.Audience, "jti": "1"})), fixture.Text(f, w.Claims(map[string]any{"iss": nil}))}
	for _, c := range claims {
		for k, key := range keys {
			for _, typ := range []any{"at+jwt", "rt+jwt", "JWT", "application/JWT", "", nil, 7} {
				for _, kid := range []any{key.ID(), nil} {
					f.Add(byte(k), fixture.Text(f, fixture.Header(key, map[string]any{"typ": typ, "kid": kid})), c)
				}
			}
			f.Add(byte(k), `{"alg":"ES256","typ":"JWT","typ":"at+jwt"}`, c)
			f.Add(byte(k), `{"alg":"HS256","Typ":"at+jwt"}`, c)
		}
	}
	f.Fuzz(func(t *testing.T, k byte, header, claims string) {
		ctx := context.Background()
		token, err := fixture.SignRaw(keys[int(k)%len(keys)], header, claims)
		if err != nil {
			t.Fatal(err)
		}
		asOld, oldErr := w.old.Verify(ctx, token)
		asNew, newErr := w.Verifier.Verify(ctx, token)
		_, laxErr := lax.Verify(ctx, token)
		got, err := both.Verify(ctx, token)
		switch {
		case newErr == nil && (oldErr == nil || laxErr == nil):
			t.Fatalf("%s and %s: old and new", header, claims)
		case oldErr == nil && laxErr != nil:
			t.Fatalf("%s and %s: %v", header, claims, laxErr)
		case (err == nil) != (oldErr == nil || newErr == nil):
			t.Fatalf("%s and %s: AnyOf: %v, old: %v, new: %v", header, claims, err, oldErr, newErr)
		case err != nil:
			if !errors.Is(err, jwtauth.ErrRefused) {
				t.Fatal(err)
			}
			return
		case oldErr == nil && (got.ID != asOld.ID || got.Subject != asOld.Subject || got.Issuer != asOld.Issuer || got.SessionID != ""):
			t.Fatalf("%v, %v", got, asOld)
		case newErr == nil && (got.ID != asNew.ID || got.Subject != asNew.Subject):
			t.Fatalf("%v, %v", got, asNew)
		}
		if err := w.Issuer.Logout(ctx, token); err != nil {
			t.Fatalf("%s and %s: logout: %v", header, claims, err)
		}
		for _, v := range []*jwtauth.Verifier{w.old, w.Verifier, lax, both} {
			if _, err := v.Verify(ctx, token); err == nil {
				t.Fatalf("%s and %s: accepted after its logout", header, claims)
			}
		}
	})
}
