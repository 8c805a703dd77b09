package jwtauth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var refreshAttacks = []attack{
	{"R01", "refresh token at the API", attackRefreshTokenAsAccess},
	{"R02", "access token at the refresh endpoint", attackAccessTokenAsRefresh},
	{"R03", "replay of a rotated token", attackReplay},
	{"R05", "parallel refresh, memory store", attackParallelRefresh},
	{"R08", "stolen token, thief first", attackThiefFirst},
	{"R10", "refresh after logout", attackRefreshAfterLogout},
	{"R11", "logout everywhere", attackLogoutEverywhere},
	{"R13", "store down at refresh", attackRefreshStoreDown},
	{"R16", "expired refresh token", attackExpiredRefresh},
	{"R17", "absolute family lifetime", attackAbsoluteLifetime},
	{"R18", "escalation in refresh", attackEscalation},
	{"R19", "tokens at rest", attackTokensAtRest},
	{"R20", "tokens in logs and %v", attackTokensInLogs},
	{"R21", "disabled user", attackDisabledUser},
	{"R23", "refresh by GET", attackRefreshByGet},
}

// hookedStore is a MemoryStore that asks two functions, where they are set:
// before each call, whose error keeps the call from taking place, and after it,
// whose error replaces its answer.
type hookedStore struct {
	*jwtauth.MemoryStore
	before, after func(ctx context.Context, method string) error
}

func ask(f func(context.Context, string) error, ctx context.Context, method string) error {
	if f == nil {
		return nil
	}
	return f(ctx, method)
}

func (s *hookedStore) around(ctx context.Context, method string, call func() error) error {
	if err := ask(s.before, ctx, method); err != nil {
		return err
	}
	err := call()
	if lost := ask(s.after, ctx, method); lost != nil {
		return lost
	}
	return err
}

func (s *hookedStore) Create(ctx context.Context, r jwtauth.SessionRecord) error {
	return s.around(ctx, "Create", func() error { return s.MemoryStore.Create(ctx, r) })
}

func (s *hookedStore) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	err = s.around(ctx, "Advance", func() (err error) {
		row, advanced, err = s.MemoryStore.Advance(ctx, k, r)
		return err
	})
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return row, advanced, nil
}

func (s *hookedStore) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	return s.around(ctx, "Delete", func() error { return s.MemoryStore.Delete(ctx, k) })
}

func (s *hookedStore) List(ctx context.Context, issuer, subject string) (rows []jwtauth.SessionRecord, err error) {
	err = s.around(ctx, "List", func() (err error) {
		rows, err = s.MemoryStore.List(ctx, issuer, subject)
		return err
	})
	return rows, err
}

func (s *hookedStore) Revoke(ctx context.Context, id string, until time.Time) error {
	return s.around(ctx, "Revoke", func() error { return s.MemoryStore.Revoke(ctx, id, until) })
}

func (s *hookedStore) IsRevoked(ctx context.Context, ids ...string) (revoked bool, err error) {
	err = s.around(ctx, "IsRevoked", func() (err error) {
		revoked, err = s.MemoryStore.IsRevoked(ctx, ids...)
		return err
	})
	return revoked, err
}

// newHookedWorld is a world whose sessions and revocations are in a hookedStore.
func newHookedWorld(t testing.TB, change ...func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions)) (*world, *hookedStore) {
	t.Helper()
	s := &hookedStore{}
	hook := func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		s.MemoryStore = o.Sessions.(*jwtauth.MemoryStore)
		o.Sessions, o.Revocations = s, s
	}
	return newWorld(t, append([]func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions){hook}, change...)...), s
}

var errStoreDown = errors.New("connection refused")

// failing is a hook for a store that is down.
func failing(context.Context, string) error { return errStoreDown }

// failingAt is a hook for a store of which these methods fail.
func failingAt(methods ...string) func(context.Context, string) error {
	return func(_ context.Context, method string) error {
		if slices.Contains(methods, method) {
			return errStoreDown
		}
		return nil
	}
}

