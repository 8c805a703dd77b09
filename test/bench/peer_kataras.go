package main

import (
	"bytes"
	"errors"
	"time"

	"github.com/kataras/jwt"
)

// kataras by itself accepts only headers with alg and typ JWT. It gets a function
// here that accepts exactly the header of the measured tokens.
var kataras = peer{
	name: "kataras", module: "github.com/kataras/jwt",
	verify: func(w *work) func(string) (answer, error) {
		alg, key, header := katarasAlg[w.alg], w.verifyKey(), []byte(w.header().String())
		valid := func(_ string, decoded []byte) (jwt.Alg, jwt.PublicKey, jwt.InjectFunc, error) {
			if !bytes.Equal(decoded, header) {
				return nil, nil, nil, errors.New("another header")
			}
			return alg, key, nil, nil
		}
		expected := jwt.Expected{Issuer: issuer, Audience: []string{audience}}
		return func(token string) (answer, error) {
			t, err := jwt.VerifyWithHeaderValidator(alg, key, []byte(token), valid, expected)
			if err != nil {
				return answer{}, err
			}
			var c katarasClaims
			err = t.Claims(&c)
			return answer{t.StandardClaims.Subject, hasScope(c.Scope, wantedScope)}, err
		}
	},
	issue: func(w *work) func() (string, error) {
		alg, key := katarasAlg[w.alg], w.signKey()
		header := katarasHeader{w.alg, "at+jwt", keyID}
		return func() (string, error) {
			now := time.Now().Unix()
			token, err := jwt.SignWithHeader(alg, key, katarasClaims{scope, custom{tenant, roles}}, header, jwt.Claims{
				Issuer: issuer, Subject: subject, Audience: []string{audience}, ID: newID(),
				Expiry: now + int64(lifetime/time.Second), IssuedAt: now, NotBefore: now,
			})
			return string(token), err
		}
	},
}

type katarasClaims struct {
	Scope string `json:"scope"`
	custom
}

type katarasHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

var katarasAlg = map[string]jwt.Alg{"HS256": jwt.HS256, "RS256": jwt.RS256, "PS256": jwt.PS256, "ES256": jwt.ES256, "EdDSA": jwt.EdDSA}
