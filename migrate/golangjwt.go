package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// keysTimeout bounds the look-up of a key by Keyfunc, which has no context. A jwk.Remote may fetch
// its keys meanwhile.
const keysTimeout = 10 * time.Second

// Keyfunc gives the keys of a set to code that still parses tokens with golang-jwt. The set may be
// the ring of an issuer, so that such code accepts new access tokens. If the header has a kid, kid
// must name a key in use, and alg must be the algorithm of that key. A token without kid is tried
// with the keys of its algorithm. It is refused if there are more than four of them or, with a
// ring, more than one.
//
// The function refuses refresh tokens (typ rt+jwt) and tokens with crit or b64. golang-jwt and the
// caller check everything else: call its parser with jwt.WithExpirationRequired, jwt.WithIssuer and
// jwt.WithAudience. golang-jwt does not know revocations, so use a [jwtauth.Verifier] as soon as you
// can.
//
// If the function refuses a token, the error of the parser matches ErrTokenType, ErrTokenMalformed
// or ErrTokenKey of package jwtauth. It matches ErrUnavailable if the keys are not known; a call
// waits for them for at most 10s.
func Keyfunc(keys jwk.Set) jwt.Keyfunc {
	seam, err := seamOf(keys)
	return func(t *jwt.Token) (any, error) {
		switch {
		case err != nil:
			return nil, fault.NoAnswer("migrate", err)
		case t == nil || t.Method == nil:
			return nil, fmt.Errorf("migrate: Keyfunc: %w", jwtauth.ErrNoToken)
		}
		return findKey(seam, t)
	}
}

// seamOf returns the keys of a set that may be nil.
func seamOf(keys jwk.Set) (keyset.Set, error) {
	if keys == nil {
		return nil, errors.New("no keys: a jwk.Ring, a jwk.Remote or a jwk.StaticSet is expected")
	}
	return keys.VerifierSeam()
}

// findKey returns the key, or the keys, for a token of golang-jwt.
func findKey(keys keyset.Set, t *jwt.Token) (any, error) {
	for _, name := range []string{"crit", "b64"} {
		if _, has := t.Header[name]; has {
			return nil, fmt.Errorf("migrate: Keyfunc: %w: the header has %s", jwtauth.ErrTokenMalformed, name)
		}
	}
	typ, isText := t.Header["typ"].(string)
	if _, has := t.Header["typ"]; has && !isText || keyset.IsTyp(typ, keyset.Refresh.Typ()) {
		return nil, fmt.Errorf("migrate: Keyfunc: %w: typ is %s, which is no access token", jwtauth.ErrTokenType, errtext.Quote(fmt.Sprint(t.Header["typ"])))
	}
	kid, isText := t.Header["kid"].(string)
	_, hasKid := t.Header["kid"]
	if hasKid && !isText {
		return nil, fmt.Errorf("migrate: Keyfunc: %w: kid is not a string", jwtauth.ErrTokenMalformed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	now := time.Now()
	table, err := keys.Current(ctx, now)
	var found []*keyset.Key
	if err == nil {
		found = keysFor(keys.Facts(), table, t.Method.Alg(), kid, hasKid)
	}
	if len(found) == 0 && isPlausible(keys.Facts(), t, now) {
		if table, err = keys.AskForKid(ctx, now, kid); err == nil {
			found = keysFor(keys.Facts(), table, t.Method.Alg(), kid, hasKid)
		}
	}
	switch {
	case err != nil:
		return nil, fault.NoAnswer("migrate", err)
	case len(found) == 0:
		return nil, fmt.Errorf("migrate: Keyfunc: %w: alg is %s, kid is %s", jwtauth.ErrTokenKey, errtext.Quote(t.Method.Alg()), errtext.Quote(kid))
	case len(found) == 1:
		return keyMaterial(found[0]), nil
	}
	var several jwt.VerificationKeySet
	for _, k := range found {
		several.Keys = append(several.Keys, keyMaterial(k))
	}
	return several, nil
}

// keysFor returns the keys of a table for the alg and the kid of a header.
func keysFor(facts keyset.Facts, table *keyset.Table, alg, kid string, hasKid bool) []*keyset.Key {
	if kid == "" && facts.TriesKeys { // an empty kid names no key
		return table.OfAlgorithm(alg)
	}
	if key := table.Find(alg, kid, hasKid); key != nil {
		return []*keyset.Key{key}
	}
	return nil
}

// isPlausible reports whether a token with an unknown key may cause a fetch of the keys: its
// algorithm and issuer fit the set, and it has not expired. Its signature is not verified yet.
func isPlausible(facts keyset.Facts, t *jwt.Token, now time.Time) bool {
	alg := jwa.Lookup(t.Method.Alg())
	if !facts.AsksForKid || alg == nil || facts.Asymmetric && alg.Family == jwa.HMAC || t.Claims == nil {
		return false
	}
	issuer, err := t.Claims.GetIssuer()
	if err != nil || facts.Issuer != "" && issuer != facts.Issuer {
		return false
	}
	exp, err := t.Claims.GetExpirationTime()
	return err == nil && exp != nil && now.Before(exp.Time)
}

// keyMaterial returns a key as golang-jwt expects it.
func keyMaterial(k *keyset.Key) any {
	if mac, ok := k.Verifier.(*jwa.HMACKey); ok {
		return mac.Secret()
	}
	return k.Public
}

// MapClaims returns the claims of a token for handlers that read the claims of golang-jwt. Numbers
// are of type float64, as golang-jwt decodes them, so integers beyond 2^53 lose digits. The caller
// owns the result. It is nil if t is the zero Token, or has a number beyond the range of float64,
// such as 1e400.
func MapClaims(t jwtauth.Token) jwt.MapClaims {
	text, err := jwtauth.ClaimsAs[json.RawMessage](t)
	if err != nil {
		return nil
	}
	var claims jwt.MapClaims
	if json.Unmarshal(text, &claims) != nil {
		return nil
	}
	return claims
}
