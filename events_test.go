package jwtauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// scene is a world in which a flow takes place, with the tokens that came up.
type scene struct {
	*world
	stores *hookedStore
	reload error // what Reload returns
	seen   []string
}

// newScene makes a scene whose events go to the hooks, too.
func newScene(t testing.TB, hooks ...func(context.Context, jwtauth.Event)) *scene {
	s := &scene{}
	s.world, s.stores = newHookedWorld(t, func(o *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) {
		record := o.OnEvent
		o.OnEvent = func(ctx context.Context, e jwtauth.Event) {
			record(ctx, e)
			for _, hook := range hooks {
				hook(ctx, e)
			}
		}
		o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error { return s.reload }
		vo.InsecureAcceptUnknownRevocation = true
	})
	return s
}

// login opens a session and forgets its event.
func (s *scene) login() jwtauth.TokenResponse {
	r := s.world.login("alice", "read")
	s.seen = append(s.seen, r.AccessToken, r.RefreshToken)
	s.kinds()
	return r
}

func (s *scene) redeem(token string) jwtauth.TokenResponse {
	s.seen = append(s.seen, token)
	r, err := s.issuer.Refresh(s.t.Context(), token)
	if err != nil {
		require.Zero(s.t, r)
		return r
	}
	s.seen = append(s.seen, r.AccessToken, r.RefreshToken)
	return r
}

func (s *scene) verify(token string) jwtauth.Token {
	s.seen = append(s.seen, token)
	t, _ := s.verifier.Verify(s.t.Context(), token)
	return t
}

func (s *scene) send(auth *jwtauth.Middleware, optional bool, authorization ...string) {
	for _, value := range authorization {
		if token, ok := strings.CutPrefix(value, "Bearer "); ok {
			s.seen = append(s.seen, token)
		}
	}
	handler := auth.Require(http.NotFoundHandler())
	if optional {
		handler = auth.Optional(http.NotFoundHandler())
	}
	handler.ServeHTTP(httptest.NewRecorder(), request("GET", "/", authorization...))
}

