package attacks_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var refreshAttacks = []attack{
	{"R01", "refresh token at the API", attackRefreshTokenAsAccess},
	{"R02", "access token at the refresh endpoint", attackAccessTokenAsRefresh},
	{"R03", "replay of a rotated token", attackReplay},
	{"R05", "parallel refresh, memory store", attackParallelRefresh},
	{"R08", "stolen token, thief first", attackThiefFirst},
	{"R10", "refresh after logout", attackRefreshAfterLogout},
	{"R11", "logout everywhere", attackLogoutEverywhere},
	{"R12", "restart with a persistent store", attackRestart},
	{"R13", "store down at refresh", attackRefreshStoreDown},
	{"R16", "expired refresh token", attackExpiredRefresh},
	{"R17", "absolute family lifetime", attackAbsoluteLifetime},
	{"R18", "escalation in refresh", attackEscalation},
	{"R19", "tokens at rest", attackTokensAtRest},
	{"R20", "tokens in logs and %v", attackTokensInLogs},
	{"R21", "disabled user", attackDisabledUser},
	{"R23", "refresh by GET", attackRefreshByGet},
}

// attackRestart makes a second issuer with the same store and keys, as a program does after a
// restart. The packages redisstore and sqlstore run the same with engines that are restarted.
func attackRestart(t *testing.T) {
	w := fixture.New(t)
	r1 := w.Login("alice")
	r2 := w.Refresh(r1.RefreshToken)
	r3 := w.Refresh(r2.RefreshToken)
	restarted := w.Another(func(*jwtauth.IssuerOptions) {})
	_, err := restarted.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r1.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	for _, r := range []jwtauth.TokenResponse{r2, r3} {
		_, err = restarted.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		w.RequireRefused(r.AccessToken)
	}
}

func attackRefreshTokenAsAccess(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenType)
	// A verifier refuses it also if its options are as lax as possible about typ and aud.
	lax, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, InsecureAnyAudience: true, AcceptTypJWT: true, AcceptNoTyp: true, Now: w.Clock.Now})
	require.NoError(t, err)
	_, err = lax.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenType)
	// Without the check of typ, the audience refuses it, and no option accepts that audience.
	_, err = fixture.Without(w.Verifier, "typ").Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	for _, audience := range []string{fixture.Issuer + "#refresh", "https://other.test#refresh"} {
		_, err = jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{audience}})
		require.ErrorContains(t, err, "refresh tokens")
	}
}

func attackAccessTokenAsRefresh(t *testing.T) {
	w := fixture.New(t)
	tokens := w.Login("alice")
	w.RequireInvalidGrant(tokens.AccessToken, jwtauth.ErrTokenType)
	// If another program signs such a typ with the same key, the audience refuses it.
	w.RequireInvalidGrant(fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), w.Claims(map[string]any{"sid": tokens.SessionID, "gen": 1})), jwtauth.ErrTokenAudience)
	w.Refresh(tokens.RefreshToken)
}

func attackReplay(t *testing.T) {
	for name, attackersTurn := range map[string]func(w *fixture.World, second jwtauth.TokenResponse) (newest jwtauth.TokenResponse){
		"after RecoverLost": func(w *fixture.World, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			w.Clock.Advance(24*time.Hour + time.Microsecond)
			return second
		},
		"within the grace, the successor used": func(w *fixture.World, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			return w.Refresh(second.RefreshToken)
		},
		"a year of generations later": func(w *fixture.World, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			for range 300 {
				second = w.Refresh(second.RefreshToken)
			}
			return second
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fixture.New(t)
			first := w.Login("alice")
			second := w.Refresh(first.RefreshToken)
			newest := attackersTurn(w, second)
			_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(first.RefreshToken))
			require.ErrorIs(t, err, jwtauth.ErrTokenReused)
			for _, r := range []jwtauth.TokenResponse{first, second, newest} {
				w.RequireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
				_, err := fixture.Without(w.Verifier, "exp").Verify(t.Context(), r.AccessToken)
				require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			}
		})
	}
	t.Run("within the grace, the successor unused", func(t *testing.T) {
		// A lost response does not end the session.
		w := fixture.New(t)
		first := w.Login("alice")
		w.Refresh(first.RefreshToken)
		w.Clock.Advance(10 * time.Second)
		again := w.Refresh(first.RefreshToken)
		require.EqualValues(t, 2, fixture.Generation(t, again.RefreshToken))
		w.Refresh(again.RefreshToken)
	})
}

