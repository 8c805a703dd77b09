package attacks_test

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/replica"
)

var revocationAttacks = []attack{
	{"V01", "revoked token", attackRevoked},
	{"V03", "restart", attackRestartOfVerifier},
	{"V06", "store down", attackRevocationStoreDown},
	{"V07", "store slow", attackStoreSlow},
	{"V10", "jti collision between issuers", attackJtiOfAnotherIssuer},
	{"V12", "SQL injection through jti and sub", attackInjectionIntoStore},
	{"V14", "garbage collection", attackGarbage},
	{"V15", "concurrent revoke and check", attackConcurrentRevoke},
	{"V16", "negative caching", attackNegativeCaching},
}

// attackRestartOfVerifier makes new verifiers with the same store, as a program does after a
// restart. A restart of a program with a MemoryStore forgets all revocations, as its
// documentation says.
func attackRestartOfVerifier(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	_, err := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = w.Store }).Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	forgotten := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: w.Clock.Now})
	_, err = w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = forgotten }).Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
}

// attackNegativeCaching revokes a token that a replica and the cache of its verifier know as
// good. Both refuse it within MaxLag.
func attackNegativeCaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fixture.Engine{}
		copied, err := replica.New(engine, replica.Options{MaxLag: time.Second})
		require.NoError(t, err)
		defer copied.Close()
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations, o.Now = engine, time.Now })
		verifier := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations, o.Now = copied, time.Now })
		require.NoError(t, copied.Ready(t.Context()))
		r := w.Login("alice")
		for range 3 {
			_, err = verifier.Verify(t.Context(), r.AccessToken)
			require.NoError(t, err)
		}
		require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
		time.Sleep(time.Second)
		_, err = verifier.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	})
}

func attackRevoked(t *testing.T) {
	for name, revoke := range map[string]func(w *fixture.World, r jwtauth.TokenResponse, token jwtauth.Token) error{
		"by the verifier": func(w *fixture.World, _ jwtauth.TokenResponse, token jwtauth.Token) error {
			return w.Verifier.Revoke(t.Context(), token)
		},
		"by a logout": func(w *fixture.World, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.Issuer.Logout(t.Context(), r.AccessToken)
		},
		"by its session": func(w *fixture.World, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.Issuer.EndSession(t.Context(), "alice", r.SessionID)
		},
		"by all sessions": func(w *fixture.World, _ jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.Issuer.EndAllSessions(t.Context(), "alice")
		},
		"by another session": func(w *fixture.World, _ jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.Issuer.EndOtherSessions(t.Context(), "alice", w.Login("alice").SessionID)
		},
		"by its id": func(w *fixture.World, _ jwtauth.TokenResponse, token jwtauth.Token) error {
			return w.Issuer.RevokeID(t.Context(), token.ID)
		},
		"by a forced refresh": func(w *fixture.World, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID)
		},
		"by a forced refresh of all": func(w *fixture.World, _ jwtauth.TokenResponse, _ jwtauth.Token) error {
			_, err := w.Issuer.ForceRefreshAll(t.Context(), "alice", "")
			return err
		},
		"by another verifier": func(w *fixture.World, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			other, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Revocations: w.Store, Now: w.Clock.Now})
			require.NoError(t, err)
			token, err := other.Verify(t.Context(), r.AccessToken)
			require.NoError(t, err)
			return other.Revoke(t.Context(), token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fixture.New(t)
			r, bystander := w.Login("alice"), w.Login("bob")
			token := w.RequireAccepted(r.AccessToken)
			require.NoError(t, revoke(w, r, token))
			require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			require.ErrorIs(t, w.Verifier.Recheck(t.Context(), token), jwtauth.ErrTokenRevoked)
			w.RequireAccepted(bystander.AccessToken)
			// It stays revoked to its end, with the leeway.
			w.Clock.Advance(15*time.Minute + 29*time.Second)
			require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		})
	}
}

