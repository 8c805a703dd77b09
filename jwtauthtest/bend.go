package jwtauthtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Draft is a token before it is signed. A bend is a function that changes a draft: one of
// this package, or one of the test.
type Draft struct {
	// Header and Claims are what the issuer would sign, by name. Their numbers are
	// json.Number. A bend may put any value there that encoding/json can encode.
	Header, Claims map[string]any

	now                time.Time
	otherKey, tampered bool
}

// Expired makes a token that expired an hour ago.
func Expired(d *Draft) {
	d.Claims["iat"] = d.now.Add(-2 * time.Hour).Unix()
	d.Claims["exp"] = d.now.Add(-time.Hour).Unix()
}

// NotYetValid makes a token that becomes valid in an hour (nbf).
func NotYetValid(d *Draft) {
	d.Claims["nbf"] = d.now.Add(time.Hour).Unix()
	d.Claims["exp"] = d.now.Add(2 * time.Hour).Unix()
}

// OtherIssuer makes a token of another issuer. The name of that issuer begins with the
// name of the right one.
func OtherIssuer(d *Draft) { d.Claims["iss"] = other(d) }

// OtherAudience makes a token for a service that is not among the audiences of the issuer.
func OtherAudience(d *Draft) { d.Claims["aud"] = other(d) }

func other(d *Draft) string { return fmt.Sprint(d.Claims["iss"], "/other") }

// OtherType makes a token of another kind, such as an ID token. Its typ is JWT.
func OtherType(d *Draft) { d.Header["typ"] = "JWT" }

// OtherKey makes a token that an unknown key has signed. Its kid is that of the right key.
func OtherKey(d *Draft) { d.otherKey = true }

// Tampered makes a token whose subject was changed after it was signed.
func Tampered(d *Draft) { d.tampered = true }

// Claim sets a claim to any value, right or wrong. A nil value removes the claim. A
// time.Time becomes a date of RFC 7519, in seconds.
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

// bend reads a token that the issuer has signed into a draft, applies the bends to it
// in order, and signs the result.
func (i *Issuer) bend(token string, bends []func(*Draft)) (string, error) {
	claims := jwt.MapClaims{}
	straight, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(token, claims)
	if err != nil {
		return "", err
	}
	if straight.Header["kid"] != i.Key.ID() {
		return "", errors.New("the issuer's Keys were set to another signing key; a token is bent with the issuer's own")
	}
	d := &Draft{Header: straight.Header, Claims: claims, now: i.Clock.Now()}
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

// sign signs the draft with ES256, whatever alg its header has.
func (d *Draft) sign(key *ecdsa.PrivateKey) (string, error) {
	token := &jwt.Token{Header: d.Header, Claims: jwt.MapClaims(d.Claims), Method: jwt.SigningMethodES256}
	signed, err := token.SignedString(key)
	if err != nil || !d.tampered {
		return signed, err
	}
	d.Claims["sub"] = fmt.Sprint(d.Claims["sub"], "-tampered")
	text, err := token.SigningString()
	return text + signed[strings.LastIndexByte(signed, '.'):], err
}