// tokenEndpoint is how a service answers refreshes.
func (w *world) tokenEndpoint() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /refresh", func(rw http.ResponseWriter, r *http.Request) {
		tokens, err := w.issuer.Refresh(r.Context(), r.PostFormValue("refresh_token"))
		if err != nil {
			jwtauth.WriteError(rw, r, err)
			return
		}
		jwtauth.WriteTokens(rw, tokens)
	})
	return mux
}

// redeem sends a refresh token to the token endpoint.
func (w *world) redeem(refreshToken string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/refresh", strings.NewReader(url.Values{"refresh_token": {refreshToken}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	w.tokenEndpoint().ServeHTTP(answer, r)
	return answer
}

// refresh redeems a token that must be good.
func (w *world) refresh(refreshToken string) jwtauth.TokenResponse {
	w.t.Helper()
	r, err := w.issuer.Refresh(w.t.Context(), refreshToken)
	require.NoError(w.t, err)
	return r
}

// requireInvalidGrant: code G of the attack list, by the library and by the
// token endpoint.
func (w *world) requireInvalidGrant(refreshToken string, reasons ...error) {
	w.t.Helper()
	tokens, err := w.issuer.Refresh(w.t.Context(), refreshToken)
	require.Zero(w.t, tokens)
	require.ErrorIs(w.t, err, jwtauth.ErrRefused)
	for _, reason := range reasons {
		require.ErrorIs(w.t, err, reason)
	}
	answer := w.redeem(refreshToken)
	require.Equal(w.t, http.StatusBadRequest, answer.Code)
	require.JSONEq(w.t, `{"error":"invalid_grant","error_description":"`+textBadGrant+`"}`, answer.Body.String())
	require.Empty(w.t, answer.Header()["Www-Authenticate"])
}

// requireRefreshUnavailable: code F of the attack list.
func (w *world) requireRefreshUnavailable(refreshToken string) {
	w.t.Helper()
	tokens, err := w.issuer.Refresh(w.t.Context(), refreshToken)
	require.Zero(w.t, tokens)
	require.ErrorIs(w.t, err, jwtauth.ErrUnavailable)
	require.NotErrorIs(w.t, err, jwtauth.ErrRefused)
	answer := w.redeem(refreshToken)
	require.Equal(w.t, http.StatusServiceUnavailable, answer.Code)
	require.Equal(w.t, "1", answer.Header().Get("Retry-After"))
	require.NotContains(w.t, answer.Body.String(), "token\":")
}

// payload decodes the payload of a token into a T.
func payload[T any](t testing.TB, token string) (claims T) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &claims))
	return claims
}

func generation(t testing.TB, refreshToken string) int64 {
	return payload[struct{ Gen int64 }](t, refreshToken).Gen
}

func attackRefreshTokenAsAccess(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").RefreshToken
	require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenType)
	// A verifier that is as lax about typ and aud as the options allow refuses it, too.
	lax, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, InsecureAnyAudience: true, AcceptTypJWT: true, AcceptNoTyp: true, Now: w.clock.Now})
	require.NoError(t, err)
	_, err = lax.Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenType)
	// The audience refuses it where the typ would not, and none can be configured that does not.
	_, err = w.verifier.Without("typ").Verify(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	for _, audience := range []string{testIssuer + "#refresh", "https://other.test#refresh"} {
		_, err = jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{audience}})
		require.ErrorContains(t, err, "refresh tokens")
	}
}

func attackAccessTokenAsRefresh(t *testing.T) {
	w := newWorld(t)
	tokens := w.login("alice")
	w.requireInvalidGrant(tokens.AccessToken, jwtauth.ErrTokenType)
	// Where another program signs with the same key, the audience decides.
	w.requireInvalidGrant(signWith(t, w.key, header(w.key, map[string]any{"typ": "rt+jwt"}), w.claims(map[string]any{"sid": tokens.SessionID, "gen": 1})), jwtauth.ErrTokenAudience)
	w.refresh(tokens.RefreshToken)
}

