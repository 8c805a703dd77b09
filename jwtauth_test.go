package jwtauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestSmoke(t *testing.T) {
	for _, alg := range []jwtauth.Algorithm{"HS256", "RS256", "PS384", "ES256", "ES512", "EdDSA", "Ed25519"} {
		key, err := jwtauth.GenerateKey(alg)
		require.NoError(t, err)
		keys, err := jwtauth.NewKeyRing(key)
		require.NoError(t, err)
		now := time.Now()
		clock := func() time.Time { return now }
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: clock})
		issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
			Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
			Sessions: store, Revocations: store, Now: clock,
			OnEvent: func(_ context.Context, e jwtauth.Event) { t.Log(e.Kind, e.Reason, e.Err) },
		})
		require.NoError(t, err)
		verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
		require.NoError(t, err)
		ctx := t.Context()
		r1, err := issuer.Issue(ctx, jwtauth.Grant{Subject: "alice", Scopes: []string{"a", "b"}, Claims: map[string]any{"role": "admin", "n": int64(1<<53 + 1)}})
		require.NoError(t, err)
		tok, err := verifier.Verify(ctx, r1.AccessToken)
		require.NoError(t, err)
		require.Equal(t, "alice", tok.Subject)
		require.Equal(t, []string{"a", "b"}, tok.Scopes())
		c, err := jwtauth.ClaimsAs[struct {
			Role string
			N    int64
		}](tok)
		require.NoError(t, err)
		require.EqualValues(t, 1<<53+1, c.N)
		require.NoError(t, verifier.Recheck(ctx, tok))
		r2, err := issuer.Refresh(ctx, r1.RefreshToken)
		require.NoError(t, err)
		_, err = issuer.Refresh(ctx, r1.RefreshToken)
		require.NoError(t, err)
		_, err = issuer.Refresh(ctx, r2.RefreshToken)
		require.NoError(t, err)
		list, err := issuer.Sessions(ctx, "alice")
		require.NoError(t, err)
		require.Len(t, list, 1)
		_, err = issuer.Refresh(ctx, r1.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenReused)
		_, err = verifier.Verify(ctx, r1.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		t.Log(err)
	}
}
