package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestEachFlowSendsItsEventsOnce(t *testing.T) {
	for _, f := range fixture.Flows {
		t.Run(f.Name, func(t *testing.T) {
			s := fixture.NewScene(t)
			f.Run(s)
			var got []string
			for _, e := range s.Sent() {
				got = append(got, strings.TrimSpace(string(e.Kind)+" "+e.Reason))
			}
			require.Equal(t, f.Want, got)
		})
	}
}

// fixture.Flows must cause every kind of event.
func TestEveryKindOfEventIsSent(t *testing.T) {
	var sent []string
	for _, f := range fixture.Flows {
		sent = append(sent, f.Want...)
	}
	all := strings.Join(sent, "\n")
	for _, kind := range []event.Kind{
		event.TokenIssued, event.TokenRefreshed, event.RefreshReplayed, event.RefreshRefused, event.TokenReused, event.GenerationBehind,
		event.SessionEnded, event.TokenRefused, event.TokenRevoked, event.RevocationUnknown, event.PolicyRefused, event.Unavailable,
	} {
		require.Contains(t, all, string(kind))
	}
}

func TestAnEventTellsWhoAndWhich(t *testing.T) {
	s := fixture.NewScene(t)
	r := s.World.Login("alice")
	access := fixture.Payload[struct{ Jti string }](t, r.AccessToken).Jti
	refresh := fixture.Payload[struct{ Jti string }](t, r.RefreshToken).Jti
	common := event.Event{Issuer: fixture.Issuer, Subject: "alice", SessionID: r.SessionID, KeyID: s.Key.ID()}
	last := func() event.Event {
		e := s.Sent()[len(s.Sent())-1]
		e.Err = nil
		return e
	}
	want := common
	want.Kind, want.TokenID = event.TokenIssued, access
	require.Equal(t, want, last())

	second := s.Redeem(r.RefreshToken)
	want.Kind, want.TokenID = event.TokenRefreshed, fixture.Payload[struct{ Jti string }](t, second.AccessToken).Jti
	require.Equal(t, want, last())

	s.Redeem(second.RefreshToken)
	s.Redeem(r.RefreshToken)
	want.Kind, want.Reason, want.TokenID = event.RefreshRefused, "reuse", refresh
	require.Equal(t, want, last())
	require.ErrorIs(t, s.Sent()[len(s.Sent())-1].Err, jwtauth.ErrTokenReused)

	s.Verify(r.AccessToken)
	want.Kind, want.Reason, want.TokenID = event.TokenRefused, "revocation", access
	require.Equal(t, want, last())
	require.ErrorIs(t, s.Sent()[len(s.Sent())-1].Err, jwtauth.ErrTokenRevoked)
}

func TestAnEventTellsNothingOfATokenThatDoesNotHold(t *testing.T) {
	s := fixture.NewScene(t)
	forged := fixture.NewKey(t, jwk.ES256)
	for _, token := range []string{
		fixture.SignWith(t, forged, fixture.Header(s.Key, nil), s.Claims(map[string]any{"sub": "mallory", "sid": "x"})),
		fixture.SignWith(t, forged, fixture.Header(forged, nil), s.Claims(map[string]any{"sub": "mallory", "sid": "x"})),
		s.Sign(`{"iss":"` + fixture.Issuer + `","sub":"mallory","sub":"mallory"}`),
	} {
		s.Verify(token)
		s.Redeem(token)
		_ = s.Issuer.Logout(t.Context(), token)
	}
	require.Len(t, s.Sent(), 9)
	for _, e := range s.Sent() {
		require.Empty(t, e.Subject+e.Issuer+e.SessionID+e.TokenID)
		require.NotContains(t, e.Err.Error(), "mallory")
	}
}

func TestTheHookOfAMiddlewareHearsOfItsOwnEventsAlone(t *testing.T) {
	w := fixture.New(t)
	var own []event.Kind
	auth, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{OnEvent: func(_ context.Context, e event.Event) { own = append(own, e.Kind) }})
	require.NoError(t, err)
	token := w.Login("alice").AccessToken
	w.Kinds()
	for _, authorization := range [][]string{nil, {"Bearer x"}, {"Bearer " + token}} {
		auth.With(jwtauth.Scopes("admin")).Require(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), fixture.Request("GET", "/", authorization...))
	}
	require.Equal(t, []event.Kind{event.TokenRefused, event.PolicyRefused}, own)
	require.Equal(t, []event.Kind{event.TokenRefused}, w.Kinds())
}

func TestLevelsAreLoudWhereAnOperatorShouldLook(t *testing.T) {
	for kind, want := range map[event.Kind]slog.Level{
		event.TokenIssued: slog.LevelInfo, event.TokenRefreshed: slog.LevelInfo, event.RefreshReplayed: slog.LevelInfo, event.RefreshDelayed: slog.LevelInfo, event.RefreshForced: slog.LevelInfo, event.RefreshRecovered: slog.LevelWarn,
		event.SessionEnded: slog.LevelInfo, event.TokenRevoked: slog.LevelInfo,
		event.RefreshRefused: slog.LevelWarn, event.TokenRefused: slog.LevelWarn, event.PolicyRefused: slog.LevelWarn, "new_kind": slog.LevelWarn,
		event.TokenReused: slog.LevelError, event.GenerationBehind: slog.LevelError, event.RevocationUnknown: slog.LevelError, event.Unavailable: slog.LevelError,
	} {
		require.Equal(t, want, event.Event{Kind: kind}.Level(), "%s", kind)
	}
	gone := event.Event{Kind: event.Unavailable, Err: fmt.Errorf("jwtauth: %w", context.Canceled)}
	require.Equal(t, slog.LevelWarn, gone.Level(), "a client that went away is no failure of ours")
	gone.Err = context.DeadlineExceeded
	require.Equal(t, slog.LevelError, gone.Level())
}

func TestLogWritesOneRecordForEachEvent(t *testing.T) {
	var out bytes.Buffer
	log := event.Log(slog.New(slog.NewJSONHandler(&out, nil)))
	log(t.Context(), event.Event{Kind: event.TokenIssued})
	log(t.Context(), event.Event{
		Kind: event.TokenRefused, Reason: "exp", Issuer: fixture.Issuer, Subject: "alice\n", SessionID: "s", TokenID: "t", KeyID: "k", Err: jwtauth.ErrTokenExpired,
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
		"kind": "token_refused", "reason": "exp", "issuer": fixture.Issuer, "subject": "alice\n", "session": "s", "token": "t", "key": "k",
		"error": jwtauth.ErrTokenExpired.Error(),
	}}, records[1])

	out.Reset()
	quiet := event.Log(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	quiet(t.Context(), event.Event{Kind: event.TokenRefused})
	require.Empty(t, out.String())
	quiet(t.Context(), event.Event{Kind: event.TokenReused})
	require.Contains(t, out.String(), `"kind":"token_reused"`)
}