func attackReplay(t *testing.T) {
	for name, attackersTurn := range map[string]func(w *world, second jwtauth.TokenResponse) (newest jwtauth.TokenResponse){
		"after the grace": func(w *world, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			w.clock.Advance(10*time.Second + time.Microsecond)
			return second
		},
		"within the grace, the successor used": func(w *world, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			return w.refresh(second.RefreshToken)
		},
		"a year of generations later": func(w *world, second jwtauth.TokenResponse) jwtauth.TokenResponse {
			for range 300 {
				second = w.refresh(second.RefreshToken)
			}
			return second
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := w.login("alice")
			second := w.refresh(first.RefreshToken)
			newest := attackersTurn(w, second)
			w.requireAccepted(newest.AccessToken)
			_, err := w.issuer.Refresh(t.Context(), first.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenReused)
			for _, r := range []jwtauth.TokenResponse{first, second, newest} {
				w.requireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
				require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			}
		})
	}
	t.Run("within the grace, the successor unused", func(t *testing.T) {
		// The positive control: a lost response costs nobody the session.
		w := newWorld(t)
		first := w.login("alice")
		w.refresh(first.RefreshToken)
		w.clock.Advance(10 * time.Second)
		again := w.refresh(first.RefreshToken)
		require.EqualValues(t, 2, generation(t, again.RefreshToken))
		w.refresh(again.RefreshToken)
	})
}

func attackParallelRefresh(t *testing.T) {
	race := func(t *testing.T, grace time.Duration) (w *world, good []jwtauth.TokenResponse, errs []error) {
		w = newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = grace })
		token := w.login("alice").RefreshToken
		var mu sync.Mutex
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			all.Go(func() {
				<-start
				r, err := w.issuer.Refresh(t.Context(), token)
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
			require.EqualValues(t, 2, generation(t, r.RefreshToken))
			require.Equal(t, good[0].SessionID, r.SessionID)
			w.requireAccepted(r.AccessToken)
		}
		rows, err := w.store.List(t.Context(), testIssuer, "alice")
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
		w.requireInvalidGrant(good[0].RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.requireRefused(good[0].AccessToken), jwtauth.ErrTokenRevoked)
	})
}

func attackThiefFirst(t *testing.T) {
	w := newWorld(t)
	stolen := w.login("alice")
	thief := w.refresh(stolen.RefreshToken)
	w.clock.Advance(time.Minute)
	w.requireInvalidGrant(stolen.RefreshToken) // the owner
	w.requireInvalidGrant(thief.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.requireRefused(thief.AccessToken), jwtauth.ErrTokenRevoked)
}

func attackRefreshAfterLogout(t *testing.T) {
	for name, logout := range map[string]func(w *world, r jwtauth.TokenResponse) error{
		"with the refresh token": func(w *world, r jwtauth.TokenResponse) error { return w.issuer.Logout(t.Context(), r.RefreshToken) },
		"with the access token":  func(w *world, r jwtauth.TokenResponse) error { return w.issuer.Logout(t.Context(), r.AccessToken) },
		"from another device": func(w *world, r jwtauth.TokenResponse) error {
			return w.issuer.EndSession(t.Context(), "alice", r.SessionID)
		},
		"with an expired access token": func(w *world, r jwtauth.TokenResponse) error {
			w.clock.Advance(time.Hour)
			return w.issuer.Logout(t.Context(), r.AccessToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := w.login("alice")
			second := w.refresh(first.RefreshToken)
			require.NoError(t, logout(w, first))
			w.requireInvalidGrant(first.RefreshToken, jwtauth.ErrNoSession)
			w.requireInvalidGrant(second.RefreshToken, jwtauth.ErrNoSession)
			w.requireRefused(second.AccessToken)
		})
	}
}

