package jwtauth_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var revocationAttacks = []attack{
	{"V01", "revoked token", attackRevoked},
	{"V06", "store down", attackRevocationStoreDown},
	{"V07", "store slow", attackStoreSlow},
	{"V10", "jti collision between issuers", attackJtiOfAnotherIssuer},
	{"V12", "SQL injection through jti and sub", attackInjectionIntoStore},
	{"V14", "garbage collection", attackGarbage},
	{"V15", "concurrent revoke and check", attackConcurrentRevoke},
}

func attackRevoked(t *testing.T) {
	for name, revoke := range map[string]func(w *world, r jwtauth.TokenResponse, token jwtauth.Token) error{
		"by the verifier": func(w *world, _ jwtauth.TokenResponse, token jwtauth.Token) error {
			return w.verifier.Revoke(t.Context(), token)
		},
		"by a logout": func(w *world, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.issuer.Logout(t.Context(), r.AccessToken)
		},
		"by its session": func(w *world, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.issuer.EndSession(t.Context(), "alice", r.SessionID)
		},
		"by all sessions": func(w *world, _ jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.issuer.EndAllSessions(t.Context(), "alice")
		},
		"by another session": func(w *world, _ jwtauth.TokenResponse, _ jwtauth.Token) error {
			return w.issuer.EndOtherSessions(t.Context(), "alice", "")
		},
		"by another verifier": func(w *world, r jwtauth.TokenResponse, _ jwtauth.Token) error {
			other, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Revocations: w.store, Now: w.clock.Now})
			require.NoError(t, err)
			token, err := other.Verify(t.Context(), r.AccessToken)
			require.NoError(t, err)
			return other.Revoke(t.Context(), token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r, bystander := w.login("alice"), w.login("bob")
			token := w.requireAccepted(r.AccessToken)
			require.NoError(t, revoke(w, r, token))
			require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			require.ErrorIs(t, w.verifier.Recheck(t.Context(), token), jwtauth.ErrTokenRevoked)
			w.requireAccepted(bystander.AccessToken)
			// It stays so to the end of its life, with the largest leeway.
			w.clock.Advance(15*time.Minute + 29*time.Second)
			require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		})
	}
}

// requireUnavailable: code F of the attack list for an access token.
func (w *world) requireUnavailable(token string) {
	w.t.Helper()
	got, err := w.verifier.Verify(w.t.Context(), token)
	require.ErrorIs(w.t, err, jwtauth.ErrUnavailable)
	require.NotErrorIs(w.t, err, jwtauth.ErrRefused)
	require.Zero(w.t, got)
	answer, ran := w.get(token)
	require.False(w.t, ran, "the handler ran")
	require.Equal(w.t, http.StatusServiceUnavailable, answer.Code)
	require.Equal(w.t, "1", answer.Header().Get("Retry-After"))
	require.Empty(w.t, answer.Header()["Www-Authenticate"])
}