func attackParallelRefresh(t *testing.T) {
	race := func(t *testing.T, grace time.Duration) (w *fixture.World, good []jwtauth.TokenResponse, errs []error) {
		w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = grace })
		token := w.Login("alice").RefreshToken
		var mu sync.Mutex
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			all.Go(func() {
				<-start
				r, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					errs = append(errs, err)
					return
				}
				good = append(good, r)
			})
		}
		close(start)
		all.Wait()
		return w, good, errs
	}
	t.Run("with the grace", func(t *testing.T) {
		w, good, errs := race(t, 0)
		require.Empty(t, errs)
		require.Len(t, good, 64)
		for _, r := range good {
			require.EqualValues(t, 2, fixture.Generation(t, r.RefreshToken))
			require.Equal(t, good[0].SessionID, r.SessionID)
			w.RequireAccepted(r.AccessToken)
		}
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.EqualValues(t, 2, rows[0].Generation)
	})
	t.Run("without", func(t *testing.T) {
		w, good, errs := race(t, -1)
		require.Len(t, good, 1)
		for _, err := range errs {
			require.True(t, errors.Is(err, jwtauth.ErrTokenReused) || errors.Is(err, jwtauth.ErrNoSession), "%v", err)
		}
		w.RequireInvalidGrant(good[0].RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.RequireRefused(good[0].AccessToken), jwtauth.ErrTokenRevoked)
	})
}

func attackThiefFirst(t *testing.T) {
	w := fixture.New(t)
	stolen := w.Login("alice")
	thief := w.Refresh(stolen.RefreshToken)
	w.Clock.Advance(20*time.Second + time.Microsecond)
	owner := w.Refresh(stolen.RefreshToken) // for the issuer, his answer was lost
	w.RequireInvalidGrant(thief.RefreshToken, jwtauth.ErrTokenReused)
	w.RequireInvalidGrant(owner.RefreshToken, jwtauth.ErrNoSession)
	for _, r := range []jwtauth.TokenResponse{stolen, thief, owner} {
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}

	// If the thief has kept the stolen token and uses it once more, the second refresh token
	// that the owner receives and presents ends the session.
	stolen = w.Login("alice")
	w.Refresh(stolen.RefreshToken)
	w.Clock.Advance(time.Minute)
	owner = w.Refresh(stolen.RefreshToken)
	w.Clock.Advance(time.Minute)
	thief = w.Refresh(stolen.RefreshToken)
	w.RequireInvalidGrant(owner.RefreshToken, jwtauth.ErrTokenReused)
	w.RequireInvalidGrant(thief.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.RequireRefused(thief.AccessToken), jwtauth.ErrTokenRevoked)
}

func attackRefreshAfterLogout(t *testing.T) {
	for name, logout := range map[string]func(w *fixture.World, r jwtauth.TokenResponse) error{
		"with the refresh token": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.RefreshToken)
		},
		"with the access token": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.AccessToken)
		},
		"from another device": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.EndSession(t.Context(), "alice", r.SessionID)
		},
		"with an expired access token": func(w *fixture.World, r jwtauth.TokenResponse) error {
			w.Clock.Advance(time.Hour)
			return w.Issuer.Logout(t.Context(), r.AccessToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fixture.New(t)
			first := w.Login("alice")
			second := w.Refresh(first.RefreshToken)
			require.NoError(t, logout(w, first))
			w.RequireInvalidGrant(first.RefreshToken, jwtauth.ErrNoSession)
			w.RequireInvalidGrant(second.RefreshToken, jwtauth.ErrNoSession)
			w.RequireRefused(second.AccessToken)
		})
	}
}