func attackLogoutEverywhere(t *testing.T) {
	w := newWorld(t)
	devices := []jwtauth.TokenResponse{w.login("alice"), w.login("alice"), w.login("alice")}
	other := w.login("bob")
	require.NoError(t, w.issuer.EndAllSessions(t.Context(), "alice"))
	for _, r := range devices {
		w.requireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.requireAccepted(other.AccessToken)
	w.refresh(other.RefreshToken)
	// The bound: the revocation lasts until no verifier takes the token any more.
	w.clock.Advance(15*time.Minute + 5*time.Minute)
	lax, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: 5*time.Minute - time.Second})
	require.NoError(t, err)
	_, err = lax.Verify(t.Context(), devices[0].AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	w.clock.Advance(-2 * time.Second)
	_, err = lax.Verify(t.Context(), devices[0].AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
}

func attackRefreshStoreDown(t *testing.T) {
	for name, down := range map[string]func(s *hookedStore){
		"before the effect":        func(s *hookedStore) { s.before = failing },
		"after the effect":         func(s *hookedStore) { s.after = failingAt("Advance") },
		"with a cancelled context": func(s *hookedStore) { s.before = func(context.Context, string) error { return context.Canceled } },
		"with an error of its own": func(s *hookedStore) { s.before = func(context.Context, string) error { return jwtauth.ErrUnavailable } },
	} {
		t.Run(name, func(t *testing.T) {
			w, store := newHookedWorld(t)
			token := w.login("alice").RefreshToken
			down(store)
			w.requireRefreshUnavailable(token)
			store.before, store.after = nil, nil
			w.requireAccepted(w.refresh(token).AccessToken)
		})
	}
	t.Run("at the end of a stolen session", func(t *testing.T) {
		w, store := newHookedWorld(t)
		first := w.login("alice")
		second := w.refresh(first.RefreshToken)
		w.clock.Advance(time.Minute)
		for _, method := range []string{"Delete", "Revoke"} {
			store.before = failingAt(method)
			w.requireRefreshUnavailable(first.RefreshToken)
		}
		store.before = nil
		w.requireInvalidGrant(first.RefreshToken, jwtauth.ErrNoSession)
		w.requireInvalidGrant(second.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.requireRefused(second.AccessToken), jwtauth.ErrTokenRevoked)
	})
	t.Run("where the store answers nonsense", func(t *testing.T) {
		w := newWorld(t)
		token := w.login("alice").RefreshToken
		for _, row := range []jwtauth.SessionRecord{{}, {Generation: 1}, {Generation: -7}} {
			for _, advanced := range []bool{true, false} {
				broken, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{
					Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now, Revocations: w.store,
					Sessions: answering{w.store, row, advanced},
				})
				require.NoError(t, err)
				got, err := broken.Refresh(t.Context(), token)
				require.Zero(t, got)
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			}
		}
		w.refresh(token)
	})
}

// answering is a SessionStore whose Advance has one answer.
type answering struct {
	jwtauth.SessionStore
	row      jwtauth.SessionRecord
	advanced bool
}

func (a answering) Advance(context.Context, jwtauth.SessionKey, jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	return a.row, a.advanced, nil
}

func attackExpiredRefresh(t *testing.T) {
	const idle = 7 * 24 * time.Hour
	for _, late := range []time.Duration{0, time.Second, time.Minute, 365 * 24 * time.Hour} {
		w := newWorld(t)
		token := w.login("alice").RefreshToken
		w.clock.Advance(idle + late)
		w.requireInvalidGrant(token)
		require.Equal(t, []jwtauth.EventKind{jwtauth.TokenIssued, jwtauth.RefreshRefused, jwtauth.RefreshRefused}, w.kinds())
	}
	w := newWorld(t)
	token := w.login("alice").RefreshToken
	w.clock.Advance(idle - time.Second)
	w.refresh(token)
}

