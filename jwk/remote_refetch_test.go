package jwk_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestAKeyThatIsUsedAtOnceIsFoundWithinTheRequest(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, 2 * time.Minute} {
		r := fixture.NewRemote(t)
		old := r.Token()
		r.RequireAccepted(old)
		r.Clock.Advance(age)
		r.Rotate()
		r.RequireAccepted(r.Token())
		require.Equal(t, 2, r.Source.Asked())
		r.RequireUnknown(old)
		require.Equal(t, 2, r.Source.Asked(), "a token that was verified before causes a fetch")
	}
}

func TestATokenWithoutKidCausesAFetchLikeOneWithAnUnknownOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		nameless := func(k *jwk.SigningKey) string {
			return fixture.SignWith(t, k, fixture.Header(k, map[string]any{"kid": nil}), r.Claims(map[string]any{"jti": rand.Text()}))
		}
		r.RequireAccepted(nameless(r.Key))
		require.Equal(t, 1, r.Source.Asked())
		next := fixture.KeyFor(t, jwk.EdDSA)
		require.NoError(t, r.Keys.Replace(r.Key, next.Verification()))
		r.RequireAccepted(nameless(next))
		require.Equal(t, 2, r.Source.Asked())
		another := fixture.NewKey(t, jwk.ES256)
		require.NoError(t, r.Keys.Replace(r.Key, another.Verification()))
		r.Clock.Advance(5 * time.Minute)
		r.RequireAccepted(r.Token()) // has the keys fetched
		synctest.Wait()
		require.Equal(t, 3, r.Source.Asked())
		r.RequireAccepted(nameless(r.Key)) // there are two of that algorithm now
		r.RequireAccepted(nameless(another))
		require.Equal(t, 3, r.Source.Asked())
	})
}

// Such a token causes no fetch even if there are no keys yet, or if its kid is unknown.
func TestATokenThatCannotBeGoodCausesNoFetch(t *testing.T) {
	k := fixture.KeyFor(t, jwk.EdDSA).WithID("unknown")
	mac := fixture.NewKey(t, jwk.HS256)
	r := fixture.NewRemote(t)
	r.VerifyWith(r.Set, jwtauth.VerifierOptions{MaxLifetime: time.Hour, MaxAge: 30 * time.Minute})
	now := r.Clock.Now().Unix()
	claims := func(changes map[string]any) string {
		return fixture.SignWith(t, k, fixture.Header(k, nil), r.Claims(changes))
	}
	head := func(changes map[string]any) string {
		return fixture.SignWith(t, k, fixture.Header(k, changes), r.Claims(nil))
	}
	hopeless := map[string]string{
		"another issuer":        claims(map[string]any{"iss": "https://other.test"}),
		"a slash more":          claims(map[string]any{"iss": fixture.Issuer + "/"}),
		"no issuer":             claims(map[string]any{"iss": nil}),
		"two issuers":           claims(map[string]any{"iss": []string{fixture.Issuer}}),
		"expired":               claims(map[string]any{"exp": now - 31}),
		"no exp":                claims(map[string]any{"exp": nil}),
		"exp as text":           claims(map[string]any{"exp": fmt.Sprint(now + 600)}),
		"nbf ahead":             claims(map[string]any{"nbf": now + 31}),
		"iat ahead":             claims(map[string]any{"iat": now + 31}),
		"lives too long":        claims(map[string]any{"exp": now + 3601}),
		"too old":               claims(map[string]any{"iat": now - 1831}),
		"no iat":                claims(map[string]any{"iat": nil}),
		"typ of refresh tokens": head(map[string]any{"typ": "rt+jwt"}),
		"typ JWT":               head(map[string]any{"typ": "JWT"}),
		"no typ":                head(map[string]any{"typ": nil}),
		"crit":                  head(map[string]any{"crit": []string{"x"}}),
		"none":                  head(map[string]any{"alg": "none"}),
		"no alg":                head(map[string]any{"alg": nil}),
		"an alg of nobody":      head(map[string]any{"alg": "ES999"}),
		"a symmetric alg":       head(map[string]any{"alg": "HS256"}),
		"a symmetric key":       fixture.SignWith(t, mac, fixture.Header(mac, nil), r.Claims(nil)),
		"a kid that is 7":       head(map[string]any{"kid": 7}),
		"exp twice":             fixture.SignWith(t, k, fixture.Header(k, nil), strings.Replace(fixture.Text(t, r.Claims(nil)), "{", fmt.Sprintf(`{"exp":%d,`, now+60), 1)),
		"no object":             fixture.SignWith(t, k, fixture.Header(k, nil), `[]`),
		"no JSON":               fixture.SignWith(t, k, fixture.Header(k, nil), `{`),
		"two segments":          strings.Join(strings.Split(claims(nil), ".")[:2], "."),
		"padding":               strings.Replace(claims(nil), ".", "=.", 1),
	}
	for _, warm := range []int{0, 1} {
		for name, token := range hopeless {
			_, err := r.Verifier.Verify(t.Context(), token)
			require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			require.Equal(t, warm, r.Source.Asked(), name)
		}
		r.RequireAccepted(r.Token())
	}
	require.Equal(t, 1, r.Source.Asked())
	r.RequireUnknown(claims(nil))
	require.Equal(t, 2, r.Source.Asked(), "the others would cause no fetch anyway")
}

