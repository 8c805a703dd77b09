//go:build linux

package faults_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// answer is the answer to a request.
type answer struct {
	status     int
	retryAfter string
	tokens     jwtauth.TokenResponse
	refresh    claims // of the refresh token, if the answer has one
	began      time.Time
	ended      time.Time
}

// claims holds the claims of a refresh token that the tests check.
type claims struct {
	Session    string `json:"sid"`
	Generation int64  `json:"gen"`
}

func claimsOf(token string) (c claims) {
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		b, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(b, &c)
	}
	return c
}

// slowest is how long an answer may take. Refresh of a token that was used before makes four
// calls to the store, of at most 2 s each.
const slowest = 8 * time.Second

// web is the HTTP client of all tests.
var web = &http.Client{
	Timeout:   2 * slowest,
	Transport: &http.Transport{MaxIdleConnsPerHost: 100},
}

// post sends a form.
func (n *node) post(t testing.TB, path string, form ...string) answer {
	t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, n.url+path, strings.NewReader(values.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, r)
}

func do(t testing.TB, r *http.Request) (a answer) {
	t.Helper()
	a.began = time.Now()
	response, err := web.Do(r)
	if err != nil {
		a.ended = time.Now()
		t.Errorf("%s: %v", r.URL.Path, err)
		return a
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a.ended = time.Now()
	if err != nil {
		t.Errorf("%s: %v", r.URL.Path, err)
	}
	a.status, a.retryAfter = response.StatusCode, response.Header.Get("Retry-After")
	if a.status == http.StatusOK && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &a.tokens); err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		a.refresh = claimsOf(a.tokens.RefreshToken)
	}
	if a.status == http.StatusServiceUnavailable && (len(a.retryAfter) != 1 || a.retryAfter < "1") {
		t.Errorf("%s: 503 with Retry-After %q", r.URL.Path, a.retryAfter)
	}
	if took := a.ended.Sub(a.began); took > slowest {
		t.Errorf("%s: the answer %d took %v", r.URL.Path, a.status, took)
	}
	return a
}

// me calls the API with an access token.
func (n *node) me(t testing.TB, token string) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, n.url+"/me", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	return do(t, r)
}

func (n *node) stats(t testing.TB) (s nodeStats) {
	t.Helper()
	response, err := web.Get(n.url + "/stats")
	require.NoError(t, err)
	defer response.Body.Close()
	require.NoError(t, json.NewDecoder(response.Body).Decode(&s))
	return s
}

// answered repeats a request while the answer is 503, for at most 30 s.
func answered(t testing.TB, ask func() answer) (a answer) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		if a = ask(); a.status != http.StatusServiceUnavailable {
			return a
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-limit:
			t.Fatal("every answer is 503")
		}
	}
}

// login begins a session.
func (n *node) login(t testing.TB, subject string) jwtauth.TokenResponse {
	t.Helper()
	a := answered(t, func() answer { return n.post(t, "/login", "subject", subject) })
	require.Equal(t, http.StatusOK, a.status)
	return a.tokens
}

// refresh redeems a token. It repeats the request while the answer is 503.
func (n *node) refresh(t testing.TB, token string) answer {
	t.Helper()
	return answered(t, func() answer { return n.post(t, "/refresh", "token", token) })
}

func (n *node) logout(t testing.TB, token string) {
	t.Helper()
	require.Equal(t, http.StatusNoContent, answered(t, func() answer { return n.post(t, "/logout", "token", token) }).status)
}