func attackAbsoluteLifetime(t *testing.T) {
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionTTL = 24 * time.Hour })
	end := w.clock.Now().Add(24 * time.Hour)
	r := w.login("alice")
	for range 23 {
		w.clock.Advance(time.Hour)
		r = w.refresh(r.RefreshToken)
	}
	w.clock.Advance(time.Hour - time.Second)
	r = w.refresh(r.RefreshToken)
	require.False(t, r.ExpiresAt.After(end), "an access token outlives its session: %v", r.ExpiresAt)
	require.Equal(t, end, r.RefreshExpiresAt)
	w.clock.Advance(time.Second)
	w.requireInvalidGrant(r.RefreshToken)
	// A shorter cap counts at once for the sessions that are open.
	r = w.login("bob")
	shorter, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: w.store, Revocations: w.store, Now: w.clock.Now, SessionTTL: time.Hour,
	})
	require.NoError(t, err)
	w.clock.Advance(time.Hour)
	_, err = shorter.Refresh(t.Context(), r.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func attackEscalation(t *testing.T) {
	var edit func(g *jwtauth.Grant)
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{testAudience, "https://admin.test"}
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			edit(g)
			return nil
		}
	})
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{testAudience}, ClientID: "app", AMR: []string{"pwd"}})
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
		got, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
		require.Zero(t, got, name)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
	}
	// Taking away counts for this access token alone.
	edit = func(g *jwtauth.Grant) { g.Scopes = []string{"read"} }
	r = w.refresh(r.RefreshToken)
	require.Equal(t, []string{"read"}, w.requireAccepted(r.AccessToken).Scopes())
	edit = func(*jwtauth.Grant) {}
	r = w.refresh(r.RefreshToken)
	got := w.requireAccepted(r.AccessToken)
	require.Equal(t, []string{"read", "write"}, got.Scopes())
	require.Equal(t, []string{testAudience}, got.Audiences())
	require.Equal(t, "alice", got.Subject)

	parts := strings.Split(r.RefreshToken, ".")
	for name, value := range map[string]any{
		"scope": "read write admin", "sub": "root", "gen": 1, "end": 1 << 40, "exp": 1 << 35, "aud": testAudience,
		"res": []string{"https://admin.test"}, "client_id": "cli", "sid": "x", "ext": map[string]any{"role": "admin"}, "auth_time": 1 << 33,
	} {
		claims := payload[map[string]any](t, r.RefreshToken)
		require.NotEqual(t, value, claims[name])
		claims[name] = value
		altered := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(text(t, claims))) + "." + parts[2]
		w.requireInvalidGrant(altered, jwtauth.ErrTokenSignature)
	}
	w.requireInvalidGrant(signWith(t, newKey(t, jwtauth.ES256, false), header(w.key, map[string]any{"typ": "rt+jwt"}), payload[map[string]any](t, r.RefreshToken)), jwtauth.ErrTokenSignature)
	w.refresh(r.RefreshToken)
}

// stored collects every text that can be reached from v, unexported fields
// included.
func stored(v reflect.Value, seen map[uintptr]bool, add func(string)) {
	switch v.Kind() {
	case reflect.String:
		add(v.String())
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		stored(v.Elem(), seen, add)
	case reflect.Interface:
		stored(v.Elem(), seen, add)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			add(string(v.Bytes()))
			return
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			stored(v.Index(i), seen, add)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			stored(entries.Key(), seen, add)
			stored(entries.Value(), seen, add)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			stored(v.Field(i), seen, add)
		}
	}
}

func attackTokensAtRest(t *testing.T) {
	w := newWorld(t)
	var tokens []jwtauth.TokenResponse
	for _, subject := range []string{"alice", "alice", "bob"} {
		r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: subject, Scopes: []string{"read"}, ClientID: "app", Label: "laptop", Claims: map[string]any{"role": "admin"}})
		require.NoError(t, err)
		tokens = append(tokens, r, w.refresh(r.RefreshToken))
	}
	require.NoError(t, w.issuer.Logout(t.Context(), tokens[0].RefreshToken))
	require.NoError(t, w.verifier.Revoke(t.Context(), w.requireAccepted(tokens[2].AccessToken)))

	texts := []string{fmt.Sprintf("%v %+v %#v", w.store, w.store, w.store)}
	for _, subject := range []string{"alice", "bob"} {
		rows, err := w.store.List(t.Context(), testIssuer, subject)
		require.NoError(t, err)
		texts = append(texts, fmt.Sprintf("%v %+v %#v", rows, rows, rows), text(t, rows))
		for _, row := range rows {
			texts = append(texts, string(row.Data))
		}
	}
	inside := len(texts)
	stored(reflect.ValueOf(w.store), make(map[uintptr]bool), func(s string) { texts = append(texts, s) })
	require.Contains(t, texts[inside:], tokens[2].SessionID, "the walk does not see what is stored")
	revoked, err := w.store.IsRevoked(t.Context(), jwtauth.SessionID(testIssuer, tokens[0].SessionID))
	require.NoError(t, err)
	require.True(t, revoked)

	forbidden := newForbidden()
	for _, r := range tokens {
		forbidden.token(r.AccessToken)
		forbidden.token(r.RefreshToken)
	}
	for _, s := range texts {
		forbidden.requireAbsent(t, "the store", s)
		_, err := w.verifier.Verify(t.Context(), s)
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		_, err = w.issuer.Refresh(t.Context(), s)
		require.ErrorIs(t, err, jwtauth.ErrRefused)
	}
}

