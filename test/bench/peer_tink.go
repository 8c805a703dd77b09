package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/jwt"
	"github.com/tink-crypto/tink-go/v2/jwt/jwtecdsa"
	"github.com/tink-crypto/tink-go/v2/jwt/jwthmac"
	"github.com/tink-crypto/tink-go/v2/jwt/jwtrsassapkcs1"
	"github.com/tink-crypto/tink-go/v2/jwt/jwtrsassapss"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
)

// tink does not support EdDSA.
var tink = peer{
	name: "tink", module: "github.com/tink-crypto/tink-go/v2",
	verify: func(w *work) func(string) (answer, error) {
		handle := tinkKeys(w)
		if handle == nil {
			return nil
		}
		verify := tinkVerify(w, handle)
		validator, err := jwt.NewValidator(&jwt.ValidatorOpts{
			ExpectedTypeHeader: new("at+jwt"), ExpectedIssuer: new(issuer), ExpectedAudience: new(audience), ClockSkew: leeway,
		})
		must(err)
		return func(token string) (answer, error) {
			t, err := verify(token, validator)
			if err != nil {
				return answer{}, err
			}
			sub, err := t.Subject()
			if err != nil {
				return answer{}, err
			}
			scopes, err := t.StringClaim("scope")
			return answer{sub, hasScope(scopes, wantedScope)}, err
		}
	},
	issue: func(w *work) func() (string, error) {
		handle := tinkKeys(w)
		if handle == nil {
			return nil
		}
		var sign func(*jwt.RawJWT) (string, error)
		if w.private == nil {
			mac, err := jwt.NewMAC(handle)
			must(err)
			sign = mac.ComputeMACAndEncode
		} else {
			signer, err := jwt.NewSigner(handle)
			must(err)
			sign = signer.SignAndEncode
		}
		list := make([]any, len(roles))
		for i, r := range roles {
			list[i] = r
		}
		return func() (string, error) {
			now := time.Now()
			raw, err := jwt.NewRawJWT(&jwt.RawJWTOptions{
				TypeHeader: new("at+jwt"), Issuer: new(issuer), Subject: new(subject), Audience: new(audience), JWTID: new(newID()),
				ExpiresAt: new(now.Add(lifetime)), IssuedAt: &now, NotBefore: &now,
				CustomClaims: map[string]any{"scope": scope, "tenant": tenant, "roles": list},
			})
			if err != nil {
				return "", err
			}
			return sign(raw)
		}
	},
}

func tinkVerify(w *work, handle *keyset.Handle) func(string, *jwt.Validator) (*jwt.VerifiedJWT, error) {
	if w.private == nil {
		mac, err := jwt.NewMAC(handle)
		must(err)
		return mac.VerifyMACAndDecode
	}
	public, err := handle.Public()
	must(err)
	verifier, err := jwt.NewVerifier(public)
	must(err)
	return verifier.VerifyAndDecode
}

// tinkKeys returns a keyset with the key of w, or nil if tink does not support its
// algorithm.
func tinkKeys(w *work) *keyset.Handle {
	k, err := tinkKey(w)
	must(err)
	if k == nil {
		return nil
	}
	m := keyset.NewManager()
	id, err := m.AddKey(k)
	must(err)
	must(m.SetPrimary(id))
	handle, err := m.Handle()
	must(err)
	return handle
}

func tinkKey(w *work) (key.Key, error) {
	secret := func(b []byte) secretdata.Bytes {
		return secretdata.NewBytesFromData(b, insecuresecretdataaccess.Token{})
	}
	switch w.alg {
	case "HS256":
		p, err := jwthmac.NewParameters(len(w.secret), jwthmac.CustomKID, jwthmac.HS256)
		if err != nil {
			return nil, err
		}
		return jwthmac.NewKey(jwthmac.KeyOpts{KeyBytes: secret(w.secret), CustomKID: keyID, HasCustomKID: true, Parameters: p})
	case "ES256":
		p, err := jwtecdsa.NewParameters(jwtecdsa.CustomKID, jwtecdsa.ES256)
		if err != nil {
			return nil, err
		}
		private := w.private.(*ecdsa.PrivateKey)
		point, err := private.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		public, err := jwtecdsa.NewPublicKey(jwtecdsa.PublicKeyOpts{PublicPoint: point, CustomKID: keyID, HasCustomKID: true, Parameters: p})
		if err != nil {
			return nil, err
		}
		d, err := private.Bytes()
		if err != nil {
			return nil, err
		}
		return jwtecdsa.NewPrivateKeyFromPublicKey(secret(d), public)
	case "RS256":
		p, err := jwtrsassapkcs1.NewParameters(jwtrsassapkcs1.ParametersOpts{
			ModulusSizeInBits: 2048, PublicExponent: 65537, Algorithm: jwtrsassapkcs1.RS256, KidStrategy: jwtrsassapkcs1.CustomKID})
		if err != nil {
			return nil, err
		}
		private := w.private.(*rsa.PrivateKey)
		public, err := jwtrsassapkcs1.NewPublicKey(jwtrsassapkcs1.PublicKeyOpts{Modulus: private.N.Bytes(), CustomKID: keyID, HasCustomKID: true, Parameters: p})
		if err != nil {
			return nil, err
		}
		return jwtrsassapkcs1.NewPrivateKey(jwtrsassapkcs1.PrivateKeyOpts{
			PublicKey: public, D: secret(private.D.Bytes()), P: secret(private.Primes[0].Bytes()), Q: secret(private.Primes[1].Bytes())})
	case "PS256":
		p, err := jwtrsassapss.NewParameters(jwtrsassapss.ParametersOpts{
			ModulusSizeInBits: 2048, PublicExponent: 65537, Algorithm: jwtrsassapss.PS256, KidStrategy: jwtrsassapss.CustomKID})
		if err != nil {
			return nil, err
		}
		private := w.private.(*rsa.PrivateKey)
		public, err := jwtrsassapss.NewPublicKey(jwtrsassapss.PublicKeyOpts{Modulus: private.N.Bytes(), CustomKID: keyID, HasCustomKID: true, Parameters: p})
		if err != nil {
			return nil, err
		}
		return jwtrsassapss.NewPrivateKey(jwtrsassapss.PrivateKeyOpts{
			PublicKey: public, D: secret(private.D.Bytes()), P: secret(private.Primes[0].Bytes()), Q: secret(private.Primes[1].Bytes())})
	case "EdDSA":
		return nil, nil
	}
	return nil, fmt.Errorf("no key for %s", w.alg)
}
