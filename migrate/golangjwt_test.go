package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// parse parses a token as the code of golang-jwt does.
func parse(keys jwk.Set, token string) (*jwt.Token, error) {
	return jwt.Parse(token, migrate.Keyfunc(keys), jwt.WithExpirationRequired(), jwt.WithIssuer(fixture.Issuer), jwt.WithAudience(fixture.Audience))
}

// newWorld makes a World whose clock shows the real time, since Keyfunc has no other.
func newWorld(t *testing.T, alg jwk.Algorithm) *fixture.World {
	w := fixture.NewWith(t, alg)
	w.Clock.Set(time.Now())
	return w
}

func TestGolangJWTAcceptsNewTokensWithTheKeysOfARing(t *testing.T) {
	for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.HS512, jwk.RS256, jwk.PS256, jwk.ES256, jwk.ES512, jwk.EdDSA} {
		w := newWorld(t, alg)
		tokens := w.Login("alice")
		parsed, err := parse(w.Keys, tokens.AccessToken)
		require.NoError(t, err, alg)
		subject, err := parsed.Claims.GetSubject()
		require.NoError(t, err)
		require.Equal(t, "alice", subject)

		_, err = jwt.Parse(tokens.RefreshToken, migrate.Keyfunc(w.Keys))
		require.ErrorIs(t, err, jwtauth.ErrTokenType, alg)
		require.ErrorIs(t, err, jwt.ErrTokenUnverifiable)
		static, err := jwk.Static(w.Key.Verification())
		require.NoError(t, err)
		_, err = jwt.Parse(tokens.RefreshToken, migrate.Keyfunc(static))
		require.ErrorIs(t, err, jwtauth.ErrTokenType, alg)
	}
}

func TestKeyfuncRefusesWhatTheKeyDoesNotAllow(t *testing.T) {
	w := newWorld(t, jwk.RS256)
	mac := fixture.KeyFor(t, jwk.HS256)
	set, err := jwk.Static(w.Key.Verification(), mac.Verification())
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		header map[string]any
		want   error
	}{
		{"another alg of the family", map[string]any{"alg": "RS512"}, jwtauth.ErrTokenKey},
		{"PSS", map[string]any{"alg": "PS256"}, jwtauth.ErrTokenKey},
		{"HMAC with the kid of the RSA key", map[string]any{"alg": "HS256"}, jwtauth.ErrTokenKey},
		{"none", map[string]any{"alg": "none"}, jwtauth.ErrTokenKey},
		{"the kid of another key", map[string]any{"kid": mac.ID()}, jwtauth.ErrTokenKey},
		{"kid 7", map[string]any{"kid": 7}, jwtauth.ErrTokenMalformed},
		{"crit", map[string]any{"crit": []string{"exp"}}, jwtauth.ErrTokenMalformed},
		{"b64", map[string]any{"b64": false}, jwtauth.ErrTokenMalformed},
		{"a refresh token", map[string]any{"typ": "rt+jwt"}, jwtauth.ErrTokenType},
		{"a refresh token with its media type", map[string]any{"typ": "application/RT+JWT"}, jwtauth.ErrTokenType},
		{"typ in a list", map[string]any{"typ": []string{"rt+jwt"}}, jwtauth.ErrTokenType},
	} {
		_, err := parse(set, fixture.SignWith(t, w.Key, fixture.Header(w.Key, c.header), w.Claims(nil)))
		require.ErrorIs(t, err, c.want, c.name)
		require.NotErrorIs(t, err, jwtauth.ErrUnavailable, c.name)
	}
	for _, header := range []map[string]any{{}, {"kid": nil}, {"kid": ""}, {"typ": "JWT"}, {"typ": nil}} {
		_, err := parse(set, fixture.SignWith(t, w.Key, fixture.Header(w.Key, header), w.Claims(nil)))
		require.NoError(t, err, header)
	}
}

func TestKeyfuncTriesTheKeysOfAnAlgorithmForATokenWithoutKid(t *testing.T) {
	w := newWorld(t, jwk.ES256)
	var keys []*jwk.VerificationKey
	for range 4 {
		keys = append(keys, fixture.NewKey(t, jwk.ES256).Verification())
	}
	token := fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": nil}), w.Claims(nil))
	for n, want := range map[int]error{0: nil, 3: nil, 4: jwtauth.ErrTokenKey} {
		set, err := jwk.Static(append(keys[:n:n], w.Key.Verification())...)
		require.NoError(t, err)
		_, err = parse(set, token)
		require.ErrorIs(t, err, want, n)
	}
	set, err := jwk.Static(keys[:2]...)
	require.NoError(t, err)
	_, err = parse(set, token)
	require.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid)
}

