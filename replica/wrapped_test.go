package replica_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
	"github.com/jwtauth-go/jwtauth/replica"
)

// measured wraps a store like a program that counts its calls. It embeds the store and
// replaces one method.
type measured[S jwtauth.RevocationStore] struct {
	store S
	asked *int
}

func (m measured[S]) Revoke(ctx context.Context, id string, until time.Time) error {
	return m.store.Revoke(ctx, id, until)
}

func (m measured[S]) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	*m.asked++
	return m.store.IsRevoked(ctx, ids...)
}

// embedding inherits every method of a MemoryStore but IsRevoked.
type embedding struct {
	*jwtauth.MemoryStore
	asked *int
}

func (e embedding) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	*e.asked++
	return e.MemoryStore.IsRevoked(ctx, ids...)
}

// embeddingReplica does the same with a Replica.
type embeddingReplica struct {
	*replica.Replica
	asked *int
}

func (e embeddingReplica) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	*e.asked++
	return e.Replica.IsRevoked(ctx, ids...)
}

// TestAWrapperAroundARevocationStoreChangesNoAnswer goes with each store through the life
// of a session, and through a logout of which the session store loses the half.
func TestAWrapperAroundARevocationStoreChangesNoAnswer(t *testing.T) {
	var asked int
	for name, wrap := range map[string]func(t *testing.T, c func() time.Time) jwtauth.RevocationStore{
		"a MemoryStore": func(_ *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: now})
		},
		"a MemoryStore that is measured": func(_ *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return measured[*jwtauth.MemoryStore]{jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: now}), &asked}
		},
		"a MemoryStore that is embedded": func(_ *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return embedding{jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: now}), &asked}
		},
		"a Replica": func(t *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return newReady(t, now)
		},
		"a Replica that is measured": func(t *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return measured[*replica.Replica]{newReady(t, now), &asked}
		},
		"a Replica that is embedded": func(t *testing.T, now func() time.Time) jwtauth.RevocationStore {
			return embeddingReplica{newReady(t, now), &asked}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked = 0
				sessions := new(hookstore.Store)
				w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
					sessions.Sessions = o.Sessions
					o.Sessions, o.Revocations = sessions, wrap(t, o.Now)
				})
				r := w.Login("alice")
				again := w.Refresh(r.RefreshToken)
				w.RequireAccepted(again.AccessToken)

				sessions.Before = fixture.FailingAt("Delete")
				require.ErrorIs(t, w.Issuer.Logout(t.Context(), again.RefreshToken), jwtauth.ErrUnavailable)
				sessions.Before = nil
				w.RequireInvalidGrant(again.RefreshToken, jwtauth.ErrNoSession)
				require.ErrorIs(t, w.RequireRefused(again.AccessToken), jwtauth.ErrTokenRevoked)
				sessionsLeft, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
				require.NoError(t, err)
				require.Empty(t, sessionsLeft, "the refresh has finished the end")
				if name != "a MemoryStore" && name != "a Replica" {
					require.Positive(t, asked, "the method of the wrapper is called")
				}
			})
		})
	}
}

// newReady makes a Replica that has a copy.
func newReady(t *testing.T, now func() time.Time) *replica.Replica {
	r := fixture.NewReplica(t, new(fixture.Engine), func(o *replica.Options) { o.Now = now })
	require.NoError(t, r.Ready(t.Context()))
	return r
}
