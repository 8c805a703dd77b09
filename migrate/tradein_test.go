package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/migrate"
)

func TestAnOldTokenBuysOneSession(t *testing.T) {
	w := newOldWorld(t)
	text := w.sign(w.alice(nil))
	old := requireAccepted(t, w.both, text)
	tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{Scopes: []string{"read"}, Claims: map[string]string{"role": "admin"}})
	require.NoError(t, err)
	got := requireAccepted(t, w.both, tokens.AccessToken)
	require.Equal(t, []string{"alice", tokens.SessionID}, []string{got.Subject, got.SessionID})
	require.True(t, got.HasScope("read"))
	requireAccepted(t, w.old, text) // other tabs may have it, too
	again, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{Scopes: []string{"read"}})
	require.NoError(t, err)
	require.Equal(t, tokens.SessionID, again.SessionID)
	page, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, page, 1)

	w.Refresh(again.RefreshToken)
	requireAccepted(t, w.both, text) // a tab that does not share the storage of the others has only this token
	refuse := func(reason error) {
		tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
		require.ErrorIs(t, err, reason)
		require.Zero(t, tokens)
	}
	refuse(jwtauth.ErrTokenReused)
	requireKept(t, w, old)
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
	refuse(jwtauth.ErrTokenRevoked)
	w.Clock.Advance(40 * time.Hour)
	requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
	refuse(jwtauth.ErrTokenRevoked)
}

// requireKept fails the test unless the answer to a trade-in tells the client to keep the token.
func requireKept(t *testing.T, w *world, old jwtauth.Token) {
	t.Helper()
	_, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok, err)
	require.Equal(t, []any{403, "access_denied", ""}, []any{e.Status, e.Code, e.Next}, "a good token needs no login")
}

func TestTheEndOfASessionRevokesTheOldTokenThatBoughtIt(t *testing.T) {
	for name, end := range map[string]func(w *world, old string, tokens jwtauth.TokenResponse) error{
		"Logout with the access token": func(w *world, _ string, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.AccessToken)
		},
		"Logout with the refresh token": func(w *world, _ string, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(t.Context(), r.RefreshToken)
		},
		"Logout with the old token": func(w *world, old string, _ jwtauth.TokenResponse) error { return w.Issuer.Logout(t.Context(), old) },
		"EndSession": func(w *world, _ string, r jwtauth.TokenResponse) error {
			return w.Issuer.EndSession(t.Context(), "alice", r.SessionID)
		},
		"EndAllSessions": func(w *world, _ string, _ jwtauth.TokenResponse) error {
			return w.Issuer.EndAllSessions(t.Context(), "alice")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOldWorld(t)
			text := w.sign(w.alice(nil))
			old := requireAccepted(t, w.both, text)
			tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.NoError(t, err)
			require.NoError(t, end(w, text, tokens))
			requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
			requireRefused(t, w.both, tokens.AccessToken, "revocation", jwtauth.ErrTokenRevoked)
			_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			w.Clock.Advance(24 * time.Hour) // longer than an access token lives
			requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
			isRevoked, err := w.Store.IsRevoked(t.Context(), jwtauth.SessionID(fixture.Issuer, tokens.SessionID))
			require.NoError(t, err)
			require.True(t, isRevoked, "its id comes from the old token, so it could come back")
		})
	}
}

func TestAnEndThatCannotRevokeTheOldTokenIsTriedAgain(t *testing.T) {
	w, store := newHookedWorld(t)
	text := w.sign(w.alice(nil))
	tokens, err := fixture.TradeIn(t.Context(), w.Issuer, requireAccepted(t, w.old, text), jwtauth.Grant{})
	require.NoError(t, err)
	for range 2 {
		store.Before = func(_ context.Context, method string) error {
			if method == "Revoke" {
				return fixture.ErrStoreDown
			}
			return nil
		}
		require.ErrorIs(t, w.Issuer.EndSession(t.Context(), "alice", tokens.SessionID), jwtauth.ErrUnavailable)
	}
	store.Before = nil
	require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", tokens.SessionID))
	requireRefused(t, w.old, text, "revocation", jwtauth.ErrTokenRevoked)
}