// forbidden are the texts by which a token or a secret is recognized, in
// whichever form it is printed.
type forbidden map[string]bool

func newForbidden() forbidden { return make(forbidden) }

// token forbids the segments of a token, every stretch of 24 characters of its
// signature and of 64 of the rest (what a token says, such as the time of the
// login, other texts may say, too), and its hash.
func (f forbidden) token(token string) {
	segments := strings.Split(token, ".")
	for n, segment := range segments {
		f[segment] = true
		window := 48
		if n == len(segments)-1 {
			window = 16
		}
		for i := 0; i+window <= len(segment); i += 8 {
			f[segment[i:i+window]] = true
		}
	}
	delete(f, "")
	if signature, err := base64.RawURLEncoding.DecodeString(segments[len(segments)-1]); err == nil && len(signature) > 9 {
		f.secret(signature)
	}
	sum := sha256.Sum256([]byte(token))
	f.secret(sum[:])
}

// secret forbids the beginning of a secret.
func (f forbidden) secret(b []byte) {
	head := b[:9]
	for _, form := range []string{
		string(head), hex.EncodeToString(head), strings.ToUpper(hex.EncodeToString(head)),
		base64.RawURLEncoding.EncodeToString(head), base64.RawStdEncoding.EncodeToString(head),
		strings.Trim(fmt.Sprint(head), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}"),
		strings.ReplaceAll(strings.Trim(fmt.Sprint(head), "[]"), " ", ","),
		new(big.Int).SetBytes(b).String()[:16],
	} {
		f[form] = true
	}
}

// key forbids the private members of a key's JWK.
func (f forbidden) key(t *testing.T, k *jwtauth.SigningKey) {
	jwk, err := k.PrivateJWK()
	require.NoError(t, err)
	var members map[string]string
	require.NoError(t, json.Unmarshal(jwk, &members))
	before := len(f)
	for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi"} {
		if b, err := base64.RawURLEncoding.DecodeString(members[name]); err == nil && len(b) > 9 {
			f.secret(b)
		}
	}
	require.Greater(t, len(f), before)
}

func (f forbidden) in(text string) (found string, ok bool) {
	for s := range f {
		if strings.Contains(text, s) {
			return s, true
		}
	}
	return "", false
}

func (f forbidden) requireAbsent(t *testing.T, where, text string) {
	t.Helper()
	found, ok := f.in(text)
	require.False(t, ok, "%s holds %q: %s", where, found, text)
}

// printed is v in every way in which a program prints or logs values.
func printed(v any) map[string]string {
	out := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	if b, err := json.Marshal(v); err == nil {
		out["JSON"] = string(b)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("it", "v", v)
		out[name] = b.String()
	}
	return out
}