// flows are what can happen, each with its events and their reasons in order.
// The events of what comes before, such as a login, are forgotten where kinds
// was called.
var flows = []struct {
	name string
	want []string
	run  func(s *scene)
}{
	{"a login", []string{"token_issued"}, func(s *scene) { s.world.login("alice") }},
	{"an access token alone", []string{"token_issued"}, func(s *scene) {
		_, err := s.issuer.IssueAccess(s.t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(s.t, err)
	}},
	{"a login whose store fails", []string{"unavailable session"}, func(s *scene) {
		s.stores.before = failing
		_, err := s.issuer.Issue(s.t.Context(), jwtauth.Grant{Subject: "alice"})
		require.ErrorIs(s.t, err, jwtauth.ErrUnavailable)
	}},
	{"a grant that cannot be issued", nil, func(s *scene) {
		_, err := s.issuer.Issue(s.t.Context(), jwtauth.Grant{})
		require.Error(s.t, err)
	}},

	{"a refresh", []string{"token_refreshed"}, func(s *scene) { s.redeem(s.login().RefreshToken) }},
	{"a refresh by two tabs", []string{"token_refreshed", "refresh_replayed", "refresh_replayed"}, func(s *scene) {
		r := s.login()
		s.redeem(r.RefreshToken)
		s.redeem(r.RefreshToken)
		s.redeem(r.RefreshToken)
	}},
	{"a refresh with a late parent", []string{"token_refreshed", "token_reused late_parent", "session_ended reuse", "refresh_refused reuse", "refresh_refused session"}, func(s *scene) {
		r := s.login()
		second := s.redeem(r.RefreshToken)
		s.clock.Advance(time.Minute)
		s.redeem(r.RefreshToken)
		s.redeem(second.RefreshToken)
	}},
	{"a refresh with an old token", []string{"token_refreshed", "token_refreshed", "token_reused old_token", "session_ended reuse", "refresh_refused reuse"}, func(s *scene) {
		r := s.login()
		s.redeem(s.redeem(r.RefreshToken).RefreshToken)
		s.redeem(r.RefreshToken)
	}},
	{"a refresh with an old token whose session cannot be ended", []string{"token_refreshed", "token_refreshed", "token_reused old_token", "unavailable session"}, func(s *scene) {
		r := s.login()
		s.redeem(s.redeem(r.RefreshToken).RefreshToken)
		s.stores.before = failingAt("Revoke")
		s.redeem(r.RefreshToken)
	}},
	{"a refresh of a store that has lost a write", []string{"token_refreshed", "generation_behind", "token_refreshed"}, func(s *scene) {
		r := s.login()
		rows, err := s.store.List(s.t.Context(), testIssuer, "alice")
		require.NoError(s.t, err)
		second := s.redeem(r.RefreshToken)
		require.NoError(s.t, s.store.Delete(s.t.Context(), rows[0].Key))
		require.NoError(s.t, s.store.Create(s.t.Context(), rows[0]))
		s.redeem(second.RefreshToken)
	}},
	{"a refresh with garbage", []string{"refresh_refused form"}, func(s *scene) { s.redeem("garbage") }},
	{"a refresh with an access token", []string{"refresh_refused typ"}, func(s *scene) { s.redeem(s.login().AccessToken) }},
	{"a refresh with a forged token", []string{"refresh_refused signature"}, func(s *scene) {
		s.redeem(signWith(s.t, newKey(s.t, jwtauth.ES256, false), header(s.key, map[string]any{"typ": "rt+jwt"}), s.claims(nil)))
	}},
	{"a refresh whose store fails", []string{"unavailable session"}, func(s *scene) {
		r := s.login()
		s.stores.before = failing
		s.redeem(r.RefreshToken)
	}},
	{"a refresh whose Reload refuses", []string{"session_ended grant_refused", "refresh_refused reload"}, func(s *scene) {
		r := s.login()
		s.reload = jwtauth.ErrGrantRefused
		s.redeem(r.RefreshToken)
	}},
	{"a refresh whose Reload fails", []string{"unavailable reload"}, func(s *scene) {
		r := s.login()
		s.reload = errors.New("the user database is away")
		s.redeem(r.RefreshToken)
	}},

	{"a logout", []string{"session_ended logout"}, func(s *scene) { require.NoError(s.t, s.issuer.Logout(s.t.Context(), s.login().AccessToken)) }},
	{"a logout without a session", []string{"token_revoked"}, func(s *scene) {
		r, err := s.issuer.IssueAccess(s.t.Context(), jwtauth.Grant{Subject: "alice"})
		require.NoError(s.t, err)
		s.kinds()
		require.NoError(s.t, s.issuer.Logout(s.t.Context(), r.AccessToken))
	}},
	{"a logout with garbage", []string{"token_refused form"}, func(s *scene) { require.Error(s.t, s.issuer.Logout(s.t.Context(), "garbage")) }},
	{"a logout whose store fails", []string{"unavailable session"}, func(s *scene) {
		r := s.login()
		s.stores.before = failing
		require.Error(s.t, s.issuer.Logout(s.t.Context(), r.RefreshToken))
	}},
	{"the end of a session", []string{"session_ended ended"}, func(s *scene) {
		require.NoError(s.t, s.issuer.EndSession(s.t.Context(), "alice", s.login().SessionID))
	}},
	{"the end of somebody else's session", nil, func(s *scene) {
		require.NoError(s.t, s.issuer.EndSession(s.t.Context(), "bob", s.login().SessionID))
	}},
	{"the end of the other sessions", []string{"session_ended ended", "session_ended ended"}, func(s *scene) {
		s.login()
		s.login()
		require.NoError(s.t, s.issuer.EndOtherSessions(s.t.Context(), "alice", s.login().SessionID))
	}},
	{"the end of all sessions, of which one fails", []string{"session_ended ended", "unavailable session"}, func(s *scene) {
		s.login()
		s.login()
		calls := 0
		s.stores.before = func(_ context.Context, method string) error {
			if method == "Delete" {
				calls++
			}
			if method == "Delete" && calls == 2 {
				return errStoreDown
			}
			return nil
		}
		require.Error(s.t, s.issuer.EndAllSessions(s.t.Context(), "alice"))
	}},
	{"a list that fails", []string{"unavailable session"}, func(s *scene) {
		s.stores.before = failing
		_, err := s.issuer.Sessions(s.t.Context(), "alice")
		require.Error(s.t, err)
	}},

	{"a good token", nil, func(s *scene) { s.verify(s.login().AccessToken) }},
	{"a token that is garbage", []string{"token_refused form"}, func(s *scene) { s.verify("garbage") }},
	{"a token that has expired", []string{"token_refused exp"}, func(s *scene) {
		r := s.login()
		s.clock.Advance(time.Hour)
		s.verify(r.AccessToken)
	}},
	{"a token that is revoked", []string{"token_revoked", "token_refused revocation", "token_refused revocation"}, func(s *scene) {
		r := s.login()
		token := s.verify(r.AccessToken)
		require.NoError(s.t, s.verifier.Revoke(s.t.Context(), token))
		s.verify(r.AccessToken)
		require.Error(s.t, s.verifier.Recheck(s.t.Context(), token))
	}},
	{"a token that cannot be revoked", []string{"unavailable revocation"}, func(s *scene) {
		token := s.verify(s.login().AccessToken)
		s.stores.before = failing
		require.Error(s.t, s.verifier.Revoke(s.t.Context(), token))
	}},
	{"a token of which nobody knows whether it is revoked", []string{"revocation_unknown revocation", "revocation_unknown revocation"}, func(s *scene) {
		r := s.login()
		s.stores.before = failing
		token := s.verify(r.AccessToken)
		require.Equal(s.t, "alice", token.Subject)
		require.NoError(s.t, s.verifier.Recheck(s.t.Context(), token))
	}},
	{"a token for a request that is over", []string{"unavailable context"}, func(s *scene) {
		ctx, cancel := context.WithCancel(s.t.Context())
		cancel()
		_, err := s.verifier.Verify(ctx, s.login().AccessToken)
		require.Error(s.t, err)
	}},

	{"a request without a token", []string{"token_refused absent"}, func(s *scene) { s.send(s.auth, false) }},
	{"a request without a token that needs none", nil, func(s *scene) { s.send(s.auth, true) }},
	{"a request to a middleware that is broken", []string{"unavailable middleware"}, func(s *scene) { s.send(s.auth.With(), false, "Bearer "+s.login().AccessToken) }},
	{"a request with two tokens", []string{"token_refused alone"}, func(s *scene) { s.send(s.auth, false, "Bearer x", "Bearer y") }},
	{"a request with half a header", []string{"token_refused extract"}, func(s *scene) { s.send(s.auth, false, "Bearer") }},
	{"a request with garbage", []string{"token_refused form"}, func(s *scene) { s.send(s.auth, true, "Bearer garbage") }},
	{"a request with a good token", nil, func(s *scene) { s.send(s.auth, false, "Bearer "+s.login().AccessToken) }},
	{"a request without the scope", []string{"policy_refused scope"}, func(s *scene) {
		s.send(s.auth.With(jwtauth.Scopes("read"), jwtauth.Scopes("write"), jwtauth.Scopes("admin")), false, "Bearer "+s.login().AccessToken)
	}},
	{"a request with an old login", []string{"policy_refused login_age"}, func(s *scene) {
		r := s.login()
		s.clock.Advance(10 * time.Minute)
		s.send(s.auth.With(jwtauth.LoginWithin(time.Minute)), true, "Bearer "+r.AccessToken)
	}},
	{"a request that a policy refuses", []string{"policy_refused policy"}, func(s *scene) {
		s.send(s.auth.With(func(*http.Request, jwtauth.Token) error { return errors.New("no") }), false, "Bearer "+s.login().AccessToken)
	}},
	{"a request whose policy has no answer", []string{"unavailable policy"}, func(s *scene) {
		s.send(s.auth.With(func(*http.Request, jwtauth.Token) error { return jwtauth.ErrUnavailable }), false, "Bearer "+s.login().AccessToken)
	}},
}

func TestEachFlowSendsItsEventsOnce(t *testing.T) {
	for _, f := range flows {
		t.Run(f.name, func(t *testing.T) {
			s := newScene(t)
			f.run(s)
			var got []string
			for _, e := range s.events {
				got = append(got, strings.TrimSpace(string(e.Kind)+" "+e.Reason))
			}
			require.Equal(t, f.want, got)
		})
	}
}

// TestEveryKindOfEventIsSent keeps the flows complete.
func TestEveryKindOfEventIsSent(t *testing.T) {
	var sent []string
	for _, f := range flows {
		sent = append(sent, f.want...)
	}
	all := strings.Join(sent, "\n")
	for _, kind := range []jwtauth.EventKind{
		jwtauth.TokenIssued, jwtauth.TokenRefreshed, jwtauth.RefreshReplayed, jwtauth.RefreshRefused, jwtauth.TokenReused, jwtauth.GenerationBehind,
		jwtauth.SessionEnded, jwtauth.TokenRefused, jwtauth.TokenRevoked, jwtauth.RevocationUnknown, jwtauth.PolicyRefused, jwtauth.Unavailable,
	} {
		require.Contains(t, all, string(kind))
	}
}

func TestAnEventTellsWhoAndWhich(t *testing.T) {
	s := newScene(t)
	r := s.world.login("alice")
	access := payload[struct{ Jti string }](t, r.AccessToken).Jti
	refresh := payload[struct{ Jti string }](t, r.RefreshToken).Jti
	common := jwtauth.Event{Issuer: testIssuer, Subject: "alice", SessionID: r.SessionID, KeyID: s.key.ID()}
	last := func() jwtauth.Event {
		e := s.events[len(s.events)-1]
		e.Err = nil
		return e
	}
	want := common
	want.Kind, want.TokenID = jwtauth.TokenIssued, access
	require.Equal(t, want, last())

	second := s.redeem(r.RefreshToken)
	want.Kind, want.TokenID = jwtauth.TokenRefreshed, payload[struct{ Jti string }](t, second.AccessToken).Jti
	require.Equal(t, want, last())

	s.redeem(second.RefreshToken)
	s.redeem(r.RefreshToken)
	want.Kind, want.Reason, want.TokenID = jwtauth.RefreshRefused, "reuse", refresh
	require.Equal(t, want, last())
	require.ErrorIs(t, s.events[len(s.events)-1].Err, jwtauth.ErrTokenReused)

	s.verify(r.AccessToken)
	want.Kind, want.Reason, want.TokenID = jwtauth.TokenRefused, "revocation", access
	require.Equal(t, want, last())
	require.ErrorIs(t, s.events[len(s.events)-1].Err, jwtauth.ErrTokenRevoked)
}

func TestAnEventTellsNothingOfATokenThatDoesNotHold(t *testing.T) {
	s := newScene(t)
	forged := newKey(t, jwtauth.ES256, false)
	for _, token := range []string{
		signWith(t, forged, header(s.key, nil), s.claims(map[string]any{"sub": "mallory", "sid": "x"})),
		signWith(t, forged, header(forged, nil), s.claims(map[string]any{"sub": "mallory", "sid": "x"})),
		s.sign(`{"iss":"` + testIssuer + `","sub":"mallory","sub":"mallory"}`),
	} {
		s.verify(token)
		s.redeem(token)
		_ = s.issuer.Logout(t.Context(), token)
	}
	require.Len(t, s.events, 9)
	for _, e := range s.events {
		require.Empty(t, e.Subject+e.Issuer+e.SessionID+e.TokenID)
		require.NotContains(t, e.Err.Error(), "mallory")
	}
}

func TestTheHookOfAMiddlewareHearsOfItsOwnEventsAlone(t *testing.T) {
	w := newWorld(t)
	var own []jwtauth.EventKind
	auth, err := jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{OnEvent: func(_ context.Context, e jwtauth.Event) { own = append(own, e.Kind) }})
	require.NoError(t, err)
	token := w.login("alice").AccessToken
	w.kinds()
	for _, authorization := range [][]string{nil, {"Bearer x"}, {"Bearer " + token}} {
		auth.With(jwtauth.Scopes("admin")).Require(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), request("GET", "/", authorization...))
	}
	require.Equal(t, []jwtauth.EventKind{jwtauth.TokenRefused, jwtauth.PolicyRefused}, own)
	require.Equal(t, []jwtauth.EventKind{jwtauth.TokenRefused}, w.kinds())
}

