package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/examples/internal/oneuser"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

// service is an API whose answers can get lost.
type service struct {
	*jwtauthtest.Issuer
	url string

	mu     sync.Mutex
	lose   int // this many answers of refresh are lost
	refuse int // this many requests are answered with 503
	garble int // this many requests are answered with 400 and HTML, as a proxy does
	events []event.Kind
}

func newService(t *testing.T) *service {
	s := &service{}
	s.Issuer = jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{OnEvent: func(_ context.Context, e event.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e.Kind)
	}})
	logins, err := endpoints.New(s.Issuer.Issuer, endpoints.Options{Path: "/api", Login: oneuser.Login("right")})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/api/", logins)
	mux.Handle("GET /api/protected", logins.Auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := jwtauth.FromContext(r.Context())
		_, _ = w.Write([]byte(token.Subject))
	})))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		garble, refuse, lose := s.garble > 0, s.refuse > 0, s.lose > 0 && r.URL.Path == "/api/refresh"
		if garble {
			s.garble--
		} else if refuse {
			s.refuse--
		} else if lose {
			s.lose--
		}
		s.mu.Unlock()
		switch {
		case garble:
			http.Error(w, "<html>Request Header Or Cookie Too Large</html>", http.StatusBadRequest)
		case refuse:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		case lose:
			mux.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // the connection ends before the answer
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/api"
	return s
}

func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// client makes a client, as a program does that was restarted. Its waits move the clock of the
// service.
func (s *service) client(file string) (c *Client, waits *[]time.Duration) {
	waits = new([]time.Duration)
	return &Client{API: s.url, File: file, Wait: func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		s.Clock.Advance(d)
		return ctx.Err()
	}}, waits
}

// expire makes the access token of a client look old.
func (c *Client) expire() { c.tokens.ReceivedAt = time.Now().Add(-time.Hour) }

func TestAClientKeepsItsLoginOverRestartsAndLostAnswers(t *testing.T) {
	s := newService(t)
	file := filepath.Join(t.TempDir(), "tokens.json")
	c, _ := s.client(file)
	_, err := c.Get(t.Context(), "/protected")
	require.ErrorIs(t, err, ErrLoggedOut)
	require.Error(t, c.Login(t.Context(), "alice", "wrong"))
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	for _, lost := range []int{0, 1, 3} {
		c, waits := s.client(file) // the program was restarted
		body, err := c.Get(t.Context(), "/protected")
		require.NoError(t, err)
		require.Equal(t, "alice", body)
		s.Clock.Advance(time.Minute)
		s.set(func() { s.lose = lost })
		c.expire()
		body, err = c.Get(t.Context(), "/protected")
		require.NoError(t, err)
		require.Equal(t, "alice", body)
		require.GreaterOrEqual(t, len(*waits), lost)
	}
	s.set(func() { require.NotContains(t, s.events, event.TokenReused) })
}

func TestAnAnswerThatIsLostWithTheProgramIsRecovered(t *testing.T) {
	s := newService(t)
	file := filepath.Join(t.TempDir(), "tokens.json")
	c, _ := s.client(file)
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	s.set(func() { s.lose = 1 })
	c.expire()
	c.Wait = func(context.Context, time.Duration) error { return errors.New("the phone is switched off") }
	_, err := c.Get(t.Context(), "/protected")
	require.ErrorContains(t, err, "switched off")

	s.Clock.Advance(8 * time.Hour) // the next morning
	c, _ = s.client(file)
	c.tokens = load(file)
	c.expire()
	body, err := c.Get(t.Context(), "/protected")
	require.NoError(t, err)
	require.Equal(t, "alice", body)
	s.set(func() {
		require.Contains(t, s.events, event.RefreshRecovered)
		require.NotContains(t, s.events, event.TokenReused)
	})
}

func TestA503IsTriedAgainAfterRetryAfterAndLogsNobodyOut(t *testing.T) {
	s := newService(t)
	c, waits := s.client(filepath.Join(t.TempDir(), "tokens.json"))
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	s.set(func() { s.refuse = 4 })
	c.expire()
	_, err := c.Get(t.Context(), "/protected")
	require.NoError(t, err)
	require.Equal(t, []time.Duration{7 * time.Second, 7 * time.Second, 7 * time.Second, 8 * time.Second}, *waits)
	s.set(func() { s.refuse = 1000 })
	c.expire()
	_, err = c.Get(t.Context(), "/protected")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrLoggedOut)
	s.set(func() { s.refuse = 0 })
	_, err = c.Get(t.Context(), "/protected")
	require.NoError(t, err)
}

func TestA400OfAProxyLogsNobodyOut(t *testing.T) {
	s := newService(t)
	c, _ := s.client(filepath.Join(t.TempDir(), "tokens.json"))
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	c.expire()
	s.set(func() { s.garble = 1 })
	_, err := c.Get(t.Context(), "/protected")
	require.ErrorContains(t, err, "the server answered 400")
	require.NotErrorIs(t, err, ErrLoggedOut)
	body, err := c.Get(t.Context(), "/protected")
	require.NoError(t, err)
	require.Equal(t, "alice", body)
}

func TestManyCallsShareOneRefresh(t *testing.T) {
	s := newService(t)
	c, _ := s.client(filepath.Join(t.TempDir(), "tokens.json"))
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	s.Clock.Advance(time.Hour) // the client does not know that the access token has expired
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			body, err := c.Get(t.Context(), "/protected")
			if err != nil || body != "alice" {
				t.Error(body, err)
			}
		})
	}
	group.Wait()
	s.set(func() {
		refreshes := 0
		for _, kind := range s.events {
			if kind == event.TokenRefreshed {
				refreshes++
			}
		}
		require.Equal(t, 1, refreshes)
	})
}

func TestASessionThatHasEndedIsForgotten(t *testing.T) {
	s := newService(t)
	file := filepath.Join(t.TempDir(), "tokens.json")
	c, _ := s.client(file)
	require.NoError(t, c.Login(t.Context(), "alice", "right"))
	require.NoError(t, s.Issuer.EndAllSessions(t.Context(), "alice"))
	_, err := c.Get(t.Context(), "/protected")
	require.ErrorIs(t, err, ErrLoggedOut)
	c.expire()
	_, err = c.Get(t.Context(), "/protected")
	require.ErrorIs(t, err, ErrLoggedOut)
	require.Empty(t, load(file).RefreshToken)
}
