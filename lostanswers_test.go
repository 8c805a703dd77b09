package jwtauth_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

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