// examplesOfTypes holds, for each exported type, values that a program may print.
func examplesOfTypes(t *testing.T, forbid forbidden) map[string][]any {
	secret := sha256.Sum256([]byte(rand32(t)))
	hmac, err := jwtauth.NewHMACKey(jwtauth.HS256, "", secret[:])
	require.NoError(t, err)
	keys := []*jwtauth.SigningKey{hmac}
	for _, alg := range []jwtauth.Algorithm{jwtauth.RS256, jwtauth.ES256, jwtauth.EdDSA, jwtauth.HS512} {
		keys = append(keys, keyFor(t, alg))
	}
	var signing, verifying []any
	for _, k := range keys {
		forbid.key(t, k)
		signing = append(signing, k, *k)
		verifying = append(verifying, k.VerificationKey(), *k.VerificationKey())
	}
	w := newWorldWith(t, jwtauth.HS512)
	ring, err := jwtauth.NewKeyRing(hmac, keys[1].VerificationKey())
	require.NoError(t, err)
	static, err := jwtauth.StaticKeys(hmac.VerificationKey(), keys[2].VerificationKey())
	require.NoError(t, err)
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read"}, Claims: map[string]any{"role": "admin"}})
	require.NoError(t, err)
	forbid.token(r.AccessToken)
	forbid.token(r.RefreshToken)
	token := w.requireAccepted(r.AccessToken)
	rows, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	sessions, err := w.issuer.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.verifier)
	require.NoError(t, err)
	var errs []any
	for _, bad := range []string{r.RefreshToken, r.AccessToken + "x", r.AccessToken[1:], strings.ToUpper(r.AccessToken), r.AccessToken + "." + r.RefreshToken, "{" + r.AccessToken} {
		_, err := w.verifier.Verify(t.Context(), bad)
		require.Error(t, err)
		errs = append(errs, err)
		_, err = w.issuer.Refresh(t.Context(), strings.TrimSuffix(bad, "x")+"A")
		require.Error(t, err)
		errs = append(errs, err)
	}
	w.refresh(w.refresh(r.RefreshToken).RefreshToken)
	_, err = w.issuer.Refresh(t.Context(), r.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	var events []any
	for _, e := range w.events {
		events = append(events, e, &e)
	}
	require.NotEmpty(t, events)
	foreign := newRemote(t)
	foreign.requireAccepted(foreign.token())
	life := ringExample(t, forbid)
	replica := newReplica(t, new(engine))
	options := jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: w.store, Revocations: w.store, RefreshKeys: ring}
	return map[string][]any{
		"Algorithm": {hmac.Algorithm()}, "EventKind": {jwtauth.TokenIssued},
		"SigningKey": signing, "VerificationKey": verifying, "KeyRing": {ring, w.keys}, "KeySet": {static},
		"ContextSigner": {struct{ jwtauth.ContextSigner }{}},
		"KeySource":     {life.source, jwtauth.FixedKeys(jwtauth.StoredKey{Key: life.key})}, "StoredKey": {jwtauth.StoredKey{Key: life.key}, &jwtauth.StoredKey{Key: life.key}},
		"KeyLife": {life.ring.Plan()[0].KeyLife}, "KeyPlan": {life.ring.Plan(), life.ring}, "KeyState": {jwtauth.ActiveKey},
		"KeyRingStatus": {life.ring.Status()}, "KeyRingOptions": {jwtauth.KeyRingOptions{OnEvent: w.record}},
		"Issuer": {w.issuer, *w.issuer}, "IssuerOptions": {options, &options},
		"Verifier": {w.verifier, *w.verifier, either}, "ResolveOptions": {jwtauth.ResolveOptions{OnEvent: w.record}},
		"Replica": {replica}, "ReplicaStatus": {replica.Status()}, "ReplicaOptions": {jwtauth.ReplicaOptions{OnEvent: w.record}}, "RevocationLog": {new(engine)}, "RevocationWatcher": {&bell{engine: new(engine)}},
		"CacheStats":      {w.verifier.CacheStats()},
		"VerifierOptions": {jwtauth.VerifierOptions{Issuer: testIssuer, Revocations: w.store}}, "TokenVerifier": {jwtauth.TokenVerifier(w.verifier)},
		"IssuerMetadata": {jwtauth.IssuerMetadata{JWKSURI: testIssuer}}, "ResourceMetadata": {jwtauth.ResourceMetadata{Resource: testAudience}},
		"Middleware": {w.auth, *w.auth, w.auth.With(jwtauth.Scopes("read"))}, "MiddlewareOptions": {jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader()}}},
		"Extractor": {jwtauth.FromHeader(), jwtauth.FromWebSocketProtocol("jwt.")}, "Policy": {jwtauth.Scopes("read")},
		"Token": {token, &token, jwtauth.NewContext(t.Context(), token)}, "TokenResponse": {r, &r}, "Grant": {jwtauth.Grant{Subject: "alice", Claims: r.AccessToken}},
		"Session": {sessions[0], &sessions[0]}, "SessionKey": {rows[0].Key}, "SessionRecord": {rows[0], rows}, "Rotation": {jwtauth.Rotation{From: 1}},
		"SessionStore": {jwtauth.SessionStore(w.store)}, "RevocationStore": {jwtauth.RevocationStore(w.store)},
		"MemoryStore": {w.store}, "MemoryStoreOptions": {jwtauth.MemoryStoreOptions{Now: w.clock.Now}},
		"RemoteKeySet": {foreign.set}, "RemoteKeySetStatus": {foreign.set.Status()}, "RemoteKeySetOptions": {jwtauth.RemoteKeySetOptions{Seed: foreign.set.Snapshot()}},
		"Error": errs, "Event": events,
	}
}