func TestASessionThatNobodyRefreshedCanBeBoughtAgainForAsLongAsALostAnswerIsRecovered(t *testing.T) {
	for recoverLost, limit := range map[time.Duration]time.Duration{0: 24 * time.Hour, time.Hour: time.Hour, -1: 10 * time.Second} {
		w := newOldWorld(t)
		w.World = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RecoverLost = recoverLost })
		w.old = w.verifier(w.keys)
		old := requireAccepted(t, w.old, w.sign(w.alice(jwt.MapClaims{"exp": w.Clock.Now().Add(40 * 24 * time.Hour).Unix()})))
		first, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err)
		w.Clock.Advance(limit)
		again, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err)
		require.Equal(t, first.SessionID, again.SessionID)
		for _, wait := range []time.Duration{time.Second, 20 * 24 * time.Hour} { // at last, there is no row any more
			w.Clock.Advance(wait)
			_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.ErrorIs(t, err, jwtauth.ErrTokenReused)
		}
	}
}

func TestManyCallsWithOneOldTokenGetOneSession(t *testing.T) {
	for _, limit := range []int{0, 1} {
		w := newOldWorld(t)
		w.World = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit = limit })
		w.old = w.verifier(w.keys)
		old := requireAccepted(t, w.old, w.sign(w.alice(nil)))
		var mu sync.Mutex
		var good []jwtauth.TokenResponse
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				tokens, err := fixture.TradeIn(context.Background(), w.Issuer, old, jwtauth.Grant{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					good = append(good, tokens)
				} else if !errors.Is(err, jwtauth.ErrTokenReused) && !errors.Is(err, jwtauth.ErrTokenRevoked) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Len(t, good, 20)
		for _, tokens := range good {
			require.Equal(t, good[0].SessionID, tokens.SessionID)
		}
		w.Refresh(good[0].RefreshToken)
		page, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
		require.NoError(t, err)
		require.Len(t, page, 1)
	}
}

// newHookedWorld makes a world whose stores call a hook.
func newHookedWorld(t *testing.T) (*world, *hookstore.Store) {
	t.Helper()
	w := newOldWorld(t)
	hooked, store := fixture.NewHooked(t)
	w.World = hooked
	w.old = w.verifier(w.keys, func(o *migrate.Options) { o.Revocations = store })
	return w, store
}

func TestACallThatWasOvertakenByALogoutGetsNoSession(t *testing.T) {
	w, store := newHookedWorld(t)
	old := requireAccepted(t, w.old, w.sign(w.alice(nil)))
	overtaken := false
	store.Before = func(_ context.Context, method string) error {
		if method == "Create" && !overtaken { // between Recheck and Create of the first call
			overtaken = true
			winner, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.NoError(t, err)
			require.NoError(t, w.Issuer.Logout(t.Context(), winner.AccessToken))
		}
		return nil
	}
	tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.True(t, overtaken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	require.Zero(t, tokens)
	page, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, page)
}

func TestAnOldTokenStaysGoodIfItsTradeInFails(t *testing.T) {
	for _, limit := range []int{0, 1} {
		for _, method := range []string{"Create", "Revoke", "IsRevoked"} {
			w, store := newHookedWorld(t)
			var err error
			w.Issuer, err = jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{
				Issuer: fixture.Issuer, Audiences: []string{fixture.Audience},
				Sessions: store, Revocations: store, Now: w.Clock.Now, SessionLimit: limit, OnEvent: w.Record,
			})
			require.NoError(t, err)
			text := w.sign(w.alice(nil))
			old := requireAccepted(t, w.old, text)
			created := false
			store.Before = func(_ context.Context, called string) error {
				if called == method && (method != "IsRevoked" || created) {
					return fixture.ErrStoreDown
				}
				created = created || called == "Create"
				return nil
			}
			tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable, method)
			require.NotErrorIs(t, err, jwtauth.ErrRefused, method)
			require.Zero(t, tokens)
			require.Len(t, w.sent(event.Unavailable), 1, method)
			store.Before = nil
			requireAccepted(t, w.old, text)
			_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.NoError(t, err, method)
		}
	}
}

// If the answer of Create is lost, the row may be there, and may be that of another call. Nothing
// deletes it.
func TestACreateWithoutAnAnswerEndsNoSession(t *testing.T) {
	for _, limit := range []int{0, 1} {
		w, store := newHookedWorld(t)
		var err error
		w.Issuer, err = jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{
			Issuer: fixture.Issuer, Audiences: []string{fixture.Audience},
			Sessions: store, Revocations: store, Now: w.Clock.Now, SessionLimit: limit,
		})
		require.NoError(t, err)
		text := w.sign(w.alice(nil))
		old := requireAccepted(t, w.old, text)
		var winner jwtauth.TokenResponse
		calls := 0
		store.Before = func(_ context.Context, method string) error {
			if calls++; method != "Create" || winner.AccessToken != "" {
				return nil
			}
			before := store.Before
			store.Before = nil
			winner, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			store.Before = before
			require.NoError(t, err)
			return fixture.ErrStoreDown
		}
		_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Positive(t, calls)
		store.Before = nil
		_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: winner.RefreshToken})
		require.NoError(t, err)
	}
}