func TestLevelsAreLoudWhereAnOperatorShouldLook(t *testing.T) {
	for kind, want := range map[jwtauth.EventKind]slog.Level{
		jwtauth.TokenIssued: slog.LevelInfo, jwtauth.TokenRefreshed: slog.LevelInfo, jwtauth.RefreshReplayed: slog.LevelInfo,
		jwtauth.SessionEnded: slog.LevelInfo, jwtauth.TokenRevoked: slog.LevelInfo,
		jwtauth.RefreshRefused: slog.LevelWarn, jwtauth.TokenRefused: slog.LevelWarn, jwtauth.PolicyRefused: slog.LevelWarn, "new_kind": slog.LevelWarn,
		jwtauth.TokenReused: slog.LevelError, jwtauth.GenerationBehind: slog.LevelError, jwtauth.RevocationUnknown: slog.LevelError, jwtauth.Unavailable: slog.LevelError,
	} {
		require.Equal(t, want, jwtauth.Event{Kind: kind}.Level(), "%s", kind)
	}
}

func TestLogEventsWritesOneRecordForEachEvent(t *testing.T) {
	var out bytes.Buffer
	log := jwtauth.LogEvents(slog.New(slog.NewJSONHandler(&out, nil)))
	log(t.Context(), jwtauth.Event{Kind: jwtauth.TokenIssued})
	log(t.Context(), jwtauth.Event{
		Kind: jwtauth.TokenRefused, Reason: "exp", Issuer: testIssuer, Subject: "alice\n", SessionID: "s", TokenID: "t", KeyID: "k", Err: jwtauth.ErrTokenExpired,
	})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	var records [2]map[string]any
	for i, line := range lines {
		require.NoError(t, json.Unmarshal([]byte(line), &records[i]))
		delete(records[i], "time")
	}
	require.Equal(t, map[string]any{"level": "INFO", "msg": "jwtauth", "auth": map[string]any{"kind": "token_issued"}}, records[0])
	require.Equal(t, map[string]any{"level": "WARN", "msg": "jwtauth", "auth": map[string]any{
		"kind": "token_refused", "reason": "exp", "issuer": testIssuer, "subject": "alice\n", "session": "s", "token": "t", "key": "k",
		"error": jwtauth.ErrTokenExpired.Error(),
	}}, records[1])

	out.Reset()
	quiet := jwtauth.LogEvents(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	quiet(t.Context(), jwtauth.Event{Kind: jwtauth.TokenRefused})
	require.Empty(t, out.String())
	quiet(t.Context(), jwtauth.Event{Kind: jwtauth.TokenReused})
	require.Contains(t, out.String(), `"kind":"token_reused"`)
}