func attackRevocationStoreDown(t *testing.T) {
	t.Run("closed by default", func(t *testing.T) {
		w, store := newHookedWorld(t)
		token := w.login("alice").AccessToken
		verified := w.requireAccepted(token)
		w.kinds()
		store.before = failing
		w.requireUnavailable(token)
		require.ErrorIs(t, w.verifier.Recheck(t.Context(), verified), jwtauth.ErrUnavailable)
		require.Equal(t, []jwtauth.EventKind{jwtauth.Unavailable, jwtauth.Unavailable, jwtauth.Unavailable}, w.kinds())
		store.before, store.after = nil, failing // the answer itself is lost
		w.requireUnavailable(token)
		store.after = nil
		w.requireAccepted(token)
	})
	t.Run("a revocation that failed is no success", func(t *testing.T) {
		w, store := newHookedWorld(t)
		r := w.login("alice")
		token := w.requireAccepted(r.AccessToken)
		store.before = failingAt("Revoke")
		require.ErrorIs(t, w.verifier.Revoke(t.Context(), token), jwtauth.ErrUnavailable)
		require.ErrorIs(t, w.issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrUnavailable)
		require.NoError(t, w.issuer.EndAllSessions(t.Context(), "alice")) // the row has gone with Logout
		require.ErrorIs(t, w.issuer.EndSession(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
		store.before = nil
		require.NoError(t, w.issuer.Logout(t.Context(), r.AccessToken), "calling again does the rest")
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	})
	t.Run("who logs out and goes away has logged out", func(t *testing.T) {
		w, store := newHookedWorld(t)
		for name, end := range map[string]func(ctx context.Context, r jwtauth.TokenResponse) error{
			"Logout": func(ctx context.Context, r jwtauth.TokenResponse) error { return w.issuer.Logout(ctx, r.AccessToken) },
			"EndSession": func(ctx context.Context, r jwtauth.TokenResponse) error {
				return w.issuer.EndSession(ctx, "alice", r.SessionID)
			},
		} {
			r := w.login("alice")
			ctx, cancel := context.WithCancel(t.Context())
			store.before = func(ctx context.Context, _ string) error {
				cancel()
				return ctx.Err()
			}
			require.NoError(t, end(ctx, r), name)
			store.before = nil
			require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			w.requireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
		}
	})
	t.Run("open by option, with an event each time", func(t *testing.T) {
		w, store := newHookedWorld(t, func(_ *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) { vo.InsecureAcceptUnknownRevocation = true })
		token := w.login("alice").AccessToken
		w.kinds()
		store.before = failing
		w.requireAccepted(token)
		w.requireAccepted(token)
		require.Len(t, w.events, 4)
		for _, e := range w.events {
			require.Equal(t, jwtauth.RevocationUnknown, e.Kind)
			require.ErrorIs(t, e.Err, errStoreDown)
			require.Equal(t, "alice", e.Subject)
		}
		// The option opens the door for lost answers, not for others.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.verifier.Verify(ctx, token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		ctx, cancel = context.WithCancel(t.Context())
		store.before = func(ctx context.Context, _ string) error { // the request ends while the store is asked
			cancel()
			return ctx.Err()
		}
		_, err = w.verifier.Verify(ctx, token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		store.before = nil
		require.NoError(t, w.issuer.Logout(t.Context(), token))
		require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenRevoked)
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

func attackStoreSlow(t *testing.T) {
	for _, timeout := range []struct{ option, want time.Duration }{{0, 2 * time.Second}, {300 * time.Millisecond, 300 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.StoreTimeout = timeout.option })
			r := w.login("alice")
			token := w.requireAccepted(r.AccessToken)
			store.before = hanging
			for name, c := range map[string]struct {
				calls int
				call  func(ctx context.Context) error
			}{
				"Verify":  {1, func(ctx context.Context) error { _, err := w.verifier.Verify(ctx, r.AccessToken); return err }},
				"Recheck": {1, func(ctx context.Context) error { return w.verifier.Recheck(ctx, token) }},
				"Revoke":  {1, func(ctx context.Context) error { return w.verifier.Revoke(ctx, token) }},
				"Issue": {1, func(ctx context.Context) error {
					_, err := w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
					return err
				}},
				"Refresh":        {1, func(ctx context.Context) error { _, err := w.issuer.Refresh(ctx, r.RefreshToken); return err }},
				"Sessions":       {1, func(ctx context.Context) error { _, err := w.issuer.Sessions(ctx, "alice"); return err }},
				"EndAllSessions": {1, func(ctx context.Context) error { return w.issuer.EndAllSessions(ctx, "alice") }},
				"EndSession":     {2, func(ctx context.Context) error { return w.issuer.EndSession(ctx, "alice", r.SessionID) }},
				"Logout":         {2, func(ctx context.Context) error { return w.issuer.Logout(ctx, r.AccessToken) }},
			} {
				began := time.Now()
				require.ErrorIs(t, c.call(t.Context()), jwtauth.ErrUnavailable, name)
				require.Equal(t, time.Duration(c.calls)*timeout.want, time.Since(began), name)
			}
			// Advance, on which the grace rests, never has more than half of it.
			short, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{
				Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: store, Revocations: store, Now: w.clock.Now, RefreshGrace: 6 * time.Second, StoreTimeout: time.Minute,
			})
			require.NoError(t, err)
			began := time.Now()
			_, err = short.Refresh(t.Context(), r.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Equal(t, 3*time.Second, time.Since(began))
			store.before = nil
			w.refresh(r.RefreshToken)
		}) // which fails where a goroutine does not return
	}
}

func attackJtiOfAnotherIssuer(t *testing.T) {
	w := newWorld(t)
	const other = "https://other.test"
	key := newKey(t, jwtauth.ES256, false)
	keys, err := jwtauth.StaticKeys(key.VerificationKey())
	require.NoError(t, err)
	theirs, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: other, Audiences: []string{testAudience}, Revocations: w.store, Now: w.clock.Now})
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.verifier, theirs)
	require.NoError(t, err)

	claims := map[string]any{"jti": "x", "sid": "y"}
	here := w.sign(w.claims(claims))
	claims["iss"] = other
	there := signWith(t, key, header(key, nil), w.claims(claims))
	token := w.requireAccepted(here)
	_, err = theirs.Verify(t.Context(), there)
	require.NoError(t, err)

	require.NoError(t, w.verifier.Revoke(t.Context(), token))
	require.NoError(t, w.store.Revoke(t.Context(), jwtauth.SessionID(testIssuer, "y"), w.clock.Now().Add(time.Hour)))
	w.requireRefused(here)
	for _, v := range []*jwtauth.Verifier{theirs, either} {
		_, err = v.Verify(t.Context(), there)
		require.NoError(t, err)
	}
	_, err = either.Verify(t.Context(), here)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)

	// Where two issuers share a key, neither verifier takes charge of the other's tokens.
	sister, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: other, Audiences: []string{testAudience}, Revocations: w.store, Now: w.clock.Now})
	require.NoError(t, err)
	token = w.requireAccepted(w.sign(w.claims(nil)))
	for _, err := range []error{sister.Recheck(t.Context(), token), sister.Revoke(t.Context(), token), theirs.Revoke(t.Context(), token)} {
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	}
	require.NoError(t, either.Recheck(t.Context(), token))

	// No two texts are one identifier, wherever the line between them is drawn.
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
	w := newWorld(t)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
	for _, jti := range hostile {
		require.Regexp(t, form, jwtauth.TokenID(testIssuer, jti))
		require.Regexp(t, form, jwtauth.SessionID(testIssuer, jti))
	}
	for i, jti := range hostile {
		token := w.sign(w.claims(map[string]any{"jti": jti, "sid": jti}))
		verified := w.requireAccepted(token)
		require.Equal(t, jti, verified.ID)
		require.NoError(t, w.verifier.Revoke(t.Context(), verified))
		w.requireRefused(token)
		for _, other := range hostile[i+1:] {
			w.requireAccepted(w.sign(w.claims(map[string]any{"jti": other})))
		}
	}
	// Subjects go to the session store as they are, and mean themselves alone.
	sessions := make(map[string]jwtauth.TokenResponse)
	for _, subject := range hostile {
		sessions[subject] = w.login(subject)
	}
	for i, subject := range hostile {
		list, err := w.issuer.Sessions(t.Context(), subject)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, subject, list[0].Subject)
		require.NoError(t, w.issuer.EndAllSessions(t.Context(), subject))
		w.requireInvalidGrant(sessions[subject].RefreshToken, jwtauth.ErrNoSession)
		for _, other := range hostile[i+1:] {
			w.requireAccepted(sessions[other].AccessToken)
		}
	}
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // sync.Pool lets go of what it holds at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func attackGarbage(t *testing.T) {
	const entries, sessions = 200_000, 20_000
	clock := newClock()
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{MaxRevocations: entries, MaxSessions: sessions, Now: clock.Now})
	fill := func(round string) error {
		end := clock.Now().Add(time.Second)
		for i := range entries {
			if err := store.Revoke(t.Context(), fmt.Sprint(round, i), end); err != nil {
				return err
			}
		}
		for i := range sessions {
			key := jwtauth.SessionKey{Issuer: testIssuer, Subject: fmt.Sprint(round, i), ID: "1"}
			if err := store.Create(t.Context(), jwtauth.SessionRecord{Key: key, Generation: 1, ExpiresAt: end, Data: make([]byte, 100)}); err != nil {
				return err
			}
		}
		return nil
	}
	empty := heap()
	require.NoError(t, fill("a"))
	full := heap() - empty
	require.Greater(t, full, int64(10<<20), "what is measured is not the store")
	require.ErrorContains(t, fill("b"), "full")

	// All of them are over, and calls come.
	clock.Advance(2 * time.Second)
	for range 2 * 60 * 100 {
		clock.Advance(time.Second / 100)
		_, err := store.IsRevoked(t.Context(), "somebody")
		require.NoError(t, err)
	}
	require.Less(t, heap()-empty, full/10)
	require.NoError(t, fill("c"))
	require.Less(t, heap()-empty, full+full/4)
	runtime.KeepAlive(store)
}

func attackConcurrentRevoke(t *testing.T) {
	w := newWorldWith(t, jwtauth.HS256)
	r := w.login("alice")
	token := w.requireAccepted(r.AccessToken)
	var revoked atomic.Bool
	var accepted, late, undone atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 1000 {
		all.Go(func() {
			<-start
			if i == 500 {
				if err := w.verifier.Revoke(t.Context(), token); err != nil {
					t.Error(err)
				}
				revoked.Store(true)
			}
			refused := false
			for range 20 {
				before := revoked.Load()
				_, err := w.verifier.Verify(t.Context(), r.AccessToken)
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
	require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
}
