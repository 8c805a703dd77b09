package main

import (
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

var jwx = peer{
	name: "jwx", module: "github.com/lestrrat-go/jwx/v3",
	verify: func(w *work) func(string) (answer, error) {
		alg, _ := jwa.LookupSignatureAlgorithm(w.alg)
		options := []jwt.ParseOption{
			jwt.WithKey(alg, w.verifyKey()), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
			jwt.WithRequiredClaim(jwt.ExpirationKey), jwt.WithAcceptableSkew(leeway),
		}
		return func(token string) (answer, error) {
			t, err := jwt.Parse([]byte(token), options...)
			if err != nil {
				return answer{}, err
			}
			sub, _ := t.Subject()
			var scopes string
			err = t.Get("scope", &scopes)
			return answer{sub, hasScope(scopes, wantedScope)}, err
		}
	},
	issue: func(w *work) func() (string, error) {
		alg, _ := jwa.LookupSignatureAlgorithm(w.alg)
		header := jws.NewHeaders()
		must(header.Set(jws.TypeKey, "at+jwt"))
		must(header.Set(jws.KeyIDKey, keyID))
		key := jwt.WithKey(alg, w.signKey(), jws.WithProtectedHeaders(header))
		return func() (string, error) {
			now := time.Now()
			t, err := jwt.NewBuilder().Issuer(issuer).Subject(subject).Audience([]string{audience}).
				Expiration(now.Add(lifetime)).IssuedAt(now).NotBefore(now).JwtID(newID()).
				Claim("scope", scope).Claim("tenant", tenant).Claim("roles", roles).Build()
			if err != nil {
				return "", err
			}
			token, err := jwt.Sign(t, key)
			return string(token), err
		}
	},
}