func TestKeyfuncWithoutKeysIsUnavailable(t *testing.T) {
	w := newWorld(t, jwk.ES256)
	token := w.Login("alice").AccessToken
	for _, keys := range []jwk.Set{nil, (*jwk.Ring)(nil), &jwk.StaticSet{}, broken{}} {
		_, err := parse(keys, token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	}
	_, err := migrate.Keyfunc(w.Keys)(nil)
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
	_, err = migrate.Keyfunc(w.Keys)(&jwt.Token{})
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
}

var errDown = errors.New("the source is down")

// broken is a set whose source is down.
type broken struct{}

func (broken) VerifierSeam() (keyset.Set, error) { return broken{}, nil }
func (broken) Current(context.Context, time.Time) (*keyset.Table, error) {
	return nil, errDown
}
func (broken) AskForKid(context.Context, time.Time, string) (*keyset.Table, error) {
	return nil, errDown
}
func (broken) Facts() keyset.Facts { return keyset.Facts{AsksForKid: true} }

// slow is a set whose source answers when the context ends.
type slow struct{ broken }

func (slow) VerifierSeam() (keyset.Set, error) { return slow{}, nil }
func (slow) Current(ctx context.Context, _ time.Time) (*keyset.Table, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (slow) AskForKid(ctx context.Context, now time.Time, _ string) (*keyset.Table, error) {
	return slow{}.Current(ctx, now)
}

func TestKeyfuncWaitsNoLongerThanItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jwk.ES256)
		start := time.Now()
		_, err := parse(slow{}, w.Login("alice").AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Equal(t, 10*time.Second, time.Since(start))
	})
}

func TestKeysThatCannotBeReadAreNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOldWorld(t)
		old := w.verifier(slow{})
		start := time.Now()
		_, err := jwtauth.AnyOf(w.Verifier, old)
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, time.Since(start))
	})
}

// growing is a set that finds its key only if it is asked for it.
type growing struct {
	empty, full *keyset.Table
	asked       int
	facts       keyset.Facts
}

func (g *growing) VerifierSeam() (keyset.Set, error)                         { return g, nil }
func (g *growing) Current(context.Context, time.Time) (*keyset.Table, error) { return g.empty, nil }
func (g *growing) AskForKid(context.Context, time.Time, string) (*keyset.Table, error) {
	g.asked++
	return g.full, nil
}
func (g *growing) Facts() keyset.Facts { return g.facts }

func TestOnlyAPlausibleTokenMakesKeyfuncAskForItsKey(t *testing.T) {
	w := newWorld(t, jwk.ES256)
	seam, err := w.Keys.VerifierSeam()
	require.NoError(t, err)
	full, err := seam.Current(t.Context(), time.Now())
	require.NoError(t, err)
	empty, err := keyset.NewTable(nil, nil)
	require.NoError(t, err)
	set := &growing{empty: empty, full: full, facts: keyset.Facts{AsksForKid: true, Asymmetric: true, Issuer: fixture.Issuer}}
	_, err = parse(set, w.Login("alice").AccessToken)
	require.NoError(t, err)
	require.Equal(t, 1, set.asked)
	mac := fixture.KeyFor(t, jwk.HS256)
	for _, token := range []string{
		w.Sign(w.Claims(map[string]any{"iss": "https://other.test"})),
		w.Sign(w.Claims(map[string]any{"exp": time.Now().Unix() - 1})),
		w.Sign(w.Claims(map[string]any{"exp": nil})),
		w.Sign(w.Claims(map[string]any{"exp": "soon"})),
		fixture.SignWith(t, mac, fixture.Header(mac, nil), w.Claims(nil)),
	} {
		_, err = parse(set, token)
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		require.Equal(t, 1, set.asked)
	}
	set.facts.AsksForKid = false
	_, err = parse(set, w.Login("alice").AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)
	require.Equal(t, 1, set.asked)
}

func TestMapClaimsAreThoseOfGolangJWT(t *testing.T) {
	w := newWorld(t, jwk.ES256)
	tokens, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"},
		Claims: map[string]any{"user_id": 7, "ratio": 0.5, "roles": []string{"admin"}, "nested": map[string]any{"n": 1, "nil": nil}},
	})
	require.NoError(t, err)
	parsed, err := parse(w.Keys, tokens.AccessToken)
	require.NoError(t, err)
	verified, err := w.Verifier.Verify(t.Context(), tokens.AccessToken)
	require.NoError(t, err)
	got := migrate.MapClaims(verified)
	require.Equal(t, parsed.Claims, got)
	require.Equal(t, 7.0, got["user_id"])
	got["sub"] = "mallory"
	require.Equal(t, parsed.Claims, migrate.MapClaims(verified), "the caller owns the result")

	require.Nil(t, migrate.MapClaims(jwtauth.Token{}))
	require.Nil(t, migrate.MapClaims(jwtauthtest.NewToken(t, map[string]any{"sub": "a", "n": json.Number("1e400")})))
}