func attackRevocationStoreDown(t *testing.T) {
	t.Run("closed by default", func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		token := w.Login("alice").AccessToken
		verified := w.RequireAccepted(token)
		w.Kinds()
		store.Before = fixture.Failing
		w.RequireUnavailable(token)
		require.ErrorIs(t, w.Verifier.Recheck(t.Context(), verified), jwtauth.ErrUnavailable)
		require.Equal(t, []event.Kind{event.Unavailable, event.Unavailable, event.Unavailable}, w.Kinds())
		store.Before, store.After = nil, fixture.Failing // the answer itself is lost
		w.RequireUnavailable(token)
		store.After = nil
		w.RequireAccepted(token)
	})
	t.Run("a revocation that failed is no success", func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		token := w.RequireAccepted(r.AccessToken)
		store.Before = fixture.FailingAt("Revoke")
		require.ErrorIs(t, w.Verifier.Revoke(t.Context(), token), jwtauth.ErrUnavailable)
		require.ErrorIs(t, w.Issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrUnavailable)
		require.ErrorIs(t, w.Issuer.EndAllSessions(t.Context(), "alice"), jwtauth.ErrUnavailable)
		require.ErrorIs(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
		store.Before = nil
		require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken), "calling again does the rest")
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	})
	t.Run("who logs out and goes away has logged out", func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		for name, end := range map[string]func(ctx context.Context, r jwtauth.TokenResponse) error{
			"Logout": func(ctx context.Context, r jwtauth.TokenResponse) error { return w.Issuer.Logout(ctx, r.AccessToken) },
			"EndSession": func(ctx context.Context, r jwtauth.TokenResponse) error {
				return w.Issuer.EndSession(ctx, "alice", r.SessionID)
			},
		} {
			r := w.Login("alice")
			ctx, cancel := context.WithCancel(t.Context())
			store.Before = func(ctx context.Context, _ string) error {
				cancel()
				return ctx.Err()
			}
			require.NoError(t, end(ctx, r), name)
			store.Before = nil
			require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			w.RequireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
		}
	})
	t.Run("open by option, with an event each time", func(t *testing.T) {
		w, store := fixture.NewHooked(t, func(_ *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) { vo.InsecureAcceptUnknownRevocation = true })
		token := w.Login("alice").AccessToken
		w.Kinds()
		store.Before = fixture.Failing
		w.RequireAccepted(token)
		w.RequireAccepted(token)
		require.Len(t, w.Sent(), 4)
		for _, e := range w.Sent() {
			require.Equal(t, event.RevocationUnknown, e.Kind)
			require.ErrorIs(t, e.Err, fixture.ErrStoreDown)
			require.Equal(t, "alice", e.Subject)
		}
		// The option accepts a token if the store does not answer, and in no other case.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.Verifier.Verify(ctx, token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		ctx, cancel = context.WithCancel(t.Context())
		store.Before = func(ctx context.Context, _ string) error { // the request ends while the store is asked
			cancel()
			return ctx.Err()
		}
		_, err = w.Verifier.Verify(ctx, token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		store.Before = nil
		require.NoError(t, w.Issuer.Logout(t.Context(), token))
		require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenRevoked)
	})
}

// hanging is a hook for a store that answers when its context ends.
func hanging(ctx context.Context, _ string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return nil
	}
}

// hangingAt is hanging for one method.
func hangingAt(method string) func(context.Context, string) error {
	return func(ctx context.Context, called string) error {
		if called == method {
			return hanging(ctx, called)
		}
		return nil
	}
}