func TestATradeInIsNoLogin(t *testing.T) {
	w := newOldWorld(t)
	now := w.Clock.Now()
	for _, c := range []struct {
		claims jwt.MapClaims
		grant  time.Time
		want   int64
	}{
		{jwt.MapClaims{"auth_time": now.Unix() - 7200}, time.Time{}, now.Unix() - 7200},
		{jwt.MapClaims{"auth_time": now.Unix() + 7200}, time.Time{}, now.Unix()},
		{jwt.MapClaims{"iat": now.Unix() - 60}, time.Time{}, now.Unix() - 60},
		{jwt.MapClaims{"iat": nil}, time.Time{}, 0},
		{jwt.MapClaims{"iat": nil, "n": 2}, now.Add(-time.Hour), now.Unix() - 3600},
	} {
		old := requireAccepted(t, w.old, w.sign(w.alice(c.claims)))
		old.AuthTime, old.IssuedAt = now, now // a handler can change its copy
		tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{AuthTime: c.grant})
		require.NoError(t, err)
		got := requireAccepted(t, w.Verifier, tokens.AccessToken)
		require.Equal(t, c.want, got.AuthTime.Unix())
	}
}

func TestOnlyAGoodOldTokenCanBeTradedIn(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.both, w.sign(w.alice(nil)))
	tradeIn := func(token jwtauth.Token, g jwtauth.Grant) error {
		tokens, err := fixture.TradeIn(t.Context(), w.Issuer, token, g)
		require.Zero(t, tokens)
		return err
	}
	outside, err := jwtauth.NewToken(map[string]any{"iss": fixture.Issuer, "sub": "alice"})
	require.NoError(t, err)
	for _, token := range []jwtauth.Token{{}, outside, requireAccepted(t, w.both, w.Login("alice").AccessToken)} {
		require.ErrorIs(t, tradeIn(token, jwtauth.Grant{}), jwtauth.ErrNoToken)
	}
	renamed := old
	renamed.Subject = "admin" // a handler can change its copy
	require.ErrorContains(t, tradeIn(renamed, jwtauth.Grant{Subject: "admin"}), `the subject of the old token is "alice"`)
	require.ErrorContains(t, tradeIn(old, jwtauth.Grant{Subject: "bob"}), `the subject of the old token is "alice"`)
	require.ErrorContains(t, tradeIn(old, jwtauth.Grant{Scopes: []string{""}}), "is not a scope")

	insecure, err := migrate.InsecureSecret("HS256", "", []byte("secret"))
	require.NoError(t, err)
	v := w.verifier(insecure)
	forged := requireAccepted(t, v, signOld(t, jwt.SigningMethodHS256, []byte("secret"), nil, w.alice(jwt.MapClaims{"sub": "admin"})))
	require.ErrorIs(t, tradeIn(forged, jwtauth.Grant{}), jwtauth.ErrTokenKey)
	requireKept(t, w, forged)

	seam, err := w.keys.VerifierSeam()
	require.NoError(t, err)
	table, err := seam.Current(t.Context(), time.Now())
	require.NoError(t, err)
	overHTTP := w.verifier(&growing{full: table, empty: table, facts: keyset.Facts{InsecureHTTP: true, TriesKeys: true}})
	require.ErrorIs(t, tradeIn(requireAccepted(t, overHTTP, w.sign(w.alice(nil))), jwtauth.Grant{}), jwtauth.ErrTokenKey)

	unmarked := w.verifier(w.keys, func(o *migrate.Options) { o.Revocations, o.InsecureNoRevocations = nil, true })
	require.ErrorContains(t, tradeIn(requireAccepted(t, unmarked, w.sign(w.alice(nil))), jwtauth.Grant{}), "needs Revocations")
	for _, issuer := range []*jwtauth.Issuer{nil, {}} {
		_, err := fixture.TradeIn(t.Context(), issuer, old, jwtauth.Grant{})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	}
	noSessions, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
	require.NoError(t, err)
	_, err = fixture.TradeIn(t.Context(), noSessions, old, jwtauth.Grant{})
	require.ErrorContains(t, err, "no sessions")
	noRevocations, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store, InsecureAccessOutlivesSession: true, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	_, err = fixture.TradeIn(t.Context(), noRevocations, old, jwtauth.Grant{})
	require.ErrorContains(t, err, "have the same Revocations")

	w.Clock.Advance(73 * time.Hour)
	require.ErrorIs(t, tradeIn(old, jwtauth.Grant{}), jwtauth.ErrTokenExpired)
	page, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, page, 1, "the session of Login alone")
	w.Clock.Set(time.Date(2026, time.December, 24, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, tradeIn(old, jwtauth.Grant{}), jwtauth.ErrTokenExpired)
}

