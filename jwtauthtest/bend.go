package jwtauthtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// Draft is a token that is about to be signed. Functions that take one bend it:
// those of this package and those that a test writes itself.
type Draft struct {
	// Header and Claims are what the issuer would sign, by name. Numbers are
	// json.Number; what a bend puts there may be of any type that encodes to
	// JSON.
	Header, Claims map[string]any

	now                time.Time
	otherKey, tampered bool
}

// Expired makes the token one that expired an hour ago.
func Expired(d *Draft) {
	d.Claims["iat"] = d.now.Add(-2 * time.Hour).Unix()
	d.Claims["exp"] = d.now.Add(-time.Hour).Unix()
}

// NotYetValid makes the token one that is good in an hour (nbf).
func NotYetValid(d *Draft) {
	d.Claims["nbf"] = d.now.Add(time.Hour).Unix()
	d.Claims["exp"] = d.now.Add(2 * time.Hour).Unix()
}

// OtherIssuer makes the token one of an issuer whose name begins like the right
// one's.
func OtherIssuer(d *Draft) { d.Claims["iss"] = other(d) }

// OtherAudience makes the token one for a service that is none of the issuer's
// audiences.
func OtherAudience(d *Draft) { d.Claims["aud"] = other(d) }

func other(d *Draft) string { return fmt.Sprint(d.Claims["iss"], "/other") }

// OtherType makes the token one of another kind, such as an ID token: its typ is
// JWT.
func OtherType(d *Draft) { d.Header["typ"] = "JWT" }

// OtherKey has the token signed by a key that nobody knows, under the kid of the
// right one.
func OtherKey(d *Draft) { d.otherKey = true }

// Tampered has the subject changed after the token was signed.
func Tampered(d *Draft) { d.tampered = true }

// Claim sets a claim to any value, right or wrong; nil takes the claim away. A
// time.Time is written as a date of RFC 7519, in seconds.
func Claim(name string, value any) func(*Draft) {
	return func(d *Draft) {
		switch v := value.(type) {
		case nil:
			delete(d.Claims, name)
		case time.Time:
			d.Claims[name] = v.Unix()
		default:
			d.Claims[name] = v
		}
	}
}

// bend makes a draft of a token that the issuer has signed, bends that, and
// signs it.
func (i *Issuer) bend(token string, bends []func(*Draft)) (string, error) {
	parts, err := compact.Split(token)
	if err != nil {
		return "", err
	}
	d := &Draft{now: i.Clock.Now()}
	if err := errors.Join(decode(parts.Header, &d.Header), decode(parts.Payload, &d.Claims)); err != nil {
		return "", err
	}
	if d.Header["kid"] != i.Key.ID() {
		return "", errors.New("the issuer's Keys were set to another signing key; a token is bent with the issuer's own")
	}
	for _, bend := range bends {
		bend(d)
	}
	key := i.private
	if d.otherKey {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return "", err
		}
	}
	return d.sign(key)
}

func (d *Draft) sign(key *ecdsa.PrivateKey) (string, error) {
	signer, err := jwa.Lookup(string(jwtauth.ES256)).NewSigner(key)
	if err != nil {
		return "", err
	}
	signed, err := d.text()
	if err != nil {
		return "", err
	}
	signature, err := signer.AppendSignature(context.Background(), nil, []byte(signed))
	if err != nil {
		return "", err
	}
	if d.tampered {
		d.Claims["sub"] = fmt.Sprint(d.Claims["sub"], "-tampered")
		if signed, err = d.text(); err != nil {
			return "", err
		}
	}
	return signed + "." + compact.Encode(signature), nil
}

// text is what a signature is over.
func (d *Draft) text() (string, error) {
	header, err := json.Marshal(d.Header)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(d.Claims)
	if err != nil {
		return "", err
	}
	return compact.Encode(header) + "." + compact.Encode(claims), nil
}

// decode decodes a segment of a token; integers stay exact.
func decode(segment string, object *map[string]any) error {
	text, err := compact.AppendDecode(nil, segment)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(object)
}
