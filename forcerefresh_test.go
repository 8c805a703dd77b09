package jwtauth_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

func TestForceRefreshEndsAccessTokensAndKeepsTheSession(t *testing.T) {
	role := "admin"
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Claims = map[string]any{"role": role}
			return nil
		}
	})
	roleOf := func(text string) string {
		claims, err := jwtauth.ClaimsAs[struct{ Role string }](w.RequireAccepted(text))
		require.NoError(t, err)
		return claims.Role
	}
	login, other := w.Login("alice"), w.Login("alice")
	admin := w.Refresh(login.RefreshToken)
	require.Equal(t, "admin", roleOf(admin.AccessToken))
	role = "user"
	w.Heard()
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", admin.SessionID))
	require.Equal(t, []string{"refresh_forced"}, w.Heard())
	for _, r := range []jwtauth.TokenResponse{login, admin} {
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.RequireAccepted(other.AccessToken)
	replayed := w.Refresh(login.RefreshToken) // within the grace: of the same generation, and of the new epoch
	require.Equal(t, "user", roleOf(replayed.AccessToken))
	user := w.Refresh(admin.RefreshToken)
	require.Equal(t, "user", roleOf(user.AccessToken))
	require.EqualValues(t, 3, fixture.Generation(t, user.RefreshToken))
	user = w.Refresh(user.RefreshToken)
	require.Equal(t, "user", roleOf(user.AccessToken))

	next, err := w.Issuer.ForceRefreshAll(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, next)
	for _, r := range []jwtauth.TokenResponse{user, other} {
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	}
	w.RequireAccepted(w.Login("alice").AccessToken)
}

// The order is: revoke the epoch, then raise it. If the second step fails, access tokens are
// refused, and calling again does the rest.
func TestForceRefreshThatFailsHalfWayIsMadeWhole(t *testing.T) {
	for _, method := range []string{"Revoke", "Advance"} {
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		calls := 0
		store.Before = func(_ context.Context, called string) error {
			if called == "Advance" {
				calls++
			}
			if called == method && (method == "Revoke" || calls == 2) { // the first Advance looks
				return fixture.ErrStoreDown
			}
			return nil
		}
		w.Heard()
		require.ErrorIs(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
		require.Len(t, w.Heard(), 1)
		store.Before = nil
		require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	}
	w := fixture.New(t)
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Revocations, o.InsecureAccessOutlivesSession = nil, true })
	r := w.Login("alice")
	require.EqualError(t, i.ForceRefresh(t.Context(), "alice", r.SessionID), "jwtauth: this Issuer has no Revocations to revoke a token in")
	_, err := i.ForceRefreshAll(t.Context(), "alice", "")
	require.EqualError(t, err, "jwtauth: this Issuer has no Revocations to revoke a token in")
}

// A refresh that had asked Reload before the epoch was raised asks it again.
func TestARefreshThatMeetsANewEpochAsksReloadAgain(t *testing.T) {
	var w *fixture.World
	var asked int
	role := "admin"
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			asked++
			g.Claims = map[string]any{"role": role}
			return nil
		}
	})
	r := w.Login("alice")
	store.Before = func(_ context.Context, method string) error {
		if method == "Advance" { // of the refresh, which has asked Reload
			store.Before = nil
			role = "user"
			require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
		}
		return nil
	}
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, 2, asked)
	claims, err := jwtauth.ClaimsAs[struct{ Role string }](w.RequireAccepted(r.AccessToken))
	require.NoError(t, err)
	require.Equal(t, "user", claims.Role)
	require.EqualValues(t, 2, fixture.Generation(t, r.RefreshToken))
}