func TestATradeInReachesTheLimitOfSessions(t *testing.T) {
	w := newOldWorld(t)
	w.World = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit = 1 })
	w.old = w.verifier(w.keys)
	login := w.Login("alice")
	text := w.sign(w.alice(nil))
	old := requireAccepted(t, w.old, text)
	_, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.ErrorIs(t, err, jwtauth.ErrSessionLimit)
	requireAccepted(t, w.old, text)
	require.NoError(t, w.Issuer.Logout(t.Context(), login.AccessToken))
	_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.NoError(t, err)
}

func TestAGrantOfATradeInIsGoodForOneSessionAndForNothingElse(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.both, w.sign(w.alice(nil)))
	grant, err := migrate.TradeIn(old, jwtauth.Grant{Scopes: []string{"read"}})
	require.NoError(t, err)
	require.Equal(t, "alice", grant.Subject)
	_, err = w.Issuer.IssueAccess(t.Context(), grant)
	require.ErrorContains(t, err, "use Issue")
	renamed := grant
	renamed.Subject = "admin"
	_, err = w.Issuer.Issue(t.Context(), renamed)
	require.ErrorContains(t, err, `the subject of the old token is "alice"`)
	requireAccepted(t, w.both, w.sign(w.alice(nil)))

	first, err := w.Issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
	again, err := w.Issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
	require.Equal(t, first.SessionID, again.SessionID)
	w.Refresh(first.RefreshToken)
	_, err = w.Issuer.Issue(t.Context(), grant)
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
}

func TestAnOldTokenInACookieBuysTheCookiesOfASession(t *testing.T) {
	w := newOldWorld(t)
	logins, err := endpoints.New(w.Issuer, endpoints.Options{
		Verifier: w.both, RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{},
		Middleware: jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromCookie("jwt")}},
	})
	require.NoError(t, err)
	page := logins.Auth().Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(rw, token.Subject, token.SessionID != "")
	}))
	trade := logins.Auth().Require(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		old, _ := jwtauth.FromContext(r.Context())
		grant, err := migrate.TradeIn(old, jwtauth.Grant{})
		require.NoError(t, err)
		tokens, err := logins.Start(rw, r, grant)
		require.NoError(t, err)
		require.Empty(t, tokens.RefreshToken)
	}))
	send := func(h http.Handler, method, site string, cookies ...*http.Cookie) *http.Response {
		r := httptest.NewRequest(method, "https://api.example.com/", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Result()
	}
	body := func(r *http.Response) string {
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return string(text)
	}
	old := &http.Cookie{Name: "jwt", Value: w.sign(w.alice(nil))}
	require.Equal(t, "alicefalse", body(send(page, "GET", "same-origin", old)))
	require.Equal(t, http.StatusForbidden, send(trade, "POST", "cross-site", old).StatusCode)
	answer := send(trade, "POST", "same-origin", old)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.NotEmpty(t, answer.Cookies())
	// The browser still sends the old cookie, too. The new one counts.
	require.Equal(t, "alicetrue", body(send(page, "GET", "same-origin", append(answer.Cookies(), old)...)))
	// A tab that still has only the old cookie gets the same session.
	require.Equal(t, "alicefalse", body(send(page, "GET", "same-origin", old)))
	again := send(trade, "POST", "same-origin", old)
	require.Equal(t, "alicetrue", body(send(page, "GET", "same-origin", append(again.Cookies(), old)...)))
	// A request with the old token in the header and the new cookies does not end the session.
	r := httptest.NewRequest("POST", "https://api.example.com/", nil)
	r.Header.Set("Authorization", "Bearer "+old.Value)
	for _, c := range answer.Cookies() {
		r.AddCookie(c)
	}
	recorder := httptest.NewRecorder()
	trade.ServeHTTP(recorder, r)
	require.Equal(t, http.StatusOK, recorder.Code)
	require.Equal(t, "alicetrue", body(send(page, "GET", "same-origin", recorder.Result().Cookies()...)))
	sessions, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
}