func attackLogoutEverywhere(t *testing.T) {
	w := fixture.New(t)
	devices := []jwtauth.TokenResponse{w.Login("alice"), w.Login("alice"), w.Login("alice")}
	other := w.Login("bob")
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	for _, r := range devices {
		w.RequireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.RequireAccepted(other.AccessToken)
	w.Refresh(other.RefreshToken)
	// The revocation lasts until no verifier accepts the token any more.
	w.Clock.Advance(15*time.Minute + 5*time.Minute)
	lax, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: 5*time.Minute - time.Second})
	require.NoError(t, err)
	_, err = lax.Verify(t.Context(), devices[0].AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	w.Clock.Advance(-2 * time.Second)
	_, err = lax.Verify(t.Context(), devices[0].AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
}

func attackRefreshStoreDown(t *testing.T) {
	for name, down := range map[string]func(s *hookstore.Store){
		"before the effect":        func(s *hookstore.Store) { s.Before = fixture.Failing },
		"after the effect":         func(s *hookstore.Store) { s.After = fixture.FailingAt("Advance") },
		"with a cancelled context": func(s *hookstore.Store) { s.Before = func(context.Context, string) error { return context.Canceled } },
		"with an error of its own": func(s *hookstore.Store) {
			s.Before = func(context.Context, string) error { return jwtauth.ErrUnavailable }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, store := fixture.NewHooked(t)
			token := w.Login("alice").RefreshToken
			down(store)
			w.RequireRefreshUnavailable(token)
			store.Before, store.After = nil, nil
			w.RequireAccepted(w.Refresh(token).AccessToken)
		})
	}
	t.Run("at the end of a stolen session", func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		first := w.Login("alice")
		second := w.Refresh(w.Refresh(first.RefreshToken).RefreshToken)
		w.Clock.Advance(time.Minute)
		for _, method := range []string{"Revoke", "Delete"} {
			store.Before = fixture.FailingAt(method)
			w.RequireRefreshUnavailable(first.RefreshToken)
		}
		store.Before = nil
		w.RequireInvalidGrant(first.RefreshToken, jwtauth.ErrNoSession)
		w.RequireInvalidGrant(second.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.RequireRefused(second.AccessToken), jwtauth.ErrTokenRevoked)
	})
	t.Run("where the store answers nonsense", func(t *testing.T) {
		w := fixture.New(t)
		token := w.Login("alice").RefreshToken
		for _, row := range []jwtauth.SessionRecord{{}, {Generation: 1}, {Generation: -7}} {
			for _, advanced := range []bool{true, false} {
				broken, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{
					Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now, Revocations: w.Store,
					Sessions: fixture.Answering{SessionStore: w.Store, Row: row, Advanced: advanced},
				})
				require.NoError(t, err)
				got, err := broken.Refresh(t.Context(), fixture.Redeeming(token))
				require.Zero(t, got)
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			}
		}
		w.Refresh(token)
	})
}

func attackExpiredRefresh(t *testing.T) {
	const idle = 7 * 24 * time.Hour
	for _, late := range []time.Duration{0, time.Second, time.Minute, 365 * 24 * time.Hour} {
		w := fixture.New(t)
		token := w.Login("alice").RefreshToken
		w.Clock.Advance(idle + late)
		w.RequireInvalidGrant(token)
		require.Equal(t, []event.Kind{event.TokenIssued, event.RefreshRefused, event.RefreshRefused}, w.Kinds())
	}
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	w.Clock.Advance(idle - time.Second)
	w.Refresh(token)
}