// ringExample is a ring with a life cycle, whose key may not be printed.
func ringExample(t *testing.T, forbid forbidden) (e struct {
	ring   *jwtauth.KeyRing
	source jwtauth.KeySource
	key    *jwtauth.SigningKey
}) {
	var err error
	e.source = jwtauth.MemoryKeys()
	e.ring, err = jwtauth.OpenKeyRing(t.Context(), e.source, jwtauth.KeyRingOptions{})
	require.NoError(t, err)
	for _, e.key = range jwtauth.RingKeys(e.ring) {
	}
	forbid.key(t, e.key)
	return e
}

func rand32(t *testing.T) string {
	k, err := newKey(t, jwtauth.HS256, false).PrivateJWK()
	require.NoError(t, err)
	return string(k)
}

func attackTokensInLogs(t *testing.T) {
	t.Run("values", func(t *testing.T) {
		forbid := newForbidden()
		examples := examplesOfTypes(t, forbid)
		require.ElementsMatch(t, declaredIn(t).types, slices.Collect(maps.Keys(examples)), "a type has no example here")
		for name, values := range examples {
			for _, value := range values {
				for way, output := range printed(value) {
					if name == "TokenResponse" && way == "JSON" { // the answer of the token endpoint
						_, ok := forbid.in(output)
						require.True(t, ok, "what is forbidden is not found where it stands")
						continue
					}
					forbid.requireAbsent(t, name+" as "+way, output)
				}
				for _, inside := range []any{[]any{value}, map[string]any{"key": value}, struct{ Field any }{value}} {
					for way, output := range printed(inside) {
						if name != "TokenResponse" || !strings.Contains(way, "JSON") {
							forbid.requireAbsent(t, name+" inside of a value, as "+way, output)
						}
					}
				}
			}
		}
	})
	t.Run("events", func(t *testing.T) {
		for _, f := range flows {
			var text, object bytes.Buffer
			debug := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
			s := newScene(t, jwtauth.LogEvents(slog.New(slog.NewTextHandler(&text, debug))), jwtauth.LogEvents(slog.New(slog.NewJSONHandler(&object, debug))))
			f.run(s)
			forbid := newForbidden()
			for _, token := range s.seen {
				forbid.token(token)
			}
			forbid.key(t, s.key)
			require.True(t, len(f.want) == 0 || text.Len() > 0 && object.Len() > 0, f.name)
			forbid.requireAbsent(t, f.name, text.String())
			forbid.requireAbsent(t, f.name, object.String())
		}
	})
}

func attackDisabledUser(t *testing.T) {
	disabled := false
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, _ *jwtauth.Grant) error {
			if disabled {
				return fmt.Errorf("%s is disabled: %w", s.Subject, jwtauth.ErrGrantRefused)
			}
			return nil
		}
	})
	r := w.login("alice")
	r = w.refresh(r.RefreshToken)
	disabled = true
	w.requireInvalidGrant(r.RefreshToken, jwtauth.ErrGrantRefused)
	require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	disabled = false
	w.requireInvalidGrant(r.RefreshToken, jwtauth.ErrNoSession)
}

func attackRefreshByGet(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").RefreshToken
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		r := httptest.NewRequest(method, "/refresh?refresh_token="+token, strings.NewReader("refresh_token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		w.tokenEndpoint().ServeHTTP(answer, r)
		require.Equal(t, http.StatusMethodNotAllowed, answer.Code, method)
		require.Equal(t, "POST", answer.Header().Get("Allow"))
	}
	// Nor does a POST take the token from the URL.
	answer := httptest.NewRecorder()
	w.tokenEndpoint().ServeHTTP(answer, httptest.NewRequest("POST", "/refresh?refresh_token="+token, nil))
	require.Equal(t, http.StatusBadRequest, answer.Code)
	require.EqualValues(t, 2, generation(t, w.refresh(token).RefreshToken))
}
