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

// Draft is a token before it is signed. A bend is a function that changes a draft, such as
// [Expired] or a function of the test.
type Draft struct {
	// Header and Claims have the members that the issuer would sign. Numbers are of type
	// json.Number. A bend may set any value that encoding/json can encode.
	Header, Claims map[string]any

	now                 time.Time
	useOtherKey, tamper bool
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

// OtherIssuer makes a token of another issuer. The name of the other issuer begins with the
// name of the right issuer.
func OtherIssuer(d *Draft) { d.Claims["iss"] = otherName(d) }

// OtherAudience makes a token for an audience that the issuer does not have.
func OtherAudience(d *Draft) { d.Claims["aud"] = otherName(d) }

func otherName(d *Draft) string { return fmt.Sprint(d.Claims["iss"], "/other") }

// OtherType makes a token of another kind, such as an ID token. Its typ is JWT.
func OtherType(d *Draft) { d.Header["typ"] = "JWT" }

// OtherKey makes a token that is signed by an unknown key, but has the kid of the right key.
func OtherKey(d *Draft) { d.useOtherKey = true }

// Tampered makes a token whose subject was changed after it was signed.
func Tampered(d *Draft) { d.tamper = true }

// Claim returns a bend that sets a claim to value, which may be invalid. A nil value removes
// the claim. A time.Time becomes a NumericDate (RFC 7519, section 2), in whole seconds.
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

// bend decodes a token of the issuer into a draft, applies the bends in order, and signs
// the draft.
func (i *Issuer) bend(token string, bends []func(*Draft)) (string, error) {
	claims := jwt.MapClaims{}
	original, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(token, claims)
	if err != nil {
		return "", err
	}
	if original.Header["kid"] != i.Key.ID() {
		return "", errors.New("the issuer's Keys were set to another signing key; a token is bent with the issuer's own")
	}
	d := &Draft{Header: original.Header, Claims: claims, now: i.Clock.Now()}
	for _, bend := range bends {
		bend(d)
	}
	key := i.private
	if d.useOtherKey {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return "", err
		}
	}
	return d.sign(key)
}

// sign signs the draft with ES256, even if its header has another alg.
func (d *Draft) sign(key *ecdsa.PrivateKey) (string, error) {
	token := &jwt.Token{Header: d.Header, Claims: jwt.MapClaims(d.Claims), Method: jwt.SigningMethodES256}
	signed, err := token.SignedString(key)
	if err != nil || !d.tamper {
		return signed, err
	}
	d.Claims["sub"] = fmt.Sprint(d.Claims["sub"], "-tampered")
	text, err := token.SigningString()
	return text + signed[strings.LastIndexByte(signed, '.'):], err
}