func TestALoginMayTakeAnOldTokenInPlaceOfAPassword(t *testing.T) {
	w := newOldWorld(t)
	logins, err := endpoints.New(w.Issuer, endpoints.Options{Login: func(r *http.Request, _, given string) (jwtauth.Grant, error) {
		old, err := w.old.Verify(r.Context(), given)
		if err != nil {
			return jwtauth.Grant{}, err
		}
		return migrate.TradeIn(old, jwtauth.Grant{})
	}})
	require.NoError(t, err)
	text := w.sign(w.alice(nil))
	for n, want := range []int{http.StatusOK, http.StatusOK, http.StatusUnauthorized} {
		if n == 2 {
			require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
		}
		r := httptest.NewRequest("POST", "/auth/login", strings.NewReader("username=alice&password="+text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		logins.ServeHTTP(answer, r)
		require.Equal(t, want, answer.Code, "%d %s", n, answer.Body)
	}
}

func TestALoginAndALogoutEndAnOldTokenWhereverItIs(t *testing.T) {
	w := newOldWorld(t)
	o := endpoints.Options{Verifier: w.old, Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: "bob"}, nil
	}}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Token"), jwtauth.FromHeader("X-Access-Token", ""), jwtauth.FromCookie("jwt"))}
	bodies, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	o.RefreshCookie, o.AccessCookie = &endpoints.Cookie{}, &endpoints.Cookie{}
	cookies, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	post := func(h http.Handler, path, header, value string) int {
		r := httptest.NewRequest("POST", "https://api.example.com/auth/"+path, strings.NewReader(`{"username":"bob","password":"x"}`))
		if path == "logout" {
			r.Body = http.NoBody
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-CSRF", "1")
		r.Header.Set(header, value)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Code
	}
	n := 0
	for header, before := range map[string]string{"Authorization": "Token ", "X-Access-Token": "", "Cookie": "jwt="} {
		for _, c := range []struct {
			h    http.Handler
			path string
			want int
		}{{bodies, "logout", 204}, {cookies, "logout", 204}, {cookies, "login", 200}} {
			n++
			text := w.sign(w.alice(jwt.MapClaims{"n": n}))
			requireAccepted(t, w.old, text)
			require.Equal(t, c.want, post(c.h, c.path, header, before+text), "%s %s", header, c.path)
			requireRefused(t, w.old, text, "revocation", jwtauth.ErrTokenRevoked)
		}
	}
	two := []string{w.sign(w.alice(jwt.MapClaims{"n": "header"})), w.sign(w.alice(jwt.MapClaims{"n": "cookie"}))}
	for _, h := range []http.Handler{bodies, cookies} {
		r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", nil)
		r.Header.Set("X-CSRF", "1")
		r.Header.Set("X-Access-Token", two[0])
		r.Header.Set("Cookie", "jwt="+two[1])
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		require.Equal(t, 204, answer.Code)
		for _, text := range two {
			requireRefused(t, w.old, text, "revocation", jwtauth.ErrTokenRevoked)
		}
		two = []string{w.sign(w.alice(jwt.MapClaims{"n": "header 2"})), w.sign(w.alice(jwt.MapClaims{"n": "cookie 2"}))}
	}
	require.Equal(t, 401, post(bodies, "logout", "X-Other", "x"))
	require.Equal(t, 204, post(cookies, "logout", "X-Other", "x"))
	broken := post(cookies, "logout", "Cookie", "jwt=a; jwt=b")
	require.Equal(t, 400, broken)
}

func TestNoAccessTokenOutlivesALogoutThatOvertakesATradeIn(t *testing.T) {
	w, store := newHookedWorld(t)
	_, err := jwtauth.AnyOf(w.Verifier, w.old)
	require.NoError(t, err)
	text := w.sign(w.alice(nil))
	old := requireAccepted(t, w.old, text)
	var second jwtauth.TokenResponse
	var secondErr error
	done := make(chan struct{})
	peeked, goOn := make(chan struct{}), make(chan struct{})
	step := 0
	store.After = func(_ context.Context, method string) error {
		if method == "Create" && step == 0 {
			step = 1 // the first call has created the row. A second call comes, finds the row and waits before it sets the mark
			go func() {
				defer close(done)
				second, secondErr = fixture.TradeIn(context.Background(), w.Issuer, old, jwtauth.Grant{})
			}()
			<-peeked
			// The user logs out with the old token: it is revoked, and the process has not yet looked for the session.
			require.NoError(t, w.old.Revoke(context.Background(), old))
			return nil
		}
		if method == "Advance" && step == 1 {
			step = 2
			close(peeked)
			<-goOn
		}
		return nil
	}
	_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	close(goOn)
	<-done
	require.NoError(t, w.Issuer.Logout(t.Context(), text)) // the rest of the logout
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	if secondErr == nil {
		_, err = w.Verifier.Verify(t.Context(), second.AccessToken)
		require.Error(t, err, "the access token of the second call is good after Logout and EndAllSessions")
	}
}

func TestASessionThatWasEndedDoesNotComeBackWithItsOldToken(t *testing.T) {
	w, store := newHookedWorld(t)
	old := requireAccepted(t, w.old, w.sign(w.alice(nil)))
	var stolen jwtauth.TokenResponse
	overtaken := false
	store.Before = func(_ context.Context, method string) error {
		if method == "Create" && !overtaken {
			overtaken = true
			winner, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.NoError(t, err)
			stolen = w.Refresh(winner.RefreshToken)
			require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
			store.Before = fixture.FailingAt("Delete")
		}
		return nil
	}
	_, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.Error(t, err)
	store.Before = nil
	w.Clock.Advance(time.Hour) // the revocation of the session has ended
	_, err = w.Issuer.Refresh(t.Context(), fixture.Redeeming(stolen.RefreshToken))
	require.Error(t, err, "a refresh token of the session that EndAllSessions has ended is good")
}

func TestAnExpiredOldTokenBuysNothingEvenIfAHandlerHasChangedItsCopy(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.old, w.sign(w.alice(nil)))
	old.ExpiresAt = old.ExpiresAt.Add(20 * 24 * time.Hour)
	w.Clock.Advance(74 * time.Hour)
	_, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestOldTokensAndTheIssuerShareOneStoreOfRevocations(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.verifier(w.keys, func(o *migrate.Options) {
		o.Revocations = jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: w.Clock.Now})
	}), w.sign(w.alice(nil)))
	_, err := jwtauth.AnyOf(w.Verifier, w.verifier(w.keys, func(o *migrate.Options) {
		o.Revocations = jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: w.Clock.Now})
	}))
	require.ErrorContains(t, err, "is not the store of the Issuer")
	_, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.ErrorContains(t, err, "have the same Revocations")
}

