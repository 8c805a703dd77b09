package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

func TestReloadSeesTheGrantAndTheSession(t *testing.T) {
	var seen jwtauth.Grant
	var session jwtauth.Session
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
			seen, session = *g, s
			return nil
		}
	})
	began := w.Clock.Now()
	granted := jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{fixture.Audience}, ClientID: "web",
		AuthTime: began.Add(-time.Minute), ACR: "2", AMR: []string{"pwd", "otp"}, Claims: map[string]any{"n": uint64(math.MaxUint64)},
	}
	r, err := w.Issuer.Issue(t.Context(), granted)
	require.NoError(t, err)
	w.Clock.Advance(time.Hour)
	r = w.Refresh(r.RefreshToken)
	w.Clock.Advance(time.Hour)
	w.Refresh(r.RefreshToken)

	require.Equal(t, json.RawMessage(`{"n":18446744073709551615}`), seen.Claims)
	granted.Claims = seen.Claims
	require.Equal(t, granted, seen)
	require.Equal(t, jwtauth.Session{
		ID: r.SessionID, Subject: "alice", ClientID: "web", Scopes: []string{"read", "write"},
		CreatedAt: began, AuthTime: began.Add(-time.Minute), RefreshedAt: began.Add(time.Hour),
		IdleEnd: began.Add(time.Hour + 7*24*time.Hour), EndsAt: began.Add(30 * 24 * time.Hour),
	}, session)
}

