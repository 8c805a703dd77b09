package main

import (
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

var goJOSE = peer{
	name: "go-jose", module: "github.com/go-jose/go-jose/v4",
	verify: func(w *work) func(string) (answer, error) {
		algs, key := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(w.alg)}, w.verifyKey()
		expected := jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}}
		return func(token string) (answer, error) {
			t, err := jwt.ParseSigned(token, algs)
			if err != nil {
				return answer{}, err
			}
			var c goJOSEClaims
			if err := t.Claims(key, &c); err != nil {
				return answer{}, err
			}
			err = c.ValidateWithLeeway(expected, leeway)
			return answer{c.Subject, hasScope(c.Scope, wantedScope)}, err
		}
	},
	issue: func(w *work) func() (string, error) {
		options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", keyID)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(w.alg), Key: w.signKey()}, options)
		must(err)
		return func() (string, error) {
			now := time.Now()
			return jwt.Signed(signer).Claims(&goJOSEClaims{
				Claims: jwt.Claims{
					Issuer: issuer, Subject: subject, Audience: jwt.Audience{audience}, ID: newID(),
					Expiry: jwt.NewNumericDate(now.Add(lifetime)), IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
				},
				Scope: scope, custom: custom{tenant, roles},
			}).Serialize()
		}
	},
}

type goJOSEClaims struct {
	jwt.Claims
	Scope string `json:"scope"`
	custom
}