func TestAfterForceRefreshAnOldTokenBuysNoFurtherAccessToken(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.both, w.sign(w.alice(nil)))
	grant := jwtauth.Grant{Scopes: []string{"admin"}}
	tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, grant)
	require.NoError(t, err)
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", tokens.SessionID)) // a role was taken away
	_, err = fixture.TradeIn(t.Context(), w.Issuer, old, grant)
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	requireKept(t, w, old)
	w.Refresh(tokens.RefreshToken) // which asks Reload
}

func TestATokenWithoutExpCanBeTradedIn(t *testing.T) {
	w := newOldWorld(t, func(o *migrate.Options) { o.NoExpUntil = o.Until })
	for n, exp := range []any{nil, 0, w.Clock.Now().UnixMilli()} {
		old := requireAccepted(t, w.both, w.sign(w.alice(jwt.MapClaims{"exp": exp, "n": n})))
		tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
		require.NoError(t, err, exp)
		requireAccepted(t, w.both, tokens.AccessToken)
	}
}

func TestAnotherTradeInDoesNotProlongTheSession(t *testing.T) {
	w := newOldWorld(t)
	old := requireAccepted(t, w.both, w.sign(w.alice(nil)))
	first, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.NoError(t, err)
	w.Clock.Advance(time.Hour)
	again, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.NoError(t, err)
	require.Equal(t, first.SessionExpiresIn-3600, again.SessionExpiresIn)
	require.Equal(t, first.RefreshTimeout-3600, again.RefreshTimeout)
	w.Clock.Advance(time.Duration(again.RefreshTimeout-1) * time.Second)
	w.Refresh(again.RefreshToken)
}

func TestAnIssuerWithoutSessionsRevokesOldTokens(t *testing.T) {
	w := newOldWorld(t)
	issuer := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = nil })
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	both, err := jwtauth.AnyOf(verifier, w.old)
	require.NoError(t, err)
	text := w.sign(w.alice(nil))
	requireAccepted(t, both, text)
	require.NoError(t, issuer.Logout(t.Context(), text))
	requireRefused(t, both, text, "revocation", jwtauth.ErrTokenRevoked)
}