func attackStoreSlow(t *testing.T) {
	for _, timeout := range []struct{ option, want time.Duration }{{0, 2 * time.Second}, {300 * time.Millisecond, 300 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.StoreTimeout = timeout.option })
			r := w.Login("alice")
			token := w.RequireAccepted(r.AccessToken)
			refresh := func(ctx context.Context) error {
				_, err := w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})
				return err
			}
			for name, c := range map[string]struct {
				calls int // that wait for the time-out
				hangs func(context.Context, string) error
				call  func(ctx context.Context) error
			}{
				"Verify":  {1, hanging, func(ctx context.Context) error { _, err := w.Verifier.Verify(ctx, r.AccessToken); return err }},
				"Recheck": {1, hanging, func(ctx context.Context) error { return w.Verifier.Recheck(ctx, token) }},
				"Revoke":  {1, hanging, func(ctx context.Context) error { return w.Verifier.Revoke(ctx, token) }},
				"Issue": {1, hanging, func(ctx context.Context) error {
					_, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
					return err
				}},
				"Refresh":              {1, hanging, refresh},
				"Refresh at IsRevoked": {1, hangingAt("IsRevoked"), refresh},
				"Refresh at Advance":   {1, hangingAt("Advance"), refresh},
				"Session":              {1, hanging, func(ctx context.Context) error { _, err := w.Issuer.Session(ctx, r.RefreshToken); return err }},
				"Session at Advance":   {1, hangingAt("Advance"), func(ctx context.Context) error { _, err := w.Issuer.Session(ctx, r.RefreshToken); return err }},
				"ForceRefresh":         {1, hanging, func(ctx context.Context) error { return w.Issuer.ForceRefresh(ctx, "alice", r.SessionID) }},
				"ForceRefreshAll":      {1, hanging, func(ctx context.Context) error { _, err := w.Issuer.ForceRefreshAll(ctx, "alice", ""); return err }},
				"Ready":                {1, hanging, w.Issuer.Ready},
				"Sessions":             {1, hanging, func(ctx context.Context) error { _, _, err := w.Issuer.Sessions(ctx, "alice", ""); return err }},
				"EndAllSessions":       {1, hanging, func(ctx context.Context) error { return w.Issuer.EndAllSessions(ctx, "alice") }},
				"EndSession":           {2, hanging, func(ctx context.Context) error { return w.Issuer.EndSession(ctx, "alice", r.SessionID) }},
				"Logout":               {2, hanging, func(ctx context.Context) error { return w.Issuer.Logout(ctx, r.AccessToken) }},
			} {
				store.Before = c.hangs
				began := time.Now()
				require.ErrorIs(t, c.call(t.Context()), jwtauth.ErrUnavailable, name)
				require.Equal(t, time.Duration(c.calls)*timeout.want, time.Since(began), name)
			}
			store.Before = nil
			w.Refresh(r.RefreshToken)
		}) // which fails the test if a goroutine does not end
	}
}

func attackJtiOfAnotherIssuer(t *testing.T) {
	w := fixture.New(t)
	const other = "https://other.test"
	key := fixture.NewKey(t, jwk.ES256)
	keys, err := jwk.Static(key.Verification())
	require.NoError(t, err)
	theirs, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: other, Audiences: []string{fixture.Audience}, Revocations: w.Store, Now: w.Clock.Now})
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.Verifier, theirs)
	require.NoError(t, err)

	claims := map[string]any{"jti": "x", "sid": "y"}
	here := w.Sign(w.Claims(claims))
	claims["iss"] = other
	there := fixture.SignWith(t, key, fixture.Header(key, nil), w.Claims(claims))
	token := w.RequireAccepted(here)
	_, err = theirs.Verify(t.Context(), there)
	require.NoError(t, err)

	require.NoError(t, w.Verifier.Revoke(t.Context(), token))
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, "y"), w.Clock.Now().Add(time.Hour)))
	w.RequireRefused(here)
	for _, v := range []*jwtauth.Verifier{theirs, either} {
		_, err = v.Verify(t.Context(), there)
		require.NoError(t, err)
	}
	_, err = either.Verify(t.Context(), here)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)

	// If two issuers share a key, the verifier of one refuses the tokens of the other.
	sister, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: other, Audiences: []string{fixture.Audience}, Revocations: w.Store, Now: w.Clock.Now})
	require.NoError(t, err)
	token = w.RequireAccepted(w.Sign(w.Claims(nil)))
	for _, err := range []error{sister.Recheck(t.Context(), token), sister.Revoke(t.Context(), token), theirs.Revoke(t.Context(), token)} {
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	}
	require.NoError(t, either.Recheck(t.Context(), token))

	// No two pairs of texts have one id, also if they are equal when joined.
	seen := make(map[string]bool)
	for _, id := range []string{
		jwtauth.TokenID("a", "bc"), jwtauth.TokenID("ab", "c"), jwtauth.TokenID("abc", ""), jwtauth.TokenID("", "abc"),
		jwtauth.SessionID("a", "bc"), jwtauth.SessionID("ab", "c"), jwtauth.SessionID("abc", ""), jwtauth.SessionID("", "abc"),
	} {
		require.False(t, seen[id])
		seen[id] = true
	}
}