func TestReloadDecidesForOneAccessTokenAlone(t *testing.T) {
	var reload func(g *jwtauth.Grant)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			reload(g)
			return nil
		}
	})
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write", "delete"}, Claims: map[string]any{"role": "user"}})
	require.NoError(t, err)
	for _, test := range []struct {
		name   string
		reload func(g *jwtauth.Grant)
		scope  string
		claims string
	}{
		{"nothing", func(*jwtauth.Grant) {}, "read write delete", `{"role":"user"}`},
		{"fewer scopes", func(g *jwtauth.Grant) { g.Scopes = []string{"write"} }, "write", `{"role":"user"}`},
		{"in another order", func(g *jwtauth.Grant) { slices.Reverse(g.Scopes) }, "delete write read", `{"role":"user"}`},
		{"no scopes", func(g *jwtauth.Grant) { g.Scopes = nil }, "", `{"role":"user"}`},
		{"other claims", func(g *jwtauth.Grant) { g.Claims = map[string]any{"team": 7} }, "read write delete", `{"team":7}`},
		{"no claims", func(g *jwtauth.Grant) { g.Claims = nil }, "read write delete", `{}`},
		{"more than a session takes", func(g *jwtauth.Grant) { g.Claims = map[string]any{"long": string(make([]byte, 600))} }, "read write delete", ""},
		{"nothing again", func(*jwtauth.Grant) {}, "read write delete", `{"role":"user"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			reload = test.reload
			w.Clock.Advance(time.Minute)
			r = w.Refresh(r.RefreshToken)
			require.Equal(t, test.scope, r.Scope)
			w.RequireAccepted(r.AccessToken)
			claims := fixture.Payload[map[string]any](t, r.AccessToken)
			for name := range claims {
				if slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "jti", "sid", "sid_epoch", "auth_time", "scope"}, name) {
					delete(claims, name)
				}
			}
			if test.claims != "" {
				require.JSONEq(t, test.claims, fixture.Text(t, claims))
			}
			require.Equal(t, "read write delete", fixture.Payload[struct{ Scope string }](t, r.RefreshToken).Scope, "the session keeps what was granted")
			require.JSONEq(t, `{"role":"user"}`, string(fixture.Payload[struct{ Ext json.RawMessage }](t, r.RefreshToken).Ext))
		})
	}
}

func TestReloadCannotWidenOrChangeAGrant(t *testing.T) {
	var reload func(g *jwtauth.Grant)
	var calls []string
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			reload(g)
			return nil
		}
	})
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read"}, Audiences: []string{fixture.Audience}, ClientID: "web", ACR: "1", AMR: []string{"pwd"}, IdleTTL: time.Hour,
	})
	require.NoError(t, err)
	store.Before = noted(&calls)
	for _, test := range []struct {
		name   string
		reload func(g *jwtauth.Grant)
		why    string
	}{
		{"a scope more", func(g *jwtauth.Grant) { g.Scopes = append(g.Scopes, "admin") }, "the Reload hook changed Scopes, adding one"},
		{"another scope, in place", func(g *jwtauth.Grant) { g.Scopes[0] = "admin" }, "the Reload hook changed Scopes, adding one"},
		{"a scope that holds two", func(g *jwtauth.Grant) { g.Scopes[0] = "read admin" }, "the Reload hook changed Scopes, adding one"},
		{"a scope twice", func(g *jwtauth.Grant) { g.Scopes = []string{"read", "read"} }, "the Reload hook changed Scopes, naming one twice"},
		{"an empty scope", func(g *jwtauth.Grant) { g.Scopes = []string{""} }, "the Reload hook changed Scopes, adding one"},
		{"the subject", func(g *jwtauth.Grant) { g.Subject = "bob" }, "the Reload hook changed Subject"},
		{"the client", func(g *jwtauth.Grant) { g.ClientID = "" }, "the Reload hook changed ClientID"},
		{"an audience more", func(g *jwtauth.Grant) { g.Audiences = append(g.Audiences, "https://files.test") }, "the Reload hook changed Audiences"},
		{"another audience, in place", func(g *jwtauth.Grant) { g.Audiences[0] = "https://files.test" }, "the Reload hook changed Audiences"},
		{"no audiences, which would be all", func(g *jwtauth.Grant) { g.Audiences = nil }, "the Reload hook changed Audiences"},
		{"the login", func(g *jwtauth.Grant) { g.AuthTime = g.AuthTime.Add(time.Second) }, "the Reload hook changed AuthTime"},
		{"no login, which would be now", func(g *jwtauth.Grant) { g.AuthTime = time.Time{} }, "the Reload hook changed AuthTime"},
		{"acr", func(g *jwtauth.Grant) { g.ACR = "2" }, "the Reload hook changed ACR"},
		{"amr", func(g *jwtauth.Grant) { g.AMR = append(g.AMR, "otp") }, "the Reload hook changed AMR"},
		{"amr, in place", func(g *jwtauth.Grant) { g.AMR[0] = "otp" }, "the Reload hook changed AMR"},
		{"the idle lifetime", func(g *jwtauth.Grant) { g.IdleTTL = 2 * time.Hour }, "the Reload hook changed IdleTTL"},
		{"the lifetime", func(g *jwtauth.Grant) { g.SessionTTL = time.Hour }, "the Reload hook changed SessionTTL"},
		{"a reserved claim", func(g *jwtauth.Grant) { g.Claims = map[string]any{"Sub": "bob"} }, "is a reserved name"},
		{"claims that are none", func(g *jwtauth.Grant) { g.Claims = 7 }, "not a JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			reload, calls = test.reload, nil
			w.Heard()
			tokens, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorContains(t, err, test.why)
			require.Empty(t, steps(calls))
			require.Equal(t, []string{"unavailable reload"}, w.Heard())
		})
	}
	reload = func(g *jwtauth.Grant) {}
	got := w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	require.Equal(t, []string{"read"}, got.Scopes())
	require.Equal(t, []string{fixture.Audience}, got.Audiences())
	require.Equal(t, []string{"pwd"}, got.AMR())
}

func TestErrGrantRefusedEndsTheSession(t *testing.T) {
	for name, refusal := range map[string]error{"plain": jwtauth.ErrGrantRefused, "wrapped": fmt.Errorf("disabled: %w", jwtauth.ErrGrantRefused)} {
		t.Run(name, func(t *testing.T) {
			answer := refusal
			w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error { return answer }
			})
			r := w.Login("alice")
			store.Before = fixture.FailingAt("Revoke")
			w.RequireRefreshUnavailable(r.RefreshToken)
			store.Before = nil
			w.Heard()
			tokens, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, jwtauth.ErrGrantRefused)
			require.ErrorIs(t, err, refusal, "the log may know the reason")
			require.Equal(t, []string{"session_ended grant_refused", "refresh_refused reload"}, w.Heard())
			require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			answer = nil
			w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		})
	}
}

func TestAnyOtherErrorOfReloadLeavesTheTokenGood(t *testing.T) {
	for _, failure := range []error{errors.New("no rows"), jwtauth.ErrUnavailable, jwtauth.ErrRefused, jwtauth.ErrNoSession, context.Canceled} {
		t.Run(failure.Error(), func(t *testing.T) {
			answer := failure
			var calls []string
			w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error { return answer }
			})
			r := w.Login("alice")
			store.Before = noted(&calls)
			tokens, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
			require.Zero(t, tokens)
			e, ok := errors.AsType[*jwtauth.Error](err)
			require.True(t, ok)
			if errors.Is(failure, jwtauth.ErrRefused) {
				require.ErrorIs(t, err, jwtauth.ErrRefused)
				require.Equal(t, 400, e.Status)
			} else {
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
				require.NotErrorIs(t, err, jwtauth.ErrRefused)
				require.Equal(t, 503, e.Status)
			}
			require.Empty(t, steps(calls))
			w.Clock.Advance(time.Hour)
			answer = nil
			w.Refresh(r.RefreshToken)
		})
	}
}

// The age of the last step counts until the token arrived. An answer that would leave after
// the grace could arrive after another tab has recovered, so the tab waits.
func TestASlowReloadMakesNoThiefOfARacingTab(t *testing.T) {
	var w *fixture.World
	slow, presented := false, ""
	w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(ctx context.Context, _ jwtauth.Session, _ *jwtauth.Grant) error {
			if !slow {
				return nil
			}
			// While this tab waits for the user database, the other tab gets its answer.
			slow = false
			_, err := w.Issuer.Refresh(ctx, fixture.Redeeming(presented))
			w.Clock.Advance(11 * time.Second)
			return err
		}
	})
	presented, slow = w.Login("alice").RefreshToken, true
	_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(presented))
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, "refresh_delayed", w.Heard()[2])
	w.Clock.Advance(time.Minute)
	w.Refresh(w.Refresh(presented).RefreshToken)

	// Without RecoverLost there is no recovery, so the late answer does no harm.
	w.Clock.Advance(time.Minute)
	lenient := w.Another(func(o *jwtauth.IssuerOptions) {
		o.RecoverLost = -1
		o.Reload = func(ctx context.Context, _ jwtauth.Session, _ *jwtauth.Grant) error {
			if slow {
				slow = false
				_, err := w.Issuer.Refresh(ctx, fixture.Redeeming(presented))
				w.Clock.Advance(11 * time.Second)
				return err
			}
			return nil
		}
	})
	presented = w.Login("bob").RefreshToken
	slow = true
	_, err = lenient.Refresh(t.Context(), fixture.Redeeming(presented))
	require.NoError(t, err)
	require.Contains(t, w.Kinds(), event.RefreshReplayed)
}

func TestReloadHasATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Now = time.Now
			o.Reload = func(ctx context.Context, _ jwtauth.Session, _ *jwtauth.Grant) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		token := w.Login("alice").RefreshToken
		began := time.Now()
		_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Equal(t, 30*time.Second, time.Since(began))
	})
}

// client is a program that refreshes over HTTP. It keeps the newest refresh token that it
// has received, like a cookie jar.
type client struct {
	w     *fixture.World
	store *hookstore.Store
	api   *httptest.Server
	token string
}

func newClient(t *testing.T) *client {
	t.Helper()
	b := &client{}
	b.w, b.store = fixture.NewHooked(t)
	b.api = httptest.NewServer(b.w.TokenEndpoint())
	t.Cleanup(b.api.Close)
	b.token = b.w.Login("alice").RefreshToken
	b.w.Events()
	return b
}

// send posts a refresh token.
func (b *client) send(ctx context.Context, token string) (status int, body map[string]any) {
	b.w.T.Helper()
	form := strings.NewReader(url.Values{"refresh_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, "POST", b.api.URL+"/refresh", form)
	require.NoError(b.w.T, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := b.api.Client().Do(r)
	if err != nil {
		return 0, nil // the answer is lost
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(b.w.T, err)
	require.NoError(b.w.T, json.Unmarshal(text, &body))
	return answer.StatusCode, body
}

// refresh redeems the token of the client and keeps the next one.
func (b *client) refresh() {
	b.w.T.Helper()
	status, body := b.send(b.w.T.Context(), b.token)
	require.Equal(b.w.T, 200, status, "%v", body)
	b.token = body["refresh_token"].(string)
}

// loseAnswer redeems the token of the client. The connection breaks after the store has
// made the step.
func (b *client) loseAnswer() {
	b.w.T.Helper()
	ctx, cancel := context.WithCancel(b.w.T.Context())
	defer cancel()
	gone := make(chan struct{})
	b.store.After = func(server context.Context, method string) error {
		if method == "Advance" {
			b.store.After = nil
			cancel()
			<-server.Done() // the server notices that the client is gone
			close(gone)
		}
		return nil
	}
	status, _ := b.send(ctx, b.token)
	require.Zero(b.w.T, status)
	<-gone
}

// requireQuiet fails the test if an event is an ERROR in the log.
func (b *client) requireQuiet() {
	b.w.T.Helper()
	for _, e := range b.w.Events() {
		require.Less(b.w.T, e.Level(), slog.LevelError, "%s", e.Kind)
	}
}

func TestATabThatIsClosedDuringARefreshEndsNoSession(t *testing.T) {
	b := newClient(t)
	b.loseAnswer()
	b.w.Clock.Advance(3 * time.Second) // the next page opens
	b.refresh()
	b.refresh()
	b.requireQuiet()
}

func TestALaptopThatSleepsDuringARefreshEndsNoSession(t *testing.T) {
	b := newClient(t)
	b.loseAnswer()
	b.w.Clock.Advance(14 * time.Hour)
	b.refresh()
	b.refresh()
	b.requireQuiet()
}

func TestAnAnswerThatIsLostTwiceEndsNoSession(t *testing.T) {
	b := newClient(t)
	for _, pause := range []time.Duration{time.Minute, time.Hour} {
		b.loseAnswer()
		b.w.Clock.Advance(pause)
	}
	b.refresh()
	b.refresh()
	b.requireQuiet()
}

// A client that comes back between the grace and twice the grace waits as long as the
// answer says.
func TestAClientThatWaitsAsItIsToldStaysLoggedIn(t *testing.T) {
	b := newClient(t)
	b.loseAnswer()
	b.w.Clock.Advance(13 * time.Second)
	status, body := b.send(t.Context(), b.token)
	require.Equal(t, 503, status)
	require.Equal(t, "retry", body["next"])
	b.w.Clock.Advance(8 * time.Second) // Retry-After
	b.refresh()
	b.requireQuiet()
}

func TestAThiefWithADeadSuccessorIsFound(t *testing.T) {
	b := newClient(t)
	status, stolen := b.send(t.Context(), b.token) // the thief reads the answer, the owner does not get it
	require.Equal(t, 200, status)
	b.w.Clock.Advance(time.Minute)
	b.refresh()
	status, body := b.send(t.Context(), stolen["refresh_token"].(string))
	require.Equal(t, 400, status)
	require.Equal(t, "invalid_grant", body["error"])
	require.Contains(t, b.w.Kinds(), event.TokenReused)
	status, _ = b.send(t.Context(), b.token)
	require.Equal(t, 400, status, "the session has ended")
	_, err := b.w.Verifier.Verify(t.Context(), stolen["access_token"].(string))
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
}