func attackAbsoluteLifetime(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionTTL = 24 * time.Hour })
	end := w.Clock.Now().Add(24 * time.Hour)
	r := w.Login("alice")
	for range 23 {
		w.Clock.Advance(time.Hour)
		r = w.Refresh(r.RefreshToken)
	}
	w.Clock.Advance(time.Hour - time.Second)
	r = w.Refresh(r.RefreshToken)
	require.False(t, r.ExpiresAt.After(end), "an access token outlives its session: %v", r.ExpiresAt)
	require.Equal(t, end, r.IdleEnd)
	w.Clock.Advance(time.Second)
	w.RequireInvalidGrant(r.RefreshToken)
	// A shorter SessionTTL counts at once for open sessions.
	r = w.Login("bob")
	shorter, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store, Revocations: w.Store, Now: w.Clock.Now, SessionTTL: time.Hour,
	})
	require.NoError(t, err)
	w.Clock.Advance(time.Hour)
	_, err = shorter.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func attackEscalation(t *testing.T) {
	var edit func(g *jwtauth.Grant)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://admin.test"}
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			edit(g)
			return nil
		}
	})
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{fixture.Audience}, ClientID: "app", AMR: []string{"pwd"}})
	require.NoError(t, err)
	for name, change := range map[string]func(g *jwtauth.Grant){
		"a scope more":         func(g *jwtauth.Grant) { g.Scopes = append(g.Scopes, "admin") },
		"another scope":        func(g *jwtauth.Grant) { g.Scopes = []string{"admin"} },
		"a scope in disguise":  func(g *jwtauth.Grant) { g.Scopes = []string{"read admin"} },
		"a scope twice":        func(g *jwtauth.Grant) { g.Scopes[0] = "admin" },
		"the subject":          func(g *jwtauth.Grant) { g.Subject = "root" },
		"the client":           func(g *jwtauth.Grant) { g.ClientID = "cli" },
		"no audience":          func(g *jwtauth.Grant) { g.Audiences = nil },
		"an audience more":     func(g *jwtauth.Grant) { g.Audiences = append(g.Audiences, "https://admin.test") },
		"another audience":     func(g *jwtauth.Grant) { g.Audiences[0] = "https://admin.test" },
		"a younger login":      func(g *jwtauth.Grant) { g.AuthTime = g.AuthTime.Add(time.Hour) },
		"no login":             func(g *jwtauth.Grant) { g.AuthTime = time.Time{} },
		"a stronger login":     func(g *jwtauth.Grant) { g.ACR = "phr" },
		"another login method": func(g *jwtauth.Grant) { g.AMR[0] = "hwk" },
		"the scope as a claim": func(g *jwtauth.Grant) { g.Claims = map[string]any{"scope": "admin"} },
		"the subject as Claim": func(g *jwtauth.Grant) { g.Claims = map[string]any{"SUB": "root"} },
		"claims that fail":     func(g *jwtauth.Grant) { g.Claims = func() {} },
	} {
		edit = change
		got, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
		require.Zero(t, got, name)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
	}
	// A scope that Reload removes is missing in this access token only.
	edit = func(g *jwtauth.Grant) { g.Scopes = []string{"read"} }
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, []string{"read"}, w.RequireAccepted(r.AccessToken).Scopes())
	edit = func(*jwtauth.Grant) {}
	r = w.Refresh(r.RefreshToken)
	got := w.RequireAccepted(r.AccessToken)
	require.Equal(t, []string{"read", "write"}, got.Scopes())
	require.Equal(t, []string{fixture.Audience}, got.Audiences())
	require.Equal(t, "alice", got.Subject)

	parts := strings.Split(r.RefreshToken, ".")
	for name, value := range map[string]any{
		"scope": "read write admin", "sub": "root", "gen": 1, "end": 1 << 40, "exp": 1 << 35, "aud": fixture.Audience,
		"res": []string{"https://admin.test"}, "client_id": "cli", "sid": "x", "ext": map[string]any{"role": "admin"}, "auth_time": 1 << 33,
	} {
		claims := fixture.Payload[map[string]any](t, r.RefreshToken)
		require.NotEqual(t, value, claims[name])
		claims[name] = value
		altered := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(fixture.Text(t, claims))) + "." + parts[2]
		w.RequireInvalidGrant(altered, jwtauth.ErrTokenSignature)
	}
	w.RequireInvalidGrant(fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), fixture.Payload[map[string]any](t, r.RefreshToken)), jwtauth.ErrTokenSignature)
	w.Refresh(r.RefreshToken)
}

func attackDisabledUser(t *testing.T) {
	disabled := false
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, _ *jwtauth.Grant) error {
			if disabled {
				return fmt.Errorf("%s is disabled: %w", s.Subject, jwtauth.ErrGrantRefused)
			}
			return nil
		}
	})
	r := w.Login("alice")
	r = w.Refresh(r.RefreshToken)
	disabled = true
	w.RequireInvalidGrant(r.RefreshToken, jwtauth.ErrGrantRefused)
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	disabled = false
	w.RequireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
}

func attackRefreshByGet(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		r := httptest.NewRequest(method, "/refresh?refresh_token="+token, strings.NewReader("refresh_token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		w.TokenEndpoint().ServeHTTP(answer, r)
		require.Equal(t, http.StatusMethodNotAllowed, answer.Code, method)
		require.Equal(t, "POST", answer.Header().Get("Allow"))
	}
	// A POST with the token in its URL is refused, too.
	answer := httptest.NewRecorder()
	w.TokenEndpoint().ServeHTTP(answer, httptest.NewRequest("POST", "/refresh?refresh_token="+token, nil))
	require.Equal(t, http.StatusBadRequest, answer.Code)
	require.EqualValues(t, 2, fixture.Generation(t, w.Refresh(token).RefreshToken))
}
