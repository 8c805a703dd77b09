package migrate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// until is the date of the tests. The clock of a world starts on the first of November 2026.
var until = migrate.Date{Year: 2026, Month: time.December, Day: 24}

// world is a service that moves over: a World for its new tokens, and the old code, which signs with
// golang-jwt and one secret.
type world struct {
	*fixture.World
	secret []byte
	keys   jwk.Set           // of the secret
	old    *jwtauth.Verifier // of old tokens
	both   *jwtauth.Verifier // AnyOf the verifiers of old and new tokens
}

func newOldWorld(t testing.TB, change ...func(*migrate.Options)) *world {
	t.Helper()
	w := &world{World: fixture.New(t), secret: []byte(rand.Text() + rand.Text())}
	key, err := jwk.NewHMAC(jwk.HS256, "", w.secret)
	require.NoError(t, err)
	w.keys, err = jwk.Static(key.Verification())
	require.NoError(t, err)
	w.old = w.verifier(w.keys, change...)
	w.both, err = jwtauth.AnyOf(w.Verifier, w.old)
	require.NoError(t, err)
	return w
}

func (w *world) options(change ...func(*migrate.Options)) migrate.Options {
	o := migrate.Options{Until: until, Issuer: fixture.Issuer, Revocations: w.Store, OnEvent: w.Record, Now: w.Clock.Now}
	for _, c := range change {
		c(&o)
	}
	return o
}

// verifier makes a verifier of old tokens.
func (w *world) verifier(keys jwk.Set, change ...func(*migrate.Options)) *jwtauth.Verifier {
	w.T.Helper()
	v, err := migrate.NewVerifier(keys, w.options(change...))
	require.NoError(w.T, err)
	return v
}

// sign signs claims as old code does.
func (w *world) sign(claims jwt.Claims) string {
	w.T.Helper()
	return signOld(w.T, jwt.SigningMethodHS256, w.secret, nil, claims)
}

// alice returns the claims of an old token, with changes. A nil value removes a claim.
func (w *world) alice(changes jwt.MapClaims) jwt.MapClaims {
	claims := jwt.MapClaims{"sub": "alice", "exp": w.Clock.Now().Add(72 * time.Hour).Unix(), "iat": w.Clock.Now().Unix()}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// signOld signs with golang-jwt. A nil value removes a member of the header.
func signOld(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for name, value := range header {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

// requireRefused fails the test unless v refuses a token, by a check.
func requireRefused(t testing.TB, v *jwtauth.Verifier, token, check string, reason error) {
	t.Helper()
	got, err := v.Verify(context.Background(), token)
	require.Error(t, err)
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, check, e.Check, "%v", err)
	require.ErrorIs(t, err, reason)
	require.Equal(t, jwtauth.Token{}, got)
}

func requireAccepted(t testing.TB, v *jwtauth.Verifier, token string) jwtauth.Token {
	t.Helper()
	got, err := v.Verify(context.Background(), token)
	require.NoError(t, err)
	return got
}

// sent returns the events of a kind.
func (w *world) sent(kind event.Kind) (events []event.Event) {
	for _, e := range w.Sent() {
		if e.Kind == kind {
			events = append(events, e)
		}
	}
	return events
}

// parts returns the text that is signed, and the signature.
func parts(token string) (signed, signature string) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:]
}