func attackInjectionIntoStore(t *testing.T) {
	hostile := []string{
		`'; DROP TABLE revoked;--`, `'; DROP TABLE revoked;-- `, `' OR '1'='1`, `" OR ""="`, `*`, `%`, `_`, "a\x00b", "a", "a\r\nDEL *", `{"$ne":null}`, "../../etc", "ключ", "\u202e",
	}
	w := fixture.New(t)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
	for _, jti := range hostile {
		require.Regexp(t, form, jwtauth.TokenID(fixture.Issuer, jti))
		require.Regexp(t, form, jwtauth.SessionID(fixture.Issuer, jti))
	}
	for i, jti := range hostile {
		token := w.Sign(w.Claims(map[string]any{"jti": jti, "sid": jti}))
		verified := w.RequireAccepted(token)
		require.Equal(t, jti, verified.ID)
		require.NoError(t, w.Verifier.Revoke(t.Context(), verified))
		w.RequireRefused(token)
		for _, other := range hostile[i+1:] {
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"jti": other})))
		}
	}
	// The session store gets subjects as they are, and tells them apart.
	sessions := make(map[string]jwtauth.TokenResponse)
	for _, subject := range hostile {
		sessions[subject] = w.Login(subject)
	}
	for i, subject := range hostile {
		list, _, err := w.Issuer.Sessions(t.Context(), subject, "")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, subject, list[0].Subject)
		require.NoError(t, w.Issuer.EndAllSessions(t.Context(), subject))
		w.RequireInvalidGrant(sessions[subject].RefreshToken, jwtauth.ErrNoSession)
		for _, other := range hostile[i+1:] {
			w.RequireAccepted(sessions[other].AccessToken)
		}
	}
}

func attackGarbage(t *testing.T) {
	const entries, sessions = 200_000, 20_000
	clock := fixture.NewClock()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{MaxRevocations: entries, MaxSessions: sessions, Now: clock.Now})
	fill := func(round string) error {
		end := clock.Now().Add(time.Second)
		for i := range entries {
			if err := store.Revoke(t.Context(), fmt.Sprint(round, i), end); err != nil {
				return err
			}
		}
		for i := range sessions {
			key := jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: fmt.Sprint(round, i), ID: "1"}
			if err := store.Create(t.Context(), jwtauth.SessionRecord{Key: key, Generation: 1, ExpiresAt: end, Data: make([]byte, 100)}, 0); err != nil {
				return err
			}
		}
		return nil
	}
	empty := fixture.Heap()
	require.NoError(t, fill("a"))
	full := fixture.Heap() - empty
	require.Greater(t, full, int64(10<<20), "the heap that is measured does not have the store")
	require.ErrorContains(t, fill("b"), "full")

	// All entries have ended, and calls come.
	clock.Advance(2 * time.Second)
	for range 7 * 60 * 100 {
		clock.Advance(time.Second / 100)
		_, err := store.IsRevoked(t.Context(), "somebody")
		require.NoError(t, err)
	}
	require.Less(t, fixture.Heap()-empty, full/10)
	require.NoError(t, fill("c"))
	require.Less(t, fixture.Heap()-empty, full+full/4)
	runtime.KeepAlive(store)
}

func attackConcurrentRevoke(t *testing.T) {
	w := fixture.NewWith(t, jwk.HS256)
	r := w.Login("alice")
	token := w.RequireAccepted(r.AccessToken)
	var revoked atomic.Bool
	var accepted, late, undone atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 1000 {
		all.Go(func() {
			<-start
			if i == 500 {
				if err := w.Verifier.Revoke(t.Context(), token); err != nil {
					t.Error(err)
				}
				revoked.Store(true)
			}
			refused := false
			for range 20 {
				before := revoked.Load()
				_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
				switch {
				case err != nil:
					refused = true
				case before:
					late.Add(1)
				case refused:
					undone.Add(1)
				default:
					accepted.Add(1)
				}
				if i%2 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	close(start)
	all.Wait()
	require.Zero(t, late.Load(), "accepted after Revoke had returned")
	require.Zero(t, undone.Load(), "accepted after it was refused")
	t.Log(accepted.Load(), "accepted before it was revoked")
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
}
