package jwtauth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

func TestRevocationIDsAreAWireFormat(t *testing.T) {
	for _, test := range []struct{ issuer, value, token, session string }{
		{"https://issuer.example", "token-1", "p4uclcAm90JUynny6nWifw", "Jpshq-2DeNIxBjpfhPOMVw"},
		{"https://issuer.example", "", "qdxb-sptFgHHXSMvW8-Y6w", "9u8ogn2V1W3KsMV_90n7aQ"},
		{"", "", "QGogK4ehtjlBfaTS5dIJCw", "nRrXlTP_R_zqmjpiUMwAdw"},
		{"a", "bc", "et9hlna-cg4N735NAfmwsQ", "42XG8U8AyYC-SKWu97vDDg"},
		{"ab", "c", "Rv0WfJ6W0dQZAZFIibVZhQ", "RO3jlR1fHmn5K9cm09bnvA"},
		{"https://auth.example.com/tenant/ü", "jti with spaces, 'quotes' and \x00", "8qqt6-9aXcE6B1ogym_dZA", "nPB5SMdbXzjyulUONEEAtQ"},
		{"https://issuer.example", strings.Repeat("x", 300), "jbnP3ezegstRcoZMTGAd3Q", "DOcbC0Bgb6QJtWGFcgcbQw"},
	} {
		require.Equal(t, test.token, jwtauth.TokenID(test.issuer, test.value))
		require.Equal(t, test.session, jwtauth.SessionID(test.issuer, test.value))
	}
}

func TestATokenAndASessionOfOneNameDoNotMeet(t *testing.T) {
	w := fixture.New(t)
	plain := w.Sign(w.Claims(map[string]any{"jti": "x"}))
	inSession := w.Sign(w.Claims(map[string]any{"jti": "y", "sid": "x"}))
	other := w.Sign(w.Claims(map[string]any{"jti": "z", "sid": "z"}))
	until := w.Clock.Now().Add(time.Hour)
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.TokenID(fixture.Issuer, "x"), until))
	require.ErrorIs(t, w.RequireRefused(plain), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(inSession)
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, "x"), until))
	require.ErrorIs(t, w.RequireRefused(inSession), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(other)
}

// revoking is a RevocationStore that records the end of each revocation.
type revoking struct {
	jwtauth.RevocationStore
	until map[string]time.Time
}

func (r revoking) Revoke(ctx context.Context, id string, until time.Time) error {
	r.until[id] = until
	return r.RevocationStore.Revoke(ctx, id, until)
}

func TestRevokeRefusesOneTokenEverywhere(t *testing.T) {
	until := make(map[string]time.Time)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations = revoking{o.Revocations, until}
	})
	r := w.Login("alice")
	token, second := w.RequireAccepted(r.AccessToken), w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = w.Store })
	w.Heard()
	require.NoError(t, w.Verifier.Revoke(t.Context(), token))
	require.Equal(t, []string{"token_revoked"}, w.Heard())
	_, err := v.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	require.NoError(t, w.Verifier.Recheck(t.Context(), second), "others of the session are good")
	require.Equal(t, map[string]time.Time{jwtauth.TokenID(fixture.Issuer, token.ID): token.ExpiresAt.Add(6 * time.Minute)}, until)

	// No verifier takes it for as long as any could.
	lax := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations, o.Leeway = w.Store, 5*time.Minute })
	for range 20 {
		_, err := lax.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.Clock.Advance(time.Minute)
	}

	none := w.Foreign(func(*jwtauth.VerifierOptions) {})
	text := w.Sign(w.Claims(map[string]any{"jti": nil}))
	nameless, err := none.Verify(t.Context(), text)
	require.NoError(t, err)
	require.EqualError(t, none.Revoke(t.Context(), nameless), "jwtauth: this Verifier has no Revocations to revoke a token in")
	require.EqualError(t, w.Issuer.Logout(t.Context(), text), "jwtauth: a token without jti cannot be revoked")
}

func TestRevokeIsUnavailableWhereTheStoreFails(t *testing.T) {
	w, store := fixture.NewHooked(t)
	token := w.RequireAccepted(w.Login("alice").AccessToken)
	store.Before = fixture.Failing
	w.Heard()
	err := w.Verifier.Revoke(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, []string{"unavailable revocation"}, w.Heard())
}

func TestAnUnknownRevocationIsNoAnswer(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		w, store := fixture.NewHooked(t, withOptions(func(o *jwtauth.VerifierOptions) { o.InsecureAcceptUnknownRevocation = insecure }))
		r := w.Login("alice")
		token := w.RequireAccepted(r.AccessToken)
		require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
		store.Before = fixture.FailingAt("IsRevoked")
		w.Heard()
		_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
		again := w.Verifier.Recheck(t.Context(), token)
		if insecure {
			require.NoError(t, err)
			require.NoError(t, again)
			require.Equal(t, []string{"revocation_unknown revocation", "revocation_unknown revocation"}, w.Heard(), "each time")
		} else {
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorIs(t, again, jwtauth.ErrUnavailable)
			require.Equal(t, []string{"unavailable revocation", "unavailable revocation"}, w.Heard())
		}
		// A caller who has gone is told nothing, whatever the option says.
		ctx, cancel := context.WithCancel(t.Context())
		store.Before = func(context.Context, string) error {
			cancel()
			return context.Canceled
		}
		_, err = w.Verifier.Verify(ctx, r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		store.Before = nil
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
}

func TestLogoutRevokesATokenWithoutASessionByItsOwnID(t *testing.T) {
	until := make(map[string]time.Time)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations = revoking{o.Revocations, until}
	})
	r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.Empty(t, r.SessionID+r.RefreshToken)
	other, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	token := w.RequireAccepted(r.AccessToken)
	w.Heard()
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	require.Equal(t, []string{"token_revoked"}, w.Heard())
	require.Len(t, until, 1)
	require.True(t, r.ExpiresAt.Add(6*time.Minute).Equal(until[jwtauth.TokenID(fixture.Issuer, token.ID)]))
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(other.AccessToken)
}

func TestAccessTokensOfBeforeAreRevokedForAsLongAsTheyLive(t *testing.T) {
	w := fixture.New(t)
	before := w.Another(func(o *jwtauth.IssuerOptions) { o.AccessTTL = 2 * time.Hour })
	r, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	now := w.Another(func(o *jwtauth.IssuerOptions) { o.AccessTTL, o.LongestAccessTTL = time.Minute, 2*time.Hour })
	require.NoError(t, now.Logout(t.Context(), r.RefreshToken))
	lax, err := now.NewVerifier(jwtauth.VerifierOptions{Leeway: 5 * time.Minute})
	require.NoError(t, err)
	for range 2*60 + 5 {
		_, err := lax.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.Clock.Advance(time.Minute)
	}
	_, err = lax.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestWithoutRevocationsALogoutEndsRefreshingAlone(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations, o.InsecureAccessOutlivesSession = nil, true
	})
	r := w.Login("alice")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	w.RequireAccepted(r.AccessToken)
	alone, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.EqualError(t, w.Issuer.Logout(t.Context(), alone.AccessToken), "jwtauth: this Issuer has no Revocations to revoke a token in")
}