// Claims are read before a key is asked for, and then nobody knows whether they are genuine.
func TestNobodyHearsThatATokenHasExpiredWhoseSignatureWasNotChecked(t *testing.T) {
	r := fixture.NewRemote(t)
	forged := fixture.NewKey(t, jwk.EdDSA)
	now := r.Clock.Now().Unix()
	for _, changes := range []map[string]any{{"exp": now - 31}, {"nbf": now + 31}, {"iat": now + 31}, {"exp": now + 30*24*3600}} {
		_, err := r.Verifier.Verify(t.Context(), fixture.SignWith(t, forged, fixture.Header(forged, nil), r.Claims(changes)))
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		for _, reason := range []error{jwtauth.ErrTokenExpired, jwtauth.ErrTokenNotYetValid, jwtauth.ErrTokenTooLong} {
			require.NotErrorIs(t, err, reason)
		}
	}
	require.Zero(t, r.Source.Asked())
	_, err := r.Verifier.Verify(t.Context(), r.Sign(r.Claims(nil)))
	require.NoError(t, err)
	_, err = r.Verifier.Verify(t.Context(), r.Sign(r.Claims(map[string]any{"exp": now - 31})))
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired, "its signature holds")
}

// The issuer may have a key with this kid.
func TestAnUnknownKidWhileTheSourceIsDownIsNotRefused(t *testing.T) {
	r := fixture.NewRemote(t)
	old := r.Token()
	r.RequireAccepted(old)
	r.Source.Serve(fixture.Status(502))
	r.Key = fixture.NewKey(t, jwk.ES256)
	good := r.Sign(r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3600}))
	forged := fixture.SignWith(t, fixture.KeyFor(t, jwk.EdDSA), fixture.Header(fixture.KeyFor(t, jwk.EdDSA), nil), r.Claims(map[string]any{"exp": r.Clock.Now().Unix() + 3600}))
	for range 300 {
		r.Clock.Advance(time.Second)
		r.RequireUnavailable(good)
		r.RequireUnavailable(forged)
		r.RequireAccepted(old)
	}
	require.NoError(t, r.Keys.Replace(r.Key))
	r.Source.Serve(r.Keys)
	r.Clock.Advance(time.Minute)
	r.RequireAccepted(good)
	r.RequireUnknown(forged)
	r.RequireUnknown(old)
}

func TestAnUnknownKidIsRefusedWhereTheSourceWasJustAsked(t *testing.T) {
	r := fixture.NewRemote(t)
	r.RequireAccepted(r.Token())
	for range 10 {
		r.RequireUnknown(r.Unknown("a"))
		r.RequireUnknown(r.Unknown("b"))
	}
	require.Equal(t, 2, r.Source.Asked())
	// The budget is 10 seconds for all of them, 30 for each.
	for _, step := range []struct {
		after time.Duration
		kid   string
		asked int
	}{
		{9 * time.Second, "a", 2}, {0, "b", 2}, {time.Second, "a", 2}, {0, "b", 3}, {9 * time.Second, "c", 3}, {10 * time.Second, "a", 3},
		{time.Second, "a", 4}, {9 * time.Second, "b", 4}, {time.Second, "b", 5}, {0, "a", 5}, {30 * time.Second, "a", 6},
	} {
		r.Clock.Advance(step.after)
		r.RequireUnknown(r.Unknown(step.kid))
		require.Equal(t, step.asked, r.Source.Asked(), "%v", step)
	}
	require.NoError(t, r.Set.Status().LastError)
}

// The kid is asked for again within 30 seconds.
func TestAKidThatWasAskedForBeforeItWasPublishedIsAskedForAgain(t *testing.T) {
	r := fixture.NewRemote(t)
	r.RequireAccepted(r.Token())
	old := r.Key
	r.Key = fixture.NewKey(t, jwk.ES256)
	r.RequireUnknown(r.Token())
	r.Clock.Advance(time.Second)
	require.NoError(t, r.Keys.Replace(r.Key, old.Verification()))
	for range 28 {
		r.Clock.Advance(time.Second)
		r.RequireUnknown(r.Token())
	}
	require.Equal(t, 2, r.Source.Asked())
	r.Clock.Advance(time.Second)
	r.RequireAccepted(r.Token())
	require.Equal(t, 3, r.Source.Asked())
}

// Requests read the clock before they ask for a kid, and may ask in another order.
func TestLateRequestsAreOfTheSameBudget(t *testing.T) {
	r := fixture.NewRemote(t)
	late := time.Duration(0)
	r.VerifyWith(r.Set, jwtauth.VerifierOptions{Now: func() time.Time { return r.Clock.Now().Add(-late) }})
	r.RequireAccepted(r.Token())
	r.Clock.Advance(time.Minute)
	for i := range 1000 {
		late = time.Duration(i) * time.Millisecond
		r.RequireUnknown(r.Unknown(fmt.Sprint(i)))
	}
	require.Equal(t, 2, r.Source.Asked())
}

// A request that read the clock before a fetch began, and asks after it has ended, does not
// cause another one.
func TestATokenThatCameBeforeTheKeysDoesNotAskForThemAgain(t *testing.T) {
	r := fixture.NewRemote(t)
	late := time.Duration(0)
	r.VerifyWith(r.Set, jwtauth.VerifierOptions{Now: func() time.Time { return r.Clock.Now().Add(-late) }})
	r.RequireAccepted(r.Token())
	for _, late = range []time.Duration{1, time.Millisecond, 9 * time.Second} {
		r.RequireUnknown(r.Unknown("a"))
	}
	require.Equal(t, 1, r.Source.Asked())
	late = 11 * time.Second // as much as this only if the clock was set back
	r.RequireUnknown(r.Unknown("a"))
	require.Equal(t, 2, r.Source.Asked())
}
